"""A run as its journal tells it: events folded into curves, marks, samples and a state.

`History(folder)` reads what is new on `refresh()`; two of them over the same folder say the same. After a resume the steps past the
checkpoint are forgotten and run again, so every curve has one value a step. Does not know whether the worker lives: see `runs`.
"""

import itertools
import math
import threading
from array import array
from pathlib import Path
from typing import Any

import numpy as np

from workbench.journal import bulk
from workbench.journal import events as ev
from workbench.journal.log import Tail

COLUMNS = ("step", "loss", "learning_rate", "grad_norm", "epoch", "tokens", "tokens_per_s", "memory_gib", "time")
ANYWHERE = frozenset(("evaluated", "sampled", "replied", "arrays", "changed", "saved", "answered", "refused"))
"""Kinds that are folded in without a look at the steps before them."""


class History:
    """Everything the journal says so far.

    columns        name -> array('d'), one value a step, NaN where unknown; `COLUMNS` first, a trainer's own metrics beside them
    evaluations, samples, replies, arrays, changes, checkpoints, refusals: lists of events in order of step
    undone         changes that a resume took back and that were not made again yet
    answers        command id -> `Answered` or `Refused`
    phase          "new" | "queued" | "starting" | "running" | "paused" | "finished" | "stopped" | "failed"
    step, steps    steps done, steps in all (None until known)
    damaged        lines that were not events (torn by a crash, or tampered with)
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self._tail = Tail(self.folder / "journal.jsonl")
        self._lock = threading.RLock()
        self.columns: dict[str, array] = {name: array("d") for name in COLUMNS}
        self.evaluations: list[ev.Evaluated] = []
        self.samples: list[ev.Sampled] = []
        self.replies: list[ev.Replied] = []
        self.arrays: list[ev.Arrays] = []
        self.changes: list[ev.Changed] = []
        self.checkpoints: list[ev.Saved] = []
        self.refusals: list[ev.Refused] = []
        self.undone: list[ev.Changed] = []
        self.answers: dict[str, ev.Answered | ev.Refused] = {}
        self.obeyed: set[str] = set()
        """Ids of the pauses and resumptions that took place."""
        self.forked: ev.Forked | None = None
        self.prepared: ev.Prepared | None = None
        self.launched: ev.Launched | None = None
        """The processes that train it, where there are several."""
        self.started: ev.Started | None = None
        self.queued: ev.Queued | None = None
        self.trackers: dict[str, ev.Reported] = {}
        """Who else follows the run, by name."""
        self.notes: list[ev.Noted] = []
        self.ended: ev.Ended | None = None
        self.resumptions: list[int] = []
        self.phase = "new"
        self.step = 0
        self.steps: int | None = None
        self.damaged = 0
        self.last_time = 0.0
        self.began = 0.0
        """When the first worker had the run (0: not yet)."""
        self.generation = 0
        """Goes up when steps already handed out were forgotten (a resume): whoever draws starts over."""

    def refresh(self) -> int:
        """Read what is new; returns the number of events. Safe from several threads."""
        with self._lock:
            return sum(self._fold(block) for block in self._tail.blocks())

    def begin_at(self, offset: int) -> None:
        """Take what stands before byte `offset` for read: for who applied what matters of it."""
        self._tail.offset = offset

    def _fold(self, block: bytes) -> int:
        """Whole lines, many steps of them at once; returns how many were events."""
        count = 0
        for piece in bulk.pieces(block) if len(block) >= bulk.LEAST else (block,):
            if isinstance(piece, bulk.Steps):
                count += self._fold_steps(piece)
                continue
            for event in filter(None, map(self._decoded, piece.splitlines())):
                self.apply(event)
                count += 1
        return count

    def _decoded(self, line: bytes) -> ev.Event | None:
        """The event of a line; None where it has none, counted unless it is empty."""
        if not line.strip():
            return None
        try:
            return ev.decode(line)
        except ValueError:
            self.damaged += 1
            return None

    def _fold_steps(self, steps: bulk.Steps) -> int:
        """Many steps at once, the other events at their places among them; returns how many events."""
        done, number = 0, steps.columns["step"]
        onward = not len(number) or number[0] > self.step and bool((np.diff(number) > 0).all())
        events = count = len(number)
        for place, line in steps.others:
            event = self._decoded(line)
            if event is None:
                continue
            if not onward or event.kind not in ANYWHERE:
                self._take(steps.columns, done, place)
                done = place
            self.apply(event)
            events += 1
        self._take(steps.columns, done, count)
        return events

    def _take(self, columns: dict[str, np.ndarray], start: int, end: int) -> None:
        """Steps `start` to `end` of `columns`, as `_on_step` takes one."""
        if start == end:
            return
        self.last_time = max(self.last_time, float(columns["time"][start:end].max()))
        self.phase = "paused" if self.phase == "paused" else "running"
        back = start + 1 + np.flatnonzero(np.diff(columns["step"][start:end]) <= 0)
        for a, b in itertools.pairwise([start, *back.tolist(), end]):
            first = int(columns["step"][a])
            if self.step and first <= self.step:
                self._forget_after(first - 1)
            self.step = int(columns["step"][b - 1])
            rows = len(self.columns["step"])
            for name in columns.keys() - self.columns.keys():
                self.columns[name] = array("d", [math.nan]) * rows
            for name, column in self.columns.items():
                values = columns.get(name)
                column.frombytes(np.full(b - a, math.nan).tobytes() if values is None else values[a:b].tobytes())

    def apply(self, event: ev.Event) -> None:
        """Fold one event in."""
        self.last_time = max(self.last_time, event.time or 0.0)
        handler = getattr(self, "_on_" + event.kind, None)
        if handler:
            handler(event)

    # one method an event, named for its kind
    def _on_queued(self, event: ev.Queued) -> None:
        self.queued, self.phase = event, "queued"

    def _on_launched(self, event: ev.Launched) -> None:
        self.launched = event

    def _on_started(self, event: ev.Started) -> None:
        self.started, self.ended, self.queued, self.phase = event, None, None, "starting"
        self.began = self.began or event.time
        if event.attempt > 1:
            self.resumptions.append(event.resumed_from or 0)
            self._forget_after(event.resumed_from or 0)

    def _on_forked(self, event: ev.Forked) -> None:
        self.forked, self.started, self.ended, self.queued, self.phase = event, None, None, None, "new"
        self.answers.clear()
        self.resumptions.clear()
        self.trackers.clear()
        self.notes.clear()

    def _on_prepared(self, event: ev.Prepared) -> None:
        self.prepared, self.steps, self.phase = event, event.steps, "running"

    def _on_step(self, event: ev.Step) -> None:
        if self.step and event.step <= self.step:
            self._forget_after(event.step - 1)
        self.phase = "paused" if self.phase == "paused" else "running"
        self.step = event.step
        row = len(self.columns["step"])
        values = {name: getattr(event, name) for name in COLUMNS} | event.extra
        for name in values.keys() - self.columns.keys():
            self.columns[name] = array("d", [math.nan] * row)
        for name, column in self.columns.items():
            value = values.get(name)
            column.append(math.nan if value is None else value)

    def _on_evaluated(self, event: ev.Evaluated) -> None:
        self.evaluations.append(event)

    def _on_sampled(self, event: ev.Sampled) -> None:
        self.samples.append(event)

    def _on_replied(self, event: ev.Replied) -> None:
        self.replies.append(event)

    def _on_arrays(self, event: ev.Arrays) -> None:
        self.arrays.append(event)

    def _on_changed(self, event: ev.Changed) -> None:
        self.changes.append(event)
        self.undone = [c for c in self.undone if (c.command, c.field, c.step) != (event.command, event.field, event.step)]

    def _on_saved(self, event: ev.Saved) -> None:
        if self.checkpoints and self.checkpoints[-1].step >= event.step:
            self.checkpoints = [c for c in self.checkpoints if c.step != event.step]
        self.checkpoints.append(event)

    def _on_paused(self, event: ev.Paused) -> None:
        self.phase = "paused"
        self.obeyed.add(event.command)

    def _on_resumed(self, event: ev.Resumed) -> None:
        self.phase = "running"
        self.obeyed.add(event.command)

    def _on_answered(self, event: ev.Answered) -> None:
        self.answers[event.command] = event

    def _on_refused(self, event: ev.Refused) -> None:
        self.refusals.append(event)
        self.answers[event.command] = event

    def _on_reported(self, event: ev.Reported) -> None:
        self.trackers[event.tracker] = event

    def _on_noted(self, event: ev.Noted) -> None:
        self.notes.append(event)

    def _on_ended(self, event: ev.Ended) -> None:
        self.ended, self.phase = event, event.status

    def _forget_after(self, step: int) -> None:
        """Drop what lies past `step`: it is about to be run again."""
        steps = self.columns["step"]
        keep = len(steps)
        while keep and steps[keep - 1] > step:
            keep -= 1
        if keep < len(steps):
            for column in self.columns.values():
                del column[keep:]
            self.generation += 1
        for name in ("evaluations", "samples", "replies", "arrays", "changes", "checkpoints"):
            old = getattr(self, name)
            # a change asked for at a boundary is in force from step + 1, so one at `step` itself will be made again
            new = [e for e in old if e.step < step or (e.step == step and name != "changes")]
            if name == "changes":
                self.undone = sorted([*self.undone, *(e for e in old if e not in new)], key=lambda e: e.step)
            setattr(self, name, new)
        self.step = min(self.step, step)

    @property
    def torn(self) -> bool:
        """Whether the journal breaks off in the middle of a line: one that is being written, or, where nobody writes, was never whole."""
        try:
            return self._tail.path.stat().st_size > self._tail.offset
        except OSError:
            return False

    @property
    def damage(self) -> str:
        """What is wrong with the journal itself, a sentence; "" where nothing is."""
        lines = "1 line" if self.damaged == 1 else f"{self.damaged} lines"
        return f"{lines} of its journal cannot be read and {'was' if self.damaged == 1 else 'were'} passed over." if self.damaged else ""

    @property
    def best(self) -> ev.Evaluated | None:
        """The evaluation with the lowest held-out loss."""
        known = [e for e in self.evaluations if e.loss is not None]
        return min(known, key=lambda e: e.loss) if known else None

    @property
    def last_checkpoint(self) -> int:
        """Step of the newest checkpoint the journal names (0: none)."""
        return self.checkpoints[-1].step if self.checkpoints else 0

    def setting(self, field: str, default: Any) -> Any:
        """The value in force now of a setting that started as `default`."""
        for change in reversed(self.changes):
            if change.field == field:
                return change.new
        return default

    def metrics(self, start: int = 0) -> dict[str, array]:
        """Copies of the columns from row `start` on, all of one length."""
        with self._lock:
            return {name: column[start:] for name, column in self.columns.items()}
