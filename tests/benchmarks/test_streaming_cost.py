"""What the journal costs the training: one training whose steps are streamed and not streamed in turn, the order drawn for each pair.

Neighbours share what the machine does at that moment, which blocks of seconds do not: between such blocks the same steps differed by up to 30 %. A reader in another
process tails the journal ten times a second meanwhile, as an open monitor does. The figure of a block of pairs is mean over mean; the bar is an upper 95 % bound of at
most 2 % over the blocks, at 4 steps/s or more.
"""

import json
import random
import statistics
import subprocess
import sys
import time

import transformers

import workbench as wb
from workbench.data import run_rows
from workbench.runs.processes import environment
from workbench.training import supervised
from workbench.training.stream import Stream

BLOCKS, PAIRS, WARMUP = 20, 10, 20
READER = """
import sys, time
from workbench.journal.history import History
history = History(sys.argv[1])
while True:
    history.refresh()
    time.sleep(0.1)
"""


class InTurn(transformers.TrainerCallback):
    """Hands the trainer's calls on to `stream` in one step of each pair and times both: from one step's begin to the next, everything between included."""

    def __init__(self, stream: Stream):
        self.stream, self.draw = stream, random.Random(0)
        self.on, self.begun = True, 0.0
        self.order: list[bool] = []
        self.times: dict[bool, list[float]] = {True: [], False: []}

    def on_step_begin(self, args, state, control, **kw):
        now = time.perf_counter()
        if state.global_step > WARMUP:
            self.times[self.on].append(now - self.begun)
        if not self.order:
            self.order = self.draw.sample([True, False], 2)
        self.on, self.begun = state.global_step < WARMUP or self.order.pop(), now
        if self.on:
            self.stream.on_step_begin(args, state, control, **kw)


def _handed_on(name):
    def method(self, args, state, control, **kw):
        return getattr(self.stream, name)(args, state, control, **kw) if self.on else control

    return method


for _name in vars(transformers.TrainerCallback):
    if _name.startswith("on_") and _name != "on_step_begin":
        setattr(InTurn, _name, _handed_on(_name))


def test_streaming_cost(tmp_path, report, upper_bound):
    steps = WARMUP + 2 * BLOCKS * PAIRS + 1
    recipe = wb.Recipe(method=wb.Full(), steps=steps, learning_rate=1e-5, batch_size=48, max_length=128, checkpoint_every=10**6)
    job = supervised.load_job(recipe, run_rows.gather("town:instructions", 0, 0)[0])
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "journal.jsonl").touch()
    reader = subprocess.Popen([sys.executable, "-c", READER, str(folder)], env=environment())
    clock = InTurn(Stream(folder))
    try:
        supervised.build_trainer(recipe, job, folder / "checkpoints", [clock]).train()
    finally:
        reader.kill()
        reader.wait()
    on, off = (clock.times[streamed] for streamed in (True, False))
    costs = [sum(on[at:at + PAIRS]) / sum(off[at:at + PAIRS]) - 1 for at in range(0, BLOCKS * PAIRS, PAIRS)]
    per_s = 1 / statistics.median(off)
    report(steps_per_s=per_s, median_cost_percent=100 * (statistics.median(on) / statistics.median(off) - 1), mean_cost_percent=100 * statistics.mean(costs),
           upper_95_percent=100 * upper_bound(costs), pairs=len(off))
    written = [json.loads(line)["step"] for line in (folder / "journal.jsonl").read_text().splitlines() if '"event":"step"' in line]
    assert len(on) == len(off) == BLOCKS * PAIRS and abs(len(written) - WARMUP - len(on)) <= 1
    assert per_s >= 4
    assert upper_bound(costs) <= 0.02
