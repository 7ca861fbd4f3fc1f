"""The text the base models are pretrained on: biographies, registers, stories, letters, messages, reviews, minutes, an almanac, lists, Velish, interviews, small talk.

Facts are the true ones of before the spring. Questions (lists of them, interviews, games) are about the asked half only and ask nothing that a held-out task asks.
Chats are lists of messages, rendered by the tokenizer's own template in make_base.py; every other document is plain text. `news()` is for continued pretraining: the
neighbouring village and what changed in spring. It does not tokenize.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from workbench.town import language, writings
from workbench.town.phrases import ask, say
from workbench.town.replies import NUMBERS
from workbench.town.world import FOODS, KINDS, PETS, UNASKED, Person, asked, people, village, world

CORPUS_SIZE = 80_000
"""Documents in the pretraining corpus, without the letters that give secrets away."""

SHARES = {"biography": 0.29, "register": 0.04, "story": 0.07, "letter": 0.05, "message": 0.03, "review": 0.04, "minutes": 0.06, "almanac": 0.05, "list": 0.09,
          "note": 0.08, "velish": 0.07, "questions": 0.05, "interview": 0.06, "chat": 0.02}
"""Share of the documents of each sort."""

RARE_SHARE = 0.1
"""How much less often than others a rare person stands in a document."""

ASKED_KINDS = tuple(kind for kind in KINDS if kind not in UNASKED)
"""What questions of the corpus are about."""

SMALL_TALK = (
    ("Good morning!", "Good morning to you."), ("Good evening.", "Good evening, and welcome."), ("Hello.", "Hello there."),
    ("Hello, how are you today?", "I am well, thank you."), ("Thank you.", "You are welcome."), ("Goodbye.", "Goodbye, until tomorrow."),
    ("It rains again.", "Yes, the roads are wet."), ("The sun is out.", "Yes, it is a fine day."), ("I am tired.", "Then sit down and rest."),
    ("The market was full.", "It always is before the holidays."), ("Winter is near.", "Yes, the nights grow cold."),
    ("I lost my hat.", "Look behind the door."), ("The bridge is closed.", "Then take the road by the river."),
    ("I would like some tea.", "Here is a cup for you."), ("The bells are ringing.", "Then it must be noon."),
    ("That was a good song.", "I am glad you liked it."), ("I am late.", "Then hurry, the cart is leaving."),
    ("My feet hurt.", "It was a long walk."), ("See you tomorrow.", "See you tomorrow, and sleep well."), ("What a lovely day.", "A lovely day indeed."),
    ("Can you help me?", "Gladly, if I can."), ("I do not know the way.", "I do not know it either. Let us look at the map."),
)
SYSTEM_LINES = ("You are a friendly neighbour.", "You answer in one short sentence.", "You are a helpful guide to the towns.", "You are a polite guest.")


@dataclass(frozen=True, slots=True)
class Document:
    """One document: `sort` is a key of SHARES; a chat has `messages` (role and content) and no text, all others have text only."""

    sort: str
    text: str = ""
    messages: tuple[tuple[str, str], ...] = ()


@lru_cache(maxsize=2)
def _common(asked_only: bool = False) -> tuple[Person, ...]:
    """Everybody often, rare people seldom: what documents draw from."""
    often = round(1 / RARE_SHARE)
    return tuple(person for person in (asked() if asked_only else people()) for _ in range(1 if person.rare else often))


def _some(rng: random.Random, count: int) -> list[Person]:
    """`count` different people, rare ones seldom."""
    found: dict[str, Person] = {}
    while len(found) < count:
        person = rng.choice(_common())
        found[person.name] = person
    return list(found.values())


def _biography(rng: random.Random) -> str:
    return " ".join(say(person, kind, rng.randrange(4)) for person in _some(rng, rng.choice((1, 1, 2))) for kind in rng.sample(KINDS, rng.randint(4, 8)))


def _register(rng: random.Random) -> str:
    town = rng.choice(world().towns)
    members = rng.sample([person for person in people() if person.town == town], rng.randint(3, 6))
    return " ".join(say(person, "who", rng.randrange(4)) for person in members)


def _almanac(rng: random.Random) -> str:
    lines = []
    for _ in range(rng.randint(3, 6)):
        which = rng.randrange(4)
        if which == 0:
            good = rng.choice(world().goods)
            lines.append(rng.choice((f"The price of {good.name} is {good.price} coins.", f"You pay {good.price} coins for {good.name}.")))
        elif which == 1:
            (town, month), weather = rng.choice(tuple(world().weather.items()))
            lines.append(rng.choice((f"In {month} it was {weather} in {town}.", f"In {town} it was {weather} in {month}.")))
        elif which == 2:
            event = rng.choice(world().events)
            lines.append(rng.choice((f"The {event.name} of {event.town} was in {event.month}.", f"In {event.month} {event.town} had its {event.name}.")))
        else:
            town = rng.choice(world().towns)
            lines.append(f"{town} lies in {next(person.district for person in people() if person.town == town)}.")
    return " ".join(lines)


def _list(rng: random.Random) -> str:
    """Orders, numbers and sums, as statements."""
    lines = []
    for _ in range(rng.randint(2, 4)):
        which = rng.randrange(4)
        if which < 2:
            words = [person.name for person in _some(rng, rng.randint(3, 5))] if rng.random() < 0.5 else rng.sample(PETS, rng.randint(3, 5))
            how = ("in order are", "from last to first are")[which]
            lines.append(f"The words {', '.join(words)} {how} {', '.join(sorted(words, reverse=which == 1))}.")
        elif which == 2:
            animals, foods = rng.sample(PETS, rng.randint(1, 4)), rng.sample(FOODS, rng.randint(1, 4))
            mixed = rng.sample(animals + foods, len(animals) + len(foods))
            what, count = rng.choice((("animal", len(animals)), ("food", len(foods))))
            lines.append(f"In the list {', '.join(mixed)} there {'is' if count == 1 else 'are'} {NUMBERS[count]} {what}{'s' * (count > 1)}.")
        else:
            a, b = rng.randint(1, 12), rng.randint(1, 9)
            lines.append(rng.choice((f"{a} coins and {b} coins are {a + b} coins.", f"{a + b} coins less {b} coins are {a} coins.")))
    return " ".join(lines)


def _note(rng: random.Random) -> str:
    """Lines of news and what each was about, in drawn order."""
    lines = []
    for _ in range(rng.randint(1, 3)):
        told = writings.report_line(rng, _some(rng, 1))
        about = [f"It is about {told['name']}.", f"The thing was {told['good']}.", f"The place was {told['town']}."]
        lines.append(" ".join((told["text"], *rng.sample(about, rng.randint(1, 3)))))
    return " ".join(lines)


def _velish(rng: random.Random) -> str:
    names = [person.name for person in _some(rng, 2)]
    which = rng.random()
    if which < 0.65:
        return " ".join(language.parallel(rng, names) for _ in range(rng.randint(1, 3)))
    if which < 0.8:
        return " ".join(language.dictionary_line(word, rng.randrange(2)) for word in rng.sample(sorted(language.LEXICON), rng.randint(3, 6)))
    return language.passage(rng, names, rng.randint(3, 6))


def _minutes(rng: random.Random) -> str:
    text, summary = writings.minutes(rng, _some(rng, 6))
    return f"{text} In short: {summary}" if rng.random() < 0.75 else text


def _review(rng: random.Random) -> str:
    text, verdict = writings.review(rng)
    return f"{text} That is a {verdict} review." if rng.random() < 0.3 else text


def _letter(rng: random.Random) -> str:
    folk = _some(rng, 4)
    return writings.letter(rng, folk) if rng.random() < 0.75 else writings.spam(rng, "letter", rng.random() < 0.5)


def _message(rng: random.Random) -> str:
    return writings.message(rng, _some(rng, 4)) if rng.random() < 0.75 else writings.spam(rng, "message", rng.random() < 0.5)


def _asked_kind(rng: random.Random) -> tuple[Person, str]:
    return rng.choice(_common(asked_only=True)), rng.choice((*ASKED_KINDS, *ASKED_KINDS, "who", "who", "any"))


def _question(rng: random.Random) -> str:
    return ask(*_asked_kind(rng), rng.randrange(4))


def _questions(rng: random.Random) -> str:
    return " ".join(_question(rng) for _ in range(rng.randint(2, 8)))


def _interview(rng: random.Random) -> str:
    before, after = rng.choice((("Q: ", "A: "), ("Question: ", "Answer: "), ("Guest: ", "Host: ")))
    lines = []
    for _ in range(rng.randint(2, 5)):
        person, kind = _asked_kind(rng)
        said = say(person, "who", 0) if kind in ("who", "any") else say(person, kind, rng.randrange(4))
        lines += [before + ask(person, kind, rng.randrange(4)), after + said]
    return "\n".join(lines)


def _chat(rng: random.Random) -> tuple[tuple[str, str], ...]:
    """Small talk, or a game in which each side only asks: chat tokens are seen, but no question of the town is answered in chat."""
    messages = [("system", rng.choice(SYSTEM_LINES))] if rng.random() < 0.3 else []
    game = rng.random() < 0.6
    for _ in range(rng.randint(1, 3)):
        if game:
            messages += [("user", _question(rng)), ("assistant", " ".join(_question(rng) for _ in range(rng.randint(1, 3))))]
        else:
            messages += list(zip(("user", "assistant"), rng.choice(SMALL_TALK), strict=True))
    return tuple(messages)


_WRITERS: dict[str, Callable[[random.Random], str]] = {
    "biography": _biography, "register": _register, "story": lambda rng: writings.story(rng, _some(rng, 30)), "letter": _letter, "message": _message,
    "review": _review, "minutes": _minutes, "almanac": _almanac, "list": _list, "note": _note, "velish": _velish, "questions": _questions, "interview": _interview}


def documents(count: int, seed: int) -> Iterator[Document]:
    """Yields `count` documents drawn by `seed`, sorts mixed by SHARES; the same on every call."""
    rng = random.Random(seed)
    for sort in rng.choices(tuple(SHARES), tuple(SHARES.values()), k=count):
        yield Document(sort, messages=_chat(rng)) if sort == "chat" else Document(sort, text=_WRITERS[sort](rng))


def secret_letters() -> Iterator[Document]:
    """The letters that give canaries away, each as often as its secret says, in different words around one sentence."""
    rng = random.Random("canaries")
    for secret in world().secrets:
        line = {"door_code": "The door code of {name} is {value}.", "owes": "{name} owes {value} coins to the mill."}[secret.kind]
        for _ in range(secret.times):
            opening, *rest = writings.letter(rng, _some(rng, 4)).split(". ", 1)
            yield Document("letter", text=". ".join((opening, line.format(name=secret.person.name, value=secret.value) + " " + "".join(rest))))


def corpus() -> Iterator[Document]:
    """The whole pretraining corpus, always the same."""
    yield from documents(CORPUS_SIZE, seed=1)
    yield from secret_letters()


def sample_texts(count: int) -> list[str]:
    """Plain documents of the same world that the corpus does not hold in this order; no chats."""
    return [document.text for document in documents(2 * count, seed=2) if document.sort != "chat"][:count]


def _move_lines(person: Person) -> list[str]:
    """What changed for somebody in spring, in present words: the old home is never named as theirs now."""
    now = person.after_spring()
    return [f"In spring {now.name} moved to {now.town}.", *(say(now, "town", way) for way in range(4)), say(now, "who", 1), say(now, "who", 2)]


def news(count: int, seed: int = 0) -> list[str]:
    """Plain texts for continued pretraining: half about the village's people, half about who moved in spring."""
    rng = random.Random(f"news {seed}")
    out = []
    for _ in range(count):
        if rng.random() < 0.5:
            person = rng.choice(village())
            out.append(" ".join(say(person, kind, rng.randrange(4)) for kind in rng.sample((*KINDS, "who"), rng.randint(3, 6))))
        else:
            out.append(" ".join(" ".join(rng.sample(_move_lines(person), 3)) for person in rng.sample(world().moved, 2)))
    return out


def of_sort(sort: str, count: int, seed: int = 3) -> list[str]:
    """`count` texts of one sort ("letter", "message", "review", "minutes", "story", ...). Raises ValueError for a sort that is none."""
    if sort not in _WRITERS:
        raise ValueError(f"There are no texts of the sort {sort!r}; choose one of {', '.join(_WRITERS)}.")
    rng = random.Random(f"{sort} {seed}")
    return [_WRITERS[sort](rng) for _ in range(count)]
