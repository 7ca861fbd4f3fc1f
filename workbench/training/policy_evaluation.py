"""Replies of a policy as numbers: of a round that it trains on, and of held-out prompts, the same for every objective with rewards.

Names are those of the journal: nats, means over replies. A reply's length counts its end token. Not here: what is learned.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from workbench.alignment.kl import kl_estimates
from workbench.journal import events as ev
from workbench.probes import untouched
from workbench.training import rollouts
from workbench.training.policy_rows import Row, TokenReference
from workbench.training.scoring import Scorer
from workbench.training.supervised import verdict

AT_ONCE = 128
"""Held-out prompts answered together."""


def texts(tokenizer: Any, replies: rollouts.Ids) -> list[str]:
    """What rewards are given."""
    return [text.strip() for text in tokenizer.batch_decode(replies, skip_special_tokens=True)]


def weighted(rewards: dict[str, np.ndarray], weights: dict[str, float]) -> np.ndarray:
    """The reward of each reply: the sum of all by their weights, float32 N."""
    return sum((np.float32(weights[name]) * values for name, values in rewards.items()), np.float32(0))  # type: ignore[arg-type]


def reward_metrics(rewards: dict[str, np.ndarray], weights: dict[str, float], gold: np.ndarray | None) -> dict[str, float]:
    """reward, reward/NAME and, where there is one, gold."""
    out = {"reward": float(weighted(rewards, weights).mean())}
    out |= {f"reward/{name}": float(values.mean()) for name, values in rewards.items()}
    return out | ({"gold": float(gold.mean())} if gold is not None else {})


def reply_metrics(replies: rollouts.Replies, said: Sequence[str], reading: rollouts.Reading, reference: torch.Tensor) -> dict[str, float]:
    """kl, kl/k2, kl/k3 (each summed over a reply's tokens), entropy (a token), length, ended, repetition; `reference` is N x T."""
    estimates = kl_estimates(reading.logp, reference)
    kl = {name: float(values.sum(1).mean()) for name, values in zip(("kl", "kl/k2", "kl/k3"), estimates, strict=True)}
    return kl | {
        "entropy": float(reading.entropy.sum() / reading.mask.sum()),
        "length": float(np.mean([len(ids) for ids in replies.ids])),
        "ended": float(np.mean(replies.ended)),
        "repetition": float(np.mean([verdict("", text, "") == "repeats" for text in said])),
    }


def evaluate(model: Any, tokenizer: Any, reader: rollouts.Reader, reference: TokenReference, scorer: Scorer, rows: list[Row],
             shown: list[Row], *, reply_tokens: int, live: dict[str, Any], seed: int,
             step: int) -> tuple[dict[str, float], list[ev.Replied]]:
    """Metrics of fresh replies to `rows`, and an event for each of `shown`. Drawn from `seed`, the same at every call; random state and the
    model's mode stay as they were."""
    rows = rows + [row for row in shown if not any(row is other for other in rows)]
    prompts, count = [row["input_ids"] for row in rows], len(rows)
    with untouched(model):
        torch.manual_seed(seed)
        replies = rollouts.generate(model, tokenizer, prompts, reply_tokens=reply_tokens, temperature=live["temperature"], chunk=AT_ONCE)
        reading = reader.quietly(model, prompts, replies.ids, live["temperature"])
        under = reference.logp(prompts, replies.ids, live["temperature"])
    said = texts(tokenizer, replies.ids)
    asked = [row["prompt"] for row in rows], said, [row["reference"] for row in rows]
    rewards, gold = scorer.collect(scorer.submit(*asked)), scorer.gold(*asked)
    total = weighted(rewards, live["reward_weights"])
    metrics = reward_metrics(rewards, live["reward_weights"], gold) | reply_metrics(replies, said, reading, under)
    metrics["objective"] = metrics["reward"] - live["beta"] * metrics["kl"]
    out = []
    for row in shown:
        n = next(number for number in range(count) if rows[number] is row)
        ids, upto = replies.ids[n], len(replies.ids[n])
        out.append(ev.Replied(step=step, prompt=row["prompt"][-1]["content"], reply=said[n],
                              tokens=[tokenizer.decode([token]) for token in ids], logp=reading.logp[n, :upto].tolist(),
                              logp_reference=under[n, :upto].tolist(), reward=float(total[n]),
                              rewards={name: float(values[n]) for name, values in rewards.items()},
                              gold=None if gold is None else float(gold[n])))
    return metrics, out
