"""Looking and scoring in a thread of their own: piece by piece, with progress and Cancel, each piece shown as soon as it is there.

Knows the explorer whose rows it looks through; what is looked for is in `findings.py`.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

from widgets.data_explorer import findings as finding
from widgets.frame.errands import Cancelled
from widgets.frame.threads import thread
from workbench.errors import WorkbenchError

SAID_EVERY_S = 0.1
"""Progress is said at most so often, and not at all of what takes less."""
AT_FIRST, NOT_ALL = "looking for copies, leaks and private details", "not everything was looked for"


class Looker:
    """The thread of one explorer. `words` says what is still looked for, empty where all was."""

    def __init__(self, explorer: Any) -> None:
        self.explorer, self.words, self.stop = explorer, "", threading.Event()

    def begin(self, job: Callable[[], object]) -> None:
        self.stop.clear()
        thread(job, "data explorer looks").start()

    def look(self) -> None:
        """Looks for one piece after the other and shows each."""
        explorer = self.explorer
        try:
            for name in finding.steps(explorer.table, explorer.findings, **explorer.sources(), progress=self.progress()):
                if name != "texts":
                    explorer.refresh()
            self.words = ""
        except Cancelled:
            self.words = NOT_ALL
        except WorkbenchError as error:
            self.words = NOT_ALL
            explorer.show_error(None, str(error))
        finally:
            explorer.looked = True
            explorer.busy(None)
            explorer.refresh()
        if "losses" in explorer.findings.wrong:
            explorer.show_error(explorer.made.score, explorer.findings.wrong["losses"])

    def score(self, model: Any, name: str) -> None:
        """Joins the losses under `model`, which code calls `name`; what is wrong is said at the button, and the old losses stay."""
        explorer = self.explorer
        try:
            finding.losses(explorer.table, explorer.findings, model, self.progress())
            explorer.scored_by(model, name)
        except WorkbenchError as error:
            explorer.show_error(explorer.made.score, str(error))
        except Cancelled:
            explorer.show_error(explorer.made.score, "Scoring was cancelled; press the button to begin again.")
        finally:
            explorer.busy(None)
            explorer.refresh()

    def progress(self) -> finding.Progress:
        begun = said = time.monotonic()

        def progress(what: str, done: int, total: int) -> None:
            nonlocal said
            if self.stop.is_set():
                raise Cancelled
            now = time.monotonic()
            if now - said >= SAID_EVERY_S and now - begun >= SAID_EVERY_S:
                said = now
                self.explorer.busy(what, done, total, cancel=self.stop.set)

        return progress
