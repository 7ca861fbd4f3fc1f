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

from workbench.data import labelled
from workbench.data.run_rows import RunRows
from workbench.journal import events as ev
from workbench.models import classifier
from workbench.recipes import Recipe, resolve_model
from workbench.training import headed, together
from workbench.training.headed import HeadedJob, HeadedTrainer

Row = dict[str, Any]
"""`input_ids` of one text and `labels`, its label's number; with a frozen model also `features`, its embedding, 1 x D."""


@dataclasses.dataclass(slots=True)
class LabelCollator:
    """Rows to a batch: `input_ids` and `attention_mask` (padded on the right), or `features`; and `labels`, one a row."""

    pad_token_id: int
    count: bool = False
    """Whether a batch carries `real_tokens` and, of a mixture, `sources` (the trainer takes them out again)."""

    def __call__(self, rows: list[Row]) -> dict[str, Any]:
        embedded = "features" in rows[0]
        batch = (
            {"features": torch.cat([row["features"] for row in rows])}
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


class ClassifierTrainer(HeadedTrainer):
    """Scores the answers of an evaluation."""

    loss = staticmethod(cross_entropy)

    def prediction_step(self, model: Any, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: Any = None) -> Any:
        loss, logits, labels = transformers.Trainer.prediction_step(self, model, inputs, False, ignore_keys)
        self.add_heldout(loss, len(labels))
        if not self.spare:
            self.answers.append((logits.float().cpu(), labels.cpu()))
        return loss, None, None

    def evaluation_loop(self, *args: Any, **kw: Any) -> Any:
        self.answers: list[tuple[torch.Tensor, torch.Tensor]] = []
        out = super().evaluation_loop(*args, **kw)
        logits, labels = (torch.cat(parts).numpy() for parts in zip(*together.joined(self.answers), strict=True))
        scores = classifier.score(logits, labels)
        out.metrics.update(eval_accuracy=scores.accuracy, eval_macro_f1=scores.macro_f1)
        return out


def load_job(recipe: Recipe, found: RunRows) -> HeadedJob:
    """Load, give a head, adapt and tokenize. Raises `WorkbenchError` before the first step where something cannot work."""
    transformers.set_seed(recipe.seed)
    examples = {name: labelled.read(table) for name, table in found.train.items()}
    heldout_examples = [example for table in found.heldout.values() for example in labelled.read(table)]
    names = labelled.label_names([example for part in examples.values() for example in part])
    model, tokenizer = classifier.load(resolve_model(recipe.model), names, recipe.method)
    names = classifier.labels_of(model.config)
    notes = [f"The labels are {', '.join(names)}."]
    max_length = headed.room(recipe, model.config, notes)
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
    prepared = headed.prepared(train, _texts, cut)
    headed.mixed(recipe, found, tables, prepared)
    model = headed.adapted(recipe, model)
    return HeadedJob(
        model=model,
        tokenizer=tokenizer,
        train=prepared,
        heldout=headed.prepared(heldout, _texts, heldout_cut),
        heldout_examples=heldout_examples,
        max_length=max_length,
        notes=notes,
        tables=[*tables.values(), heldout],
    )


def _texts(row: Row) -> list[list[int]]:
    return [row["input_ids"]]


def build_trainer(recipe: Recipe, job: HeadedJob, output_dir: Path, callbacks: list[Any], fruitless: int = 0) -> ClassifierTrainer:
    """See `headed.build_trainer`."""
    collator = LabelCollator(job.tokenizer.pad_token_id, count=True)
    return headed.build_trainer(recipe, job, output_dir, callbacks, fruitless, kind=ClassifierTrainer, collator=collator, texts=_texts)


def sampler(recipe: Recipe, job: HeadedJob, probes: Any) -> Callable[[Any, int], list[ev.Sampled]]:
    """Texts and the label each is given: right or wrong where the label is known."""
    wanted = recipe.sample_prompts
    asked = job.heldout_examples[:wanted] if isinstance(wanted, int) else [{"text": text, "label": ""} for text in wanted]

    def sample(model: Any, step: int) -> list[ev.Sampled]:
        answers = probes.answer("classify", {"texts": [example["text"] for example in asked]})
        return [ev.Sampled(step=step, prompt=example["text"], reply=answer["label"], reference=example["label"],
                           verdict="" if not example["label"] else "right" if answer["label"] == example["label"] else "wrong")
                for example, answer in zip(asked, answers, strict=True)]

    return sample
