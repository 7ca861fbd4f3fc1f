"""The pump goes on when one of its functions fails; selections tell whoever watches."""

from __future__ import annotations

import gc
import threading

import pytest

from widgets.frame.pump import Pump
from widgets.frame.selection import Selection


@pytest.fixture
def pump():
    made = Pump()
    yield made
    made.close()


def test_a_failing_function_is_reported_and_the_others_go_on(pump: Pump) -> None:
    errors, called = [], threading.Semaphore(0)

    def fails() -> None:
        raise OSError("journal.jsonl is gone")

    pump.add(fails, 0.01, errors.append)
    pump.add(called.release, 0.01)
    for _ in range(20):
        assert called.acquire(timeout=5)
    assert str(errors[0]) == "journal.jsonl is gone"
    assert len(errors) < 10  # it waits longer after each failure


def test_a_function_ends_by_false_or_by_remove(pump: Pump) -> None:
    calls, others = [], threading.Semaphore(0)
    pump.add(lambda: calls.append(1) or False, 0.01)
    turn = pump.add(others.release, 0.01)
    for _ in range(5):
        assert others.acquire(timeout=5)
    assert calls == [1]
    turn.remove()
    while others.acquire(timeout=0.1):  # what was under way
        pass
    assert not others.acquire(timeout=0.1)


def test_a_method_does_not_keep_its_object(pump: Pump) -> None:
    gone = threading.Event()

    class Owner:
        def __init__(self) -> None:
            self.called = threading.Event()

        def work(self) -> None:
            self.called.set()

        def __del__(self) -> None:
            gone.set()

    owner = Owner()
    pump.add(owner.work, 0.01)
    assert owner.called.wait(5)
    del owner
    gc.collect()
    assert gone.wait(5)


def test_one_pump_for_all() -> None:
    assert Pump.shared() is Pump.shared()


def test_a_period_of_nothing_is_refused(pump: Pump) -> None:
    with pytest.raises(ValueError, match="above 0"):
        pump.add(print, 0)


def test_a_selection_tells_once_and_only_changes() -> None:
    selection, heard = Selection({"run": ["a"]}), []
    stop = selection.observe(lambda kind, ids: heard.append((kind, set(ids))), "layer")
    everything: list[str] = []
    selection.observe(lambda kind, _ids: everything.append(kind))
    selection.set("layer", "layers.0")
    selection.set("layer", {"layers.0"})
    selection.toggle("layer", "layers.1")
    selection.set("run", ["b"])
    stop()
    selection.clear("layer")
    assert heard == [("layer", {"layers.0"}), ("layer", {"layers.0", "layers.1"})]
    assert everything == ["layer", "layer", "run", "layer"]
    assert selection["run"] == {"b"} and selection["nothing"] == frozenset()
    assert selection.as_dict() == {"run": ["b"]}
