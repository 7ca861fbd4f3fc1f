"""4-bit weights as they were rounded, on a CPU too: a mend of bitsandbytes.

A matrix is rounded in blocks of 64 weights, one after another and across the ends of rows. bitsandbytes 0.50's CPU kernel reads it as if
each row began a block of its own, so where 64 does not divide d_in (80 or 160, as in the town's models) most weights were read with the
constants of a neighbouring block: their error was 8 to 9 times as large. Here such a matrix is handed to the kernel as one long row, which
it reads rightly. The kernels of GPUs are left alone.
"""

import warnings
from typing import Any

OPERATOR = "bitsandbytes::dequantize_4bit"
_libraries: list[Any] = []
"""Held, since torch takes a kernel back with the library that brought it."""


def mend() -> None:
    """Let this process's bitsandbytes read 4-bit weights as they were rounded. Nothing is changed where it does already."""
    import torch
    from bitsandbytes import functional

    if _libraries or _reads_rightly(functional):
        return
    theirs = torch.library.get_kernel(OPERATOR, "CPU")

    def dequantize_4bit(keys: Any, A: torch.Tensor, absmax: torch.Tensor, blocksize: int, quant_type: str, shape: Any, dtype: torch.dtype) -> torch.Tensor:
        long = [torch.Size(shape).numel()] if shape[-1] % blocksize else shape
        return theirs.call_boxed(keys, A, absmax, blocksize, quant_type, long, dtype).reshape(shape)

    library = torch.library.Library("bitsandbytes", "IMPL")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Warning only once for all operators")  # that a kernel is taken over, which is meant
        library.impl("dequantize_4bit", dequantize_4bit, "CPU", with_keyset=True, allow_override=True)
    _libraries.append(library)


def _reads_rightly(functional: Any) -> bool:
    import torch

    weights = torch.linspace(-1, 1, 256)
    packed, state = functional.quantize_4bit(weights.reshape(8, 32), blocksize=64, quant_type="nf4")
    flat, whole = functional.quantize_4bit(weights, blocksize=64, quant_type="nf4")
    return torch.equal(functional.dequantize_4bit(packed, state).flatten(), functional.dequantize_4bit(flat, whole).flatten())
