"""The linear layers of a model and the matrices in them, whatever the model's class; and one linear layer's weight swapped for another and
back.

Not here: quantization itself (`models`), and what flows through the layers (`activations`).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from workbench.errors import WorkbenchError


def linear_layers(model: Any, names: Sequence[str] | None = None) -> dict[str, Any]:
    """Name → module, in the model's order: every `nn.Linear` and transformers' `Conv1D` (GPT-2).

    `names` None leaves out a head that shares its matrix with the embedding, since that is the embedding's, and the small matrices of LoRA.
    Raises `WorkbenchError` where a name is no linear layer, or the model has none.
    """
    conv = _conv1d()
    kinds = (torch.nn.Linear, conv) if conv else (torch.nn.Linear,)
    found = {name: module for name, module in model.named_modules() if isinstance(module, kinds)}
    if names is not None:
        for name in names:
            if name not in found:
                raise WorkbenchError(f"The model has no linear layer {name!r}.", f"Its linear layers are {_few(list(found))}.")
        return {name: found[name] for name in names}
    embedded = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    found = {name: module for name, module in found.items() if id(module.weight) not in embedded and "lora_" not in name}  # type: ignore[union-attr]
    if not found:
        raise WorkbenchError("The model has no linear layer.", "Give a model with nn.Linear or Conv1D modules.")
    return found


def matrix(module: Any) -> Tensor:
    """The weight as (d_out × d_in); a transposed view for `Conv1D`, which keeps (d_in × d_out)."""
    weight = module.weight.detach()
    return weight if isinstance(module, torch.nn.Linear) else weight.T


@contextmanager
def swapped(modules: Sequence[Any], matrices: Sequence[Tensor]) -> Iterator[None]:
    """`modules` with these matrices (d_out × d_in) as weights; after it each has its own Parameter object again, so nothing is rounded and
    ties hold."""
    own = [module.weight for module in modules]
    try:
        for module, new in zip(modules, matrices, strict=True):
            put(module, new)
        yield
    finally:
        for module, weight in zip(modules, own, strict=True):
            module.weight = weight


def put(module: Any, new: Tensor) -> None:
    """Give `module` a weight of its own from a matrix (d_out × d_in), in the dtype of the one it had."""
    old = module.weight
    new = new if isinstance(module, torch.nn.Linear) else new.T
    module.weight = torch.nn.Parameter(new.to(old.dtype).contiguous(), requires_grad=old.requires_grad)


def _conv1d() -> type | None:
    """transformers' Conv1D where transformers is imported already: no model has one otherwise."""
    import sys

    module = sys.modules.get("transformers.pytorch_utils")
    return getattr(module, "Conv1D", None)


def _few(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "") or "none"
