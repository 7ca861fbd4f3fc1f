"""Tokens of a prompt with each of its replies, the same for a reward model that trains and for one that scores.

A conversation goes through the tokenizer's chat template whole, the end token of the reply included. Of one that is too long the beginning
is left out, never the reply's end, where the reward is read. No row ends in the pad token: transformers takes the last token that is none
for the last token of the text. Not here: padding (`models/classifier.py`) and which rows there are (`comparisons.py`).
"""

from typing import Any

from workbench.templates import chat

Messages = list[dict[str, str]]


def encode(tokenizer: Any, conversations: list[Messages], max_length: int) -> tuple[list[list[int]], int]:
    """Token ids of each conversation, at most its last `max_length`; and how many were cut.

    The tokenizer has a chat template (`chat.ensure_template`). Raises `DataError` where that refuses a conversation.
    """
    out, cut = [], 0
    for ids, _ in chat.encode_all(tokenizer, [{"messages": messages} for messages in conversations], False):
        ids = list(ids)
        while len(ids) > 1 and ids[-1] == tokenizer.pad_token_id:
            ids.pop()
        cut += len(ids) > max_length
        out.append(ids[-max_length:])
    return out, cut
