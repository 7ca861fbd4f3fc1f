"""Real (non-padding) tokens a second of reward training: our trainer with its journal, against trl's RewardTrainer on the very same rows.

Both train the same weights (head included) on the same pairs in the same order, in fp32 with the same optimizer, batch and number of steps,
gradient checkpointing off; a prompt counts once for each of its replies on both sides. They take turns, in an order drawn for each round; a
way's figure is the median of its rounds. Time runs from the end of the warm-up steps to the end of training. The losses of every step are
the same.
"""

import random
import statistics
import time
from pathlib import Path

import pytest
import transformers
from datasets import Dataset
from trl import RewardConfig, RewardTrainer

import workbench as wb
from workbench.data import comparisons, run_rows
from workbench.models import reward as rewards
from workbench.recipes import resolve_model
from workbench.training import reward
from workbench.training.stream import Stream

ROUNDS, WARMUP, STEPS, BATCH = 3, 3, 24, 16
TIMES_TRL = 1.3
RECIPE = wb.Recipe(model="town", data="town:preferences", objective="reward", method=wb.Full(), steps=STEPS, learning_rate=1e-4,
                   batch_size=BATCH, max_length=256, precision="fp32", schedule="linear", warmup_steps=0, heldout=0, sample_prompts=0,
                   checkpoint_every=10**6)


class Clock(transformers.TrainerCallback):
    """Seconds from the end of step `WARMUP` to the end of training."""

    def on_step_end(self, args, state, control, **kw):
        if state.global_step == WARMUP:
            self.began = time.perf_counter()

    def on_train_end(self, args, state, control, **kw):
        self.seconds = time.perf_counter() - self.began


def losses(trainer: transformers.Trainer) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def ours(job: reward.RewardJob, folder: Path) -> tuple[float, list[float]]:
    (folder / "journal").mkdir(parents=True)
    clock, counts = Clock(), []
    trainer = reward.build_trainer(RECIPE, job, folder / "checkpoints", [])
    trainer.add_callback(Stream(folder / "journal", tokens=lambda: counts.append(trainer.take_count()) or counts[-1],
                                extra=lambda: trainer.take_drawn()))
    trainer.add_callback(clock)
    trainer.train()
    return sum(counts[WARMUP:]) / clock.seconds, losses(trainer)


def theirs(job: reward.RewardJob, folder: Path) -> tuple[float, list[float]]:
    transformers.set_seed(RECIPE.seed)
    model, tokenizer = rewards.load(resolve_model(RECIPE.model), [comparisons.HEAD], RECIPE.method)
    seen: list[int] = []

    class Counting(RewardTrainer):
        def training_step(self, model, inputs, *rest, **kw):
            seen.append(int(inputs["attention_mask"].sum()))
            return super().training_step(model, inputs, *rest, **kw)

    args = RewardConfig(output_dir=str(folder), max_steps=STEPS, per_device_train_batch_size=BATCH, learning_rate=RECIPE.learning_rate,
                        max_length=RECIPE.max_length, gradient_checkpointing=False, bf16=False, optim=RECIPE.optimizer, seed=RECIPE.seed,
                        data_seed=RECIPE.seed, logging_steps=1, report_to=[], save_strategy="no", use_cpu=True, disable_tqdm=True)
    rows = Dataset.from_list([{"chosen_ids": row["input_ids"][0], "rejected_ids": row["input_ids"][1]} for row in job.tables[0]])
    clock = Clock()
    trainer = Counting(model, args=args, train_dataset=rows, processing_class=tokenizer, callbacks=[clock])
    trainer.train()
    return sum(seen[WARMUP:]) / clock.seconds, losses(trainer)


def test_reward_speed(tmp_path, report):
    found = run_rows.gather(RECIPE.data, 0, RECIPE.seed, comparisons.RULES)[0]
    ways = {"ours": ours, "trl": theirs}
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    told: dict[str, list[float]] = {}
    for number in range(ROUNDS):
        for name in random.Random(number).sample(list(ways), len(ways)):
            job = reward.load_job(RECIPE, found)
            speed, told[name] = ways[name](job, tmp_path / f"{name}-{number}")
            speeds[name].append(speed)
    middle = {name: statistics.median(values) for name, values in speeds.items()}
    apart = max(abs(one - other) for one, other in zip(told["ours"], told["trl"], strict=True))
    report(**{f"{name}_tokens_per_s": value for name, value in middle.items()}, over_trl=middle["ours"] / middle["trl"],
           most_losses_are_apart=apart)
    assert len(told["ours"]) == STEPS and told["ours"] == pytest.approx(told["trl"], abs=1e-4)
    assert middle["ours"] >= TIMES_TRL * middle["trl"]
