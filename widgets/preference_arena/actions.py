"""What a person does in the arena: a key or a click is noted and done by a thread, so that a slow database holds up nobody's page.

What cannot be is said beside the control that asked for it, and what was judged is not lost: it is given again under the same number. Knows
the arena it belongs to; makes no widget.
"""

import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from widgets.frame.errands import Cancelled, Errands
from workbench.errors import WorkbenchError

SAID_EVERY_S = 0.1
"""Progress is said at most so often."""


class Actions:
    """The handlers of one arena's controls."""

    def __init__(self, arena: Any) -> None:
        self.arena = arena
        self.errands, self.asking = Errands("arena errands"), Errands("arena replies")
        self._stop = threading.Event()
        self._numbers: dict[int, str] = {}

    def later(self, job: Callable[[], object], key: str = "") -> None:
        """Does what may wait for a database in a thread; at once where the panel was never shown."""
        if self.arena.made is None:
            job()
        else:
            self.errands.add(job, key)

    def wait(self, timeout_s: float = 60.0) -> bool:
        """Whether everything asked for was done in that time, for tests and scripts."""
        return self.asking.wait(timeout_s) and self.errands.wait(timeout_s)

    # ---- settings

    def set(self, name: str, value: Any, control: Any = None) -> None:
        """A control says `value`."""
        arena, state = self.arena, self.arena.state
        if isinstance(value, str):
            value = value.strip()
        if name == "criteria":
            value = tuple(dict.fromkeys(part.strip() for part in value.split(",") if part.strip()))
        wrong = (
            {
                "judge": "Who judges? A judgement needs a name: type yours.",
                "criteria": "Name one criterion or more, such as helpful, honest.",
                "source": "Type a file, such as preferences.db, or the URL of a PostgreSQL database.",
            }.get(name)
            if not value
            else None
        )
        if wrong is not None:
            if control is not None:
                arena.show_error(control, wrong)
            return
        if control is not None:
            arena.clear_error(control)
        if getattr(state, name) == value:
            return
        if name == "source":
            self.later(lambda: self._open(value), "open")
            return
        setattr(state, name, value)
        arena.said = ""
        arena.refresh()
        if name in ("judge", "kind", "replies", "criteria"):
            self.later(self._ask_anew, "ask")
        elif name == "view":
            self.later(arena.watch, "count")

    def begin(self) -> None:
        """Opens the store, shows what is to be judged, and asks for the replies that were ordered."""
        self.errands.add(self._ask_anew, "ask")
        self.errands.add(self.arena.watch, "count")
        if self.arena.ordered is not None:
            self.asking.add(self._collect)

    def _open(self, source: str) -> None:
        arena = self.arena
        arena.open(source)
        if arena.made is not None:
            arena.made.spring_back(arena.state)  # without the password
        self._ask_anew()
        arena.watch()

    def again(self) -> None:
        """The store is opened anew: the remedy of one that did not answer."""
        self.later(lambda: self._open(self.arena.address), "open")

    def _ask_anew(self) -> None:
        arena = self.arena
        try:
            arena.ask()
        except WorkbenchError as error:
            arena.store_failed(error)
        arena.refresh()

    # ---- judging

    def verdict(self, token: int, what: dict) -> None:
        """Called by the desk."""
        self.later(lambda: self._verdict(token, what))

    def _verdict(self, token: int, what: dict) -> None:
        """A verdict on what is not shown any more judges nothing."""
        arena = self.arena
        if token == arena.token:
            try:
                if what["do"] == "judge":
                    arena.vote(what["verdict"], self._numbers.setdefault(token, uuid.uuid4().hex))
                elif what["do"] == "skip":
                    arena.skip()
                else:
                    arena.undo()
            except WorkbenchError as error:
                arena.made.desk.send({"kind": "free"})
                arena.show_error(arena.made.desk, str(error), ("Give it again", lambda: self.verdict(token, what)))
                return
            arena.clear_error(arena.made.desk)
            self._numbers = {}
        arena.watch()
        arena.refresh()

    # ---- rows

    def make_rows(self) -> None:
        self.later(self._make_rows, "rows")

    def _make_rows(self) -> None:
        arena, made = self.arena, self.arena.made
        control = made.file if arena.state.file else made.make
        for one in (made.file, made.make):
            arena.clear_error(one)
        try:
            arena.make_rows()
        except WorkbenchError as error:
            arena.show_error(control, str(error))
        arena.refresh()

    # ---- replies

    def _collect(self) -> None:
        arena, said = self.arena, 0.0
        self._stop.clear()

        def progress(done: int, total: int) -> None:
            nonlocal said
            if self._stop.is_set():
                raise Cancelled
            if time.monotonic() - said >= SAID_EVERY_S:
                said = time.monotonic()
                arena.busy("replies asked for", done, total, self._stop.set)
                if arena.item is None and done:
                    self.errands.add(self._ask_anew, "ask")

        arena.busy("replies asked for", cancel=self._stop.set)
        arena.collecting = True
        arena.refresh()
        try:
            arena.collect(progress)
        except Cancelled:
            pass  # what was answered is there to judge
        except WorkbenchError as error:
            arena.show_error(None, str(error), ("Ask again", lambda: self.asking.add(self._collect)))
        else:
            arena.clear_error(None)
        finally:
            arena.collecting = False
            arena.busy(None)
        arena.refresh()
        self.errands.add(self._ask_anew if arena.item is None else arena.watch, "ask")
