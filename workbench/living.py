"""Which process has a run folder, kept in its `worker.json`, and whether a process lives.

Processes are told apart by pid and creation time: a pid alone is given out again. Knows nothing of what the processes do.
"""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import psutil

from workbench.errors import RunError

_NOTED = {"created": (int, float), "asked": (int, float), "standby": int, "exit": int, "person": str}
"""What is noted of a worker beside its pid."""
SAME_S = 2.0
"""Creation times closer than this are the same process's: clock ticks and start times are rounded, differently on each system."""


def created(pid: int) -> float:
    """When process `pid` was created, in seconds after the machine started; 0 where there is none.

    Not in seconds since 1970: psutil reckons those with the clock as it is now, so a clock put right (a laptop that wakes, a virtual machine that goes on) would
    make every process another one.
    """
    try:
        return _created(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return 0.0


def _created(process: psutil.Process) -> float:
    since = psutil.boot_time()
    return process.create_time() - since


def alive(pid: int, created_at: float, standby: int | None = None) -> bool:
    """Whether that very process still runs. A zombie does not, unless its parent is the `standby` that is about to write down how it ended."""
    if not 0 < pid < 2**31:
        return False
    try:
        process = psutil.Process(pid)
        if abs(_created(process) - created_at) >= SAME_S:
            return False
        return process.status() != psutil.STATUS_ZOMBIE or process.ppid() == standby
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:  # another person's process: it is there
        return True


def note(folder: Path, pid: int, **more: Any) -> None:
    """Process `pid` has the run in `folder` from now on. Raises `RunError` where the folder refuses."""
    with _alone(folder):
        kept = {name: value for name, value in worker_of(folder).items() if name in ("asked", "person")}
        write_json(folder / "worker.json", {"pid": pid, "created": created(pid)} | kept | more)


def note_exit(folder: Path, pid: int, code: int) -> None:
    """Process `pid` ended with exit status `code`; nothing is written where another one has the run by now. Raises as `note` does."""
    with _alone(folder):
        worker = worker_of(folder)
        if worker.get("pid") == pid:
            write_json(folder / "worker.json", worker | {"exit": code})


def locked(lock: TextIO, patience_s: float) -> bool:
    """Take the lock on an open file, waiting so long: whoever has just ended may hold it for the moment its process takes to go."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Nobody else notes anything meanwhile. Raises `RunError` where there is no such folder."""
    try:
        door = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise RunError(f"{folder} cannot be opened: {error.strerror}.", "Check that the run folder is still there.") from error
    try:
        fcntl.flock(door, fcntl.LOCK_EX)
        yield
    finally:
        os.close(door)


def worker_of(folder: Path) -> dict[str, Any]:
    """What was noted of the last worker, {} if there was none.

    Its `pid`, when it was `created` (see there) and `asked` for (as bytes of `commands.jsonl` there were then), the pid of the `standby`
    it was forked from, `exit`, its exit status (negative for a
    signal) where the standby saw it, and the `person` who asked for it ("": the user).
    """
    try:
        body = json.loads((folder / "worker.json").read_text())
    except (FileNotFoundError, ValueError, RecursionError):  # anybody may have written it
        return {}
    good = isinstance(body, dict) and isinstance(body.get("pid"), int) and "created" in body and all(isinstance(body[name], kind) for name, kind in _NOTED.items() if name in body)  # type: ignore[arg-type]
    return body if good else {}


def write_json(path: Path, body: dict[str, Any]) -> None:
    """Written whole or not at all. Raises `RunError` where the folder refuses."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(json.dumps(body, indent=1) + "\n")
        partial.replace(path)
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror}.", "Free some space, or choose another runs folder.") from error
