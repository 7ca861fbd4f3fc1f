"""The recipe of a run's next one: the same rows, trained and held out as before, without the pairs that a person flagged as mislabelled.

    run = wb.start(without_flagged("runs/helpful-rm"))

The flags are those in the run's folder (`data/flags.py`). Held-out pairs stay held out, so that the two runs can be compared; a flagged one
is held out of neither. Not here: who is right about a pair.
"""

import dataclasses
from typing import TYPE_CHECKING, Any

from workbench.data import run_rows, sources
from workbench.data.flags import Flags
from workbench.data.mixture import Mixture
from workbench.data.stages import Stages
from workbench.errors import DataError
from workbench.recipes import Recipe
from workbench.runs.attach import attach
from workbench.runs.run import Run

if TYPE_CHECKING:
    import pyarrow as pa


def without_flagged(run: Any, flags: Flags | None = None) -> Recipe:
    """`run` is a run or its folder. Its held-out pairs that are left are kept in a file of its folder, which the recipe names.

    Raises `DataError` where no row is left, or held-out rows of several sources do not go into one table.
    """
    run = run if isinstance(run, Run) else attach(run)
    flags = Flags(run.folder) if flags is None else flags
    rows = run_rows.read(run.folder)
    train = {name: flags.without(table) for name, table in rows.train.items()}
    heldout = [flags.without(table) for table in rows.heldout.values() if table.num_rows]
    data = _with(run.recipe.data, train)
    return run.recipe.replace(data=data, heldout=_kept(run, heldout) if heldout else 0, data_hash="")


def _with(data: Any, tables: "dict[str, pa.Table]") -> Any:
    if isinstance(data, Stages):
        return Stages([(_with(mixture, tables), rows) for mixture, rows in data.stages], data.replay)
    if isinstance(data, Mixture):
        return dataclasses.replace(data, sources={name: tables.get(name, source) for name, source in data.sources.items()})
    return tables[""]


def _kept(run: Run, tables: "list[pa.Table]") -> str:
    import pyarrow as pa

    try:
        table = pa.concat_tables(tables)
    except pa.ArrowInvalid as error:
        raise DataError("The held-out rows of this run's sources have different columns.", "Give them the same columns.") from error
    path = run.folder / "heldout" / f"{sources.content_hash(table)[:16]}.arrow"
    if not path.exists():
        sources.keep(table, path)
    return str(path)
