"""Files of a run folder that may be another person's: each name in it stays in it, and no link leads out.

A journal names files ("arrays/gaps-000040.safetensors"), and an archive may hold links: whatever leaves the folder, by "..", by a whole
path or by a link, is not opened. Not here: what the files hold.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from workbench.errors import RunError


def inside(folder: Path, name: str) -> Path | None:
    """The file `name` of the folder; None where that would be a file outside it, or no name of a file."""
    root = Path(folder).resolve()
    try:
        path = (root / name).resolve()
        path.exists()
    except (OSError, ValueError, RuntimeError):  # a name too long, NUL, links in a circle
        return None
    return path if path != root and path.is_relative_to(root) else None


def links_out(folder: Path, deep: bool = True) -> Iterator[Path]:
    """Links in the folder (`deep`: and in those below it) that lead out of it; circles count."""
    folders = [Path(folder)]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_symlink():
                    if inside(folder, os.path.relpath(entry.path, folder)) is None:
                        yield Path(entry.path)
                elif deep and entry.is_dir(follow_symlinks=False):
                    folders.append(Path(entry.path))


def check(folder: Path) -> None:
    """Raises `RunError` where a link leads out of the run folder."""
    try:
        for link in links_out(folder):
            raise RunError(
                f"{link.relative_to(folder)} in {Path(folder).name} is a link that leads out of the run folder, to what may be yours.",
                "Put the file itself there if you made the link, or remove it.",
            )
    except OSError as error:
        raise RunError(
            f"{folder} cannot be opened: {error.strerror}.", "Check that the run folder is still there, and who may read it."
        ) from error
