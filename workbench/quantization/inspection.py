"""A tensor of a checkpoint looked at: its histogram with the levels of a scheme, the histogram of the errors, and the measures; and all
tensors, one after another.

From a sample for a preview, or exact over every weight. Streamed: no more than one piece of the tensor is held at a time. How it is counted
is in `counting`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from workbench.quantization import passes, products
from workbench.quantization.coders import Coder
from workbench.quantization.counting import count
from workbench.quantization.quantized import quantize
from workbench.quantization.schemes import Scheme
from workbench.quantization.tensors import Weights, open_weights

BINS = 201
"""Odd, so that zero lies in the middle of a bin."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Inspection:
    """What a scheme does to one tensor. Counts add up to `elements`; error = quantized - original, in the tensor's own unit."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scheme: str
    bits: int
    block: int | None
    exact: bool
    """False for a sample: then counts and measures are those of the sampled rows, and scales are taken from them."""
    elements: int
    """Weights counted."""
    edges: np.ndarray
    """(bins + 1,) of the weights, the same in every scheme: symmetric around 0, as wide as the largest magnitude."""
    counts: np.ndarray
    """(bins,) weights in each bin."""
    scaled_edges: np.ndarray | None
    """(bins + 1,) from -1 to 1, of weight ÷ largest magnitude in its row, block or tensor. None for zero-point and half precision."""
    scaled_counts: np.ndarray | None
    levels: np.ndarray
    """What the codes stand for, on the axis of `scaled_edges` where there is one, as it is the same in every group; else on that of
    `edges`. Empty for half precision."""
    error_edges: np.ndarray
    """As wide as half of the widest step."""
    error_counts: np.ndarray
    sqnr_db: float
    mse: float
    max_error: float
    bits_per_weight: float
    absmax: float
    row_absmax: np.ndarray
    """(rows,) the largest magnitude of each output row: an outlier row stands out here. Of the sampled rows in a sample."""
    rows: np.ndarray | None
    """Which rows were sampled; None where all were counted."""
    outliers: np.ndarray | None
    """LLM.int8() with activations: the columns that stay 16-bit."""
    matmul_error: float | None
    matmul_sqnr_db: float | None


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Row:
    """One tensor of `overview`: measures over every weight, `histogram` (bins,) of the weights on `edges` (bins + 1,)."""

    name: str
    shape: tuple[int, ...]
    sqnr_db: float
    mse: float
    max_error: float
    bits_per_weight: float
    bytes_before: int
    bytes_after: int
    absmax: float
    edges: np.ndarray
    histogram: np.ndarray


def inspect(weights: Any, name: str, scheme: str | Scheme, bits: int = 8, block: int | None = None, activations: Tensor | None = None,
            threshold: float = 6.0, sample: int | None = None, seed: int = 0, bins: int = BINS,
            progress: Callable[[int, int], None] | None = None) -> Inspection:
    """One tensor under a scheme. `weights` is a `Weights`, or whatever `open_weights` opens.

    `sample` None counts every weight; a number takes whole rows of about so many weights, drawn by `seed`. `activations` (tokens × d_in)
    give the matmul error, and LLM.int8() its outlier columns. `progress(done, elements)` is called as weights are counted; what it raises
    ends the work. Raises `DataError` for a tensor that is not there, not floating point, or not finite, and `WorkbenchError` for settings
    that cannot be.
    """
    weights = weights if isinstance(weights, Weights) else open_weights(weights)
    coder = Coder.of(scheme, bits, block)
    full = weights.read(name)
    passes.check_tensor(full, name)
    inputs = None if activations is None else products.check_activations(activations, full)
    rows = None if sample is None else weights.sample_rows(name, sample, seed)
    tensor = _wide(full if rows is None else weights.take(name, rows))
    outliers = products.outlier_columns(inputs, threshold) if coder.scheme.splits and inputs is not None else None
    found = count(tensor, coder, name, bins, outliers, tell=progress)
    # The error of a product needs the whole quantized weight at once, and of a sample only the outputs of its rows.
    product = None if inputs is None else quantize(tensor, coder.scheme, bits, block, inputs, threshold)
    return Inspection(
        name=name, shape=weights.shapes[name], dtype=weights.dtypes[name], scheme=coder.scheme.name, bits=coder.bits, block=coder.block,
        exact=rows is None, elements=tensor.numel(), edges=found.weights.edges, counts=found.weights.counts,
        scaled_edges=found.scaled and found.scaled.edges, scaled_counts=found.scaled and found.scaled.counts, levels=found.levels,
        error_edges=found.errors.edges, error_counts=found.errors.counts, sqnr_db=found.measures.sqnr_db, mse=found.measures.mse,
        max_error=found.measures.max_error, bits_per_weight=coder.bits_per_weight(full.shape, 0 if outliers is None else len(outliers)),
        absmax=found.absmax, row_absmax=passes.row_absmax(tensor).numpy(), rows=None if rows is None else rows.numpy(),
        outliers=None if outliers is None else outliers.numpy(), matmul_error=product and product.matmul_error,  # type: ignore[arg-type]
        matmul_sqnr_db=product and product.matmul_sqnr_db)  # type: ignore[arg-type]


def overview(weights: Any, scheme: str | Scheme, bits: int = 8, block: int | None = None, names: list[str] | None = None, bins: int = BINS,
             progress: Callable[[int, int], None] | None = None) -> Iterator[Row]:
    """Every floating-point tensor under a scheme, each a row as soon as its last weight is counted. `progress(bytes done, bytes of all)` is
    called at every piece; what it raises ends the work.

    A row of a weight is an index of its first dimension: the inputs, not the outputs, where a model keeps its weights transposed (GPT-2's
    Conv1D). Norms and biases, which people leave in 16 bits, are rows all the same: `names` chooses. Raises as `inspect`.
    """
    weights = weights if isinstance(weights, Weights) else open_weights(weights)
    coder = Coder.of(scheme, bits, block)
    chosen = weights.quantizable if names is None else list(names)
    for name in chosen:
        weights.check(name)
    total, before = sum(weights.sizes[name] for name in chosen), 0
    for name in chosen:
        tensor = weights.read(name)
        passes.check_tensor(tensor, name)
        tensor, size = _wide(tensor), weights.sizes[name]

        def tell(done: int, elements: int, before: int = before, size: int = size) -> None:
            if progress:
                progress(before + size * done // elements, total)

        found = count(tensor, coder, name, bins, histograms=False, tell=tell)
        before += size
        bits_per_weight = coder.bits_per_weight(tensor.shape)
        yield Row(name=name, shape=weights.shapes[name], sqnr_db=found.measures.sqnr_db, mse=found.measures.mse,
                  max_error=found.measures.max_error, bits_per_weight=bits_per_weight, bytes_before=size,
                  bytes_after=round(bits_per_weight * tensor.numel() / 8), absmax=found.absmax, edges=found.weights.edges,
                  histogram=found.weights.counts)


def _wide(tensor: Tensor) -> Tensor:
    """Contiguous, and 8-bit floats as bf16, which holds each of them exactly."""
    return (tensor.to(torch.bfloat16) if tensor.element_size() == 1 else tensor).contiguous()
