"""The notebook's side killed while it makes a run or a fork: at every file operation on the way there is a whole run or none. Fifty kernels killed at any moment, with the runs
that they started going on, are `long_kills.py`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import workbench as wb
from tests.runs import tools
from workbench.journal import events as ev
from workbench.journal.log import Log
from workbench.runs import folders
from workbench.runs.start import prepare

pytestmark = pytest.mark.faults


def outcomes(*arguments: Path) -> list[dict]:
    done = subprocess.run([sys.executable, "-m", "tests.faults.kernels", *map(str, arguments)], env=tools.environment(), capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def a_parent(real_data: Path, runs: Path) -> Path:
    """A run stopped after its third step, with what a fork shares of it."""
    folder = prepare(tools.recipe(real_data, data=tools.rows(20), steps=4), runs, "parent")
    log = Log(folder / "journal.jsonl")
    for event in (ev.Started(pid=1), ev.Prepared(rows=18, heldout_rows=2, dropped={}, truncated=0, tokens=9, trained_tokens=4, parameters=5, trainable_parameters=5, steps=4),
                  *(ev.Step(step=step, loss=2.0) for step in (1, 2, 3)), ev.Ended(step=3, status="stopped")):
        log.write(ev.encode(event))
    log.close()
    (folder / "checkpoints" / "step-000002").mkdir(parents=True)
    (folder / "checkpoints" / "step-000002" / "trainer_state.json").write_text("{}")
    return folder


@pytest.mark.parametrize("forked", [False, True], ids=["a start", "a fork"])
def test_killed_at_any_file_operation_a_run_is_whole_or_not_there(real_data, tmp_path, forked):
    runs = tmp_path / "runs"
    found = outcomes(runs, *([a_parent(real_data, runs)] if forked else []))
    *killed, last = found
    assert all(each["killed"] for each in killed) and not last["killed"] and len(killed) > 8
    assert all(each["whole"] and not each["left"] for each in found), "what nobody will finish is removed, and nothing else"
    assert sum(each["half_made"] for each in killed) > 5 and not last["half_made"]
    whole = [each["listed"] for each in found]
    assert whole == sorted(whole) and whole[-1] - whole[0] <= 2, "only kills after the folder was whole left a run"


def test_a_start_that_was_cut_off_is_said_and_goes_with_the_next_one(real_data, tmp_path):
    code = f"""
import os, signal
from pathlib import Path
from workbench.runs import folders
with folders.making({str(tmp_path)!r}, "cut") as folder:
    (folder / "recipe.json").write_text("{{")
    print(folder, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    folder = Path(subprocess.run([sys.executable, "-c", code], env=tools.environment(), capture_output=True, text=True).stdout.strip())
    assert folder.is_dir() and not len(wb.list_runs(tmp_path))
    with pytest.raises(wb.RunError, match="whoever started it was cut off") as caught:
        wb.attach(folder)
    assert "Start it again" in caught.value.remedy
    again = prepare(tools.recipe(real_data, data=tools.rows(20)), tmp_path, "again")
    assert not folder.exists() and list(wb.list_runs(tmp_path)["folder"]) == [str(again)] and wb.attach(again).status == "new"


def test_what_is_no_run_is_left_where_runs_are_made(tmp_path):
    """A person's own folder may be where runs are kept."""
    mine = tmp_path / "notes"
    mine.mkdir()
    (mine / ".starting-point").write_text("mine")
    (tmp_path / "1_2-3").mkdir()
    with folders.making(tmp_path, "run") as made:
        assert made.is_dir()
    assert (mine / ".starting-point").read_text() == "mine" and (tmp_path / "1_2-3").is_dir()
