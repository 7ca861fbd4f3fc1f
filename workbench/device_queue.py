"""Whose turn it is for the device: one run at a time on a machine, fairly by person, and a person's own runs in the order they were asked
for.

Next is the person with the fewest runs on the device now, and of those whose last turn began the longest ago (who never had one comes
first, the oldest ticket decides between equals). A person is a user of the machine; where several share one, as under some JupyterHubs,
each is the name in `WORKBENCH_PERSON`. Such names share their user's turns, so nobody gains by having several.

Whoever starts a worker draws its ticket at once, a file named by the time and the worker's pid; so a worker that is ready sooner does not
overtake. A ticket counts while its process lives, so a killed worker never blocks the ones behind it; a lock on a slot makes sure that no
two have the device even if the clock was set back. `WORKBENCH_QUEUE` names the folder (one for everybody on the machine by default),
`WORKBENCH_SLOTS` how many may run at once. There is no server: tickets, and the number of each person's last turn, are files of that
person's in a folder where nobody can remove another's. Not here: what stops somebody from editing his own.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import itertools
import json
import math
import os
import pwd
import re
import secrets
import stat
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench import living
from workbench.errors import RunError

POLL_S, POLL_AT_MOST_S = 0.05, 1.0
"""The next run looks so often; one further back looks less often, in proportion to its place."""
COUNT_S = 0.25
"""A run looks whether those ahead of it live each so many seconds for each of them: with 200 waiting that is all the work there is."""
READ_S = 0.01
"""And reads what has changed no sooner than after so many seconds for each of them."""
NAMED = 5
"""So many of the runs ahead are named."""
AT_MOST = 1 << 15
"""Bytes of a ticket that are read."""
NAME = re.compile(r"[0-9]+-[0-9]+")
Person = tuple[int, str]
"""A user's id, and a digest of the name within it ("": none)."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """A run's place. `order` sorts one person's; `turn` is the number of its turn once it has the device, 0 before; `asked` seconds
    since 1970."""

    path: Path
    pid: int
    created: float
    uid: int
    run: str
    order: int
    person: str = ""
    folder: str = ""
    asked: float = 0.0
    turn: int = 0

    @property
    def whose(self) -> Person:
        return self.uid, _digest(self.person)

    @property
    def alive(self) -> bool:
        return living.alive(self.pid, self.created)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a waiting run stands. `position` 1 is next; `behind` names the first `NAMED` runs ahead, `people` whose those are ([] where all
    are its own person's), and `mine` counts the runs ahead of it that wait and are its own person's."""

    position: int
    behind: list[str] = field(default_factory=list)
    people: list[str] = field(default_factory=list)
    mine: int = 0


# the folder --------------------------------------------------------------------------------------------------------------------------


def queue_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """The folder of tickets that a process with this environment draws from, made when missing."""
    folder = Path(environment.get("WORKBENCH_QUEUE") or Path(tempfile.gettempdir()) / "workbench-queue")
    if folder.is_symlink():
        raise RunError(f"The queue's folder {folder} is a link.", "Set WORKBENCH_QUEUE to a folder, or remove the link.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):  # one that is there keeps its rights: it may hold more than tickets
        folder.mkdir()
        folder.chmod(0o1777)  # everybody on the machine draws tickets here
    return folder


def slots_of(environment: Mapping[str, str] = os.environ) -> int:
    """How many runs may have the device at once."""
    try:
        return max(1, int(environment.get("WORKBENCH_SLOTS") or 1))
    except ValueError:
        raise RunError(f"WORKBENCH_SLOTS is {environment['WORKBENCH_SLOTS']!r}, which is no number of runs.",
                       "Set it to 1, or unset it.") from None


@contextlib.contextmanager
def _door(folder: Path) -> Iterator[None]:
    """One at a time: no ticket appears before one that was already looked past, and none changes while a turn is taken."""
    door = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(door, fcntl.LOCK_EX)
        yield
    finally:
        os.close(door)


def draw(run_name: str, pid: int, folder: Path | None = None, run_folder: str | Path = "") -> Path:
    """A ticket for process `pid`, behind all of its person's that are there."""
    folder = folder or queue_folder()
    with _door(folder):
        there, order = read(folder), time.time_ns()
        for ticket in there:
            if ticket.uid == os.getuid() and not ticket.alive:
                ticket.path.unlink(missing_ok=True)
            else:
                order = max(order, ticket.order + 1)  # behind it even where the clock was set back
        path = folder / f"{order:020d}-{pid}"
        _write(Ticket(path, pid, living.created(pid), os.getuid(), run_name, order, person(), str(run_folder), time.time()))
    return path


def person() -> str:
    """What this process's person is called among those who share its user."""
    return os.environ.get("WORKBENCH_PERSON", "").strip()[:64]


def hand_over(run_name: str, old: int, new: int, folder: Path | None = None) -> None:
    """The ticket that process `old` has for this run, with its place in the order, is process `new`'s from now on."""
    folder = folder or queue_folder()
    with _door(folder):
        for ticket in _tickets(folder, old, run_name)[:1]:
            path = folder / f"{ticket.path.name.split('-')[0]}-{new}"
            _write(dataclasses.replace(ticket, path=path, pid=new, created=living.created(new)))
            ticket.path.unlink()


def give_up(run_name: str, pid: int, folder: Path) -> None:
    """Take the ticket that process `pid` has for this run out of the queue."""
    with _door(folder):
        for ticket in _tickets(folder, pid, run_name)[:1]:
            ticket.path.unlink()


def check_own(run_name: str, pid: int, what: str, does: str, folder: Path | None = None) -> None:
    """Raises `RunError`, with "be `what`" and "each person `does`", where the run is in the queue as another person's."""
    for ticket in _tickets(folder or queue_folder(), pid, run_name)[:1]:
        _refuse_others(ticket, what, does)


def _refuse_others(ticket: Ticket, what: str, does: str) -> None:
    if ticket.whose != (os.getuid(), _digest(person())):
        raise RunError(f"{ticket.run} cannot be {what} here: it is {name_of(ticket)}'s.", f"Each person {does} runs of their own.")


def move_up(run_name: str, pid: int, folder: Path | None = None) -> None:
    """Make the run the next of its person's. Raises `RunError` where it does not wait, or is another person's."""
    folder = folder or queue_folder()
    with _door(folder):
        mine = _tickets(folder, pid, run_name)[:1]
        if not mine or mine[0].turn:
            raise RunError(f"{run_name} cannot be moved up: it does not wait for the device.",
                           "python -m workbench queue shows what waits.")
        ticket = mine[0]
        _refuse_others(ticket, "moved up", "orders")
        others = [other.order for other in read(folder) if other.whose == ticket.whose and not other.turn and other.path != ticket.path]
        if others and min(others) < ticket.order:
            _write(dataclasses.replace(ticket, order=min(others) - 1))


# tickets on disk ---------------------------------------------------------------------------------------------------------------------


def read(folder: Path, known: dict[str, tuple[Any, Ticket | None]] | None = None) -> list[Ticket]:
    """Every ticket that can be read, whether its process lives or not. `known` keeps them, by name, for the next time: only what is new
    is opened then."""
    known = {} if known is None else known
    found = {}
    for entry in os.scandir(folder):
        if NAME.fullmatch(entry.name):
            with contextlib.suppress(FileNotFoundError):
                made = entry.stat(follow_symlinks=False)
                stamp, before = (made.st_ino, made.st_mtime_ns), known.get(entry.name)
                found[entry.name] = before if before and before[0] == stamp else (stamp, _read(folder / entry.name))
    known.clear()
    known.update(found)
    return [ticket for _, ticket in found.values() if ticket is not None]


def _read(path: Path) -> Ticket | None:
    """Others write here too: what is no plain small file, or says nonsense, is no ticket."""
    found = _content(path)
    if found is None:
        return None
    try:
        body = json.loads(found[1])
        ticket = Ticket(path, int(path.name.split("-")[1]), float(body["created"]), found[0], str(body["run"])[:255],
                        int(body["order"]), str(body["person"])[:64],
                        str(body["folder"]), float(body["asked"]), int(body["turn"]))
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
    return ticket if ticket.pid > 0 else None


def _content(path: Path) -> tuple[int, bytes] | None:
    """(its owner, its first bytes) of a plain file; a pipe or a link that somebody put there is not opened."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        found = os.fstat(file)
        return (found.st_uid, os.read(file, AT_MOST)) if stat.S_ISREG(found.st_mode) else None
    finally:
        os.close(file)


def _write(ticket: Ticket) -> None:
    body = {name: getattr(ticket, name) for name in ("created", "run", "order", "person", "folder", "asked", "turn")}
    _put(ticket.path, json.dumps(body).encode())


def _put(path: Path, content: bytes) -> None:
    """Whole or not there, under a name that nobody can have made before: half a ticket would be taken for a dead process's."""
    file, unseen = tempfile.mkstemp(prefix=".", dir=path.parent)
    try:
        with open(file, "wb") as opened:
            opened.write(content)
        os.chmod(unseen, 0o644)
        os.replace(unseen, path)
    except OSError:
        os.unlink(unseen)
        raise


def _tickets(folder: Path, pid: int, run_name: str = "") -> list[Ticket]:
    """The tickets that count of process `pid`, the first drawn first; of one run alone where it is named."""
    found = [_read(path) for path in sorted(folder.glob(f"[0-9]*-{pid}"))]
    return [ticket for ticket in found if ticket is not None and run_name in ("", ticket.run) and ticket.alive]


def holder(path: Path) -> str | None:
    """The run a ticket stands for; None where its process is gone."""
    ticket = _read(path)
    return ticket.run if ticket is not None and ticket.alive else None


def name_of(ticket: Ticket) -> str:
    """Whose it is, in a word."""
    return called(ticket.person, ticket.uid)


def called(person: str, uid: int) -> str:
    """A person in a word: the name given, else the user's."""
    if person:
        return person
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # a container's user id without a name
        return f"user {uid}"


def _digest(person: str) -> str:
    return hashlib.blake2b(person.encode(), digest_size=8).hexdigest() if person else ""


# whose turn ----------------------------------------------------------------------------------------------------------------------------


def turns(folder: Path) -> dict[Person, int]:
    """The number of each person's last turn. What another user wrote under somebody's name does not count."""
    found = {}
    for path in folder.glob("turn-*"):
        content = _content(path)
        with contextlib.suppress(ValueError):
            _, uid, digest, _ = path.name.split("-")
            if content is not None and content[0] == int(uid):
                found[int(uid), digest] = max(int(content[1][:18]), found.get((int(uid), digest), 0))
    return found


def _note_turn(folder: Path, whose: Person, number: int) -> None:
    """A file under a name that nobody can have taken before, in the place of the one from the turn before."""
    before = list(folder.glob(f"turn-{whose[0]}-{whose[1]}-*"))
    _put(folder / f"turn-{whose[0]}-{whose[1]}-{secrets.token_hex(8)}", str(number).encode())
    for path in before:
        with contextlib.suppress(PermissionError):  # another user's, who only pretends
            path.unlink(missing_ok=True)


def fair(tickets: Iterable[Ticket], last: Mapping[Person, int], slots: int = 1) -> list[Ticket]:
    """The order of turns: those that have one, then each next one as if the turn that began first ended first. Pure."""
    tickets = list(tickets)
    line = sorted((ticket for ticket in tickets if ticket.turn), key=lambda ticket: ticket.turn)
    waiting: dict[Person, list[Ticket]] = {}
    for ticket in sorted((ticket for ticket in tickets if not ticket.turn), reverse=True,
                         key=lambda ticket: (ticket.order, ticket.path.name)):
        waiting.setdefault(ticket.whose, []).append(ticket)
    last = {**last, **{ticket.whose: max(ticket.turn, last.get(ticket.whose, 0)) for ticket in line}}
    turn, on = max(last.values(), default=0), [ticket.whose for ticket in line]
    by_user = {uid: max(number for whose, number in last.items() if whose[0] == uid) for uid, _ in last}
    while waiting:
        del on[:max(0, len(on) - slots + 1)]
        users, people = Counter(uid for uid, _ in on), Counter(on)
        whose = min(waiting, key=lambda w: (users[w[0]], by_user.get(w[0], 0), people[w], last.get(w, 0), waiting[w][-1].order))
        line.append(waiting[whose].pop())
        if not waiting[whose]:
            del waiting[whose]
        turn += 1
        last[whose] = by_user[whose[0]] = turn
        on.append(whose)
    return line


def line(folder: Path | None = None) -> list[Ticket]:
    """Everybody's runs that have the device or wait for it, in the order of their turns."""
    folder = folder or queue_folder()
    return fair([ticket for ticket in read(folder) if ticket.alive], turns(folder), slots_of())


def standing(run_name: str, pid: int, folder: Path | None = None) -> Standing | None:
    """Where process `pid` waits with this run, also before it says so itself; None where it does not wait."""
    everybody = line(folder)
    for number, ticket in enumerate(everybody):
        if (ticket.pid, ticket.run) == (pid, run_name):
            return None if ticket.turn or number < slots_of() else _behind(everybody[:number], ticket.whose)
    return None


def _behind(ahead: list[Ticket], whose: Person | None) -> Standing:
    people = [name_of(ticket) for ticket in ahead[:NAMED]] if any(ticket.whose != whose for ticket in ahead) else []
    own = sum(ticket.whose == whose and not ticket.turn for ticket in ahead)
    return Standing(len(ahead), [ticket.run for ticket in ahead[:NAMED]], people, own)


class Place:
    """This process's place in the queue, given back when the process ends."""

    def __init__(self, run_name: str, folder: Path | None = None, run_folder: str | Path = ""):
        self.folder, self.run_name, self.run_folder = folder or queue_folder(), run_name, run_folder
        mine = _tickets(self.folder, os.getpid())
        self.ticket = mine[0].path if mine else draw(run_name, os.getpid(), self.folder, run_folder)
        self._slot: int | None = None
        self._line: list[Ticket] = []
        self._known: dict[str, tuple[Any, Ticket | None]] = {}
        self._changed, self._read_at = 0, -math.inf
        """When the folder had last changed as `_line` was read, in ns, and when that was."""

    def ahead(self) -> list[Ticket]:
        """The runs before this one; tickets whose process is gone are removed."""
        found = self._before()
        while gone := {ticket.path for ticket in found if not ticket.alive}:
            for path in gone:
                with contextlib.suppress(OSError):  # another person's: not in the way, and theirs to remove
                    path.unlink(missing_ok=True)
            # without them another's turn may come first
            self._line = fair([ticket for ticket in self._line if ticket.path not in gone], turns(self.folder), slots_of())
            found = self._cut()
        return found

    def _before(self) -> list[Ticket]:
        """The line up to this run, read again where the folder has changed: every ticket that comes, goes or changes changes it."""
        changed, now = os.stat(self.folder).st_mtime_ns, time.monotonic()
        # a change may still come within the clock tick of the last one
        if (changed != self._changed or not 10**8 < time.time_ns() - changed) and now - self._read_at > READ_S * (len(self._cut()) - 1):
            self._line = fair(read(self.folder, self._known), turns(self.folder), slots_of())
            self._changed, self._read_at = changed, now
        return self._cut()

    def _cut(self) -> list[Ticket]:
        return list(itertools.takewhile(lambda ticket: ticket.path != self.ticket, self._line))

    def wait(self, told: Callable[[Standing], None], given_up: Callable[[], bool]) -> bool:
        """Wait for the turn; `told` hears of every change of who is ahead. False when `given_up` says so."""
        slots, before, counted, ahead = slots_of(), None, -math.inf, []
        while True:
            if not self.ticket.exists():  # somebody removed it: at the end of the line again
                self.ticket = draw(self.run_name, os.getpid(), self.folder, self.run_folder)
            front = self._before()
            # far behind it is enough to know that the device is taken; who lives further ahead is looked at now and then
            if len(front) <= slots or time.monotonic() - counted > COUNT_S * len(ahead) or front[:slots] != ahead[:slots]:
                ahead, counted = self.ahead(), time.monotonic()
            if len(ahead) < slots and self._take(slots):
                return True
            standing = self._standing(ahead)
            if standing != before:
                told(standing)
                before = standing
            if given_up():
                self.release()
                return False
            time.sleep(min(POLL_AT_MOST_S, POLL_S * max(1, len(ahead) - slots + 1)))

    def _standing(self, ahead: list[Ticket]) -> Standing:
        if not ahead:
            return Standing(1, ["another run"])
        mine = _read(self.ticket)
        return _behind(ahead, mine.whose if mine else None)

    def _take(self, slots: int) -> bool:
        """Have a turn if it is still this run's: looked at again with the door closed. The lock on the slot goes with the process."""
        with _door(self.folder):
            self._changed, self._read_at = 0, -math.inf
            if len(self.ahead()) >= slots or not self._lock(slots):
                return False
            mine, last = _read(self.ticket), turns(self.folder)
            if mine is not None:
                number = 1 + max([*last.values(), *(ticket.turn for ticket in self._line)], default=0)
                _note_turn(self.folder, mine.whose, number)
                _write(dataclasses.replace(mine, turn=number))
        return True

    def _lock(self, slots: int) -> bool:
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
            fcntl.flock(self._slot, fcntl.LOCK_UN)  # closing alone would leave it with processes forked meanwhile
            os.close(self._slot)
            self._slot = None
