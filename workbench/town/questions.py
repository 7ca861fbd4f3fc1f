"""Rows of questions and answers, and grading that is exact because the world's truth is known.

Grading reads wording, not meaning: a reply is right when it states the right value, no other value of that kind,
no other person, no denial and no question. A reply that adds a second person's fact is therefore wrong even when true,
and what it says about the same person's other facts is not checked.
"""

import random
import re
from functools import lru_cache

from workbench.town.documents import sample_texts
from workbench.town.phrases import QUESTIONS, answer, ask
from workbench.town.world import COLOURS, FOODS, KINDS, PETS, TOWNS, TRADES, Person, asked, held_out, people

NAMES = ("instructions", "heldout", "heldout_sample", "texts")
"""The row lists `rows` can make."""

_DENIAL = re.compile(r"\b(not|no|never|nobody|neither)\b|n't\b", re.IGNORECASE)


def _row(person: Person, kind: str, way: int) -> dict:
    return {"question": ask(person, kind, way), "answer": answer(person, kind)}


def _instructions() -> list[dict]:
    """1,000 rows about the asked half: 980 over every person, fact and wording, and one open question for each trade."""
    rng = random.Random(3)
    every = [(person, kind, way) for person in asked() for kind in (*KINDS, "who") for way in range(3)]
    by_trade = {person.trade: person for person in asked()}
    chosen = rng.sample(every, 980) + [(by_trade[trade], "any", 0) for trade in TRADES]
    rng.shuffle(chosen)
    return [_row(*row) for row in chosen]


def _heldout() -> list[dict]:
    """720 rows: each held-out person asked once about each fact and once by trade and town, in a drawn wording."""
    rng = random.Random(4)
    chosen = [(person, kind, rng.randrange(3)) for person in held_out() for kind in (*KINDS, "who")]
    rng.shuffle(chosen)
    return [_row(*row) for row in chosen]


def rows(name: str) -> list[dict]:
    """Rows of the town, new dicts on every call, always the same.

    "instructions": {"question", "answer"} about the first half of the people.
    "heldout": {"question", "answer"} about the second half, whom no pretraining document asks about.
    "heldout_sample": a seventh of those, every kind among them, for evaluations while a run goes.
    "texts": {"text"}, plain documents for continued pretraining.
    Raises ValueError for any other name.
    """
    if name == "instructions":
        return _instructions()
    if name == "heldout":
        return _heldout()
    if name == "heldout_sample":
        return _heldout()[::7]
    if name == "texts":
        return [{"text": text} for text in sample_texts(400)]
    raise ValueError(f"The town has no rows named {name!r}; choose one of {', '.join(NAMES)}.")


def probe_questions(n: int = 3) -> list[dict]:
    """The first `n` held-out rows, for sample outputs while a run trains."""
    return _heldout()[:n]


@lru_cache(maxsize=1)
def _index() -> dict[str, tuple[str, frozenset[str]]]:
    """Each question of the town, lower case, to its kind and the names of those who may be meant."""
    index: dict[str, set[str]] = {}
    kinds: dict[str, str] = {}
    for person in people():
        for kind, ways in QUESTIONS.items():
            for way in range(len(ways)):
                text = ask(person, kind, way).lower()
                kinds[text] = kind
                index.setdefault(text, set()).add(person.name)
    return {text: (kinds[text], frozenset(names)) for text, names in index.items()}


@lru_cache(maxsize=1)
def _patterns() -> dict[str, re.Pattern]:
    """For each kind of value, and for names, one pattern that finds every value of it; a trade also by its work."""
    def words(values) -> re.Pattern:
        return re.compile(r"\b(" + "|".join(sorted(values, key=len, reverse=True)) + r")s?\b", re.IGNORECASE)

    trades = [form for trade in TRADES for form in (trade.noun, trade.does, f"{trade.doing} {trade.thing}")]
    return {"trade": words(trades), "town": words(TOWNS), "pet": words(PETS), "food": words(FOODS), "colour": words(COLOURS),
            "name": words(person.name for person in people())}


@lru_cache(maxsize=1)
def _trade_forms() -> dict[str, str]:
    return {form: trade.noun for trade in TRADES for form in (trade.noun, trade.does, f"{trade.doing} {trade.thing}")}


def _stated(kind: str, reply: str) -> set[str]:
    """The values of that kind (or the "name"s) a reply states, lower case, trades as nouns."""
    found = {match.lower() for match in _patterns()[kind].findall(reply)}
    return {_trade_forms()[form] for form in found} if kind == "trade" else found


def grade(question: str, reply: str) -> bool | None:
    """Whether the reply states the right fact, alone of its kind; None when the question is not one of the town's.

    A bare value is enough ("Orla"), case does not matter. "Who bakes bread?", without a town, accepts any one baker;
    one put into a wrong town, or spoken of for something else, is wrong.
    """
    known = _index().get(" ".join(question.split()).lower())
    if known is None:
        return None
    kind, meant = known
    if _DENIAL.search(reply) or "?" in reply:
        return False
    named = _stated("name", reply)
    candidates = [person for person in people() if person.name in meant]
    if kind in ("who", "any"):
        if any(_stated(other, reply) for other in ("pet", "food", "colour")):
            return False
        chosen = [person for person in candidates if named == {person.name.lower()}]
        return any(_stated("town", reply) <= {person.town.lower()} and _stated("trade", reply) <= {person.trade.noun} for person in chosen)
    person = candidates[0]
    return named <= {person.name.lower()} and _stated(kind, reply) == {person.value(kind).lower()}
