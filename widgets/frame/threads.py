"""A panel's threads. In marimo a widget reaches its page only where it is made in a thread that marimo knows; elsewhere a thread is a thread."""

import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any


def thread(target: Callable[..., object], name: str, args: Sequence[Any] = ()) -> threading.Thread:
    """A daemon thread, not yet started."""
    marimo = sys.modules.get("marimo")
    kind = marimo.Thread if marimo is not None and marimo.running_in_notebook() else threading.Thread
    return kind(target=target, name=name, args=args, daemon=True)
