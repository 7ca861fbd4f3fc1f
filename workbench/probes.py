"""Questions to the model while it trains, answered without a trace: random state, gradients and train mode stay as they were."""

import contextlib
import copy
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from workbench.data import comparisons, labelled, layouts, reply_tokens, tables
from workbench.models import classifier, loading, reward
from workbench.templates import chat

IGNORE = -100


@contextlib.contextmanager
def untouched(model: Any) -> Iterator[None]:
    """Puts back the random state of Python, numpy and torch (every device), and the model's train or eval mode."""
    python, numpy, training = random.getstate(), np.random.get_state(), model.training
    cudas = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=cudas):
        model.eval()
        try:
            yield
        finally:
            model.train(training)
            random.setstate(python)
            np.random.set_state(numpy)


def questions(rows: list[dict[str, Any]]) -> list[str]:
    """What each row asks last, as text; in rows of plain text, their first words. Raises `DataError` for rows of no known layout."""
    return [_last_words(prompt) for prompt, _, _ in _prompts(rows)]


def _last_words(prompt: str | list[dict[str, str]]) -> str:
    return prompt if isinstance(prompt, str) else prompt[-1]["content"]


def _prompts(rows: list[dict[str, Any]]) -> list[tuple[Any, str, bool]]:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return [chat.prompt_of(example) for example in layouts.examples(rows, columns)]


def of(recipe: Any, model: Any, tokenizer: Any, max_length: int) -> "Probes | LabelProbes | RewardProbes":
    """What answers for the model of a run with this recipe."""
    if recipe.objective == "classification":
        return LabelProbes(model, tokenizer, max_length)
    if recipe.objective == "reward":
        return RewardProbes(model, tokenizer, max_length)
    return Probes(model, tokenizer, recipe.completions_only and recipe.objective != "pretraining", max_length)


class LabelProbes:
    """Answers `classify`, `generate` (the label, as a reply) and `losses` of a classifier with the weights as they are now. Raises as `Probes` does."""

    def __init__(self, model: Any, tokenizer: Any, max_length: int = 512):
        self.model, self.tokenizer, self.max_length = model, tokenizer, max_length

    def answer(self, probe: str, arguments: dict[str, Any]) -> Any:
        if probe not in ("classify", "generate", "losses"):
            raise ValueError(f"A classifier has no probe called {probe!r}: it answers with a label for each text.")
        with untouched(self.model):
            return getattr(self, probe)(**arguments)

    def classify(self, texts: list[str]) -> list[dict[str, Any]]:
        """`{"label", "probability"}` of each text: the likeliest one."""
        names = classifier.labels_of(self.model.config)
        return [{"label": names[row.argmax()], "probability": float(np.exp(row.max()))} for row in self._log_probabilities(texts)]

    def generate(self, prompt: str, **_options: Any) -> str:
        """The label of a text and its probability, such as "spam (98 %)"; options of generation mean nothing here."""
        answer, = self.classify([prompt])
        return f"{answer['label']} ({answer['probability']:.0%})".replace("%", " %")

    def losses(self, rows: list[dict[str, Any]]) -> list[float]:
        """Cross-entropy of each row's label, in nats."""
        examples, names = labelled.read(tables.from_dicts(rows, "the rows")), classifier.labels_of(self.model.config)
        unknown = [example["label"] for example in examples if example["label"] not in names]
        if unknown:
            raise ValueError(f"The label {unknown[0]!r} is none of {', '.join(names)}.")
        told = self._log_probabilities([example["text"] for example in examples])
        return [-float(row[names.index(example["label"])]) for row, example in zip(told, examples, strict=True)]

    def _log_probabilities(self, texts: list[str]) -> np.ndarray:
        return classifier.log_probabilities(classifier.logits(self.model, self.tokenizer, texts, self.max_length))


class RewardProbes:
    """Answers `score` and `losses` of a reward model with the weights as they are now. Raises as `Probes` does."""

    def __init__(self, model: Any, tokenizer: Any, max_length: int = 512):
        room = getattr(model.config, "max_position_embeddings", None) or max_length
        self.model, self.tokenizer, self.max_length = model, copy.copy(tokenizer), min(max_length, room)
        chat.ensure_template(self.tokenizer)  # one given here stays with the copy

    def answer(self, probe: str, arguments: dict[str, Any]) -> Any:
        if probe not in ("score", "losses"):
            raise ValueError(f"A reward model has no probe called {probe!r}: it scores replies and writes none.")
        with untouched(self.model):
            return getattr(self, probe)(**arguments)

    def score(self, prompt: Any, replies: list[Any]) -> list[dict[str, float]]:
        """Of each reply to `prompt` the reward by each head; both are texts, or lists of messages."""
        asked = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        said = [[{"role": "assistant", "content": reply}] if isinstance(reply, str) else reply for reply in replies]
        heads = reward.heads_of(self.model.config)
        return [dict(zip(heads, values, strict=True)) for values in self.rewards([[*asked, *reply] for reply in said]).tolist()]

    def losses(self, rows: list[dict[str, Any]]) -> list[float | None]:
        """Loss of each comparison in nats, as training weighs its pairs; None of one that is a tie by every criterion."""
        table = tables.from_dicts(rows, "the rows")
        names, found = comparisons.heads_of(table), comparisons.read(table)
        heads = reward.heads_of(self.model.config)
        unknown = [name for name in names if name not in heads]
        if unknown:
            raise ValueError(f"The criterion {unknown[0]!r} is none of {', '.join(heads)}.")
        out = []
        for row in found:
            if not row["pairs"]:
                out.append(None)
                continue
            values = torch.tensor(self.rewards([[*row["prompt"], *reply] for reply in row["replies"]]))
            pairs = torch.tensor([(better, worse, heads.index(names[head])) for better, worse, head, _ in row["pairs"]])
            margins, weights = torch.tensor([margin for *_, margin in row["pairs"]]), torch.tensor(reward.pair_weights(row["pairs"]))
            out.append((weights * reward.pair_losses(values, pairs, margins)).sum().item())
        return out

    def rewards(self, conversations: list[list[dict[str, str]]], batch_size: int = 32) -> np.ndarray:
        """The rewards of conversations by each head, float32 N x H; each is read once, however often it comes."""
        ids, _ = reply_tokens.encode(self.tokenizer, conversations, self.max_length)
        place = {row: number for number, row in enumerate(dict.fromkeys(map(tuple, ids)))}
        return reward.scores(self.model, list(place), batch_size)[[place[tuple(row)] for row in ids]]


class Probes:
    """Answers `generate`, `next_tokens` and `losses` with the weights as they are now. Unknown names or arguments raise `ValueError` or `TypeError`."""

    def __init__(self, model: Any, tokenizer: Any, completions_only: bool = True, max_length: int = 512):
        self.model, self.tokenizer, self.completions_only, self.max_length = model, tokenizer, completions_only, max_length

    def answer(self, probe: str, arguments: dict[str, Any]) -> Any:
        if probe not in ("generate", "next_tokens", "losses"):
            raise ValueError(f"There is no probe called {probe!r}.")
        with untouched(self.model), torch.no_grad():
            return getattr(self, probe)(**arguments)

    def _ids(self, prompt: Any, raw: bool) -> list[int]:
        raw = raw or not self.tokenizer.chat_template
        ids = chat.prompt_ids(self.tokenizer, prompt, raw)
        if not ids:
            raise ValueError("The prompt is empty, so there is nothing to go on from.")
        if len(ids) >= self.max_length and len(ids) >= (getattr(self.model.config, "max_position_embeddings", None) or len(ids) + 1):
            raise ValueError(f"The prompt is {len(ids)} tokens long and leaves no room for a reply; shorten it.")
        return ids

    def generate(self, prompt: Any, max_new_tokens: int = 64, temperature: float = 0.0, seed: int | None = None, raw: bool = False) -> str:
        """A reply to `prompt` (a question, or a list of messages; `raw` continues plain text)."""
        return loading.generate(self.model, self.tokenizer, self._ids(prompt, raw), max_new_tokens=int(max_new_tokens), temperature=float(temperature),
                                seed=seed)

    def replies(self, rows: list[dict[str, Any]], max_new_tokens: int = 64) -> list[str]:
        """The greedy reply to each row's last question, whatever the rows' layout; a tokenizer without a chat template is given its bare text."""
        bare = not self.tokenizer.chat_template
        return [self.generate(_last_words(prompt) if bare else prompt, max_new_tokens, raw=raw) for prompt, _, raw in _prompts(rows)]

    def next_tokens(self, prompt: Any, k: int = 10, raw: bool = False) -> list[list[Any]]:
        """`[[text, probability], ...]` of the k likeliest next tokens."""
        ids = torch.tensor([self._ids(prompt, raw)], device=self.model.device)
        logits = self.model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits[0, -1]
        top = torch.softmax(logits.float(), -1).topk(min(int(k), logits.shape[-1]))
        return [[self.tokenizer.decode([token]), probability] for token, probability in zip(top.indices.tolist(), top.values.tolist(), strict=True)]

    def losses(self, rows: list[dict[str, Any]]) -> list[float | None]:
        """Loss of each row in nats per trained token; None where none of its tokens is trained."""
        out = []
        for example in layouts.examples(rows, list(dict.fromkeys(name for row in rows for name in row))):
            ids, mask = chat.encode(self.tokenizer, example, self.completions_only)
            ids, mask = ids[:self.max_length], mask[:self.max_length]
            if not any(mask):
                out.append(None)
                continue
            batch = torch.tensor([ids], device=self.model.device)
            labels = torch.tensor([[token if kept else IGNORE for token, kept in zip(ids, mask, strict=True)]], device=self.model.device)
            logits = self.model(input_ids=batch, attention_mask=torch.ones_like(batch), use_cache=False).logits[:, :-1].float()
            out.append(torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORE).item())
        return out
