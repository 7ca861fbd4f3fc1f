"""Rows from wherever they are, as one Arrow table: the town, files, the hub, a `datasets.Dataset`, a DataFrame.

`keep` writes them into a run folder, so a run is whole by itself. Not here: layouts (`layouts.py`), streaming sources that do not fit in memory,
preference data.
"""

import gzip
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from workbench import town
from workbench.data import layouts
from workbench.errors import DataError
from workbench.models import hub

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".arrow", ".txt")


def load_rows(source: Any) -> "pa.Table":
    """The rows behind `source`: "town:NAME", a file (also gzipped), a hub id, a `datasets.Dataset`, a DataFrame or a list of dicts.

    Raises `DataError` naming the file, the line and what to do.
    """
    if isinstance(source, str):
        if source.startswith("town:"):
            return _town(source)
        path = Path(source).expanduser()
        if path.is_dir():
            raise DataError(f"{path} is a folder, not a file of rows.", "Give one file in it.")
        if path.exists():
            return _nonempty(_file(path), str(path))
        if path.suffix.removesuffix(".gz") in SUFFIXES or source.startswith((".", "/", "~")) or source.count("/") > 1:
            raise DataError(f"There is no file {path}.", 'Check the path, or use "town:instructions".')
        return _nonempty(_hub(source), source)
    if isinstance(source, Path):
        return load_rows(str(source))
    if isinstance(source, list):
        return _nonempty(_from_dicts(source, "the list"), "the list")
    if hasattr(source, "with_format") and hasattr(source, "column_names"):
        return _nonempty(source.with_format("arrow")[:], "the Dataset")
    if type(source).__name__ == "DataFrame":
        import pyarrow as pa

        return _nonempty(pa.Table.from_pandas(source, preserve_index=False), "the DataFrame")
    raise DataError(f"Rows cannot be read from a {type(source).__name__}.",
                    "Give a file, a hub id, a datasets.Dataset, a DataFrame or a list of dicts.")


def _nonempty(table: "pa.Table", name: str) -> "pa.Table":
    if table.num_rows == 0:
        raise DataError(f"{name} holds no rows.", "Give a source with at least one row.")
    return table.replace_schema_metadata(None)


def _from_dicts(rows: list[Any], name: str) -> "pa.Table":
    import pyarrow as pa

    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise DataError(f"Row {number} of {name} is {type(row).__name__}, not an object with named columns.", "Give one object a row.")
    columns = list(dict.fromkeys(column for row in rows for column in row))
    arrays = []
    for column in columns:
        try:
            arrays.append(pa.array([row.get(column) for row in rows]))
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise DataError(f"The column {column!r} of {name} mixes types: {str(error).splitlines()[0]}.", "Make it one type.") from error
    return pa.table(arrays, names=columns)


def _town(source: str) -> "pa.Table":
    try:
        return _from_dicts(town.rows(source.removeprefix("town:")), source)
    except ValueError as error:
        raise DataError(str(error)) from error


def _file(path: Path) -> "pa.Table":
    kind = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    if kind == ".parquet":
        import pyarrow.parquet as pq

        return _arrow_errors(lambda: pq.read_table(path), path)
    if kind == ".arrow":
        return _arrow_errors(lambda: _read_arrow(path), path)
    if kind in (".csv", ".tsv"):
        import pyarrow as pa
        import pyarrow.csv as pc

        options = pc.ParseOptions(delimiter="\t" if kind == ".tsv" else ",", newlines_in_values=True)
        # what a layout reads as text stays as it is written: "007", "1.0" and "True" are answers, not numbers
        convert = pc.ConvertOptions(column_types={name: pa.string() for name in layouts.TEXT_COLUMNS})
        return _arrow_errors(lambda: pc.read_csv(path, parse_options=options, convert_options=convert), path)
    if kind not in (".jsonl", ".json", ".txt"):
        raise DataError(f"{path.name} has the ending {kind or '(none)'}, which is not known.", f"Known are {', '.join(SUFFIXES)}, also with .gz.")
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            content = file.read()
        content.decode("utf-8")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.", "Check the file.") from error
    except UnicodeDecodeError as error:
        line = content[:error.start].count(b"\n") + 1
        raise DataError(f"{path.name}, line {line}: not UTF-8 text.", "Save the file as UTF-8.") from error
    content = content.removeprefix(b"\xef\xbb\xbf")
    if kind == ".txt":
        return _from_dicts([{"text": part.strip()} for part in content.decode().replace("\r\n", "\n").split("\n\n") if part.strip()], path.name)
    return _from_dicts(_json_lines(content, path) if kind == ".jsonl" else _json(content, path), path.name)


def _json_lines(content: bytes, path: Path) -> list[Any]:
    rows = []
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            rows.append(orjson.loads(line))
        except orjson.JSONDecodeError as error:
            raise DataError(f"{path.name}, line {number}: not JSON ({error.msg}).", "Mend or remove that line.") from error
    return rows


def _json(content: bytes, path: Path) -> list[Any]:
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        if error.lineno > 1 and _is_json(content.split(b"\n", 1)[0]):  # several objects, one a line: JSON lines under another name
            return _json_lines(content, path)
        raise DataError(f"{path.name}, line {error.lineno}: not JSON ({error.msg}).", "Mend the file.") from error
    if isinstance(body, dict):
        lists = [value for value in body.values() if isinstance(value, list)]
        body = lists[0] if len(lists) == 1 else [body]
    if not isinstance(body, list):
        raise DataError(f"{path.name} holds {type(body).__name__}, not a list of rows.", "Give a list of objects.")
    return body


def _is_json(text: bytes) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def _read_arrow(path: Path) -> "pa.Table":
    import pyarrow as pa

    with pa.memory_map(str(path)) as file:
        try:
            return pa.ipc.open_file(file).read_all()
        except pa.ArrowInvalid:
            file.seek(0)
            return pa.ipc.open_stream(file).read_all()


def _arrow_errors(read: Any, path: Path) -> "pa.Table":
    import pyarrow as pa

    try:
        return read()
    except (pa.ArrowInvalid, pa.ArrowKeyError, OSError) as error:
        raise DataError(f"{path.name} cannot be read: {str(error).splitlines()[0]}.", "Check that the file is whole and its ending right.") from error


def _hub(name: str) -> "pa.Table":
    import datasets

    asked = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = asked or not hub.reachable()  # what is in its cache still loads; without this it tries for half a minute
    try:
        return datasets.load_dataset(name, split="train").with_format("arrow")[:]
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(f"The data set {name!r} cannot be loaded: {first.rstrip('.')}.",
                        'Check the name and the network, or use a local file or "town:instructions".') from error
    finally:
        datasets.config.HF_HUB_OFFLINE = asked  # the network may be back at the next call


def content_hash(*tables: "pa.Table") -> str:
    """SHA-256 of the rows in order, column names sorted: the same rows give the same hash from a file, a DataFrame or memory.

    What is empty (null or "") is left out, since a CSV file cannot tell the two apart and pandas reads them as one.
    """
    digest = hashlib.sha256()
    for table in tables:
        for batch in table.to_batches(max_chunksize=10_000):
            for row in batch.to_pylist():
                told = {name: value for name, value in row.items() if value not in (None, "")}
                digest.update(orjson.dumps(told, default=str, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE))
    return digest.hexdigest()


def split(table: "pa.Table", heldout: float | str, seed: int) -> tuple["pa.Table", "pa.Table"]:
    """`(train, held out)`: a share of the rows drawn by `seed` (at least 1, at most 200), or the rows of another source."""
    if isinstance(heldout, str):
        return table, load_rows(heldout)
    if heldout == 0:
        return table, table.slice(0, 0)
    if table.num_rows < 2:
        raise DataError("There is one row only, so none can be held out.", "Use heldout=0, or give more rows.")
    import random

    count = min(200, max(1, round(heldout * table.num_rows)), table.num_rows - 1)
    chosen = set(random.Random(seed).sample(range(table.num_rows), count))
    return (table.take([i for i in range(table.num_rows) if i not in chosen]), table.take(sorted(chosen)))


def keep(table: "pa.Table", path: Path) -> None:
    """Write `table` as an Arrow file."""
    import pyarrow as pa

    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def kept(path: Path) -> "pa.Table":
    """What `keep` wrote, memory-mapped."""
    return _read_arrow(path)


def check_layout(table: "pa.Table") -> None:
    """Raises `DataError` where the columns are no known layout, or a row does not hold what its layout says."""
    first = 1
    for batch in table.to_batches(max_chunksize=10_000):
        layouts.examples(batch.to_pylist(), table.column_names, first)
        first += batch.num_rows
