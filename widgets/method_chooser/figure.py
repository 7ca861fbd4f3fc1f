"""The method chooser's figure: memory of each method by component, one step's moments, and what sharing it out saves, as one plotly dict.

`figure(look, width)` is a pure function of numbers reckoned in `reading.py`. Does not draw.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from widgets.frame.sheet import Sheet, ink, number, plain
from widgets.method_chooser.reading import DEVICES_SHOWN
from widgets.method_chooser.words import PARTS, count, share, size
from workbench.models.memory import GIB

if TYPE_CHECKING:
    from widgets.method_chooser.reading import Look
    from workbench.models.measuring import Measured
    from workbench.models.memory import Plan

Width = Literal["wide", "medium", "narrow"]
COLOURS = {"frozen": "grey", "trained": "blue", "gradients": "orange", "optimizer": "green", "activations": "purple", "buffers": "sky"}
STAGES = (("grey", "dot", 1.5), ("orange", "dashdot", 1.5), ("green", "longdash", 1.5), ("blue", "solid", 2))
"""Colour, dash and width of ZeRO stages 0 to 3."""
ROW, TOP, GAP, LOW = 34, 26, 22, 236
QUICK = dict(tickangle=0, ticklabeloverflow="allow")


@dataclass(frozen=True, slots=True)
class Form:
    """The composition for one width class; lengths in px."""

    width: int
    gutter: int
    trained: int
    """Width of the column of trained parameters; 0 where there is none."""
    below: int
    """Columns of the lower cells."""


FORMS: dict[Width, Form] = {"wide": Form(862, 112, 132, 2), "medium": Form(430, 104, 0, 1), "narrow": Form(372, 96, 0, 1)}


def figure(now: "Look | None", width: Width = "wide", measured: "dict[int, Measured] | None" = None, empty: tuple[str, str] = ("", "")) -> dict:
    """{"data", "layout"}; without numbers the two sentences of `empty`. `measured` is by the method's place."""
    form = FORMS[width]
    if now is None:
        return _empty(Sheet(form.width, 420), *empty)
    legend = 22 if form.below == 2 else 40
    top = TOP + legend + ROW * len(now.plans) + 38
    sheet = Sheet(form.width, top + (GAP + LOW) * (3 - form.below))
    unit, scale = ("GiB", GIB) if max([plan.total for plan in now.plans if plan] or [0]) >= 0.5 * GIB else ("MiB", 2**20)
    _methods(sheet, form, now, top, legend, unit, scale, measured or {})
    if now.plan is not None:
        split = (form.width - 24) // 2 if form.below == 2 else form.width
        second = (split + 24, top + GAP) if form.below == 2 else (0, top + GAP + LOW + GAP)
        _moments(sheet, (0, top + GAP, split, top + GAP + LOW), now, unit, scale)
        _sharing(sheet, (*second, form.width, second[1] + LOW), now, unit, scale)
    drawn = sheet.figure()
    drawn["layout"]["barmode"] = "overlay"
    return drawn


def parts_of(plan: "Plan", moment: str) -> dict[str, float]:
    """Bytes at a moment, weights that are trained and frozen apart."""
    values = plan.moments[moment]
    trained = plan.trained_weights
    return {"frozen": values["weights"] - trained, "trained": trained} | {name: values[name] for name in PARTS if name in values}


def _methods(sheet: Sheet, form: Form, now: "Look", top: int, legend: int, unit: str, scale: float, measured: "dict[int, Measured]") -> None:
    rows = len(now.plans)
    totals = [plan.total / scale if plan else 0.0 for plan in now.plans]
    room = None if now.device.room is None else now.device.room / scale
    highest = max([*totals, *(found.peak / scale for found in measured.values()), 1e-9])
    reach = 1.22 * (max(highest, room) if room is not None and room <= 2.2 * highest else highest)
    step = _step(reach, 6 if form.below == 2 else 4)
    axis = sheet.cell(
        0, 0, form.width - form.trained, top, "Memory of a step", f"{unit}{' a GPU' if now.state.devices > 1 else ''}{', at its fullest moment' if form.trained else ''}",
        gutter=form.gutter, right=16, foot=26,
        x=dict(QUICK, range=[0, reach], tickvals=[k * step for k in range(int(reach / step) + 1)], ticktext=[_tick(k * step) for k in range(int(reach / step) + 1)],
               showgrid=True, gridcolor=ink("grid"), showline=False),
        y=dict(QUICK, range=[-.6, rows - .4 + legend / ROW], showgrid=False, tickvals=list(range(rows)), tickfont=dict(size=12, color=ink("ink")),
               ticktext=[_name(now, rows - 1 - k) for k in range(rows)]))
    place = [rows - 1 - k for k in range(rows)]
    starts = [0.0] * rows
    for part, words in PARTS.items():
        values = [parts_of(plan, plan.worst)[part] / scale if plan else 0.0 for plan in now.plans]
        sheet.add(axis, type="bar", orientation="h", x=values, y=place, base=list(starts), width=.6, uid=part, name=words, marker=dict(color=ink(COLOURS[part]), line=dict(width=0)),
                  hovertemplate=f"{words} %{{x:.3g}} {unit}<extra></extra>")
        starts = [start + value for start, value in zip(starts, values, strict=True)]
    _legend(sheet, form)
    over = [now.over(k) for k in range(rows)]
    for k, plan in enumerate(now.plans):
        if plan is None:
            sheet.label(axis, 0, place[k], "cannot be done with this model", "ink-3", dx=6, size=11)
            continue
        text = size(plan.total) + (" · over" if over[k] else "")
        inside = starts[k] > .83 * reach
        sheet.label(axis, starts[k], place[k], text, "vermillion-text" if over[k] else "ink", anchor="right" if inside else "left", dx=-6 if inside else 6,
                    size=12, **(dict(bgcolor=ink("surface")) if inside else {}))
    if measured:
        sheet.add(axis, x=[found.peak / scale for found in measured.values()], y=[place[k] for k in measured], mode="markers", uid="measured", name="measured",
                  marker=dict(size=11, symbol="diamond-open", color=ink("ink"), opacity=1, line=dict(width=2)), hovertemplate=f"measured %{{x:.4g}} {unit}<extra></extra>")
        first, found = next(iter(measured.items()))
        sheet.label(axis, found.peak / scale, place[first], "measured", "ink", valign="bottom", anchor="right", dx=-8, dy=4, size=11, bgcolor=ink("surface"))
    if room is not None:
        if room <= reach:
            sheet.rule(axis, x=room, colour="vermillion", dash="dash")
        text = f"╌ {plain(now.device.name)}: {size(now.device.room)}{'' if room <= reach else ' →'}"  # at the right end of the heading's line
        sheet.label(axis, 1, 1, text, "vermillion-text", anchor="right", xref=f"x{axis} domain", yref=f"y{axis} domain", valign="bottom", dy=6, size=11)
    if form.trained:
        _trained(sheet, form, now, top, legend, place)


def _legend(sheet: Sheet, form: Form) -> None:
    """The components in the colours and the order of the bars, over them."""
    words = [f'<span style="color:{ink(COLOURS[part] + "-text")}">■ {name}</span>' for part, name in PARTS.items()]
    lines = ["   ".join(words)] if form.below == 2 else ["   ".join(words[:3]), "   ".join(words[3:])]
    sheet.notes.append(dict(xref="paper", yref="paper", x=(form.gutter if form.below == 2 else 0) / sheet.width, y=1 - (TOP + 2) / sheet.height, xanchor="left", yanchor="top",
                            align="left", text="<br>".join(lines), showarrow=False, font=dict(size=11, color=ink("ink-2"))))


def _trained(sheet: Sheet, form: Form, now: "Look", top: int, legend: int, place: list[int]) -> None:
    rows = len(now.plans)
    axis = sheet.cell(form.width - form.trained + 12, 0, form.width, top, "Trained", "of all", gutter=0, right=0, foot=26,
                      x=dict(QUICK, range=[0, 1], tickvals=[], showline=False), y=dict(QUICK, range=[-.6, rows - .4 + legend / ROW], showgrid=False, showticklabels=False, tickvals=[]))
    shown = [(k, plan) for k, plan in enumerate(now.plans) if plan is not None]
    sheet.add(axis, x=[0.0] * len(shown), y=[place[k] for k, _ in shown], mode="text", uid="trainable", hoverinfo="skip", textposition="middle right", cliponaxis=False,
              text=[f"<b>{count(plan.trainable)}</b>  {share(plan.trainable, plan.trainable + plan.frozen)}" for _, plan in shown],
              textfont=dict(size=12, color=ink("ink-2")))


def _moments(sheet: Sheet, box: tuple[float, float, float, float], now: "Look", unit: str, scale: float) -> None:
    plan = now.plan
    names = list(plan.moments)
    words = [_moment(name) for name in names]
    parts = [parts_of(plan, name) for name in names]
    highest = plan.total / scale
    axis = sheet.cell(*box, "Through one step", f"{unit}, {plain(now.way.label)}", "", gutter=40, right=8, foot=24,
                      x=dict(QUICK, range=[-.6, len(names) - .4], tickvals=list(range(len(names))), ticktext=words, tickfont=dict(size=11, color=ink("ink-3"))),
                      y=_upright(1.14 * highest))
    starts = [0.0] * len(names)
    for part in PARTS:
        values = [of[part] / scale for of in parts]
        sheet.add(axis, type="bar", x=list(range(len(names))), y=values, base=list(starts), width=.72, uid=f"moment-{part}", name=PARTS[part],
                  marker=dict(color=ink(COLOURS[part]), line=dict(width=0)), hovertemplate=f"{PARTS[part]} %{{y:.3g}} {unit}<extra></extra>")
        starts = [start + value for start, value in zip(starts, values, strict=True)]
    worst = names.index(plan.worst)
    sheet.label(axis, worst, highest, size(plan.total), "ink", anchor="left" if worst < 1 else "right" if worst == len(names) - 1 else "center", valign="bottom", dy=2, size=11,
                dx=-18 if worst < 1 else 18 if worst == len(names) - 1 else 0)


def _sharing(sheet: Sheet, box: tuple[float, float, float, float], now: "Look", unit: str, scale: float) -> None:
    curves = {stage: [value / scale for value in values] for stage, values in now.sharing.items()}
    highest = max(max(values) for values in curves.values())
    log = [math.log2(devices) for devices in DEVICES_SHOWN]
    axis = sheet.cell(*box, "Shared out", f"{unit} a GPU, by ZeRO stage", "GPUs", gutter=40, right=64, foot=40,
                      x=dict(QUICK, range=[-.1, log[-1] + .1], tickvals=log, ticktext=[str(devices) for devices in DEVICES_SHOWN]), y=_upright(1.1 * highest))
    for stage, values in curves.items():
        colour, dash, width = STAGES[stage]
        sheet.line(axis, log, values, colour, dash, width, uid=f"stage-{stage}", name=f"stage {stage}",
                   hovertemplate=f"stage {stage}: %{{y:.3g}} {unit}<extra></extra>")
    high = box[3] - box[1] - TOP - 40
    for stage, y in _spread([(stage, values[-1]) for stage, values in curves.items()], 15 * 1.1 * highest / high, 1.06 * highest):
        sheet.label(axis, log[-1], y, f"stage {stage}" if stage < 3 else "3, FSDP", f"{STAGES[stage][0]}-text", dx=6, size=11)
    if now.device.room is not None and now.device.room / scale <= 1.1 * highest:
        sheet.rule(axis, y=now.device.room / scale, colour="vermillion", dash="dash")
    mine = math.log2(max(1, now.state.devices))
    sheet.add(axis, x=[min(mine, log[-1])], y=[now.plan.total / scale], mode="markers", uid="here", name="now",
              marker=dict(size=9, color=ink("surface"), opacity=1, line=dict(width=2, color=ink("ink"))), hovertemplate=f"now: %{{y:.3g}} {unit}<extra></extra>")


def _spread(ends: list[tuple[int, float]], apart: float, top: float) -> list[tuple[int, float]]:
    """Labels at least `apart` from each other and below `top`, in the order of their lines."""
    placed, ceiling = [], top
    for stage, y in sorted(ends, key=lambda end: (-end[1], end[0])):
        y = min(y, ceiling)
        placed.append((stage, y))
        ceiling = y - apart
    short = min(0.0, placed[-1][1])
    return [(stage, y - short) for stage, y in placed]


def _moment(name: str) -> str:
    return {"forward": "forward", "loss": "loss", "head": "head", "embedding": "embed", "optimizer step": "step", "backward": "back"}.get(name, name.replace("layer ", "layer<br>"))


def _name(now: "Look", k: int) -> str:
    text = plain(now.read.ways[k].label)
    return f"<b>{text}</b>" if k == now.picked else text


def _upright(top: float) -> dict:
    step = _step(top, 4)
    values = [k * step for k in range(int(top / step) + 1)]
    return dict(QUICK, range=[0, top], tickvals=values, ticktext=[_tick(value) for value in values])


def _step(reach: float, most: int) -> float:
    """A round step of which at most `most` fit."""
    raw = reach / most
    power = 10.0 ** math.floor(math.log10(raw))
    return next(times * power for times in (1, 2, 2.5, 5, 10) if times * power >= raw * .999)


def _tick(value: float) -> str:
    return number(value, next(digits for digits in range(6) if abs(value - round(value, digits)) < 1e-9 * max(1.0, value)))


def _empty(sheet: Sheet, headline: str, words: str) -> dict:
    for k, (text, points, colour) in enumerate(((f"<b>{plain(headline)}</b>", 13, "ink"), (plain(words), 12, "ink-2"))):
        sheet.notes.append(dict(xref="paper", yref="paper", x=.5, y=.5, yshift=14 - 24 * k, text=text, showarrow=False, align="center", font=dict(size=points, color=ink(colour))))
    drawn = sheet.figure()
    drawn["layout"] |= {side + "axis": dict(visible=False, fixedrange=True) for side in "xy"}
    return drawn
