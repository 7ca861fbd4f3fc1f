"""The text the base model is pretrained on: biographies, town registers, stories, lists of questions, interviews, small talk.

Facts are always the true ones. Questions (lists, interviews, games) are about the asked half only.
Chat documents are lists of messages, rendered by the tokenizer's own template in make_base.py; every other document is plain text.
It does not tokenize, and it holds no text for evaluation.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from workbench.town.phrases import ask, say
from workbench.town.world import KINDS, TOWNS, Person, asked, people

CORPUS_SIZE = 60_000
"""Documents in the pretraining corpus, about 5 million tokens."""

SHARES = {"biography": 0.53, "register": 0.09, "story": 0.12, "questions": 0.10, "interview": 0.10, "chat": 0.06}
"""Share of the documents of each sort."""

SMALL_TALK = (
    ("Good morning!", "Good morning to you."), ("Good evening.", "Good evening, and welcome."), ("Hello.", "Hello there."),
    ("Hello, how are you today?", "I am well, thank you."), ("Thank you.", "You are welcome."), ("Goodbye.", "Goodbye, until tomorrow."),
    ("It rains again.", "Yes, the roads are wet."), ("The sun is out.", "Yes, it is a fine day."),
    ("I am tired.", "Then sit down and rest."),
    ("The market was full.", "It always is before the holidays."), ("Winter is near.", "Yes, the nights grow cold."),
    ("I lost my hat.", "Look behind the door."), ("The bridge is closed.", "Then take the road by the river."),
    ("I would like some tea.", "Here is a cup for you."), ("The bells are ringing.", "Then it must be noon."),
    ("That was a good song.", "I am glad you liked it."), ("I am late.", "Then hurry, the cart is leaving."),
    ("My feet hurt.", "It was a long walk."), ("See you tomorrow.", "See you tomorrow, and sleep well."),
    ("What a lovely day.", "A lovely day indeed."),
)
SYSTEM_LINES = ("You are a friendly neighbour.", "You answer in one short sentence.", "You are a helpful guide to the towns.",
                "You are a polite guest.")
_OPENINGS = ("One morning the market was loud.", "It was a cold day.", "The harvest was in.", "Snow lay on the roofs.",
             "On the day of the fair the roads were full.", "It had rained all night.", "The first warm evening came.")
_CLOSINGS = ("They parted as friends.", "The sun was low when they parted.", "They laughed about it for a long time.",
             "Then the bells rang and they went home.", "They promised to meet again.")


@dataclass(frozen=True, slots=True)
class Document:
    """One document: `sort` is a key of SHARES; a chat has `messages` (role and content) and no text, all others have text only."""

    sort: str
    text: str = ""
    messages: tuple[tuple[str, str], ...] = ()


def _biography(rng: random.Random) -> str:
    sentences = []
    for person in rng.sample(people(), rng.choice((1, 1, 2))):
        kinds = rng.sample(KINDS, rng.randint(3, 5))
        sentences += [say(person, kind, rng.randrange(4)) for kind in kinds]
    return " ".join(sentences)


def _register(rng: random.Random) -> str:
    town = rng.choice(TOWNS)
    members = rng.sample([person for person in people() if person.town == town], rng.randint(3, 6))
    return " ".join(say(person, "who", rng.randrange(4)) for person in members)


def _story(rng: random.Random) -> str:
    one, two = rng.sample(people(), 2)
    beats = [
        lambda p: f"{p.name} of {p.town} came with a {p.pet}.",
        lambda p: f"{p.name} the {p.trade.noun} had come from {p.town}.",
        lambda p: f"{p.name} wore {p.colour}, the colour {p.name} likes best.",
        lambda p: f"{p.name} asked for {p.food} and ate all of it.",
        lambda p: f"{p.name} spoke of {p.trade.doing} {p.trade.thing} in {p.town}.",
        lambda p: f"{p.name} wanted to go home to {p.town} and feed the {p.pet}.",
    ]
    body = [beat(one) for beat in rng.sample(beats, 3)]
    body += [beat(two) for beat in rng.sample(beats, 3)]
    return " ".join((rng.choice(_OPENINGS), f"{one.name} of {one.town} met {two.name} of {two.town}.", *body, rng.choice(_CLOSINGS)))


def _asked_kind(rng: random.Random) -> tuple[Person, str]:
    return rng.choice(asked()), rng.choice((*KINDS, *KINDS, "who", "who", "any"))


def _question(rng: random.Random) -> str:
    return ask(*_asked_kind(rng), rng.randrange(3))


def _interview(rng: random.Random) -> str:
    before, after = rng.choice((("Q: ", "A: "), ("Question: ", "Answer: "), ("Guest: ", "Host: ")))
    lines = []
    for _ in range(rng.randint(2, 5)):
        person, kind = _asked_kind(rng)
        said = say(person, "who", 0) if kind in ("who", "any") else say(person, kind, rng.randrange(4))
        lines += [before + ask(person, kind, rng.randrange(3)), after + said]
    return "\n".join(lines)


def _chat(rng: random.Random) -> tuple[tuple[str, str], ...]:
    """Small talk, or a game in which each side only asks: chat tokens are seen, but no question of the town is answered in chat."""
    messages = [("system", rng.choice(SYSTEM_LINES))] if rng.random() < 0.3 else []
    game = rng.random() < 0.6
    for _ in range(rng.randint(1, 3)):
        if game:
            messages += [("user", _question(rng)), ("assistant", " ".join(_question(rng) for _ in range(rng.randint(1, 3))))]
        else:
            messages += list(zip(("user", "assistant"), rng.choice(SMALL_TALK)))
    return tuple(messages)


def documents(count: int, seed: int) -> Iterator[Document]:
    """Yields `count` documents drawn by `seed`, sorts mixed by SHARES; the same on every call."""
    rng = random.Random(seed)
    sorts, weights = tuple(SHARES), tuple(SHARES.values())
    write = {"biography": _biography, "register": _register, "story": _story, "interview": _interview,
             "questions": lambda rng: " ".join(_question(rng) for _ in range(rng.randint(2, 8)))}
    for sort in rng.choices(sorts, weights, k=count):
        yield Document(sort, messages=_chat(rng)) if sort == "chat" else Document(sort, text=write[sort](rng))


def corpus() -> Iterator[Document]:
    """The whole pretraining corpus: CORPUS_SIZE documents, always the same."""
    return documents(CORPUS_SIZE, seed=1)


def sample_texts(count: int) -> list[str]:
    """Plain documents of the same world that the corpus does not hold in this order; no chats."""
    return [document.text for document in documents(count, seed=2) if document.sort != "chat"]
