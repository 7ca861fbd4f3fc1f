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


def test_it_ends_with_the_process_that_asked_for_it():
    code = "import workbench as wb; from workbench.runs import standby; wb.standby(wait=True); print(standby._waiting.pid)"
    out = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    pid = int(out.stdout)
    try:
        psutil.Process(pid).wait(timeout=20)  # raises TimeoutExpired where it stays
    except psutil.NoSuchProcess:
        pass
