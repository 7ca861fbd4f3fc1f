"""One file of rows, as an Arrow table: JSON lines, JSON, CSV, TSV, Parquet, Arrow and plain text, also gzipped, tar files of documents, and
files without an ending that are one of the first four.

Every fault is one `DataError` that names the file, the line (or row) and what to do. A file is read whole. Not here: sources that are no
files (`sources.py`), what the bytes of a file are before they are rows (`raw.py`), JSON (`json_files.py`), CSV (`delimited.py`), tar
(`archives.py`), what columns mean.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.data import archives, delimited, json_files, raw, tables
from workbench.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".arrow", ".txt")

PARQUET_ROWS = 1024
"""Rows of Parquet unpacked at a time, to see how much they are before all of them are in memory."""

_RELEVANCE = re.compile(rb"\S+[ \t]+(?:Q0|0)[ \t]+\S+[ \t]+(?:-?\d+|\d+[ \t]+-?[\d.eE+-]+[ \t]+\S+)[ \t]*")


def read_file(path: Path) -> "pa.Table":
    """The rows of the file. Raises `DataError`."""
    kind = raw.kind_of(path)
    if kind == ".parquet":
        table = _parquet(path)
    elif kind == ".arrow":
        table = _arrow(path)
    elif kind in archives.KINDS:
        table = archives.read(path)
    elif kind in ("", *SUFFIXES):
        table = _text_file(path, kind)
    else:
        raise _unknown(path, kind)
    return tables.checked(table, path.name)


def _unknown(path: Path, kind: str) -> DataError:
    return DataError(f"{path.name} has the ending {kind or '(none)'}, which is not known.",
                     f"Known are {', '.join(SUFFIXES)}, also with .gz, and .tar of texts; plain text is .txt.")


def _text_file(path: Path, kind: str) -> "pa.Table":
    content = raw.text_of(path)
    if not content.strip():
        raise DataError(f"{path.name}, line 1: the file is empty{' but for line breaks' if content else ''}, so it holds no rows.",
                        "Give a file with at least one row.")
    kind = kind or _guessed(content)
    if kind in (".csv", ".tsv"):
        return delimited.read(content, path.name, "\t" if kind == ".tsv" else ",", tables.LONGEST_VALUE_BYTES)
    if kind == "table":
        return delimited.read_bare(content, path.name)
    if kind == ".jsonl":
        return json_files.read_lines(content, path.name)
    if kind == ".json":
        return json_files.read_whole(content, path.name)
    if kind == ".txt":
        rows, lines = _plain(content, path.name)
        return tables.from_dicts(rows, path.name, lines.__getitem__)
    raise _unknown(path, kind)


def _guessed(content: bytes) -> str:
    """What a file without an ending is, by its first characters; "" where nothing tells."""
    start = content.lstrip()[:1]
    first = content.lstrip().split(b"\n", 1)[0]
    if start == b"{":
        return ".jsonl" if json_files.is_json(first) else ".json"
    if start == b"[":
        return ".json"
    return "table" if delimited.is_table(content) else ""


def _plain(content: bytes, name: str) -> tuple[list[Any], list[int]]:
    """Paragraphs, parted by empty lines, and the line each begins on; the documents of a TREC file with their numbers; the
    lines of TREC's judgements and rankings, told from their shape."""
    content = content.replace(b"\r\n", b"\n")
    if content.lstrip().startswith(b"<DOC>"):
        return _trec_documents(content, name)
    lines = [(number, line) for number, line in enumerate(content.split(b"\n"), start=1) if line.strip()]
    if len(lines) > 1 and all(_RELEVANCE.fullmatch(line) for _, line in lines) and len({len(line.split()) for _, line in lines}) == 1:
        return [_trec_row(line.decode().split()) for _, line in lines], [number for number, _ in lines]
    rows: list[Any] = []
    numbers: list[int] = []
    line = 1
    for part in re.split(rb"(\n\n+)", content):
        if part.strip():
            rows.append({"text": part.strip().decode()})
            numbers.append(line + part[:len(part) - len(part.lstrip())].count(b"\n"))
            tables.not_too_long(len(part), f"{name}, line {numbers[-1]}", "Break it up with empty lines; each part becomes a row.")
        line += part.count(b"\n")
    return rows, numbers


def _trec_row(values: list[str]) -> dict[str, Any]:
    """A line of TREC's judgements (query, iteration, document, relevance) or of a run (query, Q0, document, rank, score, its name)."""
    row: dict[str, Any] = {"query_id": values[0], "document_id": values[2]}
    if len(values) == 4:
        return row | {"relevance": int(values[3])}
    return row | {"rank": int(values[3]), "score": float(values[4]), "run": values[5]}


def _trec_documents(content: bytes, name: str) -> tuple[list[Any], list[int]]:
    rows, numbers = [], []
    for found in re.finditer(rb"<DOC>(.*?)(</DOC>|(?=<DOC>)|\Z)", content, re.DOTALL):
        line = content[:found.start()].count(b"\n") + 1
        if found[2] != b"</DOC>":
            raise DataError(f"{name}, line {line}: the <DOC> that begins here is not closed.", "Put a </DOC> at its end.")
        body = found[1].decode()
        number = re.search(r"<DOCNO>(.*?)</DOCNO>", body, re.DOTALL)
        text = re.sub(r"^\s*</?[A-Z]+>\s*$", "", re.sub(r"<DOCNO>.*?</DOCNO>", "", body, flags=re.DOTALL), flags=re.MULTILINE)
        rows.append({"id": number[1].strip() if number else str(len(rows) + 1), "text": text.strip()})
        numbers.append(line)
    return rows, numbers


def read_arrow(path: Path) -> "pa.Table":
    """An Arrow file or stream, memory-mapped. Raises pyarrow's own errors."""
    import pyarrow as pa

    with pa.memory_map(str(path)) as file:
        return _opened(file)


def _opened(file: Any, path: Path | None = None) -> "pa.Table":
    """The table in an Arrow file or stream, a batch at a time: those of a `path` may be packed, and are counted while they are unpacked."""
    import pyarrow as pa

    try:
        opened = pa.ipc.open_file(file)
        batches = (opened.get_batch(number) for number in range(opened.num_record_batches))
    except pa.ArrowInvalid:
        file.seek(0)
        opened = batches = pa.ipc.open_stream(file)
    found, size = [], 0
    for batch in batches:
        found.append(batch)
        size += batch.nbytes
        if path is not None:
            _not_too_much(path, size)
    return pa.Table.from_batches(found, opened.schema)


def _not_too_much(path: Path, size: int) -> None:
    """Raises `DataError` where a file's rows are out of all proportion to it: one value may stand there once for a million rows. A large
    file of large rows stays on disk, so its size alone is no fault."""
    packed = max(1, path.stat().st_size)
    if size > raw.SUSPECT_RATIO * packed:
        raw.not_too_much(path.name, packed, size, "give it as a datasets.Dataset, which stays on disk, or give a part of it")


def _arrow(path: Path) -> "pa.Table":
    import pyarrow as pa

    def read() -> "pa.Table":
        if raw.is_gzip(path):
            table = _opened(pa.BufferReader(raw.inflated(path)))
        else:
            with pa.memory_map(str(path)) as file:
                table = _opened(file, path)
        table.validate(full=True)
        return table

    return _binary(read, path)


def _parquet(path: Path) -> "pa.Table":
    import pyarrow as pa
    import pyarrow.parquet as pq

    def read() -> "pa.Table":
        file = pq.ParquetFile(pa.BufferReader(raw.inflated(path)) if raw.is_gzip(path) else path)
        size = 0
        for batch in file.iter_batches(PARQUET_ROWS) if file.metadata.num_rows > PARQUET_ROWS else ():
            size += batch.nbytes
            _not_too_much(path, size)
        table = file.read()
        table.validate(full=True)
        return table

    return _binary(read, path)


def _binary(read: Any, path: Path) -> "pa.Table":
    import pyarrow as pa

    if path.stat().st_size == 0:
        raise DataError(f"{path.name}, line 1: the file is empty, so it holds no rows.", "Give a file with at least one row.")
    raw.no_pointer(path)
    try:
        return read()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path.name} cannot be read: {str(error).strip().splitlines()[0].rstrip('.')}.",
                        "Check that the file is whole and its ending right.") from error
