"""A tensor quantized by a scheme: its codes, its scales, what they stand for, and how far that is from the original.

Pure functions of tensors: nothing is read, written or kept. The formulas are in `coders`. Measures are taken in float32 (float64 for a
float64 tensor), before `dequantize` rounds to the tensor's own dtype.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.errors import WorkbenchError
from workbench.quantization import products
from workbench.quantization.books import Nested
from workbench.quantization.coders import Coder
from workbench.quantization.passes import Measures, check_tensor, coded, compute_dtype, prepare
from workbench.quantization.schemes import Scheme


@dataclass(frozen=True, slots=True, eq=False)
class Quantized:
    """What `quantize` gives back. For integers x ≈ (code - zero point) / scale, for NF4 and FP4 x ≈ value of the code × scale."""

    coder: Coder
    dtype: torch.dtype
    """Of the tensor that was quantized, and of what `dequantize` gives; float32 for 8-bit floats."""
    codes: Tensor
    """In the tensor's shape. int8 for integers, uint8 (0 to 15) for NF4 and FP4, the 16-bit floats themselves for half precision. 0 in
    outlier columns."""
    scales: Tensor | None
    """(1,), (rows,) or (blocks,) float32: steps a unit for integers (127 / absmax), the block's absmax for NF4 and FP4. None for half
    precision."""
    zero_points: Tensor | None
    """(1,) int32 for zero-point, else None."""
    absmax: Tensor | None
    """The largest magnitude of each group, shaped like `scales`. None for zero-point and half precision."""
    nested: Nested | None
    """Double quantization only: the scales as they are stored."""
    outliers: Tensor | None
    """LLM.int8() only: (k,) int64, the columns whose activations go over the threshold."""
    kept: Tensor | None
    """LLM.int8() only: (rows × k) of 16-bit floats, the weights of those columns; bfloat16 where float16 cannot hold one of them."""
    sqnr_db: float
    mse: float
    max_error: float
    bits_per_weight: float
    """Constants (scales, zero points, outlier columns) included."""
    matmul_error: float | None
    """With activations X: ‖XWᵀ - quantized‖ / ‖XWᵀ‖, activations quantized as the scheme does."""
    matmul_sqnr_db: float | None
    """The same in dB."""

    @property
    def scheme(self) -> Scheme:
        return self.coder.scheme

    @property
    def bits(self) -> int:
        return self.coder.bits

    @property
    def block(self) -> int | None:
        return self.coder.block

    @property
    def shape(self) -> torch.Size:
        return self.codes.shape

    def dequantize(self, dtype: torch.dtype | None = None) -> Tensor:
        """The tensor that the codes stand for, in its own shape and dtype, or in `dtype`."""
        dtype = dtype or self.dtype
        if self.scheme.kind == "half":
            return self.codes.to(dtype)
        size = self.coder.group_size(self.shape)
        flat, count = self.codes.reshape(-1), self.codes.numel()
        if not count:
            return self.codes.to(dtype)
        padded = torch.nn.functional.pad(flat, (0, -count % size)).view(-1, size)
        back = self.coder.decode(padded, self.scales, self.zero_points).view(-1)[:count].view(self.shape)
        if self.outliers is not None and len(self.outliers):
            back[:, self.outliers] = self.kept.to(back.dtype)
        return back.to(dtype)

    def levels(self, row: int | None = None) -> Tensor:
        """(levels,) float32, ascending: every value that the codes of one group can stand for. `row` is the group: an output row, or a
        block; None is the one whose absmax is the median. For half precision every 16-bit number between the smallest and the largest
        weight."""
        if self.scheme.kind == "half":
            return _halves(self.codes.cpu())
        if not self.codes.numel():
            return torch.empty(0)
        if self.scheme.kind == "affine":
            return self.coder.decode(self.coder.levels()[None].to(self.scales), self.scales, self.zero_points)[0].cpu()
        if row is None:
            row = int(self.absmax.argsort()[(len(self.absmax) - 1) // 2])
        if not -len(self.scales) <= row < len(self.scales):
            raise WorkbenchError(f"There is no {self.scheme.group} {row}: the tensor has {len(self.scales):,}.", "Choose a smaller one.")
        if self.scheme.kind == "book":
            return self.coder.levels() * float(self.scales[row])
        return self.coder.levels() * self.coder.largest / float(self.scales[row])


def _halves(codes: Tensor) -> Tensor:
    finite = codes[torch.isfinite(codes)]
    if not finite.numel():
        return torch.empty(0)
    every = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(codes.dtype).float()
    low, high = finite.aminmax()
    return every[(every >= low) & (every <= high)].unique()


def quantize(tensor: Tensor, scheme: str | Scheme, bits: int = 8, block: int | None = None, activations: Tensor | None = None,
             threshold: float = 6.0) -> Quantized:
    """Quantize a floating-point tensor of any shape.

    `scheme` is a name of SCHEMES. `bits` (2 to 8) is used by the integer schemes, `block` (default 64, over the tensor as it lies in
    memory) by those with blocks. `activations` (tokens × d_in, more leading dimensions allowed) are inputs of a weight (d_out × d_in): they
    give `matmul_error`, and with "LLM.int8()" the columns where any magnitude is over `threshold`, which stay 16-bit. Without activations
    "LLM.int8()" is vector-wise. As in bitsandbytes, a row's scale is that of the whole row. Raises `DataError` for a tensor that is not
    floating point or not finite, and `WorkbenchError` for settings that cannot be.
    """
    coder = Coder.of(scheme, bits, block)
    check_tensor(tensor)
    tensor = (tensor.float() if tensor.element_size() == 1 else tensor).detach().contiguous()
    inputs = None if activations is None else products.check_activations(activations, tensor)
    outliers = products.outlier_columns(inputs, threshold) if coder.scheme.splits and inputs is not None else None
    if coder.scheme.splits and outliers is None:
        outliers = torch.empty(0, dtype=torch.int64)
    kept = products.keep_columns(tensor, outliers)
    prepared = prepare(tensor, coder)
    code_dtype = coder.half if coder.scheme.kind == "half" else torch.int8 if coder.scheme.integer else torch.uint8
    codes = torch.empty(tensor.numel(), dtype=code_dtype, device=tensor.device)
    back = torch.empty(tensor.numel(), dtype=compute_dtype(tensor), device=tensor.device) if inputs is not None else None
    scales, absmax, measures, place = [], [], Measures(), 0
    for piece in coded(tensor, coder, prepared):
        here = slice(place, place := place + piece.x.numel())
        if kept is not None:
            rows = slice(piece.first, piece.first + len(piece.x))
            piece.codes[:, outliers], piece.back[:, outliers] = 0, kept[rows].to(piece.back.dtype)
        codes[here] = piece.codes.view(-1).to(code_dtype)
        measures.add(piece.x, piece.back - piece.x)
        if back is not None:
            back[here] = piece.back.view(-1)
        if prepared.scales is None and piece.absmax is not None:
            scales.append(piece.scales)
            absmax.append(piece.absmax)
    if prepared.scales is None and coder.scheme.kind != "half":
        empty = torch.empty(0, dtype=compute_dtype(tensor), device=tensor.device)
        prepared = prepared._replace(scales=torch.cat(scales or [empty]), absmax=torch.cat(absmax or [empty]))
    error, in_db = (None, None) if inputs is None else products.matmul_error(inputs, tensor, back.view(tensor.shape), coder, outliers)
    return Quantized(
        coder=coder, dtype=tensor.dtype, codes=codes.view(tensor.shape), scales=prepared.scales, zero_points=prepared.zero_points,
        absmax=prepared.absmax,
        nested=prepared.nested, outliers=outliers, kept=kept, sqnr_db=measures.sqnr_db, mse=measures.mse, max_error=measures.max_error,
        bits_per_weight=coder.bits_per_weight(tensor.shape, 0 if outliers is None else len(outliers)), matmul_error=error,
        matmul_sqnr_db=in_db)
