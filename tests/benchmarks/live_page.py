"""What the benchmarks of the living page share: a made run folder with its writer, frames and bytes counted in the page.

A frame is counted when the path of the raw loss line has changed and the browser has come to the next animation frame, so it is
on the screen.
Times are `Date.now()`, the same clock as `time.time()` in a worker on this machine. Nothing here judges the figures.
"""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import workbench as wb
from tests.browser.lab import ROOT, Lab, Notebook
from workbench import living
from workbench.journal import events as ev
from workbench.journal.log import Log

GROWING = 6
"""Points that one step adds to the run monitor: raw and averaged loss, learning rate, gradient norm, speed, memory."""
PATIENCE_MS = 300_000

WATCH = """() => {
    const place = document.querySelector(".wb-panel .js-plotly-plot"), frames = globalThis.__frames = [];
    const path = () => place.querySelector(".traceraw path.js-line")?.getAttribute("d") ?? "";
    let before = path();
    place.on("plotly_afterplot", () => {
        const last = place.data.find(trace => trace.uid === "raw").x.at(-1), now = path();
        if (now !== before) requestAnimationFrame(() => frames.push([Date.now(), last]));
        before = now;
    });
}"""
SHOWN = "step => globalThis.__frames.length && globalThis.__frames.at(-1)[1] >= step"


@contextmanager
def shown(lab: Lab, cell: str, end: str = "") -> Iterator[Notebook]:
    """A notebook whose one cell has run; `end` is run in its kernel at last, come what may."""
    notebook = lab.open([cell], "bench")
    try:
        notebook.run(0)
        yield notebook
        assert notebook.errors == []
    finally:
        if end:
            notebook.kernel(end)
        notebook.close()


def watch(notebook: Notebook) -> None:
    """Begins to note every frame in which the raw loss line of the page's monitor has changed."""
    notebook.wait("() => document.querySelector('.wb-panel .traceraw path.js-line')", None, PATIENCE_MS)
    notebook.page.evaluate(WATCH)


def frames(notebook: Notebook) -> list[tuple[float, int]]:
    """[(seconds since 1970, last step shown), ...] since `watch`."""
    return [(at / 1000, int(last)) for at, last in notebook.page.evaluate("() => globalThis.__frames")]


def wait_shown(notebook: Notebook, step: int) -> None:
    notebook.wait(SHOWN, step, PATIENCE_MS)


def wait_drawn(notebook: Notebook, points: int) -> None:
    """Until the monitor draws its loss with at least so many points on the screen."""
    notebook.wait("""points => (document.querySelector('.wb-panel .js-plotly-plot')?.data?.find(t => t.uid === 'raw')?.x?.length ?? 0)
        >= points""", points, PATIENCE_MS)


class Wire:
    """Bytes that the page gets over its web sockets (the kernel's messages, with their headers) from now on."""

    def __init__(self, notebook: Notebook) -> None:
        self.bytes = self.messages = 0
        session = notebook.page.context.new_cdp_session(notebook.page)
        session.on("Network.webSocketFrameReceived", self._heard)
        session.send("Network.enable")

    def _heard(self, event: dict) -> None:
        frame = event["response"]
        payload = frame["payloadData"]
        text = frame["opcode"] == 1  # binary frames come as base64
        self.bytes += len(payload.encode()) if text else len(payload) * 3 // 4 - payload[-2:].count("=")
        self.messages += 1


# ---- a run without a model: its journal is written here, or by the process below

def step_event(step: int, noise: random.Random) -> ev.Step:
    """A step as a worker writes it, of a loss that falls."""
    return ev.Step(time=time.time(), step=step, loss=1.5 + 3 / math.sqrt(step) + 0.2 * noise.gauss(0, 1),
                   learning_rate=3e-4 * (1 - step / 200_000), grad_norm=1 + 0.2 * noise.gauss(0, 1), epoch=step / 1000, tokens=1024,
                   tokens_per_s=4000 + 100 * noise.gauss(0, 1), memory_gib=1.25)


def made_run(folder: Path, steps: int, pid: int) -> Path:
    """A run folder of a town recipe with `steps` steps done; the process `pid` counts as its worker."""
    folder.mkdir(parents=True)
    recipe = wb.Recipe(model="town", data="town:instructions", method=wb.LoRA(rank=8), learning_rate=3e-4, steps=100_000)
    (folder / "recipe.json").write_text(json.dumps(recipe.to_json()))
    opening = [ev.Started(time=time.time(), pid=pid, created=living.created(pid)),
               ev.Prepared(time=time.time(), rows=1000, heldout_rows=0, dropped={}, truncated=0, tokens=10**6, trained_tokens=10**5,
                           parameters=10**6, trainable_parameters=10**4, steps=100_000)]
    noise = random.Random(0)
    done = [step_event(step, noise) for step in range(1, steps + 1)]
    (folder / "journal.jsonl").write_bytes(b"".join(map(ev.encode, opening + done)))
    return folder


class Writer:
    """A process that appends events to a journal at a rate, for as long as it is asked; `with Writer(rate) as writer`."""

    def __init__(self, rate: int) -> None:
        self.rate = rate

    def __enter__(self) -> Writer:
        self.process = subprocess.Popen([sys.executable, "-m", "tests.benchmarks.live_page", str(self.rate)], cwd=ROOT,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self.process.pid
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stdin.close()
        self.process.wait(timeout=30)

    def write(self, folder: Path, first: int, seconds: float) -> Callable[[], tuple[int, float]]:
        """Begins with step `first`; the function returned waits for the end and gives (last step, events a second)."""
        self.process.stdin.write(json.dumps([str(folder), first, seconds]) + "\n")
        self.process.stdin.flush()
        return lambda: tuple(json.loads(self.process.stdout.readline()))


def _write(folder: str, step: int, seconds: float, rate: int) -> tuple[int, float]:
    """One event after the other, each a `write` of its own at its own time."""
    log, noise, begun, first = Log(Path(folder) / "journal.jsonl"), random.Random(step), time.perf_counter(), step
    while (now := time.perf_counter() - begun) < seconds:
        if (step - first) / rate > now:
            time.sleep((step - first) / rate - now)
        log.write(ev.encode(step_event(step, noise)))
        step += 1
    log.close()
    return step - 1, (step - first) / (time.perf_counter() - begun)


if __name__ == "__main__":
    for asked in sys.stdin:
        print(json.dumps(_write(*json.loads(asked), int(sys.argv[1]))), flush=True)
