"""What the engine finds in the rows, piece by piece: measures, copies, leaks into the test set, private details, losses.

Each piece is one call of `workbench`, done in parts so that a thread can say how far it is and stop. `Findings` holds what is found so far;
what was not looked for is None. Draws nothing and decides nothing.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from widgets.data_explorer.state import HARDEST, LOWEST_LIKENESS

MEASURED_AT_ONCE, SCANNED_AT_ONCE = 1_000, 500
"""Rows between two words of progress: a tenth of a second or so."""

NAMES = {
    "words": ("Length", "words"), "tokens": ("Length", "tokens"), "characters": ("Characters", "characters"),
    "likeness": ("Likeness to another row", "Jaccard similarity"), "loss": ("Loss", "nats per trained token"),
    "letter_share": ("Letters", "share of characters"), "symbol_share": ("Symbols", "share of characters"),
    "digit_share": ("Digits", "share of characters"), "mean_word_length": ("Word length", "mean characters"),
    "compression": ("Repetition", "bytes by compressed bytes"), "repeated_gram_share": ("Repeated phrases", "share of words"),
    "top_word_share": ("Most frequent word", "share of words"), "repeated_line_share": ("Repeated lines", "share of lines"),
    "broken_characters": ("Broken characters", "characters"),
}
"""What a measure is called, and its unit. A numeric column of the rows goes by its own name."""
FIRST_QUALITIES = ("quality", "score", "letter_share")

Progress = Callable[[str, int, int], None]
"""Called with words, parts done and parts in all; what it raises stops the work."""


@dataclass(eq=False)
class Findings:
    """`count` rows N; arrays are [N]. `wrong` says in a sentence why a piece could not be had."""

    count: int
    texts: list[str] = field(default_factory=list)
    lowered: Any = None
    measures: dict[str, np.ndarray] = field(default_factory=dict)
    whole: set = field(default_factory=set)
    """Measures that are whole numbers."""
    columns: tuple[str, ...] = ()
    """Measures that are numeric columns of the rows."""
    pairs: Any = None
    leaks: Any = None
    test_texts: list[str] = field(default_factory=list)
    leaks_whole: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    """Of the rows that leak, those that stand in the test set word for word."""
    tests: dict[str, int] = field(default_factory=dict)
    """How test rows were looked for, as `overlap.looked_for` counts them."""
    private: Any = None
    sources: np.ndarray | None = None
    """What the column `source` says of each row, text."""
    losses: Any = None
    suspicious: np.ndarray | None = None
    hardest: np.ndarray | None = None
    wrong: dict[str, str] = field(default_factory=dict)
    version: int = 0
    _groups: dict[float, Any] = field(default_factory=dict)

    def groups(self, threshold: float) -> Any:
        """The table of `duplicates.groups` at this threshold, None before pairs were looked for."""
        from workbench.data import duplicates

        if self.pairs is None:
            return None
        if threshold not in self._groups:
            if len(self._groups) > 60:
                self._groups.clear()
            self._groups[threshold] = duplicates.groups(self.pairs, self.count, threshold)
        return self._groups[threshold]

    @property
    def length(self) -> str:
        return "tokens" if "tokens" in self.measures else "words"

    @property
    def qualities(self) -> list[str]:
        """Measures for the second histogram: the rows' own numeric columns first."""
        own = sorted(self.columns, key=lambda name: name not in FIRST_QUALITIES)
        rest = [name for name in NAMES if name in self.measures and name not in ("words", "tokens", "characters", "likeness", "loss")]
        return [*own, *rest] if own and own[0] in FIRST_QUALITIES else [*rest, *own]


def measure_name(name: str) -> tuple[str, str]:
    """(name, unit) as the heading of a cell says them."""
    return NAMES.get(name, (name, ""))


def steps(table: Any, findings: Findings, *, columns: tuple[str, ...] = (), test: Any = None, tokenizer: Any = None, model: Any = None,
          quality: Any = None, progress: Progress = lambda words, done, total: None) -> Iterator[str]:
    """Looks for one piece after the other and yields its name as soon as `findings` holds it. A piece that `DataError` or
    `WorkbenchError` refuses is named in `findings.wrong`, and the others are still looked for."""
    from workbench.errors import WorkbenchError

    chosen = list(columns) or None
    pieces: list[tuple[str, Callable[[], None]]] = [("texts", lambda: _texts(table, findings, chosen)),
                                                    ("measures", lambda: _measures(table, findings, quality, progress))]
    if tokenizer is not None:
        pieces.append(("tokens", lambda: _tokens(table, findings, tokenizer, progress)))
    pieces.append(("copies", lambda: _copies(findings, progress)))
    if test is not None:
        pieces.append(("leaks", lambda: _leaks(findings, test, progress)))
    pieces.append(("private", lambda: _private(table, findings, progress)))
    if model is not None:
        pieces.append(("losses", lambda: _losses(table, findings, model, progress)))
    for name, find in pieces:
        try:
            find()
            findings.wrong.pop(name, None)
        except WorkbenchError as error:
            findings.wrong[name] = str(error)
        findings.version += 1
        yield name


def losses(table: Any, findings: Findings, model: Any, progress: Progress = lambda words, done, total: None) -> None:
    """Joins the loss of each row under `model`. Raises as `row_losses` does; the old losses then stay."""
    _losses(table, findings, model, progress)
    findings.wrong.pop("losses", None)
    findings.version += 1


def _texts(table: Any, findings: Findings, columns: Any) -> None:
    from workbench.data import cleaning, texts

    findings.texts = texts.texts_of(table, columns)
    findings.lowered = cleaning.lowered(findings.texts)
    if "source" in table.column_names:
        findings.sources = table.column("source").to_numpy().astype(str)


def _measures(table: Any, findings: Findings, quality: Any, progress: Progress) -> None:
    import pandas as pd
    import pyarrow as pa

    from workbench.data import filters
    from workbench.errors import DataError

    parts = []
    for first in range(0, findings.count, MEASURED_AT_ONCE):
        parts.append(filters.measures(findings.texts[first:first + MEASURED_AT_ONCE]))
        progress("measuring rows", min(first + MEASURED_AT_ONCE, findings.count), findings.count)
    measured = pd.concat(parts, ignore_index=True)
    own = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)) and name not in NAMES:
            own[name] = column.to_numpy().astype(float)
            if pa.types.is_integer(column.type):
                findings.whole.add(name)
    if quality is not None:
        own["quality"] = np.asarray(quality, float)
        if len(own["quality"]) != findings.count:
            raise DataError(f"There are {len(own['quality'])} quality scores for {findings.count} rows.", "Give one score a row.")
    findings.columns = tuple(own)
    findings.measures |= {name: measured[name].to_numpy(float) for name in measured.columns} | own
    findings.whole |= {"words", "characters", "broken_characters"}


def _tokens(table: Any, findings: Findings, tokenizer: Any, progress: Progress) -> None:
    from workbench.data import lengths

    found = lengths.token_lengths(table, tokenizer, progress=lambda done, total: progress("counting tokens", done, total))
    findings.measures["tokens"] = found.astype(float)
    findings.whole.add("tokens")


def _copies(findings: Findings, progress: Progress) -> None:
    from workbench.data import duplicates

    pairs = duplicates.near_pairs(findings.texts, threshold=LOWEST_LIKENESS,
                                  progress=lambda done, total: progress("looking for copies", done, total))
    findings.pairs, findings._groups = pairs, {}
    findings.measures["likeness"] = duplicates.likeness(pairs, findings.count)


def _leaks(findings: Findings, test: Any, progress: Progress) -> None:
    from workbench.data import ngrams, overlap, texts

    shown = texts.texts_of(test)
    findings.leaks = overlap.leaks(shown, findings.texts, progress=lambda done, total: progress("comparing with the test set", done, total))
    findings.test_texts, findings.tests = shown, overlap.looked_for(shown)
    there = {tuple(ngrams.words(text)) for text in shown}
    leaking = findings.leaks["row"].to_numpy(np.int64)
    findings.leaks_whole = leaking[[tuple(ngrams.words(findings.texts[row])) in there for row in leaking]] if len(leaking) else leaking


def _private(table: Any, findings: Findings, progress: Progress) -> None:
    import pandas as pd

    from workbench.data import private

    parts = []
    for first in range(0, findings.count, SCANNED_AT_ONCE):
        found = private.scan(table.slice(first, SCANNED_AT_ONCE))
        parts.append(found.assign(row=found["row"] + first))
        progress("looking for private details", min(first + SCANNED_AT_ONCE, findings.count), findings.count)
    findings.private = pd.concat(parts, ignore_index=True).astype({"row": "int64"})


def _losses(table: Any, findings: Findings, model: Any, progress: Progress) -> None:
    from workbench.evaluation import row_losses

    found = row_losses.row_losses(model, table, progress=lambda done, total: progress("scoring rows", done, total))
    findings.losses = found
    findings.suspicious, findings.hardest = row_losses.suspicious(found), row_losses.hardest(found, HARDEST)
    findings.measures["loss"] = found["loss"].to_numpy(float)
