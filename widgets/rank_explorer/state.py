"""What a person has set in the LoRA rank explorer, as plain values, and the method they come to.

Knows no weights and no spectra; `reading.py` finds those.
"""

from dataclasses import dataclass, field
from typing import Any

from workbench.models.lora import RSLORA_ALPHA

VARIANTS = {"lora": "LoRA", "rslora": "rsLoRA", "dora": "DoRA", "pissa": "PiSSA"}
MAPS = {"r90": "90 %", "r99": "99 %", "kept": "kept", "norm": "‖ΔW‖"}
"""What the map of layers and modules shows."""


@dataclass
class State:
    """The explorer's state; JSON both ways. Runs and folders stand as paths."""

    source: str = ""
    """A run folder, an adapter folder or a tuned model."""
    base: str = ""
    """The base model; empty: the one the adapter or the run remembers."""
    other: str = ""
    """A second adapter, for the similarity of subspaces."""
    rows: str = ""
    """Held-out rows to score on, as `wb.load_rows` takes them; empty: those of the run."""
    map: str = "r90"
    picked: str = ""
    """The matrix looked at, by its module's name; empty: the one that needs the most directions."""
    variant: str = "lora"
    rank: int = 0
    """0: that of the adapter."""
    alpha: float | None = None
    """None: what `wb.LoRA` takes then, twice the rank (of rsLoRA 16)."""
    targets: tuple = ()
    """Modules of the next training; none: every linear one."""
    spread: str = "uniform"
    """Whether each matrix gets the same rank, or the suggested one."""
    ranks: tuple = (1, 2, 4, 8)
    """Ranks that a sweep trains."""
    seeds: int = 3
    runs: str = "runs"
    """Folder of the runs that a sweep starts."""
    sweep: str = ""
    """Folder of the sweep shown."""
    cuts: dict = field(default_factory=dict)
    """Held-out loss by rank that the adapter was cut to, nats per token; the key is the rank as text."""

    def settings(self, pattern: dict[str, int] | None = None) -> dict[str, Any]:
        """Fields of the `wb.LoRA` that this describes, those of its defaults left out. `pattern` is the suggested one."""
        found: dict[str, Any] = {"rank": max(self.rank, 1)}
        if self.alpha is not None:
            found["alpha"] = self.alpha
        if self.targets:
            found["target_modules"] = tuple(self.targets)
        if self.variant != "lora":
            found["variant"] = self.variant
        if self.spread == "suggested" and pattern:
            found["rank_pattern"] = dict(pattern)
        return found

    @property
    def usual_alpha(self) -> float:
        """What alpha is where nobody sets it, as `wb.LoRA` has it."""
        return float(RSLORA_ALPHA if self.variant == "rslora" else 2 * max(self.rank, 1))

    @property
    def scale(self) -> float:
        """What B A is multiplied by: alpha / r, or alpha / √r for rsLoRA (Kalajdzievski 2023)."""
        rank = max(self.rank, 1)
        return (self.alpha or self.usual_alpha) / (rank ** 0.5 if self.variant == "rslora" else rank)
