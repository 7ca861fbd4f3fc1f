"""Rows made out of what is there: rewritten rows, questions and answers about documents, and rows in which a model says who it is.

Called through `synthesis.py`, which has the settings they share. Not here: whether an answer is true.
"""

import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workbench.data import ngrams, novelty, phrases, texts
from workbench.data.making import Asking, Dropped, Kind, Made, Synthesis, begin, whole
from workbench.data.replies import BREAKS_OFF, Task, answer_fault, bare, cut_off, fault_of, labelled, numbered, tasks_of
from workbench.errors import DataError

REWRITE = {
    "question": """Say the request below again in other words. Ask for the same; keep every name, number, text and piece of code it holds.
{way}
Reply with the request alone.

<text>
{text}
</text>""",
    "answer": """Below are a question and an answer to it. Write the answer again in other words: add nothing, leave nothing out.
{way}
Reply with the answer alone.

Question: {question}

<text>
{text}
</text>""",
}

WAYS = ("Put it simply, as one says it aloud.", "Put it politely and formally.", "Make it as short as it can be.",
        "Write whole sentences, and more of them.", "Begin with what stood at the end.")

NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


def rewrite(rows: Any, generator: Any, *, part: str = "question", times: int = 1, ways: Sequence[str] = WAYS,
            words: tuple[int, int] = (1, 1000), near: float = 0.9, beside: Any = None, seed: int = 0, kept: str | Path | None = None,
            **options: Any) -> Synthesis:
    """Each row's question, or its answer, in other words, `times` over; the other part stays as it is.

    Dropped are texts outside `words`, near (ROUGE-L ≥ `near`) the row itself or another, and those that lose a number or bring one: the
    other part would no longer fit. The bound is above `self_instruct`'s, since rows of one template differ by a name. `ways` are sentences,
    of which each rewriting of a row gets another. Other settings are those of `self_instruct`. Raises `DataError` before anything is asked,
    where a row has no answer too.
    """
    if part not in REWRITE:
        raise DataError(f"A row has no {part!r} to rewrite.", 'Use part="question" or part="answer".')
    whole("times", times, 1, 2)
    if isinstance(ways, str) or not ways:
        raise DataError("No way to rewrite is given.", 'Use ways=["Make it shorter."], or leave it out.')
    given = tasks_of(rows)
    bad = next((number for number, task in enumerate(given, start=1) if not task.output), None)
    if bad is not None:
        raise DataError(f"Row {bad} has no answer.", "Give rows of questions and answers; synthesis.evolve takes bare instructions.")

    def compared(question: str, answer: str) -> str:
        return question if part == "question" else f"{question}\n{answer}"

    shelf = novelty.Shelf([compared(task.question, task.output) for task in given])

    def attempt(number: int, chance: random.Random, before: list[dict[str, Any]]) -> Asking:
        origin, turn = number % len(given), number // len(given)
        task = given[origin]
        text = task.question if part == "question" else task.output
        way = ways[(random.Random(f"{seed} {origin}").randrange(len(ways)) + turn) % len(ways)]
        reply = yield REWRITE[part].format(way=way, text=text, question=task.question)
        new = bare(re.sub(r"(?i)</?text>", "", reply))
        question, answer = (new, task.output) if part == "question" else (task.question, new)
        if fault := cut_off(reply):
            return [Dropped(fault, new)]
        if not ngrams.words(new):
            return [Dropped("no text in the reply", reply)]
        if fault := fault_of(new, *words, ()):
            return [Dropped(fault, new)]
        if sorted(set(NUMBER.findall(new))) != sorted(set(NUMBER.findall(text))):
            return [Dropped("other numbers", new)]
        if fault := answer_fault(Task(question, "", answer)):
            return [Dropped(fault, new)]
        return [Made(question, answer, compared(question, answer), f"{part}: {way}", (origin,))]

    return begin(Kind("rewrite", attempt, times * len(given), len(given)), generator, shelf, near, seed, kept, beside,
                 lambda task: compared(task.question, task.output), **options)


def _both(task: Task) -> str:
    return f"{task.question}\n{task.output}"


# ---- questions and answers about documents

ASK = """Read the text and write {pairs} questions that it answers, each with its answer. Whoever reads a question does not have the text,
so name what it is about, and speak of no text or passage. Take the answers from the text alone. Write them like this:
Q: the question
A: the answer

<text>
{text}
</text>
"""

POINTS = re.compile(r"\b(?:the|this|that|above|given|following) (?:\w+ )?(?:text|passage|paragraph|excerpt|article|document|author)\b",
                    re.IGNORECASE)
"""A question that cannot be understood without its passage."""


def question_answers(documents: Any, generator: Any, *, pairs: int = 3, passage_words: int = 200, times: int = 1, grounded: float = 0.6,
                     words: tuple[int, int] = (3, 80), near: float = 0.9, beside: Any = None, seed: int = 0,
                     kept: str | Path | None = None, **options: Any) -> Synthesis:
    """`pairs` questions with answers about each passage of at most `passage_words` words of the documents, asked for `times` over.

    `documents` are texts, rows of plain text, or a file of them. Dropped are questions outside `words`, those that speak of "the text", and
    pairs near another (ROUGE-L ≥ `near` on question and answer together: questions about two people differ by a name), or of whose answer
    less than the share `grounded` of the words (stop words left out) stands in the passage or the question: 0 takes all. `sources` is the
    document. Other settings are those of `self_instruct`. Raises `DataError` before anything is asked.
    """
    for name, value, example in (("pairs", pairs, 3), ("passage_words", passage_words, 200), ("times", times, 1)):
        whole(name, value, 1, example)
    if isinstance(grounded, bool) or not isinstance(grounded, (int, float)) or not 0 <= grounded <= 1:
        raise DataError(f"grounded is {grounded!r}; it must be a share from 0 to 1.", "Use grounded=0.6.")
    given = [(number, text) for number, document in enumerate(texts.texts_of(documents)) for text in passages(document, passage_words)]
    if not given:
        raise DataError("The documents hold no words.", "Give texts, or rows with a column of text.")

    def attempt(number: int, chance: random.Random, before: list[dict[str, Any]]) -> Asking:
        place = number % len(given)
        document, text = given[place]
        found: list[Made | Dropped] = []
        reply = yield ASK.format(pairs=f"{pairs} more" if number >= len(given) else pairs, text=text)
        pairs_read = labelled(reply, "Q", "A") or labelled(reply, "Question", "Answer")
        for turn, (question, answer) in enumerate(pairs_read, start=1):
            fault = ((cut_off(reply) if turn == len(pairs_read) else "") or fault_of(question, *words, ())
                     or ("speaks of the text" if POINTS.search(question) else "")
                     or answer_fault(Task(question, "", answer)) or _ungrounded(answer, f"{text} {question}", grounded))
            found.append(Dropped(fault, question) if fault else
                         Made(question, answer, f"{question}\n{answer}", f"passage {place + 1} of {len(given)}", (document,)))
        return found or [Dropped("no question and answer in the reply", reply)]

    return begin(Kind("question_answers", attempt, times * len(given), len(given)), generator, novelty.Shelf(), near, seed, kept, beside,
                 _both, **options)


def _ungrounded(answer: str, text: str, share: float) -> str:
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    said = {word for word in ngrams.words(answer) if word not in ENGLISH_STOP_WORDS}
    return "not from the text" if said and len(said & set(ngrams.words(text))) < share * len(said) else ""


def passages(text: str, most: int) -> list[str]:
    """The text in pieces of at most `most` words, cut between paragraphs where that goes, else between sentences, else between words."""
    found: list[str] = []
    for joint, piece in _pieces(text, most, (r"\n\s*\n", r"(?<=[.!?。！？])\s*(?=\S)", r"\s+")):
        joined = f"{found[-1]}{joint}{piece}" if found else ""
        if found and len(ngrams.words(joined)) <= most:
            found[-1] = joined
        else:
            found.append(piece)
    return [piece for piece in found if ngrams.words(piece)]


def _pieces(text: str, most: int, cuts: tuple[str, ...]) -> list[tuple[str, str]]:
    """`(what stood before it, piece)`: whole paragraphs, of those that are too long whole sentences, and so on."""
    joint = "\n\n" if cuts and cuts[0].startswith(r"\n") else " "
    out: list[tuple[str, str]] = []
    for piece in filter(str.strip, re.split(cuts[0], text)):
        if len(ngrams.words(piece)) <= most or len(cuts) == 1:
            out.append((joint, piece.strip()))
        else:
            inner = _pieces(piece, most, cuts[1:])
            out += [(joint, inner[0][1]), *inner[1:]]
    return out


# ---- who the model is

NEW_QUESTION = """Here are ways to ask an assistant about itself. Go on with {count} more that ask for the same thing in other words, each
on one line with its number.

{shown}
{next}."""

AS_ITSELF = """You are {name}, an assistant made by {maker}. Somebody asks you: {question}
Answer in one or two sentences, as yourself{saying}. Reply with the answer alone."""

MADE_BY = re.compile(r"\b(?:made|built|developed|created|trained|designed) by (?:the )?"
                     r"(?:company |team (?:at|of) |people (?:at|of) )?(?:the )?(.+)", re.IGNORECASE)

SLOTS = re.compile(r"\{\{?\s*(name|author|maker)\s*\}?\}|\b(NAME|AUTHOR|MAKER)\b")
"""{{name}}, {name} or NAME; the maker also as author."""


def identify(name: str, maker: str, generator: Any = None, *, rows: Any = None, tasks: int = 4, near: float = 0.95, beside: Any = None,
             seed: int = 0, kept: str | Path | None = None, **options: Any) -> Synthesis:
    """Rows in which a model says that it is `name` and that `maker` made it.

    Without a generator they are put together from phrases of our own (`phrases.py`), or from `rows` whose slots ({{name}}, {{author}},
    NAME, AUTHOR, ...) are filled: that many and no more. With one, questions are asked in new words and answered by it; dropped are answers
    that do not say the name, or the maker where that is asked for, or that say somebody else made it. Other settings are those of
    `self_instruct`. Raises `DataError` before anything is asked.
    """
    for what, value in (("name", name), ("maker", maker)):
        if not isinstance(value, str) or not ngrams.words(value):
            raise DataError(f"The {what} is {value!r}, which holds no word.", f'Give one, such as {what}="Orla".')
    whole("tasks", tasks, 1, 4)
    fills = {"name": name.strip(), "maker": maker.strip()}
    if generator is None:
        if options:
            raise DataError(f"{', '.join(options)}: phrases written by hand have no such settings.", "Give a generator, or leave it out.")
        ready = phrases.rows(fills, seed) if rows is None else _filled(rows, fills)

        def given(number: int, chance: random.Random, before: list[dict[str, Any]]) -> Asking:
            question, answer, how, place = ready[number]
            return [Made(question, answer, f"{question}\n{answer}", how, place)]
            yield  # an attempt that asks nothing

        return begin(Kind("identify", given, len(ready)), by_hand, novelty.Shelf(), near, seed, kept, beside, _both,
                     **options)
    questions = phrases.questions(fills) if rows is None else {"who": list(dict.fromkeys(row[0] for row in _filled(rows, fills)))}

    def attempt(number: int, chance: random.Random, before: list[dict[str, Any]]) -> Asking:
        about = chance.choice(sorted(questions))
        shown = chance.sample(questions[about], min(4, len(questions[about])))
        listed = "\n".join(f"{place}. {text}" for place, text in enumerate(shown, start=1))
        reply = yield NEW_QUESTION.format(count=tasks, shown=listed, next=len(shown) + 1)
        found: list[Made | Dropped] = []
        asked, torn = numbered(reply, len(shown) + 1)
        for question in asked:
            if fault := fault_of(question, 2, 40, ()):
                found.append(Dropped(fault, question))
                continue
            saying = "" if about == "name" else " and naming your maker"
            reply = yield AS_ITSELF.format(question=question, saying=saying, **fills)
            answer = bare(reply)
            fault = (cut_off(reply) or answer_fault(Task(question, "", answer))
                     or _somebody_else(answer, fills, about != "name" and rows is None))
            found.append(Dropped(fault, f"{question}\n{answer}") if fault else
                         Made(question, answer, f"{question}\n{answer}", f"asked for its {about}" if about in fills else f"asked: {about}"))
        found += [Dropped(BREAKS_OFF, torn)] if torn else []
        return found or [Dropped("no question in the reply", reply)]

    return begin(Kind("identify", attempt), generator, novelty.Shelf(), near, seed, kept, beside,
                 _both, **options)


def by_hand(prompt: str) -> str:
    """Stands for a generator where nothing is asked."""
    raise DataError("Phrases written by hand answer no prompt.", "Give a generator.")


def _filled(rows: Any, fills: dict[str, str]) -> list[tuple[str, str, str, tuple[int, ...]]]:
    def fill(text: str) -> str:
        return SLOTS.sub(lambda slot: fills["name" if (slot[1] or slot[2]).lower() == "name" else "maker"], text)

    given = tasks_of(rows)
    if not any(SLOTS.search(task.question + task.output) for task in given):
        raise DataError("None of the rows has a slot for the name or the maker.", "Write {{name}} and {{author}} where they go.")
    return [(fill(task.question), fill(task.output), "slots filled", (number,)) for number, task in enumerate(given)]


def _somebody_else(answer: str, fills: dict[str, str], both: bool) -> str:
    said = f" {' '.join(ngrams.words(answer))} "
    plain = {what: f" {' '.join(ngrams.words(text))} " for what, text in fills.items()}
    if plain["name"] not in said:
        return "does not say its name"
    maker = plain["maker"].removeprefix(" the").lstrip()  # "made by the Guild" and "made by Guild" are one
    if any(not f"{' '.join(ngrams.words(by))} ".startswith(maker) for by in MADE_BY.findall(answer)):
        return "says somebody else made it"
    return "does not say its maker" if both and maker not in said else ""
