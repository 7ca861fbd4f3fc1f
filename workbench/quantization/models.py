"""A whole model under a scheme: every linear layer fake-quantized (its weight replaced by what the codes stand for), its size, and which
layer minds most.

Weights are put back as the very objects they were. Quantized kernels, which save time, are not here: this measures what quantization does
to a model's answers. Quantization-aware training is a method of training, in `workbench.models`.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from workbench.errors import WorkbenchError
from workbench.quantization.activations import Inputs, StaticScale
from workbench.quantization.coders import Coder
from workbench.quantization.layers import linear_layers, matrix, put, swapped
from workbench.quantization.products import outlier_columns, quantize_inputs
from workbench.quantization.quantized import quantize
from workbench.quantization.schemes import Scheme
from workbench.quantization.texts import perplexity

__all__ = ["LayerRow", "Sizes", "perplexity", "quantize_model", "quantized_model", "sensitivity"]

ACTIVATIONS = ("16-bit", "dynamic", "static")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What a model's weights take, before and under a scheme. Parameters that are no linear weight stay as they are; tied ones count
    once."""

    bytes_before: int
    bytes_after: int
    layers: tuple[str, ...]
    """The linear layers that were quantized."""
    sqnr_db: Mapping[str, float]
    """Layer → SQNR of its weight."""
    bits_per_weight: float
    """Of the quantized layers together, constants included, and outlier columns where they are known."""
    outlier_share: float | None = 0.0
    """Of the weights of the quantized layers, those that LLM.int8() keeps in 16 bits: the columns over the threshold in the calibration,
    counted in the bytes. None where the columns are found in each batch and no calibration says which: then the bytes count none, which is
    too few."""


def quantize_model(model: Any, scheme: str | Scheme, bits: int = 8, block: int | None = None, layers: Sequence[str] | None = None,
                   activations: str = "16-bit",
                   calibration: Mapping[str, Inputs] | None = None, threshold: float = 6.0) -> tuple[Any, Sizes]:
    """`(a copy of the model with its linear layers quantized, Sizes)`. The model itself is not touched. Arguments and errors as
    `quantized_model`."""
    coder = _check(scheme, bits, block, activations, calibration)
    twin = copy.deepcopy(model)
    modules = linear_layers(twin, layers)
    kept = {name: _outliers(name, coder, activations, calibration, threshold) for name in modules}
    found = {name: _quantized(module, coder, kept[name]) for name, module in modules.items()}
    sizes = _sizes(twin, modules, found)
    for name, module in modules.items():
        hook_inputs(module, coder, activations, calibration and calibration.get(name), threshold, found[name].back)  # type: ignore[arg-type]
        put(module, found[name].back)
    return twin, sizes


@contextmanager
def quantized_model(model: Any, scheme: str | Scheme, bits: int = 8, block: int | None = None, layers: Sequence[str] | None = None,
                    activations: str = "16-bit",
                    calibration: Mapping[str, Inputs] | None = None, threshold: float = 6.0) -> Iterator[Sizes]:
    """Inside the `with`, `model` is quantized; after it, it is what it was to the last bit, whatever happened inside. Gives `Sizes`.

    `layers` are names of linear layers, None all of them (`layers.linear_layers` says which). `activations`: "16-bit" quantizes weights
    alone, "dynamic" also the inputs of each layer as the scheme has it, "static" with the ranges in `calibration` (from
    `activations.collect`, on other texts than those it is judged by afterwards: on the same ones nothing would ever be clipped). LLM.int8()
    finds its outlier columns in each batch (static: in the calibration), so it differs from vector-wise only where activations are
    quantized; a `calibration` beside "dynamic" says how many columns the size shall count in 16 bits. Raises `WorkbenchError` for settings
    that cannot be or a name that is no linear layer, `DataError` for a weight that is not finite.
    """
    coder = _check(scheme, bits, block, activations, calibration)
    modules = linear_layers(model, layers)
    kept = {name: _outliers(name, coder, activations, calibration, threshold) for name in modules}
    found = {name: _quantized(module, coder, kept[name]) for name, module in modules.items()}
    with ExitStack() as stack:
        for name, module in modules.items():
            for hook in hook_inputs(module, coder, activations, calibration and calibration.get(name), threshold, found[name].back):  # type: ignore[arg-type]
                stack.callback(hook.remove)
        sizes = _sizes(model, modules, found)
        stack.enter_context(swapped(list(modules.values()), [layer.back for layer in found.values()]))
        yield sizes


class _Layer(NamedTuple):
    """What is kept of a quantized weight: its codes are not, so that a model takes twice its memory and no more."""

    back: Tensor
    """(d_out × d_in) what the codes stand for, in the weight's dtype."""
    sqnr_db: float
    bits_per_weight: float
    outliers: int | None
    """Columns that stay 16-bit; None where that is not known."""


def _quantized(module: Any, coder: Coder, outliers: int | None) -> _Layer:
    found = quantize(matrix(module), coder.scheme, coder.bits if coder.scheme.integer else 8, coder.block)
    return _Layer(found.dequantize(), found.sqnr_db, coder.bits_per_weight(found.shape, outliers or 0), outliers)


def _outliers(name: str, coder: Coder, activations: str, calibration: Mapping[str, Inputs] | None, threshold: float) -> int | None:
    """How many columns of a layer stay 16-bit, by the calibration."""
    if not coder.scheme.splits or activations == "16-bit":
        return 0
    seen = calibration and calibration.get(name)
    return int((seen.column_maxima > threshold).sum()) if seen else None


def _check(scheme: str | Scheme, bits: int, block: int | None, activations: str, calibration: Mapping[str, Inputs] | None) -> Coder:
    coder = Coder.of(scheme, bits, block)
    if activations not in ACTIVATIONS:
        raise WorkbenchError(f"Activations cannot be {activations!r}.", f"Choose one of {', '.join(ACTIVATIONS)}.")
    if activations == "static" and not calibration:
        raise WorkbenchError("Static scales need ranges to be calibrated by, and there are none.",
                             "Give calibration=collect(model, tokenizer, texts[::2]), and measure on texts[1::2].")
    return coder


def _sizes(model: Any, modules: Mapping[str, Any], found: Mapping[str, _Layer]) -> Sizes:
    before = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    linear = {id(module.weight): (module.weight, found[name].bits_per_weight) for name, module in modules.items()}
    saved = sum(weight.numel() * (weight.element_size() - bits / 8) for weight, bits in linear.values())
    weights = sum(weight.numel() for weight, _ in linear.values())
    share = None
    if all(layer.outliers is not None for layer in found.values()):
        share = sum(layer.outliers * layer.back.shape[0] for layer in found.values()) / sum(layer.back.numel() for layer in found.values())
    return Sizes(bytes_before=before, bytes_after=round(before - saved), layers=tuple(modules),
                 sqnr_db={name: layer.sqnr_db for name, layer in found.items()},
                 bits_per_weight=sum(weight.numel() * bits for weight, bits in linear.values()) / weights, outlier_share=share)


def hook_inputs(module: Any, coder: Coder, activations: str, seen: Inputs | None, threshold: float, back: Tensor) -> list[Any]:
    """Hooks on one layer that quantize what it is given; none where the scheme or the settings leave that alone. `back` (d_out × d_in) is
    the quantized weight that it will have; it still has its own.

    With LLM.int8() the outlier columns of each batch are multiplied by the layer's own weights: what the quantized ones lack is added to
    the output.
    """
    if activations == "16-bit" or not coder.scheme.activations:
        return []
    static = StaticScale.of(seen, coder, threshold) if activations == "static" and seen is not None else None
    if activations == "static" and static is None:
        raise WorkbenchError("The calibration has no inputs of a layer that is to be quantized.", "Collect them with the same layers.")
    lacking = matrix(module).float() - back.float() if coder.scheme.splits else None
    batch: dict[str, Tensor] = {}

    def before(_: Any, given: tuple) -> tuple:
        x = given[0]
        rows = x.reshape(-1, x.shape[-1])
        outliers = (outlier_columns(rows, threshold) if static is None else static.outliers) if coder.scheme.splits else None
        if outliers is not None:
            batch["outliers"], batch["x"] = outliers, rows[:, outliers]
        back = quantize_inputs(rows, coder, outliers) if static is None else static(rows)
        return back.to(x.dtype).view_as(x), *given[1:]

    def after(_: Any, given: tuple, output: Tensor) -> Tensor:
        x, outliers = batch.pop("x"), batch.pop("outliers")
        if not len(outliers):
            return output
        return output + (x.float() @ lacking[:, outliers].T).to(output.dtype).view_as(output)

    hooks = [module.register_forward_pre_hook(before)]
    return [*hooks, module.register_forward_hook(after)] if coder.scheme.splits else hooks


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRow:
    """The model with one layer quantized and the rest as it is."""

    layer: str
    perplexity: float
    difference: float
    """Against the model as it is."""
    sqnr_db: float
    """Of the layer's weight."""
    bytes_saved: int


def sensitivity(model: Any, tokenizer: Any, texts: Iterable[Any], scheme: str | Scheme, bits: int = 8, block: int | None = None,
                layers: Sequence[str] | None = None,
                activations: str = "16-bit", calibration: Mapping[str, Inputs] | None = None, threshold: float = 6.0,
                base: float | None = None, max_length: int = 512,
                progress: Callable[[int, int], None] | None = None) -> Iterator[LayerRow]:
    """One layer at a time: a row as soon as it is measured, in the model's order. `base` is the perplexity of the model as it is, measured
    first where not given.

    `progress(layers done, layers)` is called before each layer and at the end; what it raises ends the work, and so does no longer asking
    for rows. Between rows and at the end the model is what it was.
    """
    texts = list(texts)
    _check(scheme, bits, block, activations, calibration)
    names = list(linear_layers(model, layers))
    if base is None:
        base = perplexity(model, tokenizer, texts, max_length)
    for done, name in enumerate(names):
        if progress:
            progress(done, len(names))
        with quantized_model(model, scheme, bits, block, [name], activations, calibration, threshold) as sizes:
            found = perplexity(model, tokenizer, texts, max_length)
        yield LayerRow(layer=name, perplexity=found, difference=found - base, sqnr_db=sizes.sqnr_db[name],
                       bytes_saved=sizes.bytes_before - sizes.bytes_after)
    if progress:
        progress(len(names), len(names))
