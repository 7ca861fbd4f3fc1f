"""Which rows a `Where` means, in which order, and the counts of the linked histograms: arithmetic on masks, bool [N].

Linked as crossfilters are: a brush over one histogram leaves rows out of all of them. 100,000 rows take a few milliseconds. Nothing here
looks anything up or draws.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from widgets.data_explorer.findings import Findings
from widgets.data_explorer.state import State, Where
from workbench.data import cleaning

BINS = 40


@dataclass(frozen=True, slots=True)
class Decided:
    """What is dropped and flagged, bool [N]."""

    dropped: np.ndarray
    flagged: np.ndarray


def mask(where: Where, findings: Findings, decided: Decided | None = None, picked: Iterable[int] = ()) -> np.ndarray:
    """The rows `where` means. What was not looked for yet has no rows."""
    found = np.ones(findings.count, bool)
    if where.query.strip() and findings.lowered is not None:
        found &= cleaning.matching(findings.lowered, where.query)
    for name, (low, high) in where.ranges.items():
        values = findings.measures.get(name)
        found &= cleaning.between(values, low, high) if values is not None else False
    if where.sources:
        found &= np.isin(findings.sources, where.sources) if findings.sources is not None else False
    if where.show != "all":
        found &= shown(where, findings, decided, picked)
    return found


def shown(where: Where, findings: Findings, decided: Decided | None = None, picked: Iterable[int] = ()) -> np.ndarray:
    """The rows of one show, whatever is searched or brushed."""
    kind, count = where.show, findings.count
    if kind == "kept":
        return ~decided.dropped
    if kind in ("dropped", "flagged"):
        return getattr(decided, kind)
    rows: Any = ()
    if kind in ("picked", "rows"):
        rows = [row for row in (picked if kind == "picked" else where.rows) if 0 <= row < count]
    elif kind == "copies" and findings.pairs is not None:
        groups = findings.groups(where.threshold)
        rows = groups["row"].to_numpy()[~groups["keep"].to_numpy(bool)]
    elif kind == "leaks" and findings.leaks is not None:
        rows = findings.leaks["row"]
    elif kind == "private" and findings.private is not None:
        rows = findings.private["row"]
    elif kind == "suspicious" and findings.suspicious is not None:
        rows = findings.suspicious
    elif kind == "hardest" and findings.hardest is not None:
        rows = findings.hardest
    found = np.zeros(count, bool)
    found[np.asarray(rows, np.int64)] = True
    return found


def decisions(state: State, findings: Findings) -> Decided:
    """Rules in order, then what was decided row by row."""
    dropped = np.zeros(findings.count, bool)
    for rule in state.rules:
        those = mask(Where.from_json(rule["where"]), findings)
        dropped |= those if rule["how"] == "drop" else ~those
    dropped[list(state.dropped)] = True
    dropped[list(state.kept)] = False
    return Decided(dropped, cleaning.numbered(state.flagged, findings.count))


def order(rows: np.ndarray, sort: str, descending: bool, findings: Findings, decided: Decided, threshold: float) -> np.ndarray:
    """The rows of a mask in the order of a column, int64; rows without a value last, ties by number."""
    at = np.flatnonzero(rows)
    if sort == "row":
        return at[::-1] if descending else at
    if sort == "text" and findings.texts:
        keys = np.array([findings.texts[row][:60].lower() for row in at], object)
        place = np.argsort(keys, kind="stable")
        return at[place[::-1]] if descending else at[place]
    values = column(sort, findings, decided, threshold)[at]
    known = ~np.isnan(values)
    place = np.argsort(-values[known] if descending else values[known], kind="stable")
    return np.concatenate([at[known][place], at[~known]])


def column(name: str, findings: Findings, decided: Decided, threshold: float) -> np.ndarray:
    """Values of a sortable column, float [N]; NaN where a row has none."""
    if name == "mark":
        return 2.0 * decided.dropped + decided.flagged
    if name == "group":
        out, groups = np.full(findings.count, np.nan), findings.groups(threshold)
        if groups is not None:
            out[groups["row"].to_numpy(np.int64)] = groups["group"].to_numpy()
        return out
    return findings.measures.get(name, np.full(findings.count, np.nan))


@dataclass(frozen=True, slots=True)
class Bins:
    """Edges of a measure's histogram, increasing [B + 1]; bin b holds edge b ≤ value < edge b + 1. `at` int64 [N] is each row's bin, B
    where it has no value."""

    edges: np.ndarray
    at: np.ndarray
    whole: bool
    log: bool

    def counts(self, rows: np.ndarray) -> np.ndarray:
        return np.bincount(self.at[rows], minlength=len(self.edges))[:len(self.edges) - 1]

    def label(self, edge: int, last: bool = False) -> str:
        """An edge in words; `last` names the largest value below it."""
        from widgets.frame.sheet import number

        value = self.edges[edge]
        if self.whole:
            return number(value - 1 if last else value)
        step = abs(value) * 0.1 if self.log else float(self.edges[1] - self.edges[0])
        return number(value, max(0, min(4, math.ceil(-math.log10(max(step, 1e-4))))))

    def bounds(self, low: int, high: int) -> list[float | None]:
        """The range from edge `low` to edge `high`; a side at the end of the axis is left open."""
        return [None if low <= 0 else float(self.edges[low]), None if high >= len(self.edges) - 1 else float(self.edges[high])]

    def places(self, bounds: Sequence[float | None]) -> tuple[int, int]:
        """The edges nearest to a range."""
        low, high = bounds
        return (0 if low is None else int(np.abs(self.edges - low).argmin()),
                len(self.edges) - 1 if high is None else int(np.abs(self.edges - high).argmin()))


def bins_of(values: np.ndarray, whole: bool, count: int = BINS) -> Bins:
    """At most `count` bins over what is there; of doubling width where a few values are far above the others."""
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    middle = float(np.median(known)) if len(known) else 0.5
    log = low > 0 and middle > 0 and high > 6 * middle
    if whole:
        high += 1
        edges = np.geomspace(max(low, 1), high, count + 1) if log else np.linspace(low, high, int(min(count, high - low)) + 1)
        edges = np.unique(np.round(edges))
    else:
        if high <= low:
            low, high = low - 0.5, low + 0.5
        edges = np.geomspace(low, high, count + 1) if log else np.linspace(low, high, count + 1)
        edges[-1] = np.nextafter(high, math.inf)
        edges[0] = low
    if len(edges) < 2:
        edges = np.array([low, low + 1])
    at = np.searchsorted(edges, values, side="right") - 1
    at = np.where(np.isfinite(values), np.clip(at, 0, len(edges) - 2), len(edges) - 1)
    return Bins(edges, at, whole, log)
