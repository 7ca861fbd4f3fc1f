"""The memory of one run: what its plan says before the first step, and when it ran out, which part outgrew the plan and what would have
fitted.

The plan is made of the model as it stands, so it holds for every method. On a CPU what the process had before the model was loaded is told
apart. Not here: the reckoning (`models/memory.py`).
"""

import errno
import resource
import sys
from typing import Any

import psutil

from workbench.errors import WorkbenchError
from workbench.models import fitting, memory
from workbench.models.methods import Full, LoRA, Method, QLoRA

SAID = ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory", "alloc_failed", "bad_alloc")
"""What errors without a type of their own say: CUDA and bitsandbytes, the CPU's allocator, cuBLAS and cuDNN, C++."""
TOLD = 2
"""Ways out that are named when a run ran out of memory."""


def used() -> int:
    """Bytes that this process holds on its device now: resident ones on a CPU."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return torch.cuda.memory_allocated()
    return psutil.Process().memory_info().rss


def most_used() -> int:
    """The most bytes that it ever held."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def out_of_memory(error: BaseException) -> bool:
    """Whether this is how torch, CUDA, cuBLAS, bitsandbytes or the system say that memory ran out."""
    by_kind = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    if by_kind or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in SAID)


class Room:
    """`Room(trainer, method, longest, before)`: of a trainer that is ready to train; `longest` tokens is its longest row, `before` what
    `used()` was before the model."""

    def __init__(self, trainer: Any, method: Method | None, longest: int, before: int):
        args, config = trainer.args, getattr(trainer.model, "config", None)
        self.trainer, self.method, self.before = trainer, method, before
        self.settings = memory.settings_of(
            sequence_length=int(longest),
            batch_size=args.per_device_train_batch_size,
            precision=_precision(trainer),
            zero_stage=0,
            devices=max(1, args.world_size),
            optimizer=_known(args.optim),
            checkpointing=bool(args.gradient_checkpointing),
            attention="flash" if getattr(trainer, "kernel", None) else _attention(config),
            convention="transformers",
            gradient_accumulation=args.gradient_accumulation_steps,
            training=True,
            foreach=args.device.type == "cuda" and _name(args.optim) == "adamw_torch",
        )
        self.plan = memory.plan(memory.architecture_of(trainer.model), self.settings)

    @property
    def planned(self) -> dict[str, int]:
        """For the journal: bytes by component, "total", and "before", what there was before the model; and the "sequence_length" planned
        for."""
        return dict(self.plan) | {"total": self.plan.total, "before": self.before, "sequence_length": self.settings.sequence_length}

    def ran_out(self) -> tuple[str, str]:
        """What outgrew the plan, and the nearest settings that take no more than this run had when it failed."""
        had = max(1, most_used() - self.before)
        measured = fitting.held(self.trainer.model, self.trainer.optimizer, had)
        told = fitting.told(self.plan, measured, None)
        # the plan may be wrong by the same measure for other settings
        scale = max(1.0, had / self.plan.total)
        fits = fitting.nearest([(self.method, self.plan.architecture), *self._others()], self.settings, 0.9 * had / scale)[:TOLD]
        if not fits:
            return told, "Nothing near these settings fits in what it had; use a smaller model or a larger device."
        return told, f"What would fit in the {memory.words(had)} it had: {'; or '.join(_asked(fit) for fit in fits)}. Fork with that."

    def _others(self) -> list[tuple[Method, Any]]:
        kinds = [LoRA(rank=8)] if isinstance(self.method, Full) else []
        kinds += [QLoRA(rank=8)] if kinds or type(self.method) is LoRA else []
        config = getattr(self.trainer.model, "config", None)
        return [] if config is None else [(kind, lambda kind=kind: memory.architecture_of(config, kind)) for kind in kinds]


def of(trainer: Any, method: Method | None, longest: int, before: int) -> Room | None:
    """The room of a trainer; None where its memory cannot be planned, which must not keep a run from training."""
    try:
        return Room(trainer, method, longest, before)
    except WorkbenchError:
        return None


def longest_row(rows: Any, max_length: int) -> int:
    """Tokens of the longest row: of a table as it is, of rows drawn while the run goes at most `max_length`."""
    table = getattr(rows, "data", None)
    if table is None or "input_ids" not in getattr(table, "column_names", ()):
        return max_length
    import pyarrow.compute as pc

    return pc.max(pc.list_value_length(table.column("input_ids"))).as_py() or max_length


def _asked(fit: fitting.Fit) -> str:
    """A fit as the fields of a recipe."""
    names = {"sequence_length": "max_length", "zero_stage": "a ZeRO stage of"}
    parts = []
    for name, (_, new) in fit.changes.items():
        if name == "checkpointing":
            parts.append('training_arguments={"gradient_checkpointing": True}')
        elif name == "optimizer":
            parts.append('optimizer="adamw_bnb_8bit"')
        elif name == "method":
            parts.append(f"method=wb.{type(fit.method).__name__}(rank=8)")
        else:
            parts.append(f"{names.get(name, name)}={new}")
    return ", ".join(parts) or "the same once more"


def _precision(trainer: Any) -> str:
    """As the plan calls it: "pure bf16" where frozen weights are kept in 16 bits."""
    frozen = [weight for weight in trainer.model.parameters() if not weight.requires_grad and weight.is_floating_point()]
    if trainer.args.bf16 and frozen and all(weight.element_size() == 2 for weight in frozen):
        return "pure bf16"
    return "bf16" if trainer.args.bf16 else "fp16" if trainer.args.fp16 else "fp32"


def _known(optimizer: Any) -> str:
    try:
        return memory.optimizer_of(_name(optimizer))
    except WorkbenchError:
        return "adamw"


def _name(optimizer: Any) -> str:
    return str(getattr(optimizer, "value", optimizer))


def _attention(config: Any) -> str:
    kind = str(getattr(config, "_attn_implementation", "") or "sdpa")
    return "eager" if kind == "eager" else "flash" if "flash" in kind else "sdpa"
