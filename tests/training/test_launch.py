"""One run, two processes: the losses of one process, live control, a process killed and the run gone on with, a plain result.

Every strategy with every objective is in `tests/faults/launch_long.py`. Here: DDP under all that can happen to a run, and FSDP once.
"""

import os
import signal
import subprocess
import sys

import psutil
import pytest
import torch

import workbench as wb
from tests.runs import tools
from workbench.data import run_rows
from workbench.errors import RunError
from workbench.runs.start import prepare
from workbench.training import strategies, supervised

EQUAL = 1e-5
NOTICED_S = 10


def recipe(**fields) -> wb.Recipe:
    """No dropout: what is dropped differs by process."""
    given = dict(model="town-small", method=wb.LoRA(rank=4), steps=10, max_length=96, learning_rate=2e-3, evaluate_every=5, checkpoint_every=5,
                 sample_prompts=1, sample_tokens=2)
    return wb.Recipe(**(given | fields))


def mixture() -> wb.Mixture:
    """Two sources, so that each step's share of both is counted."""
    return wb.Mixture({"plain": [{"question": f"What is {n}?", "answer": f"It is {n}."} for n in range(30)],
                       "long": [{"question": f"Where is {n}?", "answer": f"It is beside {n + 1}, and far from {n + 2}."} for n in range(20)]},
                      rule="weights", weights={"plain": 2, "long": 1})


def apart(one: wb.Run, two: wb.Run) -> float:
    """The largest difference of training and held-out losses."""
    pairs = [*zip(tools.losses(one), tools.losses(two), strict=True),
             *((a.loss, b.loss) for a, b in zip(one.history.evaluations, two.history.evaluations, strict=True))]
    return max(abs(a - b) for a, b in pairs)


def living(pids: list[int]) -> list[int]:
    return [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]


def kill(run: wb.Run, pid: int, word: str) -> None:
    """Kill a process of the run, which is noticed at once, and leaves none of the others."""
    others = [*run.history.launched.pids, run.pid]
    os.kill(pid, signal.SIGKILL)
    assert run.wait(NOTICED_S) == word, repr(run.status)
    tools.until(lambda: not living(others), NOTICED_S, "the end of the other processes")


def test_two_processes_learn_what_one_does_whatever_happens_to_them(tmp_path, warm):
    """Rows of a mixture, a live change, a pause with questions, -9 for each process and for the worker, and a stop: the losses of one process."""
    one = tools.here(recipe(data=mixture(), batch_size=8), tmp_path)
    run = wb.start(recipe(data=mixture(), batch_size=4, launch=wb.Launch(processes=2)), runs=tmp_path)
    run.pause(at_step=7)
    assert run.wait(120, until="paused") == "paused" and run.history.step == 7
    told = run.history.launched
    assert told.strategy == "ddp" and told.backend == "gloo" and len(set(told.pids)) == 2 and run.pid not in told.pids
    assert run.generate("What is 3?", max_new_tokens=2) and len(run.next_tokens("What", k=3)) == 3
    run.set(evaluate_every=9)
    tools.until(lambda: run.status and run.history.changes, what="the change")
    kill(run, told.pids[1], "failed")
    assert "Process 1 of 2 was killed (SIGKILL)" in run.status.sentence and "run.resume()" in run.status.remedy

    run.resume().pause(at_step=6)
    assert run.wait(120, until="paused") == "paused" and run.history.started.resumed_from == 5
    kill(run, run.history.launched.pids[0], "failed")
    assert "Process 0 of 2 was killed (SIGKILL)" in run.status.sentence
    run.resume().pause(at_step=6)
    run.wait(120, until="paused")
    kill(run, run.pid, "died")
    run.resume().pause(at_step=8)
    run.wait(120, until="paused")
    run.set(evaluate_every=5)
    os.kill(run.pid, signal.SIGTERM)
    assert run.wait(30) == "stopped" and run.history.step == 8
    run.load()
    run.resume()
    assert run.wait(120) == "finished", repr(run.status)

    assert apart(one, run) < EQUAL
    for name in ("tokens", "rows/plain", "rows/long"):
        assert list(one.metrics()[name]) == list(run.metrics()[name]), name
    (_, mine), (_, theirs) = (zip(*sorted(trained(found).items()), strict=True) for found in (one, run))
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(mine, theirs, strict=True))


def trained(run: wb.Run) -> dict[str, torch.Tensor]:
    """The result's own weights, as anybody would load them."""
    return {name: weights for name, weights in run.load()[0].named_parameters() if "lora" in name}


def test_a_model_cut_up_among_processes_learns_preferences_and_leaves_a_plain_adapter(tmp_path, warm):
    """FSDP with DPO, whose reference reads the same weights: each process holds a half of them, goes on from a checkpoint, and asks them too."""
    fields = dict(data="town:preferences", objective=wb.DPO(beta=0.1), steps=4, evaluate_every=2, checkpoint_every=2, heldout=0.02, sample_prompts=0)
    one = tools.here(recipe(batch_size=4, **fields), tmp_path)
    run = wb.start(recipe(batch_size=2, launch=wb.Launch(processes=2, strategy="fsdp"), **fields), runs=tmp_path)
    run.pause(at_step=3)
    assert run.wait(120, until="paused") == "paused", repr(run.status)
    assert run.history.launched.strategy == "fsdp" and all(0.3 < share < 0.7 for share in run.history.launched.shares)
    run.next_tokens("What", k=1)
    run.stop()
    assert run.wait(60) == "stopped"
    run.resume()
    assert run.wait(120) == "finished" and run.history.resumptions == [2], "stopped while it was paused: the last checkpoint is that of step 2"
    assert apart(one, run) < EQUAL
    assert [round(e.extra["accuracy"], 6) for e in one.history.evaluations] == [round(e.extra["accuracy"], 6) for e in run.history.evaluations]
    assert trained(run).keys() == trained(one).keys()


def test_what_does_not_run_as_asked_is_refused(tmp_path, monkeypatch):
    """A launch of one process where two were asked for, and a model that nothing cuts up."""
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with pytest.raises(RunError, match="2 processes were asked for, and 1 run") as caught:
        strategies.meet(wb.Launch(processes=2))
    assert "torchrun --nproc-per-node=2" in caught.value.remedy
    asked = recipe(data="town:facts", steps=1)
    job = supervised.load_job(asked, run_rows.read(prepare(asked, tmp_path, "alone")))
    trainer = supervised.build_trainer(asked, job, tmp_path / "out", [])
    for strategy in ("ddp", "fsdp"):
        with pytest.raises(RunError, match=f"2 processes under {strategy} were asked for; what runs is one process"):
            strategies.prove(trainer, wb.Launch(processes=2, strategy=strategy))


def test_a_line_typed_for_a_folder_that_is_not_there_is_answered_in_a_sentence(tmp_path):
    typed = subprocess.run([sys.executable, "-m", "workbench.training.ranks", str(tmp_path / "no run")], capture_output=True, text=True,
                           env=os.environ | {"RANK": "0"}, check=False)
    assert typed.returncode == 1 and typed.stderr.splitlines() == [
        f"Process 0: There is no run in {tmp_path / 'no run'}. Type the line of wb.launch_command(run) again, where its folder can be seen."]
