"""Of proximal policy optimization what can be reckoned by hand: rewards of tokens, advantages, whitening, clipped losses.

Shapes: N replies, T tokens of the longest; every tensor but `scores` (N) is N x T, and `mask` is True at the tokens of a reply, which stand
first. What is elsewhere counts for nothing. Not here: where rewards and log-probabilities come from (`training/`), and the KL (`kl.py`).
"""

import torch


def mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Over the tokens of all replies."""
    return (values * mask).sum() / mask.sum()


def token_rewards(scores: torch.Tensor, kl: torch.Tensor, mask: torch.Tensor, beta: float) -> torch.Tensor:
    """-beta·kl at each token, and at a reply's last one its score besides (Ziegler et al. 2019, eq. 2; Stiennon et al. 2020, section
    3.4)."""
    rewards = -beta * kl * mask
    last = mask.sum(1) - 1
    return rewards.scatter_add(1, last[:, None], scores[:, None].to(rewards.dtype))


def generalized_advantages(rewards: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, gamma: float = 1.0,
                           lam: float = 0.95) -> tuple[torch.Tensor, torch.Tensor]:
    """`(advantages, returns)`: A_t = δ_t + γλ A_{t+1} with δ_t = r_t + γ V_{t+1} - V_t, where nothing follows a reply's last token; and
    A_t + V_t (Schulman et al. 2015, "High-dimensional continuous control using generalized advantage estimation", eq. 16)."""
    rewards, values = rewards * mask, values * mask
    later, advantage, out = torch.zeros_like(values[:, 0]), torch.zeros_like(values[:, 0]), []
    for token in reversed(range(values.shape[1])):
        advantage = (rewards[:, token] + gamma * later - values[:, token] + gamma * lam * advantage) * mask[:, token]
        later = values[:, token]
        out.append(advantage)
    advantages = torch.stack(out[::-1], 1)
    return advantages, advantages + values


def whiten(values: torch.Tensor, mask: torch.Tensor, shift: bool = True) -> torch.Tensor:
    """Of variance 1, and of mean 0 unless `shift` is False, over the tokens of all replies."""
    middle = mean(values, mask)
    deviation = (mean((values - middle) ** 2, mask) + 1e-8).sqrt()
    return ((values - middle) / deviation + (0 if shift else middle)) * mask


def policy_loss(logp: torch.Tensor, logp_old: torch.Tensor, advantages: torch.Tensor, mask: torch.Tensor,
                clip: float) -> tuple[torch.Tensor, torch.Tensor]:
    """`(loss, share of tokens whose ratio is clipped)`: the mean of max(-ρA, -clamp(ρ, 1 - clip, 1 + clip) A), ρ = exp(logp - logp_old)
    (Schulman et al. 2017, eq. 7)."""
    ratio = (logp - logp_old).exp()
    plain, clipped = -advantages * ratio, -advantages * ratio.clamp(1 - clip, 1 + clip)
    return mean(torch.maximum(plain, clipped), mask), mean((clipped > plain).float(), mask)


def value_loss(values: torch.Tensor, values_old: torch.Tensor, returns: torch.Tensor, mask: torch.Tensor, clip: float) -> torch.Tensor:
    """Half the mean of the larger of (V - R)² and (V' - R)², V' being V held within `clip` of what it was when the replies were drawn
    (Ziegler et al.'s code; Schulman et al. 2017 have it unclipped, eq. 9)."""
    held = torch.minimum(torch.maximum(values, values_old - clip), values_old + clip)
    return 0.5 * mean(torch.maximum((values - returns) ** 2, (held - returns) ** 2), mask)
