"""Every notebook runs from top to bottom in its quick form, in a fresh kernel and in a folder of its own.

WORKBENCH_QUICK=1 asks for the short form; what the full form teaches is checked by `make lessons`.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import nbformat
import pytest

from tools.execute_notebook import execute

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
QUICK_SECONDS = 20
LARGEST_KB = 300


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS, "notebooks/ holds no notebook"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_in_its_quick_form(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_QUICK", "1")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]))
    copy = Path(shutil.copy(path, tmp_path))
    begun = time.perf_counter()
    notebook = execute(copy, cwd=tmp_path, cell_timeout_s=120)
    seconds = time.perf_counter() - begun
    print(f"{path.name}: {seconds:.1f} s in its quick form")
    errors = [output.evalue for cell in notebook.cells for output in cell.get("outputs", []) if output.output_type == "error"]
    assert errors == []
    assert seconds <= QUICK_SECONDS, f"{path.name} took {seconds:.1f} s in its quick form, {QUICK_SECONDS} s at most"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_is_committed_is_small_and_has_no_failure_in_it(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert path.stat().st_size < LARGEST_KB * 1000, f"{path.name} is {path.stat().st_size / 1000:.0f} KB: clear its largest outputs"
    assert "widgets" not in notebook.metadata, f"{path.name} holds widget state: save it without"
    assert not any(output.output_type == "error" for cell in notebook.cells for output in cell.get("outputs", []))
