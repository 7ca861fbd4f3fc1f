"""The script behind `make run HEADLESS=1`: a page that stands alone when every cell ran, a status of 1 and no page when one did not."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[2]
WIDGET_AND_PICTURE = """
import ipywidgets
from IPython.display import display
slider = ipywidgets.IntSlider()
display({"application/vnd.jupyter.widget-view+json": {"version_major": 2, "version_minor": 0, "model_id": slider.model_id},
         "text/html": "<svg id='picture'></svg>"}, raw=True)
"""


def call(folder: Path, *cells: str) -> tuple[subprocess.CompletedProcess[str], Path]:
    """The script on a notebook of these code cells: what it printed and returned, and where its page is to be."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbformat.write(notebook, folder / "lesson.ipynb")
    command = [sys.executable, "tools/execute_notebook.py", str(folder / "lesson.ipynb"), "--output", str(folder / "pages")]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True), folder / "pages" / "lesson.html"


def test_the_page_shows_the_picture_beside_the_widget_and_asks_the_network_for_nothing(tmp_path: Path) -> None:
    done, page = call(tmp_path, "import os\nprint('in ' + os.path.basename(os.getcwd()))", WIDGET_AND_PICTURE)
    assert done.returncode == 0, done.stderr
    html = page.read_text(encoding="utf-8")
    assert "id='picture'" in html or 'id="picture"' in html
    assert f"in {tmp_path.name}" in html, "a notebook works in its own folder"
    assert re.findall(r"""(?:src|href)=["']https?:[^"']*""", html) == []
    assert 'type="application/vnd.jupyter.widget-view+json"' not in html


def test_a_failing_cell_ends_it_with_status_1_and_leaves_no_page(tmp_path: Path) -> None:
    before, page = call(tmp_path, "1 + 1")
    assert before.returncode == 0 and page.exists()
    done, page = call(tmp_path, "print('begun')", "raise RuntimeError('the sky fell')", "print('never')")
    assert done.returncode == 1
    assert "the sky fell" in done.stderr
    assert not page.exists()


def test_a_notebook_that_is_not_there_is_named(tmp_path: Path) -> None:
    command = [sys.executable, "tools/execute_notebook.py", "notebooks/none.ipynb", "--output", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "There is no notebook notebooks/none.ipynb" in done.stderr
