"""Splits in which nobody crosses: rows that share a person, a task, a document or a duplicate group go to one side together.

Deterministic by seed, whatever the order of the rows. Not here: held-out tasks of a mixture (`mixture.py`), stratifying by a label.
scikit-learn's GroupShuffleSplit keeps one kind of group together in two parts; here several kinds hold at once, in any number of parts.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from workbench.data import ngrams, texts
from workbench.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


def split(rows: Any, by: str | Sequence[str] = (), shares: Mapping[str, float] | None = None, *, labels: Sequence[Any] | None = None,
          seed: int = 0, growing: bool | Mapping[str, Any] = False) -> "dict[str, np.ndarray]":
    """Row indices of each part, sorted, int64; every row is in exactly one.

    `by` names a column or several, `labels` gives one value a row (such as `duplicate_labels`); rows that share a value in any of them stay
    together, and empty values join nothing. `shares` of rows by part, 0.9 train and 0.1 test if not given, are met but for about the size
    of the largest group. With `growing=True` each group goes where the hash of its least value says; the shares are then met on the average
    only. Rows added later then move none that were there if `by` is one column and there are no labels. With several kinds a new row can
    tie two groups or bring a group a lesser value, and no rule that knows only the rows can keep both where they were: give the parts of
    before, `growing=parts` (row indices by part; new rows come behind the old ones). Those rows stay, new groups go by their hash, and a
    new row that ties two parts is refused.

    Raises `DataError` where shares do not add up, where rows of two earlier parts belong together now, or where there are too few groups
    for every part to get one.
    """
    import numpy as np

    shares = dict(shares or {"train": 0.9, "test": 0.1})
    if not shares or min(shares.values()) <= 0 or abs(sum(shares.values()) - 1) > 1e-6:
        told = ", ".join(f"{name} {share:g}" for name, share in shares.items()) or "(none)"
        raise DataError(f"The shares {told} do not divide the rows.", "Give each part a share above 0, together 1.")
    if hasattr(rows, "__next__"):
        rows = list(rows)
    names, label = _components(rows, [by] if isinstance(by, str) else list(by), labels)
    sizes = np.bincount(label, minlength=len(names))
    if isinstance(growing, Mapping):
        place = _as_before(_by_hash(names, shares, seed), label, list(shares), growing)
    else:
        place = _by_hash(names, shares, seed) if growing else _by_need(names, sizes, shares, seed)
    out = {part: np.flatnonzero(place[label] == number) for number, part in enumerate(shares)}
    empty = [part for part, found in out.items() if len(found) == 0]
    if empty:
        largest = f"the largest holds {sizes.max() / len(label):.0%} of the rows" if len(label) else "there are no rows"
        raise DataError(f"No rows are left for {', '.join(empty)}: {len(names)} groups share nothing, and {largest}.",
                        "Group by fewer columns, or give a larger share" + ("." if not growing else ", or use growing=False."))
    return out


def crossing(rows: Any, parts: "Mapping[str, Any]", column: str | Sequence[Any]) -> "pd.DataFrame":
    """Values that stand in more than one part: `value`, `parts` (joined by ", ") and rows in each (`rows_<part>`), most rows first. Empty
    if none cross."""
    import pandas as pd

    values = _values(rows, column)
    counts: dict[Any, dict[str, int]] = {}
    for part, indices in parts.items():
        for index in indices:
            if values[index] is not None:
                found = counts.setdefault(values[index], {})
                found[part] = found.get(part, 0) + 1
    lines = [{"value": value, "parts": ", ".join(found), **{f"rows_{part}": found.get(part, 0) for part in parts}}
             for value, found in counts.items() if len(found) > 1]
    lines.sort(key=lambda line: (-sum(line[f"rows_{part}"] for part in parts), str(line["value"])))
    return pd.DataFrame(lines, columns=["value", "parts", *(f"rows_{part}" for part in parts)])


def duplicate_labels(found: "pd.DataFrame", count: int) -> list[int | None]:
    """Groups of `duplicates.near` as one value a row for `split`, None for the rows that are in no group."""
    labels: list[int | None] = [None] * count
    for row, group in zip(found["row"], found["group"], strict=True):
        labels[int(row)] = int(group)
    return labels


def _values(rows: Any, column: Any) -> list[Any]:
    """One value a row, None where empty; numbers that are not a number count as empty."""
    values = texts.column_of(rows, column) if isinstance(column, str) else list(column)
    out = []
    for number, value in enumerate(values, start=1):
        value = value.item() if hasattr(value, "item") else value
        if isinstance(value, (list, dict)):
            raise DataError(f"Row {number} has a {type(value).__name__} where a group's name should be.",
                            "Group by a column of single values.")
        out.append(None if value is None or value == "" or value != value else value)
    return out


def _components(rows: Any, columns: list[str], labels: Sequence[Any] | None) -> tuple[list[str], "np.ndarray"]:
    """A name for each set of rows that belong together, and its number for each row, int64 [N]."""
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    kinds = [_values(rows, column) for column in columns] + ([_values(rows, labels)] if labels is not None else [])
    shown = texts.texts_of(rows)
    count = len(shown)
    if not all(len(values) == count for values in kinds):
        raise DataError(f"There are {len(labels or ())} labels for {count} rows.",
                        "Give one label a row, None for a row that belongs to nothing.")
    nodes: dict[tuple[int, Any], int] = {}
    of_row, of_value = [], []
    for kind, values in enumerate(kinds):
        for row, value in enumerate(values):
            if value is not None:
                of_row.append(row)
                of_value.append(nodes.setdefault((kind, value), count + len(nodes)))
    whole = count + len(nodes)
    _, component = connected_components(coo_array((np.ones(len(of_row), bool), (of_row, of_value)), shape=(whole, whole)), directed=False)
    found, label = np.unique(component[:count], return_inverse=True)
    number = {int(at): index for index, at in enumerate(found)}
    # a set is named by the least of what it holds, so that its name is the same in whatever order rows come
    names: list[str] = [""] * (int(label.max()) + 1 if count else 0)
    for kind, value in nodes:
        name, at = f"{kind}:{value!r}", component[nodes[kind, value]]
        names[number[at]] = min(names[number[at]] or name, name)
    seen: dict[str, int] = {}
    for row in range(count):
        if not names[label[row]]:  # alone; the same text twice is two rows, told apart by how often it came before
            seen[shown[row]] = seen.get(shown[row], 0) + 1
            names[label[row]] = f"row {seen[shown[row]]}: {shown[row]}"
    return names, label


def _hash(name: str, seed: int) -> int:
    return ngrams.hash_of(f"{seed}\0{name}")


def _by_hash(names: list[str], shares: Mapping[str, float], seed: int) -> "np.ndarray":
    import numpy as np

    at = np.array([_hash(name, seed) / 2 ** 64 for name in names])
    return np.minimum(np.searchsorted(np.cumsum(list(shares.values())), at, side="right"), len(shares) - 1)


def _as_before(place: "np.ndarray", label: "np.ndarray", shares: list[str], parts: Mapping[str, Any]) -> "np.ndarray":
    """The part of each group: that of its earlier rows, or `place` where it has none."""
    known: dict[int, tuple[str, int]] = {}
    out = place.copy()
    for part, rows in parts.items():
        if part not in shares:
            raise DataError(f"The earlier parts have {part!r}, and the shares have not.", f"The parts are {', '.join(shares)}.")
        for row in map(int, rows):
            if not 0 <= row < len(label):
                raise DataError(f"The earlier part {part!r} has row {row + 1}, and there are {len(label)} rows.",
                                "Give the rows of before and behind them the new ones.")
            other, first = known.setdefault(int(label[row]), (part, row))
            if other != part:
                raise DataError(f"Row {first + 1} ({other}) and row {row + 1} ({part}) belong together now: a row that was added ties "
                                "them.", "Leave that row out, or split anew.")
            out[label[row]] = shares.index(part)
    return out


def _by_need(names: list[str], sizes: "np.ndarray", shares: Mapping[str, float], seed: int) -> "np.ndarray":
    """Groups in the order of their hashes, each to the part that lacks the largest share of what it should have."""
    import numpy as np

    target = np.array(list(shares.values())) * sizes.sum()
    have = np.zeros(len(target))
    place = np.zeros(len(names), np.int64)
    for group in sorted(range(len(names)), key=lambda number: _hash(names[number], seed)):
        part = int(np.argmax((target - have) / target))
        place[group] = part
        have[part] += sizes[group]
    return place
