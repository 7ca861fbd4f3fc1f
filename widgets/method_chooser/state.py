"""What is set by hand in the method chooser: the model, the ways of training, and the settings of a step; and what these mean to the
engine.

Plain values. Methods stand as the JSON they have in recipes.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from workbench.models import memory
from workbench.models.adaptation import METHODS, Method, from_json

PRECISIONS = {
    "fp32": ("fp32", "transformers"),
    "bf16 autocast": ("bf16", "transformers"),
    "bf16 DeepSpeed": ("bf16", "zero"),
    "bf16 alone": ("pure bf16", "zero"),
}
"""Words of the control → precision and convention: 16, 18, 16 and 8 bytes a parameter with Adam."""
TASKS = {"next tokens": "language model", "labels": "classifier"}
"""Words of the control → what the model is trained as."""
TABLES = ("components", "GPUs", "cloud instances")
OPTIMIZERS = ("adamw", "adamw_8bit", "sgd", "lion", "adafactor")


def usual() -> list[dict[str, Any]]:
    """The ways of training that are put side by side unless others are given."""
    from workbench.models import frozen, methods  # noqa: F401 - so that every method is known by its name

    chosen = [
        {"name": "full"},
        {"name": "frozen-backbone"},
        {"name": "bitfit"},
        {"name": "adapters", "size": 64},
        {"name": "prompt", "tokens": 8},
        {"name": "lora", "rank": 8},
        {"name": "qlora", "rank": 8},
    ]
    return [each for each in chosen if each["name"] in METHODS]


@dataclass
class State:
    """Everything set by hand. A config or model that was given as such is not kept: it must be given again."""

    model: str = "town"
    """A name, folder or hub id; "" where a config was given."""
    task: str = "language model"
    methods: list = field(default_factory=usual)
    picked: int = -1
    """Which method is looked into; -1 is LoRA, or the first."""
    sequence_length: int = 512
    batch_size: int = 8
    precision: str = "bf16 autocast"
    optimizer: str = "adamw"
    checkpointing: bool = False
    zero_stage: int = 0
    devices: int = 1
    gpu: str = "RTX 4090"
    table: str = TABLES[0]
    """Which table stands below the figure."""

    @property
    def settings(self) -> memory.Settings:
        precision, convention = PRECISIONS[self.precision]
        return memory.Settings(
            sequence_length=self.sequence_length,
            batch_size=self.batch_size,
            precision=precision,
            convention=convention,
            optimizer=self.optimizer,
            checkpointing=self.checkpointing,
            zero_stage=self.zero_stage,
            devices=self.devices,
        )


def method_of(body: dict[str, Any]) -> Method:
    """The method of its JSON. Raises `RecipeError`."""
    from workbench.models import frozen, methods  # noqa: F401 - so that every method is known by its name

    return from_json(body)


def label(method: Method) -> str:
    """A method as a row is called: `LoRA r 8`."""
    name = type(method).__name__
    match name:
        case "QLoRA":
            return f"QLoRA r {method.rank}" + (", 8 bits" if method.bits == 8 else "")
        case "LoRA":
            variant = {"lora": "LoRA", "rslora": "rsLoRA", "dora": "DoRA", "pissa": "PiSSA"}.get(getattr(method, "variant", "lora"), "LoRA")
            return f"{variant} r {method.rank}"
        case "Adapters":
            return f"Adapters {method.size}"
        case "PromptTuning":
            return f"Prompt of {method.tokens}"
        case "FrozenBackbone":
            return "Frozen + head"
        case "Peft":
            return str(method.config.get("peft_type", "peft"))
    return name


def written(method: Method) -> str:
    """A method as Python: `wb.LoRA(rank=8)`, with the fields that are not as they would be anyway."""
    changed = []
    for each in dataclasses.fields(method):
        value = getattr(method, each.name)
        default = (
            each.default
            if each.default is not dataclasses.MISSING
            else each.default_factory()
            if each.default_factory is not dataclasses.MISSING
            else None
        )
        if value != default or each.name == "rank":
            changed.append(f"{each.name}={value!r}")
    return f"wb.{type(method).__name__}({', '.join(changed)})"
