"""What a click or a key asks, done in order by one thread, so that the kernel's main thread only notes it down.

Of jobs with the same `key` that still wait, only the last is done: a hand that drags a slider asks for many pictures and wants the newest.
Knows no panel; what a job raises ends that job and is shown by `threading.excepthook`.
"""

import threading
from collections.abc import Callable

from widgets.frame.threads import thread


class Cancelled(Exception):
    """A person pressed Cancel: raised out of a job by its progress callback."""


class Errands:
    """`errands.add(job)`; the thread is a daemon and lives while there is something to do."""

    def __init__(self, name: str = "panel errands") -> None:
        self._name, self._busy = name, False
        self._changed = threading.Condition()
        self._waiting: list[tuple[str, Callable[[], object]]] = []

    def add(self, job: Callable[[], object], key: str = "") -> None:
        """Does `job()` after what was added before; with a `key` it takes the place of one that waits under it, at the end of the row."""
        with self._changed:
            self._waiting = [entry for entry in self._waiting if not key or entry[0] != key]
            self._waiting.append((key, job))
            self._go()

    def wait(self, timeout_s: float = 10.0) -> bool:
        """Waits until nothing is left to do; False where that takes longer. For tests and scripts."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._busy and not self._waiting, timeout_s)

    def _go(self) -> None:
        if self._waiting and not self._busy:
            self._busy = True
            thread(self._work, self._name).start()

    def _next(self) -> Callable[[], object] | None:
        with self._changed:
            return self._waiting.pop(0)[1] if self._waiting else None

    def _work(self) -> None:
        try:
            while (job := self._next()) is not None:
                job()
        finally:  # also after a job that raised: the rest is still done
            with self._changed:
                self._busy = False
                self._go()
                self._changed.notify_all()
