"""`wb.Stream` in scripts that know nothing else of us: plain transformers, trl, and torchrun with two processes; steered from this process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import workbench as wb
from tests.runs import tools
from workbench.recipes import Recipe, schedule_shape

TRANSFORMERS = """
import json, sys
from pathlib import Path
import torch, transformers
from datasets import Dataset
import workbench as wb
model_folder, folder, rows = sys.argv[1:]
tokenizer = transformers.AutoTokenizer.from_pretrained(model_folder)
model = transformers.AutoModelForCausalLM.from_pretrained(model_folder)
texts = [r["question"] + " " + r["answer"] for r in map(json.loads, Path(rows).read_text().splitlines())]
data = Dataset.from_list([dict(input_ids=(ids := tokenizer(t).input_ids[:64]), labels=ids) for t in texts])
arguments = transformers.TrainingArguments(output_dir=folder + "/out", max_steps=STEPS, per_device_train_batch_size=4, learning_rate=1e-3, lr_scheduler_type="cosine",
    warmup_steps=2, logging_steps=1, report_to=[], use_cpu=True, save_strategy="no", eval_strategy="steps", eval_steps=10, include_num_input_tokens_seen="all")
trainer = transformers.Trainer(model=model, args=arguments, train_dataset=data, eval_dataset=data.select(range(8)), processing_class=tokenizer,
    data_collator=transformers.DataCollatorForSeq2Seq(tokenizer), callbacks=[wb.Stream(folder)])
trainer.train()
trainer.save_state()
"""

TRL = """
import sys
from datasets import Dataset
from trl import SFTConfig, SFTTrainer
import json
import workbench as wb
model_folder, folder, rows = sys.argv[1:]
data = Dataset.from_list([dict(text=r["question"] + " " + r["answer"]) for r in map(json.loads, open(rows))])
trainer = SFTTrainer(model_folder, args=SFTConfig(output_dir=folder + "/out", max_steps=8, per_device_train_batch_size=4, learning_rate=1e-3, logging_steps=1, report_to=[],
    use_cpu=True, bf16=False, save_steps=4, max_length=64), train_dataset=data, callbacks=[wb.Stream(folder)])
trainer.train()
trainer.save_state()
"""

TRAINER = TRANSFORMERS[:TRANSFORMERS.index("trainer =")].replace("STEPS", "6")
NOTEBOOK = r"""
import sys
from IPython.core.interactiveshell import InteractiveShell
import workbench as wb
shell, run = InteractiveShell.instance(), None
for number, cell in enumerate(open(__file__).read().split("\n#CELL\n")[1:]):
    print("cell", number, flush=True)
    shell.run_cell(cell)
    run = run or wb.attach(sys.argv[2])
    print("after", number, run.status, run.history.started.attempt, run.status.sentence, flush=True)
sys.exit()
#CELL
""" + TRAINER + """
class At(transformers.TrainerCallback):
    def __init__(self, step, do): self.step, self.do = step, do
    def on_step_begin(self, args, state, control, **kw):
        if state.global_step == self.step: self.do()
def interrupt(): raise KeyboardInterrupt
def trainer(step=100, do=None):
    return transformers.Trainer(model=model, args=arguments, train_dataset=data, eval_dataset=data.select(range(8)),
        processing_class=tokenizer, data_collator=transformers.DataCollatorForSeq2Seq(tokenizer), callbacks=[wb.Stream(folder), At(step, do)])
arguments.dataloader_num_workers, arguments.dataloader_persistent_workers = 1, True
first, second = trainer(2, interrupt), trainer(3, interrupt)
try:
    first.train()
except KeyboardInterrupt:
    second.train()
#CELL
third = trainer()
third.train()
#CELL
def bad(): raise ValueError("This row is bad.")
trainer(4, bad).train()
#CELL
inner = trainer()
try:
    trainer(3, inner.train).train()
except wb.RunError as error:
    print("outer", error.what)
"""


def started(real_data, folder: Path, code: str, launcher: tuple[str, ...] = ()) -> subprocess.Popen:
    script = folder / "script.py"
    script.write_text(code)
    return subprocess.Popen([sys.executable, *launcher, str(script), str(real_data / "stories260k"), str(folder / "run"), tools.file_of_rows(folder, 80)],
                            stdout=open(folder / "out", "w"), stderr=open(folder / "log", "w"), env=tools.environment())


def attached(folder: Path, script: subprocess.Popen) -> wb.Run:
    tools.until(lambda: (folder / "run" / "journal.jsonl").exists() or script.poll() is not None, what="the journal")
    assert (folder / "run" / "journal.jsonl").exists(), (folder / "log").read_text()[-3000:]
    run = wb.attach(folder / "run")
    tools.until(lambda: run.status != "new", what="the first event")
    return run


def assert_as_logged(run: wb.Run, folder: Path) -> None:
    log = json.loads((folder / "run" / "out" / "trainer_state.json").read_text())["log_history"]
    entries = [e for e in log if "loss" in e]
    frame = run.metrics()
    assert list(frame["step"]) == [e["step"] for e in entries] and list(frame["loss"]) == [e["loss"] for e in entries]
    assert list(frame["learning_rate"]) == [e["learning_rate"] for e in entries] and list(frame["grad_norm"]) == [e["grad_norm"] for e in entries]
    assert [(e.step, e.loss) for e in run.history.evaluations] == [(e["step"], e["eval_loss"]) for e in log if "eval_loss" in e]


@pytest.mark.parametrize("launcher", [(), ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")], ids=["plain", "torchrun"])
def test_a_plain_trainer_is_written_down_and_steered_from_elsewhere(real_data, tmp_path, launcher):
    script = started(real_data, tmp_path, TRANSFORMERS.replace("STEPS", "3000"), launcher)
    try:
        run = attached(tmp_path, script)
        run.wait(60, until=3)
        run.pause()
        assert run.wait(60, until="paused") == "paused", repr(run.status)
        at = run.history.step
        assert run.generate("Once upon a time", max_new_tokens=6)
        assert run.next_tokens("Once upon a", k=3)["probability"].is_monotonic_decreasing
        run.set(learning_rate=2e-4)
        run.step(2)
        tools.until(lambda: run.status == "paused" and run.history.step == at + 2, what="two steps")
        assert [(c.step, c.old, c.new) for c in run.history.changes] == [(at, 1e-3, 2e-4)]
        run.set(evaluate_every=4)
        run.resume()
        run.wait(60, until=at + 10)
        run.stop()
        assert run.wait(60) == "stopped", repr(run.status)
        assert script.wait(60) == 0, (tmp_path / "log").read_text()[-3000:]
    finally:
        script.terminate()
        script.wait(30)
    assert_as_logged(run, tmp_path)
    shape = Recipe(steps=3000, warmup_steps=2, schedule="cosine")
    expected = [(1e-3 if step < at else 2e-4) * schedule_shape(shape, step, 3000) for step in range(run.history.step)]
    assert list(run.metrics()["learning_rate"]) == pytest.approx(expected, rel=1e-9)
    assert any(e.step % 4 == 0 and e.step % 10 for e in run.history.evaluations) and (run.metrics()["tokens"] > 0).all()
    with pytest.raises(wb.RunError, match="script of its own"):
        run.resume()
    for ask in (lambda: run.recipe, lambda: run.fork(2), lambda: wb.replay(run), run.script):
        with pytest.raises(wb.RunError):
            ask()
    assert not list(tmp_path.glob("*-fork")) and sorted(p.name for p in (tmp_path / "run").iterdir()) == ["commands.jsonl", "journal.jsonl", "out", "worker.lock"]


def test_the_true_step_is_said_and_a_second_trainer_is_refused(real_data, tmp_path):
    script = started(real_data, tmp_path, TRANSFORMERS.replace("STEPS", "30000").replace("logging_steps=1", "logging_steps=20000"))
    try:
        run = attached(tmp_path, script)
        tools.until(lambda: run.status == "running" and run.status.step > 2, what="steps that are not logged")
        assert run.history.step == 0
        run.pause()
        run.wait(60, until="paused")
        assert run.status.sentence == f"Paused at step {run.status.step} of 30000."
        (tmp_path / "second").mkdir()
        other = TRANSFORMERS.replace("STEPS", "5").replace("wb.Stream(folder)", f"wb.Stream({str(run.folder)!r})")
        second = started(real_data, tmp_path / "second", other)
        assert second.wait(60) != 0 and "Another trainer is writing to" in (tmp_path / "second" / "log").read_text()
        run.stop()
        assert run.wait(60) == "stopped" and script.wait(60) == 0
    finally:
        script.terminate()
        script.wait(30)
    for ask in (run.fork, run.load, lambda: run.set(learning_rate=1e-4), lambda: run.generate("Once")):
        with pytest.raises(wb.RunError, match="A script of its own trained it: the model lies where that script saved it"):
            ask()


def test_in_a_notebook_an_interrupted_training_ends_and_gives_its_folder_to_the_next(real_data, tmp_path):
    script = started(real_data, tmp_path, NOTEBOOK)
    try:
        assert script.wait(120) == 0, (tmp_path / "out").read_text()[-3000:]
    finally:
        script.kill()
    said = [line for line in (tmp_path / "out").read_text().splitlines() if line.startswith(("after", "outer"))]
    assert said == [
        "after 0 stopped 2 Stopped at step 3 of 6. Its cell ended before the training did.",
        "after 1 finished 3 Finished at step 6 of 6.",
        "after 2 failed 4 Failed at step 4 of 6: ValueError: This row is bad.",
        f"outer A later training of this process writes to {tmp_path / 'run'} now.",
        "after 3 finished 6 Finished at step 6 of 6.",
    ]


def test_trls_trainer_is_written_down_with_its_own_metrics(real_data, tmp_path):
    script = started(real_data, tmp_path, TRL)
    assert script.wait(90) == 0, (tmp_path / "log").read_text()[-3000:]
    run = wb.attach(tmp_path / "run")
    assert run.status == "finished" and run.history.steps == 8
    assert_as_logged(run, tmp_path)
    assert run.metrics()["entropy"].notna().all() and [c.step for c in run.history.checkpoints] == [4, 8]
    assert all(Path(c.folder).is_dir() for c in run.history.checkpoints)
    read_only = wb.attach(tmp_path / "run" / "out")
    assert read_only.read_only and read_only.status == "finished" and list(read_only.metrics()["loss"]) == list(run.metrics()["loss"])
