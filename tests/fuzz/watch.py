"""What a reader did while it read, by Python's own audit events: files it opened, processes, sockets, changes to the disk.

    with watched(may_read=(path,)):     raises AssertionError at the end where anything else was touched
        read(path)

Seen is what Python does; not what C libraries open by themselves (pyarrow reads its own files), nor what other threads
do: a figure of a test before this one may still follow its run in its own. A reader starts none.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TOUCHING = (
    "subprocess.",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.fork",
    "os.remove",
    "os.rename",
    "os.mkdir",
    "os.rmdir",
    "os.link",
    "os.symlink",
    "os.truncate",
    "os.chmod",
    "os.putenv",
    "shutil.",
    "socket.",
    "pickle.find_class",
    "ctypes.dlopen",
    "webbrowser.",
    "tempfile.",
    "_thread.start_new_thread",  # told since Python 3.12
)
_seen: list[str] | None = None
_reader = 0
_hooked = False


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _seen is None or threading.get_ident() != _reader:
        return
    if event == "open":
        path, _, flags = arguments
        writes = bool((flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC))
        _seen.append(f"{'write' if writes else 'read'} {path}")
    elif event.startswith(TOUCHING):
        _seen.append(f"{event} {arguments}")


@contextlib.contextmanager
def watched(may_read: tuple[Path, ...] = (), may: tuple[str, ...] = ()) -> Iterator[None]:
    """Everything in the block touches nothing but what it `may_read` (a file, or all below a folder) and Python's own modules; `may`:
    beginnings of events that are let pass."""
    global _seen, _hooked, _reader
    if not _hooked:
        sys.addaudithook(_hook)
        _hooked = True
    _reader = threading.get_ident()
    _seen = []
    try:
        yield
    finally:
        seen, _seen = _seen, None
    allowed = (*map(str, may_read), sys.prefix, sys.base_prefix, "/proc/", "/sys/", "/usr/share/zoneinfo/", str(Path(__file__).parents[2]))
    touched = [
        what
        for what in seen
        if not what.startswith(may) and not (what.startswith("read ") and what.removeprefix("read ").startswith(allowed))
    ]
    touched = [what for what in touched if not what.removeprefix("read ").isdecimal()]  # a file that is open already
    assert not touched, touched
