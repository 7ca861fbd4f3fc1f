"""The rank explorer's figure: the map of layers and modules, one matrix's spectrum and energy, held-out loss against rank, and where two
adapters are compared how much of their subspaces they share. One plotly dict.

A pure function of a `Look`, which `panel.py` puts together. It neither reads weights nor draws.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from widgets.frame.sheet import QUICK, Sheet, ink, number, plain
from widgets.rank_explorer.spectra import Matrix, Spectra, map_of, short

Width = Literal["wide", "medium", "narrow"]
RAMP = [[k / 4, ink(f"ramp-{k}")] for k in range(5)]
GAP = 26
MANY_TIMES = 8
"""A log axis shows losses of which the largest is more than so many times the smallest."""
HEADINGS = {"r90": ("Rank holding 90 % of the update", "directions"), "r99": ("Rank holding 99 % of the update", "directions"),
            "kept": ("Update kept", "% of ‖ΔW‖²"), "norm": ("Size of the update", "‖ΔW‖, Frobenius norm")}


@dataclass(slots=True)
class Point:
    """One rank that was trained, or is."""

    rank: int
    loss: float | None
    """Mean over the seeds that ended, nats per token; None where none has."""
    low: float | None = None
    high: float | None = None
    """The 95 % interval, where two or more seeds ended."""
    seeds: int = 0
    now: float | None = None
    """Of a rank whose first seed still trains, its last held-out loss."""
    status: str = "finished"
    """"finished", "running", "queued" or "failed"."""
    suggested: bool = False
    """Trained with the suggested ranks, at as many parameters as `rank` everywhere."""
    apart: tuple[float, float, float] | None = None
    """(mean, low, high) of how much its loss lies above that of `rival_of` it, seed by seed on the same rows, with the 95 % interval; None
    where fewer than two seeds ended at both."""


def best_of(points: Sequence[Point]) -> Point | None:
    """The lowest loss of one rank everywhere, among those at which the most seeds have ended; None where none has."""
    ends = [point for point in points if point.loss is not None and not point.suggested]
    return min(ends, key=lambda point: (-point.seeds, point.loss), default=None)


def rival_of(point: Point, points: Sequence[Point]) -> Point | None:
    """What a point is held against: suggested ranks against the same rank everywhere, one rank everywhere against the best of them."""
    if not point.suggested:
        return best_of(points)
    return next((other for other in points if other.rank == point.rank and not other.suggested and other.loss is not None), None)


@dataclass(slots=True)
class Look:
    """Everything the figure shows."""

    spectra: Spectra | None = None
    picked: Matrix | None = None
    beside: Matrix | None = None
    """Drawn with the picked one: of the other adapter, else of the same layer."""
    beside_name: str = ""
    map: str = "r90"
    rank: int = 8
    cuts: list[tuple[int, float]] = field(default_factory=list)
    """(rank, held-out loss) of the adapter cut to it."""
    whole: float | None = None
    """Held-out loss of the adapter as it is."""
    untuned: float | None = None
    """Of the base without it."""
    points: list[Point] = field(default_factory=list)
    other_name: str = ""
    phi: np.ndarray | None = None
    """Similarity φ(i, j) of the picked matrix, shape (directions here, directions there)."""
    phi_map: list[list[float | None]] | None = None
    """φ of all known directions by module and layer."""
    chance: float | None = None
    """What φ would be of subspaces that have nothing to do with each other."""
    losses_hint: str = ""


@dataclass(frozen=True, slots=True)
class Form:
    """The composition for one width class; lengths in px."""

    width: int
    across: int
    """Cells side by side below the map."""
    low: int
    """Height of one of them."""


FORMS: dict[Width, Form] = {"wide": Form(862, 3, 292), "medium": Form(420, 2, 244), "narrow": Form(372, 1, 236)}


def figure(look: Look, width: Width = "wide", empty: tuple[str, str] = ("", "")) -> dict:
    """{"data", "layout"}; `empty` are two sentences for a panel that has no spectrum to show."""
    form = FORMS[width]
    if look.spectra is None or not look.spectra.matrices:
        return Sheet(form.width, 420).empty(*empty)
    rows = len(look.spectra.modules)
    step = (40 if form.across == 3 else 34) if rows <= 8 else 26 if rows <= 14 else 20
    top = 26 + rows * step + 40
    low = max(form.low, 650 - top - GAP) if form.across == 3 else form.low
    places = _places(form, top + GAP, low)
    compared = look.phi_map is not None
    bottom = places[-1][3]
    square = {"wide": 320, "medium": 262, "narrow": 300}[width]
    across_map = max(150, 26 + rows * 26 + 40)
    height = bottom + (0 if not compared else GAP + square if form.across > 1 else 2 * GAP + square + across_map)
    sheet = Sheet(form.width, height)
    _map(sheet, form, look, top)
    _spectrum(sheet, places[0], look, form)
    _energy(sheet, places[1], look)
    _losses(sheet, places[2], look, form)
    if compared:
        half = 330 if form.across == 3 else 220 if form.across == 2 else form.width
        _phi(sheet, (0, bottom + GAP, half, bottom + GAP + square), look, form)
        box = (half + GAP, bottom + GAP, form.width, bottom + GAP + square) if form.across > 1 else \
            (0, bottom + 2 * GAP + square, form.width, bottom + 2 * GAP + square + across_map)
        _phi_map(sheet, box, look, form)
    return sheet.figure()


def _places(form: Form, y: int, low: int) -> list[tuple[int, int, int, int]]:
    """Boxes of the three cells below the map."""
    if form.across == 3:
        wide = (form.width - 2 * GAP) // 3
        return [(k * (wide + GAP), y, k * (wide + GAP) + wide if k < 2 else form.width, y + low) for k in range(3)]
    if form.across == 2:
        wide = (form.width - 16) // 2
        return [(0, y, wide, y + low), (wide + 16, y, form.width, y + low), (0, y + low + GAP, form.width, y + 2 * low + GAP)]
    return [(0, y + k * (low + GAP), form.width, y + k * (low + GAP) + low) for k in range(3)]


def _map(sheet: Sheet, form: Form, look: Look, bottom: int) -> None:
    spectra = look.spectra
    values, words = map_of(spectra, look.map, look.rank)
    name, unit = HEADINGS[look.map]
    if look.map == "kept":
        name += f" at rank {look.rank}"
    gutter = 12 + 7 * max(len(_module(module)) for module in spectra.modules)
    cell_px = (form.width - gutter) / len(spectra.layers)
    axis = _layer_map(sheet, (0, 0, form.width, bottom), name, unit if form.across > 1 else "", spectra, gutter)
    known = [value for row in values for value in row if value is not None]
    top = {"kept": 100.0, "norm": max(known)}.get(look.map, max(*known, .4 * spectra.rank)) or 1.0
    sheet.add(axis, type="heatmap", z=values, text=words, zmin=0, zmax=top, showscale=False, xgap=2, ygap=2, colorscale=RAMP, uid="map",
              texttemplate="%{text}" if cell_px >= 9 + 6 * max(len(word) for row in words for word in row) else "",
              textfont=dict(size=10 if cell_px < 60 else 11), customdata=_labels(spectra),
              hovertemplate="%{customdata}: %{text}<extra></extra>")
    if look.picked is not None:
        x, y = spectra.layers.index(look.picked.layer), spectra.modules.index(look.picked.module)
        sheet.shapes.append(dict(type="rect", xref="x" + axis, yref="y" + axis, x0=x - .5, x1=x + .5, y0=y - .5, y1=y + .5,
                                 line=dict(color=ink("ink"), width=2)))


def _layer_map(sheet: Sheet, box: tuple[int, int, int, int], name: str, unit: str, spectra: Spectra, gutter: int) -> str:
    """Axes of a map: layers across, modules down."""
    count, rows = len(spectra.layers), len(spectra.modules)
    room = (box[2] - box[0] - gutter) / count
    every = next(step for step in (1, 2, 4, 5, 10, 20, 1000) if step * room >= 24)
    places = list(range(0, count, every))
    across = dict(QUICK, range=[-.5, count - .5], tickvals=places, ticktext=[_layer(spectra.layers[k]) for k in places], showline=False)
    down = dict(QUICK, range=[rows - .5, -.5], tickvals=list(range(rows)), ticktext=[plain(_module(module)) for module in spectra.modules],
                showgrid=False, tickfont=dict(size=12, color=ink("ink")))
    return sheet.cell(*box, name, unit, "layer", gutter=gutter, right=0, x=across, y=down)


def _labels(spectra: Spectra) -> list[list[str]]:
    """What a cell is, for the hover."""
    return [[f"layer {_layer(layer)} {plain(_module(module))}" for layer in spectra.layers] for module in spectra.modules]


def _spectrum(sheet: Sheet, box: tuple[int, int, int, int], look: Look, form: Form) -> None:
    picked, beside = look.picked, look.beside
    drawn = [matrix for matrix in (picked, beside) if matrix is not None]
    positive = np.concatenate([matrix.values[matrix.values > 0] for matrix in drawn])
    low, high = (float(positive.min()), float(positive.max())) if len(positive) else (.1, 1.)
    low = max(low, high * 1e-6)  # what rounding left of a direction that is not there
    span = max(math.log10(high / low), .3)
    bounds = [math.log10(low) - .2 * span, math.log10(high) + .26 * span]
    end = max(len(matrix.values) for matrix in drawn)
    letters = max(4, int((box[2] - box[0] - 165) / 6.5))  # what stands beside the title in its cell
    axis = sheet.cell(*box, "Singular values of ΔW", plain(_cut(picked.label, letters)) if form.across != 2 else "", "index", gutter=44, right=12,
                      x=_ranks_axis(end, box), y=dict(QUICK, type="log", range=bounds, **_log_ticks(*bounds)))
    if look.rank < end:
        sheet.band(axis, x=[look.rank + .5, end + .6])
    for matrix, colour, dash, wide, uid in ((beside, "grey", "dot", 1.5, "beside"), (picked, "blue", "solid", 2, "picked")):
        if matrix is not None:
            sheet.line(axis, range(1, len(matrix.values) + 1), np.maximum(matrix.values, 10 ** bounds[0]), colour, dash, wide, uid=uid,
                       mode="lines+markers" if end <= 16 else "lines", hovertemplate="%{x}: %{y:.3g}<extra></extra>",
                       marker=dict(size=6, symbol="circle" if matrix is picked else "circle-open", color=ink(colour)))
    _pair_labels(sheet, axis, look, end, [matrix.values for matrix in drawn], log=True)
    if look.rank < end:
        sheet.rule(axis, x=look.rank + .5, colour="ink-2", dash="2px,3px")
        at = (box[2] - box[0] - 56) * (look.rank + .1) / (end + .2)  # px of the rule in the plot
        left, room = at > box[2] - box[0] - 56 - at, max(at, box[2] - box[0] - 56 - at)
        words = f"rank {look.rank}, rest is cut" if room > 118 else f"rank {look.rank}" if left else "rest is cut"
        sheet.label(axis, look.rank + .5, 1, words, "ink-2", yref=f"y{axis} domain", valign="top", dy=-2, size=11,
                    anchor="right" if left else "left", dx=-6 if left else 6)
    else:
        sheet.label(axis, 1, 1, f"rank {look.rank} cuts nothing", "ink-2", xref=f"x{axis} domain", yref=f"y{axis} domain", valign="top",
                    anchor="right", dx=-2, dy=-2, size=11)


def _energy(sheet: Sheet, box: tuple[int, int, int, int], look: Look) -> None:
    picked, beside = look.picked, look.beside
    drawn = [matrix for matrix in (picked, beside) if matrix is not None]
    end = max(len(matrix.values) for matrix in drawn)
    axis = sheet.cell(*box, "Energy kept", "% of ‖ΔW‖²", "rank", gutter=36, right=12, x=_ranks_axis(end, box),
                      y=dict(QUICK, range=[0, 118], tickvals=[0, 25, 50, 75, 100]))
    for matrix, colour, dash, wide, uid in ((beside, "grey", "dot", 1.5, "energy-beside"), (picked, "blue", "solid", 2, "energy")):
        if matrix is not None:
            sheet.line(axis, range(1, len(matrix.values) + 1), 100 * matrix.share, colour, dash, wide, uid=uid,
                       mode="lines+markers" if end <= 16 else "lines", hovertemplate="rank %{x}: %{y:.1f} %<extra></extra>",
                       marker=dict(size=6, symbol="circle" if colour == "blue" else "circle-open", color=ink(colour)))
    at = min(look.rank, len(picked.share))
    kept = 100 * picked.keeps(look.rank)
    sheet.rule(axis, x=at, colour="ink-2", dash="2px,3px")
    sheet.add(axis, x=[at], y=[kept], mode="markers", marker=dict(size=10, color=ink("blue")), hoverinfo="skip", uid="kept")
    needs = [(share, picked.needs(share / 100)) for share in (90, 99)]
    words = ", ".join(f"{share} % at {need}" for share, need in needs if need) or f"not 90 % with {len(picked.values)}"
    for k, (text, colour) in enumerate(((f"{kept:.0f} % at rank {look.rank}", "blue-text"), (words, "ink-2"))):
        sheet.label(axis, 1, 0, text, colour, xref=f"x{axis} domain", yref=f"y{axis} domain", anchor="right", valign="bottom", dx=-4,
                    dy=22 - 18 * k, bgcolor=ink("surface"), borderpad=1)


def _pair_labels(sheet: Sheet, axis: str, look: Look, end: int, values: list[np.ndarray], log: bool) -> None:
    """The names of the two lines: the upper one's above it, the lower one's below, where neither can meet the other."""
    names = [short(look.picked.module), look.beside_name]
    place = min(max(1, round(.62 * end)), *(len(line) for line in values), end)
    heights = [float(line[place - 1]) for line in values]
    for k, height in enumerate(heights):
        above = len(heights) == 1 or height > heights[1 - k] or (height == heights[1 - k] and k == 0)
        if height <= 0:
            continue
        sheet.label(axis, place, math.log10(height) if log else height, plain(names[k]), "blue-text" if k == 0 else "grey-text",
                    anchor="center", valign="bottom" if above else "top", dy=6 if above else -6)


def _losses(sheet: Sheet, box: tuple[int, int, int, int], look: Look, form: Form) -> None:
    points, cuts = look.points, look.cuts
    ends = [point for point in points if point.loss is not None]
    losses = [v for p in ends for v in (p.loss, p.low, p.high) if v is not None] + [p.now for p in points if p.now is not None] + \
        [loss for _, loss in cuts] + ([look.whole] if look.whole is not None else [])
    marks = [f'<span style="color:{ink(colour)}">{word}</span>' for word, colour, there in (
        ("●\u00a0trained", "blue-text", points), ("×\u00a0cut", "vermillion-text", cuts),
        ("◆\u00a0suggested", "green-text", any(point.suggested for point in points))) if there]
    ranks = sorted({point.rank for point in points} | {rank for rank, _ in cuts})
    if not ranks:
        bare = dict(range=[0, 1], tickvals=[], showline=False, showgrid=False)
        axis = sheet.cell(*box, "Held-out loss", "nats per token", "", gutter=44, right=12, foot=24, x=bare, y=bare)
        # plotly draws no cell that has no trace
        sheet.add(axis, x=[.5], y=[.5], mode="markers", marker=dict(size=1, color="rgba(0,0,0,0)"), hoverinfo="skip")
        for k, line in enumerate(look.losses_hint.split("\n")):
            sheet.label(axis, .5, .5, plain(line), "ink-3", anchor="center", xref=f"x{axis} domain", yref=f"y{axis} domain", dy=9 - 18 * k)
        return
    low, high = (min(losses), max(losses)) if losses else (0.0, 1.0)
    means = [p.loss for p in ends] + [loss for _, loss in cuts]
    log = len(means) > 1 and low > 0 and max(means) / min(means) > MANY_TIMES
    if log:
        span = math.log10(high / low)
        bounds = [math.log10(low) - .22 * span, math.log10(high) + .14 * span]
        up = dict(QUICK, type="log", range=bounds, **_log_ticks(*bounds))
    else:
        pad = max(high - low, 1e-3 * abs(high), 1e-6)
        bounds = [low - .22 * pad, high + .18 * pad]
        up = dict(QUICK, range=bounds, tickformat=f".{_decimals(bounds)}f", nticks=5)
    shown = _apart(ranks, box[2] - box[0] - 56)
    unit = "nats " if form.across == 3 and len(marks) == 2 else "nats per token " if len(marks) < 3 else "nats " if form.across < 3 else ""
    axis = sheet.cell(*box, "Held-out loss", unit + " ".join(marks), "rank (log scale)", gutter=44, right=12, y=up,
                      x=dict(QUICK, type="log", range=[math.log10(ranks[0]) - .12, math.log10(max(ranks[-1], 2 * ranks[0])) + .12],
                             tickvals=shown, ticktext=[str(rank) for rank in shown]))
    if look.whole is not None:
        sheet.rule(axis, y=look.whole, colour="grey", dash="dot", width=1.5)
        sheet.label(axis, 0, math.log10(look.whole) if log else look.whole, f"as trained {look.whole:.3g}", "grey-text",
                    xref=f"x{axis} domain", valign="top", dy=-3, dx=2, size=11)
    if cuts:
        sheet.line(axis, [rank for rank, _ in cuts], [loss for _, loss in cuts], "vermillion", "dash", 1.5, mode="lines+markers",
                   uid="cuts", hovertemplate="cut to rank %{x}: %{y:.4f}<extra></extra>",
                   marker=dict(size=9, symbol="x", color=ink("vermillion")))
    bars = [p for p in ends if p.low is not None]
    if bars:
        at = {id(p): p.rank * (1.06 if p.suggested else 1.0) for p in bars}  # so that two intervals of one rank stand side by side
        sheet.line(axis, [x for p in bars for x in (at[id(p)], at[id(p)], None)], [y for p in bars for y in (p.low, p.high, None)], "blue",
                   width=1.5, uid="intervals", hoverinfo="skip")
    same, other = ([p for p in ends if p.suggested is kind] for kind in (False, True))
    sheet.line(axis, [p.rank for p in same], [p.loss for p in same], "blue", mode="lines+markers", uid="trained",
               marker=dict(size=8, color=ink("blue")), hovertemplate="trained at rank %{x}: %{y:.4f}<extra></extra>")
    if other:
        sheet.add(axis, x=[1.06 * p.rank for p in other], y=[p.loss for p in other], mode="markers", uid="suggested",
                  marker=dict(size=11, symbol="diamond", color=ink("green")), hovertemplate="suggested ranks: %{y:.4f}<extra></extra>")
    running = [p for p in points if p.now is not None and p.loss is None]
    if running:
        sheet.add(axis, x=[p.rank for p in running], y=[p.now for p in running], mode="markers", hoverinfo="skip", uid="running",
                  marker=dict(size=9, symbol="circle-open", color=ink("blue"), line=dict(width=2)))
    waiting = [words for count, words in ((sum(p.loss is None and p.status == status for p in points), status) for status in
               ("running", "queued", "failed")) if count for words in [f"{count} {words}"]]
    if waiting:
        sheet.label(axis, 1, 0, ", ".join(waiting), "ink-3", xref=f"x{axis} domain", yref=f"y{axis} domain", anchor="right",
                    valign="bottom", dx=-2, dy=3, size=11, bgcolor=ink("surface"))


def _phi(sheet: Sheet, box: tuple[int, int, int, int], look: Look, form: Form) -> None:
    phi = look.phi if look.phi is not None else np.zeros((1, 1))
    rows, columns = phi.shape
    words = [[f"{value:.2f}" for value in row] for row in phi]
    unit = plain(look.picked.label) if form.across != 2 else ""
    axis = sheet.cell(*box, "Shared subspace φ(i, j)", unit, f"j of {plain(_cut(look.other_name, 24))}", gutter=34, right=0,
                      x=dict(QUICK, range=[-.5, columns - .5], showline=False, **_index_ticks(columns)),
                      y=dict(QUICK, range=[rows - .5, -.5], showgrid=False, **_index_ticks(rows)))
    roomy = (box[2] - box[0] - 34) / columns >= 30
    sheet.add(axis, type="heatmap", z=phi.tolist(), text=words, zmin=0, zmax=1, showscale=False, xgap=1, ygap=1, colorscale=RAMP, uid="phi",
              texttemplate="%{text}" if roomy else "", textfont=dict(size=10), hovertemplate="%{text}<extra></extra>")


def _phi_map(sheet: Sheet, box: tuple[int, int, int, int], look: Look, form: Form) -> None:
    gutter = 12 + 7 * max(len(_module(module)) for module in look.spectra.modules)
    name, unit = ("φ of all", "chance") if form.across == 2 else ("Shared by all directions", "φ, by chance")
    axis = _layer_map(sheet, box, name, "" if look.chance is None else f"{unit} {look.chance:.2f}", look.spectra, gutter)
    words = [["" if value is None else f"{value:.2f}" for value in row] for row in look.phi_map]
    roomy = (box[2] - box[0] - gutter) / len(look.spectra.layers) >= 30
    sheet.add(axis, type="heatmap", z=look.phi_map, text=words, zmin=0, zmax=1, showscale=False, xgap=2, ygap=2, colorscale=RAMP,
              uid="phi-map", texttemplate="%{text}" if roomy else "", textfont=dict(size=10), customdata=_labels(look.spectra),
              hovertemplate="%{customdata}: %{text}<extra></extra>")


def _ranks_axis(end: int, box: tuple[int, int, int, int]) -> dict[str, Any]:
    """A linear axis from 1 to `end`."""
    room = max(2, (box[2] - box[0] - 56) // 30)
    step = next(size for size in (1, 2, 4, 8, 16, 32, 64, 128, 256, 10**9) if end / size <= room)
    ticks = [1, *range(step, end + 1, step)] if step > 1 else list(range(1, end + 1))
    return dict(QUICK, range=[.4, end + .6], tickvals=ticks, ticktext=[str(tick) for tick in ticks])


def _index_ticks(count: int) -> dict[str, list]:
    step = next(size for size in (1, 2, 4, 8, 16, 32, 64, 128) if count / size <= 8 or size == 128)
    places = list(range(step - 1, count, step))
    return dict(tickvals=places, ticktext=[str(place + 1) for place in places])


def _log_ticks(low: float, high: float) -> dict[str, list]:
    """1-3-10 where few decades are seen, decades where many."""
    powers = range(math.floor(low), math.ceil(high) + 1)
    parts = (1, 3) if high - low < 3 else (1,)
    if high - low < .7:
        parts = (1, 1.5, 2, 3, 5, 7)
    found = [part * 10.0 ** power for power in powers for part in parts]
    found = [tick for tick in found if low <= math.log10(tick) <= high]
    return dict(tickvals=found, ticktext=[f"{tick:.10g}" if tick >= 1e-4 else f"{tick:.0e}" for tick in found])


def _apart(ranks: list[int], room_px: float) -> list[int]:
    """Those of the ranks whose numbers do not touch on a log axis."""
    per_px = room_px / (math.log10(max(ranks[-1], 2 * ranks[0]) / ranks[0]) + .24)
    kept = [ranks[0]]
    for rank in ranks[1:]:
        if math.log10(rank / kept[-1]) * per_px >= 20:
            kept.append(rank)
    return kept


def _decimals(bounds: list[float]) -> int:
    """Digits that tell two ticks apart."""
    return min(6, max(2, math.ceil(-math.log10(max(bounds[1] - bounds[0], 1e-9))) + 1))


def _module(module: str) -> str:
    return _cut(short(module), 14)


def _cut(name: str, letters: int) -> str:
    return name if len(name) <= letters else name[:letters - 1] + "…"


def _layer(layer: int) -> str:
    return number(layer) if layer >= 0 else "–"
