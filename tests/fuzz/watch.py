"""What a reader did while it read, by Python's own audit events: files it opened, processes, sockets, changes to the disk.

    with watched(may_read=(path,)):     raises AssertionError at the end where anything else was touched
        read(path)

Seen is what Python does; not what C libraries open by themselves (pyarrow reads its own files).
"""

from __future__ import annotations

import contextlib
import os
import sys
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
)
_seen: list[str] | None = None
_hooked = False


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _seen is None:
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
    global _seen, _hooked
    if not _hooked:
        sys.addaudithook(_hook)
        _hooked = True
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
