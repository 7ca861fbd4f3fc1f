"""Rewards of pairs as a run had them at an evaluation: `arrays/gaps-000040.safetensors` in the run's folder, named in its journal.

A reward model writes its rewards, a preference objective its implicit ones. Columns of each part ("heldout", "train"), P pairs, H heads:
    row               int64, P: number of the comparison (`data/comparisons.py`), counted through the part's tables in their order
    better, worse     int64, P: numbers of the two replies among the comparison's own
    chosen, rejected  float32, P x H: the rewards of the reply that people preferred, and of the other
and the names of the heads in the file's metadata. The held-out part is every held-out pair at that step. The train part is what was drawn
since the evaluation before (or a resumption), each pair as the model rewarded it when it was drawn, before it learned from it; of a pair
drawn twice the later. Not here: the pairs themselves (`evaluation/kept_gaps.py` joins them), and rewards of a run that wrote no files.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.journal import events as ev
from workbench.journal.inside import inside

if TYPE_CHECKING:
    import numpy as np

NAME = "gaps"
COLUMNS = ("row", "better", "worse", "chosen", "rejected")


@dataclass(slots=True)
class PairRewards:
    """The columns of one part."""

    row: "np.ndarray"
    better: "np.ndarray"
    worse: "np.ndarray"
    chosen: "np.ndarray"
    rejected: "np.ndarray"
    heads: tuple[str, ...] = ("reward",)

    def __post_init__(self):
        import numpy as np

        for name in ("row", "better", "worse"):
            setattr(self, name, np.ascontiguousarray(getattr(self, name), np.int64))
        for name in ("chosen", "rejected"):
            values = np.asarray(getattr(self, name), np.float32)
            setattr(self, name, np.ascontiguousarray(values[:, None] if values.ndim == 1 else values))

    def __len__(self) -> int:
        return len(self.row)


def joined(parts: list[PairRewards]) -> PairRewards:
    """All in one, by row; of a pair that comes twice the last. Raises `ValueError` for none."""
    import numpy as np

    one = PairRewards(*(np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS))
    keys = np.stack([one.row, one.better, one.worse])[:, ::-1]
    _, last = np.unique(keys, axis=1, return_index=True)  # the first of the reversed is the last
    places = len(one) - 1 - last
    return PairRewards(**{name: getattr(one, name)[places] for name in COLUMNS}, heads=parts[0].heads)


def save(run_folder: str | Path, step: int, heldout: PairRewards, train: PairRewards | None = None) -> ev.Arrays:
    """Writes the file, whole or not at all, and returns the event that names it. Raises `OSError` where the disk refuses."""
    from safetensors.numpy import save_file

    parts = {"heldout": heldout} | ({"train": train} if train is not None and len(train) else {})
    path = Path(run_folder) / "arrays" / f"{NAME}-{step:06d}.safetensors"
    path.parent.mkdir(exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file({f"{part}.{name}": getattr(rewards, name) for part, rewards in parts.items() for name in COLUMNS}, partial,
              {"heads": json.dumps(heldout.heads)})
    os.replace(partial, path)
    return ev.Arrays(step=step, name=NAME, file=f"arrays/{path.name}")


def load(run_folder: str | Path, event: ev.Arrays) -> dict[str, PairRewards]:
    """The parts that the file of this event has. Raises `FileNotFoundError` where it is gone, or no file of the run's folder."""
    from safetensors import safe_open

    path = inside(Path(run_folder), event.file)
    if path is None:
        raise FileNotFoundError(f"{event.file!r} is no file of {Path(run_folder).name}")
    with safe_open(path, "numpy") as file:
        found = {name: file.get_tensor(name) for name in file.keys()}
        heads = tuple(json.loads(file.metadata()["heads"]))
    parts = dict.fromkeys(name.partition(".")[0] for name in found)
    return {part: PairRewards(**{name: found[f"{part}.{name}"] for name in COLUMNS}, heads=heads) for part in parts}
