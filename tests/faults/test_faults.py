"""Faults, each really done: kills, a full disk, an unwritable folder, unusable rows, noise, damaged journals. Losses after a resume are compared bit for bit.

The quick set kills one run three times; `make faults` kills ten. Every seed drawn is printed.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import workbench as wb
from tests.runs import tools
from workbench.journal import events as ev
from workbench.journal.history import History
from workbench.journal.log import Tail
from workbench.runs.status import LIVING

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("warm")]
INTERVAL = 5
STEPS, ROOM = 60, 2


def recipe(real_data, **fields):
    return tools.recipe(real_data, **(dict(steps=STEPS, checkpoint_every=INTERVAL, evaluate_every=20, sample_prompts=0, keep_checkpoints=3) | fields))


CHANGES = ((13, dict(learning_rate=2e-3)), (22, dict(learning_rate=4e-3)), (22, dict(evaluate_every=10)), (41, dict(learning_rate=1e-3)))


def change(run) -> None:
    for step, values in CHANGES:
        run.set(at_step=step, **values)


@pytest.fixture(scope="module")
def uninterrupted(real_data, tmp_path_factory):
    from workbench.journal import commands as cmd
    from workbench.runs.start import prepare

    folder = prepare(recipe(real_data), tmp_path_factory.mktemp("whole"), "whole")
    for step, values in CHANGES:
        cmd.send(folder, cmd.Set(values=values, at_step=step))
    assert tools.train_here(folder) == "finished"
    return wb.attach(folder)


def steps_of_kills(kills: int, seed: int) -> list[int]:
    """Steps from the first to the last one, each as likely as the others, with `ROOM` steps or more between two of them."""
    drawn = sorted(random.Random(seed).sample(range(1, STEPS - ROOM * (kills - 1) + 1), kills))
    return [step + ROOM * number for number, step in enumerate(drawn)]


def go_on(run) -> None:
    run.resume()
    tools.until(lambda: run.status != "paused", what="the resumption")


def reach(run, step: int) -> None:
    """Wait until so many steps are done, past the holds of earlier attempts."""
    def there() -> bool:
        if run.status == "paused" and run.history.step < step:
            go_on(run)
        return run.history.step >= step or run.status not in LIVING

    tools.until(there, 90, what=f"step {step}")


def killed_and_resumed(run, kills: int, seed: int) -> None:
    """Kill the worker soon after random steps, the last one among them, resume each time, check what is said and how much is run again.

    A hold a little further on keeps a fast run from its end, and from the next kill, until it is dead.
    """
    print(f"kills at random steps, seed {seed}")
    for number, target in enumerate(steps_of_kills(kills, seed)):
        run.pause(at_step=min(target + ROOM, STEPS))
        reach(run, target)
        os.kill(run.pid, signal.SIGKILL)
        assert run.wait(30) == "died"
        died_at = run.history.step
        status = run.status
        assert target <= died_at <= target + ROOM
        assert "SIGKILL" in status.sentence and f"step {died_at} of {STEPS}" in status.sentence and "run.resume()" in status.remedy and status.log_tail
        run.resume()
        tools.until(lambda: run.status and run.history.started.attempt == number + 2, 90, "the new attempt")
        started = run.history.started
        assert died_at - INTERVAL <= (started.resumed_from or 0) <= died_at, (died_at, started.resumed_from)
        print(f"  killed at step {died_at}, went on from {started.resumed_from}")
    while run.wait(90, until="paused") == "paused":
        go_on(run)


@pytest.mark.parametrize("kills", [3, 10])
def test_kills_are_drawn_from_the_first_step_to_the_last(kills):
    drawn = [steps_of_kills(kills, seed) for seed in range(2000)]
    assert {step for steps in drawn for step in steps} == set(range(1, STEPS + 1))
    assert all(later - earlier > ROOM for steps in drawn for earlier, later in zip(steps, steps[1:]))


def assert_as_uninterrupted(run, whole) -> None:
    assert run.wait(120) == "finished", repr(run.status)
    assert tools.losses(run) == tools.losses(whole)
    assert list(run.metrics()["learning_rate"]) == list(whole.metrics()["learning_rate"])
    told = [(c.step, c.field, c.old, c.new) for c in run.history.changes]
    assert told == [(c.step, c.field, c.old, c.new) for c in whole.history.changes] and len(told) == 4
    assert [(e.step, e.loss, e.best) for e in run.history.evaluations] == [(e.step, e.loss, e.best) for e in whole.history.evaluations]
    from safetensors.torch import load_file

    ours, theirs = (load_file(r.folder / "result" / "adapter_model.safetensors") for r in (run, whole))
    assert ours.keys() == theirs.keys() and all((ours[name] == theirs[name]).all() for name in ours)


def test_killed_three_times_it_ends_with_the_losses_of_an_uninterrupted_run(real_data, tmp_path, uninterrupted):
    run = wb.start(recipe(real_data), runs=tmp_path)
    change(run)
    killed_and_resumed(run, 3, seed=random.SystemRandom().randrange(10**6))
    assert_as_uninterrupted(run, uninterrupted)
    assert len(run.history.resumptions) == 3


def test_a_change_made_again_twice_after_kills_close_together(real_data, tmp_path, uninterrupted):
    """A change at 13 is made, then taken back by a kill at 14, and the next kill comes before it was made again."""
    run = wb.start(recipe(real_data), runs=tmp_path)
    change(run)
    run.pause(at_step=14)
    run.wait(90, until="paused")
    os.kill(run.pid, signal.SIGKILL)
    assert run.wait(30) == "died" and [c.step for c in run.history.changes] == [13]
    run.resume()
    run.pause(at_step=12)
    run.wait(90, until="paused")
    assert run.history.step == 12 and run.history.started.resumed_from == 10 and run.history.changes == []
    os.kill(run.pid, signal.SIGKILL)
    assert run.wait(30) == "died"
    run.resume()
    assert_as_uninterrupted(run, uninterrupted)


@pytest.mark.parametrize("before", ["", "wb.standby(wait=True)"], ids=["cold", "through a standby"])
def test_the_kernel_killed_during_a_run_leaves_the_run_to_finish(real_data, tmp_path, before):
    code = f"""
import sys
import workbench as wb
from pathlib import Path
from tests.runs import tools
{before}
run = wb.start(tools.recipe(Path({str(real_data)!r}), steps=30, sample_prompts=0), runs={str(tmp_path)!r})
print(run.folder, flush=True)
run.wait(until=5)
print("five", flush=True)
sys.stdin.read()
"""
    kernel = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                              env=os.environ | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))})
    folder = kernel.stdout.readline().strip()
    assert kernel.stdout.readline().strip() == "five"
    kernel.kill()
    assert kernel.wait(10) == -signal.SIGKILL
    run = wb.attach(folder)
    assert run.wait(90) == "finished"
    assert len(tools.losses(run)) == 30


def test_killed_while_it_writes_a_checkpoint_it_goes_on_from_the_one_before(real_data, tmp_path, uninterrupted):
    """transformers' unfinished folder is what tells that the writing goes on: the kill comes as soon as one is seen."""
    run = wb.start(recipe(real_data), runs=tmp_path)
    change(run)
    run.wait(90, until=6)
    partial = tools.until(lambda: list((run.folder / "checkpoints").glob("checkpoint-*")), what="a checkpoint being written")
    os.kill(run.pid, signal.SIGKILL)
    assert run.wait(30) == "died"
    print("killed while there was", [p.name for p in partial], "left", [p.name for p in (run.folder / "checkpoints").iterdir()])
    (run.folder / "checkpoints" / "checkpoint-55").mkdir(exist_ok=True)  # and one that certainly is cut short
    (run.folder / "checkpoints" / "checkpoint-55" / "adapter_model.safetensors").write_bytes(b"half")
    run.resume()
    assert_as_uninterrupted(run, uninterrupted)
    assert not list((run.folder / "checkpoints").glob("checkpoint-*"))


def test_five_megabytes_of_output_without_a_reader(real_data, tmp_path, monkeypatch):
    """A sitecustomize on the worker's path prints before and during training."""
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "sitecustomize.py").write_text("""
import sys, threading
def noise():
    for _ in range(2500):
        print("o" * 1000)
        print("e" * 1000, file=sys.stderr)
print("x" * 1_000_000, flush=True)
threading.Thread(target=noise, daemon=True).start()
""")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "path"), *sys.path])
    run = wb.start(tools.recipe(real_data), runs=tmp_path)
    assert run.wait(90) == "finished" and len(tools.losses(run)) == 12
    assert (run.folder / "worker.log").stat().st_size > 5_000_000


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 8 MiB, or a skip where nobody may mount one."""
    if os.geteuid():
        pytest.skip("mounting a small file system needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "workbench-test", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(disk: Path, leave: int) -> Path:
    ballast = disk / "ballast"
    free = os.statvfs(disk)
    with open(ballast, "wb") as file:
        file.write(b"\0" * max(0, free.f_bavail * free.f_frsize - leave))
    return ballast


@pytest.mark.parametrize(("leave", "where"), [(0, "journal"), (120_000, "checkpoint")])
def test_a_full_disk_is_named_no_event_is_lost_and_it_goes_on_once_there_is_space(real_data, small_disk, uninterrupted, leave, where):
    run = wb.start(recipe(real_data), runs=small_disk)
    change(run)
    run.pause(at_step=7)
    run.wait(90, until="paused")
    ballast = fill(small_disk, leave)
    try:
        run.resume()
    except wb.RunError as error:  # not even the command could be written: said, and the file is whole
        assert "cannot be written" in str(error) and leave == 0
        ballast.unlink()
        run.resume()
        run.pause(at_step=run.history.step + 8)
        run.wait(90, until="paused")
        ballast = fill(small_disk, 4096)
        run.resume()
    seen, reader = [], Tail(run.folder / "journal.jsonl")
    while run.status in ("running", "paused"):
        seen += list(reader.read())
    assert run.wait(90) == "failed", repr(run.status)
    seen += list(reader.read())
    assert "The disk is full" in run.status.sentence and "Free some space" in run.status.remedy
    assert run.history.damaged == 0 and isinstance(ev.decode(seen[-1]), ev.Ended)
    died_at = run.history.step
    ballast.unlink()
    run.resume()
    assert_as_uninterrupted(run, uninterrupted)
    assert (run.folder / "journal.jsonl").read_bytes().startswith(b"\n".join(seen)), "what a reader had seen is still there"
    assert died_at - INTERVAL <= run.history.resumptions[0] <= died_at and run.history.damaged == 0


def test_starting_on_a_full_disk_or_in_a_place_that_cannot_be_written_leaves_nothing(real_data, small_disk, tmp_path):
    fill(small_disk, 8192)
    with pytest.raises(wb.RunError, match="cannot be (kept|written)"):
        wb.start(recipe(real_data, data=tools.rows(2000)), runs=small_disk)
    assert [p.name for p in small_disk.iterdir()] == ["ballast"]
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "runs", "/proc/runs"):
        with pytest.raises(wb.RunError, match="No run folder can be made"):
            wb.start(recipe(real_data), runs=place)


@pytest.mark.parametrize("fields", [dict(model="/no/such/model"), dict(data="nowhere.jsonl"), dict(data=[{"frage": "?", "antwort": "!"}]), dict(data=[{"text": None}]),
                                    dict(data=[{"text": "one row"}]), dict(heldout="nowhere.jsonl"), dict(heldout="town:nothing")])
def test_what_is_wrong_is_said_at_the_start_and_leaves_no_folder(real_data, tmp_path, fields):
    with pytest.raises(wb.WorkbenchError) as caught:
        wb.start(recipe(real_data, **fields), runs=tmp_path / "runs")
    assert (caught.value.remedy or "choose" in caught.value.what) and not (tmp_path / "runs").exists()


def test_unusable_rows_are_dropped_and_counted_and_too_many_refuse(real_data, tmp_path):
    rows = tools.rows(220)
    rows[5]["answer"] = ""
    rows[6]["question"] = "Why? " * 300
    run = tools.here(tools.recipe(real_data, data=rows, heldout=0, steps=2), tmp_path)
    assert run.history.prepared.dropped == {"no answer": 1, "answer cut off by max_length": 1} and run.history.prepared.rows == 218
    for row in rows[10:14]:
        row["answer"] = ""
    run = wb.start(tools.recipe(real_data, data=rows, heldout=0, steps=2), runs=tmp_path)
    assert run.wait(90) == "failed"
    assert "6 of 220 rows have no token to train on" in run.status.sentence and "no answer: 5" in run.status.sentence and run.status.remedy
    assert run.history.step == 0


@pytest.mark.parametrize("how", ["stop", "SIGTERM"])
def test_a_stopped_run_leaves_an_adapter_that_loads_and_can_go_on(real_data, tmp_path, uninterrupted, how):
    run = wb.start(recipe(real_data), runs=tmp_path)
    change(run)
    run.pause(at_step=17)
    run.wait(90, until="paused")
    pid = run.pid
    if how == "stop":
        run.stop()
    else:
        os.kill(pid, signal.SIGTERM)
    assert run.wait(60) == "stopped" and run.history.step == 17
    model, tokenizer = run.load()
    assert run.generate("What did the red cat see?", max_new_tokens=4) and model.num_parameters() > 260_000
    run.resume()  # at once: the old process may still be on its way out
    assert_as_uninterrupted(run, uninterrupted)
    assert run.history.resumptions == [15]


def test_a_damaged_journal_is_read_on_and_written_on(real_data, tmp_path, uninterrupted):
    run = wb.start(recipe(real_data), runs=tmp_path)
    change(run)
    run.wait(90, until=8)
    os.kill(run.pid, signal.SIGKILL)
    assert run.wait(30) == "died"
    with open(run.folder / "journal.jsonl", "ab") as file:
        file.write(b'\x00\xff garbage\n{"event":"step","step":"x"\n{"v":1,"event":"step","st')
    run.resume()
    assert_as_uninterrupted(run, uninterrupted)
    other = History(run.folder)
    other.refresh()
    assert run.history.damaged == 3 and "3 lines of its journal cannot be read" in run.status.sentence
    assert other.damaged == 3 and other.metrics()["loss"] == run.history.metrics()["loss"]


def test_two_readers_agree_while_it_trains(real_data, tmp_path):
    run = wb.start(tools.recipe(real_data, steps=40, sample_prompts=0), runs=tmp_path)
    other, compared = wb.attach(run.folder), 0
    while run.status in ("new", "queued", "starting", "running"):
        first, second = run.history.metrics(), (other.status, other.history.metrics())[1]
        shared = len(first["step"])
        assert list(second["loss"])[:shared] == list(first["loss"]) and len(second["step"]) >= shared
        compared += 0 < shared < 40
    assert compared > 3 and other.status == run.status == "finished" and other.metrics().equals(run.metrics())


def test_an_offline_hub_model_fails_in_one_sentence(tmp_path):
    with pytest.raises(wb.WorkbenchError) as caught:
        wb.start(wb.Recipe(model="somebody/some-model", data=tools.rows(20), steps=1), runs=tmp_path / "runs")
    assert "somebody/some-model" in str(caught.value) and len(str(caught.value).splitlines()) == 1 and caught.value.remedy
    assert not (tmp_path / "runs").exists()
