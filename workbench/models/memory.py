"""How much memory a training step takes on each device, by component, reckoned from the architecture before anything is loaded.

    plan = wb.plan_memory("town", wb.LoRA(rank=8), sequence_length=512, batch_size=8, precision="bf16")
    plan["weights"], plan["gradients"], plan["optimizer"], plan["activations"], plan["buffers"], plan.total

Weights, gradients and optimizer are bytes a parameter as the ZeRO paper counts them (Rajbhandari et al. 2020, section 3 and figure 1),
trained and frozen ones apart; activations are reckoned in `activations.py`. Not here: what a GPU has (`devices.py`), and what to change
where a plan does not fit (`fitting.py`).
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.errors import RecipeError
from workbench.models import activations
from workbench.models.adaptation import Method
from workbench.models.anatomy import read
from workbench.models.architecture import Architecture

COMPONENTS = ("weights", "gradients", "optimizer", "activations", "buffers")
PRECISIONS = {
    "fp32": "fp32",
    "float32": "fp32",
    "bf16": "bf16",
    "bfloat16": "bf16",
    "mixed": "bf16",
    "auto": "bf16",
    "fp16": "fp16",
    "float16": "fp16",
    "half": "fp16",
    "pure bf16": "pure bf16",
    "pure_bf16": "pure bf16",
    "int8": "int8",
    "int4": "int4",
}
CONVENTIONS = {
    "zero": "zero",
    "deepspeed": "zero",
    "16": "zero",
    "transformers": "transformers",
    "hf": "transformers",
    "18": "transformers",
}
"""How mixed precision is kept. "zero": 16-bit weights and gradients, and a fp32 copy with the optimizer (2 + 2 + 12 bytes a parameter with
Adam). "transformers": fp32 weights and gradients and a 16-bit copy of the weights (6 + 4 + 8), which is what autocast, the Trainer and so a
run of the workbench does."""
WIDTHS = {"fp32": 4.0, "bf16": 2.0, "fp16": 2.0, "pure bf16": 2.0, "int8": 1.0, "int4": 0.5}
"""Bytes of a weight that is only read."""
OPTIMIZERS = {
    "adamw": 8.0,
    "adamw_8bit": 2 + 8 / 256,
    "sgd": 0.0,
    "sgd_momentum": 4.0,
    "lion": 4.0,
    "lion_8bit": 1 + 4 / 256,
    "adafactor": 0.0,
    "rmsprop": 4.0,
    "adagrad": 4.0,
}
"""Bytes of state a trained parameter: fp32 moments, or 8-bit ones with a fp32 scale for each 256 (Dettmers et al. 2022). Adafactor's rows
and columns are next to nothing."""
GIB = 2**30
KEPT = 64
"""Architectures that are remembered, by config and method."""
_known: dict[tuple[str, str, str], Architecture] = {}
BUCKET = 25 * 2**20
"""Bytes that DDP and FSDP send at once."""


class Plan(dict):
    """Bytes on each device by component; each is the most there is of it in a step. `total` is the most there is of all of them at one
    moment.

    `plan.total` can be less than the sum: gradients are made while activations go. `plan.moments` has the bytes of each component at each
    moment of a step.
    """

    def __init__(self, moments: dict[str, dict[str, float]], architecture: Architecture, settings: "Settings", notes: tuple[str, ...] = ()):
        self.moments = {name: {component: round(value.get(component, 0)) for component in COMPONENTS} for name, value in moments.items()}
        super().__init__({component: max(moment[component] for moment in self.moments.values()) for component in COMPONENTS})
        self.architecture, self.settings, self.notes = architecture, settings, notes

    @property
    def worst(self) -> str:
        """The moment at which most is needed."""
        return max(self.moments, key=lambda name: sum(self.moments[name].values()))

    @property
    def total(self) -> int:
        return sum(self.moments[self.worst].values())

    @property
    def overlap(self) -> int:
        """Bytes that two components use one after the other: the sum of all of them less `total`."""
        return sum(self.values()) - self.total

    @property
    def trained_weights(self) -> int:
        """Bytes of the weights that are trained, of those in "weights"."""
        if not self.settings.training:
            return 0
        return round(
            self.architecture.trained
            * state_bytes(self.settings)["weights"]
            / (self.settings.devices if self.settings.zero_stage >= 3 else 1)
        )

    @property
    def trainable(self) -> int:
        """Parameters that are trained, on all devices together."""
        return self.architecture.trained

    @property
    def frozen(self) -> int:
        return self.architecture.parameters - self.architecture.trained

    def __repr__(self) -> str:
        parts = ", ".join(f"{name} {words(value)}" for name, value in self.items())
        return f"Plan({words(self.total)}: {parts})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a plan is reckoned for, beside the model and the method."""

    sequence_length: int = 512
    batch_size: int = 8
    """Rows a forward pass and device."""
    precision: str = "bf16"
    zero_stage: int = 0
    """0 keeps everything on every device; 1 shares out the optimizer, 2 the gradients too, 3 (and FSDP) the weights too."""
    devices: int = 1
    optimizer: str = "adamw"
    checkpointing: bool = False
    attention: str = "sdpa"
    convention: str = "zero"
    gradient_accumulation: int = 1
    training: bool = True
    foreach: bool = False
    """Whether the optimizer works on all tensors at once, as "adamw_torch" does on a GPU; "adamw_torch_fused" does not."""

    @property
    def numbers(self) -> activations.Numbers:
        if self.precision == "fp32":
            return activations.FP32
        if self.precision == "pure bf16":
            return activations.HALF_PEFT
        return activations.HALF if self.convention == "zero" else activations.AUTOCAST


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
) -> Plan:
    """The memory of one training step on each of `devices`, as a `Plan`: bytes by component.

    `model_or_config` is what `count_parameters` takes, a number of parameters (then nothing is known of activations), or an `Architecture`.
    `method` None trains what is marked to be trained. `precision` is fp32, bf16 or fp16 (mixed, kept as `convention` says) or "pure bf16";
    `zero_stage` 0 to 3, or "fsdp"; `optimizer` adamw, adamw_8bit, sgd, ... or a name of transformers'; `attention` sdpa, flash or eager;
    `training` False plans for reading alone, with the keys and values of `batch_size` x `sequence_length` tokens kept, and takes the
    precisions int8 and int4 too. Raises `RecipeError`.
    """
    settings = settings_of(
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
    return plan(architecture_of(model_or_config, method), settings)


def architecture_of(model_or_config: Any, method: Method | None = None) -> Architecture:
    """What a plan needs to know of the model as the method trains it; a second or two for a large one, so keep it where many plans are made
    of it."""
    from workbench.models import counting, folders

    if isinstance(model_or_config, Architecture):
        return model_or_config
    if isinstance(model_or_config, (int, float)) and not isinstance(model_or_config, bool):
        if method is not None and method.name != "full":
            raise RecipeError(
                f"What {method.name} trains hangs on the model's matrices, not on {model_or_config:,.0f} parameters alone.",
                "Give a config or a name.",
            )
        return _of_count(round(model_or_config))
    bits = getattr(method, "bits", 0) if method is not None and method.name == "qlora" else 0
    double = getattr(method, "double", True)
    if hasattr(model_or_config, "named_parameters"):
        return read(model_or_config if method is None else counting.outline(model_or_config.config, method), bits, double)
    config = folders.config_of(model_or_config) if isinstance(model_or_config, (str, Path)) else model_or_config
    key = type(config).__name__, json.dumps(config.to_dict(), default=str), repr(method)
    if key not in _known:
        while len(_known) >= KEPT:
            _known.pop(next(iter(_known)))
        _known[key] = read(counting.skeleton(config) if method is None else counting.outline(config, method), bits, double)
    return _known[key]


def settings_of(**given: Any) -> Settings:
    """`Settings` with every value checked and given its one name. Raises `RecipeError`."""
    for name, least in (("sequence_length", 0), ("batch_size", 0), ("devices", 1), ("gradient_accumulation", 1)):
        value = given.get(name, 1)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise RecipeError(f"{name} is {value!r}; it must be a whole number of at least {least}.", f"Use {name}={max(1, least)}.")
    chosen: dict[str, Any] = {
        "precision": PRECISIONS,
        "convention": CONVENTIONS,
        "attention": {name: name for name in activations.ATTENTION} | {"flash_attention_2": "flash"},
        "zero_stage": {"0": 0, "1": 1, "2": 2, "3": 3, "fsdp": 3, "full_shard": 3, "shard_grad_op": 2},
    }
    for name, known in chosen.items():
        value = str(given[name]).lower()
        if value not in known:
            raise RecipeError(f"{name} is {given[name]!r}, which is none of {', '.join(known)}.", f"Use {name}={next(iter(known))!r}.")
        given[name] = known[value]
    given["optimizer"] = optimizer_of(given["optimizer"])
    if given["training"] and given["precision"] in ("int8", "int4"):
        raise RecipeError(
            f"Nothing can be trained in {given['precision']} numbers.",
            'Use method=wb.QLoRA(bits=4 or 8) with precision="bf16", or training=False.',
        )
    return Settings(**given)


def optimizer_of(name: str) -> str:
    """Which of OPTIMIZERS an optimizer's name in transformers stands for. Raises `RecipeError` for one whose state is not known."""
    plain = str(name).lower().removeprefix("paged_").removeprefix("galore_")
    if plain in OPTIMIZERS:
        return plain
    kind = next((kind for kind in ("adamw", "adam", "lion", "adafactor", "rmsprop", "adagrad", "sgd") if plain.startswith(kind)), None)
    if kind is None:
        raise RecipeError(f"How much the optimizer {name!r} keeps is not known here.", f"Use one of {', '.join(OPTIMIZERS)}.")
    kind = {"adam": "adamw"}.get(kind, kind)
    return f"{kind}_8bit" if "8bit" in plain and f"{kind}_8bit" in OPTIMIZERS else kind


def plan(of: Architecture, settings: Settings) -> Plan:
    """The plan of an architecture: plain arithmetic, well under a millisecond."""
    notes = list(of.notes)
    if of.positions and settings.sequence_length > of.positions:
        notes.append(f"The model has positions for {of.positions} tokens only.")
    moments = _training(of, settings) if settings.training else _reading(of, settings)
    return Plan(moments, of, settings, tuple(notes))


# ---- training


def state_bytes(settings: Settings) -> dict[str, float]:
    """Bytes a trained parameter, before anything is shared out: {"weights", "gradients", "optimizer"}."""
    moments = OPTIMIZERS[settings.optimizer]
    if settings.precision == "fp32":
        return {"weights": 4.0, "gradients": 4.0, "optimizer": moments}
    if settings.precision == "pure bf16":
        return {"weights": 2.0, "gradients": 2.0, "optimizer": moments / 2 if "8bit" not in settings.optimizer else moments}
    if settings.convention == "zero":
        return {"weights": 2.0, "gradients": 2.0, "optimizer": 4.0 + moments}
    return {"weights": 6.0, "gradients": 4.0, "optimizer": moments}


def frozen_bytes(of: Architecture, settings: Settings) -> float:
    """Bytes of everything that is not trained, before it is shared out."""
    each = state_bytes(settings)["weights"]
    return of.frozen * each + of.quantized * (of.bits / 8 + of.constants)


def _training(of: Architecture, settings: Settings) -> dict[str, dict[str, float]]:
    each, stage, devices = state_bytes(settings), settings.zero_stage, settings.devices
    share = {name: devices if stage >= least else 1 for name, least in (("optimizer", 1), ("gradients", 2), ("weights", 3))}
    # of the bytes of a weight those of the copy that autocast makes are there from the forward pass until its layer's backward pass
    copy = 2.0 if settings.numbers.cast else 0.0
    weights = (of.trained * each["weights"] + frozen_bytes(of, settings) - copy * (of.trained + of.frozen)) / share["weights"]
    optimizer = of.trained * each["optimizer"] / share["optimizer"]
    gradient = each["gradients"] / share["gradients"]
    # DDP's buckets and an accumulated sum stay from step to step; else gradients are made in the backward pass and dropped after the step
    stays = settings.gradient_accumulation > 1 or (devices > 1 and stage < 2)
    always = of.buffers + _sharing(of, settings)
    numbers = settings.numbers
    dequantized = of.largest_quantized * numbers.compute
    moments: dict[str, dict[str, float]] = {}

    def note(moment: activations.Moment, buffers: float) -> None:
        moments[moment.name] = {
            "weights": weights + copy * moment.cast / share["weights"],
            "gradients": (of.trained if stays else moment.made) * gradient,
            "optimizer": optimizer,
            "activations": moment.active,
            "buffers": always + buffers,
        }

    for moment in activations.moments(
        of, numbers, settings.batch_size, settings.sequence_length, settings.attention, settings.checkpointing
    ):
        note(moment, dequantized if moment.name.startswith("layer") else 0)
    # the update is worked out beside the states: of one tensor at a time, or of all of them (torch's "foreach" on a GPU)
    worked = of.trained if settings.foreach else 2 * of.largest_trained
    note(activations.Moment("optimizer step", of.trained, 0, 0), worked * numbers.residual / share["optimizer"])
    return moments


def _sharing(of: Architecture, settings: Settings) -> float:
    """Bytes that several devices need to talk: DDP's copy of a bucket, or with shared-out weights two gathered layers, the one at work and
    the next."""
    if settings.devices == 1 or not of.stacks:
        return 0.0
    if settings.zero_stage < 3:
        return min(BUCKET, of.trained * state_bytes(settings)["gradients"])
    width = of.bits / 8 if of.bits else settings.numbers.compute
    return 2 * of.largest_layer * width


# ---- reading alone


def _reading(of: Architecture, settings: Settings) -> dict[str, dict[str, float]]:
    width = WIDTHS[settings.precision]
    share = settings.devices if settings.zero_stage >= 3 else 1
    weights = ((of.trained + of.frozen) * width + of.quantized * (of.bits / 8 + of.constants)) / share
    number = max(2, width) if of.stacks else 0
    cache = (
        sum(2 * layer.kv_heads * layer.head_dim * count for layer, count in of.stacks)
        * settings.batch_size
        * settings.sequence_length
        * number
    )
    logits = settings.batch_size * of.head.d_out * 4 if of.head is not None and settings.sequence_length else 0
    # accelerate's estimate scales the buffers as it does the weights
    return {"reading": {"weights": weights, "activations": cache + logits, "buffers": of.buffers * width / 4}}


def words(amount: float) -> str:
    """Bytes as a person reads them: 512 B, 1.5 KiB, 413.2 MiB, 31.4 GiB."""
    size = 1.0
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1000 * size or unit == "GiB":
            break
        size *= 1024
    value = amount / size
    return f"{value:.0f} {unit}" if unit == "B" or value >= 99.95 else f"{value:.1f} {unit}"


def _of_count(parameters: int) -> Architecture:
    empty: dict[str, Any] = {field.name: 0 for field in dataclasses.fields(Architecture)}
    return Architecture(
        **empty
        | dict(
            kind="",
            stacks=(),
            trained=parameters,
            constants=0.0,
            embedding_trained=True,
            tied=False,
            head=None,
            every_token=True,
            norm=None,
            input_learns=True,
            positions=None,
            capped=False,
            notes=("Of a number of parameters alone activations are not known, and left out.",),
        )
    )
