"""The objective `reward`: which of two replies is better, -log sigmoid of the difference of their rewards (nats per prompt).

A row is one prompt with its replies: a pair, or a ranking of K, whose C(K,2) pairs are averaged with one forward pass a reply (Ouyang et
al. 2022, arXiv 2203.02155, section 3.5 and eq. 1), so that a prompt with many replies counts no more than one with two. The reward is read
at the last token of the reply by a linear head without bias, one for each criterion. Evaluations add the share of pairs ordered rightly and
the mean gap, and keep the rewards of every pair in a file (`gap_arrays.py`); each step says both numbers of its own rows. Not here: the
loss itself (`models/reward.py`), which rows compare (`data/comparisons.py`).

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
from workbench.models import classifier, reward
from workbench.recipes import Recipe, resolve_model
from workbench.templates import chat
from workbench.training import fast_rows, gap_arrays, headed, laid_rows, together
from workbench.training.gap_arrays import PairRewards
from workbench.training.headed import HeadedJob, HeadedTrainer

Row = dict[str, Any]
"""`input_ids` of each reply with its prompt, `pairs` as `comparisons` has them, `number` of the comparison among all that are trained (or
held out); with a frozen model also `features`, K x D."""


@dataclasses.dataclass(slots=True)
class PairCollator:
    """Rows to a batch: `input_ids` and `attention_mask` of all replies, M x T, or what `laid_rows.laid` makes of them, or `features`,
    M x D; `pairs` (P x 3: better, worse, head), their `weights` and `margins` (P); `told` (a line for each two replies: the comparison's
    number, better and worse among its own replies, and among the M); and `labels`, N zeros, by which a batch's prompts are counted."""

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
        pairs, weights, margins, told, first = [], [], [], [], 0
        for row in rows:
            pairs += [(first + better, first + worse, head) for better, worse, head, _ in row["pairs"]]
            margins += [margin for *_, margin in row["pairs"]]
            weights += reward.pair_weights(row["pairs"])
            told += [(row["number"], better, worse, first + better, first + worse) for better, worse in _compared(row)]
            first += len(row["input_ids"])
        batch |= {"pairs": torch.tensor(pairs), "weights": torch.tensor(weights), "margins": torch.tensor(margins),
                  "told": torch.tensor(told), "labels": torch.zeros(len(rows), dtype=torch.long)}
        if self.count:
            batch["real_tokens"] = sum(map(len, replies))
            if "source" in rows[0]:
                batch["sources"] = [row["source"] for row in rows]
        return batch


def _compared(row: Row) -> list[tuple[int, int]]:
    """The two replies of a pair as its rows have them, whatever its criteria say; of a ranking, every two of different rank."""
    return [(0, 1)] if len(row["input_ids"]) == 2 else [pair[:2] for pair in row["pairs"]]


class RewardTrainer(HeadedTrainer):
    """Counts prompts where `CountingTrainer` counts tokens; what it saw of each step and evaluation becomes metrics and files."""

    heads = (comparisons.HEAD,)
    arrays: list[ev.Arrays] | None = None
    """Events of files that an evaluation wrote, for the journal; None writes none."""

    def __init__(self, *args: Any, **kw: Any):
        super().__init__(*args, **kw)
        self.seen: list[tuple[torch.Tensor, torch.Tensor]] = []
        """Gaps (P) and heads (P) of the batches since the last metrics."""
        self.rewarded: list[tuple[torch.Tensor, torch.Tensor]] = []
        """Rewards (M x H) and what each batch was told of them, since the last evaluation."""

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kw: Any) -> Any:
        inputs = dict(inputs)
        self._comparing = [inputs.pop(name) for name in ("pairs", "weights", "margins", "told")]
        return super().compute_loss(self._laid if "ends" in inputs else model, inputs, *args, **kw)

    def loss(self, outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
        pairs, weights, margins, told = self._comparing
        if not self.spare:
            values = outputs.logits.detach().float()
            self.seen.append((reward.gaps(values, pairs), pairs[:, 2]))
            if self.args.eval_strategy != "no":
                self.rewarded.append((values, told))
        total = (weights * reward.pair_losses(outputs.logits, pairs, margins)).sum()
        return total / (len(labels) if num_items_in_batch is None else num_items_in_batch)

    def _laid(self, input_ids: torch.Tensor, position_ids: torch.Tensor, ends: torch.Tensor, **_options: Any) -> Any:
        with self.accelerator.autocast():
            return laid_rows.outputs(self.model, input_ids, position_ids, ends)

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        with _apart(inputs):
            return super().training_step(model, inputs, num_items_in_batch)

    def take_drawn(self) -> dict[str, float]:
        seen, self.seen = self.seen, []
        return super().take_drawn() | metrics(of_all(seen), self.heads)

    def prediction_step(self, model: Any, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: Any = None) -> Any:
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), _apart(inputs):
            loss = self.compute_loss(model, inputs).detach()
        self.add_heldout(loss, len(inputs["labels"]))
        return loss, None, None

    def evaluation_loop(self, *args: Any, **kw: Any) -> Any:
        trained, self.seen, drawn, self.rewarded = self.seen, [], self.rewarded, []
        out = super().evaluation_loop(*args, **kw)
        out.metrics.update({f"eval_{name}": value for name, value in metrics(of_all(self.seen), self.heads).items()})
        heldout, train = (pair_rewards(of_all(seen), self.heads) for seen in (self.rewarded, drawn))
        if self.arrays is not None and together.rank() == 0:
            self.arrays.append(gap_arrays.save(Path(self.args.output_dir).parent, self.state.global_step, heldout, train))
        self.seen, self.rewarded = trained, []
        return out


def of_all(seen: list[tuple[torch.Tensor, ...]]) -> list[tuple[torch.Tensor, ...]]:
    """What every process saw."""
    if together.world() == 1:
        return seen
    return together.joined([tuple(part.cpu() for part in parts) for parts in seen])


def pair_rewards(rewarded: list[tuple[torch.Tensor, torch.Tensor]], heads: tuple[str, ...]) -> PairRewards | None:
    """The rewards of every pair of some batches; None where there was none."""
    parts = []
    for values, told in rewarded:
        values, (row, better, worse, one, other) = values.cpu().numpy(), told.cpu().numpy().T
        parts.append(PairRewards(row, better, worse, values[one], values[other], heads))
    return gap_arrays.joined(parts) if parts else None


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


@dataclasses.dataclass(slots=True, kw_only=True)
class RewardJob(HeadedJob):
    arrays: list[ev.Arrays] = dataclasses.field(default_factory=list)
    """Files written by an evaluation that the journal does not name yet."""


def load_job(recipe: Recipe, found: RunRows) -> RewardJob:
    """Load, give heads, adapt and tokenize. Raises `WorkbenchError` before the first step where something cannot work."""
    transformers.set_seed(recipe.seed)
    heads = comparisons.heads_of(next(iter(found.train.values())))
    model, tokenizer = reward.load(resolve_model(recipe.model), heads, recipe.method)
    known = reward.heads_of(model.config)
    notes = chat.ensure_template(tokenizer)
    if len(known) > 1:
        notes.append(f"The criteria are {', '.join(heads)}: each has a head of its own.")
    max_length = headed.room(recipe, model.config, notes)
    numbers = [known.index(head) for head in heads]
    tables, parts, first = {}, [], 0
    for name, table in found.train.items():
        examples = comparisons.read(table)
        tables[name], counts = _rows(examples, tokenizer, max_length, numbers, first)
        parts.append(counts)
        first += len(examples)
    heldout_examples = [example for table in found.heldout.values() for example in comparisons.read(table)]
    heldout, (heldout_cut, heldout_dropped) = _rows(heldout_examples, tokenizer, max_length, numbers)
    train = [row for table in tables.values() for row in table if row is not None]
    if not train:
        raise DataError("No training row has replies that differ within max_length.", "Use a larger max_length.")
    prepared = headed.prepared(train, _texts, sum(cut for cut, _ in parts), sum((dropped for _, dropped in parts), Counter()))
    if prepared.truncated:
        notes.append("Of a conversation longer than max_length the beginning is left out; the reply's end, where rewards are read, stays.")
    headed.mixed(recipe, found, tables, prepared)
    held = [row for row in heldout if row is not None]
    model = headed.adapted(recipe, model)
    return RewardJob(
        model=model,
        tokenizer=tokenizer,
        train=prepared,
        heldout=headed.prepared(held, _texts, heldout_cut, heldout_dropped),
        heldout_examples=heldout_examples,
        max_length=max_length,
        notes=notes,
        tables=[train, held],
    )


def _texts(row: Row) -> list[list[int]]:
    return row["input_ids"]


def _rows(examples: list[Row], tokenizer: Any, max_length: int, heads: list[int],
          first_number: int = 0) -> tuple[list[Row | None], tuple[int, Counter]]:
    """A row for each comparison, None where none of its pairs can be told apart; and how many replies were cut, and what was dropped.
    `heads` are the model's numbers of the rows' criteria."""
    counts = [len(example["replies"]) for example in examples]
    talks = [[*example["prompt"], *reply] for example in examples for reply in example["replies"]]
    ids, cut = reply_tokens.encode(tokenizer, talks, max_length)
    rows, dropped, first = [], Counter(), 0
    for number, (example, count) in enumerate(zip(examples, counts, strict=True), start=first_number):
        replies, first = ids[first:first + count], first + count
        pairs = [(better, worse, heads[head], margin) for better, worse, head, margin in example["pairs"]
                 if replies[better] != replies[worse]]
        if not pairs:
            dropped["a tie by every criterion" if not example["pairs"] else "replies alike once cut at max_length"] += 1
        rows.append({"input_ids": replies, "pairs": pairs, "number": number} if pairs else None)
    return rows, (cut, dropped)


def build_trainer(recipe: Recipe, job: RewardJob, output_dir: Path, callbacks: list[Any], fruitless: int = 0) -> RewardTrainer:
    """See `headed.build_trainer`; evaluations write their files into the folder that `output_dir` is in."""
    collator = PairCollator(job.tokenizer.pad_token_id, count=True)
    trainer = headed.build_trainer(recipe, job, output_dir, callbacks, fruitless, kind=RewardTrainer, collator=collator, texts=_texts)
    trainer.heads, trainer.arrays = tuple(reward.heads_of(trainer.model.config)), job.arrays
    trainer.data_collator.lay = not trainer.frozen and trainer.args.world_size == 1 and laid_rows.prepare(trainer.model)  # type: ignore[attr-defined]
    return trainer


def sampler(recipe: Recipe, job: RewardJob, probes: Any) -> Callable[[Any, int], list[ev.Event]]:
    """Held-out comparisons: the reply with the highest reward (by the first head), and whether it is the best one; and the files that the
    evaluation wrote."""
    asked = job.heldout_examples[:recipe.sample_prompts]  # type: ignore[index]

    def sample(model: Any, step: int) -> list[ev.Event]:
        out: list[ev.Event] = [*job.arrays]
        job.arrays.clear()
        for example in asked:
            told = probes.answer("score", {"prompt": example["prompt"], "replies": example["replies"]})
            values = [next(iter(by_head.values())) for by_head in told]
            liked = max(range(len(values)), key=values.__getitem__)
            reply, best = (comparisons.words(example["replies"][number]) for number in (liked, 0))
            out.append(ev.Sampled(step=step, prompt=comparisons.words(example["prompt"]), reply=reply, reference=best,
                                  verdict="right" if liked == 0 else "wrong"))
        return out

    return sample
