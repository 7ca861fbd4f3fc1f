"""Where runs go wrong at their edges: the last step, a crash between two halves of a command, questions nobody can answer, journals changed by hand.

What needs no process of its own trains in this one (`tools.here`); a crash is a session cut short by an exception at a step, and taken up by a new one.
"""

from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest

import workbench as wb
from tests.runs import tools
from workbench.data.sources import content_hash, load_rows
from workbench.journal import commands as cmd
from workbench.journal import events as ev
from workbench.journal.history import History
from workbench.journal.log import append
from workbench.runs.fork import compare, replay
from workbench.runs.run import Run
from workbench.runs.start import prepare

pytestmark = pytest.mark.usefixtures("warm")


class Crash(BaseException):
    """Ends a session as a kill would: nothing after it is written."""


@pytest.fixture
def crash_at(monkeypatch):
    """`crash_at(step)`: the next session of this process ends when so many steps are done and everything of that step is written."""
    from workbench.training.stream import Stream

    def arm(step: int) -> None:
        original = Stream._boundary

        def boundary(self, state, control, kw):
            original(self, state, control, kw)
            if state.global_step == step:
                monkeypatch.setattr(Stream, "_boundary", original)
                raise Crash

        monkeypatch.setattr(Stream, "_boundary", boundary)
    return arm


def crashed(recipe, runs, crash_at, step, *commands) -> Run:
    folder = prepare(recipe, runs, "edge")
    for command in commands:
        cmd.send(folder, command)
    crash_at(step)
    with pytest.raises(Crash):
        tools.train_here(folder)
    return Run(folder)


@pytest.fixture(scope="module")
def plain(real_data, tmp_path_factory):
    return tools.here(tools.recipe(real_data), tmp_path_factory.mktemp("plain"), "plain")


def test_a_crash_after_the_last_step_takes_no_step_more(real_data, tmp_path, crash_at, plain):
    run = crashed(tools.recipe(real_data), tmp_path, crash_at, 12)
    assert run.history.refresh() and run.history.ended is None
    assert tools.train_here(run.folder) == "finished"
    assert tools.losses(run) == tools.losses(plain)
    assert run.history.step == run.history.steps == 12 and run.history.ended.step == 12
    run.load()


def test_a_fork_where_nothing_is_left_is_refused(plain):
    with pytest.raises(wb.RunError, match="has done all of its 12 steps"):
        plain.fork(learning_rate=1e-4)
    assert [path for path in plain.folder.parent.iterdir() if path.is_dir() and "fork" in path.name] == []


def test_half_a_command_is_finished_after_a_crash_and_a_coming_pause_is_kept(real_data, tmp_path, crash_at):
    both = cmd.Set(values={"learning_rate": 1e-3, "evaluate_every": 3}, at_step=5)
    run = crashed(tools.recipe(real_data), tmp_path, crash_at, 6, both, cmd.Stop(at_step=9))
    journal = run.folder / "journal.jsonl"
    lines = [line for line in journal.read_text().splitlines() if '"field":"evaluate_every"' not in line]
    journal.write_text("\n".join(lines) + "\n")  # as if it had died between the two
    assert tools.train_here(run.folder) == "stopped"
    run.history.refresh()
    assert {(c.field, c.new) for c in run.history.changes} == {("learning_rate", 1e-3), ("evaluate_every", 3)}
    assert run.history.step == 9


def test_a_question_the_template_refuses_leaves_the_run_going(real_data, tmp_path):
    recipe = wb.Recipe(steps=4, heldout=0, sample_prompts=0, learning_rate=1e-3)
    folder = prepare(recipe, tmp_path, "asked")
    from workbench.probes import Probes

    model, tokenizer = wb.load("town")
    tokenizer.chat_template = "{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no tools here') }}{% endif %}{{ m.content }}{% endfor %}"
    with pytest.raises(wb.DataError, match="refuses a conversation of the roles tool: no tools here"):
        Probes(model, tokenizer).answer("generate", {"prompt": [{"role": "tool", "content": "x"}]})
    odd = [cmd.Probe(probe="generate", arguments={"prompt": 7}),
           cmd.Probe(probe="losses", arguments={"rows": [7]}), cmd.Probe(probe="nothing"), cmd.Probe(probe="generate", arguments={"odd": 1})]
    for command in odd:
        cmd.send(folder, command)
    assert tools.train_here(folder) == "finished"
    history = History(folder)
    history.refresh()
    assert all(history.answers[command.id].error for command in odd)


@pytest.mark.parametrize("kind, field", [("step", "grad_norm"), ("step", "learning_rate"), ("evaluated", "loss")])
def test_a_replay_sees_more_than_losses(plain, kind, field):
    tampered = History(plain.folder)
    for line in (plain.folder / "journal.jsonl").read_bytes().splitlines():
        event = ev.decode(line)
        if event.kind == kind and event.step == 6:
            setattr(event, field, 0.123)
        tampered.apply(event)
    assert compare(plain.history, plain).same
    found = compare(tampered, plain)
    assert not found.same and found.step == 6 and "0.123" in found.sentence


def test_a_fork_tampered_with_before_its_checkpoint_fails_its_replay(plain, tmp_path):
    shutil.copytree(plain.folder, tmp_path / "parent")
    child = Run(tmp_path / "parent").fork(step=7, learning_rate=1e-3)
    assert child.wait(90) == "finished", repr(child.status)
    assert replay(child, 90).sentence == "All 8 losses are the same. The 4 before them are the parent's."
    journal = child.folder / "journal.jsonl"
    lines = journal.read_bytes().splitlines()
    for number, line in enumerate(lines):
        event = ev.decode(line)
        if event.kind == "step" and event.step == 3:
            event.loss = 9.0
            lines[number] = ev.encode(event).strip()
    journal.write_bytes(b"\n".join(lines) + b"\n")
    found = replay(child, 90)
    assert not found.same and found.step == 3 and "9.0 in the journal" in found.sentence


def test_a_line_of_the_wrong_type_is_damage_and_the_next_is_read(tmp_path):
    for step, loss in ((1, 2.5), ("x", 2.0), (2, "low"), (2, 2.25)):
        line = {"v": 1, "event": "step", "time": 1.0, "step": step, "loss": loss}
        append(tmp_path / "journal.jsonl", json.dumps(line).encode() + b"\n")
    history = History(tmp_path)
    assert history.refresh() == 2 and history.damaged == 2 and list(history.columns["loss"]) == [2.5, 2.25]


def test_every_event_that_is_written_can_be_read(plain):
    lines = (plain.folder / "journal.jsonl").read_bytes().splitlines()
    assert len(lines) > 20
    for line in lines:
        assert ev.encode(ev.decode(line)).strip() == line


def test_the_best_checkpoint_goes_along_with_a_fork(real_data, tmp_path):
    recipe = tools.recipe(real_data, keep_best=True, learning_rate=5e-2, schedule="constant", warmup_steps=0, evaluate_every=2, keep_checkpoints=1,
                          checkpoint_every=4)
    parent = tools.here(recipe, tmp_path, "parent")
    best = parent.history.best.step
    assert best < 8, "the rate is meant to ruin it early"
    child = parent.fork(step=8)
    assert child.wait(90) == "finished"
    assert child.history.best.step == best and f"checkpoint of step {best}" in child.history.ended.reason
    adapters = [(run.folder / "result" / "adapter_model.safetensors").read_bytes() for run in (parent, child)]
    assert adapters[0] == adapters[1]


def test_a_resumed_script_goes_on_from_the_peak_it_was_given(tmp_path):
    import torch
    import transformers
    from datasets import Dataset

    model, tokenizer = wb.load("town")
    ids = tokenizer("Who bakes bread?").input_ids
    data = Dataset.from_list([{"input_ids": ids, "labels": ids}] * 32)

    def trained(steps: int, resume: bool, *commands: cmd.Command) -> History:
        stream = wb.Stream(tmp_path / "run")
        args = transformers.TrainingArguments(output_dir=str(tmp_path / "out"), max_steps=8, save_steps=4, learning_rate=1e-3, lr_scheduler_type="constant",
                                              per_device_train_batch_size=2, logging_steps=1, report_to=[], use_cpu=True, disable_tqdm=True)
        for command in commands:
            cmd.send(tmp_path / "run", command)
        from workbench.training.control import Inbox

        stream.inbox = Inbox(tmp_path / "run")
        stream.inbox.look()
        stream.inbox.waiting = [c for c in stream.inbox.waiting if c.id in {command.id for command in commands}]
        torch.manual_seed(0)
        trainer = transformers.Trainer(model=model, args=args, train_dataset=data, processing_class=tokenizer, callbacks=[stream])
        trainer.train(resume_from_checkpoint=resume or None)
        history = History(tmp_path / "run")
        history.refresh()
        return history

    (tmp_path / "run").mkdir()
    trained(8, False, cmd.Set(values={"learning_rate": 1e-4}, at_step=2), cmd.Stop(at_step=5))
    history = trained(8, True, cmd.Set(values={"learning_rate": 5e-4}, at_step=6))
    assert [(c.old, c.new) for c in history.changes if c.step == 6] == [(1e-4, 5e-4)]
    assert list(history.columns["learning_rate"])[6:] == pytest.approx([5e-4, 5e-4])


def test_empty_cells_do_not_change_the_hash_and_heldout_rows_do(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("instruction,input,output\nSay hi,,Hello\nAdd,1 and 2,3\n")
    assert content_hash(load_rows(str(path))) == content_hash(load_rows(pd.read_csv(path, dtype=str)))
    other = [tools.file_of_rows(tmp_path, 8, seed) for seed in (1, 2)]
    hashes = {Run(prepare(wb.Recipe(data=str(path), heldout=source), tmp_path / "runs")).recipe.data_hash for source in other}
    assert len(hashes) == 2


def test_a_start_that_fails_leaves_no_folder(tmp_path, monkeypatch):
    from workbench.data import sources

    def interrupted(table, path):
        raise KeyboardInterrupt

    monkeypatch.setattr(sources, "keep", interrupted)
    with pytest.raises(KeyboardInterrupt):
        wb.start(wb.Recipe(), runs=tmp_path)
    assert list(tmp_path.iterdir()) == []
