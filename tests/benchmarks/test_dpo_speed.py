"""Real tokens a second of DPO against trl's trainer, paired in one run: the same model, tokens, order of rows, dtype, optimizer and losses.

trl trains the very token ids that ours does, in the order that ours drew, without gradient checkpointing; a token is counted in each reply
and in each time its prompt stands before one, whether it was computed again or not, for both alike. Both compute the reference of every row
once in the run: rows come once. trl also measures what it always does (entropy, mean logits); ours writes a journal. Ways take
turns, first the one and then the other first, and a way's figure is the median of its rounds. Time runs from the end of a warm-up step to the end of training.
"""

import statistics
import time

import pytest
import torch
import transformers
from datasets import Dataset
from trl import DPOConfig, DPOTrainer

import workbench as wb
from workbench.data import run_rows
from workbench.models import loading
from workbench.training import preference
from workbench.training.stream import Stream

ROUNDS, WARMUP, STEPS, BATCH = 3, 2, 14, 8
LENGTHS = {"town": 256, "hh_rlhf": 512}
RATE = 1e-4


class Clock(transformers.TrainerCallback):
    """Seconds from the end of step `WARMUP` to the end of training, and the loss of each step."""

    def __init__(self):
        self.losses = []

    def on_step_end(self, args, state, control, **kw):
        if state.global_step == WARMUP:
            self.began = time.perf_counter()

    def on_train_end(self, args, state, control, **kw):
        self.seconds = time.perf_counter() - self.began

    def on_log(self, args, state, control, logs=None, **kw):
        if "loss" in logs:
            self.losses.append(logs["loss"])


class OurTokens(DPOTrainer):
    """Rows that are tokens already, in the order they are given."""

    def _prepare_dataset(self, dataset, *_rest):
        return dataset

    def _get_train_sampler(self, dataset=None):
        return torch.utils.data.SequentialSampler(self.train_dataset)


class Noted(list):
    """Rows that know in which order they were taken."""

    def __init__(self, rows):
        super().__init__(rows)
        self.taken = []

    def __getitem__(self, place):
        self.taken.append(super().__getitem__(place))
        return self.taken[-1]


def recipe(length):
    return wb.Recipe(objective=wb.DPO(beta=0.1), method=wb.Full(), steps=STEPS, learning_rate=RATE, batch_size=BATCH, max_length=length,
                     schedule="constant", warmup_steps=0, checkpoint_every=10**6, heldout=0, precision="fp32")


def ours(found, given, folder):
    """Tokens/s, losses, and the rows in the order that they were drawn."""
    job, clock, counts = preference.load_job(given, found), Clock(), []
    job.train.rows = rows = Noted(job.train.rows)
    (folder / "journal").mkdir(parents=True)
    trainer = preference.build_trainer(given, job, folder / "checkpoints", [])
    assert trainer.data_collator.lay
    rows.taken.clear()  # one was looked at
    trainer.add_callback(Stream(folder / "journal", tokens=lambda: counts.append(trainer.take_count()) or counts[-1],
                                extra=trainer.take_drawn))
    trainer.add_callback(clock)
    trainer.train()
    return sum(counts[WARMUP:]) / clock.seconds, clock.losses, rows.taken[:STEPS * BATCH]


def theirs(rows, folder):
    """Tokens/s and losses of trl on these rows."""
    model, tokenizer = loading.load(str(wb.recipes.resolve_model("town")))
    loading.prepare_tokenizer(tokenizer, model.config)
    args = DPOConfig(output_dir=str(folder), max_steps=STEPS, report_to=[], save_strategy="no", use_cpu=True, disable_tqdm=True,
                     learning_rate=RATE, lr_scheduler_type="constant", beta=0.1, per_device_train_batch_size=BATCH,
                     gradient_checkpointing=False, bf16=False, max_length=None, logging_steps=1)
    table = Dataset.from_list([{"prompt_ids": row["prompt"], "chosen_ids": row["replies"][0], "rejected_ids": row["replies"][1]}
                               for row in rows])
    clock = Clock()
    OurTokens(model, args=args, train_dataset=table, processing_class=tokenizer, callbacks=[clock]).train()
    count = sum(2 * len(row["prompt"]) + sum(map(len, row["replies"])) for row in rows[WARMUP * BATCH:])
    return count / clock.seconds, clock.losses


@pytest.mark.parametrize("data", ["town", "hh_rlhf"])
def test_dpo_speed(data, tmp_path, report, request):
    source = "town:preferences" if data == "town" else next(request.getfixturevalue("real_data").glob("hh_rlhf/*.jsonl.gz"))
    given = recipe(LENGTHS[data])
    found, _, _ = run_rows.gather(str(source), 0, 0, wb.recipes.OBJECTIVES["dpo"])
    _, losses, rows = ours(found, given, tmp_path / "order")  # and both are warm
    speeds: dict[str, list[float]] = {"ours": [], "trl": []}
    for number in range(ROUNDS):
        for name in ("ours", "trl") if number % 2 else ("trl", "ours"):
            folder = tmp_path / f"{name}-{number}"
            if name == "ours":
                speed, again, _ = ours(found, given, folder)
                assert again == losses
            else:
                speed, their_losses = theirs(rows, folder)
            speeds[name].append(speed)
    middle = {name: statistics.median(values) for name, values in speeds.items()}
    apart = max(abs(one - other) for one, other in zip(losses, their_losses, strict=True))
    report(pairs=STEPS * BATCH, **{f"{name}_tokens_per_s": value for name, value in middle.items()},
           over_trl=middle["ours"] / middle["trl"], losses_apart=apart)
    assert middle["ours"] >= 1.3 * middle["trl"]
    assert apart < 1e-4
