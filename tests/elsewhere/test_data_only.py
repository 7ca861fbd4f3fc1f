"""Recipes, journals and run folders of another person are data: nothing in them runs code, imports, or opens a file outside the folder."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

import workbench as wb
from tests.fuzz.watch import watched
from workbench import recipes
from workbench.alignment import known_code, reward_sources
from workbench.errors import RecipeError, RunError
from workbench.evaluation.kept_gaps import KeptGaps
from workbench.journal import events as ev
from workbench.models import loading, methods
from workbench.runs import fork, script
from workbench.training import gap_arrays, scoring

REACHING_OUT = {
    "output_dir": "/tmp/x",
    "push_to_hub": True,
    "hub_token": "x",
    "hub_model_id": "who/x",
    "report_to": "wandb",
    "deepspeed": "/tmp/x.json",
    "fsdp_config": "x.json",
    "accelerator_config": "x.json",
    "resume_from_checkpoint": "/tmp/pickles",
    "trackio_space_id": "who/x",
    "torch_compile_backend": "x",
    "logging_dir": "/tmp/x",
    "x=0)\nimport os\nos.system('true'": 1,
    "a b": 1,
    "class": 1,
    "": 1,
}


@pytest.mark.parametrize("name", REACHING_OUT)
def test_training_arguments_that_reach_out_of_the_run_are_refused(name):
    with pytest.raises(RecipeError) as caught:
        wb.Recipe(training_arguments={name: REACHING_OUT[name]})
    assert caught.value.remedy
    assert wb.Recipe(training_arguments={"lr_scheduler_kwargs": {"num_cycles": 0.5}}).training_arguments


@pytest.mark.parametrize(
    "options",
    [
        {"megatron_config": {"x": 1}, "megatron_core": "antigravity"},
        {"auto_mapping": {"parent_library": "os", "base_model_class": "x"}},
        {"base_model_name_or_path": "/etc"},
        {"x=1))\nimport os\n#": 1},
    ],
)
@pytest.mark.parametrize("method", ["lora", "qlora", "peft"])
def test_settings_of_peft_that_import_or_open_are_refused(method, options):
    body = {"name": "peft", "config": {"peft_type": "IA3"} | options} if method == "peft" else {"name": method, "options": options}
    with pytest.raises(RecipeError, match=r"outside the run|no name of a setting"):
        methods.from_json(body)


@pytest.mark.parametrize(
    "setting", [{"megatron_config": {"x": 1}, "megatron_core": "antigravity"}, {"prompt_tuning_init_state_dict_path": "/etc/x.bin"}]
)
def test_an_adapter_that_imports_or_opens_is_refused(tmp_path, setting):
    (tmp_path / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "base_model_name_or_path": "x", "megatron_core": "megatron.core", "auto_mapping": None} | setting)
    )
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(RecipeError, match="code outside its folder"):
        loading._with_added(None, tmp_path)


# --- code that came with a run ---------------------------------------------------------------------------------------------------


@pytest.fixture
def theirs(tmp_path) -> Path:
    """The folder of another person's run, whose recipe names a Python file that leaves a mark wherever it is run."""
    folder = tmp_path / "runs" / "2026-01-01_000000-theirs"
    (folder / "rewards").mkdir(parents=True)
    (folder / "rewards" / "short.py").write_text(
        f"open({str(tmp_path / 'it_ran')!r}, 'w')\n\ndef short(prompt, reply):\n    return -len(reply)\n"
    )
    recipe = wb.Recipe(
        model="town-small",
        data="town:facts",
        objective=wb.PPO(rewards={"short": "rewards/short.py:short"}),
        steps=2,
        batch_size=2,
        sample_prompts=0,
    )
    (folder / "recipe.json").write_text(json.dumps(recipe.to_json()))
    (folder / "journal.jsonl").write_bytes(
        ev.encode(ev.Started(pid=1)) + ev.encode(ev.Step(step=1, loss=1.0)) + ev.encode(ev.Ended(step=1, status="stopped"))
    )
    return folder


def test_looking_at_a_run_runs_nothing(theirs, tmp_path):
    with watched((tmp_path,)):
        run = wb.attach(theirs)
        assert run.recipe.settings.rewards == {"short": f"{theirs}/rewards/short.py:short"}
        assert repr(run) and len(run.metrics()) == 1 and len(wb.list_runs(theirs.parent)) == 1
    from widgets import KLMonitor, RunMonitor

    for panel in (RunMonitor, KLMonitor):
        assert panel(run)
    assert not (tmp_path / "it_ran").exists()


def test_starting_or_going_on_with_another_persons_recipe_runs_no_code_of_theirs(theirs, tmp_path):
    with pytest.raises(RecipeError, match="came with a run and was never started by you"):
        wb.start(wb.attach(theirs).recipe, runs=tmp_path / "mine")
    run = wb.attach(theirs)
    for go_on in (
        run.resume,
        run.fork,
        lambda: wb.replay(run),
        lambda: scoring.open_scorer(recipes.read(theirs).settings, theirs),
    ):  # the last is the worker's
        with pytest.raises(RecipeError, match="came with a run"):
            go_on()
    assert [path.name for path in theirs.parent.iterdir()] == [theirs.name]
    assert not (tmp_path / "it_ran").exists()


def test_code_that_a_person_names_themselves_is_known_from_then_on(theirs, tmp_path):
    own = tmp_path / "own.py"
    own.write_text((theirs / "rewards" / "short.py").read_text())
    reward_sources.check("short", f"{own}:short")
    assert (tmp_path / "it_ran").exists(), "named by the person: it is looked at by running it"
    reward_sources.check_known("short", "rewards/short.py:short", theirs)
    known_code._here.clear()  # another process
    reward_sources.check_known("short", "rewards/short.py:short", theirs)
    own.write_text(own.read_text() + "\n")
    with pytest.raises(RecipeError, match="never started by you"):
        known_code.check("short", own)


# --- names of files in a journal, and links ----------------------------------------------------------------------------------------

OUTSIDE = (
    "../secret.safetensors",
    "/etc/passwd",
    "arrays/../../secret.safetensors",
    "arrays/link.safetensors",
    "a\0b",
    "",
    ".",
    "x" * 5000,
    "arrays/circle",
)


@pytest.fixture
def run_with_links(tmp_path) -> Path:
    folder = tmp_path / "runs" / "linked"
    (folder / "arrays").mkdir(parents=True)
    (tmp_path / "runs" / "secret.safetensors").write_bytes(b"secret")
    (folder / "arrays" / "link.safetensors").symlink_to("../../secret.safetensors")
    (folder / "arrays" / "circle").symlink_to("circle")
    return folder


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_file_outside_the_folder_is_not_opened_for_a_journal(run_with_links, name, tmp_path):
    event = ev.Arrays(step=1, name=gap_arrays.NAME, file=name)
    with watched((run_with_links.parent / "linked",)), pytest.raises(FileNotFoundError, match="is no file of linked"):
        gap_arrays.load(run_with_links, event)
    (tmp_path / "child").mkdir()
    assert not fork._share_file(run_with_links, tmp_path / "child", name)
    (run_with_links / "journal.jsonl").write_bytes(ev.encode(event))
    assert KeptGaps(wb.Run(run_with_links)).steps == []


@pytest.mark.parametrize("place", ["note.txt", "journal.jsonl", "result", "data/train.arrow", "checkpoints/step-000001"])
def test_a_run_folder_with_a_link_out_of_it_is_not_opened(tmp_path, place):
    folder = tmp_path / "runs" / "one"
    folder.mkdir(parents=True)
    (folder / "recipe.json").write_text(json.dumps(wb.Recipe().to_json()))
    (folder / "inner.txt").write_text("mine")
    (folder / "link").symlink_to("inner.txt")
    assert wb.attach(folder).status == "new", "a link that stays inside is a file like any"
    (folder / place).parent.mkdir(exist_ok=True)
    (folder / place).symlink_to("/etc/passwd")
    with pytest.raises(RunError, match="is a link that leads out of the run folder"):
        wb.attach(folder)
    with pytest.raises(RunError, match="leads out"):
        wb.Run(folder).load()
    with pytest.raises(RunError, match="leads out"):
        wb.Run(folder).fork()
    assert len(wb.list_runs(folder.parent)) == 0


def test_a_script_holds_no_code_of_a_journal(tmp_path):
    evil = '"""\nimport os\nos.system("true")\n"""\\'
    body = wb.Recipe(data=f"{evil}.jsonl").to_json()
    (tmp_path / "recipe.json").write_text(json.dumps(body))
    (tmp_path / "journal.jsonl").write_bytes(ev.encode(ev.Changed(step=1, field=evil, old=evil, new=[evil])))
    text = script._text(wb.Run(tmp_path), {"arguments": {"output_dir": "x", "run_name": evil}, "heldout": False})
    imported = {alias.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import) for alias in node.names}
    assert imported == {"torch", "transformers", "peft"}
