"""Files of rows: what was written is read back, and a damaged file gives rows or one sentence."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import assume, example, given
from hypothesis import strategies as st

from tests.fuzz.damage import wounded
from tests.fuzz.watch import watched
from workbench.data import layouts
from workbench.data.sources import load_rows
from workbench.errors import DataError

TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=12)
NAMES = ("question", "answer", "context", "text", "note", "a b", "ключ")
VALUES = {
    "text": TEXT,
    "whole": st.integers(-(2**63), 2**63 - 1),
    "number": st.floats(allow_nan=False, allow_infinity=False),
    "truth": st.booleans(),
    "texts": st.lists(TEXT, max_size=3),
    "object": st.fixed_dictionaries({"x": st.integers(-9, 9)}, optional={"y": TEXT}),
}
CONVERSATION = {"messages": [{"role": "user", "content": "Who bakes?"}, {"role": "assistant", "content": "Mira."}]}


@st.composite
def rows(draw: st.DrawFn, kinds: Sequence[str] = tuple(VALUES), names: Sequence[str] = NAMES) -> list[dict]:
    """Rows with the same columns, each of one kind; a value may be missing."""
    columns = {name: draw(st.sampled_from(kinds)) for name in draw(st.lists(st.sampled_from(names), min_size=1, max_size=4, unique=True))}
    count = draw(st.integers(1, 4))
    return [{name: draw(st.none() | VALUES[kind]) for name, kind in columns.items()} for _ in range(count)]


def lines(made: list[dict]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made).encode()


def delimited(made: list[dict], delimiter: str = ",") -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(made[0]), delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(made)
    return out.getvalue().encode()


def binary(made: list[dict], kind: str) -> bytes:
    out, table = io.BytesIO(), pa.Table.from_pylist(made)
    if kind == ".parquet":
        pq.write_table(table, out)
    else:
        with pa.ipc.new_file(out, table.schema) as writer:
            writer.write_table(table)
    return out.getvalue()


def tarred(made: list[dict]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for number, row in enumerate(made):
            content = json.dumps(row).encode()
            member = tarfile.TarInfo(f"../{number}.txt")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


WRITTEN = {
    ".jsonl": lines,
    ".json": lambda made: json.dumps(made).encode(),
    ".csv": delimited,
    ".tsv": lambda made: delimited(made, "\t"),
    ".parquet": lambda made: binary(made, ".parquet"),
    ".arrow": lambda made: binary(made, ".arrow"),
    ".tar": tarred,
    ".txt": lambda made: "\n\n".join(json.dumps(row) for row in made).encode(),
    ".jsonl.gz": lambda made: gzip.compress(lines(made), mtime=0),
    "": lines,
}
OWN_WORDS = (
    b"PAR1",
    b"ARROW1",
    b"<DOC>",
    b"</DOC>",
    b"<DOCNO>",
    b"1 0 d 1\n1 0 e 1\n",
    b"q Q0 d 1 1e999 r\n" * 2,
    b"\t",
    b"<html>",
    b"\n\n",
    json.dumps(CONVERSATION).encode(),
)


@st.composite
def files(draw: st.DrawFn) -> tuple[str, bytes]:
    """An ending, and what a file of it might be after an accident; one time in eight its content is another ending's."""
    ending = draw(st.sampled_from(list(WRITTEN)))
    inside = ending if draw(st.integers(0, 7)) else draw(st.sampled_from(list(WRITTEN)))
    writable = rows(("text", "whole", "number", "truth")) if inside in (".csv", ".tsv") else rows()
    return ending, draw(wounded(writable.map(WRITTEN[inside]), OWN_WORDS))


def refused(error: DataError) -> None:
    assert error.what.endswith(".") and error.remedy.endswith("."), str(error)
    assert "\n" not in str(error) and len(str(error)) < 2000, str(error)


@given(files())
def damaged(folder: Path, file: tuple[str, bytes]) -> None:
    """Rows, or a sentence and a remedy; nothing else is opened, written or run."""
    ending, content = file
    path = folder / f"rows{ending}"
    path.write_bytes(content)
    try:
        with watched((path,)):
            table = load_rows(path)
    except DataError as error:
        refused(error)
        return
    assert table.num_rows > 0 and len(set(table.column_names)) == table.num_columns
    table.validate(full=True)
    table.to_pylist()


@given(rows(), st.sampled_from((".jsonl", ".json", ".parquet", ".arrow", ".jsonl.gz")))
def kept(folder: Path, made: list[dict], ending: str) -> None:
    """What pyarrow makes of the same rows is what is read; columns without a value are refused where text belongs."""
    assume(any(value is not None for row in made for value in row.values()))
    path = folder / f"rows{ending}"
    path.write_bytes(WRITTEN[ending](made))
    try:
        read = load_rows(path).to_pylist()
    except DataError as error:
        assert "is empty (null)" in error.what, error
        return
    fields = {name: {key for row in made if isinstance(row[name], dict) for key in row[name]} for name in made[0]}
    whole = [
        {name: value if not isinstance(value, dict) else dict.fromkeys(fields[name]) | value for name, value in row.items()} for row in made
    ]
    expected = pa.Table.from_pylist(whole).to_pylist() if ending in (".parquet", ".arrow") else whole
    assert read == expected


@given(rows(("text",), sorted(layouts.TEXT_COLUMNS)), st.sampled_from((".csv", ".tsv")))
@example([{"text": "007"}, {"text": "NA"}, {"text": "True"}], ".csv")
def kept_as_text(folder: Path, made: list[dict], ending: str) -> None:
    """Columns that layouts read as text come back as Python's csv module reads them, whatever they look like."""
    texts = [{name: value or "-" for name, value in row.items()} for row in made]
    path = folder / f"rows{ending}"
    path.write_bytes(WRITTEN[ending](texts))
    with open(path, newline="", encoding="utf-8") as file:
        expected = list(csv.DictReader(file, delimiter="\t" if ending == ".tsv" else ","))
    assert load_rows(path).to_pylist() == expected == texts


PROPERTIES = (damaged, kept, kept_as_text)
