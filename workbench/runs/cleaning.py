"""Giving disk back: what runs that have ended no longer need, named before it is removed.

Freed are checkpoints but for the last ones, folders that a crash left half written, per-step arrays of finished runs but for the last, and
whole runs that were named. Never touched: a run that lives, waits or is paused (its lock is held while it is cleaned, so none starts
meanwhile either), what a run was forked with (`start/`), what another run's recipe, model folder or sweep names, the checkpoint with the
lowest held-out loss, the last one from before anything went wrong (where the monitors branch), the last of a run that can be resumed, what
forks share (it takes no room of its own), and anything behind a link.
"""

import argparse
import contextlib
import fcntl
import json
import os
import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench import device_queue, living, quota
from workbench.alignment import alarms
from workbench.errors import RunError
from workbench.legible import letters
from workbench.runs import folders, sweep, turns
from workbench.runs.attach import attach
from workbench.runs.listing import in_passing, run_folders
from workbench.runs.run import Run
from workbench.runs.status import LIVING

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("run", "what", "path", "bytes")
DAY_S = 86_400.0
SCRATCH = ("result.scratch", "result.partial", "*.partial", "arrays/*.partial", "checkpoints/checkpoint-*", ".reserve")
"""What a worker that ended in the middle leaves, and a later one would not read."""


@dataclass(slots=True)
class Part:
    """Something that can go: `what` is "checkpoint", "scratch", "arrays" or "run"."""

    run: Path
    what: str
    paths: list[Path]
    bytes: int

    def row(self, root: Path) -> dict[str, object]:
        shown = self.paths[0] if len(self.paths) == 1 else self.paths[0].parent
        return {"run": self.run.name, "what": self.what, "path": str(shown.relative_to(root)), "bytes": self.bytes}


def clean(runs: str | Path = "runs", *, keep: int = 1, older_than: float = 0, whole: Iterable[str] = (), used_by: Iterable[str | Path] = (),
          dry_run: bool = True) -> "pd.DataFrame":
    """What can be freed under `runs`, a row each: run, what ("checkpoint", "scratch", "arrays", "run"), path, bytes. Removed only with
    `dry_run=False`.

    `keep` is how many of each run's last checkpoints stay (0: none of a finished run). Runs that wrote something in the last `older_than`
    days are left alone. `whole` names runs to remove with all they hold, results too. `used_by` are other runs folders whose recipes may
    name runs of this one. Raises `RunError` where there is no such folder, and for a run of `whole` that lives or that another needs.
    """
    import pandas as pd

    root = Path(runs).expanduser().resolve()
    if not root.is_dir():
        raise RunError(f"{runs} is no folder of runs.", "Name the folder that holds the run folders.")
    if type(keep) is not int or keep < 0:
        raise RunError(f"keep is {keep!r}; it must be a whole number of checkpoints, 0 or more.", "Use keep=1.")
    names = [Path(name).name for name in ([whole] if isinstance(whole, str) else whole)]
    needed = needs([root, *used_by])
    _refuse(root, names, needed)
    found: list[Part] = []
    for folder in _own_folders(root):
        with _held(folder, dry_run) as free:
            if not free:
                if folder.name in names:
                    raise RunError(f"{folder.name} cannot be removed: another process has it.", "Stop it first.")
                continue
            if folder.name in names:
                parts = [Part(folder, "run", [folder], _size([folder]))]
            else:
                parts = list(_parts(folder, keep, older_than, needed))
            for part in parts if not dry_run else ():
                remove(part)
            found += parts
    return pd.DataFrame([part.row(root) for part in found], columns=list(COLUMNS))


def _own_folders(root: Path) -> list[Path]:
    """Run folders and sweeps that really lie in `root`."""
    swept = [path.parent for path in root.glob(f"*/{sweep.FILE}")]
    return [folder for folder in sorted({*run_folders(root), *swept}) if not folder.is_symlink()]


@contextlib.contextmanager
def _held(folder: Path, look_only: bool) -> Iterator[bool]:
    """Whether nobody else has the run. While it is held no worker begins: one that is started meanwhile waits for the lock."""
    if _lives(folder):
        yield False
        return
    try:
        lock = os.open(folder / "worker.lock", os.O_RDWR | os.O_CLOEXEC | (0 if look_only else os.O_CREAT), 0o644)
    except FileNotFoundError:
        yield True
        return
    except OSError:  # another person's
        yield False
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
        return
    else:
        yield True
    finally:
        os.close(lock)


def _lives(folder: Path) -> bool:
    if (folder / sweep.FILE).exists():
        return sweep.Sweep(folder).status == "running"
    return in_passing(folder).status in LIVING


# what is needed ------------------------------------------------------------------------------------------------------------------------


def needs(roots: Iterable[str | Path]) -> dict[Path, str]:
    """Paths that recipes, results, sweeps and unfinished forks of these folders name, resolved, each with the name of what needs it."""
    found: dict[Path, str] = {}
    for root in (Path(root).expanduser().resolve() for root in roots):
        for file in [*root.glob("*/recipe.json"), *root.glob("*/result/adapter_config.json"),
                     *root.glob("*/checkpoints/*/adapter_config.json"),
                     *root.glob("*/start/*/adapter_config.json")]:
            user = root / file.relative_to(root).parts[0]
            for path in _named(_json(file), user):
                if not path.is_relative_to(user):
                    found.setdefault(path, user.name)
        for file in root.glob(f"*/{sweep.FILE}"):
            for told in _json(file).get("runs", []):
                found.setdefault(root / str(told.get("name")), file.parent.name)
        for folder in run_folders(root):
            forked = in_passing(folder).history.forked
            # a fork has its own copy; one that lost it could begin again from its parent's
            if forked and forked.checkpoint and not (folder / "start" / f"step-{forked.checkpoint:06d}").is_dir():
                found.setdefault(Path(forked.parent).resolve() / "checkpoints" / f"step-{forked.checkpoint:06d}", folder.name)
    return found


def _json(file: Path) -> dict[str, Any]:
    try:
        body = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return body if isinstance(body, dict) else {}


def _named(value: Any, base: Path) -> Iterator[Path]:
    """Every text in a recipe that is a path of something there; a reward may name a part behind "#" or ".py:"."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from _named(inner, base)
    elif isinstance(value, list):
        for inner in value:
            yield from _named(inner, base)
    elif isinstance(value, str) and value and len(value) < 4096 and "\0" not in value:
        for text in {value, value.rpartition("#")[0], value.rpartition(":")[0]} - {""}:
            path = base / Path(text)
            with contextlib.suppress(OSError):  # a name longer than a file can have
                if ("/" in text or os.sep in text) and path.exists():
                    yield path.resolve()


def _needed_by(path: Path, needed: dict[Path, str]) -> str:
    """Who needs `path`, or something in it; "" where nobody does."""
    return next((user for other, user in needed.items() if other == path or other.is_relative_to(path)), "")


def _refuse(root: Path, names: list[str], needed: dict[Path, str]) -> None:
    for name in names:
        folder = root / name
        if folder not in _own_folders(root):
            raise RunError(f"{root} has no run {name!r}.", "python -m workbench runs lists them.")
        if _lives(folder):
            raise RunError(f"{name} cannot be removed: it goes on, or waits for the device.", "Stop it first.")
        user = next((user for path, user in needed.items() if path.is_relative_to(folder) and user not in names), "")
        if user:
            raise RunError(f"{name} cannot be removed: {user} needs it.", f"Remove {user} first, or together with it.")


# what can go ---------------------------------------------------------------------------------------------------------------------------


def _parts(folder: Path, keep: int, older_than: float, needed: dict[Path, str]) -> Iterator[Part]:
    if not (folder / "recipe.json").exists() or time.time() - _last_sign(folder) < older_than * DAY_S:
        return  # a script's run or a sweep holds nothing of ours to remove
    run = in_passing(folder)
    for path in sorted(path for pattern in SCRATCH for path in folder.glob(pattern) if not _behind_a_link(path, folder)):
        yield Part(folder, "scratch", [path], _size([path]))
    for path in _old_checkpoints(run, keep):
        if not _needed_by(path, needed) and (size := _size([path])):
            yield Part(folder, "checkpoint", [path], size)
    if run.status == "finished":
        old = [path for path in _old_arrays(folder) if not _needed_by(path, needed) and path.stat().st_nlink == 1]
        if old:
            yield Part(folder, "arrays", old, _size(old))


def _old_checkpoints(run: Run, keep: int) -> list[Path]:
    there = {int(match[1]): path for path in (run.folder / "checkpoints").glob("step-*")
             if (match := re.fullmatch(r"step-(\d+)", path.name)) and path.is_dir() and not _behind_a_link(path, run.folder)}
    least = keep if run.status == "finished" else max(1, keep)
    stay = set(sorted(there)[len(there) - least:] if least else ())
    if len(stay) == len(there):
        return []
    try:
        run = attach(run.folder)  # of these the whole journal counts
    except RunError:  # a folder with a link out of it, that nothing opens
        return []
    wrong = alarms.watch(run)
    if wrong:
        stay.add(alarms.healthy_step(sorted(there), wrong))
    if least and run.history.best is not None:
        stay.add(run.history.best.step)
    return [path for step, path in sorted(there.items()) if step not in stay]


def _old_arrays(folder: Path) -> list[Path]:
    """All but the last of each name."""
    named: dict[str, list[Path]] = {}
    for path in sorted((folder / "arrays").glob("*-*.safetensors")):
        if path.is_file() and not _behind_a_link(path, folder):
            named.setdefault(path.name.rpartition("-")[0], []).append(path)
    return [path for paths in named.values() for path in paths[:-1]]


def _behind_a_link(path: Path, folder: Path) -> bool:
    """Whether `path`, or a folder between it and the run's, is a link."""
    return any(part.is_symlink() for part in (path, *path.parents) if part.is_relative_to(folder))


def _last_sign(folder: Path) -> float:
    """When the run last wrote."""
    return max((path.stat().st_mtime for name in ("journal.jsonl", "recipe.json") if (path := folder / name).exists()), default=0.0)


def _size(paths: list[Path]) -> int:
    """Bytes that removing them gives back: what another name keeps is none."""
    found = [stat for path in paths for stat in (quota.files(path) if path.is_dir() else [path.lstat()])]
    return sum(stat.st_size for stat in found if stat.st_nlink == 1)


def remove(part: Part) -> None:
    """Raises `RunError` where it may not be removed."""
    try:
        for path in part.paths:
            if part.what == "run":
                (path / folders.MARK).touch()  # half removed it is no run, and the next start removes the rest
            elif part.what == "checkpoint":
                # renamed first, as the worker does: a kill in the middle, or a fork that links it now, never finds half a checkpoint
                step = int(path.name.removeprefix("step-"))
                path = path.rename(path.with_name(f"checkpoint-{step}-old"))
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise RunError(f"{part.paths[0]} cannot be removed: {error.strerror}.",
                       "What was removed before it stays removed; give yourself write permission.") from error


def by_person(runs: str | Path, sizes: dict[str, int]) -> dict[str, int]:
    """Bytes that each person's runs take, the most first, of `quota.used`'s by run. A run is whose it was started by last, and where nobody
    noted that, its folder's owner's."""
    found: Counter[str] = Counter()
    for name, size in sizes.items():
        folder = Path(runs).expanduser() / name
        with contextlib.suppress(FileNotFoundError):  # somebody removed it meanwhile
            found[device_queue.called(living.worker_of(folder).get("person", "")[:64], folder.stat().st_uid)] += size
    return dict(found.most_common())


# the command line ----------------------------------------------------------------------------------------------------------------------


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the command to the command line."""
    cleaning = commands.add_parser("clean", help="what runs no longer need, and how much disk it takes; --yes removes it")
    cleaning.add_argument("runs", nargs="?", default="runs", help="folder of runs (default: %(default)s)")
    cleaning.add_argument("--keep", type=int, default=1,
                          help="last checkpoints of each run that stay, 0 for none of a finished one (default: %(default)s)")
    cleaning.add_argument("--older-than", type=float, default=0,
                          help="only of runs that wrote nothing for so many days (default: %(default)s)")
    cleaning.add_argument("--run", action="append", default=[],
                          help="a run to remove whole, with its result; may be given several times (default: none)")
    cleaning.add_argument("--used-by", action="append", default=[],
                          help="another runs folder whose recipes name runs of this one (default: none)")
    cleaning.add_argument("--yes", action="store_true", help="remove; without it they are only shown")


def run(given: argparse.Namespace) -> int:
    found = clean(given.runs, keep=given.keep, older_than=given.older_than, whole=given.run, used_by=given.used_by, dry_run=not given.yes)
    if len(found):
        print(turns.table(found.assign(bytes=[quota.words(size) for size in found["bytes"]]).to_dict("records")))
    taken, sizes = quota.used(given.runs)
    people = ", ".join(f"{letters(person)} {quota.words(size)}" for person, size in by_person(given.runs, sizes).items())
    total = f"{quota.words(found['bytes'].sum())} in {len(found)} parts"
    used = f"{given.runs} takes {quota.words(taken)}{f' ({people})' if people else ''}"
    said = f"Removed {total}. {used} now." if given.yes else f"{used}; {total} can go. Nothing was removed: --yes removes it."
    print(said, file=sys.stderr)
    return 0
