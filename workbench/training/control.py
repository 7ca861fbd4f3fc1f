"""What a running job can be told: settings that change at a step boundary, and the commands waiting for one.

`Settings` changes a trainer's learning rate (its peak; the schedule's shape goes on), evaluation interval, mixture (weights of sources; one
not named keeps its own) and what its objective offers (β, temperature, reward weights). `Inbox` reads `commands.jsonl`. Both know
nothing of the journal.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workbench.journal import commands as cmd
from workbench.journal.log import Tail


class Inbox:
    """Commands that are new since the last look; those with `at_step` are held until it is reached."""

    def __init__(self, folder: Path, offset: int = 0):
        self._tail = Tail(Path(folder) / "commands.jsonl", offset)
        self.waiting: list[cmd.Command] = []
        self.damaged = 0

    def look(self, until: float = math.inf) -> None:
        """Read what is new into `waiting`; of the file's first `until` bytes alone where that is given."""
        for line in self._tail.read(until=until):
            if not line.strip():
                continue
            try:
                self.waiting.append(cmd.decode(line))
            except ValueError:
                self.damaged += 1

    def take(self, step: int) -> cmd.Command | None:
        """The next command that is due when `step` steps are done."""
        for index, command in enumerate(self.waiting):
            at_step = getattr(command, "at_step", None)
            if at_step is None or at_step <= step:
                return self.waiting.pop(index)
        return None

    def stops(self, step: int) -> bool:
        """Whether a stop is due when `step` steps are done."""
        return any(isinstance(c, cmd.Stop) and (c.at_step is None or c.at_step <= step) for c in self.waiting)


class Settings:
    """The live settings of one trainer."""

    def __init__(self, learning_rate: float, evaluate_every: int | None, mixture: dict[str, float],
                 draw_by: Callable[[dict[str, float], int], tuple[dict[str, float], dict[str, float]]] | None, own: dict[str, Any] | None = None):
        self.values: dict[str, Any] = {"learning_rate": learning_rate, "evaluate_every": evaluate_every} | ({"mixture": mixture} if mixture else {})
        self._draw_by = draw_by
        self._own = {} if own is None else own
        """The objective's own live settings: the trainer's `live`, which it reads at each step and keeps in its checkpoints."""

    def change(self, field: str, value: Any, *, optimizer: Any, scheduler: Any, state: Any) -> Any:
        """Put `value` in force from the next step on; returns the old one. Raises `ValueError` with a sentence where it cannot."""
        if field in self._own:
            old = self._own[field]
            self._own[field] = {**old, **value} if isinstance(old, dict) else value
            return old
        if field not in self.values:
            raise ValueError(f"{field} is no setting of this run")
        old = self.values[field]
        if field == "learning_rate":
            if optimizer is None or scheduler is None:
                raise ValueError("this trainer has no optimizer to change")
            set_peak(optimizer, scheduler, old, value)
        elif field == "evaluate_every":
            if old is None:
                raise ValueError("this run has no held-out rows to evaluate on")
            value = int(value)
            state.eval_steps = value
        elif field == "mixture":
            old, value = self._draw_by(value, state.global_step)
        self.values[field] = value
        return old

    def now(self, field: str) -> Any:
        """The value in force."""
        return self._own[field] if field in self._own else self.values[field]

    def restore(self, field: str, value: Any, step: int, state: Any) -> None:
        """Make a change of `step`, before the checkpoint, again; the checkpoint itself brings the optimizer's and the schedule's state."""
        if field in self._own:
            return  # the checkpoint brought it
        self.values[field] = value
        if field == "evaluate_every":
            state.eval_steps = int(value)
        elif field == "mixture":
            self._draw_by(value, step)


def set_peak(optimizer: Any, scheduler: Any, old: float, new: float) -> None:
    """Make `new` the schedule's peak where `old` was; parameter groups with another rate keep their proportion to it.

    Works on the closed form base_lr * shape(step) of `LambdaLR` (all of transformers' `get_scheduler`); other schedulers go on from the scaled rate.
    """
    scheduler = getattr(scheduler, "scheduler", scheduler)  # accelerate's wrapper

    def scaled(rate: float) -> float:
        return new if rate == old or old == 0 else rate * (new / old)

    for group in optimizer.param_groups:
        group["initial_lr"] = scaled(group.get("initial_lr", old))
    if hasattr(scheduler, "base_lrs"):
        scheduler.base_lrs = [scaled(rate) for rate in scheduler.base_lrs]
    if hasattr(scheduler, "lr_lambdas"):
        for group, base, shape in zip(optimizer.param_groups, scheduler.base_lrs, scheduler.lr_lambdas, strict=True):
            group["lr"] = base * shape(scheduler.last_epoch)
        scheduler._last_lr = [group["lr"] for group in optimizer.param_groups]
    else:
        for group in optimizer.param_groups:
            group["lr"] = scaled(group["lr"])
