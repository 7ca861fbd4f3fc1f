"""The dataset balancer in a real JupyterLab: four sources balanced with keys and clicks, a mistake taken back, the rows drawn."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.browser.lab import Lab, Notebook
from tests.browser.layout import assert_layout

pytestmark = pytest.mark.browser

BEGIN = """from widgets import DatasetBalancer
panel = DatasetBalancer({"instructions": "town:instructions", "facts": "town:facts", "talk": "town:conversations", "village": "town:village"},
                        tasks={"questions": ["instructions", "facts"]})
panel"""
TRAIN = """import workbench as wb
from widgets import RunMonitor
recipe = wb.Recipe(data=panel.chosen, method=wb.LoRA(rank=4), steps=1_000_000, batch_size=8, max_length=64, heldout=0, sample_prompts=0,
                   evaluate_every=10**6, checkpoint_every=10**6)
monitor = RunMonitor(recipe, runs="balanced")
monitor"""
STOP = "monitor.run and monitor.run.status in ('running', 'paused', 'starting') and (monitor.run.stop(), monitor.run.wait(60)) and None"
HOSTILE = """from widgets import DatasetBalancer
name = "<img src=x onerror='window.hacked = 1'> $x$ & <script>window.hacked = 2</script>"
panel = DatasetBalancer({name: [{"text": name}] * 30} | {f"source number {k}": [{"text": f"row {i} of {k}"} for i in range(20 + 7 * k)] for k in range(24)},
                        model=lambda text: len(text.split()))
panel"""
MEASURING_MS = 60_000
"""Importing transformers for its tokenizer takes most of it on a machine that does other things too."""
TRAINING_MS = 60_000
DISCS = "() => [...document.querySelector('.wb-panel .js-plotly-plot').data.find(t => t.uid === 'mixed').x]"


def settled(notebook: Notebook) -> None:
    """Until all sources are measured and the sampled rows are there."""
    notebook.wait("""() => document.querySelectorAll('.wb-preview tbody tr').length === 8 && !document.querySelector('.wb-busy')
        && ![...document.querySelectorAll('.wb-source-table-place tbody tr')].some(row => row.textContent.includes('–'))""", None, MEASURING_MS)
    notebook.drawn()


@pytest.fixture(scope="module")
def balancer(lab: Lab) -> Iterator[Notebook]:
    notebook = lab.open([BEGIN, TRAIN], "balancer")
    notebook.run(0)
    notebook.wait("() => document.querySelector('.wb-busy [role=progressbar]')")  # the cell is back, and the sources are being read
    settled(notebook)
    yield notebook
    assert notebook.errors == []
    notebook.close()


def sentence(notebook: Notebook) -> str:
    return notebook.page.locator(".wb-panel [role=status]").inner_text()


def says(notebook: Notebook, words: str) -> None:
    notebook.wait("words => document.querySelector('.wb-panel [role=status]').textContent.includes(words)", words)


def line(notebook: Notebook, name: str):
    return notebook.page.locator(f".wb-source-table-place tr[data-id='{name}']")


def code(notebook: Notebook) -> str:
    return notebook.kernel("print(panel.code())")


def test_the_sources_are_read_and_shown_as_they_are(balancer: Notebook) -> None:
    assert "Every source keeps its natural share: village, the largest" in sentence(balancer)
    cells = line(balancer, "facts").locator("td").all_inner_texts()
    assert cells[0] == "facts · questions" and cells[1] == "1\u202f000"
    natural = balancer.page.evaluate(DISCS.replace("mixed", "natural"))
    assert sum(natural) == pytest.approx(100) and balancer.page.evaluate(DISCS) == pytest.approx(natural)
    assert balancer.page.locator(".wb-panel .wb-fig > [role=img]").get_attribute("aria-label") == sentence(balancer)


def test_keys_on_a_slider_move_the_discs(balancer: Notebook) -> None:
    page, before = balancer.page, balancer.page.evaluate(DISCS)
    page.get_by_label("Temperature T", exact=True).focus()
    for _ in range(9):
        page.keyboard.press("ArrowRight")
    balancer.wait("before => Math.abs(" + DISCS[6:] + "[0] - before) > 3", before[0])
    temperature = float(balancer.kernel("print(panel.state.temperature)"))
    assert temperature > 2 and page.evaluate("() => document.activeElement.getAttribute('aria-label')") == "Temperature T"
    share = float(balancer.kernel("print(panel.look().found.shares['village'])"))
    balancer.wait("wanted => Math.abs(" + DISCS[6:] + "[0] - wanted) < 1e-6", 100 * share)
    assert f"temperature={temperature!r}" in code(balancer)


def test_a_cap_and_a_factor_are_typed(balancer: Notebook) -> None:
    page = balancer.page
    assert page.get_by_label("Cap K, examples", exact=True).is_disabled()
    page.get_by_label("Rule").select_option("in proportion, with a cap")
    balancer.wait("() => !document.querySelector('input[type=range][aria-label^=Cap]').disabled")
    field = page.get_by_label("Cap K, examples, value")
    assert field.input_value() == "1\u202f000", "the rows of the source in the middle"
    field.fill("500")
    field.press("Enter")
    factor = line(balancer, "talk").get_by_label("factor of talk")
    factor.fill("2,5")
    factor.press("Enter")
    balancer.wait("() => document.activeElement.closest('tr')?.dataset.id === 'talk'")
    says(balancer, "talk is")
    assert "cap=500" in code(balancer) and "multipliers={'talk': 2.5}" in code(balancer)
    factor.fill("a lot")
    factor.press("Enter")
    assert factor.get_attribute("aria-invalid") == "true" and "Type a number" in factor.get_attribute("title")
    factor.press("Escape")
    assert factor.get_attribute("aria-invalid") == "false" and factor.input_value() == "2.5"


def test_too_many_repetitions_are_a_warning(balancer: Notebook) -> None:
    page = balancer.page
    page.get_by_role("button", name="examples", exact=True).click()
    field = page.get_by_label("Budget, examples, value")
    field.fill("12 000")
    field.press("Enter")
    balancer.wait("() => document.querySelector('.wb-panel .wb-status svg')?.getAttribute('aria-label') === 'warning'")
    assert "times" in sentence(balancer) and "12\u202f000 rows" in page.locator(".wb-action").inner_text()
    assert line(balancer, "talk").locator(".wb-word-bad").count() == 1
    assert_layout(page)


def test_a_whole_task_is_held_out_and_what_cannot_be_is_taken_back(balancer: Notebook) -> None:
    page = balancer.page
    line(balancer, "facts").get_by_label("hold out the task questions").focus()
    page.keyboard.press("Space")
    says(balancer, "Held out to test on: questions.")
    balancer.wait("() => document.querySelectorAll('.wb-source-table-place input:checked').length === 2")
    for name in ("talk", "village"):
        line(balancer, name).get_by_label(f"hold out the task {name}").click()
    error = page.locator(".wb-panel .wb-error-box")
    error.wait_for()
    assert "Every source would be held out" in error.inner_text() and len(page.evaluate(DISCS)) == 1
    assert_layout(page)
    balancer.screenshot("dataset_balancer_error")
    error.get_by_role("button", name="Undo").click()
    error.wait_for(state="detached")
    for name in ("talk", "facts"):
        line(balancer, name).get_by_label("hold out the task " + ("questions" if name == "facts" else name)).click()
    balancer.wait("() => document.querySelectorAll('.wb-source-table-place input:checked').length === 0")


def test_a_picked_source_is_marked_and_sampled_alone(balancer: Notebook) -> None:
    page = balancer.page
    page.locator(".wb-source-table-place tr[tabindex='0']").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowDown")
    picked = page.evaluate("() => document.activeElement.dataset.id")
    page.keyboard.press("Enter")
    balancer.wait("name => [...document.querySelectorAll('.wb-preview tbody tr td:first-child')].every(cell => cell.textContent === name)", picked)
    assert balancer.kernel("print(set(panel.selection['source']))") == f"{{{picked!r}}}"
    page.keyboard.press("Enter")
    balancer.wait("name => [...document.querySelectorAll('.wb-preview tbody tr td:first-child')].some(cell => cell.textContent !== name)", picked)


def test_the_chosen_mixture_is_drawn(balancer: Notebook) -> None:
    balancer.page.get_by_role("button", name="Use this mixture").click()
    balancer.wait("() => document.querySelector('.wb-action').textContent.includes('panel.chosen')")
    assert balancer.kernel("print(len(panel.dataset), panel.chosen.rates == panel.mixture.rates)") == "12000 True"


def test_it_trains_on_the_result_and_the_run_shows_the_shares(balancer: Notebook) -> None:
    rates = ast.literal_eval(balancer.kernel("print(panel.chosen.rates)"))
    balancer.run(1)
    try:
        balancer.page.locator(".wb-bar button", has_text="Start").first.click()
        balancer.wait("""() => [...document.querySelectorAll('.wb-panel .js-plotly-plot')].at(-1)?.data?.find(t => t.uid === 'drawn-3')?.x?.length > 12""",
                      None, TRAINING_MS)
        shown = balancer.page.evaluate("""() => Object.fromEntries([0, 1, 2, 3].map(k => [...document.querySelectorAll('.wb-panel .js-plotly-plot')]
            .at(-1).data.find(t => t.uid === `drawn-${k}`)).map(t => [t.name, [...t.y].at(-1)]))""")
        assert set(shown) == set(rates)
        for name, percent in shown.items():  # no source is ever a whole row away from its share
            assert percent == pytest.approx(100 * rates[name], abs=100 * 2 / 96)
    finally:
        balancer.kernel(STOP)
    balancer.page.evaluate("""() => { jupyterapp.shell.currentWidget.content.activeCellIndex = 1;
        return jupyterapp.commands.execute('notebook:clear-cell-output'); }""")
    balancer.wait("() => document.querySelectorAll('.wb-panel').length === 1")


@pytest.mark.parametrize("width", [1200, 960, 700, 420])
@pytest.mark.parametrize("theme", ["dark", "light"])
def test_no_word_is_cut_or_covered(balancer: Notebook, width: int, theme: str) -> None:
    balancer.dark(theme == "dark")
    blue = {"light": "rgb(0, 114, 178)", "dark": "rgb(75, 163, 220)"}[theme]
    balancer.wait("blue => getComputedStyle(document.querySelector('.wb-panel .tracemixed .point')).fill === blue", blue)
    stages = balancer.page.get_by_label("Two stages")
    if not stages.is_checked():
        stages.click()
        balancer.wait("() => document.querySelector('.wb-panel .js-plotly-plot').data.some(t => t.uid === 'stage-2')")
    balancer.set_width(width)
    balancer.screenshot(f"dataset_balancer_{width}" + ("_dark" if theme == "dark" else ""))
    assert_layout(balancer.page)


def test_names_and_rows_stay_text_and_many_sources_fit(lab: Lab) -> None:
    notebook = lab.open([HOSTILE], "hostile")
    notebook.run_all()
    settled(notebook)
    assert notebook.page.evaluate("() => window.hacked") is None
    assert notebook.page.locator(".wb-panel script, .wb-panel img").count() == 0
    assert "<img src=x" in notebook.page.locator(".wb-source-table-place").inner_text()
    for width in (1200, 420):
        notebook.set_width(width)
        assert_layout(notebook.page)
    notebook.screenshot("dataset_balancer_many")
    assert notebook.errors == []
    notebook.close()
