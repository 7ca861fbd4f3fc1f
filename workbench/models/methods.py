"""How much of the model is trained: `Full()` and `LoRA(...)`, plain values that go into a recipe.

A method imports torch or peft only in `apply`, so a notebook can write recipes without either. Adding a method is one class here. Not here: what is
trained *on* (`training/`), and how a base model gets onto the device (`loading.py`).
"""

import dataclasses
import difflib
import functools
from dataclasses import dataclass, field
from typing import Any, ClassVar

from workbench.errors import RecipeError
from workbench.models.quiet import quiet_peft

METHODS: dict[str, type["Method"]] = {}


def named_fields(kind: type) -> type:
    """A decorator of a dataclass: an argument that is none of its fields is refused in one sentence. Its signature stays."""
    made = kind.__init__

    @functools.wraps(made)
    def __init__(self, *args: Any, **fields: Any):
        names = [f.name for f in dataclasses.fields(kind) if f.init]
        for name in fields:
            if name not in names:
                close = difflib.get_close_matches(name, names, n=1)
                raise RecipeError(f"{kind.__name__} has no field {name!r}.", f"Did you mean {close[0]!r}?" if close else f"Its fields are {', '.join(names) or 'none'}.")
        made(self, *args, **fields)

    kind.__init__ = __init__
    return kind


@dataclass(frozen=True, slots=True)
class Method:
    """The base of every method; `name` is its name in recipes and on the command line."""

    name: ClassVar[str] = ""

    def __init_subclass__(cls, **kw: Any):
        super(Method, cls).__init_subclass__(**kw)
        METHODS[cls.name] = cls

    def apply(self, model: Any) -> Any:
        """The model with the parameters to train marked; called in the worker, after loading."""
        raise TypeError(f"{type(self).__name__} does not say how it is applied")

    def to_json(self) -> dict[str, Any]:
        """`{"name": "lora", "rank": 8, ...}`."""
        return {"name": self.name} | dataclasses.asdict(self)


@named_fields
@dataclass(frozen=True, slots=True)
class Full(Method):
    """Every parameter is trained."""

    name: ClassVar[str] = "full"

    def apply(self, model: Any) -> Any:
        model.requires_grad_(True)
        return model


@named_fields
@dataclass(frozen=True, slots=True, kw_only=True)
class LoRA(Method):
    """Low-rank adaptation (Hu et al. 2021): W + (alpha / rank) B A, with only A and B trained.

    Adds rank * (d_in + d_out) parameters a matrix. B starts at zero, so the first step starts from the base model.
    """

    name: ClassVar[str] = "lora"
    rank: int = 8
    alpha: float | None = None
    """Scale of the update; None is twice the rank, which keeps the scale the same at every rank."""
    dropout: float = 0.0
    target_modules: str | tuple[str, ...] = "all-linear"
    """Names of the matrices that get an adapter, or "all-linear" (QLoRA's choice: every one but the output head)."""
    bias: str = "none"
    options: dict[str, Any] = field(default_factory=dict)
    """Anything else `peft.LoraConfig` takes."""

    def __post_init__(self):
        if isinstance(self.target_modules, list):
            object.__setattr__(self, "target_modules", tuple(self.target_modules))
        if not isinstance(self.rank, int) or isinstance(self.rank, bool) or self.rank < 1:
            raise RecipeError(f"LoRA's rank is {self.rank!r}, which is not a whole number of at least 1.", "Use a rank such as 8.")
        if self.alpha is not None and not (_is_number(self.alpha) and self.alpha > 0):
            raise RecipeError(f"LoRA's alpha is {self.alpha!r}; it must be above 0.", "Leave it out to get twice the rank.")
        if not (_is_number(self.dropout) and 0 <= self.dropout < 1):
            raise RecipeError(f"LoRA's dropout is {self.dropout!r}; it must be at least 0 and below 1.", "Use 0 or 0.1.")
        if self.bias not in ("none", "all", "lora_only"):
            raise RecipeError(f"LoRA's bias is {self.bias!r}.", 'Use "none", "all" or "lora_only".')
        if not isinstance(self.target_modules, (str, tuple)) or not all(isinstance(name, str) for name in self.target_modules):
            raise RecipeError(f"LoRA's target_modules is {self.target_modules!r}, not names of matrices.", 'Use target_modules="all-linear".')
        if not self.target_modules:
            raise RecipeError("LoRA has no target modules, so nothing would be trained.", 'Use target_modules="all-linear".')

    def apply(self, model: Any) -> Any:
        targets = self.target_modules if isinstance(self.target_modules, str) else list(self.target_modules)
        try:
            with quiet_peft() as peft:
                config = peft.LoraConfig(
                    r=self.rank, lora_alpha=2 * self.rank if self.alpha is None else self.alpha, lora_dropout=self.dropout,
                    target_modules=targets, bias=self.bias, task_type="CAUSAL_LM", **self.options)
                return peft.get_peft_model(model, config)
        except (ValueError, TypeError) as error:  # peft's own words for an unknown module or option
            names = sorted({name.rsplit(".", 1)[-1] for name, module in model.named_modules() if type(module).__name__ in ("Linear", "Conv1D")})
            raise RecipeError(f"LoRA cannot be applied to this model: {error}.",
                              f"Its matrices are called {', '.join(names)}.") from error


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def from_json(body: dict[str, Any]) -> Method:
    """The method that `to_json` wrote. Raises `RecipeError` for a name or field it does not know."""
    body = dict(body)
    name = body.pop("name", None)
    if name not in METHODS:
        raise RecipeError(f"There is no method called {name!r}.", f"Use one of {', '.join(METHODS)}.")
    try:
        return METHODS[name](**body)
    except TypeError as error:
        raise RecipeError(f"The method {name} cannot be read: {error}.", "Its fields are " + ", ".join(
            f.name for f in dataclasses.fields(METHODS[name])) + ".") from error
