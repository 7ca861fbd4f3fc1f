"""Where the cells of the KL monitor's figure stand for each width, and where the words at the ends of lines and on marks go.

All in pixels of the sheet the figure is composed on. Knows no run; what is drawn in the cells is in `figure.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from widgets.frame.sheet import Sheet, ink, plain

Width = Literal["wide", "medium", "narrow"]
Box = tuple[float, float, float, float]
LETTER = 0.55
"""The mean width of a letter as a share of its size."""
FLAG, FLAGS = 24, 3
"""Px a row of flags is high, and how many rows there are at most."""


@dataclass(frozen=True, slots=True)
class Place:
    """A cell's box (x0, y0, x1, y1), the px at its right where words stand, and whether it says its steps and their name."""

    box: Box
    right: float = 52
    ticks: bool = True
    title: bool = False


def places(width: Width) -> tuple[int, int, dict[str, Place]]:
    """(width, height, cells by name) of the sheet."""
    if width == "wide":
        return (
            862,
            742,
            {
                "distance": Place((0, 0, 430, 322), 64, title=True),
                "paid": Place((0, 344, 430, 566), 76),
                "kl": Place((456, 0, 862, 172), 76, ticks=False),
                "beta": Place((456, 184, 862, 290), 76, ticks=False),
                "entropy": Place((456, 302, 862, 424), 76, ticks=False),
                "length": Place((456, 436, 862, 566), 76),
                "clip": Place((0, 578, 208, 742), 40, title=True),
                "repetition": Place((222, 578, 430, 742), 40, title=True),
                "time": Place((456, 578, 862, 742), 126, title=True),
            },
        )
    full, half = (420, 204) if width == "medium" else (380, 184)
    other = full - half
    return (
        full,
        1092,
        {
            "distance": Place((0, 0, full, 266), 60, title=True),
            "paid": Place((0, 278, full, 436), 72),
            "kl": Place((0, 448, full, 598), 72, ticks=False),
            "beta": Place((0, 610, full, 716), 72),
            "entropy": Place((0, 728, half, 828), 46, ticks=False),
            "length": Place((other, 728, full, 828), 46, ticks=False),
            "clip": Place((0, 840, half, 940), 46),
            "repetition": Place((other, 840, full, 940), 46),
            "time": Place((0, 952, full, 1092), 126, title=True),
        },
    )


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell's axes: their number, the plot area in px, the ranges it shows."""

    axis: str
    area: Box
    x: tuple[float, float]
    y: tuple[float, float]

    def px(self, value: float) -> float:
        return self.area[0] + (value - self.x[0]) / (self.x[1] - self.x[0]) * (self.area[2] - self.area[0])

    def py(self, value: float) -> float:
        return self.area[3] - (value - self.y[0]) / (self.y[1] - self.y[0]) * (self.area[3] - self.area[1])


def area_of(place: Place, gutter: float = 40) -> Box:
    """The plot area of a cell, in px."""
    x0, y0, x1, y1 = place.box
    return x0 + gutter, y0 + 26, x1 - place.right, y1 - (40 if place.title else 20 if place.ticks else 8)


def cut(sheet: Sheet, place: Place, name: str, unit: str, x: tuple[float, float], y: tuple[float, float], xtitle: str = "step") -> Cell:
    """The cell on the sheet, with `xtitle` under it where its place has a title."""
    left, top, right, bottom = area_of(place)
    x_axis = dict(range=list(x), showticklabels=place.ticks or place.title, nticks=6 if right - left > 200 else 3)
    if xtitle == "step":
        x_axis["tickformat"] = ",d"
    y_axis = dict(range=list(y), nticks=5 if bottom - top > 120 else 4)
    axis = sheet.cell(
        *place.box, name, unit, xtitle if place.title else "", right=place.right, foot=place.box[3] - bottom, x=x_axis, y=y_axis
    )
    return Cell(axis, (left, top, right, bottom), x, y)


def ends(sheet: Sheet, cell: Cell, labels: list[tuple[float, str, str]]) -> None:
    """(y, words, colour) beside the plot area's right edge, pushed apart where they would touch; those there is no room for are left out,
    the last ones first."""
    low, high, half = cell.area[3] + 4, cell.area[1] - 4, 8.0
    labels = [label for label in labels if label[0] == label[0]][: max(1, int((low - high) // (2 * half)))]
    spots = sorted(([min(max(cell.py(y), high + half), low - half), text, colour] for y, text, colour in labels), key=lambda spot: spot[0])
    for before, spot in pairwise(spots):
        spot[0] = max(spot[0], before[0] + 2 * half)
    floor = low - half
    for spot in reversed(spots):
        spot[0] = min(spot[0], floor)
        floor = spot[0] - 2 * half
    for at, text, colour in spots:
        sheet.label(
            cell.axis,
            1,
            1 - (at - cell.area[1]) / (cell.area[3] - cell.area[1]),
            text,
            colour,
            dx=6,
            xref=f"x{cell.axis} domain",
            yref=f"y{cell.axis} domain",
        )


def flag_rows(area: Box, x: tuple[float, float], marks: list[tuple[int, str]]) -> dict[int, tuple[int, float, str]]:
    """For marks (step, words): index -> (row, left edge in px, words that fit). The newest have their place first; of those there is no
    room for only the line is drawn."""
    found: dict[int, tuple[int, float, str]] = {}
    taken: list[tuple[int, float, float]] = []
    wide = area[2] - area[0]
    for k in reversed(range(len(marks))):
        step, said = marks[k]
        most = int(wide * 0.9 / (11 * LETTER))
        said = said if len(said) <= most else said[: most - 1] + "…"
        size = len(said) * 11 * LETTER + 10
        at = area[0] + (step - x[0]) / (x[1] - x[0]) * wide
        left = max(area[0], min(at, area[2] + 60 - size))
        row = next((row for row in range(FLAGS) if all(row != other or left + size + 2 < a or b + 2 < left for other, a, b in taken)), None)
        if row is not None:
            taken.append((row, left, left + size))
            found[k] = (row, left, said)
    return found


def flag(sheet: Sheet, cell: Cell, step: float, row: int, left: float, words: str, whole: str) -> None:
    """A flag with `words`; the mouse over it says the `whole`."""
    sheet.label(
        cell.axis,
        step,
        1,
        plain(words),
        "ink",
        yref=f"y{cell.axis} domain",
        valign="top",
        dx=left - cell.px(step),
        dy=-2 - FLAG * row,
        size=11,
        bgcolor=ink("surface"),
        bordercolor=ink("ink-2"),
        borderwidth=1,
        borderpad=3,
        hovertext=plain(whole),
        captureevents=False,
    )


def top_of(lists: Sequence[np.ndarray], least: float) -> float:
    """A little above the largest value, `least` where nothing is known."""
    fine = [float(np.nanmax(values)) for values in lists if len(values) and np.isfinite(values).any()]
    return 1.06 * max([value for value in fine if value > 0], default=least) or least


def range_of(lists: Sequence[np.ndarray], through: float | None) -> tuple[float, float]:
    """From a little below the least to a little above the largest, `through` in it."""
    fine = np.concatenate([values[np.isfinite(values)] for values in lists] + ([[through]] if through is not None else []))
    if not len(fine):
        return 0.0, 1.0
    low, high = float(fine.min()), float(fine.max())
    pad = 0.08 * (high - low) or 0.1 * abs(high) or 0.1
    return low - pad, high + pad
