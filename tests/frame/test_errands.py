"""In order, the newest of each key, and on after a failure."""

from __future__ import annotations

import threading

from widgets.frame.errands import Errands


def test_jobs_are_done_in_order_and_of_one_key_only_the_last() -> None:
    errands, gate, done = Errands(), threading.Event(), []
    errands.add(lambda: gate.wait(10))
    for number in range(5):
        errands.add(lambda number=number: done.append(number), key="draw")
        errands.add(lambda number=number: done.append(-number))
    gate.set()
    assert errands.wait() and done == [0, -1, -2, -3, 4, -4]


def test_a_job_that_raises_is_shown_and_the_next_is_done(monkeypatch) -> None:
    errands, seen, done = Errands(), [], threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda told: seen.append(told.exc_type))
    errands.add(lambda: 1 / 0)
    errands.add(done.set)
    assert done.wait(10) and errands.wait() and seen == [ZeroDivisionError]


def test_waiting_ends_at_the_timeout() -> None:
    errands, gate = Errands(), threading.Event()
    errands.add(lambda: gate.wait(10))
    assert errands.wait(0.01) is False
    gate.set()
    assert errands.wait() is True
