"""The town's truth: 240 people, each with five facts (trade, town, pet, food, colour), drawn once from a fixed seed.

Every town has every trade exactly once, so a person is also found from the other side ("the baker of Orla").
Half of the people are `asked`: documents and instruction rows may put questions about them. The other half is held out:
documents state their facts, no document asks about them.
It does not know how a fact is said (phrases.py) nor what is written about it (documents.py).
"""

import random
from dataclasses import dataclass
from functools import lru_cache

KINDS = ("trade", "town", "pet", "food", "colour")

TOWNS = ("Orla", "Brenn", "Castow", "Dunmere", "Elmford", "Fallby", "Garrow", "Hathby", "Ilden", "Kesting", "Linmoor", "Norwell")

PETS = ("cat", "dog", "goat", "hen", "goose", "pony", "rabbit", "parrot", "turtle", "mouse", "ferret", "donkey", "pigeon", "frog")

FOODS = ("apple pie", "pea soup", "roast duck", "plum cake", "rye pancakes", "baked beans", "fried eggs", "mushroom stew",
         "pear jam", "goat cheese", "onion tart", "rice pudding", "carrot salad", "dumplings", "noodles", "walnuts")

COLOURS = ("red", "blue", "green", "yellow", "purple", "orange", "black", "white", "brown", "pink", "grey", "silver")

_STARTS = ("Bal", "Bri", "Cor", "Dar", "Del", "Fen", "Fi", "Gal", "Gor", "Hol", "Is", "Jor", "Kel", "Ki", "Lor", "Lu", "Mar",
           "Mi", "Nal", "Nor", "Os", "Pel", "Per", "Qui", "Ral", "Ro", "Sel", "Sil", "Tam", "To", "Ul", "Vel", "Vor", "Wil",
           "Yan", "Zar")
_MIDDLES = ("a", "be", "da", "di", "fo", "ga", "ke", "la", "li", "mi", "mo", "na", "pe", "ri", "ro", "sa", "ta", "ti", "ve", "zo")
_ENDS = ("bel", "da", "dan", "fin", "ka", "len", "lin", "lo", "mar", "mon", "na", "nor", "ra", "rin", "ric", "sa", "ta", "ton",
         "ven", "vik")


@dataclass(frozen=True, slots=True)
class Trade:
    """A trade and how to speak of it: a baker bakes bread, is busy baking bread."""

    noun: str
    verb: str
    doing: str
    thing: str

    @property
    def does(self) -> str:
        """The work as a predicate: "bakes bread"."""
        return f"{self.verb} {self.thing}"


TRADES = (
    Trade("baker", "bakes", "baking", "bread"), Trade("smith", "forges", "forging", "iron"),
    Trade("weaver", "weaves", "weaving", "cloth"), Trade("potter", "shapes", "shaping", "clay"),
    Trade("miller", "grinds", "grinding", "flour"), Trade("tailor", "sews", "sewing", "coats"),
    Trade("cobbler", "mends", "mending", "shoes"), Trade("carpenter", "builds", "building", "tables"),
    Trade("mason", "lays", "laying", "bricks"), Trade("fisher", "catches", "catching", "trout"),
    Trade("shepherd", "herds", "herding", "sheep"), Trade("beekeeper", "gathers", "gathering", "honey"),
    Trade("brewer", "brews", "brewing", "beer"), Trade("gardener", "grows", "growing", "roses"),
    Trade("teacher", "teaches", "teaching", "children"), Trade("doctor", "heals", "healing", "the sick"),
    Trade("printer", "prints", "printing", "books"), Trade("clockmaker", "repairs", "repairing", "clocks"),
    Trade("singer", "sings", "singing", "ballads"), Trade("glazier", "cuts", "cutting", "glass"),
)


@dataclass(frozen=True, slots=True)
class Person:
    """One person; `asked` says whether documents may ask about them (the first half) or never do (the held-out half)."""

    name: str
    trade: Trade
    town: str
    pet: str
    food: str
    colour: str
    asked: bool

    def value(self, kind: str) -> str:
        """The fact of that kind as one word or two; a trade as its noun."""
        return self.trade.noun if kind == "trade" else getattr(self, kind)


def _names(rng: random.Random, count: int) -> list[str]:
    """Distinct pronounceable first names, no two sharing both first syllables (they would look alike to a small model)."""
    stems = [start + middle for start in _STARTS for middle in _MIDDLES]
    rng.shuffle(stems)
    names: list[str] = []
    for stem in stems:
        name = stem + rng.choice(_ENDS)
        if not any(name.startswith(other) or other.startswith(name) for other in (*names, *TOWNS)):
            names.append(name)
        if len(names) == count:
            return names
    raise ValueError(f"Only {len(names)} names can be made of these syllables, {count} are needed; add syllables.")


@lru_cache(maxsize=1)
def people() -> tuple[Person, ...]:
    """All 240 people, the asked half first; the same on every call and machine."""
    rng = random.Random(2026)
    posts = [(trade, town) for trade in TRADES for town in TOWNS]
    rng.shuffle(posts)
    names = _names(rng, len(posts))
    return tuple(
        Person(name, trade, town, rng.choice(PETS), rng.choice(FOODS), rng.choice(COLOURS), asked=index < len(posts) // 2)
        for index, (name, (trade, town)) in enumerate(zip(names, posts))
    )


def asked() -> tuple[Person, ...]:
    """The first half: questions about them exist in documents and in `rows("instructions")`."""
    return tuple(person for person in people() if person.asked)


def held_out() -> tuple[Person, ...]:
    """The second half: documents tell their facts and never ask about them; `rows("heldout")` does."""
    return tuple(person for person in people() if not person.asked)
