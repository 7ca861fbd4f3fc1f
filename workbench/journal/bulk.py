"""Many step events at once: what makes a journal of a million steps open in a second or two instead of six.

The lines that begin as `events.encode` begins a step go through Arrow's JSON reader together, off the interpreter's lock; a block with anything in
them that Arrow or these checks do not take for plain numbers is left to `events.decode`, line by line, so what a journal means is said there alone.
Knows nothing of histories.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from workbench.journal import events as ev

BEGINNING = ev.encode(ev.Step(step=0))[:len(b'{"v":1,"event":"step",')]
LEAST = 1 << 18
"""Bytes of lines from which it is worth it: Arrow is imported for it."""
NUMBERS = ("time", "loss", "learning_rate", "grad_norm", "epoch", "tokens", "tokens_per_s", "memory_gib")
PART = 1 << 23
"""Bytes read at once by a thread."""


@dataclass(slots=True)
class Steps:
    """The step events of some lines as columns of float64, shape (n,) each, and the other lines with their places among them."""

    columns: dict[str, np.ndarray]
    """`step`, `NUMBERS` and what is in `extra`, NaN where a line has none."""
    others: list[tuple[int, bytes]]
    """(how many step lines stand before it, line without its newline) of every other line, in order."""


def pieces(block: bytes) -> Iterator[Steps | bytes]:
    """`block`, whole lines, in order: as steps where that can be, else the lines as they are, as few of them as can be."""
    with ThreadPoolExecutor(2) as threads:  # Arrow and numpy let go of the interpreter's lock
        for part, steps in threads.map(lambda part: (part, steps_of(part)), _parts(block, PART)):
            if steps is not None:
                yield steps
            elif len(part) < LEAST:
                yield part
            else:  # one line may be all that is wrong
                for smaller in _parts(part, len(part) // 8):
                    yield steps_of(smaller) or smaller


def _parts(block: bytes, size: int) -> Iterator[bytes]:
    """`block` in pieces of whole lines of about `size` bytes."""
    start = 0
    while start < len(block):
        end = block.find(b"\n", start + size) + 1 or len(block)
        yield block[start:end]
        start = end


def steps_of(lines: bytes) -> Steps | None:
    """What `lines` hold, each complete and with its newline; None where they have to be read one by one."""
    if b"\r" in lines or b"\0" in lines or not lines.endswith(b"\n"):
        return None  # a line end of another kind: damage, or another system's file
    text = np.frombuffer(lines, np.uint8)
    ends = np.flatnonzero(text == ord("\n"))
    starts = np.concatenate(([0], ends[:-1] + 1))
    step = ends - starts > len(BEGINNING)
    for place, byte in enumerate(BEGINNING):
        step[step] = text[starts[step] + place] == byte
    others, spans, since = [], [], 0
    for line in np.flatnonzero(~step).tolist():
        start, end = int(starts[line]), int(ends[line])
        spans.append(lines[since:start])
        others.append((line - len(others), lines[start:end]))
        since = end + 1
    columns = _columns(b"".join([*spans, lines[since:]]) if others else lines, int(step.sum()))
    return None if columns is None else Steps(columns, others)


def _columns(lines: bytes, count: int) -> dict[str, np.ndarray] | None:
    """The columns of `count` step lines; None where any of them is anything else."""
    if not count:
        return {name: np.empty(0) for name in ("step", *NUMBERS)}
    import pyarrow as pa
    from pyarrow import json

    schema = pa.schema([("v", pa.int64()), ("event", pa.string()), ("step", pa.int64()), ("tokens", pa.int64()),
                        *((name, pa.float64()) for name in NUMBERS if name != "tokens")])
    try:
        table = json.read_json(pa.BufferReader(lines), json.ReadOptions(use_threads=False, block_size=len(lines) + 1),
                               json.ParseOptions(explicit_schema=schema, newlines_in_values=False))
    except pa.ArrowInvalid:
        return None
    # a step without them is none, or has them by default: `events.decode` knows
    if table.num_rows != count or table["step"].null_count or table["time"].null_count:
        return None
    columns = {name: table[name] for name in ("step", *NUMBERS)}
    if "extra" in table.column_names:
        extra = table["extra"].combine_chunks()
        if not pa.types.is_struct(extra.type) or extra.null_count:
            return None
        for number, entry in enumerate(extra.type):
            kind = pa.types
            if entry.name in columns or not (kind.is_integer(entry.type) or kind.is_floating(entry.type) or kind.is_null(entry.type)):
                return None
            columns[entry.name] = pa.chunked_array([extra.field(number)])
    return {name: column.cast(pa.float64()).to_numpy() for name, column in columns.items()}
