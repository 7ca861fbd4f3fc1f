"""Rows ready to train on: tokens and labels, unusable rows dropped and counted, packed or padded.

Shapes: a row is `input_ids` and `labels` of one length T (labels -100 where nothing is trained, always at position 0). A batch is
rows x T. Packed rows carry `seq_lengths`, the lengths of the examples in them; the batch then has `position_ids` that restart with each example and
no attention mask, which is how transformers keeps examples apart (with `use_cache=False`; an all-ones mask would let them see each other).
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import torch

from workbench.errors import DataError
from workbench.probes import IGNORE
from workbench.templates import chat

TOLERATED_SHARE = 0.01
"""More rows than this without a trainable token refuse the run."""


@dataclass(slots=True)
class Prepared:
    """`rows`: a `datasets.Dataset` of input_ids and labels (and seq_lengths when packed). Counts are of examples, before packing."""

    rows: Any
    examples: int
    dropped: Counter = field(default_factory=Counter)
    truncated: int = 0
    tokens: int = 0
    trained_tokens: int = 0


def prepare(examples: list[dict[str, Any]], tokenizer: Any, *, objective: str, completions_only: bool, max_length: int, packing: bool,
            what: str = "rows") -> Prepared:
    """Tokenize, cut at `max_length`, drop what trains on nothing. Raises `DataError` when over 1 % of the rows would be dropped."""
    import datasets

    ids_column, label_column, out = [], [], Prepared(rows=None, examples=0)
    reasons: dict[str, int] = {}
    for number, example in enumerate(examples, start=1):
        ids, mask = chat.encode(tokenizer, example, completions_only and objective == "sft")
        pieces = [(ids, mask)]
        if objective == "pretraining":
            mask = [0] + [1] * (len(ids) - 1)
            pieces = [(ids[i:i + max_length], [0, *mask[i + 1:i + max_length]]) for i in range(0, len(ids), max_length)]
            pieces = [piece for piece in pieces if len(piece[0]) > 1] or pieces[:1]
        elif len(ids) > max_length:
            out.truncated += 1
            pieces = [(ids[:max_length], mask[:max_length])]
        for piece, kept in pieces:
            if not any(kept):
                reason = "no answer" if not any(mask) else "answer cut off by max_length"
                out.dropped[reason] += 1
                reasons.setdefault(reason, number)
                continue
            ids_column.append(piece)
            label_column.append([token if train else IGNORE for token, train in zip(piece, kept, strict=True)])
    out.examples = len(ids_column)
    total, lost = out.examples + sum(out.dropped.values()), sum(out.dropped.values())
    if lost > TOLERATED_SHARE * total:
        reason, count = out.dropped.most_common(1)[0]
        remedy = (f"Raise max_length above {max_length}, or remove those rows." if "max_length" in reason else "Remove or fill those rows.")
        raise DataError(f"{lost} of {total} {what} have no token to train on ({reason}: {count}, the first is row {reasons[reason]}); "
                        f"at most {TOLERATED_SHARE:.0%} may be dropped.", remedy)
    out.tokens = sum(map(len, ids_column))
    out.trained_tokens = sum(sum(label != IGNORE for label in labels) for labels in label_column)
    out.rows = datasets.Dataset.from_dict({"input_ids": ids_column, "labels": label_column})
    if packing and out.examples:
        out.rows = _packed(out.rows, max_length)
    return out


def _packed(rows: Any, max_length: int) -> Any:
    """Best-fit decreasing, by trl."""
    import datasets
    from trl.data_utils import pack_dataset

    datasets.disable_progress_bars()
    return pack_dataset(rows, max_length, "bfd").with_format(None)


@dataclass(slots=True)
class Collator:
    """Rows to a batch of tensors. Padding is marked by position (mask and labels), never by token id."""

    pad_token_id: int
    packed_length: int | None = None
    """T of packed batches (fixed, so shapes do not change); None pads to the longest row of the batch."""
    count: bool = False
    """Whether a batch carries `real_tokens`, how many of its tokens are not padding (the trainer takes it out again)."""

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        batch = self._packed(features) if self.packed_length else self._padded(features)
        if self.count:
            batch["real_tokens"] = sum(len(f["input_ids"]) for f in features)
        return batch

    def _padded(self, features: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        width = max(len(f["input_ids"]) for f in features)
        ids = torch.full((len(features), width), self.pad_token_id)
        mask = torch.zeros((len(features), width), dtype=torch.long)
        labels = torch.full((len(features), width), IGNORE)
        for row, f in enumerate(features):
            n = len(f["input_ids"])
            ids[row, :n] = torch.tensor(f["input_ids"])
            mask[row, :n] = 1
            labels[row, :n] = torch.tensor(f["labels"])
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}

    def _packed(self, features: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        shape = (len(features), self.packed_length)
        ids, labels, positions = torch.full(shape, self.pad_token_id), torch.full(shape, IGNORE), torch.zeros(shape, dtype=torch.long)
        for row, f in enumerate(features):
            n = len(f["input_ids"])
            ids[row, :n] = torch.tensor(f["input_ids"])
            labels[row, :n] = torch.tensor(f["labels"])
            # the padding at the end is one more segment of its own
            lengths = [*f["seq_lengths"], self.packed_length - n]
            positions[row] = torch.cat([torch.arange(length) for length in lengths])
        return {"input_ids": ids, "position_ids": positions, "labels": labels}
