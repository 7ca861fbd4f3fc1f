"""The viewer's figure: a tensor's weights with the levels they go to, their errors, and the schemes beside each other, as one plotly dict.

`figure(...)` is a pure function of numbers that were reckoned elsewhere (`looks.py`). The pictures of activations, of the whole model, of
two runs and of a made failure are in `other_figures.py`. It neither reads weights nor draws.
"""

import math
from typing import Any

import numpy as np

from widgets.frame.sheet import QUICK, Sheet, ink, number, plain
from widgets.quantization_viewer.drawing import FORMS, GAP, LINE_PX, Form, Width, amount, bold, combed, decibels, dots, nice, perplexity, perplexity_range, unit_of
from widgets.quantization_viewer.looks import Line, TensorLook
from widgets.quantization_viewer.state import Choice

FEW_LEVELS = 33
"""Up to so many levels have a line each over the whole height; more are ticks at the top."""
TOP_DB = 60
"""Where the axis of decibels ends, unless a scheme is better."""
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def figure(look: Any, lines: list[Line], base: tuple[float | None, float] = (None, 0.0), width: Width = "wide",
           empty: tuple[str, str] = ("", "")) -> dict:
    """{"data", "layout"} of a look from `looks.py`; None is drawn as the two sentences of `empty`.

    `lines` are the schemes beside each other, for a tensor; `base` the model's perplexity as it came (None: not measured) and its bytes.
    """
    form = FORMS[width]
    if look is None:
        return Sheet(form.width, 420).empty(*empty)
    if not isinstance(look, TensorLook):
        from widgets.quantization_viewer.other_figures import draw

        return draw(look, form)
    upper = form.tall + (form.small + GAP if form.stacked else 0)
    lower = 26 + round(LINE_PX * (len(lines) + .3)) + 24
    sheet = Sheet(form.width, upper + GAP + lower, form.stretch)
    _weights(sheet, form, look)
    _errors(sheet, form, look, (0, form.tall + GAP) if form.stacked else (form.split + 16, 0))
    compare(sheet, form, lines, look.choice, upper + GAP, lower, base)
    drawn = sheet.figure()
    drawn["layout"]["bargap"] = 0.08
    return drawn


# ---- one tensor

def _weights(sheet: Sheet, form: Form, look: TensorLook) -> None:
    heights, middle = look.weights.percent, look.weights.middle
    top = nice(1.12 * max(float(heights.max(initial=0.0)), .1))
    low, high = float(look.weights.edges[0]), float(look.weights.edges[-1])
    pad = .03 * (high - low)
    count, few = len(look.levels), 0 < len(look.levels) <= FEW_LEVELS
    name = f"Weights and the {number(count)} {look.choice.scheme} levels" if count and not form.stacked else \
        f"Weights, {number(count)} levels" if count else "Weights"
    axis = sheet.cell(0, 0, form.split, form.tall, name, "% of weights per bin", look.unit, gutter=40, right=16,
                      x=dict(QUICK, range=[low - pad, high + pad], nticks=6),
                      y=dict(QUICK, range=[0, top * (1.1 if few else 1.24)], nticks=4))
    width = float(look.weights.edges[1] - look.weights.edges[0])
    sheet.add(axis, type="bar", x=middle, y=heights, width=.92 * width, hoverinfo="skip", uid="weights", opacity=.62,
              marker=dict(color=ink("grey"), line=dict(width=0)))
    if few:
        sheet.line(axis, combed(look.levels), combed([0, top] * count, pairs=True), "blue", width=1.5, uid="levels", hoverinfo="skip")
        sheet.add(axis, x=look.levels, y=np.full(count, top), mode="markers", uid="level-tops", marker=dict(size=5, color=ink("blue")),
                  hovertemplate="level %{x:.4g}<extra></extra>")
    elif count:
        shown = look.levels[(look.levels >= low - pad) & (look.levels <= high + pad)]
        sheet.line(axis, combed(shown), combed([1.04 * top, 1.12 * top] * len(shown), pairs=True), "blue", width=1, uid="levels",
                   hoverinfo="skip")
        words = f"{number(look.inside)} of {number(count)} levels where 99 % of the weights are"
        sheet.label(axis, (low + high) / 2, 1, words, "vermillion-text" if look.inside < count / 8 else "blue-text", anchor="center",
                    yref=f"y{axis} domain", valign="top", dy=1, size=12 if form.split > 400 else 11)
    else:
        sheet.label(axis, high, 1, f"{look.choice.scheme} has levels everywhere", "blue-text", anchor="right", yref=f"y{axis} domain",
                    valign="top")
    if not look.exact:
        sheet.label(axis, high + pad, 1 if few else .86, "a sample", "ink-3", anchor="right", yref=f"y{axis} domain", valign="top", dx=-2,
                    dy=-10 if few else 0, size=11)


def _errors(sheet: Sheet, form: Form, look: TensorLook, corner: tuple[int, int]) -> None:
    x0, y0 = corner
    power, reach = _scale(look)
    times = f", × 10{str(power).translate(SUPERSCRIPT)}" if power else ""
    curves = [(look.errors, look.choice, "blue", "solid")]
    if look.rival_errors is not None and look.rival is not None:
        curves.append((look.rival_errors, look.rival, "grey", "dot"))
    density = [_density(errors, reach) for errors, *_ in curves]
    highest = max((float(y.max(initial=0)) for _, y in density), default=0) or 1
    axis = sheet.cell(x0, y0, form.width, y0 + form.small, "Error", "% of weights per bin", f"quantized − original{times}", gutter=34,
                      right=8, x=dict(QUICK, range=[-reach / 10 ** power, reach / 10 ** power], nticks=5),
                      y=dict(QUICK, range=[0, 1.16 * highest], nticks=5))
    for (*_, colour, dash), (x, y) in reversed(list(zip(curves, density, strict=True))):
        more = dict(fill="tozeroy", fillcolor=ink("blue-fill")) if colour == "blue" else {}
        sheet.line(axis, x / 10 ** power, y, colour, dash, 2 if colour == "blue" else 1.5, uid="error" if colour == "blue" else "rival",
                   hoverinfo="skip", **more)
    for k, (_, choice, colour, _) in enumerate(curves):
        sheet.label(axis, reach / 10 ** power, 1, f"{'━' if colour == 'blue' else '┈'} {_short(choice)}", f"{colour}-text", anchor="right",
                    valign="top", yref=f"y{axis} domain", dx=-2, dy=-2 - 17 * k)


def compare(sheet: Sheet, form: Form, lines: list[Line], choice: Choice, y0: int, height: int, base: tuple[float | None, float]) -> None:
    """The schemes, one a line: decibels, perplexity where it was measured, size."""
    count = len(lines)
    place = [count - 1 - k for k in range(count)]
    chosen = [line.choice.key == choice.key for line in lines]
    known = [line.sqnr_db for line in lines if line.sqnr_db is not None and np.isfinite(line.sqnr_db)]
    end = max(TOP_DB, 10 * math.ceil((max(known, default=0) + 6) / 10))
    span = [-.7, count - .3]
    edge = 506 if not form.stacked else form.width
    names = [f"<b>{line.choice.label}</b>" if on else line.choice.label for line, on in zip(lines, chosen, strict=True)]
    axis = sheet.cell(0, y0, edge, y0 + height, "Signal to error", "SQNR, dB, this tensor" if not form.stacked else "SQNR, dB",
                      gutter=form.gutter,
                      right=18 + form.right, foot=24, x=dict(QUICK, range=[0, end], dtick=10 if not form.stacked else 20, showline=False),
                      y=dict(QUICK, range=span, tickvals=place, ticktext=names,
                             tickfont=dict(size=12 if not form.stacked else 11, color=ink("ink"))))
    dots(sheet, axis, [None if line.sqnr_db is None else min(max(line.sqnr_db, 0), end) for line in lines], place, chosen, "sqnr",
          ["" if line.sqnr_db is None else decibels(line.sqnr_db) for line in lines])
    if form.stacked:
        _columns(sheet, axis, form, lines, place, chosen, base)
        return
    measured = [line.perplexity for line in lines if line.perplexity is not None] + ([base[0]] if base[0] is not None else [])
    unit = "not measured yet" if base[0] is None else f"measured, as it came {perplexity(base[0])}"
    low, high = perplexity_range(measured, base[0])
    axis = sheet.cell(edge + 14, y0, 778, y0 + height, "Perplexity", unit, gutter=6, right=44, foot=24,
                      x=dict(QUICK, range=[low, high], nticks=4, showline=False, showticklabels=bool(measured)),
                      y=dict(QUICK, range=span, tickvals=place, showticklabels=False))
    dots(sheet, axis, [None if line.perplexity is None else min(line.perplexity, high) for line in lines], place, chosen, "perplexity",
          ["" if line.perplexity is None else perplexity(line.perplexity) for line in lines])
    if base[0] is not None:
        sheet.rule(axis, x=base[0], colour="ink-2", dash="2px,3px")
    size, word = unit_of(base[1])
    axis = sheet.cell(786, y0, 862, y0 + height, "Size", word, gutter=0, right=0, foot=24,
                      x=dict(range=[0, 1], tickvals=[], showticklabels=False, showline=False),
                      y=dict(range=span, tickvals=[], showticklabels=False, showgrid=False))
    for line, at, on in zip(lines, place, chosen, strict=True):
        if line.size is not None:
            sheet.label(axis, 0, at, bold(amount(line.size / size), on), "blue-text" if on else "ink-2", dx=0)


def _columns(sheet: Sheet, axis: str, form: Form, lines: list[Line], place: list[int], chosen: list[bool],
             base: tuple[float | None, float]) -> None:
    """Perplexity and size as words, right of the decibels."""
    size, word = unit_of(base[1])
    for dx, name in ((60, "perpl."), (form.right + 14, word)):
        sheet.label(axis, 1, 1, name, "ink-2", anchor="right", valign="bottom", xref=f"x{axis} domain", yref=f"y{axis} domain", dx=dx, dy=7,
                    size=11)
    for line, at, on in zip(lines, place, chosen, strict=True):
        colour = "blue-text" if on else "ink-2"
        for dx, words in ((60, "–" if line.perplexity is None else perplexity(line.perplexity)),
                          (form.right + 14, "–" if line.size is None else amount(line.size / size))):
            sheet.label(axis, 1, at, bold(words, on), colour, anchor="right", xref=f"x{axis} domain", dx=dx, size=11)


def _short(choice: Choice) -> str:
    return plain(choice.label)


def _scale(look: TensorLook) -> tuple[int, float]:
    """The power of ten the errors are told in, and how far the axis goes: what holds all but the rarest."""
    ends = [abs(float(edge)) for errors in (look.errors, look.rival_errors) if errors is not None for edge in _most_of(errors)]
    reach = nice(max(max(ends, default=0.0), 1e-12))
    power = math.floor(math.log10(reach))
    return (power if power < -1 or power > 2 else 0), reach


def _most_of(errors: Any) -> tuple[float, float]:
    """Edges between which 99.8 % of the errors lie."""
    total = np.cumsum(errors.counts) / max(1, errors.counts.sum())
    low, high = int(np.searchsorted(total, .001)), int(np.searchsorted(total, .999))
    return float(errors.edges[low]), float(errors.edges[min(high + 1, len(errors.edges) - 1)])


def _density(errors: Any, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Percent of the weights in bins of a fortieth of the axis, so that curves of two schemes can be told apart: (middles, heights)."""
    width = float(errors.edges[1] - errors.edges[0])
    join = max(1, round(reach / 60 / width)) if width else 1
    half = len(errors.counts) // 2
    first = half % join if join > 1 else 0
    whole = (len(errors.counts) - first) // join * join
    y = errors.percent[first:first + whole].reshape(-1, join).sum(1)
    x = errors.middle[first:first + whole].reshape(-1, join).mean(1)
    return x, y * (reach / 40 / (width * join) if width else 1)
