"""How large a recipe's model is: parameters, and the bytes that training it takes, with the names that recipes know ("town") understood.

The counting is done in `models/counting.py`, the reckoning in `models/memory.py`; neither knows the town.
"""

from pathlib import Path
from typing import Any

from workbench.errors import RecipeError
from workbench.models import memory
from workbench.models.adaptation import Method
from workbench.recipes import Recipe, resolve_model


def count_parameters(model_or_config: Any, method: Method | None = None) -> tuple[int, int]:
    """`(trainable, total)` of a model's name ("town"), folder, hub id, transformers config or the model itself, adapted by `method` (None
    trains what is marked to be trained). No weight is read. Raises `RecipeError` where the method cannot be applied, and `WorkbenchError`
    where there is no such model."""
    from workbench.models import counting

    return counting.count_parameters(named(model_or_config), _method(method))


def plan_memory(
    model_or_config: Any,
    method: Method | None = None,
    *,
    sequence_length: int = 512,
    batch_size: int = 8,
    precision: str = "bf16",
    zero_stage: int | str = 0,
    devices: int = 1,
    optimizer: str = "adamw",
    checkpointing: bool = False,
    attention: str = "sdpa",
    convention: str | int = "zero",
    gradient_accumulation: int = 1,
    training: bool = True,
) -> memory.Plan:
    """The memory that one training step takes on each of `devices`: a `Plan`, bytes by component ("weights", "gradients", "optimizer",
    "activations", "buffers"), with `.total`, the most there is of all of them at one moment.

    `model_or_config` is a model's name ("town"), folder, hub id, transformers config, the model itself or a number of parameters (then
    nothing is known of activations). `method` None trains all, or of a model what is marked to be trained. `precision` is fp32, bf16 or
    fp16, mixed as `convention` says: "zero" (16 bytes a parameter with Adam) or "transformers" (18, what autocast and so a run does).
    `zero_stage` is 0 to 3 or "fsdp". `optimizer` is adamw, adamw_8bit, sgd, lion, adafactor or a name of transformers'. `attention` is
    sdpa, flash or eager. `training` False plans for reading alone, with the keys and values of all tokens kept, and takes int8 and int4
    too. Raises `RecipeError` or `WorkbenchError`.
    """
    return memory.plan_memory(
        named(model_or_config),
        _method(method),
        sequence_length=sequence_length,
        batch_size=batch_size,
        precision=precision,
        zero_stage=zero_stage,
        devices=devices,
        optimizer=optimizer,
        checkpointing=checkpointing,
        attention=attention,
        convention=convention,
        gradient_accumulation=gradient_accumulation,
        training=training,
    )


def plan_of(recipe: Recipe, cuda: bool = False) -> memory.Plan:
    """The plan of a run of this recipe on one device, if a row is as long as `max_length`; `cuda` says whether "auto" precision is bf16."""
    precision = ("bf16" if cuda else "fp32") if recipe.precision == "auto" else recipe.precision
    settings = memory.settings_of(
        sequence_length=recipe.max_length,
        batch_size=recipe.batch_size,
        precision=precision,
        zero_stage=0,
        devices=1,
        optimizer=recipe.optimizer,
        checkpointing=bool(recipe.training_arguments.get("gradient_checkpointing")),
        attention="sdpa",
        convention="transformers",
        gradient_accumulation=recipe.gradient_accumulation,
        training=True,
        foreach=cuda and recipe.optimizer == "adamw_torch",
    )
    return memory.plan(memory.architecture_of(named(recipe.model), recipe.method), settings)


def _method(method: Any) -> Method | None:
    """Raises `RecipeError` for what is no method, such as its name or its class."""
    if method is None or isinstance(method, Method):
        return method
    raise RecipeError(f"{method!r} is no method.", "Use wb.LoRA(rank=8) or wb.Full().")


def named(model_or_config: Any) -> Any:
    """The folder or hub id of a name; all else as it is."""
    return resolve_model(str(model_or_config)) if isinstance(model_or_config, (str, Path)) else model_or_config
