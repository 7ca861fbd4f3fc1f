"""What one rendering may take: seconds, steps, characters, and how each value it makes is weighed against that.

An operation that could make more than it was given is judged before it is done; the clock is read at every step. Not here: which operations
exist at all (`sandbox.py`).
"""

import itertools
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
from jinja2.sandbox import SecurityError

INTEGER_BITS = 4096
COMPARISONS = 10**8
HASHED_BITS, MOST_LARGE = 60, 1000
VIEWS = (type({}.keys()), type({}.values()), type({}.items()))
PLAIN = (str, int, float, type(None), list, tuple, dict, range, zip, type(i for i in ()), *VIEWS, jinja2.Undefined)
"""What a template can hold in its hands. Everything else stays out of its texts, lists and calls."""


@dataclass(frozen=True, slots=True)
class Limits:
    """`seconds` of this thread's own work, so that a busy machine refuses nothing that a quiet one writes; `characters` of one value and of the
    output (all values together ten times as many); `steps`: turns of loops, calls, expressions."""

    seconds: float = 2.0
    characters: int = 1_000_000
    steps: int = 100_000


class Exceeded(Exception):
    """A limit, as a sentence and its remedy."""


class Budget:
    """What is left of the limits of one rendering, where it is, and what it draws with."""

    __slots__ = ("choose", "columns", "created", "deadline", "limits", "place", "steps")

    def __init__(self, limits: Limits, choose: Callable[[Sequence[Any]], Any], columns: Iterable[str]):
        self.limits, self.choose, self.columns = limits, choose, columns
        self.steps, self.created, self.place = limits.steps, 10 * limits.characters, (1, 1)
        self.deadline = time.thread_time() + limits.seconds

    def step(self, characters: int = 0) -> None:
        self.steps -= 1
        self.created -= characters
        if self.steps < 0:
            raise Exceeded(f"it takes more than {self.limits.steps} steps", "Loop over less.")
        if self.created < 0:
            raise Exceeded(f"it makes more than {10 * self.limits.characters} characters", "Repeat less, or shorten the row's texts.")
        if time.thread_time() > self.deadline:
            raise Exceeded(f"rendering takes more than {self.limits.seconds:g} s", "Loop over less, or give the rendering more seconds.")

    def fits(self, characters: int) -> None:
        if characters > self.limits.characters:
            raise Exceeded(f"it makes a value of more than {self.limits.characters} characters", "Repeat less, or allow more characters.")

    def made(self, value: Any) -> Any:
        """`value`, counted against what may be made; each place an element appears in counts, so shared ones cannot grow unseen."""
        total, todo = 0, [value]
        while todo:
            item = todo.pop()
            if isinstance(item, str):
                total += len(item)
            elif isinstance(item, int) and item.bit_length() > INTEGER_BITS:
                raise Exceeded(f"it makes a number of more than {INTEGER_BITS} bits", "Use smaller numbers.")
            elif isinstance(item, (list, tuple, *VIEWS)):
                todo.extend(item)
            elif isinstance(item, dict):
                todo.extend(itertools.chain(item.keys(), item.values()))
            elif item is not value and (not isinstance(item, PLAIN) or hasattr(item, "__next__")):
                raise SecurityError(f"a {type(item).__name__} cannot be put into a list")
            total += 1
            self.fits(max(total, len(todo)))
        self.step(total)
        return value

    def weight(self, value: Any) -> int:
        before = self.created
        self.made(value)
        return before - self.created

    def joins(self, parts: Any, separator: Any) -> list[Any]:
        parts = list(parts)
        self.made(parts)
        self.fits(len(parts) * len(str(separator)))
        return parts

    def replaces(self, text: str, old: Any, new: Any) -> None:
        self.fits(len(text) + text.count(str(old)) * len(str(new)))

    def searches(self, text: str, part: str) -> None:
        """Before what may compare every character of one with every character of the other."""
        if len(text) * len(part) > COMPARISONS:
            raise Exceeded(f"it would compare {len(text)} characters with {len(part)}", "Look for something shorter.")

    def keys(self, values: Any) -> list[Any]:
        """`values` as a list, before they become keys: Python hashes whole numbers by their remainder, so thousands of large ones can be made to collide."""
        values, large, todo = list(values), 0, []
        self.made(values)
        todo.extend(values)
        while todo:
            item = todo.pop()
            if isinstance(item, (list, tuple)):
                todo.extend(item)
            large += isinstance(item, int) and item.bit_length() > HASHED_BITS
        if large > MOST_LARGE:
            raise Exceeded(f"it sorts more than {MOST_LARGE} numbers of over {HASHED_BITS} bits into a table", "Use smaller numbers.")
        return values

    def formats(self, pattern: str, values: Any) -> None:
        if "*" in pattern or "%(" in pattern or re.search(r"%[-+ #0]*(\d{4}|\d*\.\d{4})", pattern):
            raise SecurityError("a format takes no names, and no width over 999")
        size = sum(len(str(value)) for value in self.made(list(values)))
        self.fits(len(pattern) + pattern.count("%") * (size + 999))


def plain_only(values: Iterable[Any]) -> None:
    for value in values:
        if not isinstance(value, PLAIN):
            raise SecurityError(f"a {type(value).__name__} is no text, number or list")
