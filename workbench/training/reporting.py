"""Trackers that people already have: transformers' own callbacks hear of every step, and the journal names where they keep it.

TensorBoard's files lie in the run's folder `tensorboard/`; MLflow's store is MLFLOW_TRACKING_URI, or lies in the run's folder. A resumed
run goes on in the same tracker's run: what TensorBoard had past the checkpoint is purged (its `purge_step`), and MLflow's run is opened
again by its id, which the journal keeps. Weights & Biases gets an id of its own for each run folder. Other trackers are passed through as
they are.

Keys stay in the environment: nothing here reads one, and what the journal gets is a place and an id. Not here: whether a tracker is
installed (`runs/trackers.py`, before the start), and what is a metric (`stream.py`).
"""

import hashlib
import importlib.util
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import transformers
from transformers.integrations import MLflowCallback, TensorBoardCallback

from workbench.journal import events as ev
from workbench.journal.history import History

WEB = ("http", "https")


def attach(trainer: transformers.Trainer, folder: Path, history: History, start: int, write: Callable[[ev.Event], None]) -> None:
    """Let the trackers of `trainer.args.report_to` keep their files in the run `folder` and go on from step `start`; when training begins,
    `write` gets a `Reported` of each."""
    if not trainer.args.report_to:
        return
    folder = folder.resolve()
    trainer.args.run_name = trainer.args.run_name or folder.name
    told: list[Callable[[], ev.Reported]] = []
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, TensorBoardCallback):
            told.append(_tensorboard(callback, folder, start))
        elif isinstance(callback, MLflowCallback):
            known = history.trackers.get("mlflow")
            told.append(_mlflow(callback, folder, known.run if known else ""))
        elif type(callback).__name__ == "WandbCallback":
            told.append(_wandb(callback, folder))
    trainer.add_callback(_Tell(told, write))


class _Tell(transformers.TrainerCallback):
    """Says where the trackers keep a run, once they have begun: the last of the callbacks, so they have."""

    def __init__(self, told: list[Callable[[], ev.Reported]], write: Callable[[ev.Event], None]):
        self.told, self.write = told, write

    def on_train_begin(self, args: Any, state: Any, control: Any, **kw: Any) -> None:
        for tell in self.told if state.is_world_process_zero else ():
            self.write(tell())


def _tensorboard(callback: Any, folder: Path, start: int) -> Callable[[], ev.Reported]:
    place = (
        Path(os.environ["TENSORBOARD_LOGGING_DIR"]).expanduser() / folder.name
        if os.environ.get("TENSORBOARD_LOGGING_DIR")
        else folder / "tensorboard"
    )
    callback.logging_dir = str(place)
    again, make = place.is_dir(), callback._SummaryWriter
    # what an earlier attempt logged past the checkpoint will be logged again
    callback._SummaryWriter = lambda log_dir: make(log_dir=log_dir, purge_step=start + 1 if again else None)
    return lambda: ev.Reported(tracker="tensorboard", folder=str(place), command=f"tensorboard --logdir {shlex.quote(str(place))}")


def _mlflow(callback: Any, folder: Path, known: str) -> Callable[[], ev.Reported]:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        os.environ["MLFLOW_TRACKING_URI"] = own_store(folder)
    callback._ml_flow.set_tracking_uri(os.environ["MLFLOW_TRACKING_URI"])
    if known:
        os.environ["MLFLOW_RUN_ID"] = known

    def tell() -> ev.Reported:
        run = callback._ml_flow.active_run().info
        return mlflow_place(os.environ["MLFLOW_TRACKING_URI"], run.experiment_id, run.run_id)

    return tell


def own_store(folder: Path) -> str:
    """The MLflow store in a run's folder: a database, or with mlflow-skinny, which has none, files."""
    if importlib.util.find_spec("alembic") and importlib.util.find_spec("sqlalchemy"):
        return f"sqlite:///{folder / 'mlflow.db'}"
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # it asks to be told that files are meant
    return (folder / "mlflow").as_uri()


def mlflow_place(uri: str, experiment: str, run: str) -> ev.Reported:
    """Where a run of an MLflow store is seen: its page on a server, or the command that shows a store on this machine."""
    bare = without_login(uri)
    if urlsplit(uri).scheme in WEB:
        return ev.Reported(tracker="mlflow", run=run, url=f"{bare.rstrip('/')}/#/experiments/{experiment}/runs/{run}")
    allowed = "MLFLOW_ALLOW_FILE_STORE=true " if urlsplit(uri).scheme in ("file", "") else ""
    return ev.Reported(tracker="mlflow", run=run, command=f"{allowed}mlflow ui --backend-store-uri {shlex.quote(bare)}")


def _wandb(callback: Any, folder: Path) -> Callable[[], ev.Reported]:
    for name, value in (
        ("WANDB_DIR", str(folder)),
        ("WANDB_RUN_ID", hashlib.sha256(str(folder).encode()).hexdigest()[:16]),
        ("WANDB_RESUME", "allow"),
    ):
        os.environ.setdefault(name, value)

    def tell() -> ev.Reported:
        run = callback._wandb.run
        return ev.Reported(
            tracker="wandb", run=str(getattr(run, "id", "")), url=without_login(str(getattr(run, "url", "") or "")), folder=str(folder)
        )

    return tell


def without_login(uri: str) -> str:
    """A URI without the name and password, the query and the fragment that it may carry: these may be secrets."""
    parts = urlsplit(uri)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", "")) if parts.netloc else uri.partition("?")[0]
