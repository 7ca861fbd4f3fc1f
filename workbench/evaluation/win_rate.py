"""Win rates: how often one model's reply is better than another's to the same prompt, a tie being half, with an interval over the prompts.

Not here: who says which reply is better. Shapes: S seeds (or judges), N prompts.
"""

from typing import Any, NamedTuple

import numpy as np

DRAWS = 2000
"""Samples of prompts that an interval is read from."""
NEAR = 1e-9
"""Scores that differ by no more are a tie."""


class Share(NamedTuple):
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.mean:.1f} % ({100 * self.low:.1f} to {100 * self.high:.1f})"


def points(scores: Any, others: Any) -> np.ndarray:
    """1 where a score is higher than the other's to the same prompt, a half where they tie, 0 where it is lower; of the shape of both."""
    scores, others = np.asarray(scores, float), np.asarray(others, float)
    if scores.shape != others.shape:
        raise ValueError(f"Scores are compared prompt by prompt: {scores.shape} and {others.shape} are not of one shape.")
    gap = scores - others
    return np.where(np.abs(gap) <= NEAR, 0.5, (gap > 0).astype(float))


def share(each: Any, seed: int = 0) -> Share:
    """The mean of S x N (or N) points and its interval: the percentile bootstrap over prompts (Efron 1979) of each prompt's mean over the
    seeds. So the interval says how far the prompts that happened to be asked matter; the seeds' own spread is beside it in a table."""
    by_prompt = np.atleast_2d(np.asarray(each, float)).mean(0)
    drawn = np.random.default_rng(seed).integers(len(by_prompt), size=(DRAWS, len(by_prompt)))
    low, high = np.quantile(by_prompt[drawn].mean(1), [0.025, 0.975])
    return Share(float(by_prompt.mean()), float(low), float(high))
