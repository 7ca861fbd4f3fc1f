"""The method chooser without a page: its numbers against plans made here, its sentence, code, tables, errors and a run's measured
memory."""

from __future__ import annotations

import html
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import transformers

import workbench as wb
from tests.models.memory_tools import model_of
from tests.widgets.fakes import FakeRun, steps
from widgets.frame.sheet import number
from widgets.method_chooser import MethodChooser, reading, words
from widgets.method_chooser.figure import FORMS
from widgets.method_chooser.state import PRECISIONS, State, written
from workbench.journal import events as ev
from workbench.models import memory
from workbench.models.devices import BY_NAME, device_of
from workbench.models.measuring import Measured
from workbench.models.methods import BitFit, Full, LoRA, QLoRA

ROOT = Path(__file__).resolve().parents[2]
BAD = "<img src=x onerror='hacked()'><script>hacked()</script> $x$"
METHODS = [Full(), BitFit(), LoRA(rank=4)]


@pytest.fixture(scope="module")
def read():
    """What reading gives, once: it builds each model three times."""
    chooser = MethodChooser("town-small", METHODS)
    chooser.look()
    return chooser._read


@pytest.fixture
def chooser(read) -> MethodChooser:
    made = MethodChooser("town-small", METHODS, gpu="T4")
    made._read = dict(read)
    return made


def plan_of(state: State, method, model="town-small") -> memory.Plan:
    precision, convention = PRECISIONS[state.precision]
    return wb.plan_memory(
        model,
        method,
        sequence_length=state.sequence_length,
        batch_size=state.batch_size,
        precision=precision,
        convention=convention,
        optimizer=state.optimizer,
        checkpointing=state.checkpointing,
        zero_stage=state.zero_stage,
        devices=state.devices,
    )


def trace(figure: dict, uid: str) -> dict:
    return next(trace for trace in figure["data"] if trace.get("uid") == uid)


# ---- what it shows


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"batch_size": 2, "sequence_length": 64},
        {"precision": "bf16 DeepSpeed", "devices": 4, "zero_stage": 2},
        {"checkpointing": True},
        {"optimizer": "sgd", "precision": "fp32"},
    ],
)
def test_the_bars_are_the_plans(chooser, changes) -> None:
    for name, value in changes.items():
        setattr(chooser.state, name, value)
    plans = [plan_of(chooser.state, method) for method in METHODS]
    figure = chooser.figure("wide")
    drawn = [sum(trace(figure, part)["x"][k] for part in words.PARTS) for k in range(len(METHODS))]
    assert drawn == pytest.approx([plan.total / 2**20 for plan in plans])
    weights = [plan.moments[plan.worst]["weights"] / 2**20 for plan in plans]
    assert trace(figure, "trained")["x"][0] == pytest.approx(weights[0]) and trace(figure, "frozen")["x"][0] == pytest.approx(0, abs=1e-9)
    share = plans[2].trained_weights / plans[2]["weights"]
    assert trace(figure, "frozen")["x"][2] == pytest.approx((1 - share) * weights[2])
    moments = [sum(trace(figure, f"moment-{part}")["y"][k] for part in words.PARTS) for k in range(len(plans[2].moments))]
    assert moments == pytest.approx([sum(moment.values()) / 2**20 for moment in plans[2].moments.values()])
    assert [dict(plan) for plan in chooser.plans] == [dict(plan) for plan in plans] and dict(chooser.plan) == dict(plans[2])


def test_sharing_out_is_the_plan_of_each_stage_and_number(chooser) -> None:
    figure, state = chooser.figure("wide"), chooser.state
    for stage in range(4):
        for place, devices in enumerate(reading.DEVICES_SHOWN):
            state.zero_stage, state.devices = stage, devices
            assert trace(figure, f"stage-{stage}")["y"][place] * 2**20 == pytest.approx(plan_of(state, METHODS[2]).total)


def test_every_width_has_its_composition(chooser) -> None:
    for width, form in FORMS.items():
        figure = chooser.figure(width)
        assert figure["layout"]["meta"]["composed_at_px"][0] == form.width
        assert any("╌ T4" in note["text"] for note in figure["layout"]["annotations"])
        assert json.dumps(figure)


def test_a_method_that_cannot_be_is_named_with_its_reason() -> None:
    config = model_of(family="llama")  # has no biases
    chooser = MethodChooser(config, [BitFit(), LoRA(rank=2)])
    assert chooser.plans[0] is None and chooser.plan is chooser.plans[1] or chooser.plan == chooser.plans[1]
    assert any("cannot be done" in note["text"] for note in chooser.figure()["layout"]["annotations"])
    chooser.state.picked = 0
    assert chooser.summary().kind == "warn" and "no" in chooser.summary().text and "BitFit" in chooser.summary().text
    assert "cannot be done" in chooser.extra_html()


def test_a_classifier_trains_a_frozen_backbones_head() -> None:
    from workbench.models.frozen import FrozenBackbone

    chooser = MethodChooser("town-small", [FrozenBackbone(), LoRA(rank=2)])
    assert chooser.plans[0] is None and "FrozenBackbone" in chooser._shown.ways[0].fault
    chooser.state.task = "classifier"
    hidden = chooser.look().way.of.hidden
    assert chooser.plans[0].trainable == 2 * hidden  # two labels


# ---- words


def test_the_sentence_says_whether_it_fits_and_what_would(chooser) -> None:
    assert chooser.summary().kind == "ok"
    plan = plan_of(chooser.state, METHODS[2])
    assert (
        chooser.summary().text.startswith(f"LoRA r 4 takes {words.size(plan.total)} at its fullest moment ({plan.worst})")
        and "it fits the T4" in chooser.summary().text
    )
    chooser.state.batch_size, chooser.state.sequence_length = 512, 4096
    warning = chooser.summary()
    assert warning.kind == "warn" and "the T4 has" in warning.text and "It would fit with batch 512 → " in warning.text
    assert chooser.fits() and all(fit.plan.total <= BY_NAME["T4"].room for fit in chooser.fits())
    assert "512" in warning.text


def test_an_unknown_card_is_unknown(chooser) -> None:
    chooser.state.gpu = device_of("GTX 1080").name
    assert chooser.summary().kind == "warn" and "How much memory the GTX 1080 has is not known here." in chooser.summary().text
    assert chooser.fits() == [] and not any("╌" in note["text"] for note in chooser.figure()["layout"]["annotations"])


def test_sizes_are_written_as_people_read_them() -> None:
    assert [words.size(value) for value in (0, 2048, 3 * 2**20, 200 * 2**20, 2**30, 130 * 2**30)] == [
        "0",
        "2 KiB",
        "3.0 MiB",
        "200 MiB",
        "1.0 GiB",
        "130 GiB",
    ]
    assert [words.count(value) for value in (12, 1234, 20_185_088, 6_738_415_616)] == ["12", "1.23 k", "20.2 M", "6.74 B"]
    assert [words.share(part, 1000) for part in (0.01, 5, 150, 1000)] == ["< 0.01 %", "0.50 %", "15.0 %", "100 %"]


@pytest.mark.parametrize(
    "changes", [{}, {"precision": "bf16 DeepSpeed", "devices": 8, "zero_stage": 3, "optimizer": "adamw_8bit"}, {"task": "classifier"}]
)
def test_its_code_makes_the_same_plan(changes) -> None:
    chooser = MethodChooser("town-small", [Full(), LoRA(rank=4, dropout=0.1)])
    for name, value in changes.items():
        setattr(chooser.state, name, value)
    found: dict = {}
    exec(chooser.code(), found)  # noqa: S102 - what the panel shows must run
    assert dict(found["plan"]) == dict(chooser.plan) and found["plan"].trainable == chooser.plan.trainable


def test_methods_are_written_with_what_differs() -> None:
    assert [written(method) for method in (Full(), LoRA(rank=8), QLoRA(rank=4, bits=8))] == [
        "wb.Full()",
        "wb.LoRA(rank=8)",
        "wb.QLoRA(rank=4, bits=8)",
    ]


# ---- tables


def test_the_table_names_the_largest_batch_that_fits(chooser) -> None:
    state = chooser.state
    found = chooser.look().read
    room = BY_NAME["T4"].room
    for way, cells in zip(found.ways, reading.largest_batches(found, state.settings, [room, 1.0]), strict=True):
        largest, none = cells
        assert none == 0 and largest in reading.BATCHES
        state.batch_size = largest
        assert plan_of(state, way.method).total <= room
        if largest < reading.BATCHES[-1]:
            state.batch_size = 2 * largest
            assert plan_of(state, way.method).total > room
    assert "A100 40 GB" in chooser.extra_html() and "p4d.24xlarge" in chooser.extra_html()


def test_instances_share_everything_out(chooser) -> None:
    state = chooser.state
    state.sequence_length = 4096
    rows = {each.name: cells for each, cells in reading.on_instances(chooser.look().read, state.settings)}
    state.devices, state.zero_stage, state.batch_size = 8, 3, rows["p4d.24xlarge"][0]
    assert plan_of(state, METHODS[0]).total <= BY_NAME["A100 40 GB"].room
    state.batch_size *= 2
    assert plan_of(state, METHODS[0]).total > BY_NAME["A100 40 GB"].room or rows["p4d.24xlarge"][0] == reading.BATCHES[-1]


# ---- a step measured, a run


def test_a_measured_step_stands_beside_its_plan_and_with_no_other(chooser) -> None:
    plan = chooser.plan
    chooser.measured[chooser._key_of(2)] = Measured(round(1.1 * plan.total), 0, "CPU")
    marks = trace(chooser.figure(), "measured")
    assert marks["y"] == [0] and marks["x"][0] * 2**20 == pytest.approx(1.1 * plan.total, rel=1e-6)
    assert (
        "Measured on this machine's CPU" in chooser.summary().text
        and f"the plan is {number(100 * (1 - 1 / 1.1), 1)} % below" in chooser.summary().text
    )
    chooser.state.batch_size *= 2
    assert "measured" not in [trace.get("uid") for trace in chooser.figure()["data"]] and "Measured" not in chooser.summary().text


def test_a_runs_memory_stands_beside_its_plan(tmp_path) -> None:
    recipe = wb.Recipe(model="town-small", method=LoRA(rank=4), batch_size=4, max_length=96, steps=30)
    run = FakeRun(tmp_path / "run", recipe)
    planned = dict(
        wb.plan_memory("town-small", LoRA(rank=4), sequence_length=64, batch_size=4, precision="fp32", convention="transformers")
    )
    before = 2**29
    run.write(
        ev.Started(pid=1, device="cpu"),
        ev.Prepared(
            rows=9,
            heldout_rows=0,
            dropped={},
            truncated=0,
            tokens=9,
            trained_tokens=9,
            parameters=9,
            trainable_parameters=9,
            steps=30,
            planned=planned | {"total": 1, "before": before, "sequence_length": 64},
        ),
        *steps(1, 20),
    )
    run.history.refresh()
    chooser = MethodChooser(run=run)
    assert (chooser.state.sequence_length, chooser.state.batch_size, chooser.state.precision) == (64, 4, "fp32")
    assert dict(chooser.plan) == planned
    measured = max(run.history.columns["memory_gib"]) * 2**30 - before
    assert trace(chooser.figure(), "measured")["x"][0] * 2**20 == pytest.approx(measured, abs=1)


# ---- state, errors, foreign text


def test_its_state_comes_back(chooser) -> None:
    chooser.state.picked, chooser.state.batch_size = 1, 3
    again = MethodChooser.from_json(chooser.state_json())
    again._read = chooser._read
    assert again.state == chooser.state and again.figure() == chooser.figure() and again.summary() == chooser.summary()
    given = MethodChooser(model_of(), METHODS)
    with pytest.raises(ValueError, match="give it again"):
        MethodChooser.from_json(given.state_json())


def test_what_is_no_model_is_a_sentence_with_a_remedy() -> None:
    chooser = MethodChooser("./nowhere")
    assert chooser.summary().kind == "warn" and "There is no folder nowhere." in chooser.summary().text
    assert "No model to plan for" in json.dumps(chooser.figure()) and chooser.plan is None if chooser.look() else True


def test_foreign_text_stays_text(tmp_path) -> None:
    folder = tmp_path / "<img src=x onerror=hacked()> $x$"
    transformers.AutoModelForCausalLM.from_config(model_of()).save_pretrained(folder)
    chooser = MethodChooser(folder, [LoRA(rank=2)], gpu=BAD)
    shown = chooser.static_html()
    assert "<img" not in shown and "<script" not in shown and html.escape("<script>") in shown
    missing = MethodChooser(BAD)
    assert "<img" not in missing.static_html()
    found: dict = {}
    exec(chooser.code(), found)  # noqa: S102
    assert found["plan"].trainable == chooser.plan.trainable


def test_making_it_fit_takes_the_first_way(chooser) -> None:
    chooser.state.batch_size, chooser.state.sequence_length = 512, 4096
    expected = chooser.fits()[0]
    chooser.make_fit()
    assert chooser.plan.total <= BY_NAME["T4"].room and chooser.state.batch_size == expected.changes["batch_size"][1]
    assert chooser.summary().kind == "ok" and chooser.fits() == []


def test_a_moved_slider_is_answered_within_a_frame(chooser) -> None:
    chooser.widget  # noqa: B018 - built, as on a page
    chooser.errands.wait()
    took = []
    for batch in (1, 3, 9, 27, 81, 243):
        begun = time.process_time()
        chooser.set("batch_size", batch)
        took.append(time.process_time() - begun)
        chooser.errands.wait()
    print(f"a moved slider: {1e3 * sorted(took)[len(took) // 2]:.1f} ms of the kernel")
    assert sorted(took)[len(took) // 2] < 0.020
    assert chooser.made.batch.value == 243 and chooser.made.fit.disabled == (not chooser.look().over(2))


def test_it_opens_without_the_heavy_packages() -> None:
    script = (
        "import sys; from widgets import MethodChooser; MethodChooser('town'); "
        "print([name for name in ('torch', 'transformers', 'peft', 'datasets') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
