"""What stands around a row's own input: answered examples before it, a system prompt; and the task turned round.

Demonstrations are drawn by seed and index alone, so any process draws the same; the row itself and rows that ask the same are never among
them. Not here: how one template is rendered (`tasks.py`), choosing demonstrations by likeness.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from workbench.errors import DataError
from workbench.templates.sandbox import TemplateError, compiled

if TYPE_CHECKING:
    from workbench.templates.limits import Limits
    from workbench.templates.tasks import Rendered, Template

BLANK = "\n\n"


def as_list(rows: Any, few: bool = False) -> Sequence[Mapping[str, Any]]:
    """Rows that can be indexed: an Arrow table becomes a list, or where only a few are wanted a view of it; a sequence stays."""
    if hasattr(rows, "to_pylist"):
        return TableRows(rows) if few else rows.to_pylist()
    return rows if hasattr(rows, "__getitem__") and hasattr(rows, "__len__") else list(rows)


class TableRows(Sequence):
    """An Arrow table as a sequence of dicts, each made when it is first asked for and then kept."""

    def __init__(self, table: Any):
        self.table = table
        self._kept: dict[int, dict[str, Any]] = {}

    def __len__(self) -> int:
        return self.table.num_rows

    def __getitem__(self, index: int) -> dict[str, Any]:  # type: ignore[override]
        if index not in self._kept:
            if not 0 <= index < len(self):
                raise IndexError(f"row {index} of {len(self)}")
            self._kept[index] = self.table.slice(index, 1).to_pylist()[0]
        return self._kept[index]


def order(count: int, seed: int, key: Any) -> Iterator[int]:
    """The numbers below `count` in an order of their own for each `seed` and `key`, one at a time: O(1) each for the first few of many."""
    generator = random.Random(f"{seed}\0demonstrations\0{key}")
    seen: set[int] = set()
    while 4 * len(seen) < count:
        index = generator.randrange(count)
        if index not in seen:
            seen.add(index)
            yield index
    rest = [index for index in range(count) if index not in seen]
    generator.shuffle(rest)
    yield from rest


class RowTooLong(DataError):
    """A row whose own texts are longer than what one rendering may write, so that no template is at fault. `index` is the row's, from 0."""

    def __init__(self, index: int, characters: int, most: int):
        super().__init__(f"Row {index + 1} is too long: the columns that the template reads have {characters:,} characters, and a template writes "
                         f"at most {most:,}.", "Shorten that row, or leave it out.")
        self.index = index


def characters(template: Template, row: Mapping[str, Any]) -> int:
    """Characters of a row in the columns that a template reads."""
    values = {name.replace("-", "_"): value for name, value in row.items()}
    return sum(len(str(values.get(column, ""))) for column in template.columns)


def render(template: Template, row: Mapping[str, Any], index: int, seed: int, limits: Limits) -> Rendered | None:
    """`template.render` of the row `index`. Raises `RowTooLong` instead of `TemplateError` where the row is at fault."""
    try:
        return template.render(row, seed=seed, key=index, limits=limits)
    except TemplateError:
        if (count := characters(template, row)) >= limits.characters:
            raise RowTooLong(index, count, limits.characters) from None
        raise


class Pool:
    """Rows to take demonstrations from, each rendered once by one template."""

    def __init__(self, template: Template, rows: Sequence[Mapping[str, Any]], seed: int, limits: Limits):
        self.template, self.rows, self.seed, self.limits = template, rows, seed, limits
        self._kept: dict[int, Rendered | None] = {}

    def rendered(self, index: int) -> Rendered | None:
        if index not in self._kept:
            self._kept[index] = render(self.template, self.rows[index], index, self.seed, self.limits)
        return self._kept[index]

    def _demonstration(self, index: int) -> Rendered | None:
        try:
            return self.rendered(index)
        except RowTooLong:
            return None

    def draw(self, count: int, key: Any, own_input: str, own: Mapping[str, Any], own_index: int | None) -> list[Rendered]:
        """`count` answered rows, none of them row `own_index` nor one that says the same as the row `own` in the template's columns (a template that draws may word the
        two differently), and none with the input `own_input`, no input twice.

        Raises `DataError` where the pool has not so many.
        """
        drawn: dict[str, Rendered] = {}
        for index in order(len(self.rows), self.seed, key) if count else ():
            example = self._demonstration(index) if index != own_index and self._asked(self.rows[index]) != self._asked(own) else None
            if example is not None and example.target and example.input not in (own_input, *drawn):
                drawn[example.input] = example
                if len(drawn) == count:
                    break
        if len(drawn) < count:
            raise DataError(f"{count} demonstrations were asked for, and only {len(drawn)} other rows have an answer and their own input.",
                            "Ask for fewer, or give a larger pool.")
        return list(drawn.values())

    def _asked(self, row: Mapping[str, Any]) -> list[Any]:
        values = {name.replace("-", "_"): value for name, value in row.items()}
        return [values.get(column) for column in self.template.columns]


def assembled(own: Rendered, given: Iterable[Rendered], system: str | None, *, as_turns: bool, chat: bool) -> dict[str, Any]:
    """One example of `data.layouts`: a conversation, or a prompt and its completion.

    Demonstrations stand before the input, blank lines between; as turns of their own only in a conversation.
    """
    given = list(given)
    before = [f"{example.input}\n{example.target}" for example in given]
    if not chat:
        return {"prompt": BLANK.join([*filter(None, [system]), *before, own.input]) + "\n", "completion": own.target}
    messages = [{"role": "system", "content": system}] if system else []
    if as_turns:
        for example in given:
            messages += [{"role": "user", "content": example.input}, {"role": "assistant", "content": example.target}]
        before = []
    asked = {"role": "user", "content": BLANK.join([*before, own.input])}
    return {"messages": [*messages, asked, {"role": "assistant", "content": own.target}]}


LEAD, ASK = "Here is an answer:\n\n", "\n\nWrite what it answers."
WHOLE = ('{{% set inverted_whole %}}{jinja}{{% endset %}}{{% set inverted_parts = inverted_whole.split("|||") %}}'
         "{{% if inverted_parts | length == 2 %}}{lead}{{{{ inverted_parts[1] | trim }}}}{ask} ||| {question}{{% endif %}}")


def invert(template: Template, *, question: str | None = None, lead: str = LEAD, ask: str = ASK, name: str | None = None) -> Template:
    """The template turned round: its target is given, between `lead` and `ask` (Jinja too), and its input is to be written, or `question`
    (for example "{{ question }}", to have the column without the words around it).

    Where input and target hang together, through `{% if %}` around both or a variable, the result renders them together and takes them
    apart again. Raises `DataError` where there is no target, `TemplateError` where something cannot be compiled.
    """
    if template.target is None:
        raise DataError(f"The template {template.name!r} has no |||, so there is no target to begin from.", "Give it a target first.")
    template.columns  # noqa: B018 (an error in the template itself is told as its own)
    asked = question if question is not None else template.input
    if _apart(asked, template.target, template.strict):
        source, target = f"{lead}{template.target.strip()}{ask} ", f" {asked.strip()}"
    else:
        wanted = question if question is not None else "{{ inverted_parts[0] | trim }}"
        source, _, target = WHOLE.format(jinja=template.jinja, lead=lead, ask=ask, question=wanted).partition("|||")
    turned = dataclasses.replace(template, name=name or f"{template.name} (inverted)", input=source, target=target, id="",
                                 metadata=type(template.metadata)({**template.metadata, "original_task": False}))  # type: ignore[call-arg]
    if "answer_choices" not in compiled(turned.jinja, turned.strict).columns:
        turned = dataclasses.replace(turned, answer_choices=None)
    turned.columns  # noqa: B018
    return turned


def _apart(first: str, second: str, strict: bool) -> bool:
    """Whether each can be rendered without the other."""
    if "|||" in first or "|||" in second:
        return False
    try:
        one, other = compiled(first, strict), compiled(second, strict)
    except TemplateError:
        return False
    return not (one.assigned & set(other.columns) or other.assigned & set(one.columns))
