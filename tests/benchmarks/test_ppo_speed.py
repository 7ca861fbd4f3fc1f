"""PPO against trl's GRPO: replies drawn, rewarded and learned from in a second; same model, prompts and optimizer steps, paired in one run.

Both draw `SAMPLES` replies a round from the same untouched model (the learning rate is next to nothing, so lengths stay those of the town's
model; they are printed), score them with the same function, hold the policy to a reference by a KL term, and make `UPDATES` optimizer steps
of all replies on them, in fp32 without gradient checkpointing. PPO has a value head beside it. trl's GRPO draws a prompt at least twice.
"""

import random
import statistics
import time
from pathlib import Path

import torch
import transformers
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

import workbench as wb
from workbench import town
from workbench.data import run_rows
from workbench.data.prompts import RULES
from workbench.models import methods
from workbench.training import policy

TURNS, WARMUP, ROUNDS = 3, 1, 4
SAMPLES, UPDATES, TOKENS, RATE = 32, 2, 32, 1e-9
ASKED = [{"prompt": row["question"]} for row in town.rows("conduct")]


def brief(prompt: str, reply: str) -> float:
    return -float(len(reply.split()))


class Clock(transformers.TrainerCallback):
    """Seconds of the steps after the first `skipped`; `tell` is called after each."""

    def __init__(self, skipped: int, tell=lambda: None):
        self.skipped, self.tell = skipped, tell

    def on_step_end(self, args, state, control, **kw):
        self.tell()
        if state.global_step == self.skipped:
            self.began = time.perf_counter()

    def on_train_end(self, args, state, control, **kw):
        self.seconds = time.perf_counter() - self.began


def ours(folder: Path, rows: run_rows.RunRows) -> tuple[float, float]:
    """Samples a second, and tokens of a reply."""
    settings = wb.PPO(rewards=brief, beta=0.05, epochs=UPDATES, minibatches=1, reply_tokens=TOKENS)
    recipe = wb.Recipe(data=ASKED, objective=settings, method=methods.Full(), batch_size=SAMPLES, steps=WARMUP + ROUNDS, learning_rate=RATE,
                       schedule="constant", heldout=0, checkpoint_every=10**6, max_length=128, precision="fp32")
    lengths: list[float] = []
    clock = Clock(WARMUP, lambda: lengths.append(trainer.take_drawn()["length"]))
    trainer = policy.build_trainer(recipe, policy.load_job(recipe, rows), folder / "checkpoints", [clock])
    trainer.train()
    return SAMPLES * ROUNDS / clock.seconds, statistics.mean(lengths)


def theirs(folder: Path) -> tuple[float, float]:
    lengths = []

    def reward(completions, completion_ids, **_kw):
        lengths.extend(map(len, completion_ids))
        return [brief("", completion[0]["content"]) for completion in completions]

    asked = Dataset.from_list([{"prompt": [{"role": "user", "content": row["prompt"]}]} for row in ASKED])
    clock = Clock(WARMUP * UPDATES)
    config = GRPOConfig(output_dir=str(folder), per_device_train_batch_size=SAMPLES, num_generations=2, num_iterations=UPDATES,
                        steps_per_generation=1, max_completion_length=TOKENS, temperature=1.0, beta=0.05, learning_rate=RATE,
                        lr_scheduler_type="constant", max_steps=(WARMUP + ROUNDS) * UPDATES, report_to=[], save_strategy="no", use_cpu=True,
                        bf16=False, gradient_checkpointing=False, disable_tqdm=True, logging_strategy="no",
                        model_init_kwargs={"dtype": "float32"})
    trainer = GRPOTrainer(model=wb.recipes.resolve_model("town"), reward_funcs=reward, args=config, train_dataset=asked, callbacks=[clock])
    trainer.train()
    return SAMPLES * ROUNDS / clock.seconds, statistics.mean(lengths)


def test_ppo_draws_and_learns_at_least_as_fast_as_trl_s_grpo(tmp_path, report):
    rows, _, _ = run_rows.gather(ASKED, 0, 0, RULES)
    ways = {"ppo": lambda folder: ours(folder, rows), "trl_grpo": theirs}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for number in range(TURNS):
        for name in random.Random(number).sample(list(ways), len(ways)):
            found[name].append(ways[name](tmp_path / f"{name}-{number}"))
    speed, length = ({name: statistics.median(pair[part] for pair in pairs) for name, pairs in found.items()} for part in (0, 1))
    ratio = statistics.median(one[0] / other[0] for one, other in zip(found["ppo"], found["trl_grpo"], strict=True))
    report(threads=torch.get_num_threads(), **{f"{name}_samples_per_s": value for name, value in speed.items()},
           **{f"{name}_tokens_a_reply": value for name, value in length.items()}, over_trl=ratio)
    assert abs(length["ppo"] / length["trl_grpo"] - 1) < 0.1
    assert ratio >= 1
