"""Better replies without reinforcement learning: of several the one with the highest reward, taken as it is or imitated, round after round.

    best = best_of_n(sft, reward_run, prompts, n=16)
    rounds = rejection_rounds(wb.Recipe(model=sft, data="town:conduct", steps=60), reward_run, rounds=3, n=8)
Rewards are whatever a policy may be trained on (`alignment/reward_sources.py`), and functions in memory. Not here: how replies are written
(`models/samplers.py`), and the law of what is kept (`alignment/best_of.py`).
"""

import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbench.alignment.best_of import kept_kl
from workbench.alignment.kl import best_of_n_kl
from workbench.alignment.policy_objectives import GRPO
from workbench.data import prompts as prompts_module
from workbench.data import sources, turns
from workbench.data.mixture import Mixture
from workbench.data.stages import Stages
from workbench.errors import DataError
from workbench.models.samplers import Sampler, Sampling, draw
from workbench.recipes import Recipe, load
from workbench.runs.run import Run
from workbench.runs.start import train

if TYPE_CHECKING:
    import pandas as pd


def best_of_n(policy: Any, rewards: Any, prompts: Any, n: int = 16, *, weights: Mapping[str, float] | None = None, draws: int | None = None,
              sampler: Sampler = Sampling(), reply_tokens: int = 64, seed: int = 0, gold: Any = None) -> "pd.DataFrame":
    """One line for each prompt: prompt, reply (of the first n the one of highest reward), reward (its), mean (of all draws), gold (of the
    reply kept, where a grader is given), replies and rewards (lists, all), kl and bound.

    `policy` is a run, a model folder or a pair (model, tokenizer); `rewards` one reward or several by name, summed by `weights`; `prompts`
    texts, conversations, or anything that `load_rows` reads. `draws` replies are written to each prompt, n of them unless more are asked:
    `kl` is what taking the best of n of the empirical distribution of all of them comes to in nats, at most `bound`, log n - (n - 1)/n,
    which is what the KL of the policy so made never exceeds. It says nothing of a search by beams, which draws nothing (NaN).
    Raises `WorkbenchError` for what cannot be had.
    """
    import pandas as pd

    bound, draws = best_of_n_kl(n), n if draws is None else draws
    for what, value in (("draws", draws), ("reply_tokens", reply_tokens)):
        if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
            raise DataError(f"{what} is {value!r}; it must be a whole number of at least 1.", f"Use {what}=64.")
    if draws < n:
        raise DataError(f"The best of {n} cannot be taken of {draws} replies.", f"Use draws={n}, or more for a better estimate of the KL.")
    asked = _asked(prompts)
    model, tokenizer = opened(policy)
    said = written(model, tokenizer, [row["prompt"] for row in asked], draws, sampler, reply_tokens, seed)
    values, golds = _scored(rewards, weights, gold, asked, said, str(model.device))
    lines = []
    for number, (row, replies) in enumerate(zip(asked, said, strict=True)):
        own = values[number * draws:(number + 1) * draws]
        kept = int(own[:n].argmax())
        line = {"prompt": row["prompt"][-1]["content"], "reply": replies[kept], "reward": float(own[kept]), "mean": float(own.mean())}
        line |= {} if golds is None else {"gold": float(golds[number * draws + kept])}
        kl = _kl(replies, own, n) if isinstance(sampler, Sampling) else float("nan")
        lines.append(line | {"replies": replies, "rewards": own.tolist(), "kl": kl, "bound": bound})
    return pd.DataFrame(lines)


def _kl(replies: list[str], values: Any, n: int) -> float:
    """Of the empirical distribution: the same reply drawn twice is one outcome of twice the share."""
    counts: dict[str, int] = {}
    reward: dict[str, float] = {}
    for reply, value in zip(replies, values.tolist(), strict=True):
        counts[reply], reward[reply] = counts.get(reply, 0) + 1, value
    return kept_kl([reward[reply] for reply in counts], n, [count / len(replies) for count in counts.values()])


@dataclass(slots=True)
class Round:
    """One round: the run that learned from the replies kept, and what they were (`best_of_n`'s table, of the model before)."""

    run: Run
    kept: "pd.DataFrame"


def rejection_rounds(recipe: Recipe, rewards: Any, *, rounds: int = 3, n: int = 8, weights: Mapping[str, float] | None = None,
                     sampler: Sampler = Sampling(), reply_tokens: int = 64, runs: Any = "runs", name: str = "rejection") -> list[Round]:
    """Rejection sampling: n replies to each prompt of the recipe's data, the best of them imitated by a run of `recipe`, whose model is the
    next round's (Llama 2, arXiv 2307.09288, section 3.2.3; RAFT, arXiv 2304.06767). Waits for every run; round k is named NAME-k.

    `recipe` has objective "sft". Raises `WorkbenchError` for rounds or rewards that cannot be, before anything is trained, and `RunError`
    where a run fails.
    """
    if recipe.objective != "sft":
        raise DataError(f"Rejection sampling imitates replies, and the recipe's objective is {recipe.objective!r}.", 'Use objective="sft".')
    if isinstance(recipe.data, (Mixture, Stages)):
        raise DataError("The prompts of rejection sampling are the rows of one source.", 'Use data="town:conduct".')
    if isinstance(rounds, bool) or not isinstance(rounds, int) or rounds < 1:
        raise DataError(f"rounds is {rounds!r}; it must be a whole number of at least 1.", "Use rounds=3.")
    asked = _asked(recipe.data)
    out: list[Round] = []
    for number in range(1, rounds + 1):
        kept = best_of_n(recipe.model, rewards, [row["prompt"] for row in asked], n, weights=weights, sampler=sampler,
                         reply_tokens=reply_tokens, seed=recipe.seed + number)
        run = train(recipe.replace(data=imitated(asked, kept["reply"], number)), runs=runs, name=f"{name}-{number}")
        out.append(Round(run, kept))
        recipe = recipe.replace(model=run)
    return out


def imitated(asked: Sequence[dict[str, Any]], replies: Sequence[str], number: int) -> list[dict[str, Any]]:
    """Rows of round `number` to train on: each prompt with the reply kept, where it says something. Raises `DataError` if none does."""
    rows = [{"messages": [*row["prompt"], {"role": "assistant", "content": reply}]}
            for row, reply in zip(asked, replies, strict=True) if reply]
    if not rows:
        raise DataError(f"Every reply kept in round {number} is empty, so there is nothing to imitate.",
                        "Use a model that answers, or a reward that is not highest for an empty reply.")
    return rows


def written(model: Any, tokenizer: Any, conversations: Sequence[list[dict[str, str]]], count: int, sampler: Sampler = Sampling(),
            reply_tokens: int = 64, seed: int | None = 0) -> list[list[str]]:
    """`count` replies to each conversation, as texts; random state and the model's mode stay as they were."""
    import copy

    from workbench.models import loading
    from workbench.probes import untouched
    from workbench.templates import chat

    tokenizer = copy.deepcopy(tokenizer)  # a template or pad token given to it here stays with the copy
    loading.prepare_tokenizer(tokenizer, model.config)
    chat.ensure_template(tokenizer)
    with untouched(model):
        asked = [chat.prompt_ids(tokenizer, talk) for talk in conversations]
        found = draw(model, tokenizer, asked, count, sampler, reply_tokens=reply_tokens, seed=seed)
    return [[text.strip() for text in tokenizer.batch_decode(replies, skip_special_tokens=True)] for replies in found]


def opened(policy: Any) -> tuple[Any, Any]:
    """(model, tokenizer) of a run, a name or folder, or such a pair."""
    if isinstance(policy, (tuple, list)) and len(policy) == 2:
        return tuple(policy)
    return policy.load() if isinstance(policy, Run) else load(str(policy))


def _asked(prompts: Any) -> list[dict[str, Any]]:
    """Prompts in order, each as messages, with a reference where rows have one."""
    if isinstance(prompts, Sequence) and not isinstance(prompts, str) and prompts and not isinstance(prompts[0], Mapping):
        return [{"prompt": _talk(prompt, number), "reference": ""} for number, prompt in enumerate(prompts, start=1)]
    asked = prompts_module.read(prompts if hasattr(prompts, "to_batches") else sources.load_rows(prompts))
    if not asked:
        raise DataError("There are no prompts.", "Give a list of texts, or rows.")
    return asked


def _talk(prompt: Any, number: int) -> list[dict[str, str]]:
    """One prompt, a text or messages. Raises `DataError` where it is neither, or asks nothing."""
    try:
        talk = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else turns.conversation(prompt)
    except ValueError as error:
        raise DataError(f"Prompt {number} is {prompt!r:.80}, no text and no talk: {error}.", "Give texts, or lists of messages.") from error
    if not talk[-1]["content"].strip():
        raise DataError(f"Prompt {number} asks nothing.", "Mend or remove it.")
    return talk


def _scored(rewards: Any, weights: Mapping[str, float] | None, gold: Any, asked: list[dict[str, Any]], said: list[list[str]],
            device: str) -> tuple[Any, Any]:
    """The reward of every reply and what `gold` says of it, all prompts' one after another."""
    from workbench.training.policy_evaluation import weighted
    from workbench.training.scoring import Scorer

    settings = GRPO(rewards=rewards, reward_weights=dict(weights or {}), gold=gold)
    if not settings.rewards:
        raise DataError("There is no reward to choose by.", "Give a reward run, or a function of (prompt, reply).")
    talks = [row["prompt"] for row, replies in zip(asked, said, strict=True) for _ in replies]
    told = [row["reference"] for row, replies in zip(asked, said, strict=True) for _ in replies]
    replies = [reply for some in said for reply in some]
    with Scorer(settings.rewards, settings.gold, device=device) as scorer:
        values = weighted(scorer.collect(scorer.submit(talks, replies, told)), settings.reward_weights)
        return values, scorer.gold(talks, replies, told)
