"""The run monitor in a real JupyterLab: a real training steered with clicks and keys, and a page that shows it whole after everything that
can happen to a page.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import TimeoutError

import workbench as wb
from tests.browser.lab import SCREENS, Lab, Notebook
from tests.browser.layout import assert_layout
from tests.runs import tools
from widgets.run_monitor.run_list import RunList

pytestmark = pytest.mark.browser

BEGIN = """import workbench as wb
from widgets import RunMonitor
recipe = wb.Recipe(model="town", data="town:instructions", method=wb.LoRA(rank=8), learning_rate=1e-3, schedule="constant",
                   warmup_steps=0, steps=1_000_000, batch_size=2, max_length=64, evaluate_every=50, checkpoint_every=50, heldout=0.01,
                   sample_prompts=1, sample_tokens=12)
monitor = RunMonitor(recipe, runs="runs")
monitor"""
BUSY = """journal = monitor.run.folder / "journal.jsonl"
begun = journal.read_bytes().count(b'"event":"step"')
while journal.read_bytes().count(b'"event":"step"') < begun + 25:
    sum(range(1_000_000))"""
AGAIN = """import workbench as wb
from widgets import RunMonitor
from pathlib import Path
run = wb.attach(sorted(Path("runs").iterdir())[-1])
RunMonitor(run, runs="runs")"""
RAW = "raw"
"""Uid of the trace with every step's loss."""
TRAINING_MS = 60_000
"""The first steps wait for a worker's imports on a machine that does other things too."""


class Going:
    """The notebook in which the run of this file goes on from test to test."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.notebook = lab, lab.open([BEGIN, BUSY, AGAIN], "monitor")

    @property
    def page(self):
        return self.notebook.page

    @property
    def folder(self) -> Path:
        return sorted((self.lab.notebooks / "runs").iterdir())[-1]

    def events(self, kind: str) -> list[dict]:
        """The journal's events of a kind, complete lines only."""
        lines = (self.folder / "journal.jsonl").read_bytes().split(b"\n")[:-1]
        return [event for event in map(json.loads, lines) if event["event"] == kind]

    def shown(self) -> list[float]:
        """The steps whose loss is drawn."""
        return self.page.evaluate(
            f"() => [...(document.querySelector('.wb-panel .js-plotly-plot')?.data?.find(t => t.uid === '{RAW}')?.x ?? [])]"
        )

    def wait_for(self, count: int) -> None:
        """Until the page draws at least `count` steps; says what the run and the page say where that does not come."""
        try:
            self.notebook.wait(
                f"count => (document.querySelector('.wb-panel .js-plotly-plot')?.data?.find(t => t.uid === '{RAW}')?.x?.length ?? 0) >= count",
                count,
                TRAINING_MS,
            )
        except TimeoutError as error:
            said = self.page.locator(".wb-panel [role=status]").all_inner_texts()
            pytest.fail(f"{len(self.shown())} of {count} steps drawn; the page says {said}; {wb.attach(self.folder).status!r}; {error}")

    def button(self, words: str):
        return self.page.locator(".wb-bar button", has_text=words).first

    def wait_enabled(self, words: str) -> None:
        self.notebook.wait(
            "words => [...document.querySelectorAll('.wb-bar button')].some(b => b.textContent.includes(words) && !b.disabled)",
            words,
            TRAINING_MS,
        )

    def sentence(self) -> str:
        return self.page.locator(".wb-panel [role=status]").inner_text()


@pytest.fixture(scope="module")
def going(lab: Lab) -> Iterator[Going]:
    made = Going(lab)
    made.notebook.run(0)
    made.notebook.drawn()
    yield made
    if made.notebook.kernel(
        "import workbench as wb; run = wb.attach(sorted(__import__('pathlib').Path('runs').iterdir())[-1]); print(run.status)"
    ) in ("running", "paused"):
        made.notebook.kernel("run.stop(); run.wait(60)")
    assert made.notebook.errors == []
    made.notebook.close()


def test_nothing_runs_until_start_is_pressed(going: Going) -> None:
    assert "Nothing has run yet" in going.sentence() and not (going.lab.notebooks / "runs").exists()
    assert_layout(going.page)
    going.notebook.screenshot("run_monitor_empty")
    going.button("Start").click()
    going.wait_for(3)
    going.wait_enabled("Pause")


def test_it_trains_and_draws_while_another_cell_computes(going: Going) -> None:
    before = len(going.shown())
    going.page.evaluate(
        "() => { jupyterapp.shell.currentWidget.content.activeCellIndex = 1; jupyterapp.commands.execute('notebook:run-cell'); }"
    )
    going.notebook.wait(
        """before => [...document.querySelectorAll('.jp-CodeCell .jp-InputArea-prompt')].some(p => p.textContent.includes('*'))
        && document.querySelector('.wb-panel .js-plotly-plot').data.find(t => t.uid === 'raw').x.length > before""",
        before,
        TRAINING_MS,
    )
    going.notebook.wait(
        "() => [...document.querySelectorAll('.jp-CodeCell .jp-InputArea-prompt')].every(p => !p.textContent.includes('*'))",
        None,
        TRAINING_MS,
    )
    told = {event["step"]: event["loss"] for event in going.events("step")}
    drawn = going.page.evaluate(
        """() => { const raw = document.querySelector('.wb-panel .js-plotly-plot').data.find(t => t.uid === 'raw');
            return [[...raw.x], [...raw.y]]; }"""
    )
    assert len(drawn[0]) > before and all(told[int(step)] == loss for step, loss in zip(*drawn, strict=True))


def test_the_keyboard_alone_changes_the_learning_rate_of_the_worker(going: Going) -> None:
    page = going.page
    page.locator(".wb-bar button:enabled").last.focus()
    focused = "() => document.activeElement?.getAttribute('aria-label') || document.activeElement?.textContent || ''"
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate(focused) == "Learning rate peak":  # past the field beside it, "Learning rate peak, value"
            break
    assert page.evaluate(focused) == "Learning rate peak"
    for _ in range(6):
        page.keyboard.press("ArrowLeft")
    shown = page.evaluate("() => Number(document.activeElement.getAttribute('aria-valuetext'))")
    assert 3e-4 <= shown <= 7e-4
    # ipywidgets sends values while the kernel is free: the last one may come after a key pressed at once
    tools.until(lambda: going.notebook.kernel("print(monitor.state.pending)").strip() == str({"learning_rate": shown}), what="the rate in the kernel")
    going.notebook.wait(
        "() => [...document.querySelectorAll('.wb-controls button')].some(b => b.textContent.includes('Apply') && !b.disabled)"
    )
    for _ in range(6):
        page.keyboard.press("Tab")
        if "Apply" in page.evaluate(focused):
            break
    page.keyboard.press("Enter")
    going.notebook.wait(
        "() => [...document.querySelectorAll('.wb-panel .annotation-text')].some(t => t.textContent.startsWith('lr 1e-3 → '))",
        None,
        TRAINING_MS,
    )
    change = going.events("changed")[-1]
    assert change["field"] == "learning_rate" and change["old"] == 1e-3 and change["new"] == shown
    going.wait_for(change["step"] + 3)
    rates = {event["step"]: event["learning_rate"] for event in going.events("step")}
    assert rates[change["step"]] == pytest.approx(1e-3) and rates[change["step"] + 2] == pytest.approx(change["new"])


def test_pause_ask_step_and_resume(going: Going) -> None:
    page = going.page
    going.button("Pause").click()
    going.notebook.wait("() => document.querySelector('.wb-panel [role=status]').textContent.startsWith('Paused')", None, TRAINING_MS)
    assert going.button("Resume").is_enabled() and going.button("Step").is_enabled() and going.button("Pause").is_disabled()
    page.get_by_label("Ask the model as it is now").fill("Who bakes bread in Dunmere?")
    page.locator(".wb-ask button").click()
    going.notebook.wait(
        "() => { const reply = document.querySelector('.wb-reply')?.textContent; return reply && reply !== '…'; }", None, TRAINING_MS
    )
    assert going.events("answered")[-1]["result"] == page.locator(".wb-reply").inner_text()
    before = going.events("step")[-1]["step"]
    going.button("Step").click()
    going.wait_for(before + 1)
    going.wait_enabled("Resume")
    assert going.events("step")[-1]["step"] == before + 1
    going.button("Resume").click()
    going.wait_for(before + 4)


def test_a_reload_shows_the_whole_curve(going: Going) -> None:
    going.notebook.save()
    before = len(going.events("step"))
    going.notebook.reload()
    going.wait_for(before + 2)
    steps = going.shown()
    assert steps[:before] == list(range(1, before + 1))


def test_after_a_kernel_restart_attach_shows_it_whole_and_it_goes_on(going: Going) -> None:
    going.notebook.restart_kernel()
    before = len(going.events("step"))
    going.page.evaluate("() => jupyterapp.commands.execute('notebook:clear-all-cell-outputs')")
    going.notebook.run(2)
    going.wait_for(before + 3)
    steps = going.shown()
    assert steps == list(range(1, len(steps) + 1))
    assert any(words.startswith("lr 1e-3") for words in going.page.locator(".wb-panel .annotation-text").all_text_contents())


def test_what_is_saved_is_readable_without_a_kernel(going: Going, tmp_path: Path) -> None:
    going.button("Stop").click()
    going.notebook.wait("() => document.querySelector('.wb-panel [role=status]')?.textContent.startsWith('Stopped')", None, TRAINING_MS)
    count = len(going.events("step"))
    going.notebook.wait(
        "count => (document.querySelector('.wb-panel .js-plotly-plot')?.data?.find(t => t.uid === 'raw')?.x?.length ?? 0) === count", count
    )
    going.notebook.wait("""() => jupyterapp.shell.currentWidget.content.model.cells.get(2).outputs.toJSON()
        .some(output => output.data?.['text/html']?.includes('Stopped at step'))""")
    going.notebook.save()
    subprocess.run(
        [sys.executable, "-m", "nbconvert", "--to", "html", str(going.notebook.path), "--output-dir", str(tmp_path)],
        check=True,
        capture_output=True,
        timeout=120,
    )
    page = going.page.context.new_page()
    page.goto(next(tmp_path.glob("*.html")).as_uri())
    picture = page.locator(".wb-static svg[role=img]")
    assert picture.count() == 1 and f"Stopped at step {count}" in picture.locator("title").text_content()
    assert picture.locator("path").count() > 5 and "lr 1e-3" in picture.text_content()
    assert going.events("sampled")[-1]["reply"] in page.locator(".wb-static").inner_text()
    page.screenshot(path=SCREENS / "run_monitor_saved.png", full_page=True)
    page.close()


STORY = "from tests.widgets.story import monitor\nmonitor({folder!r}, hostile={hostile})"


@pytest.fixture(scope="module")
def story(lab: Lab) -> Iterator[Notebook]:
    """A fork in the middle of its run, its parent and its neighbours."""
    notebook = lab.open([STORY.format(folder="story", hostile=False)], "story")
    notebook.run_all()
    notebook.drawn()
    notebook.wait("() => document.querySelector('.wb-run-list-place tbody tr[data-id]')")
    yield notebook
    assert notebook.errors == []
    notebook.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 1090, 960, 880, 700, 420])
def test_no_word_is_cut_or_covered(story: Notebook, width: int, theme: str) -> None:
    story.dark(theme == "dark")
    story.set_width(width)
    story.screenshot(f"run_monitor_{width}" + ("_dark" if theme == "dark" else ""))
    assert_layout(story.page)


def test_keys_pick_a_run_and_lay_one_over_the_figure(story: Notebook) -> None:
    story.dark(False)
    story.set_width(1200)
    page = story.page
    page.locator(".wb-run-list-place tr.on").focus()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    story.wait("() => document.querySelectorAll('.wb-run-list-place input:checked').length === 1")
    page.locator(".wb-run-list-place tr.on").focus()
    for _ in range(4):
        page.keyboard.press("ArrowUp")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    story.wait("() => document.querySelector('.wb-panel .js-plotly-plot').data.some(t => t.uid === 'overlay-1' && t.name === 'town-full')")
    assert_layout(page)
    story.screenshot("run_monitor_overlay")
    page.locator(".wb-run-list-place tr", has_text="town-lora64").click()
    story.wait("() => document.querySelector('.wb-run-list-place tr.on')?.textContent.includes('town-lora64')")
    story.wait("() => document.querySelector('.wb-panel .js-plotly-plot').data.find(t => t.uid === 'raw').x.length === 12")
    page.get_by_label("Search runs").fill("rank 64")
    story.wait("() => document.querySelectorAll('.wb-run-list-place tbody tr').length === 1")
    assert_layout(page)
    story.screenshot("run_monitor_died")


def test_what_runs_and_models_write_stays_text_and_three_share_one_plotly(lab: Lab) -> None:
    notebook = lab.open([STORY.format(folder=f"hostile{k}", hostile=True) for k in range(3)], "hostile")
    notebook.run_all()
    notebook.wait("() => [...document.querySelectorAll('.wb-panel .js-plotly-plot')].filter(plot => plot._fullLayout).length === 3")
    notebook.wait("() => document.querySelectorAll('.wb-run-list-place tbody tr[data-id]').length >= 12")
    assert notebook.page.evaluate("() => window.hacked") is None
    assert notebook.page.locator(".wb-panel script, .wb-panel img").count() == 0
    assert "<script>window.hacked" in notebook.page.locator(".wb-samples").first.inner_text()
    assert notebook.kernel("from widgets.frame.live_figure import LiveFigure; print(LiveFigure.plotly_copies)") == "1"
    assert notebook.errors == []
    notebook.close()


LIST = """<style>{css}</style><div class="wb-panel"><div id="list"></div></div><script type="module">{module}
const state = {{rows: {rows}, picked: "run 150", overlays: [], empty: ""}}, heard = {{}};
window.set = (name, value) => {{ state[name] = value; heard["change:" + name](); }};
render({{model: {{get: name => state[name], on: (name, call) => {{ heard[name] = call; }}, off() {{}}, send() {{}}}}, el: document.getElementById("list")}});
</script>"""
IN_SIGHT = """id => { const place = document.getElementById("list").getBoundingClientRect(), marked = document.querySelectorAll("[aria-current=true]");
    const row = marked[0]?.getBoundingClientRect(), head = document.querySelector("thead")?.getBoundingClientRect();
    return marked.length === 1 && marked[0].dataset.id === id && row.top >= place.top + head.height - 1 && row.bottom <= place.bottom + 1; }"""


def test_of_many_runs_the_open_one_is_in_sight_and_marked(lab: Lab) -> None:
    rows = [dict(id=f"run {n}", name=f"run {n}", shown=f"run {n}", depth=0, status="finished", step="40", loss="1.2", title="") for n in range(200)]
    module = RunList._esm.replace("export default {render};", "")
    page = lab.new_page()
    page.set_content(LIST.format(css=RunList._css, module=module, rows=json.dumps(rows)))
    page.wait_for_function(IN_SIGHT, arg="run 150")
    for picked in ("run 3", "run 199"):
        page.evaluate("id => set('picked', id)", picked)
        page.wait_for_function(IN_SIGHT, arg=picked)
    page.close()
