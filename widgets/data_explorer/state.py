"""What a person has set in the data explorer, as plain values: which rows are shown, how they are ordered, and what was decided of them.

`Where` says which rows; a rule is a `Where` with what to do about them, so that dropping 40,000 long rows is one line of code and not
40,000 numbers. Knows no rows; `view.py` finds them.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

DECIDED = ("flagged", "kept", "dropped", "picked")
"""Shows that depend on what a person does, and so cannot be part of a rule as they stand."""
HARDEST = 20
"""Rows of "hardest"."""
LOWEST_LIKENESS = 0.5
"""Pairs of rows less alike than this are not looked for: it is where the slider ends."""


@dataclass(slots=True)
class Where:
    """Which rows."""

    query: str = ""
    """Words that must stand in the row (`cleaning.matching`)."""
    show: str = "all"
    """all, copies, leaks, private, suspicious, hardest, picked, flagged, kept, dropped, or rows: those numbered in `rows`."""
    ranges: dict = field(default_factory=dict)
    """{measure: [low, high]}, low ≤ value < high; None leaves a side open."""
    threshold: float = 0.8
    """Jaccard similarity from which two rows are copies of each other."""
    rows: tuple = ()
    """For `show="rows"`: their numbers."""
    sources: tuple = ()
    """Values of the column `source`, where there is one; none: all of them."""

    @property
    def everything(self) -> bool:
        return not self.query.strip() and self.show == "all" and not self.ranges and not self.sources

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {"rows": list(self.rows), "sources": list(self.sources)}

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> "Where":
        return cls(**body | {name: tuple(body.get(name, ())) for name in ("rows", "sources")})


@dataclass(slots=True)
class State:
    """The data explorer's state; JSON both ways. Rows given as a table are not part of it: give them again."""

    source: str = ""
    """What `wb.load_rows` takes; empty where the rows were given as a table."""
    test: str = ""
    model: str = ""
    """A run folder, or a model's name: whose losses are joined to the rows."""
    tokenizer: str = ""
    """A model's name, to count lengths in its tokens."""
    columns: tuple = ()
    """Columns that are the text; none: what the layout trains on."""
    where: Where = field(default_factory=Where)
    sort: str = "row"
    descending: bool = False
    cursor: int = 0
    quality: str = ""
    """The measure of the second histogram; empty: the first of `findings.qualities`."""
    rules: tuple = ()
    """What was dropped or kept by a rule, in order: {"how": "drop" | "keep only", "where": {...}}."""
    dropped: tuple = ()
    """Rows dropped one by one."""
    kept: tuple = ()
    """Rows kept one by one, whatever a rule says."""
    flagged: tuple = ()
