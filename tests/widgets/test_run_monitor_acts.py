"""What a person does in the run monitor: without a browser."""

from __future__ import annotations

import json
import math
import random
import threading
from pathlib import Path

import pytest

from tests.widgets.fakes import FakeEngine, FakeRun, StillPump, prepared, steps, trace, words
from tests.widgets.test_run_monitor import Doer
from widgets.frame import static
from widgets.frame.selection import Selection
from widgets.run_monitor import RunMonitor
from widgets.run_monitor.controls import View, samples_html
from widgets.run_monitor.curves import Average, curves_of, value_words
from widgets.run_monitor.words import duration, queue_words, trouble
from workbench.journal import events as ev
from workbench.journal.history import History
from workbench.recipes import Recipe
from workbench.runs.status import Status


@pytest.mark.parametrize(
    ("status", "enabled"),
    [
        ("running", {"pause", "stop", "fork", "ask"}),
        ("paused", {"start", "step", "stop", "fork", "ask"}),
        ("queued", {"stop", "fork"}),
        ("finished", {"fork"}),
        ("died", {"start", "fork"}),
        ("stopped", {"start", "fork"}),
        ("failed", {"start", "fork"}),
    ],
)
def test_what_cannot_be_done_is_disabled(run: FakeRun, engine: FakeEngine, status: str, enabled: set[str]) -> None:
    run.status = Status(status)
    monitor = RunMonitor(run, engine=engine, pump=StillPump())
    assert (
        monitor.widget
        and {name for name in ("start", "pause", "step", "stop", "fork", "apply", "ask") if not getattr(monitor.made, name).disabled}
        == enabled
    )
    assert monitor.made.start.description == ("Resume" if "start" in enabled else "Start")
    primary = [name for name in ("start", "pause") if getattr(monitor.made, name).button_style == "primary"]
    assert primary == [name for name in ("start", "pause") if name in enabled]
    assert not View(status=status, run="x", read_only=True, has_recipe=True, step=5).can["stop"]


def test_clicks_ask_the_run(run: FakeRun, engine: FakeEngine) -> None:
    monitor = RunMonitor(run, engine=engine, pump=StillPump())
    assert monitor.widget
    doer = Doer(monitor)
    doer.click("pause")
    run.status = Status("paused")
    monitor.look_again()
    for name in ("step", "start", "stop"):
        doer.click(name)
    monitor.made.rate.value = 5e-5
    assert (
        monitor.state.pending == {"learning_rate": 5e-5}
        and not monitor.made.apply.disabled
        and "# not applied yet: run.set(learning_rate=5e-05)" in monitor.code()
    )
    monitor.made.rate.value = 1e-4
    assert monitor.state.pending == {} and monitor.made.apply.disabled
    monitor.made.rate.value, monitor.made.every.value = 2.04e-5, 50
    doer.click("apply")
    assert run.asked == [("pause",), ("step",), ("resume",), ("stop",), ("set", {"learning_rate": 2.04e-5, "evaluate_every": 50})]
    monitor.made.question.value = "Who bakes?"
    doer.click("ask")
    assert run.asked[-1] == ("generate", "Who bakes?") and "Mira is a baker." in monitor.made.reply.value
    monitor.made.note.value = "a good one"
    doer.wait()
    assert run.note == "a good one"


def test_the_rate_is_shown_exactly_and_stays_where_it_was_put(run: FakeRun, engine: FakeEngine) -> None:
    run.write(ev.Changed(step=60, field="learning_rate", old=1e-4, new=3.16e-4))
    monitor = RunMonitor(run, engine=engine, pump=StillPump())
    assert monitor.widget
    rate, apply, doer = monitor.made.rate, monitor.made.apply, Doer(monitor)
    monitor.look_again()
    assert rate.value == rate.home == 3.16e-4 and apply.disabled and monitor.state.pending == {}
    rate.value = 5e-4
    run.write(*steps(61, 62, rate=3.16e-4))
    monitor.look_again()
    assert rate.value == 5e-4 and rate.home == 3.16e-4 and not apply.disabled
    doer.click("apply")
    assert run.asked == [("set", {"learning_rate": 5e-4})] and rate.value == 5e-4 and apply.disabled  # sent, not in force yet
    rate.value = 3.16e-4  # taking back what is on its way is a change of its own
    assert not apply.disabled
    rate.value = 5e-4
    run.write(ev.Changed(step=62, field="learning_rate", old=3.16e-4, new=5e-4))
    monitor.look_again()
    assert rate.value == rate.home == 5e-4 and apply.disabled and monitor.state.pending == monitor.sent == {}
    rate.value = 6e-4
    doer.click("apply")
    run.write(ev.Refused(step=62, command="x", reason="This trainer has no optimizer to change."))
    monitor._refreshed_at = 0.0
    monitor._tick()
    assert rate.value == 6e-4 and not apply.disabled  # it can be asked for again
    run.status = Status("finished")
    monitor.look_again()
    assert rate.value == 5e-4 and apply.disabled


def test_what_is_in_force_waits_no_longer_though_another_command_was_refused(run: FakeRun, engine: FakeEngine) -> None:
    monitor = RunMonitor(run, engine=engine, pump=StillPump())
    assert monitor.widget
    monitor.made.rate.value = 5e-4
    Doer(monitor).click("apply")
    run.write(ev.Refused(step=60, command="from another cell", reason="The run is not paused, so it cannot take single steps."))
    monitor._refreshed_at = 0.0
    monitor._tick()
    run.write(ev.Changed(step=60, field="learning_rate", old=1e-4, new=5e-4))
    monitor.look_again()
    assert monitor.state.pending == monitor.sent == {} and monitor.made.rate.home == 5e-4 and monitor.made.apply.disabled


def test_no_look_comes_between_a_command_and_the_note_that_it_was_sent(run: FakeRun, engine: FakeEngine) -> None:
    monitor, looks = RunMonitor(run, engine=engine, pump=StillPump()), []
    assert monitor.widget
    ask = run.set

    def look() -> None:
        looks.append(monitor._lock.acquire(blocking=False))
        if looks[-1]:
            monitor._lock.release()

    def asked(**values: object) -> None:
        other = threading.Thread(target=look)
        other.start()
        other.join()
        ask(**values)

    run.set = asked
    monitor.made.rate.value = 5e-4
    Doer(monitor).click("apply")
    assert looks == [False] and monitor.sent == {"learning_rate": 5e-4}


def test_start_forks_and_picks_change_the_run_shown(run: FakeRun, engine: FakeEngine, tmp_path: Path) -> None:
    engine.next = run
    selection = Selection()
    monitor = RunMonitor(Recipe(steps=200), engine=engine, selection=selection, pump=StillPump())
    assert monitor.widget and monitor.made.apply.disabled and monitor.made.rate.disabled
    doer = Doer(monitor)
    doer.wait()
    assert engine.warmed == 1 and engine.started == []
    doer.click("start")
    assert engine.started == [Recipe(steps=200)] and monitor.run is run and selection["run"] == {str(run.folder)}
    run.child = engine.add(FakeRun(tmp_path / "runs" / "child", Recipe(steps=200))).write(prepared())
    monitor._clicked({"type": "click", "trace": "train", "index": 39, "x": 40.0, "y": 2.0})
    monitor.made.fork_rate.value = 1e-3
    doer.click("fork_now")
    assert run.asked == [("fork", 40, {"learning_rate": 1e-3})] and monitor.run is run.child
    selection.set("run", {str(run.folder)})
    doer.wait()
    assert monitor.run is run and monitor.made.list.picked == str(run.folder)
    monitor.actions.overlay(str(run.child.folder))
    doer.wait()
    assert monitor.made.list.overlays == [str(run.child.folder)]


def test_errors_stand_beside_their_control_and_the_figure_stays(run: FakeRun, engine: FakeEngine) -> None:
    monitor = RunMonitor(run, engine=engine, pump=StillPump())
    assert monitor.widget
    run.refuse = "It is being saved."
    Doer(monitor).click("pause")
    places = monitor.made.bar.children
    box = places[places.index(monitor.made.pause) + 1]
    assert "It is being saved. Wait for it." in box.children[0].value
    assert len(monitor.live.figures["wide"]["data"][0]["x"]) == 60
    run.refuse = ""
    Doer(monitor).click("pause")
    assert box not in monitor.made.bar.children


def test_new_points_are_appended_and_marks_redraw(run: FakeRun, engine: FakeEngine) -> None:
    monitor = RunMonitor(run, engine=engine, pump=StillPump())
    assert monitor.widget
    composed = monitor.live.figures["wide"]["layout"]
    monitor._refreshed_at = math.inf  # a whole figure is not due for a long time
    run.write(*steps(61, 70, rate=1e-4))
    monitor._tick()
    now = monitor.live.figures["wide"]
    assert now["layout"] == composed and all(len(trace(now, uid)["x"]) == 70 for uid in ("raw", "train", "rate", "grad", "speed", "memory"))
    monitor._refreshed_at = 0.0
    run.write(ev.Changed(step=70, field="learning_rate", old=1e-4, new=2e-4), *steps(71, 72, rate=2e-4))
    monitor._tick()
    assert monitor.state.prompt == "" and monitor.made.prompt.value == "Who bakes?"  # what the panel shows is not what a person picked
    now = monitor.live.figures["narrow"]
    assert "lr 1e-4 → 2e-4" in words(now)
    whole = RunMonitor(run, engine=engine).figure("narrow")
    for uid in ("raw", "train", "rate", "grad", "speed", "memory"):
        assert list(trace(now, uid)["y"]) == pytest.approx(list(trace(whole, uid)["y"]))


def test_steps_run_again_replace_the_old_ones(run: FakeRun, engine: FakeEngine) -> None:
    monitor = RunMonitor(run, engine=engine, pump=StillPump())
    assert monitor.widget
    run.write(ev.Started(pid=2, attempt=2, resumed_from=40), prepared(), *steps(41, 45, lambda step: 9.0))
    monitor._refreshed_at = 0.0
    monitor._tick()
    raw = trace(monitor.live.figures["wide"], "raw")
    assert list(raw["x"]) == list(range(1, 46)) and list(raw["y"][-5:]) == [9.0] * 5


def test_a_refused_command_is_said(run: FakeRun, engine: FakeEngine) -> None:
    monitor = RunMonitor(run, engine=engine, pump=StillPump())
    assert monitor.widget
    run.write(ev.Refused(step=60, command="x", reason="this run has no held-out rows to evaluate on"))
    monitor._refreshed_at = 0.0
    monitor._tick()
    group = next(group for group in monitor.made.column if monitor.made.apply in group.children)
    assert any("no held-out rows" in child.children[0].value for child in group.children if hasattr(child, "children"))
