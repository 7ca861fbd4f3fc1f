"""Singular values of what tuning changed, ΔW = W_tuned − W_base, of two whole models on disk: randomised, one matrix at a time.

The range finder with power iterations of Halko, Martinsson and Tropp (2011, algorithms 4.4 and 5.1), as `torch.svd_lowrank` has it. With D̂
the approximation of D = ΔW and ε ≥ ‖D − D̂‖ each singular value is known from both sides: σ̂ᵢ ≤ σᵢ ≤ √(σ̂ᵢ² + ε²), the first because D̂ is
a projection of D, the second by Weyl's inequality on DᵀD = D̂ᵀD̂ + EᵀE. ε is the smaller of the exact Frobenius residual √(‖D‖² − Σσ̂²) and
equation 4.3's 10 √(2/π) maxᵢ ‖(D − D̂) ωᵢ‖ over ten normal vectors ω drawn afterwards, which holds with probability 1 − 10⁻¹⁰. Matrices
small enough are decomposed exactly. Memory is that of about one matrix in float32: rows are read from the safetensors files block by block.
Not here: adapters, whose factors say it all (`spectra.py`).
"""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.adapters import names as naming
from workbench.adapters.opening import result_folder
from workbench.adapters.spectra import FLOAT32, frame
from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    import pandas as pd
    import torch

OVERSAMPLED = 10
"""Directions looked for beyond those asked for (Halko et al. 2011, section 4.2)."""
POWER_ITERATIONS = 2
PROBES = 10
BLOCK = 1 << 18
"""Elements read at once."""
EXACT = 1 << 18
"""Elements up to which a matrix is decomposed whole, in float64."""

Progress = Callable[[int, int], None]
"""Called with matrices done and matrices in all, before each and at the end; what it raises stops the work."""


def difference(tuned: Any, base: str | Path, rank: int = 64, seed: int = 0, progress: Progress | None = None) -> "pd.DataFrame":
    """DataFrame(layer, module, index, singular_value, upper): the `rank` largest singular values of W_tuned − W_base for every matrix of
    both models.

    `tuned` and `base` are folders of safetensors (sharded ones too) or such files, `tuned` also a run or its folder. The true value lies
    between `singular_value` and `upper`. `.attrs` as `spectrum` has them (norms are those of all of ΔW), and "error_bound": ε by (layer,
    module); "sentence": the worst of them in words. The same seed gives the same numbers. Raises `WorkbenchError` where the two are not of
    one architecture, or a weight is not finite.
    """
    import torch

    if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
        raise WorkbenchError(f"A rank of {rank!r} is none.", "Use rank=64.")
    first, second = Tensors(result_folder(tuned)), Tensors(result_folder(base))
    matrices, notes = _common(first, second)
    place = naming.places(name.removesuffix(".weight") for name in matrices)
    matrices.sort(key=lambda name: place[name.removesuffix(".weight")][0])
    values, bounds, norms, shapes, uppers = {}, {}, {}, {}, []
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for done, name in enumerate(matrices):
            if progress is not None:
                progress(done, len(matrices))
            change, norm = _change(first, second, name)
            at = place[name.removesuffix(".weight")]
            values[at], above, bounds[at] = _largest(change, norm, rank)
            norms[at], shapes[at] = norm, tuple(change.shape)
            uppers += above
            del change
    if progress is not None:
        progress(len(matrices), len(matrices))
    table = frame(values, shapes=shapes, names={at: name for name, at in place.items()}, norms=norms, notes=notes, error_bound=bounds,
                  sentence=_sentence(values, bounds))
    return table.assign(upper=uppers)


class Tensors:
    """The tensors of a model folder or a safetensors file, read by slices; `shapes` by name."""

    def __init__(self, path: Path):
        self.path = path
        self._file: dict[str, Path] = {}
        self._open: dict[Path, Any] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        for file in _weight_files(path):
            opened = self._opened(file)
            for name in sorted(opened.keys()):
                self._file[name] = file
                self.shapes[name] = tuple(opened.get_slice(name).get_shape())

    def _opened(self, file: Path) -> Any:
        import safetensors

        if file not in self._open:
            try:
                self._open[file] = safetensors.safe_open(file, framework="pt")
            except (safetensors.SafetensorError, OSError) as error:
                raise WorkbenchError(f"{file} cannot be read: {error}.", "Copy the file again; it may have been cut short.") from error
        return self._open[file]

    def rows(self, name: str, start: int, stop: int) -> "torch.Tensor":
        """Rows of a tensor in the file's number format, what lies behind the first dimension in one."""
        return self._opened(self._file[name]).get_slice(name)[start:stop].flatten(1)


def _weight_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if (path / "adapter_config.json").exists():
        raise WorkbenchError(f"{path} holds an adapter, not a whole model.",
                             "workbench.adapters.spectrum(folder) has its spectra, from its factors alone.")
    if (path / "model.safetensors").exists():
        return [path / "model.safetensors"]
    index = path / "model.safetensors.index.json"
    if index.exists():
        try:
            return [path / name for name in sorted(set(json.loads(index.read_text())["weight_map"].values()))]
        except (ValueError, KeyError) as error:
            raise WorkbenchError(f"{index} is no index of shards: {error}.", "Copy the model's folder again.") from error
    pickled = next((f", only {found.name}, which could run code when it is opened" for found in sorted(path.glob("*.bin"))), "")
    raise WorkbenchError(f"{path} has no model.safetensors{pickled}.",
                         "Give the folder of a model; a shipped one's is workbench.recipes.resolve_model(\"town\").")


def _common(first: Tensors, second: Tensors) -> tuple[list[str], list[str]]:
    """(names of the matrices both have, sentences about what was left out)"""
    wide = [name for name, shape in first.shapes.items() if len(shape) > 1]
    common = [name for name in wide if second.shapes.get(name) == first.shapes[name]]
    if not common:
        raise WorkbenchError(f"{first.path} and {second.path} have no matrix in common.", "Give a tuned model and the base it was tuned from.")
    notes = []
    for name in wide:
        if name in second.shapes and second.shapes[name] != first.shapes[name]:
            notes.append(f"{name} is {_by(first.shapes[name])} in the tuned model and {_by(second.shapes[name])} in the base, so it was left out.")
    alone = [name for name in wide if name not in second.shapes]
    if alone:
        notes.append(f"{alone[0]}{f' and {len(alone) - 1} more' if len(alone) > 1 else ''} is in the tuned model alone, so it was left out.")
    return common, notes


def _by(shape: tuple[int, ...]) -> str:
    return " × ".join(f"{size:,}" for size in shape)


def _change(first: Tensors, second: Tensors, name: str) -> "tuple[torch.Tensor, float]":
    """(W_tuned − W_base in float32, its Frobenius norm)"""
    import torch

    shape = first.shapes[name]
    change = torch.empty(shape[0], math.prod(shape[1:]))
    squared, step = 0.0, max(1, BLOCK // max(1, change.shape[1]))
    for start in range(0, shape[0], step):
        stop = min(start + step, shape[0])
        torch.sub(first.rows(name, start, stop).float(), second.rows(name, start, stop).float(), out=change[start:stop])
        squared += change[start:stop].double().square().sum().item()
    if not math.isfinite(squared):
        raise WorkbenchError(f"{name} is not finite in one of the two models, so its change has no singular values.",
                             "Take an earlier checkpoint of the run.")
    return change, math.sqrt(squared)


def _largest(change: "torch.Tensor", norm: float, rank: int) -> tuple[list[float], list[float], float]:
    """(its `rank` largest singular values, what each is at most, ε)"""
    import torch

    least = min(change.shape)
    if norm == 0:
        return [0.0] * min(rank, least), [0.0] * min(rank, least), 0.0
    if change.numel() <= EXACT or least <= rank + OVERSAMPLED:
        change = change.double() if change.numel() <= EXACT else change
        exact, rounding = torch.linalg.svdvals(change)[:rank].tolist(), 10 * torch.finfo(change.dtype).eps * norm
        return exact, [value + rounding for value in exact], rounding
    left, found, right = torch.svd_lowrank(change, q=rank + OVERSAMPLED, niter=POWER_ITERATIONS)
    probes = torch.randn(change.shape[1], PROBES)
    missed = change @ probes - left @ (found[:, None] * (right.mT @ probes))
    residual = math.sqrt(max(norm**2 - found.double().square().sum().item(), 0.0))
    rounding = 10 * FLOAT32 * norm
    bound = min(residual, 10 * math.sqrt(2 / math.pi) * missed.double().norm(dim=0).max().item()) + rounding
    values = found[:rank].tolist()
    return values, [math.hypot(value, bound) + rounding for value in values], bound


def _sentence(values: dict[tuple[int, str], list[float]], bounds: dict[tuple[int, str], float]) -> str:
    """The worst matrix, in words."""
    shares = {at: bounds[at] / found[0] for at, found in values.items() if found[0] > 0}
    if not shares:
        return "The two models have the same weights."
    at = max(shares, key=shares.get)
    return (f"The directions that were not looked for hold at most {100 * shares[at]:.2g} % of a matrix's largest singular value "
            f"({at[1]} of layer {at[0]}), so no largest singular value is too low by more than {100 * (math.hypot(1, shares[at]) - 1):.2g} %.")
