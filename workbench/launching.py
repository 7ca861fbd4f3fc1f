"""How many processes train one run, and how they share the model: a value of the recipe, and what cannot go together, said before a run.

    Recipe(launch=Launch(processes=2, strategy="ddp"))
        ddp     each process has the whole model, and gradients are averaged (torch's DistributedDataParallel)
        fsdp    weights, gradients and optimizer state are cut up among the processes (torch's fully_shard)
        zero2   gradients and optimizer state are cut up (DeepSpeed ZeRO, Rajbhandari et al. 2020, arXiv 1910.02054)
        zero3   the weights as well
Each process reads its own `batch_size` rows, so a step of two processes with 4 rows is that of one process with 8. Imports no torch. Not
here: how processes are started (`training/launched.py`), and what each does (`training/ranks.py`, `training/strategies.py`).
"""

import dataclasses
import importlib.util
from dataclasses import dataclass
from typing import Any

from workbench.errors import RecipeError
from workbench.models import methods

STRATEGIES = ("ddp", "fsdp", "zero2", "zero3")
DEEPSPEED = ("zero2", "zero3")
WHOLE_BATCH = {"kto": "measures its KL on replies to other prompts of the batch", "orpo": "averages over the tokens of the batch",
               "aot": "sorts the pairs of the batch", "aot_unpaired": "sorts the pairs of the batch"}
"""Objectives, and losses of DPO, whose loss is no sum over rows: processes that see a part of the batch each would learn something else."""
SHARDED_OPTIMIZERS = ("adamw_torch", "adamw_torch_fused", "sgd", "rmsprop", "adagrad")
"""Optimizers that work on each number alone, and so on parts of weights as on the whole."""
OURS = frozenset({"fsdp", "fsdp_config", "deepspeed", "ddp_backend", "average_tokens_across_devices", "accelerator_config", "parallelism_config",
                  "auto_find_batch_size", "group_by_length", "train_sampling_strategy", "dataloader_drop_last", "save_only_model"})
"""Training arguments that the launch decides."""


@methods.named_fields
@dataclass(frozen=True, slots=True)
class Launch:
    """Several processes for one run: `processes` on each of `machines`. Raises `RecipeError` for values that cannot be.

    Its strategies:
        ddp: each process has the whole model, and gradients are averaged (torch's DistributedDataParallel)
        fsdp: weights, gradients and optimizer state are cut up among the processes (torch's fully_shard)
        zero2: gradients and optimizer state are cut up (DeepSpeed ZeRO; needs the package deepspeed)
        zero3: the weights as well
    """

    processes: int = 2
    """On each machine."""
    strategy: str = "ddp"
    """How they share the model: "ddp", "fsdp", "zero2" or "zero3"."""
    machines: int = 1
    """More than one is started by `wb.launch_command(recipe, runs)`, which says what to type on each."""

    def __post_init__(self):
        for name in ("processes", "machines"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise RecipeError(f"Launch's {name} is {value!r}; it must be a whole number of at least 1.", "Use wb.Launch(processes=2).")
        if self.strategy not in STRATEGIES:
            raise RecipeError(f"Launch's strategy is {self.strategy!r}, which is none of {', '.join(STRATEGIES)}.", 'Use strategy="ddp".')
        if self.world == 1:
            raise RecipeError("Launch starts several processes, and this is one.", "Leave launch out, or use wb.Launch(processes=2).")

    @property
    def world(self) -> int:
        """Processes in all."""
        return self.processes * self.machines

    @property
    def sharded(self) -> bool:
        """Whether a process has but a part of the weights."""
        return self.strategy in ("fsdp", "zero3")

    def to_json(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}


def from_json(body: Any) -> Launch | None:
    """What `to_json` wrote. Raises `RecipeError` for anything else."""
    if body is None or isinstance(body, Launch):
        return body
    if not isinstance(body, dict) or not set(body) <= {f.name for f in dataclasses.fields(Launch)}:
        raise RecipeError(f"launch is {body!r}, not a launch.", 'Use launch=wb.Launch(processes=2, strategy="ddp"), or leave it out.')
    return Launch(**body)


def check(recipe: Any) -> None:
    """Raises `RecipeError` where a recipe's parts and its launch cannot go together."""
    launch = recipe.launch
    if launch is None:
        return

    def need(good: bool, what: str, remedy: str) -> None:
        if not good:
            raise RecipeError(what, remedy)

    strategy, method, settings = launch.strategy, recipe.method, recipe.settings
    policy = settings is not None and settings.policy
    need(not policy or strategy == "ddp", f"{recipe.objective} draws replies with the whole model, and {strategy} cuts it up.",
         'Use strategy="ddp".')
    reason = WHOLE_BATCH.get(recipe.objective) or WHOLE_BATCH.get(getattr(settings, "loss", ""))
    need(reason is None, f"{recipe.objective} {reason}, and each process has but a part of it.", "Leave launch out, or use DPO with its default loss.")
    need(not isinstance(method, methods.FrozenBackbone), "FrozenBackbone trains a small head on embeddings computed once: one process does that.",
         "Leave launch out.")
    if strategy != "ddp":
        plain = type(method) is methods.Full or (type(method) is methods.LoRA and method.variant in ("lora", "rslora")
                                                 and "init_lora_weights" not in method.options)
        need(plain, f"{strategy} cuts up what the method {method.name} keeps whole (rounded weights, or weights saved its own way).",
             'Use wb.LoRA or wb.Full, or strategy="ddp".')
        need(recipe.optimizer in SHARDED_OPTIMIZERS, f"The optimizer {recipe.optimizer} needs whole weights, and {strategy} cuts its state up.",
             'Use optimizer="adamw_torch", or strategy="ddp".')
    need(not (launch.sharded and recipe.packing), f"Packed rows go the quick way through a whole model, and {strategy} cuts it up.",
         'Use packing=False, or strategy="ddp".')
    need(not recipe.compile, "A compiled model and several processes have not been put together here.", "Use compile=False, or leave launch out.")
    ours = sorted(set(recipe.training_arguments) & OURS)
    need(not ours, f"training_arguments sets {', '.join(ours)}, which launch decides.", "Leave it out, or leave launch out.")


def ready(launch: Launch | None) -> None:
    """Raises `RecipeError` where this machine lacks what the launch needs."""
    if launch is not None and launch.strategy in DEEPSPEED and importlib.util.find_spec("deepspeed") is None:
        raise RecipeError(f"The strategy {launch.strategy} is DeepSpeed's, and that package is not installed.",
                          'Install it: DS_BUILD_OPS=0 pip install deepspeed. Or use strategy="fsdp".')


def one_machine(launch: Launch | None, remedy: str) -> None:
    """Raises `RecipeError` where the launch is for several machines, of which this one cannot start the others."""
    if launch is not None and launch.machines > 1:
        raise RecipeError(f"This run is for {launch.machines} machines, and this one cannot start the others.", remedy)


def world_of(recipe: Any) -> int:
    """Processes that a recipe trains in."""
    return recipe.launch.world if recipe.launch else 1


def rows_a_pass(recipe: Any) -> int:
    """Rows that all processes read together in one forward pass."""
    return recipe.batch_size * world_of(recipe)


def rows_a_step(recipe: Any) -> int:
    """Rows that all processes read together in one optimizer step."""
    return rows_a_pass(recipe) * recipe.gradient_accumulation
