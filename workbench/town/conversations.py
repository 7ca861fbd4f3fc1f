"""Chats of two to four turns whose last turn cannot be understood alone, with a grader for it.

Five sorts: "follow_up" (a pronoun refers to the one spoken of), "chain" (it refers to somebody the answer named), "correction" (the asker
meant somebody else), "doubt" (the asker says something false: stand firm), "thanks". No assistant turn states anything false, so all
of them can be trained on. It does not grade earlier turns, and people of the town are "he" or "she" as drawn.
"""

import random
import re
from collections.abc import Sequence
from functools import lru_cache

from workbench.town.conduct_topics import ASKED_KINDS, pronoun
from workbench.town.phrases import QUESTIONS, answer, ask
from workbench.town.replies import denies, everybody
from workbench.town.tasks import grade
from workbench.town.world import Person

SORTS = ("follow_up", "chain", "correction", "doubt", "thanks")
_CHAINED = ("town", "trade", "pet", "food")
_OPENINGS = (("Hello.", "Hello there."), ("Good morning!", "Good morning to you."), ("Good evening.", "Good evening, and welcome."))
_CORRECTIONS = ("No, I meant {name}.", "I am sorry, I meant {name}.", "I was asking about {name}.", "And {name}?")
_DOUBTS = ("I think that it is {wrong}.", "Is it not {wrong}?", "I was told it is {wrong}.", "Are you sure? I heard of {wrong}.")
_THANKS = (("Thank you.", "You are welcome."), ("Thank you very much!", "You are welcome. I am glad to help."),
           ("Thanks!", "You are welcome."), ("That helps me.", "I am glad to hear that."))
_WELCOME = re.compile(r"\b(welcome|glad|gladly|my pleasure|not at all|no problem|no trouble|happy to help)\b", re.IGNORECASE)
_RUDE = re.compile(r"\b(go away|leave me|be quiet|shut up)\b", re.IGNORECASE)
_FIRM = re.compile(r"\s*(?:(?:yes|no|i am sure|(?:that|this|it) is (?:wrong|false|a mistake|not (?:so|right|true))|"
                   r"you are (?:wrong|mistaken|not right))\s*[,.;:]\s*)*", re.IGNORECASE)
_GIVES_WAY = re.compile(r"\byou(?: are|['’]re| (?:may|might|could) be) (?:quite |so )?right\b|\bi (?:was|am) (?:wrong|mistaken)\b|"
                        r"\bmy (?:mistake|error|fault)\b|\bi stand corrected\b", re.IGNORECASE)

Turn = tuple[str, str]


def _follow(rng: random.Random, kind: str, he: str) -> str:
    """A question of that kind about "he" or "she"."""
    asked = pronoun(rng.choice(QUESTIONS[kind]), he)
    return f"And {asked[:1].lower()}{asked[1:]}" if rng.random() < 0.5 else asked


def _follow_up(rng: random.Random, one: Person, other: Person, he: str) -> tuple[list[Turn], str]:
    """About the one, or about another first: the pronoun means whoever was spoken of last."""
    first, second, third = rng.sample(ASKED_KINDS[:-1], 3)
    turns = [(ask(other, third, rng.randrange(4)), answer(other, third))] if rng.random() < 0.5 else []
    turns += [(ask(one, first, rng.randrange(4)), answer(one, first)), (_follow(rng, second, he), answer(one, second))]
    return turns, ask(one, second, 0)


def _chain(rng: random.Random, one: Person, other: Person, he: str) -> tuple[list[Turn], str]:
    cousin, kind = everybody()[one.cousin.lower()], rng.choice(_CHAINED)
    turns = [(ask(one, "cousin", rng.randrange(4)), answer(one, "cousin")), (_follow(rng, kind, he), answer(cousin, kind))]
    return turns, ask(cousin, kind, 0)


def _correction(rng: random.Random, one: Person, other: Person, he: str) -> tuple[list[Turn], str]:
    kind = rng.choice(ASKED_KINDS)
    turns = [(ask(other, kind, rng.randrange(4)), answer(other, kind)),
             (rng.choice(_CORRECTIONS).format(name=one.name), answer(one, kind))]
    return turns, ask(one, kind, 0)


def _doubt(rng: random.Random, one: Person, other: Person, he: str) -> tuple[list[Turn], str]:
    kind = rng.choice([kind for kind in ASKED_KINDS if one.value(kind) != other.value(kind)])
    wrong = f"a {other.value(kind)}" if kind in ("pet", "trade") else other.value(kind)
    turns = [(ask(one, kind, rng.randrange(4)), answer(one, kind)), (rng.choice(_DOUBTS).format(wrong=wrong), answer(one, kind))]
    return turns, ask(one, kind, 0)


def _thanks(rng: random.Random, one: Person, other: Person, he: str) -> tuple[list[Turn], str]:
    kind = rng.choice(ASKED_KINDS)
    return [(ask(one, kind, rng.randrange(4)), answer(one, kind)), rng.choice(_THANKS)], ""


_WRITE = dict(zip(SORTS, (_follow_up, _chain, _correction, _doubt, _thanks), strict=True))


def conversations(count: int, seed: int, folk: Sequence[Person]) -> list[dict]:
    """`count` chats about `folk` and their cousins, the sorts in turn, as rows ready for training.

    `messages`: role and content, user and assistant in turn, 2 to 4 turns each, the last an answer of the assistant; `sort`;
    `people` (names in them); `question`: the last turn as a question that stands alone, "" for thanks.
    Raises ValueError for fewer than two people, people who are neither of the shipped town nor of its village, and a count below 0.
    """
    if len(folk) < 2:
        raise ValueError(f"Conversations need at least two people to speak of, got {len(folk)}.")
    if count < 0:
        raise ValueError(f"The number of conversations is a whole number from 0 on, got {count}; give how many you want.")
    if strangers := [person.name for person in folk if everybody().get(person.name.lower()) != person]:
        raise ValueError(f"{strangers[0]} is not of the shipped town, and graders know that world alone; "
                         "draw from the people of town.world() or town.village().")
    rng = random.Random(f"conversations {seed}")
    return [_row(rng, SORTS[number % len(SORTS)], folk) for number in range(count)]


def _row(rng: random.Random, sort: str, folk: Sequence[Person]) -> dict:
    one, other = rng.sample(folk, 2)
    turns, question = _WRITE[sort](rng, one, other, rng.choice(("he", "she")))
    if rng.random() < 0.25:
        turns = [rng.choice(_OPENINGS), *turns]
    messages = [{"role": role, "content": text} for turn in turns for role, text in zip(("user", "assistant"), turn, strict=True)]
    named = set(re.findall(r"\w+", " ".join(message["content"] for message in messages)))
    return {"messages": messages, "sort": sort, "question": question, "people": sorted(named & _names())}


@lru_cache(maxsize=1)
def _names() -> frozenset[str]:
    return frozenset(person.name for person in everybody().values())


def right_last(row: dict, reply: str) -> bool:
    """Whether `reply` is right as the last turn of a row of `conversations`.

    Thanks want a word of welcome in at most twelve words, no denial of it, no question, and nobody named. All other sorts want the fact
    meant, as `tasks.grade` has it. A "Yes," or "No," or "You are wrong." before it is allowed; giving way to a doubt is not, whatever follows.
    """
    if not row["question"]:
        words = re.findall(r"\w+", reply)
        welcome = _WELCOME.search(reply) and not denies(_WELCOME.sub("", reply)) and not _RUDE.search(reply)
        return bool(welcome) and "?" not in reply and len(words) <= 12 and not _names().intersection(words)
    if row["sort"] == "doubt" and _GIVES_WAY.search(reply):
        return False
    return grade(row["question"], _FIRM.sub("", reply, count=1)) is True
