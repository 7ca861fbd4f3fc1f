"""PPO's arithmetic against sums done by hand: two replies, of three tokens and of one."""

from __future__ import annotations

import math

import pytest
import torch

from workbench.alignment import advantages

MASK = torch.tensor([[True, True, True], [True, False, False]])
REWARDS = torch.tensor([[0.0, 0.0, 1.0], [2.0, 0.0, 0.0]])
VALUES = torch.tensor([[0.5, 0.25, 0.75], [1.0, 9.0, 9.0]])


def close(found: torch.Tensor, wanted: list) -> bool:
    return torch.allclose(found, torch.tensor(wanted, dtype=torch.float32), atol=1e-6)


def test_the_score_stands_at_the_last_token_and_the_penalty_at_each():
    """β = 0.5: -0.5·(0.2, -0.4, 0.6) = (-0.1, 0.2, -0.3), and 3 on the last: 2.7; the other reply has one token, -0.5·1 - 1 = -1.5."""
    kl = torch.tensor([[0.2, -0.4, 0.6], [1.0, 7.0, 7.0]])
    assert close(advantages.token_rewards(torch.tensor([3.0, -1.0]), kl, MASK, 0.5), [[-0.1, 0.2, 2.7], [-1.5, 0, 0]])


def test_advantages_by_hand():
    """γ = 1, λ = 0.5. δ = (0.25 - 0.5, 0.75 - 0.25, 1 - 0.75) = (-0.25, 0.5, 0.25), so A3 = 0.25, A2 = 0.5 + 0.5·0.25 = 0.625,
    A1 = -0.25 + 0.5·0.625 = 0.0625; returns A + V = (0.5625, 0.875, 1). The other reply: δ = 2 - 1 = 1, and its return is 2."""
    found, returns = advantages.generalized_advantages(REWARDS, VALUES, MASK, gamma=1.0, lam=0.5)
    assert close(found, [[0.0625, 0.625, 0.25], [1, 0, 0]]) and close(returns, [[0.5625, 0.875, 1], [2, 0, 0]])


def test_with_lambda_one_returns_are_the_discounted_sums_of_rewards():
    """γ = 0.5, of (1, 2, 4): 4, 2 + 0.5·4 = 4, 1 + 0.5·4 = 3, whatever the values."""
    rewards = torch.tensor([[1.0, 2.0, 4.0], [2.0, 0.0, 0.0]])
    assert close(advantages.generalized_advantages(rewards, VALUES, MASK, 0.5, 1.0)[1], [[3, 4, 4], [2, 0, 0]])


def test_whitened_is_of_mean_0_and_variance_1_over_tokens():
    """Of (1, 3, 5, 7): mean 4, variance (9 + 1 + 1 + 9) / 4 = 5; what is no token counts for nothing."""
    values = torch.tensor([[1.0, 3.0, 5.0], [7.0, 100.0, 100.0]])
    root = math.sqrt(5)
    assert close(advantages.whiten(values, MASK), [[-3 / root, -1 / root, 1 / root], [3 / root, 0, 0]])
    assert close(advantages.whiten(values, MASK, shift=False), [[4 - 3 / root, 4 - 1 / root, 4 + 1 / root], [4 + 3 / root, 0, 0]])


def test_the_clipped_policy_loss():
    """clip = 0.2. Ratios 1.5, 0.5, 1 and 0.5 with advantages 1, 1, 2 and -1. The first is held at 1.2: -1.2. The second is below 0.8, but
    its gain is followed all the same: -0.5. -2. The last is held at 0.8, though less would be lost at 0.5: 0.8. Their mean is -2.9 / 4;
    of four tokens two are clipped."""
    ratio = torch.tensor([[1.5, 0.5, 1.0], [0.5, 3.0, 3.0]])
    logp = ratio.log().requires_grad_()
    gained = torch.tensor([[1.0, 1.0, 2.0], [-1.0, 5.0, 5.0]])
    loss, clipped = advantages.policy_loss(logp, torch.zeros(2, 3), gained, MASK, 0.2)
    assert loss.item() == pytest.approx(-2.9 / 4) and clipped.item() == 0.5
    loss.backward()  # d(-ρA)/d log ρ = -ρA where nothing is clipped, by 4 tokens
    assert close(logp.grad, [[0, -0.5 / 4, -2 / 4], [0, 0, 0]])


def test_the_clipped_value_loss():
    """clip = 0.2, returns 1. A value that went from 0 to 0.9 counts as if held at 0.2: 0.8² = 0.64, not 0.1². One from 0 to -1 counts
    as it is: 2² = 4. From 1 to 1.1: 0.01. From 3 to 1: held at 2.8, 1.8² = 3.24. Half the mean: (0.64 + 4 + 0.01 + 3.24) / 8."""
    values, old = torch.tensor([[0.9, -1.0, 1.1], [1.0, 0.0, 0.0]]), torch.tensor([[0.0, 0.0, 1.0], [3.0, 0.0, 0.0]])
    loss = advantages.value_loss(values, old, torch.ones(2, 3), MASK, 0.2)
    assert loss.item() == pytest.approx((0.64 + 4 + 0.01 + 3.24) / 8)
