"""The text of each row, whatever the rows come in: what the checks of data quality look at.

Without `columns` the text is what the row's layout trains on (`layouts.py`), its parts on lines of their own; of a pair of replies the
chosen one; rows of no known layout give every string in them. Empty cells give nothing, so a row may have the text "". Not here: reading
files (`sources.py`), chat templates, tokens.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from workbench.data import layouts, sources
from workbench.errors import DataError

TELL_WHO = ("role", "from")
"""Keys of a turn that say who speaks, which is no part of the text."""


def texts_of(rows: Any, columns: str | Sequence[str] | None = None, *, whole: bool = False) -> list[str]:
    """One text a row, in order.

    `rows` is an Arrow table, an iterable of texts or of dicts, or anything `sources.load_rows` takes (a file, "town:NAME", a Dataset, a
    DataFrame). `whole` takes the strings and the whole numbers of every column. Raises `DataError` where a named column is not there, or a
    row is neither text nor named columns.
    """
    rows = opened(rows)
    if is_table(rows):
        chosen = _chosen(list(rows.column_names), columns, whole)
        cells = [rows.column(name).to_pylist() for name in chosen]
        return [_joined(values, whole) for values in zip(*cells, strict=True)] if cells else [""] * rows.num_rows
    if all(isinstance(row, str) for row in rows):
        if columns is not None:
            raise DataError("A list of texts has no columns to choose from.", "Leave `columns` out, or give rows with named columns.")
        return rows
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise DataError(f"Row {number} is {type(row).__name__}, not an object with named columns as a row before it or after it.",
                            "Give either texts only, or one object a row.")
    chosen = _chosen(list(dict.fromkeys(name for row in rows for name in row)), columns, whole)
    return [_joined([row.get(name) for name in chosen], whole) for row in rows]


def opened(rows: Any) -> Any:
    """An Arrow table, or a list of what an iterable gives; what `sources.load_rows` takes is read."""
    if isinstance(rows, (str, bytes)) or hasattr(rows, "with_format") or type(rows).__name__ == "DataFrame" or hasattr(rows, "__fspath__"):
        return sources.load_rows(rows)
    return rows if is_table(rows) else list(rows)


def is_table(rows: Any) -> bool:
    return hasattr(rows, "column_names") and hasattr(rows, "to_batches")


def column_of(rows: Any, column: str) -> list[Any]:
    """The values of one column, in order. Raises `DataError` where it is not there."""
    rows = opened(rows)
    if is_table(rows):
        return rows.column(_chosen(list(rows.column_names), column)[0]).to_pylist()
    names = list(dict.fromkeys(name for row in rows if isinstance(row, dict) for name in row))
    _chosen(names, column)
    return [row.get(column) for row in rows]


def _chosen(names: list[str], columns: str | Sequence[str] | None, whole: bool = False) -> list[str]:
    if columns is not None:
        asked = [columns] if isinstance(columns, str) else list(columns)
        for name in asked:
            if name not in names:
                raise DataError(f"There is no column {name!r}.", f"The columns are {', '.join(map(repr, names)) or '(none)'}.")
        return asked
    if whole:
        return names
    try:
        layout = layouts.detect(names)
    except DataError:
        return names
    about = {"instruction/response": ("system", "instruction", "context"), "prompt/response": ("system",)}.get(
        layout.name, ("system", "instruction", "input") if "instruction" in layout.columns else ())
    optional = [name for name in about if name in names]
    untold = {"rejected"} if "chosen" in layout.columns else {*layouts.LABELS, "kto_tag"} if layout.kind != "votes" else set()
    rest = [name for name in layout.columns if name not in optional and name not in untold]
    return [*optional, *rest]


def _joined(values: Iterable[Any], numbers: bool = False) -> str:
    return "\n".join(part for value in values for part in _strings(value, numbers) if part)


def _strings(value: Any, numbers: bool) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [part for key, inner in value.items() if key not in TELL_WHO for part in _strings(inner, numbers)]
    if isinstance(value, (list, tuple)):
        return [part for inner in value for part in _strings(inner, numbers)]
    if numbers and isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value == int(value):
        return [str(int(value))]  # pandas writes whole numbers with a fraction where one is missing
    return []
