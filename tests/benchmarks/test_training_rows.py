"""Real (non-padding) tokens a second of supervised training: our packed rows, kept as rows, with journal and evaluation on, against trl on the same rows.

Every way trains the same model with the same optimizer in bf16 on about as many tokens an update, none with gradient checkpointing but "trl as it comes". They take turns,
in an order drawn for each round, and a way's figure is the median of its rounds. Time runs from the end of a warm-up step to the end of training; ours evaluates as a run
of ten evaluations would, on a fiftieth of the rows, and its evaluations, its journal and their time are counted against it. `max_length` is one that cuts under a
twentieth of the rows: where most rows are cut, nothing is padded and there is nothing to pack.
"""

import random
import statistics
import time
from pathlib import Path

import pytest
import transformers
from datasets import Dataset
from trl import SFTConfig, SFTTrainer

import workbench as wb
from workbench.data import layouts, run_rows
from workbench.models import loading
from workbench.templates import chat
from workbench.training import supervised
from workbench.training.stream import Stream

ROUNDS, WARMUP, STEPS, EVALUATE_EVERY = 3, 3, 40, 20
TOKENS = 2048
"""Of one update, about."""
LENGTHS = {"town": 256, "gsm8k": 512}


class Clock(transformers.TrainerCallback):
    """Seconds from the end of step `WARMUP` to the end of training."""

    def on_step_end(self, args, state, control, **kw):
        if state.global_step == WARMUP:
            self.began = time.perf_counter()

    def on_train_end(self, args, state, control, **kw):
        self.seconds = time.perf_counter() - self.began


def ours(rows: run_rows.RunRows, length: int, folder: Path) -> float:
    recipe = wb.Recipe(method=wb.Full(), steps=STEPS, learning_rate=1e-4, batch_size=TOKENS // length, max_length=length, packing=True, precision="bf16",
                       checkpoint_every=10**6, evaluate_every=EVALUATE_EVERY, sample_prompts=0)
    job, clock, counts = supervised.load_job(recipe, rows), Clock(), []
    (folder / "journal").mkdir(parents=True)
    trainer = supervised.build_trainer(recipe, job, folder / "checkpoints", [])
    trainer.add_callback(Stream(folder / "journal", tokens=lambda: counts.append(trainer.take_count()) or counts[-1]))
    trainer.add_callback(clock)
    trainer.train()
    assert len(counts) == STEPS and len([e for e in trainer.state.log_history if "eval_loss" in e]) == STEPS // EVALUATE_EVERY
    return sum(counts[WARMUP:]) / clock.seconds


def theirs(rows: run_rows.RunRows, folder: Path, **fields) -> float:
    model, tokenizer = loading.load(str(wb.recipes.resolve_model("town")))
    loading.prepare_tokenizer(tokenizer, model.config)
    chat.ensure_template(tokenizer)
    table = rows.train[""]
    examples = layouts.examples(table.to_pylist(), table.column_names)
    seen: list[int] = []

    class Counting(SFTTrainer):
        def training_step(self, model, inputs, *rest, **kw):
            mask = inputs.get("attention_mask")
            seen.append(int(mask.sum()) if mask is not None else inputs["input_ids"].numel())
            return super().training_step(model, inputs, *rest, **kw)

    clock = Clock()
    given = dict(output_dir=str(folder), max_steps=STEPS, report_to=[], save_strategy="no", use_cpu=True, disable_tqdm=True, learning_rate=1e-4) | fields
    trainer = Counting(model, args=SFTConfig(**given), train_dataset=Dataset.from_list([{"messages": example["messages"]} for example in examples]),
                       processing_class=tokenizer, callbacks=[clock])
    trainer.train()
    a_step = len(seen) // STEPS
    return sum(seen[WARMUP * a_step:]) / clock.seconds


@pytest.mark.parametrize("data", ["town", "gsm8k"])
def test_training_rows(data, tmp_path, report, request):
    source = "town:instructions" if data == "town" else next(request.getfixturevalue("real_data").glob("gsm8k/*train*"))
    found, _, _ = run_rows.gather(str(source), 0.02, 0)
    length = LENGTHS[data]
    recipe = wb.Recipe(steps=1, max_length=length)
    prepared = supervised.load_job(recipe, found).train
    assert prepared.truncated < 0.05 * prepared.examples
    per_row = prepared.tokens / prepared.examples
    batch = max(1, round(TOKENS / per_row))
    plain = dict(bf16=True, gradient_checkpointing=False)
    ways = {
        "ours": lambda folder: ours(found, length, folder),
        "trl_padded": lambda folder: theirs(found, folder, max_length=length, per_device_train_batch_size=batch, **plain),
        "trl_packed": lambda folder: theirs(found, folder, max_length=1024, packing=True, per_device_train_batch_size=1, gradient_accumulation_steps=TOKENS // 1024, **plain),
        "trl_as_it_comes": lambda folder: theirs(found, folder),
    }
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(ROUNDS):
        for name in random.Random(number).sample(list(ways), len(ways)):
            speeds[name].append(ways[name](tmp_path / f"{name}-{number}"))
    middle = {name: statistics.median(values) for name, values in speeds.items()}
    best = max(middle["trl_padded"], middle["trl_packed"])
    report(tokens_a_row=per_row, **{f"{name}_tokens_per_s": value for name, value in middle.items()}, over_trl_at_its_best=middle["ours"] / best,
           over_trl_as_it_comes=middle["ours"] / middle["trl_as_it_comes"])
    assert middle["ours"] >= 1.6 * best and middle["ours"] >= 3 * middle["trl_as_it_comes"]
