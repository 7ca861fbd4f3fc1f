"""What a source is like before anything is trained: rows, lengths in tokens, copies; and what a mixture of such sources is like.

`measure` looks at the rows of one source of a mixture, at most so many. `Lengths` then answers for any rates on counts alone: which lengths
come how often, how many are cut, what padding and packing waste. Not here: rates and epochs (`mixture.py`), counting tokens
(`lengths.py`), finding copies (`duplicates.py`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbench.data import drawing, duplicates, layouts, lengths
from workbench.data.mixture import Mixture, need
from workbench.errors import DataError

if TYPE_CHECKING:
    import numpy as np

MOST_ROWS = 20_000
"""Rows of a source that are looked at, unless asked otherwise; of a larger one a random sample."""
ROUGH = 512
"""Steps of length that a rough packing tells apart."""
EXACT = 2**15
"""A longer max_length is always packed roughly: a typed 1e9 takes no gigabytes."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """One source, as its measured rows tell it."""

    rows: int
    lengths: "np.ndarray"
    """The different lengths, in tokens, rising (int64 [D])."""
    counts: "np.ndarray"
    """How many of the measured rows have each (int64 [D])."""
    copies: float | None = None
    """Share of the measured rows that are (nearly) a copy of an earlier one; None where nobody looked. In a sample some are missed."""
    layout: str = ""
    """What the rows are, as `layouts.py` names it: "plain text" can be mixed in as pre-training text."""

    @property
    def measured(self) -> int:
        return int(self.counts.sum())

    @property
    def mean(self) -> float:
        """Tokens a row."""
        return float(self.lengths @ self.counts) / self.measured

    @property
    def tokens(self) -> int:
        """Of all rows; from the mean of the sample where not all were measured."""
        total = int(self.lengths @ self.counts)
        return total if self.measured == self.rows else round(total / self.measured * self.rows)


def measure(mixture: Mixture, name: str, tokenizer: Any, *, most: int | None = MOST_ROWS, near: float | None = 0.8,
            progress: Progress | None = None) -> Profile:
    """The profile of the source `name` by at most `most` of its rows (None: all of them).

    `tokenizer` as in `lengths.token_lengths`. Copies are rows of a similarity of at least `near` (`duplicates.near`), with None they are
    not looked for. `progress(done, of)` is called with rows; what it raises ends the measuring, and lengths counted before are remembered.
    Raises `DataError` for rows that cannot be trained on as they are.
    """
    import numpy as np

    found = mixture.table(name)
    layout = layouts.detect(found.column_names).name
    rows = found.num_rows
    if most is not None and rows > most:
        found = found.select(np.sort(drawing.permuted(np.arange(most), rows, 0)).tolist())
    table = found.with_format("arrow")[:]
    counted = lengths.token_lengths(table, tokenizer, progress=progress)
    different, counts = np.unique(counted, return_counts=True)
    copies = None
    if near is not None:
        def looked(done: int, of: int) -> None:
            if progress is not None:
                progress(table.num_rows, table.num_rows)  # copies are part of the row they are copies of: only a stop is heard here

        copies = len(duplicates.extra_rows(duplicates.near(table, threshold=near, progress=looked))) / table.num_rows
    return Profile(rows, different.astype(np.int64), counts.astype(np.int64), copies, layout)


class Lengths:
    """`Lengths({"chat": profile, "code": profile})`: how long the examples of any mixture of these sources are."""

    def __init__(self, profiles: dict[str, Profile]) -> None:
        import numpy as np

        need(bool(profiles), "There is no profile.", "Give the profiles of the sources.")
        self.names = tuple(profiles)
        self.lengths = np.unique(np.concatenate([profile.lengths for profile in profiles.values()]))
        """The different lengths of all sources, in tokens, rising (int64 [D])."""
        self._shares = np.zeros((len(profiles), len(self.lengths)))
        for share, profile in zip(self._shares, profiles.values(), strict=True):
            share[np.searchsorted(self.lengths, profile.lengths)] = profile.counts / profile.measured

    def shares(self, rates: dict[str, float]) -> "np.ndarray":
        """Share of the examples that has each of `self.lengths` (float64 [D], sum 1) where sources come at these rates."""
        import numpy as np

        unknown = [name for name in rates if rates[name] and name not in self.names]
        if unknown:
            raise DataError(f"The source {unknown[0]!r} has no profile.", "Measure it first.")
        weights = np.array([rates.get(name, 0.0) for name in self.names])
        need(weights.sum() > 0, "Every source has the rate 0.", "Give one of them a rate above 0.")
        return weights @ self._shares / weights.sum()

    def waste(self, rates: dict[str, float], max_length: int, batch_size: int = 8, rows: int = 1_000_000, rough: bool = False,
              ) -> dict[str, float]:
        """What `lengths.waste` says of drawn rows, reckoned for `rows` rows at these rates: `truncated_share` of examples, `lost_share` of
        tokens, `tokens` a row that are kept, `padding_share` in random batches, `packing_waste` of positions.

        `rough` packs lengths rounded up to `ROUGH` steps: a little too much waste, in a few milliseconds; a
        max_length above `EXACT` always is.
        """
        import numpy as np

        if batch_size < 1 or max_length < 1 or rows < 1:
            raise DataError("Fewer rows, a batch size or a max_length below 1 hold nothing.", "Use 1 or more.")
        shares = self.shares(rates)
        cut = np.minimum(self.lengths, max_length)
        step = -(-max_length // ROUGH) if rough or max_length > EXACT else 1
        by_length = np.bincount(cut, shares, minlength=min(max_length, int(cut[-1])) + 1)
        packed = by_length if step == 1 else np.bincount(-(-cut // step), shares)
        whole = np.diff(np.round(np.cumsum(packed) * rows), prepend=0).astype(np.int64)  # rounded so that no row is lost
        room = max_length // step
        whole = np.concatenate([whole, np.zeros(max(0, room + 1 - len(whole)), np.int64)])
        whole[room] += whole[room + 1:].sum()
        kept, all_of_them = float(shares @ cut), float(shares @ self.lengths)
        positions = lengths.packed_counts(whole[:room + 1]) * max_length
        return {"truncated_share": float(shares[self.lengths > max_length].sum()), "lost_share": 1 - kept / max(all_of_them, 1e-9),
                "tokens": kept, "padding_share": lengths.padding_counts(by_length, batch_size),
                "packing_waste": max(0.0, 1 - kept * rows / positions) if positions else 0.0}
