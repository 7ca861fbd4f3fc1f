"""What the objectives that put a new head on a model share: rows read at their last token, a loss over rows, embeddings computed once.

A row is a dict; an objective says which of its texts are read (`Texts`), and of a frozen model each row carries their embeddings as
`features`, texts x D. Not here: the objectives themselves (`classification.py`, `reward.py`).
"""

import dataclasses
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.modeling_outputs import SequenceClassifierOutput

from workbench import launching
from workbench.data.run_rows import RunRows
from workbench.errors import RecipeError
from workbench.models import frozen
from workbench.recipes import Recipe
from workbench.training import fast_rows, supervised
from workbench.training.mixed import MixedRows
from workbench.training.rows import Prepared
from workbench.training.supervised import CountingTrainer, Job

Row = dict[str, Any]
Texts = Callable[[Row], list[list[int]]]
"""The token ids of each text that is read of a row."""


@dataclasses.dataclass(slots=True, kw_only=True)
class HeadedJob(Job):
    tables: list[list[Row]]
    """Every row that is trained or held out."""


class HeadedTrainer(CountingTrainer):
    """Counts rows where `CountingTrainer` counts tokens; the collator is a dataclass with `count`."""

    frozen = False
    """Whether the model under the head stays as it is, and only embeds."""

    def __init__(self, *args: Any, **kw: Any):
        super().__init__(*args, **kw)
        self.compute_loss_func = self.loss  # so that transformers counts the rows of the whole accumulated batch

    def loss(self, outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
        """The summed loss of a batch's rows by how many rows the accumulated batch has; N `labels` are the batch's rows."""
        raise NotImplementedError

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kw: Any) -> Any:
        if self.frozen and "features" not in inputs:
            inputs = {"features": frozen.pooled(self.model, inputs["input_ids"], inputs["attention_mask"]), "labels": inputs["labels"]}
        return super().compute_loss(self._head if "features" in inputs else model, inputs, *args, **kw)

    def _head(self, features: torch.Tensor, **_options: Any) -> SequenceClassifierOutput:
        return SequenceClassifierOutput(logits=self.model.score(features))

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        own, self.data_collator = self.data_collator, dataclasses.replace(self.data_collator, count=False)
        try:
            return transformers.Trainer.get_eval_dataloader(self, eval_dataset)
        finally:
            self.data_collator = own


def room(recipe: Recipe, config: Any, notes: list[str]) -> int:
    """`max_length`, never above the positions a model has; a note says where it is less than asked."""
    positions = getattr(config, "max_position_embeddings", None)
    length = min(recipe.max_length, positions) if positions else recipe.max_length
    if length < recipe.max_length:
        notes.append(f"max_length is {length}, all the positions this model has.")
    return length


def prepared(rows: list[Row], texts: Texts, truncated: int, dropped: Counter | None = None) -> Prepared:
    """The counts of rows; a text trains on one token, its last."""
    lengths = [len(ids) for row in rows for ids in texts(row)]
    return Prepared(rows=rows, examples=len(rows), epoch_rows=len(rows), truncated=truncated, dropped=dropped or Counter(),
                    tokens=sum(lengths), trained_tokens=len(lengths))


def mixed(recipe: Recipe, found: RunRows, tables: dict[str, list[Row | None]], out: Prepared) -> None:
    """Of a mixture's rows: `out` draws them by its weights. Of one source's rows nothing changes."""
    if not found.segments:
        return
    rows_a_step = launching.rows_a_step(recipe)
    drawn = supervised.total_steps(recipe, found.rows) * rows_a_step
    out.rows = MixedRows(found, drawn, rows_a_step, recipe.seed, lambda name, row: tables[name][row])
    out.examples = len(out.rows)


def adapted(recipe: Recipe, model: Any) -> Any:
    """The model as its method trains it. Raises `RecipeError` where nothing of its head would be trained."""
    model.config.use_cache = False
    fast_rows.choose(model, recipe.attention)
    model = recipe.method.apply(model)
    body = model.base_model_prefix + "."
    of_head = (weights for name, weights in model.named_parameters() if body not in name or "modules_to_save" in name)
    if not any(weights.requires_grad for weights in of_head):
        raise RecipeError(f"The method {recipe.method.name} does not train the classifier's head.",
                          "Use LoRA, BitFit, FrozenBackbone or Full.")
    return model


def build_trainer(recipe: Recipe, job: HeadedJob, output_dir: Path, callbacks: list[Any], fruitless: int, *, kind: type[HeadedTrainer],
                  collator: Any, texts: Texts) -> HeadedTrainer:
    """The trainer, ready to train; see `supervised.build_trainer`. Embeddings of a frozen model are computed here, or read from
    `features/` beside `output_dir`."""
    trainer = supervised.build_trainer(recipe, job, output_dir, callbacks, fruitless, kind=kind, collator=collator)
    trainer.frozen = isinstance(recipe.method, frozen.FrozenBackbone)
    for table in job.tables if trainer.frozen and recipe.method.cache else ():
        read = [ids for row in table for ids in texts(row)]
        found = frozen.kept(Path(output_dir).parent / "features", job.model, read) if read else ()
        first = 0
        for row in table:
            count = len(texts(row))
            row["features"], first = found[first:first + count], first + count
    return trainer
