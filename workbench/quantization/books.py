"""The code books of NF4 and FP4 and the 8-bit numbers that block scales are written in.

Sources: QLoRA (Dettmers et al. 2023, arXiv 2305.14314), appendix E, for NF4's constants; bitsandbytes for FP4, whose order of codes is
kept; "8-bit Approximations for Parallelism in Deep Learning" (Dettmers 2016, arXiv 1511.04561) for the dynamic 8-bit map. Equal to
bitsandbytes to the last bit.
"""

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

NF4 = (-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
       -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224, 0.44070982933044434,
       0.5626170039176941, 0.7229568362236023, 1.0)

FP4_MAGNITUDES = (0.0, 0.0625, 8.0, 12.0, 4.0, 6.0, 2.0, 3.0)
"""By the three bits below the sign, before the largest is scaled to 1."""

SCALES_A_BLOCK = 256
"""Block scales that share a scale of their own under double quantization (QLoRA, section 3)."""


@cache
def values(book: str) -> Tensor:
    """(16,) float32: what each 4-bit code of "nf4" or "fp4" stands for, as a share of its block's absmax."""
    if book == "nf4":
        return torch.tensor(NF4)
    raw = torch.tensor([*FP4_MAGNITUDES, *(-value for value in FP4_MAGNITUDES)])
    return raw / raw.abs().max()


@cache
def ascending(book: str) -> Tensor:
    """(16,) float32: the values in the order of `places`."""
    return values(book)[bounds(book)[1].long()]


@cache
def bounds(book: str) -> tuple[Tensor, Tensor]:
    """`(midpoints, order)`: (15,) float32 between neighbouring values, ascending, and (16,) uint8, the code at each place of that order.

    A value on a midpoint goes to the lower neighbour. FP4 has zero twice: what is a little above it is given code 8, the rest code 0, as in
    bitsandbytes.
    """
    table = values(book)
    order = torch.argsort(table, stable=True)
    return (table[order[:-1]] + table[order[1:]]) / 2, order.to(torch.uint8)


class Cells(NamedTuple):
    """Places in a code book by even cells of [-1, 1], each cut by one midpoint at most: `base[cell] + (share > cut[cell])` is the place,
    exactly.

    Two look-ups in small tables instead of a binary search for each weight: ten times faster.
    """

    base: Tensor
    """(cells,) float32: midpoints below the cell."""
    cut: Tensor
    """(cells,) float32: the midpoint in the cell, infinite where there is none."""

    @staticmethod
    def cell(shares: Tensor) -> Tensor:
        """int32 cell of each float32 share. Whatever the rounding, it never falls as the share grows, which is all that exactness needs."""
        return torch.add(HALF_CELLS, shares, alpha=HALF_CELLS).to(torch.int32)


HALF_CELLS = 512
"""The closest midpoints, FP4's at 0 and ±0.0026, then lie in different cells."""


@cache
def cells(book: str) -> Cells:
    midpoints, _ = bounds(book)
    where = Cells.cell(midpoints)
    every = torch.arange(2 * HALF_CELLS + 1)
    cut = torch.full((len(every),), torch.inf)
    cut[where.long()] = midpoints
    return Cells((where < every[:, None]).sum(1).float(), cut)


@cache
def _beside(book: str) -> tuple[Tensor, Tensor]:
    """(cells,) float32 each: the values below and above the midpoint in a cell."""
    base, ordered = cells(book).base.long(), ascending(book)
    return ordered[base], ordered[(base + 1).clamp(max=len(ordered) - 1)]


def nearest(shares: Tensor, book: str) -> Tensor:
    """For each share of its absmax, in [-1, 1], the nearest value of `book`: `ascending(book)[places(shares, book)]`, quicker."""
    if not _quick(shares):
        return ascending(book).to(shares).index_select(0, places(shares, book).view(-1)).view_as(shares)
    cut, (below, above), cell = cells(book).cut, _beside(book), Cells.cell(shares).view(-1)
    over = shares > cut.index_select(0, cell).view_as(shares)
    return torch.where(over, above.index_select(0, cell).view_as(shares), below.index_select(0, cell).view_as(shares))


def _quick(shares: Tensor) -> bool:
    """Whether the tables of cells can be used: they are of float32, on the CPU."""
    return shares.dtype == torch.float32 and shares.device.type == "cpu"


def places(shares: Tensor, book: str) -> Tensor:
    """int32: for each share of its absmax, in [-1, 1], the place of the nearest value among the ascending ones of `book`."""
    if not _quick(shares):
        return torch.bucketize(shares, bounds(book)[0].to(shares), out_int32=True)
    base, cut = cells(book)
    cell = Cells.cell(shares).view(-1)
    return base.index_select(0, cell).view_as(shares).add_(shares > cut.index_select(0, cell).view_as(shares)).to(torch.int32)


@cache
def dynamic() -> Tensor:
    """(256,) float32, ascending: the signed dynamic map, whose steps grow with the magnitude over seven decades."""
    found = [0.0, 1.0]
    for i in range(7):
        edges = torch.linspace(0.1, 1, 2**i + 1)
        means = (10 ** (i - 6)) * ((edges[:-1] + edges[1:]) / 2)
        found += means.tolist() + (-means).tolist()
    return torch.tensor(sorted(found))


CELLS = 65535


@cache
def _nearest_dynamic() -> Tensor:
    """(65536,) uint8: the nearest code of `dynamic` at each of as many even steps from -1 to 1."""
    table = dynamic()
    grid = -1.0 + 2.0 * torch.arange(CELLS + 1, dtype=torch.float32) / CELLS
    return torch.bucketize(grid, 0.5 * (table[:-1] + table[1:])).to(torch.uint8)


class Nested(NamedTuple):
    """Block scales written in 8 bits: `dynamic()[codes] * scales + offset`, one scale for every 256 of them."""

    codes: Tensor
    """(blocks,) uint8"""
    scales: Tensor
    """(blocks / 256, rounded up,) float32"""
    offset: Tensor
    """0-d float32: the mean of the block scales, which are all positive."""

    def decode(self) -> Tensor:
        """(blocks,) float32"""
        shares = dynamic().to(self.codes.device)[self.codes.long()]
        return shares * self.scales.repeat_interleave(SCALES_A_BLOCK)[: len(shares)] + self.offset


def nest(absmax: Tensor) -> Nested:
    """Double quantization of (blocks,) float32 block scales. A value is first put on 65,536 even steps and given the nearest code there, as
    bitsandbytes does on CPU."""
    offset = absmax.mean()
    centred = absmax - offset
    groups = torch.nn.functional.pad(centred, (0, -len(centred) % SCALES_A_BLOCK)).view(-1, SCALES_A_BLOCK)
    scales = groups.abs().amax(1)
    shares = (groups * (1 / scales)[:, None]).nan_to_num_(0.0).clamp_(-1, 1)
    codes = _nearest_dynamic().to(absmax.device)[((shares + 1) * 0.5 * CELLS + 0.5).int()]
    codes[scales == 0] = 0
    return Nested(codes.flatten()[: len(absmax)], scales, offset)
