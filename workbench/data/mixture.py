"""A mixture: how often each source is drawn, by which rule, and the rows that come of it.

Rates go seqio's way (`mixing_rate_num_examples`): scale -> cap -> temperature -> normalise; the cap K and the temperature T are those of
Raffel et al. 2020 (T5), section 3.5.2. Rates are shares of *examples*; `token_shares` says what they are in tokens.
Not here: the order of the rows (`drawing.py`), stages (`stages.py`), tokens of a source (give them where they are asked for), splitting off
held-out rows (`sources.split`), what a row means (`layouts.py`).
"""

import hashlib
import math
import numbers
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.data import column_types, layouts, sources
from workbench.errors import DataError
from workbench.legible import whole_characters

if TYPE_CHECKING:
    import datasets

    from workbench.data.drawing import Order, Position

RULES = ("proportional", "equal", "weights")
AT_ONCE = 1024
"""Rows fetched at a time while streaming."""


def need(good: bool, what: str, remedy: str) -> None:
    if not good:
        raise DataError(what, remedy)


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float, Fraction)) and not isinstance(value, bool) and math.isfinite(value)


@dataclass(frozen=True, slots=True)
class Mixture:
    """`Mixture({"chat": "chat.jsonl", "code": 120_000})`. Raises `DataError` for what cannot be mixed.

    With `rule` "proportional" a source counts as many as it has rows, with "equal" 1, with "weights" what `weights` says. That times its
    multiplier, at most `cap` (proportional only; so a multiplier does not lift a capped source, as in seqio), to the power 1/`temperature`,
    divided by the sum of all.
    """

    sources: dict[str, Any]
    """Name -> how many rows, for arithmetic alone; or rows: anything `load_rows` reads, an Arrow table, a `datasets.IterableDataset`."""
    rule: str = "proportional"
    cap: int | None = None
    """K, in rows: no source counts more."""
    temperature: float = 1.0
    """T: 1 changes nothing, towards infinity all sources become equal."""
    multipliers: dict[str, float] | None = None
    """Name -> factor, for "this one is especially good"; 1 where not named."""
    weights: dict[str, float] | None = None
    """Name -> weight, for rule="weights"; every source needs one, 0 leaves it out."""
    pretraining_share: float = 0.0
    """Share of examples that is plain pre-training text; the others keep the rest, among themselves as before. 0 asks for no share: plain
    text then comes as often as the rule says, named or not (a multiplier of 0, or `without`, leaves it out)."""
    pretraining: tuple[str, ...] | None = None
    """Which sources those are; None takes those whose rows have the layout "plain text" (only looked at where the share is above 0)."""
    counts: dict[str, int] | None = None
    """Rows of sources, where they are known: such files are opened only when drawn from, and a stream can then be proportional."""
    _tables: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    _weights: dict[str, int] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self):
        names = list(self.sources) if isinstance(self.sources, dict) else []
        object.__setattr__(self, "sources", {name: _whole(self.sources[name]) for name in names})
        need(bool(names) and all(isinstance(name, str) and name for name in names), "A mixture needs sources by name.",
             'Use Mixture({"name": rows or a count}).')
        need(len(names) <= 2048, f"{len(names)} sources are more than the 2048 that can be mixed.", "Join some of them.")
        for name, source in self.sources.items():
            need(whole_characters(name) == name, f"The name of the source {name!r} holds half a character (a lone surrogate).", "Give it another name.")
            need(not isinstance(source, (bool, float)) and (not isinstance(source, int) or source >= 1),
                 f"The source {name!r} has {source!r} rows.", "Give at least one row, or leave it out.")
        need(self.rule in RULES, f"rule is {self.rule!r}, which is none of {', '.join(RULES)}.", 'Use rule="proportional".')
        need(self.cap is None or (is_number(self.cap) and self.cap > 0), f"cap is {self.cap!r}; it must be a number of rows.",
             "Use cap=30000.")
        need(self.cap is None or self.rule == "proportional", f"cap counts rows, and the rule {self.rule!r} does not.",
             "Leave the cap out.")
        need(is_number(self.temperature) and 0.01 <= self.temperature <= 1e6,
             f"temperature is {self.temperature!r}; it must lie from 0.01 to 1e6.", "Use temperature=1.0.")
        need(is_number(self.pretraining_share) and 0 <= self.pretraining_share <= 1,
             f"pretraining_share is {self.pretraining_share!r}; it must be a share from 0 to 1.", "Use pretraining_share=0.1.")
        object.__setattr__(self, "pretraining", None if self.pretraining is None else tuple(self.pretraining))
        for what in ("multipliers", "weights", "counts"):
            need(getattr(self, what) is None or isinstance(getattr(self, what), dict),
                 f"{what} is {getattr(self, what)!r}; it must be numbers by source.", f"Use {what}={{{names[0]!r}: 2}}.")
        for what in ("multipliers", "weights", "pretraining", "counts"):
            for name in getattr(self, what) or ():
                need(name in self.sources, f"{what} names {name!r}, which is no source.", f"The sources are {', '.join(names)}.")
        for what in ("multipliers", "weights"):
            for name, value in (getattr(self, what) or {}).items():
                need(is_number(value) and value >= 0, f"{what} gives {name!r} {value!r}; it must be a number of at least 0.", "Use 1.")
        for name, value in (self.counts or {}).items():
            need(type(value) is int and value >= 1, f"counts gives {name!r} {value!r}; it must be a whole number of rows.", "Leave it out.")
        need((self.rule == "weights") == (self.weights is not None), 'weights and rule="weights" go together.', "Give both, or neither.")
        missing = [name for name in names if name not in (self.weights or names)]
        need(not missing, f"The source {next(iter(missing), '')!r} has no weight.", "Give each source one; 0 leaves it out.")

    # ---- what is known of the sources

    def rows_of(self, name: str) -> int | None:
        """Rows of a source; None for a stream whose length is not known."""
        source = self.sources[name]
        if isinstance(source, int):
            return source
        if self.counts and name in self.counts:
            return self.counts[name]
        return None if _is_stream(source) else self.table(name).num_rows

    def table(self, name: str) -> "datasets.Dataset":
        """The rows of a source, none copied. Loaded once."""
        if name not in self._tables:
            import datasets
            import pyarrow as pa

            source = self.sources[name]
            need(not isinstance(source, int), f"The source {name!r} is a count, so it has no rows to draw.", "Give its rows.")
            if isinstance(source, datasets.Dataset):
                found = source.with_format(None)
            else:
                table = source if isinstance(source, pa.Table) else sources.load_rows(source)
                # a fingerprint of its own choosing would read every byte of the rows
                found = datasets.Dataset(datasets.table.InMemoryTable(table.replace_schema_metadata(None)),
                                         fingerprint=datasets.fingerprint.generate_random_fingerprint())
            need(found.num_rows > 0, f"The source {name!r} holds no rows.", "Leave it out.")
            said = (self.counts or {}).get(name, found.num_rows)
            need(said == found.num_rows, f"The source {name!r} has {found.num_rows} rows, and counts says {said}: it has changed.",
                 "Leave it out of counts, and the rates follow the rows that are there.")
            self._tables[name] = found
        return self._tables[name]

    def plain(self) -> set[str]:
        """The sources of plain text: those named in `pretraining`, else those whose rows have that layout, which opens them."""
        if self.pretraining is not None:
            return set(self.pretraining)
        kept = [name for name, source in self.sources.items() if not isinstance(source, int) and not _is_stream(source)]
        tables = {name: self.table(name).data.table for name in kept}
        return {name for name in kept if "text" in tables[name].column_names and layouts.layout_of(tables[name]).name == "plain text"}

    # ---- rates

    def whole_weights(self) -> dict[str, int]:
        """The rates as whole numbers in proportion: exact, but for those of a temperature, which are rounded to 2^-36 of their sum."""
        if not self._weights:
            from workbench.data.drawing import whole_weights

            self._weights.update(whole_weights(self._scores()))
        return dict(self._weights)

    def _scores(self) -> dict[str, Fraction]:
        scores = {name: self._score(name) for name in self.sources}
        if self.temperature != 1:
            most = max(scores.values()) or 1
            powers = {name: float(score / most) ** (1 / self.temperature) for name, score in scores.items()}
            scores = {name: Fraction(max(1, int(powers[name] * 2**64)) if score else 0) for name, score in scores.items()}
        if self.pretraining_share and (plain := self.plain()):
            share = Fraction(str(self.pretraining_share))
            for part, names in ((share, plain), (1 - share, set(scores) - plain)):
                total = sum(scores[name] for name in names)
                need(part == 0 or total > 0,
                     f"{'Pre-training' if names is plain else 'Other'} rows are to be {float(part):.0%}, and there are none.",
                     "Change pretraining_share, or name the sources in pretraining=.")
                scores |= {name: scores[name] * part / total if part else Fraction(0) for name in names}
        else:
            need(not self.pretraining_share, f"pretraining_share is {self.pretraining_share}, and no source is plain text.",
                 'Name those that are: pretraining=("name",).')
        need(any(scores.values()), "Every source has the rate 0.", "Give one of them a weight and a multiplier above 0.")
        return scores

    def _score(self, name: str) -> Fraction:
        if self.rule == "proportional":
            rows = self.rows_of(name)
            need(rows is not None, f"The source {name!r} is a stream of unknown length, so its share cannot be proportional.",
                 "Give counts={name: rows}, or use rule=\"weights\".")
            score = Fraction(rows)
        else:
            score = Fraction(1) if self.rule == "equal" else exact(self.weights[name])
        score *= exact((self.multipliers or {}).get(name, 1))
        return min(score, exact(self.cap)) if self.cap is not None else score

    @property
    def rates(self) -> dict[str, float]:
        """Name -> share of the examples; they sum to 1."""
        weights = self.whole_weights()
        total = sum(weights.values())
        return {name: weight / total for name, weight in weights.items()}

    def shares(self) -> dict[str, Fraction]:
        """The rates as fractions, which sum to exactly 1."""
        weights = self.whole_weights()
        total = sum(weights.values())
        return {name: Fraction(weight, total) for name, weight in weights.items()}

    def token_shares(self, tokens: dict[str, int]) -> dict[str, float]:
        """Name -> share of the tokens, `tokens` being how many each source has in all."""
        mean = self._tokens_a_row(tokens)
        parts = {name: weight * mean[name] for name, weight in self.whole_weights().items()}
        total = sum(parts.values())
        return {name: float(part / total) for name, part in parts.items()}

    def examples(self, budget: float, tokens: dict[str, int]) -> int:
        """Examples that `budget` tokens buy, rounded down."""
        return int(self._examples(budget, tokens))

    def epochs(self, budget: float, tokens: dict[str, int] | None = None) -> dict[str, float | None]:
        """Name -> how often its rows are gone through while `budget` examples are drawn; None where its length is not known.

        With `tokens` (how many each source has in all) the budget is in tokens. The value is rate x examples / rows, computed in fractions
        and rounded once; the draw takes that many rows rounded up or down to a whole one.
        """
        need(is_number(budget) and budget >= 0, f"The budget is {budget!r}; it must be a number of at least 0.", "Use the rows of the run.")
        drawn = exact(budget) if tokens is None else self._examples(budget, tokens)
        weights, rows = self.whole_weights(), {name: self.rows_of(name) for name in self.sources}
        above, below = drawn.numerator, drawn.denominator * sum(weights.values())  # whole numbers, which Python divides with one rounding
        return {name: None if rows[name] is None else weight * above / (below * rows[name]) for name, weight in weights.items()}

    def _examples(self, budget: float, tokens: dict[str, int]) -> Fraction:
        mean = self._tokens_a_row(tokens)
        weights = self.whole_weights()
        return exact(budget) * sum(weights.values()) / sum(weight * mean[name] for name, weight in weights.items())

    def _tokens_a_row(self, tokens: dict[str, int]) -> dict[str, Fraction]:
        mean = {}
        for name in self.sources:
            rows = self.rows_of(name)
            need(rows is not None, f"The source {name!r} has no known length, so its tokens a row are not known.",
                 "Give counts={name: rows}.")
            need(tokens.get(name, 0) > 0, f"tokens does not say how many tokens {name!r} has.", "Give the tokens of all its rows.")
            mean[name] = Fraction(int(tokens[name]), rows)
        return mean

    # ---- rows

    def order(self, rows: int, seed: int = 0, start: "int | Position" = 0) -> "Order":
        """The next `rows` rows as numbers: source, item, row, and the position they end at."""
        from workbench.data import drawing

        sizes = {name: None if _is_stream(source) else self.rows_of(name) for name, source in self.sources.items()}
        return drawing.order(self._begin(rows, seed, start), rows, sizes)

    def _begin(self, rows: int, seed: int, start: "int | Position") -> "Position":
        from workbench.data import drawing

        need(type(rows) is int and rows >= 0, f"{rows!r} is no number of rows.", "Give a whole number.")
        need(type(seed) is int, f"seed is {seed!r}; it must be a whole number.", "Use seed=0.")
        need(isinstance(start, drawing.Position) or (type(start) is int and start >= 0),
             f"start is {start!r}; it is rows drawn before, or a Position.", "Use start=0.")
        return drawing.begin(self.whole_weights(), seed, start)

    def position(self, rows: int, seed: int = 0, start: "int | Position" = 0) -> "Position":
        """Where the order stands after `rows` more rows. Another mixture drawn with `start=` this goes on under its own rates, in the
        middle of every source's epoch: no row comes again before the rest of its source has come."""
        from workbench.data import drawing

        return drawing.advance(self._begin(rows, seed, start), rows)

    def draw(self, n: int, seed: int = 0, start: "int | Position" = 0) -> "datasets.Dataset | datasets.IterableDataset":
        """`n` rows as a `datasets.Dataset` that points into the sources' own Arrow tables, 8 bytes a row; an `IterableDataset` where a
        source is a stream. `start` is how many rows of this mixture were drawn before, or the `Position` where this or another one stood.

        Columns that a source lacks are null; a stream's are those of its features, or else of its first row, and one that comes later
        stands in the rows from there on. Whole numbers become numbers with a fraction where another source has such. Raises `DataError`
        naming two sources and the column that they hold in types of which there is no common one.
        """
        return rows_of_orders(self, [self.order(n, seed, start)], {name for name, weight in self.whole_weights().items() if weight})

    # ---- whole tasks held out, JSON

    def hold_out(self, tasks: dict[str, Iterable[str]], names: Iterable[str]) -> tuple["Mixture", dict[str, Any]]:
        """`(mixture to train on, {name: source} to test on)`: every source of the tasks `names` leaves the mixture (Sanh et al. 2022,
        T0, section 3: all data sets of a task are either trained on or tested on). A source that no task names stays."""
        tasks, names = {task: tuple(members) for task, members in tasks.items()}, tuple(names)
        for task in names:
            need(task in tasks, f"There is no task {task!r} to hold out.", f"The tasks are {', '.join(tasks)}.")
        for task, members in tasks.items():
            for member in members:
                need(member in self.sources, f"The task {task!r} names {member!r}, which is no source.",
                     f"The sources are {', '.join(self.sources)}.")
                others = [other for other, of in tasks.items() if member in of and (other in names) != (task in names)]
                need(not others, f"The source {member!r} belongs to the tasks {task!r} and {next(iter(others), '')!r}, one trained on and "
                     "one held out.", "Hold out both, or neither.")
        out = {member: self.sources[member] for task in names for member in tasks[task]}
        need(len(out) < len(self.sources), "Every source would be held out, so nothing is left to train on.", "Hold out fewer tasks.")
        return self.without(out), out

    def without(self, names: Iterable[str]) -> "Mixture":
        """The mixture that is left when sources leave it."""
        gone = set(names)
        kept: dict[str, Any] = {what: {k: v for k, v in value.items() if k not in gone} if isinstance(value := getattr(self, what), dict) else value
                for what in ("sources", "multipliers", "weights", "counts")}
        named = None if self.pretraining is None else tuple(name for name in self.pretraining if name not in gone)
        out = replace(self, pretraining=named, **kept)
        out._tables.update({name: table for name, table in self._tables.items() if name not in gone})
        return out

    def changed(self, **settings: Any) -> "Mixture":
        """The same sources under other settings (fields of this class, but `sources`); rows that were read are not read again."""
        need("sources" not in settings, "Other sources make another mixture.", "Use Mixture(sources), or without(names).")
        out = replace(self, **settings)
        out._tables.update(self._tables)
        return out

    def to_json(self) -> dict[str, Any]:
        """Plain values. Raises `DataError` where a source's rows are in memory, which JSON cannot hold."""
        body = {f.name: getattr(self, f.name) for f in fields(self) if f.init}
        for name, source in self.sources.items():
            need(isinstance(source, (int, str, Path)), f"The source {name!r} holds its rows in memory, so it has no JSON form.",
                 "Keep them in a file and name that.")
        files = {name: self.rows_of(name) for name, source in self.sources.items() if not isinstance(source, int)}
        weights = self.weights and {name: value if isinstance(value, int) else float(value) for name, value in self.weights.items()}
        return body | {"sources": {name: str(s) if isinstance(s, Path) else s for name, s in self.sources.items()}, "counts": files or None,
                       "pretraining": None if self.pretraining is None else list(self.pretraining), "weights": weights}

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> "Mixture":
        """What `to_json` wrote; no file is opened until rows are drawn. Raises `DataError` for a field it does not know."""
        unknown = sorted(set(body) - {f.name for f in fields(cls) if f.init})
        need(not unknown, f"A mixture has no field {next(iter(unknown), '')!r}.", "Check the spelling.")
        return cls(**body)


def rows_of_orders(mixture: Mixture, orders: "list[Order]", among: set[str]) -> "datasets.Dataset | datasets.IterableDataset":
    """The rows behind orders over `mixture`'s sources, one after the other. Their columns are those of the sources `among`, whether
    these come or not."""
    import datasets
    import numpy as np

    source, row = (np.concatenate([getattr(each, what) for each in orders]) for what in ("source", "row"))
    names = orders[0].names
    sized = [name for name in names if name in among and not _is_stream(mixture.sources[name])]
    tables = [mixture.table(name) for name in sized]
    first = dict(zip(sized, np.cumsum([0, *(table.num_rows for table in tables)]).tolist(), strict=False))
    if tables:
        joined = datasets.concatenate_datasets(column_types.one_type(dict(zip(sized, tables, strict=True))))
    offset = np.array([first.get(name, 0) for name in names], np.int64)
    place = offset[source] + row
    if len(sized) == len(among):
        # the name of the result in datasets' cache, made of the bytes: its own way pickles every number
        fingerprint = hashlib.blake2b(place.tobytes(), key=joined._fingerprint.encode()[:64], digest_size=8).hexdigest()
        return joined.select(place.tolist(), new_fingerprint=fingerprint)
    item = np.concatenate([each.item for each in orders])
    streams = {i: name for i, name in enumerate(names) if name in among and name not in sized}


    def generate() -> Iterator[dict[str, Any]]:
        every = dict.fromkeys(column for name in sized for column in mixture.table(name).column_names)
        for name in streams.values():
            every |= dict.fromkeys(mixture.sources[name].column_names or next(iter(mixture.sources[name]), {}))
        flows = {i: _endless(mixture.sources[name], name, item[source == i]) for i, name in streams.items()}
        for begun in range(0, len(source), AT_ONCE):
            block = source[begun:begun + AT_ONCE]
            known = [int(where) for where, i in zip(place[begun:begun + AT_ONCE], block, strict=True) if i not in flows]
            rows = iter(joined.select(known)) if known else iter(())
            for i in block:
                row = next(flows[i]) if i in flows else next(rows)
                every |= dict.fromkeys(row)
                yield every | row

    return datasets.IterableDataset.from_generator(generate)


def _endless(source: Any, name: str, items: Any) -> Iterator[dict[str, Any]]:
    """A stream's rows from row `items[0]` on, from its beginning again when it ends, in its own order (shuffle it before, if wanted)."""
    skipped, length = int(items[0]), None
    while True:
        if length:
            skipped %= length
        count = 0
        for count, row in enumerate(source, start=1):
            if count > skipped:
                yield dict(row)
        need(count > 0, f"The stream {name!r} gave no rows.", "Leave it out.")
        length, skipped = count, max(0, skipped - count)


def _whole(source: Any) -> Any:
    """numpy's whole numbers are counts too; True is not."""
    return int(source) if isinstance(source, numbers.Integral) and not isinstance(source, bool) else source


def _is_stream(source: Any) -> bool:
    return type(source).__name__ == "IterableDataset"


def exact(value: float | Fraction) -> Fraction:
    """0.1 is a tenth, not the nearest binary number."""
    return value if isinstance(value, Fraction) else Fraction(str(value))
