"""What a launch may be, and what is refused before anything starts, in one sentence with a remedy."""

import importlib.util
import json
from pathlib import Path

import pytest

import workbench as wb
from workbench import launching
from workbench.runs.start import prepare


@pytest.mark.parametrize(("fields", "said"), [
    (dict(processes=0), "at least 1"), (dict(processes=1), "this is one"), (dict(strategy="zero1"), "none of ddp, fsdp, zero2, zero3"),
    (dict(processes=True), "whole number"), (dict(machines=0), "at least 1")])
def test_what_can_be_no_launch(fields, said):
    with pytest.raises(wb.RecipeError, match=said) as caught:
        wb.Launch(**fields)
    assert caught.value.remedy


@pytest.mark.parametrize(("strategy", "fields", "said"), [
    ("fsdp", dict(method=wb.QLoRA()), "fsdp cuts up what the method qlora keeps whole"),
    ("zero3", dict(method=wb.LoRA(variant="pissa")), "keeps whole"),
    ("zero2", dict(method=wb.QAT()), "keeps whole"),
    ("zero3", dict(packing=True), "Packed rows"),
    ("fsdp", dict(optimizer="adamw_8bit"), "adamw_8bit needs whole weights"),
    ("zero3", dict(data="town:conduct", objective=wb.GRPO(rewards="x.py:f")), "draws replies with the whole model"),
    ("ddp", dict(data="town:preferences", objective="kto"), "other prompts of the batch"),
    ("ddp", dict(data="town:preferences", objective=wb.DPO(loss="aot")), "sorts the pairs"),
    ("ddp", dict(data="town:messages", objective="classification", method=wb.FrozenBackbone()), "one process does that"),
    ("ddp", dict(compile=True), "compiled"),
    ("ddp", dict(training_arguments={"deepspeed": {}}), "which launch decides")])
def test_what_cannot_go_together_is_refused(strategy, fields, said):
    with pytest.raises(wb.RecipeError, match=said) as caught:
        wb.Recipe(launch=wb.Launch(strategy=strategy), **fields)
    assert caught.value.remedy and "\n" not in str(caught.value)


def test_a_recipe_keeps_its_launch_and_counts_all_rows_of_a_step():
    asked = wb.Recipe(launch=wb.Launch(processes=3, strategy="fsdp", machines=2), batch_size=4, gradient_accumulation=2)
    again = wb.Recipe.from_json(json.loads(json.dumps(asked.to_json())))
    assert again == asked and again.launch == asked.launch and launching.rows_a_step(asked) == 3 * 2 * 4 * 2
    assert wb.Recipe().to_json()["launch"] is None and launching.rows_a_step(wb.Recipe(batch_size=4)) == 4
    assert wb.Recipe(launch={"processes": 2}).launch == wb.Launch()
    with pytest.raises(wb.RecipeError, match="not a launch"):
        wb.Recipe(launch={"gpus": 2})


def test_a_missing_package_is_named_before_anything_starts(monkeypatch, tmp_path):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "deepspeed" else found(name, *more))
    with pytest.raises(wb.RecipeError, match="not installed") as caught:
        prepare(wb.Recipe(model="town-small", launch=wb.Launch(strategy="zero3")), tmp_path / "runs", "zero")
    assert "pip install deepspeed" in caught.value.remedy and not (tmp_path / "runs").exists()


def test_several_machines_get_a_line_to_type_and_a_shared_folder(tmp_path):
    asked = wb.Recipe(model="town-small", launch=wb.Launch(processes=4, strategy="fsdp", machines=2))
    with pytest.raises(wb.RecipeError, match="2 machines") as caught:
        wb.start(asked, runs=tmp_path)
    assert "wb.launch_command" in caught.value.remedy
    line = wb.launch_command(asked, tmp_path).split()
    (folder,) = tmp_path.iterdir()
    assert line[0] == "torchrun" and line[-3:] == ["-m", "workbench.training.ranks", str(folder)]
    assert {"--nproc-per-node=4", "--nnodes=2", "--master-addr=FIRST_MACHINE"} <= set(line)
    assert wb.launch_command(folder).split() == line, "to go on, the same line"
    page = (Path(__file__).parents[1] / "docs" / "several_processes.md").read_text()
    for number in "01":
        typed = wb.launch_command(folder).replace("NUMBER", number).replace("FIRST_MACHINE", "gpu1")
        assert typed.replace(str(folder), "/shared/runs/2026-11-21_093015-town-lora8") in page
    there = sorted(path.name for path in folder.iterdir())
    for begin in (wb.attach(folder).resume, wb.attach(folder).fork, lambda: wb.replay(wb.attach(folder))):
        with pytest.raises(wb.RecipeError, match="2 machines") as caught:
            begin()
        assert "wb.launch_command" in caught.value.remedy
    assert list(tmp_path.iterdir()) == [folder] and sorted(path.name for path in folder.iterdir()) == there, "nothing was changed"
    with pytest.raises(wb.RunError, match="nowhere is not there"):
        wb.launch_command(tmp_path / "nowhere")
    with pytest.raises(wb.RecipeError, match="nothing to launch"):
        wb.launch_command(wb.Recipe(model="town-small"), tmp_path)
