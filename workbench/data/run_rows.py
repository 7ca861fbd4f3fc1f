"""The rows of a run: read and checked before it starts, kept in its folder, read again by its worker.

One source is `data/train.arrow` and `data/heldout.arrow`. A mixture is one such pair a source (`train-000.arrow`, ...) and `data/mixture.json`: the weights that each
part of the run draws by, as whole numbers, so that a worker needs neither the rule nor the files they came from. Which row comes when is `drawing.py`'s.
"""

import dataclasses
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.data import sources
from workbench.data.mixture import Mixture
from workbench.data.stages import Stages
from workbench.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

Segment = tuple[dict[str, int], int | None]
"""Weights by source, and how many rows are drawn by them; None for all that come."""


@dataclass(slots=True)
class RunRows:
    """Tables by source, in the mixture's order; one source, named "", where there is no mixture (`segments` is empty then)."""

    train: "dict[str, pa.Table]"
    heldout: "dict[str, pa.Table]"
    segments: list[Segment] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """Training rows there are, of all sources."""
        return sum(table.num_rows for table in self.train.values())

    @property
    def rates(self) -> dict[str, float]:
        """Name -> share of the examples at the start; {} where there is no mixture."""
        if not self.segments:
            return {}
        weights = self.segments[0][0]
        total = sum(weights.values())
        return {name: weight / total for name, weight in weights.items()}

    def write(self, folder: Path) -> None:
        """Keep them in `folder/data`. Raises `OSError` where the disk refuses."""
        for part, tables in (("train", self.train), ("heldout", self.heldout)):
            for path, table in zip(_paths(folder, part, list(tables)), tables.values(), strict=True):
                sources.keep(table, path)
        if self.segments:
            body = {"train": list(self.train), "heldout": list(self.heldout), "segments": self.segments}
            (folder / "data" / "mixture.json").write_text(json.dumps(body, indent=1) + "\n")


def _paths(folder: Path, part: str, names: list[str]) -> list[Path]:
    """One source's file has the part's plain name; names of a mixture's are anybody's text, so the files are numbered."""
    return [folder / "data" / (f"{part}.arrow" if name == "" else f"{part}-{number:03}.arrow") for number, name in enumerate(names)]


@dataclass(frozen=True, slots=True)
class RowRules:
    """What an objective asks of rows before a run starts: `table` looks at each source's rows, `run` at all that will be trained and held out.

    Both raise `DataError`; `run` None asks nothing more.
    """

    table: "Callable[[pa.Table], None]" = sources.check_layout
    run: Callable[[RunRows], None] | None = None


IMITATION = RowRules()
"""Rows whose text is learned."""


def read(folder: Path) -> RunRows:
    """What `RunRows.write` kept, memory-mapped."""
    path = folder / "data" / "mixture.json"
    told = json.loads(path.read_text()) if path.exists() else {"train": [""], "heldout": [""], "segments": []}
    train, heldout = ({name: sources.kept(file) for name, file in zip(told[part], _paths(folder, part, told[part]), strict=True)} for part in ("train", "heldout"))
    return RunRows(train, heldout, [(weights, rows) for weights, rows in told["segments"]])  # type: ignore[misc, str-unpack]


def gather(data: Any, heldout: float | str, seed: int, rules: RowRules = IMITATION) -> tuple[RunRows, Any, str]:
    """`(rows, data, SHA-256)` of a recipe's `data`: what `load_rows` reads, a `Mixture` or `Stages`. Rows that were in memory come back in `data` as tables.

    Of a mixture's sources those of weight 0 are left out. Held out of each is the share asked for, at most so many that all together are `sources.MOST_HELD_OUT`.
    Raises `DataError` where the rows or the mixture cannot be trained on, as `rules` have it.
    """
    gathered = (_gather_mixture if isinstance(data, (Mixture, Stages)) else _gather_one)(data, heldout, seed, rules)
    if rules.run is not None:
        rules.run(gathered[0])
    return gathered


def _gather_one(data: Any, heldout: float | str, seed: int, rules: RowRules) -> tuple[RunRows, Any, str]:
    table = sources.load_rows(data)
    rules.table(table)
    train, held_out = sources.split(table, heldout, seed)
    if held_out.num_rows:
        rules.table(held_out)
    digest = sources.content_hash(table, *([held_out] if isinstance(heldout, str) else []))
    return RunRows({"": train}, {"": held_out}), data if isinstance(data, str) else table, digest


def _gather_mixture(data: Mixture | Stages, heldout: float | str, seed: int, rules: RowRules) -> tuple[RunRows, Any, str]:
    segments = _segments(data)
    totals = [sum(weights.values()) for weights, _ in segments]
    shares = {name: max(weights[name] / total for (weights, _), total in zip(segments, totals, strict=True)) for name in segments[0][0]}
    drawn = [name for name, share in shares.items() if share]
    given = _sources(data)
    train, held_out, tables = {}, {}, []
    for name in drawn:
        table = _table(name, given[name])
        try:
            rules.table(table)
            most = max(1, int(sources.MOST_HELD_OUT * shares[name] / sum(shares.values())))
            train[name], held_out[name] = (table, None) if isinstance(heldout, str) else sources.split(table, heldout, seed, most)
        except DataError as error:
            raise DataError(f"The source {name!r}: {error.what}", error.remedy) from error
        tables.append(table)
    if isinstance(heldout, str):
        held_out = {"": sources.load_rows(heldout)}
        rules.table(held_out[""])
        tables.append(held_out[""])
    kept = [({name: weights[name] for name in drawn}, rows) for weights, rows in segments]
    digest = sources.content_hash(*tables)
    return RunRows(train, held_out, kept), _with_sources(data, dict(zip(drawn, tables, strict=False))), digest


def _segments(data: Mixture | Stages) -> list[Segment]:
    if isinstance(data, Mixture):
        return [(data.whole_weights(), None)]
    return [(mixture.whole_weights(), rows) for mixture, (_, rows) in zip(data.mixtures(), data.stages, strict=True)]


def _sources(data: Mixture | Stages) -> dict[str, Any]:
    mixtures = [data] if isinstance(data, Mixture) else [mixture for mixture, _ in data.stages]
    return {name: source for mixture in mixtures for name, source in mixture.sources.items()}


def _table(name: str, source: Any) -> "pa.Table":
    """Raises `DataError` for a source without rows of its own or without an end."""
    if isinstance(source, int):
        raise DataError(f"The source {name!r} is a count of rows, so there is nothing to train on.", "Give its rows: a file, a town set, a data set.")
    if type(source).__name__ == "IterableDataset":
        raise DataError(f"The source {name!r} is a stream, and a run keeps its rows.", "Take as many as are wanted: datasets.Dataset.from_list(list(stream.take(100_000))).")
    return sources.load_rows(source)


def _mapped(data: Mixture | Stages, change: Callable[[str, Any], Any]) -> Mixture | Stages:
    """The same with `change(name, source)` in the place of every source that is rows in memory; files, names and counts stay."""
    if isinstance(data, Stages):
        return Stages([(_mapped(mixture, change), rows) for mixture, rows in data.stages], data.replay)  # type: ignore[misc]
    return dataclasses.replace(data, sources={name: source if isinstance(source, (str, int)) else change(name, source) for name, source in data.sources.items()})


def _with_sources(data: Mixture | Stages, tables: "dict[str, pa.Table]") -> Mixture | Stages:
    """The same with tables in the place of rows in memory; those of weight 0 were not read with the others."""
    return _mapped(data, lambda name, source: tables[name] if name in tables else _table(name, source))


def in_files(data: Any, folder: Path) -> Any:
    """`data` with every table written to a file under `folder/data`, so that the recipe has a JSON form. Raises `OSError` where the disk refuses."""
    if isinstance(data, str):
        return data
    written: dict[int, str] = {}

    def file_of(table: Any, name: str = "") -> str:
        if id(table) not in written:
            path = folder / "data" / (name or f"rows-{len(written):03}.arrow")
            sources.keep(table, path)
            written[id(table)] = str(path)
        return written[id(table)]

    if isinstance(data, (Mixture, Stages)):
        return _mapped(data, lambda _name, table: file_of(table))
    return file_of(data, "rows.arrow")


def data_to_json(data: Any) -> Any:
    """A recipe's `data` as plain values. Raises `DataError` where its rows are in memory."""
    if isinstance(data, Mixture):
        return {"mixture": data.to_json()}
    if isinstance(data, Stages):
        return {"stages": data.to_json()}
    return data


def data_from_json(body: Any) -> Any:
    """What `data_to_json` wrote."""
    if isinstance(body, dict) and set(body) == {"mixture"}:
        return Mixture.from_json(body["mixture"])
    if isinstance(body, dict) and set(body) == {"stages"}:
        return Stages.from_json(body["stages"])
    return body


def names(data: Any) -> Iterator[str]:
    """The sources of a recipe's `data` by name; none where it is no mixture."""
    if isinstance(data, (Mixture, Stages)):
        yield from _sources(data)
