"""Whose turn it is for the device: one run at a time on a machine, in the order they asked.

Each waiting worker holds a ticket, a locked file named by the time it was drawn; the lock goes with the process, so a killed worker never blocks the ones behind
it. `WORKBENCH_QUEUE` names the folder (one for everybody on the machine by default), `WORKBENCH_SLOTS` how many may run at once.
"""

import contextlib
import fcntl
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

POLL_S = 0.05


def queue_folder() -> Path:
    folder = Path(os.environ.get("WORKBENCH_QUEUE") or Path(tempfile.gettempdir()) / "workbench-queue")
    folder.mkdir(parents=True, exist_ok=True)
    if folder.stat().st_uid == os.getuid():
        folder.chmod(0o1777)  # everybody on the machine draws tickets here
    return folder


class Ticket:
    """A place in the queue, given back when the process ends."""

    def __init__(self, run_name: str, folder: Path | None = None):
        self.folder = folder or queue_folder()
        # one at a time through the door: a ticket is never seen unlocked, and none appears before one that was already looked past
        door = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(door, fcntl.LOCK_EX)
            self.path = self.folder / f"{time.time_ns():020d}-{os.getpid()}"
            self._file = open(self.path, "w")
            fcntl.flock(self._file, fcntl.LOCK_EX)
            self._file.write(run_name)
            self._file.flush()
        finally:
            os.close(door)

    def ahead(self) -> list[str]:
        """Names of the runs before this one; tickets whose holder is gone are removed."""
        names = []
        for path in sorted(self.folder.iterdir()):
            if path.name >= self.path.name:
                break
            try:
                file = open(path)
            except OSError:  # gone in between, or another person's that cannot be opened
                if path.exists():
                    names.append("another person's run")
                continue
            with file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    names.append(file.read())
                    continue
                with contextlib.suppress(OSError):  # another person's: not in the way, and theirs to remove
                    path.unlink(missing_ok=True)
        return names

    def wait(self, told: Callable[[list[str]], None], given_up: Callable[[], bool]) -> bool:
        """Wait for the turn; `told` hears of every change of who is ahead. False when `given_up` says so."""
        slots = max(1, int(os.environ.get("WORKBENCH_SLOTS", "1")))
        before: list[str] = []
        while len(ahead := self.ahead()) >= slots:
            if ahead != before:
                told(ahead)
                before = ahead
            if given_up():
                self.release()
                return False
            time.sleep(POLL_S)
        return True

    def release(self) -> None:
        self.path.unlink(missing_ok=True)
        self._file.close()
