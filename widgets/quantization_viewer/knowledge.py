"""What the viewer knows of one model: its weights, and what was found out about them so far, each by one call of `workbench.quantization`.

Everything that is computed is kept, by scheme; nothing here draws, waits for a hand, or starts a thread. Calls may come from several
threads.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from widgets.quantization_viewer.looks import Histogram, Line, TensorLook
from widgets.quantization_viewer.measuring import Progress, silent
from widgets.quantization_viewer.state import Choice, compared, rival
from widgets.quantization_viewer.words import row_outlier
from workbench.errors import DataError, WorkbenchError

PREVIEW = 1 << 16
"""Weights that a picture is made of while a slider moves."""
MOST_LOOKS = 200
"""Exact looks that are kept."""
UNITS = {"tensor": "weight ÷ largest of the tensor", "row": "weight ÷ largest in its row", "block": "weight ÷ largest in its block of {}"}


class Known:
    """`Known(source)`; `source` is whatever `QuantizationViewer` takes for a model."""

    def __init__(self, source: Any) -> None:
        self.source = source
        self.weights: Any = None
        """The opened `Weights`; None before `open()`."""
        self.errors: dict[Choice, dict[str, float]] = {}
        """Scheme -> tensor -> decibels, as the overview comes to them."""
        self._looks: dict[tuple[str, Choice], TensorLook] = {}
        self._lines: dict[tuple[str, Choice], float] = {}
        self._sampled_lines: set[tuple[str, Choice]] = set()
        """Those of `_lines` that come from a sample."""
        self._rows: dict[str, tuple[float, int]] = {}
        self._sample: tuple[str, Any] = ("", None)
        self._model: tuple[Any, Any] | None = None

    # ---- opening

    @property
    def opened(self) -> bool:
        return self.weights is not None

    def open(self) -> None:
        """Reads the headers. Raises `WorkbenchError` where there are no weights to read."""
        from workbench.quantization import open_weights

        source = self.source
        if isinstance(source, (str, Path)):
            source = weights_of(str(source))
        elif isinstance(source, tuple):
            source = source[0]
        elif hasattr(source, "folder"):
            source = weights_of(str(source.folder))
        weights = open_weights(dict(source.named_parameters()) if hasattr(source, "named_parameters") else source)  # tied ones once
        if not weights.quantizable:
            raise DataError(f"{weights.title} holds no floating-point tensors.",
                            "Give the weights as they were before they were quantized.")
        self.weights = weights

    def model(self) -> tuple[Any, Any]:
        """(model, tokenizer), loaded once. Raises `WorkbenchError` where only tensors were given."""
        if self._model is None:
            self._model = model_of(self.source)
        return self._model

    @property
    def names(self) -> list[str]:
        return self.weights.quantizable if self.opened else []

    def tensor_of(self, layer: str) -> str:
        """The tensor that a layer's name means: its own, or its weight; the first matrix where there is none such."""
        names = self.names
        for name in (layer, layer + ".weight"):
            if name in names:
                return name
        matrices = [name for name in names if len(self.weights.shapes[name]) == 2]
        inside = [name for name in matrices if "emb" not in name and "head" not in name]
        return next(iter(inside or matrices or names), "")

    # ---- one tensor

    def preview(self, name: str, choice: Choice) -> TensorLook:
        """From a sample of whole rows; what is known exactly is given as it is."""
        exact = self._looks.get((name, choice.key))
        if exact is not None:
            return exact
        look = self._inspect(self._sampled(name), name, choice)
        look.exact = self.weights.read(name).numel() == self._sample[1].read(name).numel()
        return look

    def exact(self, name: str, choice: Choice, progress: Progress = silent, whole: bool = True) -> TensorLook:
        """Over every weight; where `whole`, with its rival's errors and how far its largest row stands out, which take as long again.

        Raises `DataError` for a tensor that is not finite.
        """
        key = (name, choice.key)
        if key not in self._looks:
            if len(self._looks) > MOST_LOOKS:
                self._looks.pop(next(iter(self._looks)))
            self._looks[key] = self._inspect(self.weights, name, choice, progress)
            self._known_line(name, choice, self._looks[key].sqnr_db)
        look = self._looks[key]
        if whole and look.rival is None:
            other = rival(choice)
            against = self._looks.get((name, other.key)) or self._inspect(self.weights, name, other, progress)
            self._known_line(name, other, against.sqnr_db)
            ratio, row = self.row_ratio(name)
            look = self._looks[key] = replace(look, rival=other, rival_errors=against.errors, rival_db=against.sqnr_db, row_ratio=ratio,
                                              row=row)
        return look

    def _known_line(self, name: str, choice: Choice, value: float) -> None:
        self._lines[name, choice.key] = value
        self._sampled_lines.discard((name, choice.key))

    def row_ratio(self, name: str) -> tuple[float, int]:
        """How many times the largest magnitude of any row is that of the row in the middle, and which row."""
        if name not in self._rows:
            tensor = self.weights.read(name)
            if tensor.dim() != 2 or min(tensor.shape) < 2:
                self._rows[name] = (1.0, 0)
            else:
                step = max(1, (1 << 20) // tensor.shape[1])
                parts = [tensor[first:first + step].float().abs().amax(1).numpy() for first in range(0, len(tensor), step)]
                self._rows[name] = row_outlier(np.concatenate(parts))
        return self._rows[name]

    def lines(self, name: str, choice: Choice) -> list[Line]:
        """The schemes beside each other, with what is known of each."""
        return [Line(line, self._lines.get((name, line.key))) for line in compared(choice)]

    def fill_lines(self, name: str, choice: Choice, whole: bool = True, progress: Progress = silent) -> None:
        """Measures the schemes beside each other on this tensor, those missing; over a sample first where `whole` is False."""
        from workbench.quantization import quantize

        for number, line in enumerate(compared(choice)):
            if (name, line.key) in self._lines:
                continue
            progress(f"Measuring {line.label}", number, len(compared(choice)))
            tensor = self.weights.read(name) if whole else self._sampled(name).read(name)
            if not whole and tensor.numel() < self.weights.read(name).numel():
                self._sampled_lines.add((name, line.key))
            self._lines[name, line.key] = quantize(tensor, line.scheme, **line.arguments).sqnr_db

    def exact_lines(self, name: str, choice: Choice, progress: Progress = silent, show: Callable[[], object] = lambda: None) -> None:
        """The same over every weight, one scheme after the other; `show()` after each."""
        from workbench.quantization import quantize

        for number, line in enumerate(compared(choice)):
            if (name, line.key) in self._sampled_lines:
                progress(f"Measuring {line.label}", number, len(compared(choice)))
                self._known_line(name, line, quantize(self.weights.read(name), line.scheme, **line.arguments).sqnr_db)
                show()

    def _sampled(self, name: str) -> Any:
        """The sample of a tensor as weights in memory."""
        from workbench.quantization import open_weights

        if self._sample[0] != name:
            self._sample = name, open_weights({name: self.weights.sample(name, PREVIEW).float()})
        return self._sample[1]

    def _inspect(self, weights: Any, name: str, choice: Choice, progress: Progress = silent) -> TensorLook:
        from workbench.quantization import SCHEMES, inspect

        found = inspect(weights, name, choice.scheme, **choice.arguments,
                        progress=lambda done, total: progress(f"Reading {name}", done, total))
        scaled = found.scaled_edges is not None
        edges, counts = (found.scaled_edges, found.scaled_counts) if scaled else (found.edges, found.counts)
        unit = UNITS[SCHEMES[choice.scheme].group].format(choice.block) if scaled else "weight"
        if not scaled:
            edges, counts = cut(edges, counts)
        # 16-bit floats lie closer than lines can be drawn: there are none to show
        levels = np.asarray(found.levels, float) if SCHEMES[choice.scheme].kind != "half" else np.empty(0)
        return TensorLook(name=name, shape=tuple(self.weights.shapes[name]), choice=choice, exact=found.exact,
                          weights=Histogram(edges, counts), unit=unit,
                          levels=levels, errors=Histogram(found.error_edges, found.error_counts), sqnr_db=found.sqnr_db, mse=found.mse,
                          max_error=found.max_error, bits_per_weight=found.bits_per_weight)

    # ---- all tensors

    def overview(self, choice: Choice, progress: Progress = silent, show: Callable[[], object] = lambda: None) -> None:
        """The decibels of each tensor, one after the other, NaN for one that is not finite; `show()` after each."""
        from workbench.quantization import overview

        found = self.errors.setdefault(choice.key, {})
        total, before = sum(self.weights.sizes[name] for name in self.names), 0
        words = f"Looking at {len(self.names)} tensors in {choice.label}"
        for name in self.names:
            size = self.weights.sizes[name]
            if name not in found:
                try:
                    progress(words, before, total)
                    row = next(overview(self.weights, choice.scheme, **choice.arguments, names=[name],
                                        progress=lambda done, _of, before=before: progress(words, before + done, total)))
                    found[name] = row.sqnr_db
                    self._known_line(name, choice, row.sqnr_db)
                except DataError:  # says that values are NaN or infinite; the others are looked at all the same
                    found[name] = np.nan
                show()
            before += size

    def missing(self, choice: Choice) -> int:
        return len(self.names) - len(self.errors.get(choice.key, ()))

    def group_errors(self, choice: Choice, group_of: dict[str, str]) -> dict[str, float]:
        """The lowest decibels in each group of the tree."""
        worst: dict[str, float] = {}
        for name, value in self.errors.get(choice.key, {}).items():
            group = group_of.get(name, "")
            if group and not value >= worst.get(group, np.inf):  # NaN stays
                worst[group] = value
        return worst


def weights_of(name: str) -> Any:
    """What `open_weights` takes for the name of a model, a weight file, a folder or a run folder; an adapter's is merged into its base."""
    path = Path(name).expanduser()
    if path.is_file() or name.endswith(".safetensors"):
        return path
    if is_run(path):
        from workbench.runs.attach import attach

        return whole_result(path) or merged(attach(path).load()[0])
    if (path / "adapter_config.json").exists():
        import workbench

        return merged(workbench.load(name)[0])
    from workbench.recipes import TOWN_MODELS, resolve_model

    return resolve_model(name) if name in TOWN_MODELS else name


def model_of(source: Any) -> tuple[Any, Any]:
    """(model, tokenizer) of what a viewer was given, adapters merged."""
    import workbench

    if isinstance(source, tuple):
        return source
    if isinstance(source, (str, Path)) and not str(source).endswith(".safetensors"):
        path = Path(str(source)).expanduser()
        if is_run(path):
            from workbench.runs.attach import attach

            model, tokenizer = attach(path).load()
        else:
            model, tokenizer = workbench.load(str(source))
        return merged(model), tokenizer
    if hasattr(source, "folder"):
        model, tokenizer = source.load()
        return merged(model), tokenizer
    raise WorkbenchError("Only tensors were given, so there is no model to run.",
                         "Give a model's name or folder, or a pair (model, tokenizer).")


def whole_result(run: Path) -> str:
    """The folder of a run's result where that is a whole model; "" where it is an adapter or not there yet."""
    result = run / "result"
    return str(result) if (result / "model.safetensors").exists() or (result / "model.safetensors.index.json").exists() else ""


def is_run(path: Path) -> bool:
    return any((path / name).exists() for name in ("journal.jsonl", "recipe.json"))


def merged(model: Any) -> Any:
    """A peft model as the plain model that computes the same."""
    return model.merge_and_unload() if hasattr(model, "merge_and_unload") else model


def cut(edges: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Without the empty bins at both ends."""
    there = np.flatnonzero(counts)
    if not len(there):
        return edges, counts
    return edges[there[0]:there[-1] + 2], counts[there[0]:there[-1] + 1]
