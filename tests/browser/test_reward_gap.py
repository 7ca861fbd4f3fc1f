"""The reward-gap panel in a real JupyterLab: a run followed while it trains, scrubbed, a bin clicked and read, a pair flagged, and the next
run trained without it."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.browser.lab import Lab, Notebook
from tests.browser.layout import assert_layout

pytestmark = pytest.mark.browser

TRAIN = """import os
os.makedirs("rewards", exist_ok=True)
os.chdir("rewards")  # other tests of this session look at what lies in their own runs folder
import workbench as wb
from workbench.town.preferences import Judge, preference_pairs
from workbench.town.world import asked, held_out
wb.standby()
both = {"better_helpful": "chosen", "better_honest": "chosen"}
held = [row | both for row in preference_pairs(120, 8, held_out(), Judge(), flips=0.1)]
held[0]["prompt"] = held[0]["kind"] = "<img src=x onerror='window.hacked = 1'> $x$ & <script>window.hacked = 2</script>"
import json
with open("held.jsonl", "w") as file:
    file.writelines(json.dumps(row) + "\\n" for row in held)
rows = [row | both for row in preference_pairs(200, 7, asked(), Judge(noise=0.3))]
run = wb.start(wb.Recipe(model="town-small", data=rows, heldout="held.jsonl", objective="reward", method=wb.Full(), learning_rate=1e-3,
                         steps=24, batch_size=16, max_length=96, sample_prompts=0, evaluate_every=6, checkpoint_every=10**6),
               name="rewards")
from widgets import RewardGap
panel = RewardGap(run)
panel"""
SLOW_MS = 180_000
"""A run of some seconds on a machine that does nothing else; importing torch and transformers takes most of the rest."""
FEW_MS = 20
"""Of kernel work, for a move of a slider."""
TRACE = "(uid) => document.querySelector('.wb-panel .js-plotly-plot')?.data?.find(t => t.uid === uid)"


@pytest.fixture(scope="module")
def panel(lab: Lab) -> Iterator[Notebook]:
    notebook = lab.open([TRAIN], "rewards")
    notebook.run_all()
    says(notebook, "Step 24 of 24")
    notebook.drawn()
    yield notebook
    assert notebook.errors == []
    notebook.close()


def sentence(notebook: Notebook) -> str:
    return notebook.page.locator(".wb-panel [role=status]").inner_text()


def says(notebook: Notebook, words: str) -> None:
    notebook.wait("words => document.querySelector('.wb-panel [role=status]')?.textContent.replace(/\\s/g, ' ').includes(words)", words,
                  SLOW_MS)


def bars(notebook: Notebook) -> list[int]:
    return notebook.page.evaluate(f"() => [...({TRACE})('gaps').y]")


def test_a_run_is_followed_while_it_trains_and_scrubbed_by_keys(panel: Notebook) -> None:
    page = panel.page
    assert sentence(panel) == panel.kernel("print(panel.summary().text)")
    last = bars(panel)
    assert sum(last) == 120 and page.evaluate(f"() => [...({TRACE})('accuracy').x]") == [6, 12, 18, 24]
    page.get_by_role("slider", name="evaluation 4 of 4").focus()
    page.keyboard.press("ArrowLeft")
    says(panel, "Step 18 of 24")
    panel.wait(f"last => [...({TRACE})('gaps').y].join() !== last", ",".join(map(str, last)))
    assert panel.kernel("print(panel.state.step)") == "18"
    page.keyboard.press("ArrowRight")
    says(panel, "Step 24 of 24")
    panel.wait(f"last => [...({TRACE})('gaps').y].join() === last", ",".join(map(str, last)))


def test_a_weight_answers_within_a_frame(panel: Notebook) -> None:
    panel.kernel("""
import time
spent, old = [], panel.actions.weigh
def timed(*given):
    begun = time.thread_time(); old(*given); spent.append(1000 * (time.thread_time() - begun))
panel.actions.weigh = timed; panel.made._do = panel.actions""")
    before = bars(panel)
    panel.page.get_by_role("slider", name="helpful").focus()
    for key in ("Home", "ArrowRight", "ArrowRight", "ArrowRight"):
        panel.page.keyboard.press(key)
    panel.wait(f"before => [...({TRACE})('gaps').y].join() !== before", ",".join(map(str, before)))
    panel.wait("() => document.querySelector('.wb-panel .wb-code pre')?.textContent.includes('weights=') ?? true")
    spent = ast.literal_eval(panel.kernel("panel.actions.weigh = old; print(spent)"))
    assert spent and min(spent) < FEW_MS, spent
    apart = panel.kernel("names = {}; exec(panel.code(), names); print('\\n', abs(names['gaps']['gap'] - panel.gaps['gap']).max())")
    assert float(apart.splitlines()[-1]) < 1e-6
    panel.kernel("panel.actions.set(weights={})")


def test_a_bar_is_clicked_and_its_pairs_are_read_as_text(panel: Notebook) -> None:
    page = panel.page
    place = page.locator(".wb-panel .js-plotly-plot").first
    page.locator(".wb-panel .wb-head").scroll_into_view_if_needed()
    highest = max(range(len(bars(panel))), key=bars(panel).__getitem__)
    box = place.bounding_box()
    x, y = place.evaluate("""(plot, bar) => { const {xaxis, yaxis} = plot._fullLayout, gaps = plot.data.find(t => t.uid === 'gaps');
        return [xaxis._offset + xaxis.l2p(gaps.x[bar]), yaxis._offset + yaxis.l2p(gaps.y[bar] / 2)]; }""", highest)
    page.mouse.move(box["x"] + x - 3, box["y"] + y)
    page.mouse.move(box["x"] + x, box["y"] + y)  # plotly hovers before it clicks
    panel.wait("() => document.querySelector('.wb-panel .js-plotly-plot .hoverlayer .hovertext')")
    page.mouse.click(box["x"] + x, box["y"] + y)
    says_below = "words => document.querySelector('.wb-extra').textContent.includes(words)"
    panel.wait(says_below, f"Pair 1 of {bars(panel)[highest]} with a gap of")
    prompts = ast.literal_eval(panel.kernel("print([pair['prompt'] for pair in panel._lines(panel.seen())])"))
    page.get_by_role("button", name="Next").click()
    panel.wait(says_below, "Pair 2 of")
    assert prompts[1] in page.locator(".wb-extra").inner_text()
    panel.kernel("panel.actions.set(show='suspicious', share=1.0, place=0)\n"
                 "panel.actions.set(place=[pair['prompt'][:4] for pair in panel._lines(panel.seen())].index('<img'))")
    panel.wait("() => document.querySelector('.wb-extra').textContent.includes(\"onerror='window.hacked = 1'> $x$\")")
    assert page.evaluate("() => window.hacked") is None and page.locator(".wb-panel img, .wb-panel script").count() == 0
    panel.kernel("panel.actions.set(share=0.1, place=0)")


@pytest.mark.parametrize(("width", "theme"), [(1200, "light"), (700, "light"), (420, "light"), (420, "dark"), (1200, "dark")])
def test_no_word_is_cut_or_covered(panel: Notebook, width: int, theme: str) -> None:
    panel.dark(theme == "dark")
    panel.set_width(width)
    panel.screenshot(f"reward_gap_{width}" + ("_dark" if theme == "dark" else ""))
    assert_layout(panel.page)


def test_a_wrong_folder_is_said_beside_its_field_and_the_figure_stays(panel: Notebook) -> None:
    page, field = panel.page, panel.page.get_by_label("Run", exact=True)
    before, drawn = field.input_value(), bars(panel)
    field.fill("nowhere/at-all")
    field.press("Enter")
    error = page.locator(".wb-panel .wb-error-box")
    error.wait_for()
    assert "nowhere/at-all" in error.inner_text() and bars(panel) == drawn
    assert_layout(page)
    field.fill(before)
    field.press("Enter")
    error.wait_for(state="detached")


def test_a_flagged_pair_leaves_the_next_run(panel: Notebook) -> None:
    page = panel.page
    told = panel.kernel("print(panel.read['prompt'])")
    page.get_by_role("button", name="Flag as mislabelled").click()
    page.get_by_role("button", name="Take the flag away").wait_for()
    says(panel, "1 is flagged as mislabelled")
    page.get_by_role("button", name="Train again without 1 flagged").click()
    panel.wait("() => document.querySelector('.wb-action').textContent.includes('Finished')", None, SLOW_MS)
    left = ast.literal_eval(panel.kernel(
        "from workbench.data import run_rows; print(run_rows.read(panel._next.folder).heldout['']['prompt'].to_pylist())"))
    assert len(left) == 119 and told not in left
