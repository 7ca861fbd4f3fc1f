"""How each scheme turns groups of weights into codes and back: the one place where the formulas are.

Shapes: x (groups × size) of float32, or float64 for a float64 tensor; scales (groups,); codes as x. What shares a scale is one group.
Not here: walking over a tensor that is larger than the cache (`passes`), measures, and the outlier columns of LLM.int8() (`quantized`).

Formulas. Absmax (LLM.int8(), Dettmers et al. 2022, arXiv 2208.07339, section 2.1): scale = (2^(b-1) - 1) / max|x|, code = round(scale·x).
Zero-point (same section, in its signed form): scale = (2^b - 1) / (max - min), zero = -round(scale·min) - 2^(b-1), code = round(scale·x) +
zero. The range always includes 0, as in torch's observers, so that the zero point is a code itself. NF4 and FP4 (QLoRA): the code of the
value nearest to x / max|x|. Half a step is rounded to even.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.quantization import books
from workbench.quantization.schemes import Scheme, check_settings, find_scheme

TINY = 1e-38
"""A block whose largest magnitude is below it counts as that large."""


@dataclass(frozen=True, slots=True)
class Coder:
    """A scheme with its settings."""

    scheme: Scheme
    bits: int
    block: int | None

    @classmethod
    def of(cls, scheme: str | Scheme, bits: int = 8, block: int | None = None) -> "Coder":
        """Raises `WorkbenchError` for an unknown scheme or settings that it cannot use."""
        found = find_scheme(scheme)
        return cls(found, *check_settings(found, bits, block))

    @property
    def largest(self) -> int:
        """The largest integer code: 127 for 8 bits."""
        return 2 ** (self.bits - 1) - 1

    @property
    def half(self) -> torch.dtype:
        return torch.float16 if self.scheme.name == "fp16" else torch.bfloat16

    def group_size(self, shape: torch.Size | tuple[int, ...]) -> int:
        """Elements that share a scale in a tensor of that shape. An output row is all that lies under one index of the first dimension; a
        vector is one row."""
        elements = torch.Size(shape).numel()
        if self.scheme.group == "row":
            return elements // shape[0] if len(shape) > 1 and shape[0] else elements
        return self.block if self.scheme.has_blocks else elements

    def groups(self, shape: torch.Size | tuple[int, ...]) -> int:
        """Scales of a tensor of that shape."""
        elements = torch.Size(shape).numel()
        return 0 if self.scheme.kind == "half" or not elements else -(-elements // self.group_size(shape))

    def bits_per_weight(self, shape: torch.Size | tuple[int, ...], outliers: int = 0) -> float:
        """Stored bits a weight, constants included: a 32-bit scale for each group, zero points of as many bits as the codes, outlier
        columns in 16 bits.

        Double quantization: 8 bits for each block, 32 for each 256 blocks; the one offset of a tensor is not counted, as in QLoRA, section
        3.
        """
        elements = torch.Size(shape).numel()
        if not elements or self.scheme.kind == "half":
            return float(self.bits)
        groups = self.groups(shape)
        if self.scheme.double:
            constants = 8 * groups + 32 * -(-groups // books.SCALES_A_BLOCK)
        else:
            constants = groups * (32 + (self.bits if self.scheme.kind == "affine" else 0))
        split = outliers / shape[-1] if outliers else 0.0
        return self.bits * (1 - split) + 16 * split + constants / elements

    def scales(self, absmax: Tensor) -> Tensor:
        """(groups,) of absmax → (groups,): steps a unit for integers, the absmax itself for code books. A group of zeros has scale 1
        (integers)."""
        if self.scheme.kind == "book":
            return absmax
        found = (self.largest / absmax).clamp_(max=torch.finfo(absmax.dtype).max)
        return found.masked_fill_(absmax == 0, 1.0)

    def affine(self, low: float, high: float, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
        """`(scales, zero_points)`, both (1,), for a tensor whose smallest and largest value are given."""
        low, high = min(low, 0.0), max(high, 0.0)
        scale = (2**self.bits - 1) / (high - low) if high > low else 1.0
        scale = torch.tensor([min(scale, torch.finfo(dtype).max)], dtype=dtype)
        return scale, (-torch.round(scale * low) - 2 ** (self.bits - 1)).to(torch.int32)

    def encode(self, x: Tensor, scales: Tensor, zero: Tensor | None = None) -> Tensor:
        """Codes as x: whole numbers in x's own dtype for integers, int32 for code books, 16-bit floats for half precision."""
        if self.scheme.kind == "half":
            return x.to(self.half)
        if self.scheme.kind == "book":
            places = books.places(self._shares(x, scales), self.scheme.book)
            if self.scheme.book == "nf4":
                return places
            order = books.bounds(self.scheme.book)[1].to(x.device, torch.int32)
            return order.index_select(0, places.view(-1)).view_as(places)
        codes = (x * scales[:, None]).round_()
        if zero is None:
            return codes
        return codes.add_(zero[:, None]).clamp_(-self.largest - 1, self.largest)

    def _shares(self, x: Tensor, absmax: Tensor) -> Tensor:
        """Of each group's absmax: from -1 to 1, or the next number beyond, which has the same nearest value."""
        return x * (1.0 / absmax.clamp(min=TINY))[:, None]

    def round(self, x: Tensor, scales: Tensor, back_scales: Tensor) -> Tensor:
        """`decode(encode(x, scales), back_scales)` without the codes between, which saves a look-up in a code book."""
        if self.scheme.kind != "book":
            return self.decode(self.encode(x, scales), back_scales)
        return books.nearest(self._shares(x, scales), self.scheme.book).mul_(back_scales[:, None])

    def decode(self, codes: Tensor, scales: Tensor, zero: Tensor | None = None) -> Tensor:
        """What codes stand for, in the dtype of `scales`. `codes` as `encode` gives them, or as whole numbers of any dtype."""
        if self.scheme.kind == "half":
            return codes.to(scales.dtype)
        if self.scheme.kind == "book":
            values = books.values(self.scheme.book).to(scales)
            return values.index_select(0, codes.int().view(-1)).view(codes.shape).mul_(scales[:, None])
        codes = codes.to(scales.dtype)
        return (codes if zero is None else codes - zero[:, None]) / scales[:, None]

    def levels(self) -> Tensor:
        """What the codes stand for in a group of absmax 1, ascending. For zero-point, whose levels depend on both ends: the codes
        themselves."""
        if self.scheme.kind == "book":
            return books.values(self.scheme.book).unique()
        if self.scheme.kind == "affine":
            return torch.arange(-self.largest - 1, self.largest + 1, dtype=torch.float32)
        return torch.arange(-self.largest, self.largest + 1, dtype=torch.float32) / self.largest
