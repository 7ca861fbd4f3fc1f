"""How a reward model orders pairs it did not learn from: the reward and the gap of each, one head or several, one run or several together.

    gaps = reward_gaps(run, "town:preferences_heldout")
    calibration(gaps);  length_bias(gaps).sentence;  suspicious(gaps, 0.1);  ensemble([run, other], rows)

The gap is the reward of the reply that people chose less that of the other. Not here: what a table of gaps says (`alignment/gaps.py`; its
names are these too), and accuracy while a run trains (its journal).
"""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.alignment.gaps import LengthBias as LengthBias
from workbench.alignment.gaps import calibration as calibration
from workbench.alignment.gaps import length_bias as length_bias
from workbench.alignment.gaps import suspicious as suspicious
from workbench.data import comparisons, sources
from workbench.errors import DataError, WorkbenchError
from workbench.evaluation import implicit_rewards
from workbench.evaluation.pair_lines import pair_lines, with_rewards
from workbench.models import loading, reward
from workbench.recipes import load
from workbench.runs.attach import attach
from workbench.runs.run import Run

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


def reward_gaps(model_or_run: Any, rows: Any, *, weights: Mapping[str, float] | None = None, batch_size: int = 32,
                max_length: int | None = None) -> "pd.DataFrame":
    """One line for each pair, in order (of a ranking, one for each two replies of different rank): row (of the table, from 0), prompt,
    chosen_text, rejected_text, chosen and rejected (rewards), gap, chosen_length and rejected_length (words), and every other plain column
    that the rows have, such as `flipped` or `annotator`.

    `model_or_run` is a run with objective "reward" or its folder (then with its recipe's `max_length`), a model folder or a pair (model,
    tokenizer); or a run that learned from preferences directly, for its implicit rewards (`implicit_rewards.py`). Of a model with several
    heads the reward is the mean by `weights` (name -> weight, by default all alike), and "gap/NAME" is each head's. Which reply was chosen
    is told by the rows' order, not by criteria. Raises `DataError` where rows do not compare replies or
    weights name no head, `WorkbenchError` where the model gives no rewards.
    """
    implicit = implicit_rewards.of(model_or_run)
    model, tokenizer, usual = (None, None, 0) if implicit else opened(model_or_run)
    heads = [comparisons.HEAD] if implicit else reward.heads_of(model.config)
    told = pair_lines(rows if hasattr(rows, "to_batches") else sources.load_rows(rows))
    if implicit:
        values = implicit.scores(told.found, batch_size, max_length)[:, None]
    else:
        talks = [[*row["prompt"], *reply] for row in told.found for reply in row["replies"]]
        values = _scores(model, tokenizer, talks, max_length or usual, batch_size)
    first = list(itertools.accumulate((len(row["replies"]) for row in told.found), initial=0))
    one, other = ([first[place[0]] + place[which] for place in told.places] for which in (1, 2))
    return mixed(told.frame, values[one], values[other], heads, weights)


def mixed(frame: "pd.DataFrame", chosen: "np.ndarray", rejected: "np.ndarray", heads: Sequence[str],
          weights: Mapping[str, float] | None) -> "pd.DataFrame":
    """The lines of `pair_lines` with rewards of both replies, P x heads, mixed by weights."""
    shares = _shares(heads, weights)
    by_head = {head: chosen[:, number] - rejected[:, number] for number, head in enumerate(heads)} if len(heads) > 1 else {}
    return with_rewards(frame, chosen @ shares, rejected @ shares, by_head)


def _shares(heads: Sequence[str], weights: Mapping[str, float] | None) -> "np.ndarray":
    """The weight of each head, 1 in all."""
    import numpy as np

    given = dict.fromkeys(heads, 1.0) if weights is None else dict(weights)
    unknown = next((name for name in given if name not in heads), None)
    if unknown is not None:
        raise DataError(f"The weights name {unknown!r}, and the model's heads are {', '.join(heads)}.", "Name its heads.")
    out = np.array([float(given.get(head, 0.0)) for head in heads])
    if not np.isfinite(out).all() or (out < 0).any() or not out.sum():
        raise DataError(f"The weights are {given}; they must be at least 0, and one above it.", f"Use weights={{{heads[0]!r}: 1}}.")
    return out / out.sum()


def score(model_or_run: Any, prompts: Sequence[Any], replies: Sequence[Any], *, batch_size: int = 32,
          max_length: int | None = None) -> "np.ndarray":
    """The rewards of replies, one to each prompt, float32 N x heads. Both are texts or lists of messages. Takes and raises what
    `reward_gaps` does."""
    model, tokenizer, usual = opened(model_or_run)
    reward.heads_of(model.config)
    asked = [[{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt) for prompt in prompts]
    said = [[{"role": "assistant", "content": reply}] if isinstance(reply, str) else list(reply) for reply in replies]
    talks = [[*prompt, *reply] for prompt, reply in zip(asked, said, strict=True)]
    return _scores(model, tokenizer, talks, max_length or usual, batch_size)


def _scores(model: Any, tokenizer: Any, talks: list[list[dict[str, str]]], max_length: int, batch_size: int) -> "np.ndarray":
    from workbench.probes import RewardProbes, untouched

    with untouched(model):
        return RewardProbes(model, tokenizer, max_length).rewards(talks, batch_size)


def opened(source: Any) -> tuple[Any, Any, int]:
    """(model, tokenizer, max_length). Raises `WorkbenchError` for what gives no rewards."""
    length = 512
    if isinstance(source, (str, Path)) and any((Path(source).expanduser() / name).exists() for name in ("journal.jsonl", "recipe.json")):
        source = attach(source)
    if isinstance(source, Run):
        length, (model, tokenizer) = source.recipe.max_length, source.load()
    elif isinstance(source, (str, Path)):
        model, tokenizer = load(str(source))
    elif isinstance(source, (tuple, list)) and len(source) == 2:
        model, tokenizer = source
    else:
        raise WorkbenchError(f"This {type(source).__name__} is no model and no run.",
                             "Give a run, a run folder, a model folder, or a pair (model, tokenizer).")
    if not loading.classifies(model.config) or not reward.rewards(model.config):
        raise WorkbenchError("This model gives no rewards: it is a language model, or tells labels.", 'Train one with objective="reward".')
    return model, tokenizer, length


def ensemble(models_or_runs: Sequence[Any], rows: Any, **options: Any) -> "pd.DataFrame":
    """`reward_gaps` of several models on the same rows: chosen, rejected and gap are their means, `spread` the standard deviation of the
    gap between them (n - 1), and `gap_1`, `gap_2`, ... each one's. Each reward is first centred on its model's mean over the rows: a
    Bradley-Terry model's rewards have no zero of their own (Coste et al. 2024, arXiv 2310.02743, use mean and spread against
    over-optimisation)."""
    if len(models_or_runs) < 2:
        raise DataError("An ensemble is of two models at least.", "Give several runs, such as those of three seeds.")
    table = rows if hasattr(rows, "to_batches") else sources.load_rows(rows)
    return together([reward_gaps(one, table, **options) for one in models_or_runs])


def together(each: "Sequence[pd.DataFrame]") -> "pd.DataFrame":
    """Tables of gaps of the same pairs as the one that `ensemble` describes."""
    out = each[0].drop(columns=[name for name in each[0] if name.startswith("gap/")])
    centres = [(gaps["chosen"].mean() + gaps["rejected"].mean()) / 2 for gaps in each]
    for name in ("chosen", "rejected"):
        out[name] = sum(gaps[name] - centre for gaps, centre in zip(each, centres, strict=True)) / len(each)
    out["gap"] = sum(gaps["gap"] for gaps in each) / len(each)
    out["spread"] = (sum((gaps["gap"] - out["gap"]) ** 2 for gaps in each) / (len(each) - 1)) ** 0.5
    for number, gaps in enumerate(each, start=1):
        out[f"gap_{number}"] = gaps["gap"]
    return out
