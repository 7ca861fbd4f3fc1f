"""Ways of writing replies: drawn at a temperature, the likeliest by beam search, or several that differ (diverse beam search).

    draw(model, tokenizer, [ids], 4, Beam(4), reply_tokens=32)      # 4 replies to each prompt, as tokens
Drawing and beam search are transformers' own. Its group beam search is code that it fetches from the hub, so the one here is ours: a group
is one beam. Values are plain, so that a notebook writes them without torch. Not here: replies of a policy that trains
(`training/rollouts.py`).
"""

import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from workbench.errors import WorkbenchError

AT_ONCE = 256
"""Replies written together."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """Each token drawn from the model's distribution: of logits / temperature, of its likeliest tokens that hold `top_p` of it, of the
    `top_k` likeliest alone (0: all)."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0

    def __post_init__(self) -> None:
        _need(_number(self.temperature) and 0 < self.temperature <= 100, "temperature", self.temperature, "above 0 and at most 100", "temperature=1.0")
        _need(_number(self.top_p) and 0 < self.top_p <= 1, "top_p", self.top_p, "above 0 and at most 1", "top_p=0.9")
        _need(isinstance(self.top_k, int) and self.top_k >= 0, "top_k", self.top_k, "a whole number of at least 0", "top_k=50")


@dataclass(frozen=True, slots=True)
class Beam:
    """The likeliest replies that a search keeping `beams` beginnings finds. `length_penalty` 0 compares log-probabilities, 1 those of a
    token."""

    beams: int = 4
    length_penalty: float = 1.0

    def __post_init__(self) -> None:
        _need(isinstance(self.beams, int) and self.beams >= 1, "beams", self.beams, "a whole number of at least 1", "beams=4")
        _need(_number(self.length_penalty) and abs(self.length_penalty) < 1e6, "length_penalty", self.length_penalty, "a finite number",
              "length_penalty=1.0")


@dataclass(frozen=True, slots=True)
class DiverseBeam:
    """Replies written side by side, each taking the likeliest token less `penalty` nats for every reply before it that takes the same one
    at that place (Vijayakumar et al. 2018, arXiv 1610.02424, eq. 5 with the Hamming diversity of section 4, a beam a group)."""

    penalty: float = 1.0

    def __post_init__(self) -> None:
        _need(_number(self.penalty) and 0 <= self.penalty < 1e6, "penalty", self.penalty, "at least 0", "penalty=1.0")


Sampler = Sampling | Beam | DiverseBeam


def _number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _need(good: Any, name: str, value: Any, must: str, use: str) -> None:
    if not good:
        raise WorkbenchError(f"{name} is {value!r}; it must be {must}.", f"Use {use}.")


def draw(model: Any, tokenizer: Any, prompt_ids: Sequence[Sequence[int]], count: int = 1, sampler: Sampler = Sampling(), *,
         reply_tokens: int = 64, seed: int | None = None) -> list[list[list[int]]]:
    """`count` replies to each prompt as tokens, their end token included, best first where they are searched for. The model is put into
    eval mode for it; torch's random state goes on from `seed`, where one is given. Raises `WorkbenchError` where more are wanted than a beam
    search keeps."""
    import torch

    if isinstance(sampler, Beam) and count > sampler.beams:
        raise WorkbenchError(f"A search of {sampler.beams} beams ends with no more replies, and {count} are wanted.", f"Use Beam({count}).")
    training, out = model.training, []
    model.eval()
    if seed is not None:
        torch.manual_seed(seed)
    try:
        many = max(1, AT_ONCE // (max(count, sampler.beams) if isinstance(sampler, Beam) else count))
        for first in range(0, len(prompt_ids), many):
            out += _drawn(model, tokenizer, prompt_ids[first:first + many], count, sampler, reply_tokens)
    finally:
        model.train(training)
    return out


def _drawn(model: Any, tokenizer: Any, prompts: Sequence[Sequence[int]], count: int, sampler: Sampler,
           reply_tokens: int) -> list[list[list[int]]]:
    import torch

    width = max(map(len, prompts))
    room = getattr(model.config, "max_position_embeddings", None)
    ids = torch.full((len(prompts), width), tokenizer.pad_token_id)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt):] = torch.tensor(prompt)
        mask[row, width - len(prompt):] = 1
    named = getattr(model.generation_config, "eos_token_id", None)
    ends = list(dict.fromkeys([tokenizer.eos_token_id, *([] if named is None else [named] if isinstance(named, int) else named)]))
    how: dict[str, Any] = dict(do_sample=False, num_return_sequences=count)
    if isinstance(sampler, Sampling):
        how = dict(do_sample=True, temperature=sampler.temperature, top_p=sampler.top_p, top_k=sampler.top_k, num_return_sequences=count)
    elif isinstance(sampler, Beam):
        how |= dict(num_beams=sampler.beams, length_penalty=sampler.length_penalty)
    else:  # rows of one prompt stand together, and the processor tells them apart
        ids, mask = ids.repeat_interleave(count, 0), mask.repeat_interleave(count, 0)
        how = dict(do_sample=False, logits_processor=[_Apart(count, sampler.penalty, width, ends)])
    with torch.no_grad():
        found = model.generate(input_ids=ids.to(model.device), attention_mask=mask.to(model.device), use_cache=True,
                               pad_token_id=tokenizer.pad_token_id, eos_token_id=ends,
                               max_new_tokens=min(reply_tokens, max(1, room - width)) if room else reply_tokens, **how)
    replies = [_ended(row, ends) for row in found[:, width:].tolist()]
    return [replies[first:first + count] for first in range(0, len(replies), count)]


def _ended(ids: list[int], ends: list[int]) -> list[int]:
    return ids[:next((place for place, token in enumerate(ids, start=1) if token in ends), len(ids))]


class _Apart:
    """A logits processor for G rows a prompt: takes from each row's log-probabilities what the rows before it have taken."""

    def __init__(self, groups: int, penalty: float, width: int, ends: list[int]):
        self.groups, self.penalty, self.width, self.ends = groups, penalty, width, ends

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        import torch

        logp = scores.log_softmax(-1).view(-1, self.groups, scores.shape[-1])
        over = torch.isin(input_ids[:, self.width:], torch.tensor(self.ends, device=scores.device)).any(1).view(-1, self.groups)
        taken = torch.zeros_like(logp[:, 0])
        for group in range(self.groups):
            logp[:, group] -= self.penalty * taken
            token = logp[:, group].argmax(-1, keepdim=True)
            taken.scatter_add_(1, token, (~over[:, group, None]).to(taken))
        return logp.view_as(scores)
