"""How much of the model is trained: every method, plain values that go into a recipe.

Here are those that train the model's own weights as they are: all, all but named parts, or the biases. Those that add weights are in
`lora.py` and `added.py`, those that train rounded ones in `aware.py`. Not here: what is trained *on* (`training/`), and how a base model
gets onto the device (`loading.py`).
"""

import fnmatch
from dataclasses import dataclass
from typing import Any, ClassVar

from workbench.errors import RecipeError
from workbench.models.adaptation import METHODS, Method, Shapes, from_json, head_of, named_fields, shapes_of
from workbench.models.added import Adapters, Peft, PromptTuning
from workbench.models.aware import QAT
from workbench.models.frozen import FrozenBackbone
from workbench.models.lora import LoRA, QLoRA

__all__ = ["METHODS", "QAT", "Adapters", "BitFit", "Freeze", "FrozenBackbone", "Full", "LoRA", "Method", "Peft", "PromptTuning", "QLoRA", "from_json",
           "named_fields"]


@named_fields
@dataclass(frozen=True, slots=True)
class Full(Method):
    """Every parameter is trained."""

    name: ClassVar[str] = "full"

    @property
    def by_shapes(self) -> bool:
        return True

    def apply(self, model: Any) -> Any:
        model.requires_grad_(True)
        return model

    def script(self) -> str:
        return "model.requires_grad_(True)"


@named_fields
@dataclass(frozen=True, slots=True)
class Freeze(Method):
    """Every parameter is trained but those of the named parts.

    A pattern is a name with `*` for anything (fnmatch), matched against a parameter's whole name or any part of it between dots:
    "embed_tokens", "layers.0", "layers.[0-3]" and "*.self_attn.*" all freeze what they say. Raises `RecipeError` for a pattern that no
    parameter has.
    """

    name: ClassVar[str] = "freeze"
    patterns: tuple[str, ...] = ("embed_tokens",)

    def __post_init__(self):
        given = (self.patterns,) if isinstance(self.patterns, str) else self.patterns
        if not given or not isinstance(given, (list, tuple)) or not all(isinstance(pattern, str) and pattern for pattern in given):
            raise RecipeError(f"Freeze's patterns are {self.patterns!r}, not names of parts of the model.",
                              'Use wb.Freeze(["embed_tokens", "layers.0"]).')
        object.__setattr__(self, "patterns", tuple(given))

    @property
    def by_shapes(self) -> bool:
        return True

    def check_shapes(self, shapes: Shapes) -> None:
        frozen = {name for pattern in self.patterns for name in self._matches(pattern, shapes)}
        if len(frozen) == len(shapes):
            raise RecipeError(f"Freeze({list(self.patterns)}) leaves nothing to train.", "Name fewer parts.")

    def _matches(self, pattern: str, names: Any) -> list[str]:
        found = [name for name in names if fnmatch.fnmatchcase(f".{name}.", f"*.{pattern}.*") or fnmatch.fnmatchcase(name, pattern)]
        if not found:
            parts = list(dict.fromkeys(part for name in names for part in name.split(".")[:-1] if not part.isdecimal()))
            raise RecipeError(f"Freeze cannot find {pattern!r}: no parameter of this model is called so.",
                              f"Its parts are called {', '.join(parts)}.")
        return found

    def apply(self, model: Any) -> Any:
        shapes = shapes_of(model)
        self.check_shapes(shapes)
        frozen = {name for pattern in self.patterns for name in self._matches(pattern, shapes)} - set(head_of(model))
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name not in frozen)
        return model


@named_fields
@dataclass(frozen=True, slots=True)
class BitFit(Method):
    """Only the biases are trained (Ben Zaken et al. 2022), and a classification head where there is one.

    Raises `RecipeError` for a model without biases, as those of the Llama family are.
    """

    name: ClassVar[str] = "bitfit"

    @property
    def by_shapes(self) -> bool:
        return True

    def check_shapes(self, shapes: Shapes) -> None:
        if not any(_is_bias(name) for name in shapes):
            raise RecipeError("BitFit trains biases alone, and this model has none.",
                              "Use wb.LoRA(rank=8), or a model with biases such as those of the Qwen2 or GPT-2 families.")

    def apply(self, model: Any) -> Any:
        self.check_shapes(shapes_of(model))
        head = set(head_of(model))
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(_is_bias(name) or name in head)
        return model

    def script(self) -> str:
        return 'for name, parameter in model.named_parameters():\n    parameter.requires_grad_(name.rsplit(".", 1)[-1] == "bias")'


def _is_bias(name: str) -> bool:
    return name.rsplit(".", 1)[-1] == "bias"
