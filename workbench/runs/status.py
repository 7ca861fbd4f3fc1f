"""What state a run is in, as a word with a sentence: from its journal, and from whether its worker lives."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workbench import device_queue, living
from workbench.device_queue import Standing
from workbench.errors import RunError
from workbench.journal.events import Queued
from workbench.journal.history import History
from workbench.legible import letters, words
from workbench.runs import processes

LIVING = ("queued", "starting", "running", "paused")
STATUSES = ("new", *LIVING, "finished", "stopped", "failed", "died")
"""Every word a status can be."""
OUT_OF_MEMORY = "If memory ran out, use a smaller batch_size with more gradient_accumulation."


MOST_LOG = 20_000
"""Letters of the log's last lines."""


class Status(str):
    """One word, comparable to text: new, queued, starting, running, paused, finished, stopped, failed, died.

    `sentence` says more, `remedy` what to do, `log_tail` the last lines the worker printed (where it failed or died); all three are legible,
    whatever a journal or a log holds.
    """

    sentence: str
    remedy: str
    log_tail: str
    step: int | None
    """Steps done, where that is more than the journal says: a script may log every tenth."""
    holder: str
    """The run that has the device, where this one waits for it: `ada's town-lora8`."""

    def __new__(cls, word: str, sentence: str = "", remedy: str = "", log_tail: str = "", step: int | None = None, holder: str = ""):
        self = super().__new__(cls, word)
        self.sentence, self.remedy = words(sentence or word.capitalize() + "."), words(remedy)
        self.log_tail = letters(log_tail.replace("\r\n", "\n").replace("\r", "\n"), MOST_LOG)
        self.step, self.holder = step, words(holder)
        return self

    def __repr__(self) -> str:
        parts = [f"{str(self)}: {self.sentence}", self.remedy, self.log_tail and "Last lines of worker.log:\n" + self.log_tail]
        return "\n".join(part for part in parts if part)


def living_pid(folder: Path, history: History) -> int | None:
    """The process that has the run now: the last one that was started, or the one the journal names.

    In that order: after a resume the old process may live on for the moment it takes to end.
    """
    worker = living.worker_of(folder)
    if worker and processes.alive(worker):
        return worker["pid"]
    started = history.started
    return started.pid if started and processes.alive({"pid": started.pid, "created": started.created}) else None


def status_of(folder: Path, history: History) -> Status:
    """The status of the run in `folder`; reads what is new in its journal."""
    status = _status_of(folder, history)
    if history.damaged:
        status.sentence += f" {history.damage}"
    return status


def _status_of(folder: Path, history: History) -> Status:
    history.refresh()
    pid = living_pid(folder, history)
    history.refresh()  # again, after looking at the process: its last words count
    started, ended = history.started, history.ended
    where = f"step {history.step}" + (f" of {history.steps}" if history.steps else "")
    anew = pid is not None and (started is None or started.pid != pid)
    if ended is not None and not anew:
        if ended.status == "failed":
            return Status("failed", f"Failed at {where}: {ended.reason}", ended.remedy, processes.tail(folder / "worker.log"))
        by_script = not (folder / "recipe.json").exists()
        remedy = "run.resume() goes on from the last checkpoint." if ended.status == "stopped" else ""
        if by_script:
            remedy = left_by_script(ended.result)
        return Status(ended.status, f"{ended.status.capitalize()} at {where}. {ended.reason}".strip(), remedy)
    if pid is not None:
        if history.phase == "queued":
            return Status("queued", f"Waits for the device behind {behind_words(history.queued)}.", holder=_first_of(history.queued))
        if not anew and history.phase in ("running", "paused"):
            step = max(history.step, step_of_script(folder))
            where = f"step {step}" + (f" of {history.steps}" if history.steps else "")
            return Status(history.phase, f"{history.phase.capitalize()} at {where}.", step=step)
        place = _place(folder, pid) if anew else None
        if place:
            return Status("starting", f"Starting, and waits for the device behind {behind_words(place)}.", holder=_first_of(place))
        return Status("starting", "Starting: loading the model and the rows.")
    worker = living.worker_of(folder)
    if not worker and started is None:
        return Status("new", "Nothing has run here yet.")
    step = history.last_checkpoint
    again = f"run.resume() goes on from step {step}." if step else "run.resume() starts it again."
    told = [f"The worker {how_it_died(worker)} at {where}."]
    told += ["Its journal breaks off in the middle of a line, so it may have got further."] if history.torn else []
    kept = (folder / "result").is_dir()  # published in one piece, or not at all
    told += ["A whole result is there."] if kept else []
    remedy = f"run.load() opens the result; {again}" if kept else again
    return Status("died", " ".join(told), f"{remedy} {OUT_OF_MEMORY}", processes.tail(folder / "worker.log"))


def _place(folder: Path, pid: int) -> Standing | None:
    """Where a run waits whose worker has not said a word yet: on a busy machine that takes a while."""
    try:
        return device_queue.standing(folder.name, pid)
    except (RunError, OSError):  # the queue's folder cannot be read here: what the journal says is known
        return None


def _first_of(queued: Queued | Standing) -> str:
    return behind_words(Standing(len(queued.behind[:1]), queued.behind[:1], queued.people[:1]))


def behind_words(queued: Queued | Standing, short: Callable[[str], str] = str) -> str:
    """`ada's town-lora8, town-full and 3 others`: the runs ahead of one that waits, as `short` names them, the one whose turn it is first."""
    names = [f"{person}'s {short(name)}" for person, name in zip(queued.people, queued.behind, strict=False)] or [short(name) for name in queued.behind]
    others = queued.position - len(names)
    return ", ".join(names) + (f" and {others} other{'s' if others > 1 else ''}" if others > 0 else "")


def left_by_script(result: str) -> str:
    """What can be had of a run that a script of its own trained."""
    return f"A script of its own trained it: the model lies where that script saved it{f', by default under {result}' if result else ''}."


def step_of_script(folder: Path) -> int:
    """The last step of a script with `wb.Stream`, which keeps it in its lock; 0 for any other run."""
    try:
        return int((folder / "worker.lock").read_text() or 0)
    except (FileNotFoundError, ValueError):
        return 0


def how_it_died(worker: dict[str, Any]) -> str:
    code = processes.exit_code(worker) if worker else None
    if not code:
        return "ended without a word"
    if -code in set(signal.Signals):
        return f"was killed ({signal.Signals(-code).name})"
    return f"ended with exit status {code}"
