"""Singular values of what tuning changed, ΔW = W_tuned − W_base, of two whole models on disk: randomised, one matrix at a time.

The range finder with power iterations of Halko, Martinsson and Tropp (2011, algorithms 4.4 and 5.1), as `torch.svd_lowrank` has it, gives
an orthonormal Q in float32; what is printed comes of Q and D = ΔW in float64. σ̂ are the singular values of QᵀD. With D̂ = QQᵀD
and ε ≥ ‖D − D̂‖ each singular value is known from both sides: σ̂ᵢ ≤ σᵢ ≤ √(σ̂ᵢ² + ε²), the first because D̂ is a projection of D, the second by
Weyl's inequality on DᵀD = D̂ᵀD̂ + EᵀE. ε is the smaller of the Frobenius residual √(‖D‖² − Σσ̂²), whose square is taken as large as rounding
may have made it small, and equation 4.3's 10 √(2/π) maxᵢ ‖(D − D̂) ωᵢ‖ over ten normal vectors ω drawn afterwards, which holds with
probability 1 − 10⁻¹⁰. Matrices small enough are decomposed exactly. Memory is that of about one matrix in float32: rows are read from the
safetensors files block by block.
Not here: adapters, whose factors say it all (`spectra.py`).
"""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.adapters import names as naming
from workbench.adapters.opening import result_folder
from workbench.adapters.spectra import frame
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
FLOAT64 = 2.0**-52
SQUARES = 1000
"""Roundings of float64 that a sum of squares may be wrong by, as a share of itself: the sums of blocks are pairwise, their sum is exact."""

Progress = Callable[[int, int], None]
"""Called with matrices done and matrices in all, before each and at the end; what it raises stops the work."""


def difference(tuned: Any, base: str | Path, rank: int = 64, seed: int = 0, progress: Progress | None = None) -> "pd.DataFrame":
    """DataFrame(layer, module, index, singular_value, upper): the `rank` largest singular values of W_tuned − W_base for every matrix of
    both models.

    `tuned` and `base` are folders of safetensors (sharded ones too) or such files, `tuned` also a run or its folder. The true value lies
    between `singular_value` and `upper`, of which the first is lowered and the second raised by what rounding may have done. `.attrs` as
    `spectrum` has them (norms are those of all of ΔW), and "error_bound": ε by (layer,
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
            values[at], above, bounds[at] = _largest(change, _blocks(first, second, name), norm, rank)
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


def _blocks(first: Tensors, second: Tensors, name: str) -> "Iterator[tuple[slice, torch.Tensor]]":
    """(rows, W_tuned − W_base of these rows in float64), block by block."""
    shape = first.shapes[name]
    step = max(1, BLOCK // max(1, math.prod(shape[1:])))
    for start in range(0, shape[0], step):
        rows = slice(start, min(start + step, shape[0]))
        yield rows, first.rows(name, rows.start, rows.stop).double() - second.rows(name, rows.start, rows.stop).double()


def _change(first: Tensors, second: Tensors, name: str) -> "tuple[torch.Tensor, float]":
    """(W_tuned − W_base in float32, a small one in float64; its Frobenius norm)"""
    import torch

    shape = first.shapes[name]
    change = torch.empty(shape[0], math.prod(shape[1:]), dtype=torch.float64 if math.prod(shape) <= EXACT else torch.float32)
    squares = []
    for rows, block in _blocks(first, second, name):
        change[rows] = block
        squares.append(block.square().sum().item())
    if not math.isfinite(sum(squares)):
        raise WorkbenchError(f"{name} is not finite in one of the two models, so its change has no singular values.",
                             "Take an earlier checkpoint of the run.")
    return change, math.sqrt(math.fsum(squares))


def _largest(change: "torch.Tensor", blocks: "Iterator[tuple[slice, torch.Tensor]]", norm: float,
             rank: int) -> tuple[list[float], list[float], float]:
    """(what its `rank` largest singular values are at least, what each is at most, ε). `blocks` are the rows of `change` in float64."""
    import torch

    least = min(change.shape)
    if norm == 0:
        return [0.0] * min(rank, least), [0.0] * min(rank, least), 0.0
    if change.dtype == torch.float64 or least <= rank + OVERSAMPLED:
        exact, rounding = torch.linalg.svdvals(change)[:rank].tolist(), 10 * torch.finfo(change.dtype).eps * norm
        return [max(value - rounding, 0.0) for value in exact], [value + rounding for value in exact], rounding
    basis = torch.linalg.qr(torch.svd_lowrank(change, q=rank + OVERSAMPLED, niter=POWER_ITERATIONS)[0].double())[0]
    probes = torch.randn(change.shape[1], PROBES, dtype=torch.float64)
    inside = torch.zeros(basis.shape[1], change.shape[1], dtype=torch.float64)
    seen = torch.empty(change.shape[0], PROBES, dtype=torch.float64)
    for rows, block in blocks:
        inside.addmm_(basis[rows].mT, block)
        seen[rows] = block @ probes
    found = torch.linalg.svdvals(inside)
    # what float64 may have lost in the longest of the sums
    rounding = max(change.shape) * FLOAT64 * norm
    residual = math.sqrt(max(norm**2 - found.square().sum().item(), 0.0) + SQUARES * FLOAT64 * norm**2)
    missed = seen - basis @ (inside @ probes)
    bound = min(residual, 10 * math.sqrt(2 / math.pi) * missed.norm(dim=0).max().item()) + rounding
    values = found[:rank].tolist()
    return ([max(value - rounding, 0.0) for value in values], [math.hypot(value + rounding, bound) + rounding for value in values], bound)


def _sentence(values: dict[tuple[int, str], list[float]], bounds: dict[tuple[int, str], float]) -> str:
    """The worst matrix, in words."""
    shares = {at: bounds[at] / found[0] for at, found in values.items() if found[0] > 0}
    if not shares:
        return "The two models have the same weights."
    at = max(shares, key=shares.get)
    return (f"The directions that were not looked for hold at most {100 * shares[at]:.2g} % of a matrix's largest singular value "
            f"({at[1]} of layer {at[0]}), so no largest singular value is too low by more than {100 * (math.hypot(1, shares[at]) - 1):.2g} %.")
