"""Losses of replies that were compared or judged, as pure functions of their log-probabilities.

Shapes: P pairs, M replies. A log-probability is the sum over a reply's tokens, in nats; lengths are in tokens; a loss is per pair or per
reply, to be averaged over a batch. The losses of pairs are trl's (`DPOConfig.loss_type`), each with its source. Not here: where the
log-probabilities come from (`training/reply_logps.py`).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn.functional import logsigmoid, relu


@dataclass(slots=True)
class Pairs:
    """All P: log-probabilities of both replies by the policy and by the reference, and how long they are."""

    chosen: torch.Tensor
    rejected: torch.Tensor
    reference_chosen: torch.Tensor
    reference_rejected: torch.Tensor
    chosen_length: torch.Tensor
    rejected_length: torch.Tensor

    @property
    def better(self) -> torch.Tensor:
        """log(policy / reference) of the chosen reply."""
        return self.chosen - self.reference_chosen

    @property
    def worse(self) -> torch.Tensor:
        return self.rejected - self.reference_rejected

    @property
    def difference(self) -> torch.Tensor:
        return self.better - self.worse

    @property
    def difference_a_token(self) -> torch.Tensor:
        """Of the log-ratios, each divided by its reply's length."""
        return self.better / self.chosen_length - self.worse / self.rejected_length


@dataclass(frozen=True, slots=True)
class Setting:
    beta: float = 0.1
    smoothing: float = 0.0
    tau: float = 0.05
    """Of "discopop"."""
    per_token: bool = True
    """Of "ipo"."""


def sigmoid(pairs: Pairs, s: Setting) -> torch.Tensor:
    """-log sigmoid(beta d) (DPO, arXiv 2305.18290, eq. 7); with smoothing conservative DPO (Mitchell 2023, eq. 3)."""
    return _smoothed(s.beta * pairs.difference, s.smoothing)


def _smoothed(logits: torch.Tensor, smoothing: float) -> torch.Tensor:
    return -(1 - smoothing) * logsigmoid(logits) - smoothing * logsigmoid(-logits)


def hinge(pairs: Pairs, s: Setting) -> torch.Tensor:
    """max(0, 1 - beta d) (SLiC, arXiv 2305.10425; RSO, arXiv 2309.06657)."""
    return relu(1 - s.beta * pairs.difference)


def ipo(pairs: Pairs, s: Setting) -> torch.Tensor:
    """(d a token - 1 / (2 beta))^2 (arXiv 2310.12036, eq. 17, whose d is of sums; by token as its authors confirmed to trl)."""
    return ((pairs.difference_a_token if s.per_token else pairs.difference) - 1 / (2 * s.beta)) ** 2


def exo_pair(pairs: Pairs, s: Setting) -> torch.Tensor:
    """KL of (sigmoid(beta d), sigmoid(-beta d)) from (1 - smoothing, smoothing) (EXO, arXiv 2402.00856, eq. 16)."""
    logits = s.beta * pairs.difference
    return (torch.sigmoid(logits) * (logsigmoid(logits) - math.log1p(-s.smoothing))
            + torch.sigmoid(-logits) * (logsigmoid(-logits) - math.log(s.smoothing)))


def nca_pair(pairs: Pairs, s: Setting) -> torch.Tensor:
    """Noise contrastive alignment (arXiv 2402.05369)."""
    better, worse = s.beta * pairs.better, s.beta * pairs.worse
    return -logsigmoid(better) - 0.5 * logsigmoid(-better) - 0.5 * logsigmoid(-worse)


def robust(pairs: Pairs, s: Setting) -> torch.Tensor:
    """Robust DPO: unbiased where a share `smoothing` of the pairs is the wrong way round (arXiv 2403.00409)."""
    logits = s.beta * pairs.difference
    return (-(1 - s.smoothing) * logsigmoid(logits) + s.smoothing * logsigmoid(-logits)) / (1 - 2 * s.smoothing)


def bco_pair(pairs: Pairs, s: Setting) -> torch.Tensor:
    """Binary classifier optimization without its shift (arXiv 2404.04656)."""
    return -logsigmoid(s.beta * pairs.better) - logsigmoid(-s.beta * pairs.worse)


def sppo_hard(pairs: Pairs, s: Setting) -> torch.Tensor:
    """Self-play preference optimization with probabilities 1 and 0 (arXiv 2405.00675, eq. 4.7)."""
    return (pairs.better - 0.5 / s.beta) ** 2 + (pairs.worse + 0.5 / s.beta) ** 2


def aot(pairs: Pairs, s: Setting) -> torch.Tensor:
    """Alignment by optimal transport: chosen less rejected of the policy and of the reference, each sorted over the batch
    (arXiv 2406.05882)."""
    own, other = pairs.chosen - pairs.rejected, pairs.reference_chosen - pairs.reference_rejected
    return _smoothed(s.beta * (own.sort().values - other.sort().values), s.smoothing)


def aot_unpaired(pairs: Pairs, s: Setting) -> torch.Tensor:
    """The same of the log-ratios of chosen and of rejected replies."""
    return _smoothed(s.beta * (pairs.better.sort().values - pairs.worse.sort().values), s.smoothing)


def apo_zero(pairs: Pairs, s: Setting) -> torch.Tensor:
    """Anchored preference optimization that draws chosen replies up (arXiv 2408.06266, eq. 7)."""
    return 1 - torch.sigmoid(s.beta * pairs.better) + torch.sigmoid(s.beta * pairs.worse)


def apo_down(pairs: Pairs, s: Setting) -> torch.Tensor:
    """The same for chosen replies that are worse than the model's own (eq. 8)."""
    return torch.sigmoid(s.beta * pairs.better) + 1 - torch.sigmoid(s.beta * pairs.difference)


def discopop(pairs: Pairs, s: Setting) -> torch.Tensor:
    """Log-ratio modulated loss: logistic and exponential, mixed by sigmoid(beta d / tau) (arXiv 2406.08414, eq. 5)."""
    logits = s.beta * pairs.difference
    mixed = torch.sigmoid(logits / s.tau)
    return -logsigmoid(logits) * (1 - mixed) + torch.exp(-logits) * mixed


def sft(pairs: Pairs, s: Setting) -> torch.Tensor:
    """The chosen replies' own loss, a mean over the tokens of the whole batch."""
    return (-pairs.chosen.sum() / pairs.chosen_length.sum()).expand(len(pairs.chosen))


def sigmoid_norm(pairs: Pairs, s: Setting) -> torch.Tensor:
    """-log sigmoid(beta d a token) (Tülu 3, arXiv 2411.15124)."""
    return -logsigmoid(s.beta * pairs.difference_a_token)


OF_PAIRS: dict[str, Callable[[Pairs, Setting], torch.Tensor]] = {
    function.__name__: function for function in (sigmoid, hinge, ipo, exo_pair, nca_pair, robust, bco_pair, sppo_hard, aot, aot_unpaired,
                                                 apo_zero, apo_down, discopop, sft, sigmoid_norm)}
"""By the names in `preference_objectives.PAIR_LOSSES`."""


def kto(ratio: torch.Tensor, good: torch.Tensor, kl: torch.Tensor, beta: float, desirable: float = 1.0,
        undesirable: float = 1.0) -> torch.Tensor:
    """M: 1 - sigmoid(beta (log-ratio - kl)) of a good reply, 1 - sigmoid(beta (kl - log-ratio)) of a bad one, by their weights
    (arXiv 2402.01306, eq. 7 and 8). `kl` is `mismatched_kl`."""
    from_kl = beta * (ratio - kl)
    return torch.where(good, desirable * (1 - torch.sigmoid(from_kl)), undesirable * (1 - torch.sigmoid(-from_kl)))


def mismatched_kl(ratio: torch.Tensor) -> torch.Tensor:
    """KTO's reference point: the mean log-ratio of replies to other prompts, at least 0, without a gradient."""
    return ratio.mean().clamp(min=0).detach()


def apo_zero_unpaired(ratio: torch.Tensor, good: torch.Tensor, beta: float, desirable: float = 1.0,
                      undesirable: float = 1.0) -> torch.Tensor:
    """M: `apo_zero` of replies judged one by one."""
    return torch.where(good, desirable * (1 - torch.sigmoid(beta * ratio)), undesirable * torch.sigmoid(beta * ratio))


def odds_ratio(chosen: torch.Tensor, rejected: torch.Tensor) -> torch.Tensor:
    """P: -log sigmoid of the log odds ratio (ORPO, arXiv 2403.07691, eq. 7). Both are mean log-probabilities a token; odds are
    p / (1 - p)."""
    def log_rest(logp: torch.Tensor) -> torch.Tensor:
        # log(1 - exp(x)), each of the two forms where it is exact (Mächler 2012)
        logp = logp.clamp(max=-1e-7)
        return torch.where(logp > -math.log(2), torch.log(-torch.expm1(logp)), torch.log1p(-torch.exp(logp)))

    return -logsigmoid((chosen - rejected) - (log_rest(chosen) - log_rest(rejected)))


def ranking_hinge(better: torch.Tensor, worse: torch.Tensor) -> torch.Tensor:
    """P: max(0, p_worse - p_better) of mean log-probabilities a token (RRHF, arXiv 2304.05302, eq. 2)."""
    return relu(worse - better)
