"""A clock that is set back: what was asked and what took how long do not hang on it. A worker and a reader whose clock really goes back an hour are `long_clock.py`."""

from __future__ import annotations

import numpy as np
import pytest

from tests.runs import tools
from widgets.run_monitor import words
from workbench import living
from workbench.journal import commands as cmd
from workbench.journal import events as ev
from workbench.journal.history import History
from workbench.journal.log import Log
from workbench.runs.run import Run
from workbench.runs.start import prepare

pytestmark = pytest.mark.faults


@pytest.mark.parametrize("late", [True, False], ids=["asked of this attempt", "asked of an earlier one"])
def test_a_command_counts_by_its_place_not_by_its_time(real_data, tmp_path, late):
    """It is an hour earlier on the clock than the start of the worker it was sent to."""
    folder = prepare(tools.recipe(real_data, steps=3, checkpoint_every=3, evaluate_every=3, sample_prompts=0), tmp_path, "clock")
    for send in ((False, True) if late else (True, False)):
        if send:
            cmd.send(folder, cmd.Stop(time=1.0))
        else:
            living.note(folder, 1, asked=cmd.size(folder))
    assert tools.train_here(folder) == ("stopped" if late else "finished")
    assert Run(folder).history.refresh() and living.worker_of(folder)["asked"] == (0 if late else cmd.size(folder))


def test_times_are_reckoned_without_the_hour_that_came_twice(tmp_path):
    log = Log(tmp_path / "journal.jsonl")
    times = np.cumsum(np.full(40, 2.0)) + 1.8e9
    times[20:] -= 3600
    log.write(ev.encode(ev.Prepared(rows=9, heldout_rows=1, dropped={}, truncated=0, tokens=9, trained_tokens=4, parameters=5, trainable_parameters=5, steps=100)))
    for step, time in enumerate(times, 1):
        log.write(ev.encode(ev.Step(step=step, loss=1.0, time=float(time))))
    history = History(tmp_path)
    history.refresh()
    assert words._took(history) == f" in {words.duration(38 * 2.0)}"
    assert words.seconds_left(history) == pytest.approx(60 * 2.0)
    assert history.step == 40 and history.last_time == times.max()
