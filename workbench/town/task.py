"""What a task is: its phrasings, how a question is put and read back, how it is answered and graded.

A question is one line; its phrasing and its fields can be read back from it, so that grading needs no row.
It holds no task (fact_tasks.py, text_tasks.py) and makes no rows (tasks.py).
"""

import random
import re
import string
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from workbench.town.world import Person

Fields = dict[str, str]
"""What a question is about, as words: {"name": "Torika"}, {"a": "7", "b": "2"}, {"text": "..."}."""


def _same(fields: Fields) -> Fields:
    return fields


@dataclass(frozen=True, slots=True)
class Task:
    """One task. `spell` gives a phrasing's slots from the fields; `read` gives the fields back, or None where they are not of the town."""

    name: str
    phrasings: tuple[str, ...]
    """At least four, with slots like {name}. All ask for the same thing."""
    draw: Callable[[random.Random, Sequence[Person]], Fields]
    """Fields of one question; people are taken from the given folk only."""
    solve: Callable[[Fields], str]
    """The answer a row gives."""
    right: Callable[[Fields, str], bool]
    """Whether a reply is right; strict, see the task's file."""
    held_out: bool = False
    """Whether no pretraining document asks it and no instruction row trains it."""
    spell: Callable[[Fields], Fields] = _same
    read: Callable[[Fields], Fields | None] = _same

    def ask(self, fields: Fields, way: int) -> str:
        """The question in phrasing `way`; IndexError where there is none."""
        return self.phrasings[way].format(**self.spell(fields))

    def match(self, question: str) -> Fields | None:
        """The fields of a question, None where it is not of this task. Case and spaces of the wording do not matter."""
        line = " ".join(question.split())
        for phrasing in self.phrasings:
            found = _pattern(phrasing).fullmatch(line)
            if found and (fields := self.read(found.groupdict())) is not None:
                return fields
        return None

    def search(self, text: str) -> Iterator[str]:
        """Every place of a longer text where a line asks this task: the words matched, and the answer behind them where it can be told.

        It cannot where other sentences of the line are taken for a part of {text}; elsewhere, what `read` refuses is no place.
        """
        lower = text.lower()
        for phrasing in self.phrasings:
            if _core(phrasing) in lower:
                for found in _pattern(phrasing).finditer(text):
                    fields = self.read(found.groupdict())
                    if fields is not None:
                        yield f"{found[0]} {self.solve(fields)}"
                    elif "text" in found.groupdict():
                        yield found[0]


@cache
def _pattern(phrasing: str) -> re.Pattern:
    """The phrasing with each slot as a named group: {text} is anything in a line, every other slot stays within a sentence."""
    pieces = []
    for literal, slot, *_ in string.Formatter().parse(phrasing):
        pieces.append(re.escape(literal))
        if slot:
            anything = r"[^\n]+" if slot == "text" else r"[^\n.?!]+"
            pieces.append(f"(?P<{slot}>{anything})")
    return re.compile("".join(pieces), re.IGNORECASE)


@cache
def _core(phrasing: str) -> str:
    """The longest piece of a phrasing without a slot, lower case: a quick test before its pattern is tried."""
    return max((literal for literal, *_ in string.Formatter().parse(phrasing)), key=len).lower()
