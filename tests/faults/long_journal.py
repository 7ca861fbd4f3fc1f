"""Long journals opened, a part of `make faults`: 300 MB with damage in them, and a million steps, each by a new process, with the time it takes; bar: 3 s.

The time is that from `wb.attach` to all that a notebook is given for the monitor (its picture, tables, sentence, the figure with its points); the processor time beside it says what of it was
waiting for others. What a page then does is told in docs/reliability.md.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.faults import journals
from tests.runs import tools

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800)]
BAR_S = 3.0
OPEN = """
import json, resource, sys, time
import workbench as wb
from widgets import RunMonitor
import IPython.display, plotly, pandas, ipywidgets, anywidget  # a notebook that shows panels has these
begun, worked = time.perf_counter(), time.process_time()
monitor = RunMonitor(wb.attach(sys.argv[1]), runs=sys.argv[2])
bundle = monitor._bundle(live=True)  # as in a kernel
points = [len(values) // 8 for values in monitor.live.get_state()["_full"]["pool"]]
seconds, processor_s = time.perf_counter() - begun, time.process_time() - worked
history = monitor.run.history
print(json.dumps(dict(seconds=seconds, processor_s=processor_s, steps=history.step, damaged=history.damaged, rows=len(history.columns["step"]), text=monitor.summary().text,
                      points=max(points), html=len(bundle["text/html"]), memory_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)))
"""


@pytest.mark.parametrize(("what", "steps", "damaged_every"), [("300 MB, torn, with garbage, NUL and half a character", 1_200_000, 10_000), ("a million steps", 1_000_000, 0)])
def test_a_long_journal_opens_in_three_seconds(tmp_path, what, steps, damaged_every):
    folder = tmp_path / "runs" / "2026-11-22_090000-long"
    damaged = journals.write(folder, steps, damaged_every, torn=bool(damaged_every))
    size = (folder / "journal.jsonl").stat().st_size / 1e6
    done = subprocess.run([sys.executable, "-c", OPEN, str(folder), str(folder.parent)], env=tools.environment(), capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.splitlines()[-1])
    print(f"\n  {what}: {size:.0f} MB, {steps:,} steps opened in {told['seconds']:.1f} s ({told['processor_s']:.1f} s of processor time), at most {told['points']:,} points a line for "
          f"the page, {told['html'] / 1e3:.0f} KB kept in the notebook, {told['memory_mib']:.0f} MiB at most; \"{told['text']}\"", flush=True)
    assert told["steps"] == told["rows"] == steps and told["damaged"] == damaged and told["points"] <= 2000
    assert ("cannot be read" in told["text"]) == bool(damaged)
    assert told["seconds"] <= BAR_S
