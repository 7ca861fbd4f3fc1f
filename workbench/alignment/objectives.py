"""What an objective is that has settings of its own: a plain value that goes into a recipe in place of the objective's name.

    wb.Recipe(objective=wb.DPO(beta=0.1), ...)      the same as objective="dpo", whose settings are the usual ones

Adding one is one class here or in a file of its own, and the module that trains it (`training/objectives.py`). Imports no torch, so a
notebook can write recipes without it. Not here: how each trains, and what its rows must be (`recipes.OBJECTIVES`).
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from workbench.errors import RecipeError

OBJECTIVES: dict[str, type["Objective"]] = {}
"""Those with settings, by name."""
RANGES: dict[str, tuple[float, float]] = {
    "beta": (0.0, 1e6),
    "kl_target": (1e-9, 1e9),
    "temperature": (1e-3, 100.0),
    "reward_weights": (-1e9, 1e9),
}
"""Settings of objectives that can be changed while a run goes, with the range a value (of `reward_weights`: each weight) must lie in."""


def is_finite(value: Any) -> bool:
    """Whether it is a number, and neither infinite nor NaN."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


@dataclass(frozen=True, slots=True)
class Objective:
    """The base of every objective with settings; `name` is its name in recipes and on the command line."""

    name: ClassVar[str] = ""
    live: ClassVar[tuple[str, ...]] = ()
    """Fields that can be changed while a run goes; each is one of `RANGES`."""
    optional: ClassVar[tuple[str, ...]] = ()
    """Those of `live` that None switches off."""
    policy: ClassVar[bool] = False
    """Whether its model writes replies that are rewarded."""

    def __init_subclass__(cls, **kw: Any):
        super(Objective, cls).__init_subclass__(**kw)
        OBJECTIVES[cls.name] = cls

    def live_values(self) -> dict[str, Any]:
        """The live settings a run starts with, by name; one that is switched off (no KL target, say) is None."""
        return {name: getattr(self, name) for name in self.live}

    def prepare(self) -> None:
        """Raises `RecipeError` for what can be known wrong before a process starts, and takes looking at files: rewards that are not there."""

    def kept_in(self, folder: Path) -> "Objective":
        """These settings with all that lives in memory alone (functions) written into the run folder. Raises `OSError`."""
        return self

    def at(self, folder: Path) -> "Objective":
        """These settings, read from the recipe of the run in `folder`, with whole paths for what `kept_in` wrote there."""
        return self

    def check_known(self) -> None:
        """Raises `RecipeError` where training with these settings, read from a run's recipe, would run code that this person never named."""

    def to_json(self) -> dict[str, Any]:
        """`{"beta": 0.1, ...}`, without the name, which the recipe has."""
        return dataclasses.asdict(self)

    def _number(self, name: str, least: float, most: float, example: float, optional: bool = False) -> None:
        value = getattr(self, name)
        if optional and value is None:
            return
        if not is_finite(value) or not least <= value <= most:
            raise RecipeError(f"{name} of {self.name} is {value!r}; it must be a number from {least:g} to {most:g}.", f"Use {name}={example:g}.")

    def _whole(self, name: str, least: int, example: int) -> None:
        value = getattr(self, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise RecipeError(f"{name} of {self.name} is {value!r}; it must be a whole number of at least {least}.", f"Use {name}={example}.")

    def _one_of(self, name: str, known: tuple[Any, ...]) -> None:
        value = getattr(self, name)
        if not any(type(value) is type(one) and value == one for one in known):
            raise RecipeError(f"{name} of {self.name} is {value!r}, which is none of {', '.join(map(str, known))}.", f"Use {name}={known[0]!r}.")


def of(name: Any, body: Mapping[str, Any] | None = None) -> Objective | None:
    """The settings of the objective `name`, the usual ones where `body` says nothing; None of one that has none. Raises `RecipeError` for a
    field it does not know."""
    if body is not None and not (isinstance(body, Mapping) and all(isinstance(field, str) for field in body)):
        raise RecipeError(f"settings is {body!r}, not the settings of an objective.", "Give objective alone: a name, or a value such as wb.DPO(beta=0.1).")
    if not isinstance(name, str) or name not in OBJECTIVES:
        if body:
            raise RecipeError(f"The objective {name!r} has no settings of its own, and {next(iter(body))!r} is given.", "Leave it out.")
        return None
    return OBJECTIVES[name](**(body or {}))


def check_live(name: str, value: Any, settings: Objective | None, objective: str) -> None:
    """Raises `RecipeError` where a run with these settings cannot change `name`, one of `RANGES`, to `value`."""
    known = settings.live_values() if settings else {}
    if name not in known:
        remedy = f"It can change {', '.join(known)}." if known else 'Runs of objectives such as "dpo" and "ppo" have it.'
        raise RecipeError(f"A run of the objective {objective!r} has no {name} to change.", remedy)
    if value is None and name in settings.optional:
        return
    least, most = RANGES[name]
    named = value if isinstance(known[name], dict) else {"": value}
    if not isinstance(named, dict) or not named:
        raise RecipeError(f"{name} is {value!r}; it must be numbers by name.", f"Use {name}={{{next(iter(known[name]), 'reward')!r}: 1.0}}.")
    for part, number in named.items():
        if part and part not in known[name]:
            raise RecipeError(f"{name} names {part!r}, which is none of this run's.", f"They are {', '.join(known[name])}.")
        if not is_finite(number) or not least <= number <= most:
            of_part = f" of {part!r}" if part else ""
            raise RecipeError(f"{name}{of_part} cannot be {number!r}; it must lie between {least:g} and {most:g}.", "Nothing was changed.")
    if not isinstance(value, dict) and name not in settings.optional:
        # an objective may have narrower bounds (the beta of IPO is above 0); what is optional may be let go by the same change
        dataclasses.replace(settings, **dict.fromkeys(settings.optional) | {name: value})
