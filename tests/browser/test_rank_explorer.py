"""The LoRA rank explorer in a real JupyterLab: a run opened, a matrix picked, the adapter cut and scored, a suggestion taken, two ranks trained."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.browser.lab import Lab, Notebook
from tests.browser.layout import assert_layout

pytestmark = pytest.mark.browser

TRAIN = """import os
os.makedirs("ranks", exist_ok=True)
os.chdir("ranks")  # other tests of this session look at what lies in their own runs folder
import workbench as wb
recipe = wb.Recipe(model="town-small", data="town:facts", method=wb.LoRA(rank=6), learning_rate=3e-3, steps=30, batch_size=16, max_length=64,
                   heldout=0.05, sample_prompts=0, evaluate_every=15, checkpoint_every=10**6)
wb.standby()
runs = [wb.start(recipe.replace(seed=seed), runs="runs", name=f"facts-{seed}") for seed in (0, 1)]
print([str(run.wait(150)) for run in runs])"""
SHOW = """from widgets import RankExplorer
panel = RankExplorer(runs[0])
panel"""
HOSTILE = """import json, pathlib, torch
from safetensors.torch import save_file
from widgets import RankExplorer
name = "<img src=x onerror='window.hacked = 1'> $x$ & <script>window.hacked = 2</script>"
folder = pathlib.Path("odd") / "<img src=x>"
folder.mkdir(parents=True)
save_file({f"base_model.model.model.layers.{k}.{module}.lora_{part}.weight": torch.randn(*shape) for k in range(40) for module in (name, "mlp.up_proj")
           for part, shape in (("A", (4, 80)), ("B", (80, 4)))}, folder / "adapter_model.safetensors")
(folder / "adapter_config.json").write_text(json.dumps(dict(peft_type="LORA", r=4, lora_alpha=8, base_model_name_or_path="no/<b>base</b>")))
panel = RankExplorer(folder)
panel"""
SLOW_MS = 180_000
"""Runs of a second or two on a machine that does nothing else; importing torch and transformers takes most of the rest."""
TRACE = "(uid) => document.querySelector('.wb-panel .js-plotly-plot')?.data?.find(t => t.uid === uid)"
FEW_MS = 20
"""Of kernel work, for a move of a slider."""


@pytest.fixture(scope="module")
def explorer(lab: Lab) -> Iterator[Notebook]:
    notebook = lab.open([TRAIN, SHOW], "ranks")
    notebook.page.evaluate("""() => { jupyterapp.shell.currentWidget.content.activeCellIndex = 0;
        return jupyterapp.commands.execute('notebook:run-cell'); }""")
    notebook.wait("() => document.querySelector('.jp-OutputArea-output pre')?.textContent.includes(\"['finished', 'finished']\")", None, SLOW_MS)
    notebook.run(1)
    says(notebook, "directions")
    notebook.drawn()
    yield notebook
    assert notebook.errors == []
    notebook.close()


def sentence(notebook: Notebook) -> str:
    return notebook.page.locator(".wb-panel [role=status]").inner_text()


def says(notebook: Notebook, words: str, timeout_ms: int = SLOW_MS) -> None:
    notebook.wait("words => document.querySelector('.wb-panel [role=status]')?.textContent.includes(words)", words, timeout_ms)


def click_cell(notebook: Notebook, column: int, row: int) -> None:
    """The middle of a cell of the first map."""
    place = notebook.page.locator(".wb-panel .js-plotly-plot").first
    notebook.page.locator(".wb-panel .wb-head").scroll_into_view_if_needed()
    box = place.bounding_box()
    x, y = place.evaluate("""(plot, at) => { const {xaxis, yaxis} = plot._fullLayout;
        return [xaxis._offset + xaxis.l2p(at[0]), yaxis._offset + yaxis.l2p(at[1])]; }""", [column, row])
    notebook.page.mouse.move(box["x"] + x - 3, box["y"] + y)
    notebook.page.mouse.move(box["x"] + x, box["y"] + y)  # plotly hovers before it clicks
    notebook.wait("() => document.querySelector('.wb-panel .js-plotly-plot .hoverlayer .hovertext')")
    notebook.page.mouse.click(box["x"] + x, box["y"] + y)


def test_a_run_is_read_and_shown(explorer: Notebook) -> None:
    page = explorer.page
    words = explorer.kernel("print(panel.summary().text)")
    assert sentence(explorer) == words and "directions" in words
    assert page.locator(".wb-panel .wb-fig > [role=img]").get_attribute("aria-label") == words
    explorer.wait(f"() => ({TRACE})('map')?.z.length === 7")
    shown = page.evaluate(f"() => ({TRACE})('map').z")
    assert shown == ast.literal_eval(explorer.kernel(
        "print([[float(panel.opened.spectra.at(l, m).needs(.9)) for l in panel.opened.spectra.layers] for m in panel.opened.spectra.modules])"))
    assert page.get_by_label("Run, adapter or tuned model").input_value() == explorer.kernel("print(panel.state.source)")
    assert page.get_by_role("button", name="Score it on held-out rows").is_enabled()


def test_a_click_on_a_cell_picks_the_matrix_for_every_panel(explorer: Notebook) -> None:
    click_cell(explorer, 2, 1)
    explorer.wait("() => [...document.querySelectorAll('.wb-panel select')].some(s => s.selectedOptions[0]?.textContent.replace(/\\s/g, ' ') === 'layer 2 k')")
    assert explorer.kernel("print(set(panel.selection['layer']))") == "{'model.layers.2.self_attn.k_proj'}"
    values = ast.literal_eval(explorer.kernel("print(panel.picked.values.tolist())"))
    explorer.wait(f"first => Math.abs([...({TRACE})('picked').y][0] - first) < 1e-9", values[0])
    explorer.page.get_by_label("Matrix").select_option("layer 0 up")
    explorer.wait(f"() => ({TRACE})('picked').y[0] !== {values[0]}")
    assert explorer.kernel("print(panel.picked.label)") == "layer 0 up"


def test_keys_on_the_rank_answer_within_a_frame(explorer: Notebook) -> None:
    page = explorer.page
    trainable = page.locator(".wb-rank-readouts b").first
    before = trainable.inner_text()
    explorer.kernel("""
import time
spent, old = [], panel.actions.set
def timed(*given):
    begun = time.thread_time(); old(*given); spent.append(1000 * (time.thread_time() - begun))
panel.actions.set = timed""")
    page.get_by_label("Rank r", exact=True).focus()
    for _ in range(4):
        page.keyboard.press("ArrowLeft")
    explorer.wait(f"() => ({TRACE})('kept')?.x[0] === 2")
    explorer.wait("before => document.querySelector('.wb-rank-readouts b').textContent !== before", before)
    assert page.evaluate("() => document.activeElement.getAttribute('aria-label') ?? document.activeElement.labels[0].textContent") == "Rank r"
    spent = ast.literal_eval(explorer.kernel("panel.actions.set = old; print(spent)"))
    assert spent and sorted(spent)[len(spent) // 2] < FEW_MS, spent  # a busy page sends fewer moves than there were keys
    assert explorer.kernel("print(panel.state.rank, panel.method.alpha, wb.count_parameters('town-small', panel.method)[0])").split()[:2] == ["2", "None"]
    count = int(explorer.kernel("print(wb.count_parameters('town-small', panel.method)[0])"))
    assert trainable.inner_text() == f"{count:,}".replace(",", "\u202f")


def press(notebook: Notebook, *names: str) -> str:
    """Presses targets one by one, each heard by the kernel before the next; gives what it then trains."""
    for name in names:
        group = "Feed-forward" if name in ("gate", "up", "down") else "Attention"
        notebook.page.get_by_role("group", name=group).get_by_role("button", name=name, exact=True).focus()
        notebook.page.keyboard.press("Space")
        heard = notebook.kernel("print(panel.method.target_modules)")
    return heard


def test_targets_are_pressed_and_none_at_all_is_refused(explorer: Notebook) -> None:
    page, pressed = explorer.page, "count => document.querySelectorAll('.wb-several [aria-pressed=true]').length === count"
    assert press(explorer, "gate", "up", "down") == "('q_proj', 'k_proj', 'v_proj', 'o_proj')"
    explorer.wait(pressed, 4)
    press(explorer, "q", "k", "v", "o")
    error = page.locator(".wb-panel .wb-error-box")
    error.wait_for()
    assert "press at least one" in error.inner_text()
    explorer.wait(pressed, 1)  # the last one sprang back
    assert_layout(page)
    assert press(explorer, "q", "k", "v", "gate", "up", "down") == "all-linear"
    error.wait_for(state="detached")
    explorer.wait(pressed, 7)


def test_truncating_scores_at_once(explorer: Notebook) -> None:
    explorer.page.get_by_role("button", name="Truncate to rank 2 now").click()
    says(explorer, "Cut to rank 2, its held-out loss is")
    explorer.wait(f"() => ({TRACE})('cuts')?.x[0] === 2")
    cut = ast.literal_eval(explorer.kernel("print(panel.state.cuts)"))
    assert set(cut) == {"0", "2", "6"} and explorer.page.evaluate(f"() => [...({TRACE})('cuts').y]") == [cut["2"]]
    told = float(explorer.kernel("runs[0].history.refresh(); print(runs[0].history.evaluations[-1].loss)"))
    assert cut["6"] == pytest.approx(told, rel=0.02), "the adapter as it is has the loss its run told"


def test_a_suggestion_is_taken_into_the_code(explorer: Notebook) -> None:
    page = explorer.page
    page.get_by_role("button", name="suggested", exact=True).click()
    page.get_by_role("button", name="Code").click()
    explorer.wait("() => document.querySelector('.wb-panel .wb-code pre')?.textContent.includes('rank_pattern=pattern')")
    pattern = ast.literal_eval(explorer.kernel("print(panel.method.rank_pattern)"))
    assert len(pattern) == 21 and max(pattern.values()) > 2 > min(pattern.values())
    names = explorer.kernel("names = {}; exec(panel.code(), names); print(names['method'] == panel.method, names['trainable'])").split()
    uniform = int(explorer.kernel("print(wb.count_parameters('town-small', wb.LoRA(rank=2))[0])"))
    assert names[0] == "True" and 0 <= uniform - int(names[1]) < 272, "less than one more direction of the largest matrix is left"
    page.get_by_role("button", name="Code").click()
    page.get_by_role("button", name="the same", exact=True).click()
    explorer.wait("() => !document.querySelector('.wb-panel .wb-code pre')?.textContent.includes('rank_pattern=pattern')")


def test_a_sweep_trains_and_its_points_fill_in(explorer: Notebook) -> None:
    page = explorer.page
    field = page.get_by_label("Ranks to train")
    field.fill("1 3")
    field.press("Enter")
    page.get_by_label("Seeds", exact=True).focus()
    page.keyboard.press("Home")
    explorer.wait("() => [...document.querySelectorAll('.wb-action button')].some(b => b.textContent === 'Sweep ranks 1 to 3')")
    explorer.wait("() => document.querySelector('.wb-action').textContent.includes('2 runs, one after the other')")
    page.get_by_role("button", name="Sweep ranks 1 to 3").click()
    page.get_by_role("button", name="Stop the sweep").wait_for()
    explorer.wait(f"() => ({TRACE})('trained')?.x.length === 1", None, SLOW_MS)
    explorer.wait(f"() => ({TRACE})('trained')?.x.length === 2", None, SLOW_MS)
    says(explorer, "Trained, rank")
    table = ast.literal_eval(explorer.kernel("print(panel.sweeping.sweep.table()[['method.rank', 'loss']].values.tolist())"))
    assert page.evaluate(f"() => [[...({TRACE})('trained').x], [...({TRACE})('trained').y]]") == [list(column) for column in zip(*table, strict=True)]
    page.get_by_role("button", name="Stop the sweep").wait_for(state="hidden")
    assert "All 2 runs have finished" in page.locator(".wb-action").inner_text()


def test_another_adapter_is_compared(explorer: Notebook) -> None:
    field = explorer.page.get_by_label("Compare with")
    field.fill(explorer.kernel("import os; print(os.path.relpath(runs[1].folder))"))
    field.press("Enter")
    explorer.wait(f"() => ({TRACE})('phi-map')?.z.length === 7")
    says(explorer, "it shares φ =")
    phi = ast.literal_eval(explorer.kernel("print(panel.phis[panel.picked.layer, panel.picked.module].tolist())"))
    assert explorer.page.evaluate(f"() => ({TRACE})('phi').z") == phi and len(phi) == 6


@pytest.mark.parametrize("width", [1200, 960, 700, 420])
@pytest.mark.parametrize("theme", ["dark", "light"])
def test_no_word_is_cut_or_covered(explorer: Notebook, width: int, theme: str) -> None:
    explorer.dark(theme == "dark")
    blue = {"light": "rgb(0, 114, 178)", "dark": "rgb(75, 163, 220)"}[theme]
    explorer.wait("blue => getComputedStyle(document.querySelector('.wb-panel .tracepicked .point')).fill === blue", blue)
    explorer.set_width(width)
    explorer.screenshot(f"rank_explorer_{width}" + ("_dark" if theme == "dark" else ""))
    assert_layout(explorer.page)


def test_a_folder_without_an_adapter_is_said_beside_its_field(explorer: Notebook) -> None:
    page = explorer.page
    explorer.set_width(1200)
    field = page.get_by_label("Run, adapter or tuned model")
    before = field.input_value()
    field.fill("nowhere/at-all")
    field.press("Enter")
    error = page.locator(".wb-panel .wb-error-box")
    error.wait_for()
    assert "There is no" in error.inner_text()
    explorer.wait("() => document.querySelector('.wb-bad input')?.getAttribute('aria-invalid') === 'true'")
    explorer.screenshot("rank_explorer_error")
    assert_layout(page)
    field.fill(before)
    field.press("Enter")
    error.wait_for(state="detached")
    says(explorer, "Rank 2 keeps")


def test_names_stay_text_and_many_layers_fit(lab: Lab) -> None:
    notebook = lab.open([HOSTILE], "hostile")
    notebook.run_all()
    says(notebook, "of 80 matrices the last direction is used nearly as much")  # random factors have no small direction
    notebook.drawn()
    assert notebook.page.evaluate("() => window.hacked") is None
    assert notebook.page.locator(".wb-panel script, .wb-panel img").count() == 0
    for width in (1200, 420):
        notebook.set_width(width)
        assert_layout(notebook.page)
    notebook.screenshot("rank_explorer_many")
    assert notebook.errors == []
    notebook.close()
