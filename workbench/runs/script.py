"""A run as a script that needs only transformers and peft, with its rows beside it.

For a run that was not packed and had no live changes the script's losses are the run's, bit for bit on a CPU: the same rows in the same order, the same seed, the same
trainer. Rows are written as the tokens that were trained on, so the script needs no chat template of ours. Live changes are named in it, not made.
"""

import json
import subprocess
import sys
from pathlib import Path

from workbench.data import run_rows
from workbench.errors import RunError
from workbench.recipes import HEADED, resolve_model
from workbench.runs.processes import environment
from workbench.runs.run import Run

TEMPLATE = '''"""{title}

Plain transformers{and_peft}: nothing else is needed. Beside this file: train.parquet and heldout.parquet (input_ids and labels; -100 is
not trained), and the tokenizer.{changes}

    python {name}
"""

from pathlib import Path

import torch
import transformers
{imports}from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, DataCollatorForSeq2Seq, Trainer, TrainingArguments

here = Path(__file__).parent
transformers.set_seed({seed})
model = {load}
model.config.use_cache = False
{adapt}
tokenizer = AutoTokenizer.from_pretrained(here / "tokenizer")
train = Dataset.from_parquet(str(here / "train.parquet"), cache_dir=str(here / "cache"))
{heldout}
arguments = TrainingArguments(
{arguments})
{evaluation}trainer = {trainer}(
    model=model, args=arguments, train_dataset=train, eval_dataset=heldout, processing_class=tokenizer,
    data_collator=DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=-100){callbacks})
trainer.train()
trainer.save_model(str(here / "result"))
'''

EVALUATION = '''

class TokenMeanTrainer(Trainer):
    """The held-out loss is the mean over trained tokens; Trainer alone averages its batches, however many tokens each has."""

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        out = super().prediction_step(model, inputs, prediction_loss_only, ignore_keys)
        tokens = int((inputs["labels"][:, 1:] != -100).sum())
        self.heldout = self.heldout[0] + out[0].item() * tokens, self.heldout[1] + tokens
        return out

    def evaluation_loop(self, *args, **kw):
        self.heldout = 0.0, 0
        out = super().evaluation_loop(*args, **kw)
        out.metrics["eval_loss"] = self.heldout[0] / self.heldout[1]
        return out


'''


def write_script(run: Run, folder: Path) -> Path:
    """Write `train.py`, the tokenized rows and the tokenizer into `folder`; returns the script. Raises `RunError` where the run has no plain form, or
    `folder` the name of a script."""
    if folder.suffix == ".py":
        within = folder.parent if folder.parent.name else folder.with_suffix("")
        raise RunError(f"{folder} names a script, and rows and a tokenizer are written beside it, so a folder is asked for.",
                       f'Use run.script("{within}"); the script is then {within / "train.py"}.')
    if run.read_only:
        raise RunError(f"{run.name} was not started here, so it has no script.", "It came from a script of its own.")
    recipe = run.recipe
    if list(run_rows.names(recipe.data)):
        raise RunError("A run that draws from a mixture has no plain script yet: transformers shuffles rows its own way.", "Draw the rows, mixture.draw(n), and start a run on those.")
    if recipe.objective not in ("sft", "pretraining"):
        kind = "SequenceClassification" if recipe.objective in HEADED else "CausalLM"
        raise RunError(f"A run with the objective {recipe.objective} has no plain script yet.",
                       f"Its result opens with transformers and peft alone, as AutoModelFor{kind}.")
    if recipe.method.script() is None:
        raise RunError(f"A run with the method {recipe.method.name} has no plain script: it takes more than transformers and peft.", "Its result opens with wb.load(folder).")
    if recipe.packing:
        raise RunError("A packed run has no plain script: transformers alone does not pack rows and keep them apart.", "Start it with packing=False.")
    if run.parent:
        raise RunError(f"{run.name} is a fork: it went on from {Path(run.parent).name}'s optimizer.", "Write the script of the run it was forked from.")
    folder.mkdir(parents=True, exist_ok=True)
    # tokenizing is the training side's business, and torch has none in this process
    done = subprocess.run([sys.executable, "-m", "workbench.training.export", str(run.folder), str(folder)], env=environment(), capture_output=True, text=True)
    if done.returncode:
        raise RunError(f"The rows could not be written: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else 'no reason given'}.",
                       "Check the folder and the model.")
    exported = json.loads(done.stdout.strip().splitlines()[-1])
    path = folder / "train.py"
    path.write_text(_text(run, exported))
    return path


def _text(run: Run, exported: dict) -> str:
    recipe = run.recipe
    arguments = exported["arguments"] | {"output_dir": "{here}"}
    if recipe.keep_best:
        arguments = {k: v for k, v in arguments.items() if k != "save_steps"} | {"save_strategy": "best", "load_best_model_at_end": True}
    source = resolve_model(recipe.model)
    adapter = (Path(source) / "adapter_config.json").exists()
    attention = f", attn_implementation={recipe.attention!r}" if recipe.attention in ("sdpa", "eager") else ""
    load = f"{'peft.AutoPeftModelForCausalLM' if adapter else 'AutoModelForCausalLM'}.from_pretrained({source!r}, dtype=torch.float32{attention})"
    run.history.refresh()
    changes = "".join("\n    " + _in_docstring(f"{c.field} {c.old} -> {c.new} after step {c.step}") for c in run.history.changes)
    lines = "".join(f"    {name}={value!r},\n" for name, value in arguments.items() if name != "output_dir")
    adapt = recipe.method.script()
    uses_peft = adapter or "peft." in adapt
    heldout = 'heldout = Dataset.from_parquet(str(here / "heldout.parquet"), cache_dir=str(here / "cache"))' if exported["heldout"] else "heldout = None"
    callbacks = f",\n    callbacks=[transformers.EarlyStoppingCallback({recipe.early_stopping})]" if recipe.early_stopping and exported["heldout"] else ""
    title = _in_docstring(f"Tune {Path(recipe.model).name} on {Path(recipe.data).name} ({recipe.objective}, {recipe.method.name}), as the run {run.name} did.")
    return TEMPLATE.format(
        title=title, and_peft=" and peft" if uses_peft else "", name="train.py", imports="import peft\n" if uses_peft else "",
        seed=recipe.seed, load=load + (".merge_and_unload()" if adapter else ""), adapt=adapt,
        changes=f"\n\nThe run's live changes are not made here, so its losses differ from these after:{changes}" if changes else "", heldout=heldout, callbacks=callbacks,
        evaluation=EVALUATION if exported["heldout"] else "", trainer="TokenMeanTrainer" if exported["heldout"] else "Trainer",
        arguments='    output_dir=str(here / "checkpoints"),\n' + lines)


def _in_docstring(text: str) -> str:
    """Names and values that anybody may have chosen, as text that ends no docstring and begins no line."""
    return "".join(letter if letter.isprintable() else " " for letter in text).replace("\\", "/").replace('"', "'")
