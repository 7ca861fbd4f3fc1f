"""An alignment set out of a model's own replies: several to each prompt, ranked by a reward, as pairs or rankings to train on.

    rows = ranked_by_reward(sft, reward_run, "town:conduct", n=8)
    wb.Recipe(model=sft, objective="dpo", data=rows, ...)

Such pairs are of what the model says by itself, so that a preference objective moves it where it stands (Statistical rejection sampling,
arXiv 2309.06657, section 3; "best/worst of n", Iterative DPO, arXiv 2312.16682). Not here: replies that a model writes under principles
(`data/principles.py`), and replies that people judge (`alignment/preferences.py`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from workbench.data import prompts as prompts_module
from workbench.data import sources
from workbench.errors import DataError
from workbench.evaluation.best_of_n import best_of_n
from workbench.models.samplers import Sampler, Sampling

Row = dict[str, Any]
FORMS = ("pairs", "rankings")


def ranked_by_reward(policy: Any, rewards: Any, prompts: Any, n: int = 8, *, form: str = "pairs", least_gap: float = 0.0,
                     weights: Mapping[str, float] | None = None, sampler: Sampler = Sampling(), reply_tokens: int = 64,
                     seed: int = 0) -> list[Row]:
    """Rows of n replies to each prompt. "pairs": prompt, chosen (the reply of highest reward), rejected (of the lowest), reward_chosen,
    reward_rejected. "rankings": prompt, replies (each once, best first) and scores, their rewards.

    A prompt is left out whose replies are all alike, or whose best and worst differ by `least_gap` or less. The other arguments are those
    of `best_of_n`. Raises `DataError` where no prompt is left, and as that does.
    """
    if form not in FORMS:
        raise DataError(f"The form {form!r} is none of {', '.join(FORMS)}.", 'Use form="pairs".')
    if isinstance(n, bool) or not isinstance(n, int) or n < 2:
        raise DataError(f"n is {n!r}; to rank replies there must be two of them at least.", "Use n=8.")
    asked = _conversations(prompts)
    found = best_of_n(policy, rewards, asked, n, weights=weights, sampler=sampler, reply_tokens=reply_tokens, seed=seed)
    rows = []
    for prompt, replies, values in zip(asked, found["replies"], found["rewards"], strict=True):
        ranked = _ranked(replies[:n], values[:n])
        if len(ranked) < 2 or not ranked[0][1] - ranked[-1][1] > least_gap:
            continue
        highest, lowest = ranked[0][1], ranked[-1][1]
        said = [[{"role": "assistant", "content": reply}] for reply, _ in ranked]
        if form == "rankings":
            rows.append({"prompt": prompt, "replies": said, "scores": [value for _, value in ranked]})
        else:
            rows.append({"prompt": prompt, "chosen": said[0], "rejected": said[-1], "reward_chosen": highest, "reward_rejected": lowest})
    if not rows:
        raise DataError(f"Of no prompt do the {n} replies differ in reward by more than {least_gap:g}.",
                        "Use a larger n, or a sampler of a higher temperature.")
    return rows


def _conversations(prompts: Any) -> list[list[dict[str, str]]]:
    if isinstance(prompts, Sequence) and not isinstance(prompts, str) and prompts and not isinstance(prompts[0], Mapping):
        return [[{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt) for prompt in prompts]
    return [row["prompt"] for row in prompts_module.read(prompts if hasattr(prompts, "to_batches") else sources.load_rows(prompts))]


def _ranked(replies: Sequence[str], values: Sequence[float]) -> list[tuple[str, float]]:
    """Each reply that says something, once, the best first; of equal ones the first written."""
    once: dict[str, float] = {}
    for reply, value in zip(replies, values, strict=True):
        if reply.strip():
            once.setdefault(reply, float(value))
    return sorted(once.items(), key=lambda item: -item[1])
