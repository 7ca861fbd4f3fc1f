"""From a state, rows and a tokenizer to what is shown: a sample rendered and judged, one example as tokens, or the fault and its place.

Everything is done by `workbench`; nothing here draws. A `Sample` keeps the masks, so that another `max_length` costs nothing. Loading a
tokenizer imports transformers, which takes seconds the first time: the panel does that in a thread.
"""

import difflib
import functools
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from widgets.template_builder.state import State, options_of, task_of, templates_of
from workbench.errors import DataError
from workbench.templates import chat, gate
from workbench.templates.demonstrations import RowTooLong, TableRows, characters
from workbench.templates.limits import Limits
from workbench.templates.sandbox import TemplateError
from workbench.templates.tasks import Examples, Task

if TYPE_CHECKING:
    import numpy as np

HEAD, NEAR = 400, 150
"""Of an example of more than twice as many tokens, these are shown: its head, and what is near the first trained and the first cut one."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong, at which control, and a remedy that a button can apply: the column that was meant."""

    control: str
    sentence: str
    wrong: str = ""
    meant: str = ""
    where: str = ""
    """`line 2 of the input`, for the status sentence."""


class Faulty(Exception):
    """Carries a `Fault` out of a measurement."""

    def __init__(self, fault: Fault):
        super().__init__(fault.sentence)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Sample:
    """Examples of some rows, the mask of each, and the order from the shortest to the longest."""

    state: State
    task: Task
    options: dict[str, Any]
    examples: Examples
    masks: list[list[int]]
    judged: gate.Judged
    order: "np.ndarray"
    rows: int
    """Rows there are, sampled or not."""
    whole: bool
    """Whether all of them are in the sample."""
    too_long: tuple[int, ...] = ()
    """Rows of the sample that no template could render, and so not among the examples."""
    too_long_words: str = ""
    """What is said of the first of them."""

    def rank(self, row: int) -> int | None:
        """The place of a row's example in the order, None where it has none."""
        places = [place for place, index in enumerate(self.order) if self.examples.rows[index] == row]
        return places[0] if places else None

    def recut(self, state: State) -> "Sample":
        """The same examples under another `max_length`."""
        return Sample(state, self.task, self.options, self.examples, self.masks, gate.judge_masks(self.masks, state.max_length), self.order,
                      self.rows, self.whole, self.too_long, self.too_long_words)


@dataclass(frozen=True, slots=True)
class Token:
    """`kind` is "read", "trained", "skipped" (a gap that stands for tokens not shown); `special` tokens are outlined, `cut` ones struck."""

    text: str
    kind: str
    special: bool = False
    cut: bool = False
    id: int = -1


@dataclass(frozen=True, slots=True)
class Shown:
    """One example: who says what, its tokens, and its counts."""

    row: int
    rank: int
    of: int
    wording: str
    """Its name where several are used, else ""."""
    turns: list[tuple[str, str]]
    tokens: list[Token]
    length: int
    trained: int
    cut: int
    lost: int = field(default=0)
    """Trained tokens that are cut off."""


@functools.lru_cache(maxsize=4)
def load_tokenizer(name: str) -> Any:
    """The tokenizer of a model, ready for conversations. Raises `WorkbenchError`."""
    from workbench import recipes
    from workbench.models import loading

    tokenizer = recipes.load_tokenizer(name)
    loading.prepare_tokenizer(tokenizer, None)
    chat.ensure_template(tokenizer)
    return tokenizer


def sampled(count: int, wanted: int, seed: int, row: int) -> list[int]:
    """`wanted` of `count` rows drawn by `seed`, in order, and `row` among them."""
    if count <= wanted:
        return list(range(count))
    drawn = random.Random(f"{seed}\0sample").sample(range(count), wanted)
    return sorted(drawn if row in drawn else [*drawn[:-1], min(row, count - 1)])


def measure(state: State, rows: TableRows, tokenizer: Any) -> Sample:
    """Render, tokenize and judge a sample. Raises `Faulty` with the control that the fault belongs to."""
    import numpy as np

    columns = rows.table.column_names
    names = [template.name for template in templates_of(state)]
    if len(set(names)) < len(names):
        raise Faulty(Fault("name", f"Two wordings are called {state.templates[state.picked]['name']!r}. Give each its own name."))
    _check(state, columns)
    try:
        task = task_of(state)
    except TemplateError as error:
        raise Faulty(_located(error, columns)) from None
    except DataError as error:
        raise Faulty(Fault("target", str(error))) from None
    options = options_of(state, task)
    wanted = max(1, state.sample // (len(task.templates) if state.use == "all" else 1))
    only = sampled(len(rows), wanted, state.seed, state.row)
    shown, too_long_words = only, ""
    try:
        try:
            examples = task.examples(rows, only=only, **options)
        except RowTooLong as error:
            used = [task.templates[state.picked]] if state.use == "this" else task.templates
            shown, too_long_words = [row for row in only if all(characters(template, rows[row]) < Limits().characters for template in used)], str(error)
            if not shown:
                raise Faulty(Fault("rows", too_long_words)) from None
            examples = task.examples(rows, only=shown, **options)
    except TemplateError as error:
        raise Faulty(_located(error, columns)) from None
    except DataError as error:
        raise Faulty(Fault(_blamed(task, rows, shown, options), str(error))) from None
    try:
        masks = gate.masks(examples.examples, tokenizer, state.completions_only)
    except DataError as error:
        raise Faulty(Fault("completions_only" if state.completions_only else "tokenizer", str(error))) from None
    order = np.argsort([len(mask) for mask in masks], kind="stable")
    judged = gate.judge_masks(masks, state.max_length)
    return Sample(state, task, options, examples, masks, judged, order, len(rows), len(only) == len(rows),
                  tuple(row for row in only if row not in set(shown)), too_long_words)


def _check(state: State, columns: list[str]) -> None:
    """Every wording that is used compiles and reads only columns there are."""
    templates = templates_of(state)
    for place, template in enumerate(templates):
        if place == state.picked or state.use != "this":
            try:
                template.check(columns)
            except TemplateError as error:
                fault = _located(error, columns)
                if place != state.picked:
                    fault = Fault("wording", f"{template.name}: {fault.sentence}", where=f"the wording {template.name}")
                raise Faulty(fault) from None


def _located(error: TemplateError, columns: list[str]) -> Fault:
    parts = {"the input": "input", "the target": "target", "the answer choices": "answer_choices", "the system prompt": "system"}
    name = next((name for name in parts if error.part.startswith(name)), "the input")
    near = difflib.get_close_matches(error.unknown, [column.replace("-", "_") for column in columns], n=1) if error.unknown else []
    if near:
        sentence = f"Line {error.line}, column {error.column}: no column “{error.unknown}”. Did you mean {near[0]}?"
    else:
        sentence = f"Line {error.line}, column {error.column}: {error.message.rstrip('.')}. {error.remedy}".strip()
    return Fault(parts[name], sentence, error.unknown, near[0] if near else "", f"line {error.line} of {name}")


def _blamed(task: Task, rows: TableRows, only: list[int], options: dict[str, Any]) -> str:
    """The control of a fault without a place: the demonstrations, if all is well without them, else the target."""
    try:
        task.examples(rows, only=only, **{name: value for name, value in options.items() if name != "demonstrations"})
    except DataError:
        return "target"
    return "demonstrations"


# ---- one example

def shown(sample: Sample, rank: int, tokenizer: Any) -> Shown:
    """The example at place `rank`, counted from the shortest."""
    index = int(sample.order[rank])
    example, limit = sample.examples.examples[index], sample.state.max_length
    turns = [(message["role"], message["content"]) for message in example["messages"]] if "messages" in example else \
        [("prompt", example["prompt"]), ("completion", example["completion"])]
    mask = sample.masks[index]
    return Shown(row=sample.examples.rows[index], rank=rank, of=len(sample.order), turns=turns,
                 wording="" if sample.state.use == "this" else sample.examples.templates[index],
                 tokens=tokens_of(tokenizer, example, sample.state), length=len(mask), trained=sum(mask[:limit]),
                 cut=max(0, len(mask) - limit), lost=sum(mask[limit:]))


def tokens_of(tokenizer: Any, example: dict[str, Any], state: State) -> list[Token]:
    """Each token of an example as it is written, long ones with gaps."""
    try:
        read = chat.read(tokenizer, example, state.completions_only)
    except DataError:  # a tokenizer that cannot place its tokens: their own names stand instead
        ids, mask = chat.encode(tokenizer, example, state.completions_only)
        words = tokenizer.convert_ids_to_tokens(ids)
    else:
        ids, mask, words, until = read.ids, read.mask, [], 0
        for token, (first, last) in zip(ids, read.places, strict=True):
            seen = read.text[max(first, until):last]
            words.append(read.text[until:max(first, until)] + seen or (tokenizer.decode([token]) if first == last else "‥"))
            until = max(until, last)
    special, limit = set(tokenizer.all_special_ids), state.max_length
    made = [Token(word, "trained" if kept else "read", token in special, place >= limit, token)
            for place, (token, kept, word) in enumerate(zip(ids, mask, words, strict=True))]
    if len(made) <= 2 * HEAD:
        return made
    first = next((place for place, kept in enumerate(mask) if kept), 0)
    around = {*range(first - NEAR, first + NEAR), *range(limit - NEAR, limit + NEAR)}
    wanted = sorted({*range(HEAD), *around, *range(len(made) - NEAR, len(made))} & set(range(len(made))))
    out, before = [], -1
    for place in wanted:
        if place > before + 1:
            out.append(Token(f" … {place - before - 1} tokens … ", "skipped"))
        out.append(made[place])
        before = place
    return out

