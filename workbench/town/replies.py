"""How a reply is read: which values of a kind it states, its numbers, its list, and whether it denies or asks.

Reading is of wording, not of meaning: "not a cat" states a cat and denies, and so does "anything but a cat"; irony, and denials in other
words than those below, are not seen. Values of the world of the shipped base models and of the neighbouring village are known, others are
not seen. It knows no task (fact_tasks.py, text_tasks.py).
"""

import re
from collections.abc import Iterable
from functools import cache, lru_cache

from workbench.town.world import COLOURS, DRINKS, EVENTS, FLOWERS, FOODS, GAMES, GOODS, INSTRUMENTS, MONTHS, PETS, TRADES, VILLAGE, WEATHER, Person, village, world

NUMBERS = ("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen "
           "nineteen twenty").split()
"""The words of the small numbers, each at its value."""

_CERTAIN = re.compile(r"\b(?:(?:there is |i have )?(?:no|without(?: a| any)?) (?:doubt|question)|(?:do not|don['’]t|never) doubt|not only)\b",
                      re.IGNORECASE)
_DENIAL = re.compile("|".join((
    r"\b(?:not?|never|nobody|nothing|nowhere|none|neither|nor|cannot|hardly|scarcely|barely)\b|n['’]t\b",  # negation
    r"\b(?:any|every|no|all|each)\w*(?: \w+)? but\b|\b(?:except|unless|instead|(?:other|rather) than)\b",  # exception
    r"\b(?:apart from|far from|free (?:of|from))\b|\w-free\b",
    r"\b(?:false|untrue|wrong|incorrect|mistaken|a lie|doubt\w*|den(?:y|ies|ied))\b",  # falsehood
    r"\b(?:used to|former|formerly|previously|once)\b",  # what is over
    r"\b(?:refus\w+|fail\w*|forg[eo]t\w*|stop\w*|avoid\w*|hat(?:e[sd]?|ing)|dislike\w*|lack\w*|un(?:like\w*|sort\w*|order\w*))\b",  # verbs
)), re.IGNORECASE)
_ODD_PLURALS = {"mouse": "mice", "goose": "geese"}
_WEATHER_FORMS = {"sunny": ("sun", "sunny"), "rainy": ("rain", "rainy", "rained", "raining"), "windy": ("wind", "windy"),
                  "snowy": ("snow", "snowy", "snowed", "snowing"), "foggy": ("fog", "foggy")}
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_SCALES = {"dozen": 12, "hundred": 100, "thousand": 1000, "million": 10**6}
_WORTH = {word: value for value, word in enumerate(NUMBERS)} | {word: 10 * value for value, word in enumerate(_TENS, 2)} | _SCALES
_SMALL = (rf"(?:\d{{1,3}}(?:,\d{{3}})+|\d+(?:\.\d+)?|(?:{'|'.join(_TENS)})(?:[\s-]+(?:{'|'.join(NUMBERS[1:10])}))?"
          rf"|{'|'.join(NUMBERS[::-1])})\b")
_SCALE = rf"(?:{'|'.join(_SCALES)})s?\b"
_LARGE = rf"(?:{_SMALL}[\s-]+)?{_SCALE}(?:[\s-]+{_SCALE})*"
_NUMBER = re.compile(rf"(?P<sign>(?<![\w-])[-−]|\b(?:minus|negative)\s+)?"
                     rf"\b(?P<said>{_LARGE}(?:[\s-]+(?:and\s+)?{_LARGE})*(?:[\s-]+(?:and\s+)?{_SMALL})?|{_SMALL})", re.IGNORECASE)
_OPERAND = re.compile(r"\b(?:\d+|" + "|".join(_WORTH) + r")s?(?: coins?)?\s*$", re.IGNORECASE)
_VAGUE = re.compile("|".join((
    r"\b(?:more|less|fewer|greater|higher|lower|larger|smaller|bigger) than\b|\bas (?:many|much|few) as\b",  # comparison
    r"\b(?:at (?:the )?(?:least|most)|or (?:so|more|less|fewer)|up to|over|under|above|below|between|beyond)\b|[<>≤≥]",  # bound
    r"\b(?:about|around|nearly|almost|roughly|approximately|circa|some)\b|[≈~]",  # guess
    r"\b(?:half|halves|quarters?|twice|double|thrice|times)\b|[%/]",  # part or multiple
)), re.IGNORECASE)
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
    values = {"pet": PETS, "town": (*world().towns, VILLAGE), "food": FOODS, "colour": COLOURS, "drink": DRINKS, "flower": FLOWERS, "game": GAMES, "instrument": INSTRUMENTS,
              "month": MONTHS, "event": EVENTS,
              "good": [thing(good) for good in GOODS], "name": [person.name for person in everybody().values()]}
    return {form: value for value in values[kind] for form in (value.lower(), _plural(value.lower()))}


def _plural(word: str) -> str:
    """The plural that is more than an added s, else the word."""
    if word in _ODD_PLURALS:
        return _ODD_PLURALS[word]
    return re.sub(r"(?<=[^aeiou])y$", "ies", word) if word.endswith("y") else re.sub(r"(s|x|ch|sh)$", r"\1es", word)


@cache
def _reader(kind: str) -> tuple[re.Pattern, dict[str, str]]:
    forms = _forms(kind)
    return re.compile(r"\b(" + "|".join(sorted(map(re.escape, forms), key=len, reverse=True)) + r")s?\b", re.IGNORECASE), forms


def mentions(kind: str, text: str) -> list[str]:
    """The values of that kind in the order they stand in, with repetitions, as the world spells them (trades as nouns, goods without "a").

    `kind` is one of "name", "trade", "town", "pet", "food", "drink", "flower", "game", "instrument", "colour", "good", "month", "weather", "event"; KeyError for any other.
    """
    return list(_mentioned(kind, text))


@lru_cache(maxsize=50_000)
def _mentioned(kind: str, text: str) -> tuple[str, ...]:
    """Kept, because graders read the same few questions and replies again and again."""
    pattern, forms = _reader(kind)
    return tuple(forms[found[1].lower()] for found in pattern.finditer(text) if found[1].lower() not in ("may", "march") or _is_month(text, found))


def _is_month(text: str, found: re.Match) -> bool:
    """Whether this "may" or "march" is the month, not a verb.

    It is after in, of, was or the like, alone or with another month in its sentence, and where it has a capital inside a sentence.
    """
    before, after = re.split(r"[.!?:\n]", text[:found.start()])[-1], text[found.end():]
    if re.search(r"\b(in|of|is|was|by|until|since)\s+\W*$", before, re.IGNORECASE):
        return True
    if re.search(r"\w", before):
        return found[1].istitle()
    other = rf"\s+(?:and|or)\s+(?:{'|'.join(MONTHS)})\b"
    return re.match(rf"\W*$|\s*[^\w\s]|\s+(?:was|is|had)\b|{other}", after, re.IGNORECASE) is not None


def stated(kind: str, text: str) -> set[str]:
    """The set of `mentions`."""
    return set(mentions(kind, text))


def numbers(text: str) -> list[float]:
    """The numbers in the order they stand in: digits ("-3", "1,000", "2.5") and words ("two hundred and five", "a dozen", "minus two").

    Whole ones are int. A minus between two numbers is a sum's, not the second number's.
    """
    found: list[float] = []
    for match in _NUMBER.finditer(text):
        total: float = 0
        part: float = 0
        for word in re.findall(r"[\d.,]+|[a-z]+", match["said"].lower()):
            worth = _WORTH.get(word, _WORTH.get(word.removesuffix("s")))
            if worth is None:
                part += 0 if word == "and" else float(word.replace(",", "")) if "." in word else int(word.replace(",", ""))
            elif word.removesuffix("s") in _SCALES:
                part = max(part, 1) * worth
                total, part = (total + part, 0) if worth >= 1000 else (total, part)
            else:
                part += worth
        found.append((total + part) * (-1 if match["sign"] and not _OPERAND.search(text[:match.start()]) else 1))
    return found


def without_numbers(text: str) -> str:
    """The text with "#" for each number, a sign before it left standing."""
    return _NUMBER.sub(lambda match: (match["sign"] or "") + "#", text)


def exact(reply: str) -> bool:
    """Whether no word makes its numbers vague or parts of others: "more than two", "at least two", "about two", "twice two"."""
    return _VAGUE.search(reply) is None


def denies(reply: str) -> bool:
    """Whether words of denial, exception, falsehood or the past stand in it; "I do not know" does, "no doubt" does not."""
    return _DENIAL.search(certain(reply)) is not None


def certain(reply: str) -> str:
    """The reply with "surely" for "no doubt", "without a doubt" and the like, which sound like denials."""
    return _CERTAIN.sub("surely", reply)


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
