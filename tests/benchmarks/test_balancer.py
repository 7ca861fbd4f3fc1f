"""A slider of the dataset balancer, 50 sources of 10,000,000 rows in all: from the change to the figure's delta, and to the pixels.

Bars: in the kernel at most 20 ms from the change to the delta sent (median); in the browser at most 80 ms from the key pressed to the frame
that shows the moved discs (median). Sources are counts with made-up lengths, so that nothing but arithmetic is behind the slider; every
figure is a whole one, for three widths, with sentence, code and table.
"""

from __future__ import annotations

import statistics
import time

import numpy as np

from tests.benchmarks.live_page import shown

ROWS, SOURCES = 10_000_000, 50
MOVES = 60

MADE = f"""import numpy as np
from widgets import DatasetBalancer
from workbench.data.profiles import Profile
rng = np.random.default_rng(0)
counts = {{f"source {{k:02}}": int(n) for k, n in enumerate(rng.multinomial({ROWS}, rng.dirichlet(np.full({SOURCES}, .6)) * .999 + .001 / {SOURCES}) + 1000)}}
def profile(rows):
    found, many = np.unique(np.exp(rng.normal(rng.uniform(3.5, 6.5), .7, 20_000)).astype(int).clip(4, 16_000), return_counts=True)
    return Profile(rows, found, many, .01)
panel = DatasetBalancer(counts, profiles={{name: profile(rows) for name, rows in counts.items()}})
panel.state.max_length, panel.state.rule = 1024, "capped"
panel"""


def panel_of() -> object:
    names: dict = {}
    exec(MADE, names)
    return names["panel"]


def test_a_slider_in_the_kernel(report) -> None:
    panel = panel_of()
    assert len(panel.base.sources) == SOURCES and sum(panel.base.sources.values()) >= ROWS
    panel.widget
    panel.live.get_state()  # a page has the figure as it is now
    panel.actions.later.wait()
    sent: list[float] = []
    panel.live.send = lambda *_: sent.append(time.perf_counter())
    sliders = {"cap": panel.made.cap, "temperature": panel.made.temperature, "budget": panel.made.budget, "max_length": panel.made.max_length}
    values = {"cap": np.geomspace(1000, 500_000, MOVES), "temperature": np.geomspace(1.1, 40, MOVES),
              "budget": np.geomspace(1e8, 2e10, MOVES), "max_length": np.resize([256, 512, 768, 1024, 2048, 4096, 8192], MOVES)}
    worst = {}
    for name, slider in sliders.items():
        took = []
        for value in values[name]:
            panel.actions.later.wait()  # the exact numbers after the move before, which come when the hand rests
            time.sleep(2 * panel.frame_ms / 1000)  # deltas closer together than a frame are sent as one
            before, begun = len(sent), time.perf_counter()
            slider.value = float(value)
            assert len(sent) == before + 1, f"{name} {value}: {len(sent) - before} deltas"
            took.append(1000 * (sent[-1] - begun))
        worst[name] = statistics.median(took)
        report(slider=name, median_ms=statistics.median(took), p95_ms=float(np.quantile(took, 0.95)), sources=SOURCES, rows=ROWS, moves=MOVES)
    assert max(worst.values()) <= 20


WATCH = """() => {
    const place = document.querySelector(".wb-panel .js-plotly-plot"), range = document.querySelector("input[type=range][aria-label^=Temperature]");
    globalThis.__took = [];
    let begun = null, before = null;
    const discs = () => [...place.querySelectorAll(".tracemixed .points path")].map(node => node.getAttribute("transform")).join();
    place.on("plotly_afterplot", () => { if (begun !== null && discs() !== before) { const from = begun; begun = null;
        requestAnimationFrame(() => globalThis.__took.push(performance.now() - from)); } });
    globalThis.__press = key => { before = discs(); begun = performance.now();
        range.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true, cancelable: true})); };
}"""


def test_a_slider_in_the_browser(lab, report) -> None:
    with shown(lab, MADE) as notebook:
        notebook.drawn()
        notebook.wait("() => document.querySelectorAll('.wb-panel .tracemixed .points path').length === 50")
        notebook.page.evaluate(WATCH)
        for move in range(MOVES + 5):
            notebook.page.evaluate("key => __press(key)", "ArrowRight" if move % 30 < 15 else "ArrowLeft")
            notebook.wait("count => __took.length === count", move + 1)
            notebook.kernel("panel.actions.later.wait() and None")
        took = notebook.page.evaluate("() => __took.slice(5)")
    report(median_ms=statistics.median(took), p95_ms=float(np.quantile(took, 0.95)), moves=len(took), sources=SOURCES, rows=ROWS)
    assert statistics.median(took) <= 80
