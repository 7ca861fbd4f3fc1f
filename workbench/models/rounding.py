"""A linear layer that computes with its weights, and where asked its inputs, rounded to a few bits, by torch's own fake-quantization
operators.

Their gradient is 1 where a value lies in the range and 0 outside (the straight-through estimator, Bengio et al. 2013). The names and the
values of the weights stay as they are. What is rounded to is what `quantization` gives at the same settings, but for the order of a
division.

Shapes: a weight is d_out × d_in, inputs are … × d_in.
"""

from typing import Any

import torch

from workbench.errors import RecipeError


class RoundedLinear(torch.nn.Linear):
    """`torch.nn.Linear` with the settings of `round_linears` on it."""

    rounding: tuple[int, str, int, bool]

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        bits, scheme, block, activations = self.rounding
        if activations:
            inputs = rounded(inputs, bits, scheme)
        return torch.nn.functional.linear(inputs, rounded(self.weight, bits, scheme, block), self.bias)


def round_linears(model: Any, bits: int, scheme: str, block: int, activations: bool) -> int:
    """Make every linear layer but the output head a `RoundedLinear`; returns how many. Raises `RecipeError` where blocks do not come out
    even."""
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    linears = [(name, module) for name, module in model.named_modules() if type(module) in (torch.nn.Linear, RoundedLinear)]
    layers = [(name, module) for name, module in linears if module is not head]
    for name, module in layers:
        if scheme == "block-wise" and module.weight.numel() % block:
            raise RecipeError(f"{name} has {module.weight.numel()} weights, which blocks of {block} do not divide.",
                              "Use another block, or scheme=\"vector-wise\".")
    for _, module in layers:
        module.__class__ = RoundedLinear  # the weights, their names and the optimizer's order stay
        module.rounding = (bits, scheme, block, activations)
    return len(layers)


def rounded(x: torch.Tensor, bits: int, scheme: str, block: int = 64) -> torch.Tensor:
    """`x` as `bits` would hold it; one scale for all ("absmax", "zero-point"), for each row of the last dimension ("vector-wise") or for
    each `block` elements."""
    most = 2 ** (bits - 1) - 1
    if scheme == "zero-point":
        with torch.no_grad():
            low, high = x.min().clamp(max=0).float(), x.max().clamp(min=0).float()
            spread = torch.where(high > low, high - low, torch.full_like(high, 2**bits - 1.0))  # of zeros alone: steps of 1
            steps = (2**bits - 1) / spread
            zero = (-torch.round(steps * low) - 2 ** (bits - 1)).to(torch.int32)
        return torch.fake_quantize_per_tensor_affine(x, 1 / steps, zero, -most - 1, most)
    groups = x.reshape(1, -1) if scheme == "absmax" else x.reshape(-1, block if scheme == "block-wise" else x.shape[-1])
    with torch.no_grad():
        largest = groups.abs().amax(1).float()
        steps = torch.where(largest > 0, most / largest, torch.ones_like(largest))
    zero = torch.zeros(len(groups), dtype=torch.int32, device=x.device)
    return torch.fake_quantize_per_channel_affine(groups, 1 / steps, zero, 0, -most, most).view(x.shape)
