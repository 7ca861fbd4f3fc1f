"""The standby: serves one run after another, warm or while it is still importing; gone with the process that asked for it."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

import workbench as wb
from tests.runs import tools
from workbench import device_queue, living
from workbench.runs import processes, standby
from workbench.runs.processes import environment

RECIPE = dict(steps=2, heldout=0, sample_prompts=0, learning_rate=1e-3)


@pytest.fixture
def fresh():
    """No standby is there yet, and none stays."""
    standby.dismiss()
    yield
    standby.dismiss()


def test_one_serves_run_after_run(tmp_path):
    assert wb.standby(wait=True)
    waiting = standby._waiting.pid
    runs = []
    for _ in range(2):
        run = wb.start(wb.Recipe(**RECIPE), runs=tmp_path)
        assert run.wait(timeout=60) == "finished"
        tools.until(lambda: run.pid is None, what="the end of the process")
        assert run.history.started.pid not in (waiting, *runs)
        runs.append(run.history.started.pid)
    assert wb.standby() and standby._waiting.pid == waiting


def test_one_that_is_still_importing_takes_runs_too_in_their_order(tmp_path, fresh):
    assert not wb.standby()
    waiting = standby._waiting.pid
    first, second = (wb.start(wb.Recipe(**RECIPE), runs=tmp_path) for _ in range(2))
    assert first.pid == second.pid == waiting, "until it has imported everything the standby answers for them"
    assert second.wait(timeout=60) == first.wait(timeout=60) == "finished"
    assert {first.history.started.pid, second.history.started.pid}.isdisjoint({waiting})
    assert first.history.last_time < second.history.started.time


def test_a_run_has_the_same_losses_with_and_without_it(tmp_path, fresh):
    cold = wb.start(wb.Recipe(**RECIPE | {"steps": 6}), runs=tmp_path)
    wb.standby()
    warm = [wb.start(wb.Recipe(**RECIPE | {"steps": 6}), runs=tmp_path) for _ in range(2)]
    assert {run.wait(timeout=60) for run in (cold, *warm)} == {"finished"}
    assert tools.losses(cold) == tools.losses(warm[0]) == tools.losses(warm[1])


def test_the_place_in_the_queue_moves_to_the_worker(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_QUEUE", str(tmp_path / "queue"))
    assert wb.standby(wait=True)
    run = wb.start(wb.Recipe(**RECIPE), runs=tmp_path / "runs")
    run.pause(at_step=1)
    assert run.wait(timeout=60, until="paused") == "paused"
    tickets = [path for path in (tmp_path / "queue").glob("[0-9]*-*")]
    assert [path.name.split("-")[1] for path in tickets] == [str(run.pid)] and device_queue.holder(tickets[0]) == run.name


def test_it_says_how_a_worker_of_its_own_ended(tmp_path):
    assert wb.standby(wait=True)
    run = wb.start(wb.Recipe(**RECIPE), runs=tmp_path)
    run.pause(at_step=1)
    assert run.wait(timeout=60, until="paused") == "paused"
    os.kill(run.pid, signal.SIGKILL)
    assert run.wait(timeout=20) == "died" and "was killed (SIGKILL) at step 1" in run.status.sentence
    assert run.resume().wait(timeout=60) == "finished"


def test_a_standby_that_is_killed_leaves_its_runs_alone_and_the_next_start_is_cold(tmp_path, fresh):
    assert wb.standby(wait=True)
    run = wb.start(wb.Recipe(**RECIPE), runs=tmp_path)
    run.pause(at_step=1)
    assert run.wait(timeout=60, until="paused") == "paused"
    standby._waiting.kill()
    standby._waiting.wait()
    assert run.status == "paused"
    run.resume()
    assert run.wait(timeout=60) == "finished"
    assert wb.start(wb.Recipe(**RECIPE), runs=tmp_path).wait(timeout=60) == "finished"


def test_where_a_fork_could_not_use_the_device_it_becomes_the_worker_itself(tmp_path, monkeypatch, fresh):
    monkeypatch.setattr(standby, "can_fork", lambda: False)
    assert wb.standby(wait=True)
    waiting = standby._waiting.pid
    run = wb.start(wb.Recipe(**RECIPE), runs=tmp_path)
    assert run.pid == waiting
    assert run.wait(timeout=60) == "finished" and run.history.started.pid == waiting
    assert standby._waiting is None


def test_a_gpu_or_another_system_than_linux_forbids_forks(tmp_path, monkeypatch):
    monkeypatch.setattr(standby, "GPU_FILES", (str(tmp_path / "nvidiactl"),))
    assert standby.can_fork() == (sys.platform == "linux")
    (tmp_path / "nvidiactl").touch()
    assert not standby.can_fork()


def test_it_works_in_the_environment_of_the_start_not_of_its_own(tmp_path, monkeypatch):
    assert wb.standby(wait=True)
    monkeypatch.setenv("WORKBENCH_QUEUE", str(tmp_path / "queue"))
    monkeypatch.setenv("WORKBENCH_SLOTS", "2")
    run = wb.start(wb.Recipe(**RECIPE), runs=tmp_path / "runs")
    run.pause(at_step=1)
    assert run.wait(timeout=60, until="paused") == "paused"
    assert psutil.Process(run.pid).cwd() == str(run.folder)
    assert (tmp_path / "queue" / "slot-0").exists()
    run.resume()
    assert run.wait(timeout=60) == "finished"


def test_one_that_imported_under_other_variables_is_sent_away(tmp_path, monkeypatch, fresh):
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


def test_a_worker_that_dies_at_once_blocks_nobody(tmp_path, fresh):
    """Its folder is gone before the standby has imported everything."""
    wb.standby()
    lost = wb.start(wb.Recipe(**RECIPE), runs=tmp_path / "gone")
    shutil.rmtree(lost.folder)
    kept = wb.start(wb.Recipe(**RECIPE), runs=tmp_path / "kept")
    assert kept.wait(timeout=60) == "finished"
    assert wb.standby(), "the standby is still there"


def test_how_an_old_worker_ended_is_not_said_of_a_later_attempt(tmp_path):
    living.note(tmp_path, 1)
    living.note(tmp_path, os.getpid(), asked=5.0)
    living.note_exit(tmp_path, 1, -9)
    assert "exit" not in living.worker_of(tmp_path) and living.worker_of(tmp_path)["pid"] == os.getpid()
    living.note_exit(tmp_path, os.getpid(), 3)
    assert living.worker_of(tmp_path)["exit"] == 3 and not processes.alive(living.worker_of(tmp_path))


def test_a_clock_put_right_does_not_make_a_worker_another_one(tmp_path, monkeypatch):
    """What Linux tells of the time it started follows the clock; here it says an hour later than before."""
    living.note(tmp_path, os.getpid())
    proc = tmp_path / "proc"
    proc.mkdir()
    (proc / str(os.getpid())).symlink_to(f"/proc/{os.getpid()}")
    told = Path("/proc/stat").read_text()
    (proc / "stat").write_text(re.sub(r"(?m)^btime (\d+)$", lambda found: f"btime {int(found[1]) + 3600}", told))
    before = psutil.Process().create_time()
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(proc))
    assert psutil.Process().create_time() - before == pytest.approx(3600)
    assert processes.alive(living.worker_of(tmp_path))


def test_a_standby_that_died_unseen_is_replaced(tmp_path, fresh):
    wb.standby()
    standby._waiting.kill()
    tools.until(lambda: not psutil.pid_exists(standby._waiting.pid) or psutil.Process(standby._waiting.pid).status() == psutil.STATUS_ZOMBIE, what="its end")
    standby._waiting.poll = lambda: None  # as in the moment before its end is seen
    run = wb.start(wb.Recipe(**RECIPE), runs=tmp_path)
    assert run.wait(timeout=60) == "finished" and not wb.standby()


def test_what_libraries_set_as_they_are_imported_sends_nobody_away():
    """A notebook imports torch after it asked for the standby; forks would all start cold."""
    code = """
import os
before = dict(os.environ)
import workbench as wb
wb.load("town")
import bitsandbytes, peft, sklearn.metrics
from workbench.runs import standby
print(standby._read_once(before) == standby._read_once(dict(os.environ)), len(before) < len(os.environ))"""
    out = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True).stdout
    assert out.split() == ["True", "True"]
