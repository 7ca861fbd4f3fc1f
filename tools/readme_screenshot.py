"""Takes docs/run_monitor.png, the README's picture: a real training, forked and steered, in a real JupyterLab.

    python tools/readme_screenshot.py [--output docs/run_monitor.png] [--steps 400]

Needs what the browser tests need, and some minutes of training. A town model is tuned, forked at a quarter of its steps with another
learning rate, and a third run waits for the device; the picture is taken while the fork trains. Fails where the picture is over 300 KB or a
word in it is cut off.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
LARGEST_BYTES = 300_000
WIDTH_PX = 1200

BEGIN = """import workbench as wb
from widgets import RunMonitor
recipe = wb.Recipe(model="town", data="town:instructions", method=wb.LoRA(rank=8), learning_rate=4e-4, steps={steps},
                   batch_size=4, evaluate_every={often}, checkpoint_every={often}, sample_prompts=1, heldout=0.1)
parent = wb.start(recipe, runs="runs", name="town-lora8")
parent.wait(1800)
run = parent.fork(step={quarter}, learning_rate=2e-3, name="town-lora8-lr2e-3")
run.wait(1800, until={quarter} + 1)
waiting = wb.start(recipe.replace(method=wb.LoRA(rank=64)), runs="runs", name="town-lora64")
RunMonitor(run, runs="runs")"""


def main() -> int:
    options = argparse.ArgumentParser(description="Takes the README's picture of the run monitor from a real training.")
    options.add_argument("--output", type=Path, default=ROOT / "docs" / "run_monitor.png")
    options.add_argument("--steps", type=int, default=400)
    asked = options.parse_args()
    from playwright.sync_api import sync_playwright

    from tests.browser.lab import Lab
    from tests.browser.layout import assert_layout

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright, Lab(Path(folder), playwright) as lab:
        quarter = asked.steps // 4
        notebook = lab.open([BEGIN.format(steps=asked.steps, quarter=quarter, often=max(1, asked.steps // 20))])
        notebook.page.evaluate("() => jupyterapp.commands.execute('notebook:run-all-cells')")
        notebook.wait("() => document.querySelector('.wb-panel .js-plotly-plot')", timeout_ms=1_800_000)
        taken = (2 * quarter, 5 * quarter // 2)
        reached = "count => document.querySelector('.wb-panel .js-plotly-plot').data?.find(t => t.uid === 'raw')?.x?.length >= count"
        notebook.wait(reached, taken[0], timeout_ms=1_800_000)
        notebook.kernel("run.set(learning_rate=1e-3)")
        notebook.wait(reached, taken[1], timeout_ms=1_800_000)
        notebook.set_width(WIDTH_PX)
        notebook.wait("() => document.querySelectorAll('.wb-run-list-place tbody tr[data-id]').length === 3")
        assert_layout(notebook.page)
        picture = notebook.screenshot("readme")
        notebook.kernel("waiting.stop(); run.stop(); run.wait(120); waiting.wait(120)")
        notebook.close()
    if picture.stat().st_size > LARGEST_BYTES:
        print(f"{picture} has {picture.stat().st_size} bytes, more than {LARGEST_BYTES}: take it at a smaller width", file=sys.stderr)
        return 1
    asked.output.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(picture, asked.output)
    print(f"{asked.output}: {picture.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
