"""Reward gained against √KL, proxy and gold in one cell, so that over-optimisation is seen: gold's peak is marked, the target is a band.

Pure, from curves read elsewhere; axes as in Gao et al. 2022, "Scaling Laws for Reward Model Overoptimization". Fits no law to them.
"""

import math

import numpy as np

from widgets.frame.sheet import Sheet, ink, number
from widgets.kl_monitor.layout import Cell, Place, cut, ends, range_of, top_of
from widgets.kl_monitor.reading import Curves
from workbench.alignment import alarms

LONGEST = 1000
"""Points of the line of reward against distance at most: it goes back and forth, so the page cannot thin it out."""


def scale_of(this: Curves) -> float:
    """What gold is multiplied by so that it is seen beside the proxy: 1 unless it moves over less than a quarter of the proxy's range."""
    if not this.has("gold") and not np.isfinite(this.heldout.get("gold", np.empty(0))).any():
        return 1.0
    gold = spread(this.mean("gold")) or spread(this.heldout["gold"])
    reward = spread(this.mean("reward"))
    if not gold or gold >= reward / 4:
        return 1.0
    power = 10.0 ** math.floor(math.log10(reward / 2 / gold))
    return next(m * power for m in (10, 5, 2, 1) if m * power <= reward / 2 / gold)


def spread(values: np.ndarray) -> float:
    fine = values[np.isfinite(values)]
    return float(fine.max() - fine.min()) if len(fine) else 0.0


def times(scale: float) -> str:
    return "" if scale == 1 else f" × {scale:g}"


def start_of(values: np.ndarray) -> float:
    """The mean of the first known values: what a gain is counted from."""
    fine = values[np.isfinite(values)]
    return float(fine[: alarms.FIRST].mean()) if len(fine) else math.nan


def peak(this: Curves) -> tuple[int, float, float] | None:
    """(step, √KL, gold) where gold's average is highest; None while it is not known for a window."""
    if this.has("gold"):
        gold, step, kl = this.series["gold"], this.step, this.mean("kl")
        span = alarms.gold_span(len(step))
        at = alarms.gold_peak(gold, span)
        if at is None or not math.isfinite(kl[at]):
            return None
        return int(step[at]), math.sqrt(max(0.0, kl[at])), float(this.mean("gold")[at])
    gold, kl = (this.heldout.get(name, np.empty(0)) for name in ("gold", "kl"))
    if np.isfinite(gold).sum() < 3:
        return None
    at = int(np.nanargmax(gold))
    return (int(this.heldout["step"][at]), math.sqrt(max(0.0, kl[at])), float(gold[at])) if math.isfinite(kl[at]) else None


def draw(sheet: Sheet, place: Place, this: Curves) -> Cell:
    d = np.sqrt(np.clip(this.mean("kl"), 0, None))
    scale, zero = scale_of(this), start_of(this.series.get("reward", np.empty(0)))
    golden = this.heldout.get("gold", np.empty(0))
    zero_gold = start_of(this.series["gold"]) if this.has("gold") else float(golden[0]) if len(golden) else math.nan
    proxy, gold = this.mean("reward") - zero, (this.mean("gold") - zero_gold) * scale
    hd, held = np.sqrt(np.clip(this.heldout.get("kl", np.empty(0)), 0, None)), (golden - zero_gold) * scale
    x = (0.0, top_of([d, hd], 1.0))
    y = range_of([proxy, gold, held], 0.0)
    cell = cut(sheet, place, "Reward against distance", "gained since the start", x, y, "√KL to the reference, √nats")
    left, _, right, bottom = cell.area
    if this.band:
        low, high = (math.sqrt(value) for value in this.band)
        if low < x[1]:
            sheet.band(cell.axis, x=[low, min(high, x[1])], colour="green-fill")
            sheet.label(
                cell.axis,
                (low + min(high, x[1])) / 2,
                0,
                "target",
                "green-text",
                yref=f"y{cell.axis} domain",
                anchor="center",
                valign="bottom",
                dy=2,
                size=11,
            )
    keep = kept(this)
    steps, labels = this.step[keep], []
    if this.parent is not None and len(this.parent.step):
        other = np.sqrt(np.clip(this.parent.mean("kl"), 0, None))
        thin = kept(this.parent)
        for name, zeroed, factor in (("reward", zero, 1.0), ("gold", zero_gold, scale)):
            sheet.line(
                cell.axis,
                other[thin],
                ((this.parent.mean(name) - zeroed) * factor)[thin],
                "grey",
                "dot",
                1.25,
                uid=f"parent-{name}-distance",
                name="parent",
                hoverinfo="skip",
            )
    if this.has("reward"):
        sheet.line(
            cell.axis,
            d[keep],
            proxy[keep],
            "blue",
            uid="proxy-distance",
            name="proxy",
            customdata=list(steps),
            hovertemplate="step %{customdata:,d}<br>√KL %{x:.2f}<br>proxy gained %{y:.3f}<extra></extra>",
        )
        labels.append((float(proxy[-1]), "proxy", "blue-text"))
    if this.has("gold"):
        sheet.line(
            cell.axis,
            d[keep],
            gold[keep],
            "green",
            "dot",
            1.5,
            uid="gold-distance",
            name="gold",
            customdata=list(steps),
            hovertemplate=f"step %{{customdata:,d}}<br>√KL %{{x:.2f}}<br>gold gained{times(scale)} %{{y:.3f}}<extra></extra>",
        )
        labels.append((float(gold[-1]), "gold" + times(scale), "green-text"))
    if np.isfinite(held).any():
        sheet.add(
            cell.axis,
            x=hd,
            y=held,
            mode="markers",
            uid="heldout-distance",
            name="gold, held out",
            customdata=list(this.heldout["step"]),
            marker=dict(size=7, symbol="diamond", color=ink("green"), opacity=1),
            hovertemplate="step %{customdata:,d}<br>√KL %{x:.2f}<br>gold gained, held out %{y:.3f}<extra></extra>",
        )
        if not this.has("gold"):
            labels.append((float(held[-1]), "gold" + times(scale), "green-text"))
    best = peak(this)
    if best is not None:
        at = (best[2] - zero_gold) * scale
        sheet.add(
            cell.axis,
            x=[best[1]],
            y=[at],
            mode="markers",
            uid="peak",
            name="gold is best",
            hoverinfo="skip",
            marker=dict(size=14, symbol="circle-open", color=ink("ink"), line=dict(width=1.5)),
        )
        said = f"gold is best at step {number(best[0])}"
        half, px = len(said) * 12 * 0.27, cell.px(best[1])
        shift = max(left + half - px, 0.0) + min(right - half - px, 0.0)
        below = cell.py(at) + 34 < bottom - 18
        sheet.label(
            cell.axis,
            best[1],
            at,
            said,
            "ink",
            anchor="center",
            valign="top" if below else "bottom",
            dx=shift,
            dy=-12 if below else 12,
        )
    ends(sheet, cell, labels)
    return cell


def kept(this: Curves) -> slice:
    """Which steps the line has: few enough to draw, and none of the first, whose averages are noise around no distance."""
    count = len(this.step)
    return slice(this.span if count > 3 * this.span else 0, None, max(1, math.ceil(count / LONGEST)))
