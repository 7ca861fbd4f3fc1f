"""The objectives `sft` and `pretraining`: transformers' Trainer over prepared rows.

Both are next-token cross-entropy (nats per trained token, normalised over the whole accumulated batch); they differ in which tokens are trained. trl's
SFTTrainer is not used: on the same rows it reaches under half of the tokens/s (it flattens packed rows and measures entropy and accuracy each step).
"""

import dataclasses
import functools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers

from workbench import launching, town
from workbench.data import layouts
from workbench.data.run_rows import RunRows
from workbench.errors import RecipeError
from workbench.journal import events as ev
from workbench.models import loading, saving
from workbench.models.lora import LoRA
from workbench.recipes import Recipe, resolve_model, warmup_count
from workbench.templates import chat
from workbench.training import fast_rows, shards, strategies, together, varlen
from workbench.training import rows as rows_module
from workbench.training.mixed import MixedRows
from workbench.training.rows import Collator, Prepared

LOOKED_AT = 1000
"""Rows of a mixture tokenized before the first step, so that what they would train on is known."""
LIVE_FILE = "live.json"
"""In a checkpoint: the objective's live settings as they were."""
SCHEDULE_NAMES = {"constant": "constant_with_warmup", "linear": "linear", "cosine": "cosine"}


class CountingTrainer(transformers.Trainer):
    """transformers' Trainer that counts the real tokens of each step (the collator says how many a batch has) and evaluates per trained token."""

    counted = 0
    heldout = 0.0, 0
    """Summed loss in nats, and tokens, of the evaluation that goes on."""

    def __init__(self, *args: Any, **kw: Any):
        super().__init__(*args, **kw)
        self.drawn: list[int] = []
        """Sources of the rows of this step."""
        self.live: dict[str, Any] = {}
        """The objective's own settings that can be changed at any step; read at each, kept in checkpoints."""
        self.spare = self.evaluating = False
        """Whether the batch that is read counts for nothing: see `shards.py`."""
        self.proof: Callable[[CountingTrainer], None] | None = None
        """Told of the trainer once its model is the one of a launch (`strategies.py`), before the first step."""

    def train(self, resume_from_checkpoint: Any = None, **kw: Any) -> Any:
        if together.world() > 1:
            transformers.set_seed(self.args.seed + together.rank())  # the weights are the same; what is dropped out of them need not be
        if resume_from_checkpoint:
            self.restore_own(Path(resume_from_checkpoint))
        return super().train(resume_from_checkpoint=resume_from_checkpoint, **kw)

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        self.counted += inputs.pop("real_tokens", 0)
        inputs.pop("lengths", None)
        self.drawn += inputs.pop("sources", ())
        return super().training_step(model, inputs, num_items_in_batch)

    def create_accelerator_and_postprocess(self) -> None:
        strategies.let_shard(self.args)
        super().create_accelerator_and_postprocess()

    def _prepare_for_training(self, *args: Any, **kw: Any) -> Any:
        prepared = super()._prepare_for_training(*args, **kw)
        if self.proof is not None:
            self.proof(self)
        return prepared

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        self.spare = isinstance(inputs, dict) and inputs.pop("spare", False)
        return super()._prepare_inputs(inputs)

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: Any) -> Any:
        if self.evaluating and together.world() > 1:
            return None  # each process has means of its own batches, and the evaluation adds them up
        return super()._get_num_items_in_batch(batch_samples, device)

    def compute_loss(self, *args: Any, **kw: Any) -> Any:
        out = super().compute_loss(*args, **kw)
        if not self.spare:
            return out
        return (out[0] * 0, *out[1:]) if isinstance(out, tuple) else out * 0

    def _get_dataloader(self, dataset: Any, description: str, batch_size: int, sampler_fn: Any = None, is_training: bool = False,
                        dataloader_key: str | None = None) -> Any:
        if together.world() == 1:
            return super()._get_dataloader(dataset, description, batch_size, sampler_fn, is_training, dataloader_key)
        shuffled = is_training and not isinstance(dataset, MixedRows)
        whole = is_training and self.args.dataloader_drop_last
        return shards.loader(dataset, self.data_collator, batch_size, self.args.data_seed if shuffled else None, whole)

    def get_train_dataloader(self) -> Any:
        if together.world() > 1 or not isinstance(self.train_dataset, MixedRows):
            return super().get_train_dataloader()
        # in order, and nothing read ahead: accelerate's loader has the next batch before a change of the mixture can reach it
        return torch.utils.data.DataLoader(self.train_dataset, batch_size=self._train_batch_size, collate_fn=self.data_collator)

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        self.save_own(Path(output_dir))

    def save_own(self, folder: Path) -> None:
        """Into a checkpoint, what is ours to keep; every process comes here."""
        if self.live and self.args.should_save:
            (folder / LIVE_FILE).write_text(json.dumps(self.live))

    def restore_own(self, folder: Path) -> None:
        """What `save_own` kept, before the trainer itself goes on from the checkpoint."""
        kept = folder / LIVE_FILE
        if kept.exists():
            self.live.update(json.loads(kept.read_text()))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if not saving.restore(model or self.model, resume_from_checkpoint):
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        super().log(self.with_drawn(logs), start_time)

    def with_drawn(self, logs: dict[str, float]) -> dict[str, float]:
        """What is logged of a step, for trackers with the metrics that the journal takes by itself: they would lie in every checkpoint."""
        return logs | self.take_drawn() if self.args.report_to and "loss" in logs else logs

    def take_drawn(self) -> dict[str, float]:
        """Rows of each source since the last call, as metrics of a step; {} where there is no mixture."""
        drawn, self.drawn = together.joined(self.drawn), []
        return {f"rows/{name}": count for name, count in self.train_dataset.counts(drawn).items()} if drawn else {}

    def take_count(self) -> int:
        """Real tokens since the last call, of all processes; each calls it."""
        count, self.counted = self.counted, 0
        return sum(together.gathered(count))

    def add_heldout(self, loss: torch.Tensor, count: int) -> None:
        """A batch's mean loss over `count` tokens or rows, for the mean of the evaluation."""
        if not self.spare:
            self.heldout = self.heldout[0] + loss.item() * count, self.heldout[1] + count

    def prediction_step(self, model: Any, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: Any = None) -> Any:
        out = super().prediction_step(model, inputs, prediction_loss_only, ignore_keys)
        tokens = int((inputs["labels"][:, 1:] != -100).sum())
        self.add_heldout(out[0], tokens)
        return out

    def evaluation_loop(self, *args: Any, **kw: Any) -> Any:
        # transformers averages batches as if each held as many tokens: the loss would depend on the batch size
        self.heldout, self.evaluating = (0.0, 0), True
        try:
            out = super().evaluation_loop(*args, **kw)
        finally:
            self.evaluating = False
        total, count = together.summed(self.heldout)
        out.metrics["eval_loss"] = total / count
        return out

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        # held-out rows are never packed, whatever the training rows are
        own, self.data_collator = self.data_collator, Collator(self.data_collator.pad_token_id, count=isinstance(self, fast_rows.PackedSteps))  # type: ignore[has-type]
        try:
            return super().get_eval_dataloader(eval_dataset)
        finally:
            self.data_collator = own


class PackedTrainer(fast_rows.PackedSteps, CountingTrainer):
    """The same for packed rows: 1.5 times as quick and more, and equal but for the order of summation."""


@dataclasses.dataclass(slots=True)
class Job:
    """Everything a run trains with."""

    model: Any
    tokenizer: Any
    train: Prepared
    heldout: Prepared
    heldout_examples: list[dict[str, Any]]
    max_length: int
    notes: list[str]


def load_job(recipe: Recipe, found: RunRows) -> Job:
    """Load, adapt and tokenize. Raises `WorkbenchError` before the first step where something cannot work."""
    transformers.set_seed(recipe.seed)
    source = resolve_model(recipe.model)
    rounded = bool(recipe.method.load_kwargs())  # such a model is put where it trains as it is read
    model, tokenizer = loading.load_base(source, recipe.method, dtype=base_dtype(recipe, torch.cuda.is_available()),
                                         device="cuda" if rounded and torch.cuda.is_available() else "cpu")
    fast_rows.choose(model, recipe.attention)
    notes = loading.prepare_tokenizer(tokenizer, model.config) + chat.ensure_template(tokenizer)
    room = getattr(model.config, "max_position_embeddings", None)
    max_length = min(recipe.max_length, room) if room else recipe.max_length
    if max_length < recipe.max_length:
        notes.append(f"max_length is {max_length}, all the positions this model has.")
    options = dict(objective=recipe.objective, completions_only=recipe.completions_only, max_length=max_length)
    heldout_examples = [example for table in found.heldout.values() for example in _examples(table.to_pylist())]
    if found.segments:
        train = _mixed(recipe, found, tokenizer, options)
        notes.append(f"Tokens and cut rows were counted on {train.looked_at:,} rows and are reckoned for all that will be drawn.")
    else:
        train = rows_module.prepare(_examples(found.train[""].to_pylist()), tokenizer, packing=recipe.packing, **options)
    heldout = rows_module.prepare(heldout_examples, tokenizer, packing=False, what="held-out rows", **options)
    if recipe.packing and getattr(model.config, "_attn_implementation", "") not in ("sdpa", "eager"):
        raise RecipeError(f"Packed rows are kept apart under sdpa and eager attention only; this model uses {model.config._attn_implementation}.",
                          "Use packing=False.")
    model.config.use_cache = False
    model = recipe.method.apply(model)
    return Job(model, tokenizer, train, heldout, heldout_examples, max_length, notes)


def base_dtype(recipe: Recipe, cuda: bool) -> torch.dtype | None:
    """What the base's weights are kept in: under LoRA on a GPU in bf16, in which autocast multiplies them anyway, for half the memory; the adapter
    stays in fp32. None is fp32, as for all that is trained, or whose start is read off the weights (PiSSA, DoRA's lengths)."""
    half = recipe.precision == "bf16" or (recipe.precision == "auto" and cuda and torch.cuda.is_bf16_supported())
    plain = type(recipe.method) is LoRA and recipe.method.variant in ("lora", "rslora") and not recipe.method.options
    return torch.bfloat16 if cuda and half and plain and not recipe.training_arguments.get("use_cpu") else None


def _examples(table_rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return layouts.examples(table_rows, list(table_rows[0])) if table_rows else []


def _mixed(recipe: Recipe, found: RunRows, tokenizer: Any, options: dict[str, Any]) -> Prepared:
    """Rows drawn as they are needed; what the first ones would train on is checked here. Raises `DataError` as `prepare` does."""
    columns = {name: table.column_names for name, table in found.train.items()}

    def example(name: str, row: int) -> dict[str, Any]:
        return layouts.examples(found.train[name].slice(row, 1).to_pylist(), columns[name], row + 1, name)[0]

    @functools.lru_cache(maxsize=rows_module.REMEMBERED_ROWS)
    def features(name: str, row: int) -> dict[str, Any] | None:
        return rows_module.features(tokenizer, example(name, row), **options)

    rows_a_step = launching.rows_a_step(recipe)
    drawn = MixedRows(found, total_steps(recipe, found.rows) * rows_a_step, rows_a_step, recipe.seed, features)
    first = list(dict.fromkeys(zip(drawn.source[:LOOKED_AT].tolist(), drawn.row[:LOOKED_AT].tolist(), strict=True)))
    looked = rows_module.prepare([example(drawn.names[source], row) for source, row in first], tokenizer, packing=False, what="rows first drawn", **options)
    share = len(drawn) / max(1, len(first))
    return dataclasses.replace(looked, rows=drawn, examples=len(drawn), epoch_rows=found.rows, looked_at=len(first), **{
        name: round(getattr(looked, name) * share) for name in ("truncated", "tokens", "trained_tokens")})


def total_steps(recipe: Recipe, row_count: int) -> int:
    """Optimizer steps: as asked, or `epochs` over the (packed) rows, counted as transformers' Trainer does."""
    if recipe.steps is not None:
        return recipe.steps
    batches = math.ceil(row_count / launching.rows_a_pass(recipe))
    return math.ceil(recipe.epochs * max(1, math.ceil(batches / recipe.gradient_accumulation)))


def arguments(recipe: Recipe, output_dir: Path, steps: int, evaluates: bool) -> dict[str, Any]:
    """What `transformers.TrainingArguments` is given for this recipe."""
    cuda = torch.cuda.is_available()
    bf16 = recipe.precision == "bf16" or (recipe.precision == "auto" and cuda and torch.cuda.is_bf16_supported())
    every = max(1, steps // 10)
    return dict(
        output_dir=str(output_dir), max_steps=steps, per_device_train_batch_size=recipe.batch_size, per_device_eval_batch_size=recipe.batch_size,
        gradient_accumulation_steps=recipe.gradient_accumulation, learning_rate=recipe.learning_rate, lr_scheduler_type=SCHEDULE_NAMES[recipe.schedule],
        warmup_steps=warmup_count(recipe, steps), optim=recipe.optimizer, weight_decay=recipe.weight_decay, max_grad_norm=recipe.max_grad_norm,
        adam_beta1=recipe.optimizer_arguments.get("beta1", 0.9), adam_beta2=recipe.optimizer_arguments.get("beta2", 0.999),
        adam_epsilon=recipe.optimizer_arguments.get("epsilon", 1e-8), seed=recipe.seed, data_seed=recipe.seed,
        eval_strategy="steps" if evaluates else "no", eval_steps=(recipe.evaluate_every or every) if evaluates else None,
        metric_for_best_model="eval_loss" if evaluates else None, greater_is_better=False if evaluates else None,
        save_strategy="steps", save_steps=recipe.checkpoint_every or every, logging_strategy="steps", logging_steps=1, logging_nan_inf_filter=False,
        torch_compile=recipe.compile, report_to=list(recipe.report_to), disable_tqdm=True, remove_unused_columns=False, bf16=bf16, fp16=recipe.precision == "fp16", use_cpu=not cuda,
        dataloader_pin_memory=cuda) | strategies.arguments(recipe.launch) | recipe.training_arguments


def build_trainer(recipe: Recipe, job: Job, output_dir: Path, callbacks: list[Any], fruitless: int = 0, *, kind: type[CountingTrainer] | None = None,
                  collator: Any = None, **options: Any) -> CountingTrainer:
    """The trainer, ready to train; `fruitless` evaluations without a new best lie behind it.
    `kind`, `collator` and `options` are for other objectives. Raises `RecipeError` for training arguments transformers does not take."""
    steps = total_steps(recipe, job.train.epoch_rows)
    evaluates = bool(job.heldout.examples)
    try:
        args = transformers.TrainingArguments(**arguments(recipe, output_dir, steps, evaluates))
    except (TypeError, ValueError) as error:
        raise RecipeError(f"transformers refuses these training arguments: {str(error).splitlines()[0]}.", "Mend training_arguments or optimizer.") from error
    if recipe.early_stopping and evaluates:
        stopping = transformers.EarlyStoppingCallback(recipe.early_stopping)
        stopping.early_stopping_patience_counter = fruitless
        callbacks = [stopping, *callbacks]
    collator = collator or Collator(job.tokenizer.pad_token_id, job.max_length if recipe.packing else None, count=True)
    quick, kernel = _quick_way(recipe, job, args)
    trainer = (kind or (PackedTrainer if quick else CountingTrainer))(model=job.model, args=args, train_dataset=job.train.rows, eval_dataset=job.heldout.rows if evaluates else None,
                              data_collator=collator, processing_class=job.tokenizer, callbacks=callbacks, **options)
    trainer.remove_callback(transformers.PrinterCallback)
    if kernel is not None:
        trainer.kernel = kernel
    return trainer


def _quick_way(recipe: Recipe, job: Job, args: Any) -> tuple[bool, varlen.Kernel | None]:
    """Whether rows go the quick way, and a GPU's kernel for it. Raises `RecipeError` where the kernel was asked for and cannot be had."""
    asked = recipe.attention == "flash"
    if recipe.compile or not (recipe.packing or asked):  # a compiled pass cannot be told anew with each batch where examples begin
        return False, None
    if args.device.type == "cpu" and not asked:
        return fast_rows.prepare(job.model), None
    half = torch.bfloat16 if args.bf16 else torch.float16 if args.fp16 else None
    kernel, why = varlen.usable(job.model, str(args.device), half) if half else (None, "It computes in 16 bits, and this run does not.")
    if kernel is not None and fast_rows.prepare(job.model, kernel):
        return True, kernel
    why = why or "This model's attention is more than causal softmax."
    if asked:
        raise RecipeError(f"attention is 'flash', and it cannot be had. {why}", 'Use attention="auto".')
    job.notes.append(f"Packed rows are kept apart by a mask, which is slower than a kernel. {why}")
    return False, None


def sampler(recipe: Recipe, job: Job, probes: Any) -> Callable[[Any, int], list[ev.Sampled]]:
    """Greedy replies to the recipe's prompts, or to those of the first held-out rows."""
    wanted = recipe.sample_prompts
    if isinstance(wanted, int):
        prompts = [chat.prompt_of(example) for example in job.heldout_examples[:wanted]]
    else:
        prompts = [(prompt, "", recipe.objective == "pretraining") for prompt in wanted]

    def sample(model: Any, step: int) -> list[ev.Sampled]:
        out = []
        for prompt, reference, raw in prompts:
            reply = probes.answer("generate", dict(prompt=prompt, raw=raw, max_new_tokens=recipe.sample_tokens))
            asked = prompt if isinstance(prompt, str) else prompt[-1]["content"]
            out.append(ev.Sampled(step=step, prompt=asked, reply=reply, reference=reference, verdict=verdict(asked, reply, reference)))
        return out

    return sample


def verdict(question: str, reply: str, reference: str) -> str:
    """A word on a sampled reply: right, wrong (where the truth is known), repeats, empty, or nothing."""
    words = reply.split()
    if not words:
        return "empty"
    if len(words) >= 8 and any(words[-n:] == words[-2 * n:-n] for n in range(1, len(words) // 2 + 1) if n >= 2 or words[-4:] == words[-1:] * 4):
        return "repeats"
    graded = town.grade(question, reply)
    if graded is not None:
        return "right" if graded else "wrong"
    if reference and " ".join(words).casefold() == " ".join(reference.split()).casefold():
        return "right"
    return ""
