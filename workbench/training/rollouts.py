"""Replies of a language model, drawn in a batch with a cache, and what it and others think of them: log-probabilities, entropy, values.

Prompts are padded on the left while replies are drawn. Where replies are read, prompt and reply stand together (on a CPU several of them
end to end in a row, `laid_rows`), and only the positions before a reply's tokens reach the output head. Log-probabilities are those of the
distribution that is drawn from: of logits / temperature. Not here: rewards (`scoring.py`), and what is learned from them.

Shapes: N replies, T tokens of the longest, M tokens of all of them, V vocabulary, D hidden.
"""

import contextlib
import inspect
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache

from workbench.errors import RunError
from workbench.models import classifier
from workbench.training import fast_rows, laid_rows

Ids = Sequence[Sequence[int]]
DROPPED_AT = 0.25
"""Share of the rows of a batch that must have ended before they are taken out of it: that copies the cache."""
CHUNK_TOKENS = 1 << 14
"""Tokens of replies whose logits are held at one time where no gradients are wanted."""


@dataclass(slots=True)
class Replies:
    """`ids` of each reply, its end token included; `ended` tells which have one."""

    ids: list[list[int]]
    ended: list[bool]


def end_tokens(model: Any, tokenizer: Any) -> list[int]:
    """The tokens that end a reply: the tokenizer's, and those that the model's generation settings name."""
    told = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    told = [] if told is None else [told] if isinstance(told, int) else list(told)
    return list(dict.fromkeys([tokenizer.eos_token_id, *told]))


@torch.no_grad()
def generate(model: Any, tokenizer: Any, prompt_ids: Ids, *, reply_tokens: int, temperature: float = 1.0,
             generator: torch.Generator | None = None, chunk: int | None = None) -> Replies:
    """A reply of at most `reply_tokens` to each prompt, drawn at `temperature` (0: the likeliest tokens) from `generator`, or torch's own.

    `chunk` is how many go through the model together (None: all). The model is used as it is: in train mode it drops out. Raises `RunError`
    where its weights have run away.
    """
    ends = end_tokens(model, tokenizer)
    out = Replies([], [])
    for first in range(0, len(prompt_ids), chunk or max(1, len(prompt_ids))):
        ids = _drawn(model, prompt_ids[first:first + chunk] if chunk else prompt_ids, reply_tokens, temperature, generator, ends)
        out.ids += ids
        out.ended += [row[-1] in ends for row in ids]
    return out


def _drawn(model: Any, prompts: Ids, reply_tokens: int, temperature: float, generator: torch.Generator | None,
           ends: list[int]) -> list[list[int]]:
    width = max(map(len, prompts))
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions:
        reply_tokens = max(1, min(reply_tokens, positions - width))
    ids = torch.zeros((len(prompts), width), dtype=torch.long)
    mask = torch.zeros((len(prompts), width + reply_tokens), dtype=torch.long)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt):] = torch.tensor(prompt)
        mask[row, width - len(prompt):] = 1
    ids, mask, end_ids = ids.to(model.device), mask.to(model.device), torch.tensor(ends, device=model.device)
    place = (mask.cumsum(1) - 1).clamp(min=0)
    options = {"logits_to_keep": 1} if _takes(model, "logits_to_keep") else {}
    placed = _takes(model, "position_ids")
    cache = DynamicCache(config=_plain(model).config)
    replies = torch.zeros((len(prompts), reply_tokens), dtype=torch.long, device=model.device)
    lengths = torch.full((len(prompts),), reply_tokens, device=model.device)
    rows = torch.arange(len(prompts), device=model.device)
    open_ = torch.ones(len(prompts), dtype=torch.bool, device=model.device)
    for step in range(reply_tokens):
        seen = width + step
        if placed:
            options["position_ids"] = place[:, seen - ids.shape[1]:seen]
        logits = model(input_ids=ids, attention_mask=mask[:, :seen], past_key_values=cache, use_cache=True, **options).logits[:, -1].float()
        if not (logits < math.inf).all():  # nor is NaN; a token that a model never writes may be at -inf
            raise RunError("The model no longer gives probabilities: its weights have become infinite or no numbers.",
                           "Fork from an earlier checkpoint with a smaller learning rate, or a larger beta.")
        if temperature == 0:
            token = logits.argmax(-1)
        else:
            token = torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator)[:, 0]
        replies[rows, step] = token
        over = open_ & torch.isin(token, end_ids)
        lengths[rows[over]] = step + 1
        open_ &= ~over
        left = int(open_.sum())
        if left == 0:
            break
        if left <= (1 - DROPPED_AT) * len(rows):
            kept = open_.nonzero()[:, 0]
            cache.batch_select_indices(kept)
            rows, mask, place, token, open_ = rows[kept], mask[kept], place[kept], token[kept], open_[kept]
        ids = token[:, None]
    return [row[:length] for row, length in zip(replies.tolist(), lengths.tolist(), strict=True)]


@dataclass(slots=True)
class Reading:
    """What a model thinks of the tokens of N replies, each N x T, 0 where a reply has ended (`mask` is False there)."""

    logp: torch.Tensor
    """Of each token, in nats."""
    entropy: torch.Tensor
    """Of the distribution that it was drawn from, in nats."""
    mask: torch.Tensor
    hidden: torch.Tensor
    """M x D: what the output head was given where each token was drawn."""

    def padded(self, values: torch.Tensor) -> torch.Tensor:
        """M values, one for each token, as N x T."""
        return padded(values, self.mask)


def padded(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """M values as N x T, 0 where `mask` is False."""
    out = values.new_zeros(mask.shape)
    out[mask] = values
    return out


class Reader:
    """`reader(model, prompt_ids, reply_ids)` reads replies with the model as it is now; made once for a model. On a CPU its
    attention learns to keep apart what stands in one row."""

    def __init__(self, model: Any):
        plain = _plain(model)
        self.laid = fast_rows.prepare(plain) or (plain.config._attn_implementation == fast_rows.NAME and plain.device.type == "cpu")

    def __call__(self, model: Any, prompt_ids: Ids, reply_ids: Ids, temperature: float = 1.0) -> Reading:
        """Of replies that have at least one token each, after prompts that have one. Gradients flow where they are on."""
        device = model.device
        rows = [[*prompt, *reply] for prompt, reply in zip(prompt_ids, reply_ids, strict=True)]
        lengths = torch.tensor([len(reply) for reply in reply_ids])
        inputs, starts, inside = self._inputs(rows)
        mask = torch.arange(int(lengths.max())) < lengths[:, None]
        firsts = starts + torch.tensor([len(prompt) - 1 for prompt in prompt_ids])
        at = (firsts[:, None] + torch.arange(mask.shape[1]))[mask].to(device)
        mask, targets = mask.to(device), torch.tensor([token for reply in reply_ids for token in reply], device=device)
        with inside, _only(_plain(model).get_output_embeddings(), at) as reached:
            out = model(**{name: tensor.to(device) for name, tensor in inputs.items()}, use_cache=False)
        logp = (out.logits[0].float() / temperature).log_softmax(-1)
        entropy = -(logp.exp() * logp).sum(-1)
        return Reading(padded(logp.gather(1, targets[:, None])[:, 0], mask), padded(entropy, mask), mask, reached[0])

    @torch.no_grad()
    def quietly(self, model: Any, prompt_ids: Ids, reply_ids: Ids, temperature: float = 1.0) -> Reading:
        """The same without gradients, a part of the replies at a time."""
        widest = max(map(len, reply_ids))
        many = max(1, CHUNK_TOKENS // widest)
        parts = [self(model, prompt_ids[n:n + many], reply_ids[n:n + many], temperature) for n in range(0, len(reply_ids), many)]

        def joined(name: str) -> torch.Tensor:
            values = [getattr(part, name) for part in parts]
            return torch.cat([torch.nn.functional.pad(value, (0, widest - value.shape[1])) for value in values])

        return Reading(joined("logp"), joined("entropy"), joined("mask"), torch.cat([part.hidden for part in parts]))

    def _inputs(self, rows: list[list[int]]) -> tuple[dict[str, torch.Tensor], torch.Tensor, contextlib.AbstractContextManager[None]]:
        """What the model is given, where among its B*T positions each row starts, and inside what it reads."""
        lengths = torch.tensor([len(row) for row in rows])
        if self.laid:
            body = laid_rows.laid(rows, 0)
            inside = fast_rows.apart(body.pop("lengths"), body["input_ids"].shape[1])
            return body, body.pop("ends") - lengths + 1, inside
        body = classifier.padded(rows, 0)
        return body, torch.arange(len(rows)) * body["input_ids"].shape[1], contextlib.nullcontext()


@contextlib.contextmanager
def _only(head: torch.nn.Module, at: torch.Tensor) -> Iterator[list[torch.Tensor]]:
    """Inside, the output head sees but the M positions `at` of the B*T, as 1 x M x D; what it saw is in the list."""
    reached: list[torch.Tensor] = []

    def select(_module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        reached.append(inputs[0].flatten(0, 1)[at])
        return (reached[0][None], *inputs[1:])

    handle = head.register_forward_pre_hook(select)
    try:
        yield reached
    finally:
        handle.remove()


def log_probabilities(model: Any, prompt_ids: Ids, reply_ids: Ids,
                      temperature: float = 1.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """`(logp, entropy, mask)`, N x T each, of replies under a model, without gradients."""
    found = Reader(model).quietly(model, prompt_ids, reply_ids, temperature)
    return found.logp, found.entropy, found.mask


@contextlib.contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Inside, nothing is dropped out, so that a reply is read by the very distribution that it was drawn from."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def _plain(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _takes(model: Any, argument: str) -> bool:
    return argument in inspect.signature(type(_plain(model)).forward).parameters
