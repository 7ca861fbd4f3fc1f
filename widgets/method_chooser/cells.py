"""The lower cells of the chooser's figure: one step's moments, and what sharing a method out over GPUs saves; and what all its cells share.

Each puts one cell on a sheet. Reckons nothing but places on it.
"""

import math
from typing import TYPE_CHECKING

from widgets.frame.sheet import QUICK, Sheet, ink, number, plain
from widgets.method_chooser.reading import DEVICES_SHOWN
from widgets.method_chooser.words import PARTS, size

if TYPE_CHECKING:
    from widgets.method_chooser.reading import Look
    from workbench.models.memory import Plan

COLOURS = {"frozen": "grey", "trained": "blue", "gradients": "orange", "optimizer": "green", "activations": "purple", "buffers": "sky"}
STAGES = (("grey", "dot", 1.5), ("orange", "dashdot", 1.5), ("green", "longdash", 1.5), ("blue", "solid", 2))
"""Colour, dash and width of ZeRO stages 0 to 3."""
TOP = 26


def parts_of(plan: "Plan", moment: str) -> dict[str, float]:
    """Bytes at a moment, weights that are trained and frozen apart."""
    values = plan.moments[moment]
    trained = values["weights"] * plan.trained_weights / max(1, plan["weights"])  # copies that autocast made come and go with both
    return {"frozen": values["weights"] - trained, "trained": trained} | {name: values[name] for name in PARTS if name in values}


def moments(sheet: Sheet, box: tuple[float, float, float, float], now: "Look", unit: str, scale: float) -> None:
    plan = now.plan
    names = list(plan.moments)
    words = [_moment(name) for name in names]
    parts = [parts_of(plan, name) for name in names]
    highest = plan.total / scale
    axis = sheet.cell(
        *box,
        "Through one step",
        f"{unit}, {plain(now.way.label)}",
        "",
        gutter=40,
        right=8,
        foot=24,
        x=dict(
            QUICK,
            range=[-0.6, len(names) - 0.4],
            tickvals=list(range(len(names))),
            ticktext=words,
            tickfont=dict(size=11, color=ink("ink-3")),
        ),
        y=_upright(1.14 * highest),
    )
    starts = [0.0] * len(names)
    for part in PARTS:
        values = [of[part] / scale for of in parts]
        sheet.add(
            axis,
            type="bar",
            x=list(range(len(names))),
            y=values,
            base=list(starts),
            width=0.72,
            uid=f"moment-{part}",
            name=PARTS[part],
            marker=dict(color=ink(COLOURS[part]), line=dict(width=0)),
            hovertemplate=f"{PARTS[part]} %{{y:.3g}} {unit}<extra></extra>",
        )
        starts = [start + value for start, value in zip(starts, values, strict=True)]
    worst = names.index(plan.worst)
    sheet.label(
        axis,
        worst,
        highest,
        size(plan.total),
        "ink",
        anchor="left" if worst < 1 else "right" if worst == len(names) - 1 else "center",
        valign="bottom",
        dy=2,
        size=11,
        dx=-18 if worst < 1 else 18 if worst == len(names) - 1 else 0,
    )


def sharing(sheet: Sheet, box: tuple[float, float, float, float], now: "Look", unit: str, scale: float) -> None:
    curves = {stage: [value / scale for value in values] for stage, values in now.sharing.items()}
    highest = max(max(values) for values in curves.values())
    log = [math.log2(devices) for devices in DEVICES_SHOWN]
    axis = sheet.cell(
        *box,
        "Shared out",
        f"{unit} a GPU, by ZeRO stage",
        "GPUs",
        gutter=40,
        right=64,
        foot=40,
        x=dict(QUICK, range=[-0.1, log[-1] + 0.1], tickvals=log, ticktext=[str(devices) for devices in DEVICES_SHOWN]),
        y=_upright(1.1 * highest),
    )
    for stage, values in curves.items():
        colour, dash, width = STAGES[stage]
        sheet.line(
            axis,
            log,
            values,
            colour,
            dash,
            width,
            uid=f"stage-{stage}",
            name=f"stage {stage}",
            hovertemplate=f"stage {stage}: %{{y:.3g}} {unit}<extra></extra>",
        )
    high = box[3] - box[1] - TOP - 40
    for stage, y in _spread([(stage, values[-1]) for stage, values in curves.items()], 15 * 1.1 * highest / high, 1.06 * highest):
        sheet.label(axis, log[-1], y, f"stage {stage}" if stage < 3 else "3, FSDP", f"{STAGES[stage][0]}-text", dx=6, size=11)
    if now.device.room is not None and now.device.room / scale <= 1.1 * highest:
        sheet.rule(axis, y=now.device.room / scale, colour="vermillion", dash="dash")
    mine = math.log2(max(1, now.state.devices))
    sheet.add(
        axis,
        x=[min(mine, log[-1])],
        y=[now.plan.total / scale],
        mode="markers",
        uid="here",
        name="now",
        marker=dict(size=9, color=ink("surface"), opacity=1, line=dict(width=2, color=ink("ink"))),
        hovertemplate=f"now: %{{y:.3g}} {unit}<extra></extra>",
    )


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
    return {"forward": "forward", "loss": "loss", "head": "head", "embedding": "embed", "optimizer step": "step", "backward": "back"}.get(
        name, name.replace("layer ", "layer<br>")
    )


def _upright(top: float) -> dict:
    each = step(top, 4)
    values = [k * each for k in range(int(top / each) + 1)]
    return dict(QUICK, range=[0, top], tickvals=values, ticktext=[tick(value) for value in values])


def step(reach: float, most: int) -> float:
    """A round step of which at most `most` fit."""
    raw = reach / most
    power = 10.0 ** math.floor(math.log10(raw))
    return next(times * power for times in (1, 2, 2.5, 5, 10) if times * power >= raw * 0.999)


def tick(value: float) -> str:
    return number(value, next(digits for digits in range(6) if abs(value - round(value, digits)) < 1e-9 * max(1.0, value)))
