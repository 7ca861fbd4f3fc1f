"""A run's mixture in the run monitor: shares drawn beside shares asked for, the cell that shows them, the weights that give a source another share.

Shares are of rows. Works on arrays and dicts; knows no run and makes no widget.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from widgets.frame.sheet import Sheet, plain
from widgets.run_monitor.labels import Plot, middle
from workbench.journal.history import History

MOST = 6
"""Sources drawn with a line and a colour of their own: those with the largest shares."""
STYLES = (("blue", "solid"), ("orange", "dash"), ("green", "dot"), ("purple", "dashdot"), ("sky", "longdash"), ("vermillion", "longdashdot"))
WINDOW = 20
"""Steps that a share drawn is counted over, at least: single steps of few rows say little."""


@dataclass(slots=True)
class Mixing:
    """`drawn`: name -> share of the rows of the last steps, one value a step; `asked`: name -> (steps, shares), constant between its steps."""

    drawn: dict[str, np.ndarray] = field(default_factory=dict)
    asked: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    @property
    def shown(self) -> list[str]:
        """The sources that have a line: those asked for most, in the mixture's order."""
        first = sorted(self.asked, key=lambda name: -self.asked[name][1].max())[:MOST]
        return [name for name in self.asked if name in first]


def mixing_of(history: History, span: int) -> Mixing:
    """What the journal says of a run's mixture; nothing where it draws from one source. `span` is in steps."""
    if history.prepared is None or not history.prepared.mixture:
        return Mixing()
    weights, columns = history.prepared.mixture, history.metrics()
    rows = {name: np.nan_to_num(np.asarray(columns.get(f"rows/{name}", ()), float)) for name in weights}
    total = _over(sum(rows.values()), max(span, WINDOW))
    told: list[tuple[int, dict[str, float]]] = [(0, shares(weights))]
    told += [(change.step, shares(change.new)) for change in history.changes if change.field == "mixture"]
    last = max(history.step, told[-1][0])
    steps = np.array([step for step, _ in told] + [last], float)
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = {name: _over(count, max(span, WINDOW)) / total for name, count in rows.items()}
    return Mixing(drawn, {name: (steps, np.array([part[name] for _, part in told] + [told[-1][1][name]])) for name in weights})


def _over(values: np.ndarray, window: int) -> np.ndarray:
    """The sum of the last `window` values at each place; of all there are before that."""
    summed = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    return summed[ends] - summed[np.maximum(ends - window, 0)]


def shares(weights: dict[str, float]) -> dict[str, float]:
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


def weights_for(weights: dict[str, float], name: str, share: float) -> dict[str, float]:
    """Weights in which `name` has this share (0 to 1) and the others keep their proportions; alone it keeps all."""
    others = {other: weight for other, weight in shares(weights).items() if other != name}
    rest = sum(others.values())
    if not rest:
        return {other: 1 - share if others else 0.0 for other in others} | {name: share or 1.0}
    return {other: round(weight / rest * (1 - share), 9) for other, weight in others.items()} | {name: round(share, 9)}


def change_words(old: dict[str, float], new: dict[str, float]) -> str:
    """`letters 20 % → 33 %`: the source whose share changed most."""
    before, after = shares(old), shares(new)
    name = max(after, key=lambda name: abs(after[name] - before.get(name, 0)))
    return f"{name} {before.get(name, 0):.0%} → {after[name]:.0%}".replace("%", "\u202f%")


def draw(sheet: Sheet, plot: Plot, step: np.ndarray, mixing: Mixing, names: Sequence[str]) -> list[dict]:
    """The lines of a cell; returns the labels to stand at their ends."""
    labels = []
    for number, (name, (colour, dash)) in enumerate(zip(names, STYLES, strict=False)):
        at, asked = mixing.asked[name]
        sheet.line(plot.axis, at, 100 * asked, colour, "solid", 1, opacity=.45, uid=f"asked-{number}", name=f"{plain(name)}, asked for",
                   line=dict(shape="hv"), hoverinfo="skip")
        sheet.line(plot.axis, step, 100 * mixing.drawn[name], colour, dash, 1.75, uid=f"drawn-{number}", name=plain(name),
                   hovertemplate=f"{plain(name)}<br>step %{{x:,d}}<br>%{{y:.1f}} % of the rows<extra></extra>")
        known = np.flatnonzero(np.isfinite(mixing.drawn[name]))
        if len(known):
            labels.append(dict(x=float(step[known[-1]]), y=100 * float(mixing.drawn[name][known[-1]]), text=plain(middle(name, 12)), colour=f"{colour}-text", dx=8))
    return labels


def top(mixing: Mixing) -> float:
    """The largest share worth room for, in percent."""
    drawn = [float(np.nanmax(values)) for values in mixing.drawn.values() if np.isfinite(values).any()]
    return 100 * max([*drawn, *(float(asked.max()) for _, asked in mixing.asked.values())], default=1.0)
