"""The quantization viewer in a real JupyterLab: tensors picked with keys, schemes moved, failures shown, perplexity measured."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.browser.lab import Lab, Notebook
from tests.browser.layout import assert_layout

pytestmark = pytest.mark.browser

BEGIN = """import torch
from widgets import QuantizationViewer
texts = ["Mira is a baker. Mira lives in Orla.", "The bells of Linmoor rang all day.", "Tomas has a dog.", "Who bakes?"]
panel = QuantizationViewer("town-small", texts=texts)
panel"""
HOSTILE = """import torch
from widgets import QuantizationViewer
name = "<img src=x onerror='window.hacked = 1'> $x$ & <script>window.hacked = 2</script>"
held = {f"model.layers.{layer}.{name}": torch.randn(16, 64) for layer in range(30)}
held["model.layers.3.broken"] = torch.full((16, 64), float("nan"))
panel = QuantizationViewer(held)
panel"""
OPENING_MS = 60_000
"""Importing torch, and for perplexity transformers, takes most of it on a machine that does other things too."""
TREE = ".wb-tensor-tree-place"
READY = """() => document.querySelectorAll('.wb-tensor-tree-place tbody tr').length > 3 && !document.querySelector('.wb-busy')
    && [...document.querySelectorAll('.wb-tensor-tree-place tbody tr')].every(row => row.lastChild.textContent !== '')"""
ENABLED = """() => [...document.querySelectorAll('.noUi-handle')].some(handle => handle.getAttribute('aria-label') === 'Outlier threshold'
    && !handle.closest('.noUi-target').hasAttribute('disabled'))"""
TRACE = "document.querySelector('.wb-panel .js-plotly-plot')?.data?.find(t => t.uid === '{}')"


@pytest.fixture(scope="module")
def viewer(lab: Lab) -> Iterator[Notebook]:
    notebook = lab.open([BEGIN], "quantization")
    notebook.run(0)
    notebook.wait(READY, None, OPENING_MS)
    says(notebook, "better than FP4")
    assert notebook.kernel("print(panel.work.wait(60) and panel.later.wait(60))") == "True"
    notebook.drawn()
    yield notebook
    assert notebook.errors == []
    notebook.close()


def says(notebook: Notebook, words: str, timeout_ms: int = 20_000) -> None:
    notebook.wait("words => document.querySelector('.wb-panel [role=status]')?.textContent.includes(words)", words, timeout_ms)


def code(notebook: Notebook) -> str:
    return notebook.kernel("print(panel.code())")


def test_the_tree_fills_and_the_picture_has_the_levels(viewer: Notebook) -> None:
    page = viewer.page
    assert page.locator(f"{TREE} tr.on td").first.inner_text() == "down_proj"
    assert page.evaluate(f"() => {TRACE.format('level-tops')}.x.length") == 16
    said = page.locator(".wb-panel [role=status]").inner_text()
    assert page.locator(".wb-panel .wb-fig > [role=img]").get_attribute("aria-label") == said
    assert page.get_by_role("treegrid", name="Tensors").count() == 1


def test_keys_walk_the_tree_unfold_a_layer_and_pick(viewer: Notebook) -> None:
    page = viewer.page
    page.locator(f"{TREE} tr[tabindex='0']").focus()
    page.keyboard.press("End")
    page.keyboard.press("ArrowUp")
    assert page.evaluate("() => document.activeElement.getAttribute('aria-expanded')") == "false"
    page.keyboard.press("ArrowRight")
    viewer.wait("() => document.activeElement.getAttribute('aria-expanded') === 'true'")
    page.keyboard.press("ArrowDown")
    name = page.evaluate("() => document.activeElement.dataset.id")
    page.keyboard.press("Enter")
    says(viewer, name.removeprefix("model.").removesuffix(".weight"))
    assert viewer.kernel("print(set(panel.selection['layer']))") == f"{{{name.removesuffix('.weight')!r}}}"
    assert page.evaluate("() => document.activeElement.dataset.id") == name, "the focus stays where the hand is"


def test_a_search_finds_tensors_in_every_layer(viewer: Notebook) -> None:
    field = viewer.page.get_by_label("Tensors", exact=True).first
    field.fill("v_proj weight")
    viewer.wait("() => document.querySelectorAll('.wb-tensor-tree-place tbody tr').length === 6")  # three layers, a matrix in each
    field.fill("no such thing")
    viewer.wait("() => document.querySelector('.wb-tensor-tree-place').textContent.includes('No tensor has such a name')")
    assert_layout(viewer.page)
    field.fill("")
    viewer.wait("() => document.querySelectorAll('.wb-tensor-tree-place tbody tr').length > 6")


def test_a_scheme_and_keys_on_a_slider_move_the_levels(viewer: Notebook) -> None:
    page = viewer.page
    bits = page.get_by_role("slider", name="Bits")
    page.get_by_label("Scheme").select_option("absmax")
    says(viewer, "int8 absmax")
    bits.focus()
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
    viewer.wait(f"() => {TRACE.format('level-tops')}?.x.length === 7")  # 3 bits: -3 to 3
    says(viewer, "int3 absmax")
    assert "bits=3" in code(viewer)
    page.get_by_label("Scheme").select_option("NF4")
    page.get_by_label("Double quantization").click()
    says(viewer, "NF4 double 64")
    viewer.wait(READY, None, OPENING_MS)
    page.get_by_role("button", name="128", exact=True).click()
    says(viewer, "4.06 bits per weight")  # 4 and 8 / 128, and a 32-bit scale for 256 blocks


def test_a_click_on_a_dot_chooses_its_scheme(viewer: Notebook) -> None:
    viewer.wait(READY, None, OPENING_MS)  # the exact numbers put the dots into their order
    viewer.kernel("panel.work.wait() and None")
    viewer.drawn()
    place = """() => { const plot = document.querySelector('.wb-panel .js-plotly-plot'), trace = plot?.data?.find(t => t.uid === 'sqnr');
        if (!trace?.x?.length) return null;
        const {xaxis3: x, yaxis3: y} = plot._fullLayout, box = plot.getBoundingClientRect();
        return [box.left + x._offset + x.l2p(trace.x[0]), box.top + y._offset + y.l2p(trace.y[0])]; }"""
    viewer.page.locator(".wb-panel .wb-status").evaluate("node => node.scrollIntoView({block: 'end'})")
    viewer.wait(place)
    x, y = viewer.page.evaluate(place)
    viewer.page.mouse.move(x - 3, y)
    viewer.page.mouse.move(x, y)
    viewer.page.mouse.click(x, y)
    says(viewer, "int3 block 128")
    assert viewer.page.get_by_label("Scheme").evaluate("node => node.selectedOptions[0].text") == "block-wise"


@pytest.mark.parametrize(("failure", "words", "cure"), [("an outlier in one weight row", "One weight row is",
                                                         "vector-wise, with a scale for each row"),
                                                        ("an outlier token", "One token is", "vector-wise, with a scale for each token"),
                                                        ("an outlier feature", "One input feature is", "LLM.int8() leaves that column")])
def test_a_failure_and_its_cure_are_seen(viewer: Notebook, failure: str, words: str, cure: str) -> None:
    if viewer.kernel("print(panel.state.bits)") != "8":
        viewer.page.get_by_role("slider", name="Bits").focus()
        for _ in range(6):
            viewer.page.keyboard.press("ArrowRight")
        viewer.wait(READY, None, OPENING_MS)
    viewer.page.get_by_label("Show a failure").select_option(failure)
    says(viewer, words)
    assert cure in viewer.page.locator(".wb-panel [role=status]").inner_text()
    lost, kept = (f"{TRACE.format(uid)}?.x[0]" for uid in ("schemes-bad", "schemes-good"))
    viewer.wait(f"() => {kept} > {lost} + 20")  # the picture of the bits before may stand a moment longer
    viewer.set_width(1200)
    assert_layout(viewer.page)
    viewer.screenshot("quantization_viewer_failure_" + failure.split()[-1])
    viewer.set_width(420)
    assert_layout(viewer.page)
    viewer.page.get_by_label("Show a failure").select_option("none")
    viewer.wait(f"() => Boolean({TRACE.format('weights')})")


def test_calibrated_activations_answer_the_threshold(viewer: Notebook) -> None:
    page = viewer.page
    viewer.set_width(1200)
    page.get_by_label("Show", exact=True).select_option("a layer's activations")
    says(viewer, "Not calibrated yet")
    page.locator(f"{TREE} tr[data-id='model.layers.0.mlp.down_proj.weight']").click()
    page.get_by_role("button", name="Calibrate").click()
    says(viewer, "input feature", OPENING_MS)
    threshold = page.get_by_role("slider", name="Outlier threshold")
    viewer.wait(ENABLED)
    threshold.focus()
    for _ in range(40):
        page.keyboard.press("ArrowLeft")
    viewer.wait(f"""() => {{ const marks = {TRACE.format("outlier-marks")}?.x.length;  // answers to earlier presses may still come
        return marks > 1 && document.querySelector('.wb-panel [role=status]').textContent.includes(`${{marks}} of 192 input features`); }}""")
    assert_layout(page)
    viewer.screenshot("quantization_viewer_activations")


def test_perplexity_is_measured_with_progress_and_layers_one_at_a_time(viewer: Notebook) -> None:
    page = viewer.page
    page.get_by_label("Show", exact=True).select_option("the whole model")
    page.get_by_label("Scheme").select_option("NF4")
    page.get_by_role("button", name="Measure perplexity").click()
    viewer.wait(f"() => {TRACE.format('perplexity-good')}?.x.length === 1", None, OPENING_MS)
    viewer.wait("() => !document.querySelector('.wb-busy')", None, OPENING_MS)  # one thing is measured at a time
    page.get_by_role("button", name="Measure layer by layer").click()
    viewer.wait(f"() => {TRACE.format('sensitivity')}?.x.length === 21", None, OPENING_MS)
    viewer.wait("() => !document.querySelector('.wb-busy')", None, OPENING_MS)
    for width in (1200, 420):
        viewer.set_width(width)
        assert_layout(page)
        viewer.screenshot(f"quantization_viewer_model_{width}")
    viewer.set_width(1200)
    page.get_by_label("Show", exact=True).select_option("one tensor")
    says(viewer, "the whole model:")


@pytest.mark.parametrize("width", [1200, 700, 420])
@pytest.mark.parametrize("theme", ["dark", "light"])
def test_no_word_is_cut_or_covered(viewer: Notebook, width: int, theme: str) -> None:
    viewer.dark(theme == "dark")
    blue = {"light": "rgb(0, 114, 178)", "dark": "rgb(75, 163, 220)"}[theme]
    viewer.wait("blue => [...document.querySelectorAll('.wb-panel .scatterlayer .point')].some(p => getComputedStyle(p).fill === blue)",
                blue)
    viewer.set_width(width)
    viewer.screenshot(f"quantization_viewer_{width}" + ("_dark" if theme == "dark" else ""))
    assert_layout(viewer.page)


def test_a_wrong_name_is_said_at_its_field_and_mended(viewer: Notebook) -> None:
    field = viewer.page.get_by_label("Model, folder or run")
    field.fill("no/such/folder/at/all")
    field.press("Enter")
    error = viewer.page.locator(".wb-panel .wb-error-box")
    error.wait_for()
    assert "There is no" in error.inner_text()
    assert_layout(viewer.page)
    field.fill("town-small")
    field.press("Enter")
    error.wait_for(state="detached")
    viewer.wait(READY, None, OPENING_MS)


def test_hostile_names_stay_text_and_a_broken_tensor_is_named(lab: Lab) -> None:
    notebook = lab.open([HOSTILE], "hostile")
    notebook.run_all()
    notebook.wait(READY, None, OPENING_MS)
    assert notebook.page.evaluate("() => window.hacked") is None
    assert notebook.page.locator(".wb-panel script, .wb-panel img").count() == 0
    notebook.page.get_by_label("Tensors", exact=True).first.fill("broken")
    notebook.wait("() => document.querySelectorAll('.wb-tensor-tree-place tbody tr').length === 2")
    row = notebook.page.locator(f"{TREE} tr", has_text="NaN").last
    row.click()
    notebook.page.locator(".wb-panel .wb-error-box").wait_for()
    says(notebook, "NaN or infinite")
    for width in (1200, 420):
        notebook.set_width(width)
        assert_layout(notebook.page)
    notebook.screenshot("quantization_viewer_hostile")
    assert notebook.errors == []
    notebook.close()
