"""Long work of the viewer, one piece at a time in a thread: with progress, with Cancel, and giving way to what is asked next.

Knows whom it works for by `busy` and `worked`; what is measured is in `knowledge.py`.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

from widgets.frame.errands import Cancelled
from widgets.frame.threads import thread
from workbench.errors import WorkbenchError

SAID_EVERY_S = 0.1
"""Progress is said at most so often, and not at all of what takes less."""

Progress = Callable[[str, float, float], None]
"""Called with words, done and total (0: not known); raises `Cancelled` where the work is to end."""


def silent(_words: str, _done: float, _total: float) -> None:
    """The progress of work that nobody watches."""


class Work:
    """`work.begin(name, job)`: `job(progress)` in a thread, once the job before has heard that it is to stop."""

    def __init__(self, panel: Any) -> None:
        self._panel, self._lock = panel, threading.Lock()
        self._stop, self._thread, self._name = threading.Event(), None, ""

    @property
    def going(self) -> str:
        """The name of the job at work, "" where there is none."""
        return self._name

    def begin(self, name: str, job: Callable[[Progress], object]) -> None:
        with self._lock:
            self._stop.set()
            self._stop, before, self._name = threading.Event(), self._thread, name
            self._thread = thread(self._run, "quantization work", (name, job, self._stop, before))
            self._thread.start()

    def stop(self) -> None:
        """As Cancel does: what was measured so far is kept."""
        self._stop.set()

    def wait(self, timeout_s: float = 60.0) -> bool:
        """Whether there is nothing left to do within that time."""
        due = time.monotonic() + timeout_s
        while (thread := self._thread) is not None and time.monotonic() < due:
            thread.join(max(0.0, due - time.monotonic()))
        return self._thread is None

    def _run(self, name: str, job: Callable[[Progress], object], stop: threading.Event, before: threading.Thread | None) -> None:
        if before is not None:
            before.join()
        ended, fault = "done", None
        try:
            job(self._progress(stop))
        except Cancelled:
            ended = "cancelled"
        except WorkbenchError as error:
            ended, fault = "failed", str(error)
        finally:
            with self._lock:
                last = self._stop is stop
                if last:
                    self._name = ""
            if last:
                self._panel.busy(None)
                self._panel.worked(name, ended, fault)
            with self._lock:
                if self._stop is stop:  # nothing was begun meanwhile
                    self._thread = None

    def _progress(self, stop: threading.Event) -> Progress:
        begun = said = time.monotonic()

        def progress(words: str, done: float, total: float) -> None:
            nonlocal said
            if stop.is_set():
                raise Cancelled
            now = time.monotonic()
            if now - said >= SAID_EVERY_S and now - begun >= SAID_EVERY_S:
                said = now
                self._panel.busy(words, done, total or None, cancel=self.stop)

        return progress
