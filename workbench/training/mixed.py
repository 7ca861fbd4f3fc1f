"""The rows of a mixture, each made into tokens when its turn comes, so that the weights can change while a run goes.

Step s + 1 takes the R rows from s x R on (R rows a step, of all its batches), in the order of `data/drawing.py`, whatever the batch size. A change of weights after
step s cuts the order there: what came before stays as it was, and no source begins its epoch again.
"""

from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import torch

from workbench.data.drawing import Position, advance, begin, order, whole_weights
from workbench.data.run_rows import RunRows


class MixedRows(torch.utils.data.Dataset):
    """`rows` rows; item i is what `features(name, number)` gives for row `number` of source `name`, whose place i is in the order, with `source`, the source's number.

    A row without features (None: it would train on nothing) lends its place to the next one of its source.
    """

    def __init__(self, found: RunRows, rows: int, rows_a_step: int, seed: int, features: Callable[[str, int], dict[str, Any] | None]):
        self.names = tuple(found.train)
        self.rows_a_step = rows_a_step
        self._sizes: dict[str, int | None] = {name: table.num_rows for name, table in found.train.items()}
        self._features = features
        self._pieces: list[Position] = []
        """Where each stretch of the order under weights of its own begins."""
        self.source, self.row = np.empty(0, np.int16), np.empty(0, np.int64)
        """Of every place: which source (its number in `names`), and which of its rows."""
        start: int | Position = 0
        for number, (weights, count) in enumerate(found.segments):
            last = number == len(found.segments) - 1  # goes on for as long as the run does
            start = self._go_on(begin(weights, seed, start), rows if last or count is None else min(rows, len(self.source) + count))

    def _go_on(self, start: Position, until: int) -> Position:
        """Order the rows from `start` to row `until`; returns the position there."""
        if until == len(self.source):
            return start
        piece = order(start, until - len(self.source), self._sizes)
        self._pieces.append(start)
        self.source, self.row = np.concatenate([self.source, piece.source]), np.concatenate([self.row, piece.row])
        return piece.end

    def change(self, weights: dict[str, float], step: int) -> None:
        """Draw by these weights (of every source) once `step` steps are done."""
        rows, cut = len(self), min(step * self.rows_a_step, len(self))
        before = max((piece for piece in self._pieces if piece.rows <= cut), key=lambda piece: piece.rows)
        self._pieces = [piece for piece in self._pieces if piece.rows < cut]
        self.source, self.row = self.source[:cut], self.row[:cut]
        here = advance(before, cut - before.rows)
        exact = whole_weights({name: Fraction(str(weights[name])) for name in self.names})
        self._go_on(begin(exact, here.seed, here), rows)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> dict[str, Any]:
        name, row = self.names[self.source[index]], int(self.row[index])
        size = self._sizes[name]
        for further in range(size):
            found = self._features(name, (row + further) % size)
            if found is not None:
                return found | {"source": int(self.source[index])}
        raise ValueError(f"No row of {name!r} has a token to train on.")

    def counts(self, sources: list[int]) -> dict[str, int]:
        """How many of these rows are of which source; every source is named."""
        seen = Counter(sources)
        return {name: seen[number] for number, name in enumerate(self.names)}
