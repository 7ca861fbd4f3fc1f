"""The standby worker: taken warm or while it is still importing, gone with the process that asked for it."""

import subprocess
import sys

import psutil

import workbench as wb
from workbench.runs import standby
from workbench.runs.processes import environment

RECIPE = dict(steps=2, heldout=0, sample_prompts=0, learning_rate=1e-3)


def test_a_run_takes_the_standby_and_leaves_none(tmp_path):
    assert wb.standby(wait=True)
    waiting = standby._waiting.pid
    run = wb.start(wb.Recipe(**RECIPE), runs=tmp_path)
    assert run.pid == waiting
    assert run.wait(timeout=60) == "finished"
    assert standby._waiting is None


def test_one_that_is_still_importing_takes_the_run_too(tmp_path):
    assert not wb.standby()
    waiting = standby._waiting.pid
    run = wb.start(wb.Recipe(**RECIPE), runs=tmp_path)
    assert run.pid == waiting
    assert run.wait(timeout=60) == "finished"


def test_it_works_in_the_environment_of_the_start_not_of_its_own(tmp_path, monkeypatch):
    assert wb.standby(wait=True)
    waiting = standby._waiting.pid
    monkeypatch.setenv("WORKBENCH_QUEUE", str(tmp_path / "queue"))
    monkeypatch.setenv("WORKBENCH_SLOTS", "2")
    run = wb.start(wb.Recipe(**RECIPE), runs=tmp_path / "runs")
    run.pause(at_step=1)
    assert run.wait(timeout=60, until="paused") == "paused" and run.pid == waiting
    assert psutil.Process(waiting).cwd() == str(run.folder)
    assert (tmp_path / "queue" / "slot-0").exists()
    run.resume()
    assert run.wait(timeout=60) == "finished"


def test_one_that_imported_under_other_variables_is_sent_away(tmp_path, monkeypatch):
    """Libraries read these once, so telling it now would change nothing."""
    wb.standby()
    child = standby._waiting
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    run = wb.start(wb.Recipe(**RECIPE), runs=tmp_path)
    assert run.pid != child.pid
    assert child.wait(timeout=60) == 0
    assert run.wait(timeout=60) == "finished"


def test_it_ends_with_the_process_that_asked_for_it():
    code = "import workbench as wb; from workbench.runs import standby; wb.standby(wait=True); print(standby._waiting.pid)"
    out = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    pid = int(out.stdout)
    try:
        psutil.Process(pid).wait(timeout=20)  # raises TimeoutExpired where it stays
    except psutil.NoSuchProcess:
        pass
