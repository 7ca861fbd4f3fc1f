"""The rows of a mixture, each made into tokens when its turn comes, so that the weights can change while a run goes.

Step s + 1 takes the R rows from s x R on (R rows a step, of all its batches), in the order of `data/drawing.py`, whatever the batch size. A change of weights after
step s cuts the order there: what came before stays as it was, no source begins its epoch again, and stages that were still to come begin at their row with their own weights.
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
        self._stages: list[tuple[int, dict[str, int]]] = []
        """As planned: the row at which each begins, and the weights it draws by."""
        first = 0
        for weights, count in found.segments:
            self._stages.append((first, weights))
            first += count or 0
        self._changed: list[tuple[int, dict[str, float]]] = []
        """Weights put in force since, by the row at which they were."""
        self._draw(begin(self._stages[0][1], seed, 0), rows)

    def _draw(self, start: Position, rows: int) -> None:
        """Order the rows from `start` to row `rows`, by its weights and then by those of the stages still to come."""
        for first, weights in self._stages:
            if start.rows < first < rows:
                start = begin(weights, start.seed, self._go_on(start, first))
        self._go_on(start, rows)  # the last one goes on for as long as the run does

    def _go_on(self, start: Position, until: int) -> Position:
        """Order the rows from `start` to row `until`; returns the position there."""
        if until == len(self.source):
            return start
        piece = order(start, until - len(self.source), self._sizes)
        self._pieces.append(start)
        self.source, self.row = np.concatenate([self.source, piece.source]), np.concatenate([self.row, piece.row])
        return piece.end

    def in_force(self, step: int) -> dict[str, float]:
        """The weight of every source for what is drawn after `step` steps: of a stage, its shares; of a change, what was asked."""
        row = step * self.rows_a_step
        stage, weights = max(planned for planned in self._stages if planned[0] <= row)
        changed = [asked for first, asked in self._changed if stage <= first <= row]
        return changed[-1] if changed else {name: weights[name] / sum(weights.values()) for name in self.names}

    def change(self, weights: dict[str, float], step: int) -> tuple[dict[str, float], dict[str, float]]:
        """Draw by these weights once `step` steps are done, until the next stage begins; a source not named keeps its own. Returns the weights of every source before and
        after. Raises `ValueError` with a sentence where none would be left."""
        rows, cut = len(self), min(step * self.rows_a_step, len(self))
        self._changed = [changed for changed in self._changed if changed[0] <= cut]
        old = self.in_force(step)
        weights = old | {name: float(weight) for name, weight in weights.items()}
        if not any(weights.values()):
            raise ValueError("every source would have the weight 0")
        self._changed.append((cut, weights))
        before = max((piece for piece in self._pieces if piece.rows <= cut), key=lambda piece: piece.rows)
        self._pieces = [piece for piece in self._pieces if piece.rows < cut]
        self.source, self.row = self.source[:cut], self.row[:cut]
        here = advance(before, cut - before.rows)
        exact = whole_weights({name: Fraction(str(weights[name])) for name in self.names})
        self._draw(begin(exact, here.seed, here), rows)
        return old, weights

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
