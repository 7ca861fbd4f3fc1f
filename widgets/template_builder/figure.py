"""The template builder's figure: the tokens of each sampled row, from the shortest to the longest; read, trained and cut off.

`figure(sample, rank, width)` is a pure function of a `Sample` and the place of the row shown. Does not draw.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from widgets.frame.sheet import Sheet, hatch, ink, number
from widgets.template_builder.reading import Sample

Width = Literal["wide", "medium", "narrow"]


@dataclass(frozen=True, slots=True)
class Form:
    """The composition for one width class; lengths in px."""

    width: int
    height: int
    right: int


FORMS: dict[Width, Form] = {"wide": Form(862, 440, 92), "medium": Form(430, 420, 74), "narrow": Form(360, 290, 70)}
GUTTER, TOP, FOOT, FLAG = 40, 26, 42, 26
APART = 16
"""Px between two labels at the right."""
MOST_MARKS = 24
"""More rows than this that train on nothing are seen without a mark over each."""


def figure(sample: Sample | None, rank: int = 0, width: Width = "wide", empty: tuple[str, str] = ("", "")) -> dict:
    """{"data", "layout"}; without a sample the two sentences of `empty`."""
    form = FORMS[width]
    sheet = Sheet(form.width, form.height)
    if sample is None:
        return _empty(sheet, *empty)
    judged = sample.judged
    order, limit = sample.order, judged.max_length
    lengths = judged.lengths[order].astype(float)
    trained = judged.trained[order].astype(float)
    within = np.minimum(lengths, limit)
    place = np.arange(1, len(order) + 1, dtype=float)
    longest = float(lengths.max())
    high = form.height - TOP - FOOT
    top = (max(longest, limit) if limit <= 1.3 * longest else longest) * high / (high - FLAG)  # the row's flag stands over the bars
    rows = len(set(sample.examples.rows)) == len(order)
    unit = f"{number(len(order))} {'rows' if rows else 'examples'}{'' if sample.whole else ' sampled'}" + (
        ", shortest to longest" if width == "wide" else "")
    axis = sheet.cell(0, 0, form.width, form.height, "Tokens in each row" if rows else "Tokens in each example", unit,
                      "row, sorted by length" if rows else "example, sorted by length", gutter=GUTTER, right=form.right, foot=FOOT, top=TOP,
                      x=dict(range=[0.5, len(order) + 0.5], tickformat=",d", nticks=7), y=dict(range=[0, top], tickformat=",d", nticks=5))
    numbers = [number(sample.examples.rows[index] + 1) for index in order]
    hover = "row %{customdata}<br>%{y:,d} tokens "
    parts = [("read", within - trained, np.zeros_like(within), "grey", "read, not trained"),
             ("trained", trained, within - trained, "blue", "trained"),
             ("cut", lengths - within, within, "vermillion", "cut off")]
    for uid, length, base, colour, words in parts:
        marker = hatch([colour] * len(length), [True] * len(length)) if uid == "cut" else dict(color=ink(colour), line=dict(width=0))
        sheet.add(axis, type="bar", x=place, y=length, base=base.tolist(), uid=uid, name=words, marker=marker, customdata=numbers,
                  hovertemplate=hover + words + "<extra></extra>")
    nothing = np.flatnonzero(trained == 0)
    if 0 < len(nothing) <= MOST_MARKS:
        sheet.add(axis, x=place[nothing], y=lengths[nothing] + 0.025 * top, mode="markers", uid="nothing", name="trains on nothing",
                  cliponaxis=False, customdata=[numbers[index] for index in nothing],
                  hovertemplate="row %{customdata} trains on nothing<extra></extra>",
                  marker=dict(symbol="x", size=7, color=ink("vermillion"), opacity=1, line=dict(width=0)))
    _limit(sheet, axis, limit, top, beside=rank < 0.4 * len(order))
    _labels(sheet, axis, [(words, float(base[-1]), float(length[-1]), colour) for (_, length, base, colour, _), words
                          in zip(parts, ("prompt", "trained", "cut off"), strict=True)], len(order) + 0.5, top, form)
    _flag(sheet, axis, rank + 1, len(order), numbers[rank])
    made = sheet.figure()
    made["layout"] |= dict(barmode="overlay", bargap=0.12 if len(order) <= 200 else 0)
    return made


def _limit(sheet: Sheet, axis: str, limit: int, top: float, beside: bool) -> None:
    """The chosen max length, where it is in sight; its words stand `beside` the flag where the flag is at the left."""
    if limit > top:
        return
    sheet.rule(axis, y=limit, colour="ink-2", dash="dot", width=1)
    place = 0.6 if beside and limit > 0.7 * top else 0
    sheet.label(axis, place, limit, f"max length {number(limit)}", "ink-2", xref=f"x{axis} domain", valign="bottom", dx=2, dy=1,
                bgcolor=ink("surface"), borderpad=1)


def _labels(sheet: Sheet, axis: str, parts: list[tuple[str, float, float, str]], x: float, top: float, form: Form) -> None:
    """Words at the last bar's parts, pushed apart where they would touch."""
    px = (form.height - TOP - FOOT) / top
    wanted = [(words, (base + length / 2) * px, colour) for words, base, length, colour in parts if length > 0]
    low = -APART
    placed = []
    for words, at, colour in wanted:
        low = max(at, low + APART)
        placed.append((words, low, colour))
    over = max(0.0, placed[-1][1] - (top * px - 4)) if placed else 0.0
    for words, at, colour in placed:
        sheet.label(axis, x, max(0.0, at - over) / px, words, f"{colour}-text", dx=8)


def _flag(sheet: Sheet, axis: str, place: int, count: int, name: str) -> None:
    """The row shown: a line through the cell, its number over it."""
    sheet.rule(axis, x=place, colour="ink", width=1.5)
    side = "left" if place < 0.12 * count else "right" if place > 0.88 * count else "center"
    sheet.label(axis, place, 1, f"row {name}", "ink", yref=f"y{axis} domain", anchor=side, valign="top", dy=-1, size=11,
                bgcolor=ink("surface"), bordercolor=ink("ink-2"), borderwidth=1, borderpad=2)


def _empty(sheet: Sheet, headline: str, sentence: str) -> dict:
    """No chart: what is missing, in words."""
    common = dict(xref="paper", yref="paper", x=0.5, showarrow=False, xanchor="center", align="center")
    for y, text, size, colour in ((0.56, f"<b>{headline}</b>", 13, "ink"), (0.44, sentence, 12, "ink-2")):
        sheet.notes.append(dict(common, y=y, text=text, yanchor="middle", font=dict(size=size, color=ink(colour))))
    made = sheet.figure()
    made["layout"] |= {f"{side}axis": dict(visible=False, fixedrange=True, range=[0, 1]) for side in "xy"}
    return made
