"""Which Python files of rewards this person has named themselves: code in another's run folder is not run because a recipe names it.

Kept are SHA-256 of files, one a line, in `~/.local/state/workbench/reward_code` (XDG_STATE_HOME), or in the folder of temporary files where
there is no home to write to. Starting a run with a function, or with a file by its name, notes it; a fork, a resumption, a replay, a
start from a run's recipe and every worker ask. Not here: running it (`reward_sources.py`).
"""

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

from workbench.errors import RecipeError

_here: set[str] = set()
"""Noted by this process."""


def places() -> list[Path]:
    """Files of what is known; the first that can be written is."""
    home = Path(os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state"))
    return [home / "workbench" / "reward_code", Path(tempfile.gettempdir()) / f"workbench-{os.getuid()}" / "reward_code"]


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def note(file: Path) -> None:
    """This person has named `file`, as it is now."""
    found = digest(file)
    if found in _here:
        return
    _here.add(found)
    for place in places():
        with contextlib.suppress(OSError):  # no home to write to
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open(place, "a", encoding="ascii") as known:
                known.write(found + "\n")
            return


def is_known(file: Path) -> bool:
    found = digest(file)
    return found in _here or any(found in _of(place) for place in places())


def _of(place: Path) -> list[str]:
    """What a file of this person's own holds."""
    try:
        return place.read_text(encoding="ascii").split() if place.stat().st_uid == os.getuid() else []
    except (OSError, ValueError):
        return []


def check(name: str, file: Path) -> None:
    """Raises `RecipeError` where `file`, which the reward `name` would run, is not one that this person has named."""
    if not is_known(file):
        raise RecipeError(
            f"The reward {name!r} is Python code in {file}, which came with a run and was never started by you.",
            f'Read it; if you trust it, copy it to a file of your own and name that: rewards={{{name!r}: "{file.name}:function"}}.',
        )
