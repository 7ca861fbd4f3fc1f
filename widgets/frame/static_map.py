"""The cells of a heatmap in a static picture: where each lies, its colour on the trace's scale, and its words.

Covers what the panels use: `z` as rows, cells at whole numbers, a colour scale of hex colours, `text` or z as words. Not plotly: no smoothing, no colour bar, no named scales.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from widgets.frame.static_axis import Axis, item

HEX = re.compile(r"#([0-9a-fA-F]{6})$")
DARK, LIGHT = "#1f2328", "#ffffff"
"""Words on pale and on strong cells."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell, in px from the top left."""

    x: float
    y: float
    width: float
    height: float
    fill: str
    words: str
    ink: str


def cells(trace: dict, across: Axis, up: Axis) -> Iterator[Cell]:
    """Every cell that has a value."""
    z, text = trace.get("z") or [], trace.get("text")
    scale = [(float(place), _rgb(colour)) for place, colour in trace.get("colorscale") or ()]
    known = [float(v) for row in z for v in row if item(v) is not None]
    if not known or any(colour is None for _, colour in scale) or len(scale) < 2:
        return
    low, high = (float(trace[key]) if trace.get(key) is not None else pick(known) for key, pick in (("zmin", min), ("zmax", max)))
    gap_x, gap_y = trace.get("xgap", 0), trace.get("ygap", 0)
    for row, line in enumerate(z):
        for column, value in enumerate(line):
            value = item(value)
            left, right, top, bottom = across.px(column - .5), across.px(column + .5), up.px(row - .5), up.px(row + .5)
            if value is None or None in (left, right, top, bottom):
                continue
            colour = _mixed(scale, (float(value) - low) / (high - low) if high > low else 0.0)
            words = "" if not trace.get("texttemplate") else str(text[row][column]) if text is not None else f"{value:g}"
            light = (0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]) / 255  # ITU-R BT.601 luma
            yield Cell(min(left, right) + gap_x / 2, min(top, bottom) + gap_y / 2, max(abs(right - left) - gap_x, 0.0),
                       max(abs(bottom - top) - gap_y, 0.0), "#" + "".join(f"{round(part):02x}" for part in colour), words,
                       DARK if light > 0.55 else LIGHT)


def _rgb(colour: Any) -> tuple[int, int, int] | None:
    found = HEX.match(colour.strip()) if isinstance(colour, str) else None
    return tuple(int(found[1][k:k + 2], 16) for k in (0, 2, 4)) if found else None


def _mixed(scale: list[tuple[float, tuple[int, int, int]]], share: float) -> tuple[float, float, float]:
    """The colour at `share` (0 to 1) of the scale, straight between its two neighbours."""
    share = min(max(share, scale[0][0]), scale[-1][0])
    for (a, one), (b, other) in zip(scale, scale[1:], strict=False):
        if share <= b:
            part = (share - a) / (b - a) if b > a else 1.0
            return tuple(p + (q - p) * part for p, q in zip(one, other, strict=True))
    return scale[-1][1]
