"""A run written as a plain script: run on its own, without our packages on its path, it has the run's losses to the last bit."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import workbench as wb
from tests.runs import tools
from workbench.runs.start import prepare


def executed(script: Path) -> dict:
    """Run it as a person would, elsewhere and without this repository; returns its newest trainer_state.json."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([sys.executable, "-P", str(script)], cwd=script.parent, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    states = script.parent.glob("checkpoints/checkpoint-*/trainer_state.json")
    return json.loads(max(states, key=lambda path: int(path.parent.name.split("-")[1])).read_text())


@pytest.mark.parametrize("fields", [
    dict(method=wb.LoRA(rank=4, dropout=0.1, target_modules=("q_proj", "v_proj")), gradient_accumulation=2, warmup_steps=3, schedule="linear", weight_decay=0.01),
    dict(method=wb.Full(), gradient_accumulation=2, warmup_steps=0.2, learning_rate=1e-3, max_grad_norm=0.5, optimizer_arguments={"beta2": 0.95}, early_stopping=9)],
    ids=["lora", "full"])
def test_the_script_has_the_runs_losses(real_data, tmp_path, fields):
    run = tools.here(tools.recipe(real_data, **fields), tmp_path)
    script = run.script()
    text = script.read_text()
    imported = {name.name.split(".")[0] for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import) for name in node.names} | {
        node.module.split(".")[0] for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)}
    assert imported <= {"pathlib", "torch", "transformers", "datasets", "peft"} and "workbench" not in text
    assert max(map(len, text.splitlines())) <= 140
    history = executed(script)["log_history"]
    assert [e["loss"] for e in history if "loss" in e] == tools.losses(run) and len(tools.losses(run)) == 12
    assert [(e["step"], e["eval_loss"]) for e in history if "eval_loss" in e] == [(e.step, e.loss) for e in run.history.evaluations]
    assert [e["learning_rate"] for e in history if "loss" in e] == list(run.metrics()["learning_rate"])
    import torch

    ours, theirs = (wb.load(str(folder))[0].state_dict() for folder in (run.folder / "result", script.parent / "result"))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize(("path", "folder"), [("exp/train.py", "exp"), ("train.py", "train")])
def test_the_name_of_a_script_is_no_folder_for_it(tmp_path, monkeypatch, path, folder):
    monkeypatch.chdir(tmp_path)
    run = wb.attach(prepare(wb.Recipe(model="town-small", data=tools.rows(8), steps=1, heldout=0), tmp_path / "runs", "unstarted"))
    with pytest.raises(wb.RunError, match="a folder is asked for") as caught:
        run.script(path)
    assert f'run.script("{folder}")' in caught.value.remedy and not Path(path).exists()


def test_runs_without_a_plain_form_say_so(real_data, tmp_path):
    run = tools.here(tools.recipe(real_data, packing=True, steps=2), tmp_path)
    with pytest.raises(wb.RunError, match="packed"):
        run.script()
    assert not (run.folder / "script").exists()
