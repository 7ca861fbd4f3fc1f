"""How a reply is read: which values of a kind it states, its numbers, its list, and whether it denies or asks.

Reading is of wording, not of meaning: "not a cat" states a cat and denies. Values of the world of the shipped base models and of the
neighbouring village are known, others are not seen. It knows no task (fact_tasks.py, text_tasks.py).
"""

import re
from collections.abc import Iterable
from functools import lru_cache

from workbench.town.world import COLOURS, DRINKS, EVENTS, FLOWERS, FOODS, GAMES, GOODS, INSTRUMENTS, MONTHS, PETS, TRADES, VILLAGE, WEATHER, Person, village, world

NUMBERS = ("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen "
           "nineteen twenty").split()
"""The numbers that are also read as words."""

_DENIAL = re.compile(r"\b(not|no|never|nobody|neither|nor)\b|n['’]t\b", re.IGNORECASE)
_PLURALS = {"mouse": "mice", "goose": "geese", "pony": "ponies"}
_WEATHER_FORMS = {"sunny": ("sun", "sunny"), "rainy": ("rain", "rainy", "rained", "raining"), "windy": ("wind", "windy"),
                  "snowy": ("snow", "snowy", "snowed", "snowing"), "foggy": ("fog", "foggy")}
_NUMBER = re.compile(r"(?:(?<![\w-])-)?\b\d+\b|\b(?:" + "|".join(NUMBERS) + r")\b", re.IGNORECASE)
_LEAD_IN = re.compile(r".*(?::|\b(?:is|are)\b)", re.DOTALL)


@lru_cache(maxsize=1)
def everybody() -> dict[str, Person]:
    """The people of the town and of the village by their names in lower case."""
    return {person.name.lower(): person for person in (*world().people, *village())}


def thing(good: str) -> str:
    """A good without its article: "a pot" is "pot"."""
    return good.removeprefix("a ")


def _forms(kind: str) -> dict[str, str]:
    """Each form a value is written in, lower case, to the value."""
    if kind == "trade":
        return {form.lower(): trade.noun for trade in TRADES for form in (trade.noun, trade.does, f"{trade.doing} {trade.thing}")}
    if kind == "weather":
        return {form: value for value in WEATHER for form in _WEATHER_FORMS[value]}
    if kind == "pet":
        return {form: pet for pet in PETS for form in (pet, _PLURALS.get(pet, pet))}
    values = {"town": (*world().towns, VILLAGE), "food": FOODS, "colour": COLOURS, "drink": DRINKS, "flower": FLOWERS, "game": GAMES, "instrument": INSTRUMENTS,
              "month": MONTHS, "event": EVENTS,
              "good": [thing(good) for good in GOODS], "name": [person.name for person in everybody().values()]}
    return {value.lower(): value for value in values[kind]}


@lru_cache(maxsize=None)
def _reader(kind: str) -> tuple[re.Pattern, dict[str, str]]:
    forms = _forms(kind)
    return re.compile(r"\b(" + "|".join(sorted(map(re.escape, forms), key=len, reverse=True)) + r")s?\b", re.IGNORECASE), forms


def mentions(kind: str, text: str) -> list[str]:
    """The values of that kind in the order they stand in, with repetitions, as the world spells them (trades as nouns, goods without "a").

    `kind` is one of "name", "trade", "town", "pet", "food", "drink", "flower", "game", "instrument", "colour", "good", "month", "weather", "event"; KeyError for any other.
    """
    pattern, forms = _reader(kind)
    return [forms[found.lower()] for found in pattern.findall(text)]


def stated(kind: str, text: str) -> set[str]:
    """The set of `mentions`."""
    return set(mentions(kind, text))


def numbers(text: str) -> list[int]:
    """The numbers in the order they stand in: digits ("-3" too), and words up to twenty."""
    return [NUMBERS.index(found.lower()) if found.lower() in NUMBERS else int(found) for found in _NUMBER.findall(text)]


def denies(reply: str) -> bool:
    """Whether a word of denial stands in it; "I do not know" is one."""
    return _DENIAL.search(reply) is not None


def asserts(reply: str) -> bool:
    """Whether it neither denies nor asks."""
    return not denies(reply) and "?" not in reply


def plain(text: str) -> str:
    """For comparing whole sentences: lower case, single spaces, no quotation marks around it, no final full stop."""
    return " ".join(text.lower().split()).strip("\"'“”").removesuffix(".").rstrip()


def items(reply: str) -> list[str]:
    """The items of a list, lower case, parted by commas, "and", "then" or line ends; a lead-in up to a colon, "is" or "are" is left out."""
    parts = re.split(r",|;|\n|\band\b|\bthen\b", _LEAD_IN.sub("", reply.lower()))
    cleaned = (re.sub(r"^\s*(?:\d+[.)]|-)\s*", "", part).strip(" .\"'") for part in parts)
    return [part for part in cleaned if part]


def joined(words: Iterable[str]) -> str:
    """The list as tasks write it: "a, b, c"."""
    return ", ".join(words)
