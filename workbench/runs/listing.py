"""The runs of a folder as a table."""

import contextlib
import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.errors import RunError
from workbench.journal.inside import links_out
from workbench.legible import whole_characters
from workbench.runs.attach import attach
from workbench.runs.folders import MARK
from workbench.runs.glance import glance
from workbench.runs.run import Run

if TYPE_CHECKING:
    import pandas as pd

_seen: dict[Path, tuple[int, int, Run]] = {}
"""Journal's inode, its size and the run, by folder: a panel lists runs every two seconds, and a long journal takes a while to read."""
_glanced: dict[str, tuple[int, int, Run]] = {}
"""The same of runs that were only seen in passing."""
COLUMNS = ("name", "objective", "status", "step", "steps", "loss", "heldout_loss", "parent", "note", "reason", "started", "folder")


def run_folders(runs: str | Path = "runs") -> list[Path]:
    """Run folders under `runs` that are whole, newest first. Left out are those with a link that leads out of them: `attach` says which."""
    root = Path(runs).expanduser()
    if not os.path.isdir(root):
        return []
    return sorted((path for path in root.iterdir() if ((path / "recipe.json").exists() or (path / "journal.jsonl").exists()) and not (path / MARK).exists()
                   and not any(links_out(path, deep=False))),
                  key=lambda path: path.name, reverse=True)


def opened(folder: Path) -> Run:
    """The run in `folder`; at a second look its journal is read on from where it was, unless it is another file or shorter now."""
    try:
        found = os.stat(folder / "journal.jsonl")
    except FileNotFoundError:
        return attach(folder)
    folder = folder.resolve()
    inode, size, run = _seen.get(folder, (None, 0, None))
    if run is None or inode != found.st_ino or size > found.st_size:
        run = attach(folder)
    _seen[folder] = (found.st_ino, found.st_size, run)
    return run


def in_passing(folder: Path) -> Run:
    """The run in `folder`, for its row alone: of one that has ended the last lines of its journal are read, of others all."""
    try:
        found = os.stat(folder / "journal.jsonl")
    except FileNotFoundError:
        return attach(folder)
    key = os.path.abspath(folder)
    inode, size, run = _glanced.get(key, (None, 0, None))
    if inode == found.st_ino and size == found.st_size:
        return run
    run = None if folder.resolve() in _seen else glance(folder)
    if run is None:
        _glanced.pop(key, None)
        return opened(folder)
    _glanced[key] = (found.st_ino, found.st_size, run)
    return run


def row_of(run: Run) -> dict[str, object]:
    """One run as a row of the table. A loss is None where there is none yet, NaN where the last one was not finite."""
    import datetime

    status, history = run.status, run.history
    loss = history.columns["loss"][-1] if len(history.columns["loss"]) else None
    # no loss: not finite, or of a policy, whose evaluations have rewards and no loss
    heldout = [math.nan if event.loss is None else event.loss for event in history.evaluations[-1:] if event.loss is not None or "reward" not in event.extra]
    forked = history.forked
    told = {"name": run.name, "objective": _objective(run.folder), "status": str(status), "step": history.step, "steps": history.steps, "loss": loss,
            "heldout_loss": heldout[0] if heldout else None, "parent": Path(forked.parent).name if forked else "",
            "note": run.note, "reason": status.sentence if status in ("failed", "died") else "",
            "started": datetime.datetime.fromtimestamp(history.began or run.folder.stat().st_ctime).astimezone(), "folder": str(run.folder)}
    return {name: whole_characters(value) if isinstance(value, str) else value for name, value in told.items()}  # a table holds no other


def _objective(folder: Path) -> str:
    """As the recipe names it; empty for a run of a script, and where the recipe cannot be read."""
    try:
        found = json.loads((folder / "recipe.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return ""
    return str(found.get("objective", "sft")) if isinstance(found, dict) else ""


def list_runs(runs: str | Path = "runs") -> "pd.DataFrame":
    """One row a run, newest first: name, objective, status, step, steps, loss, heldout_loss, parent, note, reason (why it failed or died), started, folder. Empty where there are none."""
    import pandas as pd

    rows = []
    for folder in run_folders(runs):
        with contextlib.suppress(RunError):  # a link leads out of it: `attach` says which
            rows.append(row_of(in_passing(folder)))
    return pd.DataFrame(rows, columns=list(COLUMNS))
