"""Every notebook runs from top to bottom in its quick form, in a fresh kernel and in a folder of its own, and its page needs no kernel to be read.

WORKBENCH_QUICK=1 asks for the short form; what the full form teaches is checked by `make lessons`. Each notebook runs once for all of these tests.
"""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest

from tools.execute_notebook import execute, page

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
QUICK_SECONDS = 20
LARGEST_KB = 300
POINTS = 50
"""A curve of the tour's quick form has 56 steps; a picture of a run that had just begun has fewer points than this."""


@dataclass
class Executed:
    """A notebook with its outputs, the folder it worked in, and the seconds it took."""

    notebook: nbformat.NotebookNode
    folder: Path
    seconds: float


@pytest.fixture(scope="module", params=NOTEBOOKS, ids=lambda path: path.stem)
def executed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Executed:
    """Raises what the first failing cell raised."""
    folder = tmp_path_factory.mktemp(request.param.stem)
    copy = Path(shutil.copy(request.param, folder))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKBENCH_QUICK", "1")
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]))
        begun = time.perf_counter()
        notebook = execute(copy, cwd=folder, cell_timeout_s=120)
        return Executed(notebook, folder, time.perf_counter() - begun)


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS, "notebooks/ holds no notebook"


def test_it_runs_in_its_quick_form(executed: Executed) -> None:
    print(f"{executed.folder.name}: {executed.seconds:.1f} s in its quick form")
    assert executed.seconds <= QUICK_SECONDS


def points_of(path: str) -> int:
    """How many places the line of an SVG path goes through."""
    return len(re.findall(r"[ML]", path))


def test_its_page_needs_neither_kernel_nor_network(executed: Executed) -> None:
    text = page(executed.notebook, executed.folder.name)
    assert "<table" in text or "<svg" in text, "nothing is shown"
    assert re.findall(r"""<(?:script|link|img|iframe)\b[^>]*?(?:src|href)=["']?(?:https?:)?//[^"'>]*""", text) == []
    assert 'type="application/vnd.jupyter.widget-view+json"' not in text, "a widget waits for a kernel"


def test_its_page_shows_the_runs_without_a_kernel(executed: Executed) -> None:
    """What `make run HEADLESS=1` leaves."""
    if not any("wb.start(" in cell.source for cell in executed.notebook.cells):
        assert not (executed.folder / "runs").exists()
        return
    text = page(executed.notebook, executed.folder.name)
    runs = [path for path in sorted((executed.folder / "runs").iterdir()) if path.is_dir()]
    assert runs, "the notebook started no run"
    pictures = re.findall(r"<svg\b.*?</svg>", text, flags=re.DOTALL)
    lines = [points_of(path) for picture in pictures for path in re.findall(r'<path d="([^"]+)" fill="none"', picture)]
    assert max(lines, default=0) >= POINTS, f"no picture has a curve of {POINTS} points: {sorted(lines)[-5:]}"
    told = html.unescape(re.sub(r"<[^>]+>", " ", text))
    assert re.search(r"Finished at step (\d+) of \1\b", told), "no sentence says how the run ended"
    events = [json.loads(line) for path in runs for line in (path / "journal.jsonl").read_text().splitlines()]
    replies = {" ".join(event["reply"].split()) for event in events if event["event"] == "sampled"} - {""}
    shown = " ".join(told.split())
    assert any(reply in shown for reply in replies), f"none of the sampled replies {sorted(replies)} is shown"


@pytest.mark.parametrize("layout", [{"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Orla"}]},
                                    {"instruction": "Who?", "output": "Orla"}, {"text": "Orla bakes bread in Fenwick."}], ids=lambda row: next(iter(row)))
def test_the_tours_questions_work_on_data_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: dict) -> None:
    """The cells that ask before and after, with the settings that the last cell speaks of; the trained model is the base itself."""
    import workbench as wb

    cells = {cell.id: cell.source for cell in nbformat.read(ROOT / "notebooks" / "00_tour.ipynb", as_version=4).cells}
    rows = tmp_path / "rows.jsonl"
    rows.write_text((json.dumps(layout) + "\n") * 20)
    settings = re.sub(r"(?m)^MODEL, DATA, HELDOUT = .*$", f"MODEL, DATA, HELDOUT = 'town', {str(rows)!r}, 0.1", cells["tour-01"])
    assert settings != cells["tour-01"]
    monkeypatch.setattr(wb, "standby", lambda: False, raising=False)

    class Trained:
        load = staticmethod(lambda: wb.load("town"))

    names: dict = {"run": Trained}
    for source in (settings, cells["tour-03"], cells["tour-12"]):
        exec(compile(source, "tour", "exec"), names)
    assert list(names["answers"].columns) == ["question", "base", "tuned"] and (names["answers"]["base"] == names["answers"]["tuned"]).all()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_is_committed_is_small_and_has_no_failure_in_it(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert path.stat().st_size < LARGEST_KB * 1000, f"{path.name} is {path.stat().st_size / 1000:.0f} KB: clear its largest outputs"
    assert "widgets" not in notebook.metadata, f"{path.name} holds widget state: save it without"
    assert not any(output.output_type == "error" for cell in notebook.cells for output in cell.get("outputs", []))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_is_kept_of_it_holds_no_real_data(path: Path) -> None:
    """Cells that take real data where there is some were run without: their output says how to name it, and nothing else."""
    for cell in nbformat.read(path, 4).cells:
        if cell.cell_type == "code" and "WORKBENCH_REAL_DATA" in cell.source and cell.outputs:
            assert len(cell.outputs) == 1 and "WORKBENCH_REAL_DATA" in cell.outputs[0].get("text", ""), cell.source
