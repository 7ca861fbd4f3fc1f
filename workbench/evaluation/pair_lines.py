"""Rows that compare replies as lines of a table, one for every two replies of which people preferred one: what all tables of gaps share.

Columns: row (number of the row in its table, from 0), prompt, chosen_text, rejected_text, chosen_length and rejected_length (words), and
every other plain column that the rows have, such as `flipped`, `kind` or `annotator`. Not here: rewards (`rewards.py`, `kept_gaps.py`).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbench.data import comparisons

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

TAKEN = ("row", "prompt", "chosen", "rejected", "gap", "chosen_text", "rejected_text", "chosen_length", "rejected_length")
"""Names of a table of gaps that a column of the rows does not take."""


@dataclass(slots=True)
class PairLines:
    """`found` are the comparisons of the table, `places` of each line the number of its comparison and of the better and the worse reply
    among that one's own."""

    found: list[dict[str, Any]]
    places: list[tuple[int, int, int]]
    frame: "pd.DataFrame"


def pair_lines(table: "pa.Table") -> PairLines:
    """Raises `DataError` where rows do not compare replies."""
    import pandas as pd

    found = comparisons.read(table)
    plain = table.select([field.name for field in table.schema if _is_plain(field.type) and field.name not in TAKEN]).to_pylist()
    places, lines = [], []
    for number, row in enumerate(found):
        for better, worse in [(0, 1)] if len(row["replies"]) == 2 else [pair[:2] for pair in row["pairs"]]:
            chosen, rejected = (comparisons.words(row["replies"][reply]) for reply in (better, worse))
            places.append((number, better, worse))
            lines.append(dict(row=row["row"], prompt=comparisons.words(row["prompt"]), chosen_text=chosen, rejected_text=rejected,
                              chosen_length=len(chosen.split()), rejected_length=len(rejected.split())) | plain[row["row"]])
    return PairLines(found, places, pd.DataFrame(lines))


def with_rewards(frame: "pd.DataFrame", chosen: Any, rejected: Any, by_head: dict[str, Any] | None = None) -> "pd.DataFrame":
    """The lines with the columns chosen, rejected and gap (rewards, P each), and "gap/NAME" of each head where there are several."""
    out = frame.copy()
    for place, (name, values) in enumerate((("chosen", chosen), ("rejected", rejected), ("gap", chosen - rejected)), start=4):
        out.insert(place, name, values)
    for place, (name, values) in enumerate((by_head or {}).items(), start=9):
        out.insert(place, f"gap/{name}", values)
    return out


def _is_plain(kind: Any) -> bool:
    import pyarrow as pa

    return pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_string(kind)
