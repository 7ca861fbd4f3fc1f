"""Texts as windows of token ids, and how well a model predicts them: the mean loss in nats a token, and perplexity.

Only what quantization needs to be judged by; templates, masks and packing are elsewhere.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from workbench.errors import DataError


def token_windows(model: Any, tokenizer: Any, texts: Iterable[Any], max_length: int = 512) -> list[list[int]]:
    """Each text as windows of at most `max_length` ids (and of what the model has positions for), of at least two.

    A text is a string, a row with a "text" column, a row of "messages" (the tokenizer's chat template is used), or a list of ids. Raises
    `DataError` where none is left or a row is something else.
    """
    room = getattr(model.config, "max_position_embeddings", None) or max_length
    size = min(max_length, room)
    windows = []
    for row in texts:
        ids = _ids(tokenizer, row)
        windows += [window for start in range(0, len(ids), size) if len(window := ids[start:start + size]) > 1]
    if not windows:
        raise DataError("There is no text of two tokens or more.", "Give some texts, or rows with a text or messages column.")
    return windows


def _ids(tokenizer: Any, row: Any) -> list[int]:
    if isinstance(row, Mapping):
        if row.get("messages"):
            text = tokenizer.apply_chat_template(row["messages"], tokenize=False)
            return tokenizer(text, add_special_tokens=False)["input_ids"]
        row = row.get("text")
    if isinstance(row, str):
        return tokenizer(row)["input_ids"]
    if isinstance(row, list | tuple) and all(isinstance(i, int) for i in row):
        return list(row)
    raise DataError(f"A row is {type(row).__name__}, which is no text.",
                    'Give strings, rows with a "text" or "messages" column, or lists of token ids.')


def nats_per_token(model: Any, tokenizer: Any, texts: Iterable[Any], max_length: int = 512,
                   progress: Callable[[int, int], None] | None = None) -> tuple[float, int]:
    """`(mean loss in nats, tokens)` over every token but the first of each window. One window at a time, so no padding changes a scale.

    `progress(windows done, windows)`; what it raises ends the work. The model is left in its own mode.
    """
    import torch

    windows = token_windows(model, tokenizer, texts, max_length)
    training, total, tokens = model.training, 0.0, 0
    device = next(model.parameters()).device
    model.eval()
    try:
        with torch.no_grad():
            for done, window in enumerate(windows, 1):
                ids = torch.tensor([window], device=device)
                logits = model(input_ids=ids, use_cache=False).logits[0, :-1].float()
                total += float(torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum"))
                tokens += len(window) - 1
                if progress:
                    progress(done, len(windows))
    finally:
        model.train(training)
    return total / tokens, tokens


def perplexity(model: Any, tokenizer: Any, texts: Iterable[Any], max_length: int = 512,
               progress: Callable[[int, int], None] | None = None) -> float:
    """exp of the mean loss a token; infinite where the model gives no finite loss. Arguments as `nats_per_token`."""
    nats, _ = nats_per_token(model, tokenizer, texts, max_length, progress)
    return math.exp(nats) if nats < 700 else math.inf
