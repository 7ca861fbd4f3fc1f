"""Whose turn it is for the device: one run at a time on a machine, in the order they were asked for.

Whoever starts a worker draws its ticket at once, a file named by the time and the worker's pid; so a worker that is ready sooner does not overtake. A ticket counts while its
process lives, so a killed worker never blocks the ones behind it; a lock on a slot makes sure that no two have the device even if the clock was set back.
`WORKBENCH_QUEUE` names the folder (one for everybody on the machine by default), `WORKBENCH_SLOTS` how many may run at once.
"""

import contextlib
import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from workbench import living

POLL_S = 0.05


def queue_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """The folder of tickets that a process with this environment draws from, made when missing."""
    folder = Path(environment.get("WORKBENCH_QUEUE") or Path(tempfile.gettempdir()) / "workbench-queue")
    folder.mkdir(parents=True, exist_ok=True)
    if folder.stat().st_uid == os.getuid():
        folder.chmod(0o1777)  # everybody on the machine draws tickets here
    return folder


@contextlib.contextmanager
def _door(folder: Path) -> Iterator[None]:
    """One at a time: no ticket appears before one that was already looked past."""
    door = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(door, fcntl.LOCK_EX)
        yield
    finally:
        os.close(door)


def draw(run_name: str, pid: int, folder: Path | None = None) -> Path:
    """A ticket for process `pid`, behind all that are there."""
    folder = folder or queue_folder()
    with _door(folder):
        return _write(folder / f"{time.time_ns():020d}-{pid}", run_name)


def hand_over(run_name: str, old: int, new: int, folder: Path | None = None) -> None:
    """The ticket that process `old` has for this run, with its place in the order, is process `new`'s from now on."""
    folder = folder or queue_folder()
    with _door(folder):
        for ticket in _tickets(folder, old, run_name)[:1]:
            _write(folder / f"{ticket.name.split('-')[0]}-{new}", run_name)
            ticket.unlink()


def give_up(run_name: str, pid: int, folder: Path) -> None:
    """Take the ticket that process `pid` has for this run out of the queue."""
    with _door(folder):
        for ticket in _tickets(folder, pid, run_name)[:1]:
            ticket.unlink()


def _tickets(folder: Path, pid: int, run_name: str = "") -> list[Path]:
    """The tickets that count of process `pid`, the first drawn first; of one run alone where it is named."""
    return [ticket for ticket in sorted(folder.glob(f"[0-9]*-{pid}")) if (name := holder(ticket)) is not None and run_name in ("", name)]


def _write(ticket: Path, run_name: str) -> Path:
    """Whole or not there: an empty one would be taken for a dead process's, and removed."""
    unseen = ticket.with_name(f".{ticket.name}")
    unseen.write_text(f"{living.created(int(ticket.name.split('-')[1]))}\n{run_name}")
    return unseen.replace(ticket)


def holder(ticket: Path) -> str | None:
    """The run a ticket stands for; None where its process is gone."""
    try:
        created, name = ticket.read_text().split("\n", 1)
        return name if living.alive(int(ticket.name.split("-")[1]), float(created)) else None
    except (OSError, ValueError):
        return None


class Place:
    """This process's place in the queue, given back when the process ends."""

    def __init__(self, run_name: str, folder: Path | None = None):
        self.folder = folder or queue_folder()
        mine = _tickets(self.folder, os.getpid())
        self.ticket = mine[0] if mine else draw(run_name, os.getpid(), self.folder)
        self._slot: int | None = None

    def ahead(self) -> list[str]:
        """Names of the runs before this one; tickets whose process is gone are removed."""
        names = []
        for ticket in sorted(self.folder.glob("[0-9]*-*")):
            if ticket.name >= self.ticket.name:
                break
            name = holder(ticket)
            if name is not None:
                names.append(name)
            else:
                with contextlib.suppress(OSError):  # another person's: not in the way, and theirs to remove
                    ticket.unlink(missing_ok=True)
        return names

    def wait(self, told: Callable[[list[str]], None], given_up: Callable[[], bool]) -> bool:
        """Wait for the turn; `told` hears of every change of who is ahead. False when `given_up` says so."""
        slots = max(1, int(os.environ.get("WORKBENCH_SLOTS", "1")))
        before: list[str] = []
        while len(ahead := self.ahead()) >= slots or not self._take(slots):
            ahead = ahead or ["another run"]
            if ahead != before:
                told(ahead)
                before = ahead
            if given_up():
                self.release()
                return False
            time.sleep(POLL_S)
        return True

    def _take(self, slots: int) -> bool:
        """Lock a free slot; the lock goes with the process."""
        for number in range(slots):
            path = self.folder / f"slot-{number}"
            # created apart: in a folder for everybody, Linux refuses O_CREAT on another person's file
            with contextlib.suppress(FileExistsError):
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
            slot = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.flock(slot, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(slot)
                continue
            self._slot = slot
            return True
        return False

    def release(self) -> None:
        self.ticket.unlink(missing_ok=True)
        if self._slot is not None:
            os.close(self._slot)
            self._slot = None
