"""Which Python files of rewards this person has named themselves: code in another's run folder is not run because a recipe names it.

Kept are SHA-256 of files, one a line, in `~/.local/state/workbench/reward_code` (XDG_STATE_HOME). Starting a run with a function, or with a file
by its name, notes it; a fork, a resumption, a replay and a start from a run's recipe ask. Where the file cannot be kept this process remembers
alone. Not here: running it (`reward_sources.py`).
"""

import contextlib
import hashlib
import os
from pathlib import Path

from workbench.errors import RecipeError

_here: set[str] = set()
"""Noted by this process."""


def place() -> Path:
    """The file of what is known."""
    return Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser() / "workbench" / "reward_code"


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def note(file: Path) -> None:
    """This person has named `file`, as it is now."""
    found = digest(file)
    if found in _here:
        return
    _here.add(found)
    with contextlib.suppress(OSError):  # no home to write to
        place().parent.mkdir(parents=True, exist_ok=True)
        with open(place(), "a", encoding="ascii") as known:
            known.write(found + "\n")


def is_known(file: Path) -> bool:
    found = digest(file)
    with contextlib.suppress(OSError, ValueError):
        if found not in _here and found in place().read_text(encoding="ascii").split():
            _here.add(found)
    return found in _here


def check(name: str, file: Path) -> None:
    """Raises `RecipeError` where `file`, which the reward `name` would run, is not one that this person has named."""
    if not is_known(file):
        raise RecipeError(f"The reward {name!r} is Python code in {file}, which came with a run and was never started by you.",
                          f"Read it; if you trust it, copy it to a file of your own and name that: rewards={{{name!r}: \"{file.name}:function\"}}.")
