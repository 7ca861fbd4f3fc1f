"""The order in which a mixture's rows come: which source is next, and which of its rows.

Which source: each asks for its m-th row (m = 0, 1, ...) between slot floor(m/r) and slot ceil((m+1)/r), r its rate, and of those that may
come the one that must come first is taken (earliest deadline first). Since the rates sum to 1 such an order exists (Tijdeman 1980, "The
chairman assignment problem"; Baruah et al. 1996, "Proportionate progress"), so after any number of rows t a source has given floor(r t) or
ceil(r t) of them. seqio and `datasets.interleave_datasets` throw dice for each row and are off by the square root of t.
Which row: a fresh permutation for each epoch of a source, computed where it is looked at (a Feistel network on digits of base sqrt(rows),
as in Black and Rogaway 2002, "Ciphers with arbitrary finite domains"), so ten million rows are never shuffled in memory.

Everything is a function of the seed, the rates, and each source's name and size: not of processes, batches or the order of the names; which
rows of a source come first does not depend on the other sources either.
Not here: rates (`mixture.py`), rows themselves, chance between sources beyond ties (with rates of 1/2, 1/4, 1/4 every second row is of the
first source).
"""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from heapq import heapify, heappop, heappush, heappushpop
from typing import Any

import numpy as np

from workbench.errors import DataError

GRID = 2**36
"""Rates are whole multiples of 1/W, W at most this: those of whole numbers are exact, those of a temperature are off
by at most 1.5e-11, and the largest by that times the number of sources."""
MOST_ROWS = 2**26
"""Rows of one draw between two changes of the rates: (rows x W) stays inside 64 bits."""
MOST_SOURCES = 2**11
BLOCK = 2**16
"""Slots decided at a time, which bounds the memory."""
SMALL = 4096
"""Sources up to this many rows are shuffled by sorting random keys, which is uniform at any size; a Feistel network on a few
rows is not."""
ROUNDS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where an order stands: enough to go on from there at once, with the same rates or with others."""

    seed: int
    rows: int
    """Rows drawn so far."""
    taken: dict[str, int]
    """Rows taken of each source so far; taken // rows of the source is its epoch."""
    since: int
    """Rows drawn since the rates last changed."""
    before: dict[str, int]
    """Rows taken of each source when the rates last changed."""
    weights: dict[str, int]
    """The rates in force, as whole numbers."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> "Position":
        return cls(**body)


@dataclass(frozen=True, slots=True)
class Order:
    """The rows of a draw, as numbers, each array of shape n: `source` (int16) counts in `names`, `item` (int64) is how many of that source
    came before, `row` (int64) is the row of that source, or -1 where it has no length and gives its rows as they come. `end` is the
    position after the last one."""

    names: tuple[str, ...]
    source: np.ndarray
    item: np.ndarray
    row: np.ndarray
    end: Position


def whole_weights(shares: dict[str, Fraction]) -> dict[str, int]:
    """Whole numbers in proportion to `shares` (not all 0), exact where their sum stays within `GRID`. A positive share stays positive."""
    common = math.lcm(*(share.denominator for share in shares.values()))
    whole = {name: share.numerator * (common // share.denominator) for name, share in shares.items()}
    total, divisor = sum(whole.values()), math.gcd(*whole.values())
    if total // divisor <= GRID:
        return {name: number // divisor for name, number in whole.items()}
    weights = {name: max(1, number * GRID // total) if number else 0 for name, number in whole.items()}
    largest = max(weights, key=weights.__getitem__)
    weights[largest] += GRID - sum(weights.values())
    return weights


def begin(weights: dict[str, int], seed: int, start: int | Position) -> Position:
    """The position to draw from: after `start` rows of these rates, or where another draw stood, under these rates from there on.

    An int costs what the rows it skips cost (less where the rates repeat sooner); a `Position` costs nothing.
    """
    if isinstance(start, Position):
        if start.seed != seed:
            raise DataError(f"The position was taken with seed {start.seed}, and this draw has seed {seed}.", f"Use seed={start.seed}.")
        taken = {name: 0 for name in weights} | start.taken
        if {n: w for n, w in weights.items() if w} == {n: w for n, w in start.weights.items() if w}:
            return Position(seed=seed, rows=start.rows, taken=taken, since=start.since, before={n: 0 for n in weights} | start.before,
                            weights=weights)
        return Position(seed=seed, rows=start.rows, taken=taken, since=0, before=taken, weights=weights)
    nothing = dict.fromkeys(weights, 0)
    periods, rest = divmod(start, sum(weights.values()))  # after a whole period every source has exactly its share
    jumped = {name: periods * weight for name, weight in weights.items()}
    here = Position(seed=seed, rows=start - rest, taken=jumped, since=start - rest, before=nothing, weights=weights)
    return advance(here, rest)


def advance(position: Position, rows: int) -> Position:
    """Where the order stands `rows` rows after `position`. Raises `DataError` above `MOST_ROWS`."""
    end = position
    for _, end in _blocks(position, rows):  # noqa: B007 - the last one is wanted
        pass
    return end


def order(position: Position, rows: int, sizes: dict[str, int | None]) -> Order:
    """The next `rows` rows after `position`. `sizes` are the sources' rows (None where unknown), in the order that `Order.source` counts.

    Raises `DataError` above `MOST_ROWS`."""
    names = tuple(sizes)
    blocks, end = [np.empty(0, np.int16)], position
    for block, end in _blocks(position, rows):  # noqa: B007 - the last one goes with the order
        blocks.append(block)
    place = np.array([names.index(name) for name in sorted(position.weights)], np.int16)
    source = place[np.concatenate(blocks)]
    item, row = np.empty(rows, np.int64), np.full(rows, -1, np.int64)
    by_source = np.argsort(source, kind="stable")
    ends = np.cumsum(np.bincount(source, minlength=len(names)))
    for name, first, last in zip(names, [0, *ends[:-1]], ends, strict=True):
        if first == last:
            continue
        places = by_source[first:last]
        numbers = np.arange(position.taken[name], position.taken[name] + last - first)
        item[places] = numbers
        if sizes[name] is not None:
            row[places] = permuted(numbers, sizes[name], _key(position.seed, name))
    return Order(names, source, item, row, end)


def _blocks(position: Position, rows: int) -> Iterator[tuple[np.ndarray, Position]]:
    """At most `BLOCK` slots at a time: which of `position.weights` comes (int16), and the position after them."""
    if position.since % sum(position.weights.values()) + rows > MOST_ROWS:
        raise DataError(f"{rows} rows are more than one draw can order.", f"Draw at most {MOST_ROWS} rows.")
    names, total = sorted(position.weights), sum(position.weights.values())
    weights = np.array([position.weights[name] for name in names], np.int64)
    keys = np.array([_key(position.seed, name) for name in names], np.uint64)
    before, taken = (np.array([which.get(name, 0) for name in names], np.int64) for which in (position.before, position.taken))
    while rows > 0:
        slots = min(rows, BLOCK)
        periods = position.since // total
        # the same windows come again in every period, so all arithmetic is done in the first one
        given = taken - before - periods * weights
        block = _earliest_deadline(weights, total, position.since - periods * total, slots, given, taken, keys)
        taken = taken + np.bincount(block, minlength=len(names))
        position = replace(position, rows=position.rows + slots, since=position.since + slots,
                           taken=position.taken | dict(zip(names, taken.tolist(), strict=True)))
        rows -= slots
        yield block, position


def _earliest_deadline(weights: np.ndarray, total: int, begun: int, slots: int, given: np.ndarray, taken: np.ndarray,
                       keys: np.ndarray) -> np.ndarray:
    """Which source comes in each of `slots` slots from slot `begun` on, `given` (int64, one a source) having been given since slot 0.

    A request is one number, so that comparing two is one comparison: deadline, then a random tie, then the source.
    """
    until = -(-(begun + slots) * weights // total)
    many = np.maximum(until - given, 0)
    which = np.repeat(np.arange(len(weights)), many)
    nth = np.arange(many.sum()) - np.repeat(np.cumsum(many) - many, many)
    number, weight = np.repeat(given, many) + nth, weights[which]
    release = np.maximum(number * total // weight - begun, 0)
    deadline = -(-(number + 1) * total // weight) - begun
    tie = _mixed(keys[which] ^ (np.repeat(taken, many) + nth).astype(np.uint64)) >> np.uint64(52)
    request = (deadline << 23) | (tie.astype(np.int64) << 11) | which
    waiting = request[np.argsort(release, kind="stable")].tolist()
    ripe = np.bincount(release, minlength=slots).tolist()
    heap = waiting[:ripe[0]]
    heapify(heap)
    coming, chosen = iter(waiting[ripe[0]:]), [heappop(heap)]
    for new in ripe[1:slots]:
        if new == 1:
            chosen.append(heappushpop(heap, next(coming)))
        else:
            for _ in range(new):
                heappush(heap, next(coming))
            chosen.append(heappop(heap))
    return (np.array(chosen, np.int64) & (MOST_SOURCES - 1)).astype(np.int16)


def permuted(numbers: np.ndarray, rows: int, key: int) -> np.ndarray:
    """The row (int64, 0 to rows - 1) that each of the `numbers`-th draws from a source of `rows` rows takes.

    Every row comes once in each epoch of `rows` draws. `numbers` cost memory between their first and last epoch where `rows` is small.
    """
    epoch, place = np.divmod(numbers, rows)
    if rows <= SMALL:
        first, last = int(epoch.min()), int(epoch.max())
        salts = _mixed(np.uint64(key) ^ _mixed(np.arange(first, last + 1, dtype=np.uint64)))
        shuffled = np.argsort(_mixed(salts[:, None] ^ _mixed(np.arange(rows, dtype=np.uint64))), axis=1, kind="stable")
        return shuffled[epoch - first, place]
    low = math.isqrt(rows - 1) + 1
    high = -(-rows // low)
    salt, out = _mixed(np.uint64(key) ^ _mixed(epoch.astype(np.uint64))), place.astype(np.uint64)
    outside = np.arange(len(numbers))
    while len(outside):  # at most one in sqrt(rows) falls beyond the last row; it is sent round again until it does not
        out[outside] = _feistel(out[outside], low, high, salt[outside])
        outside = outside[out[outside] >= np.uint64(rows)]
    return out.astype(np.int64)


def _feistel(place: np.ndarray, low: int, high: int, salt: np.ndarray) -> np.ndarray:
    """A permutation of 0 to low x high - 1, each half moved round by a hash of the other, six times in turn."""
    upper, lower = np.divmod(place, np.uint64(low))
    for turn in range(ROUNDS):
        salt = salt + np.uint64(0x9E3779B97F4A7C15)
        if turn % 2:
            upper = _turned(upper, _mixed(salt ^ lower), high)
        else:
            lower = _turned(lower, _mixed(salt ^ upper), low)
    return upper * np.uint64(low) + lower


def _turned(half: np.ndarray, noise: np.ndarray, base: int) -> np.ndarray:
    moved = half + ((noise >> np.uint64(32)) * np.uint64(base) >> np.uint64(32))
    return np.where(moved >= base, moved - np.uint64(base), moved)


def _mixed(value: Any) -> Any:
    """64 well-mixed bits of each 64 (Stafford's "Mix13", the finish of splitmix64), the same on every machine and with every numpy."""
    value = np.atleast_1d(np.asarray(value, np.uint64)) + np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def _key(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8, key=str(seed).encode()[:64]).digest(), "little")
