"""Mixtures one after the other: task instructions first, then chat, with some of the first kept.

A later stage draws its share `replay` from the stages before it. A source that several stages name is one source, whose epochs run on
from stage to stage: what is replayed is what had not come yet, until all of it has. Not here: learning rates that change between stages.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from workbench.data.mixture import Mixture, is_number, need, rows_of_orders

if TYPE_CHECKING:
    import datasets

    from workbench.data.drawing import Position


@dataclass(slots=True)
class Stages:
    """`Stages([(tasks, 4000), (chat, 2000)], replay=0.1)`: 4000 rows of `tasks`, then 1800 of `chat` and 200 of `tasks`.

    Raises `DataError` for what cannot be drawn.
    """

    stages: list[tuple[Mixture, int]]
    """Each a mixture and its rows, replayed ones among them."""
    replay: float | list[float] = 0.0
    """Share of each later stage that comes from the stages before it, which share it by their rows; or a list of one share a stage
    (the first is 0)."""

    def __post_init__(self):
        need(isinstance(self.stages, (list, tuple)), "Stages needs a list of (mixture, rows).",
             "Use Stages([(first, 4000), (second, 2000)]).")
        good = [isinstance(stage, (list, tuple)) and len(stage) == 2 and isinstance(stage[0], Mixture) for stage in self.stages]
        need(bool(good) and all(good), "A stage is not (mixture, rows).",
             "Use Stages([(first, 4000), (second, 2000)]).")
        self.stages = [(mixture, rows) for mixture, rows in self.stages]
        for number, (_, rows) in enumerate(self.stages, start=1):
            need(type(rows) is int and rows >= 1, f"Stage {number} has {rows!r} rows; it must be a whole number.", "Use 1000.")
        shares = self.replays()
        need(len(shares) == len(self.stages), f"replay has {len(shares)} shares for {len(self.stages)} stages.",
             "Give one a stage, the first 0.")
        need(all(is_number(share) and 0 <= share < 1 for share in shares),
             f"replay is {self.replay!r}; shares lie from 0 to below 1.", "Use replay=0.1.")
        need(shares[0] == 0, "The first stage has nothing before it to replay.", "Begin replay with 0.")
        self._sources()

    def replays(self) -> list[float]:
        """The share replayed in each stage."""
        return list(self.replay) if isinstance(self.replay, (list, tuple)) else [0.0] + [self.replay] * (len(self.stages) - 1)

    @property
    def rows(self) -> int:
        return sum(rows for _, rows in self.stages)

    def _sources(self) -> tuple[dict[str, Any], dict[str, int]]:
        """Every stage's sources and known counts by name. Raises `DataError` where a name stands for two different sources."""
        found, counts = {}, {}
        for mixture, _ in self.stages:
            for name, source in mixture.sources.items():
                plain = isinstance(source, (int, str)) and isinstance(found.get(name), (int, str))
                need(name not in found or (found[name] == source if plain else found[name] is source),
                     f"{name!r} is one source in one stage and another in a later one.", "Give them two names.")
                found[name] = source
            counts |= mixture.counts or {}
        return found, counts

    def mixtures(self) -> list[Mixture]:
        """The mixture that each stage draws, replay included, over the sources of all stages: hand-set weights, the exact rates."""
        found, counts = self._sources()
        shares = [mixture.shares() for mixture, _ in self.stages]
        out = []
        for number, replayed in enumerate(self.replays()):
            kept = Fraction(str(replayed))
            weights = dict.fromkeys(found, Fraction(0))
            for name, share in shares[number].items():
                weights[name] += (1 - kept) * share
            before = sum(rows for _, rows in self.stages[:number])
            for (_, rows), old in zip(self.stages[:number], shares, strict=False):
                for name, share in old.items():
                    weights[name] += kept * Fraction(rows, before) * share
            mixture = Mixture(found, rule="weights", weights=dict(weights), counts=counts or None)  # type: ignore[arg-type]
            for own, _ in self.stages:
                mixture._tables.update(own._tables)
            out.append(mixture)
        return out

    @property
    def rates(self) -> list[dict[str, float]]:
        """For each stage: name -> share of its examples, replay included."""
        return [mixture.rates for mixture in self.mixtures()]

    def epochs(self) -> dict[str, float | None]:
        """Name -> how often its rows are gone through in all stages together; None where its length is not known."""
        total: dict[str, float | None] = {}
        for mixture, (_, rows) in zip(self.mixtures(), self.stages, strict=True):
            for name, share in mixture.shares().items():
                size = mixture.rows_of(name)
                total[name] = None if size is None else total.get(name, Fraction(0)) + share * rows / size  # type: ignore[assignment]
        return {name: None if value is None else float(value) for name, value in total.items()}

    def position(self, rows: int, seed: int = 0) -> "Position":
        """Where the order stands after `rows` rows, to go on from with other mixtures."""
        return self._orders(rows, seed, 0)[-1].end

    def draw(self, n: int | None = None, seed: int = 0, start: int = 0) -> "datasets.Dataset | datasets.IterableDataset":
        """`n` rows (None: all that are left) after the first `start`, as `Mixture.draw` gives them."""
        need(type(start) is int and 0 <= start <= self.rows, f"start is {start!r}; the stages have {self.rows} rows.", "Use start=0.")
        n = self.rows - start if n is None else n
        need(type(n) is int and 0 <= n <= self.rows - start, f"There are {self.rows - start} rows after row {start}, not {n!r}.",
             "Draw fewer.")
        mixtures = self.mixtures()
        among = {name for mixture in mixtures for name, weight in mixture.whole_weights().items() if weight}
        return rows_of_orders(mixtures[0], self._orders(n, seed, start), among)

    def _orders(self, n: int, seed: int, start: int) -> list[Any]:
        orders: list[Any] = []
        position: Any = 0  # a seed's beginning, then where the last order ended
        begun = 0
        for mixture, (_, rows) in zip(self.mixtures(), self.stages, strict=True):
            skipped, end = min(max(start - begun, 0), rows), min(max(start + n - begun, 0), rows)
            if skipped:
                position = mixture.position(skipped, seed, position)
            if end > skipped or (not orders and begun + rows >= start + n):
                orders.append(mixture.order(end - skipped, seed, position))
                position = orders[-1].end
            begun += rows
        return orders

    def to_json(self) -> dict[str, Any]:
        """Plain values. Raises `DataError` where a source's rows are in memory."""
        return {"stages": [[mixture.to_json(), rows] for mixture, rows in self.stages],
                "replay": list(self.replay) if isinstance(self.replay, tuple) else self.replay}

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> "Stages":
        """What `to_json` wrote. Raises `DataError` for a field it does not know."""
        unknown = sorted(set(body) - {"stages", "replay"})
        need(not unknown, f"Stages has no field {next(iter(unknown), '')!r}.", "Its fields are stages and replay.")
        return cls([(Mixture.from_json(mixture), rows) for mixture, rows in body["stages"]], body.get("replay", 0.0))
