"""The viewer's other pictures: what goes into a layer, the whole model, two runs, and a made failure with the schemes side by side.

Pure functions of `looks.py`, drawn into a `Sheet`. The picture of one tensor is in `figure.py`.
"""

from typing import Any

import numpy as np

from widgets.frame.sheet import QUICK, Sheet, hatch, ink, number, plain
from widgets.quantization_viewer.drawing import GAP, LINE_PX, Form, amount, bold, combed, decibels, dots, marks, nice, perplexity, perplexity_range, unit_of
from widgets.quantization_viewer.looks import ActivationLook, FailureLook, ModelLook, TrainingLook

MOST_BARS = 512
"""Bars of a cell; of more features than that each bar stands for the largest of its neighbours."""
FEW_OUTLIERS = 40
"""Up to so many bars are striped and have a triangle; of more the line of the threshold tells enough."""
MOST_LAYERS = 28
"""Lines of the sensitivity cell: the most sensitive ones, in the model's order."""
PLACES = {"weight row": "row of the weights", "token": "token", "feature": "input feature"}


def draw(look: Any, form: Form) -> dict:
    """{"data", "layout"} of an `ActivationLook`, `FailureLook`, `ModelLook` or `TrainingLook`."""
    kind = {ActivationLook: _activations, FailureLook: _failure, ModelLook: _model, TrainingLook: _training}[type(look)]
    sheet = kind(look, form)
    drawn = sheet.figure()
    drawn["layout"]["barmode"] = "overlay"
    return drawn


# ---- activations

def _activations(look: ActivationLook, form: Form) -> Sheet:
    rows = max(len(look.schemes), len(look.output))
    lower = 26 + round(LINE_PX * (rows + .3)) + 24 + 16
    second = form.tall + GAP
    sheet = Sheet(form.width, second + lower + (GAP + lower if form.stacked else 0), form.stretch)
    out = look.outliers
    unit = f"{number(len(out))} of {number(len(look.maxima))} over the threshold" if not form.stacked else f"{number(len(out))} outliers"
    axis, height = _stems(sheet, (0, 0, form.width, form.tall), "Largest input of each feature", unit, look.maxima, set(out.tolist()),
                          "input feature",
                          look.threshold)
    sheet.rule(axis, y=look.threshold, colour="ink-2", dash="2px,3px")
    sheet.label(axis, 1, look.threshold, f"threshold {number(look.threshold, 1)}", "ink-2", anchor="right", valign="bottom",
                xref=f"x{axis} domain",
                dx=-2, dy=2, size=11, bgcolor=ink("surface"))
    edge = form.width if form.stacked else 446
    _dumbbells(sheet, (0, second, edge, second + lower), look.schemes, form)
    corner = (0, second + lower + GAP) if form.stacked else (edge + 16, second)
    _scheme_dots(sheet, (*corner, form.width, corner[1] + lower), "Output of the layer", "W and X quantized, dB",
                 look.output, {"LLM.int8()": "blue"}, form)
    return sheet


def _dumbbells(sheet: Sheet, box: tuple, schemes: list[tuple[str, float, float]], form: Form) -> None:
    count = len(schemes)
    place = [count - 1 - k for k in range(count)]
    known = [value for _, *two in schemes for value in two if np.isfinite(value)]
    low, high = min([0.0, *known]), max([30.0, *known]) + 4
    axis = sheet.cell(*box, "Static against dynamic", "dB, ○ static, ● dynamic" if form.stacked else "X quantized, dB: ○ static, ● dynamic",
                      gutter=form.gutter - 20, right=40, foot=24, x=dict(QUICK, range=[low - 2, high], nticks=5, showline=False),
                      y=dict(QUICK, range=[-.7, count - .3], tickvals=place, ticktext=[plain(name) for name, *_ in schemes],
                             tickfont=dict(size=12, color=ink("ink"))))
    sheet.line(axis, [x for _, dynamic, static in schemes for x in (static, dynamic, None)], [y for at in place for y in (at, at, None)],
               "grey",
               width=1.5, hoverinfo="skip", uid="gaps")
    sheet.add(axis, x=[static for *_, static in schemes], y=place, mode="markers", uid="static", hoverinfo="skip", cliponaxis=False,
              marker=dict(size=9, symbol="circle-open", color=ink("grey"), line=dict(width=2)))
    sheet.add(axis, x=[dynamic for _, dynamic, _ in schemes], y=place, mode="markers", uid="dynamic", hoverinfo="skip", cliponaxis=False,
              marker=dict(size=9, color=ink("blue")))
    for (_, dynamic, static), at in zip(schemes, place, strict=True):
        sheet.label(axis, max(dynamic, static), at, decibels(dynamic), "blue-text", dx=9)


def _scheme_dots(sheet: Sheet, box: tuple, name: str, unit: str, values: list[tuple[str, float]], marked: dict[str, str],
                 form: Form) -> str:
    """A scheme a line; `marked` ones are blue or vermillion, the last by an x as well."""
    count = len(values)
    place = [count - 1 - k for k in range(count)]
    high = max([40.0, *(value for _, value in values if np.isfinite(value))]) + 4
    low = min([0.0, *(value for _, value in values if np.isfinite(value))])
    colours = [marked.get(scheme, "grey") for scheme, _ in values]
    axis = sheet.cell(*box, name, unit, gutter=form.gutter - 16, right=40, foot=24,
                      x=dict(QUICK, range=[low - 1, high], nticks=5, showline=False),
                      y=dict(QUICK, range=[-.7, count - .3], tickvals=place, tickfont=dict(size=12, color=ink("ink")),
                             ticktext=[bold(plain(scheme), colour != "grey") for (scheme, _),
                                       colour in zip(values, colours, strict=True)]))
    marks(sheet, axis, [min(value, high) for _, value in values], place, colours, "schemes", [decibels(value) for _, value in values])
    return axis


def _stems(sheet: Sheet, box: tuple, name: str, unit: str, values: np.ndarray, marked: set[int], xtitle: str,
           also: float = 0.0) -> tuple[str, float]:
    """Bars side by side, those of `marked` striped in vermillion under a triangle. Returns the axis and its height."""
    group = max(1, -(-len(values) // MOST_BARS))
    starts = np.arange(0, len(values), group)
    heights = np.maximum.reduceat(np.nan_to_num(values, posinf=0.0), starts) if len(values) else values
    hot = [any(place in marked for place in range(start, min(start + group, len(values)))) for start in starts.tolist()]
    top = nice(max(1.16 * float(heights.max(initial=0.0)), 1.2 * also, 1e-9))
    axis = sheet.cell(*box, name, unit, xtitle, gutter=40, right=10, x=dict(QUICK, range=[-.6 * group, len(values) - .4 * group], nticks=8),
                      y=dict(QUICK, range=[0, top], nticks=5))
    wide = group * (.86 if len(starts) <= 160 else 1.0)
    cold = [k for k, is_hot in enumerate(hot) if not is_hot]
    warm = [k for k, is_hot in enumerate(hot) if is_hot]
    sheet.add(axis, type="bar", x=starts[cold], y=heights[cold], width=wide, hoverinfo="skip", uid="stems",
              marker=dict(color=ink("grey"), line=dict(width=0)))
    if warm:
        marked = [k for k in warm if len(warm) <= FEW_OUTLIERS]
        sheet.add(axis, type="bar", x=starts[warm], y=heights[warm], width=wide, hoverinfo="skip", uid="outliers",
                  marker=hatch(["vermillion"] * len(warm), [len(warm) <= FEW_OUTLIERS] * len(warm)))
        sheet.add(axis, x=starts[marked], y=heights[marked] + .035 * top, mode="markers", uid="outlier-marks", hoverinfo="skip",
                  cliponaxis=False,
                  marker=dict(size=8, symbol="triangle-down", color=ink("vermillion")))
    return axis, top


# ---- a made failure

def _failure(look: FailureLook, form: Form) -> Sheet:
    lower = 26 + round(LINE_PX * (len(look.schemes) + .3)) + 24
    second = form.tall + GAP
    sheet = Sheet(form.width, second + lower + (GAP + form.small if form.stacked else 0), form.stretch)
    whose = {"weight row": "Largest weight of each row", "token": "Largest input of each token",
             "feature": "Largest input of each feature"}[look.kind]
    edge = form.width if form.stacked else 430
    _spread(sheet, (0, 0, edge, form.tall), whose, look)
    corner = (0, second) if form.stacked else (edge + 16, 0)
    _each_error(sheet, (*corner, form.width, corner[1] + (form.small if form.stacked else form.tall)), look)
    third = second + (form.small + GAP if form.stacked else 0)
    _scheme_dots(sheet, (0, third, form.width, third + lower), "The schemes side by side",
                 "SQNR of the product X·W, the outlier left out, dB" if not form.stacked else "SQNR, dB", look.schemes,
                 {look.fails: "vermillion", look.cure: "blue"}, form)
    return sheet


def _spread(sheet: Sheet, box: tuple, name: str, look: FailureLook) -> None:
    """The magnitudes as dots on a logarithmic axis, where the others stay to be seen beside the outlier."""
    values = np.maximum(look.magnitudes.astype(float), 1e-12)
    low, high = np.log10(values.min()) - .15, np.log10(values.max()) + .3
    axis = sheet.cell(*box, name, "log scale", PLACES[look.kind], gutter=44, right=10,
                      x=dict(QUICK, range=[-.02 * len(values), 1.02 * len(values)], nticks=6),
                      y=dict(QUICK, type="log", range=[low, high], dtick=1))
    rest = np.flatnonzero(np.arange(len(values)) != look.outlier)
    sheet.add(axis, x=rest, y=values[rest], mode="markers", uid="stems", hoverinfo="skip", marker=dict(size=4, color=ink("grey")))
    sheet.add(axis, x=[look.outlier], y=[values[look.outlier]], mode="markers", uid="outliers", hoverinfo="skip", cliponaxis=False,
              marker=dict(size=10, symbol="triangle-up", color=ink("vermillion")))
    left = look.outlier < len(values) / 2
    sheet.label(axis, look.outlier, float(np.log10(values[look.outlier])), f"{number(look.ratio)} times the one in the middle",
                "vermillion-text",
                anchor="left" if left else "right", dx=10 if left else -10, size=11)


def _each_error(sheet: Sheet, box: tuple, look: FailureLook) -> None:
    values = {name: np.asarray(each, float) for name, each in look.errors.items()}
    finite = np.concatenate([each[np.isfinite(each)] for each in values.values()])
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 40.0)
    low, high = min(0.0, low), high + .18 * max(high - low, 5)
    axis = sheet.cell(*box, f"Signal to error of each {look.across}", "dB", look.across, gutter=34, right=10,
                      x=dict(QUICK, range=[-.5, len(next(iter(values.values()))) - .5], nticks=6),
                      y=dict(QUICK, range=[low, high], nticks=5))
    for k, (name, colour, symbol) in enumerate(((look.fails, "vermillion", "triangle-down"), (look.cure, "blue", "circle"))):
        each = values[name]
        sheet.add(axis, x=np.arange(len(each)), y=each, mode="markers", uid=f"each-{colour}", hoverinfo="skip",
                  marker=dict(size=5, symbol=symbol, color=ink(colour)))
        sheet.label(axis, 1, 1, ("▾ " if symbol == "triangle-down" else "● ") + plain(name), f"{colour}-text", anchor="right", valign="top",
                    xref=f"x{axis} domain",
                    yref=f"y{axis} domain", dx=-2 - 110 * k, dy=-1)


# ---- the whole model

def _model(look: ModelLook, form: Form) -> Sheet:
    lines = [line for line in look.lines if line.perplexity is not None or line.size is not None]
    layers = most_sensitive(look)
    rows = max(len(lines), len(layers), 6)
    step = LINE_PX if rows <= 12 else 20
    height = 26 + round(step * (rows + .3)) + 40
    sheet = Sheet(form.width, height + (GAP + height if form.stacked else 0), form.stretch)
    edge = form.width if form.stacked else 424
    _perplexities(sheet, (0, 0, edge, height), lines, look, form)
    corner = (0, height + GAP) if form.stacked else (edge + 16, 0)
    _sensitivity(sheet, (*corner, form.width, corner[1] + height), layers, look, form)
    return sheet


def most_sensitive(look: ModelLook) -> list[tuple[str, float]]:
    """The layers that are drawn, in the model's order, from above."""
    worst = sorted(look.sensitivity, key=lambda of: -of[1])[:MOST_LAYERS]
    return [of for of in look.sensitivity if of in worst]


def _perplexities(sheet: Sheet, box: tuple, lines: list, look: ModelLook, form: Form) -> None:
    count = max(1, len(lines))
    place = [count - 1 - k for k in range(len(lines))]
    values = [line.perplexity for line in lines if line.perplexity is not None]
    low, high = perplexity_range(values + ([look.base] if look.base is not None else []), look.base)
    size, word = unit_of(look.base_size)
    unit = f"as it came {perplexity(look.base)}, {amount(look.base_size / size)} {word}" if look.base is not None else "not measured yet"
    axis = sheet.cell(*box, "Perplexity", unit, gutter=form.gutter, right=96, foot=40, xtitle="perplexity on held-out text",
                      x=dict(QUICK, range=[low, high], nticks=4, showticklabels=bool(values)),
                      y=dict(QUICK, range=[-.7, count - .3], tickvals=place,
                             ticktext=[bold(line.choice.label, line.choice.key == look.chosen.key) for line in lines],
                             tickfont=dict(size=12 if not form.stacked else 11, color=ink("ink"))))
    chosen = [line.choice.key == look.chosen.key for line in lines]
    dots(sheet, axis, [None if line.perplexity is None else min(line.perplexity, high) for line in lines], place, chosen, "perplexity",
          ["" if line.perplexity is None else perplexity(line.perplexity) for line in lines])
    if look.base is not None:
        sheet.rule(axis, x=look.base, colour="ink-2", dash="2px,3px")
    for line, at in zip(lines, place, strict=True):
        if line.size is not None:
            sheet.label(axis, 1, at, f"{amount(line.size / size)} {word}", "ink-2", anchor="right", xref=f"x{axis} domain", dx=96, size=11)


def _sensitivity(sheet: Sheet, box: tuple, layers: list[tuple[str, float]], look: ModelLook, form: Form) -> None:
    count = max(1, len(layers))
    place = [count - 1 - k for k in range(len(layers))]
    base = look.base if look.base is not None else min((value for _, value in layers), default=1.0)
    worse = [100 * (value / base - 1) for _, value in layers]
    most = nice(max([.05, *(abs(value) for value in worse if np.isfinite(value))]) * 1.08)
    low = 1.15 * min([0.0, *(value for value in worse if np.isfinite(value))])
    unit = f"one at a time, {plain(look.scheme)}" if layers else "not measured yet"
    size = 12 if len(layers) <= 12 else 11
    axis = sheet.cell(*box, "Sensitivity of layers", unit, gutter=form.gutter - (8 if form.stacked else 0), right=46, foot=40,
                      xtitle="perplexity, % above the model as it came",
                      x=dict(QUICK, range=[low, most], nticks=5, showticklabels=bool(layers)),
                      y=dict(QUICK, range=[-.7, count - .3], tickvals=place, showgrid=False, tickfont=dict(size=size, color=ink("ink")),
                             ticktext=[plain(short_layer(name)) for name, _ in layers]))
    shown = [min(value, most) if np.isfinite(value) else most for value in worse]
    worst = max(worse, default=0.0)
    sheet.add(axis, type="bar", orientation="h", x=shown, y=place, width=.56, uid="sensitivity", hovertemplate="%{x:.3f} %<extra></extra>",
              marker=dict(color=[ink("blue" if value == worst else "grey") for value in worse], line=dict(width=0)))
    sheet.add(axis, x=[max(value, 0) for value in shown], y=place, mode="text",
              text=["\u00a0" + number(value, 2 if most < 10 else 1 if most < 100 else 0) for value in worse],
              textposition="middle right", uid="sensitivity-words", hoverinfo="skip", cliponaxis=False,
              textfont=dict(size=11, color=ink("ink-2")))


def short_layer(name: str) -> str:
    """`model.layers.0.self_attn.q_proj` → `0 · q_proj`; a name of another make keeps its last 18 letters."""
    parts = name.removesuffix(".weight").split(".")
    numbers = [part for part in parts if part.isdigit()]
    short = f"{numbers[0]} · {parts[-1]}" if numbers else parts[-1]
    return short if len(short) <= 18 else "…" + short[-17:]


# ---- two runs

def _training(look: TrainingLook, form: Form) -> Sheet:
    height = 400 if not form.stacked else 320
    sheet = Sheet(form.width, height, form.stretch)
    known = np.concatenate([*(losses for _, losses in (look.plain, look.aware)), [] if look.after is None else [look.after]])
    known = known[np.isfinite(known)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    room = max(high - low, .05)
    last = max([1.0, *(float(steps[-1]) for steps, _ in (look.plain, look.aware) if len(steps))])
    axis = sheet.cell(0, 0, form.width, height, "Held-out loss", "nats per token", "step", gutter=42, right=150 if not form.stacked
                      else 104,
                      x=dict(QUICK, range=[0, 1.02 * last], nticks=6), y=dict(QUICK, range=[low - .1 * room, high + .12 * room], nticks=6))
    ends = []
    for (steps, losses), name, colour, dash, symbol in ((look.plain, "16-bit", "grey", "dot", "circle-open"),
                                                         (look.aware, f"trained in {look.bits} bits", "blue", "solid", "circle")):
        if len(steps):
            sheet.line(axis, steps, losses, colour, dash, mode="lines+markers", uid=colour,
                       marker=dict(size=6, symbol=symbol, color=ink(colour)),
                       hovertemplate="step %{x}<br>loss %{y:.3f}<extra></extra>")
            ends.append([float(losses[-1]), f"{name} {number(losses[-1], 3)}" if not form.stacked else f"{name}<br>{number(losses[-1], 3)}",
                         f"{colour}-text"])
    if look.after is not None and len(look.plain[0]):
        steps, losses = look.plain
        sheet.line(axis, combed([steps[-1]]), [float(losses[-1]), look.after, None], "vermillion", "dash", uid="drop", hoverinfo="skip")
        sheet.add(axis, x=[steps[-1]], y=[look.after], mode="markers", uid="after", hoverinfo="skip", cliponaxis=False,
                  marker=dict(size=10, symbol="x", color=ink("vermillion")))
        ends.append([look.after, f"in {look.bits} bits after {number(look.after, 3)}" if not form.stacked
                     else f"{look.bits} bits after<br>{number(look.after, 3)}", "vermillion-text"])
    apart = (1.22 * room) * (20 if not form.stacked else 34) / (height - 66)
    ends.sort()
    at = -np.inf
    for value, words, colour in ends:
        at = max(value, at + apart)
        sheet.label(axis, 1, at, words, colour, xref=f"x{axis} domain", dx=6)
    return sheet
