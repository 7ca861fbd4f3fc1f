"""Journals: every event comes back as it was written, and any bytes whatever are read as some events and some damage, the same however
they arrive."""

from __future__ import annotations

import dataclasses
import math
import typing
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

import workbench as wb
from tests.fuzz.damage import wounded
from tests.fuzz.watch import watched
from workbench.errors import RunError
from workbench.journal import events as ev
from workbench.journal.history import History

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
WHOLE = st.integers(-(2**53), 2**53)
NUMBER = st.floats(allow_nan=False, allow_infinity=False)
ANYTHING = st.recursive(
    st.none() | st.booleans() | WHOLE | NUMBER | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
KNOWN = [kind for kind in ev.KINDS.values() if kind is not ev.Unknown and kind.kind]


def of(annotation: Any) -> st.SearchStrategy:
    """Values of a field's type."""
    if typing.get_origin(annotation) is list:
        return st.lists(of(typing.get_args(annotation)[0]), max_size=3)
    if typing.get_origin(annotation) is dict:
        return st.dictionaries(TEXT, of(typing.get_args(annotation)[1]), max_size=3)
    if args := typing.get_args(annotation):
        return st.one_of([of(part) for part in args])
    return {int: WHOLE, float: NUMBER, str: TEXT, bool: st.booleans(), type(None): st.none()}.get(annotation, ANYTHING)


WHEN = st.floats(0, ev.LAST_TIME)
EVENTS = st.one_of(
    [
        st.builds(kind, **{field.name: WHEN if field.name == "time" else of(field.type) for field in dataclasses.fields(kind)})
        for kind in KNOWN
    ]
)
STEPS = st.integers(0, 50)
STORY = st.lists(
    st.one_of(
        st.builds(ev.Step, step=STEPS, loss=st.none() | NUMBER),
        st.builds(ev.Started, pid=st.just(1), attempt=st.integers(1, 3), resumed_from=st.none() | STEPS),
        st.builds(ev.Changed, step=STEPS, field=st.just("learning_rate"), old=NUMBER, new=NUMBER),
        EVENTS,
    ),
    max_size=12,
)
WORDS = tuple(
    word.encode()
    for word in (
        '"event":"step"',
        '"event":"nothing known"',
        '"v":99',
        '"event":["step"]',
        '"event":{}',
        '"event":null',
        '"time":"now"',
        '"time":1e308',
        '"step":-1',
        '"step":1e300',
        '"step":true',
        '"extra":{"loss":"x"}',
        '"extra":{"step":1e308}',
        '"extra":{"a":true}',
        '"status":"\\u202e"',
        '"pid":-1',
        '"pid":0',
        '"pid":99999999999999999999',
        '"attempt":2',
        '"resumed_from":-5',
        '"folder":"/etc"',
        '"mixture":{"a":[]}',
        '{"event":"step","step":1,"loss":2.0}\n',
        '{"event":"ended","step":1,"status":"x"}\n',
        '{"event":"queued","position":1}\n',
        '{"event":"forked","parent":"/","step":1,"checkpoint":1}\n',
        '{"event":"changed","step":1,"field":"beta","old":[],"new":{}}\n',
        '{"event":"started","pid":1,"attempt":2,"resumed_from":0}\n',
    )
)


def seen(history: History) -> dict[str, Any]:
    """All that a history says, so that two can be compared."""
    said = {name: value for name, value in vars(history).items() if not name.startswith("_") and name != "folder"}
    return said | {"columns": {name: column.tobytes() for name, column in history.columns.items()}}


@given(EVENTS)
def kept(folder: Path, event: ev.Event) -> None:
    """One line, and the same event again from it."""
    line = ev.encode(event)
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    assert ev.decode(line) == event


@given(wounded(STORY.map(lambda story: b"".join(map(ev.encode, story))), WORDS), st.lists(st.integers(0, 4000), max_size=4))
def damaged(folder: Path, content: bytes, stops: list[int]) -> None:
    """Read in pieces or whole a journal says the same; what is not an event is counted. The run is opened, listed and asked for
    everything it shows, and nothing outside its folder is looked at."""
    run = folder / "runs" / "one"
    run.mkdir(parents=True, exist_ok=True)
    path = run / "journal.jsonl"
    path.write_bytes(content)
    whole = History(run)
    whole.refresh()
    path.unlink()
    pieces = History(run)
    for stop in sorted(stops):
        path.write_bytes(content[:stop])
        pieces.refresh()
    path.write_bytes(content)
    pieces.refresh()
    assert seen(pieces) == seen(whole)
    assert len({len(column) for column in whole.columns.values()}) == 1
    with watched((run.parent,)):
        opened = wb.attach(run)
        opened.metrics()
        opened.samples()
        assert repr(opened) and opened.status.sentence and (opened.parent is None) == (whole.forked is None)
        assert len(wb.list_runs(run.parent)) == 1
        with pytest.raises(RunError, match="no recipe"):
            opened.recipe  # noqa: B018


@given(st.binary(max_size=200) | ANYTHING.map(orjson.dumps))
def no_event(folder: Path, line: bytes) -> None:
    """Whatever stands on a line, it is an event or a `ValueError`; a number in it is one."""
    try:
        event = ev.decode(line)
    except ValueError:
        return
    assert isinstance(event.time, (int, float)) and not isinstance(event.time, bool) and math.isfinite(event.time)


PROPERTIES = (kept, damaged, no_event)
