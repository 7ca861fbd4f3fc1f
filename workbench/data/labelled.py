"""Rows to classify: a column of text and a column of labels, told by their names, and what must hold before a classifier trains on them.

An example is `{"text": "...", "label": "spam"}`; labels are names, also where the column holds numbers or truth values. The same rows are
plain text to `layouts.py`, which knows nothing of labels. Not here: tokens (`training/classification.py`), and rows of several labels.
"""

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from workbench.data import sources
from workbench.data.layouts import LABELS
from workbench.data.run_rows import RowRules, RunRows
from workbench.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

TEXTS = ("text", "sms", "sentence", "review", "message", "tweet", "comment", "letter", "document", "content", "body")
"""Names a column of texts may have (case aside), the most telling first; those of labels are `layouts.LABELS`."""


def columns_of(columns: list[str], name: str = "the table") -> tuple[str, str]:
    """`(text, label)`: the names of the two columns. Raises `DataError` where either is missing."""
    known = {column.casefold(): column for column in columns}
    text, label = (next((known[wanted] for wanted in names if wanted in known), None) for names in (TEXTS, LABELS))
    shown = ", ".join(map(repr, columns[:12]))
    if text is None:
        raise DataError(
            f"{name} has no column of text to classify: its columns are {shown}.", f"Name it {TEXTS[0]!r}; known are {', '.join(TEXTS)}."
        )
    if label is None:
        raise DataError(f"{name} has no column of labels: its columns are {shown}.", f"Name it 'label'; known are {', '.join(LABELS)}.")
    return text, label


def read(table: "pa.Table") -> list[dict[str, str]]:
    """One `{"text", "label"}` a row, in order. Raises `DataError` naming the source and the row that lacks either."""
    name = sources.origin(table)
    if not table.num_rows:
        return []
    text, label = columns_of(table.column_names, name)
    out = []
    for number, (said, value) in enumerate(zip(table.column(text).to_pylist(), table.column(label).to_pylist(), strict=True), start=1):
        if not isinstance(said, str) or not said.strip():
            raise DataError(f"Row {number} of {name} has no text in {text!r}.", "Mend or remove that row.")
        out.append({"text": said, "label": _label(value, f"Row {number} of {name}", label)})
    return out


def _label(value: Any, place: str, column: str) -> str:
    if value is None or (isinstance(value, str) and not value.strip()):
        raise DataError(
            f"{place} has no label in {column!r}.", "Label it, or leave it out: an unlabelled row neither trains nor measures a classifier."
        )
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # pandas writes whole numbers so where one is missing
    if not isinstance(value, (str, int)):  # True and False are whole numbers too
        raise DataError(
            f"{place} has {value!r} in {column!r}, which is no label.",
            "A label is a word or a whole number; for several a row, make a row of each.",
        )
    return str(value)


def label_names(examples: list[dict[str, str]]) -> list[str]:
    """The labels there are, in order: numbers by size, words by the alphabet."""
    names = sorted({example["label"] for example in examples})
    return sorted(names, key=int) if all(re.fullmatch(r"-?\d+", name) for name in names) else names


def check_table(table: "pa.Table") -> None:
    """Raises `DataError` where the rows are not texts with labels."""
    read(table)


def check_run(rows: RunRows) -> None:
    """Raises `DataError` where the training rows hold one label only, or as good as one a row, and where a held-out row has a label that
    none of them has."""
    training = [example for table in rows.train.values() for example in read(table)]
    names = label_names(training)
    if len(names) == 1:
        raise DataError(
            f"Every training row has the label {names[0]!r}, so there is nothing to tell apart.", "Give rows of at least two labels."
        )
    if len(names) > max(2, len(training) // 2):
        raise DataError(f"There are {len(names):,} labels for {len(training):,} training rows, so they are no classes to learn.",
                        "Check which column holds the labels: it is taken by its name.")
    unseen = Counter(example["label"] for table in rows.heldout.values() for example in read(table) if example["label"] not in names)
    if unseen:
        label, count = unseen.most_common(1)[0]
        raise DataError(
            f"{count} held-out row{' has' if count == 1 else 's have'} the label {label!r}, which no training row has.",
            f"Give training rows of it, leave it out, or mend its spelling: the training rows' labels are {', '.join(names[:12])}.",
        )


RULES = RowRules(check_table, check_run)
