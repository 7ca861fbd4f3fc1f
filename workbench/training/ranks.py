"""One of the processes that train one run together: `torchrun ... -m workbench.training.ranks FOLDER`, or forked by the worker.

Each loads the model and reads its own rows; the first (rank 0) leads: it reads commands, writes the journal and the result. Under a worker
(`launched.py`) failures are left for it to tell. Under torchrun, on several machines, the leader has the run folder itself: it holds its
lock and writes the last word. Not here: what is trained (`session.py`), and how the model is shared (`strategies.py`).
"""

import json
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from workbench import device_queue, living
from workbench.errors import RunError, WorkbenchError
from workbench.journal import commands as cmd
from workbench.journal import events as ev
from workbench.journal.redacted import Redacting

WORKER, WORDS, STORE = "WORKBENCH_WORKER", "WORKBENCH_WORDS", "WORKBENCH_STORE"
"""In the environment under a worker: its pid, the folder for last words, and the file by which the processes find each other, in place of an
open port."""
POLL_S = 0.5
LOST_S = 1.0
"""A process that lost the others lives so much longer, so that the one that died is found first."""
LOST = ("gloo", "Connection closed by peer", "Connection reset", "Broken pipe", "NCCL")
HANDOVER_S = 10.0


def run(folder: str) -> None:
    """Train until the end. Ends the process with status 1 where that fails."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the worker's own, where this process was forked from it
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if WORKER in os.environ:
        threading.Thread(target=_end_with, args=(int(os.environ[WORKER]),), daemon=True).start()
    if not isinstance(sys.stdout, Redacting):  # the worker's is, where this process was forked from it
        sys.stdout, sys.stderr = Redacting(sys.stdout), Redacting(sys.stderr)
    rank, session = int(os.environ["RANK"]), None
    lock = None
    try:
        launch = _launch(folder)
        from workbench.training import strategies, together
        from workbench.training.session import Session

        strategies.settle(launch)
        strategies.meet(launch)
        if WORKER not in os.environ:
            lock = _own(Path(folder), together)
        session = Session(Path(folder), leads=rank == 0)
        session.learn()
        strategies.part()
    except Exception as error:  # told by the worker, or written down here
        _fail(error, rank, session, Path(folder), lock is not None)


def _launch(folder: str) -> Any:
    from workbench import launching

    try:
        written = (Path(folder) / "recipe.json").read_text()
    except OSError as error:
        raise RunError(f"There is no run in {folder}.", "Type the line of wb.launch_command(run) again, where its folder can be seen.") from error
    return launching.from_json(json.loads(written).get("launch"))


def _fail(error: Exception, rank: int, session: Any, folder: Path, owns: bool) -> None:
    from workbench.training.worker import told_of

    if isinstance(error, WorkbenchError) and WORDS not in os.environ:
        print(f"Process {rank}: {error.what} {error.remedy}", file=sys.stderr)  # to whoever typed the line
    else:
        traceback.print_exc()
    if isinstance(error, WorkbenchError):
        ended = ev.Ended(step=session.step if session else 0, status="failed", reason=error.what, remedy=error.remedy)
    else:
        ended = told_of(error, session.step if session else 0, session.room if session else None)
    lost = isinstance(error, RuntimeError) and any(word in str(error) for word in LOST)
    if WORDS in os.environ:
        living.write_json(Path(os.environ[WORDS]) / f"{rank}.json", {"reason": ended.reason, "remedy": ended.remedy, "lost": lost})
    elif owns and session is not None:
        if lost:
            ended.reason, ended.remedy = "The processes lost each other: one of them died, or its machine.", "Type the same torchrun line again on each machine."
        session.end(ended)
    sys.stdout.flush()
    sys.stderr.flush()
    if lost:
        time.sleep(LOST_S)
    os._exit(1)  # a library that waits for the others at exit would wait for ever


def _end_with(parent: int) -> None:
    """End when the worker does: nobody would watch this process, and the run could not be resumed."""
    while os.getppid() == parent:
        time.sleep(POLL_S)
    shutil.rmtree(os.environ[WORDS], ignore_errors=True)
    os._exit(1)


def _own(folder: Path, together: Any) -> Any:
    """Take the run folder, where no worker has it; returns the leader's lock, True on the others."""
    lock, free = None, True
    if together.rank() == 0:
        from workbench.training.session import Session

        lock = open(folder / "worker.lock", "w")
        free = living.locked(lock, HANDOVER_S)
    if not together.share(free):
        raise WorkbenchError("Another worker has this run.", "Stop it first.")
    if lock is not None:
        living.note(folder, os.getpid(), asked=cmd.size(folder), person=device_queue.person())
        Session(folder).begin()
    together.meet()
    return lock or True


if __name__ == "__main__":
    run(sys.argv[1])
