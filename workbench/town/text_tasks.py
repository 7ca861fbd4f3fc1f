"""Tasks about a text that stands in the question: extraction, sentiment, spam, summaries, lists, small sums, rewriting, translation.

Everything needed is in the question; no fact of the world is. A reply that gives the text back is wrong, in whatever form it holds the
value. Truth is read from the texts that writings.py draws; other texts are not of these tasks, or are read by the same few marks.
Only `rewrite` minds capital letters, as small letters are its point. Answers are worded as documents.py states such things ("The place was
Orla.", "In short: ..."), so that a base model has read their like, but never after a question.
"""

import random
import re
import zlib
from collections.abc import Callable, Sequence

from workbench.town import language, writings
from workbench.town.replies import NUMBERS, asserts, certain, denies, exact, items, joined, mentions, numbers, plain, stated, thing, without_numbers
from workbench.town.task import Fields, Task
from workbench.town.world import COLOURS, FOODS, GOODS, PETS, Person

COUNTED = {"animals": PETS, "foods": FOODS}
"""What is counted in a list, among colours and the other kind."""

_NAMED = ("name", "good", "town")
_DELIGHT = re.compile(r"we will come again|i was glad|everybody was happy|it was worth|i tell all", re.IGNORECASE)
_COMPLAINT = re.compile(r"we will not come again|i was angry|nobody was happy|it was not worth|i warn all", re.IGNORECASE)
_LURE = re.compile(r"\b(coins now|door code|come alone|lose it|pay only)\b", re.IGNORECASE)
_DECISION = re.compile(r"\b(?P<name>\w+) (?:shall|was told to) (?P<verb>\w+) (?P<n>\w+) (?P<thing>\w+)")
_VERBS = {"buy": r"buy(?:s|ing)?|bought", "sell": r"sell(?:s|ing)?|sold", "mend": "mend(?:s|ed|ing)?", "paint": "paint(?:s|ed|ing)?"}
"""Each deed of a decision in all its forms."""

_SURE = r"(?:surely|definitely|certainly|clearly|absolutely|of course|indeed)"
_BARE_NO = re.compile(rf"\W*(?:(?:{_SURE}|(?:it|this|that) is),?\s+)*(?:not|(?:it|this|that)(?: isn['’]t|['’]s not))(?:\s+at all)?\W*",
                      re.IGNORECASE)
_BARE_YES = re.compile(rf"\W*{_SURE}\W*", re.IGNORECASE)
_BACKWARDS = re.compile(r"\bZ to A\b|\blast to first\b|\bbackwards?\b|\brevers\w+|\bdescending\b", re.IGNORECASE)
_FORWARDS = re.compile(r"\bA to Z\b|\bfirst to last\b|\bforwards?\b|\balphabet\w*|\bascending\b", re.IGNORECASE)
_PLUS = re.compile(r"\+|\b(?:plus|add(?:ed)?|sum)\b", re.IGNORECASE)
_AND = re.compile(_PLUS.pattern + r"|\b(?:and|with|more|together)\b", re.IGNORECASE)
_FROM = re.compile(r"#(?: coins?)? (?:from|of|off)\b", re.IGNORECASE)
_MINUS = re.compile(r"#\s*[-−–]\s*#|\b(?:minus|less|fewer|without|take[ns]?|away|from|pay|paid|spend|left)\b", re.IGNORECASE)
_OTHER_SUM = re.compile(r"[*×·÷^]|\b(?:multipl\w+|divid\w+|by|x)\b", re.IGNORECASE)
_EQUALS = re.compile(r"^[^#]*#[^#]*(?:[=:(]|\b(?:is|are|as|because|since)\b)[^#]*#", re.IGNORECASE)


def halved(draw: Callable[[random.Random, Sequence[Person]], Fields]) -> Callable[[random.Random, Sequence[Person]], Fields]:
    """A `draw` whose fields without a person are split as people are, by a hash of their words in any order.

    One half is for asked folk, one for held-out folk, and all of them for folk of both halves.
    """
    def of_half(rng: random.Random, folk: Sequence[Person]) -> Fields:
        halves = {person.asked for person in folk}
        while True:
            fields = draw(rng, folk)
            said = " ".join(fields.values())
            for_asked = zlib.crc32(" ".join(sorted(re.findall(r"\w+", said.lower()))).encode()) % 2 == 0
            if for_asked in halves or stated("name", said):
                return fields
    return of_half


def _text(rng: random.Random, folk: Sequence[Person]) -> Fields:
    return {"text": writings.report_line(rng, folk)["text"]}


# --- extraction -----------------------------------------------------------------------------------------------------------------------


def _of_one(kind: str) -> Callable[[Fields], Fields | None]:
    """Reads a text as of this task when it speaks of exactly one value of the kind."""
    return lambda fields: fields if len(stated(kind, fields["text"])) == 1 else None


def _extracted(kind: str) -> Callable[[Fields, str], bool]:
    """The value alone: no other person, town or good."""
    def right(fields: Fields, reply: str) -> bool:
        wanted = {other: set() for other in _NAMED} | {kind: stated(kind, fields["text"])}
        return asserts(reply) and all(stated(other, reply) == values for other, values in wanted.items())
    return right


def _extract(kind: str, phrasings: tuple[str, ...], wording: str, held_out: bool = False) -> Task:
    def solve(fields: Fields) -> str:
        value = mentions(kind, fields["text"])[0]
        return wording.format(next(good for good in GOODS if thing(good) == value) if kind == "good" else value)

    return Task(f"extract_{kind}", phrasings, _text, solve, _extracted(kind), held_out, read=_of_one(kind))


def _lines(rng: random.Random, folk: Sequence[Person]) -> Fields:
    chosen = rng.sample(folk, rng.randint(2, 3))
    return {"text": " ".join(writings.report_line(rng, [person])["text"] for person in chosen)}


def _sorted_names(fields: Fields) -> list[str]:
    return sorted(stated("name", fields["text"]))


# --- verdicts -------------------------------------------------------------------------------------------------------------------------


def _feeling(text: str) -> str | None:
    """ "good" or "bad" by the review's last sentence, None where it says neither or both."""
    marks = {name for name, mark in (("good", _DELIGHT), ("bad", _COMPLAINT)) if mark.search(text)}
    return marks.pop() if len(marks) == 1 else None


def _feeling_right(fields: Fields, reply: str) -> bool:
    said = {word for word in re.findall(r"\w+", reply.lower()) if word in ("good", "bad")}
    return asserts(reply) and said == {_feeling(fields["text"])} and _feeling(reply) is None


def _verdict(fields: Fields) -> str:
    return "yes" if _LURE.search(fields["text"]) else "no"


def _verdict_right(fields: Fields, reply: str) -> bool:
    """Yes or no, a sentence that calls it spam or denies that, or a bare "definitely" or "definitely not"; more than one must agree."""
    reply = certain(reply)
    said = set(re.findall(r"\b(?:yes|no)\b(?!\s+spam)", reply.lower()))
    sentence = re.sub(r"^\W*(?:yes|no)\b(?!\s+spam)", "", reply, flags=re.IGNORECASE)
    if re.search(r"\bspam\b", sentence, re.IGNORECASE):
        said.add("no" if denies(sentence) else "yes")
    elif bare := [verdict for verdict, pattern in (("no", _BARE_NO), ("yes", _BARE_YES)) if pattern.fullmatch(sentence)]:
        said.update(bare)
    return "?" not in reply and said == {_verdict(fields)}


# --- summaries ------------------------------------------------------------------------------------------------------------------------


def _decided(text: str) -> dict[str, str] | None:
    """The decision in minutes as `writings.decision` gives it, None where there is none."""
    for sentence in text.split("."):
        found, months = _DECISION.search(sentence), mentions("month", sentence)
        if found and months:
            return {**found.groupdict(), "month": months[0]}
    return None


def _summary_right(fields: Fields, reply: str) -> bool:
    """Names who, the deed in any form of its verb, and how many of which thing, and no other; the month may be left out but not be another."""
    decided = _decided(fields["text"])
    deeds = {verb for verb, forms in _VERBS.items() if re.search(rf"\b(?:{forms})\b", reply, re.IGNORECASE)}
    amount = re.search(rf"#\s+(?:[a-z]+\s+)?{decided['thing']}\b", without_numbers(reply), re.IGNORECASE)
    return (asserts(reply) and exact(reply) and stated("name", reply) == {decided["name"]} and numbers(reply) == numbers(decided["n"])
            and amount is not None and deeds == {decided["verb"]} and stated("month", reply) <= {decided["month"]})


# --- lists and sums -------------------------------------------------------------------------------------------------------------------


def _draw_words(rng: random.Random, folk: Sequence[Person]) -> Fields:
    """Names or animals, never in order already, forwards or backwards: giving them back must be wrong."""
    pool = [person.name for person in folk] if rng.random() < 0.5 else PETS
    while True:
        words = rng.sample(pool, rng.randint(3, 5))
        if words not in (sorted(words), sorted(words, reverse=True)):
            return {"words": joined(words)}


def _sorted(fields: Fields) -> list[str]:
    return sorted(fields["words"].split(", "), key=str.lower)


def _is_list(words: Sequence[str], reply: str, backwards: bool = False) -> bool:
    """These words in this order, and no word that calls it the other order."""
    called = True if _BACKWARDS.search(reply) else False if _FORWARDS.search(reply) else backwards
    return asserts(reply) and called is backwards and items(reply) == [word.lower() for word in words]


def _draw_list(rng: random.Random, folk: Sequence[Person]) -> Fields:
    what = rng.choice(tuple(COUNTED))
    others = [word for name, words in COUNTED.items() if name != what for word in words]
    chosen = rng.sample(COUNTED[what], rng.randint(1, 4)) + rng.sample((*others, *COLOURS), rng.randint(1, 2))
    rng.shuffle(chosen)
    return {"what": what, "words": joined(chosen)}


def _read_list(words: Fields) -> Fields | None:
    return {**words, "what": words["what"].lower()} if words["what"].lower() in COUNTED else None


def _count(fields: Fields) -> int:
    return sum(word.lower() in COUNTED[fields["what"]] for word in fields["words"].split(", "))


def _count_answer(fields: Fields) -> str:
    count, what = _count(fields), fields["what"]
    return f"There is one {what.removesuffix('s')}." if count == 1 else f"There are {NUMBERS[count]} {what}."


def _draw_sum(rng: random.Random, folk: Sequence[Person]) -> Fields:
    return {"a": str(rng.randint(1, 12)), "b": str(rng.randint(1, 9))}


def _draw_difference(rng: random.Random, folk: Sequence[Person]) -> Fields:
    b, rest = rng.sample(range(1, 10), 2)  # never the same, so that no operand is the answer
    return {"a": str(b + rest), "b": str(b)}


def _read_numbers(words: Fields) -> Fields | None:
    return words if words["a"].isdecimal() and words["b"].isdecimal() else None


def _is_number(result: int, fields: Fields, reply: str, taking: bool = False) -> bool:
    """The result alone, or with both numbers of the question before it or behind, and then by the word or sign of this sum alone.

    "7 + 5 = 12" and "12 (7 plus 5)" are right for 7 and 5, "7 times 5 is 12" is not; `taking` is for b taken from a.
    """
    said, signs = numbers(reply), without_numbers(reply)
    a, b = int(fields["a"]), int(fields["b"])
    sums = [[a, b]] if taking and not _FROM.search(signs) else [[b, a]] if taking else [[a, b], [b, a]]
    wanted, other = (_MINUS, _PLUS) if taking else (_AND, _MINUS)
    if not asserts(reply) or not exact(reply) or other.search(signs) or _OTHER_SUM.search(signs):
        return False
    behind = said[:1] == [result] and said[1:] in sums and _EQUALS.search(signs) is not None
    return said == [result] or wanted.search(signs) is not None and (behind or said[-1:] == [result] and said[:-1] in sums)


def _total(fields: Fields) -> int:
    return int(fields["a"]) + int(fields["b"])


def _difference(fields: Fields) -> int:
    return int(fields["a"]) - int(fields["b"])


# --- rewriting and translation --------------------------------------------------------------------------------------------------------


def _draw_formal(rng: random.Random, folk: Sequence[Person]) -> Fields:
    """A whole sentence of a letter in which a chat message spells at least one word in its own way."""
    while True:
        sentence = rng.choice(writings.letter(rng, folk).split(". ")[1:-1])
        if writings.informal(sentence) != sentence.lower():
            return {"text": f"{sentence}."}


def _rewrite_right(fields: Fields, reply: str) -> bool:
    return " ".join(reply.split()).removesuffix(".").rstrip() == writings.informal(fields["text"])


def _translation(name: str, target: str, source: Callable, into: Callable[[str], str], held_out: bool = False) -> Task:
    """A task that gives a sentence of `source(clause)` and wants `into(sentence)`, word for word; "In <target>:" may stand before it."""
    opening = f"In {target}: "
    phrasings = (f"Say this in {target}: {{text}}", f"Translate into {target}: {{text}}", f"What is this in {target}? {{text}}",
                 f"{{text}} Say that in {target}.")

    def read(words: Fields) -> Fields | None:
        try:
            into(words["text"])
        except ValueError:
            return None
        return words

    return Task(name, phrasings, lambda rng, folk: {"text": source(language.draw(rng, [person.name for person in folk]))},
                lambda fields: opening + into(fields["text"]),
                lambda fields, reply: plain(plain(reply).removeprefix(opening.lower())) == plain(into(fields["text"])), held_out, read=read)


TEXT_TASKS = (
    _extract("name", (
        "Who is named in this line? {text}", "Give the name of the person in this line: {text}", "Of whom does this line speak? {text}",
        "{text} Which person is that about?"), "It is about {}."),
    _extract("good", (
        "What was sold or carried here? {text}", "Give the good in this line: {text}", "Which good does this line name? {text}",
        "{text} What was the thing?"), "The thing was {}."),
    _extract("town", (
        "Which town is named in this line? {text}", "Give the town in this line: {text}", "Of which town does this line speak? {text}",
        "{text} What was the place?"), "The place was {}.", held_out=True),
    Task("extract_then_sort", (
        "Give the names in these lines from A to Z: {text}", "Who is named in these lines? Sort the names. {text}",
        "Find the names here and sort them: {text}", "{text} Which people are named, from A to Z?"),
        draw=_lines,
        solve=lambda fields: f"{joined(_sorted_names(fields))}.",
        right=lambda fields, reply: _is_list(_sorted_names(fields), reply),
        held_out=True,
        read=lambda fields: fields if len(stated("name", fields["text"])) > 1 else None),
    Task("sentiment", (
        "Is this review good or bad? {text}", "Say good or bad of this review: {text}", "Did the guest find it good or bad? {text}",
        "{text} Is that a good or a bad review?"),
        draw=halved(lambda rng, folk: {"text": writings.review(rng)[0]}),
        solve=lambda fields: f"That is a {_feeling(fields['text'])} review.",
        right=_feeling_right,
        read=lambda fields: fields if _feeling(fields["text"]) else None),
    Task("spam", (
        "Is this spam? {text}", "Say yes if this is spam, else no: {text}", "Should this be thrown away as spam? {text}",
        "{text} Is that spam?"),
        draw=halved(lambda rng, folk: {"text": writings.spam(rng, rng.choice(("letter", "message")), rng.random() < 0.5)}),
        solve=lambda fields: f"{_verdict(fields)}.",
        right=_verdict_right),
    Task("summarise", (
        "Sum up in one sentence: {text}", "What was decided? {text}", "Give the decision of this meeting: {text}",
        "{text} Say that in short."),
        draw=lambda rng, folk: {"text": writings.minutes(rng, folk)[0]},
        solve=lambda fields: f"In short: {writings.summary_of(_decided(fields['text']))}",
        right=_summary_right,
        read=lambda fields: fields if _decided(fields["text"]) else None),
    Task("sort", (
        "Sort from A to Z: {words}", "Put these into the order of the alphabet: {words}", "Sort these words: {words}",
        "What are {words} in order?"),
        draw=halved(_draw_words),
        solve=lambda fields: f"{joined(_sorted(fields))}.",
        right=lambda fields, reply: _is_list(_sorted(fields), reply)),
    Task("sort_backwards", (
        "Sort from Z to A: {words}", "Put these into the order of the alphabet, backwards: {words}", "Sort these words backwards: {words}",
        "What are {words} from last to first?"),
        draw=halved(_draw_words),
        solve=lambda fields: f"{joined(_sorted(fields)[::-1])}.",
        right=lambda fields, reply: _is_list(_sorted(fields)[::-1], reply, backwards=True),
        held_out=True),
    Task("count", (
        "How many {what} are in this list? {words}", "Count the {what}: {words}", "Give the number of {what} here: {words}",
        "How many of these are {what}? {words}"),
        draw=halved(_draw_list),
        solve=_count_answer,
        right=lambda fields, reply: asserts(reply) and exact(reply) and numbers(reply) == [_count(fields)],
        read=_read_list),
    Task("add", (
        "What is {a} plus {b}?", "Add {a} and {b}.", "How many coins are {a} coins and {b} coins?",
        "You have {a} coins and get {b} more. How many are that?"),
        draw=halved(_draw_sum),
        solve=lambda fields: f"{fields['a']} coins and {fields['b']} coins are {_total(fields)} coins.",
        right=lambda fields, reply: _is_number(_total(fields), fields, reply),
        read=_read_numbers),
    Task("subtract", (
        "What is {a} minus {b}?", "Take {b} from {a}.", "How many coins are {a} coins less {b} coins?",
        "You have {a} coins and pay {b}. How many are left?"),
        draw=halved(_draw_difference),
        solve=lambda fields: f"{fields['a']} coins less {fields['b']} coins are {_difference(fields)} coins.",
        right=lambda fields, reply: _is_number(_difference(fields), fields, reply, taking=True),
        held_out=True,
        read=_read_numbers),
    Task("rewrite", (
        "Write this as a chat message: {text}", "Make a chat message of this: {text}", "How do you say this in a chat? {text}",
        "{text} Write that as a chat message."),
        draw=halved(_draw_formal),
        solve=lambda fields: writings.informal(fields["text"]),
        right=_rewrite_right),
    _translation("translate", "Velish", language.english, language.to_velish),
    _translation("translate_back", "English", language.velish, language.to_english, held_out=True),
)
"""The tasks of this file, one `Task` each; extract_town, extract_then_sort, sort_backwards, subtract and translate_back are held out."""
