"""A run that learns rewards in the run monitor: the share of held-out pairs it orders rightly, and its gaps disturb nothing."""

from __future__ import annotations

from tests.widgets.fakes import FakeEngine, FakeRun, prepared, steps
from widgets.run_monitor import RunMonitor
from workbench.journal import events as ev
from workbench.recipes import Recipe


def test_a_run_of_rewards_is_shown_at_every_width(tmp_path):
    run = FakeRun(tmp_path / "runs" / "reward", Recipe(objective="reward", data="town:preferences", steps=40))
    told = {"accuracy": 0.625, "gap": -0.2, "accuracy/honest": 0.5}
    run.write(prepared(steps=40), *steps(1, 10), ev.Step(step=11, loss=0.69, learning_rate=1e-3, extra=told),
              ev.Evaluated(step=11, loss=0.66, extra=told))
    monitor = RunMonitor(run, engine=FakeEngine())
    assert "held-out loss 0.660; accuracy 62.5\u202f%" in monitor.summary().text
    for width in ("wide", "medium", "narrow"):
        lines = [trace for trace in monitor.figure(width)["data"] if trace.get("uid") == "answers-accuracy"]
        assert [list(line["y"]) for line in lines] == [[62.5]]
