"""What a person does in the rank explorer: a setting is taken and the figure follows at once; reading, scoring and training are done by
threads.

What cannot be is said beside the control that asked for it. Knows the explorer it belongs to; makes no widget.
"""

import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from widgets.frame.errands import Cancelled, Errands
from widgets.rank_explorer.reading import method_of
from workbench.errors import WorkbenchError

SAID_EVERY_S = 0.1
"""Progress is said at most so often."""
MOST_RANK = 1024
READS = ("source", "base", "other")
"""What is read anew where it changes."""


class Actions:
    """The handlers of one explorer's controls."""

    def __init__(self, explorer: Any) -> None:
        self.explorer = explorer
        self.errands, self.work = Errands("rank explorer errands"), Errands("rank explorer work")
        self._stop = threading.Event()

    def later(self, job: Callable[[], object], key: str = "") -> None:
        """Does what takes a moment in a thread; at once where the panel was never shown."""
        if self.explorer.made is None:
            job()
        else:
            self.errands.add(job, key)

    def wait(self, timeout_s: float = 60.0) -> bool:
        """Whether everything asked for was done in that time, for tests and scripts."""
        return self.errands.wait(timeout_s) and self.work.wait(timeout_s) and self.explorer._settling.wait(timeout_s)

    # ---- settings

    def set(self, name: str, value: Any, control: Any = None) -> None:
        """A control says `value`."""
        explorer, state = self.explorer, self.explorer.state
        if name in READS:
            if value.strip().strip('"') != getattr(state, name):
                self._name(name, value.strip().strip('"'))
            return
        if name == "picked":
            if value and value != (explorer.picked.name if explorer.picked else ""):
                self.later(lambda: explorer.pick(value), "pick")
            return
        try:
            value = self._checked(name, value)
        except ValueError as error:
            explorer.show_error(control, str(error))
            explorer.refresh()  # a button springs back; what is typed stays
            return
        if control is not None:
            explorer.clear_error(control)
        if getattr(state, name) == value:
            return
        setattr(state, name, value)
        if name == "rows":
            explorer.rows, state.cuts = value or None, {}
        explorer.refresh()
        explorer.settle_soon()

    def _checked(self, name: str, value: Any) -> Any:
        """The value as the state keeps it. Raises `ValueError` with a sentence for one that cannot be."""
        state = self.explorer.state
        if name == "alpha":
            return None if value == state.usual_alpha else value
        if name == "variant":
            try:
                method_of(self.explorer.opened, state.settings() | {"variant": value})
            except WorkbenchError as error:
                raise ValueError(str(error)) from error
        if name == "rank":
            return max(1, min(int(value), MOST_RANK))
        if name == "targets":
            made = self.explorer.made
            every = [module for _, module in (*made.attention.options, *made.others.options)]
            if not value:
                raise ValueError("No matrix is chosen, so nothing would be trained: press at least one.")
            return () if set(value) == set(every) else tuple(module for module in every if module in value)
        if name == "ranks":
            parts = [part for part in re.split(r"[\s,;]+", value) if part]
            if not parts or not all(part.isdecimal() and 1 <= int(part) <= MOST_RANK for part in parts):
                raise ValueError(f"Ranks are whole numbers from 1 to {MOST_RANK} with spaces between them, such as 1 2 4 8.")
            return tuple(sorted({int(part) for part in parts}))
        return value.strip().strip('"') if name == "rows" else value

    def _name(self, name: str, value: str) -> None:
        explorer, state = self.explorer, self.explorer.state
        setattr(state, name, value)
        self.work.add(self._read, "read")
        if name == "source" and explorer.sweeping.is_run(value):
            explorer.selection.set("run", {str(Path(value).expanduser().resolve())})

    def open(self, folder: str) -> None:
        """Shows another run."""
        self.later(lambda: self.set("source", folder))

    # ---- what takes long

    def begin(self) -> None:
        """Reads what the panel was given, and looks for runs to propose."""
        self.work.add(self._read, "read")
        self.errands.add(self._propose, "propose")

    def _read(self) -> None:
        explorer = self.explorer
        for name in READS:
            explorer.clear_error(getattr(explorer.made, name))
        explorer.clear_error(None)
        try:
            explorer.read(self._progress())
        except Cancelled:
            explorer.faults = {"source": "Reading was cancelled."}
        except (WorkbenchError, OSError):
            pass  # it is in `faults`
        finally:
            explorer.busy(None)
        for name, fault in explorer.faults.items():
            explorer.show_error(getattr(explorer.made, name), fault, ("Read it again", self.read_again) if name == "source" else None)
        explorer.refresh()
        if explorer.live is not None and not explorer.live.open_views:  # nobody else would bring the notebook up to date
            explorer.freeze()

    def read_again(self) -> None:
        """What could not be read may be there now: a run may have ended."""
        self.explorer.forget()
        self.work.add(self._read, "read")

    def _propose(self) -> None:
        explorer = self.explorer
        explorer.proposals = explorer.sweeping.adapters_in(explorer.state.runs)
        explorer.refresh()

    def truncate(self) -> None:
        """Scores the adapter cut to the rank that is set; once, too, as it is, and the base without it."""
        explorer = self.explorer

        def score() -> None:
            control = explorer.made.truncate
            explorer.clear_error(control)
            own = explorer.opened.spectra.rank
            wanted = {0, min(max(explorer.state.rank, 1), own), own} - {int(rank) for rank in explorer.state.cuts}
            try:
                if wanted:
                    explorer.score(sorted(wanted), self._progress())
            except Cancelled:
                explorer.show_error(control, "Scoring was cancelled; press the button to begin again.")
            except (WorkbenchError, OSError) as error:
                explorer.show_error(control, str(error))
            finally:
                explorer.busy(None)
            explorer.refresh()

        self.work.add(score, "truncate")

    def sweep(self) -> None:
        """Starts the runs of a sweep."""
        explorer, state = self.explorer, self.explorer.state

        def start() -> None:
            control = explorer.made.sweep
            explorer.clear_error(control)
            try:
                explorer.sweeping.start(explorer.opened, explorer.recipe, state, explorer.pattern)
            except (WorkbenchError, OSError) as error:
                explorer.show_error(control, str(error))
            explorer.sweeping.look(state)
            explorer.refresh()

        self.errands.add(start, "sweep")

    def stop_sweep(self) -> None:
        explorer = self.explorer

        def stop() -> None:
            explorer.sweeping.stop()
            explorer.sweeping.look(explorer.state)
            explorer.refresh()

        self.errands.add(stop, "stop")

    def _progress(self) -> Callable[[str, int, int], None]:
        said = -SAID_EVERY_S
        self._stop.clear()

        def progress(what: str, done: int, total: int) -> None:
            nonlocal said
            if self._stop.is_set():
                raise Cancelled
            now = time.monotonic()
            if self.explorer._root is not None and now - said >= SAID_EVERY_S:
                said = now
                self.explorer.busy(what, done, total or None, cancel=self._stop.set)

        return progress
