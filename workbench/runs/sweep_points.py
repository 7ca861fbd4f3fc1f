"""The points of a sweep: combinations of the values given, checked, and what each is called in tables and in the names of its runs.

Starts nothing and writes nothing; the sweep itself is `sweep.py`.
"""

import contextlib
import dataclasses
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from workbench.data.mixture import Mixture
from workbench.data.stages import Stages
from workbench.errors import RecipeError, WorkbenchError
from workbench.models.methods import LoRA, Method
from workbench.recipes import Recipe

LABEL = 60
"""Characters of a value that is no number or word, in names and tables."""


def seeds_of(recipe: Recipe, seeds: int | Sequence[int]) -> list[int]:
    """So many from the recipe's own up, or those given. Raises `RecipeError` where they are none."""
    if not isinstance(recipe, Recipe):
        raise RecipeError(f"{recipe!r} is no recipe.", 'Use wb.sweep(wb.Recipe(model="town"), {"method.rank": [1, 2, 4]}).')
    given = list(range(recipe.seed, recipe.seed + seeds)) if isinstance(seeds, int) and not isinstance(seeds, bool) else seeds
    if isinstance(given, str) or not isinstance(given, Iterable) or not (found := list(given)) or len(set(map(str, found))) < len(found):
        raise RecipeError(f"seeds is {seeds!r}; it must be how many, or a list of different whole numbers.", "Use seeds=3.")
    return [recipe.replace(seed=seed).seed for seed in found]


def points_of(recipe: Recipe, values: dict[str, Sequence[Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(what each point is called, what it is), in the order of the product."""
    if not isinstance(values, dict) or not values:
        raise RecipeError("A sweep has nothing to vary.", 'Use wb.sweep(recipe, {"method.rank": [1, 2, 4]}).')
    labels: dict[str, list[Any]] = {}
    for field, given in values.items():
        if field == "seed":
            raise RecipeError("seed is varied at every point as it is.", "Use seeds=3, or seeds=[0, 1, 2].")
        if isinstance(given, (str, dict)) or not isinstance(given, Iterable):
            raise RecipeError(f"{field} is given {given!r}, not a list of values.", f"Use {{{field!r}: [...]}}.")
        values = values | {field: [value.item() if type(value).__module__ == "numpy" and hasattr(value, "item") else value for value in given]}
        if not values[field]:
            raise RecipeError(f"{field} has no values.", f"Use {{{field!r}: [...]}}.")
        labels[field] = _told_apart([_label(value) for value in values[field]])
        for number, value in enumerate(values[field]):
            plain = isinstance(value, (bool, int, float, str, Method))
            if plain and any(type(value) is type(other) and value == other for other in values[field][:number]):
                raise RecipeError(f"{field} has the value {labels[field][number]} twice.",
                                  "Give each value once; seeds= trains a point several times.")
    return ([dict(zip(values, combined, strict=True)) for combined in itertools.product(*labels.values())],
            [dict(zip(values, combined, strict=True)) for combined in itertools.product(*values.values())])


@contextlib.contextmanager
def at_point(label: dict[str, Any]) -> Iterator[None]:
    """What is wrong with a point is said of that point."""
    try:
        yield
    except WorkbenchError as error:
        error.what = f"The point {', '.join(f'{field} = {value}' for field, value in label.items())} cannot be trained: {error.what}"
        raise


def _label(value: Any) -> Any:
    """A value as a table and JSON have it: numbers and words themselves, a method as it is called, anything else in some words."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Method):
        told = [(field.name, part) for field in dataclasses.fields(value) if (part := getattr(value, field.name)) != _usual(field) or field.name == "rank"]
        return f"{type(value).__name__}({', '.join(f'{name}={_short_text(part)}' for name, part in told)})"
    if isinstance(value, (Mixture, Stages)):
        names = value.sources if isinstance(value, Mixture) else [name for mixture, _ in value.stages for name in mixture.sources]
        return f"{type(value).__name__}({_short_text(', '.join(dict.fromkeys(names)))})"
    if isinstance(value, (list, tuple, dict)) and len(text := _short_text(value)) <= LABEL and "…" not in text:
        return text
    return f"{len(value):,} {'entries' if isinstance(value, dict) else 'rows'}" if hasattr(value, "__len__") else type(value).__name__


def _usual(field: dataclasses.Field) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _short_text(part: Any) -> str:
    text = part if isinstance(part, str) else json.dumps(part, default=str)
    return text if len(text) <= LABEL else text[:LABEL - 1] + "…"


def _told_apart(labels: list[Any]) -> list[Any]:
    """The same words for different values get numbers."""
    return [f"{label} ({labels[:at].count(label) + 1})" if isinstance(label, str) and labels.count(label) > 1 else label
            for at, label in enumerate(labels)]


def short(label: dict[str, Any]) -> str:
    """A point in a run's name: "rank8-learning_rate0.003"; words stand for themselves."""
    return "-".join(value.rsplit("/", 1)[-1][:24] if isinstance(value, str) else f"{field.rsplit('.', 1)[-1]}{value:g}" if isinstance(value, float)
                    else f"{field.rsplit('.', 1)[-1]}{value}" for field, value in label.items())


def notes_of(recipe: Recipe, values: dict[str, Sequence[Any]]) -> list[str]:
    """Sentences on what varies along with the values."""
    method = recipe.method
    if "method.rank" in values and "method.alpha" not in values and isinstance(method, LoRA) and method.alpha is not None:
        return [f"alpha stays at {method.alpha:g} at every rank, so the update's scale alpha/rank falls as the rank grows; alpha=None keeps it."]
    return []
