"""A worker's own alerts: where WORKBENCH_WEBHOOK is set in the environment a run is started from, the worker posts there how the run
ends, and what is alarming while it goes, with no notebook left to do so.

Training never waits: alarms are looked for and posted by a thread that reads the journal as any reader does, and the end is told once
everything is written. A webhook that does not answer is noted in the journal, once. A worker that is killed tells nothing; the standby it
was forked from does (`died`), while there is one. The address is read here and goes nowhere else.
"""

import contextlib
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from workbench import webhook
from workbench.alignment import alarms
from workbench.errors import WorkbenchError
from workbench.journal import events as ev
from workbench.journal.history import History

LOOK_S = 5.0
"""Between two looks at the curves."""
PATIENCE_S = 15.0
"""How long the end of a worker waits for an alarm that is on its way."""


def address(environment: Mapping[str, str] = os.environ) -> str:
    """Where to post to; "" where nothing is to be told, or what is set is no web address."""
    url = environment.get(webhook.VARIABLE, "").strip()
    try:
        if url:
            webhook.check_address(url)
    except WorkbenchError:
        return ""
    return url


class Telling:
    """Of one session: alarms from now on, and with `end()`, once the journal has its last word, how it ended. Does nothing where nobody
    wants to hear."""

    def __init__(self, session: Any):
        self.session, self.url = session, address()
        self._over = threading.Event()
        self._failed = False
        self._thread: threading.Thread | None = None
        if self.url:
            self._thread = threading.Thread(target=self._watch, name="alarms", daemon=True)
            self._thread.start()
        elif os.environ.get(webhook.VARIABLE):
            self._note(f"{webhook.VARIABLE} is no web address, so nobody is told how this run ends.")

    def end(self) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join(PATIENCE_S)
            history = History(self.session.folder)
            history.refresh()
            if (ended := history.ended) is not None:
                self._post(ended.status, ended.status, ended.reason, history, ended.remedy)

    def _watch(self) -> None:
        history, said = History(self.session.folder), set()
        seen = SimpleNamespace(history=history, recipe=self.session.recipe)
        history.refresh()
        alarms.news(seen, said)  # what an earlier attempt has told
        step = history.step
        while not self._over.wait(LOOK_S):
            history.refresh()
            if history.step != step:
                step = history.step
                for alarm in alarms.news(seen, said):
                    self._post("alarm", history.phase, alarm.sentence, history)

    def _post(self, kind: str, status: str, reason: str, history: History, remedy: str = "") -> None:
        losses = history.columns["loss"]
        told = webhook.body(
            kind,
            history.folder.name,
            status,
            reason,
            remedy=remedy,
            step=history.step,
            steps=history.steps,
            loss=losses[-1] if losses else None,
        )
        failure = webhook.post(self.url, told)
        if failure and not self._failed:
            self._failed = True
            self._note(f"{failure} What it was to hear: {told['text']}")

    def _note(self, sentence: str) -> None:
        with contextlib.suppress(OSError):  # a full disk is told by the run's own end
            self.session.journal.write(ev.Noted(step=self.session.step, note=sentence))


def died(folder: Path, how: str, environment: Mapping[str, str]) -> None:
    """Post that the worker of `folder` died; called in a process of its own."""
    url, history = address(environment), History(folder)
    history.refresh()
    if url and history.ended is None:
        webhook.post(
            url,
            webhook.body(
                "failed",
                folder.name,
                "died",
                f"The worker {how}.",
                remedy="run.resume() goes on from the last checkpoint.",
                step=history.step,
                steps=history.steps,
            ),
        )
