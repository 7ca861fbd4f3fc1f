"""The memory that one training step really takes: measured in a process of its own, on random weights, so that nothing is loaded and
nothing here grows.

On a GPU the peak is what CUDA's allocator says; on a CPU it is the highest point of torch's profiler's timeline of allocations. Not here:
the plan it is held against (`memory.py`).
"""

import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from typing import Any

import psutil

from workbench.errors import WorkbenchError
from workbench.models import adaptation, memory
from workbench.models.adaptation import Method

POLL_S = 0.05
MEASURED = {"fp32": "fp32", "bf16": "autocast", "pure bf16": "pure bf16"}
"""Precisions that can be measured on any device, and how they are trained."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Bytes: `peak` the most at one moment of a step, `held` what stays between steps (weights, optimizer, buffers). `device` is where."""

    peak: int
    held: int
    device: str


class Stopped(Exception):
    """The measurement was given up."""


def measure_step(config: Any, method: Method | None, settings: memory.Settings, stop: threading.Event | None = None) -> Measured:
    """Trains two steps of a model of this transformers config with random weights, and measures the second. Raises `WorkbenchError` where
    that cannot be done here, `Stopped` when `stop` is set before the end."""
    check(config, method, settings)
    asked = {
        "config": config.to_dict() | {"model_type": config.model_type},
        "method": method.to_json() if method else None,
        "batch_size": settings.batch_size,
        "sequence_length": settings.sequence_length,
        "precision": MEASURED[settings.precision],
        "checkpointing": settings.checkpointing,
        "attention": settings.attention,
    }
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as log:
        process = subprocess.Popen([sys.executable, "-m", "workbench.models.measuring"], stdin=subprocess.PIPE, stdout=out, stderr=log)
        process.stdin.write(json.dumps(asked).encode())
        process.stdin.close()
        while True:
            try:
                process.wait(POLL_S)
                break
            except subprocess.TimeoutExpired:
                if stop is not None and stop.is_set():
                    process.kill()
                    process.wait()
                    raise Stopped from None
        out.seek(0)
        log.seek(0)
        lines = out.read().decode().strip().splitlines()
        if process.returncode:
            last = (log.read().decode(errors="replace").strip().splitlines() or ["it was killed"])[-1]
            raise WorkbenchError(f"The step could not be measured: {last.rstrip('.')}.", "Try a smaller batch or a shorter sequence.")
    return Measured(**json.loads(lines[-1]))


def check(config: Any, method: Method | None, settings: memory.Settings) -> None:
    """Raises `WorkbenchError` where a step of these settings cannot be measured on this machine."""
    if settings.devices > 1 or settings.zero_stage:
        raise WorkbenchError("One process measures one device.", "Set devices to 1 and the ZeRO stage to 0.")
    if settings.precision not in MEASURED or settings.precision == "bf16" and settings.convention == "zero":
        raise WorkbenchError(
            "Numbers kept as DeepSpeed keeps them cannot be measured in one process.",
            'Choose fp32, or bf16 under autocast (convention="transformers").',
        )
    if settings.optimizer != "adamw" or settings.gradient_accumulation != 1:
        raise WorkbenchError("A step is measured with AdamW and no accumulation.", 'Set optimizer="adamw" and gradient_accumulation=1.')
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        needed, free = memory.plan(memory.architecture_of(config, method), settings).total, psutil.virtual_memory().available
        if needed > 0.7 * free:
            raise WorkbenchError(
                f"This step is planned to take {memory.words(needed)}, and this machine has {memory.words(free)} free.",
                "Make the batch or the sequence smaller, or choose a smaller model.",
            )


# ---- in the process of its own


def bytes_held(model: Any, optimizer: Any = None) -> dict[str, int]:
    """Bytes of the tensors that are there between two steps, by what they are; those that share their memory are counted once."""
    import torch

    def of(tensors: Any) -> int:
        return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())

    states = [value for state in (optimizer.state.values() if optimizer else ()) for value in state.values() if torch.is_tensor(value)]
    scales = [t for p in model.parameters() if (state := getattr(p, "quant_state", None)) is not None for t in _tensors(state)]
    return {"weights": of([*model.parameters(), *scales]), "optimizer": of(states), "buffers": of(model.buffers())}


def _tensors(state: Any) -> list[Any]:
    """Of a bitsandbytes quantization state: the scales, quantized again or not, and the code book."""
    import torch

    nested = _tensors(state.state2) if getattr(state, "state2", None) is not None else []
    return [value for value in (state.absmax, getattr(state, "offset", None), state.code) if torch.is_tensor(value)] + nested


def peak_of_step(model: Any, batch: int, length: int, checkpointing: bool = False, autocast: bool = False) -> dict[str, int]:
    """{"peak", "held"} of the second training step of `model`, which is the Trainer's: forward, loss, backward, AdamW, gradients
    dropped."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else the profiler says on the terminal when it starts and stops
    import torch

    torch.manual_seed(0)
    device = next(model.parameters()).device.type
    model.train()
    if checkpointing:
        model.gradient_checkpointing_enable(dict(use_reentrant=False))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    ids = torch.randint(0, model.config.vocab_size, (batch, length), device=device)
    if model.config.pad_token_id is None:
        model.config.pad_token_id = 0  # a classifier asks for one
    labels = ids[:, 0] % model.config.num_labels if type(model).__name__.endswith("ForSequenceClassification") else ids

    def loss_of() -> torch.Tensor:  # a function of its own, so that the logits are gone before the backward pass
        with torch.autocast(device, torch.bfloat16, enabled=autocast):
            return model(input_ids=ids, labels=labels, use_cache=False).loss

    def step() -> None:
        loss_of().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    step()
    held = sum(bytes_held(model, optimizer).values())
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        step()
        return {"peak": torch.cuda.max_memory_allocated(), "held": held}
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        step()
    return {"peak": held + highest(profile), "held": held}


def highest(profile: Any) -> int:
    """The most bytes that were there at once, above what was there before, in the profiler's timeline of allocations on the CPU."""
    import torch

    events = [
        event
        for event in profile.profiler.kineto_results.events()
        if event.name() == "[memory]" and event.device_type() == torch.profiler.DeviceType.CPU
    ]
    now = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most


def adapted(config: Any, method: Method | None, attention: str = "sdpa", dtype: Any = None) -> Any:
    """A model of `config` with random weights, as `method` trains it."""
    import torch
    import transformers

    from workbench.models import counting

    torch.manual_seed(0)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # names an optional package on a CPU
    transformers.utils.logging.disable_progress_bar()
    config._attn_implementation = {"flash": "flash_attention_2"}.get(attention, attention)
    kind = type(counting.skeleton(config))
    model = kind(config).to(dtype or torch.float32)
    if method is None:
        return model
    if not method.load_kwargs():
        return method.apply(model)
    with tempfile.TemporaryDirectory() as folder:  # bitsandbytes rounds weights as they are read
        model.save_pretrained(folder)
        return method.apply(kind.from_pretrained(folder, dtype=dtype or torch.float32, **method.load_kwargs()))


def main() -> None:
    import torch
    import transformers

    from workbench.models import methods  # noqa: F401 - every method by its name

    asked = json.load(sys.stdin)
    config = transformers.AutoConfig.for_model(**asked["config"])
    method = adaptation.from_json(asked["method"]) if asked["method"] else None
    model = adapted(config, method, asked["attention"], torch.bfloat16 if asked["precision"] == "pure bf16" else None)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    found = peak_of_step(
        model.to(device), asked["batch_size"], asked["sequence_length"], asked["checkpointing"], asked["precision"] == "autocast"
    )
    print(json.dumps(found | {"device": torch.cuda.get_device_name() if device == "cuda" else "CPU"}))


if __name__ == "__main__":
    main()
