"""One attempt at one run: wait for the device, prepare, train, keep the result.

What a session starts from is on disk: the recipe, the rows kept beside it, the last whole checkpoint, and the journal, whose changes past that checkpoint are made
again at their steps. Torch is imported only once the device is ours.
"""

import contextlib
import dataclasses
import math
import shutil
from pathlib import Path
from typing import Any

from workbench import device_queue, living, recipes
from workbench.data import run_rows
from workbench.journal import commands as cmd
from workbench.journal import events as ev
from workbench.journal.history import History
from workbench.training import objectives
from workbench.training.checkpoints import Checkpoints, publish
from workbench.training.control import Inbox
from workbench.training.writer import Journal, Mute, started


class Session:
    """`train()` does the work; `end()` writes the last event."""

    def __init__(self, folder: Path, leads: bool = True):
        """`leads` is whether this process writes; of several that train one run, one does."""
        self.folder = Path(folder)
        self.recipe = recipes.read(self.folder)
        self.history = History(self.folder)
        self.history.refresh()
        self.leads = leads
        self.journal = Journal(self.folder) if leads else Mute()
        self.checkpoints = Checkpoints(self.folder, self.recipe.keep_checkpoints)
        self.stream: Any = None
        self.room: Any = None
        """What the run's memory was planned to be; None until the model is there."""
        self._stop = False
        self._launched = False
        """Whether other processes train this run, and this one only watches them."""

    @property
    def step(self) -> int:
        return self.stream.step if self.stream else self.history.step

    def request_stop(self) -> None:
        self._stop = True
        if self.stream:
            self.stream.request_stop()
        elif self._launched:
            with contextlib.suppress(OSError):  # on a full disk they end by themselves
                cmd.send(self.folder, cmd.Stop())

    def end(self, event: ev.Ended) -> None:
        with contextlib.suppress(OSError):  # room for the last word on a full disk, and no longer needed after it
            (self.folder / ".reserve").unlink(missing_ok=True)
        self.journal.write(event)

    def train(self) -> str:
        """Returns how it ended: "finished" or "stopped". Raises what went wrong."""
        inbox = self._inbox(self._start_point()[0])
        if not self._my_turn(inbox):
            self.end(ev.Ended(step=self.step, status="stopped", reason="Stopped while it waited for the device."))
            return "stopped"
        self.begin()
        if self.recipe.launch is None:
            return self.learn(inbox)
        from workbench.training import launched

        self._launched = True
        if self._stop:
            self.request_stop()
        return launched.train(self.folder, self.recipe.launch)

    def begin(self) -> None:
        """Say that an attempt begins, and from which checkpoint."""
        self.checkpoints.clear_partial()
        start, checkpoint = self._start_point()
        attempt = self.history.started.attempt + 1 if self.history.started else 1
        self.journal.write(started(attempt, start if checkpoint or attempt > 1 else None))

    def learn(self, inbox: Inbox | None = None) -> str:
        """From loading the model to the result; each process of a launch does this. Returns as `train` does."""
        checkpoints = self.checkpoints
        start, checkpoint = self._start_point()
        changes = sorted([*self.history.changes, *self.history.undone], key=lambda change: change.step)
        best = min((e for e in self.history.evaluations if e.step <= start and e.loss is not None), key=lambda e: e.loss, default=None)
        checkpoints.best = best.step if best else None
        if self.history.steps is not None and start >= self.history.steps:
            # it died after its last step: a trainer would take one more before it looked
            return self._finish(checkpoint, start, "finished")
        trainer = self._trainer(inbox or self._inbox(start), start, changes)
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        return self._finish_training(trainer)

    def _inbox(self, start: int) -> Inbox:
        """Commands from now on; of those sent before, the changes that were never made and what is asked for at a step past `start`."""
        inbox = Inbox(self.folder)
        inbox.look(until=living.worker_of(self.folder).get("asked", 0))
        earlier = {command.id for command in inbox.waiting}
        inbox.look()
        made = {(change.command, change.field) for change in [*self.history.changes, *self.history.undone]}
        inbox.waiting = [left for c in inbox.waiting if c.id not in self.history.answers and c.id not in self.history.obeyed
                         and (left := _left_to_do(c, made, start, c.id in earlier)) is not None]
        return inbox

    def _my_turn(self, inbox: Inbox) -> bool:
        def given_up() -> bool:
            inbox.look()
            return self._stop or inbox.stops(0)

        self._place = device_queue.Place(self.folder.name, run_folder=self.folder)  # kept while the process lives
        return self._place.wait(lambda standing: self.journal.write(ev.Queued(**dataclasses.asdict(standing))), given_up)

    def _start_point(self) -> tuple[int, Path | None]:
        """The step and folder of the checkpoint to go on from: the run's own last one, or the one it was forked with."""
        found = [(step, self.checkpoints.path(step)) for step in self.checkpoints.steps()]
        found += [(int(path.name.removeprefix("step-")), path) for path in (self.folder / "start").glob("step-*")]
        return max(found, default=(0, None))

    def _trainer(self, inbox: Inbox, start: int, changes: list[ev.Changed]) -> Any:
        # these import torch and transformers: only now that the device is ours
        from workbench import probes as questions
        from workbench.models.loading import parameter_count
        from workbench.training import reporting, room
        from workbench.training.stream import Stream

        checkpoints, before = self.checkpoints, room.used()
        found, objective = run_rows.read(self.folder), objectives.named(self.recipe.objective)
        job = objective.load_job(self.recipe, found)
        probes = questions.of(self.recipe, job.model, job.tokenizer, job.max_length)

        def found_best(step: int) -> None:
            checkpoints.best = step

        self.stream = Stream(
            self.folder, journal=self.journal, inbox=inbox, probes=probes, adopt=checkpoints.adopt, tokens=lambda: trainer.take_count(), extra=lambda: trainer.take_drawn(),  # type: ignore[arg-type]
            mixture=found.rates, recipe=self.recipe, live=lambda: trainer.live, draw_by=job.train.rows.change if found.segments else None,
            plan=[c for c in changes if c.step >= start], restored=[c for c in changes if c.step < start], sample=objective.sampler(self.recipe, job, probes),
            best=next((e.loss for e in self.history.evaluations if e.step == checkpoints.best), None), found_best=found_best, save_best=self.recipe.keep_best,
            sharded=self.recipe.launch is not None and self.recipe.launch.sharded, full=lambda: checkpoints.full(trainable))
        trainer = objective.build_trainer(self.recipe, job, checkpoints.folder, [self.stream],
                                          fruitless([e for e in self.history.evaluations if e.step <= start]))
        reporting.attach(trainer, self.folder, self.history, start, self.journal.write)
        self.room = room.of(trainer, self.recipe.method, room.longest_row(job.train.rows, job.max_length), before)
        everything, trainable = parameter_count(job.model)
        self.journal.write(ev.Prepared(
            rows=job.train.examples, heldout_rows=job.heldout.examples, dropped=dict(job.train.dropped), truncated=job.train.truncated,
            tokens=job.train.tokens, trained_tokens=job.train.trained_tokens, parameters=everything, trainable_parameters=trainable,
            steps=trainer.args.max_steps, start_step=start, notes=job.notes, mixture=found.rates, planned=self.room.planned if self.room else {},
            source_rows={name: table.num_rows for name, table in found.train.items()} if found.segments else {}))
        if self.recipe.launch:
            trainer.proof = self._proved
        if self._stop:
            self.stream.request_stop()
        return trainer

    def _proved(self, trainer: Any) -> None:
        from workbench.training import strategies

        self.journal.write(strategies.prove(trainer, self.recipe.launch))

    def _finish_training(self, trainer: Any) -> str:
        from workbench.training import together

        scratch = self.folder / "result.scratch"
        trainer.save_model(str(scratch))  # every process may have a part in it
        together.meet()
        step, stopped = trainer.state.global_step, self.stream.stopped
        early = not stopped and step < trainer.args.max_steps
        status = self._finish(scratch, step, "stopped" if stopped else "finished",
                              f"Stopped early: {self.recipe.early_stopping} evaluations without a lower held-out loss." if early else "")
        if self.leads:
            shutil.rmtree(scratch, ignore_errors=True)
        return status

    def _finish(self, last: Path, step: int, status: str, reason: str = "") -> str:
        """Keep the result: the model in the folder `last`, or the best checkpoint's where the recipe asks for it."""
        if not self.leads:
            return status
        best = self.checkpoints.best
        if self.recipe.keep_best and best is not None and self.checkpoints.path(best).exists():
            last = self.checkpoints.path(best)
            reason = f"{reason} The result is the checkpoint of step {best}, the lowest held-out loss.".strip()
        publish(last, self.folder / "result")
        self.end(ev.Ended(step=step, status=status, reason=reason, result="result"))
        return status


def _left_to_do(command: cmd.Command, made: set[tuple[str, str]], start: int, earlier: bool) -> cmd.Command | None:
    """What is still to be done of a command found at the start of an attempt; None where nothing is."""
    if isinstance(command, cmd.Set):
        values = {field: value for field, value in command.values.items() if (command.id, field) not in made}
        return dataclasses.replace(command, values=values) if values else None
    later = isinstance(command, (cmd.Pause, cmd.Stop)) and command.at_step is not None and command.at_step > start
    return command if later or not earlier else None


def fruitless(evaluations: list[ev.Evaluated]) -> int:
    """How many of the last evaluations brought no new lowest loss: where early stopping goes on counting after a resume."""
    count, best = 0, math.inf
    for event in evaluations:
        count = 0 if event.loss is not None and event.loss < best else count + 1
        best = min(best, math.inf if event.loss is None else event.loss)
    return count
