"""The objectives `grpo` and `rloo`: a policy learns from how its replies to one prompt compare with each other, by trl's trainers.

    GRPO: Shao et al. 2024 (arXiv 2402.03300); RLOO: Ahmadian et al. 2024 (arXiv 2402.14740)
trl's are the advantages, the losses and their clipping. Ours are what it has no hook for: replies (`rollouts.py`), rewards
(`scoring.py`), log-probabilities (only what a reply's tokens need is computed, at the temperature in force), the reference (the adapter
off, or a copy) and what is told of a round. A step of the journal is one round: `batch_size` prompts with `replies_per_prompt` replies
each, learned from in `epochs` passes of `minibatches` optimizer steps, of which transformers' trainer makes the last; trl's buffer of
replies is empty at every step boundary, so a resumed run goes on as an uninterrupted one. While a policy learns nothing is dropped out.

Of several processes each draws replies to prompts of its own; trl compares and normalises over all of them.

Not here: vLLM, tools.
"""

import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
import transformers
import trl

from workbench.alignment.policy_objectives import GRPO, RLOO
from workbench.data.run_rows import RunRows
from workbench.errors import RecipeError
from workbench.recipes import Recipe
from workbench.training import policy_evaluation, policy_rows, rollouts, shards, supervised, together
from workbench.training.mixed import MixedRows
from workbench.training.policy import PARTS
from workbench.training.policy import sampler as sampler
from workbench.training.policy_rows import PolicyJob, Row
from workbench.training.policy_trainer import PolicyTrainer
from workbench.training.rollouts import Reading
from workbench.training.scoring import open_scorer

NEARLY_NO_BETA = 1e-30
"""trl reads the reference only where β is not 0, and the KL is to be seen then too."""


class GroupTrainer(PolicyTrainer):
    """What both of trl's trainers are given: see the module."""

    def __init__(self, *args: Any, **kw: Any):
        super().__init__(*args, **kw)
        self._rows: list[Row] = []
        """Of the replies of this round, each prompt as often as it has replies."""
        self._replies = rollouts.Replies([], [])
        self._said: list[str] = []
        self._tickets: list[int] = []
        self._reference = torch.zeros(0)
        self._first_pass: list[tuple[Reading, torch.Tensor]] = []
        """What was read of each minibatch before it was learned from, and the reference's log-probabilities."""

    # --- what trl and transformers are told --------------------------------------------------------------------------------------

    def _send_telemetry(self) -> None:
        """Nothing is sent anywhere."""

    def create_model_card(self, *args: Any, **kw: Any) -> None:
        """The run's folder says more."""

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        transformers.Trainer.log(self, self.with_drawn(logs), start_time)  # what trl measured has its names in `metrics`

    def get_train_dataloader(self) -> Any:
        asked = dict(batch_size=self.args.generation_batch_size // self.num_generations // together.world(), collate_fn=policy_rows.together)
        if together.world() > 1:
            seed = None if isinstance(self.train_dataset, MixedRows) else self.args.data_seed
            return shards.loader(self.train_dataset, asked["collate_fn"], asked["batch_size"], seed, whole=True)
        if isinstance(self.train_dataset, MixedRows):
            return torch.utils.data.DataLoader(self.train_dataset, **asked)
        whole = len(self.train_dataset) >= asked["batch_size"]  # trl cuts a round into minibatches of one size
        order = transformers.Trainer._get_train_sampler(self, self.train_dataset)
        return self.accelerator.prepare(torch.utils.data.DataLoader(self.train_dataset, sampler=order, drop_last=whole, **asked))

    # --- a round -----------------------------------------------------------------------------------------------------------------

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        self.drawn += inputs.pop("sources", ())
        self.beta, self.temperature = self.live["beta"] or NEARLY_NO_BETA, self.live["temperature"]
        self.reward_weights = torch.tensor([self.live["reward_weights"][name] for name in self.scorer.names])
        rows = [row for row in inputs["rows"] for _ in range(self.num_generations)]
        updates = self.num_iterations * self.args.steps_per_generation
        self.metrics, self._first_pass, began, losses = {"clip_fraction": 0.0}, [], time.perf_counter(), []
        for number in range(1, updates + 1):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # trl asks transformers by a name that is going
                losses.append(super(supervised.CountingTrainer, self).training_step(model, rows, num_items_in_batch))
            together.average_gradients(self.model.parameters())  # it was read without what does so by itself
            if number < updates:
                if self.args.max_grad_norm > 0:
                    self.accelerator.clip_grad_norm_(model.parameters(), self.args.max_grad_norm)
                self.optimizer.step()
                self.optimizer.zero_grad()
        loss = torch.stack(losses).mean()
        self._told(time.perf_counter() - began)
        return loss

    def _told(self, seconds: float) -> None:
        """What is known of a round once it is learned from."""
        out, live = self.metrics, self.live
        readings, references = zip(*self._first_pass, strict=True)
        whole = Reading(*(torch.cat([getattr(part, name) for part in readings]) for name in ("logp", "entropy", "mask", "hidden")))
        out |= policy_evaluation.reply_metrics(self._replies, self._said, whole, torch.cat(references))
        out |= {"beta": live["beta"], "temperature": live["temperature"], "objective": out["reward"] - live["beta"] * out["kl"]}
        out["seconds/train"] = seconds - out["seconds/generate"] - out["seconds/score"]
        out |= {f"waits/{side}": value for side, value in self.scorer.take_waits().items()}
        clipped = self._metrics["train"].pop("clip_ratio/region_mean", None)
        out["clip_fraction"] = float(np.mean(clipped)) if clipped else 0.0
        self._metrics["train"].clear()
        self.counted += sum(len(row["input_ids"]) for row in self._rows) + sum(map(len, self._replies.ids))

    def _generate_and_score_completions(self, inputs: list[Row]) -> dict[str, Any]:
        self._rows = inputs
        out = super()._generate_and_score_completions(inputs)
        out.setdefault("ref_per_token_logps", self._reference)  # RLOO keeps its own to itself
        return out

    def _tokenize_prompts(self, prompts: list[Any]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return [row["input_ids"] for row in self._rows], None, {}

    def _draw(self, prompt_ids: list[list[int]]) -> list[list[int]]:
        """A reply to each prompt, handed over to be scored; where rewards have a process of their own, part by part."""
        size = -(-len(prompt_ids) // PARTS) if self.settings.own_process else len(prompt_ids)
        self._replies, self._said, self._tickets = rollouts.Replies([], []), [], []
        self.metrics |= {"seconds/generate": 0.0, "seconds/score": 0.0}
        for first in range(0, len(prompt_ids), size):
            began, part = time.perf_counter(), slice(first, first + size)
            with rollouts.evaluating(self.model):
                drawn = rollouts.generate(self.model, self.processing_class, prompt_ids[part], reply_tokens=self.settings.reply_tokens,
                                          temperature=self.temperature)
            said = policy_evaluation.texts(self.processing_class, drawn.ids)
            drew = time.perf_counter()
            asked = [row["prompt"] for row in self._rows[part]], said, [row["reference"] for row in self._rows[part]]
            self._tickets.append(self.scorer.submit(*asked))
            self._replies.ids += drawn.ids
            self._replies.ended += drawn.ended
            self._said += said
            self.metrics["seconds/generate"] += drew - began
            self.metrics["seconds/score"] += time.perf_counter() - drew
        return self._replies.ids

    def _calculate_rewards(self, inputs: list[Row], prompts: Any, completions: Any, completion_ids_list: Any) -> torch.Tensor:
        """N x rewards, in the order of `scorer.names`."""
        began = time.perf_counter()
        parts = [self.scorer.collect(ticket) for ticket in self._tickets]
        rewards = {name: np.concatenate([part[name] for part in parts]) for name in self.scorer.names}
        gold = self.scorer.gold([row["prompt"] for row in inputs], self._said, [row["reference"] for row in inputs])
        self.metrics |= policy_evaluation.reward_metrics(rewards, self.live["reward_weights"], gold)
        self.metrics["seconds/score"] += time.perf_counter() - began
        return self.accelerator.gather(torch.from_numpy(np.stack(list(rewards.values()), 1)).to(self.args.device))

    def _get_per_token_logps_and_entropies(self, model: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor, logits_to_keep: int,
                                           *_args: Any, **_kw: Any) -> tuple[torch.Tensor, torch.Tensor | None, None]:
        """N x T each, 0 behind a reply's end: of the policy, or of the reference where `model` is that."""
        def kept(part: slice) -> list[list[int]]:
            return [ids[seen.bool()].tolist() for ids, seen in zip(input_ids[:, part], attention_mask[:, part], strict=True)]

        prompts, replies = kept(slice(0, -logits_to_keep)), kept(slice(-logits_to_keep, None))
        if model is self.ref_model:
            self._reference = _wide(self.job.reference.logp(prompts, replies, self.temperature), logits_to_keep)
            return self._reference, None, None
        with self.compute_loss_context_manager():
            read = (self.reader if torch.is_grad_enabled() else self.reader.quietly)(self.model, prompts, replies, self.temperature)
        logp, entropy = (_wide(values, logits_to_keep) for values in (read.logp, read.entropy))
        self._last = Reading(logp.detach(), entropy.detach(), _wide(read.mask, logits_to_keep), read.hidden.detach())
        return logp, entropy, None

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        loss = super()._compute_loss(model, inputs)
        if len(self._first_pass) < self.args.steps_per_generation:
            self._first_pass.append((self._last, inputs["ref_per_token_logps"]))
        return loss


def _wide(values: torch.Tensor, width: int) -> torch.Tensor:
    return torch.nn.functional.pad(values, (0, width - values.shape[1]))


class GRPOTrainer(GroupTrainer, trl.GRPOTrainer):
    def _generate_single_turn(self, prompt_ids: list[list[int]], *_args: Any, **_kw: Any) -> tuple[list[list[int]], None]:
        return self._draw(prompt_ids), None


class RLOOTrainer(GroupTrainer, trl.RLOOTrainer):
    def _generate_single_turn(self, prompt_ids: list[list[int]], *_args: Any, **_kw: Any) -> list[list[int]]:
        return self._draw(prompt_ids)

    def training_step(self, *args: Any, **kw: Any) -> torch.Tensor:
        loss = super().training_step(*args, **kw)
        self.metrics["policy_loss"] = float(loss)  # its KL is in the rewards
        return loss


def load_job(recipe: Recipe, found: RunRows) -> PolicyJob:
    """See `policy_rows.load_job`."""
    settings, rows = recipe.settings, recipe.batch_size * recipe.settings.replies_per_prompt
    if rows % settings.minibatches:
        raise RecipeError(f"A round of {rows} replies cannot be cut into {settings.minibatches} minibatches of one size.",
                          "Use minibatches=1.")
    job = policy_rows.load_job(recipe, found)
    if settings.minibatches > 1 and not found.segments and len(job.train.rows) < recipe.batch_size:
        raise RecipeError(f"batch_size is {recipe.batch_size}, and there are {len(job.train.rows)} prompts.",
                          f"Use batch_size={len(job.train.rows)}.")
    return job


def build_trainer(recipe: Recipe, job: PolicyJob, output_dir: Path, callbacks: list[Any], fruitless: int = 0) -> GroupTrainer:
    """The trainer, ready to train; see `supervised.build_trainer`. Raises `WorkbenchError` where rewards are not to be had."""
    settings, evaluates = recipe.settings, bool(job.heldout.examples)
    kind, config, own = (GRPOTrainer, trl.GRPOConfig, _grpo) if isinstance(settings, GRPO) else (RLOOTrainer, trl.RLOOConfig, _rloo)
    given = supervised.arguments(recipe, output_dir, supervised.total_steps(recipe, job.train.epoch_rows), evaluates) | dict(
        per_device_train_batch_size=recipe.batch_size * settings.replies_per_prompt // settings.minibatches,
        steps_per_generation=settings.minibatches, num_generations=settings.replies_per_prompt, num_generations_eval=1,
        num_iterations=settings.epochs, epsilon=settings.clip,
        beta=0.0,  # with another trl would keep a reference of its own
        max_completion_length=settings.reply_tokens, temperature=settings.temperature, disable_dropout=True)
    if "gradient_checkpointing" not in recipe.training_arguments:
        given.setdefault("activation_checkpointing", False)  # trl's own default is to do it everywhere
    held = datasets.Dataset.from_dict({"prompt": [""]})  # trl takes no other kind of table; ours takes its place below
    try:
        trainer = kind(model=job.model, reward_funcs=[_named(name) for name in settings.rewards], args=config(**given | own(settings)),
                       train_dataset=held, eval_dataset=held if evaluates else None, processing_class=job.tokenizer, callbacks=callbacks)
    except (TypeError, ValueError, NotImplementedError) as error:
        raise RecipeError(f"trl refuses this recipe: {str(error).splitlines()[0]}",
                          "Mend training_arguments, optimizer or method.") from error
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.begin(recipe, job, open_scorer(settings, Path(output_dir).parent, str(trainer.args.device)))
    trainer.train_dataset, trainer.ref_model = job.train.rows, job.reference
    return trainer


def _grpo(settings: GRPO) -> dict[str, Any]:
    return {"scale_rewards": settings.scale_rewards, "loss_type": settings.loss}


def _rloo(settings: RLOO) -> dict[str, Any]:
    return {"normalize_advantages": settings.normalize_advantages}


def _named(name: str) -> Callable[..., Any]:
    """Stands for a reward where trl counts and names them; `_calculate_rewards` has the rewards themselves."""
    def reward(**_given: Any) -> None:
        return None

    reward.__name__ = name
    return reward
