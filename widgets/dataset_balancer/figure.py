"""The balancer's figure: shares, repetitions, lengths and padding, as one plotly dict.

`figure(balance, width)` is a pure function of numbers that were reckoned elsewhere (`balance.py`). It neither reads rows nor draws.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from widgets.dataset_balancer.balance import MANY_EPOCHS, Balance
from widgets.dataset_balancer.words import percent, short, times
from widgets.frame.sheet import QUICK, Sheet, hatch, ink, number, plain

Width = Literal["wide", "medium", "narrow"]
MOST_LINES = 60
"""Sources with a line of their own; the smallest others share the last."""
FURTHEST = 12
"""Epochs up to which a bar grows; a longer one is cut there and says how many it is."""
GAP = 26


@dataclass(frozen=True, slots=True)
class Form:
    """The composition for one width class; lengths in px."""

    width: int
    split: int
    """Where the share cell ends and that of the epochs begins."""
    gutter: int
    below: int
    """Columns of the lower cells."""
    letters: int
    """Of a source's name."""


FORMS: dict[Width, Form] = {"wide": Form(862, 500, 122, 2, 18), "medium": Form(420, 262, 98, 1, 14), "narrow": Form(372, 226, 88, 1, 12)}


@dataclass(slots=True)
class Line:
    """One line of the upper cells."""

    name: str
    natural: float
    share: float
    epochs: float
    stages: list[float]


def figure(found: Balance | None, width: Width = "wide", max_length: int = 512, batch_size: int = 8, picked: frozenset = frozenset(),
           empty: tuple[str, str] = ("", "")) -> dict:
    """{"data", "layout"}. `picked` sources stand in bold; `empty` are the two sentences where there is no balance to show."""
    form = FORMS[width]
    if found is None:
        return Sheet(form.width, 420).empty(*empty)
    lines = lines_of(found)
    step = next(px for most, px in ((5, 38), (10, 30), (18, 24), (MOST_LINES, 18)) if len(lines) <= most)
    top = 26 + 22 + round(step * (len(lines) + .2)) + 24
    low = max(214, 590 - top - GAP) if form.below == 2 else 214
    sheet = Sheet(form.width, top + GAP + low * (3 - form.below) + (GAP if form.below == 1 else 0) - (44 if form.below == 1 else 0))
    span = [-.6, len(lines) - 1 + .6 + 22 / step]
    _shares(sheet, form, found, lines, top, span, step, picked)
    _epochs(sheet, form, lines, top, span, width)
    second = (form.split + 12, top + GAP) if form.below == 2 else (0, top + 2 * GAP + low)
    if found.waste is None:
        words = "Lengths are not measured yet." if len(found.unknown) == len(found.names) else \
            f"Lengths of {plain(found.unknown[0][:24])} are not measured yet."
        sheet.notes.append(dict(xref="paper", yref="paper", x=.5, y=0, yanchor="bottom", yshift=low / 2, text=words, showarrow=False,
                                font=dict(size=12, color=ink("ink-3"))))
        return sheet.figure()
    _lengths(sheet, form, found, top + GAP, low, max_length)
    _padding(sheet, form, found, second, batch_size, low if form.below == 2 else low - 44)
    drawn = sheet.figure()
    drawn["layout"]["barmode"] = "overlay"
    return drawn


def lines_of(found: Balance) -> list[Line]:
    """From below to above, as plotly counts."""
    lines = [Line(name, found.natural[name], found.shares[name], found.epochs[name], [of[name] for of in found.stages])
             for name in found.names]
    if len(lines) > MOST_LINES:
        rest = lines[MOST_LINES - 1:]
        rows = sum(found.rows[line.name] for line in rest)
        joined = Line(f"{len(rest)} others", sum(line.natural for line in rest), sum(line.share for line in rest),
                      sum(line.epochs * found.rows[line.name] for line in rest) / rows,
                      [sum(line.stages[k] for line in rest) for k in range(len(found.stages))])
        lines = [*lines[:MOST_LINES - 1], joined]
    return lines[::-1]


def _shares(sheet: Sheet, form: Form, found: Balance, lines: list[Line], top: int, span: list, step: int, picked: frozenset) -> None:
    count, size = len(lines), 12 if step > 20 else 11
    unit = f"% of {found.by}" + ("" if not found.stages else " · △ stage 1, □ stage 2" if form.below == 2 else " · △ 1, □ 2")
    title = "Share" if found.stages and form.below == 1 else "Share of training"
    most = 100 * max([*(line.natural for line in lines), *(line.share for line in lines), *(s for line in lines for s in line.stages), .01])
    ticks = next((each for each in (1, 2, 5, 10, 20, 25) if most / each <= (6 if form.below == 2 else 4)), 25)
    most = ticks * math.ceil(most / ticks)  # an axis that stands still while discs move
    axis = sheet.cell(0, 0, form.split, top, title, unit, gutter=form.gutter, right=46 if form.below == 2 else 22, foot=24,
                      x=dict(QUICK, range=[-.03 * most, most * 1.05], dtick=ticks, showgrid=True, gridcolor=ink("grid"), showline=False),
                      y=dict(QUICK, range=span, showgrid=False, tickvals=list(range(count)), tickfont=dict(size=size, color=ink("ink")),
                             ticktext=[_name(line.name, form.letters, line.name in picked) for line in lines]))
    place = list(range(count))
    natural, share = ([100 * getattr(line, what) for line in lines] for what in ("natural", "share"))
    sheet.line(axis, [x for pair in zip(natural, share, strict=True) for x in (*pair, None)],
               [y for k in place for y in (k, k, None)], "grey", width=1.5, hoverinfo="skip", uid="moves")
    for stage, (symbol, word) in enumerate((("triangle-up-open", "stage 1"), ("square-open", "stage 2")) if found.stages else ()):
        sheet.add(axis, x=[100 * line.stages[stage] for line in lines], y=place, mode="markers", uid=f"stage-{stage + 1}", name=word,
                  marker=dict(size=7, symbol=symbol, color=ink("ink-2"), opacity=1, line=dict(width=1.5)),
                  hovertemplate=f"{word} %{{x:.1f}} %<extra></extra>")
    sheet.add(axis, x=natural, y=place, mode="markers", uid="natural", name="natural",
              marker=dict(size=9 if step > 20 else 8, symbol="circle-open", color=ink("grey"), line=dict(width=2)),
              hovertemplate="natural %{x:.1f} %<extra></extra>")
    sheet.add(axis, x=share, y=place, mode="markers", uid="mixed", name="mixed",
              marker=dict(size=10 if step > 20 else 8, color=ink("blue")), hovertemplate="mixed %{x:.1f} %<extra></extra>")
    first = lines[-1]
    if abs(first.natural - first.share) < .005:
        sheet.label(axis, 100 * first.share, count - 1, "mixed as natural", "ink-2", anchor="right" if first.share * 200 > most else "left",
                    valign="bottom", dx=8 if first.share * 200 > most else -8, dy=7)
        return
    apart = abs(first.natural - first.share) * 100 / (1.08 * most) * (form.split - form.gutter - (46 if form.below == 2 else 22))
    for value, word, colour in ((first.share, "mixed", "blue-text"), (first.natural, "natural", "grey-text")):
        left = value == min(first.share, first.natural)
        aside = min(10.0, apart / 2 - 4)  # px that a word reaches in over its mark
        sheet.label(axis, 100 * value, count - 1, word, colour, anchor="right" if left else "left", valign="bottom",
                    dx=aside if left else -aside, dy=7)


def _epochs(sheet: Sheet, form: Form, lines: list[Line], top: int, span: list, width: Width) -> None:
    longest = max(line.epochs for line in lines)
    reach = next((end for end in (6, 8, 10) if longest * 1.02 <= end), FURTHEST)
    right = 44 if form.below == 2 else 34
    name, unit = ("Times repeated", "epochs of each source") if form.below == 2 else ("Repeated", "epochs")
    axis = sheet.cell(form.split + 12, 0, form.width, top, name, unit, gutter=4, right=right, foot=24,
                      x=dict(QUICK, range=[0, reach], dtick=2 if form.below == 1 or reach > 6 else 1, showline=False),
                      y=dict(QUICK, range=span, showgrid=False, showticklabels=False, tickvals=[]))
    place, over = list(range(len(lines))), [line.epochs > MANY_EPOCHS for line in lines]
    ends = [min(line.epochs, reach) for line in lines]
    sheet.add(axis, type="bar", orientation="h", x=ends, y=place, width=.58, hoverinfo="skip", uid="epochs",
              marker=hatch(["vermillion" if bad else "blue" for bad in over], over))
    sheet.add(axis, x=ends, y=place, mode="text", text=["\u00a0" + times(line.epochs) for line in lines], uid="epoch-words",
              hoverinfo="skip", textposition="middle right", cliponaxis=False,
              textfont=dict(size=12 if len(lines) <= 18 else 11, color=[ink("vermillion-text" if bad else "ink-2") for bad in over]))
    sheet.rule(axis, x=MANY_EPOCHS, colour="ink-2", dash="2px,3px")
    sheet.label(axis, MANY_EPOCHS, 1, f"little new after {MANY_EPOCHS}" if form.below == 2 else f"limit {MANY_EPOCHS}", "ink-2", size=11,
                anchor="left" if form.below == 2 else "right", dx=5 if form.below == 2 else -3, yref=f"y{axis} domain", valign="top", dy=-3)


def _lengths(sheet: Sheet, form: Form, found: Balance, y0: int, height: int, max_length: int) -> None:
    bins = found.bins
    edges = bins.edges if bins.linear else np.log2(bins.edges)
    end = max(float(edges[-1]), (max_length if bins.linear else np.log2(max_length)) * 1.02)
    end = min(end, float(edges[-1]) * (1.6 if bins.linear else 1.25))
    if bins.linear:
        axis_x = dict(QUICK, range=[0, end], nticks=6)
    else:
        powers = [k for k in range(int(edges[0]), int(np.ceil(end)) + 1) if k % (2 if end - edges[0] > 4 else 1) == 0]
        axis_x = dict(QUICK, range=[float(edges[0]), end], tickvals=powers, ticktext=[number(2 ** k) for k in powers])
    highest = 100 * max(float(bins.shares.max()), float(bins.picked.max()) if bins.picked is not None else 0)
    top = 5 * math.ceil(highest * 1.32 / 5)
    axis = sheet.cell(0, y0, form.split if form.below == 2 else form.width, y0 + height, "Length of an example", "% of examples",
                      "tokens" if bins.linear else "tokens (log scale)", gutter=form.gutter if form.below == 2 else 40,
                      right=46 if form.below == 2 else 22, x=axis_x, y=dict(QUICK, range=[0, top], nticks=4))
    middle, wide = (edges[1:] + edges[:-1]) / 2, float(edges[1] - edges[0])
    over = (bins.edges[:-1] >= max_length) | (np.sqrt(bins.edges[1:] * np.maximum(bins.edges[:-1], .5)) > max_length)
    sheet.add(axis, type="bar", x=middle, y=100 * bins.shares, width=.92 * wide, hoverinfo="skip", uid="lengths",
              marker=hatch(["vermillion" if bad else "blue" for bad in over], list(over)))
    if bins.picked is not None:
        sheet.line(axis, np.repeat(edges, 2)[1:-1], np.repeat(100 * bins.picked, 2), "ink", width=1.5, uid="picked", hoverinfo="skip")
    cut = found.waste["truncated_share"]
    at = max_length if bins.linear else float(np.log2(max_length))
    inside = at <= end
    colour = "vermillion-text" if cut else "ink-2"
    words = f"max length {number(max_length)}<br><span style='color:{ink(colour)}'>{percent(cut)} % truncated</span>"
    if inside:
        sheet.rule(axis, x=at, colour="ink-2", dash="2px,3px")
    side = not inside or at > (float(axis_x["range"][0]) + end) / 2
    sheet.label(axis, at if inside else end, 1, words, "ink-2", yref=f"y{axis} domain", valign="top", anchor="right" if side else "left",
                dx=-6 if side else 6, bgcolor=ink("surface"))


def _padding(sheet: Sheet, form: Form, found: Balance, corner: tuple[int, int], batch_size: int, height: int) -> None:
    x0, y0 = corner
    axis = sheet.cell(x0, y0, form.width, y0 + height, "Positions in a batch", "% spent on padding", "% of positions", gutter=4,
                      right=52, x=dict(QUICK, range=[0, 100], tickvals=[0, 25, 50, 75, 100]),
                      y=dict(QUICK, range=[-.45, 1.75], tickvals=[], showgrid=False, showticklabels=False))
    rows = (("packed (best fit, decreasing)", found.waste["packing_waste"]),
            (f"padded to the longest of {batch_size}", found.waste["padding_share"]))
    wasted = [100 * share for _, share in rows]
    sheet.add(axis, type="bar", orientation="h", x=[100 - share for share in wasted], y=[0, 1], width=.4, hoverinfo="skip", uid="kept",
              marker=dict(color=ink("blue")))
    sheet.add(axis, type="bar", orientation="h", x=wasted, y=[0, 1], base=[100 - share for share in wasted], width=.4, hoverinfo="skip",
              uid="wasted", marker=hatch(["vermillion"] * 2, [True] * 2))
    for k, (words, share) in enumerate(rows):
        sheet.label(axis, 0, k + .2, words, "ink", valign="bottom", dy=2, dx=-2)
        sheet.label(axis, 100, k, f"{percent(share)} %", "vermillion-text", dx=6)


def _name(name: str, letters: int, picked: bool) -> str:
    """A source's name as a tick."""
    shown = plain(short(name, letters))
    return f"<b>{shown}</b>" if picked else shown
