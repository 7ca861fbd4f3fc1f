"""Bottleneck adapters in a model: where they go, and the layers themselves (Houlsby et al. 2019, section 2.1).

A block has two, each after the projection back to the hidden size that ends its attention or its feed-forward part, before the sum with the
residual stream: h ← h + W_up gelu(W_down h), W_down m × d, W_up d × m, both with biases. W_up starts at zero, so that the adapted model
starts as the base. Places are found by shape, not by the names of one architecture.
"""

from typing import Any

import torch

from workbench.errors import RecipeError


class Bottleneck(torch.nn.Module):
    """What is added to the output of a projection; d = `width`, m = `size`."""

    def __init__(self, width: int, size: int, like: torch.Tensor):
        super().__init__()
        kind = like.dtype if like.dtype.is_floating_point else torch.float32
        self.down = torch.nn.Linear(width, size, device=like.device, dtype=kind)
        self.up = torch.nn.Linear(size, width, device=like.device, dtype=kind)
        torch.nn.init.normal_(self.down.weight, std=0.01)
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            torch.nn.init.zeros_(zero)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden + self.up(torch.nn.functional.gelu(self.down(hidden)))


def _add(projection: torch.nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
    return projection.bottleneck(output)


def insert(model: Any, size: int) -> list[torch.nn.Module]:
    """Put a bottleneck after both projections of each block; returns the blocks. The names of the base's own tensors stay.

    Raises `RecipeError` where the two cannot be told.
    """
    width = model.config.get_text_config().hidden_size
    blocks = blocks_of(model)
    for block in blocks:
        for projection in projections(block, width):
            projection.bottleneck = Bottleneck(width, size, projection.weight)
            projection.register_forward_hook(_add)
    return blocks


def blocks_of(model: Any) -> list[torch.nn.Module]:
    """The transformer's layers: the longest list of modules in it that hold an attention. Raises `RecipeError` where there is none."""
    lists = [module for module in model.modules() if isinstance(module, torch.nn.ModuleList) and len(module)]
    lists = [module for module in lists if all(_attention(block) is not None for block in module)]
    if not lists:
        raise RecipeError("Adapters go after the attention of each block and its feed-forward part, and no blocks with an attention were found.",
                          "Use wb.LoRA.")
    return list(max(lists, key=len))  # type: ignore[arg-type]


def _attention(block: torch.nn.Module) -> torch.nn.Module | None:
    """The child that is called so and has matrices: norms and dropouts are called after their place beside it."""
    named = [child for name, child in block.named_children() if "attn" in name.lower() or "attention" in name.lower()]
    return next((child for child in named if any(parameter.dim() == 2 for parameter in child.parameters())), None)


def projections(block: torch.nn.Module, width: int) -> tuple[torch.nn.Module, torch.nn.Module]:
    """The last linear layers of a block's attention, and of what follows it, that give `width` numbers. Raises `RecipeError` where one is
    missing."""
    attention = _attention(block)
    inside = set(attention.modules())
    experts = any(isinstance(module, torch.nn.ModuleList) for module in block.modules()) or any(p.dim() > 2 for p in block.parameters())
    if experts:
        raise RecipeError("Adapters go after the feed-forward part of each block, and this model's have several (a mixture of experts).",
                          "Use wb.LoRA.")
    ends = [module for module in block.modules() if _width(module) == width]
    first, second = [m for m in ends if m in inside], [m for m in ends if m not in inside]
    if not first or not second:
        part = "attention" if not first else "feed-forward part"
        raise RecipeError(f"Adapters go after the projection that ends each block's {part}, and none that gives {width} numbers was found.",
                          "Use wb.LoRA.")
    return first[-1], second[-1]


def _width(module: torch.nn.Module) -> int | None:
    """Numbers a linear layer gives; None for any other module."""
    if isinstance(module, torch.nn.Linear):
        return module.out_features
    return module.nf if type(module).__name__ == "Conv1D" else None
