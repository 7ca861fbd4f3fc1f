"""Attention of examples of any lengths laid end to end, by a GPU's own kernel: flash-attn's where it is installed, else torch's.

Shapes: a batch is B rows of T positions, its attention (B, H, T, D) with H heads of width D, keys and values maybe fewer; the kernel takes
them as (B*T, H, D) with the positions at which examples begin. What is left of a row is one more segment of its own, as in a packed batch.
The memory is that of the tokens, with no T x T anywhere, and nothing is computed between examples (Dao et al. 2022, FlashAttention).

A kernel is tried on a few numbers before it is taken: one that is there and does not run on this GPU is told. Not here: the CPU's way
(`fast_rows.Groups`), and which of the two a run takes (`fast_rows.PackedSteps`).
"""

import math
from collections.abc import Callable
from typing import Any

import torch

from workbench.models import kernels

Kernel = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, int, float | None], torch.Tensor]
"""(query (N, H, D), key and value (N, G, D), begins (segments + 1, int32), the longest segment, scale or None) -> (N, H, D), causal in
each."""


def of_flash_attn(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, begins: torch.Tensor, longest: int, scale: float | None
) -> torch.Tensor:
    from flash_attn import flash_attn_varlen_func

    return flash_attn_varlen_func(query, key, value, begins, begins, longest, longest, softmax_scale=scale, causal=True)


def of_torch(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, begins: torch.Tensor, longest: int, scale: float | None
) -> torch.Tensor:
    from torch.nn.attention.varlen import varlen_attn

    # (-1, 0) is causal; heads that share keys are allowed only where it is said
    return varlen_attn(query, key, value, begins, begins, longest, longest, scale=scale, window_size=(-1, 0), enable_gqa=True)


BY_MODULE: dict[str, Kernel] = dict(zip(kernels.FLASH, (of_flash_attn, of_torch), strict=True))


def plain(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, begins: torch.Tensor, longest: int, scale: float | None
) -> torch.Tensor:
    """The same by sdpa, a segment at a time: what every kernel must give."""
    out, groups = [], query.shape[1] // key.shape[1]
    for begin, end in zip(begins[:-1].tolist(), begins[1:].tolist(), strict=True):
        parts = (part[begin:end].transpose(0, 1) for part in (query, key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)))
        out.append(torch.nn.functional.scaled_dot_product_attention(*parts, is_causal=True, scale=scale).transpose(0, 1))
    return torch.cat(out)


def usable(model: Any, device: str, dtype: torch.dtype) -> tuple[Kernel | None, str]:
    """The kernel for a model's heads on a device, or None and a sentence why there is none. Tried forward and backward."""
    config = model.config.get_text_config()
    name = kernels.flash_module()
    if name is None:
        return None, "No package here has a kernel for it."
    heads = config.num_attention_heads
    shared = getattr(config, "num_key_value_heads", None) or heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    return agreeing(BY_MODULE[name], (heads, shared, width), device, dtype)


def agreeing(kernel: Kernel, heads: tuple[int, int, int], device: str, dtype: torch.dtype) -> tuple[Kernel | None, str]:
    """`kernel` where it gives what sdpa gives on three segments; `heads` are of queries, of keys, and their width."""
    count, shared, width = heads
    begins = torch.tensor([0, 5, 6, 16], dtype=torch.int32, device=device)
    generator = torch.Generator().manual_seed(0)
    parts: Any = [torch.randn(16, n, width, generator=generator).to(device, dtype).requires_grad_() for n in (count, shared, shared)]
    try:
        found = kernel(*parts, begins, 10, None)  # type: ignore[call-arg]
        gradients = torch.autograd.grad(found.float().square().sum(), parts)
        wanted = plain(*parts, begins, 10, None)  # type: ignore[call-arg]
        expected = torch.autograd.grad(wanted.float().square().sum(), parts)
    except (ImportError, RuntimeError, NotImplementedError, ValueError, TypeError, AttributeError) as error:
        return (
            None,
            f"{kernel.__name__.removeprefix('of_').replace('_', '-')}'s kernel does not run here: {(str(error).splitlines() or [''])[0]}",
        )
    # rounding of 16-bit results and of a sum over `width` products
    tolerance = 4 * math.sqrt(width) * torch.finfo(dtype).eps
    for got, want in zip((found, *gradients), (wanted, *expected), strict=True):
        if not torch.allclose(got.float(), want.float(), atol=tolerance * float(want.detach().abs().max()), rtol=0):
            return None, f"{kernel.__name__.removeprefix('of_').replace('_', '-')}'s kernel gives other numbers than sdpa here."
    return kernel, ""


class Segments:
    """Where the examples of one batch begin, for a kernel; of the surface of `fast_rows.Groups`."""

    shares_heads = True
    """Keys and values need not be repeated for the query heads that share them."""

    def __init__(self, lengths: list[list[int]], width: int, kernel: Kernel):
        """`lengths`: of each row, its examples' lengths in order; what is left of the `width` T is padding."""
        self.shape, self.kernel = (len(lengths), width), kernel
        whole = [length for row in lengths for length in (*row, width - sum(row)) if length]
        self.longest = max(whole)
        self.begins = torch.tensor([0, *whole]).cumsum(0).to(torch.int32)

    def attend(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, dropout: float, scale: float | None) -> torch.Tensor:
        """(B, H, T, D), and (B, G, T, D) twice, to (B, T, H, D). `dropout` is 0: with it the caller keeps the mask."""
        if self.begins.device != query.device:
            self.begins = self.begins.to(query.device, non_blocking=True)
        kind = query.dtype
        if kind == torch.float32:  # what a norm gave under autocast
            kind = torch.get_autocast_dtype(query.device.type) if torch.is_autocast_enabled(query.device.type) else kind
        parts = (part.transpose(1, 2).flatten(0, 1).to(kind) for part in (query, key, value))
        return self.kernel(*parts, self.begins, self.longest, scale).unflatten(0, self.shape)  # type: ignore[call-arg]
