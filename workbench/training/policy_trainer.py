"""What the trainers of every policy share: rewards that are closed when training ends, metrics of a round, evaluations by fresh replies.

Not here: how a round is drawn and learned from (`policy.py`, `group_policy.py`), and what an evaluation is (`policy_evaluation.py`).
"""

from typing import Any

import transformers
from transformers.trainer_utils import EvalLoopOutput

from workbench.alignment.policy_objectives import PolicyObjective
from workbench.recipes import Recipe
from workbench.training import policy_evaluation, policy_rows, rollouts
from workbench.training.policy_rows import PolicyJob, Row
from workbench.training.scoring import Scorer
from workbench.training.supervised import CountingTrainer


class PolicyTrainer(CountingTrainer):
    """Counts the tokens of prompts and replies where `CountingTrainer` counts those of rows. `begin` gives it what it trains with."""

    settings: PolicyObjective
    job: PolicyJob
    shown: list[Row]
    scorer: Scorer
    reader: rollouts.Reader

    def __init__(self, *args: Any, **kw: Any):
        super().__init__(*args, **kw)
        self.metrics: dict[str, float] = {}
        """Of the last round."""

    def begin(self, recipe: Recipe, job: PolicyJob, scorer: Scorer) -> None:
        self.args.metric_for_best_model = None  # a policy has no held-out loss
        self.settings, self.job, self.scorer, self.shown = recipe.settings, job, scorer, policy_rows.asked(recipe, job)
        self.live.update(recipe.settings.live_values())
        self.reader = rollouts.Reader(self.model)
        job.reference.ready(self.args.device, self.accelerator.autocast)

    def train(self, *args: Any, **kw: Any) -> Any:
        try:
            return super().train(*args, **kw)
        finally:
            self.scorer.close()

    def take_drawn(self) -> dict[str, float]:
        metrics, self.metrics = self.metrics, {}
        return super().take_drawn() | metrics

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        return transformers.Trainer.get_eval_dataloader(self, eval_dataset)  # not read: `evaluation_loop` takes the rows

    def evaluation_loop(self, *args: Any, **kw: Any) -> EvalLoopOutput:
        rows = self.job.heldout.rows
        found, self.job.replied[:] = policy_evaluation.evaluate(
            self.model, self.processing_class, self.reader, self.job.reference, self.scorer, rows, self.shown,
            reply_tokens=self.settings.reply_tokens, live=self.live, seed=self.args.seed, step=self.state.global_step)
        self.scorer.take_waits()  # no round's
        return EvalLoopOutput(None, None, {f"eval_{name}": value for name, value in found.items()}, len(rows))
