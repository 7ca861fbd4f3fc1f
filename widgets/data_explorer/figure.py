"""The data explorer's figure: four linked histograms, length, quality, likeness and loss, as one plotly dict.

`figure(pictures, width)` is a pure function of counts made in `view.py`. The x axis of a histogram counts bins, whatever their edges: a
brush is two edges. Grey is every row, blue what is shown and kept, striped vermillion what is shown and dropped.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from widgets.data_explorer.view import Bins
from widgets.frame.sheet import Sheet, hatch, ink, number, plain

Width = Literal["wide", "medium", "narrow"]
LEAST_SHOWN = 0.015
"""Of the highest bar: how high a bar of a single row is drawn, so that it can be seen and brushed."""


@dataclass(frozen=True, slots=True)
class Form:
    """The composition for one width class; lengths in px."""

    width: int
    columns: int
    cell: int
    stretch: float
    ticks: int


FORMS: dict[Width, Form] = {"wide": Form(862, 2, 288, 1.0, 6), "medium": Form(420, 1, 158, 1.0, 6), "narrow": Form(380, 1, 158, 1.0, 5)}
GAP = 28


@dataclass(frozen=True, slots=True)
class Picture:
    """One histogram. Counts are of every row, of those shown, and of those shown that are kept, int64 [B]; without `bins` `empty` says
    in one line what is missing."""

    name: str
    unit: str
    bins: Bins | None = None
    every: np.ndarray | None = None
    shown: np.ndarray | None = None
    kept: np.ndarray | None = None
    brush: tuple[int, int] | None = None
    """Edges between which rows are shown."""
    mark: float | None = None
    """A value with a line of its own, and its words."""
    mark_words: str = ""
    empty: str = ""


def figure(pictures: Sequence[Picture], width: Width = "wide") -> dict:
    """{"data", "layout"}; cell k is on the axes "x", "x2", ... in the order of `pictures`, empty ones too."""
    form = FORMS[width]
    rows = -(-len(pictures) // form.columns)
    sheet = Sheet(form.width, rows * form.cell, form.stretch)
    wide = (form.width - GAP * (form.columns - 1)) / form.columns
    for k, picture in enumerate(pictures):
        across, down = k % form.columns, k // form.columns
        box = (across * (wide + GAP), down * form.cell, across * (wide + GAP) + wide, (down + 1) * form.cell - 10)
        if picture.bins is None:
            _empty(sheet, box, picture)
        else:
            _histogram(sheet, box, picture, form)
    made = sheet.figure()
    made["layout"] |= dict(dragmode="select", selectdirection="h", barmode="overlay",
                           newselection=dict(line=dict(color=ink("blue"), width=1, dash="solid")),
                           activeselection=dict(fillcolor=ink("blue"), opacity=0.1))
    return made


def _histogram(sheet: Sheet, box: tuple, picture: Picture, form: Form) -> None:
    bins, count = picture.bins, len(picture.every)
    top = max(1, int(picture.every.max()))
    unit = f"{plain(picture.unit)}, rows per bin" if picture.unit else "rows per bin"
    at = np.unique(np.linspace(0, count, min(form.ticks, count + 1)).round().astype(int))
    axis = sheet.cell(*box, plain(picture.name), unit, gutter=44, right=20, foot=24,
                      x=dict(range=[-0.2, count + 0.2], tickvals=at.tolist(), ticktext=[bins.label(edge) for edge in at], fixedrange=True),
                      y=dict(range=[0, top * 1.08], nticks=3, tickformat=",d", fixedrange=True))
    if picture.brush is not None:
        sheet.band(axis, x=picture.brush, colour="blue-fill")
    middles = np.arange(count) + 0.5
    words = [f"{bins.label(b)} to {bins.label(b + 1, last=True)}: " for b in range(count)]

    def bars(values: np.ndarray, uid: str, marker: dict, say: Sequence[str]) -> None:
        high = np.where(values > 0, np.maximum(values, LEAST_SHOWN * top), 0).astype(float)
        still = dict(marker=dict(opacity=1))
        sheet.add(axis, type="bar", x=middles, y=high, width=0.92, marker=marker, uid=uid + axis, customdata=list(say),
                  hovertemplate="%{customdata}<extra></extra>", selected=still, unselected=still)

    bars(picture.every, "every", dict(color=ink("grey-fill"), line=dict(width=0)),
         [f"{word}{number(n)} rows" for word, n in zip(words, picture.every, strict=True)])
    dropped = picture.shown - picture.kept
    if dropped.any():
        bars(np.where(dropped > 0, picture.shown, 0), "dropped", hatch(["vermillion"] * count, [True] * count),
             [f"{word}{number(n)} dropped" for word, n in zip(words, dropped, strict=True)])
    bars(picture.kept, "kept", dict(color=ink("blue"), line=dict(width=0)),
         [f"{word}{number(n)} shown" for word, n in zip(words, picture.kept, strict=True)])
    if picture.brush is not None:
        for edge in picture.brush:
            sheet.rule(axis, x=edge, colour="blue", width=1)
    if picture.mark is not None:
        place = float(np.interp(picture.mark, bins.edges, np.arange(count + 1)))
        sheet.rule(axis, x=place, colour="ink-2", dash="dot")
        left = place > 0.6 * count
        sheet.label(axis, place, 1, plain(picture.mark_words), "ink-2", yref=f"y{axis} domain", anchor="right" if left else "left",
                    valign="top", dx=-5 if left else 5, size=11, bgcolor=ink("surface"))


def _empty(sheet: Sheet, box: tuple, picture: Picture) -> None:
    """A cell that says what is missing; no chart is made up."""
    axis = sheet.cell(*box, plain(picture.name), plain(picture.unit), gutter=44, right=20, foot=24,
                      x=dict(range=[0, 1], showticklabels=False), y=dict(range=[0, 1], showticklabels=False, showgrid=False))
    sheet.add(axis, x=[0.5], y=[0.5], mode="markers", marker=dict(size=1, color="rgba(0,0,0,0)"), hoverinfo="skip", uid="empty" + axis)
    sheet.label(axis, 0.5, 0.5, plain(picture.empty), "ink-3", anchor="center")
