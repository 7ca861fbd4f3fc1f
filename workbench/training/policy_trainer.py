"""What the trainers of every policy share: rewards that are closed when training ends, metrics of a round, evaluations by fresh replies.

Not here: how a round is drawn and learned from (`policy.py`, `group_policy.py`), and what an evaluation is (`policy_evaluation.py`).
"""

from typing import Any

import transformers
from transformers.trainer_utils import EvalLoopOutput

from workbench import launching
from workbench.alignment.policy_objectives import PolicyObjective
from workbench.errors import RecipeError
from workbench.recipes import Recipe
from workbench.training import policy_evaluation, policy_rows, rollouts, together
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
        if together.world() != launching.world_of(recipe):
            raise RecipeError(f"{together.world()} processes were started, and this recipe is for {launching.world_of(recipe)}.",
                              f"Give it launch=wb.Launch(processes={together.world()}), or start it without torchrun.")
        rows, read = len(job.train.rows), launching.rows_a_pass(recipe)
        if recipe.launch and rows < read:
            raise RecipeError(f"A round of all processes is {read} prompts, and there are {rows}.", f"Use batch_size={max(1, rows // recipe.launch.world)}.")
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
        return super().take_drawn() | together.averaged(metrics)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        return transformers.Trainer.get_eval_dataloader(self, eval_dataset)  # not read: `evaluation_loop` takes the rows

    def evaluation_loop(self, *args: Any, **kw: Any) -> EvalLoopOutput:
        rows, found = self.job.heldout.rows, None
        if together.rank() == 0:  # the others wait: each has the same policy
            found, self.job.replied[:] = policy_evaluation.evaluate(
                self.model, self.processing_class, self.reader, self.job.reference, self.scorer, rows, self.shown,
                reply_tokens=self.settings.reply_tokens, live=self.live, seed=self.args.seed, step=self.state.global_step)
            self.scorer.take_waits()  # no round's
        found = together.share(found)
        return EvalLoopOutput(None, None, {f"eval_{name}": value for name, value in found.items()}, len(rows))
