"""Which rows stay: rows found by their words, by a measure between two bounds, by their numbers; and the table without what is dropped.

Everything speaks in masks, bool [N], so that what is wanted is said with `&`, `|` and `~`. Not here: what is wrong with a row
(`duplicates.py`, `overlap.py`, `filters.py`, `private.py`, `evaluation/row_losses.py`).
"""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from workbench.data import sources, texts
from workbench.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

WANTED = re.compile(r'"([^"]*)"|(\S+)')


def matching(rows: Any, query: str) -> "np.ndarray":
    """The rows that hold every word of `query` somewhere, in any order and case; words in "double quotes" stand together. An empty query
    gives all of them.

    `rows` is whatever `texts.texts_of` takes, or an Arrow array of text in lower case (`lowered`), which spares lowering 100,000 rows again
    for each letter typed.
    """
    import numpy as np
    import pyarrow.compute as pc

    shown = rows if hasattr(rows, "null_count") and not hasattr(rows, "column_names") else lowered(rows)
    found = np.ones(len(shown), bool)
    for phrase, word in WANTED.findall(query.lower()):
        if phrase or word:
            found &= pc.match_substring(shown, phrase or word).to_numpy(zero_copy_only=False).astype(bool)
    return found


def lowered(rows: Any) -> "pa.Array":
    """The text of each row in lower case, as `matching` looks through it."""
    import pyarrow as pa

    return pa.array([text.lower().encode("utf-8", "replace").decode() for text in texts.texts_of(rows)], pa.large_string())


def between(values: Any, low: float | None = None, high: float | None = None) -> "np.ndarray":
    """Where low ≤ value < high; None leaves a side open, and what is not a number is nowhere. Raises `DataError` for bounds in the wrong
    order."""
    import numpy as np

    if low is not None and high is not None and high < low:
        raise DataError(f"No value lies from {low:g} to {high:g}.", "Give the lower bound first.")
    values = np.asarray(values, float)
    found = ~np.isnan(values)
    if low is not None:
        found &= values >= low
    if high is not None:
        found &= values < high
    return found


def numbered(rows: Iterable[int], count: int) -> "np.ndarray":
    """A mask of `count` rows that is true at these numbers, counted from 0. Raises `DataError` for a number that is no row's."""
    import numpy as np

    at = np.array(sorted(int(row) for row in rows), np.int64)
    if len(at) and not 0 <= at[0] <= at[-1] < count:
        wrong = at[0] if at[0] < 0 else at[-1]
        raise DataError(f"There is no row {wrong} among {count}.", f"Rows are numbered from 0 to {count - 1}.")
    mask = np.zeros(count, bool)
    mask[at] = True
    return mask


def without(rows: Any, dropped: "np.ndarray") -> "pa.Table":
    """The rows that `dropped` (bool [N]) leaves, in order, as an Arrow table that a recipe takes. Raises `DataError` where it leaves none,
    or has another length."""
    import numpy as np
    import pyarrow as pa

    table = rows if isinstance(rows, pa.Table) else sources.load_rows(rows)
    dropped = np.asarray(dropped, bool)
    if len(dropped) != table.num_rows:
        raise DataError(f"The mask says something of {len(dropped)} rows, and there are {table.num_rows}.", "Make it from these rows.")
    if table.num_rows and dropped.all():
        raise DataError("Every row is dropped, so nothing is left to train on.", "Keep some.")
    return table if not dropped.any() else table.filter(pa.array(~dropped))
