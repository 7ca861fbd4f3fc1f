"""A run that classifies in the run monitor: its accuracy in the sentence and in a cell, its loss per row, and nothing of that in other
runs."""

from __future__ import annotations

import math

import pytest

from tests.widgets.fakes import FakeEngine, FakeRun, prepared, steps
from widgets.run_monitor import RunMonitor
from widgets.run_monitor.answers import Answers, answers_of, span
from workbench.journal import events as ev
from workbench.recipes import Recipe


@pytest.fixture
def classifying(tmp_path) -> FakeRun:
    run = FakeRun(tmp_path / "runs" / "filter", Recipe(objective="classification", data="town:letters", steps=40))
    return run.write(prepared(steps=40), *steps(1, 20), ev.Evaluated(step=10, loss=0.6, extra={"accuracy": 0.7, "macro_f1": 0.69}),
                     ev.Evaluated(step=20, loss=0.3, extra={"accuracy": 0.9, "macro_f1": math.nan}))


def headings(monitor: RunMonitor, width: str = "wide") -> list[str]:
    layout = monitor.figure(width)["layout"]
    return [f"{cell['name']} {cell['unit']}" for cell in layout["meta"]["units"].values()]


def test_accuracy_is_in_the_sentence_and_in_a_cell(classifying):
    monitor = RunMonitor(classifying, engine=FakeEngine())
    assert "held-out loss 0.300, the lowest so far; accuracy 90.0\u202f%" in monitor.summary().text
    for width in ("wide", "medium", "narrow"):
        assert {"Loss nats per row", "Answers % of the held-out rows"} <= set(headings(monitor, width))
    lines = {trace["uid"]: trace for trace in monitor.figure()["data"] if trace.get("uid", "").startswith("answers-")}
    assert list(lines["answers-accuracy"]["y"]) == [70, 90] and list(lines["answers-accuracy"]["x"]) == [10, 20]
    assert list(lines["answers-macro_f1"]["y"]) == [69], "what is no number is not drawn"


@pytest.mark.parametrize("width", ["wide", "medium", "narrow"])
def test_the_cells_do_not_lie_on_each_other(classifying, width):
    layout = RunMonitor(classifying, engine=FakeEngine()).figure(width)["layout"]
    boxes = [(layout[name.replace("y", "x", 1)]["domain"], layout[name]["domain"]) for name in layout["meta"]["units"]]
    for number, ((left, right), (bottom, top)) in enumerate(boxes):
        for (other_left, other_right), (other_bottom, other_top) in boxes[:number]:
            assert right <= other_left or other_right <= left or top <= other_bottom or other_top <= bottom


def test_a_run_that_classifies_nothing_has_no_such_cell(tmp_path):
    run = FakeRun(tmp_path / "runs" / "plain", Recipe(steps=40)).write(prepared(steps=40), *steps(1, 20), ev.Evaluated(step=10, loss=0.6))
    monitor = RunMonitor(run, engine=FakeEngine())
    assert (
        headings(monitor)[0] == "Loss nats per token"
        and "Answers % of the held-out rows" not in headings(monitor)
        and "accuracy" not in monitor.summary().text
    )
    assert not answers_of(run.history)


@pytest.mark.parametrize(("lowest", "bottom"), [(0.93, 80.0), (0.5, 40.0), (0.02, 0.0)])
def test_the_axis_begins_below_the_lowest(lowest, bottom):
    import numpy as np

    assert span(Answers({"accuracy": (np.array([1.0]), np.array([lowest]))})) == (bottom, 104.0)
