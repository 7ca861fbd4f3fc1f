"""The clock set back an hour while runs go, a part of `make faults`: for the workers, for the notebook's side, or for both.

What `time.time` says is shifted in the processes themselves by a `sitecustomize` on their path; the monotonic clock goes on, as it does where a real clock is put right. libfaketime cannot do
it: Python sleeps by the monotonic clock to an absolute time, which the library shifts too, so that `time.sleep` fails (EINVAL) as soon as the clock goes back.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import workbench as wb
from tests.runs import tools

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800)]
SHIFT = """
import os, time
if os.environ.get("TEST_CLOCK"):
    clock, seconds, nanoseconds = os.environ["TEST_CLOCK"], time.time, time.time_ns
    def behind():
        with open(clock) as file:
            return int(file.read())
    time.time, time.time_ns = lambda: seconds() - behind(), lambda: nanoseconds() - behind() * 10**9
"""

KERNEL = """
import json, os, sys, time
from pathlib import Path
import workbench as wb
from tests.runs import tools
from widgets import RunMonitor
from workbench.runs.status import LIVING

clock, runs, who = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
if who == "reader":
    del os.environ["TEST_CLOCK"]
if who == "worker":
    os.environ["TEST_CLOCK"] = str(clock)
recipe = tools.recipe(Path({real_data!r}), steps=40, sample_prompts=0, evaluate_every=10, checkpoint_every=10)
first = wb.start(recipe, runs=runs, name="first")
second = wb.start(recipe, runs=runs, name="second")
first.wait(until=10)
later = clock.with_name("later")
later.write_text("3600")
before = time.time()
later.replace(clock)
after = time.time()
seen, words, held = set(), set(), True
first.pause()
first.wait(300, until="paused")
paused = str(first.status)
first.set(learning_rate=2e-3)
first.resume()
while first.status in LIVING:
    seen.add(str(first.status))
    held = held and (second.status in ("queued", "starting") and second.history.step == 0 or first.status not in LIVING)
    words.add(RunMonitor(first, runs=runs).summary().text)
end = str(second.wait(300))
print(json.dumps(dict(shifted=after - before, seen=sorted(seen), paused=paused, held=held, words=sorted(words), ends=[str(first.status), end],
                      folders=[str(first.folder), str(second.folder)])))
"""


@pytest.mark.parametrize("who", ["worker", "reader", "both"])
def test_a_clock_set_back_an_hour_in_the_middle_of_a_run(real_data, tmp_path, who):
    clock = tmp_path / "clock"
    clock.write_text("0")
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "sitecustomize.py").write_text(SHIFT)
    environment = tools.environment() | ({} if who == "worker" else {"TEST_CLOCK": str(clock)})
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path / "path"), environment["PYTHONPATH"]])
    done = subprocess.run([sys.executable, "-c", KERNEL.format(real_data=str(real_data)), str(clock), str(tmp_path / "runs"), who], env=environment, capture_output=True, text=True,
                          timeout=1500)
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["shifted"] < -3500) == (who != "worker"), "the clock of this side went back where it should"
    assert told["ends"] == ["finished", "finished"] and told["paused"] == "paused" and told["held"]
    assert set(told["seen"]) <= {"running", "paused", "finished"} and not any(" -" in words or "−" in words for words in told["words"])
    first, second = (wb.attach(folder) for folder in told["folders"])
    times = list(first.metrics()["time"])
    back = [b - a for a, b in zip(times, times[1:]) if b < a]
    assert (len(back) == 1 and -3700 < back[0] < -3500) == (who != "reader"), "the worker's clock went back once"
    for run in (first, second):
        assert len(tools.losses(run)) == 40 and run.history.damaged == 0
    assert [(c.field, c.new) for c in first.history.changes] == [("learning_rate", 2e-3)]
    print(f"\n  clock of the {who} set back an hour: times {min(back, default=0):+.0f} s, status {'/'.join(told['seen'])}, the second run held back until the first had ended, "
          f"{len(told['words'])} sentences without a negative time", flush=True)
