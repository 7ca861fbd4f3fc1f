"""What the gaps of pairs say of a reward: whether it is sure with reason, whether it goes by length, which verdicts look turned round.

A table of gaps has a line for each pair: `gap` (the reward of the reply that people chose less that of the other: below 0 the model
disagrees with them), and for the bias `chosen_length` and `rejected_length`. A reward model's and DPO's implicit rewards make the same
table. Not here: how it is made (`evaluation/rewards.py`), and who is wrong where model and people disagree: a person looks.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

LONGER, SHORTER = 0.25, -0.6
"""Rank correlations with length beyond which a reward goes by length, whatever people chose. They are not alike: that longer replies are
liked for being long is what people and models do (Singhal et al. 2023), while rambling is a fault, and what is learned first of it is that
shorter replies are better. On the town's pairs a reward learned from fair judges has -0.2 to -0.55, the more so the less it has learned;
from judges who add 0.5 to the score for every ten words, +0.5 to +0.6."""
BEYOND = 0.15
"""How much more often (or less) than people chose it the longer reply may have the higher reward, as a share of the pairs."""
SAMPLES, SEED = 1000, 0
"""Of the bootstrap."""
FEWEST = 20
"""Pairs below which nothing is said of a bias."""


def calibration(gaps: "pd.DataFrame", bins: int = 10) -> "pd.DataFrame":
    """How sure the model is of the reply it prefers, against how often people chose that one: a line for each bin of equal width from 0.5
    to 1 that holds a pair: low, high, pairs, predicted (mean of sigmoid(|gap|), Bradley-Terry), observed (share that people chose; a
    gap of 0 counts a half), observed_low and observed_high (Wilson's 95 % interval).

    `.attrs["error"]` is the expected calibration error: the mean distance of the two, weighed by pairs (Guo et al. 2017, arXiv 1706.04599,
    eq. 3).
    """
    import numpy as np
    import pandas as pd
    import scipy.special

    values = _values(gaps)
    if bins < 1:
        raise DataError(f"There are no {bins} bins.", "Use bins=10.")
    sure, right = scipy.special.expit(np.abs(values)), (values > 0) + 0.5 * (values == 0)
    edges = np.linspace(0.5, 1, bins + 1)
    place = np.clip(np.searchsorted(edges, sure, side="right") - 1, 0, bins - 1)
    lines = []
    for number in range(bins):
        inside = place == number
        if inside.any():
            low, high = _wilson(right[inside].sum(), int(inside.sum()))
            lines.append(dict(low=edges[number], high=edges[number + 1], pairs=int(inside.sum()), predicted=sure[inside].mean(),
                              observed=right[inside].mean(), observed_low=low, observed_high=high))
    out = pd.DataFrame(lines)
    out.attrs["error"] = float((out["pairs"] * (out["predicted"] - out["observed"]).abs()).sum() / len(values))
    return out


def _wilson(right: float, count: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's interval of a share (1927)."""
    share, more = right / count, z * z / count
    middle, half = (share + more / 2) / (1 + more), z * (share * (1 - share) / count + more / (4 * count)) ** 0.5 / (1 + more)
    return middle - half, middle + half


@dataclass(frozen=True, slots=True)
class LengthBias:
    """What length has to do with the reward. Shares are of the pairs whose replies differ in length."""

    correlation: float
    """Spearman's rank correlation of gap and difference in words, each pair taken in both orders."""
    interval: tuple[float, float]
    """Its 95 % bootstrap interval."""
    longer_preferred: float
    """Share in which the longer reply has the higher reward."""
    longer_chosen: float
    """Share in which people chose the longer one."""
    beyond: tuple[float, float]
    """95 % bootstrap interval of longer_preferred - longer_chosen."""
    per_ten_words: float
    """Reward for ten words more, by least squares through the origin."""
    pairs: int
    biased: bool
    """Whether the interval of the correlation lies above LONGER or below SHORTER, or that of the shares' difference beyond ±BEYOND."""
    sentence: str


def length_bias(gaps: "pd.DataFrame") -> LengthBias:
    """Whether the reward goes by length (Singhal et al. 2023, arXiv 2310.03716): by a rank correlation that is large, or by more than
    people did. What people chose is itself no proof of fairness, so a large liking of length counts even where they share it.

    Raises `DataError` for fewer than `FEWEST` pairs of different length, and for gaps or lengths that are no finite numbers.
    """
    import numpy as np
    import scipy.stats

    values, apart = _values(gaps), _column(gaps, "chosen_length") - _column(gaps, "rejected_length")
    values, apart = values[apart != 0], apart[apart != 0]
    if len(values) < FEWEST:
        raise DataError(f"Only {len(values)} pairs have replies of different length, too few to tell a bias.", f"Give at least {FEWEST}.")

    def ranks(x: np.ndarray) -> np.ndarray:
        both = scipy.stats.rankdata(np.concatenate([x, -x]))
        return both[:len(x)] - both.mean()

    a, b, signs = ranks(values), ranks(apart), np.sign(apart)
    preferred, chosen = 0.5 + 0.5 * np.sign(values) * signs, 0.5 + 0.5 * signs
    counts = np.random.default_rng(SEED).multinomial(len(a), np.full(len(a), 1 / len(a)), SAMPLES)
    drawn = (counts @ (a * b)) / np.sqrt((counts @ (a * a)) * (counts @ (b * b)) + 1e-300)
    interval = tuple(np.quantile(drawn, (0.025, 0.975)).tolist())
    beyond = tuple(np.quantile(counts @ (preferred - chosen) / len(a), (0.025, 0.975)).tolist())
    correlation = float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum() + 1e-300))
    longer = interval[0] > LONGER or beyond[0] > BEYOND
    shorter = interval[1] < SHORTER or beyond[1] < -BEYOND
    told = (f"the longer reply has the higher reward in {100 * preferred.mean():.0f} % of {len(a):,} pairs, and people chose it in "
            f"{100 * chosen.mean():.0f} % (rank correlation with length {correlation:+.2f}, 95 % interval {interval[0]:+.2f} to "
            f"{interval[1]:+.2f}).").replace("-", "\N{MINUS SIGN}")
    tends = "Longer" if interval[0] > 0 else "Shorter" if interval[1] < 0 else ""
    opening = ("It likes longer replies" if longer else "It likes shorter replies" if shorter else
               f"{tends} replies tend to earn more, no more so than fair judges make them" if tends else "No length bias shows")
    return LengthBias(correlation, interval, float(preferred.mean()), float(chosen.mean()), beyond,
                      float(10 * (values * apart).sum() / (apart * apart).sum()), len(a), bool(longer or shorter), f"{opening}: {told}")


def suspicious(gaps: "pd.DataFrame", share: float = 0.1) -> "pd.DataFrame":
    """The lines of lowest gap, lowest first, as many as `share` of all (at least one): where a verdict was turned round, it is among these,
    and so is what the model has not learned."""
    if not 0 < share <= 1:
        raise DataError(f"The share is {share!r}; it must lie above 0 and not above 1.", "Use share=0.1.")
    _values(gaps)
    return gaps.sort_values("gap", kind="stable").head(max(1, round(share * len(gaps))))


def _values(gaps: "pd.DataFrame") -> "np.ndarray":
    """Raises `DataError` where there are no gaps, or some that are no finite numbers."""
    if "gap" not in gaps or not len(gaps):
        raise DataError("There are no gaps in this table.", "Give what reward_gaps returned.")
    return _column(gaps, "gap")


def _column(gaps: "pd.DataFrame", name: str) -> "np.ndarray":
    import numpy as np

    if name not in gaps:
        raise DataError(f"This table of gaps has no {name!r}.", "Give what reward_gaps returned.")
    try:
        values = gaps[name].to_numpy(float)
    except (TypeError, ValueError):
        raise DataError(f"The column {name!r} holds what is no number.", "Give what reward_gaps returned.") from None
    odd = int((~np.isfinite(values)).sum())
    if odd:
        raise DataError(f"{odd:,} of {len(values):,} pairs have a {name} that is no finite number.",
                        "Look for a model that gives NaN; leave those lines out to judge the others.")
    return values
