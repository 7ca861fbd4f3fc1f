"""Prompts with their replies as tokens, as a policy is trained on them: a prompt once, and what each reply adds to it.

    {"prompt": [ids], "replies": [[ids], ...], "number": 0}
A prompt ends where the tokens of the prompt alone and of the prompt with a reply part, as in trl. A reply ends with its end token; what a
template writes after that is nobody's to say. Of what is too long for `max_length` the prompt's beginning is left out first, then the
reply's end. Not here: which rows there are (`data/comparisons.py`, `data/verdicts.py`), and their layout in a batch (`reply_logps.py`).
"""

from typing import Any

from workbench.templates import chat

Row = dict[str, Any]
Messages = list[dict[str, str]]


def encode(tokenizer: Any, examples: list[Row], max_length: int) -> tuple[list[Row], int]:
    """A row for each example with a `prompt` and `replies` (messages), and how many replies were cut or lost a part of their prompt.

    Raises `DataError` where the chat template refuses a conversation.
    """
    talks = [{"messages": [*example["prompt"], *reply]} for example in examples for reply in example["replies"]]
    whole = iter([list(ids) for ids, _ in chat.encode_all(tokenizer, talks, False)])
    rows, cut = [], 0
    for number, example in enumerate(examples):
        asked = chat.prompt_ids(tokenizer, example["prompt"])
        written = [next(whole) for _ in example["replies"]]
        shared = max(1, min(_shared(asked, ids) for ids in written))
        replies = [_ended(tokenizer, ids[shared:]) for ids in written]
        longest = max(map(len, replies))
        cut += sum(shared + len(reply) > max_length for reply in replies)
        room = max(1, max_length - longest)
        rows.append({"prompt": written[0][max(0, shared - room):shared], "replies": [reply[:max_length - 1] for reply in replies],
                     "number": number})
    return rows, cut


def _shared(one: list[int], other: list[int]) -> int:
    """How many tokens both begin with; at least one token of `other` is left."""
    most = min(len(one), len(other) - 1)
    return next((place for place in range(most) if one[place] != other[place]), most)


def _ended(tokenizer: Any, reply: list[int]) -> list[int]:
    """Without the white space that a template writes after the end token."""
    end = tokenizer.eos_token_id
    if end not in reply:
        return reply
    last = len(reply) - reply[::-1].index(end)
    return reply[:last] if not tokenizer.decode(reply[last:], skip_special_tokens=True).strip() else reply


def tokens(row: Row) -> int:
    """Tokens of all replies, each with its prompt."""
    return sum(len(row["prompt"]) + len(reply) for reply in row["replies"])
