"""Ratings from votes: Bradley-Terry by maximum likelihood with bootstrap intervals, and Elo beside it; who wins by being shown first.

A vote is a row with `left`, `right` and `winner` ("left", "right" or "tie"), in a table of pandas,
Arrow or datasets, or a list of dicts. Ratings are on the
400-point scale: 400 points are odds of ten to one. Not here: where votes are kept (`preferences.py`), and how judges agree.
"""

import math
import numbers
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from workbench.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

SCALE = 400.0
"""Points for odds of ten to one."""
MEAN = 1000.0
WINNERS = {"left": 1.0, "right": 0.0, "tie": 0.5}
"""What the left one gets."""
MOST_STEPS = 100
"""Of Newton's method; five or six are usual."""
FLAT = 1e-12
"""A slope of the log-likelihood per game that counts as none."""


def bradley_terry(votes: Any, *, level: float = 0.95, samples: int = 200, seed: int = 0) -> "pd.DataFrame":
    """`model`, `rating`, `low`, `high`, highest rating first; the ratings' mean is 1000.

    P(left wins) = 1 / (1 + 10^((right - left) / 400)) (Bradley and Terry 1952), a tie being half a win for each; fitted by maximum
    likelihood. `low` and `high` are percentiles of `samples` fits to votes drawn anew with replacement (none with samples=0: they are NaN
    then). Raises `DataError` for votes that are none, and where the votes leave a rating without an end: some models never lost to, or
    never won against, the others (Ford 1957).
    """
    import numpy as np
    import pandas as pd

    _interval(level, samples, 0)
    names, rating, drawn = _fits(votes, samples, seed)
    low = high = np.full(len(names), np.nan)
    if samples:
        low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
    out = pd.DataFrame({"model": names, "rating": rating, "low": low, "high": high})
    return out.sort_values("rating", ascending=False, kind="stable", ignore_index=True)


def lead(votes: Any, *, level: float = 0.95, samples: int = 200, seed: int = 0) -> dict[str, Any]:
    """Whether the best is told from the next: {"first", "second", "points", "low", "high"}, the models with the two highest ratings of
    `bradley_terry`, the points between them, and their interval over the same draws of votes.

    Two intervals that overlap say less than this: the ratings of one draw move together. Raises `DataError` as `bradley_terry` does.
    """
    import numpy as np

    _interval(level, samples, 1)
    names, rating, drawn = _fits(votes, samples, seed)
    first, second = np.argsort(-rating, kind="stable")[:2]
    low, high = np.quantile(drawn[:, first] - drawn[:, second], [(1 - level) / 2, (1 + level) / 2])
    return {
        "first": names[first],
        "second": names[second],
        "points": float(rating[first] - rating[second]),
        "low": float(low),
        "high": float(high),
    }


def elo(votes: Any, k: float = 32, start: float = MEAN) -> "pd.DataFrame":
    """`model` and `rating` after the votes in their order, highest first: both move by k (score - expected), expected(left) = 1 / (1 +
    10^((right - left)/400)) (Elo 1978).

    Unlike `bradley_terry` it depends on the order of the votes. Raises `DataError` for votes that are none.
    """
    import pandas as pd

    for name, value, use in (("k", k, 32), ("start", start, MEAN)):
        if not isinstance(value, numbers.Real) or not math.isfinite(value):
            raise DataError(f"{name} is {value!r}, no finite number.", f"Use {name}={use:g}.")
    names, left, right, score = _read(votes)
    rating = [float(start)] * len(names)
    for one, other, won in zip(left.tolist(), right.tolist(), score.tolist(), strict=True):
        moved = k * (won - expected(rating[one], rating[other]))
        rating[one] += moved
        rating[other] -= moved
    return pd.DataFrame({"model": names, "rating": rating}).sort_values("rating", ascending=False, kind="stable", ignore_index=True)


def expected(one: float, other: float) -> float:
    """The share of wins that a rating of `one` gives against `other`."""
    return 1 / (1 + 10 ** ((other - one) / SCALE))


def position_bias(votes: Any) -> dict[str, float]:
    """Shares of all votes: {"left": won by the one shown first, "right": by the other, "tie": by neither}. Raises `DataError` for votes
    that are none."""
    _, _, _, score = _read(votes)
    return {name: float((score == points).mean()) for name, points in WINNERS.items()}


def _read(votes: Any) -> "tuple[list[str], np.ndarray, np.ndarray, np.ndarray]":
    """Names sorted, and of each vote the numbers of left and right and what left got."""
    import numpy as np

    found = []
    for number, row in enumerate(_rows(votes), start=1):
        if not isinstance(row, Mapping):
            raise DataError(f"Vote {number} is {row!r}.", "A vote is a row with left, right and winner.")
        missing = [name for name in ("left", "right", "winner") if name not in row]
        if missing:
            raise DataError(f"Vote {number} has no {missing[0]!r}.", "A vote has left, right and winner.")
        if not isinstance(row["winner"], str) or row["winner"] not in WINNERS:
            raise DataError(f"Vote {number} was won by {row['winner']!r}.", f"The winner is one of {', '.join(WINNERS)}.")
        for side in ("left", "right"):
            if row[side] is None or row[side] != row[side] or isinstance(row[side], (list, dict)):
                raise DataError(f"Vote {number} has {row[side]!r} for its {side} model.", "Name both models, or leave such votes out.")
        if str(row["left"]) == str(row["right"]):
            raise DataError(f"Vote {number} is {row['left']!r} against itself.", "Leave such votes out.")
        found.append((str(row["left"]), str(row["right"]), WINNERS[row["winner"]]))
    if not found:
        raise DataError("There are no votes.", "Give rows with left, right and winner.")
    names = sorted({name for one, other, _ in found for name in (one, other)})
    place = {name: number for number, name in enumerate(names)}
    left, right = (np.array([place[vote[side]] for vote in found]) for side in (0, 1))  # type: ignore[index]
    return names, left, right, np.array([vote[2] for vote in found])


def _rows(votes: Any) -> Iterable[Any]:
    if hasattr(votes, "to_pylist"):  # Arrow's table
        return votes.to_pylist()
    if hasattr(votes, "to_list") and hasattr(votes, "column_names"):  # a Dataset
        return votes.to_list()
    if hasattr(votes, "to_dict"):
        return votes.to_dict("records")
    if not isinstance(votes, Iterable) or isinstance(votes, (str, Mapping)):
        raise DataError(f"The votes are {type(votes).__name__}.", "Give a table, or a list of rows with left, right and winner.")
    return votes


def _interval(level: Any, samples: Any, fewest: int) -> None:
    if not isinstance(level, numbers.Real) or not 0 < level < 1:  # type: ignore[operator]
        raise DataError(f"The level is {level!r}; it must lie between 0 and 1.", "Use level=0.95.")
    if not isinstance(samples, numbers.Integral) or isinstance(samples, bool) or samples < fewest:
        raise DataError(f"samples is {samples!r}; it must be a whole number of at least {fewest}.", "Use samples=200.")


def _apart(wins: "np.ndarray") -> "list[int] | None":
    """A group that nobody outside ever won a point against; None where all hang together, so that the likelihood has its highest point."""
    from scipy.sparse.csgraph import connected_components

    count, group = connected_components(wins > 0, directed=True, connection="strong")
    if count == 1:
        return None
    for number in range(count):
        inside = group == number
        if not wins[~inside][:, inside].any():
            return [int(i) for i in inside.nonzero()[0]]
    raise AssertionError("among groups that are not one, some group is never beaten from outside")


def _fits(votes: Any, samples: int, seed: int) -> "tuple[list[str], np.ndarray, np.ndarray]":
    """Names, their ratings, and `samples` x names of ratings of votes drawn anew with replacement."""
    import numpy as np

    names, left, right, score = _read(votes)
    wins = np.zeros((len(names), len(names)))
    np.add.at(wins, (left, right), score)
    np.add.at(wins, (right, left), 1 - score)
    apart = _apart(wins)
    if apart is not None:
        above = ", ".join(names[i] for i in apart[:4]) + (" and others" if len(apart) > 4 else "")
        raise DataError(
            f"No rating fits these votes: none of the others ever won against {above}, or was ever compared with them.",
            "Often there are just too few votes yet: add some between them and the others, or rate the groups by themselves.",
        )
    fitted = _fitted(wins[None])[0]
    generator, draws = np.random.default_rng(seed), np.zeros((samples, *wins.shape))
    cells, counts = np.unique(np.stack([left, right, 2 * score]), axis=1, return_counts=True)
    first, second, points = cells[0].astype(int), cells[1].astype(int), cells[2] / 2
    for some, again in zip(draws, generator.multinomial(counts.sum(), counts / counts.sum(), size=samples), strict=True):
        np.add.at(some, (first, second), again * points)
        np.add.at(some, (second, first), again * (1 - points))
        if _apart(some) is not None:
            # a draw that separates them has no fit: half a vote more for each pair that was compared keeps it finite, and wide
            some += 0.5 * ((wins + wins.T) > 0)
    points_each = SCALE / np.log(10)
    return names, fitted * points_each + MEAN, _fitted(draws) * points_each + MEAN


def _fitted(wins: "np.ndarray") -> "np.ndarray":
    """S x n strengths of the highest likelihood, in nats and 0 on average; `wins[s, i, j]` is what i got from j in table s.

    Newton's method for all S tables together, each step halved until the likelihood is no lower: the likelihood is concave, and its second
    derivative, a weighted Laplacian, has but the constant in its null space. scipy's minimize fits one table a call, and where BLAS has threads
    of its own, 200 such calls took six seconds for four models.
    """
    import numpy as np
    from scipy.special import expit

    games, many = wins + wins.transpose(0, 2, 1), wins.shape[1]

    def likelihood(at: "np.ndarray") -> "np.ndarray":
        return -(wins * np.logaddexp(0, at[:, None] - at[:, :, None])).sum((1, 2))

    strength = np.zeros(wins.shape[:2])
    reached = likelihood(strength)
    for _ in range(MOST_STEPS):
        won = expit(strength[:, :, None] - strength[:, None])
        slope = (wins - games * won).sum(2)
        if (np.abs(slope) <= FLAT * (1 + games.sum((1, 2)))[:, None]).all():
            break
        weights = games * won * (1 - won)
        laplacian = np.eye(many) * weights.sum(2)[:, :, None] - weights + 1 / many  # the constant's own direction made regular
        step, share = np.linalg.solve(laplacian, slope[:, :, None])[:, :, 0], np.ones(len(wins))
        for _ in range(MOST_STEPS):
            tried = likelihood(strength + share[:, None] * step)
            worse = tried < reached
            if not worse.any():
                break
            share[worse] /= 2
        better = tried >= reached
        strength, reached = np.where(better[:, None], strength + share[:, None] * step, strength), np.where(better, tried, reached)
    return strength - strength.mean(1, keepdims=True)
