"""The replies of a batch laid end to end in few rows, so that no time goes into padding, and what the model says at each one's last token.

Replies to one prompt differ in length: padded to the longest, half of the positions of a batch may be padding. Attention keeps them apart
as it does packed rows (`fast_rows.apart`). Equal to the padded forward pass but for the order of summation. Not here: models whose
classifier does more than put a linear head on the last hidden state, and several processes; they are padded.

Shapes: M replies, B rows of T positions, D hidden, H heads.
"""

from collections.abc import Sequence
from typing import Any

import torch
from transformers.modeling_layers import GenericForSequenceClassification
from transformers.modeling_outputs import SequenceClassifierOutput

from workbench.training import fast_rows

WIDTH = 512
"""Positions a row holds at most, unless one reply is longer."""


def laid(replies: Sequence[Sequence[int]], pad_token_id: int) -> dict[str, Any]:
    """`input_ids` and `position_ids` (B x T), `ends` (M: where each reply's last token lies among the B*T positions), and `lengths` of the
    replies in each row, as `fast_rows.apart` takes them. Longest first, each into the first row with room."""
    most = max(WIDTH, max(map(len, replies)))
    rows: list[list[int]] = []
    used: list[int] = []
    for number in sorted(range(len(replies)), key=lambda n: -len(replies[n])):
        row = next((row for row, taken in enumerate(used) if taken + len(replies[number]) <= most), len(rows))
        if row == len(rows):
            rows.append([])
            used.append(0)
        rows[row].append(number)
        used[row] += len(replies[number])
    width = max(used)
    ids, positions = torch.full((len(rows), width), pad_token_id), torch.zeros((len(rows), width), dtype=torch.long)
    ends, lengths = torch.zeros(len(replies), dtype=torch.long), []
    for row, numbers in enumerate(rows):
        ids[row, :used[row]] = torch.tensor([token for number in numbers for token in replies[number]])
        lengths.append([len(replies[number]) for number in numbers])
        # the padding at the end is one more segment of its own
        positions[row] = torch.cat([torch.arange(length) for length in [*lengths[-1], width - used[row]]])
        ends[torch.tensor(numbers)] = row * width + torch.tensor(lengths[-1]).cumsum(0) - 1
    return {"input_ids": ids, "position_ids": positions, "ends": ends, "lengths": lengths}


def prepare(model: Any) -> bool:
    """Whether rows may be laid out for this model (an adapter on it or not); its attention then keeps replies apart inside
    `fast_rows.apart`."""
    return isinstance(_plain(model), GenericForSequenceClassification) and fast_rows.prepare(_plain(model))


def outputs(model: Any, input_ids: torch.Tensor, position_ids: torch.Tensor, ends: torch.Tensor) -> SequenceClassifierOutput:
    """Logits M x H, one row a reply. Called inside `fast_rows.apart`."""
    plain = _plain(model)
    states = plain.base_model(input_ids=input_ids, position_ids=position_ids, use_cache=False).last_hidden_state
    return SequenceClassifierOutput(logits=plain.score(states.flatten(0, 1)[ends]))


def _plain(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model
