"""The run monitor's figure: loss, of a mixture its shares, over learning rate, gradient norm, speed and memory, as one plotly dict.

`figure(this, overlays, width)` is a pure function of curves that were read elsewhere (`curves.py`). It places every word itself, in
pixels of the sheet it composes, so that no two touch. It neither thins out points (the live figure does, for the screen) nor draws.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from widgets.frame.sheet import Sheet, ink, number, plain
from widgets.run_monitor import answers, mixing
from widgets.run_monitor.curves import Overlay, RunCurves
from widgets.run_monitor.labels import LETTER, Box, Plot, flags, middle, place, size_px

Width = Literal["wide", "medium", "narrow"]
GROWING = ("raw", "train", "rate", "grad", "speed", "memory", "card", "busy")
"""Uids of the traces that only ever grow while a run goes."""


@dataclass(frozen=True, slots=True)
class Form:
    """The composition for one width class; lengths in px."""

    width: int
    columns: int
    loss: int
    small: int
    right: int
    stretch: float


FORMS: dict[Width, Form] = {
    "wide": Form(862, 4, 300, 156, 92, 1.268),
    "medium": Form(420, 2, 262, 138, 78, 1.08),
    "narrow": Form(380, 2, 262, 138, 78, 1.0),
}
GAP = 22
"""Px between small cells."""
SHARES = 148
"""Px the cell of a mixture's shares is high, and that of a classifier's answers."""
STYLES = (("orange", "dashdot"), ("purple", "longdash"), ("sky", "dash"), ("green", "longdashdot"))
"""Colour and dash of the overlaid runs; the parent is grey and dotted."""
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def figure(this: RunCurves, overlays: Sequence[Overlay] = (), width: Width = "wide", span: float = 20, empty: tuple[str, str] = ("", ""),
           height: float | None = None) -> dict:
    """{"data", "layout"} of the run `this` with others laid over its loss.

    `span` is the number of steps the line is averaged over, `empty` the two sentences shown while there is no step, `height` in px
    makes it taller than it was composed (never shorter).
    """
    form = FORMS[width]
    columns, rows = _grid(form, this)
    mixed = this.mixing.shown
    above = form.loss + (SHARES + 14) * (bool(mixed) + bool(this.answers))
    composed = above + rows * (form.small + 14)
    sheet = Sheet(form.width, composed, max(form.stretch, (height or 0) / composed))
    if not len(this.step) and not any(len(run.step) for overlay in overlays for run in overlay.runs):
        return _empty(sheet, *empty)
    average = this.average(span)
    lines = [overlay.line(span) for overlay in overlays]
    end = _last_step(this, lines)
    loss = _cell(sheet, (0, 0, form.width, form.loss), "Loss", "nats per row" if this.answers else "nats per token", (0, end), _loss_range(this, average, lines), xtitle="step",
                 gutter=38, right=form.right, foot=38, steps=6)
    taken = flags(sheet, loss, this)
    small = _small_cells(sheet, form, this, end, above)
    if this.answers:
        bottom = form.loss + 14 + SHARES
        scores = _cell(sheet, (0, form.loss + 14, form.width, bottom), "Answers", "% of the held-out rows", (0, end), answers.span(this.answers),
                       xtitle="", gutter=38, right=form.right, foot=20, steps=6, ticks=3)
        place(sheet, scores, answers.draw(sheet, scores, this.answers), [])
        small.append(scores)
    if mixed:
        shares = _cell(sheet, (0, above - SHARES, form.width, above), "Mixture", "% of the rows, drawn over asked for", (0, end), (0, 1.1 * mixing.top(this.mixing)),
                       xtitle="", gutter=38, right=form.right, foot=20, steps=6, ticks=3)
        place(sheet, shares, mixing.draw(sheet, shares, this.step, this.mixing, mixed), [])
        small.append(shares)
    for mark in this.marks:
        sheet.change([loss.axis, *[plot.axis for plot in small]], mark.step)
    others = _overlays(sheet, loss, overlays, lines, form)
    place(sheet, loss, _loss_lines(sheet, loss, this, average) + others, taken)
    drawn = sheet.figure()
    drawn["layout"]["meta"]["zoom"] = ["x" + plot.axis for plot in (loss, *small)]  # they all have the step
    return drawn


# ---- the loss

def _last_step(this: RunCurves, lines: Sequence[tuple]) -> float:
    ends = [this.steps or 0, *(this.step[-1:]), *(this.rest_step[-1:])] + [grid[-1] for grid, *_ in lines if len(grid)]
    return max(1.0, float(max(ends)))


def _loss_range(this: RunCurves, average: np.ndarray, lines: Sequence[tuple]) -> tuple[float, float]:
    """What to show of the loss: all of it but the first steps, which may be ten times the rest, and lone spikes of the raw line."""
    low, high = [], []
    for step, value, raw in [(this.step, average, this.loss)] + [(grid, mean, mean) for grid, mean, *_ in lines]:
        fine = np.isfinite(value)
        step, value, raw = step[fine], value[fine], raw[fine]
        if not len(value):
            continue
        late = (step >= step[0] + 0.06 * (step[-1] - step[0])) if len(value) >= 12 else np.ones(len(value), bool)
        shown, noise = value[late], raw[late][np.isfinite(raw[late])]
        low += [shown.min(), np.quantile(noise, 0.03) if len(noise) else shown.min()]
        high += [np.quantile(shown, 0.97), shown[-1], np.quantile(noise, 0.9) if len(noise) else shown[-1]]
    points = this.heldout[np.isfinite(this.heldout)]
    if len(points):
        low.append(points.min())
        high += [*points[-3:], np.quantile(points, 0.9)]
    if not low:
        return 0.0, 1.0
    bottom, top = float(min(low)), float(max(high))
    pad = max(0.07 * (top - bottom), 0.02 * abs(top), 1e-3)
    return (max(0.0, bottom - pad) if bottom >= 0 else bottom - pad), top + pad


def _loss_lines(sheet: Sheet, plot: Plot, this: RunCurves, average: np.ndarray) -> list[dict]:
    """This run's lines; returns the labels to place at their ends."""
    raw_there = len(this.step) > 1
    sheet.line(plot.axis, this.step, this.loss, "blue", width=1, opacity=.28, hoverinfo="skip", uid="raw", name="raw")
    sheet.line(plot.axis, this.step, average, "blue", uid="train", name="train", mode="lines" if raw_there else "lines+markers",
               hovertemplate="step %{x:,d}<br>loss %{y:.3f}, averaged<extra></extra>")
    sheet.add(plot.axis, x=this.heldout_step, y=this.heldout, mode="markers", uid="heldout", name="held out", cliponaxis=False,
              marker=dict(size=7, symbol="circle", color=ink("surface"), line=dict(color=ink("blue"), width=2)),
              hovertemplate="step %{x:,d}<br>held-out loss %{y:.3f}<extra></extra>")
    for mark in this.marks:
        near = np.flatnonzero(np.isfinite(average) & (this.step <= mark.step))
        if mark.fork and len(near):
            sheet.add(plot.axis, x=[mark.step], y=[float(average[near[-1]])], mode="markers", uid="fork", name="fork", hoverinfo="skip",
                      marker=dict(size=10, symbol="diamond", color=ink("blue"), line=dict(color=ink("surface"), width=1.5), opacity=1))
    labels, there = [], np.flatnonzero(np.isfinite(average))
    end = float(max([*this.step[-1:], *this.heldout_step[-1:]], default=0.0))  # both stand after the last step, where they cover no line
    if len(this.heldout):
        labels.append(dict(x=end, y=float(this.heldout[-1]), text="held out", colour="blue-text", dx=10))
    if len(there):
        labels.append(dict(x=end, y=float(average[there[-1]]), text="train", colour="blue-text", dx=10))
    return labels


def _overlays(sheet: Sheet, plot: Plot, overlays: Sequence[Overlay], lines: Sequence[tuple], form: Form) -> list[dict]:
    labels, styles = [], iter(STYLES * (1 + len(overlays) // len(STYLES)))
    for k, (overlay, (grid, mean, least, most)) in enumerate(zip(overlays, lines, strict=True)):
        if not len(grid):
            continue
        colour, dash = ("grey", "dot") if overlay.parent else next(styles)
        several = len(overlay.runs) > 1
        what = "held out" if overlay.heldout else "train"
        if several:
            sheet.add(
                plot.axis,
                x=np.concatenate([grid, grid[::-1]]),
                y=np.concatenate([most, least[::-1]]),
                mode="lines",
                fill="toself",
                opacity=0.2,
                fillcolor=ink(colour),
                line=dict(width=0),
                hoverinfo="skip",
                uid=f"band-{k}",
                name=plain(overlay.label) + ", range",
            )
        sheet.line(plot.axis, grid, mean, colour, dash, 1.5, uid=f"overlay-{k}", name=plain(overlay.label),
                   hovertemplate=f"{plain(overlay.label)}<br>step %{{x:,d}}<br>{what} loss %{{y:.3f}}<extra></extra>")
        room = int((form.right - 8) / (12 * LETTER))
        second = f"{what} ×{len(overlay.runs)}" if several else what
        text = "<br>".join(plain(middle(part, room)) for part in (overlay.label, second))
        labels.append(dict(x=float(grid[-1]), y=float(mean[-1]), text=text, colour=f"{colour}-text", dx=6))
    return labels


# ---- the small cells

def _small_cells(sheet: Sheet, form: Form, this: RunCurves, end: float, above: float) -> list[Plot]:
    rates = np.concatenate([this.learning_rate, this.rest_rate])
    rate_top = float(rates[np.isfinite(rates)].max(initial=0.0))
    power = math.floor(math.log10(rate_top)) if rate_top > 0 else 0
    scale = 10.0 ** -power
    grad_top = _high(this.grad_norm)
    clip = this.clip if this.clip and this.clip <= 4 * max(grad_top, 1e-12) else None
    columns, rows = _grid(form, this)
    cells = [
        ("Learning rate", "× 10" + str(power).translate(SUPERSCRIPT) if power else "", rate_top * scale),
        ("Gradient norm", "before clip" if columns < 5 else "", max(grad_top, clip or 0)),
        ("Speed", "tokens/s", _high(this.tokens_per_s)),
        ("Memory", "GiB", max(_high(this.memory_gib), 1.1 * _high(this.card_gib), this.planned_gib or 0.0)),
        *([("GPU", "% busy", 100.0)] if len(this.utilisation) else []),
    ]
    across = (form.width - GAP * (columns - 1)) / columns
    plots = []
    for k, (name, unit, most) in enumerate(cells):
        column, row = k % columns, k // columns
        last = row == rows - 1
        top, left = above + 14 + row * (form.small + 14), column * (across + GAP)
        plots.append(
            _cell(
                sheet,
                (left, top, left + across, top + form.small),
                name,
                unit,
                (0, end),
                (0, 1.12 * most or 1.0),
                xtitle="step" if last else "",
                gutter=38,
                right=18,
                foot=38 if last else 20,
                steps=2,
                ticks=3,
            )
        )
    rate, grad, speed, memory, *card = plots
    sheet.line(rate.axis, this.step, this.learning_rate * scale, "blue", uid="rate", name="learning rate", meta=dict(scale=scale),
               hovertemplate=f"step %{{x:,d}}<br>%{{y:.3g}} × 10{str(power).translate(SUPERSCRIPT)}<extra></extra>")
    sheet.line(
        rate.axis,
        this.rest_step,
        this.rest_rate * scale,
        "blue",
        "dot",
        1.25,
        opacity=0.6,
        uid="rest",
        name="learning rate to come",
        hoverinfo="skip",
    )
    for plot, uid, name, values, width, form_of in (
        (grad, "grad", "gradient norm", this.grad_norm, 1.25, ".3g"),
        (speed, "speed", "tokens/s", this.tokens_per_s, 1.25, ",.0f"),
        (memory, "memory", "GiB", this.memory_gib, 2, ".2f"),
    ):
        sheet.line(
            plot.axis,
            this.step,
            values,
            "blue",
            width=width,
            uid=uid,
            name=name,
            hovertemplate=f"step %{{x:,d}}<br>{name} %{{y:{form_of}}}<extra></extra>",
        )
    if len(this.card_gib):
        sheet.line(memory.axis, this.step, this.card_gib, "grey", width=1, uid="card", name="GiB in use on the GPU",
                   hovertemplate="step %{x:,d}<br>GiB in use on the GPU %{y:.2f}<extra></extra>")
        told = np.flatnonzero(np.isfinite(this.card_gib))
        if len(told):  # at its beginning: this run's own memory has its value at the end
            sheet.label(memory.axis, float(this.step[told[0]]), float(this.card_gib[told[0]]), "whole GPU", "grey-text", valign="bottom", size=11, dy=1)
    for plot in card:
        sheet.line(plot.axis, this.step, this.utilisation, "blue", width=1.25, uid="busy", name="% busy",
                   hovertemplate="step %{x:,d}<br>GPU busy %{y:.0f} % of the time<extra></extra>")
    if clip:
        sheet.rule(grad.axis, y=clip, colour="vermillion", dash="dash")
        sheet.label(
            grad.axis, 1, clip, "clip", "vermillion-text", anchor="right", valign="bottom", size=11, dy=1, xref=f"x{grad.axis} domain"
        )
    known = np.flatnonzero(np.isfinite(this.memory_gib))
    early = not len(known) or memory.px(float(this.step[known[-1]])) < (memory.area.left + memory.area.right) / 2
    if this.planned_gib is not None:  # its word stands at the end where the last value does not
        sheet.rule(memory.axis, y=this.planned_gib, colour="grey", dash="dot")
        text = f"planned {number(this.planned_gib, 2)}" + (" a process" if this.processes > 1 else "")
        sheet.label(memory.axis, 1 if early else 0, this.planned_gib, text, "grey-text", anchor="right" if early else "left", size=11,
                    xref=f"x{memory.axis} domain", **_beside(memory, this, text, early))
    if len(known):
        step, value = float(this.step[known[-1]]), float(this.memory_gib[known[-1]])
        text = number(value, 1 if value >= 10 else 2)
        first = memory.px(step) - 1.3 * size_px(text, 11)[0] < memory.area.left  # a page may draw it narrower than it was composed
        sheet.label(
            memory.axis,
            step,
            value,
            text,
            "blue-text",
            valign="top",
            anchor="left" if first else "right",
            dy=-4,
            size=11,
            bgcolor=ink("surface"),
        )
    return plots


def _beside(memory: Plot, this: RunCurves, text: str, right: bool) -> dict:
    """Above the planned memory, or below it, where fewer of the memory's points lie there."""
    (wide, high), area = size_px(text, 11), memory.area
    across, up = (memory.x[1] - memory.x[0]) * wide / (area.right - area.left), (memory.y[1] - memory.y[0]) * (high + 3) / (area.bottom - area.top)
    away = this.memory_gib[this.step >= memory.x[1] - across if right else this.step <= memory.x[0] + across] - (this.planned_gib or 0.0)
    above, below = int(((away >= 0) & (away <= up)).sum()), int(((away <= 0) & (away >= -up)).sum())
    return dict(valign="top", dy=-1) if below < above else dict(valign="bottom", dy=1)


def _grid(form: Form, this: RunCurves) -> tuple[int, int]:
    """Columns and rows of the small cells: four, and one more where the GPU tells how busy it is."""
    cells = 4 + bool(len(this.utilisation))
    columns = cells if form.columns == 4 else form.columns
    return columns, math.ceil(cells / columns)


def _high(values: np.ndarray) -> float:
    """The top of what is worth seeing: the largest value, unless a few at the start stand far above the rest. 0 where nothing is known."""
    fine = values[np.isfinite(values)]
    if not len(fine):
        return 0.0
    top = float(fine.max())
    usual = float(np.quantile(fine, 0.98))
    return top if len(fine) < 50 or top <= 3 * usual else 1.5 * usual


def _cell(
    sheet: Sheet,
    box: tuple[float, float, float, float],
    name: str,
    unit: str,
    x: tuple[float, float],
    y: tuple[float, float],
    *,
    xtitle: str,
    gutter: float,
    right: float,
    foot: float,
    steps: int,
    ticks: int = 5,
) -> Plot:
    """A cell with ticks of its own, so that the static picture has the same ones as the page."""
    (x0, y0, x1, y1), top = box, 26
    axes = [
        dict(range=list(span), tickvals=values, ticktext=words)
        for span, (values, words) in ((x, _ticks(*x, steps, whole=True)), (y, _ticks(*y, ticks)))
    ]
    axis = sheet.cell(x0, y0, x1, y1, name, unit, xtitle, gutter=gutter, right=right, foot=foot, top=top, x=axes[0], y=axes[1])
    area = Box(x0 + gutter, y0 * sheet.stretch + top, x1 - right, y1 * sheet.stretch - foot)
    return Plot(axis, area, x, y)


def _ticks(low: float, high: float, about: int, whole: bool = False) -> tuple[list[float], list[str]]:
    """At most `about` + 1 round values in [low, high] and their words; steps of 1, 2, 2.5 or 5 times a power of ten."""
    if whole and about == 2 and low == 0 and high % 2 == 0:
        return [0, high / 2, high], [number(v) for v in (0, high / 2, high)]
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    if whole:
        step = max(1.0, float(math.ceil(step)))
    values = [k * step for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]
    decimals = next((d for d in range(7) if abs(step - round(step, d)) < step * 1e-6), 7)
    return values, [number(v, decimals) for v in values]


def _empty(sheet: Sheet, headline: str, more: str) -> dict:
    """What is missing and what brings it; no axes, no fake chart."""
    for text, colour, dy, size in ((f"<b>{plain(headline)}</b>", "ink", 12, 13), (plain(more), "ink-2", -12, 12)):
        sheet.label("", .5, .5, text, colour, anchor="center", dy=dy, size=size, xref="paper", yref="paper")
    figure = sheet.figure()
    figure["layout"] |= dict(xaxis=dict(visible=False, fixedrange=True), yaxis=dict(visible=False, fixedrange=True))
    return figure
