"""A task: one thing to do with a row, said in several ways.

A template is an input and a target in Jinja, rendered in one piece (so that what the input sets, the target knows) and cut at `|||`, as
promptsource does it; a task holds templates that are rephrasings of each other. Not here: what Jinja may do (`sandbox.py`), files
(`promptsource.py`), the model's chat template and tokens (`chat.py`).
"""

import dataclasses
import datetime
import decimal
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from workbench.errors import DataError
from workbench.templates import demonstrations as shots
from workbench.templates import gate
from workbench.templates.limits import Limits
from workbench.templates.sandbox import TemplateError, compiled

if TYPE_CHECKING:
    import pyarrow as pa

SEPARATOR = "|||"
PROTECTED = "3ed2dface8203c4c9dfb1a5dc58e41e0"
"""What stands for a row's own `|||` while the template is cut: promptsource's word, since templates for multi_news look for it."""
PROGRESS_ROWS = 256

Choose = Callable[[Sequence[Any]], Any]


@dataclass(frozen=True, slots=True)
class Rendered:
    """`choices`: the answers to rank where the template has some and the target is one of them."""

    input: str
    target: str
    choices: tuple[str, ...] | None = None


def plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as a template sees it: texts, numbers, lists and dicts only; a hyphen in a column's name becomes `_`.

    Dates and decimals become text, arrays lists. Raises `DataError` for anything else.
    """
    if not isinstance(row, Mapping):
        raise DataError(f"A row is {type(row).__name__}, not an object with named columns.", "Give one object a row.")
    return {str(name).replace("-", "_"): value if type(value) in (str, int) else _plain(value, name) for name, value in row.items()}


def _plain(value: Any, name: Any) -> Any:
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, Mapping):
        return {key if isinstance(key, (str, int)) else str(key): _plain(part, name) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part, name) for part in value]
    if isinstance(value, (str, datetime.date, datetime.time, datetime.timedelta, decimal.Decimal)):
        return str(value)
    if hasattr(value, "tolist"):  # numpy's arrays and numbers
        return _plain(value.tolist(), name)
    raise DataError(f"The column {name!r} holds {type(value).__name__}, which a template cannot write.", "Make it text or numbers first.")


def drawing(*key: Any) -> Choose:
    """`random.choice` of a generator of its own, the same for the same `key` in every process; made when first needed."""
    generator: list[random.Random] = []

    def choose(values: Sequence[Any]) -> Any:
        if not generator:
            generator.append(random.Random("\0".join(map(str, key))))
        return generator[0].choice(values)
    return choose


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """One phrasing. `input` and `target` are compiled as one text, `input|||target`; `target` is None where that text has no `|||`.

    `answer_choices` is Jinja that writes the possible targets, separated by `|||`; the template knows them as the list `answer_choices`.
    """

    name: str
    input: str
    target: str | None
    answer_choices: str | None = None
    strict: bool = True
    """A column the row lacks is an error; promptsource writes nothing for it."""
    longest: int | None = None
    """Characters after which each `{{ }}` is cut with "..."; promptsource's is 2048."""
    id: str = ""
    reference: str | None = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """promptsource's: original_task, choices_in_prompt, metrics, languages."""
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_jinja(cls, name: str, jinja: str, **fields: Any) -> "Template":
        """Of promptsource's one text, cut at its first `|||`."""
        before, separator, after = jinja.partition(SEPARATOR)
        return cls(name=name, input=before, target=after if separator else None, **fields)

    @property
    def jinja(self) -> str:
        return self.input if self.target is None else f"{self.input}{SEPARATOR}{self.target}"

    @property
    def columns(self) -> frozenset[str]:
        """The columns it reads. Raises `TemplateError`."""
        names = set(self._compiled().columns)
        if self.answer_choices is not None:
            names |= set(self._compiled_choices().columns)
        return frozenset(names - {"answer_choices"})

    def check(self, columns: Iterable[str]) -> None:
        """Raises `TemplateError` where it cannot be compiled, or reads a column that is not among `columns`, at its first place."""
        known = {column.replace("-", "_") for column in columns}
        self.columns  # noqa: B018 (compiles both)
        for name, place in self._compiled().columns.items():
            if name not in known | {"answer_choices"}:
                raise self._moved(_unknown(name, known, place))
        for name, place in self._compiled_choices().columns.items() if self.answer_choices is not None else ():
            if name not in known:
                raise self._of_choices(_unknown(name, known, place))

    def choices(self, row: Mapping[str, Any], choose: Choose = random.choice, limits: Limits = Limits()) -> list[str] | None:
        """The possible targets for this row, or None for an open task. Raises `TemplateError`."""
        return self._choices(_protected(row), choose, limits)

    def _choices(self, values: dict[str, Any], choose: Choose, limits: Limits) -> list[str] | None:
        if self.answer_choices is None:
            return None
        if "{" not in self.answer_choices:
            text = self.answer_choices
        else:
            ready = self._compiled_choices()
            try:
                text = ready.render(values, choose, limits)
            except TemplateError as error:
                raise self._of_choices(error) from None
        return [choice.strip().replace(PROTECTED, SEPARATOR) for choice in text.split(SEPARATOR)]

    def parts(self, row: Mapping[str, Any], choose: Choose = random.choice, limits: Limits = Limits()) -> list[str]:
        """What the template writes for a row, cut at `|||` and stripped: usually input and target, `[""]` where it leaves the row out.

        Raises `TemplateError`, with its line and column in the input or the target; `DataError` where the row has a column answer_choices.
        """
        return self._rendered(row, choose, limits)[0]

    def _rendered(self, row: Mapping[str, Any], choose: Choose, limits: Limits) -> tuple[list[str], list[str] | None]:
        values = _protected(row)
        if "answer_choices" in values:
            raise DataError("The row has a column 'answer_choices', the name by which templates know their own.", "Rename that column.")
        values["answer_choices"] = choices = self._choices(values, choose, limits)
        ready = self._compiled()
        try:
            text = ready.render(values, choose, limits)
        except TemplateError as error:
            raise self._moved(error) from None
        try:
            text.encode()
        except UnicodeEncodeError:
            raise DataError(f"The template {self.name!r} writes half a character (a lone surrogate), which no tokenizer reads.",
                            "Remove it from the template, or from the row.") from None
        return [part.replace(PROTECTED, SEPARATOR).strip() for part in text.split(SEPARATOR)], choices

    def render(self, row: Mapping[str, Any], *, seed: int = 0, key: Any = 0, limits: Limits = Limits()) -> Rendered | None:
        """Input and target, or None where the template writes no such two (T0's rule).

        A target may be empty. What is drawn depends on `seed`, `key` and the template's name only. Raises what `parts` raises.
        """
        parts, choices = self._rendered(row, drawing(seed, self.name, key), limits)
        if len(parts) != 2:
            return None
        return Rendered(*parts, choices=tuple(choices) if choices and parts[1] in choices else None)  # type: ignore[arg-type, misc]

    def _compiled(self) -> Any:
        try:
            return compiled(self.jinja, self.strict, self.longest)
        except TemplateError as error:
            raise self._moved(error) from None

    def _compiled_choices(self) -> Any:
        try:
            return compiled(self.answer_choices or "", self.strict, None)
        except TemplateError as error:
            raise self._of_choices(error) from None

    def _of_choices(self, error: TemplateError) -> TemplateError:
        return error.of(f"the answer choices of {self.name!r}")

    def _moved(self, error: TemplateError) -> TemplateError:
        """The error's place in the input or the target, instead of in both together."""
        head = (self.input + SEPARATOR).replace("\r\n", "\n").replace("\r", "\n").split("\n")
        line, column = error.line - len(head) + 1, error.column
        if self.target is None or line < 1 or (line == 1 and column <= len(head[-1])):
            return error.of(f"the input of {self.name!r}")
        if error.message.lower().startswith("unexpected end of template"):  # what was never closed may have been opened in the input
            try:
                compiled(self.input, self.strict, None)
            except TemplateError as own:
                if own.message.lower().startswith("unexpected end of template"):
                    return own.of(f"the input of {self.name!r}")
        column -= len(head[-1]) if line == 1 else 0
        return error.of(f"the target of {self.name!r}", line, column)


def _unknown(name: str, known: Iterable[str], place: tuple[int, int]) -> TemplateError:
    return TemplateError(f"there is no column {name!r}", f"The rows have {', '.join(sorted(map(repr, known)))}.", *place, unknown=name)


def _protected(row: Mapping[str, Any]) -> dict[str, Any]:
    """As promptsource: only texts that are columns themselves are protected, not those inside lists."""
    return {name: value.replace(SEPARATOR, PROTECTED) if type(value) is str else value for name, value in plain(row).items()}


@dataclass(slots=True)
class Examples:
    """`examples` for `data.layouts`, and beside each the index of its row and the name of its template.

    `left_out`: how many rows each template says nothing about; `no_target`: (row, template) pairs with an input and an empty target.
    """

    examples: list[dict[str, Any]] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    templates: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    no_target: list[tuple[int, str]] = field(default_factory=list)

    def table(self, kept: Iterable[bool] | None = None) -> "pa.Table":
        """As an Arrow table that `wb.Recipe(data=...)` and `wb.Mixture` take: the columns of the layout (messages, or prompt and
        completion), `row` and `template`. `kept` has one truth value an example."""
        import pyarrow as pa

        places = [place for place, wanted in enumerate(kept) if wanted] if kept is not None else range(len(self.examples))
        columns = {name: [self.examples[place][name] for place in places] for name in (self.examples[0] if self.examples else ())}
        return pa.table(columns | {"row": [self.rows[place] for place in places], "template": [self.templates[place] for place in places]})


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Templates that ask for the same thing. `system` is Jinja too: the system prompt of every example."""

    name: str
    templates: tuple[Template, ...]
    system: str | None = None
    dataset: Any = None
    """The data set the templates were written for, and its subset."""
    subset: Any = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Template:
        for template in self.templates:
            if template.name == name:
                return template
        raise DataError(f"The task {self.name!r} has no template {name!r}.", f"It has {', '.join(repr(t.name) for t in self.templates)}.")

    def with_template(self, template: Template) -> "Task":
        """With `template` in place of the one of its name, or added."""
        others = {other.name: other for other in self.templates} | {template.name: template}
        return dataclasses.replace(self, templates=tuple(others.values()))

    def examples(self, rows: Iterable[Mapping[str, Any]], *, use: str | Sequence[str] = "one", seed: int = 0, demonstrations: int = 0,
                 pool: Sequence[Mapping[str, Any]] | None = None, as_turns: bool = False, chat: bool = True,
                 only: Sequence[int] | None = None, progress: gate.Progress | None = None, limits: Limits = Limits()) -> Examples:
        """Rows as examples to train on.

        `use`: "one" template a row, drawn by `seed` and the row's index; "all" of them a row; or names of templates, all used.
        `demonstrations`: so many answered examples before each, from `pool` (else from `rows`), never the row itself nor one that asks the
        same; they are part of the user's text, or with `as_turns` turns of their own, whose replies are then trained too. Without `chat` an
        example is a prompt and its completion, with a line break between. Order, draws and texts depend on `seed` and indices only: `only`
        these indices give what all rows would give there. `progress(done, of)` is called now and then; what it raises ends the work.

        Raises `TemplateError`, and `DataError` where a row is too long to be rendered (`demonstrations.RowTooLong`), where over 1 % of the
        rendered rows have an input and no target, or nothing is left.
        """
        if isinstance(demonstrations, bool) or not isinstance(demonstrations, int) or demonstrations < 0:
            raise DataError(f"demonstrations is {demonstrations!r}; it must be a whole number of at least 0.", "Use demonstrations=2.")
        if not self.templates:
            raise DataError(f"The task {self.name!r} has no templates.", "Add one with task.with_template(...).")
        rows = shots.as_list(rows, few=only is not None)
        chosen = self.templates if use in ("one", "all") else tuple(self[name] for name in ([use] if isinstance(use, str) else use))
        pool = None if pool is None else shots.as_list(pool, few=only is not None)
        sources = {template.name: shots.Pool(template, rows if pool is None else pool, seed, limits) for template in chosen}
        out = Examples()
        indices = range(len(rows)) if only is None else only
        for place, index in enumerate(indices):
            if progress is not None and place % PROGRESS_ROWS == 0:
                progress(place, len(indices))
            row = rows[index]
            for template in [drawing(seed, self.name, index)(chosen)] if use == "one" else chosen:
                own = sources[template.name].rendered(index) if pool is None else shots.render(template, row, index, seed, limits)
                if own is None or not (own.input or own.target):
                    out.left_out[template.name] += 1
                elif not own.target:
                    out.no_target.append((index, template.name))
                else:
                    given = sources[template.name].draw(demonstrations, index, own.input, row, index if pool is None else None)
                    out.examples.append(shots.assembled(own, given, self._system(row, limits), as_turns=as_turns, chat=chat))
                    out.rows.append(index)
                    out.templates.append(template.name)
        self._gate(out)
        return out

    def table(self, rows: Iterable[Mapping[str, Any]], **options: Any) -> "pa.Table":
        """`examples(rows, **options)` as an Arrow table that `wb.Recipe(data=...)` takes. Raises as `examples` does."""
        return self.examples(rows, **options).table()

    def admit(self, rows: Iterable[Mapping[str, Any]], tokenizer: Any, *, max_length: int = 512, completions_only: bool = True,
              progress: gate.Progress | None = None, **options: Any) -> gate.Admitted:
        """The gate before training: `table`, without what would train no token, and counts of everything.

        `max_length` and `completions_only` are the recipe's, `options` those of `examples`. Raises as `examples` does, and `DataError`
        where over 1 % would train nothing or the tokenizer cannot honour `completions_only`.
        """
        first = None if progress is None else lambda done, of: progress(done, 2 * of)
        second = None if progress is None else lambda done, of: progress(of + done, 2 * of)
        examples = self.examples(rows, progress=first, **options)
        return gate.admit(examples, tokenizer, max_length=max_length, completions_only=completions_only, progress=second)

    def _system(self, row: Mapping[str, Any], limits: Limits) -> str | None:
        if self.system is None or "{" not in self.system:
            return self.system
        try:
            return compiled(self.system).render(plain(row), limits=limits)
        except TemplateError as error:
            raise error.of("the system prompt") from None

    def _gate(self, out: Examples) -> None:
        total = len(out.examples) + len(out.no_target)
        if len(out.no_target) > gate.TOLERATED_SHARE * total:
            index, name = out.no_target[0]
            raise DataError(f"{len(out.no_target)} of {total} rendered rows of {self.name!r} have no target to train on (the first is "
                            f"row {index + 1}, by {name!r}); at most {gate.TOLERATED_SHARE:.0%} may be dropped.",
                            "Mend the template's target, or remove those rows.")
        if not out.examples:
            raise DataError(f"No template of {self.name!r} writes anything for these rows.", "Look at the templates' conditions.")
