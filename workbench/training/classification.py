"""The objective `classification`: a label for each text, cross-entropy (nats per row) of a linear head on its last token.

The head and the labels are transformers' own (`models/classifier.py`), so the result opens with `AutoModelForSequenceClassification`.
Evaluations add accuracy and macro F1. Whatever the method, the head is trained; with `FrozenBackbone` it is all that is, on embeddings
computed once.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.modeling_outputs import SequenceClassifierOutput

from workbench.data import labelled
from workbench.data.run_rows import RunRows
from workbench.errors import RecipeError
from workbench.journal import events as ev
from workbench.models import classifier, frozen
from workbench.recipes import Recipe, resolve_model
from workbench.training import supervised
from workbench.training.mixed import MixedRows
from workbench.training.rows import Prepared
from workbench.training.supervised import CountingTrainer, Job

Row = dict[str, Any]
"""`input_ids` of one text and `labels`, its label's number; with a frozen model also `features`, its embedding."""


@dataclasses.dataclass(slots=True, kw_only=True)
class ClassifierJob(Job):
    tables: list[list[Row]]
    """Every row that is trained or held out, by source."""


@dataclasses.dataclass(slots=True)
class LabelCollator:
    """Rows to a batch: `input_ids` and `attention_mask` (padded on the right), or `features`; and `labels`, one a row."""

    pad_token_id: int
    count: bool = False
    """Whether a batch carries `real_tokens` and, of a mixture, `sources` (the trainer takes them out again)."""

    def __call__(self, rows: list[Row]) -> dict[str, Any]:
        embedded = "features" in rows[0]
        batch = (
            {"features": torch.stack([row["features"] for row in rows])}
            if embedded
            else classifier.padded([row["input_ids"] for row in rows], self.pad_token_id)
        )
        batch["labels"] = torch.tensor([row["labels"] for row in rows])
        if self.count:
            batch["real_tokens"] = sum(len(row["input_ids"]) for row in rows)
            if "source" in rows[0]:
                batch["sources"] = [row["source"] for row in rows]
        return batch


def cross_entropy(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
    """Mean over the rows of the whole accumulated batch; transformers' own classifiers average each part of it alone."""
    return torch.nn.functional.cross_entropy(outputs.logits.float(), labels, reduction="sum") / (
        len(labels) if num_items_in_batch is None else num_items_in_batch
    )


class ClassifierTrainer(CountingTrainer):
    """Counts rows where `CountingTrainer` counts tokens, and scores the answers of an evaluation."""

    frozen = False
    """Whether the model under the head stays as it is, and only embeds."""

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kw: Any) -> Any:
        if self.frozen and "features" not in inputs:
            inputs = {"features": frozen.pooled(self.model, inputs["input_ids"], inputs["attention_mask"]), "labels": inputs["labels"]}
        return super().compute_loss(self._head if "features" in inputs else model, inputs, *args, **kw)

    def _head(self, features: torch.Tensor, **_options: Any) -> SequenceClassifierOutput:
        return SequenceClassifierOutput(logits=self.model.score(features))

    def prediction_step(self, model: Any, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: Any = None) -> Any:
        loss, logits, labels = transformers.Trainer.prediction_step(self, model, inputs, False, ignore_keys)
        self.heldout = self.heldout[0] + loss.item() * len(labels), self.heldout[1] + len(labels)
        self.answers.append((logits.float().cpu(), labels.cpu()))
        return loss, None, None

    def evaluation_loop(self, *args: Any, **kw: Any) -> Any:
        self.answers: list[tuple[torch.Tensor, torch.Tensor]] = []
        out = super().evaluation_loop(*args, **kw)
        logits, labels = (torch.cat(parts).numpy() for parts in zip(*self.answers, strict=True))
        scores = classifier.score(logits, labels)
        out.metrics.update(eval_accuracy=scores.accuracy, eval_macro_f1=scores.macro_f1)
        return out

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        own, self.data_collator = self.data_collator, LabelCollator(self.data_collator.pad_token_id)
        try:
            return transformers.Trainer.get_eval_dataloader(self, eval_dataset)
        finally:
            self.data_collator = own


def load_job(recipe: Recipe, found: RunRows) -> ClassifierJob:
    """Load, give a head, adapt and tokenize. Raises `WorkbenchError` before the first step where something cannot work."""
    transformers.set_seed(recipe.seed)
    examples = {name: labelled.read(table) for name, table in found.train.items()}
    heldout_examples = [example for table in found.heldout.values() for example in labelled.read(table)]
    names = labelled.label_names([example for part in examples.values() for example in part])
    model, tokenizer = classifier.load(resolve_model(recipe.model), names, recipe.method)
    names = classifier.labels_of(model.config)
    notes = [f"The labels are {', '.join(names)}."]
    room = getattr(model.config, "max_position_embeddings", None)
    max_length = min(recipe.max_length, room) if room else recipe.max_length
    if max_length < recipe.max_length:
        notes.append(f"max_length is {max_length}, all the positions this model has.")
    numbers = {name: number for number, name in enumerate(names)}

    def rows_of(part: list[dict[str, str]]) -> tuple[list[Row], int]:
        encoded, truncated = classifier.encode(tokenizer, [example["text"] for example in part], max_length)
        return [{"input_ids": ids, "labels": numbers[example["label"]]} for ids, example in zip(encoded, part, strict=True)], truncated

    tables, cut = {}, 0
    for name, part in examples.items():
        tables[name], more = rows_of(part)
        cut += more
    heldout, heldout_cut = rows_of(heldout_examples)
    train = [row for part in tables.values() for row in part]
    prepared = _prepared(train, cut)
    if found.segments:
        rows_a_step = recipe.batch_size * recipe.gradient_accumulation
        prepared.rows = MixedRows(
            found, supervised.total_steps(recipe, found.rows) * rows_a_step, rows_a_step, recipe.seed, lambda name, row: tables[name][row]
        )
        prepared.examples = len(prepared.rows)
    model.config.use_cache = False
    model = recipe.method.apply(model)
    check_head(model, recipe.method.name)
    return ClassifierJob(
        model=model,
        tokenizer=tokenizer,
        train=prepared,
        heldout=_prepared(heldout, heldout_cut),
        heldout_examples=heldout_examples,
        max_length=max_length,
        notes=notes,
        tables=[*tables.values(), heldout],
    )


def check_head(model: Any, method: str) -> None:
    """Raises `RecipeError` where nothing of the adapted model's head is trained."""
    if not any(
        parameter.requires_grad
        for name, parameter in model.named_parameters()
        if model.base_model_prefix + "." not in name or "modules_to_save" in name
    ):
        raise RecipeError(f"The method {method} does not train the classifier's head.", "Use LoRA, BitFit, FrozenBackbone or Full.")


def _prepared(rows: list[Row], truncated: int) -> Prepared:
    return Prepared(
        rows=rows,
        examples=len(rows),
        epoch_rows=len(rows),
        truncated=truncated,
        tokens=sum(len(row["input_ids"]) for row in rows),
        trained_tokens=len(rows),
    )


def build_trainer(recipe: Recipe, job: ClassifierJob, output_dir: Path, callbacks: list[Any], fruitless: int = 0) -> ClassifierTrainer:
    """The trainer, ready to train; see `supervised.build_trainer`. Embeddings of a frozen model are computed here, or read from `features/`
    beside `output_dir`."""
    trainer = supervised.build_trainer(
        recipe,
        job,
        output_dir,
        callbacks,
        fruitless,
        kind=ClassifierTrainer,
        collator=LabelCollator(job.tokenizer.pad_token_id, count=True),
        compute_loss_func=cross_entropy,
    )
    if isinstance(recipe.method, frozen.FrozenBackbone):
        trainer.frozen = True
        for table in job.tables if recipe.method.cache else ():
            for row, features in zip(
                table, frozen.kept(Path(output_dir).parent / "features", job.model, [row["input_ids"] for row in table]), strict=True
            ):
                row["features"] = features
    return trainer


def sampler(recipe: Recipe, job: ClassifierJob, probes: Any) -> Callable[[Any, int], list[ev.Sampled]]:
    """Texts and the label each is given: right or wrong where the label is known."""
    wanted = recipe.sample_prompts
    asked = job.heldout_examples[:wanted] if isinstance(wanted, int) else [{"text": text, "label": ""} for text in wanted]

    def sample(model: Any, step: int) -> list[ev.Sampled]:
        answers = probes.answer("classify", {"texts": [example["text"] for example in asked]})
        return [ev.Sampled(step=step, prompt=example["text"], reply=answer["label"], reference=example["label"],
                           verdict="" if not example["label"] else "right" if answer["label"] == example["label"] else "wrong")
                for example, answer in zip(asked, answers, strict=True)]

    return sample
