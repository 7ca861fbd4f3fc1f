"""The long set of kills, a part of `make faults`: a run killed at a hundred random moments, and fifty kernels killed while they start runs.

The moments are drawn in time, not in steps: most fall into the work between two steps, and of the rest some are aimed, at a checkpoint that is half
written and at a journal that has just grown. `WORKBENCH_KILLS=20 WORKBENCH_KERNELS=10` takes fewer; what was taken is printed.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

import workbench as wb
from tests.faults.test_faults import assert_as_uninterrupted, change, recipe, uninterrupted  # noqa: F401 (a fixture)
from tests.runs import tools
from workbench import living
from workbench.journal.history import History
from workbench.journal.log import Tail
from workbench.runs import folders
from workbench.runs.status import LIVING

pytestmark = [pytest.mark.faults, pytest.mark.timeout(7200)]
KILLS, KERNELS = int(os.environ.get("WORKBENCH_KILLS", "100")), int(os.environ.get("WORKBENCH_KERNELS", "50"))


class Reader(threading.Thread):
    """Someone who looks all the time: keeps every line it has seen, in order."""

    def __init__(self, folder: Path):
        super().__init__(daemon=True)
        self.tail, self.seen, self.over = Tail(folder / "journal.jsonl"), [], threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.001):
            self.seen += self.tail.read()

    def end(self) -> list[bytes]:
        self.over.set()
        self.join()
        return [*self.seen, *self.tail.read()]


def worker(run: wb.Run) -> int | None:
    """The process of the run itself: not the standby, which answers for it until it has forked."""
    told = living.worker_of(run.folder)
    return told["pid"] if told.get("standby") and "exit" not in told else None


def grown(run: wb.Run) -> int:
    """Bytes of its journal, 0 before there is one."""
    path = run.folder / "journal.jsonl"
    return path.stat().st_size if path.exists() else 0


def moment(run: wb.Run, draw: random.Random, longest_s: float) -> str:
    """Wait until the moment of the next kill; returns what it was aimed at."""
    tools.until(lambda: worker(run) or run.status not in LIVING, 120, "the worker")
    aim = draw.choice(["any moment", "any moment", "a checkpoint half written", "a journal just grown"])
    if aim == "any moment":
        threading.Event().wait(draw.uniform(0, longest_s))
    elif aim == "a checkpoint half written":
        tools.until(lambda: list(run.folder.glob("checkpoints/checkpoint-*")) or run.status not in LIVING, 120, "a checkpoint")
        threading.Event().wait(draw.uniform(0, 0.02))
    else:
        size = grown(run)
        tools.until(lambda: grown(run) > size or run.status not in LIVING, 120, "a line")
    return aim


def test_killed_at_a_hundred_random_moments_every_run_ends_as_if_nothing_had_happened(real_data, tmp_path, uninterrupted):  # noqa: F811
    wb.standby(wait=True)
    seed = random.SystemRandom().randrange(10**6)
    draw, taken, runs, found, begun = random.Random(seed), 0, 0, Counter(), time.monotonic()
    print(f"\nkills at random moments, seed {seed}")
    while taken < KILLS:
        run = wb.start(recipe(real_data), runs=tmp_path)
        change(run)
        reader, longest_s, kills = Reader(run.folder), 2.0, 0
        reader.start()
        while True:
            asked = time.monotonic()
            aim = moment(run, draw, longest_s)
            pid, partial = worker(run), [path.name for path in run.folder.glob("checkpoints/checkpoint-*")]
            if pid is None or run.status not in LIVING:
                break
            os.kill(pid, signal.SIGKILL)
            status = run.wait(60)
            if status != "died":  # it had just ended
                break
            attempt = run.history.started.attempt if run.history.started else 0
            torn = grown(run) > 0 and not (run.folder / "journal.jsonl").read_bytes().endswith(b"\n")
            found[aim] += 1
            found["a checkpoint was being written"] += bool(partial)
            found["the journal's last line was torn"] += torn
            found[f"phase {run.history.phase}"] += 1
            kills, taken = kills + 1, taken + 1
            longest_s = 0.5 * longest_s + 1.0 * (time.monotonic() - asked)
            assert "SIGKILL" in status.sentence and "run.resume()" in status.remedy
            run.resume()
            tools.until(lambda: run.status not in LIVING or run.history.started and run.history.started.attempt > attempt, 120,
                        "the new attempt")
            if kills == 20 or taken == KILLS:
                break
        run.wait(1200)  # a machine that does much else
        assert_as_uninterrupted(run, uninterrupted)
        seen = reader.end()
        whole = (run.folder / "journal.jsonl").read_bytes().splitlines()
        assert whole[:len(seen)] == seen and len(whole) == len(seen), "what a reader had seen is still there, in its place"
        again = History(run.folder)
        again.refresh()
        assert again.metrics() == run.history.metrics() or tools.losses(run) == list(again.metrics()["loss"])
        runs += 1
        print(f"  run {runs}: killed {kills} times, resumed from {run.history.resumptions}, {len(seen)} lines seen by a reader, losses, changes and adapter the same", flush=True)
    print(f"{taken} kills of {runs} runs in {time.monotonic() - begun:.0f} s: " + ", ".join(f"{what} {count}" for what, count in sorted(found.items())))


KERNEL = """
import sys
import workbench as wb
from pathlib import Path
from tests.runs import tools
print("ready", flush=True)
run = wb.start(tools.recipe(Path({real_data!r}), data=tools.rows(40), steps=8, sample_prompts=0, evaluate_every=4), runs={runs!r}, name="kernel{number}")
run.wait()
"""


def test_kernels_killed_while_they_start_runs_leave_whole_runs_or_nothing(real_data, tmp_path):
    seed = random.SystemRandom().randrange(10**6)
    draw, outcomes, begun = random.Random(seed), Counter(), time.monotonic()
    whole = wb.attach(tools.here(tools.recipe(real_data, data=tools.rows(40), steps=8, sample_prompts=0, evaluate_every=4), tmp_path / "whole").folder)
    print(f"\nkernels killed, seed {seed}")
    spread_s = 0.3
    for number in range(KERNELS):
        before = {path.name for path in tmp_path.glob("runs/*")}
        code = KERNEL.format(real_data=str(real_data), runs=str(tmp_path / "runs"), number=number)
        kernel = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=tools.environment())
        assert kernel.stdout.readline().strip() == "ready"
        threading.Event().wait(spread_s * draw.random() ** 2)
        kernel.kill()
        kernel.wait()
        made = [path for path in tmp_path.glob("runs/*") if path.name not in before]
        assert len(made) <= 1
        if not made:
            outcomes["no folder"] += 1
            spread_s *= 1.3
        elif folders.half_made(made[0]) or not (made[0] / "recipe.json").exists():
            outcomes["a folder that the next start removes"] += 1
            folders.clear(tmp_path / "runs")
            assert not made[0].exists()
        else:
            run = wb.attach(made[0])
            if run.status == "new":
                outcomes["a run not begun, begun by another process"] += 1
                run.resume()
            else:
                outcomes["a run that went on"] += 1
                spread_s *= 0.8
            assert run.wait(300) == "finished", repr(run.status)
            assert tools.losses(run) == tools.losses(whole) and run.history.damaged == 0
    print(f"{KERNELS} kernels killed in {time.monotonic() - begun:.0f} s: " + ", ".join(f"{what} {count}" for what, count in sorted(outcomes.items())))
