"""Where the words of the run monitor's loss cell stand: flags of the change-marks, labels at the ends of lines, none on another.

All in pixels of the sheet the figure is composed on, with letters of a mean width; whoever draws wider only parts them further.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from widgets.frame.sheet import Sheet, ink, plain

if TYPE_CHECKING:
    from widgets.run_monitor.curves import RunCurves

LETTER = 0.53
"""The mean width of a letter as a share of its size."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in px from the sheet's top left."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box, gap: float = 0) -> bool:
        return (
            self.left < other.right + gap
            and other.left < self.right + gap
            and self.top < other.bottom + gap
            and other.top < self.bottom + gap
        )


@dataclass(frozen=True, slots=True)
class Plot:
    """A cell's axes: its number, its plot area in px, the ranges it shows."""

    axis: str
    area: Box
    x: tuple[float, float]
    y: tuple[float, float]

    def px(self, value: float) -> float:
        return self.area.left + (value - self.x[0]) / (self.x[1] - self.x[0]) * (self.area.right - self.area.left)

    def py(self, value: float) -> float:
        return self.area.bottom - (value - self.y[0]) / (self.y[1] - self.y[0]) * (self.area.bottom - self.area.top)


def middle(text: str, letters: int) -> str:
    """`text` in at most `letters` letters, the middle left out: names differ at both ends."""
    if len(text) <= letters:
        return text
    head = (letters - 1) // 2
    return text[:head] + "…" + text[len(text) - (letters - 1 - head):]


def size_px(text: str, size: int) -> tuple[float, float]:
    """Width and height in px of a label, roughly. Entities count as one letter."""
    parts = [part.replace("&lt;", "<").replace("&gt;", ">").replace("&#36;", "$").replace("&amp;", "&") for part in text.split("<br>")]
    return max(len(part) for part in parts) * size * LETTER, len(parts) * size * 1.34


def place(sheet: Sheet, plot: Plot, labels: list[dict], flagged: list[Box]) -> None:
    """Each label at the end of its line; where two would be less than 16 px apart they are pushed apart, in the order of their lines.

    Labels stay below the flags. Where there is no room for all, the last ones are left out: better no label than two on one another.
    """
    area = plot.area
    for count in range(len(labels), 0, -1):
        spots = _spread([_spot(sheet, plot, label, flagged) for label in labels[:count]], area.bottom)
        if all(spot["at"] - spot["half"] >= spot["roof"] - 0.01 for spot in spots):
            for spot in spots:
                sheet.label(plot.axis, spot["x"], 1 - (spot["at"] - area.top) / (area.bottom - area.top), spot["text"], spot["colour"],
                            dx=spot["left"] - plot.px(spot["x"]), yref=f"y{plot.axis} domain", bgcolor=ink("surface"), borderpad=1)
            return


def _spot(sheet: Sheet, plot: Plot, label: dict, flags: list[Box]) -> dict:
    """Where a label would like to be, in px: its sides, its middle `at`, half its height, and the `roof` it may not pass."""
    wide, high = size_px(label["text"], 12)
    left = min(plot.px(label["x"]) + label["dx"], sheet.width - wide - 2)
    roof = max([plot.area.top, *(flag.bottom + 2 for flag in flags if flag.left < left + wide and left < flag.right)])
    return dict(label, left=left, right=left + wide, half=high / 2 + 1, roof=roof, at=plot.py(label["y"]))


def _spread(spots: list[dict], bottom: float) -> list[dict]:
    """The spots pushed apart, downwards first and then up from the bottom."""
    spots = sorted(spots, key=lambda spot: spot["at"])

    def beside(first: dict, others: list[dict]) -> list[dict]:
        return [other for other in others if other["left"] < first["right"] + 16 and first["left"] < other["right"] + 16]

    for k, spot in enumerate(spots):
        spot["at"] = max(
            [spot["at"], spot["roof"] + spot["half"], *(other["at"] + other["half"] + spot["half"] for other in beside(spot, spots[:k]))]
        )
    for k, spot in reversed(list(enumerate(spots))):
        spot["at"] = min(
            [spot["at"], bottom - spot["half"], *(other["at"] - other["half"] - spot["half"] for other in beside(spot, spots[k + 1 :]))]
        )
    return spots


def flags(sheet: Sheet, plot: Plot, this: RunCurves) -> list[Box]:
    """The words of the marks, each in the first row where it touches no other; returns their boxes. At most half the cell is flags."""
    taken: list[Box] = []
    rows = max(1, int((plot.area.bottom - plot.area.top) / 2 // 24))
    for mark in this.marks:
        text = plain(middle(mark.words, int((plot.area.right - plot.area.left) * .8 / (11 * LETTER))))
        wide = size_px(text, 11)[0] + 18  # the border, a little air, and a font of wide letters
        at = plot.px(mark.step)
        last = sheet.width - 2 - wide
        left = at if at <= last else at - wide if at >= wide else max(0.0, last)
        for row in range(rows):
            top = plot.area.top + 2 + 24 * row
            box = Box(left, top, left + wide, top + 22)
            if not any(box.meets(other, 1) for other in taken):
                taken.append(box)
                sheet.label(
                    plot.axis,
                    mark.step,
                    1,
                    text,
                    "ink",
                    yref=f"y{plot.axis} domain",
                    valign="top",
                    dx=left - at,
                    dy=-2 - 24 * row,
                    size=11,
                    bgcolor=ink("surface"),
                    bordercolor=ink("ink-2"),
                    borderwidth=1,
                    borderpad=3,
                    hovertext=plain(mark.words),
                    captureevents=False,
                )
                break
    return taken
