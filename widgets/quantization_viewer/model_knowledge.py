"""What the viewer knows of a whole model: perplexity and size under each scheme, which layers mind most, and what goes into them.

Beside `knowledge.Known`, which knows its tensors. Each is one call of `workbench.quantization`; everything found is kept. Draws nothing.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from widgets.quantization_viewer.knowledge import Known
from widgets.quantization_viewer.looks import ActivationLook, Line, ModelLook
from widgets.quantization_viewer.measuring import Progress, silent
from widgets.quantization_viewer.state import Choice
from widgets.quantization_viewer.tensor_tree import module_of
from workbench.errors import DataError

MOST_TEXTS = 64
"""Texts that are measured on at most, where a file of rows was given."""
SORTS = ("biography", "letter", "message", "minutes")
"""Of the town's texts; drawn anew, so that no base model has read them."""
QUICK_PRODUCTS = 5e8
"""Multiplications that a moving slider may ask for."""


class Setting(NamedTuple):
    """What perplexity was measured under; equal where it must be equal."""

    choice: Choice
    activations: str
    threshold: float

    @classmethod
    def of(cls, choice: Choice, activations: str, threshold: float) -> "Setting":
        from workbench.quantization import SCHEMES

        scheme = SCHEMES[choice.scheme]
        activations = activations if scheme.activations else "16-bit"
        return cls(choice.key, activations, threshold if scheme.splits and activations != "16-bit" else 0.0)


class ModelKnown:
    """`ModelKnown(weights, texts)`; `texts` are strings, rows, or whatever `wb.load_rows` takes; None takes new texts of the town."""

    def __init__(self, weights: Known, texts: Any = None) -> None:
        self.weights, self._given = weights, texts
        self.base: float | None = None
        """Perplexity as the model came."""
        self.measured: dict[Setting, float] = {}
        self.minded: dict[Setting, dict[str, float]] = {}
        """Setting -> layer -> perplexity with that layer alone quantized."""
        self.layers: tuple[str, ...] = ()
        """The linear layers, known once the model was loaded."""
        self.inputs: tuple[dict[str, Any], dict[str, Any]] | None = None
        """What went into each layer, on texts to calibrate with and on others."""
        self._texts: list | None = None
        self._compared: dict[tuple, list] = {}

    @property
    def has_model(self) -> bool:
        """Whether there is more than tensors."""
        source = self.weights.source
        return not hasattr(source, "items") and not hasattr(source, "state_dict") and not str(source).endswith(".safetensors")

    def unseen(self) -> list:
        """What perplexities are measured on: the texts that calibration does not see, or all where there is one."""
        return self.texts()[1::2] or self.texts()

    def texts(self) -> list:
        """For calibration and measuring, in turn. Raises `WorkbenchError` for rows that cannot be read."""
        if self._texts is None:
            given = self._given
            if given is None:
                from workbench.town import documents

                self._texts = [text for sort in SORTS for text in documents.of_sort(sort, 12, seed=22)]
            elif isinstance(given, (list, tuple)):
                self._texts = list(given)
            else:
                from workbench.data.sources import load_rows

                rows = given if hasattr(given, "to_batches") else load_rows(given)
                self._texts = list(islice((row for row in rows.slice(0, MOST_TEXTS).to_pylist()), MOST_TEXTS))
        return self._texts

    # ---- sizes

    @property
    def size(self) -> float:
        """Bytes of the weights as they are stored."""
        return float(self.weights.weights.bytes) if self.weights.opened else 0.0

    def size_in(self, choice: Choice) -> float | None:
        """Bytes of the weights with every linear layer in this scheme; None before the layers are known."""
        from workbench.quantization.coders import Coder

        if not self.layers:
            return None
        weights = self.weights.weights
        coder = Coder.of(choice.scheme, choice.arguments.get("bits", 8), choice.arguments.get("block"))
        linear = {name for name in weights.names if module_of(name) in self.layers}
        rest = sum(weights.sizes[name] for name in weights.names if name not in linear)
        return rest + sum(coder.bits_per_weight(weights.shapes[name]) * float(np.prod(weights.shapes[name])) / 8 for name in linear)

    # ---- perplexity

    def _ready(self, progress: Progress) -> tuple[Any, Any, list]:
        from workbench.quantization.layers import linear_layers
        from workbench.quantization.texts import perplexity

        progress("Loading the model", 0, 0)
        model, tokenizer = self.weights.model()
        self.layers = tuple(linear_layers(model))
        texts = self.unseen()
        if self.base is None:
            self.base = perplexity(model, tokenizer, texts,
                                   progress=lambda done, total: progress("Measuring the model as it came", done, total))
        return model, tokenizer, texts

    def perplexities(self, choices: list[Choice], first: Choice, activations: str = "16-bit", threshold: float = 6.0,
                     progress: Progress = silent,
                     show: Callable[[], object] = lambda: None) -> None:
        """Of each scheme, `first` first; `show()` after each. Raises `WorkbenchError` where the model cannot be run."""
        from workbench.quantization.models import quantized_model
        from workbench.quantization.texts import perplexity

        model, tokenizer, texts = self._ready(progress)
        show()
        wanted = sorted(choices, key=lambda choice: choice.key != first.key)
        for number, choice in enumerate(wanted):
            setting = Setting.of(choice, activations, threshold)
            if setting in self.measured:
                continue
            words = f"Measuring {choice.label}, {number + 1} of {len(wanted)}"
            progress(words, 0, len(texts))
            calibration = self.calibrated(progress) if setting.activations == "static" else None
            with quantized_model(model, choice.scheme, **choice.arguments, activations=setting.activations, calibration=calibration,
                                 threshold=threshold):
                self.measured[setting] = perplexity(model, tokenizer, texts,
                                                    progress=lambda done, total, words=words: progress(words, done, total))
            show()

    def measure_sensitivity(self, choice: Choice, activations: str = "16-bit", threshold: float = 6.0, progress: Progress = silent,
                            show: Callable[[], object] = lambda: None) -> None:
        """One layer at a time; `show()` after each."""
        from workbench.quantization.models import sensitivity

        model, tokenizer, texts = self._ready(progress)
        setting = Setting.of(choice, activations, threshold)
        found = self.minded.setdefault(setting, {})
        left = [name for name in self.layers if name not in found]
        calibration = self.calibrated(progress) if setting.activations == "static" else None
        if left:
            for row in sensitivity(model, tokenizer, texts, choice.scheme, **choice.arguments, layers=left, activations=setting.activations,
                                   calibration=calibration, threshold=threshold, base=self.base,
                                   progress=lambda *_: progress("Measuring layer by layer", len(found), len(self.layers))):
                found[row.layer] = row.perplexity
                show()

    def with_measures(self, lines: list[Line], activations: str = "16-bit", threshold: float = 6.0) -> list[Line]:
        """The same lines, with perplexity and size where they are known."""
        return [replace(line, perplexity=self.measured.get(Setting.of(line.choice, activations, threshold)),
                        size=self.size_in(line.choice)) for line in lines]

    def look(self, choices: list[Choice], choice: Choice, activations: str = "16-bit", threshold: float = 6.0) -> ModelLook:
        setting = Setting.of(choice, activations, threshold)
        found = self.minded.get(setting, {})
        return ModelLook(lines=self.with_measures([Line(each) for each in choices], activations, threshold), base=self.base,
                         base_size=self.size,
                         sensitivity=[(name, found[name]) for name in self.layers if name in found], scheme=choice.label, chosen=choice,
                         activations=activations)

    # ---- activations

    def calibrate(self, progress: Progress = silent) -> None:
        """Watches every linear layer on every other text, and on the others to see how the ranges hold."""
        from workbench.quantization.activations import collect

        progress("Loading the model", 0, 0)
        model, tokenizer = self.weights.model()
        texts, found = self.texts(), []
        if len(texts) < 2:
            raise DataError("One text is not enough: ranges are calibrated on some and tried on others.", "Give two or more.")
        for part, words in ((texts[::2], "Calibrating"), (texts[1::2], "Watching unseen texts")):
            found.append(collect(model, tokenizer, part, progress=lambda done, total, words=words: progress(words, done, total)))
        self.layers = self.layers or tuple(found[0])
        self.inputs = (found[0], found[1])

    def calibrated(self, progress: Progress = silent) -> dict[str, Any]:
        if self.inputs is None:
            self.calibrate(progress)
        return self.inputs[0]

    def activations(self, tensor: str, choice: Choice, threshold: float, patient: bool = True) -> ActivationLook | None:
        """What goes into the picked layer; None where nothing was collected, or it is no linear layer.

        Where the layer is large and `patient` is False the decibels are those of the threshold before.
        """
        name = module_of(tensor)
        if self.inputs is None or name not in self.inputs[0] or name not in self.inputs[1]:
            return None
        seen, unseen = self.inputs[0][name], self.inputs[1][name]
        bits = choice.arguments.get("bits", 8)
        key = (name, bits, round(threshold, 1))
        products = len(unseen.sample) * float(np.prod(self.weights.weights.shapes[tensor]))
        if key not in self._compared and (patient or products < QUICK_PRODUCTS):
            self._compared[key] = self._compare(tensor, seen, unseen.sample, bits, threshold)
        shown = self._compared.get(key) or next((rows for (layer, *_), rows in reversed(self._compared.items()) if layer == name), [[], []])
        return ActivationLook(name=tensor, maxima=np.maximum(seen.column_maxima.numpy(), unseen.column_maxima.numpy()), threshold=threshold,
                              tokens=seen.tokens + unseen.tokens, schemes=shown[0], output=shown[1], bits=bits)

    def _compare(self, tensor: str, seen: Any, unseen: Any, bits: int, threshold: float) -> list:
        from workbench.quantization import quantize
        from workbench.quantization.activations import compare

        weight = self.weights.weights.read(tensor).float()
        if weight.shape[1] != unseen.shape[1]:  # kept the other way round, as by Conv1D
            weight = weight.T.contiguous()
        rows = compare(weight, seen, unseen, bits=bits, threshold=threshold)
        output = [(row.scheme, row.output_db) for row in rows]
        output += [(scheme, quantize(weight, scheme, bits, 64, unseen).matmul_sqnr_db) for scheme in ("block-wise", "NF4")]
        return [[(row.scheme, row.dynamic_db, row.static_db) for row in rows], output]
