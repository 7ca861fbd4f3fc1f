"""What a recipe may not pass through to transformers and peft, since a recipe may be another person's: whatever names a file or a place
outside the run, uploads, or has a library import something by name; and what the recipe spells itself.

Both libraries check the values of what is left when a run starts. Not here: the recipe's own fields (`recipes.py`), weights (safetensors
alone).
"""

import keyword
from collections.abc import Mapping
from typing import Any

from workbench.errors import RecipeError

OWN_FIELDS = frozenset(
    {
        "output_dir",
        "max_steps",
        "num_train_epochs",
        "per_device_train_batch_size",
        "gradient_accumulation_steps",
        "learning_rate",
        "lr_scheduler_type",
        "warmup_steps",
        "warmup_ratio",
        "optim",
        "weight_decay",
        "max_grad_norm",
        "seed",
        "eval_strategy",
        "eval_steps",
        "save_strategy",
        "save_steps",
        "save_total_limit",
        "logging_steps",
        "logging_strategy",
        "report_to",
        "torch_compile",
        "bf16",
        "fp16",
        "remove_unused_columns",
        "load_best_model_at_end",
        "metric_for_best_model",
        "disable_tqdm",
        "push_to_hub",
        "hub_token",
        "hub_model_id",
        "hub_strategy",
        "hub_private_repo",
        "hub_always_push",
        "hub_revision",
        "adam_beta1",
        "adam_beta2",
        "adam_epsilon",
    }
)
"""Training arguments that recipes spell themselves, or that the journal relies on."""
OUTSIDE = {
    **dict.fromkeys(
        ("deepspeed", "fsdp", "fsdp_config", "accelerator_config", "parallelism_config", "local_rank", "ddp_backend"),
        "Use launch=wb.Launch(...).",
    ),
    "resume_from_checkpoint": "Use run.resume().",
    **dict.fromkeys(
        ("trackio_space_id", "trackio_bucket_id", "trackio_static_space_id"), "Set it in the environment of whoever starts the run."
    ),
    **dict.fromkeys(("logging_dir", "hub_private_repo"), "The run folder has all of it."),
    "torch_compile_backend": "Use the recipe's own field.",
}
"""Training arguments that read a file, load a checkpoint (a pickle may be among its files), upload, or choose code by name, and what to
use instead."""
PEFT_OUTSIDE = frozenset(
    {
        "megatron_config",
        "megatron_core",
        "auto_mapping",
        "base_model_name_or_path",
        "revision",
        "prompt_tuning_init_state_dict_path",
        "tokenizer_kwargs",
        "adapters",
        "corda_config",
        "lora_ga_config",
        "runtime_config",
    }
)
"""Settings of peft that import a module by name (megatron_core: peft's tuners/lora/tp_layer.py; auto_mapping: peft's auto.py), or name
files."""


ADAPTER_OUTSIDE = ("megatron_config", "prompt_tuning_init_state_dict_path", "tokenizer_kwargs")
"""Settings in an adapter's own file with which peft imports a module by name, or opens another file. Elsewhere in a library's folders
they are null."""


def check_adapter(config: Mapping[str, Any], where: str) -> None:
    """Raises `RecipeError` for an adapter that would have peft reach out of its folder as it is opened."""
    for name in ADAPTER_OUTSIDE:
        if config.get(name):
            raise RecipeError(
                f"The adapter in {where} sets {name}, which names a file or code outside its folder.",
                "Set it to null there, if you trust the weights.",
            )


def check_trainer(arguments: Mapping[str, Any]) -> None:
    """Raises `RecipeError` for the first of `training_arguments` that may not be passed through."""
    for name in arguments:
        if not name.isidentifier() or keyword.iskeyword(name):
            raise RecipeError(
                f"training_arguments has {name!r}, which is no name of an argument.", "Use names of transformers.TrainingArguments."
            )
        if name in OWN_FIELDS:
            raise RecipeError(f"training_arguments sets {name}, which the recipe itself decides.", "Use the recipe's own field.")
        if name in OUTSIDE:
            raise RecipeError(f"training_arguments sets {name}, which reaches out of the run.", OUTSIDE[name])


def check_peft(options: Mapping[str, Any], what: str) -> None:
    """Raises `RecipeError` for the first setting of peft that may not be passed through; `what` has them ("LoRA's options")."""
    for name in options:
        if not isinstance(name, str) or not name.isidentifier():
            raise RecipeError(f"{what} has {name!r}, which is no name of a setting.", "Use the fields of peft's class.")
        if name in PEFT_OUTSIDE:
            raise RecipeError(f"{what} sets {name}, which names a file or code outside the run.", "Leave it out.")
