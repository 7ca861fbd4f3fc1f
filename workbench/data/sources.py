"""Rows from wherever they are, as one Arrow table: the town, files, the hub, a `datasets.Dataset`, a DataFrame or an Arrow table.

`keep` writes them into a run folder, so a run is whole by itself. A table remembers the name of its source, so that errors found later can
name it. Not here: files (`readers.py`), layouts (`layouts.py`), streaming sources that do not fit in memory.
"""

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from workbench import town
from workbench.data import column_types, layouts, readers, tables
from workbench.data.readers import SUFFIXES
from workbench.errors import DataError, WorkbenchError
from workbench.models import hub

if TYPE_CHECKING:
    import pyarrow as pa

MOST_HELD_OUT = 200
"""Rows that a share may hold out."""
ORIGIN = b"workbench.source"
"""The key under which a table's schema remembers the name of its source."""


def load_rows(source: Any) -> "pa.Table":
    """The rows behind `source`: "town:NAME", a file (also gzipped), a hub id, a `datasets.Dataset`, a DataFrame, an Arrow table or a list
    of dicts.

    Raises `DataError` naming the file, the line and what to do.
    """
    if isinstance(source, (str, os.PathLike)):
        return _named(os.fspath(source))
    if isinstance(source, list):
        return finished(tables.from_dicts(source, "the list"), "the list")
    if isinstance(source, dict) and hasattr(source, "with_format"):
        raise DataError(f"This DatasetDict holds several data sets: {', '.join(source)}.",
                        f"Give one of them, such as data[{next(iter(source), 'train')!r}].")
    if hasattr(source, "with_format") and hasattr(source, "column_names"):
        if not hasattr(source, "__len__"):
            raise DataError("This data set is streamed and has no length, so it cannot be read whole.",
                            "Give a part of it as a list: list(data.take(10_000)).")
        return finished(source.with_format("arrow")[:], "the Dataset")
    if type(source).__name__ == "DataFrame" or (hasattr(source, "__arrow_c_stream__") and hasattr(source, "column_names")):
        return finished(_from_frame(source), f"the {type(source).__name__}")
    raise DataError(f"Rows cannot be read from a {type(source).__name__}.",
                    "Give a file, a hub id, a datasets.Dataset, a DataFrame or a list of dicts.")


def _named(source: str) -> "pa.Table":
    if source.startswith("town:"):
        return _town(source)
    if not source.strip() or "\n" in source or source.lstrip()[:1] in ("{", "["):
        raise DataError("This text is no name of a file or a data set.",
                        "Give rows themselves as a list of dicts, or write them to a file.")
    path = Path(source).expanduser()
    try:
        if path.is_dir():
            raise DataError(f"{path} is a folder, not a file of rows.", _file_in(path))
        if path.exists():
            if not path.is_file():
                raise DataError(f"{path} is no ordinary file (a pipe or a device).", "Write the rows to a file first.")
            return finished(readers.read_file(path), path.name)
    except OSError as error:
        raise DataError(f"{path.name[:80]} cannot be read: {error.strerror or error}.",
                        "Check the path, the file and who may read it.") from error
    if path.suffix.removesuffix(".gz") in SUFFIXES or source.startswith((".", "/", "~")) or source.count("/") > 1:
        raise DataError(f"There is no file {path}.", 'Check the path, or use "town:instructions".')
    if source == "town" or source.startswith("town-"):
        raise DataError(f"{source!r} is a model; its rows have names of their own.", 'Use data="town:instructions"; `python -m workbench town list` names them all.')
    return finished(_hub(source), source)


def _file_in(folder: Path) -> str:
    if (folder / "state.json").is_file() or (folder / "dataset_dict.json").is_file():
        return "It was saved by datasets: give datasets.load_from_disk(...) of it."
    files = sorted(path.name for path in folder.iterdir() if path.is_file() and path.name.removesuffix(".gz").endswith(SUFFIXES))
    return f"Give one file in it, such as {files[0]}." if files else "Give one file in it."


def finished(table: "pa.Table", name: str) -> "pa.Table":
    """The table in plain types, with its source's name and nothing else in its metadata. Raises `DataError` where it has no rows or is
    empty where text belongs."""
    if table.num_rows == 0:
        raise DataError(f"{name} holds no rows.", "Give a source with at least one row.")
    tables.no_name_twice(table.column_names, name)
    tables.times_can_be_read(table, name)
    table = column_types.plain(table)
    empty = {column for column, values in zip(table.column_names, table.columns, strict=True) if values.null_count == table.num_rows}
    needed = [column for column in _needed(table) if column in empty] if empty else []
    if needed or len(empty) == table.num_columns:
        column = (needed or table.column_names)[0]
        raise DataError(f"The column {column!r} of {name} is empty (null) in every row, from row 1 to row {table.num_rows}.",
                        "Fill it, or remove the column.")
    return table.replace_schema_metadata({ORIGIN: name.encode()})


def _needed(table: "pa.Table") -> tuple[str, ...]:
    """The columns that the table's layout cannot do without; none where no layout is known, since columns may be renamed after they are
    read."""
    try:
        return layouts.layout_of(table).columns
    except DataError:
        return ()


def origin(table: "pa.Table") -> str:
    """The name of the source the table was loaded from, or "the table"."""
    return (table.schema.metadata or {}).get(ORIGIN, b"the table").decode()


def _from_frame(frame: Any) -> "pa.Table":
    """A DataFrame of pandas without its index, or whatever hands over Arrow data (polars, pyarrow). Raises `DataError` for columns of no
    one type."""
    import pyarrow as pa

    if hasattr(frame, "iloc"):
        names = [str(name) for name in frame.columns]
        tables.no_name_twice(names, "the DataFrame")
        try:
            table = pa.Table.from_pandas(frame, preserve_index=False)
        except (pa.ArrowException, OverflowError) as error:
            told = ": ".join(str(part).rstrip(".") for part in reversed(error.args))
            raise DataError(f"The DataFrame mixes types: {told.splitlines()[0]}.",
                            "Make each column one type, such as frame[name].astype(str).") from error
        for index, name in enumerate(names):
            values = frame.iloc[:, index]
            row = tables.first_truth_among_numbers(values, table.schema.field(index).type) if values.dtype == object else None
            if row is not None:
                raise DataError(f"The DataFrame mixes types: row {row + 1} of the column {name!r} has a truth value among numbers.",
                                "Make each column one type, such as frame[name].astype(str).")
        return table
    return pa.table(frame)


def _town(source: str) -> "pa.Table":
    try:
        return finished(tables.from_dicts(town.rows(source.removeprefix("town:")), source), source)
    except ValueError as error:
        what, _, remedy = str(error).partition("; ")
        raise DataError(f"{what}.", remedy.capitalize()) from error


def _hub(name: str) -> "pa.Table":
    """The split "train" of a data set on the hub, of one commit; without a network, or where the hub refuses, what is in datasets' cache."""
    import datasets
    from huggingface_hub.errors import HTTPError

    told, refused = None, None
    if hub.reachable():
        try:
            told = hub.listing(name, "dataset")
        except WorkbenchError as error:
            refused = error
    if told is not None and (script := f"{name.rpartition('/')[2]}.py") in told.files:
        raise DataError(f"The data set {name!r} is made by Python code that its repository brings ({script}), which is never run here.",
                        "Download its files of rows, if it has any, and give one of them.")
    asked = datasets.config.HF_HUB_OFFLINE
    # what is in its cache still loads; without this it tries for half a minute
    datasets.config.HF_HUB_OFFLINE = asked or told is None
    try:
        return datasets.load_dataset(name, split="train", revision=told.commit if told else None).with_format("arrow")[:]
    except (OSError, ValueError, RuntimeError, HTTPError, datasets.exceptions.DatasetsError) as error:
        if refused is not None:
            raise DataError(refused.what, refused.remedy) from refused
        raise _not_loaded(name, error, told is not None) from error
    finally:
        datasets.config.HF_HUB_OFFLINE = asked  # the network may be back at the next call


def _not_loaded(name: str, error: BaseException, reached: bool) -> DataError:
    from huggingface_hub.errors import HTTPError

    if not reached:
        return DataError(f"The data set {name!r} is not on this machine, and the hub cannot be reached.",
                         'Check the name and the network, or use a local file or "town:instructions".')
    causes = [error]  # datasets says that something went wrong; what came before says what
    while (before := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(before)
    why = next((cause for cause in causes if isinstance(cause, HTTPError)), None)
    try:
        if why is None and type(error).__name__ == "DatasetNotFoundError":  # which hides why, and the hub has listed it a moment ago
            hub.check_access(name, "dataset")
    except WorkbenchError as refused:
        return DataError(refused.what, refused.remedy)
    if why is not None or isinstance(error, ConnectionError):
        told = hub.refusal(why or error, name, "dataset")
        return DataError(told.what, told.remedy)
    cause = error.__cause__ or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()] or [type(cause).__name__]
    if "Config name is missing" in lines[0] or "Unknown split" in lines[0]:
        return DataError(f"The data set {name!r} has no one part called train: {' '.join(lines[:2]).rstrip('.')}.",
                         f"Load the part you want and give that: data=datasets.load_dataset({name!r}, ..., split=...).")
    return DataError(f"The data set {name!r} cannot be loaded: {lines[0].rstrip('.')}.",
                     'Look at its files on the hub, or use a local file or "town:instructions".')


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


def split(table: "pa.Table", heldout: float | str, seed: int, most: int = MOST_HELD_OUT) -> tuple["pa.Table", "pa.Table"]:
    """`(train, held out)`: a share of the rows drawn by `seed` (at least 1, at most `most`), or the rows of another source."""
    if isinstance(heldout, str):
        return table, load_rows(heldout)
    if heldout == 0:
        return table, table.slice(0, 0)
    if table.num_rows < 2:
        raise DataError("There is one row only, so none can be held out.", "Use heldout=0, or give more rows.")
    import random

    import numpy as np

    chosen = np.zeros(table.num_rows, bool)
    chosen[random.Random(seed).sample(range(table.num_rows), min(most, max(1, round(heldout * table.num_rows)), table.num_rows - 1))] = True
    return table.filter(~chosen), table.filter(chosen)


def keep(table: "pa.Table", path: Path) -> None:
    """Write `table` as an Arrow file."""
    import pyarrow as pa

    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def kept(path: Path) -> "pa.Table":
    """What `keep` wrote, memory-mapped."""
    return readers.read_arrow(path)


def check_layout(table: "pa.Table") -> None:
    """Raises `DataError` where the columns are no layout to train on, or a row does not hold what its layout says; it names the source and
    the row."""
    first, name = 1, origin(table)
    for batch in table.to_batches(max_chunksize=10_000):
        layouts.examples(batch.to_pylist(), table.column_names, first, name)
        first += batch.num_rows
