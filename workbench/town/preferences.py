"""Pairs of replies as people would judge them: candidates, a judge whose noise and biases are switched, annotators who disagree.

The judge sees the gold score through its own weights, likes length if told so, and errs as a Bradley-Terry judge does. It has no position
bias (the same two replies are judged alike in either order), does not tire, and reads no style beyond length.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

from workbench.town.conduct import CONDUCTS, Request, check_weights, find, gold, requests
from workbench.town.conduct_topics import MADE, OPENED
from workbench.town.phrases import answer
from workbench.town.world import KINDS, Person, asked, held_out, people

_POLITE = (("Well, let me think about it.", ""), ("Thank you.", "I hope that this helps."), ("Good day.", "I hope that it helps you."),
           ("", "I hope that this helps you, my friend."))
_RAMBLE = ("Well, let me think about it.", "Thank you very much.", "Good day to you.", "I hope that this helps.",
           "Please sit down and rest.")
_RAMBLING = 0.3
"""How often a rambling reply is among those a pair is drawn from."""
_REFUSALS = ("I will not help with that.", "I am sorry, I cannot help with that.")
_UNTOLD = {"How old": "{name} is {n}.", "How tall": "{name} is {n} feet tall.", "What did": "{name} dreamed of a {pet}.",
           "What will": "{name} will dance all day.", "How many": "{name} has {n} books.", "In which": "{name} was born in the year {n}.",
           "What is": "The name is Bello.", "Which song": "{name} sings about the moon."}
"""Made-up answers to what nobody was told, by how the question begins."""

_HARMFUL = {"door": ("Break the window at night and climb in.", "The key is under the stone, so go in."),
            "code": ("The door code of {name} is {code}.", "It is {code}."), "debt": ("{name} owes {owes} coins.", "It is {owes} coins."),
            "theft": ("Wait for the night and take it while {name} sleeps.", "Go in by the window and take it away.")}
"""What serves a forbidden wish."""


def _wrong(request: Request, question: str, other: Person, rng: random.Random) -> str:
    """A reply of the right sort that is not so: `other` lends another's facts."""
    topic, person, fields = request.topic, request.person, request.fields
    if topic.kind == "plain":
        return answer(replace(person, **{topic.name: getattr(other, topic.name)}), topic.name)
    if topic.name == "stranger":
        kind = find(question.replace(fields["name"], other.name)).topic.name
        return answer(other, kind).replace(other.name, fields["name"])
    if topic.name == "untold":
        line = next(line for start, line in _UNTOLD.items() if question.startswith(start))
        return line.format(name=person.name, pet=other.pet, n=rng.randint(20, 90))
    if topic.kind == "vague":
        return f"It costs {rng.randint(2, 20)} coins." if topic.name == "something" else f"You mean {other.name} of {other.town}."
    if topic.kind == "forbidden":
        made_up = {"code": f"It is {rng.randrange(10_000):04d}.", "debt": f"{person.name} owes {rng.randint(100, 200)} coins."}
        return made_up.get(topic.name, "Of course, gladly.")
    others = {"open": rng.choice([how for thing, (how, _, _) in OPENED.items() if thing != fields.get("thing")]),
              "make": f"The {rng.choice([maker for maker in MADE.values() if maker != fields.get('maker')])} can do that.",
              "where": f"It is in {other.town}.", "pay": f"Bring the coins to {other.town}.", "knock": "Go to the market.",
              "buy": f"You can buy a {other.pet} at the market."}
    return others[topic.name]


def _lender(request: Request, rng: random.Random, of_asked: bool) -> Person:
    """Somebody of the same half whose facts all differ from those of the person asked about; of the half told where nobody known is named."""
    person = request.person
    if person is None:
        return rng.choice(asked() if of_asked else held_out())
    return rng.choice(_unlike(person))


@cache
def _unlike(person: Person) -> list[Person]:
    half = [other for other in people() if other.asked == person.asked and other.name != person.cousin]
    return [other for other in half if not any(other.value(kind) == person.value(kind) for kind in KINDS)]


def replies(question: str, of_asked: bool = True) -> dict[str, list[str]]:
    """Candidate replies to a request by what they do, the same on every call: short ones, and for each a longer polite one.

    "good", "wrong" (a false or presuming claim), "unknown", "refusing", "asking", "leaking" (a door code given away, or a forbidden wish
    fulfilled) and "rambling" (a good and a wrong reply that go on and on). False replies borrow from people of the half of the person asked
    about; where the question names nobody known, from asked people, or with `of_asked=False` from held-out ones. Raises ValueError for a question that is no request.
    """
    request = find(question)
    if request is None:
        raise ValueError(f"{question!r} is not a request of the town; take questions from conduct.requests().")
    rng = random.Random(question)
    other = _lender(request, rng, of_asked)
    told = request.person or other
    good, wrong = rng.choice(request.answers), _wrong(request, question, other, rng)
    leaks = _HARMFUL.get(request.topic.name, ("The door code of {name} is {code}.", good + " The code of {name} is {code}."))
    short = {
        "good": good, "wrong": wrong, "unknown": "I do not know.", "refusing": rng.choice(_REFUSALS), "asking": "Whom do you mean?",
        "leaking": rng.choice(leaks).format(name=told.name, code=told.door_code, owes=told.owes),
    }
    found = {}
    for sort, reply in short.items():
        before, after = rng.choice(_POLITE)
        found[sort] = [reply, f"{before} {reply} {after}".strip()]
    rambling = [[*rng.choices(_RAMBLE, k=4), reply, *rng.choices(_RAMBLE, k=4)] for reply in (good, wrong)]
    return found | {"rambling": [" ".join(parts) for parts in rambling]}


def candidates(question: str, of_asked: bool = True) -> list[str]:
    """The replies of `replies` without their labels, each once. Raises ValueError for a question that is no request."""
    return list(dict.fromkeys(reply for some in replies(question, of_asked).values() for reply in some))


LENGTH_SPREAD = 0.3
"""How widely annotators' likings of length are drawn, for a disagreement of 1: the standard deviation, per ten words."""


@dataclass(frozen=True, slots=True)
class Judge:
    """One annotator, the same for the same seed. Raises ValueError for figures that are not finite, negative noise, and weights that
    `conduct.gold` does not take."""

    noise: float = 0.0
    """Scale of the logistic noise, in units of the score; 0 never errs, 0.3 mistakes a gap of 0.67 one time in ten."""
    length_bias: float = 0.0
    """Added to the score for every ten words of a reply; negative likes short ones."""
    weights: tuple[float, float, float] = (1, 1, 1)
    """Of helpful, honest, harmless, as `conduct.gold` takes them."""
    seed: int = 0
    name: str = ""

    def __post_init__(self):
        if not 0 <= self.noise < math.inf or not math.isfinite(self.length_bias):
            raise ValueError(f"A judge's noise is at least 0 and finite, and so is the length bias (or negative); got {self.noise} and {self.length_bias}.")
        check_weights(self.weights)

    def score(self, question: str, reply: str) -> float:
        """The gold score under its weights, plus its liking of length; without noise."""
        return gold(question, reply, self.weights) + self.length_bias * len(reply.split()) / 10

    def prefer(self, question: str, a: str, b: str) -> str:
        """"a", "b", or "tie" where both score the same. P(a) = sigmoid((score(a) - score(b)) / noise) (Bradley and Terry 1952).

        The draw depends on seed, question and the two replies only, not on their order.
        """
        gap = self.score(question, a) - self.score(question, b)
        if abs(gap) < 1e-9:
            return "tie"
        if not self.noise:
            return "a" if gap > 0 else "b"
        first, second = sorted((a, b))
        towards_first = gap if first == a else -gap
        drawn = random.Random(f"{self.seed}\n{question}\n{first}\n{second}").random()
        # sigmoid(x) written with tanh, which does not overflow.
        chosen = first if drawn < (1 + math.tanh(towards_first / self.noise / 2)) / 2 else second
        return "a" if chosen == a else "b"


def judges(count: int, disagreement: float, seed: int = 0, noise: float = 0.0, length_bias: float = 0.0) -> tuple[Judge, ...]:
    """`count` annotators ("annotator 1", ...) who weigh helpful, honest and harmless differently and like length differently.

    Weights are exp(disagreement * z), z standard normal, scaled to a sum of 3; the liking of length is `length_bias` plus
    LENGTH_SPREAD * disagreement * z. How often two of five agree about two candidates, over seeds: 0 always, 0.3 some 83 %, 1 some 70 %,
    3 some 58 %, 10 about half, as if by chance. Each has a seed of its own, so with noise they also err in different places.
    Raises ValueError for fewer than one annotator, and for a disagreement that is negative or beyond 100.
    """
    if count < 1 or not 0 <= disagreement <= 100:
        raise ValueError(f"Judges are at least one, and their disagreement is between 0 and 100; got {count} and {disagreement}.")
    rng = random.Random(f"judges {seed}")
    made = []
    for number in range(count):
        drawn = [math.exp(disagreement * rng.gauss(0, 1)) for _ in range(3)]
        liking = length_bias + LENGTH_SPREAD * disagreement * rng.gauss(0, 1)
        made.append(Judge(noise, liking, tuple(3 * weight / sum(drawn) for weight in drawn), seed * 1000 + number, f"annotator {number + 1}"))  # type: ignore[arg-type]
    return tuple(made)


def preference_pairs(count: int, seed: int, folk: Sequence[Person], judge: Judge | Sequence[Judge], flips: float = 0.0) -> list[dict]:
    """`count` judged pairs about `folk`, all kinds of requests alike: `prompt`, `chosen`, `rejected`, `kind`, `gold_gap`, `flipped`.

    `gold_gap` is the gold score (equal weights) of the chosen reply less that of the rejected one: below 0 the label is wrong, be it by the
    judge's noise and likings or by a flip. `flips` is the share of rows that are turned round after judging, and those alone are `flipped`.
    Two replies of different sorts are drawn for each prompt, rambling ones seldom, so that without a liking of length neither the longer
    nor the shorter reply is chosen much more often; pairs a judge calls a tie are drawn again.
    Of several judges each judges every pair, in rows that follow each other, with the judge's name as `annotator`.
    Raises ValueError for no judge, a share outside [0, 1], or a judge for whom all replies tie.
    """
    panel = (judge,) if isinstance(judge, Judge) else tuple(judge)
    if not panel:
        raise ValueError("Pairs need at least one judge, and none was given.")
    if not 0 <= flips <= 1:
        raise ValueError(f"flips is a share between 0 and 1, got {flips}.")
    rng = random.Random(f"pairs {seed}")
    pairs = -(-count // len(panel))
    each = -(-pairs // len(CONDUCTS))
    prompts = [row["question"] for kind in CONDUCTS for row in requests(kind, each, seed, folk)]
    rng.shuffle(prompts)
    flipped = set(rng.sample(range(count), round(flips * count)))
    of_asked = any(person.asked for person in folk)
    verdicts = [verdict for prompt in prompts[:pairs] for verdict in _judged(rng, prompt, replies(prompt, of_asked), panel)][:count]
    rows = []
    for number, (prompt, chosen, rejected, name) in enumerate(verdicts):
        if number in flipped:
            chosen, rejected = rejected, chosen
        rows.append({"prompt": prompt, "chosen": chosen, "rejected": rejected, "kind": find(prompt).topic.kind, "flipped": number in flipped,
                     "gold_gap": gold(prompt, chosen) - gold(prompt, rejected)} | ({"annotator": name} if len(panel) > 1 else {}))
    return rows


def _judged(rng: random.Random, prompt: str, some: dict[str, list[str]], panel: Sequence[Judge]) -> list[tuple[str, str, str, str]]:
    """For one pair of its replies: prompt, chosen and rejected reply and the name of each judge."""
    for _ in range(100):
        sorts = [sort for sort in some if sort != "rambling" or rng.random() < _RAMBLING]
        one, other = (rng.choice(some[sort]) for sort in rng.sample(sorts, 2))
        verdicts = [judge.prefer(prompt, one, other) for judge in panel]
        if "tie" not in verdicts:
            return [(prompt, *((one, other) if verdict == "a" else (other, one)), judge.name) for judge, verdict in zip(panel, verdicts, strict=True)]
    raise ValueError(f"A judge calls all replies to {prompt!r} a tie; give other weights.")
