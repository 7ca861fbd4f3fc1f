"""What the quantization viewer shows, as plain numbers: one class for each of its pictures. Computed in `reading.py`, drawn in `figure.py`.

Decibels are 10·log10 of the power of the signal over that of the error (SQNR). Nothing here computes more than a share of what it holds.
"""

from dataclasses import dataclass, field

import numpy as np

from widgets.quantization_viewer.state import Choice


@dataclass(slots=True)
class Histogram:
    """`edges` (n + 1), `counts` (n)."""

    edges: np.ndarray
    counts: np.ndarray

    @property
    def percent(self) -> np.ndarray:
        return 100 * self.counts / max(1, self.counts.sum())

    @property
    def middle(self) -> np.ndarray:
        return (self.edges[1:] + self.edges[:-1]) / 2


@dataclass(slots=True, kw_only=True)
class TensorLook:
    """One tensor under one scheme."""

    name: str
    shape: tuple
    choice: Choice
    exact: bool
    """Whether every value was looked at, or a sample of them."""
    weights: Histogram
    unit: str
    """What the axis of the weights, and so of the levels, counts in."""
    levels: np.ndarray
    errors: Histogram
    sqnr_db: float
    mse: float
    max_error: float
    bits_per_weight: float
    rival: Choice | None = None
    rival_errors: Histogram | None = None
    rival_db: float | None = None
    row_ratio: float = 1.0
    """The largest magnitude of any row over that of the row in the middle."""
    row: int = 0

    @property
    def inside(self) -> int:
        """Levels that lie among the middle 99 % of the weights."""
        total = np.cumsum(self.weights.counts) / max(1, self.weights.counts.sum())
        low, high = (float(self.weights.edges[np.searchsorted(total, share) + at]) for share, at in ((0.005, 0), (0.995, 1)))
        return int(((self.levels >= low) & (self.levels <= high)).sum())


@dataclass(slots=True)
class Line:
    """One scheme beside the others. What is not measured is None."""

    choice: Choice
    sqnr_db: float | None = None
    perplexity: float | None = None
    size: float | None = None
    """Bytes of the whole model's weights."""


@dataclass(slots=True, kw_only=True)
class ActivationLook:
    """What goes into one layer, and how well it survives: static scales from a calibration sample against dynamic ones."""

    name: str
    maxima: np.ndarray
    """The largest magnitude of each input feature."""
    threshold: float
    tokens: int
    schemes: list[tuple[str, float, float]]
    """Scheme, decibels of the layer's output with activations alone quantized: dynamic scales, and static ones."""
    output: list[tuple[str, float]] = field(default_factory=list)
    """Scheme, decibels of the layer's output with weights and activations quantized as the scheme has it."""
    bits: int = 8

    @property
    def outliers(self) -> np.ndarray:
        """Places of the features over the threshold."""
        return np.flatnonzero(self.maxima > self.threshold)


@dataclass(slots=True, kw_only=True)
class FailureLook:
    """A made example of one failure."""

    kind: str
    """weight row, token or feature"""
    bits: int
    magnitudes: np.ndarray
    """The largest magnitude of each of them."""
    outlier: int
    ratio: float
    """That of the outlier over the median."""
    schemes: list[tuple[str, float]]
    """Scheme and decibels of the product, the outlier's own part left out."""
    fails: str
    cure: str
    """Names of the scheme that collapses and of the one that does not."""
    errors: dict[str, np.ndarray]
    """For these two: the decibels of each row, token or feature."""
    across: str
    """What `errors` has one value for."""


@dataclass(slots=True, kw_only=True)
class ModelLook:
    """The whole model."""

    lines: list[Line]
    base: float | None
    """Perplexity as it came."""
    base_size: float
    sensitivity: list[tuple[str, float]]
    """Layer and perplexity with that layer alone quantized."""
    scheme: str
    """The label of the scheme that `sensitivity` was measured with."""
    chosen: Choice
    activations: str
    """16-bit, dynamic or static."""


@dataclass(slots=True, kw_only=True)
class TrainingLook:
    """Two runs: one trained plainly and quantized after, one trained quantized."""

    plain: tuple[np.ndarray, np.ndarray]
    """Steps and held-out losses, in nats per token."""
    aware: tuple[np.ndarray, np.ndarray]
    names: tuple[str, str]
    bits: int
    after: float | None = None
    """Held-out loss of the plain run's result, quantized."""
