"""Alignment without reinforcement learning: objectives that learn from pairs, verdicts or rankings of replies directly.

Not here: the losses themselves, and the training (`training/preference.py`).
"""

from dataclasses import dataclass
from typing import ClassVar

from workbench.alignment.objectives import Objective
from workbench.errors import named_fields


@named_fields
@dataclass(frozen=True, slots=True)
class DPO(Objective):
    """Direct preference optimization on pairs (Rafailov et al. 2023, arXiv 2305.18290, eq. 7)."""

    name: ClassVar[str] = "dpo"
    live: ClassVar[tuple[str, ...]] = ("beta",)
    beta: float = 0.1
    """How strongly the policy is held to the reference."""

    def __post_init__(self):
        self._number("beta", 0, 1e6, 0.1)
