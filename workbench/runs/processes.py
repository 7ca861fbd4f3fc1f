"""Starting workers, and knowing whether one lives.

A worker is its own session, so closing the notebook or killing the kernel leaves it alone; its output goes to `worker.log`, a file, never a pipe. Processes are told
apart by pid and creation time. Knows nothing of recipes.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from workbench import device_queue
from workbench.errors import RunError
from workbench.runs import standby

MODULE = "workbench.training.worker"
_children: dict[int, subprocess.Popen] = {}
"""Workers this process started, so that they are waited for and leave no zombie."""


def spawn(folder: Path, asked: float | None = None) -> int:
    """Start a worker on a run folder: the warm standby if there is one, else a new process. Returns its pid.

    Commands sent before `asked` (now, unless given) are taken for an earlier attempt's.
    """
    asked = time.time() if asked is None else asked

    def note(pid: int) -> None:
        write_json(folder / "worker.json", {"pid": pid, "created": created(pid), "asked": asked})
        device_queue.draw(folder.name, pid)

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
    return {"GOMP_SPINCOUNT": "1000"} | os.environ | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path)), "PYTHONUNBUFFERED": "1"}


def worker_of(folder: Path) -> dict[str, Any]:
    """What `spawn` noted of the last worker, {} if there was none."""
    path = folder / "worker.json"
    return json.loads(path.read_text()) if path.exists() else {}


def created(pid: int) -> float:
    try:
        return psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return 0.0


def alive(pid: int, created_at: float) -> bool:
    """Whether that very process still runs (a zombie does not)."""
    child = _children.get(pid)
    if child is not None:  # a killed process is a zombie some moments before its exit status can be had: until then it counts
        return child.poll() is None
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - created_at) < 2
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:  # another person's process: it is there
        return True


def exit_code(pid: int) -> int | None:
    """How a worker of this process ended; None if unknown."""
    child = _children.get(pid)
    return child.poll() if child else None


def write_json(path: Path, body: dict[str, Any]) -> None:
    """Written whole or not at all. Raises `RunError` where the folder refuses."""
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_text(json.dumps(body, indent=1) + "\n")
        partial.replace(path)
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror}.", "Free some space, or choose another runs folder.") from error


def tail(path: Path, lines: int = 15, at_most: int = 16_384) -> str:
    """The last lines of a text file, "" where there is none."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - at_most))
            return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-lines:])
    except FileNotFoundError:
        return ""
