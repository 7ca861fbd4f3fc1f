"""The arena's figure: ratings with their intervals and Elo beside them, whom the first place helps, how far two people agree; while one
judges, who judged how much.

`figure(found, width)` and `progress(counts, judge, width)` are pure functions of the numbers of `reading.py`. Nothing is drawn here.
"""

import math
from dataclasses import dataclass
from typing import Literal

from widgets.frame.sheet import QUICK, Sheet, ink, number, plain
from widgets.preference_arena.reading import Counts, Person, Results
from widgets.preference_arena.words import signed

Width = Literal["wide", "medium", "narrow"]
ROW, PERSON_ROW, GAP = 30, 26, 24
MOST_MODELS, MOST_PEOPLE = 16, 8


@dataclass(frozen=True, slots=True)
class Form:
    """The composition for one width class; lengths in px."""

    width: int
    gutter: int
    letters: int
    """Of a name in the gutter."""
    columns: int
    """Of the lower cells."""


FORMS: dict[Width, Form] = {"wide": Form(862, 122, 15, 2), "medium": Form(430, 108, 13, 1), "narrow": Form(372, 100, 12, 1)}


def short(name: str, letters: int) -> str:
    return plain(name if len(name) <= letters else name[: letters - 1] + "…")


def progress(counts: Counts, judge: str, width: Width = "wide") -> dict:
    """Judgements by person, who judged most on top."""
    form = FORMS[width]
    if not counts.by_judge:
        return Sheet(form.width, 96).empty(
            "Nobody has judged yet", "Who judges how much is shown here; names of models only under Results."
        )
    people = list(counts.by_judge.items())
    shown = people[:MOST_PEOPLE]
    if judge in counts.by_judge and judge not in dict(shown):
        shown[-1] = (judge, counts.by_judge[judge])
    more = len(people) - len(shown)
    height = 26 + PERSON_ROW * len(shown) + 8
    sheet = Sheet(form.width, height)
    most = max(many for _, many in shown)
    unit = f"by person{f', {len(shown)} of {len(people)} people' if more else ''}"
    axis = sheet.cell(
        0,
        0,
        form.width,
        height,
        "Judgements",
        unit,
        gutter=form.gutter,
        right=56,
        foot=8,
        x=dict(QUICK, range=[0, most], tickvals=[], showline=False),
        y=_names(form, [name for name, _ in shown], judge),
    )
    place = list(range(len(shown)))[::-1]
    sheet.add(
        axis,
        type="bar",
        orientation="h",
        x=[many for _, many in shown],
        y=place,
        width=0.5,
        uid="judgements",
        marker=dict(color=[ink("blue" if name == judge else "grey") for name, _ in shown], line=dict(width=0)),
        hovertemplate="%{x} judgements<extra></extra>",
    )
    for at, (_, many) in zip(place, shown, strict=True):
        sheet.label(axis, many, at, number(many), "ink", dx=6)
    return sheet.figure()


def figure(found: Results, width: Width = "wide", empty: tuple[str, str] = ("No votes yet", "Judge some pairs first.")) -> dict:
    """{"data", "layout"}; without votes the two sentences of `empty`."""
    form = FORMS[width]
    if not found.votes:
        return Sheet(form.width, 320).empty(*empty)
    models = found.models[:MOST_MODELS]
    people = found.people[:MOST_PEOPLE]
    top = 26 + 20 + ROW * len(models) + 40
    low = 26 + PERSON_ROW * max(len(people), 3) + 40 if people else 0
    sheet = Sheet(form.width, top + ((GAP + low) * (3 - form.columns) if people else 0))
    _ratings(sheet, form, found, top)
    if people:
        split = (form.width - 28) // 2 if form.columns == 2 else form.width
        second = (split + 28, top + GAP) if form.columns == 2 else (0, top + 2 * GAP + low)
        _position(sheet, form, found, people, (0, top + GAP, split, top + GAP + low))
        _agreement(sheet, form, found, people, (*second, form.width, second[1] + low))
    return sheet.figure()


def _ratings(sheet: Sheet, form: Form, found: Results, top: int) -> None:
    models = found.models[:MOST_MODELS]
    place = list(range(len(models)))[::-1]
    values = [value for one in models for value in (one.rating, one.low, one.high, one.elo) if value is not None]
    reach = (min(values), max(values))
    spread = max(reach[1] - reach[0], 40.0)
    right = 78 if form.columns == 2 else 52
    cut = f", {len(models)} of {len(found.models)} models" if len(found.models) > len(models) else ""
    unit = f"points, mean 1 000, with 95 % intervals{cut}" if form.columns == 2 else f"points{cut}"
    axis = sheet.cell(
        0,
        0,
        form.width,
        top,
        "Rating",
        unit,
        "rating, points (400 are odds of 10 : 1)",
        gutter=form.gutter,
        right=right,
        x=dict(
            QUICK,
            range=[reach[0] - 0.06 * spread, reach[1] + 0.06 * spread],
            showgrid=True,
            gridcolor=ink("grid"),
            tickformat=",.0f",
            nticks=7 if form.columns == 2 else 5,
        ),
        y=_names(form, [one.model for one in models], top=0.95),
    )
    rated = [(at, one) for at, one in zip(place, models, strict=True) if one.rating is not None]
    for at, one in rated:
        sheet.line(axis, [one.low, one.high], [at, at], "blue", uid=f"interval-{at}", hoverinfo="skip")
    sheet.add(
        axis,
        x=[one.elo for one in models],
        y=[at - 0.22 for at in place],
        mode="markers",
        uid="elo",
        marker=dict(size=8, symbol="diamond-open", color=ink("grey-text"), opacity=1, line=dict(width=1.5)),
        hovertemplate="Elo %{x:.0f}<extra></extra>",
    )
    if rated:
        sheet.add(
            axis,
            x=[one.rating for _, one in rated],
            y=[at for at, _ in rated],
            mode="markers",
            uid="ratings",
            marker=dict(size=10, color=ink("blue"), opacity=1, line=dict(width=0)),
            customdata=[[one.low, one.high, one.votes] for _, one in rated],
            hovertemplate="Bradley-Terry %{x:.0f}, 95 % %{customdata[0]:.0f} to %{customdata[1]:.0f}<br>"
            "%{customdata[2]} votes<extra></extra>",
        )
    for at, one in zip(place, models, strict=True):
        sheet.label(axis, 1, at, "–" if one.rating is None else number(one.rating), "ink", xref=f"x{axis} domain", dx=8)
    shapes = {"blue-text": "● Bradley-Terry", "grey-text": "◇ Elo, in the order voted"}
    legend = "   ".join(f'<span style="color:{ink(colour)}">{said}</span>' for colour, said in shapes.items())
    sheet.label(axis, 0, 1, legend, "ink-2", xref=f"x{axis} domain", yref=f"y{axis} domain", valign="top", dx=-2, dy=2, size=11)


def _position(sheet: Sheet, form: Form, found: Results, people: tuple[Person, ...], box: tuple[float, float, float, float]) -> None:
    """How often the reply shown first wins, of the votes that are no tie."""
    place = list(range(len(people)))[::-1]
    cut = f"{len(people)} of {len(found.people)} people" if len(found.people) > len(people) else "95 % interval"
    axis = sheet.cell(
        *box,
        "Shown first wins",
        f"% of decided votes, {cut}" if form.columns == 2 else cut,
        "% of decided votes",
        gutter=form.gutter,
        right=76,
        x=dict(QUICK, range=[-3, 103], tickvals=[0, 25, 50, 75, 100]),
        y=_names(form, [person.judge for person in people], least=3),
    )
    sheet.rule(axis, x=50, colour="ink-3", dash="dot")
    for at, person in zip(place, people, strict=True):
        same = f"{person.same} of {person.again}" if person.again else "–"
        sheet.label(axis, 1, at, same, "ink-2", xref=f"x{axis} domain", dx=10, size=11)
        if not person.decided:
            continue
        low, high = person.interval()
        partial = not low <= 0.5 <= high
        colour = "vermillion" if partial else "blue"
        sheet.line(axis, [100 * low, 100 * high], [at, at], colour, uid=f"share-{at}", hoverinfo="skip")
        sheet.add(
            axis,
            x=[100 * person.first / person.decided],
            y=[at],
            mode="markers",
            uid=f"first-{at}",
            marker=dict(size=8, symbol="x" if partial else "circle", color=ink(colour), opacity=1, line=dict(width=0)),
            hovertemplate=f"{person.first} of {person.decided} decided votes<extra></extra>",
        )
    sheet.label(axis, 1, 1, "same again", "ink-3", xref=f"x{axis} domain", yref=f"y{axis} domain", valign="bottom", dx=10, dy=1, size=11)


def _agreement(sheet: Sheet, form: Form, found: Results, people: tuple[Person, ...], box: tuple[float, float, float, float]) -> None:
    """Cohen's kappa of every two, numbers in the cells."""
    names = [person.judge for person in people]
    n = len(names)
    alpha = found.agreement.get("krippendorff", math.nan)
    unit = "Cohen's kappa of two" + (f"; Krippendorff's alpha {signed(alpha)}" if alpha == alpha and form.columns == 2 else "")
    if not found.kappas:
        axis = sheet.cell(
            *box,
            "Agreement",
            unit,
            gutter=0,
            x=dict(QUICK, range=[0, 1], tickvals=[], showline=False),
            y=dict(QUICK, range=[0, 1], tickvals=[], showgrid=False),
        )
        sheet.label(axis, 0, 0.5, "No two people have judged five pairs in common.", "ink-3")
        return
    values = [[found.kappas.get((one, other)) for other in names] for one in names[::-1]]
    axis = sheet.cell(
        *box,
        "Agreement",
        unit,
        gutter=form.gutter,
        right=0,
        foot=40,
        x=dict(QUICK, range=[-0.5, n - 0.5], tickvals=list(range(n)), ticktext=[str(place + 1) for place in range(n)], showline=False),
        y=dict(
            QUICK,
            range=[-0.6, max(n, 3) - 0.4],
            showgrid=False,
            tickvals=list(range(n)),
            ticktext=[f"{short(name, form.letters - 2)}  {n - place}" for place, name in enumerate(names[::-1])],
            tickfont=dict(size=12, color=ink("ink")),
        ),
    )
    ramp = [[0, ink("ramp-0")], [0.25, ink("ramp-1")], [0.5, ink("ramp-2")], [0.75, ink("ramp-3")], [1, ink("ramp-4")]]
    sheet.add(
        axis, type="heatmap", z=values, zmin=0, zmax=1, colorscale=ramp, showscale=False, xgap=2, ygap=2, uid="kappas", hoverinfo="skip"
    )
    for row, line in enumerate(values):
        for column, value in enumerate(line):
            if value is not None:
                sheet.label(axis, column, row, signed(value), "surface" if value > 0.6 else "ink", anchor="center", size=11)


def _names(form: Form, names: list[str], bold: str = "", top: float = 0.0, least: int = 1) -> dict:
    n = len(names)
    text = [f"<b>{short(name, form.letters - 1)}</b>" if bold and name == bold else short(name, form.letters) for name in names[::-1]]
    return dict(
        QUICK,
        range=[-0.6, max(n, least) - 0.4 + top],
        showgrid=False,
        tickvals=list(range(n)),
        ticktext=text,
        tickfont=dict(size=12, color=ink("ink")),
    )
