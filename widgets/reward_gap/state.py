"""What a person has set in the reward-gap panel, as plain values. Knows no run and no rewards."""

from dataclasses import dataclass, field

SHOWN = {"bin": "a bin", "suspicious": "suspicious", "flagged": "flagged"}
"""Which pairs are read below the figure."""


@dataclass
class State:
    """The panel's state; JSON both ways. Runs stand as paths."""

    sources: tuple = ()
    """Run folders; several are an ensemble. None for a table of gaps."""
    step: int = 0
    """0: the last one whose gaps were kept."""
    part: str = "heldout"
    """"heldout" pairs, or those of the "train"ing drawn since the evaluation before."""
    column: str = ""
    """The column that categories come from; empty: the first there is."""
    category: str = ""
    """Only pairs of this category; empty: all."""
    weights: dict = field(default_factory=dict)
    """Of criteria by name; one that is not named weighs 1."""
    show: str = "suspicious"
    """One of `SHOWN`, or "picked": examples picked in another panel."""
    low: float | None = None
    high: float | None = None
    """The bin that is read: low <= gap < high."""
    share: float = 0.1
    """How many of the lowest gaps are suspicious."""
    place: int = 0
    """Which of the pairs shown is read, from 0."""
    runs: str = "runs"
    """Where runs to open are looked for, and where the next one starts."""
