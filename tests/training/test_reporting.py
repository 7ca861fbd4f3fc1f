"""Trackers, read back with their own readers: TensorBoard's event files and MLflow's store hold what the journal holds, a resumed run
goes on in them, and no key is written anywhere."""

from __future__ import annotations

import math
import os
import shutil
import sys
from pathlib import Path

import pytest

import workbench as wb
from tests.runs import tools
from workbench.errors import RecipeError
from workbench.journal import commands as cmd
from workbench.recipes import TRACKERS, Recipe
from workbench.runs.run import Run
from workbench.runs.start import prepare
from workbench.training import reporting

ROWS = [{"prompt": f"Who is number {n}?", "completion": "A baker " * (1 + n % 5)} for n in range(40)]
KEY = "planted-7f3a9c"


@pytest.fixture
def own_environment(monkeypatch):
    """What a worker sets in its environment goes with the test; the keys are there as a person has them."""
    kept = dict(os.environ)
    for name in ("MLFLOW_TRACKING_URI", "TENSORBOARD_LOGGING_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name in ("WANDB_API_KEY", "MLFLOW_TRACKING_PASSWORD", "WORKBENCH_WEBHOOK"):
        monkeypatch.setenv(name, KEY)
    yield
    os.environ.clear()
    os.environ.update(kept)


def scalars(folder: Path, name: str) -> dict[int, float]:
    """Step -> value, as TensorBoard shows them; fails where a step is there twice."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    told = EventAccumulator(str(folder))
    told.Reload()
    values = [(event.step, event.value) for event in told.Scalars(name)]
    assert len(values) == len(dict(values)), values
    return dict(values)


def test_tensorboard_and_mlflow_hold_what_the_journal_holds_and_a_resumed_run_goes_on_in_them(tmp_path, own_environment):
    recipe = Recipe(
        model="town-small",
        data=ROWS,
        method=wb.LoRA(rank=2),
        steps=8,
        batch_size=4,
        max_length=64,
        evaluate_every=4,
        checkpoint_every=4,
        sample_prompts=0,
        report_to=("tensorboard", "mlflow"),
    )
    folder = prepare(recipe, tmp_path, "tracked")
    cmd.send(folder, cmd.Stop(at_step=6))
    assert tools.train_here(folder) == "stopped"
    first = Run(folder)
    first.history.refresh()
    assert set(first.history.trackers) == {"tensorboard", "mlflow"} and first.history.step == 6
    shutil.rmtree(folder / "checkpoints" / "step-000006")  # as after a crash: 5 and 6 are taken again
    (folder / "commands.jsonl").unlink()
    assert tools.train_here(folder) == "finished"
    run = Run(folder)
    frame = run.metrics()
    assert list(frame["step"]) == list(range(1, 9)) and run.history.resumptions == [4]

    board, store = run.history.trackers["tensorboard"], run.history.trackers["mlflow"]
    assert board.folder == str(folder / "tensorboard") and board.command == f"tensorboard --logdir {folder / 'tensorboard'}"
    for name, column in (("train/loss", "loss"), ("train/grad_norm", "grad_norm"), ("train/learning_rate", "learning_rate")):
        assert scalars(folder / "tensorboard", name) == pytest.approx(dict(zip(frame["step"], frame[column], strict=True)), rel=1e-6), name
    heldout = {event.step: event.loss for event in run.history.evaluations}
    assert set(heldout) == {4, 8} and scalars(folder / "tensorboard", "eval/loss") == pytest.approx(heldout, rel=1e-6)

    import mlflow

    client = mlflow.MlflowClient(tracking_uri=os.environ["MLFLOW_TRACKING_URI"])
    assert store.run == first.history.trackers["mlflow"].run, "a second MLflow run was begun"
    found = client.get_run(store.run)
    assert found.info.status == "FINISHED" and found.info.run_name == folder.name
    told = {metric.step: metric.value for metric in client.get_metric_history(store.run, "loss")}
    assert told == dict(zip(frame["step"], frame["loss"], strict=True))
    assert {metric.step: metric.value for metric in client.get_metric_history(store.run, "eval_loss")} == pytest.approx(heldout)
    assert str(folder / "mlflow") in os.environ["MLFLOW_TRACKING_URI"] and store.command.endswith(os.environ["MLFLOW_TRACKING_URI"])

    for path in folder.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path


def test_metrics_of_an_objective_reach_the_trackers_and_the_journal_alike(tmp_path, own_environment):
    """Preference training has metrics of its own beside the loss."""
    rows = [{"prompt": f"Who is number {n}?", "chosen": "A baker.", "rejected": "I do not know, really."} for n in range(16)]
    run = tools.here(
        Recipe(
            model="town-small",
            data=rows,
            objective=wb.DPO(beta=0.2),
            method=wb.LoRA(rank=2),
            steps=3,
            batch_size=4,
            max_length=64,
            heldout=0,
            sample_prompts=0,
            report_to="tensorboard",
        ),
        tmp_path,
    )
    frame = run.metrics()
    for name in ("rewards/chosen", "accuracy", "beta"):
        seen = scalars(run.folder / "tensorboard", f"train/{name}")
        assert seen == pytest.approx(dict(zip(frame["step"], frame[name], strict=True)), rel=1e-6) and len(seen) == 3
    assert all(math.isfinite(value) for value in frame["accuracy"])


def test_what_cannot_be_reported_to_is_said_before_the_start(tmp_path, monkeypatch):
    with pytest.raises(RecipeError, match="trackers are tensorboard, mlflow"):
        Recipe(report_to=("tensorbord",))
    monkeypatch.setitem(TRACKERS, "wandb", "no_such_package_here")
    with pytest.raises(RecipeError, match="pip install no_such_package_here"):
        prepare(Recipe(model="town-small", data=ROWS, report_to="wandb"), tmp_path, "x")
    assert not list(tmp_path.iterdir())
    recipe = Recipe(report_to=["tensorboard"])
    assert Recipe.from_json(recipe.to_json()) == recipe and recipe.report_to == ("tensorboard",)


def test_a_place_carries_no_login():
    told = reporting.mlflow_place(f"https://ada:{KEY}@track.example:5000/base/?token={KEY}", "3", "f00")
    assert told.url == "https://track.example:5000/base/#/experiments/3/runs/f00" and not told.command
    told = reporting.mlflow_place(f"postgresql://ada:{KEY}@db.example/mlflow?sslkey={KEY}", "3", "f00")
    assert told.command == "mlflow ui --backend-store-uri postgresql://db.example/mlflow" and not told.url
    assert (
        reporting.mlflow_place("file:///runs/a b/mlflow", "0", "f").command
        == "MLFLOW_ALLOW_FILE_STORE=true mlflow ui --backend-store-uri 'file:///runs/a b/mlflow'"
    )
    assert "wandb" not in sys.modules
