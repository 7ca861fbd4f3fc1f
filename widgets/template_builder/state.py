"""What the template builder holds, as plain values, and the edits a person makes to it; each edit gives a new state.

`task_of` makes the engine's `Task` of it. Templates of a promptsource file keep what the panel does not show (ids, metadata, the order of
the file), because the file's own text stays in the state and only what was changed is laid over it. Computes no text and reads no rows.
"""

import dataclasses
import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.errors import DataError
from workbench.templates import promptsource
from workbench.templates.demonstrations import invert
from workbench.templates.tasks import Task, Template

WORDINGS = {"this": "this one", "one": "one a row", "all": "all"}
"""Which wordings are rendered: the picked one, one drawn for each row, or every one for every row."""
SHOWN = ("name", "input", "target", "answer_choices")
"""Fields of a template that the panel shows."""


@dataclass
class State:
    """Everything a template builder needs to be what it is, but for rows given in memory."""

    source: str = ""
    """What `wb.load_rows` takes; "" where rows were given."""
    task: str = "task"
    templates: tuple = ()
    """A dict for each wording: the fields that differ from `Template`'s own defaults; `original` names the one of `yaml` it began as."""
    yaml: str = ""
    """The promptsource file that was read, whole."""
    file: str = ""
    """Its path."""
    picked: int = 0
    use: str = "this"
    inverted: bool = False
    system: str = ""
    demonstrations: int = 0
    as_turns: bool = False
    chat: bool = True
    """False gives prompt and completion, without the chat template."""
    tokenizer: str = "town"
    """"town", a model folder or a hub id."""
    completions_only: bool = True
    max_length: int = 256
    row: int = 0
    """The row shown, counted in the rows given."""
    sample: int = 160
    """Rows rendered for the picture."""
    seed: int = 0


@functools.lru_cache(maxsize=8)
def _read(yaml: str) -> Task:
    return promptsource.loads(yaml)


def originals(yaml: str) -> tuple[Template, ...]:
    """The templates of a promptsource file's text; none of no text."""
    return _read(yaml).templates if yaml else ()


def templates_of(state: State) -> tuple[Template, ...]:
    """The wordings as written, not inverted."""
    known = {template.name: template for template in originals(state.yaml)}
    made = []
    for fields in state.templates:
        given = {name: value for name, value in fields.items() if name != "original"}
        original = known.get(fields.get("original"))
        changed = {name: value for name, value in given.items() if original is None or getattr(original, name) != value}
        made.append(Template(**given) if original is None else dataclasses.replace(original, **changed) if changed else original)
    return tuple(made)


def task_of(state: State) -> Task:
    """The task as it would be trained on. Raises `DataError` or `TemplateError` where it cannot be inverted."""
    templates = templates_of(state)
    if state.inverted:
        templates = tuple(map(invert, templates))
    if state.yaml:
        return dataclasses.replace(_read(state.yaml), name=state.task, templates=templates, system=state.system or None)
    return Task(name=state.task, templates=templates, system=state.system or None)


def options_of(state: State, task: Task) -> dict[str, Any]:
    """The arguments of `Task.examples` that are not its defaults."""
    use = [task.templates[state.picked].name] if state.use == "this" and len(task.templates) > 1 else state.use
    given = dict(use="one" if use == "this" else use, demonstrations=state.demonstrations, as_turns=state.as_turns,
                 chat=state.chat, seed=state.seed)
    plain = dict(use="one", demonstrations=0, as_turns=False, chat=True, seed=0)
    return {name: value for name, value in given.items() if value != plain[name]}


# ---- edits

def begun(columns: Sequence[str], first: Mapping[str, Any], **more: Any) -> State:
    """A first wording for rows of these columns: the answer's column, if its name tells it, and the texts beside it."""
    texts = [name for name in columns if isinstance(first.get(name), str)] or list(columns)
    answers = [name for name in ("answer", "output", "completion", "response", "target", "label", "summary") if name in columns]
    target = answers[0] if answers else texts[-1] if len(texts) > 1 else ""
    asked = [name for name in texts if name != target and (name in ("question", "instruction", "prompt", "input", "text", "context"))]
    asked = asked or [name for name in texts if name != target][:1]
    lines = [named(name) if len(asked) == 1 else f"{label(name)}: {named(name)}" for name in asked[:3]]
    fields = {"name": "wording 1", "input": "\n".join(lines), "target": named(target) if target else ""}
    return State(templates=(fields,), **more)


def named(column: str) -> str:
    """How a template writes a column."""
    return "{{ " + column.replace("-", "_") + " }}"


def label(column: str) -> str:
    return column.replace("_", " ").replace("-", " ").capitalize()


def with_task(state: State, task: Task) -> State:
    """The wordings of a task in place of those there were."""
    if not task.templates:
        raise DataError(f"The task {task.name!r} has no template.", "Give one with at least one.")
    plain = {field.name: field.default for field in dataclasses.fields(Template) if field.default is not dataclasses.MISSING}
    templates = []
    for template in task.templates:
        values = {field.name: getattr(template, field.name) for field in dataclasses.fields(template)}
        values = {name: dict(value) if isinstance(value, Mapping) else value for name, value in values.items()}
        kept = {name: value for name, value in values.items() if value != plain.get(name, dataclasses.MISSING) and value != {}}
        templates.append(kept | {"target": template.target or ""})
    kept = dict(task=task.name, picked=0, inverted=False, system=task.system or "")
    if task.dataset is None:
        return dataclasses.replace(state, templates=tuple(templates), yaml="", file="", **kept)
    # what a promptsource file says of its data set and templates is more than the panel shows, so the file itself is kept
    return dataclasses.replace(with_file(state, promptsource.dumps(dataclasses.replace(task, system=None)), ""), **kept)


def with_file(state: State, yaml: str, path: str) -> State:
    """The templates of a promptsource file. Raises `DataError` where it is none."""
    task = promptsource.loads(yaml, path)
    if not task.templates:
        raise DataError(f"{path} holds no template.", "Give a file with at least one.")
    templates = tuple({name: value for name, value in (("name", t.name), ("input", t.input), ("target", t.target),
                                                       ("answer_choices", t.answer_choices)) if value is not None} | {"original": t.name}
                      for t in task.templates)
    return dataclasses.replace(state, task=task.name, templates=templates, yaml=yaml, file=path, picked=0, inverted=False)


def edited(state: State, **fields: Any) -> State:
    """The picked wording with these fields; an empty text of answer choices is none."""
    templates = list(state.templates)
    now = dict(templates[state.picked]) | fields
    if "answer_choices" in now and not now["answer_choices"]:
        del now["answer_choices"]
    templates[state.picked] = now
    return dataclasses.replace(state, templates=tuple(templates))


def added(state: State) -> State:
    """One more wording, begun as the picked one, and picked."""
    names = {fields["name"] for fields in state.templates}
    name = next(f"wording {n}" for n in range(len(names) + 1, 2 * len(names) + 3) if f"wording {n}" not in names)
    own = ("original", "id", "reference", "metadata", "extra")
    copy = {key: value for key, value in state.templates[state.picked].items() if key not in own}
    if state.yaml:  # a wording of one's own: a column the rows lack is an error, nothing is cut
        copy = {key: value for key, value in copy.items() if key in SHOWN}
    return dataclasses.replace(state, templates=(*state.templates, copy | {"name": name}), picked=len(state.templates))


def removed(state: State) -> State:
    """Without the picked wording; the last one stays."""
    if len(state.templates) == 1:
        return state
    templates = state.templates[:state.picked] + state.templates[state.picked + 1:]
    return dataclasses.replace(state, templates=templates, picked=min(state.picked, len(templates) - 1))


def toggled(text: str, column: str, used: bool) -> str:
    """A field's text with the column put at its end, or, where it is `used`, without the places that write it and nothing else."""
    if not used:
        line = named(column) if not text.strip() else f"\n{label(column)}: {named(column)}"
        return text.rstrip() + line if text.strip() else line
    name = re.escape(column.replace("-", "_"))
    lines = [re.sub(r"\{\{-?\s*" + name + r"\s*-?\}\}", "", line) for line in text.split("\n")]
    kept = [after for before, after in zip(text.split("\n"), lines, strict=True)
            if before == after or after.strip() not in ("", f"{label(column)}:")]
    return "\n".join(kept)


def respelled(text: str, wrong: str, right: str) -> str:
    """The remedy of a misspelt column."""
    return re.sub(rf"(?<![\w.'\"]){re.escape(wrong)}(?!\w)", right, text)
