"""The command line as a person meets it: exit status, the last line of output, plain lines without a terminal, one sentence for what is wrong."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import workbench as wb
from tests.runs import tools


def command(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "workbench", *arguments], capture_output=True, text=True, env=tools.environment())


def training(real_data, folder: Path, *more: str) -> list[str]:
    return ["train", "--model", str(real_data / "stories260k"), "--data", tools.file_of_rows(folder, 60), "--batch-size", "4", "--max-length", "128",
            "--runs", str(folder / "runs"), *more]


@pytest.fixture(scope="module")
def trained(real_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    return command(*training(real_data, folder, "--method", "lora", "--rank", "3", "--steps", "10", "--learning-rate", "0.004", "--schedule", "linear", "--name", "mine"))


def test_train_ends_with_the_run_folder_and_status_zero(trained):
    assert trained.returncode == 0, trained.stderr
    run = wb.attach(trained.stdout.splitlines()[-1])
    assert trained.stdout.count("\n") == 1 and run.status == "finished" and run.folder.name.endswith("mine")
    assert run.recipe.method == wb.LoRA(rank=3) and (run.recipe.steps, run.recipe.learning_rate, run.recipe.schedule) == (10, 0.004, "linear")
    assert len(tools.losses(run)) == 10


def test_without_a_terminal_it_prints_plain_lines(trained):
    run = wb.attach(trained.stdout.strip())
    assert "\r" not in trained.stderr and "\x1b" not in trained.stderr
    assert f"step 10 of 10  loss {tools.losses(run)[-1]:.4f}" in trained.stderr.splitlines()
    assert any(line.startswith("step 10  held-out loss") for line in trained.stderr.splitlines())
    assert "no chat template" in trained.stderr and trained.stderr.splitlines()[-1].startswith("Finished at step 10 of 10")


def test_runs_lists_what_is_there(trained):
    folder = Path(trained.stdout.strip())
    listed = command("runs", str(folder.parent))
    assert listed.returncode == 0 and folder.name in listed.stdout and "finished" in listed.stdout and len(listed.stdout.splitlines()) == 2
    (folder / "empty").mkdir()
    empty = command("runs", str(folder / "empty"))
    assert empty.returncode == 0 and empty.stdout == "" and "No runs in" in empty.stderr


def test_a_loss_that_is_not_a_number_is_said_in_words(tmp_path, capsys):
    from workbench.__main__ import follow, main
    from workbench.journal import events as ev
    from workbench.journal.log import Log

    (tmp_path / "broken").mkdir()
    log = Log(tmp_path / "broken" / "journal.jsonl")
    nothing = dict(rows=4, heldout_rows=1, dropped={}, truncated=0, tokens=9, trained_tokens=9, parameters=1, trainable_parameters=1)
    for event in (ev.Prepared(steps=2, **nothing), ev.Step(step=1, loss=2.5), ev.Step(step=2, loss=math.nan), ev.Evaluated(step=2, loss=math.nan),
                  ev.Ended(step=2, status="finished")):
        log.write(ev.encode(event))
    log.close()
    (tmp_path / "unstarted").mkdir()
    Log(tmp_path / "unstarted" / "journal.jsonl").close()
    follow(wb.attach(tmp_path / "broken"))
    assert capsys.readouterr().err.splitlines() == ["step 2 of 2  loss not a number", "step 2  held-out loss not a number"]
    assert main(["runs", str(tmp_path)]) == 0
    head, unstarted, broken = capsys.readouterr().out.splitlines()
    assert broken.split() == ["broken", "finished", "2", "2", *"not a number not a number".split()] and unstarted.split() == ["unstarted", "new", "0"]


def test_every_option_says_what_it_is_and_what_it_is_without():
    import argparse

    from workbench.__main__ import parser

    top = parser()
    commands = next(action for action in top._actions if isinstance(action, argparse._SubParsersAction)).choices
    for name in ("train", "runs", "replay"):
        for option in commands[name]._actions:
            assert option.help and len(option.help.split()) > 1, option.dest
            assert option.required or option.dest == "help" or "(default: " in option.help, option.dest
    recipe = wb.Recipe()
    given = {option.dest: option.help for option in commands["train"]._actions}
    for name in ("learning_rate", "batch_size", "gradient_accumulation", "max_length", "schedule", "heldout", "keep_checkpoints", "seed", "steps"):
        assert f"(default: {getattr(recipe, name)}" in given[name]


def test_a_pause_is_said_once_with_the_way_on(tmp_path, capsys, monkeypatch):
    from workbench.__main__ import follow
    from workbench.runs.run import Run
    from workbench.runs.status import Status

    words = iter(["running", "paused", "paused", "running", "paused", "finished"])
    monkeypatch.setattr(Run, "status", property(lambda self: Status(next(words))))
    (tmp_path / "mine").mkdir()
    follow(Run(tmp_path / "mine"))
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2 and told[0].startswith("paused at step 0; resume with python -c") and f"wb.attach({str(tmp_path / 'mine')!r}).resume()" in told[0]


def test_replay_of_an_honest_run_exits_zero(trained):
    done = command("replay", trained.stdout.strip())
    assert done.returncode == 0 and "All 10 losses are the same" in done.stderr and Path(done.stdout.strip()).name.endswith("mine-replay")


@pytest.mark.parametrize(("arguments", "word"), [
    (["--steps", "0"], "steps is 0"), (["--steps", "many"], "many"), (["--learning-rate", "7"], "learning_rate"), (["--objective", "dpo"], "objective"), (["--rank", "0"], "rank"),
    (["--method", "full", "--rank", "4"], "--rank belongs to --method lora"), (["--method", "magic"], "magic"), (["--model", "/no/such"], "/no/such"),
    (["--data", "/no/such.jsonl"], "/no/such.jsonl"), (["--heldout", "1.5"], "heldout"), (["--speed", "9"], "--speed"), (["--runs", "/proc/nothing"], "/proc/nothing")])
def test_bad_arguments_give_one_sentence_and_status_one(real_data, tmp_path, arguments, word):
    import contextlib
    import io

    from workbench.__main__ import main

    told = io.StringIO()
    with contextlib.redirect_stderr(told):
        try:
            status = main(training(real_data, tmp_path, *arguments))
        except SystemExit as error:
            status = error.code
    assert status == 1 and word in told.getvalue() and len(told.getvalue().strip().splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_without_a_command_the_help_is_printed_and_what_is_not_there_is_named(capsys):
    from workbench.__main__ import main

    assert main([]) == 0
    shown = capsys.readouterr()
    assert "usage: python -m workbench" in shown.out and "list the runs of a folder" in shown.out and shown.err == ""
    assert main(["runs", "/no/such"]) == 1
    assert capsys.readouterr().err == "There is no folder /no/such. Name the folder that holds the run folders.\n"
    with pytest.raises(SystemExit) as ended:
        main(["queue", "nowhere"])
    told = capsys.readouterr().err
    assert ended.value.code == 1 and told.startswith("Argument ACTION: invalid choice: 'nowhere'") and "up" in told and "cancel" in told


@pytest.mark.parametrize("arguments", [["replay", "/no/such/run"], ["runs"]])
def test_the_other_commands_refuse_in_one_line_too(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = command(*arguments)
    assert len(done.stderr.strip().splitlines()) == 1 and (done.returncode == 0) == (arguments == ["runs"])


def test_a_run_that_fails_has_status_one_and_says_why(real_data, tmp_path):
    done = command(*training(real_data, tmp_path, "--max-length", "16", "--steps", "3"))
    assert done.returncode == 1 and "have no token to train on" in done.stderr and "Raise max_length" in done.stderr
    assert wb.attach(done.stdout.strip()).status == "failed"


def test_interrupted_it_stops_the_run_and_keeps_what_was_learned(real_data, tmp_path):
    child = subprocess.Popen([sys.executable, "-m", "workbench", *training(real_data, tmp_path, "--steps", "5000")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                             env=tools.environment())
    folder = tools.until(lambda: list((tmp_path / "runs").glob("*/journal.jsonl")), what="the run").pop().parent
    run = wb.attach(folder)
    run.wait(60, until=3)
    os.kill(child.pid, signal.SIGINT)
    out, told = child.communicate(timeout=60)
    assert child.returncode == 1 and out.strip() == str(folder) and "Stopping after this step" in told
    assert run.status == "stopped" and (folder / "result" / "adapter_model.safetensors").exists()
