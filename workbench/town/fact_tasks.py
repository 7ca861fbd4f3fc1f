"""Tasks about the world's facts: questions of one fact, of who works where, of two facts, of prices, weather and events.

A reply is right when it states the right value, no other value of its kind, no other person, town or good than those asked about,
no denial and no question, and speaks of no relative. A reply that adds another person's fact is wrong even when true; what it says of the same
person's other facts is not checked, nor what is said of the value beyond the denials of replies.py ("she sings of Orla" states Orla). Facts are
those before the spring, who moved is asked for at the old home, unless the fields hold `AFTER_SPRING`; weather, prices and events stay.
"""

import random
import re
from collections.abc import Sequence
from functools import lru_cache

from workbench.town.phrases import QUESTIONS, answer
from workbench.town.replies import asserts, everybody, exact, numbers, stated, thing
from workbench.town.task import Fields, Task
from workbench.town.world import KINDS, PETS, TRADES, UNASKED, VILLAGE, Person, Trade, world

SECOND_FACTS = {"pet": "pet", "trade": "trade", "home": "town", "favourite food": "food"}
"""What may be asked of a cousin, in the words of the question, to the kind of fact."""

NEW_SECOND_FACTS = {f"favourite {kind}": kind for kind in ("drink", "flower", "game")}
"""The same for the held-out task: each is trained as one fact, none as a cousin's."""

AFTER_SPRING = {"after_spring": "yes"}
"""Joined to the fields of a question whose reply is to be right after the spring's moves: homes, and with them who works where."""

_RELATIVE = re.compile(r"\b(?:brother|sister|mother|father|son|daughter|wife|husband|uncle|aunt|niece|nephew|parent|relative|neighbour|"
                       r"apprentice|master|(?<!my )friend)s?\b", re.IGNORECASE)
_COUSIN = re.compile(r"\bcousins?\b", re.IGNORECASE)
_GONE = re.compile(r"\b(?:lost|loses?|sold|wish(?:es|ed)?|want(?:s|ed)?|miss(?:es|ed)?|dream\w*|if only)\b", re.IGNORECASE)
_AWAY = re.compile(
    r"\b(?:left|leaves|leaving|away|born|visit\w*)\b|"
    r"\b(?:near|outside|beyond|behind|between|next to|close to|by|out of|from|(?:way|road) to)\s+(?:" + "|".join((*world().towns, VILLAGE)) + r")\b|"
    r"['’]s (?:" + "|".join(PETS) + r")\b", re.IGNORECASE)
"""A town that is named, but as another place than the home, or as the home of an animal."""


def share(items: Sequence, folk: Sequence[Person]) -> Sequence:
    """The items such people may be asked about: facts without a person are split as people are.

    Every second item, from the first for asked people and from the second for held-out ones; all of them for folk of both halves.
    """
    halves = {person.asked for person in folk}
    return items if len(halves) > 1 else items[0 if True in halves else 1::2]


@lru_cache(maxsize=1)
def _after_spring() -> dict[str, Person]:
    return {name: person.after_spring() for name, person in everybody().items()}


def _folk(fields: Fields) -> dict[str, Person]:
    """Everybody by name in lower case, as they are at the time the question is put."""
    return _after_spring() if fields.keys() >= AFTER_SPRING.keys() else everybody()


def _person(fields: Fields) -> Person:
    return _folk(fields)[fields["name"].lower()]


def _read_name(words: Fields) -> Fields | None:
    person = everybody().get(words["name"].lower())
    return {"name": person.name} if person else None


def _draw_name(rng: random.Random, folk: Sequence[Person]) -> Fields:
    return {"name": rng.choice(folk).name}


# --- one fact of a person, and the person of one trade and town -----------------------------------------------------------------------


def _cousin_of(name: str, text: str) -> bool:
    """Whether it speaks of the cousin of that person."""
    return re.search(rf"\bcousin of {name}\b|\b{name}['’]s cousin\b", text, re.IGNORECASE) is not None


def _fact_right(kind: str):
    def right(fields: Fields, reply: str) -> bool:
        person = _person(fields)
        named, value = stated("name", reply), person.value(kind)
        if not asserts(reply) or _RELATIVE.search(reply) or _GONE.search(reply):
            return False
        if kind == "cousin":
            return named - {person.name} == {value} and (person.name in named or not _cousin_of(value, reply))
        elsewhere = kind == "town" and _AWAY.search(reply)
        return named <= {person.name} and stated(kind, reply) == {value} and not _COUSIN.search(reply) and not elsewhere
    return right


def _fact(kind: str, held_out: bool = False) -> Task:
    return Task(kind, QUESTIONS[kind], _draw_name, lambda fields: answer(_person(fields), kind), _fact_right(kind), held_out,
                read=_read_name)


def _trade(words: Fields) -> Trade | None:
    """The trade a question names by its noun or by its work."""
    named = (words.get("noun") or words["does"]).lower()
    return next((trade for trade in TRADES if named in (trade.noun, trade.does)), None)


def _spell_post(fields: Fields) -> Fields:
    person = _person(fields)
    return {"noun": person.trade.noun, "does": person.trade.does, "town": person.town}


def _read_post(words: Fields) -> Fields | None:
    trade, town = _trade(words), words["town"].lower()
    return next(({"name": person.name} for person in everybody().values() if person.trade == trade and person.town.lower() == town), None)


def _is_one_of(meant: Sequence[Person], reply: str) -> bool:
    """Whether the reply names one of them alone, and states nothing but that person's trade and town."""
    others = (kind for kind in KINDS if kind not in ("trade", "town", "cousin"))
    if not asserts(reply) or _COUSIN.search(reply) or _RELATIVE.search(reply) or any(stated(kind, reply) for kind in others):
        return False
    named, towns, trades = stated("name", reply), stated("town", reply), stated("trade", reply)
    return any(named == {person.name} and towns <= {person.town} and trades <= {person.trade.noun} for person in meant)


def _holder(fields: Fields) -> Person:
    """Who has the trade and town that the question names: those of the person of its fields before the spring."""
    post = everybody()[fields["name"].lower()]
    return next(person for person in _folk(fields).values() if (person.trade, person.town) == (post.trade, post.town))


def _workers(fields: Fields) -> list[Person]:
    return [person for person in _folk(fields).values() if person.trade.noun == fields["trade"]]


def _spell_trade(fields: Fields) -> Fields:
    trade = next(trade for trade in TRADES if trade.noun == fields["trade"])
    return {"noun": trade.noun, "does": trade.does}


def _read_trade(words: Fields) -> Fields | None:
    trade = _trade(words)
    return {"trade": trade.noun} if trade else None


# --- two facts ------------------------------------------------------------------------------------------------------------------------


def _cousin(fields: Fields) -> Person:
    return _folk(fields)[_person(fields).cousin.lower()]


def _of_asked(asked: str, kind: str, reply: str) -> bool:
    """Whether a sentence says a value of the kind of the person asked about alone."""
    return any(stated("name", sentence) == {asked} and stated(kind, sentence) and "cousin" not in sentence.lower()
               for sentence in re.split(r"[.!;]", reply))


def _two(name: str, facts: dict[str, str], held_out: bool = False) -> Task:
    """A fact of somebody's cousin. Graded as one fact; the first person may be named too, but the value must not be said of them alone."""
    def read(words: Fields) -> Fields | None:
        named = _read_name(words)
        return {**named, "fact": words["fact"].lower()} if named and words["fact"].lower() in facts else None

    def right(fields: Fields, reply: str) -> bool:
        asked, cousin, kind = fields["name"], _cousin(fields), facts[fields["fact"]]
        named, elsewhere = stated("name", reply), kind == "town" and _AWAY.search(reply)
        return (asserts(reply) and not _RELATIVE.search(reply) and not _GONE.search(reply)
                and named <= {asked, cousin.name} and stated(kind, reply) == {cousin.value(kind)}
                and not _of_asked(asked, kind, reply) and (asked in named or not _cousin_of(cousin.name, reply)) and not elsewhere)

    return Task(name, (
        "What is the {fact} of {name}'s cousin?", "Tell me the {fact} of the cousin of {name}.",
        "What is the {fact} of the person whose cousin is {name}?", "Think of the cousin of {name}: what is the {fact}?"),
        draw=lambda rng, folk: {"name": rng.choice(folk).name, "fact": rng.choice(tuple(facts))},
        solve=lambda fields: f"{answer(_person(fields), 'cousin')} {answer(_cousin(fields), facts[fields['fact']])}",
        right=right, held_out=held_out, read=read)


# --- prices, weather, events ----------------------------------------------------------------------------------------------------------


def _price(fields: Fields) -> int:
    return next(good.price for good in world().goods if good.name == fields["good"])


def _read_good(words: Fields) -> Fields | None:
    return next(({"good": good.name} for good in world().goods if words["good"].lower() in (good.name, thing(good.name))), None)


def _price_right(fields: Fields, reply: str) -> bool:
    return asserts(reply) and exact(reply) and set(numbers(reply)) == {_price(fields)} and stated("good", reply) <= {thing(fields["good"])}


def _draw_weather(rng: random.Random, folk: Sequence[Person]) -> Fields:
    town, month = rng.choice(share(list(world().weather), folk))
    return {"town": town, "month": month}


def _weather(fields: Fields) -> str:
    return world().weather[fields["town"], fields["month"]]


def _read_weather(words: Fields) -> Fields | None:
    place = words["town"].title(), words["month"].title()
    return {"town": place[0], "month": place[1]} if place in world().weather else None


def _weather_right(fields: Fields, reply: str) -> bool:
    return (asserts(reply) and stated("weather", reply) == {_weather(fields)} and stated("town", reply) <= {fields["town"]}
            and stated("month", reply) <= {fields["month"]})


def _draw_event(rng: random.Random, folk: Sequence[Person]) -> Fields:
    event = rng.choice(share(world().events, folk))
    return {"event": event.name, "town": event.town}


def _month(fields: Fields) -> str | None:
    return next((event.month for event in world().events if (event.name, event.town) == (fields["event"], fields["town"])), None)


def _read_event(words: Fields) -> Fields | None:
    fields = {"event": words["event"].lower(), "town": words["town"].title()}
    return fields if _month(fields) else None


def _event_right(fields: Fields, reply: str) -> bool:
    return (asserts(reply) and stated("month", reply) == {_month(fields)} and stated("town", reply) <= {fields["town"]}
            and stated("event", reply) <= {fields["event"]} and not stated("name", reply))


FACT_TASKS = (
    *(_fact(kind) for kind in KINDS if kind not in UNASKED),
    *(_fact(kind, held_out=True) for kind in UNASKED),
    Task("who", QUESTIONS["who"],
        draw=_draw_name,
        solve=lambda fields: answer(_person(fields), "who"),
        right=lambda fields, reply: _is_one_of([_holder(fields)], reply),
        spell=_spell_post,
        read=_read_post),
    Task("any", QUESTIONS["any"],
        draw=lambda rng, folk: {"trade": rng.choice(folk).trade.noun},
        solve=lambda fields: answer(_workers(fields)[0], "any"),
        right=lambda fields, reply: _is_one_of(_workers(fields), reply),
        spell=_spell_trade,
        read=_read_trade),
    _two("two_facts", SECOND_FACTS),
    _two("two_facts_new", NEW_SECOND_FACTS, held_out=True),
    Task("price", (
        "What is the price of {good}?", "How many coins do you pay for {good}?", "Tell me the price of {good}.",
        "How much must one pay for {good}?"),
        draw=lambda rng, folk: {"good": rng.choice(share(world().goods, folk)).name},
        solve=lambda fields: f"The price of {fields['good']} is {_price(fields)} coins.",
        right=_price_right,
        read=_read_good),
    Task("weather", (
        "How was the weather in {town} in {month}?", "What was the weather of {month} in {town}?",
        "In {month}, how was the weather in {town}?", "Tell me how the weather was in {town} in {month}."),
        draw=_draw_weather,
        solve=lambda fields: f"In {fields['month']} it was {_weather(fields)} in {fields['town']}.",
        right=_weather_right,
        read=_read_weather),
    Task("event", (
        "When was the {event} of {town}?", "In which month was the {event} of {town}?", "Which month had the {event} of {town}?",
        "Tell me the month of the {event} of {town}."),
        draw=_draw_event,
        solve=lambda fields: f"The {fields['event']} of {fields['town']} was in {_month(fields)}.",
        right=_event_right,
        read=_read_event),
)
"""The tasks of this file, one `Task` each; "colour", "instrument" and "two_facts_new" are held out."""
