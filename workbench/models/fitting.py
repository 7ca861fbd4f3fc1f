"""What to change so that a plan fits, and which part of a failed run outgrew its plan.

    for fit in nearest(wb.Full(), architecture, settings, room=24 * 2**30): print(fit.sentence)

The ways are tried together and the ones that change least come first: a smaller batch with more accumulation teaches the same,
checkpointing costs time, a shorter sequence loses text, another method trains something else. Not here: the plan itself (`memory.py`).
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.models.adaptation import Method
from workbench.models.architecture import Architecture
from workbench.models.measuring import bytes_held
from workbench.models.memory import COMPONENTS, Plan, Settings, plan, words

SHORTEST = 64
"""Tokens; a sequence is not cut below."""
COSTS = {"batch_size": 1.0, "checkpointing": 1.5, "zero_stage": 1.0, "optimizer": 2.0, "sequence_length": 3.0, "method": 4.0}
"""How much each step away from what was asked weighs; a second halving weighs as much as the first."""
MOST = 4
NAMES = {
    "batch_size": "batch",
    "sequence_length": "sequence",
    "checkpointing": "checkpointing",
    "zero_stage": "ZeRO stage",
    "optimizer": "optimizer",
    "method": "method",
}


@dataclass(frozen=True, slots=True)
class Fit:
    """Settings that fit. `changes` is field → (old, new); a smaller batch brings `gradient_accumulation` along."""

    changes: dict[str, tuple[Any, Any]]
    plan: Plan
    method: Method | None

    @property
    def sentence(self) -> str:
        """`batch 8 → 2, checkpointing on: 10.1 GiB`"""
        parts = [
            f"{NAMES[name]} on" if new is True else f"{NAMES[name]} {old} → {new}"
            for name, (old, new) in self.changes.items()
            if name in NAMES
        ]
        return f"{', '.join(parts) or 'as it is'}: {words(self.plan.total)}"


def nearest(
    candidates: Sequence[tuple[Method | None, Architecture | Callable[[], Architecture]]], settings: Settings, room: float
) -> list[Fit]:
    """Settings whose plan needs at most `room` bytes a device, the nearest to what was asked first; at most four, each with levers of its
    own.

    `candidates[0]` is the method as it is with its architecture; others are methods to go over to (an architecture may be a function,
    called only where the first method fits in no way). [] where nothing fits.
    """
    for place, (method, of) in enumerate(candidates):
        architecture = of() if callable(of) else of
        change = {} if place == 0 else {"method": (_name(candidates[0][0]), _name(method))}
        kept: list[Fit] = []
        for changes in _ways(settings):
            # one that pulls more levers than another needs is no news
            if len(kept) < MOST and not any(set(fit.changes) <= set(change | changes) for fit in kept):
                made = plan(architecture, dataclasses.replace(settings, **{name: new for name, (_, new) in changes.items()}))
                if made.total <= room:
                    kept.append(Fit(change | changes, made, method))
        if kept:
            return kept
    return []


def _ways(settings: Settings) -> list[dict[str, tuple[Any, Any]]]:
    """Every change of settings as field → (old, new), the smallest first; the first changes nothing."""
    ways: dict[str, list[Any]] = {
        "batch_size": _halvings(settings.batch_size, 1),
        "sequence_length": _halvings(settings.sequence_length, min(SHORTEST, settings.sequence_length)),
        "checkpointing": [settings.checkpointing, *([True] if not settings.checkpointing else [])],
        "zero_stage": list(range(settings.zero_stage, 4)) if settings.devices > 1 else [settings.zero_stage],
        "optimizer": [settings.optimizer, *([settings.optimizer + "_8bit"] if settings.optimizer in ("adamw", "lion") else [])],
    }
    found = []
    for chosen in itertools.product(*(enumerate(values) for values in ways.values())):
        changes = {name: (getattr(settings, name), value) for name, (step, value) in zip(ways, chosen, strict=True) if step}
        if "batch_size" in changes:
            times = settings.batch_size // changes["batch_size"][1]
            changes["gradient_accumulation"] = (settings.gradient_accumulation, settings.gradient_accumulation * times)
        found.append((sum(COSTS[name] * step for name, (step, _) in zip(ways, chosen, strict=True)), changes))
    return [changes for _, changes in sorted(found, key=lambda pair: pair[0])]


def _halvings(value: int, least: int) -> list[int]:
    values = [value]
    while values[-1] // 2 >= max(1, least):
        values.append(values[-1] // 2)
    return values


def _name(method: Method | None) -> str:
    return "full" if method is None else method.name


# ---- a run that failed


def outgrown(planned: dict[str, float], measured: dict[str, float]) -> tuple[str, float]:
    """(component, bytes over its plan) that grew most beyond the plan; ("", 0) where none did."""
    over = {name: measured[name] - planned[name] for name in COMPONENTS if name in measured and name in planned}
    worst = max(over, key=over.__getitem__, default="")
    return (worst, over[worst]) if worst and over[worst] > 0 else ("", 0.0)


def told(planned: Plan, measured: dict[str, float], room: float | None) -> str:
    """What outgrew the plan, as a sentence; where nothing did, which part of the plan is the largest."""
    name, over = outgrown(planned, measured)
    if name and over > 0.02 * planned.total:
        return f"Its {name} took {words(measured[name])}, {words(over)} more than planned."
    largest = max(planned, key=planned.__getitem__)
    have = f" and the device has {words(room)} for it" if room is not None else ""
    return f"It was planned to take {words(planned.total)}{have}; most of it, {words(planned[largest])}, is {largest}."


def held(model: Any, optimizer: Any, peak: float) -> dict[str, float]:
    """Bytes of each component in this process: what model and optimizer hold, and of `peak` the rest as activations. 0 where a thing is not
    made yet."""
    gradients = sum(p.grad.untyped_storage().nbytes() for p in model.parameters() if p.grad is not None)
    found = {"gradients": float(gradients)} | {name: float(value) for name, value in bytes_held(model, optimizer).items()}
    return found | {"activations": max(0.0, peak - sum(found.values()))}
