"""The objective `ppo`: proximal policy optimization of replies, with a value head, and held to the model it starts from by a KL penalty.

    Ziegler et al. 2019 (arXiv 1909.08593), Stiennon et al. 2020 (2009.01325), Ouyang et al. 2022 (2203.02155), section 3.5
A step of the journal is one round: a reply to each prompt of the batch is drawn, rewarded once and read once by policy and reference, then
learned from in `epochs` passes of `minibatches` optimizer steps, of which transformers' trainer makes the last; so a step boundary has
nothing under way, and a resumed run goes on as an uninterrupted one. While the policy learns nothing is dropped out: ratios compare one
policy with itself. The value head reads the hidden state that the output head reads; it is in checkpoints, not in results.
Not here: drawing (`rollouts.py`), rewards (`scoring.py`), formulas (`alignment/advantages.py`).
Of several processes each draws and learns from a round of its own, advantages whitened in each; gradients, metrics and the KL that β
follows are means over them.

Shapes: N prompts of a round, T tokens of the longest reply, M tokens of all replies, D hidden.
"""

import dataclasses
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

from workbench.alignment import advantages
from workbench.alignment.kl import KL, AdaptiveKL, kl_estimates
from workbench.alignment.policy_objectives import PPO
from workbench.data import layouts, sources
from workbench.data.run_rows import RunRows
from workbench.errors import DataError, RecipeError
from workbench.journal import events as ev
from workbench.recipes import Recipe
from workbench.training import policy_evaluation, policy_rows, rollouts, supervised, together
from workbench.training import rows as rows_module
from workbench.training.policy_rows import PolicyJob, Row
from workbench.training.policy_trainer import PolicyTrainer
from workbench.training.rows import Collator
from workbench.training.scoring import open_scorer

VALUE_FILE = "value_head.safetensors"
"""In a checkpoint."""
PARTS = 4
"""Parts that a round is drawn in where rewards have a process of their own: it scores one while the next is drawn."""


@dataclasses.dataclass(slots=True)
class Round:
    """Replies to N prompts with all that is known of them when learning begins; tensors are N x T."""

    prompts: list[list[int]]
    replies: list[list[int]]
    mask: torch.Tensor
    logp: torch.Tensor
    values: torch.Tensor
    advantages: torch.Tensor
    returns: torch.Tensor


class PPOTrainer(PolicyTrainer):
    """A policy with a value head."""

    settings: PPO
    pretraining: list[dict[str, list[int]]]
    """Rows whose loss is mixed in; may be empty."""

    def __init__(self, *args: Any, **kw: Any):
        super().__init__(*args, **kw)
        self.value_head = torch.nn.Linear(self.model.get_input_embeddings().embedding_dim, 1, device=self.args.device)
        torch.nn.init.zeros_(self.value_head.weight)
        torch.nn.init.zeros_(self.value_head.bias)

    # --- what transformers' trainer is told --------------------------------------------------------------------------------------

    def create_optimizer(self, model: Any = None) -> Any:
        super().create_optimizer(model)
        rate = self.settings.value_learning_rate or self.args.learning_rate
        self.optimizer.add_param_group({"params": list(self.value_head.parameters()), "weight_decay": 0.0, "lr": rate})
        return self.optimizer

    def _clip_grad_norm(self, model: Any) -> torch.Tensor:
        return self.accelerator.clip_grad_norm_([*model.parameters(), *self.value_head.parameters()], self.args.max_grad_norm)

    def save_own(self, folder: Path) -> None:
        super().save_own(folder)
        if not self.args.should_save:
            return
        weights = {name: tensor.cpu() for name, tensor in self.value_head.state_dict().items()}
        safetensors.torch.save_file(weights, folder / VALUE_FILE)

    def restore_own(self, folder: Path) -> None:
        super().restore_own(folder)
        self.value_head.load_state_dict(safetensors.torch.load_file(folder / VALUE_FILE))

    # --- a round -----------------------------------------------------------------------------------------------------------------

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        self.drawn += inputs.pop("sources", ())
        with rollouts.evaluating(model):
            drawn = self._rollout(inputs["rows"])
            began = time.perf_counter()
            loss = self._learn(drawn)
        self.metrics["seconds/train"] = time.perf_counter() - began
        self.counted += sum(map(len, drawn.prompts)) + sum(map(len, drawn.replies))
        return loss

    def _rollout(self, rows: list[Row]) -> Round:
        """Draw, reward and read a reply to each prompt."""
        settings, live, tokenizer = self.settings, self.live, self.processing_class
        prompts = [row["input_ids"] for row in rows]
        size = -(-len(rows) // PARTS) if settings.own_process else len(rows)
        replies, said, tickets = rollouts.Replies([], []), [], []
        seconds: dict[str, float] = defaultdict(float)
        for first in range(0, len(rows), size):
            began, part = time.perf_counter(), slice(first, first + size)
            drawn = rollouts.generate(self.model, tokenizer, prompts[part], reply_tokens=settings.reply_tokens,
                                      temperature=live["temperature"])
            replies.ids += drawn.ids
            replies.ended += drawn.ended
            said += policy_evaluation.texts(tokenizer, drawn.ids)
            drew = time.perf_counter()
            seconds["seconds/generate"] += drew - began
            tickets.append(self.scorer.submit([row["prompt"] for row in rows[part]], said[part], [row["reference"] for row in rows[part]]))
            seconds["seconds/score"] += time.perf_counter() - drew
        began = time.perf_counter()
        reading = self.reader.quietly(self.model, prompts, replies.ids, live["temperature"])
        reference = self.job.reference.logp(prompts, replies.ids, live["temperature"])
        parts = [self.scorer.collect(ticket) for ticket in tickets]
        rewards = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        gold = self.scorer.gold([row["prompt"] for row in rows], said, [row["reference"] for row in rows])
        seconds["seconds/score"] += time.perf_counter() - began
        self.metrics = policy_evaluation.reward_metrics(rewards, live["reward_weights"], gold)
        self.metrics |= policy_evaluation.reply_metrics(replies, said, reading, reference)
        self.metrics |= {"beta": live["beta"], "temperature": live["temperature"], **seconds}
        self.metrics["objective"] = self.metrics["reward"] - live["beta"] * self.metrics["kl"]
        self.metrics |= {f"waits/{side}": value for side, value in self.scorer.take_waits().items()}
        self.metrics = together.averaged(self.metrics)  # β follows the KL of all processes
        scores = torch.from_numpy(policy_evaluation.weighted(rewards, live["reward_weights"])).to(reading.logp)
        if settings.unended_penalty:
            scores = scores - settings.unended_penalty * torch.tensor([not ended for ended in replies.ended]).to(scores)
        return self._judged(prompts, replies.ids, reading, kl_estimates(reading.logp, reference), scores)

    @torch.no_grad()
    def _judged(self, prompts: list[list[int]], replies: list[list[int]], reading: rollouts.Reading, kl: KL,
                scores: torch.Tensor) -> Round:
        """Advantages and returns; the next β, where it is adaptive."""
        settings, live, mask = self.settings, self.live, reading.mask
        rewards = advantages.token_rewards(scores, getattr(kl, settings.kl_estimator), mask, live["beta"])
        if settings.whiten_rewards:
            rewards = advantages.whiten(rewards, mask, shift=False)
        if self.state.global_step == 0:  # nothing is known yet: the value of every token is what replies bring on average
            self.value_head.bias.fill_(together.averaged({"": float(rewards.sum(1).mean())})[""])
        values = reading.padded(self.value_head(reading.hidden.float())[:, 0])
        found, returns = advantages.generalized_advantages(rewards, values, mask, settings.gamma, settings.lam)
        if settings.whiten_advantages:
            found = advantages.whiten(found, mask)
        if live["kl_target"] is not None and live["beta"] > 0 and not self._warming:
            live["beta"] = AdaptiveKL(live["beta"], live["kl_target"]).update(self.metrics["kl"])
        return Round(prompts, replies, mask, reading.logp, values, found, returns)

    def _learn(self, drawn: Round) -> torch.Tensor:
        """All optimizer steps of a round but the last, whose gradients are left for the trainer. Returns the mean loss of all."""
        settings, losses = self.settings, []
        told: dict[str, float] = defaultdict(float)
        count = len(drawn.replies)
        parts = [part for _ in range(settings.epochs) for part in torch.randperm(count).tensor_split(min(count, settings.minibatches))]
        self.optimizer.zero_grad()
        for number, part in enumerate(parts, start=1):
            with self.compute_loss_context_manager():
                loss = self._loss(drawn, part, told)
                if self.pretraining and not self._warming:
                    more = self._pretraining_loss(len(part))
                    told["pretraining_loss"] += float(more.detach())
                    loss = loss + settings.pretraining_weight * more
            self.accelerator.backward(loss)
            # the model was read without what averages the gradients of several processes by itself
            together.average_gradients([*self.model.parameters(), *self.value_head.parameters()])
            losses.append(loss.detach())
            if number < len(parts):
                if self.args.max_grad_norm > 0:
                    self._clip_grad_norm(self.model)
                self.optimizer.step()
                self.optimizer.zero_grad()
        self.metrics |= {name: value / len(parts) for name, value in told.items()}
        return torch.stack(losses).mean()

    def _loss(self, drawn: Round, part: torch.Tensor, told: dict[str, float]) -> torch.Tensor:
        settings, numbers = self.settings, part.tolist()
        read = self.reader(self.model, [drawn.prompts[n] for n in numbers], [drawn.replies[n] for n in numbers], self.live["temperature"])
        width, mask = read.mask.shape[1], read.mask

        def of(values: torch.Tensor) -> torch.Tensor:
            return values[part.to(values.device), :width]

        hidden = read.hidden.float()
        values = read.padded(self.value_head(hidden if settings.shared_trunk and not self._warming else hidden.detach())[:, 0])
        policy, clipped = advantages.policy_loss(read.logp, of(drawn.logp), of(drawn.advantages), mask, settings.clip)
        value = advantages.value_loss(values, of(drawn.values), of(drawn.returns), mask, settings.value_clip)
        told["policy_loss"] += float(policy.detach())
        told["value_loss"] += float(value.detach())
        told["clip_fraction"] += float(clipped)
        if self._warming:
            return settings.value_weight * value
        return policy + settings.value_weight * value - settings.entropy_bonus * advantages.mean(read.entropy, mask)

    @property
    def _warming(self) -> bool:
        return self.state.global_step < self.settings.value_warmup

    def _pretraining_loss(self, count: int) -> torch.Tensor:
        """Of `count` rows of plain text, nats a token (Ouyang et al. 2022, eq. 2: PPO-ptx)."""
        drawn = torch.randint(len(self.pretraining), (count,)).tolist()
        batch = Collator(self.processing_class.pad_token_id)([self.pretraining[number] for number in drawn])
        return self.model(**{name: tensor.to(self.args.device) for name, tensor in batch.items()}, use_cache=False).loss


def load_job(recipe: Recipe, found: RunRows) -> PolicyJob:
    """See `policy_rows.load_job`."""
    updates = recipe.settings.minibatches
    if recipe.batch_size < updates:
        raise RecipeError(f"A round of {recipe.batch_size} prompts cannot be cut into {updates} minibatches.",
                          f"Use minibatches={recipe.batch_size}, or a larger batch_size.")
    return policy_rows.load_job(recipe, found)


def build_trainer(recipe: Recipe, job: PolicyJob, output_dir: Path, callbacks: list[Any], fruitless: int = 0) -> PPOTrainer:
    """The trainer, ready to train; see `supervised.build_trainer`. Raises `WorkbenchError` where rewards are not to be had."""
    trainer = supervised.build_trainer(recipe, job, output_dir, callbacks, fruitless, kind=PPOTrainer, collator=policy_rows.together)
    trainer.args.dataloader_drop_last = len(job.train.rows) >= recipe.batch_size  # every round is as large
    trainer.pretraining = _pretraining(recipe.settings, job) if recipe.settings.pretraining_weight else []
    trainer.begin(recipe, job, open_scorer(recipe.settings, Path(output_dir).parent, str(trainer.args.device)))
    return trainer


def _pretraining(settings: PPO, job: PolicyJob) -> list[dict[str, list[int]]]:
    """The rows of `settings.pretraining_data` as plain texts. Raises `DataError` where there is none to train on."""
    table = sources.load_rows(settings.pretraining_data).to_pylist()
    examples = layouts.examples(table, list(table[0])) if table else []
    options: dict[str, Any] = dict(objective="pretraining", completions_only=False, max_length=job.max_length)
    rows = [row for example in examples if (row := rows_module.features(job.tokenizer, example, **options)) is not None]
    if not rows:
        raise DataError(f"{settings.pretraining_data} has no text to train on.", 'Use pretraining_data="town:texts".')
    return rows


def sampler(recipe: Recipe, job: PolicyJob, probes: Any) -> Callable[[Any, int], list[ev.Event]]:
    """The replies that the evaluation drew."""
    def sample(model: Any, step: int) -> list[ev.Event]:
        out: list[ev.Event] = [*job.replied]
        job.replied.clear()
        return out

    return sample
