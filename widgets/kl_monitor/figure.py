"""The KL monitor's figure as one plotly dict: reward against distance (`distance.py`), and along the steps what the policy is paid, KL, β,
entropy, length, clipping, repetition and time.

`figure(curves, width)` is a pure function of what `reading.py` read. It places every word itself; it neither thins out points (the live
figure does) nor draws.
"""

import math

import numpy as np

from widgets.frame.sheet import MINUS, Sheet, ink, number, plain
from widgets.kl_monitor import distance
from widgets.kl_monitor.layout import FLAG, Cell, Place, Width, area_of, cut, ends, flag, flag_rows, places, range_of, top_of
from widgets.kl_monitor.reading import ESTIMATORS, Curves
from workbench.alignment import alarms

PAID = {"gold": ("green", "dot"), "objective": ("purple", "dash")}
SPENT = (
    ("seconds/generate", "generate", "blue", "solid"),
    ("seconds/score", "score", "orange", "dashdot"),
    ("seconds/train", "train", "purple", "dash"),
    ("waits/policy", "policy waits", "vermillion", "dot"),
    ("waits/reward", "rewards wait", "grey", "longdash"),
)
"""What a step's seconds went to: column, words, colour, dash."""
MARKED = {"kl": "kl", "gold": "paid", "entropy": "entropy", "repetition": "repetition", "clip": "clip", "nan": "paid"}
"""Kind of alarm -> the cell that has its mark."""
ROOM, FEWEST_STEPS = 1.5, 20
"""A step axis is at least so many times as long as what is there, and so many steps."""


def _end(planned: float, step: float) -> float:
    """Where the step axes end: at the planned steps, halved as often as leaves room; the first steps would be a scribble at the edge."""
    end = max(planned, step, 1.0)
    while end / 2 >= max(ROOM * step, FEWEST_STEPS):
        end /= 2
    return end


def figure(this: Curves, width: Width = "wide", estimator: str = "k1", empty: tuple[str, str] = ("", "")) -> dict:
    """{"data", "layout"}; `empty` are the two sentences shown while there is no step."""
    across, high, where = places(width)
    sheet = Sheet(across, high)
    if not len(this.step):
        return Sheet(across, 300).empty(*empty)
    end = (0.0, _end(float(this.steps or 0), float(this.step[-1])))
    cells = {
        "distance": distance.draw(sheet, where["distance"], this),
        "paid": _paid(sheet, where["paid"], this, end),
        "kl": _kl(sheet, where["kl"], this, end, estimator),
        "beta": _beta(sheet, where["beta"], this, end),
        "entropy": _entropy(sheet, where["entropy"], this, end),
    }
    for name, column, title, unit, scale in (
        ("length", "length", "Reply length", "tokens", 1),
        ("clip", "clip_fraction", "Clip fraction", "% of ratios", 100),
        ("repetition", "repetition", "Repetition", "% of replies", 100),
    ):
        cells[name] = _single(sheet, where[name], this, end, column, title, unit, scale)
    cells["time"] = _time(sheet, where["time"], this, end)
    along = [cell for name, cell in cells.items() if name != "distance"]
    for mark in this.marks:
        for cell in along:
            sheet.rule(cell.axis, x=mark.step, colour="ink-2", dash="2px,3px")
    _alarm_marks(sheet, cells, this, estimator)
    return sheet.figure()


# ---- along the steps


def _paid(sheet: Sheet, place: Place, this: Curves, end: tuple[float, float]) -> Cell:
    scale = distance.scale_of(this)
    reward, net, gold = this.mean("reward"), this.mean("objective"), this.mean("gold") * scale
    held = this.heldout.get("gold", np.empty(0)) * scale
    cell = cut(
        sheet,
        place,
        "What the policy is paid",
        "reward",
        end,
        range_of([reward, net, gold, held, _usual(this.series.get("reward", held))], None),
    )
    labels = []
    _parent(sheet, cell, this, "reward")
    if this.has("reward"):
        sheet.line(
            cell.axis,
            this.step,
            this.series["reward"],
            "blue",
            width=1,
            opacity=0.28,
            hoverinfo="skip",
            uid="reward-raw",
            name="reward, each step",
        )
        _averaged(sheet, cell, this, "reward", reward, "blue", "solid", 2, "proxy reward")
        labels.append((_last(reward), "R proxy", "blue-text"))
    if this.has("objective"):
        _averaged(sheet, cell, this, "objective", net, *PAID["objective"], 1.5, f"R {MINUS} β·KL")
        labels.append((_last(net), f"R {MINUS} β·KL", "purple-text"))
    if this.has("gold"):
        _averaged(sheet, cell, this, "gold", gold, *PAID["gold"], 1.5, "gold" + distance.times(scale))
    if np.isfinite(held).any():
        sheet.add(
            cell.axis,
            x=this.heldout["step"],
            y=held,
            mode="markers",
            uid="heldout-gold",
            name="gold, held out",
            marker=dict(size=6, symbol="diamond", color=ink("green"), opacity=1),
            hovertemplate="step %{x:,d}<br>gold, held out %{y:.3f}<extra></extra>",
        )
    if this.has("gold") or np.isfinite(held).any():
        labels.append((_last(gold) if this.has("gold") else _last(held), "gold" + distance.times(scale), "green-text"))
    ends(sheet, cell, labels)
    return cell


def _kl(sheet: Sheet, place: Place, this: Curves, end: tuple[float, float], estimator: str) -> Cell:
    strong = ESTIMATORS[estimator]
    mean, area = this.mean(strong), area_of(place)
    said = flag_rows(area, end, [(mark.step, mark.words) for mark in this.marks])
    rows = 1 + max((row for row, *_ in said.values()), default=-1)
    top = max(top_of([mean], 0.0), 1.25 * this.band[1] if this.band else 0.0, 1e-3)
    y = (min(0.0, float(np.nanmin(mean)) if this.has(strong) else 0.0), top / (1 - rows * FLAG / (area[3] - area[1])))
    cell = cut(sheet, place, "KL to the reference", "nats per reply", end, y)
    labels = []
    if this.targets is not None and np.isfinite(this.targets).any():
        for first, last, target in _stretches(this.step, this.targets):
            low, high = alarms.band_of(target)
            sheet.shapes.append(
                dict(
                    type="rect",
                    layer="below",
                    line=dict(width=0),
                    fillcolor=ink("green-fill"),
                    xref=f"x{cell.axis}",
                    yref=f"y{cell.axis}",
                    x0=first,
                    x1=end[1] if last == this.step[-1] else last,
                    y0=low,
                    y1=high,
                )
            )
    _parent(sheet, cell, this, "kl")
    limit = this.targets * (1 + alarms.BAND) if this.targets is not None else alarms.LOOSE * this.mean("length")
    if this.targets is None and _last(limit) <= y[1]:
        sheet.line(cell.axis, this.step, limit, "vermillion", "dash", 1, uid="kl-limit", name="limit without a target", hoverinfo="skip")
        labels.append((_last(limit), f"{alarms.LOOSE:g} a token", "vermillion-text"))
    if this.has(strong):
        sheet.line(
            cell.axis,
            this.step,
            this.series[strong],
            "blue",
            width=1,
            opacity=0.28,
            hoverinfo="skip",
            uid="kl-raw",
            name=f"{estimator}, each step",
        )
        _averaged(sheet, cell, this, "kl", mean, "blue", "solid", 2, f"KL, {estimator}")
        over = mean > limit
        if over.any():
            sheet.line(
                cell.axis,
                this.step,
                np.where(over, mean, np.nan),
                "vermillion",
                width=2.5,
                uid="kl-over",
                name="over the limit",
                hoverinfo="skip",
            )
        hot = any(alarm.kind == "kl" for alarm in this.alarms)
        labels.append((_last(mean), f"{estimator} {_short(_last(mean))}", "vermillion-text" if hot else "blue-text"))
    if this.band:
        labels.append((sum(this.band) / 2, "target", "green-text"))
    for name, dash in (("k1", "dash"), ("k2", "dashdot"), ("k3", "dot")):
        if name != estimator and this.has(ESTIMATORS[name]):
            values = this.mean(ESTIMATORS[name])
            sheet.line(
                cell.axis,
                this.step,
                values,
                "grey",
                dash,
                1.25,
                uid=name,
                name=name,
                hovertemplate=f"step %{{x:,d}}<br>{name} %{{y:.2f}} nats<extra></extra>",
            )
            if _last(values) <= y[1]:
                labels.append((_last(values), name, "grey-text"))
    for k, (row, left, words) in said.items():
        flag(sheet, cell, this.marks[k].step, row, left, words, this.marks[k].words)
    ends(sheet, cell, labels)
    return cell


def _stretches(step: np.ndarray, targets: np.ndarray) -> list[tuple[float, float, float]]:
    """(first step, last step, target) of each stretch with one target."""
    cuts = np.flatnonzero(np.diff(targets) != 0) + 1
    parts = np.split(np.arange(len(step)), cuts)
    return [
        (float(step[part[0]] - 1), float(step[part[-1]]), float(targets[part[0]]))
        for part in parts
        if len(part) and math.isfinite(targets[part[0]])
    ]


def _beta(sheet: Sheet, place: Place, this: Curves, end: tuple[float, float]) -> Cell:
    beta = this.series.get("beta", np.full(len(this.step), math.nan))
    cell = cut(sheet, place, "β", "penalty per nat" + (", adaptive" if this.band else ", by hand"), end, (0.0, 1.15 * top_of([beta], 0.1)))
    if this.has("beta"):
        sheet.line(
            cell.axis,
            this.step,
            beta,
            "ink",
            width=1.5,
            line=dict(shape="hv"),
            uid="beta",
            name="β",
            hovertemplate="step %{x:,d}<br>β %{y:.4g}<extra></extra>",
        )
        ends(sheet, cell, [(_last(beta), f"{_last(beta):.3g}", "ink")])
    return cell


def _entropy(sheet: Sheet, place: Place, this: Curves, end: tuple[float, float]) -> Cell:
    mean = this.mean("entropy")
    cell = cut(sheet, place, "Entropy", "nats per token", end, (0.0, 1.12 * top_of([mean], 0.1)))
    if this.has("entropy"):
        _averaged(sheet, cell, this, "entropy", mean, "blue", "solid", 2, "entropy")
        floor = alarms.entropy_floor(this.series["entropy"])
        if floor is not None:
            sheet.rule(cell.axis, y=floor, colour="vermillion", dash="dash")
            short = cell.area[2] - cell.area[0] < 200
            below = cell.py(floor) + 14 < cell.area[3]
            sheet.label(
                cell.axis,
                0,
                floor,
                "collapse" if short else f"collapse below {number(floor, 2)}",
                "vermillion-text",
                xref=f"x{cell.axis} domain",
                valign="top" if below else "bottom",
                dx=4,
                dy=-1 if below else 1,
                size=11,
            )
        ends(sheet, cell, [(_last(mean), number(_last(mean), 2), "blue-text")])
    return cell


def _single(sheet: Sheet, place: Place, this: Curves, end: tuple[float, float], column: str, name: str, unit: str, scale: float) -> Cell:
    mean = this.mean(column) * scale
    cell = cut(sheet, place, name, unit, end, (0.0, 1.15 * top_of([mean], 1.0 if scale == 1 else 5.0)))
    if this.has(column):
        _averaged(sheet, cell, this, column, mean, "blue", "solid", 2, name.lower())
        ends(sheet, cell, [(_last(mean), number(_last(mean)) + (" %" if scale == 100 else ""), "blue-text")])
    return cell


def _time(sheet: Sheet, place: Place, this: Curves, end: tuple[float, float]) -> Cell:
    known = [(column, *rest) for column, *rest in SPENT if this.has(column)]
    means = [this.mean(column) for column, *_ in known]
    cell = cut(sheet, place, "Time of a step", "seconds", end, (0.0, 1.15 * top_of(means, 0.1)))
    labels = []
    for (column, words, colour, dash), mean in zip(known, means, strict=True):
        _averaged(sheet, cell, this, column.replace("/", "-"), mean, colour, dash, 1.5, words)  # plotly makes selectors of uids
        labels.append((_last(mean), f"{words} {_seconds(_last(mean))}", f"{colour}-text"))
    ends(sheet, cell, labels)
    return cell


def _alarm_marks(sheet: Sheet, cells: dict[str, Cell], this: Curves, estimator: str) -> None:
    """A triangle on the line where an alarm's trouble began."""
    lines = {
        "kl": this.mean(ESTIMATORS[estimator]),
        "paid": this.mean("reward"),
        "entropy": this.mean("entropy"),
        "repetition": 100 * this.mean("repetition"),
        "clip": 100 * this.mean("clip_fraction"),
    }
    for alarm in this.alarms:
        name = MARKED[alarm.kind]
        line = lines[name]
        at = int(np.searchsorted(this.step, alarm.step))
        at = min(at, len(line) - 1)
        if math.isfinite(line[at]):
            sheet.add(
                cells[name].axis,
                x=[float(this.step[at])],
                y=[float(line[at])],
                mode="markers",
                uid=f"alarm-{alarm.kind}",
                name=f"alarm: {alarm.kind}",
                marker=dict(size=11, symbol="triangle-up", color=ink("vermillion"), line=dict(color=ink("surface"), width=1), opacity=1),
                cliponaxis=False,
                hovertemplate=plain(alarm.sentence) + "<extra></extra>",
            )


# ---- small things


def _averaged(
    sheet: Sheet, cell: Cell, this: Curves, uid: str, values: np.ndarray, colour: str, dash: str, width: float, words: str
) -> None:
    sheet.line(
        cell.axis,
        this.step,
        values,
        colour,
        dash,
        width,
        uid=uid,
        name=words,
        mode="lines" if len(this.step) > 1 else "lines+markers",
        hovertemplate=f"step %{{x:,d}}<br>{words} %{{y:.3g}}<extra></extra>",
    )


def _parent(sheet: Sheet, cell: Cell, this: Curves, name: str) -> None:
    if this.parent is not None and this.parent.has(name):
        sheet.line(
            cell.axis, this.parent.step, this.parent.mean(name), "grey", "dot", 1.25, uid=f"parent-{name}", name="parent", hoverinfo="skip"
        )


def _last(values: np.ndarray) -> float:
    fine = values[np.isfinite(values)]
    return float(fine[-1]) if len(fine) else math.nan


def _usual(values: np.ndarray) -> np.ndarray:
    """The span of all but the strangest of some values: what of a raw line should be in sight."""
    fine = values[np.isfinite(values)]
    return np.quantile(fine, [0.02, 0.98]) if len(fine) else fine


def _short(value: float) -> str:
    return number(value, 0 if abs(value) >= 100 else 1 if abs(value) >= 1 else 2)


def _seconds(value: float) -> str:
    return f"{number(value, 0 if value >= 10 else 1 if value >= 1 else 2)} s"
