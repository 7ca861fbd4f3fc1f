"""What an adaptation method is: a plain value that says which weights are trained, kept in recipes and applied in the worker.

Adding a method is one class: a frozen dataclass with a `name` and `apply(model)`. All else has a default: what cannot work is found by
applying it to the model without weights, and a result is saved as transformers or peft save it. Imports torch or peft only where a method
is applied, so a notebook can write recipes without either. Not here: the methods themselves (`methods.py` and its neighbours), and how a
base model gets onto the device (`loading.py`).
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

from workbench.errors import RecipeError
from workbench.errors import named_fields as named_fields

METHODS: dict[str, type["Method"]] = {}

Shapes = dict[str, tuple[int, ...]]
"""Shape of every tensor of a model by its name, such as "model.layers.0.self_attn.q_proj.weight"."""


@dataclass(frozen=True, slots=True)
class Method:
    """The base of every method; `name` is its name in recipes and on the command line."""

    name: ClassVar[str] = ""
    def __init_subclass__(cls, **kw: Any):
        super(Method, cls).__init_subclass__(**kw)
        METHODS[cls.name] = cls

    def apply(self, model: Any) -> Any:
        """The model with the parameters to train marked; called in the worker, after loading, and on models without weights (`on_meta`).

        Raises `RecipeError` where this model has not what the method needs.
        """
        raise TypeError(f"{type(self).__name__} does not say how it is applied")

    @property
    def packs(self) -> bool:
        """Whether it can train on packed rows. One that puts tokens of its own before each row cannot: those after the first in a row would
        not see them."""
        return True

    @property
    def classifies(self) -> bool:
        """Whether it can train a classifier. One that is given embeddings in place of tokens cannot tell where a padded text ends, and
        answers from the padding."""
        return True

    def load_kwargs(self) -> dict[str, Any]:
        """What `from_pretrained` is told beyond the usual when the base model is loaded for this method: a `quantization_config`, say."""
        return {}

    def check(self, config: Any) -> None:
        """Raises `RecipeError` where a model of this transformers config cannot be adapted so. Reads no weights: the model is built without
        any."""
        from workbench.models.counting import outline

        outline(config, self)

    @property
    def by_shapes(self) -> bool:
        """Whether `check_shapes` finds all that could be wrong. Then nothing heavy is imported to check a model on this disk."""
        return False

    def check_shapes(self, shapes: Shapes) -> None:
        """Raises `RecipeError` where a model of these tensors cannot be adapted so."""

    def script(self) -> str | None:
        """Lines of a plain script that do to `model` what `apply` does, with `peft` and `transformers` imported; None where they need more
        than these."""
        return None

    def to_json(self) -> dict[str, Any]:
        """`{"name": "lora", "rank": 8, ...}`."""
        return {"name": self.name} | dataclasses.asdict(self)


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


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_count(value: Any) -> bool:
    """Whether it is a whole number of at least 1."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def on_meta(model: Any) -> bool:
    """Whether `model` has shapes and no values: it was built to be counted or checked."""
    return any(parameter.is_meta for parameter in model.parameters())


def shapes_of(model: Any) -> Shapes:
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


def head_of(model: Any) -> list[str]:
    """Names of the parameters that are new with a classifier: its head, and what its base did not bring (`new_parameters`, set where it was
    loaded: the pooler of a BERT saved as a masked language model). Every method trains them. [] in a language model."""
    if not type(model).__name__.endswith("ForSequenceClassification"):
        return []
    head = [name for name, _ in model.named_parameters() if not name.startswith(model.base_model_prefix + ".")]
    return head + list(getattr(model, "new_parameters", ()))


def new_modules(model: Any) -> list[str]:
    """The modules of `head_of` that peft must be told to train and save whole; of a "classifier" or "score" it knows."""
    modules = {name.rpartition(".")[0] for name in head_of(model)}
    return sorted(name for name in modules if name and name.split(".")[0] not in ("classifier", "score"))


def task_of(model: Any) -> str | None:
    """What peft calls the task of this model; None for a model without a head."""
    kind = type(model).__name__
    if kind.endswith("ForSequenceClassification"):
        return "SEQ_CLS"
    return "CAUSAL_LM" if hasattr(model, "lm_head") or "LMHead" in kind or "CausalLM" in kind else None
