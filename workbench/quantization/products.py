"""What quantization does to a matrix product: outlier columns among the activations, and the error of X·Wᵀ.

Shapes: X (tokens × d_in), W (d_out × d_in). Products of integer codes are computed from what the codes stand for, which is the same up to
float rounding.
"""

import math

import torch
from torch import Tensor

from workbench.errors import DataError, WorkbenchError
from workbench.quantization.coders import Coder
from workbench.quantization.passes import check_tensor, compute_dtype, extremes, group_absmax, ratio_db, square_sum


def check_activations(activations: Tensor, weight: Tensor) -> Tensor:
    """X as (tokens × d_in). Raises `DataError` where it does not fit a weight (d_out × d_in) or is not finite."""
    check_tensor(activations, "activations")
    if weight.dim() != 2 or activations.dim() < 1 or activations.shape[-1] != weight.shape[-1]:
        raise DataError(f"activations of shape {tuple(activations.shape)} cannot be multiplied with a weight of shape {tuple(weight.shape)}.",
                        "Give them as (tokens × d_in) for a weight (d_out × d_in).")
    inputs = activations.detach().reshape(-1, weight.shape[-1])
    extremes(inputs, "activations")
    return inputs


def outlier_columns(inputs: Tensor, threshold: float) -> Tensor:
    """(k,) int64, ascending: columns of X where any magnitude is over `threshold` (LLM.int8(), section 3.2)."""
    if not threshold > 0:
        raise WorkbenchError(f"The outlier threshold cannot be {threshold!r}.", "Give a number over 0; 6.0 is LLM.int8()'s own.")
    if not len(inputs):
        return torch.empty(0, dtype=torch.int64)
    return (inputs.abs().amax(0) > threshold).nonzero().flatten()


def keep_columns(weight: Tensor, outliers: Tensor | None) -> Tensor | None:
    """The outlier columns of W in 16 bits: in the weight's own dtype if that has 16, else in float16, or in bfloat16 where one of them is
    beyond float16's 65,504. None where there are none."""
    if outliers is None or not len(outliers):
        return None
    columns = weight[:, outliers]
    if columns.element_size() == 2:
        return columns
    half = columns.to(torch.float16)
    return half if torch.isfinite(half).all() else columns.to(torch.bfloat16)


def quantize_inputs(inputs: Tensor, coder: Coder, outliers: Tensor | None = None) -> Tensor:
    """X as the scheme hands it to the product, dequantized: one scale for the tensor, one for each token, or as it is. Outlier columns stay
    as they are."""
    how = coder.scheme.activations
    x = inputs.to(compute_dtype(inputs))
    if not how or not x.numel():
        return x
    if how == "tensor":
        low, high = extremes(x)
        flat = x.reshape(1, -1)
        if coder.scheme.kind == "affine":
            scales, zero = (given.to(x.device) for given in coder.affine(low, high, x.dtype))
        else:
            scales, zero = coder.scales(x.new_tensor([max(-low, high)])), None
        return coder.decode(coder.encode(flat, scales, zero), scales, zero).view_as(x)
    inner = x
    if outliers is not None and len(outliers):
        inner = x.clone()
        inner[:, outliers] = 0
    scales = coder.scales(group_absmax(inner, x.dtype))
    back = coder.decode(coder.encode(inner, scales), scales)
    if outliers is not None and len(outliers):
        back[:, outliers] = x[:, outliers]
    return back


def matmul_error(inputs: Tensor, weight: Tensor, back: Tensor, coder: Coder, outliers: Tensor | None = None) -> tuple[float, float]:
    """`(relative error, SQNR in dB)` of X·Wᵀ, both sides quantized; `back` is what the quantized weight stands for. The error is a share of
    ‖X·Wᵀ‖."""
    dtype = back.dtype
    exact = inputs.to(dtype) @ weight.to(dtype).T
    error = square_sum(quantize_inputs(inputs, coder, outliers).to(dtype) @ back.T - exact)
    signal = square_sum(exact)
    relative = math.sqrt(error / signal) if signal else (math.inf if error else 0.0)
    return relative, ratio_db(signal, error)
