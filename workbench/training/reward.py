"""The objective `reward`: which of two replies is better, -log sigmoid of the difference of their rewards (nats per prompt).

A row is one prompt with its replies: a pair, or a ranking of K, whose C(K,2) pairs are averaged with one forward pass a reply (Ouyang et
al. 2022, arXiv 2203.02155, section 3.5 and eq. 1), so that a prompt with many replies counts no more than one with two. The reward is read
at the last token of the reply by a linear head without bias, one for each criterion. Evaluations add the share of pairs ordered rightly and
the mean gap; each step says both of its own rows. Not here: the loss itself (`models/reward.py`), which rows compare
(`data/comparisons.py`).

Shapes: N prompts, M replies of all of them, T tokens, H heads, P pairs.
"""

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers

from workbench.data import comparisons, reply_tokens
from workbench.data.run_rows import RunRows
from workbench.errors import DataError
from workbench.journal import events as ev
from workbench.models import classifier, frozen, reward
from workbench.recipes import Recipe, resolve_model
from workbench.templates import chat
from workbench.training import classification, fast_rows, laid_rows, supervised
from workbench.training.classification import ClassifierJob, ClassifierTrainer
from workbench.training.mixed import MixedRows
from workbench.training.rows import Prepared
from workbench.training.supervised import CountingTrainer

Row = dict[str, Any]
"""`input_ids` of each reply with its prompt, and `pairs` as `comparisons` has them; with a frozen model also `features`, K x D."""


@dataclasses.dataclass(slots=True)
class PairCollator:
    """Rows to a batch: `input_ids` and `attention_mask` of all replies, M x T, or what `laid_rows.laid` makes of them, or `features`,
    M x D; `pairs` (P x 3: better, worse, head), their `weights` and `margins` (P); and `labels`, N zeros, by which a batch's prompts are
    counted."""

    pad_token_id: int
    lay: bool = False
    """Whether the replies are laid end to end."""
    count: bool = False
    """Whether a batch carries `real_tokens` and, of a mixture, `sources` (the trainer takes them out again)."""

    def __call__(self, rows: list[Row]) -> dict[str, Any]:
        replies = [ids for row in rows for ids in row["input_ids"]]
        if "features" in rows[0]:
            batch = {"features": torch.cat([row["features"] for row in rows])}
        else:
            batch = (laid_rows.laid if self.lay else classifier.padded)(replies, self.pad_token_id)
        pairs, weights, margins, first = [], [], [], 0
        for row in rows:
            pairs += [(first + better, first + worse, head) for better, worse, head, _ in row["pairs"]]
            margins += [margin for *_, margin in row["pairs"]]
            weights += reward.pair_weights(row["pairs"])
            first += len(row["input_ids"])
        batch |= {"pairs": torch.tensor(pairs), "weights": torch.tensor(weights), "margins": torch.tensor(margins),
                  "labels": torch.zeros(len(rows), dtype=torch.long)}
        if self.count:
            batch["real_tokens"] = sum(map(len, replies))
            if "source" in rows[0]:
                batch["sources"] = [row["source"] for row in rows]
        return batch


class RewardTrainer(ClassifierTrainer):
    """Counts prompts where `CountingTrainer` counts tokens; what it saw of each step and evaluation becomes metrics."""

    heads = (comparisons.HEAD,)

    def __init__(self, *args: Any, **kw: Any):
        super().__init__(*args, **kw)
        self.seen: list[tuple[torch.Tensor, torch.Tensor]] = []
        """Gaps (P) and heads (P) of the batches since the last metrics."""

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kw: Any) -> Any:
        inputs = dict(inputs)
        pairs, weights, margins = (inputs.pop(name) for name in ("pairs", "weights", "margins"))

        def loss(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
            self.seen.append((reward.gaps(outputs.logits.detach().float(), pairs), pairs[:, 2]))
            total = (weights * reward.pair_losses(outputs.logits, pairs, margins)).sum()
            return total / (len(labels) if num_items_in_batch is None else num_items_in_batch)

        self.compute_loss_func = loss
        if "ends" in inputs:
            model = self._laid
        return super().compute_loss(model, inputs, *args, **kw)

    def _laid(self, input_ids: torch.Tensor, position_ids: torch.Tensor, ends: torch.Tensor, **_options: Any) -> Any:
        with self.accelerator.autocast():
            return laid_rows.outputs(self.model, input_ids, position_ids, ends)

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        with _apart(inputs):
            return super().training_step(model, inputs, num_items_in_batch)

    def take_drawn(self) -> dict[str, float]:
        seen, self.seen = self.seen, []
        return super().take_drawn() | metrics(seen, self.heads)

    def prediction_step(self, model: Any, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: Any = None) -> Any:
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), _apart(inputs):
            loss = self.compute_loss(model, inputs).detach()
        self.heldout = self.heldout[0] + loss.item() * len(inputs["labels"]), self.heldout[1] + len(inputs["labels"])
        return loss, None, None

    def evaluation_loop(self, *args: Any, **kw: Any) -> Any:
        trained, self.seen = self.seen, []
        out = CountingTrainer.evaluation_loop(self, *args, **kw)
        out.metrics.update({f"eval_{name}": value for name, value in metrics(self.seen, self.heads).items()})
        self.seen = trained
        return out

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        own, self.data_collator = self.data_collator, PairCollator(self.data_collator.pad_token_id, self.data_collator.lay)
        try:
            return transformers.Trainer.get_eval_dataloader(self, eval_dataset)
        finally:
            self.data_collator = own


def _apart(inputs: dict[str, Any]) -> contextlib.AbstractContextManager[None]:
    """Takes `lengths` out of a batch; inside, attention keeps the replies that it lays end to end apart."""
    lengths = inputs.pop("lengths", None)
    return contextlib.nullcontext() if lengths is None else fast_rows.apart(lengths, inputs["input_ids"].shape[1])


def metrics(seen: list[tuple[torch.Tensor, torch.Tensor]], heads: tuple[str, ...]) -> dict[str, float]:
    """`accuracy`, the share of pairs whose better reply has the higher reward (a half where both are equal), and `gap`, the mean
    difference; with several heads also of each: "accuracy/NAME"."""
    if not seen:
        return {}
    gaps, numbers = (torch.cat(parts).cpu() for parts in zip(*seen, strict=True))
    right = (gaps > 0).float() + 0.5 * (gaps == 0)
    out = {"accuracy": right.mean().item(), "gap": gaps.mean().item()}
    for number, name in enumerate(heads):
        if len(heads) > 1 and (numbers == number).any():
            out[f"accuracy/{name}"] = right[numbers == number].mean().item()
    return out


def load_job(recipe: Recipe, found: RunRows) -> ClassifierJob:
    """Load, give heads, adapt and tokenize. Raises `WorkbenchError` before the first step where something cannot work."""
    transformers.set_seed(recipe.seed)
    heads = comparisons.heads_of(next(iter(found.train.values())))
    model, tokenizer = reward.load(resolve_model(recipe.model), heads, recipe.method)
    known = reward.heads_of(model.config)
    notes = chat.ensure_template(tokenizer)
    if len(known) > 1:
        notes.append(f"The criteria are {', '.join(heads)}: each has a head of its own.")
    room = getattr(model.config, "max_position_embeddings", None)
    max_length = min(recipe.max_length, room) if room else recipe.max_length
    if max_length < recipe.max_length:
        notes.append(f"max_length is {max_length}, all the positions this model has.")
    numbers = [known.index(head) for head in heads]
    tables, parts = {}, {}
    for name, table in found.train.items():
        tables[name], parts[name] = _rows(comparisons.read(table), tokenizer, max_length, numbers)
    heldout_examples = [example for table in found.heldout.values() for example in comparisons.read(table)]
    heldout, heldout_part = _rows(heldout_examples, tokenizer, max_length, numbers)
    train = [row for table in tables.values() for row in table if row is not None]
    if not train:
        raise DataError("No training row has replies that differ within max_length.", "Use a larger max_length.")
    prepared = _prepared(train, *parts.values())
    if prepared.truncated:
        notes.append("Of a conversation longer than max_length the beginning is left out; the reply's end, where rewards are read, stays.")
    if found.segments:
        rows_a_step = recipe.batch_size * recipe.gradient_accumulation
        prepared.rows = MixedRows(
            found, supervised.total_steps(recipe, found.rows) * rows_a_step, rows_a_step, recipe.seed, lambda name, row: tables[name][row]
        )
        prepared.examples = len(prepared.rows)
    held = [row for row in heldout if row is not None]
    model.config.use_cache = False
    model = recipe.method.apply(model)
    classification.check_head(model, recipe.method.name)
    return ClassifierJob(
        model=model,
        tokenizer=tokenizer,
        train=prepared,
        heldout=_prepared(held, heldout_part),
        heldout_examples=heldout_examples,
        max_length=max_length,
        notes=notes,
        tables=[train, held],
    )


def _rows(examples: list[Row], tokenizer: Any, max_length: int, numbers: list[int]) -> tuple[list[Row | None], tuple[int, Counter]]:
    """A row for each comparison, None where none of its pairs can be told apart; and how many replies were cut, and what was dropped."""
    counts = [len(example["replies"]) for example in examples]
    talks = [[*example["prompt"], *reply] for example in examples for reply in example["replies"]]
    ids, cut = reply_tokens.encode(tokenizer, talks, max_length)
    rows, dropped, first = [], Counter(), 0
    for example, count in zip(examples, counts, strict=True):
        replies, first = ids[first:first + count], first + count
        pairs = [(better, worse, numbers[head], margin) for better, worse, head, margin in example["pairs"]
                 if replies[better] != replies[worse]]
        if not pairs:
            dropped["a tie by every criterion" if not example["pairs"] else "replies alike once cut at max_length"] += 1
        rows.append({"input_ids": replies, "pairs": pairs} if pairs else None)
    return rows, (cut, dropped)


def _prepared(rows: list[Row], *parts: tuple[int, Counter]) -> Prepared:
    return Prepared(
        rows=rows,
        examples=len(rows),
        epoch_rows=len(rows),
        truncated=sum(cut for cut, _ in parts),
        dropped=sum((dropped for _, dropped in parts), Counter()),
        tokens=sum(len(ids) for row in rows for ids in row["input_ids"]),
        trained_tokens=sum(len(row["input_ids"]) for row in rows),
    )


def build_trainer(recipe: Recipe, job: ClassifierJob, output_dir: Path, callbacks: list[Any], fruitless: int = 0) -> RewardTrainer:
    """The trainer, ready to train; see `supervised.build_trainer`. Embeddings of a frozen model are computed here, or read from `features/`
    beside `output_dir`."""
    trainer = supervised.build_trainer(
        recipe,
        job,
        output_dir,
        callbacks,
        fruitless,
        kind=RewardTrainer,
        collator=PairCollator(job.tokenizer.pad_token_id, count=True),
        compute_loss_func=classification.cross_entropy,  # so that prompts are counted over the accumulated batch; each batch puts its own
    )
    trainer.heads = tuple(reward.heads_of(trainer.model.config))
    trainer.frozen = isinstance(recipe.method, frozen.FrozenBackbone)
    trainer.data_collator.lay = not trainer.frozen and trainer.args.world_size == 1 and laid_rows.prepare(trainer.model)
    if trainer.frozen:
        for table in job.tables if recipe.method.cache else ():
            replies = [ids for row in table for ids in row["input_ids"]]
            found = frozen.kept(Path(output_dir).parent / "features", job.model, replies) if replies else ()
            first = 0
            for row in table:
                row["features"], first = found[first:first + len(row["input_ids"])], first + len(row["input_ids"])
    return trainer


def sampler(recipe: Recipe, job: ClassifierJob, probes: Any) -> Callable[[Any, int], list[ev.Sampled]]:
    """Held-out comparisons: the reply with the highest reward (by the first head), and whether it is the best one."""
    asked = job.heldout_examples[:recipe.sample_prompts]

    def sample(model: Any, step: int) -> list[ev.Sampled]:
        out = []
        for example in asked:
            told = probes.answer("score", {"prompt": example["prompt"], "replies": example["replies"]})
            values = [next(iter(by_head.values())) for by_head in told]
            liked = max(range(len(values)), key=values.__getitem__)
            reply, best = (comparisons.words(example["replies"][number]) for number in (liked, 0))
            out.append(ev.Sampled(step=step, prompt=comparisons.words(example["prompt"]), reply=reply, reference=best,
                                  verdict="right" if liked == 0 else "wrong"))
        return out

    return sample
