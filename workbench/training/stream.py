"""`Stream`: the callback that makes any transformers or trl trainer write a journal and obey live commands.

    trainer = SFTTrainer(..., callbacks=[wb.Stream("runs/mine")])

At each step boundary (after the step's log, evaluation and checkpoint) it reads commands, applies them and echoes them in the journal.
Under torchrun rank 0 reads and writes, and every rank gets the same commands. Nothing here builds models or rows: see `worker.py` and
`supervised.py`.
"""

import fcntl
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import psutil
import torch
from transformers import TrainerCallback

from workbench import living
from workbench.errors import RecipeError, RunError, WorkbenchError
from workbench.journal import commands as cmd
from workbench.journal import events as ev
from workbench.probes import Probes
from workbench.recipes import Recipe, check_live
from workbench.training import gpu, together
from workbench.training.control import Inbox, Settings
from workbench.training.writer import Journal, started

POLL_S = 0.03
"""How often a paused run looks for commands."""
HANDOVER_S = 3.0
"""How long a trainer waits for the folder: one that has just ended may hold it for the moment its process takes to go."""
_locks: dict[tuple[int, Path], TextIO] = {}
"""(process, folder) -> its lock. An interrupted trainer lives on in reference cycles: the process's next one takes the folder from it."""
NOT_METRICS = {"loss", "learning_rate", "grad_norm", "epoch", "step", "total_flos", "num_input_tokens_seen"}


class Stream(TrainerCallback):
    """Journal, live control and probes for the trainer it is given to.

    `folder` becomes a run folder that `workbench.attach` opens. The keyword arguments are for workbench's own worker: an open journal,
    a plan of changes to make again after a resume, and hooks that count tokens, name checkpoints and answer sample prompts.
    """

    def __init__(self, folder: str | Path, *, journal: Journal | None = None, plan: list[ev.Changed] = (), restored: list[ev.Changed] = (),  # type: ignore[assignment]
                 inbox: Inbox | None = None, tokens: Callable[[], int] | None = None,
                 extra: Callable[[], dict[str, float]] | None = None, mixture: dict[str, float] | None = None,
                 draw_by: Callable[[dict[str, float], int], Any] | None = None, adopt: Callable[[int], str] | None = None,
                 sample: Callable[[Any, int], list[ev.Sampled]] | None = None, probes: Probes | None = None, best: float | None = None,
                 found_best: Callable[[int], None] | None = None, save_best: bool = False, recipe: Recipe | None = None,
                 live: Callable[[], dict[str, Any]] | None = None, sharded: bool = False, full: Callable[[], str] | None = None):
        self.folder = Path(folder)
        self.journal, self.probes, self.inbox = journal, probes, inbox
        self._own = journal is None
        self._plan, self._restored = list(plan), list(restored)
        self._tokens, self._extra, self._adopt, self._sample = tokens, extra, adopt, sample
        self._mixture, self._draw_by = mixture or {}, draw_by
        self._best, self._found_best, self._save_best = best, found_best, save_best
        self._settings: Settings | None = None
        self._recipe, self._live = recipe, live
        self._full, self._said_full = full, False
        """Why no checkpoint may be written now ("": one may); whether that was said."""
        self._sharded = sharded
        """Whether each process has but a part of the model, so that all of them answer a question together."""
        self._process = psutil.Process()
        self._card: gpu.Card | None = None
        self._paused, self._credit = False, 0
        self._boundary_after = ""
        self._since = 0.0
        self._seconds = 0.0
        self._seen = 0
        self.stopped = False
        self.step = 0
        self._stop_signal = False
        self._lock: TextIO | None = None
        self._result = ""

    # what trainers call ------------------------------------------------------------------------------------------------------------

    def on_train_begin(self, args: Any, state: Any, control: Any, **kw: Any) -> None:
        peak = args.learning_rate
        if state.global_step and getattr(kw.get("lr_scheduler"), "base_lrs", None):
            peak = kw["lr_scheduler"].base_lrs[0]  # a resumed schedule has the peak it was last given
        self._settings = Settings(peak, int(state.eval_steps) if args.eval_strategy == "steps" else None, self._mixture, self._draw_by,
                                  self._live() if self._live else None)
        self._card = gpu.own_card()
        if self._own:  # an earlier training with this callback may have left these
            self.step, self.stopped, self._paused, self._credit = state.global_step, False, False, 0
        if self._own and self._leads(state):
            self._take_lock()
            self._result = str(Path(args.output_dir).resolve())
            self._watch_cell()
            self.journal = Journal(self.folder)
            from workbench.models.loading import parameter_count

            everything, trainable = parameter_count(kw["model"])
            self.journal.write(started(attempt=1 + self._earlier_attempts(), resumed_from=state.global_step or None))
            dataset = getattr(kw.get("train_dataloader"), "dataset", None)
            self.journal.write(ev.Prepared(rows=len(dataset) if hasattr(dataset, "__len__") else 0, heldout_rows=0, dropped={}, truncated=0,
                                           tokens=0, trained_tokens=0, parameters=everything, trainable_parameters=trainable,
                                           steps=state.max_steps, start_step=state.global_step))
        if self.inbox is None:
            self.inbox = Inbox(self.folder, cmd.size(self.folder))
        if self.probes is None and kw.get("processing_class") is not None:
            self.probes = Probes(kw["model"], kw["processing_class"])
        for change in self._restored:
            self._settings.restore(change.field, change.new, change.step, state)
        self._boundary(state, control, kw)

    def on_step_end(self, args: Any, state: Any, control: Any, **kw: Any) -> None:
        self._seconds += time.perf_counter() - self._since
        self.step = state.global_step
        if self._lock is not None and self._lock.closed:
            raise RunError(f"A later training of this process writes to {self.folder} now.", "Give each wb.Stream a folder of its own.")
        if self._lock is not None:  # the journal has the steps that are logged; this is every one
            self._lock.seek(0)
            self._lock.write(f"{self.step}\n")
            self._lock.truncate()
        if self._leads(state):
            self.inbox.look()
        stop = together.share(self._stop_signal or self.inbox.stops(state.global_step))
        if stop and args.save_strategy != "no":
            control.should_save = True
        control.should_save = control.should_save and self._may_save(state)
        # DefaultFlowCallback has set the flags by now: the boundary comes after the last thing that this step still does
        flags = {"save": control.should_save, "evaluate": control.should_evaluate, "log": control.should_log}
        self._boundary_after = next((what for what, due in flags.items() if due), "")
        if not self._boundary_after:
            self._boundary(state, control, kw)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kw: Any) -> None:
        logs = logs or {}
        if "loss" in logs and not any(name.startswith("eval_") for name in logs):
            self._write(state, self._step_event(state, logs))  # every process has a part in its counts
        self._boundary_if("log", state, control, kw)

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float] | None = None, **kw: Any) -> None:
        if metrics:
            loss = metrics.get("eval_loss")
            best = loss is not None and (self._best is None or loss < self._best)
            self._best = loss if best else self._best
            if best and self._found_best:
                self._found_best(state.global_step)
            if best and self._save_best and self._may_save(state):
                control.should_save, self._boundary_after = True, "save"
            extra = {name.removeprefix("eval_"): float(value) for name, value in metrics.items()
                     if name not in ("eval_loss", "eval_runtime", "epoch") and "per_second" not in name and isinstance(value, (int, float))}
            seconds = metrics.get("eval_runtime", 0.0)
            self._write(state, ev.Evaluated(step=state.global_step, loss=loss, seconds=seconds, best=best, extra=extra))
            if self._sample and (self._sharded or self._leads(state)):
                for sample in self._sample(kw["model"], state.global_step):
                    self._write(state, sample)
        self._boundary_if("evaluate", state, control, kw)

    def on_save(self, args: Any, state: Any, control: Any, **kw: Any) -> None:
        together.meet()  # each has written its part of the checkpoint
        if self._leads(state):
            step = state.global_step
            folder = self._adopt(step) if self._adopt else str(Path(args.output_dir).resolve() / f"checkpoint-{step}")
            self.journal.write(ev.Saved(step=step, folder=folder))
        self._boundary_if("save", state, control, kw)

    def on_train_end(self, args: Any, state: Any, control: Any, **kw: Any) -> None:
        if self._own and self._leads(state):
            self._end("stopped" if self.stopped else "finished")

    def _may_save(self, state: Any) -> bool:
        """Whether there is room for a checkpoint; where there is none the run goes on without, which is noted once."""
        full = together.share(self._full() if self._full and self._leads(state) else "")
        if full and not self._said_full:
            self._write(state, ev.Noted(step=state.global_step, note=full))
        self._said_full = bool(full)
        return not full

    # the step boundary -------------------------------------------------------------------------------------------------------------

    def request_stop(self) -> None:
        """Stop at the next boundary (for a signal handler)."""
        self._stop_signal = True

    def _boundary_if(self, what: str, state: Any, control: Any, kw: dict[str, Any]) -> None:
        if self._boundary_after == what:
            self._boundary_after = ""
            self._boundary(state, control, kw)

    def _boundary(self, state: Any, control: Any, kw: dict[str, Any]) -> None:
        """Do everything that is asked for now; while paused, wait for more."""
        step = state.global_step
        while self._plan and self._plan[0].step <= step:
            change = self._plan.pop(0)
            self._change(change.field, change.new, change.command, change.by, state, kw)
        if self._paused and self._credit:
            self._credit -= 1
            if self._credit == 0:
                self._write(state, ev.Paused(step=step))
        while True:
            self._receive(state)  # also while some wait for their step: a paused run must hear of its resumption
            while (command := self.inbox.take(step)) is not None:
                self._obey(command, state, kw)
            if self._stop_signal:
                self.stopped = True
            if self.stopped or not self._paused or self._credit:
                break
            time.sleep(POLL_S)
        if self.stopped:
            control.should_training_stop = True
        self._since = time.perf_counter()

    def _receive(self, state: Any) -> None:
        """New commands, the same ones on every rank."""
        if self._leads(state):
            self.inbox.look()
        self.inbox.waiting, self._stop_signal = together.share((self.inbox.waiting, self._stop_signal))

    def _obey(self, command: cmd.Command, state: Any, kw: dict[str, Any]) -> None:
        step = state.global_step
        match command:
            case cmd.Set():
                try:
                    check_live(command.values, self._mixture, self._recipe)
                except RecipeError as error:
                    self._write(state, ev.Refused(step=step, command=command.id, reason=error.what))
                    return
                for field, value in command.values.items():
                    self._change(field, value, command.id, command.by, state, kw)
            case cmd.Pause():  # echoed where it changes nothing too: of two people who pause, each hears that it is paused
                self._paused, self._credit = True, 0
                self._write(state, ev.Paused(step=step, command=command.id))
            case cmd.Resume():
                self._paused, self._credit = False, 0
                self._write(state, ev.Resumed(step=step, command=command.id))
            case cmd.TakeSteps():
                if self._paused:
                    self._credit += max(1, int(command.count))
                else:
                    reason = "The run is not paused, so it cannot take single steps."
                    self._write(state, ev.Refused(step=step, command=command.id, reason=reason))
            case cmd.Stop():
                self.stopped = True
            case cmd.Probe():
                self._answer(command, state)

    def _change(self, field: str, value: Any, command: str, by: str, state: Any, kw: dict[str, Any]) -> None:
        try:
            old = self._settings.change(field, value, optimizer=kw.get("optimizer"), scheduler=kw.get("lr_scheduler"), state=state)
        except ValueError as error:
            self._write(state, ev.Refused(step=state.global_step, command=command, reason=f"{error}.".capitalize()))
            return
        new = self._settings.now(field)
        self._write(state, ev.Changed(step=state.global_step, field=field, old=old, new=new, command=command, by=by))

    def _answer(self, command: cmd.Probe, state: Any) -> None:
        if not (self._sharded or self._leads(state)):
            return
        if self.probes is None:
            error = "This trainer has no tokenizer to ask with; give it processing_class=tokenizer."
            self._write(state, ev.Answered(step=state.global_step, command=command.id, error=error))
            return
        try:
            result = self.probes.answer(command.probe, command.arguments)
            self._write(state, ev.Answered(step=state.global_step, command=command.id, result=result))
        except (WorkbenchError, ValueError, TypeError, RuntimeError, LookupError, AttributeError) as error:  # it must not end the run
            self._write(state, ev.Answered(step=state.global_step, command=command.id, error=str(error)))

    # small things ------------------------------------------------------------------------------------------------------------------

    def _step_event(self, state: Any, logs: dict[str, float]) -> ev.Step:
        seconds, self._seconds = self._seconds, 0.0  # since the last log, as the tokens are
        tokens = self._tokens() if self._tokens else None
        if tokens is None and state.num_input_tokens_seen:
            tokens, self._seen = state.num_input_tokens_seen - self._seen, state.num_input_tokens_seen
        extra = {name: float(value) for name, value in logs.items() if name not in NOT_METRICS and isinstance(value, (int, float))}
        extra |= self._extra() if self._extra else {}
        extra |= self._card.read() if self._card else {}
        return ev.Step(step=state.global_step, loss=logs["loss"], learning_rate=logs.get("learning_rate"), grad_norm=logs.get("grad_norm"),
                       epoch=state.epoch, tokens=tokens, tokens_per_s=tokens / seconds if tokens and seconds > 0 else None,
                       memory_gib=self._memory_gib(), extra=extra)

    def _memory_gib(self) -> float:
        if torch.cuda.is_available():
            return torch.cuda.max_memory_allocated() / 2**30
        return self._process.memory_info().rss / 2**30

    def _take_lock(self) -> None:
        """One trainer a folder, workbench's own worker included; the lock goes with the process. Raises `RunError` where another has it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        key = os.getpid(), self.folder.resolve()
        if key in _locks:
            _release(_locks[key])
        lock = open(os.open(self.folder / "worker.lock", os.O_RDWR | os.O_CREAT, 0o644), "r+", buffering=1)
        if not living.locked(lock, HANDOVER_S):
            lock.close()
            raise RunError(f"Another trainer is writing to {self.folder}.", "Stop it first, or give wb.Stream another folder.")
        lock.truncate(0)
        self._lock = _locks[key] = lock

    def _end(self, status: str, reason: str = "") -> None:
        """The last word, unless it was said or another training has the folder now."""
        if self._lock is None or self._lock.closed:
            return
        self.journal.write(ev.Ended(step=self.step, status=status, reason=reason, result=self._result))
        _release(self._lock)

    def _watch_cell(self) -> None:
        """In a notebook an interruption ends the training without a word to its callbacks; the end of its cell tells."""
        shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
        if shell is None:
            return
        thread = threading.current_thread()

        def over(cell: Any) -> None:
            if threading.current_thread() is not thread and not self._lock.closed:
                return  # a cell of a subshell, or the training goes on in a thread of its own
            shell.events.unregister("post_run_cell", over)
            error = getattr(cell, "error_in_exec", None)  # no `cell` where asyncio cancelled it
            if error is None or isinstance(error, KeyboardInterrupt):
                self._end("stopped", "Its cell ended before the training did.")
            else:
                self._end("failed", f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}")

        shell.events.register("post_run_cell", over)

    def _write(self, state: Any, event: ev.Event) -> None:
        if self._leads(state):
            self.journal.write(event)

    def _earlier_attempts(self) -> int:
        from workbench.journal.history import History

        history = History(self.folder)
        history.refresh()
        return history.started.attempt if history.started else 0

    @staticmethod
    def _leads(state: Any) -> bool:
        return state.is_world_process_zero


def _release(lock: TextIO) -> None:
    if not lock.closed:
        fcntl.flock(lock, fcntl.LOCK_UN)  # closing alone would leave it with the workers that a DataLoader forked
        lock.close()
