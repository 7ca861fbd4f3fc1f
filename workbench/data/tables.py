"""Rows of named values as an Arrow table, and what every table from a file must keep to: one type a column, names told apart, values not
too long or deep.

Not here: reading (`readers.py`).
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from workbench.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

LONGEST_VALUE_BYTES = 8 * 2**20
"""A row that holds a longer text has lost its line breaks; no model reads a millionth of it."""

MOST_COLUMNS = 4096
"""Rows of more have names that are ids or numbers, and a table of them has as many empty cells as there are pairs of the two."""

DEEPEST = 200
"""Lists and objects within each other: what orjson still writes (254), with room."""


def from_dicts(rows: list[Any], name: str, line_of: Callable[[int], int] | None = None) -> "pa.Table":
    """Rows of named values as a table; a column that a row lacks is null there. `line_of` tells the line of a row, counted from 0, where
    that is known."""
    import pyarrow as pa

    def place(index: int) -> str:
        return f"Row {index + 1} of {name}" + (f" (line {line_of(index)})" if line_of else "")

    for index, row in enumerate(rows):
        if not isinstance(row, dict):
            raise DataError(f"{place(index)} is {type(row).__name__}, not an object with named columns.", "Give one object a row.")
        if not all(isinstance(column, str) for column in row):
            raise DataError(f"{place(index)} has a column whose name is not text.", "Name every column with text.")
    columns = list(dict.fromkeys(column for row in rows for column in row))
    not_too_wide(len(columns), name)
    arrays = []
    for column in columns:
        values = [row.get(column) for row in rows]
        try:
            arrays.append(pa.array(values))
        except (pa.ArrowException, OverflowError, UnicodeEncodeError) as error:
            index = _first_that_does_not_fit(values)
            if isinstance(error, OverflowError) or (type(values[index]) is int and not -2 ** 63 <= values[index] < 2 ** 64):
                raise DataError(f"{place(index)}: the column {column!r} holds a whole number beyond 64 bits.",
                                "Write it as text.") from error
            if isinstance(error, UnicodeEncodeError):
                raise DataError(f"{place(index)}: the column {column!r} holds half a character (a lone surrogate).",
                                "Remove it from the text.") from error
            raise DataError(f"{place(index)}: the column {column!r} mixes types: {_what_differs(values, index, error)}.",
                            "Make it one type in every row.") from error
        index = first_truth_among_numbers(values, arrays[-1].type)
        if index is not None:
            raise DataError(f"{place(index)}: the column {column!r} mixes types: {_what_differs(values, index, None)}.",
                            "Make it one type in every row.")
        if levels([arrays[-1].type]) > DEEPEST:
            raise too_deep(place(next(index for index, value in enumerate(values) if levels([pa.array([value]).type]) > DEEPEST)))
    return pa.table(arrays, names=columns)


def _first_that_does_not_fit(values: list[Any]) -> int:
    """The index of the value at which the column stops being one type, found by halving."""
    import pyarrow as pa

    low, high = 0, len(values)  # the first `low` values fit together, the first `high` do not
    while high - low > 1:
        middle = (low + high) // 2
        try:
            pa.array(values[:middle])
            low = middle
        except (pa.ArrowException, OverflowError, UnicodeEncodeError):
            high = middle
    return low


def first_truth_among_numbers(values: Iterable[Any], kind: "pa.DataType") -> int | None:
    """The index of the first value that has true or false where the column's type has numbers with a fraction: Arrow reads them as 1 and
    0 there. None where there is none."""
    import pyarrow as pa

    of = pa.types

    def has_fractions(kind: "pa.DataType") -> bool:
        return of.is_floating(kind) or any(has_fractions(kind.field(index).type) for index in range(kind.num_fields))

    def is_wrong(value: Any, kind: "pa.DataType") -> bool:
        if of.is_floating(kind):
            return isinstance(value, bool)
        if of.is_struct(kind):
            return isinstance(value, dict) and any(is_wrong(value.get(field.name), field.type) for field in kind)
        return isinstance(value, (list, tuple)) and has_fractions(kind) and any(is_wrong(inner, kind.field(0).type) for inner in value)

    if kind.num_fields > DEEPEST or levels([kind]) > DEEPEST or not has_fractions(kind):
        return None
    return next((index for index, value in enumerate(values) if is_wrong(value, kind)), None)


def reaches(values: Any, least: float) -> bool:
    """Whether an Arrow column of numbers with a fraction, or of lists and objects of such, holds one of at least this size."""
    import pyarrow as pa
    import pyarrow.compute as pc

    of, kind = pa.types, values.type
    if of.is_floating(kind):
        return (pc.max(pc.abs(values)).as_py() or 0) >= least
    if of.is_list(kind) and len(values):
        return reaches(pc.list_flatten(values), least)
    return of.is_struct(kind) and any(reaches(pc.struct_field(values, [index]), least) for index in range(kind.num_fields))


def _what_differs(values: list[Any], index: int, error: Exception | None) -> str:
    if error is None:
        return "bool here, float in other rows" if not isinstance(values[index], (list, dict)) else "bool where other rows have float"
    before = next((value for value in values[:index] if value is not None), None)
    if before is not None and type(before) is not type(values[index]):
        return f"{type(values[index]).__name__} here, {type(before).__name__} before it"
    first = str(error).splitlines()[0].rstrip(".")
    return first if len(first) <= 200 else first[:200] + "..."


def not_too_long(size: int, where: str, remedy: str) -> None:
    """Raises `DataError` where a row or a value of `size` bytes is over the limit."""
    if size > LONGEST_VALUE_BYTES:
        raise DataError(f"{where}: one row of {size / 1e6:.1f} MB, more than the {LONGEST_VALUE_BYTES / 1e6:.1f} MB that a row may have.",
                        remedy)


def not_too_wide(count: int, name: str) -> None:
    """Raises `DataError` for more than `MOST_COLUMNS` columns."""
    if count > MOST_COLUMNS:
        raise DataError(f"{name} has {count:,} columns, more than the {MOST_COLUMNS:,} that a table may have.",
                        "If their names are ids or numbers, keep those in one column and the values in another.")


def too_deep(where: str) -> DataError:
    """The error for values within values within values."""
    return DataError(f"{where}: values are nested more than {DEEPEST} levels deep.", "Flatten them, or keep such a value as text.")


def checked(table: "pa.Table", name: str) -> "pa.Table":
    """The table, unless a value in it is too long or nested too deep."""
    import pyarrow as pa
    import pyarrow.compute as pc

    not_too_wide(table.num_columns, name)
    if levels(field.type for field in table.schema) > DEEPEST:
        raise too_deep(name)
    for column, values in zip(table.column_names, table.columns, strict=True):
        if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
            sizes = pc.binary_length(values)
            if (pc.max(sizes).as_py() or 0) > LONGEST_VALUE_BYTES:
                row = pc.index(pc.greater(sizes, LONGEST_VALUE_BYTES), True).as_py()
                not_too_long(sizes[row].as_py(), f"Row {row + 1} of {name}, column {column!r}",
                             "Break it up into rows, or remove that row.")
    return table


def levels(kinds: "Iterable[pa.DataType]") -> int:
    """Levels of lists and structs within each other, at most."""
    level, depth = list(kinds), 0
    while level:
        level = [kind.field(index).type for kind in level for index in range(kind.num_fields)]
        depth += 1
    return depth


def times_can_be_read(table: "pa.Table", name: str) -> None:
    """Raises `DataError` where a column holds times outside the years 1 to 9999, or of a zone that nobody knows: Python has none such."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for column, values in zip(table.column_names, table.columns, strict=True):
        if pa.types.is_timestamp(values.type) or pa.types.is_date(values.type):
            try:
                pc.min_max(values).as_py()
            except (OverflowError, ValueError) as error:  # pyarrow's own errors of values are ValueErrors
                told = str(error).splitlines()[0].rstrip(".")
                raise DataError(f"The column {column!r} of {name} holds times that cannot be read ({told}).",
                                "Write them as text, or leave the column out.") from error


def no_name_twice(names: list[str], where: str) -> None:
    """Raises `DataError` where two columns have one name."""
    seen: set[str] = set()
    twice = next((name for name in names if name in seen or seen.add(name)), None)  # type: ignore[func-returns-value]
    if twice is not None:
        raise DataError(f"{where}: two columns are called {twice!r}.", "Rename or remove one of the two.")
