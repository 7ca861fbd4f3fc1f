"""A run as a person would meet it, without a worker: a parent that finished, a fork of it at step 1 240 of 2 000 with two changes, and
others beside it.

`monitor(folder)` gives the panel on it; the browser tests look at it at every width.
"""

from __future__ import annotations

import math
import random
from pathlib import Path

from tests.widgets.fakes import FakeEngine, FakeRun, prepared
from widgets.run_monitor import RunMonitor
from workbench.journal import events as ev
from workbench.models.methods import Full, LoRA
from workbench.recipes import Recipe, schedule_shape
from workbench.runs.status import Status

HOSTILE = "<img src=x onerror='window.hacked = 1'><script>window.hacked = 2</script>"


def curve(step: float) -> float:
    return 1.46 + 1.15 * math.exp(-step / 90) + 0.42 * math.exp(-step / 420)


def trained(recipe: Recipe, first: int, last: int, gain: float = 0.0, seed: int = 0, peak: float | None = None) -> list[ev.Event]:
    """Steps and an evaluation every 100, with noise."""
    noise, out = random.Random(f"{seed}/{first}"), []
    for step in range(first, last + 1):
        loss = curve(step) - gain * (1 - math.exp(-(step - first) / 120))
        out.append(
            ev.Step(
                step=step,
                time=1000 + 0.5 * step,
                loss=loss + noise.gauss(0, 0.04),
                learning_rate=(peak or recipe.learning_rate) * schedule_shape(recipe, step - 1, 2000),
                grad_norm=math.exp(noise.gauss(-0.35, 0.22)),
                tokens=1024,
                tokens_per_s=1840 + noise.gauss(0, 28) - (700 if step % 100 == 1 else 0),
                memory_gib=11.6,
            )
        )
        if step % 100 == 0:
            out.append(ev.Evaluated(step=step, loss=loss + 0.055 + noise.gauss(0, 0.004)))
    return out


def story(folder: Path, hostile: bool = False) -> tuple[FakeEngine, FakeRun]:
    """The engine with all runs, and the one to show."""
    engine, recipe = FakeEngine(), Recipe(steps=2000, learning_rate=2e-4)

    def add(name: str, made: Recipe, status: str, *events: ev.Event) -> FakeRun:
        run = engine.add(FakeRun(folder / name, made, Status(status)))
        run.write(ev.Started(pid=1), prepared(steps=2000), *events)
        run.history.refresh()
        return run

    add("2026-11-21_080000-town-full", recipe.replace(method=Full()), "finished", *trained(recipe, 1, 600, seed=1))
    parent = add("2026-11-21_093015-town-lora8", recipe, "finished", *trained(recipe, 1, 2000), ev.Ended(step=2000, status="finished"))
    add("2026-11-21_095000-town-lora64", recipe.replace(method=LoRA(rank=64)), "died", *trained(recipe, 1, 12, seed=2))
    child = engine.add(FakeRun(folder / "2026-11-21_101500-town-lora8-lr1e-4", recipe))
    child.parent = str(parent.folder)
    child.write(
        *trained(recipe, 1, 400),
        ev.Forked(parent=str(parent.folder), step=400, checkpoint=400),
        ev.Started(pid=2),
        prepared(steps=2000, start_step=400),
        ev.Changed(step=400, field="learning_rate", old=2e-4, new=1e-4),
        *trained(recipe, 401, 760, 0.06, peak=1e-4),
        ev.Changed(step=760, field="evaluate_every", old=200, new=100),
        *trained(recipe, 761, 1240, 0.08, peak=1e-4),
        ev.Saved(step=1200, folder="checkpoints/step-001200"),
    )
    reply = "By the upper lane, because the road by the ford is flooded." + (HOSTILE if hostile else "")
    for step, words, verdict in (
        (400, "Tomas will come by the road by the ford.", "wrong"),
        (800, "By the upper lane. By the upper lane.", "repeats"),
        (1200, reply, "right"),
    ):
        child.write(ev.Sampled(step=step, prompt="Which way will Tomas come?" + (HOSTILE if hostile else ""), reply=words, verdict=verdict))
    child.history.refresh()
    waiting = add("2026-11-21_102000-town-lora8-seed2", recipe.replace(seed=2), "queued")
    waiting.parent = str(parent.folder)
    if hostile:
        child.name, child.note = HOSTILE, HOSTILE
    return engine, child


def monitor(folder: str | Path, hostile: bool = False, **more: object) -> RunMonitor:
    """The panel on the fork."""
    engine, run = story(Path(folder), hostile)
    return RunMonitor(run, runs=str(folder), engine=engine, **more)
