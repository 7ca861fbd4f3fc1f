"""Ranks by matrix for a budget of parameters: a `rank_pattern`, from the spectra of an update.

A direction of a matrix costs d_in + d_out parameters and holds σ² of the update's energy; the suggestion takes directions in order of
energy per parameter. Energy is what is kept of *this* update; whether a run trained with these ranks is better than a uniform one must be
tried (`wb.sweep`).
"""

import heapq
from typing import TYPE_CHECKING

from workbench.adapters.names import pattern_key, pattern_value
from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    import pandas as pd

Place = tuple[int, str]


def suggest_rank_pattern(spectrum: "pd.DataFrame", shapes: dict[Place, tuple[int, int]] | None = None, budget: int = 0,
                         least: int = 1) -> dict[str, int]:
    """{"layers.0.self_attn.q_proj": 4, ...}, as `LoRA(rank_pattern=...)` and peft take it: ranks whose factors have at most `budget`
    parameters.

    `spectrum` is what `spectrum` or `difference` gives; `shapes` are (d_out, d_in) by (layer, module), its own unless given. Every matrix
    gets at least `least` directions: 1 as peft wants it, 0 where `LoRA` may leave matrices out. Greedy by σ² / (d_in + d_out): no other
    ranks of at most as many parameters as were taken before the first direction that did not fit keep more energy (the fractional knapsack;
    within a matrix σ falls, so the order is feasible), and where all matrices have one shape that holds for the whole budget. After that
    the next best that still fit are taken. Raises `WorkbenchError` where the budget is below `least`.
    """
    values, cost, names = _directions(spectrum, shapes)
    ranks = {place: min(least, len(found)) for place, found in values.items()}
    left = budget - sum(rank * cost[place] for place, rank in ranks.items())
    if left < 0:
        need = budget - left
        raise WorkbenchError(f"A budget of {budget:,} parameters is too small: rank {least} in every matrix takes {need:,}.",
                             f"Give at least {need:,}, or fewer matrices.")
    queue = [(-found[ranks[place]] ** 2 / cost[place], place) for place, found in values.items() if ranks[place] < len(found)]
    heapq.heapify(queue)
    while queue:
        worth, place = heapq.heappop(queue)
        if worth == 0 or cost[place] > left:  # its further directions cost as much, and hold less
            continue
        ranks[place] += 1
        left -= cost[place]
        if ranks[place] < len(values[place]):
            heapq.heappush(queue, (-values[place][ranks[place]] ** 2 / cost[place], place))
    return {pattern_key(names[place]): rank for place, rank in ranks.items()}


def pattern_parameters(ranks: int | dict[str, int], spectrum: "pd.DataFrame", shapes: dict[Place, tuple[int, int]] | None = None) -> int:
    """Parameters of the factors: Σ r (d_in + d_out) over the matrices of `spectrum`, with `ranks` one rank for all or a rank_pattern."""
    _, cost, names = _directions(spectrum, shapes)
    return sum(_rank(ranks, names[place]) * each for place, each in cost.items())


def energy_kept(spectrum: "pd.DataFrame", ranks: int | dict[str, int]) -> float:
    """Share of the update's energy Σ ‖ΔW‖² that the leading `ranks` directions of its matrices hold, 0 to 1; 1 where there is no update at
    all."""
    values, _, names = _directions(spectrum, None)
    norms = spectrum.attrs.get("norms", {})
    whole = sum(norms[place] ** 2 if place in norms else sum(value**2 for value in found) for place, found in values.items())
    kept = sum(value**2 for place, found in values.items() for value in found[:_rank(ranks, names[place])])
    return min(1.0, kept / whole) if whole else 1.0


def _rank(ranks: int | dict[str, int], name: str) -> int:
    return ranks if isinstance(ranks, int) else int(pattern_value(ranks, name, 0))  # type: ignore[arg-type]


def _directions(spectrum: "pd.DataFrame", shapes: dict[Place, tuple[int, int]] | None
                ) -> tuple[dict[Place, list[float]], dict[Place, int], dict[Place, str]]:
    """(singular values, largest first; parameters a direction; full names), by place"""
    shapes, names = shapes or spectrum.attrs.get("shapes", {}), spectrum.attrs.get("names", {})
    values = {(int(layer), str(module)): sorted(found.tolist(), reverse=True)
              for (layer, module), found in spectrum.groupby(["layer", "module"], sort=False)["singular_value"]}
    unknown = next((place for place in values if place not in shapes or place not in names), None)
    if unknown is not None:
        raise WorkbenchError(f"This table does not say the shape and name of {unknown[1]} in layer {unknown[0]}.",
                             "Give the table as workbench.adapters.spectrum made it, with its .attrs.")
    return values, {place: sum(shapes[place]) for place in values}, names
