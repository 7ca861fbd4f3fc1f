"""Starting workers, and knowing whether one lives.

A worker is its own session, so closing the notebook or killing the kernel leaves it alone; its output goes to `worker.log`, a file, never a pipe. Knows nothing of
recipes.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from workbench import device_queue, living
from workbench.errors import RunError
from workbench.journal import commands as cmd
from workbench.runs import standby

MODULE = "workbench.training.worker"
_children: dict[int, subprocess.Popen] = {}
"""Processes this one started, workers and standbys, so that they are waited for and leave no zombie."""


def spawn(folder: Path, asked: int | None = None) -> int:
    """Start a worker on a run folder: the warm standby if there is one, else a new process. Returns the pid that answers for it now.

    Commands in the first `asked` bytes of their file (all that are there now, unless given) are an earlier attempt's: clocks tell nothing, they are put right.
    """
    asked = cmd.size(folder) if asked is None else asked

    def note(pid: int) -> None:
        ticket = device_queue.draw(folder.name, pid, run_folder=folder)
        try:
            living.note(folder, pid, asked=asked, person=device_queue.person())
        except RunError:
            ticket.unlink()  # nobody will run it, so nobody shall wait for it
            raise

    child = standby.take(folder, note)  # it reads the note at once, so the note comes first
    if child is None:
        try:
            with open(folder / "worker.log", "ab") as log:
                child = subprocess.Popen([sys.executable, "-m", MODULE, str(folder)], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                         start_new_session=True, env=environment(), cwd=folder)
        except OSError as error:
            raise RunError(f"No worker can be started on {folder}: {error.strerror}.", "Give the folder write permission, or free some space.") from error
        try:
            note(child.pid)
        except (RunError, OSError):
            child.kill()  # one that nobody knows of must not train
            child.wait()
            raise
    _children[child.pid] = child
    return child.pid


def environment() -> dict[str, str]:
    """This process's environment, with its import path: a worker imports the same packages wherever it runs."""
    # threads that spin as long as they like made a step two to six times slower where another job wanted the same cores, threads that never spin made it slower
    # where none did: a short spin was the better of both (median step 29 and 87 ms; always 100 and 182; never 81 and 53)
    return {"GOMP_SPINCOUNT": "1000"} | os.environ | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path)), "PYTHONUNBUFFERED": "1",
                                                              "PYTHONSAFEPATH": "1"}  # a worker stands in the run folder, which may be another's: no module of it


def alive(worker: dict[str, Any]) -> bool:
    """Whether the process that was noted as a run's worker still runs."""
    if "exit" in worker:
        return False
    child = _children.get(worker["pid"])
    if child is not None:  # a killed process is a zombie some moments before its exit status can be had: until then it counts
        return child.poll() is None
    return living.alive(worker["pid"], worker["created"], worker.get("standby"))


def exit_code(worker: dict[str, Any]) -> int | None:
    """How a worker that this process or its standby started ended; None if unknown."""
    child = _children.get(worker["pid"])
    return child.poll() if child else worker.get("exit")


def tail(path: Path, lines: int = 15, at_most: int = 16_384) -> str:
    """The last lines of a text file, "" where there is none."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - at_most))
            return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-lines:])
    except FileNotFoundError:
        return ""
