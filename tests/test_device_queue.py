"""The queue for the device, with real processes: in the order asked for, one at a time, never blocked by the dead. Fairness between people: `test_fair_queue.py`."""

import os
import signal
import subprocess
import sys

from workbench import device_queue
from workbench.runs.processes import environment

WAITER = """
import sys
from workbench import device_queue
from pathlib import Path
place = device_queue.Place(sys.argv[1], Path(sys.argv[2]))
print("placed", flush=True)
place.wait(lambda standing: print("behind", *standing.behind, flush=True), lambda: False)
print("turn", flush=True)
sys.stdin.readline()
"""


def waiter(name: str, folder) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", WAITER, name, str(folder)], env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_turns_come_in_the_order_of_the_tickets_not_of_readiness(tmp_path):
    slow = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.readline()"], stdin=subprocess.PIPE)  # was asked for first, is not ready yet
    device_queue.draw("slow", slow.pid, tmp_path)
    quick = waiter("quick", tmp_path)
    assert [quick.stdout.readline() for _ in range(2)] == ["placed\n", "behind slow\n"]
    slow.communicate()
    assert quick.stdout.readline() == "turn\n"
    quick.communicate("\n")


def test_a_killed_holder_frees_the_queue_and_leaves_nothing(tmp_path):
    first = waiter("first", tmp_path)
    assert [first.stdout.readline() for _ in range(2)] == ["placed\n", "turn\n"]
    second, third = waiter("second", tmp_path), None
    assert [second.stdout.readline() for _ in range(2)] == ["placed\n", "behind first\n"]
    third = waiter("third", tmp_path)
    assert [third.stdout.readline() for _ in range(2)] == ["placed\n", "behind first second\n"]
    os.kill(second.pid, signal.SIGKILL)
    second.communicate()
    assert third.stdout.readline() == "behind first\n"
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    assert third.stdout.readline() == "turn\n"
    assert [path.name for path in tmp_path.glob("[0-9]*")] == [path.name for path in tmp_path.glob(f"*-{third.pid}")]
    third.communicate("\n")


def test_a_clock_set_back_does_not_change_the_order_nor_give_the_device_twice(tmp_path, monkeypatch):
    first = waiter("first", tmp_path)
    assert [first.stdout.readline() for _ in range(2)] == ["placed\n", "turn\n"]
    monkeypatch.setattr(device_queue.time, "time_ns", lambda: 1)
    late = device_queue.draw("late", os.getpid(), tmp_path)
    place = device_queue.Place("late", tmp_path)
    assert place.ticket == late and [ticket.run for ticket in place.ahead()] == ["first"]
    monkeypatch.undo()
    next(path for path in tmp_path.glob("[0-9]*-*") if device_queue.holder(path) == "first").unlink()  # as if it stood behind
    told = []
    assert place.ahead() == []
    assert not place.wait(told.append, lambda: bool(told)), "given up, for the device is taken"
    assert told == [device_queue.Standing(1, ["another run"])]
    first.communicate("\n")


def test_slots_let_so_many_run(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_SLOTS", "2")
    first, second, third = (waiter(name, tmp_path) for name in ("a", "b", "c"))
    said = {}
    for process in (first, second, third):
        assert process.stdout.readline() == "placed\n"
        said[process] = process.stdout.readline()
    assert sorted(line.split()[0] for line in said.values()) == ["behind", "turn", "turn"]
    for process in (first, second, third):
        process.stdin.write("\n")
        process.stdin.close()
    assert [process.wait(timeout=30) for process in (first, second, third)] == [0, 0, 0]


def test_a_ticket_is_handed_over_with_its_place(tmp_path):
    old, new = (subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.readline()"], stdin=subprocess.PIPE) for _ in range(2))
    device_queue.draw("first", old.pid, tmp_path)
    second = waiter("second", tmp_path)
    assert [second.stdout.readline() for _ in range(2)] == ["placed\n", "behind first\n"]
    device_queue.hand_over("first", old.pid, new.pid, tmp_path)
    old.communicate()
    assert [ticket.name.split("-")[1] for ticket in sorted(tmp_path.glob("[0-9]*-*"))] == [str(new.pid), str(second.pid)]
    new.communicate()
    assert second.stdout.readline() == "turn\n"
    second.communicate("\n")


def test_a_ticket_given_up_is_gone(tmp_path):
    device_queue.draw("one", os.getpid(), tmp_path)
    device_queue.draw("other", os.getpid(), tmp_path)
    device_queue.give_up("one", os.getpid(), tmp_path)
    assert [device_queue.holder(ticket) for ticket in tmp_path.glob("[0-9]*-*")] == ["other"]
