"""Opening an adapter, wherever it was trained: its low-rank factors by matrix, and the scale of each.

ΔW = scale · B A, with A [r × d_in] and B [d_out × r]. Read are safetensors alone: peft folders and named adapters in one, run folders,
single files, and the layouts of kohya's scripts, diffusers, torchtune, loralib and MLX; any other layout by `names`. Not here: the base
model's weights.
"""

import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.adapters import names as naming
from workbench.errors import RunError, WorkbenchError

if TYPE_CHECKING:
    import torch

WEIGHTS = ("adapter_model.safetensors", "adapters.safetensors", "pytorch_lora_weights.safetensors")
"""What peft, MLX and diffusers call the file in an adapter's folder."""
DEFAULT = "default"
"""peft's name for the adapter that is saved without one."""


@dataclass(slots=True, eq=False)
class Factor:
    """The update of one matrix: scale · b a.

    `a` is [r × d_in] and `b` is [d_out × r], in the file's number format, whatever way round the base stores the matrix; of a convolution
    d_in is channels × kernel. `name` is the base model's own for the matrix, `layer` and `module` its place (see `names.places`).
    """

    name: str
    layer: int
    module: str
    a: "torch.Tensor"
    b: "torch.Tensor"
    scale: float
    magnitude: "torch.Tensor | None" = None
    """DoRA's, as stored."""
    kind: str = "linear"
    """"linear", "embedding" or "convolution"."""
    kernel: tuple[int, ...] = ()
    """Of a convolution, the shape of one of A's filters."""
    bias: "torch.Tensor | None" = None
    """Of B, as stored (peft's `lora_bias`): [d_out], added to the output times `scale`."""

    @property
    def rank(self) -> int:
        return self.a.shape[0]

    @property
    def shape(self) -> tuple[int, int]:
        """d_out, d_in of ΔW."""
        return self.b.shape[0], self.a.shape[1]

    @property
    def parameters(self) -> int:
        return self.a.numel() + self.b.numel()


@dataclass(slots=True, eq=False)
class Adapter:
    """An opened adapter. `base` is the base model it remembers, `config` its adapter_config.json ({} where there is none), `rest` the
    tensors that are no part of a low-rank update (heads saved whole, biases), `notes` sentences a person should know."""

    path: Path
    base: str | None
    factors: list[Factor]
    config: dict[str, Any] = field(default_factory=dict)
    rest: "dict[str, torch.Tensor]" = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def factor(self, layer: int, module: str) -> Factor:
        """The update of one matrix. Raises `WorkbenchError` where the adapter has none there."""
        for found in self.factors:
            if (found.layer, found.module) == (layer, module):
                return found
        known = sorted({f.module for f in self.factors if f.layer == layer}) or sorted({f"layer {f.layer}" for f in self.factors})
        raise WorkbenchError(f"{self.path} has no update of {module} in layer {layer}.", f"It has {', '.join(known[:12])}.")

    @property
    def parameters(self) -> int:
        """Of all factors."""
        return sum(factor.parameters for factor in self.factors)


def open_adapter(source: Any, names: dict[str, str] | None = None, *, adapter: str | None = None, scale: float | None = None) -> Adapter:
    """The adapter in `source`: a peft folder, a run or its folder (its result), or a safetensors file.

    `names` maps a file's tensor names to peft's, as patterns of `re.sub` (peft's own `key_mapping`): {r"net\\.(\\d+)\\.q\\.first":
    r"layers.\\1.q_proj.lora_A"}. `adapter` picks one where several lie in the folder or the file. `scale` is for files that do not keep
    theirs. Raises `WorkbenchError` where there is no low-rank adapter, none called `adapter`, or one of single parameters
    (`target_parameters`), and `RunError` where a run has no result yet.
    """
    if isinstance(source, Adapter):
        return source
    path = result_folder(source)
    folder, file = _files(path, adapter)
    config = _read_config(folder)
    tensors = read_tensors(file)
    picked = not adapter or folder == path / adapter
    kept, rest, inside = _sorted_out(tensors, names or {}, None if picked else adapter, file)
    if not (picked or inside or adapter == DEFAULT):
        raise _no_such(path, adapter, [DEFAULT, *_subfolders(path)])
    place = naming.places(kept)
    factors, unscaled = [], False
    for name, parts in kept.items():
        factor = _factor(name, place[name], parts, file)
        factor.scale, known = _scale(config, name, factor.rank, parts, scale)
        unscaled |= not known
        factors.append(factor)
    factors.sort(key=lambda factor: factor.layer)
    opened = Adapter(file.parent, config.get("base_model_name_or_path") or config.get("model"), factors, config, rest)
    opened.notes += _notes(opened, unscaled)
    return opened


def result_folder(source: Any) -> Path:
    """The path behind `source`: of a run or its folder, its result's. Raises `RunError` while there is none."""
    path = Path(getattr(source, "folder", source)).expanduser()
    if any((path / name).exists() for name in ("recipe.json", "journal.jsonl")):
        if not (path / "result").exists():
            raise RunError(f"{path.name} has no result yet.", "Wait for it, or stop it: stopping keeps a usable result.")
        return path / "result"
    if not path.exists():
        raise WorkbenchError(f"There is no {path}.", "Give the folder of an adapter, a run, or a .safetensors file.")
    return path


def _files(path: Path, adapter: str | None) -> tuple[Path, Path]:
    """(folder of the configuration, file of the weights)"""
    if path.is_file():
        if path.suffix != ".safetensors":
            raise WorkbenchError(f"{path} is no safetensors file{_pickled(path)}.", "Write it again with save_pretrained, which makes safetensors.")
        return path.parent, path
    if adapter and (path / adapter).is_dir():
        path = path / adapter
    for name in WEIGHTS:
        if (path / name).exists():
            return path, path / name
    inside = _subfolders(path)
    if inside and adapter:
        raise _no_such(path, adapter, inside)
    if len(inside) == 1:
        return _files(path / inside[0], None)
    if inside:
        raise WorkbenchError(f"{path} holds several adapters.", f'Name one: adapter="{inside[0]}"; there are {", ".join(inside)}.')
    if (path / "config.json").exists():
        raise WorkbenchError(f"{path} holds a whole model, not an adapter.",
                             "workbench.adapters.difference(tuned, base) has the spectra of what was changed in it.")
    odd = next((found for found in sorted(path.glob("*")) if _pickled(found)), None)
    raise WorkbenchError(f"{path} has no adapter_model.safetensors{f', only {odd.name}' + _pickled(odd) if odd else ''}.",
                         "Open it where you trust it and write it again with save_pretrained, which makes safetensors." if odd
                         else "Give the folder that save_pretrained wrote, or the .safetensors file itself.")


def _subfolders(path: Path) -> list[str]:
    """The named adapters that peft saved into folders of their own."""
    return sorted(found.parent.name for found in path.glob("*/adapter_config.json"))


def _no_such(path: Path, adapter: str, there: list[str]) -> WorkbenchError:
    return WorkbenchError(f"{path} holds no adapter called {adapter!r}.", f"There {'are' if len(there) > 1 else 'is'} {', '.join(there)}.")


def _pickled(path: Path) -> str:
    return ", which could run code when it is opened" if path.suffix in (".bin", ".pt", ".pth", ".ckpt", ".pkl") else ""


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "adapter_config.json"
    if not path.exists():
        return {}
    try:
        config = json.loads(path.read_text())
    except ValueError as error:
        raise WorkbenchError(f"{path} is not JSON: {error}.", "Copy the adapter's folder again.") from error
    kind = config.get("peft_type", "LORA")
    if kind != "LORA":
        raise WorkbenchError(f"{folder} holds an adapter of the kind {kind}, whose update is no product of two factors alone.",
                             "Spectra of factors are there for LoRA; merge it and take workbench.adapters.difference(merged, base).")
    if single := config.get("target_parameters"):
        raise WorkbenchError(f"{folder} holds updates of single parameters ({', '.join(map(str, single))}), a product for each expert and none "
                             "of two factors alone.", "Open an adapter of whole layers (target_modules alone).")
    return config


def read_tensors(file: Path) -> "dict[str, torch.Tensor]":
    """Every tensor of a safetensors file. Raises `WorkbenchError` for a damaged one."""
    import safetensors
    import safetensors.torch

    try:
        return safetensors.torch.load_file(file)
    except (safetensors.SafetensorError, OSError) as error:
        raise WorkbenchError(f"{file} cannot be read: {error}.", "Copy the file again; it may have been cut short.") from error


def _sorted_out(tensors: "dict[str, torch.Tensor]", names: dict[str, str], adapter: str | None,
                file: Path) -> "tuple[dict[str, dict[str, Any]], dict[str, torch.Tensor], set[str]]":
    """(matrix -> its parts, all that is no part of one, the adapter whose name they bear or none)"""
    kept: dict[str, dict[str, Any]] = {}
    rest, named, found = {}, set(), set()
    for key, tensor in tensors.items():
        read = naming.read_key(_renamed(key, names))
        if read is None:
            rest[key] = tensor
            continue
        named |= {read.adapter} if read.adapter else set()
        if not (read.adapter and adapter and read.adapter != adapter):
            found |= {read.adapter} if read.adapter else set()
            kept.setdefault(read.name, {"transposed": read.transposed, "embedding": False})
            kept[read.name][read.part] = tensor
            kept[read.name]["embedding"] |= read.embedding
    if len(found) > 1:
        raise WorkbenchError(f"{file} holds several adapters.", f'Name one: adapter="{min(found)}"; there are {", ".join(sorted(found))}.')
    if adapter and named and not found:
        raise _no_such(file, adapter, sorted(named))
    kept = {name: parts for name, parts in kept.items() if "a" in parts or "b" in parts}
    if not kept:
        raise WorkbenchError(f"No low-rank factors were found in {file}; its tensors are called {', '.join(sorted(tensors)[:2])}, ...",
                             'Map its names to peft\'s: names={r"(.*)\\.first$": r"\\1.lora_A", r"(.*)\\.second$": r"\\1.lora_B"}.')
    for name, parts in kept.items():
        if not ("a" in parts and "b" in parts):
            raise WorkbenchError(f"{file} has only one of the two factors of {name}.", "Copy the file again, or map its names with names={...}.")
    return kept, rest, found


def _renamed(key: str, names: dict[str, str]) -> str:
    for pattern, replacement in names.items():
        try:
            key = re.sub(pattern, replacement, key)
        except re.error as error:
            raise WorkbenchError(f"The name map's {pattern!r} -> {replacement!r} is no pattern: {error}.",
                                 "Write it as for Python's re.sub.") from error
    return key


def _factor(name: str, place: tuple[int, str], parts: dict[str, Any], file: Path) -> Factor:
    a, b = parts["a"], parts["b"]
    kind, kernel = ("embedding" if parts["embedding"] else "linear"), ()
    if a.ndim > 2:
        kind, kernel, a, b = "convolution", tuple(a.shape[1:]), a.flatten(1), b.flatten(1)
    if parts["transposed"]:
        a, b = a.T, b.T
    if a.ndim != 2 or b.ndim != 2 or a.shape[0] != b.shape[1]:
        raise WorkbenchError(f"The factors of {name} in {file} do not fit: A is {tuple(a.shape)} and B is {tuple(b.shape)}.",
                             "A must be [r × d_in] and B [d_out × r]; map the names the other way round if they are swapped.")
    return Factor(name, *place, a, b, 1.0, parts.get("magnitude"), kind, kernel, parts.get("bias"))


def _scale(config: dict[str, Any], name: str, rank: int, parts: dict[str, Any], given: float | None) -> tuple[float, bool]:
    """(scale, whether the file said so): alpha / r, or alpha / √r for rank-stabilised LoRA (Kalajdzievski 2023, equation 8)."""
    if given is not None:
        return float(given), True
    if "lora_alpha" in config:
        alpha = naming.pattern_value(config.get("alpha_pattern"), name, config["lora_alpha"])
        return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank), True
    if "alpha" in parts:
        return float(parts["alpha"]) / rank, True
    told = config.get("lora_parameters") or {}
    if "scale" in told:
        return float(told["scale"]), True
    return 1.0, False


def _notes(adapter: Adapter, unscaled: bool) -> list[str]:
    notes = []
    if unscaled:
        notes.append("The file does not say its alpha, so B·A is taken as it is; give scale=alpha/rank if it was scaled.")
    if any(factor.magnitude is not None for factor in adapter.factors):
        notes.append("DoRA: these are the singular values of B·A, the update of the direction; the magnitude, learned apart, is left out.")
    if any(factor.bias is not None for factor in adapter.factors):
        notes.append("Beside B·A this adapter adds a vector to each layer's output (lora_bias), which no singular value shows.")
    begun = adapter.config.get("init_lora_weights")
    if changes_base(adapter):
        notes.append(f"This adapter began as {begun}, a part of the base's own weights: its B·A is that part as trained, not what was changed.")
    return notes


def changes_base(adapter: Adapter) -> bool:
    """Whether the adapter began as a part taken out of the base's weights (PiSSA and its like), so that B·A alone is not what training
    changed."""
    begun = adapter.config.get("init_lora_weights")
    return isinstance(begun, str) and begun.lower().startswith(("pissa", "olora", "corda"))
