"""What the viewer's pictures share: their measures in px, a scheme's mark on its line, axes that stand still, numbers in words.

Draws into a `Sheet` what it is told; knows nothing of what the pictures show.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from widgets.frame.sheet import Sheet, ink, number

Width = Literal["wide", "medium", "narrow"]
GAP = 22
LINE_PX = 30


@dataclass(frozen=True, slots=True)
class Form:
    """The composition for one width class; lengths in px."""

    width: int
    split: int
    """Where the weights' cell ends and that of the errors begins; the width itself where they stand below each other."""
    tall: int
    small: int
    gutter: int
    """Px for a scheme's name."""
    right: int
    """Px for the columns of perplexity and size, where these are columns."""
    stretch: float = 1.0

    @property
    def stacked(self) -> bool:
        return self.split == self.width


FORMS: dict[Width, Form] = {"wide": Form(862, 574, 288, 288, 128, 0, 1.22), "medium": Form(420, 420, 240, 190, 112, 104),
                            "narrow": Form(372, 372, 224, 180, 110, 100)}


def dots(sheet: Sheet, axis: str, values: list[float | None], place: list[int], chosen: list[bool], uid: str, words: list[str]) -> None:
    marks(sheet, axis, values, place, ["blue" if on else "grey" for on in chosen], uid, words)


def marks(sheet: Sheet, axis: str, values: list[float | None], place: list[int], colours: list[str], uid: str, words: list[str]) -> None:
    """A mark and its number on each line that has a value: grey ones are rings, blue ones discs, vermillion ones crosses."""
    there = [k for k, value in enumerate(values) if value is not None]
    for colour, symbol, name in (("grey", "circle-open", uid), ("blue", "circle", f"{uid}-good"), ("vermillion", "x", f"{uid}-bad")):
        here = [k for k in there if colours[k] == colour]
        if here or colour == "grey":
            look = dict(size=9, symbol=symbol, color=ink(colour), opacity=1) | (dict(line=dict(width=2)) if colour == "grey" else {})
            sheet.add(axis, x=[values[k] for k in here], y=[place[k] for k in here], mode="markers", uid=name, cliponaxis=False,
                      marker=look,
                      hovertemplate="%{x:.4~g}<extra></extra>")  # what cannot be hovered over cannot be clicked
    sheet.add(axis, x=[values[k] for k in there], y=[place[k] for k in there], mode="text", uid=uid + "-words", hoverinfo="skip",
              cliponaxis=False,
              text=["\u00a0\u00a0" + words[k] for k in there], textposition="middle right",
              textfont=dict(size=12, color=[ink("ink-2" if colours[k] == "grey" else f"{colours[k]}-text") for k in there]))


# ---- numbers

def decibels(value: float) -> str:
    return "exact" if value == float("inf") else number(value, 1)


def perplexity(value: float) -> str:
    """5.47, 21.3, 1 204, 3·10⁹"""
    if not np.isfinite(value) or value >= 1e6:
        return "> 10⁶"
    return number(value, 2 if value < 10 else 1 if value < 100 else 0)


def amount(value: float) -> str:
    return number(value, 2 if value < 9.995 else 1 if value < 99.95 else 0)


def unit_of(size: float) -> tuple[float, str]:
    """(bytes, its name) that sizes up to `size` are told in."""
    return (2 ** 30, "GiB") if size >= 2 ** 30 else (2 ** 20, "MiB") if size >= 2 ** 20 else (2 ** 10, "KiB")


def bold(words: str, on: bool) -> str:
    return f"<b>{words}</b>" if on else words


def combed(values: Any, pairs: bool = False) -> list:
    """`a, a, None, b, b, None` for separate strokes; of `pairs` each two are one stroke's ends."""
    if pairs:
        return [x for k in range(0, len(values), 2) for x in (float(values[k]), float(values[k + 1]), None)]
    return [x for value in values for x in (float(value), float(value), None)]


def nice(value: float) -> float:
    """The next of 1, 1.5, 2, 3, 4, 5, 6, 8, 10 times a power of ten: axes stand still while bars move."""
    ten = 10.0 ** math.floor(math.log10(value))
    return ten * next(step for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if value <= step * ten * (1 + 1e-9))


def perplexity_range(values: list[float], base: float | None) -> tuple[float, float]:
    if not values:
        return 0.0, 1.0
    finite = [value for value in values if np.isfinite(value)] or [1.0]
    low = min(finite)
    high = min(max(finite), 3 * (base if base is not None else low))
    room = max(high - low, .02 * low)
    return low - .12 * room, high + .12 * room
