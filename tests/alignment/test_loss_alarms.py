"""Alarms of a loss, from series whose fault is known; what the run monitor says of the same series is in its own tests."""

from __future__ import annotations

import numpy as np
import pytest

from tests.widgets.fakes import FakeRun, prepared
from workbench.alignment import alarms, loss_alarms
from workbench.journal import events as ev
from workbench.recipes import Recipe


def run_of(folder, loss, held=(), extra=None) -> FakeRun:
    run = FakeRun(folder, Recipe())
    run.write(ev.Started(pid=1), prepared(), *(ev.Step(step=n, loss=float(value), extra=extra or {}) for n, value in enumerate(loss, start=1)))
    run.write(*(ev.Evaluated(step=step, loss=value) for step, value in held))
    run.history.refresh()
    return run


def noise(count: int, scale: float = 0.05) -> np.ndarray:
    return np.random.default_rng(0).normal(0, scale, count)


def test_a_loss_that_falls_and_stays_alarms_nobody(tmp_path):
    falling = 1.5 + 2 / np.arange(1, 201) + noise(200)
    held = [(step, 1.6 + 2 / step) for step in range(20, 201, 20)]
    assert loss_alarms.watch(run_of(tmp_path / "a", falling, held)) == []
    assert loss_alarms.watch(run_of(tmp_path / "b", [], [])) == [] and loss_alarms.watch(run_of(tmp_path / "c", [2.0])) == []


def test_a_loss_that_climbs_is_told_once_until_it_has_fallen_again(tmp_path):
    loss = np.concatenate([1.5 + 1 / np.arange(1, 101), np.full(60, 3.0)]) + noise(160)
    run, said = run_of(tmp_path / "a", loss), set()
    (alarm,) = alarms.news(run, said)
    assert alarm.kind == "climb" and 60 <= alarm.step <= 104 and alarm.value == pytest.approx(3.0, abs=0.1)
    assert alarms.news(run, said) == [] and said == {"climb"}
    run.write(*(ev.Step(step=161 + n, loss=1.5) for n in range(60)))
    run.history.refresh()
    assert alarms.news(run, said) == [] and said == set()
    run.write(*(ev.Step(step=221 + n, loss=4.0) for n in range(60)))
    run.history.refresh()
    assert [alarm.kind for alarm in alarms.news(run, said)] == ["climb"]


def test_rows_learned_by_heart_are_told_and_a_policys_loss_is_not_judged(tmp_path):
    falling = 2.0 - 0.005 * np.arange(200)
    held = [(20, 1.9), (60, 1.7), (100, 1.8), (140, 1.9), (180, 2.0)]
    (alarm,) = loss_alarms.watch(run_of(tmp_path / "a", falling, held))
    assert (alarm.kind, alarm.step, alarm.value) == ("heldout", 60, 2.0) and "from 1.700 at step 60 to 2.000" in alarm.sentence
    assert loss_alarms.watch(run_of(tmp_path / "b", falling, held, extra={"reward": 1.0})) == []
    assert loss_alarms.watch(run_of(tmp_path / "c", falling, held[:3])) == []
