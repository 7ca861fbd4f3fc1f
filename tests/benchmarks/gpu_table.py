"""Real tokens a second and peak memory on a GPU: SFT, LoRA and QLoRA of Qwen2 models with random weights, ours with and without live
metrics, against plain transformers and trl at their best, all in one run.

    python -m tests.benchmarks.gpu_table                  every size and method, as a markdown table with the machine's name
    python -m tests.benchmarks.gpu_table --small          tiny models on whatever there is, a CPU too: that the script works, no figures
    to quote

At their best: bf16, no gradient checkpointing, rows packed with flash attention where flash-attn is installed and padded as well, the
best of the two quoted; weights in fp32 under autocast where all are trained, in bf16 where they are frozen, NF4 with double quantization
for QLoRA. Each measurement is a process of its own, so that peaks are its own (with `--small` all are in one), and the ways take turns in
an order drawn for each model and method. Time runs from the end of a warm-up to the end of training. Exit status 2, and one sentence,
where there is no GPU.
"""

import argparse
import contextlib
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError

WAYS = ("ours", "ours, no live metrics", "Trainer, padded", "Trainer, flat", "trl, packed", "trl, padded")
METHODS = ("SFT", "LoRA", "QLoRA")
SIZES: dict[str, dict[str, Any]] = {
    "0.5 B": dict(
        hidden_size=896,
        intermediate_size=4864,
        num_hidden_layers=24,
        num_attention_heads=14,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    ),
    "1.5 B": dict(
        hidden_size=1536,
        intermediate_size=8960,
        num_hidden_layers=28,
        num_attention_heads=12,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    ),
    "7.6 B": dict(
        hidden_size=3584,
        intermediate_size=18944,
        num_hidden_layers=28,
        num_attention_heads=28,
        num_key_value_heads=4,
        tie_word_embeddings=False,
    ),
}
"""The shapes of Qwen2.5 (its models' config.json), with 151,936 tokens."""
TINY = {
    "tiny": dict(
        hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=True
    )
}
RANK = 16
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def settings_of(small: bool) -> dict[str, int]:
    """Rows, their mean length in words, `max_length`, packed rows a step, and steps."""
    if small:
        return dict(rows=160, words=12, length=128, batch=2, warmup=2, steps=4)
    return dict(rows=8000, words=120, length=2048, batch=4, warmup=4, steps=20)


def make_model(config: dict[str, Any], folder: Path, small: bool) -> None:
    """Random weights and the town's tokenizer, whose tokens are the first of the vocabulary."""
    import torch
    import transformers

    from workbench.recipes import load_tokenizer

    tokenizer = load_tokenizer("town")
    torch.manual_seed(0)
    vocabulary = len(tokenizer) if small else 151936
    made = transformers.Qwen2Config(
        **config,
        vocab_size=vocabulary,
        max_position_embeddings=4096,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = transformers.AutoModelForCausalLM.from_config(made, dtype=torch.float32 if small else torch.bfloat16)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def make_rows(count: int, words: int) -> list[dict[str, str]]:
    """Questions and answers of lengths as people's are: lognormal, half of them under the mean."""
    draw = random.Random(0)
    known = "the a baker house river bread road lamp garden table window letter market winter story".split()

    def text(mean: float) -> str:
        return " ".join(draw.choices(known, k=max(2, round(draw.lognormvariate(0, 0.7) * mean))))

    return [{"prompt": text(words / 3), "completion": text(words)} for _ in range(count)]


# ---- one measurement, in a process of its own


def clock(warmup: int) -> Any:
    import torch
    import transformers

    class Clock(transformers.TrainerCallback):
        """Seconds from the end of step `warmup` to the end of training; the device has done all that it was given."""

        def on_step_end(self, args: Any, state: Any, control: Any, **kw: Any) -> None:
            if state.global_step == warmup:
                self.began = self._now()

        def on_train_end(self, args: Any, state: Any, control: Any, **kw: Any) -> None:
            self.seconds = self._now() - self.began

        @staticmethod
        def _now() -> float:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            return time.perf_counter()

    return Clock()


def ours(asked: dict[str, Any], folder: Path, live: bool) -> float:
    import workbench as wb
    from workbench.data import run_rows
    from workbench.training import supervised
    from workbench.training.stream import Stream

    size = asked["settings"]
    method = {"SFT": wb.Full(), "LoRA": wb.LoRA(rank=RANK, target_modules=TARGETS), "QLoRA": wb.QLoRA(rank=RANK, target_modules=TARGETS)}[
        asked["method"]
    ]
    recipe = wb.Recipe(
        model=asked["model"],
        data=make_rows(size["rows"], size["words"]),
        method=method,
        steps=size["warmup"] + size["steps"],
        learning_rate=1e-5,
        batch_size=size["batch"],
        max_length=size["length"],
        packing=True,
        precision="bf16",
        heldout=0,
        checkpoint_every=10**6,
        sample_prompts=0,
    )
    job = supervised.load_job(recipe, run_rows.gather(recipe.data, 0, 0)[0])
    trainer = supervised.build_trainer(recipe, job, folder / "checkpoints", [])
    trainer.args.save_strategy = "no"
    timed, counts = clock(size["warmup"]), []
    if live:
        (folder / "journal").mkdir()
        trainer.add_callback(Stream(folder / "journal", tokens=lambda: counts.append(trainer.take_count()) or counts[-1]))
    trainer.add_callback(timed)
    before = _counting(trainer, size["warmup"])
    trainer.train()
    total = sum(counts[size["warmup"] :]) if live else trainer.take_count() - before()
    return total / timed.seconds


def _counting(trainer: Any, warmup: int) -> Any:
    """Tokens counted by the end of the warm-up."""
    import transformers

    found: list[int] = []

    class Look(transformers.TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kw: Any) -> None:
            if state.global_step == warmup:
                found.append(trainer.counted)

    trainer.add_callback(Look())
    return lambda: found[0]


def theirs(asked: dict[str, Any], folder: Path, way: str) -> float:
    import torch
    import transformers
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    from workbench.models import kernels, loading
    from workbench.templates import chat
    from workbench.training import rows as rows_module

    size, cuda = asked["settings"], torch.cuda.is_available()
    flash = cuda and kernels.flash_module() == "flash_attn"
    if way == "Trainer, flat" and not flash:
        raise WorkbenchError("needs flash-attn")
    tokenizer = loading.load_tokenizer(asked["model"])
    model = _their_model(asked["model"], asked["method"], "flash_attention_2" if flash else "sdpa", cuda)
    loading.prepare_tokenizer(tokenizer, model.config)
    chat.ensure_template(tokenizer)
    talks = [
        {"messages": [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["completion"]}]}
        for row in make_rows(size["rows"], size["words"])
    ]
    packed = way in ("trl, packed", "Trainer, flat")
    steps, seen = size["warmup"] + size["steps"], []
    prepared = rows_module.prepare(talks, tokenizer, objective="sft", completions_only=False, max_length=size["length"], packing=packed)
    tokens_a_row = prepared.tokens / prepared.examples
    batch = size["batch"] if packed else max(1, round(size["batch"] * size["length"] / tokens_a_row))
    given = dict(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=batch,
        learning_rate=1e-5,
        bf16=True,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        gradient_checkpointing=False,
        logging_steps=1,
        use_cpu=not cuda,
        remove_unused_columns=False,
    )
    timed = clock(size["warmup"])

    def counting(kind: type) -> type:
        class Counting(kind):
            def training_step(self, model: Any, inputs: dict[str, Any], *rest: Any, **kw: Any) -> Any:
                mask = inputs.get("attention_mask")
                seen.append(int(mask.sum()) if mask is not None else inputs["input_ids"].numel())
                return super().training_step(model, inputs, *rest, **kw)

        return Counting

    if way.startswith("trl"):
        del given["remove_unused_columns"]
        args = SFTConfig(**given, max_length=size["length"], packing=packed)
        trainer = counting(SFTTrainer)(
            model, args=args, train_dataset=Dataset.from_list(talks), processing_class=tokenizer, callbacks=[timed]
        )
    else:
        collator = (
            transformers.DataCollatorWithFlattening(return_flash_attn_kwargs=True)
            if packed
            else rows_module.Collator(tokenizer.pad_token_id)
        )
        trainer = counting(transformers.Trainer)(
            model, args=transformers.TrainingArguments(**given), train_dataset=prepared.rows, data_collator=collator, callbacks=[timed]
        )
    trainer.train()
    a_step = len(seen) // steps
    return sum(seen[size["warmup"] * a_step :]) / timed.seconds


def _their_model(source: str, method: str, attention: str, cuda: bool) -> Any:
    import peft
    import torch
    import transformers

    kind = torch.float32 if method == "SFT" else torch.bfloat16
    rounded = (
        {}
        if method != "QLoRA"
        else {
            "quantization_config": transformers.BitsAndBytesConfig(
                load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.bfloat16
            )
        }
    )
    model = transformers.AutoModelForCausalLM.from_pretrained(
        source, dtype=kind, attn_implementation=attention, device_map={"": "cuda" if cuda else "cpu"}, **rounded
    )
    model.config.use_cache = False
    if method != "SFT":
        model = peft.get_peft_model(
            model, peft.LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=list(TARGETS), task_type="CAUSAL_LM")
        )
    return model


def measure(asked: dict[str, Any]) -> dict[str, Any]:
    """{"tokens_per_s", "peak_gib"}, or {"none": why}."""
    import torch

    from workbench.training import room

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    way = asked["way"]
    # what trainers print is not the table
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        try:
            speed = ours(asked, Path(folder), way == "ours") if way.startswith("ours") else theirs(asked, Path(folder), way)
        except WorkbenchError as error:
            return {"none": str(error)}
        except (RuntimeError, MemoryError, ValueError, ImportError) as error:
            if room.out_of_memory(error):
                return {"none": "out of memory"}
            return {"none": f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:100]}"}
    return {"tokens_per_s": speed, "peak_gib": room.most_used() / 2**30}


# ---- the table


def machine() -> str:
    import torch

    device = (
        f"{torch.cuda.get_device_name()}, {torch.cuda.get_device_properties(0).total_memory / 2**30:.0f} GiB"
        if torch.cuda.is_available()
        else "no GPU"
    )
    return f"{device}; {os.cpu_count()} cores ({platform.machine()}); torch {torch.__version__}"


def cell(found: dict[str, Any]) -> str:
    return f"{found['tokens_per_s']:,.0f} ({found['peak_gib']:.1f})" if "tokens_per_s" in found else found["none"]


def one(asked: dict[str, Any]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.gpu_table", "--one", json.dumps(asked)],
        stdout=subprocess.PIPE,
        text=True,
        env={"TRL_EXPERIMENTAL_SILENCE": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"} | os.environ,
    )
    if done.returncode:
        return {"none": f"ended with exit status {done.returncode}"}
    return json.loads(done.stdout.splitlines()[-1])


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="tiny models, on a CPU too")
    parser.add_argument("--sizes", nargs="*", default=None, help="of " + ", ".join(SIZES))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.one:
        print(json.dumps(measure(json.loads(given.one))))
        return 0
    import torch

    if not torch.cuda.is_available() and not given.small:
        print("This machine shows torch no GPU, so there is nothing to measure; --small runs the script on tiny models.")
        return 2
    sizes = TINY if given.small else {name: SIZES[name] for name in given.sizes or SIZES}
    settings = settings_of(given.small)
    print(
        f"{machine()}\n\nTokens/s (peak GiB{'' if torch.cuda.is_available() else ', resident'}); "
        f"{settings['batch']} rows of {settings['length']} tokens a step, bf16.\n"
    )
    print(f"| model | method | {' | '.join(WAYS)} | over the best of theirs | live metrics cost |\n|{'---|' * (len(WAYS) + 4)}", flush=True)
    for size, config in sizes.items():
        with tempfile.TemporaryDirectory() as folder:
            make_model(config, Path(folder), given.small)
            torch.cuda.empty_cache()
            for method in METHODS:
                asked = dict(model=folder, method=method, settings=settings)
                order = random.Random(f"{size} {method}").sample(WAYS, len(WAYS))
                found = {way: (measure if given.small else one)(asked | {"way": way}) for way in order}
                speeds = {way: result["tokens_per_s"] for way, result in found.items() if "tokens_per_s" in result}
                best = max((speed for way, speed in speeds.items() if not way.startswith("ours")), default=None)
                mine, silent = speeds.get("ours"), speeds.get("ours, no live metrics")
                over = f"{mine / best:.2f} ×" if mine and best else ""
                cost = f"{100 * (silent / mine - 1):.1f} %" if mine and silent else ""
                print(f"| {size} | {method} | {' | '.join(cell(found[way]) for way in WAYS)} | {over} | {cost} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
