"""The standby: a worker that has imported everything and waits for a folder, so that a run's first step comes in about a second.

At most one a process. `standby()` asks for it, starting a run takes it (a run has its process to itself), and it ends by itself when this process does.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

_lock = threading.Lock()
_waiting: subprocess.Popen | None = None


def standby(wait: bool = False, timeout: float = 60.0) -> bool:
    """Have a standby worker ready. Returns whether one is; `wait` waits until it has imported everything (some seconds)."""
    global _waiting
    with _lock:
        if _waiting is None or _waiting.poll() is not None:
            from workbench.runs.processes import MODULE, environment

            _waiting = subprocess.Popen([sys.executable, "-m", MODULE, "--standby"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, start_new_session=True, env=environment())
            os.set_blocking(_waiting.stdout.fileno(), False)
        child = _waiting
    if wait:
        import select

        if not _is_ready(child):
            select.select([child.stdout], [], [], timeout)
    return _is_ready(child)


def _is_ready(child: subprocess.Popen) -> bool:
    if getattr(child, "ready", False):
        return True
    if child.poll() is None and child.stdout.read() == b"ready\n":
        child.ready = True
        return True
    return False


def take(folder: Path, note: Callable[[int], None]) -> subprocess.Popen | None:
    """Hand `folder` to the standby, if there is one; returns its process. `note` hears its pid before it hears of the folder.

    One that is still importing takes it too: it is ahead of any process started now.
    """
    global _waiting
    with _lock:
        child = _waiting
        if child is None or child.poll() is not None:
            return None
        _waiting = None
    note(child.pid)
    try:
        child.stdin.write(json.dumps({"folder": str(folder)}).encode() + b"\n")
        child.stdin.close()
    except (BrokenPipeError, OSError):  # it died a moment ago: start a fresh one instead
        return None
    child.stdout.close()
    return child


def dismiss() -> None:
    """End the waiting standby, if there is one."""
    global _waiting
    with _lock:
        child, _waiting = _waiting, None
    if child is not None:
        child.stdin.close()
        child.wait(timeout=30)
        child.stdout.close()
