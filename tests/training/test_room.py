"""A run's plan in its journal, and what is said when the memory ran out."""

import resource

import psutil
import pytest
import torch

import workbench as wb
from tests.runs import tools
from workbench.data.run_rows import gather
from workbench.models import fitting, memory
from workbench.training import room, supervised
from workbench.training.worker import told_of

ROWS = [{"prompt": f"Who is number {n}?", "completion": "A baker " * (1 + n % 5)} for n in range(24)]


@pytest.fixture(scope="module")
def trainer(tmp_path_factory):
    recipe = wb.Recipe(
        model="town-small", data=ROWS, method=wb.Full(), steps=1, batch_size=8, heldout=0, training_arguments={"use_cpu": True}
    )
    job = supervised.load_job(recipe, gather(recipe.data, 0, 0)[0])
    return supervised.build_trainer(recipe, job, tmp_path_factory.mktemp("run"), []), job


def test_the_room_of_a_trainer_is_the_plan_of_its_recipe(trainer) -> None:
    made, job = trainer
    longest = max(len(row["input_ids"]) for row in job.train.rows)
    assert room.longest_row(job.train.rows, 512) == longest
    expected = wb.plan_memory("town-small", wb.Full(), sequence_length=longest, batch_size=8, precision="fp32", convention="transformers")
    planned = room.of(made, wb.Full(), longest, before=1000).planned
    assert planned == dict(expected) | {"total": expected.total, "before": 1000, "sequence_length": longest}


def test_running_out_says_what_outgrew_the_plan_and_what_would_fit(trainer, monkeypatch) -> None:
    made, _ = trainer
    space = room.of(made, wb.Full(), 400, before=0)
    monkeypatch.setattr(room, "most_used", lambda: round(1.5 * space.plan.total))
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**60, dtype=torch.uint8)  # the CPU's own words for it
    ended = told_of(raised.value, 3, space)
    assert (
        ended.status == "failed"
        and ended.reason.startswith("The device ran out of memory. Its activations took ")
        and "more than planned" in ended.reason
    )
    assert "batch_size=" in ended.remedy and "gradient_accumulation=" in ended.remedy and "Fork with that" in ended.remedy
    without = told_of(raised.value, 3)
    assert "smaller batch_size" in without.remedy


def test_a_plan_that_held_says_what_it_is_mostly(trainer) -> None:
    plan = wb.plan_memory(1_000_000)
    told = fitting.told(plan, {"weights": 0.0}, room=2**20)
    assert "most of it, 11.4 MiB, is optimizer" in told and "the device has 1.0 MiB" in told
    assert fitting.outgrown({"weights": 5, "activations": 7}, {"weights": 5, "activations": 9}) == ("activations", 2)
    assert fitting.outgrown({"weights": 5}, {"weights": 4}) == ("", 0.0)


def test_a_trainer_that_cannot_be_planned_trains_all_the_same(trainer) -> None:
    made, _ = trainer
    assert room.of(made, wb.Full(), -1, before=0) is None
    assert room._known("some_new_optimizer") == "adamw" and memory.optimizer_of("adamw_bnb_8bit") == "adamw_8bit"


def test_a_run_keeps_its_plan_in_the_journal(tmp_path, warm) -> None:
    run = wb.train(wb.Recipe(model="town-small", data=ROWS, method=wb.LoRA(rank=2), steps=2, batch_size=4), runs=tmp_path)
    planned = run.history.prepared.planned
    plan = {name: planned[name] for name in memory.COMPONENTS}
    assert (
        planned["weights"] == 4 * run.history.prepared.parameters and planned["gradients"] == 4 * run.history.prepared.trainable_parameters
    )
    assert max(plan.values()) < planned["total"] <= sum(plan.values())
    # resident memory on a CPU: the process as it was, and the step
    assert 0 < planned["before"] < max(run.history.columns["memory_gib"]) * 2**30


def test_a_run_that_runs_out_of_memory_says_what_would_have_fitted(tmp_path, warm) -> None:
    """The worker itself, given no more room after its first step."""
    rows = [{"prompt": "What is said?", "completion": "A long answer of many words. " * 40} for _ in range(64)]
    run = wb.start(
        wb.Recipe(model="town-small", data=rows, method=wb.Full(), steps=50, batch_size=64, max_length=256, heldout=0), runs=tmp_path
    )
    tools.until(lambda: run.history.refresh() is not None and run.history.step >= 1, what="its first step")
    room_left = psutil.Process(run.pid).memory_info().vms + 50 * 2**20
    resource.prlimit(run.pid, resource.RLIMIT_AS, (room_left, room_left))
    run.wait()
    ended = run.history.ended
    assert ended.status == "failed" and ended.reason.startswith("The device ran out of memory. ")
    assert "planned" in ended.reason and "Fork with that" in ended.remedy and "batch_size=" in ended.remedy
    print(ended.reason, ended.remedy)
