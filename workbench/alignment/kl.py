"""How far a policy has gone from its reference: estimators of the KL, the controller that keeps it near a target, and the laws of over-optimisation.

KL(q‖p) in nats, q the policy, p the reference, x drawn from q, r = p(x)/q(x). Arrays of numpy and tensors of torch alike; torch is not imported here. Not here: sampling,
rewards, and the training that uses them.
"""

import math
import numbers
from dataclasses import dataclass
from typing import Any, NamedTuple

from workbench.errors import WorkbenchError


class KL(NamedTuple):
    """Estimates of KL(q‖p) for each sample, in nats, of the shape of what they were made from (Schulman 2020, "Approximating KL Divergence")."""

    k1: Any
    """-log r: unbiased, negative for half of the samples."""
    k2: Any
    """(log r)² / 2: never negative, a little biased, of low variance."""
    k3: Any
    """(r - 1) - log r: unbiased and never negative."""


def kl_estimates(logp: Any, logp_reference: Any) -> KL:
    """k1, k2, k3 for each token, from its log-probability under the policy that drew it and under the reference (arrays or tensors of one shape, nats)."""
    log_r = logp_reference - logp
    expm1 = log_r.expm1() if hasattr(log_r, "expm1") else _numpy().expm1(log_r)  # exact where the two nearly agree
    return KL(-log_r, log_r * log_r / 2, expm1 - log_r)


def _numpy() -> Any:
    import numpy

    return numpy


@dataclass(slots=True)
class AdaptiveKL:
    """A β that keeps the KL near `target` nats: after each batch β ← β (1 + 0.1 e), e = clip(KL / target - 1, -0.2, 0.2) (Ziegler et al. 2019, section 2.2).

    Raises `WorkbenchError` for a β or target that is not above 0.
    """

    beta: float
    target: float

    gain = 0.1
    most = 0.2

    def __post_init__(self) -> None:
        for name in ("beta", "target"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, numbers.Real) or not (math.isfinite(value) and value > 0):  # type: ignore[operator]
                raise WorkbenchError(f"{name} is {value!r}; it must be a number above 0.", "Use AdaptiveKL(beta=0.2, target=6).")

    def update(self, kl: float) -> float:
        """The β for the next batch, after one whose mean KL was `kl` nats a sequence. A KL that is NaN leaves β as it is."""
        if not math.isnan(kl):
            error = min(max(kl / self.target - 1, -self.most), self.most)
            self.beta *= 1 + self.gain * error
        return self.beta


def best_of_n_kl(n: int) -> float:
    """log n - (n - 1)/n nats: the KL of the best of n replies to one drawn at random, at most (Stiennon et al. 2020, appendix G.3). Raises `WorkbenchError` below 1."""
    if isinstance(n, bool) or not isinstance(n, numbers.Integral) or n < 1:
        raise WorkbenchError(f"The best of {n!r} replies cannot be had.", "Use n=16.")
    return math.log(n) - (n - 1) / n


def gold_of_best_of_n(distance: Any, alpha: float, beta: float) -> Any:
    """The gold reward gained at d = √KL by taking the best of n: d (α - β d), highest at d = α / 2β (Gao et al. 2022, "Scaling Laws for Reward Model Overoptimization", eq. 1)."""
    return distance * (alpha - beta * distance)


def gold_of_rl(distance: Any, alpha: float, beta: float) -> Any:
    """The gold reward gained at d = √KL > 0 by reinforcement learning: d (α - β log d), highest at d = exp(α / β - 1) (Gao et al. 2022, eq. 1)."""
    log = distance.log() if hasattr(distance, "log") else _numpy().log(distance)
    return distance * (alpha - beta * log)
