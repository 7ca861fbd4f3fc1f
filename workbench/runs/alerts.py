"""Alerts of a process that watches its runs: a function or a webhook hears when one fails, finishes or does something alarming.

One thread looks after all runs that are watched in this process, however many; what is told goes out in a thread of its own, so that
neither a slow server nor a slow function holds it up. It ends with the process: a run that outlives its notebook has WORKBENCH_WEBHOOK
(`training/telling.py`). A worker that is killed says nothing itself, so this is also what notices that.
"""

import atexit
import threading
import time
import warnings
from collections.abc import Callable, Iterable
from typing import Any

from workbench import webhook
from workbench.alignment import alarms
from workbench.errors import RunError, WorkbenchError
from workbench.runs.status import LIVING

LOOK_S, ALARM_S, REST_S = 0.25, 2.0, 2.0
"""Between two looks at a run's status, at its curves, and at a run that is over but may be resumed."""
LAST_WORDS_S = 10.0
"""How long the end of the process waits for what is on its way."""
EXPECTED = (OSError, ValueError, LookupError, ArithmeticError, TypeError, AttributeError, WorkbenchError)
"""What reading a folder that anybody may have written can raise."""
OVER = {"finished": "finished", "stopped": "stopped", "failed": "failed", "died": "failed"}
"""A status at which a run is over, and the kind of alert that it is."""


class Alert:
    """`alert.cancel()` ends it. `alert.told` are the bodies that arrived, `alert.failure` why the last one did not ("" while all did)."""

    def __init__(self, run: Any, to: Callable[[dict[str, str]], Any] | str, on: Iterable[str]):
        self.run, self.on = run, tuple(on)
        self._to = to
        self.told: list[dict[str, str]] = []
        self.failure = ""
        self.looking = threading.Lock()
        self._over, self._said, self._due, self._alarm_due, self._alarm_step = "", set(), 0.0, 0.0, -1

    def __repr__(self) -> str:
        return f"Alert of {self.run.name} on {', '.join(self.on)}: {len(self.told)} told"  # never where to

    def cancel(self) -> None:
        _watch.remove(self)

    def look(self) -> None:
        """See whether there is something to tell, and send it on its way."""
        status = self.run.status
        history = self.run.history
        if "alarm" in self.on and history.step != self._alarm_step and (status not in LIVING or time.monotonic() >= self._alarm_due):
            self._alarm_step, self._alarm_due = history.step, time.monotonic() + ALARM_S
            for alarm in alarms.news(self.run, self._said):
                self._send("alarm", str(status), alarm.sentence)
        over = str(status) if status in OVER else ""
        if over and over != self._over and OVER[over] in self.on:
            self._send(OVER[over], over, _reason(status, history), status.remedy)
        self._over = over
        self._due = time.monotonic() + (LOOK_S if status in LIVING else REST_S)

    def _send(self, kind: str, status: str, reason: str, remedy: str = "") -> None:
        history = self.run.history
        losses = history.columns["loss"]
        told = webhook.body(
            kind, self.run.name, status, reason, remedy=remedy, step=history.step, steps=history.steps, loss=losses[-1] if losses else None
        )
        _watch.send(self._deliver, told)

    def _deliver(self, told: dict[str, str]) -> None:
        if callable(self._to):
            self._to(told)  # what it raises ends this thread alone, and is printed as what any thread raises
        elif failure := webhook.post(self._to, told):
            if not self.failure:
                warnings.warn(f"{failure} {told['text']}", stacklevel=1)
            self.failure = failure
            return
        self.told.append(told)


class _Watch:
    """The one thread."""

    def __init__(self):
        self._alerts: list[Alert] = []
        self._sending: list[threading.Thread] = []
        self._ending = False
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None

    def add(self, alert: Alert) -> None:
        with self._wake:
            self._alerts.append(alert)
            if self._thread is None or not self._thread.is_alive():  # a forked process has none
                self._thread = threading.Thread(target=self._go, name="workbench alerts", daemon=True)
                self._thread.start()
                atexit.unregister(self.finish)
                atexit.register(self.finish)
            self._wake.notify()

    def remove(self, alert: Alert) -> None:
        with self._wake:
            self._alerts = [other for other in self._alerts if other is not alert]
            self._wake.notify()

    def send(self, deliver: Callable[[dict[str, str]], None], told: dict[str, str]) -> None:
        """Call `deliver(told)` in a thread of its own; at the end of the process, which starts none, here."""
        if self._ending:
            deliver(told)
            return
        thread = threading.Thread(target=deliver, args=(told,), name="workbench alert", daemon=True)
        thread.start()
        with self._wake:
            self._sending = [other for other in self._sending if other.is_alive()] + [thread]

    def _go(self) -> None:
        while True:
            with self._wake:
                while (now := time.monotonic()) < (due := min((alert._due for alert in self._alerts), default=now + 3600)):
                    self._wake.wait(due - now)
                ready = [alert for alert in self._alerts if alert._due <= now]
            for alert in ready:
                self._look(alert)

    def _look(self, alert: Alert) -> None:
        try:
            with alert.looking:  # the end of the process may look while the thread does: nothing is told twice
                alert.look()
        except EXPECTED as error:  # the folder is gone, or another program's: the other runs are still watched
            alert.failure = alert.failure or f"{alert.run.name} can no longer be watched: {error}"
            self.remove(alert)
            return
        if alert._over == "finished":  # nothing comes after it
            self.remove(alert)

    def finish(self) -> None:
        """The process ends: what happened since the last look, and what is on its way, still goes out."""
        self._ending = True
        for alert in list(self._alerts):
            self._look(alert)
        deadline = time.monotonic() + LAST_WORDS_S
        for thread in list(self._sending):
            thread.join(max(0.0, deadline - time.monotonic()))


_watch = _Watch()


def watch(run: Any, to: Callable[[dict[str, str]], Any] | str, on: Iterable[str] = ("failed", "finished", "alarm")) -> Alert:
    """See `Run.alert`."""
    on = (on,) if isinstance(on, str) else tuple(on)
    if isinstance(to, str):
        webhook.check_address(to)
    elif not callable(to):
        raise RunError("to is neither a function nor a web address.", 'Use to=print, or to="https://...".')
    unknown = [kind for kind in on if kind not in webhook.KINDS]
    if unknown or not on:
        raise RunError(f"on is {on!r}; an alert is on {', '.join(webhook.KINDS)}.", 'Use on=("failed", "finished", "alarm").')
    alert = Alert(run, to, on)
    _watch.add(alert)
    return alert


def _reason(status: Any, history: Any) -> str:
    """Why a run is over: the worker's own words, or of one that died what its status says."""
    ended = history.ended
    return status.sentence if status == "died" or ended is None else ended.reason
