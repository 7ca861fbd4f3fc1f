"""Types and style as tools see them: mypy over the engine, ruff over everything. Their settings, and what is not asked for, are in pyproject.toml."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def said_by(*command: str) -> str:
    """What a tool says of the repository; empty where it has nothing to say."""
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_ruff_has_nothing_to_say() -> None:
    assert said_by("ruff", "check", "--quiet", "--no-cache", "workbench", "widgets", "tests", "tools") == ""


def test_mypy_finds_no_wrong_type(tmp_path: Path) -> None:
    assert said_by("mypy", "--no-error-summary", "--cache-dir", str(tmp_path)) == ""


def test_both_notice_what_is_wrong(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text("import os\n\n\ndef double(number: int) -> str:\n    return 2 * number\n")
    assert "F401" in said_by("ruff", "check", "--no-cache", "--config", str(ROOT / "pyproject.toml"), str(wrong))
    assert "return-value" in said_by("mypy", "--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(tmp_path / "kept"), str(wrong))
