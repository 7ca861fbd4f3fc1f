"""The standby's own side: import everything once, then serve run folders, each in a process forked from this one.

A forked worker has torch, transformers and peft from its first moment, so every run after the first starts in well under a second, and its memory is shared with the
standby's. `multiprocessing`'s forkserver does the same, but waits at exit for what it started: here a run outlives whoever asked for it. With a GPU, where libraries
open the device as they are imported and a fork could not use it, the standby becomes the worker of the first folder instead.
An OpenMP team does not survive a fork, so the warm-up pass runs in a thread of its own and its team ends with it; the threads that stay (OpenBLAS, jemalloc) mind forks.
"""

import contextlib
import gc
import json
import os
import select
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from workbench import device_queue, living
from workbench.errors import RunError
from workbench.training import telling


def take_over(environment: dict[str, str]) -> None:
    """Have `environment`, with its import path and our defaults, as a process started with it would."""
    os.environ.clear()
    os.environ.update({"TOKENIZERS_PARALLELISM": "false", "TRL_EXPERIMENTAL_SILENCE": "1"} | environment)
    sys.path[:] = dict.fromkeys([*filter(None, environment.get("PYTHONPATH", "").split(os.pathsep)), *sys.path])


def stand_by(forks: bool) -> Path | None:
    """Import everything, say "ready" on the real stdout, and wait for folders on stdin. Returns in a worker, with its folder; None when whoever asked is gone."""
    # the parent reads one word from the real stdout; whatever libraries print meanwhile goes nowhere
    out = os.dup(1)
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    from workbench.training import stream, supervised, warm  # noqa: F401  (torch, transformers, peft, datasets)

    if not select.select([0], [], [], 0)[0]:  # already asked for: the run itself will be the first to go through
        thread = threading.Thread(target=warm.up)
        thread.start()
        thread.join()
    with contextlib.suppress(BrokenPipeError):  # nobody listens: left behind; stdin tells
        os.write(out, b"ready\n")
    os.close(out)
    return _serve() if forks else _adopt(sys.stdin.readline())


def _environment(told: dict[str, Any]) -> dict[str, str]:
    """This process's environment with the changes that came with a folder."""
    return {name: value for name, value in (os.environ | told["set"]).items() if name not in told["unset"]}


def _adopt(line: str) -> Path | None:
    """Become the worker of the folder that `line` names, in the environment it gives."""
    if not line:
        return None
    told = json.loads(line)
    folder = Path(told["folder"])
    take_over(_environment(told))
    os.chdir(folder)
    log = os.open(folder / "worker.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    return folder


def _serve() -> Path | None:
    gc.freeze()  # a collection in a worker would touch, and so copy, every page it shares with this process
    workers: dict[int, dict[str, Any]] = {}
    heard, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # a handler, so that the wake-up is written
    signal.set_wakeup_fd(wake)
    rest = b""
    while True:
        ready = select.select([0, heard], [], [])[0]
        if heard in ready:
            os.read(heard, 4096)
            _bury(workers)
        if 0 in ready:
            got = os.read(0, 1 << 16)
            if not got:
                return None
            *lines, rest = (rest + got).split(b"\n")
            for line in lines:
                pid = _fork(json.loads(line), workers)
                if pid == 0:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    os.close(heard)
                    os.close(wake)
                    os.setsid()  # a signal to the standby's group is not meant for the run
                    return _adopt(line.decode())


def _fork(told: dict[str, Any], workers: dict[int, dict[str, Any]]) -> int:
    """A worker for one folder: 0 in it, its pid in the standby.

    The run, and its place in the queue, were noted under the standby's pid. They are made the worker's before it does anything, so that however early it dies, it is
    the worker that is dead and not a run that seems to start for ever.
    """
    folder, queue = Path(told["folder"]), device_queue.queue_folder(_environment(told))
    begin, go = os.pipe()
    try:
        pid = os.fork()
    except OSError as error:  # no memory, or too many processes
        print(f"No worker can be forked for {folder}: {error}", file=sys.stderr)
        pid = None
    if pid == 0:
        os.close(go)
        os.read(begin, 1)
        os.close(begin)
        return 0
    os.close(begin)
    with contextlib.suppress(OSError, RunError):  # the folder may be gone: the worker finds that out
        if pid is None:
            device_queue.give_up(folder.name, os.getpid(), queue)
            living.note_exit(folder, os.getpid(), 1)
        else:
            workers[pid] = told
            device_queue.hand_over(folder.name, os.getpid(), pid, queue)
            living.note(folder, pid, standby=os.getpid())
    os.close(go)
    return pid or -1


def _bury(workers: dict[int, dict[str, Any]]) -> None:
    """Write down how each worker ended, then let its process go: until then it counts as living, so nobody finds it dead without a word."""
    while (ended := _dead_child()) is not None:
        told = workers.pop(ended.si_pid, None)  # None for a helper process of a library
        if told is not None:
            code = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
            with contextlib.suppress(OSError, RunError):  # the folder may be gone, or its disk full
                living.note_exit(Path(told["folder"]), ended.si_pid, code)
            if code < 0:
                _tell(told, signal.Signals(-code).name)
        os.waitpid(ended.si_pid, 0)


def _tell(told: dict[str, Any], by: str) -> None:
    """A worker that was killed says nothing itself: a process of its own tells who wants to hear, so that nobody waits for it here."""
    environment = _environment(told)
    if not telling.address(environment):
        return
    with contextlib.suppress(OSError):  # no memory for another process
        if os.fork() == 0:
            try:
                signal.set_wakeup_fd(-1)
                telling.died(Path(told["folder"]), f"was killed ({by})", environment)
            finally:
                os._exit(0)


def _dead_child() -> os.waitid_result | None:
    try:
        return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
