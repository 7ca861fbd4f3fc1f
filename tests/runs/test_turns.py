"""The device's queue as people see and use it: the table, moving up, cancelling, from Python and from the command line, with real workers.

This process has the device, so that none of them needs to train.
"""

import os
import subprocess
import sys

import pytest

import workbench as wb
from tests.runs import tools
from workbench import device_queue, living
from workbench.__main__ import main


def test_the_queue_is_shown_a_run_is_moved_up_and_one_is_cancelled(real_data, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WORKBENCH_QUEUE", str(tmp_path / "queue"))
    monkeypatch.setenv("WORKBENCH_PERSON", "ada")
    place = device_queue.Place("first")
    assert place.wait(lambda standing: None, lambda: True)
    runs = []
    for person, name in (("ada", "second"), ("ada", "third"), ("bob", "fourth")):
        monkeypatch.setenv("WORKBENCH_PERSON", person)
        runs.append(wb.start(tools.recipe(real_data), runs=tmp_path / "runs", name=name))
    second, third, fourth = runs
    for run in runs:
        run.wait(180, until="queued")
    assert [living.worker_of(run.folder)["person"] for run in runs] == ["ada", "ada", "bob"], "for whose the disk is, when they have ended"
    table = wb.queue()
    assert list(table["run"]) == ["first", fourth.name, second.name, third.name] and list(table["position"]) == [0, 1, 2, 3]
    assert list(table["person"]) == ["ada", "bob", "ada", "ada"] and list(table["state"]) == ["on the device", *["waits"] * 3]
    assert table["folder"][3] == str(third.folder) and (table["minutes"] >= 0).all()
    tools.until(lambda: third.status and third.history.queued.mine == 1, what="the third's place")
    assert third.status.sentence == f"Waits for the device behind ada's first, bob's {fourth.name}, ada's {second.name}."
    with pytest.raises(wb.RunError, match=f"{third.name} is still queued after 0 s: ada's first has the device"):
        third.wait(0)
    with pytest.raises(wb.RunError, match="it is ada's"):  # bob asks
        third.move_up()

    monkeypatch.setenv("WORKBENCH_PERSON", "ada")
    assert main(["queue", "up", third.name]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[2] for line in shown[1:]] == ["first", fourth.name, third.name, second.name]
    tools.until(lambda: third.status and third.history.queued.mine == 0 and second.status and second.history.queued.mine == 1, what="their new places")
    assert second.status.sentence.endswith(f"ada's {third.name}.")

    assert main(["queue", "cancel", fourth.name]) == 1  # ada asks
    assert capsys.readouterr().err == f"{fourth.name} cannot be stopped here: it is bob's. Each person stops runs of their own.\n"
    with pytest.raises(wb.RunError, match="it is bob's"):
        fourth.stop()
    assert fourth.status == "queued"
    monkeypatch.setenv("WORKBENCH_PERSON", "bob")
    assert main(["queue", "cancel", str(fourth.folder)]) == 0
    told = capsys.readouterr()
    assert fourth.status == "stopped" and fourth.history.step == 0 and "waited for the device" in told.err and fourth.name not in told.out
    assert not (fourth.folder / ".reserve").exists()
    with pytest.raises(wb.RunError, match="does not wait for the device"):
        fourth.move_up()
    assert main(["queue", "up", "nobody"]) == 1 and "nobody" in capsys.readouterr().err

    monkeypatch.setenv("WORKBENCH_PERSON", "ada")
    for run in (second, third):
        run.stop()
        assert run.wait(60) == "stopped"
    place.release()
    assert main(["queue"]) == 0 and "nothing waits" in capsys.readouterr().out


def test_a_run_that_waits_says_so_before_its_worker_has_said_a_word(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_QUEUE", str(tmp_path / "queue"))
    monkeypatch.setenv("WORKBENCH_PERSON", "ada")
    place = device_queue.Place("first")
    assert place.wait(lambda standing: None, lambda: True)
    (tmp_path / "second").mkdir()
    run = wb.Run(tmp_path / "second")
    worker = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.readline()"], stdin=subprocess.PIPE)
    living.note(run.folder, worker.pid)
    assert run.status == "starting" and run.status.sentence == "Starting: loading the model and the rows."
    monkeypatch.setenv("WORKBENCH_PERSON", "bob")
    device_queue.draw("second", worker.pid, run_folder=run.folder)
    assert run.status == "starting" and run.status.sentence == "Starting, and waits for the device behind ada's first."
    with pytest.raises(wb.RunError, match="second is still starting after 0 s: ada's first has the device"):
        run.wait(0)
    place.release()
    assert run.status.sentence == "Starting: loading the model and the rows."
    worker.communicate()


def test_names_that_would_steer_a_terminal_are_shown_as_they_are_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WORKBENCH_QUEUE", str(tmp_path))
    monkeypatch.setenv("WORKBENCH_PERSON", "eve\x1b[2J\u202e")
    device_queue.draw("run\r\x07", os.getpid())
    assert main(["queue"]) == 0
    out = capsys.readouterr().out
    assert "eve\\x1b[2J\\u202e" in out and "run\\r\\x07" in out and not set("\x1b\u202e\r\x07") & set(out)
