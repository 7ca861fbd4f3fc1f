"""The standby: a process that has imported everything and makes a worker of each run folder it is handed, so that a run's first step comes in about a second.

At most one a process; `standby()` asks for it, every start, fork and resume goes through it, and it ends by itself when this process does. Its own side is
`workbench/training/standby.py`.
"""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workbench import living

READ_ONCE = ("CUDA_", "HIP_", "ROCR_", "HF_", "HUGGINGFACE_", "TRANSFORMERS_", "TORCH_", "PYTORCH_", "OMP_", "GOMP_", "MKL_", "OPENBLAS_", "XDG_CACHE_HOME",
             "PYTHONPATH")
"""Beginnings of variables that are looked at once, when libraries are imported: a standby that imported under others is of no use."""
GPU_FILES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg", "/dev/nvmap")
"""There is an NVIDIA or an AMD GPU (the last two: under Windows, on a Jetson): bitsandbytes opens it when it is imported, and a process forked after that cannot use it."""
FORK_S = 2.0
_lock = threading.Lock()
_waiting: subprocess.Popen | None = None


def can_fork() -> bool:
    """Whether one standby can serve many runs here; where it cannot, it becomes the worker of one."""
    return sys.platform == "linux" and not any(map(os.path.exists, GPU_FILES))


def standby(wait: bool = False, timeout: float = 60.0) -> bool:
    """Have a standby ready. Returns whether one is; `wait` waits until it has imported everything (some seconds)."""
    global _waiting
    from workbench.runs.processes import MODULE, environment

    now = environment()
    with _lock:
        if _waiting is not None and (_waiting.poll() is not None or _read_once(_waiting.given) != _read_once(now)):  # type: ignore[attr-defined]
            _send_away()
        if _waiting is None:
            how = ["--standby", "--forks"] if can_fork() else ["--standby"]
            _waiting = subprocess.Popen([sys.executable, "-m", MODULE, *how], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, start_new_session=True, env=now)
            _waiting.given, _waiting.serves_many, _waiting.ready = now, "--forks" in how, False  # type: ignore[attr-defined]
            os.set_blocking(_waiting.stdout.fileno(), False)
        child = _waiting
    if wait and not _is_ready(child):
        import select

        select.select([child.stdout], [], [], timeout)
    return _is_ready(child)


def _is_ready(child: subprocess.Popen) -> bool:
    if not child.ready and child.poll() is None:  # type: ignore[attr-defined]
        child.ready = child.stdout.read() == b"ready\n"  # type: ignore[attr-defined]
    return child.ready  # type: ignore[attr-defined]


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
        if _read_once(child.given) != _read_once(now):  # type: ignore[attr-defined]
            _send_away()
            return None
        note(child.pid)
        try:
            child.stdin.write(json.dumps({"folder": str(folder)} | _changes(child.given, now)).encode() + b"\n")  # type: ignore[attr-defined]
            child.stdin.flush()
            if not child.serves_many:  # type: ignore[attr-defined]
                _waiting = None
                child.stdin.close()
                child.stdout.close()
            elif _is_ready(child):
                _wait_for_fork(folder, child)
        except OSError:  # it died a moment ago: start a fresh one instead
            _send_away()
            return None
    return child


def _changes(given: dict[str, str], now: dict[str, str]) -> dict[str, Any]:
    """What is different since the standby started; whole environments would fill the pipe of one that is still importing."""
    return {"set": {name: value for name, value in now.items() if given.get(name) != value}, "unset": [name for name in given if name not in now]}


def _wait_for_fork(folder: Path, child: subprocess.Popen) -> None:
    """Some milliseconds, so that the run's pid is the worker's from the first moment."""
    deadline = time.monotonic() + FORK_S
    while living.worker_of(folder).get("pid") == child.pid and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)


def _read_once(environment: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(READ_ONCE)}


def _send_away() -> subprocess.Popen | None:
    """Tell the standby that nothing more comes; it ends once it has served what it was handed. The lock is held."""
    global _waiting
    child, _waiting = _waiting, None
    if child is not None:
        with contextlib.suppress(OSError):  # it is gone, with what was not yet written to it
            child.stdin.close()
        child.stdout.close()
        threading.Thread(target=child.wait, daemon=True).start()  # it may still be importing, and nobody needs to wait for it
    return child


def dismiss() -> None:
    """End the standby, if there is one."""
    with _lock:
        child = _send_away()
    if child is not None:
        child.wait(timeout=30)
