"""Test rows that stand in the training rows: shared runs of words, 13 long as in the contamination check of GPT-3 (Brown et al. 2020,
appendix C), and where in the text they are.

Words are those of `ngrams.py`: case, punctuation and white space do not hide a leak. A test row of fewer than `n` words is looked for
whole, down to `shortest` (8 in that paper). Below it too much stands in longer rows by chance, so such a row leaks only into a training row
that has the same words and no others; a row without words is not compared at all (`looked_for` counts these). Not here: rewordings,
translations, duplicates within one table (`duplicates.py`).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from workbench.data import ngrams, texts
from workbench.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

Columns = str | Sequence[str] | None

RUN, SHORTEST = 13, 8
"""Words of a run, and of a test row that is still looked for inside longer rows, as in GPT-3's contamination check."""


def overlap(test: Any, train: Any, *, n: int = RUN, shortest: int = SHORTEST, common: int | None = None, columns: Columns = None,
            train_columns: Columns = None, progress: ngrams.Progress | None = None) -> "pd.DataFrame":
    """One line for each test row: `row`, `words`, `checked` (false where it has no words), `whole` (true where it is shorter than
    `shortest` and so was compared with whole training rows only), `matched` (words that stand in a shared run),
    `coverage` (matched of words, 0 to 1), `train_row` (the first that shares a run, -1 if none) and `spans`, a list of (begin, end)
    character positions in the row's text, merged and in order.

    Runs that stand in more than `common` training rows are left out: GPT-3 took 10, since those were mostly boilerplate. Without it (the
    default) a leak that is there twenty times is still a leak. Raises `DataError` where `n` or `shortest` is none.
    """
    import pandas as pd

    shown = texts.texts_of(test, columns)
    sides = _Side(shown), _Side(texts.texts_of(train, train_columns), progress)
    found = _scan(*sides, n, shortest, common)
    lines = []
    for row, text in enumerate(shown):
        begin, count = int(sides[0].begin[row]), int(sides[0].lengths[row])
        runs = _merged([(at - begin, at - begin + length) for at, length in found.starts.get(row, ())])
        places = [match.span() for match in ngrams.WORD.finditer(text)] if runs else []
        matched = sum(end - start for start, end in runs)
        lines.append({"row": row, "words": count, "checked": count > 0, "whole": 0 < count < min(shortest, n), "matched": matched,
                      "coverage": matched / count if count else 0.0, "train_row": found.first.get(row, -1),
                      "spans": [(places[start][0], places[end - 1][1]) for start, end in runs]})
    return pd.DataFrame(lines, columns=["row", "words", "checked", "whole", "matched", "coverage", "train_row", "spans"])


def leaking_rows(test: Any, train: Any, *, n: int = RUN, shortest: int = SHORTEST, common: int | None = None, columns: Columns = None,
                 train_columns: Columns = None, progress: ngrams.Progress | None = None) -> "np.ndarray":
    """The training rows that share a run with any test row, sorted, int64: what to drop so that nothing of the test is trained on."""
    import numpy as np

    return leaks(test, train, n=n, shortest=shortest, common=common, columns=columns, train_columns=train_columns,
                 progress=progress)["row"].to_numpy(np.int64)


def leaks(test: Any, train: Any, *, n: int = RUN, shortest: int = SHORTEST, common: int | None = None, columns: Columns = None,
          train_columns: Columns = None, progress: ngrams.Progress | None = None) -> "pd.DataFrame":
    """One line for each training row that shares a run with any test row: `row` (of the training rows, sorted) and `test_row`, the first it
    shares one with."""
    import pandas as pd

    sides = _Side(texts.texts_of(test, columns)), _Side(texts.texts_of(train, train_columns), progress)
    found = sorted(_scan(*sides, n, shortest, common).train_rows.items())
    return pd.DataFrame(found, columns=["row", "test_row"], dtype="int64")


def looked_for(test: Any, *, n: int = RUN, shortest: int = SHORTEST, columns: Columns = None) -> dict[str, int]:
    """How many test rows are looked for `inside` training rows, are compared with `whole` ones only, and are `not compared`, having no
    words."""
    words = [len(ngrams.words(text)) for text in texts.texts_of(test, columns)]
    nothing, inside = sum(count == 0 for count in words), sum(count >= min(shortest, n) for count in words)
    return {"inside": inside, "whole": len(words) - inside - nothing, "not compared": nothing}


class _Side:
    """The words of one table as hashes, one row after the other: `hashes` uint64 [W], `begin` and `lengths` int64 [N]."""

    def __init__(self, shown: Sequence[str], progress: ngrams.Progress | None = None):
        import numpy as np

        parts, lengths, known = [np.empty(0, np.uint64)], [np.empty(0, np.int64)], {}
        for first in range(0, len(shown), ngrams.CHUNK_ROWS):
            chunk = shown[first:first + ngrams.CHUNK_ROWS]
            hashes, counts = ngrams.units(chunk, "words", known)
            parts.append(hashes)
            lengths.append(counts)
            if progress is not None:
                progress(first + len(chunk), len(shown))
        self.hashes, self.lengths = np.concatenate(parts), np.concatenate(lengths)
        self.begin = np.cumsum(self.lengths) - self.lengths

    def runs(self, length: int, rows: "np.ndarray") -> tuple["np.ndarray", "np.ndarray", "np.ndarray"]:
        """Every run of `length` words in these rows: (hash, place of its first word, row)."""
        import numpy as np

        count = np.maximum(self.lengths[rows] - length + 1, 0)
        row = np.repeat(rows, count)
        place = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count) + np.repeat(self.begin[rows], count)
        return ngrams.fold(self.hashes, place, length), place, row


class _Found:
    """`starts`: test row → (place, length) of its shared runs; `first`: test row → the first training row; `train_rows`: all of them, and
    the first test row that each shares one with."""

    def __init__(self) -> None:
        self.starts: dict[int, list[tuple[int, int]]] = {}
        self.first: dict[int, int] = {}
        self.train_rows: dict[int, int] = {}


def _scan(test: _Side, train: _Side, n: int, shortest: int, common: int | None) -> _Found:
    import numpy as np

    if n < 1 or shortest < 1 or (common is not None and common < 1):
        raise DataError(f"n={n}, shortest={shortest}, common={common} cannot be looked for.", "Use 1 or more; n=13, shortest=8 is usual.")
    found = _Found()
    lengths = {n, *(int(length) for length in np.unique(test.lengths) if 0 < length < n)}
    for length in sorted(lengths):
        whole = np.flatnonzero(test.lengths >= n if length == n else test.lengths == length)
        asked, place, row = test.runs(length, whole)
        wanted = np.unique(asked)
        if len(wanted) == 0:
            continue
        first = np.full(len(wanted), np.iinfo(np.int64).max)
        times = np.zeros(len(wanted), np.int64)
        hits: list[tuple[np.ndarray, np.ndarray]] = []
        for begin in range(0, len(train.lengths), ngrams.CHUNK_ROWS):
            rows = np.arange(begin, min(begin + ngrams.CHUNK_ROWS, len(train.lengths)))
            if length < min(shortest, n):  # words that few stand in other rows by chance: whole against whole
                rows = rows[train.lengths[rows] == length]
            hashes, _, of = train.runs(length, rows)
            at = np.minimum(np.searchsorted(wanted, hashes), len(wanted) - 1)
            same = wanted[at] == hashes
            pair = np.unique(np.stack([at[same], of[same]], axis=1), axis=0)
            np.minimum.at(first, pair[:, 0], pair[:, 1])
            np.add.at(times, pair[:, 0], 1)
            hits.append((pair[:, 0], pair[:, 1]))
        kept = (times > 0) & (times <= (common if common is not None else len(train.lengths)))
        at = np.searchsorted(wanted, asked)
        asker = np.full(len(wanted), np.iinfo(np.int64).max)
        np.minimum.at(asker, at, row)
        for index, of in hits:
            for train_row, test_row in zip(of[kept[index]].tolist(), asker[index[kept[index]]].tolist(), strict=True):
                found.train_rows[train_row] = min(found.train_rows.get(train_row, test_row), test_row)
        for which in np.flatnonzero(kept[at]):
            here = int(row[which])
            found.starts.setdefault(here, []).append((int(place[which]), length))
            found.first[here] = min(found.first.get(here, int(first[at[which]])), int(first[at[which]]))  # type: ignore[index]
    return found


def _merged(runs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    out: list[tuple[int, int]] = []
    for start, end in sorted(runs):
        if out and start <= out[-1][1]:
            out[-1] = out[-1][0], max(out[-1][1], end)
        else:
            out.append((start, end))
    return out
