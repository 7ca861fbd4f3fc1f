"""What is on screen, as plain values: a page of the table, the row in full, the histograms, the choices of the controls.

Pure: everything comes from findings, a state and masks computed elsewhere; words that rows bring stay words.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from widgets.data_explorer.figure import Picture
from widgets.data_explorer.findings import Findings, measure_name
from widgets.data_explorer.state import HARDEST, LOWEST_LIKENESS, State, Where
from widgets.data_explorer.view import Bins, Decided, column, shown
from widgets.data_explorer.words import rows_in_words, sought
from widgets.frame.sheet import number

PAGE_ROWS, LINE_LETTERS, FIELD_LETTERS, OTHERS = 12, 300, 20_000, 4

LABELS = {"all": "All rows", "copies": "Extra copies", "leaks": "Also in the test set", "private": "Private details",
          "suspicious": "Suspicious loss", "hardest": "Hardest", "picked": "Picked", "flagged": "Flagged", "kept": "Kept", "dropped": "Dropped"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One look: what is decided, the rows shown in order (int64), the histograms."""

    decided: Decided
    order: np.ndarray
    pictures: list[Picture]


def shows_of(found: Findings, decided: Decided, where: Where, picked: tuple[int, ...]) -> list[tuple[str, str]]:
    """(label with its count, show); what was not looked for is left out."""
    there = dict(copies=found.pairs, leaks=found.leaks, private=found.private, suspicious=found.suspicious, hardest=found.hardest)
    out = []
    for show, label in LABELS.items():
        if there.get(show, True) is None and show != where.show:
            continue
        count = int(shown(Where(show=show, threshold=where.threshold), found, decided, picked).sum()) if show != "all" else found.count
        out.append((f"{label} ({number(count)})", show))
    return out


def copies_words(extra: int, groups: int) -> str:
    if not extra:
        return "No copies."
    return f"{number(extra)} extra cop{'y' if extra == 1 else 'ies'} in {number(groups)} group{'' if groups == 1 else 's'}"


def span_of(measure: str, bins: Bins | None, where: Where) -> Any:
    from widgets.data_explorer.controls import Span

    if bins is None or len(bins.edges) < 3:
        return None
    name, _ = measure_name(measure)
    low, high = bins.places(where.ranges.get(measure, (None, None)))
    return Span(words=f"{name}: {range_words(measure, bins, where) or 'all'}", edges=len(bins.edges) - 1, picked=(low, high))


def range_words(measure: str, bins: Bins, where: Where) -> str:
    if measure not in where.ranges:
        return ""
    low, high = bins.places(where.ranges[measure])
    return f"{bins.label(low)} to {bins.label(high, last=True)}"


def picture_of(cell: str, measure: str, bins: Bins | None, rows: np.ndarray, decided: Decided, where: Where, found: Findings, looking: str,
               asked: bool) -> Picture:
    """One histogram; where it has nothing to count, what would bring it."""
    name, unit = measure_name(measure)
    if bins is None:
        return Picture(name=name, unit="", empty=_missing(cell, found, looking, asked))
    everywhere = np.ones(found.count, bool)
    told = range_words(measure, bins, where)
    mark = where.threshold if cell == "likeness" and bins.edges[0] <= where.threshold <= bins.edges[-1] else None
    return Picture(name=name, unit=f"{unit} {told}".strip() if told else unit, bins=bins, every=bins.counts(everywhere),
                   shown=bins.counts(rows), kept=bins.counts(rows & ~decided.dropped), brush=bins.places(where.ranges[measure]) if measure in where.ranges else None,
                   mark=mark, mark_words=f"copies from {where.threshold:.2f}" if mark is not None else "")


def _missing(cell: str, found: Findings, looking: str, asked: bool) -> str:
    piece = {"length": "measures", "quality": "measures", "likeness": "copies", "loss": "losses"}[cell]
    if piece in found.wrong:
        words = {"losses": "These rows could not be scored.", "copies": "Copies could not be looked for."}
        return words.get(piece, "These rows could not be measured.")
    if cell == "likeness" and found.pairs is not None:
        return f"No two rows agree to {LOWEST_LIKENESS:.0%} or more."
    if cell == "loss" and not asked:
        return "Name a run or a model to see which rows are hard."
    return "Looking for it." if looking else "Not looked for."


def page(taken: Shown, table: Any, found: Findings, state: State, picked: tuple[int, ...], size: int = PAGE_ROWS) -> dict[str, Any]:
    """The page of rows around the cursor, as `RowTable.shown` wants it."""
    order, measures = taken.order, found.measures
    columns = [("mark", "", False), ("row", "row", True), ("text", "text", False)]
    columns += [(name, label, True) for name, label in ((found.length, found.length), ("loss", "loss")) if name in measures]
    groups = found.groups(state.where.threshold)
    grouped = groups is not None and len(groups) > 0
    if grouped:
        columns.append(("group", "group", True))
    if state.quality and state.quality in measures and state.quality not in (found.length, "loss"):
        columns.append((state.quality, measure_name(state.quality)[0].lower(), True))
    at = np.flatnonzero(order == state.cursor)
    start = int(at[0]) // size * size if len(at) else 0
    rows = order[start:start + size]
    cells = {name: column(name, found, taken.decided, state.where.threshold) for name, _, num in columns if num and name != "row"}
    chosen = set(picked)
    lines = []
    for row in rows.tolist():
        told = {"mark": "", "row": number(row), "text": _line(found, row)}
        told |= {name: _number(values[row], name in found.whole or name == "group") for name, values in cells.items()}
        mark = " ".join(word for word, on in (("drop", taken.decided.dropped[row]), ("flag", taken.decided.flagged[row])) if on)
        lines.append(dict(row=row, cells=[told[name] for name, _, _ in columns], mark=mark, picked=row in chosen))
    head = [dict(key=name, label=label or "!", num=num, wide=name == "text", title="sort by decision" if name == "mark" else "",
                 sorted=("desc" if state.descending else "asc") if state.sort == name else "") for name, label, num in columns]
    nothing = "No row is left of what was asked for." if not state.where.everything else "There are no rows."
    cursor = state.cursor if len(at) else int(order[0]) if len(order) else -1
    return dict(head=head, rows=lines, start=start, total=len(order), cursor=cursor, empty=nothing)


def _line(found: Findings, row: int) -> str:
    return " ".join(found.texts[row][:2 * LINE_LETTERS].split())[:LINE_LETTERS] if found.texts else ""


def _number(value: float, whole: bool) -> str:
    return "" if not np.isfinite(value) else number(value) if whole else number(value, 3)


def detail(row: int | None, taken: Shown, table: Any, found: Findings, state: State) -> dict[str, Any]:
    """The row under the cursor in full, with what is known of it, as `RowTable.detail` wants it."""
    if row is None:
        return {}
    mark = " ".join(word for word, on in (("drop", taken.decided.dropped[row]), ("flag", taken.decided.flagged[row])) if on)
    notes, others = [], []
    if found.leaks is not None and (found.leaks["row"] == row).any():
        test_row = int(found.leaks["test_row"][found.leaks["row"] == row].iloc[0])
        notes.append(f"A run of its words also stands in row {number(test_row)} of the test set.")
        others.append(dict(row=-1, label=f"test row {number(test_row)}", text=found.test_texts[test_row][:FIELD_LETTERS]))
    if found.private is not None and (found.private["row"] == row).any():
        here = found.private[found.private["row"] == row]
        notes.append("Holds " + ", ".join(f"{kind} {told}" for kind, told in zip(here["kind"], here["shown"], strict=True)) + ".")
    if found.suspicious is not None and row in found.suspicious:
        notes.append("Its loss is far above the others: hard, rare or wrong.")
    elif found.hardest is not None and row in found.hardest:
        notes.append(f"Among the {HARDEST} of highest loss.")
    groups = found.groups(state.where.threshold)
    if groups is not None and (groups["row"] == row).any():
        group = groups["group"][groups["row"] == row].iloc[0]
        alike = groups[(groups["group"] == group) & (groups["row"] != row)]
        kept = bool(groups["keep"][groups["row"] == row].iloc[0])
        which = "the first of them" if kept else "an extra copy"
        notes.append(f"One of {number(len(alike) + 1)} alike (group {number(group)}), {which}.")
        others += [dict(row=int(other), label=f"row {number(other)}, {likeness:.2f} alike to its nearest",
                        text=found.texts[other][:FIELD_LETTERS])
                   for other, likeness in zip(alike["row"][:OTHERS], alike["similarity"][:OTHERS], strict=True)]
    wanted = [phrase or word for phrase, word in sought(state.where.query)]
    return dict(row=row, mark=mark, notes=notes, others=others, words=wanted,
                fields=[[name, text[:FIELD_LETTERS]] for name, text in rows_in_words(table, row)])
