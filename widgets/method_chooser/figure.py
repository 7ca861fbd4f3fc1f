"""The method chooser's figure: memory of each method by component, one step's moments, and what sharing it out saves, as one plotly dict.

`figure(look, width)` is a pure function of numbers reckoned in `reading.py`. Does not draw.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from widgets.frame.sheet import QUICK, Sheet, ink, plain
from widgets.method_chooser.cells import COLOURS, TOP, moments, parts_of, sharing, step, tick
from widgets.method_chooser.words import PARTS, count, share, size
from workbench.models.memory import GIB

if TYPE_CHECKING:
    from widgets.method_chooser.reading import Look
    from workbench.models.measuring import Measured

Width = Literal["wide", "medium", "narrow"]
ROW, GAP, LOW = 34, 22, 236


@dataclass(frozen=True, slots=True)
class Form:
    """The composition for one width class; lengths in px."""

    width: int
    gutter: int
    trained: int
    """Width of the column of trained parameters; 0 where there is none."""
    below: int
    """Columns of the lower cells."""


FORMS: dict[Width, Form] = {"wide": Form(862, 112, 132, 2), "medium": Form(430, 92, 0, 1), "narrow": Form(372, 92, 0, 1)}


def figure(
    now: "Look | None", width: Width = "wide", measured: "dict[int, Measured] | None" = None, empty: tuple[str, str] = ("", "")
) -> dict:
    """{"data", "layout"}; without numbers the two sentences of `empty`. `measured` is by the method's place."""
    form = FORMS[width]
    if now is None:
        return Sheet(form.width, 420).empty(*empty)
    legend = 22 if form.below == 2 else 40
    top = TOP + legend + ROW * len(now.plans) + 38
    sheet = Sheet(form.width, top + (GAP + LOW) * (3 - form.below))
    unit, scale = ("GiB", GIB) if max([plan.total for plan in now.plans if plan] or [0]) >= 0.5 * GIB else ("MiB", 2**20)
    _methods(sheet, form, now, top, legend, unit, scale, measured or {})
    if now.plan is not None:
        split = (form.width - 24) // 2 if form.below == 2 else form.width
        second = (split + 24, top + GAP) if form.below == 2 else (0, top + GAP + LOW + GAP)
        moments(sheet, (0, top + GAP, split, top + GAP + LOW), now, unit, scale)
        sharing(sheet, (*second, form.width, second[1] + LOW), now, unit, scale)
    drawn = sheet.figure()
    drawn["layout"]["barmode"] = "overlay"
    return drawn


def _methods(
    sheet: Sheet, form: Form, now: "Look", top: int, legend: int, unit: str, scale: float, measured: "dict[int, Measured]"
) -> None:
    rows = len(now.plans)
    totals = [plan.total / scale if plan else 0.0 for plan in now.plans]
    room = None if now.device.room is None else now.device.room / scale
    highest = max([*totals, *(found.peak / scale for found in measured.values()), 1e-9])
    across = form.width - form.trained - form.gutter - 16
    reach = max(
        highest * across / (across - 104), room * 1.05 if room is not None and room <= 2.2 * highest else 0.0
    )  # room for the words after the longest bar
    each = step(reach, 6 if form.below == 2 else 4)
    axis = sheet.cell(
        0,
        0,
        form.width - form.trained,
        top,
        "Memory of a step",
        f"{unit}{' a GPU' if now.state.devices > 1 else ''}{', at its fullest moment' if form.trained else ''}",
        gutter=form.gutter,
        right=16,
        foot=26,
        x=dict(
            QUICK,
            range=[0, reach],
            tickvals=[k * each for k in range(int(reach / each) + 1)],
            ticktext=[tick(k * each) for k in range(int(reach / each) + 1)],
            showgrid=True,
            gridcolor=ink("grid"),
            showline=False,
        ),
        y=dict(
            QUICK,
            range=[-0.6, rows - 0.4 + legend / ROW],
            showgrid=False,
            tickvals=list(range(rows)),
            tickfont=dict(size=12, color=ink("ink")),
            ticktext=[_name(now, rows - 1 - k) for k in range(rows)],
        ),
    )
    place = [rows - 1 - k for k in range(rows)]
    starts = [0.0] * rows
    for part, words in PARTS.items():
        values = [parts_of(plan, plan.worst)[part] / scale if plan else 0.0 for plan in now.plans]
        sheet.add(
            axis,
            type="bar",
            orientation="h",
            x=values,
            y=place,
            base=list(starts),
            width=0.6,
            uid=part,
            name=words,
            marker=dict(color=ink(COLOURS[part]), line=dict(width=0)),
            hovertemplate=f"{words} %{{x:.3g}} {unit}<extra></extra>",
        )
        starts = [start + value for start, value in zip(starts, values, strict=True)]
    _legend(sheet, form)
    over = [now.over(k) for k in range(rows)]
    for k, plan in enumerate(now.plans):
        if plan is None:
            sheet.label(axis, 0, place[k], "cannot be done so: pick it to see why", "ink-3", dx=6, size=11)
            continue
        text = size(plan.total) + (" · over" if over[k] else "")
        inside = starts[k] > 0.83 * reach
        sheet.label(
            axis,
            starts[k],
            place[k],
            text,
            "vermillion-text" if over[k] else "ink",
            anchor="right" if inside else "left",
            dx=-6 if inside else 6,
            size=12,
            bgcolor=ink("surface"),
        )
    if measured:
        sheet.add(
            axis,
            x=[found.peak / scale for found in measured.values()],
            y=[place[k] for k in measured],
            mode="markers",
            uid="measured",
            name="measured",
            marker=dict(size=11, symbol="diamond-open", color=ink("ink"), opacity=1, line=dict(width=2)),
            hovertemplate=f"measured %{{x:.4g}} {unit}<extra></extra>",
        )
        first, found = next(iter(measured.items()))
        sheet.label(
            axis,
            found.peak / scale,
            place[first],
            "measured",
            "ink",
            valign="bottom",
            anchor="right",
            dx=-8,
            dy=4,
            size=11,
            bgcolor=ink("surface"),
        )
    if room is not None:
        if room <= reach:
            sheet.rule(axis, x=room, colour="vermillion", dash="dash")
        text = f"╌ {plain(now.device.name)}: {size(now.device.room)}{'' if room <= reach else ' →'}"
        ends = dict(xref=f"x{axis} domain", yref=f"y{axis} domain")  # at the right end of the heading's line
        sheet.label(axis, 1, 1, text, "vermillion-text", anchor="right", valign="bottom", dy=6, size=11, **ends)
    if form.trained:
        _trained(sheet, form, now, top, legend, place)


def _legend(sheet: Sheet, form: Form) -> None:
    """The components in the colours and the order of the bars, over them."""
    words = [f'<span style="color:{ink(COLOURS[part] + "-text")}">■ {name}</span>' for part, name in PARTS.items()]
    lines = ["   ".join(words)] if form.below == 2 else ["   ".join(words[:3]), "   ".join(words[3:])]
    sheet.notes.append(
        dict(
            xref="paper",
            yref="paper",
            x=(form.gutter if form.below == 2 else 0) / sheet.width,
            y=1 - (TOP + 2) / sheet.height,
            xanchor="left",
            yanchor="top",
            align="left",
            text="<br>".join(lines),
            showarrow=False,
            font=dict(size=11, color=ink("ink-2")),
            bgcolor=ink("surface"),
        )
    )


def _trained(sheet: Sheet, form: Form, now: "Look", top: int, legend: int, place: list[int]) -> None:
    rows = len(now.plans)
    axis = sheet.cell(
        form.width - form.trained + 12,
        0,
        form.width,
        top,
        "Trained",
        "of all",
        gutter=0,
        right=0,
        foot=26,
        x=dict(QUICK, range=[0, 1], tickvals=[], showline=False),
        y=dict(QUICK, range=[-0.6, rows - 0.4 + legend / ROW], showgrid=False, showticklabels=False, tickvals=[]),
    )
    shown = [(k, plan) for k, plan in enumerate(now.plans) if plan is not None]
    sheet.add(
        axis,
        x=[0.0] * len(shown),
        y=[place[k] for k, _ in shown],
        mode="text",
        uid="trainable",
        hoverinfo="skip",
        textposition="middle right",
        cliponaxis=False,
        text=[f"<b>{count(plan.trainable)}</b>  {share(plan.trainable, plan.trainable + plan.frozen)}" for _, plan in shown],
        textfont=dict(size=12, color=ink("ink-2")),
    )


def _name(now: "Look", k: int) -> str:
    text = plain(now.read.ways[k].label)
    return f"<b>{text}</b>" if k == now.picked else text
