"""Quantization-aware training: the weights are rounded in every forward pass, and the gradient goes straight through the rounding.

Not here: the layer that rounds (`rounding.py`), and quantization after training (`quantization/`), whose schemes these are.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from workbench.errors import RecipeError
from workbench.models.adaptation import Method, named_fields

SCHEMES = ("absmax", "zero-point", "vector-wise", "block-wise")


@named_fields
@dataclass(frozen=True, slots=True, kw_only=True)
class QAT(Method):
    """Every parameter is trained, under linear layers (but the output head) that see their weights as `bits` would hold them (Jacob et al.
    2018, section 3).

    Saved are the weights themselves, unrounded: quantized after training by the same scheme and bits they give the logits that training
    saw. A model opened again is the unrounded one; `wb.QAT(...).apply(model)` rounds it as in training.
    """

    name: ClassVar[str] = "qat"
    bits: int = 8
    scheme: str = "vector-wise"
    """What shares a scale: "absmax" and "zero-point" the tensor, "vector-wise" an output row, "block-wise" `block` neighbours."""
    block: int = 64
    activations: bool = False
    """Whether the layers' inputs are rounded too, each time anew: one scale a token (absmax and zero-point: one for all). The block-wise
    scheme has none."""

    def __post_init__(self):
        if not isinstance(self.bits, int) or isinstance(self.bits, bool) or not 2 <= self.bits <= 8:
            raise RecipeError(f"QAT's bits are {self.bits!r}, not a whole number from 2 to 8.", "Use bits=8.")
        if self.scheme not in SCHEMES:
            raise RecipeError(f"QAT's scheme is {self.scheme!r}, which is none of {', '.join(SCHEMES)}.", 'Use scheme="vector-wise".')
        if not isinstance(self.block, int) or isinstance(self.block, bool) or self.block < 1:
            raise RecipeError(f"QAT's block is {self.block!r}, not a whole number of at least 1.", "Use block=64.")
        if not isinstance(self.activations, bool):
            raise RecipeError(f"QAT's activations is {self.activations!r}; it is True or False.", "Use activations=False.")
        if self.activations and self.scheme == "block-wise":
            raise RecipeError("QAT's block-wise scheme leaves the inputs of a layer as they are.",
                              'Use activations=False, or scheme="vector-wise".')

    def apply(self, model: Any) -> Any:
        from workbench.models import rounding

        if not rounding.round_linears(model, self.bits, self.scheme, self.block, self.activations):
            raise RecipeError("QAT rounds linear layers, and this model has none but its head.", "Use wb.Full.")
        model.requires_grad_(True)
        model.config.quantization_aware = self.to_json()  # kept with the weights, so that the settings are known
        return model
