"""What the panel reads: an adapter or a difference as `Spectra`, the linear layers of the base, the count of what a method trains, how much
of their subspaces two adapters share, and what a cut costs.

Nearly every call of the engine that takes longer than a frame is here; torch is imported by the engine, later.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from widgets.rank_explorer.spectra import Matrix, Spectra
from workbench.errors import WorkbenchError

Progress = Callable[[str, int, int], None]
"""Called with words, how many are done, how many there are; what it raises ends the work."""
BOTH = "Compare two adapters of one base."
KINDS = {"lora": "LoRA", "qlora": "QLoRA"}
CARRIED = ("dropout", "bias", "bits", "quant_type", "double")
KNOWN = 64
"""Directions of a difference that are looked for."""


@dataclass(slots=True)
class Opened:
    """A source, read."""

    spectra: Spectra
    frame: Any
    """The table of `workbench.adapters`, with its attrs."""
    adapter: Any = None
    """`workbench.adapters.Adapter`; None for a difference."""
    run: Any = None
    """The `wb.Run` it is the result of, where it is one."""
    base: str = ""
    alpha: float | None = None
    """Of the adapter, where it says so."""
    targets: tuple[str, ...] = ()
    """Modules it changes, by the last part of their names."""
    kind: str = "lora"
    """"lora", or the run's own "qlora"."""
    carried: dict[str, Any] = field(default_factory=dict)
    """Fields of the run's method that the panel has no control for (dropout, bits), where they are not as usual."""
    notes: list[str] = field(default_factory=list)


def run_of(source: Any) -> Any:
    """The run that `source` is or lies in the folder of; None where it is none."""
    if hasattr(source, "folder"):
        return source
    path = Path(str(source)).expanduser()
    if not any((path / name).exists() for name in ("recipe.json", "journal.jsonl")):
        return None
    from workbench.runs.attach import attach

    return attach(path)


def read(source: Any, base: str = "", progress: Progress = lambda *_: None) -> Opened:
    """Spectra of an adapter's ΔW, or where `source` is a whole model, of what is different in it from `base`.

    Raises `WorkbenchError` where there is no adapter, or no base to compare with.
    """
    from workbench import adapters
    from workbench.adapters.opening import result_folder

    progress("Reading the adapter", 0, 0)
    run = run_of(source)
    folder = result_folder(source)
    base = base or (run.recipe.model if run is not None and not run.read_only else "")
    whole = folder.is_dir() and (folder / "config.json").exists() and not (folder / "adapter_config.json").exists()
    name = run.name if run is not None else folder.name
    if whole:
        if not base:
            raise WorkbenchError(f"{folder} is a whole model, and it is not said what it was tuned from.", "Name the base model.")
        from workbench.recipes import resolve_model

        frame = adapters.difference(folder, resolve_model(base), rank=KNOWN,
                                    progress=lambda done, total: progress("Reading tensors", done, total))
        return Opened(_spectra(frame, "difference", name, base), frame, run=run, base=base, notes=list(frame.attrs.get("notes", ())))
    adapter = adapters.open_adapter(folder)
    frame = adapters.spectrum(adapter)
    config = adapter.config
    variant = "dora" if config.get("use_dora") else "rslora" if config.get("use_rslora") else \
        "pissa" if str(config.get("init_lora_weights")).startswith("pissa") else "lora"
    base = base or adapter.base or ""
    spectra = _spectra(frame, "adapter", name, base, max((factor.rank for factor in adapter.factors), default=0), variant)
    targets = tuple(sorted({factor.name.rsplit(".", 1)[-1] for factor in adapter.factors}))
    opened = Opened(spectra, frame, adapter, run, base, config.get("lora_alpha"), targets, notes=list(adapter.notes))
    if run is not None and not run.read_only and run.recipe.method.name in KINDS:
        usual, own = type(run.recipe.method)().to_json(), run.recipe.method.to_json()
        opened.kind, opened.carried = own.pop("name"), {name: own[name] for name in CARRIED if name in own and own[name] != usual[name]}
    return opened


def _spectra(frame: Any, kind: str, name: str, base: str, rank: int = 0, variant: str = "lora") -> Spectra:
    names, shapes, norms = (frame.attrs.get(key, {}) for key in ("names", "shapes", "norms"))
    bounds = frame.attrs.get("error_bound", {})
    matrices = [Matrix(name=names.get(place, ".".join(map(str, place))), layer=int(place[0]), module=str(place[1]),
                       values=np.sort(values.to_numpy(float))[::-1], shape=shapes.get(place), total=float(norms.get(place, 0.0)) ** 2,
                       bound=bounds.get(place))
                for place, values in frame.groupby(["layer", "module"], sort=False)["singular_value"]]
    return Spectra(matrices, kind, rank, base, variant, name)


def config_of(base: str) -> Any:
    """The base's transformers configuration. Raises `WorkbenchError` where there is no such model."""
    from workbench.models import loading
    from workbench.recipes import resolve_model

    return loading.config_of(resolve_model(base))


def linear_layers(config: Any) -> tuple[dict[str, tuple[int, int]], int]:
    """(name -> (d_out, d_in) of every linear layer of a model but its output head, all its parameters), from its configuration alone."""
    from workbench.models import counting

    model = counting.skeleton(config)
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    found = {}
    for name, module in model.named_modules():
        kind = type(module).__name__
        if module is not head and kind in ("Linear", "Conv1D"):  # GPT-2's Conv1D keeps its weight the other way round
            found[name] = tuple(module.weight.shape) if kind == "Linear" else tuple(module.weight.shape)[::-1]
    return found, sum(parameter.numel() for parameter in model.parameters())


def precision_of(recipe: Any) -> str:
    """What "auto" comes to on this machine."""
    if recipe.precision != "auto":
        return recipe.precision
    import torch

    return "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "fp32"


def method_of(opened: Opened | None, settings: dict[str, Any]) -> Any:
    """The method of the next training: `settings` (`State.settings`), the rest as the run had it. May raise `RecipeError`."""
    from workbench.models.methods import METHODS

    return METHODS["lora" if opened is None else opened.kind](**({} if opened is None else opened.carried) | settings)


def memory_of(config: Any, method: Any, length: int, batch: int, precision: str) -> float:
    """Bytes that training with `method` takes on one device (`workbench.models.memory`)."""
    from workbench.models.memory import plan_memory

    return float(plan_memory(config, method, sequence_length=length, batch_size=batch, precision=precision).total)


def targeted(opened: Opened, targets: Iterable[str]) -> Any:
    """The lines of the table whose matrices the next training reaches."""
    targets = tuple(targets)
    frame = opened.frame
    if not targets:
        return frame
    kept = frame[[str(module).rsplit(".", 1)[-1] in targets for module in frame["module"]]]
    kept.attrs = frame.attrs
    return kept


def trainable(layers: dict[str, tuple[int, int]], settings: dict[str, Any]) -> int:
    """Parameters that LoRA with `settings` (`State.settings`) trains: r (d_in + d_out) a matrix, and DoRA's d_out magnitudes.

    Matrices are chosen as peft chooses them: by the end of their name.
    """
    targets, pattern = settings.get("target_modules", ()), settings.get("rank_pattern", {})
    extra = settings.get("variant") == "dora"
    total = 0
    for name, (d_out, d_in) in chosen(layers, targets).items():
        rank = next((rank for key, rank in pattern.items() if re.match(rf"(.*\.)?({key})$", name)), settings["rank"])
        total += rank * (d_in + d_out) + (d_out if extra and rank else 0)  # rank 0 leaves the matrix as it is
    return total


def chosen(layers: dict[str, tuple[int, int]], targets: Iterable[str]) -> dict[str, tuple[int, int]]:
    targets = tuple(targets)
    return {name: shape for name, shape in layers.items() if not targets or name.rsplit(".", 1)[-1] in targets}


def modules_of(layers: dict[str, tuple[int, int]]) -> list[tuple[str, bool]]:
    """(last part of the name, whether it belongs to attention), each once, in the order of the model."""
    found: dict[str, bool] = {}
    for name in layers:
        found.setdefault(name.rsplit(".", 1)[-1], "attn" in name.lower() or "attention" in name.lower())
    return list(found.items())


def similarities(opened: Opened, other: Opened, progress: Progress = lambda *_: None) -> dict[tuple[int, str], np.ndarray]:
    """φ(i, j) of every matrix that both adapters update, by (layer, module). Raises `WorkbenchError` where they have none in common."""
    from workbench import adapters

    for one in (opened, other):
        if one.adapter is None:
            raise WorkbenchError(f"{one.spectra.name} is no adapter, so there are no factors to compare.", BOTH)
    both = [matrix for matrix in opened.spectra.matrices
            if (there := other.spectra.at(matrix.layer, matrix.module)) is not None and matrix.total > 0 and there.total > 0]
    if not both:
        raise WorkbenchError(f"{opened.spectra.name} and {other.spectra.name} update no matrix in common.", BOTH)
    found = {}
    for done, matrix in enumerate(both):
        progress("Comparing subspaces", done, len(both))
        found[matrix.layer, matrix.module] = adapters.similarity(opened.adapter, other.adapter, matrix.layer, matrix.module)
    return found


def chance(spectra: Spectra, phis: dict[tuple[int, str], np.ndarray]) -> float | None:
    """What φ of all directions would be by chance, in the middle of the matrices: max(i, j) / d_in for two random subspaces."""
    found = [max(phi.shape) / matrix.shape[1] for place, phi in phis.items() if (matrix := spectra.at(*place)) is not None and matrix.shape]
    return float(np.median(found)) if found else None


def cut_losses(opened: Opened, source: str, base: str, ranks: Iterable[int], rows: Any,
               progress: Progress = lambda *_: None) -> dict[int, float]:
    """Held-out loss, in nats per token, of the adapter cut to each rank; 0 is the base alone. Raises as `truncation_losses` does."""
    from workbench.evaluation.truncation import truncation_losses

    if opened.adapter is None:
        raise WorkbenchError(f"{opened.spectra.name} is no adapter, so there is nothing to cut.", "Open an adapter, or sweep ranks.")
    progress("Loading the model", 0, 0)
    table = truncation_losses(source, ranks=list(ranks), rows=rows, base=base or None,
                              progress=lambda done, total: progress("Scoring held-out rows", done, total))
    return {int(rank): float(loss) for rank, loss in zip(table["rank"], table["loss"], strict=True)}


def rows_words(opened: Opened, rows: Any) -> str:
    """What a cut is scored on, in words; "" where there is nothing."""
    if rows is not None:
        return rows if isinstance(rows, str) else f"{len(rows)} rows given" if hasattr(rows, "__len__") else "the rows given"
    if opened.run is None or opened.run.read_only:
        return ""
    kept = list((opened.run.folder / "data").glob("heldout*.arrow"))
    return "the run's held-out rows" if kept and opened.run.recipe.heldout else ""


def near(folder: Any) -> str:
    """A path as people write it: relative where it lies below the folder of now."""
    path = Path(str(folder)).expanduser()
    try:
        return str(path.resolve().relative_to(Path.cwd().resolve())) if path.is_absolute() else str(path)
    except ValueError:
        return str(path)
