"""The loss of each row under a model or a run: which rows are hardest, and which are suspiciously hard.

Rows are tokenized and masked exactly as training does, sorted by length and run many at a time; the loss of a row does not depend on its
neighbours in the batch. A mislabelled row keeps a high loss while the others fall (Arpit et al. 2017, "A Closer Look at Memorization in
Deep Networks"; Han et al. 2018, "Co-teaching", section 3), but so does one that is only rare or hard: a person looks before it is dropped.
Not here: gradients and influence; losses while a run trains (`run.losses`).

Shapes: a batch is rows × T tokens, padded on the right; logits are rows × T × vocabulary.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.data import layouts, sources
from workbench.errors import DataError, WorkbenchError
from workbench.evaluation.classifier import score_classifier
from workbench.models import loading
from workbench.recipes import load
from workbench.runs.attach import attach
from workbench.runs.run import Run

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

BATCH_TOKENS = 8_192
"""Positions a batch holds at most, whatever `batch_size` says: logits of a large vocabulary take the memory."""

ENCODED_AT_ONCE = 1_000
"""Rows tokenized between two words of progress; the first tenth of the progress is theirs."""

FAR = 1.5
"""Quartile ranges above the upper quartile beyond which a loss is an outlier (Tukey 1977, "Exploratory Data Analysis", fences)."""

Progress = Callable[[int, int], None]
"""Called with rows done and rows in all; what it raises stops the work."""


def row_losses(model_or_run: Any, rows: Any, *, batch_size: int = 32, max_length: int | None = None, completions_only: bool | None = None,
               progress: Progress | None = None) -> "pd.DataFrame":
    """One line a row, in order: `row` (from 0), `loss` (mean nats per trained token, NaN where no token is trained) and `tokens` (trained
    ones; 1 where a classifier tells the row's label).

    `model_or_run` is a `Run` or its folder (its result, with the recipe's `max_length` and `completions_only` unless given), a name or
    folder that `wb.load` takes, or a pair (model, tokenizer); these train on completions only, up to 512 tokens, unless told otherwise.
    `rows` is whatever `wb.load_rows` takes. Raises `DataError` for rows that are no training examples, `WorkbenchError` where there is no
    such model and `RunError` where the run has no result yet.
    """
    import numpy as np
    import pandas as pd
    import torch

    from workbench.probes import untouched

    if batch_size < 1:
        raise DataError(f"A batch of {batch_size} rows holds nothing.", "Use batch_size=32.")
    model, tokenizer, usual_length, only = _opened(model_or_run)
    max_length = min(max_length or usual_length, getattr(model.config, "max_position_embeddings", None) or max_length or usual_length)
    table = rows if hasattr(rows, "to_batches") else sources.load_rows(rows)
    if loading.classifies(model.config):
        told = score_classifier((model, tokenizer), table, batch_size=batch_size, max_length=max_length).answers
        return told[["row", "loss"]].assign(tokens=1)
    encoded = list(_encoded(table, tokenizer, only if completions_only is None else completions_only, max_length, progress))
    loss, trained = np.full(len(encoded), np.nan), np.array([sum(mask) for _, mask in encoded], np.int64)
    places = [int(row) for row in np.argsort([-len(ids) for ids, _ in encoded], kind="stable") if trained[row]]
    done = len(encoded) - len(places)
    with untouched(model), torch.no_grad():
        for batch in _batches(places, encoded, batch_size):
            loss[batch] = _losses(model, [encoded[row] for row in batch])
            done += len(batch)
            if progress is not None:
                progress(_count(len(encoded), done, 0.1), len(encoded))
    return pd.DataFrame({"row": np.arange(len(encoded)), "loss": loss, "tokens": trained})


def suspicious(losses: Any, far: float = FAR) -> "np.ndarray":
    """Rows whose loss stands out above the others, hardest first, int64: more than `far` times the range between the quartiles above the
    upper one.

    `losses` is the table of `row_losses`, or its losses. Of 30 swapped answers among 600 rows of the town, a run of 120 steps had 22 among
    the 32 that this names, and the base model hardly any: ask a model that has learned the rows, but not by heart. Empty where there are
    fewer than 20 losses, or all of them are alike.
    """
    import numpy as np

    values = np.asarray(losses["loss"] if hasattr(losses, "columns") else losses, float)
    known = np.flatnonzero(np.isfinite(values))
    if len(known) < 20:
        return np.empty(0, np.int64)
    lower, upper = np.quantile(values[known], (0.25, 0.75))
    high = known[values[known] > upper + far * (upper - lower)] if upper > lower else np.empty(0, np.int64)
    return high[np.argsort(-values[high], kind="stable")]


def hardest(losses: "pd.DataFrame", count: int = 20) -> "np.ndarray":
    """The `count` rows of highest loss, highest first, int64; rows without a loss are left out."""
    import numpy as np

    return losses.dropna(subset="loss").nlargest(count, "loss")["row"].to_numpy(np.int64)


def _opened(source: Any) -> tuple[Any, Any, int, bool]:
    """(model, tokenizer, max_length, completions_only)"""
    if isinstance(source, (tuple, list)) and len(source) == 2:
        return *source, 512, True
    if isinstance(source, (str, Path)):
        folder = Path(source).expanduser()
        if not any((folder / name).exists() for name in ("journal.jsonl", "recipe.json")):
            return *load(str(source)), 512, True
        source = attach(folder)
    if isinstance(source, Run):
        model, tokenizer = source.load()
        return model, tokenizer, source.recipe.max_length, source.recipe.completions_only and source.recipe.objective == "sft"
    raise WorkbenchError(f"This {type(source).__name__} is no model and no run.",
                         'Give a run, a run folder, a name such as "town", or a pair (model, tokenizer).')


def _encoded(table: Any, tokenizer: Any, only: bool, max_length: int, progress: Progress | None) -> Iterator[tuple[list[int], list[int]]]:
    import copy

    from workbench.templates import chat

    tokenizer = copy.copy(tokenizer)  # a template given to it here stays with the copy
    chat.ensure_template(tokenizer)
    for first in range(0, table.num_rows, ENCODED_AT_ONCE):
        part = table.slice(first, ENCODED_AT_ONCE)
        for example in layouts.examples(part.to_pylist(), table.column_names, first + 1, sources.origin(table)):
            ids, mask = chat.encode(tokenizer, example, only)
            yield ids[:max_length], mask[:max_length]
        if progress is not None:
            progress(_count(table.num_rows, first + part.num_rows, 0.0, 0.1), table.num_rows)


def _count(rows: int, done: int, before: float, share: float = 0.9) -> int:
    """Rows done as the whole work counts them: tokenizing is the first tenth."""
    return round(before * rows + share * done)


def _batches(places: Sequence[int], encoded: list, batch_size: int) -> Iterator[list[int]]:
    """Rows of like length together, longest first: what does not fit in memory fails at once."""
    batch: list[int] = []
    for row in places:
        if batch and (len(batch) == batch_size or (len(batch) + 1) * len(encoded[batch[0]][0]) > BATCH_TOKENS):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _losses(model: Any, batch: list[tuple[list[int], list[int]]]) -> "np.ndarray":
    """Mean loss of each row over its trained tokens, float64 [rows]."""
    import torch

    wide = max(len(ids) for ids, _ in batch)
    ids, there, kept = (torch.zeros((len(batch), wide), dtype=torch.long) for _ in range(3))
    for row, (tokens, mask) in enumerate(batch):
        ids[row, :len(tokens)], there[row, :len(tokens)], kept[row, :len(tokens)] = torch.tensor(tokens), 1, torch.tensor(mask)
    ids, there, kept = (part.to(model.device) for part in (ids, there, kept))
    logits = model(input_ids=ids, attention_mask=there, use_cache=False).logits[:, :-1].float()
    each = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none").view(len(batch), -1).double()
    kept = kept[:, 1:]
    return ((each * kept).sum(1) / kept.sum(1)).cpu().numpy()
