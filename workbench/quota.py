"""How much disk the runs of a folder take, and how much they may: `WORKBENCH_QUOTA_GB` (of 10^9 bytes) for each runs folder; unset, there
is no limit.

A file that several runs share (a fork's checkpoint is its parent's by another name) counts once. Links are not followed. Not here: what can
be removed (`runs/cleaning.py`), and how much a run will write (`runs/quotas.py`).
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from workbench.errors import RunError

GB = 10**9
PARAMETER_BYTES = 12
"""Of a checkpoint, for each trained parameter: its weight and Adam's two moments, all in fp32."""
Inode = tuple[int, int]


def limit(environment: Mapping[str, str] = os.environ) -> float | None:
    """Bytes that a runs folder may hold; None where nothing was said. Raises `RunError` for what is no amount."""
    told = environment.get("WORKBENCH_QUOTA_GB", "").strip()
    if not told:
        return None
    try:
        bytes_ = float(told) * GB
    except ValueError:
        bytes_ = -1.0
    if not 0 <= bytes_ < float("inf"):
        raise RunError(f"WORKBENCH_QUOTA_GB is {told!r}, which is no number of gigabytes.", "Set it to a number such as 50, or unset it.")
    return bytes_


def files(folder: str | Path) -> Iterator[os.stat_result]:
    """What the system says of every plain file under `folder`; one that goes meanwhile is passed over."""
    try:
        entries = list(os.scandir(folder))
    except OSError:  # gone, or another person's
        return
    for entry in entries:
        try:
            if entry.is_dir(follow_symlinks=False):
                yield from files(entry.path)
            elif entry.is_file(follow_symlinks=False):
                yield entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue


def used(runs: str | Path) -> tuple[int, dict[str, int]]:
    """(bytes in all, bytes of each run by name, the largest first); what runs share is the first one's, by name."""
    seen: set[Inode] = set()
    sizes: dict[str, int] = {}
    for folder in sorted(path for path in Path(runs).iterdir() if path.is_dir() and not path.is_symlink()) if Path(runs).is_dir() else []:
        for found in files(folder):
            if (found.st_dev, found.st_ino) not in seen:
                seen.add((found.st_dev, found.st_ino))
                sizes[folder.name] = sizes.get(folder.name, 0) + found.st_size
    return sum(sizes.values()), dict(sorted(sizes.items(), key=lambda item: -item[1]))


def words(count: float) -> str:
    """1_234_000_000 -> `1.23 GB`, 5_000 -> `5 kB`."""
    for unit, size in (("GB", GB), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f} bytes"
