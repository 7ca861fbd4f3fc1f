"""promptsource's files of templates, read and written without loss.

A file is YAML with two tags of its own, one mapping of templates by id. What is read renders as promptsource renders it: a missing column
writes nothing, and each `{{ }}` is cut at 2048 characters. Written are the keys in promptsource's order, so a file it wrote itself comes
back byte for byte; comments of a hand-written one do not. PyYAML, because promptsource writes with it; its safe loader, so that a file
makes no objects, with bounds on depth and on what aliases stand for, so that a small one makes no gigabytes. Not here: rendering
(`tasks.py`).

The facts are from bigscience-workshop/promptsource, promptsource/templates.py.
"""

import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from workbench.errors import DataError
from workbench.templates.tasks import Task, Template

LONGEST = 2048
LARGEST_BYTES = 2_000_000
"""The largest of promptsource's own has a tenth."""
DEEPEST = 50
"""Lists and mappings within each other; promptsource writes five. PyYAML takes a time that grows with the square of the depth."""
MOST_VALUES = 100_000
"""Values in a file, each counted wherever an alias puts it."""
KEYS = ("answer_choices", "id", "jinja", "metadata", "name", "reference")
ID_SPACE = uuid.UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")
"""RFC 4122's name space for names that are URLs."""


class Metadata(dict):
    """What promptsource notes of a template: original_task, choices_in_prompt, metrics, languages, and anything else that stood there."""


class _Stored(dict):
    """A template as the file has it."""


class _Loader(yaml.SafeLoader):
    def fetch_flow_collection_start(self, token: Any) -> None:
        self._not_too_deep(self.flow_level)
        super().fetch_flow_collection_start(token)

    def add_indent(self, column: int) -> bool:
        self._not_too_deep(len(self.indents))
        return super().add_indent(column)

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None:
            _weigh(node, {})
        return node

    def _not_too_deep(self, levels: int) -> None:
        if levels >= DEEPEST:
            raise yaml.MarkedYAMLError(problem=f"lists and mappings more than {DEEPEST} deep", problem_mark=self.get_mark())


def _weigh(node: yaml.Node, known: dict[yaml.Node, int]) -> int:
    """How many values a node is with every alias written out. Raises `MarkedYAMLError` for more than `MOST_VALUES`, and for a node that
    holds itself."""
    if node not in known:
        known[node] = MOST_VALUES  # what it is while it is inside itself
        parts = node.value if isinstance(node, yaml.CollectionNode) else ()
        known[node] = 1 + sum(_weigh(part, known) for pair in parts for part in (pair if isinstance(pair, tuple) else (pair,)))
    if known[node] > MOST_VALUES:
        problem = f"with its aliases written out it has more than {MOST_VALUES:,} values"
        raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
    return known[node]


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        """As yaml.dump does without the safe dumper: an empty tuple is written where it stands."""
        return data is None or data == () or isinstance(data, (str, bytes, bool, int, float))


_Loader.add_constructor("!Template", lambda loader, node: _Stored(loader.construct_mapping(node, deep=True)))  # type: ignore[arg-type]
_Loader.add_constructor("!TemplateMetadata", lambda loader, node: Metadata(loader.construct_mapping(node, deep=True)))  # type: ignore[arg-type]
_Dumper.add_representer(_Stored, lambda dumper, data: dumper.represent_mapping("!Template", dict(data)))
_Dumper.add_representer(Metadata, lambda dumper, data: dumper.represent_mapping("!TemplateMetadata", dict(data)))


def read(path: str | Path) -> Task:
    """The task of a file of templates. Raises `DataError` naming file, line and remedy."""
    path = Path(path).expanduser()
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise DataError(f"{path.name} is over {LARGEST_BYTES // 1_000_000} MB, too large for templates.", "Give a templates.yaml.")
        with path.open(encoding="utf-8", newline="") as file:
            text = file.read()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.", "Check the path.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path.name} is not UTF-8 text (byte {error.start + 1}).", "Save the file as UTF-8.") from error
    return loads(text, path.name)


def loads(text: str, name: str = "the templates") -> Task:
    """The task that `text` describes; `name` is what errors call it."""
    try:
        content = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        # PyYAML's own for "!!bool x", "!!int ''", "!!timestamp x", a number of 5000 digits
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).split("\n", 1)[0]
        raise DataError(f"{name}{where}: not YAML that promptsource writes ({problem}).", "Mend that line.") from error
    if not isinstance(content, dict) or not isinstance(content.get("templates"), dict):
        raise DataError(f"{name} has no mapping 'templates'.", "Give a file of promptsource, a templates.yaml.")
    if content.get("dataset") is None:
        raise DataError(f"{name} has no 'dataset'.", "Add the name of the data set that the templates are for.")
    templates = []
    for key, stored in content["templates"].items():
        if not isinstance(stored, _Stored):
            raise DataError(f"{name}: what stands under {key!r} is no !Template.", "Mend or remove it.")
        templates.append(_template(key, stored, name))
    extra = {field: value for field, value in content.items() if field not in ("dataset", "subset", "templates")}
    if "subset" in content and content["subset"] is None:
        extra["subset"] = None
    dataset, subset = content.get("dataset"), content.get("subset")
    title = str(dataset) if subset is None else f"{dataset}/{subset}"
    return Task(name=title, templates=tuple(templates), dataset=dataset, subset=subset, extra=extra)


def _template(key: Any, stored: Mapping[str, Any], name: str) -> Template:
    for field, kinds in (("name", str), ("jinja", str), ("answer_choices", (str, type(None)))):
        if not isinstance(stored.get(field), kinds):
            raise DataError(f"{name}: the template {key!r} has no text under {field!r}.", "Write it as text, in quotes.")
    if str(stored.get("id", key)) != str(key):
        raise DataError(f"{name}: the template {key!r} has another id, {stored['id']!r}.", "Give both the same.")
    missing = [field for field in KEYS if field not in stored]
    if missing:
        raise DataError(f"{name}: the template {key!r} has no {' and no '.join(map(repr, missing))}.", "Add it; it may be null.")
    extra = {field: value for field, value in stored.items() if field not in KEYS}
    return Template.from_jinja(
        stored["name"], stored["jinja"], answer_choices=stored["answer_choices"], strict=False, longest=LONGEST, id=stored["id"],
        reference=stored["reference"], metadata=stored["metadata"], extra=extra)


def dumps(task: Task) -> str:
    """The task as promptsource's YAML. A template without an id gets one from the task's and its own name.

    The format knows neither a system prompt nor strictness: read back, templates render as promptsource's do. Raises `DataError` for a
    system prompt, and for two templates of one id or name.
    """
    if task.system:
        raise DataError(f"The task {task.name!r} has a system prompt, which promptsource's files cannot hold.", "Export it without one.")
    templates: dict[Any, _Stored] = {}
    for template in task.templates:
        key = template.id or str(uuid.uuid5(ID_SPACE, f"{task.name}/{template.name}"))
        if key in templates or any(other["name"] == template.name for other in templates.values()):
            raise DataError(f"The task {task.name!r} has two templates named {template.name!r}, or of one id.", "Rename one; clear its id.")
        templates[key] = _Stored({"answer_choices": template.answer_choices, "id": key, "jinja": template.jinja, "name": template.name,
                                  "metadata": _metadata(template.metadata), "reference": template.reference, **template.extra})
    content = {"dataset": task.dataset if task.dataset is not None else task.name, "templates": templates, **task.extra}
    if task.subset is not None:
        content["subset"] = task.subset
    return yaml.dump(content, Dumper=_Dumper)


def _metadata(metadata: Any) -> Any:
    if metadata is None or isinstance(metadata, Metadata):
        return metadata  # the object itself: metadata that templates share is written once
    return Metadata({"choices_in_prompt": None, "languages": None, "metrics": None, "original_task": None, **metadata})


def write(task: Task, path: str | Path) -> None:
    """Write `dumps(task)`; the file is whole or as it was. Raises `DataError`."""
    path, text = Path(path).expanduser(), dumps(task)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            beside.write_text(text, encoding="utf-8", newline="\n")
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror or error}.", "Check the folder.") from error
