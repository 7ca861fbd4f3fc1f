"""Tells a hand from the panel itself: what a person sets is heard, what the panel shows is not."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Hearing:
    """A base for a panel's controls; from any thread, one at a time."""

    _showing = 0
    """The thread that brings widgets up to date; 0 where none does."""

    def heard(self, widget: Any, call: Callable[[Any], object]) -> None:
        """Calls `call(value)` for what a person sets, not for what is set within `with self.showing():`."""
        widget.observe(lambda change: None if self._showing == threading.get_ident() else call(change["new"]), "value")

    @contextmanager
    def showing(self) -> Iterator[None]:
        before, self._showing = self._showing, threading.get_ident()
        try:
            yield
        finally:
            self._showing = before
