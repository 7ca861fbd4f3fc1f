"""A run seen in passing: of its journal only the few lines that a line of a table needs, so that hundreds of runs are listed at once.

The last event of each kind is searched from the end of the file, which costs a thousandth of reading it. Where those do not settle what
stands in the table (a resume took steps back after them, a line is damaged, a worker lives), the answer is None, and the journal is to be
read whole. What a run is otherwise: `run.py`.
"""

import mmap
from pathlib import Path
from typing import Any

from workbench.journal import events as ev
from workbench.runs.run import Run

LAST = ("forked", "started", "prepared", "step", "evaluated", "ended")
"""Kinds of which the last one counts."""


def glance(folder: Path) -> Run | None:
    """The run in `folder` with a history that has its last step, evaluation, beginning and end, and nothing else; None where that would
    not do."""
    try:
        with open(folder / "journal.jsonl", "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as journal:
            end = journal.rfind(b"\n") + 1
            found = _found(journal, end)
    except (FileNotFoundError, ValueError):  # no journal, an empty one, or one with other lines than events
        return None
    if found is None:
        return None
    run = Run(folder)
    for _, event in found:
        run.history.apply(event)
    run.history.begin_at(end)
    return None if run.pid is not None else run


def _found(journal: mmap.mmap, end: int) -> list[tuple[int, Any]] | None:
    """(where, event) in the order of the file. Raises `ValueError` where a line is no event, None where some of them take others back."""
    places = {kind: journal.rfind(_mark(kind), 0, end) for kind in LAST}
    found: dict[str, tuple[int, Any]] = {kind: (start, _event(journal, start, kind)) for kind, start in places.items() if start >= 0}
    started, step, evaluated = (found.get(kind) for kind in ("started", "step", "evaluated"))
    # what a later attempt took back is not in the last lines of a kind alone
    if started and step and started[0] > step[0] and started[1].attempt > 1 and (started[1].resumed_from or 0) < step[1].step:
        return None
    if evaluated and (journal.find(_mark("started"), evaluated[0], end) >= 0 or not step or step[1].step < evaluated[1].step):
        return None
    first = journal.find(_mark("started"), 0, end)
    if started and first != started[0]:
        found["first"] = first, _event(journal, first, "started")
    return sorted(found.values(), key=lambda item: item[0])


def _mark(kind: str) -> bytes:
    """How a line of an event begins, as `events.encode` writes it; within a line this cannot stand unless somebody means it to."""
    return b'{"v":%d,"event":"%s",' % (ev.VERSION, kind.encode())


def _event(journal: mmap.mmap, start: int, kind: str) -> Any:
    if start and journal[start - 1:start] != b"\n":
        raise ValueError(f"the last {kind} stands within another line")
    event = ev.decode(journal[start:journal.find(b"\n", start)])
    if event.kind != kind:
        raise ValueError(f"the last {kind} is no {kind}")
    return event
