"""The runs of a folder as a list a person picks from: a tree of forks with status, step and loss, searched by name, recipe and notes.

`rows_of` and `matching` are pure. `RunList` is the table in the page: click or arrow keys pick a run, a check lays it over the figure.
It shows text only, never markup, and reads nothing from disk itself.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from widgets.frame.sending import legible
from widgets.frame.sheet import number
from workbench.runs.folders import DATED, undated

IN_SIGHT = 8
"""Rows that the list shows without scrolling."""


def rows_of(runs: Iterable[dict[str, Any]], recipes: dict[str, str] | None = None) -> list[dict[str, Any]]:
    """Rows of the list, forks below their parents, from the records of `workbench.list_runs` (newest first).

    Each row: id (folder), name, shown (a fork's name without what it shares with its parent's; the date before a name that several have), depth, status, step, loss (words), title,
    words (lower case, what search looks through). `recipes` are the texts of the recipes by folder.
    """
    records = {str(record["folder"]): record for record in runs}
    by_name = {Path(folder).name: folder for folder in records}

    def parent_of(record: dict) -> str | None:
        parent = record.get("parent")
        return by_name.get(Path(parent).name) if isinstance(parent, str) and parent else None

    children: dict[str | None, list[str]] = {}
    for folder, record in records.items():
        children.setdefault(parent_of(record), []).append(folder)
    rows: list[dict[str, Any]] = []

    def walk(folder: str, depth: int, above: str = "") -> None:
        record = records[folder]
        note = record.get("note") if isinstance(record.get("note"), str) else ""
        name, status = undated(str(record["name"])), str(record.get("status") or "")
        loss = _known(record.get("heldout_loss"), record.get("loss"))
        shared = above if depth and len(name) > len(above) and name.startswith(above) else ""
        waits = status == "queued"
        said = "\n".join(part for part in (f"{record['name']}: {status}", record.get("sentence") or "", note) if part)
        rows.append(
            dict(
                id=folder,
                name=name,
                shown="…" + name[len(shared) :].lstrip("-") if shared else name,
                depth=min(depth, 6),
                status=status,
                step="waits" if waits else number(_known(record.get("step")) or 0),
                loss="—" if loss is None else number(loss, 3),
                title=said,
                words=" ".join((str(record["name"]), status, note, (recipes or {}).get(folder, ""))).lower(),
            )
        )
        for child in children.get(folder, ()):
            walk(child, depth + 1, name)

    for folder in children.get(None, ()):
        walk(folder, 0)
    names = Counter(row["name"] for row in rows)
    for row in rows:
        if names[row["name"]] > 1:
            row["shown"] = _date(str(records[row["id"]]["name"])) + row["shown"]
    return rows


def _date(name: str) -> str:
    """`2026-11-21_093015-town` -> `11-21 09:30:15 `; "" of a name without."""
    return f"{name[5:10]} {name[11:13]}:{name[13:15]}:{name[15:17]} " if DATED.match(name) else ""


def count_words(shown: int, there: int) -> str:
    """How many runs the list has, where that is not seen at once."""
    if shown < there:
        return f"{number(shown)} of {number(there)} runs match."
    return f"{number(there)} runs; the list scrolls." if there > IN_SIGHT else ""


def matching(rows: Sequence[dict[str, Any]], query: str) -> list[dict[str, Any]]:
    """The rows that hold every word of `query`, somewhere, in any order; without the indentation where their parent is not shown."""
    wanted = query.lower().split()
    found = [row for row in rows if all(word in row["words"] for word in wanted)]
    return found if not wanted else [dict(row, depth=0, shown=row["name"]) for row in found]


def _known(*values: Any) -> float | None:
    """The first value that is a number and not NaN."""
    return next((value for value in values if isinstance(value, (int, float)) and value == value), None)


class RunList(anywidget.AnyWidget):
    """`RunList(on_pick=..., on_overlay=...)`: callbacks get a run's id, in the thread that handles messages; they should only enqueue."""

    _esm = Path(__file__).with_name("run_list.js").read_text(encoding="utf-8")
    _css = Path(__file__).with_name("run_monitor.css").read_text(encoding="utf-8")
    rows = traitlets.List(traitlets.Dict()).tag(sync=True, to_json=legible("id"))
    picked = traitlets.Unicode("").tag(sync=True)
    overlays = traitlets.List(traitlets.Unicode()).tag(sync=True)
    empty = traitlets.Unicode("No runs yet.").tag(sync=True)

    def __init__(self, on_pick: Callable[[str], object], on_overlay: Callable[[str], object], **more: Any) -> None:
        super().__init__(**more)
        self._calls = {"pick": on_pick, "overlay": on_overlay}
        self.on_msg(self._heard)
        self.add_class("wb-run-list")

    def _heard(self, _widget: Any, message: dict, _buffers: list) -> None:
        call = self._calls.get(message.get("kind"))
        if call is not None and isinstance(message.get("id"), str):
            call(message["id"])
