"""A run folder from elsewhere may hold anything: nothing of it is taken for one of our modules, and no endpoint of it is sent a key."""

from __future__ import annotations

import subprocess
import sys

import pytest

from workbench.alignment import known_code, reward_sources
from workbench.errors import RecipeError
from workbench.runs import processes

MINE = "print('this came with the folder', flush=True)\nraise SystemExit(7)\n"


def test_a_package_in_the_run_folder_is_not_ours(tmp_path):
    (tmp_path / "workbench").mkdir()
    (tmp_path / "workbench" / "__init__.py").write_text(MINE)
    command = [sys.executable, "-m", "workbench.errors"]
    safe = subprocess.run(command, cwd=tmp_path, env=processes.environment(), capture_output=True, text=True)
    assert (safe.returncode, safe.stdout) == (0, "")
    trusting = {name: value for name, value in processes.environment().items() if name != "PYTHONSAFEPATH"}
    taken = subprocess.run(command, cwd=tmp_path, env=trusting, capture_output=True, text=True)
    assert taken.returncode == 7, "without it the folder's own would have run"


def test_an_endpoint_that_nobody_here_named_is_sent_nothing(tmp_path):
    address = f"http://127.0.0.1:9/{tmp_path.name}"
    with pytest.raises(RecipeError, match="came with a run and was never named by you"):
        reward_sources.check_known("helpful", address, tmp_path)
    reward_sources.check("helpful", address)  # what starting a run with it does
    reward_sources.check_known("helpful", address, tmp_path)


def test_what_is_known_is_kept_as_digests(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(known_code, "_here", set())
    known_code.note_address("https://judge.example/score")
    kept = (tmp_path / "workbench" / "reward_code").read_text()
    assert "judge" not in kept and len(kept.strip()) == 64
    monkeypatch.setattr(known_code, "_here", set())
    known_code.check_address("helpful", "https://judge.example/score")
