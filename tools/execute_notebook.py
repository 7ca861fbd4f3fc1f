"""Executes notebooks from their first cell to their last and leaves each as an HTML page that needs neither kernel nor network.

`python tools/execute_notebook.py notebooks/00_tour.ipynb --output build` writes build/00_tour.html.
Widget state is left out on purpose: a page with it asks the network for scripts, a page without it shows the picture and
the text that every panel puts beside its widget. The notebook file itself is not touched.
A cell that fails ends everything: its traceback is printed, no page is left of that notebook, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbconvert import HTMLExporter


def execute(path: Path, cwd: Path, cell_timeout_s: int = 900) -> nbformat.NotebookNode:
    """The notebook at `path` with its outputs, every code cell run in a fresh kernel working in folder `cwd`.

    Prints one line a cell with its seconds. Raises nbclient's `CellExecutionError`, `CellTimeoutError` (seconds for one
    cell) or `DeadKernelError`, and `nbformat.ValidationError` where the file is not a notebook.
    """
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    started: dict[int, float] = {}

    def on_start(cell: nbformat.NotebookNode, cell_index: int) -> None:
        started[cell_index] = time.perf_counter()

    def on_done(cell: nbformat.NotebookNode, cell_index: int, execute_reply: dict) -> None:
        first_line = cell.source.strip().splitlines()[0] if cell.source.strip() else ""
        print(f"  cell {cell_index:3d}  {time.perf_counter() - started[cell_index]:6.1f} s  {first_line[:90]}", flush=True)

    client = NotebookClient(
        notebook,
        timeout=cell_timeout_s,
        kernel_name="python3",
        store_widget_state=False,
        shutdown_kernel="immediate",  # a kernel that has imported torch takes 2 s to leave by itself, and nothing of it is wanted any more
        extra_arguments=["--IPKernelApp.log_level=40"],
        resources={"metadata": {"path": str(cwd)}},
        on_cell_start=on_start,
        on_cell_executed=on_done,
    )
    return client.execute()


def page(notebook: nbformat.NotebookNode, title: str) -> str:
    """The notebook as one HTML page without scripts from the network."""
    exporter = HTMLExporter(mathjax_url="", require_js_url="", mermaid_js_url="", widget_renderer_url="", exclude_input_prompt=True)
    html, _ = exporter.from_notebook_node(notebook, resources={"metadata": {"name": title}})
    return html


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0 when every cell of every notebook ran, 1 at the first that did not."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="+", type=Path)
    parser.add_argument("--output", type=Path, required=True, help="folder for the HTML pages, made when missing")
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    for path in options.notebooks:
        if not path.is_file():
            print(f"There is no notebook {path}: name one of {', '.join(map(str, sorted(Path('notebooks').glob('*.ipynb'))))}.", file=sys.stderr)
            return 1
        target = options.output / f"{path.stem}.html"
        target.unlink(missing_ok=True)
        print(f"{path}", flush=True)
        begun = time.perf_counter()
        try:
            notebook = execute(path, cwd=path.parent)
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as failure:
            print(f"{path} did not run to its end:\n{failure}", file=sys.stderr)
            return 1
        target.write_text(page(notebook, path.stem), encoding="utf-8")
        print(f"{target}  {target.stat().st_size / 1024:.0f} KiB after {time.perf_counter() - begun:.1f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
