"""Forks and replays of real runs: the same losses up to the step, the parent untouched, tampering found at the step where it was done."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

import workbench as wb
from tests.runs import tools
from workbench.journal import commands as cmd
from workbench.journal import events as ev
from workbench.journal.log import Tail
from workbench.runs.start import prepare

pytestmark = pytest.mark.usefixtures("warm")


@pytest.fixture(scope="module")
def parent(real_data, tmp_path_factory):
    """16 steps with checkpoints at 5, 10, 15 and 16, and changes of the rate at 3, 7 and 12."""
    folder = prepare(tools.recipe(real_data, steps=16, checkpoint_every=5, evaluate_every=8, sample_prompts=1), tmp_path_factory.mktemp("parent"), "parent")
    for step, rate in ((3, 4e-3), (7, 2e-3), (12, 6e-3)):
        cmd.send(folder, cmd.Set(values={"learning_rate": rate}, at_step=step))
    assert tools.train_here(folder) == "finished"
    run = wb.attach(folder)
    assert len(run.metrics()) == 16 and [c.step for c in run.history.changes] == [3, 7, 12]
    return run


def test_a_fork_between_checkpoints_repeats_the_parent_up_to_its_step_and_outlives_it(parent, tmp_path):
    shutil.copytree(parent.folder, tmp_path / "parent")
    original = wb.attach(tmp_path / "parent")
    before = tools.hashes(original.folder)
    child = original.fork(step=9, learning_rate=1e-4, name="child")
    shutil.rmtree(original.folder)
    assert child.wait(60) == "finished", repr(child.status)
    ours, theirs = tools.losses(child), tools.losses(parent)
    # the change after step 9 is in the weights that step 11 starts from
    assert ours[:10] == theirs[:10] and ours[10] != theirs[10] and len(ours) == 16
    assert child.history.forked.step == 9 and child.history.forked.checkpoint == 5 and child.parent == str(original.folder) and child.folder.name.endswith("child")
    assert [(c.step, c.new) for c in child.history.changes] == [(3, 4e-3), (7, 2e-3), (9, 1e-4)]
    assert [e.step for e in child.history.evaluations] == [8, 16] and child.history.evaluations[0].loss == parent.history.evaluations[0].loss
    assert child.load()[0].num_parameters() and wb.list_runs(tmp_path)["parent"][0] == "parent"
    shutil.copytree(parent.folder, original.folder)  # as it was: its files' hashes say whether the fork touched the ones it linked
    assert tools.hashes(original.folder) == before


def test_the_parents_files_are_untouched_while_its_child_trains(parent):
    before = tools.hashes(parent.folder)
    child = parent.fork(step=12)
    assert child.wait(60) == "finished", repr(child.status)
    assert tools.hashes(parent.folder) == before
    assert tools.losses(child)[:13] == tools.losses(parent)[:13] and tools.losses(child)[13:] != tools.losses(parent)[13:], "the parent's change at 12 is its own"
    assert child.name.endswith("parent-fork")


def test_forks_that_cannot_be_say_why_and_leave_nothing(parent):
    before = sorted(parent.folder.parent.iterdir())
    for options, word in ((dict(step=17), "has done 16"), (dict(step=-1), "from 0 to 16"), (dict(step=5, rank=4), "cannot change rank"), (dict(step=5, learning_rate=-1), "learning_rate")):
        with pytest.raises(wb.WorkbenchError, match=word):
            parent.fork(**options)
    assert sorted(parent.folder.parent.iterdir()) == before


def tampered(parent, folder, edit) -> wb.Run:
    """A copy of the parent whose journal went through `edit(list of events as dicts)`."""
    shutil.copytree(parent.folder, folder)
    lines = [json.loads(line) for line in Tail(parent.folder / "journal.jsonl").read()]
    (folder / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in edit(lines)))
    return wb.attach(folder)


def edit_loss(lines):
    for line in lines:
        if line["event"] == "step" and line["step"] == 6:
            line["loss"] += 1e-9 + line["loss"] * 1e-12
    return lines


def edit_change(lines):
    for line in lines:
        if line["event"] == "changed" and line["step"] == 7:
            line["new"] = 2.1e-3
    return lines


def without(step):
    return lambda lines: [line for line in lines if not (line["event"] == "step" and line["step"] == step)]


@pytest.fixture(scope="module")
def replayed(parent):
    return wb.replay(parent, timeout=60)


def test_a_replay_gives_the_same_losses(parent, replayed):
    assert replayed.same and replayed.step is None and "16 losses" in replayed.sentence
    assert tools.losses(replayed.run) == tools.losses(parent) and replayed.run.folder != parent.folder


@pytest.mark.parametrize(("edit", "step"), [(edit_loss, 6), (without(4), 4), (without(16), 16)], ids=["loss", "line deleted", "last line deleted"])
def test_a_tampered_journal_differs_at_the_step_it_was_tampered_with(parent, replayed, tmp_path, edit, step):
    """Compared with the true losses, which the replay of the untouched run has; the command itself is run below."""
    from workbench.runs.fork import compare

    run = tampered(parent, tmp_path / "tampered", edit)
    run.history.refresh()
    result = compare(run.history, replayed.run)
    assert not result.same and result.step == step and f"tep {step}" in result.sentence


@pytest.mark.parametrize(("edit", "step"), [(edit_change, 8), (without(16), 16)], ids=["change", "last line deleted"])
def test_the_replay_command_fails_on_a_tampered_run_and_names_the_step(parent, tmp_path, edit, step):
    """The change at 7 is in the rate of step 8, whose loss comes before its update: the rate differs first."""
    run = tampered(parent, tmp_path / "tampered", edit)
    done = subprocess.run([sys.executable, "-m", "workbench", "replay", str(run.folder)], capture_output=True, text=True, env=tools.environment())
    assert done.returncode == 1 and f"tep {step}" in done.stderr, done.stderr
    assert wb.attach(done.stdout.strip().splitlines()[-1]).status == "finished"


def test_a_journal_without_its_changes_events_is_not_the_run(parent, tmp_path):
    assert any(isinstance(ev.decode(line), ev.Changed) for line in Tail(parent.folder / "journal.jsonl").read())
    run = tampered(parent, tmp_path / "tampered", lambda lines: [line for line in lines if line["event"] != "changed"])
    result = wb.replay(run, timeout=60)
    assert not result.same and result.step == 4 and "learning rate differs" in result.sentence
