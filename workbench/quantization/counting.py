"""Histograms and errors of one tensor, exactly, at about the speed of memory.

A tensor of 16-bit floats has at most 65,536 different values: counting these once gives its extremes, its histogram and its power exactly,
and with one scale for the whole tensor the errors too. Schemes with a scale for each row or block are coded piece by piece; bins are then
found by arithmetic, as torch.histc does, so a weight within float rounding of an edge may count on either side of it.

Not here: which tensor, and what a person is told (`inspection`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from workbench.quantization import passes, products
from workbench.quantization.coders import TINY, Coder

PATTERNS = 1 << 16
"""Of a 16-bit float."""

ERROR_BINS = 801
"""Fine, because one outlier makes the range of the errors wide."""

Tell = Callable[[int, int], None]
"""Called with (weights done, weights of all); what it raises ends the work."""


class Bins(NamedTuple):
    """Equal bins from -reach to reach, and what is in them."""

    edges: np.ndarray
    counts: np.ndarray


@dataclass(slots=True, eq=False)
class Counted:
    """What `count` finds. Errors are quantized - original, in the tensor's unit. `errors` and `scaled` are None where they were not asked
    for, or there are none."""

    weights: Bins
    errors: Bins | None
    scaled: Bins | None
    """Weight ÷ largest magnitude of its group."""
    levels: np.ndarray
    measures: passes.Measures
    absmax: float


class _Histogram:
    """Adds up counts in `size` equal bins from -reach to reach; what lies outside counts in the outermost."""

    def __init__(self, size: int, reach: float):
        self.size, self.reach = size, reach
        self.counts = torch.zeros(size, dtype=torch.int64)

    def add(self, x: Tensor) -> None:
        """Adds every element of `x`."""
        places = torch.add(torch.full((), self.size / 2, dtype=x.dtype), x, alpha=self.size / (2 * self.reach))
        self.counts += torch.bincount(places.clamp_(0, self.size - 1).to(torch.int16).view(-1), minlength=self.size)

    def add_weighted(self, x: Tensor, counts: Tensor) -> None:
        """Adds (n,) float64 values, each as often as (n,) int64 `counts` says. Bins are those of numpy.histogram, to the last value."""
        edges = torch.from_numpy(self.edges)
        places = torch.bucketize(x, edges[1:-1], right=True)
        self.counts += torch.zeros_like(self.counts).index_add_(0, places, counts)

    @property
    def edges(self) -> np.ndarray:
        return np.linspace(-self.reach, self.reach, self.size + 1)

    def done(self) -> Bins:
        return Bins(self.edges, self.counts.numpy())


def patterns(tensor: Tensor, tell: Tell | None = None) -> Tensor:
    """(65536,) int64: how often each bit pattern occurs in a contiguous tensor of 16-bit floats."""
    counts = torch.zeros(PATTERNS, dtype=torch.int64)
    flat = tensor.view(-1).view(torch.int16)
    for start in range(0, len(flat), passes.PIECE):
        counts += torch.bincount(flat[start:start + passes.PIECE].int().bitwise_and_(PATTERNS - 1), minlength=PATTERNS)
        if tell:
            tell(min(start + passes.PIECE, len(flat)), len(flat))
    return counts


def pattern_values(dtype: torch.dtype) -> Tensor:
    """(65536,) of a 16-bit float dtype: what each bit pattern stands for."""
    return torch.arange(PATTERNS, dtype=torch.int32).to(torch.int16).view(dtype)


def count(tensor: Tensor, coder: Coder, name: str, bins: int, outliers: Tensor | None = None, histograms: bool = True,
          tell: Tell | None = None) -> Counted:
    """Histograms (`bins` of the weights) and measures of a contiguous tensor. `outliers` are columns that stay 16-bit; `histograms` False
    leaves out the errors' and the scaled one. Raises `DataError` where a value is not finite."""
    whole = coder.scheme.group in ("tensor", "")
    if tensor.element_size() == 2:
        times = patterns(tensor, tell if whole else None)
        held = times.nonzero().flatten()
        values, times = pattern_values(tensor.dtype)[held], times[held]
        if not torch.isfinite(values).all():
            passes.refuse_infinite(tensor, name)
    else:
        values = times = None
    low, high = passes.extremes(tensor if values is None else values, name)
    largest = max(-low, high)
    weights = _Histogram(bins, largest or 1.0)
    if values is not None:
        weights.add_weighted(values.double(), times)
    if values is not None and whole:
        return _from_table(values, times, coder, name, weights, histograms)
    prepared = passes.prepare(tensor, coder, name)
    errors = _Histogram(ERROR_BINS, error_reach(coder, largest, prepared)) if histograms else None
    scaled = _Histogram(bins, 1.0) if histograms and coder.scheme.kind in ("absmax", "book") else None
    measures, kept, signal = passes.Measures(), products.keep_columns(tensor, outliers), None
    if values is not None:
        signal = float((values.double().square() * times).sum())
    for piece in passes.coded(tensor, coder, prepared, name, with_codes=False):
        if kept is not None:
            piece.back[:, outliers] = kept[piece.first:piece.first + len(piece.x)].to(piece.back.dtype)
        if scaled:
            scaled.add(piece.x * (1 / piece.absmax.clamp(min=TINY))[:, None])
        if values is None:
            weights.add(piece.x)
        error = piece.back.sub_(piece.x)
        measures.add(None if signal is not None else piece.x, error)
        if errors:
            errors.add(error)
        if tell:
            tell(measures.count, tensor.numel())
    if signal is not None:
        measures.signal = signal
    return Counted(weights.done(), errors and errors.done(), scaled and scaled.done(), _levels(coder, prepared), measures, largest)  # type: ignore[arg-type]


def _from_table(values: Tensor, times: Tensor, coder: Coder, name: str, weights: _Histogram, histograms: bool) -> Counted:
    """The rest of `count` where one scale serves the whole tensor: its different values, each coded once."""
    prepared = passes.prepare(values, coder, name)
    back = torch.cat([piece.back.view(-1) for piece in passes.coded(values, coder, prepared, name)] or [values.float()])
    x, error = values.double(), back.double() - values.double()
    measures = passes.Measures()
    measures.count = int(times.sum())
    measures.signal, measures.noise = float((x.square() * times).sum()), float((error.square() * times).sum())
    measures.max_error = float(error.abs().max()) if len(error) else 0.0
    errors = scaled = None
    if histograms:
        errors = _Histogram(ERROR_BINS, error_reach(coder, weights.reach, prepared))
        errors.add_weighted(error, times)
        if coder.scheme.kind == "absmax":
            scaled = _Histogram(weights.size, 1.0)
            scaled.counts = weights.counts
    return Counted(weights.done(), errors and errors.done(), scaled and scaled.done(), _levels(coder, prepared), measures,  # type: ignore[arg-type]
                   weights.reach if len(x) and x.any() else 0.0)


def _levels(coder: Coder, prepared: passes.Prepared) -> np.ndarray:
    if coder.scheme.kind == "half":
        return np.empty(0, dtype=np.float32)
    if coder.scheme.kind == "affine":
        return coder.decode(coder.levels()[None], prepared.scales, prepared.zero_points)[0].numpy()
    return coder.levels().numpy()


def error_reach(coder: Coder, largest: float, prepared: passes.Prepared) -> float:
    """An error that no weight of a tensor of that absmax exceeds: half of the widest step, and a little for rounding. 1 for a tensor of
    zeros."""
    if coder.scheme.kind == "half":
        step = 2.0**-11 if coder.half is torch.float16 and largest <= torch.finfo(torch.float16).max else 2.0**-8
        return largest * step or 1.0
    if coder.scheme.kind == "affine":
        return 0.501 / float(prepared.scales)
    if coder.scheme.kind == "absmax":
        return 0.501 * largest / coder.largest or 1.0
    slip = float((prepared.scales - prepared.absmax).abs().max()) if prepared.nested is not None else 0.0
    return (0.501 * float(coder.levels().diff().max()) * largest + slip) or 1.0
