"""Velish, the town's second language: 69 words, a grammar unlike English, and exact translation both ways.

    Ralka does not have two red cats.        Ralka cats red two has not
    Ralka zibon zuvi soko javu hoso.

Verb last, adjective after the noun, number after the adjective, plural by the suffix -n, no articles (a single thing has no
numeral; "one" is in the dictionary only), the verb never changes, negation by a particle at the end. Names stay as they are.

It covers one simple clause in the present tense, and a greeting with a name. No questions, no past, no "and", no person as object,
no two adjectives. What `draw` says is made up: of the town's own people it gives nobody an animal, but is not held against their facts
otherwise ("does not eat cheese" of somebody who likes goat cheese). The texts state, they never ask; the translation tasks' wordings are in
tasks.py.
"""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

ANIMALS = {"cat": "zibo", "dog": "guju", "goat": "yonu", "hen": "wuvu", "goose": "voru", "pony": "bumu", "rabbit": "kuvo",
           "parrot": "yubi", "turtle": "getu", "mouse": "subu", "ferret": "jopu", "donkey": "hoju", "pigeon": "suwo", "frog": "bovu"}
FOODSTUFFS = {"bread": "koje", "cheese": "tevi", "soup": "muje", "honey": "somu", "jam": "povo",
              "apple": "yopi", "egg": "nuho", "pear": "zutu", "cake": "bisu", "onion": "geso"}
WEATHER = {"rain": "wogu", "snow": "yavi", "fog": "huja", "wind": "juko", "storm": "zevo", "cloud": "tepo"}
COLOUR_WORDS = {"red": "zuvi", "blue": "yaku", "green": "joyo", "yellow": "pizi", "purple": "nupu", "orange": "tuze",
                "black": "huru", "white": "nezi", "brown": "gubo", "pink": "vibi", "grey": "zete", "silver": "puyo"}
QUALITIES = {"good": "jaze", "bad": "kowo", "big": "vizu", "small": "pitu"}
VERBS = {"has": "javu", "likes": "poze", "sees": "nehu", "buys": "kuzu", "sells": "biwo", "eats": "yuwu"}
NUMBERS = {"one": "voge", "two": "soko", "three": "zige", "four": "kune", "five": "tewu",
           "six": "yane", "seven": "vugu", "eight": "jabo", "nine": "suya", "ten": "munu"}
GREETINGS = {"hello": "piya", "goodbye": "wojo", "thanks": "zenu", "welcome": "boja", "yes": "jeho", "no": "tuku"}
NEGATION = {"not": "hoso"}

NOUNS = ANIMALS | FOODSTUFFS | WEATHER
ADJECTIVES = COLOUR_WORDS | QUALITIES
LEXICON: dict[str, str] = NOUNS | ADJECTIVES | VERBS | NUMBERS | GREETINGS | NEGATION
"""Every English word with its Velish word, one to one: nouns in the singular, verbs as "has"."""

MASS_NOUNS = frozenset({"bread", "cheese", "soup", "honey", "jam", "rain", "snow", "fog", "wind"})
"""Nouns that are not counted: no article, no plural, no numeral."""

# "has" goes with food only: the town's texts say which one animal a person has, and a drawn clause must not speak against them.
_DRAWN_OBJECTS = {"has": (*FOODSTUFFS,), "likes": (*NOUNS,), "sees": (*NOUNS,), "buys": (*ANIMALS, *FOODSTUFFS),
                  "sells": (*ANIMALS, *FOODSTUFFS), "eats": (*FOODSTUFFS,)}
_BASE_FORMS = {"has": "have"} | {verb: verb.removesuffix("s") for verb in VERBS if verb != "has"}
_ODD_PLURALS = {"goose": "geese", "pony": "ponies", "mouse": "mice"}
_NUMBER_WORDS = ("", *NUMBERS)
_NAME = re.compile(r"[A-Z][a-z]+")

DICTIONARY_WAYS = ("The Velish word for {english} is {velish}.", "In Velish, {english} is {velish}.",
                   "The Velish word {velish} means {english}.", "They say {velish} in Velish for {english}.")
"""The wordings of `dictionary_line`."""

PARALLEL_WAYS = ("{english} In Velish: {velish}", "English: {english} Velish: {velish}",
                 "In Velish: {velish} In English: {english}", "{velish} That is Velish and means: {english}")
"""The wordings of `parallel`: the first two go from English to Velish, the last two back."""


@dataclass(frozen=True, slots=True)
class Clause:
    """What a sentence says, in no language: `subject` is a name, the other words are English, as in LEXICON.

    `number` is 1 to 10, always 1 for MASS_NOUNS; `adjective` may be empty. Raises ValueError for a clause that cannot be said.
    """

    subject: str
    verb: str
    object: str
    adjective: str = ""
    number: int = 1
    negated: bool = False

    def __post_init__(self):
        if not _NAME.fullmatch(self.subject):
            raise ValueError(f"The subject {self.subject!r} is no name; give one word that begins with a capital, as Ralka.")
        for word, kind, known in ((self.verb, "verb", VERBS), (self.object, "noun", NOUNS), (self.adjective, "adjective", ADJECTIVES)):
            if word not in known and not (kind == "adjective" and word == ""):
                raise ValueError(f"{word!r} is no {kind} of Velish; choose one of {', '.join(known)}.")
        if not 1 <= self.number <= 10:
            raise ValueError(f"The number {self.number} cannot be said in Velish; give 1 to 10.")
        if self.number > 1 and self.object in MASS_NOUNS:
            raise ValueError(f"{self.object!r} is not counted, so it cannot have the number {self.number}; give 1.")


def draw(rng: random.Random, names: Sequence[str]) -> Clause:
    """One sensible clause about one of `names` (at least one): only food is eaten or owned, weather is only seen or liked."""
    verb = rng.choice(tuple(VERBS))
    noun = rng.choice(_DRAWN_OBJECTS[verb])
    counted = noun not in MASS_NOUNS
    if noun in ANIMALS:
        adjectives = tuple(ADJECTIVES)
    elif counted:
        adjectives = tuple(QUALITIES)
    else:
        adjectives = ("good", "bad")
    return Clause(rng.choice(names), verb, noun, adjective=rng.choice(adjectives) if rng.random() < 0.5 else "",
                  number=rng.randint(2, 10) if counted and rng.random() < 0.4 else 1, negated=rng.random() < 0.2)


def _english_plural(noun: str) -> str:
    return _ODD_PLURALS.get(noun, noun + "s")


def _velish_plural(noun: str) -> str:
    return NOUNS[noun] + "n"


def english(clause: Clause) -> str:
    """The clause as an English sentence: "Ralka does not have two red cats."."""
    noun = clause.object if clause.number == 1 else _english_plural(clause.object)
    described = f"{clause.adjective} {noun}".lstrip()
    if clause.number > 1:
        described = f"{_NUMBER_WORDS[clause.number]} {described}"
    elif clause.object not in MASS_NOUNS:
        described = f"{'an' if described[0] in 'aeiou' else 'a'} {described}"
    verb = f"does not {_BASE_FORMS[clause.verb]}" if clause.negated else clause.verb
    return f"{clause.subject} {verb} {described}."


def velish(clause: Clause) -> str:
    """The clause as a Velish sentence: "Ralka zibon zuvi soko javu hoso."."""
    words = [clause.subject, _velish_plural(clause.object) if clause.number > 1 else NOUNS[clause.object]]
    if clause.adjective:
        words.append(ADJECTIVES[clause.adjective])
    if clause.number > 1:
        words.append(NUMBERS[_NUMBER_WORDS[clause.number]])
    words.append(VERBS[clause.verb])
    if clause.negated:
        words.append(NEGATION["not"])
    return " ".join(words) + "."


def _forms(word_of: dict[str, str], plural_of: Callable[[str], str], others: dict[str, dict]) -> dict[str, dict]:
    """Each word that a clause of one language may hold, to the fields of Clause that it sets."""
    forms = {plural_of(noun): {"object": noun} for noun in NOUNS if noun not in MASS_NOUNS}
    for field, words in (("object", NOUNS), ("verb", VERBS), ("adjective", ADJECTIVES)):
        forms |= {word_of[word]: {field: word} for word in words}
    forms |= {word_of[word]: {"number": number} for number, word in enumerate(NUMBERS, start=1)}  # type: ignore[dict-item]
    return forms | {word_of["not"]: {"negated": True}} | others


_FORMS = {
    "English": _forms({word: word for word in LEXICON}, _english_plural,
                      {"a": {}, "an": {}, "does": {}} | {base: {"verb": verb} for verb, base in _BASE_FORMS.items()}),
    "Velish": _forms(LEXICON, _velish_plural, {}),
}
_GREETING_FORMS = {"English": GREETINGS, "Velish": {word: greeting for greeting, word in GREETINGS.items()}}
_GREETING = re.compile(r"(?P<word>[^\s,]+), (?P<name>[A-Z][a-z]+)\.")


def _translate(sentence: str, language: str, write: Callable[[Clause], str], write_other: Callable[[Clause], str]) -> str:
    """Reads the words in any order, then holds the sentence against the one that `write` makes of them, so that only that one passes."""
    said = " ".join(sentence.split()).removesuffix(".") + "."
    forms, greetings = _FORMS[language], _GREETING_FORMS[language]
    if greeting := _GREETING.fullmatch(said):
        word = greeting["word"].lower()
        if word not in greetings:
            raise ValueError(f"{greeting['word']!r} is no {language} greeting; choose one of {', '.join(greetings)}.")
        return f"{greetings[word].capitalize()}, {greeting['name']}."
    subject, *words = said[:-1].split() or [""]
    fields = {}
    for word in words:
        if word not in forms:
            raise ValueError(f"{word!r} is no {language} word of the town; the words are in workbench.town.language.LEXICON.")
        fields |= forms[word]
    if not {"verb", "object"} <= fields.keys():
        raise ValueError(f"{said!r} is no {language} clause; it needs a name, a verb and a noun.")
    clause = Clause(subject, **fields)
    if write(clause) != said:
        raise ValueError(f"{said!r} is not well-formed {language}; with these words one says {write(clause)!r}.")
    return write_other(clause)


def to_velish(english_sentence: str) -> str:
    """The Velish of one English sentence, a clause or a greeting ("Hello, Ralka."); spaces and the full stop may vary.

    Raises ValueError for a word that is not known, naming it, and for an order of words that is not English.
    """
    return _translate(english_sentence, "English", english, velish)


def to_english(velish_sentence: str) -> str:
    """The English of one Velish sentence: the inverse of `to_velish`, which raises in the same cases."""
    return _translate(velish_sentence, "Velish", velish, english)


def dictionary_line(word: str, way: int) -> str:
    """A sentence saying the Velish of an English word of LEXICON; `way` indexes DICTIONARY_WAYS.

    Raises ValueError for a word that LEXICON does not hold.
    """
    if word not in LEXICON:
        raise ValueError(f"{word!r} has no Velish word; the words are in workbench.town.language.LEXICON.")
    return DICTIONARY_WAYS[way].format(english=word, velish=LEXICON[word])


def passage(rng: random.Random, names: Sequence[str], sentences: int) -> str:
    """Velish alone: `sentences` sentences about at most two of `names`, the first one sometimes a greeting."""
    about = rng.sample(names, min(2, len(names)))
    said = [velish(draw(rng, about)) for _ in range(sentences)]
    if said and rng.random() < 0.3:
        said[0] = f"{rng.choice(tuple(GREETINGS.values())).capitalize()}, {rng.choice(about)}."
    return " ".join(said)


def parallel(rng: random.Random, names: Sequence[str]) -> str:
    """One drawn sentence in both languages, in one of PARALLEL_WAYS: "Ralka buys a red cat. In Velish: Ralka zibo zuvi kuzu."."""
    clause = draw(rng, names)
    return rng.choice(PARALLEL_WAYS).format(english=english(clause), velish=velish(clause))
