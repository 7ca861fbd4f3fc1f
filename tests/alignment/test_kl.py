"""KL estimators against two Gaussians whose KL is known, the controller against hand computation, and the laws of over-optimisation at their peaks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from workbench.alignment import AdaptiveKL, kl_estimates
from workbench.alignment.kl import best_of_n_kl, gold_of_best_of_n, gold_of_rl
from workbench.errors import WorkbenchError


def gaussians(shift: float, count: int = 4_000_000) -> tuple[np.ndarray, np.ndarray]:
    """log q and log p at draws from q = N(0, 1), p = N(shift, 1): KL(q‖p) = shift² / 2."""
    x = np.random.default_rng(0).standard_normal(count)
    return -x**2 / 2, -(x - shift) ** 2 / 2


def spreads(shift: float) -> tuple[float, float, float]:
    """Standard deviation over KL of k1, k2, k3 by hand: log r is N(-shift²/2, shift²) of scale shift, so k2 is shift² z²/2 with z ~ N(shift/2, 1), and Var k3 = e^(shift²) - 1 - shift²."""
    kl, mean = shift**2 / 2, shift / 2
    moments = 1 + mean**2, 3 + 6 * mean**2 + mean**4
    return 2 / shift, shift**2 / 2 * math.sqrt(moments[1] - moments[0] ** 2) / kl, math.sqrt(math.exp(shift**2) - 1 - shift**2) / kl


def test_the_spreads_by_hand_are_the_published_ones():
    """Schulman 2020, for N(0, 1) against N(0.1, 1)."""
    assert spreads(0.1) == pytest.approx((20.0, 1.4177, 1.4166), abs=5e-4)


@pytest.mark.parametrize("shift", [0.1, 1.0])
def test_estimators_have_the_bias_and_spread_they_are_known_for(shift):
    kl = shift**2 / 2
    estimates = kl_estimates(*gaussians(shift))
    assert estimates.k1.mean() == pytest.approx(kl, abs=6 * shift / 2000) and estimates.k3.mean() == pytest.approx(kl, rel=0.01)
    assert estimates.k2.mean() == pytest.approx(kl * (1 + shift**2 / 4), rel=0.005)
    assert (estimates.k2 >= 0).all() and (estimates.k3 >= 0).all() and (estimates.k1 < 0).mean() == pytest.approx(0.5 - math.erf(shift / 2 / math.sqrt(2)) / 2, abs=0.001)
    for found, expected in zip(estimates, spreads(shift), strict=True):
        assert found.std() / kl == pytest.approx(expected, rel=0.01)


def test_tensors_are_as_arrays_and_tiny_differences_are_not_lost():
    logp, reference = np.array([-1.0, -2.0, -3.0]), np.array([-1.0 - 1e-9, -2.5, -1.0])
    ours, theirs = kl_estimates(logp, reference), kl_estimates(torch.tensor(logp), torch.tensor(reference))
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other.numpy(), rtol=1e-12, atol=0)
    assert ours.k1.tolist() == pytest.approx([1e-9, 0.5, -2.0], rel=1e-6) and ours.k2.tolist() == pytest.approx([5e-19, 0.125, 2.0], rel=1e-6)
    assert ours.k3[1:].tolist() == pytest.approx([math.exp(-0.5) - 1 + 0.5, math.exp(2) - 1 - 2]) and ours.k3[0] >= 0


@pytest.mark.parametrize(("beta", "target", "kl", "after"), [(0.2, 6, 12, 0.204), (0.2, 6, 3, 0.196), (0.2, 6, 6.6, 0.202), (1.0, 2, 2, 1.0), (0.1, 5, 0, 0.098),
                                                         (np.float32(0.5), np.float32(2), math.inf, 0.51)])
def test_the_controller(beta, target, kl, after):
    """The first two from the paper's rule as it is quoted; the third by hand: e = 0.1, so 0.2 · 1.01."""
    controller = AdaptiveKL(beta, target)
    assert controller.update(kl) == pytest.approx(after) == controller.beta


def test_a_controller_holds_a_kl_that_falls_as_beta_rises_near_its_target():
    controller = AdaptiveKL(0.01, 4.0)
    for _ in range(3000):
        kl = 1 / controller.beta
        controller.update(kl)
    assert kl == pytest.approx(4.0, rel=0.02)
    before = controller.beta
    assert controller.update(math.nan) == before


@pytest.mark.parametrize("wrong", [dict(beta=0, target=6), dict(beta=0.2, target=-1), dict(beta=math.nan, target=1), dict(beta="a", target=1), dict(beta=True, target=1)])
def test_what_can_control_nothing_is_refused(wrong):
    with pytest.raises(WorkbenchError, match="must be a number above 0"):
        AdaptiveKL(**wrong)


def test_best_of_n():
    assert best_of_n_kl(1) == 0 and best_of_n_kl(np.int64(16)) == best_of_n_kl(16) and best_of_n_kl(16) == pytest.approx(1.8351, abs=5e-5)
    uniform = np.random.default_rng(1).random((200_000, 8)).max(1)  # its density is 8 x^7, against 1
    assert np.log(8 * uniform**7).mean() == pytest.approx(best_of_n_kl(8), abs=0.01)
    with pytest.raises(WorkbenchError):
        best_of_n_kl(0)


def test_gold_is_highest_where_the_law_says():
    d = np.linspace(0.01, 30, 300_000)
    alpha, beta = 1.3, 0.4
    assert d[gold_of_best_of_n(d, alpha, beta).argmax()] == pytest.approx(alpha / (2 * beta), abs=1e-3)
    assert d[gold_of_rl(d, alpha, beta).argmax()] == pytest.approx(math.exp(alpha / beta - 1), abs=1e-3)
    assert gold_of_rl(torch.tensor(2.0), alpha, beta).item() == pytest.approx(2 * (alpha - beta * math.log(2)))
