"""The panel's figure: the histogram of gaps, accuracy over steps (and implicit rewards), calibration, length, categories. One plotly dict.

A pure function of a `Look`. Blue is the reply that people chose ahead, striped vermillion the other; grey is before and the ideal.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from widgets.frame.sheet import QUICK, Sheet, hatch, ink, number, plain
from widgets.reward_gap.look import Look

Width = Literal["wide", "medium", "narrow"]
Box = tuple[int, int, int, int]
GAP = 26
MOST_POINTS = 600
"""Drawn in the cell of lengths; of more every n-th."""
MOST_LINES = 8
"""Categories drawn."""


@dataclass(frozen=True, slots=True)
class Form:
    """The composition for one width class; lengths in px."""

    width: int
    high: int
    """Height of the histogram's cell."""
    low: int
    across: int
    """Cells side by side in the rows below."""


FORMS: dict[Width, Form] = {"wide": Form(862, 256, 232, 3), "medium": Form(420, 228, 224, 2), "narrow": Form(372, 228, 220, 1)}


def figure(look: Look, width: Width = "wide", empty: tuple[str, str] = ("", "")) -> dict:
    """{"data", "layout"}; `empty` are two sentences where there are no pairs."""
    form = FORMS[width]
    if not look.pairs:
        return Sheet(form.width, 420).empty(*empty)
    over_steps = [cell for cell, there in ((_implicit, look.implicit), (_accuracy, look.has_steps)) if there]
    below = [_calibration, _lengths, _categories]
    top, boxes = 0, []
    if width == "wide":
        part = (form.width - GAP * 2) // 3
        first = form.width - len(over_steps) * (part + GAP)
        boxes = [(0, 0, first, form.high)]
        boxes += [(first + GAP + k * (part + GAP), 0, first + (k + 1) * (part + GAP), form.high) for k in range(len(over_steps))]
        if len(over_steps) == 2:  # the histogram keeps a fair share
            half = (form.width - 330 - 2 * GAP) // 2
            boxes = [(0, 0, 330, form.high), (330 + GAP, 0, 330 + GAP + half, form.high), (form.width - half, 0, form.width, form.high)]
    else:
        boxes, below = [(0, 0, form.width, form.high)], [*over_steps, *below]
    top = form.high + GAP
    part = (form.width - GAP * (form.across - 1)) // form.across
    for k in range(len(below)):
        x = (k % form.across) * (part + GAP)
        alone = k == len(below) - 1 and form.across == 2 and k % 2 == 0
        y = top + (k // form.across) * (form.low + GAP)
        boxes.append((x, y, form.width if alone else x + part, y + form.low))
    sheet = Sheet(form.width, boxes[-1][3])
    for cell, box in zip([_histogram, *(over_steps if width == "wide" else ()), *below], boxes, strict=True):
        cell(sheet, box, look)
    drawn = sheet.figure()
    drawn["layout"]["barmode"] = "overlay"
    return drawn


def _histogram(sheet: Sheet, box: Box, look: Look) -> None:
    edges, counts = look.edges, look.counts
    middle, wide = (edges[1:] + edges[:-1]) / 2, float(edges[1] - edges[0])
    first = look.first if look.first is not None else np.zeros(0)
    most = float(max(counts.max(), first.max(initial=0), 1)) * 1.22
    part = "held out" if look.part == "heldout" else "drawn since the evaluation before"
    title = f"Reward gap at step {number(look.step)}" if look.has_steps else "Reward gap"
    axis = sheet.cell(*box, title, f"pairs per bin, {part}", "implicit reward(chosen) − reward(rejected)" if look.implicit else
                      "r(chosen) − r(rejected)", x=dict(QUICK, range=[float(edges[0]), float(edges[-1])], nticks=9),
                      y=dict(QUICK, range=[0, most], nticks=4))
    wrong = list(edges[1:] <= 1e-9)
    sheet.add(axis, type="bar", x=middle, y=counts, width=.94 * wide, uid="gaps", name="pairs",
              marker=hatch(["vermillion" if each else "blue" for each in wrong], wrong),
              hovertemplate="gap around %{x:.2f}<br>%{y:,d} pairs<br>click to read them<extra></extra>")
    if look.first is not None:
        sheet.line(axis, np.repeat(edges, 2)[1:-1], np.repeat(look.first, 2), "grey", "3px,2px", 1.25, uid="first", hoverinfo="skip")
        place = int(np.argmax(look.first))
        sheet.label(axis, float(edges[place]), float(look.first[place]), f"step {number(look.first_step)}", "grey-text", anchor="right",
                    size=11, dx=-4, bgcolor=ink("surface"))
    if look.bin is not None:
        count = counts[(middle > look.bin[0]) & (middle < look.bin[1])]
        sheet.shapes.append(dict(type="rect", xref=f"x{axis}", yref=f"y{axis}", x0=look.bin[0], x1=look.bin[1], y0=0,
                                 y1=float(max(count.max(initial=0), most / 60)), line=dict(color=ink("ink"), width=2), layer="above"))
    sheet.rule(axis, x=0, colour="ink-2")
    percent = 100 * look.right
    for words, colour, anchor, dx in ((f"{number(100 - percent, 1)} % wrong way", "vermillion-text", "right", -8),
                                      (f"{number(percent, 1)} % chosen ahead", "blue-text", "left", 8)):
        room = (0 - edges[0] if anchor == "right" else edges[-1]) / (edges[-1] - edges[0]) * (box[2] - box[0] - 50)
        if room > 108:
            sheet.label(axis, 0, 1, words, colour, anchor=anchor, dx=dx, yref=f"y{axis} domain", valign="top")


def _accuracy(sheet: Sheet, box: Box, look: Look) -> None:
    steps, values = look.heldout
    known = np.isfinite(look.curves.accuracy)
    train = look.curves.steps[known], look.curves.accuracy[known]
    lowest = min([*(100 * column.min() for column in (values, train[1], *look.members) if len(column)), 50.0])
    low = max(0.0, 10 * np.floor(lowest / 10) - 2)
    last = max([*(column[-1] for column in (steps, train[0]) if len(column)), look.step or 0, 1])
    axis = sheet.cell(*box, "Accuracy", "% of pairs", "step", right=58,
                      x=dict(QUICK, range=[0, max(last, look.total or 0)], nticks=5), y=dict(QUICK, range=[low, 102], nticks=5))
    labels = []
    if len(train[0]):
        sheet.line(axis, train[0], 100 * train[1], "grey", "3px,2px", 1.25, uid="train-accuracy",
                   hovertemplate="step %{x:,d}<br>%{y:.1f} % of the step's pairs<extra></extra>")
        labels.append((float(train[0][-1]), 100 * float(train[1][-1]), "train", "grey-text"))
    for number_, member in enumerate(look.members):
        sheet.line(axis, steps, 100 * member, "blue", "1px,2px", 1, uid=f"member-{number_}", hoverinfo="skip")
    if len(steps):
        sheet.line(axis, steps, 100 * values, "blue", uid="accuracy", mode="lines+markers", marker=dict(size=5, color=ink("blue")),
                   cliponaxis=False, hovertemplate="step %{x:,d}<br>%{y:.1f} % of held-out pairs<br>click to see it<extra></extra>")
        labels.append((float(steps[-1]), 100 * float(values[-1]), "held out", "blue-text"))
    for (x, y, words, colour), up in zip(labels, _apart([each[1] for each in labels], (box[3] - box[1] - 66) / (102 - low)), strict=True):
        sheet.label(axis, x, y, words, colour, dx=6, dy=up)
    if look.step is not None:
        sheet.rule(axis, x=look.step, colour="ink-2", dash="2px,3px")


def _apart(values: list[float], px: float) -> list[float]:
    """How far (px, up is +) labels move so that two at like heights stand 15 px apart."""
    if len(values) < 2 or abs(values[0] - values[1]) * px >= 15:
        return [0.0] * len(values)
    more = (15 - abs(values[0] - values[1]) * px) / 2
    return [more, -more] if values[0] > values[1] else [-more, more]


def _implicit(sheet: Sheet, box: Box, look: Look) -> None:
    steps, columns = look.curves.steps, look.curves.implicit
    every = np.concatenate([values[np.isfinite(values)] for values in columns.values()] + [np.zeros(1)])
    room = max(float(np.ptp(every)) * .08, .05)
    low, high = float(every.min()) - room, float(every.max()) + room
    axis = sheet.cell(*box, "Implicit reward", "β log ratio, train", "step", right=58,
                      x=dict(QUICK, range=[0, max(float(steps[-1]) if len(steps) else 1, look.total or 0)], nticks=5),
                      y=dict(QUICK, range=[low, high], nticks=5))
    sheet.rule(axis, y=0, colour="ink-3")
    ends = []
    for name, colour, dash in (("margin", "green", "solid"), ("chosen", "blue", "5px,2px"), ("rejected", "vermillion", "2px,2px")):
        values = columns[name]
        known = np.isfinite(values)
        sheet.line(axis, steps[known], values[known], colour, dash, 1.75, uid=f"implicit-{name}", name=name,
                   hovertemplate=f"step %{{x:,d}}<br>{name} %{{y:.3f}}<extra></extra>")
        if known.any():
            ends.append([float(steps[known][-1]), float(values[known][-1]), name, f"{colour}-text", 0.0])
    px, ends = (box[3] - box[1] - 66) / (high - low), sorted(ends, key=lambda end: end[1])
    for before, end in zip(ends, ends[1:], strict=False):
        end[4] = max(0.0, 15 - (end[1] * px - before[1] * px - before[4]))
    for x, y, words, colour, up in ends:
        sheet.label(axis, x, y, words, colour, dx=6, dy=up)
    if look.step is not None:
        sheet.rule(axis, x=look.step, colour="ink-2", dash="2px,3px")


def _calibration(sheet: Sheet, box: Box, look: Look) -> None:
    told = look.calibration
    low = 100 * min(float(told["observed_low"].min()), .5) if told is not None else 50
    low = max(0.0, 10 * np.floor(low / 10))
    axis = sheet.cell(*box, "Calibration", "observed, % agree", "predicted σ(|gap|), %", right=14,
                      x=dict(QUICK, range=[50, 101], tickvals=[50, 60, 70, 80, 90, 100]), y=dict(QUICK, range=[low, 103], nticks=5))
    sheet.line(axis, [50, 100], [50, 100], "grey", "3px,2px", 1.25, hoverinfo="skip", uid="perfect")
    sheet.label(axis, 66, 66, "perfect", "grey-text", anchor="left", valign="top", dx=8, dy=-2, size=11)
    if told is None:
        return
    x, y = 100 * told["predicted"].to_numpy(), 100 * told["observed"].to_numpy()
    bars = [(value, 100 * one, 100 * other) for value, one, other in zip(x, told["observed_low"], told["observed_high"], strict=True)]
    sheet.line(axis, [a for value, *_ in bars for a in (value, value, None)], [b for _, one, other in bars for b in (one, other, None)],
               "blue", width=1, hoverinfo="skip", uid="calibration-intervals")
    sheet.line(axis, x, y, "blue", width=1.75, mode="lines+markers", marker=dict(size=6, color=ink("blue")), uid="calibration",
               cliponaxis=False, customdata=told["pairs"].tolist(),
               hovertemplate="predicted %{x:.1f} %<br>observed %{y:.1f} %<br>%{customdata:,d} pairs<extra></extra>")
    sheet.label(axis, 100, 0, f"off by {number(100 * told.attrs['error'], 1)} points", "ink-2", anchor="right", yref=f"y{axis} domain",
                valign="bottom", dy=6, bgcolor=ink("surface"))


def _lengths(sheet: Sheet, box: Box, look: Look) -> None:
    apart = (look.frame["chosen_length"] - look.frame["rejected_length"]).to_numpy(float)
    gap = look.frame["gap"].to_numpy()
    every = max(1, -(-len(gap) // MOST_POINTS))
    reach = max(float(np.quantile(np.abs(apart), .99)), 1) * 1.08
    biased = look.bias is not None and look.bias.biased
    axis = sheet.cell(*box, "Length bias", "reward gap", "chosen − rejected, words", right=14,
                      x=dict(QUICK, range=[-reach, reach], nticks=6),
                      y=dict(QUICK, range=[float(look.edges[0]), float(look.edges[-1])], nticks=5))
    sheet.add(axis, x=apart[::every], y=gap[::every], mode="markers", uid="lengths", marker=dict(size=4, color=ink("grey"), opacity=.5),
              hovertemplate="%{x:+.0f} words<br>gap %{y:.2f}<br>click to read it<extra></extra>")
    ends = np.array([-reach, reach])
    colour = "orange" if biased else "ink-2"
    sheet.line(axis, ends, look.slope / 10 * ends, colour, "solid" if biased else "3px,2px", 2, uid="length-line", hoverinfo="skip")
    sheet.label(axis, 1, 0, f"{'+' if look.slope >= 0 else ''}{number(look.slope, 2)} per 10 words", "orange-text" if biased else "ink-2",
                anchor="right", xref=f"x{axis} domain", yref=f"y{axis} domain", valign="bottom", dy=6, dx=-2, bgcolor=ink("surface"))


def _categories(sheet: Sheet, box: Box, look: Look) -> None:
    told = look.categories[:MOST_LINES]
    letters, gutter = (15, 118) if box[2] - box[0] > 230 else (9, 78)
    low = 100 * min([each.low for each in told] + [.5])
    low = max(0.0, 10 * np.floor(low / 10))
    place = list(range(len(told)))[::-1]
    names = [plain(each.name if len(each.name) <= letters else each.name[:letters - 1] + "…") for each in told]
    heading = plain(look.column if len(look.column) <= 22 else look.column[:21] + "…")
    axis = sheet.cell(*box, f"By {heading}", "% right, 95 % interval" if gutter > 100 else "% right", "% of pairs", gutter=gutter, right=30,
                      x=dict(QUICK, range=[low, 101], nticks=5, showgrid=True, gridcolor=ink("grid")),
                      y=dict(QUICK, range=[-.6, len(told) - .4], tickvals=place, ticktext=names, showgrid=False,
                             tickfont=dict(size=12, color=ink("ink"))))
    sheet.rule(axis, x=100 * look.right, colour="ink-2", dash="2px,3px")
    sheet.line(axis, [x for each in told for x in (100 * each.low, 100 * each.high, None)],
               [y for k in place for y in (k, k, None)], "blue", width=1.5, hoverinfo="skip", uid="category-intervals")
    sheet.add(axis, x=[100 * each.right for each in told], y=place, mode="markers", uid="categories", cliponaxis=False,
              marker=dict(size=8, color=ink("blue"), opacity=1), customdata=[each.pairs for each in told],
              hovertemplate="%{x:.1f} % of %{customdata:,d} pairs<br>click to see them alone<extra></extra>")
    for each, k in zip(told, place, strict=True):
        sheet.label(axis, 1, k, number(100 * each.right), "ink-2", xref=f"x{axis} domain", anchor="left", dx=6)
