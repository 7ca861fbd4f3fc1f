"""Rows ready to train on: tokens and labels, unusable rows dropped and counted, packed or padded.

Shapes: a row is `input_ids` and `labels` of one length T (labels -100 where nothing is trained, always at position 0). A batch is
rows x T. Packed rows carry `seq_lengths`, the lengths of the examples in them; the batch then has `position_ids` that restart with each example and
no attention mask, which is how transformers keeps examples apart (with `use_cache=False`; an all-ones mask would let them see each other).
"""

import itertools
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from workbench.probes import IGNORE
from workbench.templates import chat, gate

REMEMBERED_ROWS = 1 << 14
"""Rows of a mixture kept as tokens, for when they come again."""


@dataclass(slots=True)
class Prepared:
    """`rows`: a `datasets.Dataset` of input_ids and labels (and seq_lengths when packed). Counts are of examples, before packing."""

    rows: Any
    examples: int
    epoch_rows: int = 0
    """Rows (packed ones, where they are) that an epoch takes."""
    looked_at: int = 0
    """Rows of a mixture that were tokenized beforehand; the counts are reckoned from them."""
    dropped: Counter = field(default_factory=Counter)
    truncated: int = 0
    tokens: int = 0
    trained_tokens: int = 0


def prepare(examples: list[dict[str, Any]], tokenizer: Any, *, objective: str, completions_only: bool, max_length: int, packing: bool,
            what: str = "rows") -> Prepared:
    """Tokenize, cut at `max_length`, drop what trains on nothing. Raises `DataError` when over 1 % of the rows would be dropped, or where the tokenizer
    cannot tell replies from the rest and only they are to be trained."""
    chat.prove_mask(tokenizer, examples, completions_only and objective == "sft")
    ids_column, masks, out, dropped = [], [], Prepared(rows=None, examples=0), gate.Dropped()
    for number, (ids, mask) in enumerate(chat.encode_all(tokenizer, examples, completions_only and objective == "sft"), start=1):
        pieces, mask = _cut(ids, mask, objective, max_length)
        out.truncated += objective != "pretraining" and len(ids) > max_length
        for piece, kept in pieces:
            if any(kept):
                ids_column.append(piece)
                masks.append(kept)
            else:
                dropped.add(number, any(mask))
    out.examples, out.dropped = len(ids_column), dropped.counts
    refusal = dropped.refusal(out.examples + dropped.counts.total(), max_length, what)
    if refusal is not None:
        raise refusal
    out.rows, out.tokens, out.trained_tokens = _columns(ids_column, masks)
    if packing and out.examples:
        out.rows = _packed(out.rows, max_length)
    out.epoch_rows = len(out.rows)
    return out


def features(tokenizer: Any, example: dict[str, Any], *, objective: str, completions_only: bool, max_length: int) -> dict[str, list[int]] | None:
    """One example as input_ids and labels, None where no token would be trained. Of a long text under `pretraining` it is the first `max_length` tokens."""
    ids, mask = chat.encode(tokenizer, example, completions_only and objective == "sft")
    piece, kept = _cut(ids, mask, objective, max_length)[0][0]
    return {"input_ids": piece, "labels": _labels(piece, kept)} if any(kept) else None


def _cut(ids: list[int], mask: list[int], objective: str, max_length: int) -> tuple[list[tuple[list[int], list[int]]], list[int]]:
    """What is kept of an example, as (tokens, mask) of at most `max_length` each, and the mask of the whole."""
    if objective != "pretraining":
        return [(ids[:max_length], mask[:max_length])], mask
    mask = [0] + [1] * (len(ids) - 1)
    pieces = [(ids[i:i + max_length], [0, *mask[i + 1:i + max_length]]) for i in range(0, len(ids), max_length)]
    return [piece for piece in pieces if len(piece[0]) > 1] or pieces[:1], mask


def _labels(ids: list[int], mask: list[int]) -> list[int]:
    return [token if train else IGNORE for token, train in zip(ids, mask, strict=True)]


def _columns(ids: list[list[int]], masks: list[list[int]]) -> tuple[Any, int, int]:
    """A `datasets.Dataset` of input_ids and labels, its tokens, and those of them that are trained."""
    import datasets
    import pyarrow as pa

    begins = np.concatenate([[0], np.cumsum([len(row) for row in ids], dtype=np.int64)]).astype(np.int32)
    flat = np.fromiter(itertools.chain.from_iterable(ids), np.int32, begins[-1])
    trained = np.fromiter(itertools.chain.from_iterable(masks), bool, begins[-1])
    labels = np.where(trained, flat, IGNORE).astype(np.int64)
    table = pa.table({"input_ids": pa.ListArray.from_arrays(begins, flat), "labels": pa.ListArray.from_arrays(begins, labels)})
    return datasets.Dataset(table), len(flat), int(trained.sum())


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
    """Whether a batch carries `real_tokens`, how many of its tokens are not padding, `lengths` of the examples of each row, and of a mixture `sources` (the trainer takes
    them out again)."""

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        batch = self._packed(features) if self.packed_length else self._padded(features)
        if self.count:
            batch["real_tokens"] = sum(len(f["input_ids"]) for f in features)
            batch["lengths"] = [f.get("seq_lengths") or [len(f["input_ids"])] for f in features]
            if "source" in features[0]:
                batch["sources"] = [f["source"] for f in features]
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
