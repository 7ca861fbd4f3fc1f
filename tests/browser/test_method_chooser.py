"""The method chooser in a real JupyterLab: settings moved by hand and by keys until it fits, a step measured, a wrong name mended, every
width."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.browser.lab import IN_THEME, Lab, Notebook
from tests.browser.layout import assert_layout

pytestmark = pytest.mark.browser

BEGIN = """import transformers
import workbench as wb
from widgets import MethodChooser
seven = transformers.Qwen2Config(vocab_size=152064, hidden_size=3584, intermediate_size=18944, num_hidden_layers=28,
                                 num_attention_heads=28, num_key_value_heads=4, tie_word_embeddings=False)
large = MethodChooser(seven, gpu="RTX 4090")
large"""

SMALL = """town = MethodChooser("town-small", [wb.Full(), wb.LoRA(rank=4)], gpu="T4")
town.state.batch_size, town.state.sequence_length, town.state.precision = 2, 32, "fp32"
town"""

NAME = "() => document.activeElement?.getAttribute('aria-label') || document.activeElement?.labels?.[0]?.textContent || ''"


class Page:
    """A page with choosers."""

    def __init__(self, notebook: Notebook) -> None:
        self.notebook, self.page = notebook, notebook.page

    def panel(self, number: int = 0):
        return self.page.locator(".wb-panel").nth(number)

    def table(self, name: str) -> None:
        """Shows another table in the first panel."""
        self.panel().get_by_role("button", name=name, exact=True).first.click()
        first = {"components": "method", "GPUs": "GPU", "cloud instances": "instance"}[name]
        self.notebook.wait("first => document.querySelector('.wb-chooser th')?.textContent === first", first)

    def wait_sentence(self, words: str, number: int = 0) -> str:
        self.notebook.wait(
            "([words, k]) => document.querySelectorAll('.wb-panel [role=status]')[k]?.textContent.includes(words)", [words, number]
        )
        return self.panel(number).locator("[role=status]").inner_text()


@pytest.fixture(scope="module")
def shown(lab: Lab) -> Iterator[Page]:
    notebook = lab.open([BEGIN, SMALL], "chooser")
    notebook.run(0)
    made = Page(notebook)
    made.wait_sentence("RTX 4090 has")
    notebook.wait("() => document.querySelectorAll('.wb-chooser table').length === 2")
    notebook.drawn()
    yield made
    assert notebook.errors == []
    notebook.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 700, 420])
def test_no_word_is_cut_or_covered(shown: Page, width: int, theme: str) -> None:
    shown.notebook.dark(theme == "dark")
    shown.notebook.set_width(width)
    shown.notebook.wait(IN_THEME)
    shown.notebook.screenshot(f"method_chooser_{width}" + ("_dark" if theme == "dark" else ""))
    assert_layout(shown.page)
    for table in ("GPUs", "cloud instances", "components"):
        shown.table(table)
        assert_layout(shown.page)


def test_keys_alone_change_what_it_takes(shown: Page) -> None:
    page = shown.page
    shown.notebook.dark(False)
    shown.notebook.set_width(1200)
    before = shown.wait_sentence("RTX 4090 has")
    assert before.startswith("LoRA r 8 needs 75.4 GiB at batch 8 of 512 tokens")
    page.get_by_label("Method", exact=True).first.focus()
    seen = []
    for _ in range(20):
        page.keyboard.press("Tab")
        seen.append(page.evaluate(NAME))
        if seen[-1] == "Batch, rows a GPU":
            break
    assert seen[-1] == "Batch, rows a GPU", seen
    page.keyboard.press("ArrowLeft")
    after = shown.wait_sentence("at batch 4 of 512")
    plan = shown.notebook.kernel("from widgets.method_chooser.words import size; print(size(large.plan.total))")
    assert f"needs {plan}" in after
    page.get_by_label("Checkpointing", exact=True).first.check()
    shown.notebook.wait("b => document.querySelector('.wb-panel [role=status]').textContent !== b", after)
    assert shown.notebook.kernel("print(large.state.batch_size, large.state.checkpointing)") == "4 True"


def test_a_bar_is_clicked_to_look_into_its_method_and_it_is_made_to_fit(shown: Page) -> None:
    page = shown.page
    shown.notebook.kernel("large.set('checkpointing', False); large.set('batch_size', 8)")
    shown.wait_sentence("at batch 8 of 512")
    page.get_by_label("Method", exact=True).select_option(label="QLoRA r 8")
    warning = shown.wait_sentence("QLoRA r 8 needs")
    way = re.search(r"It would fit with ([^.]+)\.", warning)[1]
    page.get_by_role("button", name="Make it fit").first.click()
    fitted = shown.wait_sentence("it fits the RTX 4090")
    assert "QLoRA" in fitted
    assert (
        shown.notebook.kernel(
            "print(large.plan.total <= __import__('workbench.models.devices', fromlist=['x']).device_of('RTX 4090').room)"
        )
        == "True"
    )
    assert way and page.get_by_role("button", name="Make it fit").first.is_disabled()
    shown.notebook.screenshot("method_chooser_fits")
    bar = page.locator(".wb-panel .barlayer .trace").first.locator(".point path").last  # the frozen weights of the lowest row
    bar.click(force=True)
    shown.notebook.wait("() => true")
    assert shown.notebook.kernel("print(large.look().way.label)") == "QLoRA r 8"
    shown.notebook.drawn()
    box = page.locator(".wb-panel .barlayer .trace").nth(1).locator(".point path").first.bounding_box()  # the trained weights of the first row
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y - 40)
    page.mouse.move(x, y)
    shown.notebook.wait("() => document.querySelector('.wb-panel .js-plotly-plot')._hoverdata?.[0]?.curveNumber === 1")
    page.mouse.click(x, y)
    shown.wait_sentence("Full needs")


def test_several_gpus_share_it_out(shown: Page) -> None:
    page = shown.page
    page.locator("input[type=range][aria-label='GPUs']").first.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    shown.wait_sentence("(ZeRO 0 on 8)")
    page.locator(".wb-panel").get_by_role("button", name="3", exact=True).first.click()
    shown.wait_sentence("(ZeRO 3 on 8)")
    assert shown.notebook.kernel("print(large.state.devices, large.state.zero_stage)") == "8 3"
    assert_layout(page)
    shown.notebook.screenshot("method_chooser_shared")
    shown.table("cloud instances")
    page.get_by_text("p4d.24xlarge").first.wait_for()
    assert_layout(page)


def test_what_cannot_be_measured_here_is_said_at_the_button(shown: Page) -> None:
    shown.page.get_by_role("button", name="Measure one step").first.click()
    error = shown.page.locator(".wb-error-box .wb-error").first
    error.wait_for()
    assert "One process measures one device." in error.inner_text()
    assert_layout(shown.page)
    shown.notebook.kernel("large.set('devices', 1)")
    error.wait_for(state="detached")
    shown.notebook.wait("() => !document.querySelector('.wb-panel .wb-fig').classList.contains('wb-stale')")


def test_a_step_is_measured_beside_its_plan(shown: Page) -> None:
    """The second panel of the page."""
    shown.notebook.run(1)
    shown.wait_sentence("it fits the T4", 1)
    shown.panel(1).get_by_role("button", name="Measure one step").click()
    sentence = shown.wait_sentence("Measured on this machine's", 1)
    off = float(re.search(r"the plan is ([\d.]+) % (above|below)", sentence)[1])
    assert off < 15
    shown.notebook.wait("() => document.querySelectorAll('.wb-panel')[1].querySelectorAll('.scatterlayer .point').length >= 1")
    shown.notebook.screenshot("method_chooser_measured", ".wb-panel >> nth=1")


def test_a_wrong_name_is_said_at_its_field_and_the_last_picture_stays(shown: Page) -> None:
    field = shown.panel(1).get_by_label("Model: a name, folder or hub id")
    bars = shown.panel(1).locator(".barlayer .point").count()
    field.fill("./nowhere")
    field.press("Enter")
    error = shown.panel(1).locator(".wb-error-box .wb-error").first
    error.wait_for()
    assert "There is no folder nowhere." in error.inner_text()
    assert shown.panel(1).locator(".barlayer .point").count() == bars > 0, "the last good picture stays"
    assert_layout(shown.page)
    shown.notebook.screenshot("method_chooser_error", ".wb-panel >> nth=1")
    shown.panel(1).get_by_role("button", name='Use "town"').click()
    error.wait_for(state="detached")
    shown.wait_sentence("it fits the T4", 1)
    assert shown.notebook.kernel("print(town.state.model)") == "town"


def test_names_stay_text(shown: Page) -> None:
    bad = "<img src=x onerror='window.hacked = 1'>"
    shown.notebook.kernel(f'town.set("gpu", "{bad}")')
    shown.wait_sentence("is not known here", 1)
    assert shown.page.evaluate("() => window.hacked") is None and shown.page.locator(".wb-panel img").count() == 0
