"""Weights in fewer bits: schemes as pure functions on tensors, checkpoints on disk, activations, and whole models. Nothing heavy is
imported before it is used."""

from typing import TYPE_CHECKING, Any

_PUBLIC = {
    "SCHEMES": "schemes", "Scheme": "schemes", "find_scheme": "schemes",
    "quantize": "quantized", "Quantized": "quantized",
    "open_weights": "tensors", "Weights": "tensors",
    "inspect": "inspection", "Inspection": "inspection", "overview": "inspection", "Row": "inspection",
    "collect": "activations", "static_against_dynamic": "activations",
    "perplexity": "texts", "quantize_model": "models", "quantized_model": "models", "sensitivity": "models",
}
__all__ = sorted(_PUBLIC)

if TYPE_CHECKING:
    from workbench.quantization.activations import collect, static_against_dynamic
    from workbench.quantization.inspection import Inspection, Row, inspect, overview
    from workbench.quantization.models import quantize_model, quantized_model, sensitivity
    from workbench.quantization.quantized import Quantized, quantize
    from workbench.quantization.schemes import SCHEMES, Scheme, find_scheme
    from workbench.quantization.tensors import Weights, open_weights
    from workbench.quantization.texts import perplexity


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"workbench.quantization has no {name!r}; it has {', '.join(__all__)}")
    import importlib

    value = getattr(importlib.import_module(f"workbench.quantization.{_PUBLIC[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
