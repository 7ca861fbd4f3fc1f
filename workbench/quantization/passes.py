"""Walking over a tensor in pieces that stay in the cache, and measuring as one goes.

A piece holds whole groups (what shares a scale), so a scheme needs no more than one piece at a time; only schemes with one scale for the
whole tensor, and double quantization, ask for a first walk. Nothing of a tensor is copied but the piece at hand.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from workbench.errors import DataError
from workbench.quantization import books
from workbench.quantization.coders import Coder

PIECE = 1 << 20
"""Elements of a piece: 4 MiB of float32, so that a few of them stay in the last cache and the cost of a call is small beside the work."""


def check_tensor(tensor: Tensor, name: str = "The tensor") -> None:
    """Raises `DataError` where `tensor` is not floating point. Looks at no values."""
    if not isinstance(tensor, Tensor):
        raise DataError(f"{name} is {type(tensor).__name__}, not a torch tensor.",
                        "Convert it with torch.as_tensor(..., dtype=torch.float32).")
    if not tensor.dtype.is_floating_point:
        raise DataError(f"{name} holds {str(tensor.dtype).removeprefix('torch.')}, and only floating point can be quantized.",
                        "If these are weights already quantized, open the checkpoint they were made from.")


def refuse_infinite(tensor: Tensor, name: str = "The tensor") -> None:
    """Raises `DataError` that counts the values that are NaN or infinite and says where the first is."""
    wrong = ~torch.isfinite(tensor.float())
    first = ", ".join(str(int(i)) for i in wrong.nonzero()[0])
    count = int(wrong.sum())
    raise DataError(f"{name} has {count:,} {'value that is' if count == 1 else 'values that are'} NaN or infinite, the first at [{first}].",
                    "Mend it first, for instance with torch.nan_to_num, or look for the step that broke it.")


def compute_dtype(tensor: Tensor) -> torch.dtype:
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def pieces(tensor: Tensor, size: int, whole: bool) -> Iterator[tuple[int, Tensor]]:
    """`(first group, x)` over a contiguous tensor: x (groups × size), the last one (1 × rest) where `size` does not divide. A view, in the
    tensor's dtype.

    `whole` says that one scale serves the whole tensor: then x is (1 × elements of the piece) and the first group always 0.
    """
    flat = tensor.view(-1)
    count = flat.numel()
    if not count:
        return
    if whole:
        for start in range(0, count, PIECE):
            yield 0, flat[start:start + PIECE].view(1, -1)
        return
    full = count // size
    step = max(1, PIECE // max(size, 1))
    for first in range(0, full, step):
        last = min(first + step, full)
        yield first, flat[first * size:last * size].view(-1, size)
    if full * size < count:
        yield full, flat[full * size:].view(1, -1)


def group_absmax(x: Tensor, dtype: torch.dtype) -> Tensor:
    """(groups × size) → (groups,): the largest magnitude of each group; NaN where a group has one."""
    return x.abs().amax(1).to(dtype)


def row_absmax(tensor: Tensor) -> Tensor:
    """(rows,) float32 of a contiguous tensor: the largest magnitude under each index of its first dimension; a vector is one row."""
    rows = tensor.shape[0] if tensor.dim() > 1 else 1
    if not tensor.numel():
        return torch.zeros(rows)
    return torch.cat([group_absmax(x, torch.float32) for _, x in pieces(tensor, tensor.numel() // rows, whole=False)])


class Prepared(NamedTuple):
    """What a coder must know of a tensor before its pieces can be coded: empty where each piece says all."""

    scales: Tensor | None
    absmax: Tensor | None
    zero_points: Tensor | None
    nested: books.Nested | None


def prepare(tensor: Tensor, coder: Coder, name: str = "The tensor") -> Prepared:
    """The first walk, where a scheme needs one. Raises `DataError` on values that are not finite."""
    dtype = compute_dtype(tensor)
    if coder.scheme.group == "tensor":
        low, high = extremes(tensor, name)
        if coder.scheme.kind == "affine":
            scales, zero = (given.to(tensor.device) for given in coder.affine(low, high, dtype))
            return Prepared(scales, None, zero, None)
        absmax = torch.tensor([max(-low, high)], dtype=dtype, device=tensor.device)
        return Prepared(coder.scales(absmax), absmax, None, None)
    if coder.scheme.double and tensor.numel():
        size = coder.group_size(tensor.shape)
        absmax = torch.cat([group_absmax(x, torch.float32) for _, x in pieces(tensor, size, whole=False)])
        if not torch.isfinite(absmax).all():
            refuse_infinite(tensor, name)
        nested = books.nest(absmax)
        return Prepared(nested.decode(), absmax, None, nested)
    return Prepared(None, None, None, None)


def extremes(tensor: Tensor, name: str = "The tensor") -> tuple[float, float]:
    """The smallest and the largest value; zeros for an empty tensor. Raises `DataError` on values that are not finite."""
    if not tensor.numel():
        return 0.0, 0.0
    low, high = (float(value) for value in tensor.aminmax())
    if not (math.isfinite(low) and math.isfinite(high)):
        refuse_infinite(tensor, name)
    return low, high


class Coded(NamedTuple):
    """One piece, coded and back. Shapes as `pieces`."""

    first: int
    x: Tensor
    codes: Tensor | None
    """None where they were not asked for."""
    back: Tensor
    absmax: Tensor | None
    scales: Tensor


def coded(tensor: Tensor, coder: Coder, prepared: Prepared, name: str = "The tensor", with_codes: bool = True) -> Iterator[Coded]:
    """The second walk: each piece as float32 (float64), its codes and what they stand for. Raises `DataError` on values that are not
    finite."""
    dtype = compute_dtype(tensor)
    whole = coder.scheme.group in ("tensor", "")
    for first, raw in pieces(tensor, coder.group_size(tensor.shape), whole):
        x = raw.to(dtype)
        absmax = None
        if coder.scheme.kind == "half":
            scales = x.new_ones(1)
            if not torch.isfinite(x).all():
                refuse_infinite(tensor, name)
            yield Coded(first, x, codes := coder.encode(x, scales), coder.decode(codes, scales), None, scales)
            continue
        if whole:
            codes = coder.encode(x, prepared.scales, prepared.zero_points)
            yield Coded(first, x, codes, coder.decode(codes, prepared.scales, prepared.zero_points), prepared.absmax, prepared.scales)
            continue
        if prepared.absmax is not None:
            absmax, back_scales = (given[first:first + len(x)].to(dtype) for given in (prepared.absmax, prepared.scales))
            scales = coder.scales(absmax)
        else:
            absmax = group_absmax(x, dtype)
            if not torch.isfinite(absmax).all():
                refuse_infinite(tensor, name)
            back_scales = scales = coder.scales(absmax)
        if not with_codes:
            yield Coded(first, x, None, coder.round(x, scales, back_scales), absmax, back_scales)
            continue
        codes = coder.encode(x, scales)
        yield Coded(first, x, codes, coder.decode(codes, back_scales), absmax, back_scales)


class Measures:
    """Adds up errors piece by piece: error = quantized - original."""

    def __init__(self) -> None:
        self.count, self.signal, self.noise, self.max_error = 0, 0.0, 0.0, 0.0

    def add(self, x: Tensor | None, error: Tensor) -> None:
        """`x` None leaves the signal to whoever knows it already."""
        if error.numel():
            low, high = error.aminmax()
            self.count += error.numel()
            self.signal += 0.0 if x is None else square_sum(x)
            self.noise += square_sum(error)
            self.max_error = max(self.max_error, -float(low), float(high))

    @property
    def mse(self) -> float:
        return self.noise / self.count if self.count else 0.0

    @property
    def sqnr_db(self) -> float:
        """10·log10(Σx² / Σerror²); infinite where there is no error at all."""
        return ratio_db(self.signal, self.noise)


def ratio_db(signal: float, noise: float) -> float:
    if not noise:
        return math.inf
    return 10 * math.log10(signal / noise) if signal and math.isfinite(noise) else -math.inf


def square_sum(x: Tensor) -> float:
    """Σx². In x's own precision where that cannot over- or underflow, which is several times faster, else in float64."""
    flat = x.reshape(-1)
    found = float(torch.dot(flat, flat))
    return found if 1e-20 < found < 1e30 else float(flat.double().square().sum())
