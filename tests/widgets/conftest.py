"""A run that is at step 60 of 200, and an engine that knows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.widgets.fakes import FakeEngine, FakeRun, prepared, steps
from workbench.journal import events as ev
from workbench.recipes import Recipe


@pytest.fixture
def run(tmp_path: Path) -> FakeRun:
    """A run of 200 steps that is at step 60, changed at 30, evaluated and sampled twice."""
    made = FakeRun(tmp_path / "runs" / "2026-11-21_093015-town-lora8", Recipe(steps=200))
    made.write(
        ev.Started(pid=1),
        prepared(),
        *steps(1, 30),
        ev.Evaluated(step=20, loss=1.9),
        ev.Evaluated(step=30, loss=1.7),
        ev.Sampled(step=20, prompt="Who bakes?", reply="Nobody.", verdict="wrong"),
        ev.Sampled(step=30, prompt="Who bakes?", reply="Mira.", verdict="right"),
        ev.Changed(step=30, field="learning_rate", old=3e-4, new=1e-4),
        *steps(31, 60, rate=1e-4),
    )
    return made


@pytest.fixture
def engine(run: FakeRun) -> FakeEngine:
    made = FakeEngine()
    made.add(run)
    return made
