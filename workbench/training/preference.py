"""The objectives `dpo`, `ipo`, `kto`, `orpo` and `rrhf`: a policy that learns from compared or judged replies, without reinforcement
learning.

A row is one prompt with its replies: a pair, a ranking, or replies judged good or bad. Of a ranking every two replies of different rank are
a pair, with one forward pass a reply, and its pairs together weigh as much as one pair; RRHF takes it whole. trl's trainers are not used:
their losses are (`alignment/preference_losses.py`, tested against them), but each reply is padded and carries its prompt, and the reference
is computed at every step (`tests/benchmarks/test_dpo_speed.py` says what it costs). Not here: log-probabilities (`reply_logps.py`), the
reference (`reference.py`), tokens (`reply_rows.py`).

Shapes: N rows, M replies of all of them, P pairs.
"""

import contextlib
import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import transformers

from workbench.alignment.objectives import Objective
from workbench.alignment.preference_objectives import SORTED
from workbench.data import comparisons, verdicts
from workbench.data.run_rows import RunRows
from workbench.errors import DataError, RecipeError
from workbench.journal import events as ev
from workbench.models import loading
from workbench.recipes import Recipe, resolve_model
from workbench.templates import chat
from workbench.training import fast_rows, gap_arrays, headed, reply_logps, reply_rows, supervised, together
from workbench.training.gap_arrays import PairRewards
from workbench.training.preference_terms import Replies, Seen, metrics, objective_loss
from workbench.training.reference import KeptSums, first_logits, off_is_start
from workbench.training.reply_logps import Laid, ReplyLogps
from workbench.training.rows import Prepared
from workbench.training.supervised import CountingTrainer, Job

Row = dict[str, Any]
"""What `reply_rows.encode` gives, with `pairs` (better, worse, weight; numbers of its replies) or, of judged replies, `good` (bools)."""


@dataclasses.dataclass(slots=True)
class Batch:
    """The rows of a batch, out of the reach of whatever moves tensors about."""

    rows: list[Row]
    laid: Laid


@dataclasses.dataclass(slots=True)
class ReplyCollator:
    """Rows to `input_ids` and the rest that the model is given, `labels` (N zeros, by which a batch's rows are counted) and `batch`."""

    pad_token_id: int
    lay: bool = False
    """Whether replies are laid end to end."""
    prompts: bool = False
    """Whether the tokens of the prompts are trained too."""
    count: bool = False
    """Whether a batch carries `real_tokens` and, of a mixture, `sources` (the trainer takes them out again)."""

    def laid(self, rows: list[Row]) -> Laid:
        return (reply_logps.laid if self.lay else reply_logps.padded)(rows, self.pad_token_id, self.prompts)

    def __call__(self, rows: list[Row]) -> dict[str, Any]:
        laid = self.laid(rows)
        rows_told = torch.zeros(len(rows), dtype=torch.long)
        # of `labels` alone transformers would leave out the first, as of tokens
        batch = laid.inputs | {"labels": rows_told, "shift_labels": rows_told, "batch": Batch(rows, laid)}
        if self.count:
            batch["real_tokens"] = sum(map(reply_rows.tokens, rows))
            if "source" in rows[0]:
                batch["sources"] = [row["source"] for row in rows]
        return batch


class PreferenceTrainer(CountingTrainer):
    """Counts rows where `CountingTrainer` counts tokens; what it saw of each step and evaluation becomes metrics and files."""

    settings: Objective
    reference: KeptSums | None = None
    arrays: list[ev.Arrays] | None = None
    """Events of files that an evaluation wrote, for the journal; None writes none."""

    def __init__(self, *args: Any, **kw: Any):
        super().__init__(*args, **kw)
        self.compute_loss_func = self.loss  # so that transformers counts the rows of the whole accumulated batch
        self.logps = ReplyLogps(self.model)
        self.seen: list[Seen] = []
        """Of the batches since the last metrics."""
        self.rewarded: list[Seen] = []
        """Of the batches since the last evaluation."""

    @contextlib.contextmanager
    def _ready(self, inputs: dict[str, Any]) -> Any:
        """Takes the batch out of `inputs`; inside, all that its loss needs is there, and attention goes as it needs it."""
        batch = inputs.pop("batch")
        laid = batch.laid.to(self.args.device)
        reference = kl = None
        with self.compute_loss_context_manager():
            if self.reference is not None:
                reference = self._reference(batch.rows)
            if self.settings.name == "kto" and self.settings.loss == "kto":  # type: ignore[attr-defined]
                kl = self._mismatched(batch.rows)
        self._now = Replies(batch.rows, laid.lengths, reference, kl), laid
        with reply_logps.within(laid):
            yield

    def _lay(self, rows: list[Row]) -> Laid:
        return dataclasses.replace(self.data_collator, prompts=False).laid(rows).to(self.args.device)  # type: ignore[attr-defined, call-arg]

    def _reference(self, rows: list[Row]) -> torch.Tensor:
        """M: of the rows' replies. A copy is read in the precision that the policy is read in."""
        with self.accelerator.autocast():
            return self.reference.of(rows, self.logps, self._lay).to(self.args.device)

    def _mismatched(self, rows: list[Row]) -> torch.Tensor:
        """Log-ratios of replies to the prompts that stand after theirs in the batch (trl's pairs; arXiv 2402.01306, section 4.1)."""
        asked = [row["prompt"] for row in rows for _ in row["replies"]]
        said = [reply for row in rows for reply in row["replies"]]
        if len(said) < 2:
            return torch.zeros(1, device=self.args.device)
        others = [{"prompt": prompt, "replies": [reply]} for prompt, reply in zip(asked, [said[-1], *said[:-1]], strict=True)]
        laid = self._lay(others)
        training = self.model.training
        with torch.no_grad(), reply_logps.within(laid):
            own = self.logps(laid)
        self.model.train(training)
        return own - self._reference(others)

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        with self._ready(inputs):
            return super().training_step(model, inputs, num_items_in_batch)

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kw: Any) -> Any:
        def told(**_inputs: Any) -> SimpleNamespace:
            return SimpleNamespace(logps=self.logps(self._now[1], model))

        return super().compute_loss(told, inputs, *args, **kw)

    def loss(self, outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
        total, seen = objective_loss(self.settings, self.live.get("beta", self.settings.beta), outputs.logps, self._now[0])  # type: ignore[attr-defined]
        if not self.spare:
            self.seen.append(seen)
            if self.args.eval_strategy != "no":
                self.rewarded.append(seen)
        return total / (len(labels) if num_items_in_batch is None else num_items_in_batch)

    def take_drawn(self) -> dict[str, float]:
        seen, self.seen = self.seen, []
        return super().take_drawn() | metrics(of_all(seen)) | ({"beta": self.live["beta"]} if self.live else {})

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        own, self.data_collator = self.data_collator, dataclasses.replace(self.data_collator, count=False)
        try:
            return transformers.Trainer.get_eval_dataloader(self, eval_dataset)
        finally:
            self.data_collator = own

    def prediction_step(self, model: Any, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: Any = None) -> Any:
        with torch.no_grad(), self._ready(inputs), self.compute_loss_context_manager():
            loss = self.compute_loss(model, self._prepare_inputs(inputs)).detach()
        self.add_heldout(loss, len(inputs["labels"]))
        return loss, None, None

    def evaluation_loop(self, *args: Any, **kw: Any) -> Any:
        trained, self.seen, drawn, self.rewarded = self.seen, [], self.rewarded, []
        out = super().evaluation_loop(*args, **kw)
        out.metrics.update({f"eval_{name}": value for name, value in metrics(of_all(self.seen)).items()})
        heldout, train = (pair_rewards(of_all(seen)) for seen in (self.rewarded, drawn))
        if self.arrays is not None and heldout is not None and together.rank() == 0:
            self.arrays.append(gap_arrays.save(Path(self.args.output_dir).parent, self.state.global_step, heldout, train))
        self.seen, self.rewarded = trained, []
        return out

    def save_own(self, folder: Path) -> None:
        super().save_own(folder)
        if self.reference is not None:
            self.reference.save(folder)

    def restore_own(self, folder: Path) -> None:
        super().restore_own(folder)
        if self.reference is not None:
            self.reference.restore(folder)


def of_all(seen: list[Seen]) -> list[Seen]:
    """What every process saw."""
    return seen if together.world() == 1 else together.joined([one.cpu() for one in seen])


def pair_rewards(seen: list[Seen]) -> PairRewards | None:
    """The implicit rewards of every pair of some batches; None where there was none."""
    parts = [PairRewards(*one.pairs.T, one.chosen.cpu().numpy(), one.rejected.cpu().numpy(), ("reward",)) for one in seen if len(one.pairs)]  # type: ignore[call-arg]
    return gap_arrays.joined(parts) if parts else None


@dataclasses.dataclass(slots=True, kw_only=True)
class PreferenceJob(Job):
    reference: KeptSums | None
    arrays: list[ev.Arrays] = dataclasses.field(default_factory=list)
    """Files written by an evaluation that the journal does not name yet."""


def load_job(recipe: Recipe, found: RunRows) -> PreferenceJob:
    """Load, adapt and tokenize. Raises `WorkbenchError` before the first step where something cannot work."""
    transformers.set_seed(recipe.seed)
    source = resolve_model(recipe.model)
    device = "cuda" if recipe.method.load_kwargs() and torch.cuda.is_available() else "cpu"
    model, tokenizer = loading.load_base(source, recipe.method, device=device)
    loading.without_dropout(model)
    fast_rows.choose(model, recipe.attention)
    notes = loading.prepare_tokenizer(tokenizer, model.config) + chat.ensure_template(tokenizer)
    max_length = headed.room(recipe, model.config, notes)
    tables, cut, first = {}, 0, 0
    for name, table in found.train.items():
        examples = examples_of(recipe.objective, table)
        tables[name], some = rows_of(examples, tokenizer, max_length, first)
        cut, first = cut + some, first + len(examples)
    heldout_examples = [example for table in found.heldout.values() for example in examples_of(recipe.objective, table)]
    heldout, heldout_cut = rows_of(heldout_examples, tokenizer, max_length)
    train, heldout = [row for table in tables.values() for row in table if row], [row for row in heldout if row]
    _check(recipe, train)
    if cut:
        notes.append("Of a prompt that is too long with its reply the beginning is left out; of a reply too long by itself, the end.")
    prepared = _prepared(train, cut)
    if lost := sum(row is None for table in tables.values() for row in table):
        prepared.dropped["a tie, or replies alike once cut at max_length"] = lost
    headed.mixed(recipe, found, tables, prepared)
    model.config.use_cache = False
    probe = train[0]["prompt"] + train[0]["replies"][0]
    before = first_logits(model, probe) if recipe.settings.referenced else None
    model = recipe.method.apply(model)
    reference = None
    if before is not None:
        off = off_is_start(model, probe, before)
        reference = KeptSums(model, None if off else loading.load_base(source, recipe.method, device=device)[0])
    asked = [{"messages": [*example["prompt"], *example["replies"][0]]} for example in heldout_examples]
    return PreferenceJob(model=model, tokenizer=tokenizer, train=prepared, heldout=_prepared(heldout, heldout_cut), heldout_examples=asked,
                         max_length=max_length, notes=notes, reference=reference)


def examples_of(objective: str, table: Any) -> list[Row]:
    """The comparisons of a table, or for KTO its judged replies. Raises `DataError` for comparisons by several criteria: a policy has
    one."""
    heads = comparisons.heads_of(table)
    if len(heads) > 1:
        raise DataError(f"The rows compare by {len(heads)} criteria ({', '.join(heads)}), and a policy follows one.",
                        f"Keep one of the columns {', '.join(comparisons.PREFIX + head for head in heads)}.")
    return verdicts.read(table) if objective == "kto" else comparisons.read(table)


def rows_of(examples: list[Row], tokenizer: Any, max_length: int, first: int = 0) -> tuple[list[Row | None], int]:
    """Rows in the examples' order, of judged replies a row each, None where nothing can be told apart; and how many replies were cut.
    `first` is the number of the first example."""
    rows, cut = reply_rows.encode(tokenizer, examples, max_length)
    out: list[Row | None] = []
    for row, example in zip(rows, examples, strict=True):
        row["number"] += first
        replies = row["replies"]
        if "good" in example:
            out += [row | {"replies": [reply], "good": [good]} for reply, good in zip(replies, example["good"], strict=True)]
            continue
        pairs = [(better, worse) for better, worse, *_ in example["pairs"] if replies[better] != replies[worse]]
        out.append(row | {"pairs": [(better, worse, 1 / len(pairs)) for better, worse in pairs]} if pairs else None)
    return out, cut


def _check(recipe: Recipe, train: list[Row]) -> None:
    """Raises for rows that this objective cannot take."""
    if not train:
        raise DataError("There is no row to train on.", "Give more rows, or hold fewer out.")
    if getattr(recipe.settings, "loss", "") in SORTED and any(len(row["pairs"]) != 1 for row in train):
        raise RecipeError(f"The loss {recipe.settings.loss!r} sorts the pairs of a batch, and these rows are rankings.",
                          'Give pairs, or use loss="sigmoid".')
    if recipe.objective == "kto" and recipe.settings.loss == "kto" and recipe.batch_size < 2:
        raise RecipeError("KTO measures its KL on replies to other prompts of the batch, and batch_size is 1.", "Use batch_size=8.")


def _prepared(rows: list[Row], cut: int) -> Prepared:
    return Prepared(rows=rows, examples=len(rows), epoch_rows=len(rows), truncated=cut, tokens=sum(map(reply_rows.tokens, rows)),
                    trained_tokens=sum(len(reply) for row in rows for reply in row["replies"]))


def build_trainer(recipe: Recipe, job: PreferenceJob, output_dir: Path, callbacks: list[Any], fruitless: int = 0) -> PreferenceTrainer:
    """See `supervised.build_trainer`; evaluations write their files into the folder that `output_dir` is in."""
    collator = ReplyCollator(job.tokenizer.pad_token_id, prompts=recipe.objective == "orpo" and not recipe.completions_only, count=True)
    trainer = supervised.build_trainer(recipe, job, output_dir, callbacks, fruitless, kind=PreferenceTrainer, collator=collator)
    trainer.settings, trainer.arrays, trainer.reference = recipe.settings, job.arrays, job.reference
    trainer.live.update(recipe.settings.live_values())
    lays = recipe.method.packs and trainer.args.world_size == 1
    rows = job.heldout.rows or [job.train.rows[0]]
    collator.lay = lays and reply_logps.agrees(trainer.model, trainer.logps, rows[0], collator.pad_token_id)
    if job.reference is not None:
        job.reference.sharded = recipe.launch is not None and recipe.launch.sharded and job.reference.copy is None
        job.reference.ready(trainer.args.device, collator.lay)
    return trainer


def sampler(recipe: Recipe, job: PreferenceJob, probes: Any) -> Any:
    """Greedy replies to the prompts of held-out rows, beside the preferred reply; and the files that the evaluation wrote."""
    answer = supervised.sampler(recipe, job, probes)

    def sample(model: Any, step: int) -> list[ev.Event]:
        written = [*job.arrays]
        job.arrays.clear()
        return [*written, *answer(model, step)]

    return sample
