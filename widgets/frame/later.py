"""Waits until a hand rests: what takes longer than a frame follows the last move of a slider, in a thread. Knows no panel."""

import threading
import time
from collections.abc import Callable

from widgets.frame.threads import thread

QUIET_S = 0.15


class Later:
    """Calls `job()` in a thread once nobody has asked for it for `QUIET_S`."""

    def __init__(self, job: Callable[[], object], name: str = "panel settling") -> None:
        self._job, self._name, self._lock, self._due_s, self._thread = job, name, threading.Lock(), 0.0, None

    def ask(self) -> None:
        with self._lock:
            self._due_s = time.monotonic() + QUIET_S
            if self._thread is None:
                self._thread = thread(self._work, self._name)
                self._thread.start()

    def wait(self, timeout_s: float = 10.0) -> bool:
        """Whether everything asked for was done in that time."""
        thread = self._thread
        if thread is not None:
            thread.join(timeout_s)
        return self._thread is None

    def _work(self) -> None:
        while True:
            wait_s = self._due_s - time.monotonic()
            if wait_s > 0:
                time.sleep(wait_s)
                continue
            asked = self._due_s
            done = True  # also where the job raises: what it raised goes on to the thread's hook, and the next ask begins anew
            try:
                self._job()
                done = False
            finally:
                with self._lock:
                    done = done or self._due_s == asked
                    if done:
                        self._thread = None
            if done:
                return
