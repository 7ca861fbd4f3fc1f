"""A tensor of a checkpoint looked at: its histogram with the levels of a scheme, the histogram of the errors, and the measures; and all tensors, one after another.

From a sample for a preview, or exact over every weight. Streamed: no more than one piece of the tensor is held at a time.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from workbench.quantization import passes, products
from workbench.quantization.coders import Coder
from workbench.quantization.schemes import Scheme
from workbench.quantization.tensors import Weights, open_weights

BINS = 201
"""Odd, so that zero lies in the middle of a bin."""

ERROR_BINS = 801
"""Fine, because one outlier can make the range wide."""


@dataclass(frozen=True, slots=True, eq=False)
class Inspection:
    """What a scheme does to one tensor. Counts add up to `elements`; error = quantized - original, in the tensor's own unit."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scheme: str
    bits: int
    block: int | None
    exact: bool
    """False for a sample: then counts and measures are those of the sampled rows, whose scales are their own."""
    elements: int
    """Weights counted."""
    edges: np.ndarray
    """(bins + 1,) of the weights, the same bins in every scheme: symmetric around 0, as wide as the largest magnitude."""
    counts: np.ndarray
    """(bins,) weights in each bin."""
    scaled_edges: np.ndarray | None
    """(bins + 1,) from -1 to 1, of weight ÷ largest magnitude in its row, block or tensor. None for zero-point and half precision."""
    scaled_counts: np.ndarray | None
    levels: np.ndarray
    """What the codes stand for on the axis of `scaled_edges` where there is one (the same in every group), else on that of `edges`."""
    error_edges: np.ndarray
    error_counts: np.ndarray
    sqnr_db: float
    mse: float
    max_error: float
    bits_per_weight: float
    absmax: float
    outliers: np.ndarray | None
    """LLM.int8() with activations: the columns that stay 16-bit."""
    matmul_error: float | None
    matmul_sqnr_db: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One tensor of `overview`."""

    name: str
    shape: tuple[int, ...]
    sqnr_db: float
    mse: float
    max_error: float
    bits_per_weight: float
    bytes_before: int
    bytes_after: int
    edges: np.ndarray
    histogram: np.ndarray


def inspect(weights: Any, name: str, scheme: str | Scheme, bits: int = 8, block: int | None = None, activations: Tensor | None = None, threshold: float = 6.0,
            sample: int | None = None, seed: int = 0, bins: int = BINS, progress: Callable[[int, int], None] | None = None) -> Inspection:
    """One tensor under a scheme. `weights` is a `Weights`, or whatever `open_weights` opens.

    `sample` None counts every weight; a number takes whole rows of about so many. `activations` (tokens × d_in) give the matmul error and LLM.int8() its outlier
    columns. `progress(done, elements)` is called as weights are counted; what it raises ends the work.
    Raises `DataError` for a tensor that is not there, not floating point, or not finite, and `WorkbenchError` for settings that cannot be.
    """
    weights = weights if isinstance(weights, Weights) else open_weights(weights)
    coder = Coder.of(scheme, bits, block)
    full = weights.read(name)
    passes.check_tensor(full, name)
    tensor = full.contiguous() if sample is None else weights.sample(name, sample, seed)
    if tensor.element_size() == 1:
        tensor = tensor.float()
    outliers = None
    if coder.scheme.splits and activations is not None:
        outliers = products.outlier_columns(products.check_activations(activations, full), threshold)
    counted = count(tensor, coder, name, bins, outliers, progress)
    return Inspection(
        name=name, shape=tuple(full.shape), dtype=weights.dtypes[name], scheme=coder.scheme.name, bits=coder.bits, block=coder.block, exact=tensor.numel() == full.numel(),
        elements=tensor.numel(), bits_per_weight=coder.bits_per_weight(full.shape, 0 if outliers is None else len(outliers)),
        outliers=None if outliers is None else outliers.numpy(), **counted, **_product(tensor, coder, activations, threshold))


def _product(tensor: Tensor, coder: Coder, activations: Tensor | None, threshold: float) -> dict[str, float | None]:
    if activations is None:
        return {"matmul_error": None, "matmul_sqnr_db": None}
    from workbench.quantization.quantized import quantize

    found = quantize(tensor, coder.scheme, coder.bits if coder.scheme.integer else 8, coder.block, activations, threshold)
    return {"matmul_error": found.matmul_error, "matmul_sqnr_db": found.matmul_sqnr_db}


def count(tensor: Tensor, coder: Coder, name: str, bins: int, outliers: Tensor | None = None, progress: Callable[[int, int], None] | None = None) -> dict[str, Any]:
    """Histograms and measures of a contiguous tensor, piece by piece: the fields of `Inspection` that need every weight."""
    low, high = passes.extremes(tensor, name)
    largest = max(-low, high)
    prepared = passes.prepare(tensor, coder, name)
    reach, error_reach = largest or 1.0, error_bound(coder, largest, prepared) or 1.0
    scaled = coder.scheme.kind in ("absmax", "book")
    histogram, errors, shares = (torch.zeros(size, dtype=torch.float64) for size in (bins, ERROR_BINS, bins))
    measures, kept = passes.Measures(), products.keep_columns(tensor, outliers)
    for piece in passes.coded(tensor, coder, prepared, name):
        if kept is not None:
            piece.back[:, outliers] = kept[piece.first:piece.first + len(piece.x)].to(piece.back.dtype)
        error = piece.back - piece.x
        measures.add(piece.x, error)
        histogram += torch.histc(piece.x, bins, -reach, reach)
        errors += torch.histc(error.clamp_(-error_reach, error_reach), ERROR_BINS, -error_reach, error_reach)
        if scaled:
            shares += torch.histc((piece.x * (1 / piece.absmax.clamp(min=1e-38))[:, None]).clamp_(-1, 1), bins, -1, 1)
        if progress:
            progress(measures.count, tensor.numel())
    levels = coder.levels()
    if coder.scheme.kind == "affine":
        levels = coder.decode(levels[None], prepared.scales, prepared.zero_points)[0]
    elif coder.scheme.kind == "half":
        levels = torch.empty(0)
    return {
        "edges": np.linspace(-reach, reach, bins + 1), "counts": histogram.long().numpy(), "error_edges": np.linspace(-error_reach, error_reach, ERROR_BINS + 1),
        "error_counts": errors.long().numpy(), "scaled_edges": np.linspace(-1, 1, bins + 1) if scaled else None, "scaled_counts": shares.long().numpy() if scaled else None,
        "levels": levels.numpy(), "sqnr_db": measures.sqnr_db, "mse": measures.mse, "max_error": measures.max_error, "absmax": largest}


def error_bound(coder: Coder, largest: float, prepared: passes.Prepared) -> float:
    """An error that no weight of a tensor of that absmax exceeds: half of the widest step."""
    if coder.scheme.kind == "half":
        return largest * (2.0**-11 if coder.half is torch.float16 else 2.0**-8) if largest < 65504 or coder.half is torch.bfloat16 else largest
    if coder.scheme.kind == "affine":
        return 0.5 / float(prepared.scales) * 1.001
    if coder.scheme.kind == "absmax":
        return 0.5 * largest / coder.largest * 1.001
    widest = float(coder.levels().diff().max()) / 2
    slip = float((prepared.scales - prepared.absmax).abs().max()) if prepared.nested is not None and prepared.absmax.numel() else 0.0
    return widest * largest * 1.001 + slip


def overview(weights: Any, scheme: str | Scheme, bits: int = 8, block: int | None = None, names: list[str] | None = None, bins: int = BINS,
             progress: Callable[[int, int], None] | None = None) -> Iterator[Row]:
    """Every floating-point tensor under a scheme, one row as soon as it is counted. `progress(bytes done, bytes of all)` after each piece; what it raises ends the work.

    Vectors (norms, biases) are usually left in 16 bits by people who quantize; they are rows here all the same. Raises as `inspect`.
    """
    weights = weights if isinstance(weights, Weights) else open_weights(weights)
    coder = Coder.of(scheme, bits, block)
    chosen = weights.quantizable if names is None else names
    total, done = sum(weights.sizes[name] for name in chosen), 0
    for name in chosen:
        tensor = weights.read(name).contiguous()
        passes.check_tensor(tensor, name)
        size = weights.sizes[name]
        if tensor.element_size() == 1:
            tensor = tensor.float()
        tell = None
        if progress:
            def tell(seen: int, elements: int, done: int = done, size: int = size) -> None:
                progress(done + size * seen // elements, total)
        counted = count(tensor, coder, name, bins, None, tell)
        done += size
        yield Row(name=name, shape=weights.shapes[name], sqnr_db=counted["sqnr_db"], mse=counted["mse"], max_error=counted["max_error"],
                  bits_per_weight=coder.bits_per_weight(tensor.shape), bytes_before=size, bytes_after=-(-round(coder.bits_per_weight(tensor.shape) * tensor.numel()) // 8),
                  edges=counted["edges"], histogram=counted["counts"])
