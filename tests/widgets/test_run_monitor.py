"""The run monitor without a browser: its words say the worst thing first, its buttons ask the run, and nothing a run wrote becomes
markup.
"""

from __future__ import annotations

import json
import math
import random
import threading
from pathlib import Path

import pytest

from tests.widgets.fakes import FakeEngine, FakeRun, StillPump, prepared, steps, trace, words
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


class Doer:
    """Runs what the monitor's threads were given, and waits until they are done."""

    def __init__(self, monitor: RunMonitor) -> None:
        self.monitor = monitor

    def click(self, name: str) -> None:
        getattr(self.monitor.made, name).click()
        self.wait()

    def wait(self) -> None:
        for errands in (self.monitor.actions.errands, self.monitor.actions.questions):
            done = threading.Event()
            errands.add(done.set)
            assert done.wait(10)


NASTY = "<script>alert(1)</script>$x$<b>&"


# ---- the sentence

def sentence(run: FakeRun, engine: FakeEngine) -> tuple[str, str]:
    said = RunMonitor(run, engine=engine).summary()
    return said.kind, said.text


def test_sentence_of_a_run_that_goes_well(run: FakeRun, engine: FakeEngine) -> None:
    assert sentence(run, engine) == ("ok", "Step 60 of 200: held-out loss 1.700, the lowest so far; about 70 s left.")


def test_printed_in_a_terminal_it_says_its_sentence(run: FakeRun, engine: FakeEngine) -> None:
    said = "Run monitor: Step 60 of 200: held-out loss 1.700, the lowest so far; about 70 s left. (A notebook shows the picture.)"
    monitor = RunMonitor(run, engine=engine)
    assert str(monitor) == said and monitor._repr_mimebundle_()["text/plain"] == said


def test_sentence_compares_with_the_parent(run: FakeRun, engine: FakeEngine, tmp_path: Path) -> None:
    child = engine.add(FakeRun(tmp_path / "runs" / "child", Recipe(steps=2000)))
    child.parent = str(run.folder)
    child.write(
        *steps(1, 20),
        ev.Evaluated(step=20, loss=1.9),
        ev.Forked(parent=str(run.folder), step=20, checkpoint=20),
        prepared(steps=2000),
        *steps(21, 1240, second=0.01),
        ev.Evaluated(step=25, loss=1.65),
    )
    assert sentence(child, engine) == (
        "ok",
        "Step 1\u202f240 of 2\u202f000: held-out loss 1.650, the lowest so far and 0.150 below town-lora8 at the same step; "
        "about 8 s left.",
    )
    child.write(ev.Evaluated(step=30, loss=1.8))
    assert (
        "held-out loss 1.800, 0.150 above its lowest at step 25 and 0.100 above town-lora8 at the same step" in sentence(child, engine)[1]
    )


@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [
        (Status("paused"), "ok", "Paused at step 60 of 200, the model stays loaded: held-out loss 1.700"),
        (Status("finished"), "ok", "Finished 60 steps in 30 s: held-out loss 1.700"),
        (Status("stopped"), "ok", "Stopped at step 60 of 200: held-out loss 1.700"),
        (Status("starting", "Starting: loading."), "idle", "Starting: loading."),
        (
            Status("died", "The worker was killed (SIGKILL) at step 60 of 200.", "run.resume() goes on from step 40."),
            "warn",
            "The worker was killed (SIGKILL) at step 60 of 200. run.resume() goes on from step 40.",
        ),
        (
            Status("failed", "Failed at step 60: the disk is full.", "Free some space."),
            "warn",
            "Failed at step 60: the disk is full. Free some space.",
        ),
    ],
)
def test_sentence_of_every_status(run: FakeRun, engine: FakeEngine, status: Status, kind: str, expected: str) -> None:
    run.status = status
    said = sentence(run, engine)
    assert said[0] == kind and said[1].startswith(expected)


def test_a_queued_run_says_behind_whom(tmp_path: Path) -> None:
    waiting = FakeRun(tmp_path / "b", Recipe(), Status("queued"))
    waiting.write(ev.Queued(position=2, behind=["2026-11-21_093015-town-lora8", "town-full"]))
    said = RunMonitor(waiting, engine=FakeEngine()).summary()
    assert said.kind == "idle" and said.text == "Waits for the device behind town-lora8, town-full; second in the queue." == queue_words(
        waiting.history
    )
    waiting.write(ev.Queued(position=9, behind=["town-lora8", "town-full"], people=["ada", "bob"], mine=1))
    assert RunMonitor(waiting, engine=FakeEngine()).summary().text == (
        "It is ada's turn. Waits for the device behind ada's town-lora8, bob's town-full and 7 others; number 9 in the queue. "
        "Move up puts it before your other runs."
    )


def test_a_run_behind_ones_own_can_be_moved_up_and_what_goes_wrong_is_said_there(tmp_path: Path) -> None:
    waiting = FakeRun(tmp_path / "b", Recipe(), Status("queued"))
    waiting.write(ev.Queued(position=1, behind=["town-lora8"]))
    monitor = RunMonitor(waiting, engine=FakeEngine(), pump=StillPump())
    assert monitor.widget and monitor.made.up.layout.display == "none"
    waiting.write(ev.Queued(position=2, behind=["town-lora8", "town-full"], mine=1))
    monitor.look_again()
    assert monitor.made.up.layout.display == "" and not monitor.made.up.disabled
    Doer(monitor).click("up")
    assert waiting.asked == [("move_up",)]
    waiting.refuse = "b cannot be moved up here: it is bob's."
    Doer(monitor).click("up")
    places = monitor.made.bar.children
    assert "it is bob&#x27;s. Wait for it." in places[places.index(monitor.made.up) + 1].children[0].value


def test_sentence_warns_of_losses_that_are_no_numbers(run: FakeRun, engine: FakeEngine) -> None:
    run.write(ev.Saved(step=60, folder="checkpoints/step-000060"), *steps(61, 70, lambda step: None))
    assert sentence(run, engine) == (
        "warn",
        "Step 70 of 200: the loss is not a number since step 61; fork from step 60 with a lower learning rate.",
    )


def test_sentence_warns_of_a_climbing_loss(run: FakeRun, engine: FakeEngine) -> None:
    run.write(*steps(61, 100, lambda step: 1.5 + (step - 60) * 0.05))
    kind, text = sentence(run, engine)
    assert kind == "warn" and text.startswith("Step 100 of 200: the training loss has climbed from 1.5") and "lower learning rate" in text
    run.write(ev.Ended(step=100, status="finished"))
    assert "a fork from before it" in RunMonitor(run, engine=engine).summary().text, "nothing brings a finished run back"


def test_batches_that_differ_are_no_alarm(tmp_path: Path) -> None:
    noise = random.Random(0)
    run = FakeRun(tmp_path / "a", Recipe(steps=400)).write(
        prepared(steps=400),
        *steps(1, 300, lambda step: 3 / step + noise.uniform(0.0, 0.25)),
        *(ev.Evaluated(step=step, loss=0.06 + noise.uniform(0, 0.01)) for step in range(20, 301, 20)),
    )
    for step in range(40, 300, 10):
        seen = History(run.folder)
        for line in (run.folder / "journal.jsonl").read_bytes().splitlines():
            event = ev.decode(line)
            if getattr(event, "step", 0) <= step:
                seen.apply(event)
        assert trouble(seen, curves_of(seen, "a"), 8) == ""


def test_sentence_warns_of_rows_learned_by_heart(run: FakeRun, engine: FakeEngine) -> None:
    run.write(*(ev.Evaluated(step=step, loss=loss) for step, loss in ((35, 1.8), (45, 1.9), (55, 2.0))))
    kind, text = sentence(run, engine)
    assert kind == "warn" and text == (
        "Step 60 of 200: held-out loss has risen from 1.700 at step 30 to 2.000 while training loss falls: it learns the rows by heart."
    )


def test_sentence_names_dropped_rows(tmp_path: Path) -> None:
    run = FakeRun(tmp_path / "a", Recipe(steps=200)).write(prepared(dropped={"answer cut off by max_length": 2}), *steps(1, 2))
    assert "; 2 of 902 rows were dropped (answer cut off by max_length)" in RunMonitor(run, engine=FakeEngine()).summary().text


def test_words_for_times_and_values() -> None:
    assert [duration(s) for s in (0.2, 20, 840, 7500, 7200)] == ["1 s", "20 s", "14 min", "2 h 5 min", "2 h"]
    assert [value_words(v) for v in (3e-4, 1.5e-5, 0.15, None, True, "cosine", 8)] == [
        "3e-4",
        "1.5e-5",
        "0.15",
        "none",
        "yes",
        "cosine",
        "8",
    ]


# ---- code and state

def test_recipe_before_its_start_starts_nothing(engine: FakeEngine) -> None:
    recipe = Recipe(steps=50, learning_rate=1e-3, seed=3)
    monitor = RunMonitor(recipe, engine=engine)
    assert engine.started == [] and monitor.run is None and monitor.summary().kind == "idle"
    assert "<b>Nothing has run yet</b>" in words(monitor.figure())
    found: dict = {}
    exec(monitor.code(), found)
    assert found["recipe"] == recipe and found["monitor"].recipe == recipe and found["monitor"].state_json() == monitor.state_json()


def test_code_of_a_run_gives_the_same_monitor(run: FakeRun, engine: FakeEngine) -> None:
    monitor = RunMonitor(run, engine=engine, smoothing=7, prompt="Who bakes?")
    assert monitor.state.runs == str(run.folder.parent)
    found: dict = {}
    exec(monitor.code(), found)
    assert found["run"].folder == run.folder and found["monitor"].state_json() == monitor.state_json()
    assert found["monitor"].figure()["layout"]["xaxis"] == monitor.figure()["layout"]["xaxis"]
    assert "# at step 30: run.set(learning_rate=0.0001)" in monitor.code()


def test_state_makes_the_round_trip(run: FakeRun, engine: FakeEngine) -> None:
    monitor = RunMonitor(run, engine=engine, overlays=("runs/a", "runs/b"), smoothing=9)
    monitor.state.pending = {"learning_rate": 1e-5}
    again = RunMonitor.from_json(monitor.state_json(), engine=engine)
    assert again.state == monitor.state and again.run is run and again.state.overlays == ("runs/a", "runs/b")


def test_the_averaged_line_goes_on_and_begins_anew_after_a_resume(run: FakeRun, engine: FakeEngine) -> None:
    monitor = RunMonitor(run, engine=engine, pump=StillPump())
    assert monitor.widget

    def drawn_is_average() -> bool:
        live = trace(monitor.live.figures["wide"], "train")
        return live["y"].tolist() == Average(monitor.span).extend(run.history.columns["loss"]).tolist()

    run.write(*steps(61, 70, rate=1e-4))
    monitor._tick()
    assert len(trace(monitor.live.figures["wide"], "train")["y"]) == 70 and drawn_is_average()
    run.write(*steps(71, 75, rate=1e-4))
    monitor.refresh()
    assert drawn_is_average()
    run.write(ev.Started(pid=1, attempt=2, resumed_from=50), prepared(), *steps(51, 90, loss=lambda step: 9.0))
    monitor.refresh()
    assert len(trace(monitor.live.figures["wide"], "train")["y"]) == 90 and drawn_is_average()
    monitor.state.smoothing = 3
    monitor.refresh()
    assert drawn_is_average()


@pytest.mark.parametrize(("status", "prompts", "said"), [
    ("running", 0, "No replies were asked for"), ("finished", 0, "No replies were asked for"), ("finished", 3, "No replies came"),
    ("running", 3, "The first replies come with the first evaluation")])
def test_where_no_replies_are_it_says_why(tmp_path: Path, status: str, prompts: int, said: str) -> None:
    run = FakeRun(tmp_path / "run", Recipe(steps=40, sample_prompts=prompts), Status(status)).write(prepared(), *steps(1, 30))
    monitor = RunMonitor(run, engine=FakeEngine(), pump=StillPump())
    assert monitor.widget is not None and said in monitor.made.samples.value


# ---- text, never markup

def test_what_a_run_wrote_is_never_markup(tmp_path: Path) -> None:
    run = FakeRun(tmp_path / "runs" / "x", Recipe(steps=200))
    run.name, run.note = NASTY, NASTY
    run.write(
        prepared(),
        *steps(1, 30),
        ev.Sampled(step=20, prompt=NASTY, reply=NASTY, verdict=NASTY),
        ev.Changed(step=9, field=NASTY, old=NASTY, new=NASTY),
    )
    child = FakeRun(tmp_path / "runs" / "y", Recipe(steps=200), Status("died", NASTY, NASTY, NASTY))
    child.parent = str(run.folder)
    child.write(prepared(), *steps(1, 30), ev.Sampled(step=20, prompt=NASTY, reply=NASTY, verdict=NASTY))
    engine = FakeEngine({"x": run, "y": child})
    monitor = RunMonitor(child, engine=engine)
    drawn = monitor.figure()
    shown = [text for text in words(drawn)] + [str(found.get(key, "")) for found in drawn["data"] for key in ("name", "hovertemplate")]
    assert any("&lt;" in text for text in shown) and not any("<script" in text or "$" in text for text in shown)
    for text in (
        static.svg(drawn, summary=monitor.summary().text),
        monitor.static_html(),
        monitor.extra_html(),
        samples_html(run.history.samples),
    ):
        assert "<script" not in text and "&lt;script&gt;" in text
    widgets = [monitor.widget]
    html = []
    while widgets:
        widget = widgets.pop()
        widgets += getattr(widget, "children", ())
        if type(widget).__name__ in ("HTML", "Progress"):
            html.append(widget.value)
    assert any("&lt;script&gt;" in text for text in html) and not any("<script" in text for text in html)


# ---- other folders and the list

def test_a_queued_run_says_in_the_list_behind_whom_it_waits(run: FakeRun, engine: FakeEngine, tmp_path: Path) -> None:
    waiting = engine.add(FakeRun(tmp_path / "runs" / "later", Recipe(), Status("queued")))
    waiting.write(ev.Queued(position=1, behind=[run.name]))
    monitor = RunMonitor(run, engine=engine, pump=StillPump())
    assert monitor.widget
    monitor._tick()
    Doer(monitor).wait()
    row = next(row for row in monitor.made.list.rows if row["name"] == "later")
    assert row["step"] == "waits" and "Waits for the device behind town-lora8; next in the queue." in row["title"]


def test_a_plain_trainers_folder_is_shown_and_not_touched(tmp_path: Path) -> None:
    log = [dict(step=k, loss=3 - k / 10, learning_rate=1e-4, grad_norm=0.5) for k in range(1, 11)] + [
        dict(step=10, eval_loss=2.1, eval_runtime=1.0)
    ]
    (tmp_path / "trainer_state.json").write_text(json.dumps(dict(log_history=log, max_steps=10, global_step=10)))
    monitor = RunMonitor(tmp_path, runs=str(tmp_path), pump=StillPump())
    assert monitor.summary().text == "Finished 10 steps: held-out loss 2.100."
    assert list(trace(monitor.figure(), "raw")["y"]) == pytest.approx([3 - k / 10 for k in range(1, 11)])
    assert monitor.widget and all(
        getattr(monitor.made, name).disabled for name in ("start", "pause", "step", "stop", "fork", "apply", "ask", "note")
    )
    assert [path.name for path in tmp_path.iterdir()] == ["trainer_state.json"]


# ---- the widget
