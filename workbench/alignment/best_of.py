"""The law of the best of n: which outcome is kept how often, and how far that is from the distribution it was drawn from.

For outcomes of known probability, or for draws, each counted alike; nothing is drawn here. The bound that holds whatever the outcomes
are is `kl.best_of_n_kl`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    import numpy as np


def kept_shares(rewards: Sequence[float], n: int, shares: Sequence[float] | None = None) -> "np.ndarray":
    """How often each of K outcomes is the best of n drawn independently, ties broken by chance: with F(r) the share of outcomes of reward
    at most r, an outcome of share p and reward r is kept with probability p / P(r) (F(r)^n - F(r-)^n). `shares` None takes all alike.
    Raises `WorkbenchError` for no outcomes, rewards that are no numbers, and shares that are no law."""
    import numpy as np

    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise WorkbenchError(f"The best of {n!r} replies cannot be had.", "Use n=16.")
    values, share = _law(rewards, shares)
    _, group = np.unique(values, return_inverse=True)
    mass = np.bincount(group, share)
    upto = np.minimum(np.cumsum(mass), 1.0)
    best = upto**n - np.concatenate([[0.0], upto[:-1]]) ** n
    return np.divide(share * best[group], mass[group], out=np.zeros_like(share), where=mass[group] > 0)


def kept_kl(rewards: Sequence[float], n: int, shares: Sequence[float] | None = None) -> float:
    """KL in nats of what is kept to what it was drawn from; at most `kl.best_of_n_kl(n)`, and below it where outcomes are few or tie
    (Beirami et al. 2024, arXiv 2401.01879)."""
    import numpy as np

    _, share = _law(rewards, shares)
    kept = kept_shares(rewards, n, shares)
    some = kept > 0
    return float((kept[some] * np.log(kept[some] / share[some])).sum())


def _law(rewards: Sequence[float], shares: Sequence[float] | None) -> "tuple[np.ndarray, np.ndarray]":
    """Rewards and shares [K]."""
    import numpy as np

    try:
        values = np.asarray(rewards, float)
        share = np.full(values.shape, 1 / max(values.size, 1)) if shares is None else np.asarray(shares, float)
    except (TypeError, ValueError):
        raise WorkbenchError("The rewards or shares hold what is no number.", "Give a list of numbers for each.") from None
    if values.ndim != 1 or not values.size or np.isnan(values).any():
        raise WorkbenchError("There are no rewards, or some that are no number.", "Give a reward for each outcome.")
    if share.shape != values.shape or not (share >= 0).all() or abs(share.sum() - 1) > 1e-6:
        raise WorkbenchError("The shares are no law of the outcomes.", "Give one of at least 0 for each outcome, 1 together.")
    return values, share
