"""One daemon thread per kernel that calls small functions again and again: it reads journals and sends what changed.

A function that fails is reported to its owner and left alone from then on for a growing while; the pump goes on. Nothing here
may take long: work over 100 ms belongs in a thread of its own.
"""

import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass

from widgets.frame.threads import thread

# What reading files, parsing them and computing a figure raise. A programming error of another kind ends the function's turn too,
# through `threading.excepthook`, where it is seen.
EXPECTED = (OSError, ValueError, LookupError, ArithmeticError, TypeError, AttributeError, RuntimeError)
LONGEST_WAIT_S = 5.0


@dataclass(slots=True, eq=False)
class Turn:
    """A function's place in the pump; `remove()` ends it."""
    call: Callable[[], object]
    period_s: float
    on_error: Callable[[Exception], object] | None
    on_recover: Callable[[], object] | None = None
    due_s: float = 0.0
    failures: int = 0
    pump: "Pump | None" = None

    def remove(self) -> None:
        if self.pump is not None:
            self.pump.remove(self)


class Pump:
    """`Pump.shared()` is the kernel's; tests make their own."""
    _shared: "Pump | None" = None
    _guard = threading.Lock()

    def __init__(self) -> None:
        self._turns: list[Turn] = []
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    @classmethod
    def shared(cls) -> "Pump":
        with cls._guard:
            if cls._shared is None:
                cls._shared = cls()
            return cls._shared

    def add(self, call: Callable[[], object], period_s: float = 0.1, on_error: Callable[[Exception], object] | None = None,
            on_recover: Callable[[], object] | None = None) -> Turn:
        """Calls `call()` every `period_s` seconds from the pump's thread. A bound method does not keep its object alive.

        What it raises goes to `on_error(error)` (from the pump's thread) and the next call waits twice as long, up to 5 s;
        `on_recover()` follows the first call that succeeds again. A call that returns False is removed.
        """
        if period_s <= 0:
            raise ValueError(f"period_s is {period_s}; give seconds above 0.")
        hooks = [None if hook is None else _weak(hook) for hook in (on_error, on_recover)]
        turn = Turn(_weak(call), period_s, *hooks, due_s=time.monotonic(), pump=self)
        with self._wake:
            if self._closed:
                raise RuntimeError("this pump is closed; take Pump.shared().")
            self._turns.append(turn)
            if self._thread is None:
                self._thread = thread(self._run, "panel pump")
                self._thread.start()
            self._wake.notify()
        return turn

    def remove(self, turn: Turn) -> None:
        with self._wake:
            if turn in self._turns:
                self._turns.remove(turn)
            self._wake.notify()

    def close(self, timeout_s: float = 2.0) -> None:
        """Ends the thread, for tests; the kernel's own pump dies with the kernel."""
        with self._wake:
            self._closed = True
            self._turns.clear()
            self._wake.notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._closed:
                    now = time.monotonic()
                    due = [turn for turn in self._turns if turn.due_s <= now]
                    if due:
                        break
                    self._wake.wait(min((turn.due_s for turn in self._turns), default=now + 3600) - now)
                if self._closed:
                    return
            for turn in due:
                self._take(turn)

    def _take(self, turn: Turn) -> None:
        try:
            keep = turn.call()
            failed, turn.failures = turn.failures, 0
            if failed and turn.on_recover is not None:
                turn.on_recover()
        except EXPECTED as error:
            turn.failures += 1
            keep = True
            self._report(turn, error)
        if keep is False:
            self.remove(turn)
        wait_s = min(turn.period_s * 2 ** turn.failures, max(LONGEST_WAIT_S, turn.period_s))
        turn.due_s = time.monotonic() + wait_s

    def _report(self, turn: Turn, error: Exception) -> None:
        hook = turn.on_error
        if hook is not None:
            try:
                hook(error)
                return
            except EXPECTED as second:
                error = second
        if turn.failures == 1:  # said once, not ten times a second
            threading.excepthook(threading.ExceptHookArgs((type(error), error, error.__traceback__, threading.current_thread())))


def _weak(call: Callable) -> Callable:
    """A bound method held weakly: False once its object is gone, which removes the turn."""
    if not hasattr(call, "__self__") or not hasattr(call, "__func__"):
        return call
    method = weakref.WeakMethod(call)

    def later(*arguments):
        alive = method()
        return False if alive is None else alive(*arguments)

    return later
