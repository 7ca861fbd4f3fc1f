"""The loss of one batch of replies under each objective, and the implicit rewards that come with it.

The implicit reward of a reply is beta x log(policy / reference) (DPO, arXiv 2305.18290, eq. 5); without a reference it is what the
objective compares: beta x the mean log-probability a token in ORPO (trl's), that mean itself in RRHF. Not here: how
log-probabilities are computed.

Shapes: N rows, M replies, P pairs.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from workbench.alignment import preference_losses as losses
from workbench.alignment.objectives import Objective

Row = dict[str, Any]


@dataclass(slots=True)
class Replies:
    """What is known of a batch before its forward pass."""

    rows: list[Row]
    lengths: torch.Tensor
    """M tokens; with trained prompts N more."""
    reference: torch.Tensor | None
    """M, nats."""
    kl: torch.Tensor | None
    """Log-ratios of replies to other prompts."""


@dataclass(slots=True)
class Seen:
    """What a batch showed: `pairs` (P x 3: number of the comparison, better and worse among its own replies) with the implicit rewards and
    log-probabilities of both sides; of judged replies those of the good and of the bad ones, and no pairs."""

    pairs: np.ndarray
    chosen: torch.Tensor
    rejected: torch.Tensor
    logp_chosen: torch.Tensor
    logp_rejected: torch.Tensor
    right: torch.Tensor
    """Of each pair, or each judged reply, whether it is on the right side; a half for neither."""
    kl: float | None = None

    def cpu(self) -> "Seen":
        """The same, without a GPU."""
        names = ("chosen", "rejected", "logp_chosen", "logp_rejected", "right")
        return dataclasses.replace(self, **{name: getattr(self, name).cpu() for name in names})


def objective_loss(settings: Objective, beta: float, logps: torch.Tensor, told: Replies) -> tuple[torch.Tensor, Seen]:
    """The loss summed over the rows, nats, and what was seen. `logps` are M (with trained prompts M + N)."""
    count = sum(len(row["replies"]) for row in told.rows)
    logp, lengths = logps[:count], told.lengths[:count]
    if settings.name == "kto":
        return _judged(settings, beta, logp, told)
    better, worse, weights, pairs = _pairs(told.rows, logp.device)
    if settings.name in ("dpo", "ipo"):
        total = _referenced(settings, beta, logp, lengths, told.reference, better, worse, weights)
    else:
        mean = logp / lengths
        best = torch.tensor(_bests(told.rows), device=logp.device)
        if settings.name == "orpo":
            own = logp[best].sum(), lengths[best].sum()
            if len(logps) > count:  # the prompts' own tokens
                own = own[0] + logps[count:].sum(), own[1] + told.lengths[count:].sum()
            total = beta * (weights * losses.odds_ratio(mean[better], mean[worse])).sum() - len(told.rows) * own[0] / own[1]
        else:
            # eq. 2 sums the pairs of a prompt
            total = beta * losses.ranking_hinge(mean[better], mean[worse]).sum() - mean[best].sum()
    rewards = implicit_rewards(settings, beta, logp.detach(), lengths, told.reference)
    chosen, rejected = rewards[better], rewards[worse]
    right = (chosen > rejected).float() + 0.5 * (chosen == rejected)
    logp = logp.detach()
    return total, Seen(pairs, chosen, rejected, logp[better], logp[worse], right)


def implicit_rewards(settings: Objective, beta: float, logp: torch.Tensor, lengths: torch.Tensor,
                     reference: torch.Tensor | None) -> torch.Tensor:
    """M, of log-probabilities of M replies (nats), their lengths in tokens and, where the objective has one, the reference's."""
    if reference is not None:
        return beta * (logp - reference)
    return logp / lengths * (beta if settings.name == "orpo" else 1.0)


def _pairs(rows: list[Row], device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, np.ndarray]:
    """Of all pairs the better and the worse reply among the M, their weights, and `Seen.pairs`."""
    table, weights, named, first = [], [], [], 0
    for row in rows:
        for better, worse, weight in row["pairs"]:
            table.append((first + better, first + worse))
            weights.append(weight)
            named.append((row["number"], better, worse))
        first += len(row["replies"])
    better, worse = torch.tensor(table, device=device).T
    return better, worse, torch.tensor(weights, device=device), np.array(named)


def _bests(rows: list[Row]) -> list[int]:
    """Among the M, the reply of each row that is worse than none."""
    out, first = [], 0
    for row in rows:
        worse = {pair[1] for pair in row["pairs"]}
        out.append(first + next(number for number in range(len(row["replies"])) if number not in worse))
        first += len(row["replies"])
    return out


def _referenced(settings: Any, beta: float, logp: torch.Tensor, lengths: torch.Tensor, reference: torch.Tensor, better: torch.Tensor,
                worse: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    pairs = losses.Pairs(logp[better], logp[worse], reference[better], reference[worse], lengths[better], lengths[worse])
    if settings.name == "ipo":
        return (weights * losses.ipo(pairs, losses.Setting(beta, per_token=settings.per_token))).sum()
    setting = losses.Setting(beta, settings.label_smoothing, settings.discopop_tau)
    each = losses.OF_PAIRS[settings.loss](pairs, setting)
    if settings.sft_weight:
        each = each + settings.sft_weight * losses.sft(pairs, setting)
    return (weights * each).sum()


def _judged(settings: Any, beta: float, logp: torch.Tensor, told: Replies) -> tuple[torch.Tensor, Seen]:
    good = torch.tensor([good for row in told.rows for good in row["good"]], device=logp.device)
    ratio, weights = logp - told.reference, (settings.desirable_weight, settings.undesirable_weight)
    kl = losses.mismatched_kl(told.kl) if told.kl is not None else ratio.new_zeros(())
    if settings.loss == "kto":
        each = losses.kto(ratio, good, kl, beta, *weights)
    else:
        each = losses.apo_zero_unpaired(ratio, good, beta, *weights)
    logp = logp.detach()
    rewards = implicit_rewards(settings, beta, logp, told.lengths, told.reference)
    side = torch.where(good, rewards - beta * kl, beta * kl - rewards)
    right = (side > 0).float() + 0.5 * (side == 0)
    return each.sum(), Seen(np.zeros((0, 3), int), rewards[good], rewards[~good], logp[good], logp[~good], right, kl.item())


def metrics(seen: list[Seen]) -> dict[str, float]:
    """rewards/chosen, rewards/rejected, gap (their difference), accuracy, logp/chosen and logp/rejected (means, nats); of judged replies
    those of good and bad ones, accuracy being the share on their side of the KL, and kl itself. {} where nothing was seen; a side that
    no reply was on is left out."""
    if not seen:
        return {}
    out = {}
    for name, field in (("rewards/chosen", "chosen"), ("rewards/rejected", "rejected"), ("logp/chosen", "logp_chosen"),
                        ("logp/rejected", "logp_rejected"), ("accuracy", "right")):
        values = torch.cat([getattr(one, field) for one in seen])
        if len(values):
            out[name] = values.mean().item()
    if "rewards/chosen" in out and "rewards/rejected" in out:
        out["gap"] = out["rewards/chosen"] - out["rewards/rejected"]
    if seen[0].kl is not None:
        out["kl"] = sum(one.kl for one in seen) / len(seen)
    return out
