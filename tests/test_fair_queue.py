"""Fairness of the device's queue between people: the rule alone, and 20 people's real processes that only take places, some of them killed.

Each process is forked by one that has imported the queue, so 30 of them cost about as much as one.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.runs.tools import until
from workbench import device_queue
from workbench.device_queue import Ticket, fair
from workbench.errors import RunError
from workbench.runs.processes import environment

PEOPLE = """
import json, os, signal, sys
from pathlib import Path
from workbench import device_queue as queue
queue.POLL_S = 0.01
folder, log, plan = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
os.environ.pop("WORKBENCH_PERSON", None)
gate = queue.Place("gate", folder)
gate.wait(lambda standing: None, lambda: False)
told = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
os.chmod(log, 0o666)
pids, standing = {}, []
for uid, person, run in plan:
    drawn, draw = os.pipe()
    pid = os.fork()
    if pid == 0:
        if uid:
            os.setgroups([])
            os.setuid(uid)
        os.environ["WORKBENCH_PERSON"] = person
        place = queue.Place(run, folder)
        os.write(draw, b"x")
        place.wait(standing.append, lambda: False)
        os.write(told, f"begin {run}\\n".encode())
        if run.endswith("-hangs"):
            signal.pause()
        os.write(told, f"end {run}\\n".encode())
        os._exit(0)
    os.read(drawn, 1)
    pids[run] = pid
print(json.dumps(pids), flush=True)
sys.stdin.readline()
gate.release()
while pids:
    pid, _ = os.wait()
    pids = {run: other for run, other in pids.items() if other != pid}
"""


class People:
    """Processes that wait behind a gate: (user id or 0, person, run) each, their tickets drawn in that order."""

    def __init__(self, folder: Path, plan: list[tuple[int, str, str]]):
        self.folder, self.log = folder, folder / "log"
        self.process = subprocess.Popen([sys.executable, "-c", PEOPLE, str(folder), str(self.log), json.dumps(plan)], env=environment(), stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.pids = json.loads(self.process.stdout.readline())

    def begin(self) -> None:
        self.process.stdin.write("\n")
        self.process.stdin.close()

    def lines(self) -> list[str]:
        return self.log.read_text().splitlines()

    def kill(self, run: str) -> None:
        os.kill(self.pids[run], signal.SIGKILL)

    def order(self) -> list[str]:
        """The runs in the order of their turns, once all have ended; fails where two had the device at once."""
        assert self.process.wait(60) == 0
        ran, on = [], set()
        for what, run in map(str.split, self.lines()):
            if what == "begin":
                assert all(other.endswith("-hangs") for other in on), f"{run} began while {on} had the device"
                ran.append(run)
                on.add(run)
            else:
                on.remove(run)
        return ran


@pytest.fixture
def open_folder():
    """A folder that every user of the machine can reach; pytest's own are root's alone."""
    folder = Path(tempfile.mkdtemp(prefix="workbench-fair-"))
    folder.chmod(0o1777)
    yield folder
    shutil.rmtree(folder)


def test_ten_runs_of_one_person_do_not_starve_nineteen_others(tmp_path):
    people = [f"person{number}" for number in range(20)]
    plan = [(0, "person0", f"person0-run{n}") for n in range(10)] + [(0, person, f"{person}-run0") for person in people[1:]]
    plan += [(0, "person3", "person3-run1"), (0, "person7", "person7-run1-hangs")]
    waiting = People(tmp_path, plan)
    seed = random.SystemRandom().randrange(10**6)
    print("seed", seed)
    killed = random.Random(seed).sample([run for _, _, run in plan if not run.endswith("hangs")], 5)
    for run in killed:
        waiting.kill(run)
    waiting.begin()
    until(lambda: "begin person7-run1-hangs" in waiting.lines(), what="the run that hangs")
    waiting.kill("person7-run1-hangs")
    left: dict[str, list[str]] = {}
    for _, person, run in plan:
        if run not in killed:
            left.setdefault(person, []).append(run)
    # a person's n-th run comes after every other person's (n-1)-th; within a round, who drew the first ticket
    rounds = [[runs[n] for runs in left.values() if n < len(runs)] for n in range(10)]
    assert waiting.order() == [run for runs in rounds for run in runs]


def test_users_take_turns_and_one_with_three_names_has_the_turns_of_one(open_folder):
    if os.geteuid():
        pytest.skip("becoming other users needs root")
    plan = [(30001, name, f"{name}-{n}") for n in range(2) for name in ("a", "b", "c")] + [(30002, "", f"other-{n}") for n in range(3)]
    (open_folder / "turn-30002--forged").write_text("999999")  # by this user, under another's name: does not count
    os.mkfifo(open_folder / "00000000000000000001-1")  # opening it would wait for ever
    (open_folder / "00000000000000000002-1").symlink_to("/dev/zero")
    waiting = People(open_folder, plan)
    with pytest.raises(RunError, match="it is .*30002's"):
        device_queue.move_up("other-1", waiting.pids["other-1"], open_folder)
    waiting.begin()
    assert waiting.order() == ["a-0", "other-0", "b-0", "other-1", "c-0", "other-2", "a-1", "b-1", "c-1"]


def ticket(run: str, order: int, person: str = "", uid: int = 1, turn: int = 0) -> Ticket:
    return Ticket(path=Path(run), pid=1, created=0.0, uid=uid, run=run, order=order, person=person, turn=turn)


def runs(tickets, last=None, slots=1) -> list[str]:
    return [found.run for found in fair(tickets, last or {}, slots)]


def whose(person: str, uid: int = 1) -> device_queue.Person:
    return ticket("", 0, person, uid).whose


def test_one_person_alone_has_them_in_the_order_asked_for():
    assert runs([ticket("b", 2), ticket("c", 3), ticket("a", 1)]) == ["a", "b", "c"]


def test_who_had_a_turn_waits_for_those_who_had_none_and_comes_again_before_their_second():
    line = [ticket(f"ada{n}", n, "ada") for n in range(3)] + [ticket(f"bob{n}", 10 + n, "bob") for n in range(2)]
    assert runs(line, {whose("ada"): 7}) == ["bob0", "ada0", "bob1", "ada1", "ada2"]


def test_a_person_who_asks_again_each_time_alternates_with_one_who_asked_for_ten_at_once():
    last, line, ran = {}, [ticket(f"ada{n}", n, "ada") for n in range(10)], []
    for turn in range(1, 9):
        line = [*line, ticket(f"bob{turn}", 100 + turn, "bob")] if not any(t.run.startswith("bob") for t in line) else line
        first = fair(line, last)[0]
        line.remove(first)
        last[first.whose] = turn
        ran.append(first.run[:3])
    assert ran == ["ada", "bob"] * 4


def test_with_two_places_a_long_run_counts_against_its_person():
    line = [ticket("ada-long", 1, "ada", turn=1), ticket("ada2", 2, "ada"), ticket("bob2", 4, "bob"), ticket("bob1", 3, "bob")]
    assert runs(line, {whose("bob"): 9}, slots=2)[:2] == ["ada-long", "bob1"]


def test_a_run_moved_up_is_the_next_of_its_persons_and_passes_no_other(tmp_path, monkeypatch):
    processes = [subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.readline()"], stdin=subprocess.PIPE) for _ in range(4)]
    for process, person, run in zip(processes, ("ada", "ada", "ada", "bob"), ("a", "b", "c", "d"), strict=True):
        monkeypatch.setenv("WORKBENCH_PERSON", person)
        device_queue.draw(run, process.pid, tmp_path)
    monkeypatch.setenv("WORKBENCH_PERSON", "ada")
    assert [found.run for found in device_queue.line(tmp_path)] == ["a", "d", "b", "c"]
    device_queue.move_up("c", processes[2].pid, tmp_path)
    assert [found.run for found in device_queue.line(tmp_path)] == ["c", "d", "a", "b"]
    with pytest.raises(RunError, match="d cannot be moved up here: it is bob's"):
        device_queue.move_up("d", processes[3].pid, tmp_path)
    for process in processes:
        process.communicate()
    with pytest.raises(RunError, match="does not wait"):
        device_queue.move_up("c", processes[2].pid, tmp_path)
