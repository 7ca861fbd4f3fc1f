"""A run without a worker: a folder with a journal written event by event, and a `Run` and an engine with the surface the panel uses."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from workbench.errors import RunError
from workbench.journal import events as ev
from workbench.journal.history import History
from workbench.recipes import Recipe
from workbench.runs.status import Status


class FakeRun:
    """`write(event, ...)` plays the worker; what the panel asks for is kept in `asked`."""

    def __init__(self, folder: Path, recipe: Recipe | None = None, status: Status = Status("running")):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.name, self.recipe, self.status = folder, folder.name, recipe, status
        self.history, self.read_only, self.parent, self.note, self.pid = History(folder), False, None, "", 1
        self.asked: list[tuple] = []
        self.child: FakeRun | None = None
        self.reply = "Mira is a baker."
        self.refuse = ""
        if recipe is not None:
            (folder / "recipe.json").write_text(json.dumps(recipe.to_json()))

    def write(self, *events: ev.Event) -> FakeRun:
        with open(self.folder / "journal.jsonl", "ab") as journal:
            for event in events:
                journal.write(ev.encode(event))
        return self

    def _ask(self, *what: object) -> None:
        if self.refuse:
            raise RunError(self.refuse, "Wait for it.")
        self.asked.append(what)

    def set(self, **values: object) -> None:
        self._ask("set", values)

    def pause(self) -> None:
        self._ask("pause")

    def step(self) -> None:
        self._ask("step")

    def stop(self) -> None:
        self._ask("stop")

    def move_up(self) -> None:
        self._ask("move_up")

    def resume(self) -> None:
        self._ask("resume")

    def generate(self, prompt: str, max_new_tokens: int = 64, timeout: float = 60) -> str:
        self._ask("generate", prompt)
        return self.reply

    def fork(self, step: int | None = None, **changes: object) -> FakeRun:
        self._ask("fork", step, changes)
        return self.child


@dataclass
class FakeEngine:
    """`attach`, `start` and `list_runs` over runs that are there already."""

    runs: dict[str, FakeRun] = field(default_factory=dict)
    next: FakeRun | None = None
    started: list[Recipe] = field(default_factory=list)
    warmed: int = 0

    def standby(self) -> bool:
        self.warmed += 1
        return False

    def add(self, run: FakeRun) -> FakeRun:
        self.runs[run.name] = run
        return run

    def attach(self, folder: str | Path) -> FakeRun:
        name = Path(folder).name
        if name not in self.runs:
            raise RunError(f"{folder} is no run folder.", "Look at wb.list_runs().")
        return self.runs[name]

    def start(self, recipe: Recipe, runs: str = "runs") -> FakeRun:
        self.started.append(recipe)
        return self.next

    def list_runs(self, runs: str = "runs") -> pd.DataFrame:
        return pd.DataFrame(
            [
                dict(
                    name=run.name,
                    status=str(run.status),
                    step=run.history.step,
                    steps=run.history.steps,
                    loss=(list(run.history.columns["loss"]) or [None])[-1],
                    heldout_loss=run.history.evaluations[-1].loss if run.history.evaluations else None,
                    parent=run.parent,
                    note=run.note,
                    started=0.0,
                    folder=str(run.folder),
                )
                for run in self.runs.values()
            ]
        )


class StillPump:
    """A pump that never calls: the test ticks itself."""

    def add(self, *_: object, **__: object) -> None:
        pass


def trace(drawn: dict, uid: str) -> dict:
    """The trace of a figure with that uid."""
    return next(found for found in drawn["data"] if found["uid"] == uid)


def words(drawn: dict) -> list[str]:
    """The text of every label of a figure."""
    return [note["text"] for note in drawn["layout"]["annotations"]]


def prepared(steps: int | None = 200, **more: object) -> ev.Prepared:
    fields = dict(
        rows=900,
        heldout_rows=100,
        dropped={},
        truncated=0,
        tokens=9000,
        trained_tokens=4000,
        parameters=1000,
        trainable_parameters=10,
        steps=steps,
    )
    return ev.Prepared(**(fields | more))


def steps(first: int, last: int, loss: object = lambda step: 1.5 + 2.0 / step, rate: float = 3e-4, second: float = 0.5) -> list[ev.Step]:
    """Steps `first` to `last` inclusive; `loss(step)` may be None."""
    return [
        ev.Step(
            step=k,
            time=1000.0 + second * k,
            loss=loss(k),
            learning_rate=rate,
            grad_norm=0.8,
            tokens=1024,
            tokens_per_s=1800.0 + k % 7,
            memory_gib=1.25,
        )
        for k in range(first, last + 1)
    ]
