"""The process that trains one run: `python -m workbench.training.worker FOLDER`, or with `--standby` one that waits for folders.

It owns the run folder while it lives (a lock says so), waits for the device, trains, and says in the journal how it ended. Heavy imports happen after the device is
ours (a standby has made them already). Started by `workbench.runs`; never imported by it.
"""

import errno
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from workbench import living
from workbench.errors import WorkbenchError
from workbench.journal import events as ev
from workbench.journal.redacted import Redacting
from workbench.training import telling
from workbench.training.session import Session
from workbench.training.standby import stand_by, take_over

HANDOVER_S = 10.0
RESERVE_BYTES = 1 << 16
"""Kept in the run folder so that on a full disk the last word can still be written."""


def main(arguments: list[str]) -> int:
    take_over({**os.environ})
    if arguments[0] == "--standby":
        folder = stand_by(forks="--forks" in arguments)
        return 0 if folder is None else run(folder)
    return run(Path(arguments[0]))


def run(folder: Path) -> int:
    """Train the run in `folder` to its end; the process's exit status: 0 finished or stopped, 1 failed, 3 another worker has it."""
    lock = open(folder / "worker.lock", "w")
    if not living.locked(lock, HANDOVER_S):
        print("Another worker has this run.", file=sys.stderr)
        return 3
    reserve = folder / ".reserve"
    try:
        reserve.write_bytes(b"\0" * RESERVE_BYTES)
    except OSError as error:
        print(f"The run folder cannot be written: {error}", file=sys.stderr)
        return 1
    if torch := sys.modules.get("torch"):  # forked from a standby: two threads of a load that made its pool of threads anew together would fail
        torch.set_num_threads(torch.get_num_threads())
    sys.stdout, sys.stderr = Redacting(sys.stdout), Redacting(sys.stderr)
    session = Session(folder)
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} process {os.getpid()} has the run", flush=True)  # attempts share one log
    signal.signal(signal.SIGTERM, lambda *_: session.request_stop())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C in the notebook's terminal is not meant for the run
    told = telling.Telling(session)
    try:
        status = session.train()
        return 0 if status in ("finished", "stopped") else 1
    except WorkbenchError as error:
        traceback.print_exc()
        session.end(ev.Ended(step=session.step, status="failed", reason=error.what, remedy=error.remedy))
    except Exception as error:  # the worker's last word: written down whole, then the process fails
        reserve.unlink(missing_ok=True)
        _print_traceback()
        session.end(told_of(error, session.step, session.room))
    finally:
        told.end()
    return 1


def _print_traceback() -> None:
    try:
        traceback.print_exc()
    except OSError:  # the log's disk is full as well
        pass


def told_of(error: BaseException, step: int, room: Any = None) -> ev.Ended:
    """The last word of a run that ended with `error`; `room` knows what its memory was planned to be."""
    from workbench.training.room import out_of_memory

    text = str(error).strip().splitlines()
    reason, remedy = f"{type(error).__name__}: {text[0] if text else ''}".rstrip(": ") + ".", "See worker.log for where; mend it, then run.resume()."
    whole = str(error)
    if (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)) or "No space left" in whole or "os error 28" in whole:
        reason, remedy = "The disk is full.", "Free some space, then run.resume() goes on from the last checkpoint."
    elif out_of_memory(error):
        reason = "The device ran out of memory."
        remedy = "Use a smaller batch_size with more gradient_accumulation, a shorter max_length, or LoRA; fork with those."
        if room is not None:
            outgrown, remedy = room.ran_out()
            reason = f"{reason} {outgrown}"
    elif isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        reason, remedy = f"The run folder cannot be written: {error.strerror}.", "Give it write permission, then run.resume()."
    return ev.Ended(step=step, status="failed", reason=reason, remedy=remedy)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
