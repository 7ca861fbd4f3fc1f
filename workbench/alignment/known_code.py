"""Which Python files of rewards this person has named themselves: code in another's run folder is not run because a recipe names it.

Kept are SHA-256 of files, one a line, in `~/.local/state/workbench/reward_code` (XDG_STATE_HOME), or in the folder of temporary files where
there is no home to write to. Starting a run with a function, or with a file by its name, notes it, and so it does the address of an
endpoint, which is sent a key; a fork, a resumption, a replay and every worker ask, and a start from a run's recipe asks for files that
were kept with a run. A recipe of somebody else that names a file by its whole path is started as one's own would be: read it before.
Not here: running it (`reward_sources.py`).
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
    _note(digest(file))


def note_address(address: str) -> None:
    """This person has named an endpoint."""
    _note(_of_address(address))


def _of_address(address: str) -> str:
    return hashlib.sha256(b"address " + address.encode()).hexdigest()


def _note(found: str) -> None:
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
    return _is_known(digest(file))


def _is_known(found: str) -> bool:
    return found in _here or any(found in _of(place) for place in places())


def _of(place: Path) -> list[str]:
    """What a file of this person's own holds."""
    try:
        return place.read_text(encoding="ascii").split() if place.stat().st_uid == os.getuid() else []
    except (OSError, ValueError):
        return []


def check_address(name: str, address: str) -> None:
    """Raises `RecipeError` where the endpoint of the reward `name`, which would be sent prompts, replies and a key, is not one that this
    person has named."""
    if not _is_known(_of_address(address)):
        raise RecipeError(
            f"The reward {name!r} is the endpoint {address}, which came with a run and was never named by you.",
            f"If you trust it, start a run of your own that names it: rewards={{{name!r}: {address!r}}}.",
        )


def check(name: str, file: Path) -> None:
    """Raises `RecipeError` where `file`, which the reward `name` would run, is not one that this person has named."""
    if not is_known(file):
        raise RecipeError(
            f"The reward {name!r} is Python code in {file}, which came with a run and was never started by you.",
            f'Read it; if you trust it, copy it to a file of your own and name that: rewards={{{name!r}: "{file.name}:function"}}.',
        )
