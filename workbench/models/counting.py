"""How many parameters a model has and how many a method trains, without a weight in memory: on torch's meta device.

Counts are peft's own (`get_nb_trainable_parameters`): tied tensors once, what a method adds included in the total, a 4-bit weight as the
weights it holds. Not here: bytes (`memory.py`).
"""

import copy
from pathlib import Path
from typing import Any

from workbench.errors import RecipeError
from workbench.models.adaptation import Method
from workbench.models.folders import config_of


def count_parameters(model_or_config: Any, method: Method | None = None) -> tuple[int, int]:
    """`(trainable, total)` of a model folder, hub id, transformers config or model, adapted by `method` (None trains what is marked to be
    trained).

    Raises `RecipeError` where the method cannot be applied to it, and `WorkbenchError` where there is no such model. A given model stays as
    it is.
    """
    if hasattr(model_or_config, "named_parameters"):
        if method is None:
            return _count(model_or_config)
        return _count(_adapted(_outline_of(model_or_config), method))
    config = config_of(model_or_config) if isinstance(model_or_config, (str, Path)) else model_or_config
    return _count(skeleton(config) if method is None else outline(config, method))


def outline(config: Any, method: Method) -> Any:
    """The model of `config` as `method` would train it, on the meta device. Raises `RecipeError` where it cannot, or would train
    nothing."""
    return _adapted(skeleton(config), method)


def skeleton(config: Any) -> Any:
    """The model of a transformers config on the meta device, every parameter marked to be trained.

    Its class is the config's `architectures`, or where it names none: the causal language model, and of a model made for filling in words
    its body alone.
    """
    import torch
    import transformers
    from transformers.models.auto import modeling_auto as auto

    config = copy.deepcopy(config)  # a method may change it, and from_config notes its attention in it
    kind = getattr(transformers, (config.architectures or [""])[0], None)
    with torch.device("meta"):
        if kind is not None:
            return kind(config)
        fills_in = config.model_type in auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
        causal = config.model_type in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and not fills_in
        return (transformers.AutoModelForCausalLM if causal else transformers.AutoModel).from_config(config)


def _outline_of(model: Any) -> Any:
    import torch

    if hasattr(model, "peft_config"):
        raise RecipeError("This model has an adapter already, so another method's parameters cannot be counted on it.",
                          "Give the base model, or its config.")
    with torch.device("meta"):
        return type(model)(copy.deepcopy(model.config))


def _adapted(model: Any, method: Method) -> Any:
    model = method.apply(model)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise RecipeError(f"The method {method.name} would train nothing of this model.",
                          "Choose another method, or name other parts of the model.")
    return model


def _count(model: Any) -> tuple[int, int]:
    trainable = total = 0
    for parameter in model.parameters():
        count = parameter.numel()
        if type(parameter).__name__ == "Params4bit" and parameter.dtype.itemsize and parameter.quant_state is not None:
            count *= 2 * parameter.dtype.itemsize  # two weights of 4 bits a byte
        total += count
        trainable += count if parameter.requires_grad else 0
    return trainable, total
