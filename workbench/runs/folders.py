"""A new folder for a run: of its own, and whole or not there, also where the process that makes it is killed.

While a folder is made it has a locked file `.starting` in it; a lock goes with its process, so whoever makes the next one sees what was never finished and
removes it. Does not know what belongs into a run's folder.
"""

import contextlib
import fcntl
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from workbench.errors import RunError

MARK = ".starting"
"""In a folder that is not whole yet."""
DATED = re.compile(r"\d{4}-\d\d-\d\d_\d{6}-(?=.)")
"""What the name of every run's folder begins with: date and time."""


@contextlib.contextmanager
def making(runs: str | Path, name: str) -> Iterator[Path]:
    """A folder of its own under `runs`: date, time and a name safe for every file system. It is whole at the end of the block; nothing is left of it where that raises.

    Raises `RunError` where none can be made.
    """
    safe = re.sub(r"[^\w.\-]+", "-", str(name)).strip("-.").encode()[:100].decode(errors="ignore")[:60] or "run"
    root = Path(runs).expanduser().resolve()
    try:
        root.mkdir(parents=True, exist_ok=True)
        clear(root)
        folder, lock = _claimed(root, safe)
    except OSError as error:
        raise RunError(f"No run folder can be made in {root}: {error.strerror}.", "Choose another runs folder, or give this one write permission.") from error
    try:
        yield folder
        (folder / MARK).unlink()
    except BaseException:  # an interruption too: nothing is left behind
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        os.close(lock)


def _claimed(root: Path, safe: str) -> tuple[Path, int]:
    for attempt in range(1000):
        folder = root / f"{time.strftime('%Y-%m-%d_%H%M%S')}-{safe}{f'-{attempt + 1}' if attempt else ''}"
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        try:
            return folder, _locked(folder)
        except FileNotFoundError:  # another process's `clear` found it empty
            continue
        except OSError:
            folder.rmdir()
            raise
    raise RunError(f"A thousand runs named {safe!r} started in this second.", "Give the run a name of its own.")


def _locked(folder: Path) -> int:
    """The open, locked mark of `folder`: locked before it has its name, for a mark without a lock is a dead process's."""
    unseen = folder / f"{MARK}-{os.getpid()}"
    lock = os.open(unseen, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        unseen.rename(folder / MARK)
    except OSError:
        os.close(lock)
        unseen.unlink(missing_ok=True)
        raise
    return lock


def half_made(folder: Path) -> bool:
    """Whether `folder` was begun by a process that is gone."""
    return _nobody_has(folder / MARK)


def _nobody_has(mark: Path) -> bool:
    try:
        lock = os.open(mark, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        return False
    finally:
        os.close(lock)


def clear(root: Path) -> None:
    """Remove the folders under `root` that nobody will finish. Another person's stay where they may not be removed."""
    for folder in [folder for folder in root.iterdir() if DATED.match(folder.name)]:  # `root` may hold what is no run
        if any(_nobody_has(mark) for mark in folder.glob(f"{MARK}*")):
            shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            folder.rmdir()  # only where it is empty: made, and not even marked


def undated(name: str) -> str:
    """`2026-11-21_093015-town-lora8` -> `town-lora8`: a run's name without the time it was started."""
    found = DATED.match(name)
    return name[found.end():] if found else name
