"""A book seen with the settings of the panel: every number that is shown, put together into a `Look`.

Joins what `reading.py` has read with the arithmetic of `look.py`. Reads no files but those of a step that is looked at for the first time.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from widgets.reward_gap import look as looks
from widgets.reward_gap.look import Look
from widgets.reward_gap.reading import shares
from widgets.reward_gap.state import State
from workbench.alignment.gaps import LengthBias, calibration
from workbench.data.flags import Flags
from workbench.errors import DataError

Bias = Callable[[int, pd.DataFrame], LengthBias | None]


def see(book: Any, state: State, step: int | None, steps: list[int], flags: Flags | None, picked: frozenset, bias: Bias) -> Look:
    """`step` is one of `steps`, None where there is none; `picked` are the examples picked in other panels; `bias` tells the length bias of
    a table of gaps at a step, or None."""
    table = book.folder is None
    out = Look(name=book.name, step=None if table else step, total=book.total, part=state.part, living=book.living, has_steps=not table,
               curves=book.curves())
    part = state.part
    if step is None and not table:
        out.told = book.told
    if step is None or part not in book.parts or not _has(book, step, part):
        return out
    every = {each: looks.gaps_of(book.pairs(each, part), book.heads, state) for each in steps if _has(book, each, part)}
    pairs = book.pairs(step, part)
    out.columns, out.edges = looks.columns_of(pairs.frame), looks.edges_for(list(every.values()))
    out.column = state.column if state.column in out.columns else out.columns[0]
    values = looks.values_of(pairs.frame, out.column)
    out.categories = looks.categories_of(every[step], values)
    frame, out.ids = looks.mixed(pairs, book.heads, state), pairs.ids
    if state.category:
        frame, out.ids = frame[values == state.category].reset_index(drop=True), pairs.ids[values == state.category]
    out.frame = frame
    if not len(frame):
        return out

    def inside(gap: np.ndarray, each: int, part: str) -> np.ndarray:
        return gap if not state.category else gap[looks.values_of(book.pairs(each, part).frame, out.column) == state.category]

    gap = frame["gap"].to_numpy()
    out.counts, out.right = looks.counts_in(out.edges, gap), float(looks.right_of(gap).mean())
    first = inside(every[min(every)], min(every), part)
    if min(every) != step and len(first):
        out.first, out.first_step = looks.counts_in(out.edges, first) * len(gap) / len(first), min(every)
    if out.has_steps:
        heldout = every if part == "heldout" else {each: looks.gaps_of(book.pairs(each, "heldout"), book.heads, state) for each in steps}
        right = [float(looks.right_of(inside(one, each, "heldout")).mean()) for each, one in heldout.items()]
        out.heldout = np.array(list(heldout), float), np.array(right)
        out.members = _members(book, state, list(heldout))
    out.calibration, out.slope = calibration(frame, looks.calibration_bins(len(frame))), looks.slope_of(frame)
    by_length = state.category and out.column == looks.LENGTHS  # such pairs say nothing of a bias
    out.bias = None if by_length else bias(step, frame)
    out.flagged = np.zeros(len(frame), bool)
    if flags is not None and len(flags):
        verdicts = zip(frame["prompt"], frame["chosen_text"], frame["rejected_text"], strict=True)
        out.flagged = np.array([verdict in flags for verdict in verdicts], bool)
    out.bin = (state.low, state.high) if state.show == "bin" and state.low is not None else None
    out.picked = looks.shown(out, state, picked)
    return out


def _has(book: Any, step: int, part: str) -> bool:
    try:
        book.pairs(step, part)
    except DataError:
        return False
    return True


def _members(book: Any, state: State, steps: list[int]) -> list[np.ndarray]:
    """The share right of each run of an ensemble at each step."""
    of_heads, found = shares(book.heads, state.weights), []
    for step in steps:
        each = book.pairs(step, "heldout").each
        found.append([] if each is None else looks.right_of(each @ of_heads).mean(1))
    return [np.array(member) for member in zip(*found, strict=True)] if found and len(found[0]) else []
