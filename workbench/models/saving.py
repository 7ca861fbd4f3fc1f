"""What `save_pretrained` of an adapted model writes, where transformers' or peft's own files would not open to the same logits.

A model that a method gave its own way of saving carries two functions: `save_pretrained(folder)`, which the trainer calls as well, and
`restore(folder)`, which puts what was saved back into a model adapted the same way. All others are saved and restored by transformers and
peft. Not here: whole models (`merging.py`).
"""

import contextlib
import copy
import json
import os
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError
from workbench.models.adaptation import Method
from workbench.models.folders import ADDED_WEIGHTS, METHOD_FILE, PEFT_FILE, on_hub
from workbench.models.quiet import quiet_peft


def give(model: Any, save: Callable[..., None], restore: Callable[..., None] | None = None) -> None:
    """From now on `model.save_pretrained(folder, **options)` is `save(model, folder, **options)`, and `model.restore(folder)` is
    `restore(model, folder)`."""
    # bound methods, so that a deep copy of the model saves itself and not the first one
    model.save_pretrained = types.MethodType(save, model)
    if restore is not None:
        model.restore = types.MethodType(restore, model)


def restore(model: Any, folder: str | Path) -> bool:
    """Put back what `folder` holds, if the model has a way of its own to do so; False where transformers or peft know how."""
    own = getattr(model, "restore", None)
    if own is None:
        return False
    own(folder)
    return True


def note_method(folder: str | Path, method: Method, base: str) -> None:
    """Write which method made what is in `folder`, and on what."""
    body = {"method": method.to_json(), "base_model_name_or_path": base}
    (Path(folder) / METHOD_FILE).write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")


def saved_by_peft(model: Any, method: Method | None = None, mutated: bool = False) -> Any:
    """A peft model whose folder opens to its logits: with the config of a classifier (peft keeps its head but not its labels), with
    `method` where the base must be loaded its way, and, where the start `mutated` the base, as a LoRA of the base as it was."""
    classifies = type(model.get_base_model()).__name__.endswith("ForSequenceClassification")
    start = {name: tensor.detach().clone() for name, tensor in _factors(model).items()} if mutated else {}
    afar = on_hub(model.get_base_model().name_or_path)
    if not classifies and method is None and not start and not afar:
        return model

    def save(model: Any, folder: str | Path, **options: Any) -> None:
        with _offline() if afar else contextlib.nullcontext():
            type(model).save_pretrained(model, folder, **options)
        if start:
            _to_plain_lora(Path(folder), start)
        if classifies:
            save_labels(model.get_base_model(), folder)
        if method is not None:
            note_method(folder, method, model.get_base_model().name_or_path)

    give(model, save, (lambda model, folder: _restore_mutated(model, folder, start)) if start else None)
    return model


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """peft asks the hub at every checkpoint whether the base's vocabulary has grown, which none of our methods makes it: a run would hang
    on a network that it needs no more."""
    before = os.environ.get("HF_HUB_OFFLINE")
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Could not find a config file in")
            yield
    finally:
        os.environ.pop("HF_HUB_OFFLINE")
        if before is not None:
            os.environ["HF_HUB_OFFLINE"] = before


def save_labels(model: Any, folder: str | Path) -> None:
    """The config of a classifier, which names its labels, beside what was added to it."""
    config = copy.deepcopy(model.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config  # it would say that the files hold rounded weights; the method says how the base is read
    config.save_pretrained(folder)


def save_trained(model: Any, folder: str | Path, method: Method) -> None:
    """Only what is trained, and the method that puts it into its base."""
    import safetensors.torch

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    tensors = {name: parameter.detach().to("cpu", copy=True).contiguous() for name, parameter in trained.items()}
    safetensors.torch.save_file(tensors, folder / ADDED_WEIGHTS, metadata={"format": "pt"})
    note_method(folder, method, model.name_or_path)
    if type(model).__name__.endswith("ForSequenceClassification"):
        save_labels(model, folder)


def restore_trained(model: Any, folder: str | Path) -> None:
    """What `save_trained` wrote. Raises `WorkbenchError` where it is not all that this model trains."""
    import safetensors.torch
    import torch

    tensors = safetensors.torch.load_file(Path(folder) / ADDED_WEIGHTS)
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    if tensors.keys() != trained.keys() or any(tensors[name].shape != trained[name].shape for name in tensors):
        odd = sorted(tensors.keys() ^ trained.keys()) or [name for name in tensors if tensors[name].shape != trained[name].shape]
        raise WorkbenchError(f"The folder {folder} was saved from another model: {odd[0]} does not fit this one.",
                             "Load it on the base it was trained on.")
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(tensors[name])


def _to_plain_lora(folder: Path, start: dict[str, Any]) -> None:
    """Write a LoRA whose start changed the base (PiSSA) again as one that fits the base as it was.

    With W = R + s B₀A₀ at the start and R + s BA after training, the update of W is s (BA - B₀A₀) = s [B, -B₀] [A; A₀]: a LoRA of twice the
    rank (peft's documentation of PiSSA, "convert to LoRA"). Restoring takes the first halves.
    """
    import safetensors.torch
    import torch

    tensors = safetensors.torch.load_file(folder / ADDED_WEIGHTS)
    for name, first in start.items():
        first = first.to("cpu", tensors[name].dtype)
        tensors[name] = torch.cat([tensors[name], first], 0) if ".lora_A." in name else torch.cat([tensors[name], -first], 1)
    safetensors.torch.save_file(tensors, folder / ADDED_WEIGHTS, metadata={"format": "pt"})
    config = json.loads((folder / PEFT_FILE).read_text(encoding="utf-8"))
    scale = 2**0.5 if config["use_rslora"] else 2  # so that alpha / rank, or alpha / √rank, stays
    config |= {"init_lora_weights": True, "r": 2 * config["r"], "lora_alpha": scale * config["lora_alpha"],
               "rank_pattern": {name: 2 * rank for name, rank in config["rank_pattern"].items()},
               "alpha_pattern": {name: scale * alpha for name, alpha in config["alpha_pattern"].items()}}
    (folder / PEFT_FILE).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _restore_mutated(model: Any, folder: str | Path, start: dict[str, Any]) -> None:
    import safetensors.torch

    tensors = safetensors.torch.load_file(Path(folder) / ADDED_WEIGHTS)
    for name, first in start.items():
        tensors[name] = tensors[name][:first.shape[0]] if ".lora_A." in name else tensors[name][:, :first.shape[1]]
    with quiet_peft() as peft:
        peft.set_peft_model_state_dict(model, tensors)


def _factors(model: Any) -> dict[str, Any]:
    """A and B of each matrix by the name that peft saves them under."""
    factors = {name: parameter for name, parameter in model.named_parameters() if ".lora_A." in name or ".lora_B." in name}
    return {name.replace(".default.weight", ".weight"): parameter for name, parameter in factors.items()}
