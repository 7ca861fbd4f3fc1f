"""A page of JupyterLab with every panel open while its runs go on, a part of `make faults`: an hour of it, memory measured each minute; and the
memory of a page with a million steps.

Three journals grow all the time, written by one process as workers would write them: a fine-tuning of 10 steps a second, a policy and a reward
model of one a second each, with evaluations, samples and files of rewards; people vote in the arena; the notebook is saved every two minutes,
as JupyterLab does by itself. WORKBENCH_MINUTES gives another length; under 20 minutes nothing is judged.

"Flat" is a slope: Theil and Sen's, over the last three quarters, at most so much an hour as `BARS` says and why. A leak made on purpose is
seen. What a run's numbers take is no leak: they stay in the kernel, so that a zoom shows every step. Not measured: other browsers, and panels
that a hand moves all the time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import TimeoutError, sync_playwright
from scipy.stats import theilslopes

from tests.browser.lab import ROOT, Lab, Notebook
from tests.faults import journals
from tests.faults.growing import RUNS
from tests.runs import tools
from widgets import __all__ as EVERY

pytestmark = [pytest.mark.faults, pytest.mark.timeout(7200)]
MINUTES = float(os.environ.get("WORKBENCH_MINUTES", "60"))
LEAST_MINUTES = 20
"""A page that has just been opened still fills its lines and caches: less than this says nothing about an hour."""
SAVED_S = 120
"""JupyterLab's own interval of saving."""
PATIENCE_MS = 1_200_000
LATE_S = 10.0
"""The page may be so far behind a journal at the last reading and at half of all; how far at the worst one is printed: a machine that has a
lot else to do may starve a page for minutes."""
MIB = 2**20
MOST_POINTS = 2000 * 8
"""Of a finished run on a page: eight lines of at most 2,000."""
BARS = {"kernel": 40.0, "heap": 10.0, "renderer": 60.0, "nodes": 2000.0}
"""At most so much more an hour. Kernel (MiB of RSS): an hour is 36,000 steps of 9 numbers and 2 x 3,600 of 9 to 35, twice (history and figure),
at most doubled by how arrays grow: 23; and what the allocator holds. Heap of the page (MiB): of a line it has at most 4,000 points, of a table
some rows; what still grows are the points of evaluations. Renderer (MiB of RSS): goes up and down by some 20 with what its allocators hold.
Nodes: an evaluation is a point with its marks in each of three figures, 240 an hour."""

CELLS = ["""from widgets import *
from pathlib import Path
from tests.faults.growing import adapter
only = lambda folder: next(Path(folder).iterdir())
tuned = adapter("adapter")""",
         *(f"panel{number} = {made}\npanel{number}" for number, made in enumerate((
             "RunMonitor(only('runs'))",
             "KLMonitor(only('policies'))",
             "RewardGap(only('rewards'))",
             "PreferenceArena('votes.db', judge='Dan')\npanel3.state.view = 'results'",
             "DataExplorer('town:letters')",
             "DatasetBalancer({'facts': 'town:facts', 'letters': 'town:letters'})",
             "TemplateBuilder('town:letters')",
             "MethodChooser('town-small')",
             "QuantizationViewer('town-small')",
             "RankExplorer(tuned)")))]
TOO_SLOW = "[anywidget] Failed to initialize model"
SETTLED = """count => document.querySelectorAll('.wb-panel').length === count && !document.querySelector('.wb-busy')
    && [...document.querySelectorAll('.wb-panel .wb-fig > [role=img]')].every(place => place.dataset.version !== undefined)"""
DRAWN = """() => {
    const panels = [...document.querySelectorAll('.wb-panel')];
    const of = panel => [...panel.querySelectorAll('.js-plotly-plot')].flatMap(place => place.data ?? []);
    const last = (title, uid) => Math.max(0, ...panels.filter(panel => panel.querySelector('h2').textContent === title).flatMap(of)
        .filter(trace => trace.uid === uid).map(trace => trace.x.at(-1)));
    return {points: panels.flatMap(of).reduce((sum, trace) => sum + (trace.y?.length ?? 0), 0), figures: panels.filter(panel => of(panel).length).length,
        tuned: last('Run monitor', 'raw'), policy: last('KL monitor', 'kl-raw'), reward: last('Reward gap', 'train-accuracy')};
}"""


@dataclass
class Page:
    """The notebook, its kernel's process and its renderer's, and how they are read."""

    notebook: Notebook
    root: Path
    rows: list[dict] = field(default_factory=list)

    def __post_init__(self) -> None:
        page = self.notebook.page
        self.cdp, browser = page.context.new_cdp_session(page), page.context.browser.new_browser_cdp_session()
        for domain in ("HeapProfiler", "Performance"):
            self.cdp.send(f"{domain}.enable")
        self.kernel = psutil.Process(int(self.notebook.kernel("import os; print(os.getpid())")))
        told = browser.send("SystemInfo.getProcessInfo")["processInfo"]
        self.browser = [psutil.Process(one["id"]) for one in told]
        self.renderer = max((psutil.Process(one["id"]) for one in told if one["type"] == "renderer"), key=lambda process: process.memory_info().rss)
        browser.detach()

    def read(self, minute: float) -> dict:
        """Memory in MiB after a forced collection, nodes, points, and by run the seconds by which the page is behind its journal."""
        drawn = self.notebook.page.evaluate(DRAWN)
        steps = {name: _last_step(self.root / folder) for name, (folder, _) in RUNS.items() if (self.root / folder).is_dir()}
        self.cdp.send("HeapProfiler.collectGarbage")
        heap = self.cdp.send("Runtime.getHeapUsage")
        counts = {one["name"]: int(one["value"]) for one in self.cdp.send("Performance.getMetrics")["metrics"]}
        row = dict(
            minute=minute,
            kernel=self.kernel.memory_info().rss / MIB,
            heap=(heap["usedSize"] + heap.get("backingStorageSize", 0)) / MIB,  # numbers of figures lie in the latter
            renderer=self.renderer.memory_info().rss / MIB,
            browser=sum(process.memory_info().rss for process in self.browser if process.is_running()) / MIB,
            nodes=counts["Nodes"],
            listeners=counts["JSEventListeners"],
            points=drawn["points"],
            figures=drawn["figures"],
            steps=steps.get("tuned", 0),
            late={name: (step - drawn[name]) / RUNS[name][1] for name, step in steps.items()},
        )
        self.rows.append(row)
        return row


def ran(notebook: Notebook, cell: int) -> None:
    """Runs a cell and waits for it as long as a machine takes that trains others' models too."""
    notebook.page.evaluate("""cell => { jupyterapp.shell.currentWidget.content.activeCellIndex = cell;
        jupyterapp.commands.execute('notebook:run-cell'); }""", cell)
    notebook.wait("() => [...document.querySelectorAll('.jp-CodeCell .jp-InputArea-prompt')].every(prompt => !prompt.textContent.includes('*'))",
                  None, PATIENCE_MS)
    failed = notebook.page.locator(".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.error']")
    assert failed.count() == 0, failed.first.inner_text()


def shown(notebook: Notebook, cell: int) -> None:
    """Runs a cell until its panel stands: anywidget gives a widget 2 s to begin, which a machine that has a lot else to do may not have; then it
    is run again."""
    for wait_ms in (60_000, 60_000, 120_000, PATIENCE_MS):
        ran(notebook, cell)
        try:
            notebook.wait(SETTLED, cell, wait_ms)
            return
        except TimeoutError:
            if not any(TOO_SLOW in error for error in notebook.errors):
                raise
            print(f"  {TOO_SLOW}: cell {cell} is run again", flush=True)
            notebook.errors.clear()
    raise AssertionError(f"the panel of cell {cell} never stood")


def _last_step(folder: Path) -> int:
    """The last step in the journal of the one run in `folder`."""
    journal = next(folder.glob("*/journal.jsonl"))
    with open(journal, "rb") as file:
        file.seek(max(0, journal.stat().st_size - 400_000))
        lines = file.read().split(b"\n")[1:-1]
    return next(json.loads(line)["step"] for line in reversed(lines) if b'"event":"step"' in line)


def slopes(rows: list[dict]) -> dict[str, tuple[float, float, float]]:
    """By column the Theil-Sen slope an hour over the last three quarters of the rows, with its 95 % interval."""
    kept = rows[len(rows) // 4:]
    minutes = [row["minute"] for row in kept]
    told = {name: theilslopes([row[name] for row in kept], minutes) for name in BARS}
    return {name: (60 * each.slope, 60 * each.low_slope, 60 * each.high_slope) for name, each in told.items()}


def leaks(rows: list[dict]) -> list[str]:
    """What grows by more than its bar, in words."""
    return [f"{name} grows by {slope:.1f} an hour ({low:.1f} to {high:.1f}), bar {BARS[name]:g}"
            for name, (slope, low, high) in slopes(rows).items() if slope > BARS[name]]


HEAD = """
  | minute | steps | kernel MiB | page's heap MiB | renderer MiB | browser MiB | nodes | listeners | points | s behind: tuned, policy, reward |
  | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"""


def told(row: dict) -> str:
    late = ", ".join(f"{max(0.0, seconds):.1f}" for seconds in row["late"].values())
    return (f"  | {row['minute']:5.1f} | {row['steps']:6,} | {row['kernel']:6.1f} | {row['heap']:6.1f} | {row['renderer']:5.0f} | {row['browser']:5.0f} "
            f"| {row['nodes']:7,} | {row['listeners']:6,} | {row['points']:6,} | {late} |")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with sync_playwright() as playwright, Lab(tmp_path_factory.mktemp("hour"), playwright) as made:
        yield made


@pytest.fixture(scope="module")
def opened(lab: Lab) -> Iterator[Page]:
    """The page with every panel, all settled, and journals that grow until it is closed."""
    writer = subprocess.Popen([sys.executable, "-m", "tests.faults.growing", str(lab.notebooks)], cwd=ROOT, env=tools.environment(),
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert writer.stdout.readline() == "written\n"
        notebook = lab.open(CELLS, "hour")
        for cell, source in enumerate(CELLS):
            begun = time.monotonic()
            shown(notebook, cell)
            print(f"  {source.splitlines()[-2]}: {time.monotonic() - begun:.1f} s until it stood", flush=True)
        yield Page(notebook, lab.notebooks)
        assert writer.poll() is None and notebook.errors == []
        notebook.close()
    finally:
        writer.stdin.close()
        writer.wait(timeout=60)


def test_an_hour_of_live_updates_leaves_kernel_and_browser_flat(opened: Page) -> None:
    notebook, begun = opened.notebook, time.monotonic()
    assert notebook.page.locator(".wb-panel").count() == len(EVERY) == len(CELLS) - 1
    every_s, saved_at = min(60.0, MINUTES * 60 / 12), 0.0
    print(HEAD, flush=True)
    while True:
        passed = time.monotonic() - begun
        print(told(opened.read(passed / 60)), flush=True)
        if passed >= 60 * MINUTES:
            break
        if passed - saved_at >= SAVED_S:
            saved_at = passed
            notebook.page.evaluate("() => void jupyterapp.commands.execute('docmanager:save')")
        notebook.page.wait_for_timeout(1000 * (every_s - (time.monotonic() - begun) % every_s))  # the time itself is what is measured over
    rows, found = opened.rows, slopes(opened.rows)
    print("  " + "; ".join(f"{name} {slope:+.1f} an hour ({low:+.1f} to {high:+.1f})" for name, (slope, low, high) in found.items()), flush=True)
    assert notebook.page.locator(".wb-panel").count() == len(EVERY) and rows[-1]["figures"] == rows[0]["figures"]
    assert rows[-1]["steps"] > rows[0]["steps"] + 5 * 60 * MINUTES, "the journal did not grow"
    late = {name: sorted(row["late"][name] for row in rows) for name in RUNS}
    words = "; ".join(f"{name} {each[len(each) // 2]:.1f} s, {each[-1]:.1f} s" for name, each in late.items())
    print(f"  behind at half of the readings, and at the worst: {words}", flush=True)
    assert all(each[len(each) // 2] <= LATE_S and rows[-1]["late"][name] <= LATE_S for name, each in late.items())
    if MINUTES < LEAST_MINUTES:
        pytest.skip(f"{MINUTES:g} minutes are too few to judge an hour by")
    assert leaks(rows) == []


LEAKING = 30
"""Readings of the page that leaks, as if a minute apart."""
LEAK = {"kernel": "held.append(bytearray(b'x' * (1 << 20)))",
        "heap": "(globalThis.held ??= []).push(new Float64Array(1 << 16).fill(1), Array.from({length: 1 << 15}, Math.random))",
        "nodes": "(globalThis.cut ??= []).push(...Array.from({length: 60}, () => document.createElement('p')))"}
"""What leaks a MiB, or 60 elements that are in no page, each time."""


@pytest.mark.parametrize("what", LEAK)
def test_a_leak_on_purpose_is_seen(opened: Page, what: str) -> None:
    notebook, rows = opened.notebook, []
    if what == "kernel":
        notebook.kernel("held = []")
    for minute in range(LEAKING):
        notebook.kernel(LEAK[what]) if what == "kernel" else notebook.page.evaluate(f"() => {{ {LEAK[what]} }}")
        rows.append(opened.read(float(minute)))
    print(f"\n  {leaks(rows)}", flush=True)
    assert any(found.startswith(what) for found in leaks(rows)), slopes(rows)
    notebook.kernel("held = None") if what == "kernel" else notebook.page.evaluate("() => { globalThis.held = globalThis.cut = null; }")


def test_a_page_with_a_million_steps(lab: Lab) -> None:
    folder = lab.notebooks / "long" / "2026-11-22_090000-long"
    journals.write(folder, 1_000_000)
    ready = "from widgets import RunMonitor\nimport workbench, IPython.display, plotly, pandas, ipywidgets, anywidget"
    notebook = lab.open([ready, f"RunMonitor('long/{folder.name}', runs='long')"], "million")
    try:
        ran(notebook, 0)
        page = Page(notebook, lab.folder)
        before, begun = page.read(0), time.monotonic()
        ran(notebook, 1)
        notebook.wait("""() => (document.querySelector('.wb-panel .js-plotly-plot')?.data?.find(trace => trace.uid === 'raw')?.x?.at(-1) ?? 0)
            === 1e6""", None, PATIENCE_MS)
        seconds, after = time.monotonic() - begun, page.read(1)
        words = ", ".join(f"{name} {before[name]:.1f} and {after[name]:.1f} MiB" for name in ("heap", "renderer", "kernel"))
        print(f"\n  a million steps in JupyterLab, {(folder / 'journal.jsonl').stat().st_size / 1e6:.0f} MB of journal: drawn {seconds:.1f} s after "
              f"its cell was run, {after['points']:,} points; before and after: {words}", flush=True)
        assert after["points"] <= MOST_POINTS and after["heap"] - before["heap"] < 40 and after["kernel"] - before["kernel"] < 600
        assert notebook.errors == []
    finally:
        notebook.close()
