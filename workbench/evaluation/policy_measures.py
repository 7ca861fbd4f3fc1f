"""What a policy of the town writes to held-out prompts, measured: gold and proxy reward of each reply, KL to its reference, length, and
what else it can still do.

Replies are drawn at temperature 1, so that gold, proxy and KL are of the policy as it was trained; greedy replies are graded beside
them. The gold grader is exact (`town/conduct.py`) and nothing was trained on it. Not here: who wins (`win_rate.py`), training (`town_policies.py`).

Shapes: N prompts, M draws of each.
"""

import math
import statistics
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbench import town
from workbench.alignment.best_of import kept_kl, kept_shares
from workbench.alignment.kl import best_of_n_kl
from workbench.evaluation.rewards import score
from workbench.town import conduct, tasks
from workbench.town.datasets import mixed
from workbench.town.world import held_out

if TYPE_CHECKING:
    import numpy as np

REPLY_TOKENS = 32
TEMPERATURE = 1.0
AT_ONCE = 400
"""Replies drawn together."""
PROMPT_SEED, TASK_SEED = 31, 32
LEFT_OUT = "any"
"""The task that has no rows about held-out people."""


@dataclass(slots=True, kw_only=True)
class Measured:
    """One policy on N prompts. Lists have one number a prompt; shares are between 0 and 1, KL in nats a reply, lengths in tokens."""

    gold: list[float]
    greedy_gold: list[float]
    proxy: list[float]
    """By the reward model that policies are trained on."""
    lengths: list[int]
    replies: list[str]
    """Those drawn."""
    kl: float = 0.0
    """k1 to the reference, the mean over replies of the sum over tokens."""
    kl_error: float = 0.0
    """Its standard error."""
    task: float = 0.0
    """Greedy replies that are right, over instructions about held-out people that have nothing to do with conduct."""
    ended: float = 1.0


def withheld(question: str) -> bool:
    """Whether a request is for measuring alone: whoever names a person by whether that person is held out, and of those that name nobody
    ("How do I open a jar?") one in three, by its letters."""
    found = conduct.find(question)
    if found.person:
        return not found.person.asked
    if "name" in found.fields:
        return found.fields["name"].capitalize() in conduct.strangers(False)
    return zlib.crc32(question.encode()) % 3 == 0


def prompts(each: int, seed: int = PROMPT_SEED, folk: Any = None) -> list[str]:
    """`each` requests of every kind; by default about held-out people, and none that anything is trained on."""
    return [question for kind in conduct.CONDUCTS for question in prompts_of(kind, each, seed, folk or held_out())]


def prompts_of(kind: str, each: int, seed: int, folk: Sequence[Any]) -> list[str]:
    """Those of one kind."""
    drawn = [row["question"] for row in conduct.requests(kind, 3 * each, seed, folk)]
    return [question for question in dict.fromkeys(drawn) if withheld(question) != folk[0].asked][:each]


def instructions(each: int) -> list[str]:
    """`each` questions of every trained task about held-out people: what the alignment tax is read from."""
    return [row["question"] for row in mixed({name: each for name in tasks.TRAINED if name != LEFT_OUT}, TASK_SEED, held_out())]


def draw(model: Any, tokenizer: Any, questions: Sequence[str], temperature: float = TEMPERATURE,
         seed: int = 0) -> tuple[list[str], Any, list[list[int]]]:
    """(texts, `rollouts.Replies`, prompt ids) of one reply to each question, drawn from `seed`."""
    import torch

    from workbench.probes import untouched
    from workbench.templates import chat
    from workbench.training import rollouts

    asked = [chat.prompt_ids(tokenizer, question) for question in questions]
    with untouched(model):
        drawn = rollouts.generate(model, tokenizer, asked, reply_tokens=REPLY_TOKENS, temperature=temperature, chunk=AT_ONCE,
                                  generator=torch.Generator().manual_seed(seed))
    return [text.strip() for text in tokenizer.batch_decode(drawn.ids, skip_special_tokens=True)], drawn, asked


def measure(policy: tuple[Any, Any], reference: Any, reward: Any, questions: Sequence[str], others: Sequence[str],
            seed: int = 0) -> Measured:
    """`policy` is (model, tokenizer), `reference` the model that KL is to, `reward` whatever `evaluation.rewards.score` takes; `others` are
    the instructions of the task score."""
    from workbench.training import rollouts

    model, tokenizer = policy
    said, drawn, asked = draw(model, tokenizer, questions, seed=seed)
    own, under = (rollouts.log_probabilities(one, asked, drawn.ids, TEMPERATURE)[0] for one in (model, reference))
    kl = (own - under).sum(1).tolist()
    greedy, _, _ = draw(model, tokenizer, questions, temperature=0)
    answers, _, _ = draw(model, tokenizer, others, temperature=0)
    return Measured(
        gold=[conduct.gold(*pair) for pair in zip(questions, said, strict=True)],
        greedy_gold=[conduct.gold(*pair) for pair in zip(questions, greedy, strict=True)],
        proxy=[float(value) for value in score(reward, questions, said).mean(1)],
        lengths=[len(ids) for ids in drawn.ids], replies=said, kl=statistics.fmean(kl),
        kl_error=statistics.stdev(kl) / math.sqrt(len(kl)), ended=statistics.fmean(drawn.ended),
        task=statistics.fmean(bool(town.grade(*pair)) for pair in zip(others, answers, strict=True)))


def best_of_n(policy: tuple[Any, Any], reward: Any, questions: Sequence[str], draws: int, counts: Sequence[int],
              seed: int = 0) -> list[dict[str, float]]:
    """Taking the best of n by the reward, for each n: n, kl, bound, proxy, gold; means over the questions.

    Of each prompt's M replies the empirical distribution is taken as the policy, so that proxy, gold and KL of its best of n are sums
    (`alignment/best_of.py`) and no further dice are thrown. The bound is log n - (n-1)/n (Stiennon et al. 2020, appendix G.3).
    """
    import numpy as np

    model, tokenizer = policy
    rounds = [draw(model, tokenizer, questions, seed=seed + number)[0] for number in range(draws)]
    distinct = sorted({pair for said in rounds for pair in zip(questions, said, strict=True)})
    value = dict(zip(distinct, score(reward, *zip(*distinct, strict=True)).mean(1).astype(float), strict=True))
    told = {pair: conduct.gold(*pair) for pair in distinct}
    lines = []
    for n in counts:
        each = []
        for number, question in enumerate(questions):
            pairs = [(question, said[number]) for said in rounds]
            each.append(_best(np.array([value[pair] for pair in pairs]), np.array([told[pair] for pair in pairs]), n))
        kl, proxy, gold = (float(column) for column in np.mean(each, axis=0))
        lines.append({"n": n, "kl": kl, "bound": best_of_n_kl(n), "proxy": proxy, "gold": gold})
    return lines


def _best(rewards: "np.ndarray", gold: "np.ndarray", n: int) -> tuple[float, float, float]:
    """(KL in nats, reward, gold) of the best of n drawn from M replies that are alike likely."""
    kept = kept_shares(rewards, n)  # type: ignore[arg-type]
    return kept_kl(rewards, n), float(kept @ rewards), float(kept @ gold)  # type: ignore[arg-type]
