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

READ_ONCE = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HF_", "TRANSFORMERS_", "OMP_", "MKL_")
"""Beginnings of variables that libraries look at once, when they are imported: a standby that imported under others is of no use."""
_lock = threading.Lock()
_waiting: subprocess.Popen | None = None


def standby(wait: bool = False, timeout: float = 60.0) -> bool:
    """Have a standby worker ready. Returns whether one is; `wait` waits until it has imported everything (some seconds)."""
    global _waiting
    with _lock:
        if _waiting is None or _waiting.poll() is not None:
            from workbench.runs.processes import MODULE, environment

            given = environment()
            _waiting = subprocess.Popen([sys.executable, "-m", MODULE, "--standby"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, start_new_session=True, env=given)
            _waiting.given = given
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
    """Hand `folder` and this process's environment of now to the standby, if there is one; returns its process. `note` hears its pid
    before it hears of the folder.

    One that is still importing takes it too: it is ahead of any process started now. None where there is none, and where variables
    have changed since it started that are read once: that one is sent away.
    """
    global _waiting
    from workbench.runs.processes import environment

    now = environment()
    with _lock:
        child = _waiting
        if child is None or child.poll() is not None:
            return None
        _waiting = None
    if _read_once(child.given) != _read_once(now):
        child.stdin.close()
        child.stdout.close()
        threading.Thread(target=child.wait, daemon=True).start()  # it may still be importing, and nobody needs to wait for it
        return None
    note(child.pid)
    try:
        child.stdin.write(json.dumps({"folder": str(folder), "environment": now}).encode() + b"\n")
        child.stdin.close()
    except (BrokenPipeError, OSError):  # it died a moment ago: start a fresh one instead
        return None
    child.stdout.close()
    return child


def _read_once(environment: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(READ_ONCE)}


def dismiss() -> None:
    """End the waiting standby, if there is one."""
    global _waiting
    with _lock:
        child, _waiting = _waiting, None
    if child is not None:
        child.stdin.close()
        child.wait(timeout=30)
        child.stdout.close()
