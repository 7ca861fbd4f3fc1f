"""The run monitor's figure: what is drawn is what the journal says, and no two words touch."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.widgets.fakes import FakeEngine, FakeRun, prepared, steps, trace, words
from widgets.frame import static
from widgets.frame.pump import Pump
from widgets.run_monitor import RunMonitor
from widgets.run_monitor.curves import Average, Mark, Overlay, RunCurves, automatic_span
from widgets.run_monitor.figure import FORMS, figure
from workbench.journal import events as ev
from workbench.launching import Launch
from workbench.recipes import Recipe
from workbench.runs.status import Status

WIDTHS = ("wide", "medium", "narrow")


def curves(count: int, loss=lambda step: 1.5 + 2 / step, **more: object) -> RunCurves:
    step = np.arange(1, count + 1, dtype=float)
    values = np.array([loss(k) for k in step], dtype=float) if count else np.empty(0)
    fields = dict(name="a", steps=200, step=step, loss=values, learning_rate=np.full(count, 3e-4), grad_norm=np.full(count, .8),
                  tokens_per_s=np.full(count, 1800.0), memory_gib=np.full(count, 1.25))
    return RunCurves(**(fields | more))


@pytest.mark.parametrize("width", WIDTHS)
def test_points_are_the_journals(run: FakeRun, engine: FakeEngine, width: str) -> None:
    drawn = RunMonitor(run, engine=engine).figure(width)
    lines = [json.loads(line) for line in (run.folder / "journal.jsonl").read_text().splitlines()]
    told = [line for line in lines if line["event"] == "step"]
    assert list(trace(drawn, "raw")["x"]) == [line["step"] for line in told]
    assert list(trace(drawn, "raw")["y"]) == [line["loss"] for line in told]
    assert list(trace(drawn, "grad")["y"]) == [line["grad_norm"] for line in told]
    assert list(trace(drawn, "speed")["y"]) == [line["tokens_per_s"] for line in told]
    assert list(trace(drawn, "memory")["y"]) == [line["memory_gib"] for line in told]
    assert trace(drawn, "rate")["y"] == pytest.approx([line["learning_rate"] * 1e4 for line in told])
    held = [line for line in lines if line["event"] == "evaluated"]
    assert list(trace(drawn, "heldout")["x"]) == [line["step"] for line in held] and list(trace(drawn, "heldout")["y"]) == [
        line["loss"] for line in held
    ]
    units = {unit["name"]: unit["unit"] for unit in drawn["layout"]["meta"]["units"].values()}
    assert units == {
        "Loss": "nats per token",
        "Learning rate": "× 10⁻⁴",
        "Gradient norm": "before clip",
        "Speed": "tokens/s",
        "Memory": "GiB",
    }


def test_the_rest_of_the_schedule_goes_on_from_the_peak_in_force(run: FakeRun, engine: FakeEngine) -> None:
    rest = trace(RunMonitor(run, engine=engine).figure(), "rest")
    at = dict(zip(rest["x"], rest["y"], strict=True))
    assert rest["line"]["dash"] == "dot" and min(at) == 60 and max(at) == 200
    assert at[60] == pytest.approx(1e-4 * 1e4 * 0.5 * (1 + math.cos(math.pi * (60 - 6) / (200 - 6)))) and at[200] == pytest.approx(
        0, abs=1e-12
    )


def test_a_run_that_is_over_ends_its_axis_there(run: FakeRun, engine: FakeEngine) -> None:
    assert RunMonitor(run, engine=engine).figure()["layout"]["xaxis"]["range"] == [0, 200]
    run.status = Status("stopped")
    drawn = RunMonitor(run, engine=engine).figure()
    assert drawn["layout"]["xaxis"]["range"] == [0, 60] and len(trace(drawn, "rest")["x"]) == 0


def test_average_equals_pandas_and_a_loop() -> None:
    values = [3.0, 2.0, math.nan, 2.5, 1.0, math.inf, 0.5]
    mine = Average(5).extend(values)
    frame = pd.Series([v if math.isfinite(v) else math.nan for v in values])
    assert mine == pytest.approx(frame.ewm(span=5, adjust=True, ignore_na=True).mean().to_numpy())
    keep, total, weight, by_hand = 1 - 2 / 6, 0.0, 0.0, []
    for value in values:
        if math.isfinite(value):
            total, weight = keep * total + value, keep * weight + 1
        by_hand.append(total / weight)
    assert mine == pytest.approx(by_hand)
    streamed = Average(5)
    assert list(mine) == [float(streamed.extend([value])[0]) for value in values]


@pytest.mark.parametrize("span", [1, 5, 100])
def test_average_of_a_long_run_equals_the_one_step_by_step(span: float) -> None:
    draw = np.random.default_rng(span)
    values = 2 + draw.standard_normal(30_000)
    values[draw.random(len(values)) < 0.1] = math.nan
    values[:3] = math.nan
    stepwise, opened = Average(span), Average(span)
    expected = np.concatenate([stepwise.extend(part) for part in np.array_split(values, 300)])
    assert opened.extend(values[:12_345]) == pytest.approx(expected[:12_345], rel=1e-12, nan_ok=True)
    assert opened.extend(values[12_345:]) == pytest.approx(expected[12_345:], rel=1e-12, nan_ok=True)
    assert opened.extend([1.0])[0] == pytest.approx(stepwise.extend([1.0])[0], rel=1e-12)


def test_lines_that_are_no_events_are_told(run: FakeRun, engine: FakeEngine) -> None:
    assert "journal" not in RunMonitor(run, engine=engine).summary().text
    with open(run.folder / "journal.jsonl", "ab") as journal:
        journal.write(b'\x00\xff garbage\n{"v":1,"event":"step","st\n')
    assert RunMonitor(run, engine=engine).summary().text.endswith("2 lines of its journal cannot be read and were passed over.")


def test_marks_stand_at_their_steps_in_every_cell(run: FakeRun, engine: FakeEngine) -> None:
    run.write(ev.Changed(step=60, field="evaluate_every", old=20, new=10), ev.Changed(step=60, field="learning_rate", old=1e-4, new=2.5e-5))
    drawn = RunMonitor(run, engine=engine).figure()
    lines = [(shape["x0"], shape["xref"]) for shape in drawn["layout"]["shapes"] if shape["line"]["dash"] == "2px,3px"]
    assert sorted(lines) == sorted((step, axis) for step in (30, 60) for axis in ("x", "x2", "x3", "x4", "x5"))
    flags = {note["x"]: note["text"] for note in drawn["layout"]["annotations"] if note.get("borderwidth")}
    assert flags == {30: "lr 3e-4 → 1e-4", 60: "evaluate every 20 → 10 · lr 1e-4 → 2.5e-5"}


def test_forks_and_resumptions_are_marked(run: FakeRun, engine: FakeEngine, tmp_path: Path) -> None:
    child = engine.add(FakeRun(tmp_path / "runs" / "2026-11-21_100000-town-lora8-lr1e-3", Recipe(steps=200)))
    child.parent = str(run.folder)
    child.write(
        *steps(1, 40),
        ev.Forked(parent=str(run.folder), step=40, checkpoint=40),
        ev.Started(pid=2),
        prepared(start_step=40),
        ev.Changed(step=40, field="learning_rate", old=1e-4, new=1e-3),
        *steps(41, 50),
        ev.Started(pid=3, attempt=2, resumed_from=44),
        prepared(),
        *steps(45, 60),
    )
    drawn = RunMonitor(child, engine=engine).figure()
    flags = {note["x"]: note["text"] for note in drawn["layout"]["annotations"] if note.get("borderwidth")}
    assert flags == {40: "fork · lr 1e-4 → 1e-3", 44: "resumed from 44"}
    diamond = trace(drawn, "fork")
    assert diamond["x"] == [40] and diamond["marker"]["symbol"] == "diamond" and diamond["y"][0] == trace(drawn, "train")["y"][39]
    assert list(trace(drawn, "raw")["x"]) == list(range(1, 61))
    parent = trace(drawn, "overlay-0")
    assert parent["line"]["dash"] == "dot" and "grey" in parent["line"]["color"] and list(parent["y"]) == [1.9, 1.7]


def test_runs_that_differ_only_by_seed_become_a_band(run: FakeRun, engine: FakeEngine, tmp_path: Path) -> None:
    for seed, level in ((1, 2.0), (2, 2.2), (3, 2.7)):
        other = engine.add(FakeRun(tmp_path / "runs" / f"2026-11-21_08000{seed}-seeds", Recipe(steps=200, seed=seed)))
        other.write(prepared(), *steps(1, 50, lambda step, level=level: level), *(ev.Evaluated(step=s, loss=level) for s in (10, 20, 30)))
    odd = engine.add(FakeRun(tmp_path / "runs" / "2026-11-21_080009-odd", Recipe(steps=200, seed=1, batch_size=4)))
    odd.write(prepared(), *steps(1, 50, lambda step: 3.0))
    monitor = RunMonitor(run, engine=engine, overlays=tuple(str(other.folder) for other in engine.runs.values() if other is not run))
    drawn = monitor.figure()
    assert trace(drawn, "overlay-0")["y"] == pytest.approx([2.3] * 3)
    assert sorted(set(trace(drawn, "band-0")["y"])) == [2.0, 2.7]
    assert trace(drawn, "overlay-1")["y"] == pytest.approx([3.0] * 50)
    assert [found["uid"] for found in drawn["data"] if found["uid"].startswith("band")] == ["band-0"]
    assert "seeds<br>held out ×3" in words(drawn) and "odd<br>train" in words(drawn)


@pytest.mark.parametrize("count", [0, 1, 2, 5])
@pytest.mark.parametrize("width", WIDTHS)
def test_few_points(count: int, width: str) -> None:
    drawn = figure(curves(count), width=width, empty=("No step yet", "Soon."))
    if count == 0:
        assert drawn["data"] == [] and words(drawn) == ["<b>No step yet</b>", "Soon."]
    else:
        low, high = drawn["layout"]["yaxis"]["range"]
        assert low < trace(drawn, "raw")["y"][-1] < high
    assert "<svg" in static.svg(drawn)


def test_losses_that_are_no_numbers_leave_gaps() -> None:
    drawn = figure(curves(60, lambda step: math.nan if step > 40 else 2.0))
    assert np.isnan(trace(drawn, "raw")["y"][40:]).all() and trace(drawn, "train")["y"][59] == pytest.approx(2.0)
    assert all(math.isfinite(edge) for edge in drawn["layout"]["yaxis"]["range"])
    assert figure(curves(3, lambda step: math.nan))["layout"]["yaxis"]["range"] == [0.0, 1.0]


def test_the_first_steps_do_not_flatten_the_rest() -> None:
    low, high = figure(curves(1000, lambda step: 11.0 if step < 20 else 1.5 + 1e-4 * (1000 - step)))["layout"]["yaxis"]["range"]
    assert high < 2.2 and low < 1.5


def test_a_loss_that_climbs_at_the_end_stays_in_sight() -> None:
    low, high = figure(curves(1000, lambda step: 1.5 if step < 990 else 6.0), span=5)["layout"]["yaxis"]["range"]
    assert high > 5.5


def test_long_runs_are_whole_in_the_figure_and_thin_on_the_screen() -> None:
    from widgets.frame.live_figure import LiveFigure

    long = curves(20_000, lambda step: 1.5 + 2 / step, steps=20_000)
    drawn = {width: figure(long, width=width) for width in WIDTHS}
    live = LiveFigure(drawn, pump=Pump())
    state = live.get_state()
    on_screen = dict(state["_full"]["columns"])
    assert len(live.figures["wide"]["data"][0]["x"]) == 20_000 and on_screen["raw"] <= 2_000
    live.close()


# ---- no two words on each other

def boxes(drawn: dict) -> list[tuple[str, float, float, float, float]]:
    """(text, left, top, right, bottom) in px of every annotation, measured anew from the layout alone."""
    layout, (wide, high) = drawn["layout"], drawn["layout"]["meta"]["composed_at_px"]
    found = []
    for note in layout["annotations"]:
        def place(value: float, ref: str, full: float, upwards: bool) -> float:
            if ref == "paper":
                share = value
            else:
                axis = layout[(ref.split()[0][0] + "axis" + ref.split()[0][1:])]
                low, top = axis["domain"]
                share = low + (top - low) * (
                    value if ref.endswith("domain") else (value - axis["range"][0]) / (axis["range"][1] - axis["range"][0])
                )
            return (1 - share) * full if upwards else share * full

        text = note["text"].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&").replace("<b>", "").replace("</b>", "")
        if "<span" in text:
            text = text.split("<span")[0] + text.split(">")[1].split("<")[0]
        lines, size = text.split("<br>"), note["font"]["size"]
        pad = note.get("borderpad", 0) + note.get("borderwidth", 0)
        across, down = max(map(len, lines)) * size * 0.5 + 2 * pad, len(lines) * size * 1.3 + 2 * pad
        x = place(note["x"], note["xref"], wide, False) + note.get("xshift", 0)
        y = place(note["y"], note["yref"], high, True) - note.get("yshift", 0)
        left = x - {"left": 0, "center": across / 2, "right": across}[note["xanchor"]]
        top = y - {"top": 0, "middle": down / 2, "bottom": down}[note["yanchor"]]
        found.append((text, left, top, left + across, top + down))
    return found


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("at", [2, 20, 120, 197, 200])
def test_labels_never_touch(width: str, at: int) -> None:
    marks = [
        Mark(1, "lr 3e-4 → 1e-4"),
        Mark(max(2, at // 2), "fork · lr 2e-4 → 1e-4 · evaluate every 20 → 10", True),
        Mark(max(3, at // 2 + 4), "resumed from 100"),
        Mark(at, "lr 1e-4 → 3e-5"),
    ]
    held = np.arange(1.0, at + 1, max(1, at // 8))
    this = curves(at, heldout_step=held, heldout=1.51 + 2 / held, marks=marks, clip=1.0)
    far = np.arange(1.0, 201)
    others = [
        Overlay(
            label=f"town-lora{k}-with-a-long-name",
            runs=[curves(200, lambda step, k=k: 1.5 + k / 200 + 2 / step, heldout_step=far, heldout=1.5 + k / 200 + 2 / far)],
            parent=k == 0,
        )
        for k in range(4)
    ]
    found = boxes(figure(this, others, width, 10))
    sheet = FORMS[width].width
    for i, (text, left, top, right, bottom) in enumerate(found):
        assert left >= -3 and right <= sheet + 2, f"{text} leaves the sheet"
        for other, left2, top2, right2, bottom2 in found[i + 1:]:
            assert min(right, right2) - max(left, left2) <= 1 or min(bottom, bottom2) - max(top, top2) <= 1, f"{text!r} on {other!r}"
    ends = sorted((top + bottom) / 2 for text, left, top, right, bottom in found if text in ("train", "held out"))
    assert len(ends) == 2 and ends[1] - ends[0] >= 16 - 0.1


def test_more_flags_than_fit_leave_their_lines() -> None:
    drawn = figure(curves(100, marks=[Mark(k, f"lr 1e-4 → {k}e-5") for k in range(40, 100, 2)]), width="narrow")
    found = [box for box in boxes(drawn) if "lr 1e-4" in box[0]]
    assert 3 <= len(found) < 30 and sum(shape["line"]["dash"] == "2px,3px" for shape in drawn["layout"]["shapes"]) == 30 * 5


def test_the_average_follows_the_length_of_the_run() -> None:
    assert [automatic_span(n) for n in (None, 40, 200, 2000, 10**6)] == [20, 5, 5, 40, 100]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("count", [1, 30, 190])
def test_the_planned_memory_is_drawn_beside_what_is_taken(tmp_path: Path, width: str, count: int) -> None:
    run = FakeRun(tmp_path / "run", Recipe(steps=200))
    run.write(ev.Started(pid=1), prepared(planned={"weights": 2**29, "total": 2**30, "before": 2**29}), *steps(1, count))
    drawn = RunMonitor(run, engine=FakeEngine()).figure(width)
    rules = [shape for shape in drawn["layout"]["shapes"] if shape["type"] == "line" and shape.get("y0") == shape.get("y1") == 1.5]
    assert len(rules) == 1  # half a GiB before the model, and one planned
    assert [note["text"] for note in drawn["layout"]["annotations"] if note["text"].startswith("planned")] == ["planned 1.50"]
    memory = trace(drawn, "memory")
    axis = drawn["layout"]["yaxis" + memory["yaxis"].removeprefix("y")]
    assert axis["range"][1] > max(1.5, *memory["y"])
    plain = FakeRun(tmp_path / "plain", Recipe(steps=200)).write(ev.Started(pid=1), prepared(), *steps(1, count))
    assert "planned" not in json.dumps(RunMonitor(plain, engine=FakeEngine()).figure(width)["layout"])


@pytest.mark.parametrize("taken", [1.45, 1.55])
def test_the_words_of_the_plan_are_those_of_a_process_and_stand_off_the_curve(tmp_path: Path, taken: float) -> None:
    run = FakeRun(tmp_path / "run", Recipe(steps=200, launch=Launch(processes=2)))
    run.write(ev.Started(pid=1), prepared(planned={"weights": 2**29, "total": 2**30, "before": 2**29}),
              *(dataclasses.replace(step, memory_gib=taken) for step in steps(1, 190)))
    (note,) = [note for note in RunMonitor(run, engine=FakeEngine()).figure("wide")["layout"]["annotations"] if note["text"].startswith("planned")]
    assert note["text"] == "planned 1.50 a process"
    assert note["yanchor"] == ("top" if taken > 1.5 else "bottom")  # its top at the line, so below it, where the curve is above
