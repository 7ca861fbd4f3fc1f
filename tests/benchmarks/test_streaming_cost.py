"""What the journal costs the training: pairs of the same steps with and without `Stream`, in one process, in random order.

A reader in another process tails the journal ten times a second meanwhile, as an open monitor does. A block's figure is the median of its steps' times; the bar is
an upper 95 % bound of at most 2 % over the pairs, at 4 steps/s or more.
"""

import json
import random
import statistics
import subprocess
import sys
import time

import transformers

import workbench as wb
from workbench.data import sources
from workbench.runs.processes import environment
from workbench.training import supervised
from workbench.training.stream import Stream

PAIRS, STEPS = 24, 40
READER = """
import sys, time
from workbench.journal.history import History
history = History(sys.argv[1])
while True:
    history.refresh()
    time.sleep(0.1)
"""


class Clock(transformers.TrainerCallback):
    """Time from the end of one step to the end of the next, everything between included."""

    def __init__(self):
        self.times: list[float] = []
        self.last = 0.0

    def on_train_begin(self, args, state, control, **kw):
        self.last = time.perf_counter()

    def on_step_begin(self, args, state, control, **kw):
        now = time.perf_counter()
        self.times.append(now - self.last)
        self.last = now


def block(job, recipe, folder, streamed: bool) -> float:
    """Median seconds a step of one short training."""
    clock = Clock()
    callbacks = [clock, Stream(folder)] if streamed else [clock]
    trainer = supervised.build_trainer(recipe, job, folder / "checkpoints", callbacks)
    trainer.train()
    return statistics.median(clock.times[5:])


def test_streaming_cost(tmp_path, report, upper_bound):
    recipe = wb.Recipe(method=wb.Full(), steps=STEPS, learning_rate=1e-5, batch_size=24, max_length=128, checkpoint_every=10**6)
    rows = sources.load_rows("town:instructions").to_pylist()
    job = supervised.load_job(recipe, rows, [])
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "journal.jsonl").touch()
    reader = subprocess.Popen([sys.executable, "-c", READER, str(folder)], env=environment())
    try:
        block(job, recipe, folder, True)  # warm up
        ratios, plain = [], []
        for _ in range(PAIRS):
            order = [True, False]
            random.shuffle(order)
            seconds = {streamed: block(job, recipe, folder, streamed) for streamed in order}
            ratios.append(seconds[True] / seconds[False] - 1)
            plain.append(seconds[False])
    finally:
        reader.kill()
        reader.wait()
    report(steps_per_s=1 / statistics.median(plain), median_cost_percent=100 * statistics.median(ratios), mean_cost_percent=100 * statistics.mean(ratios),
           upper_95_percent=100 * upper_bound(ratios), pairs=PAIRS)
    assert json.loads((folder / "journal.jsonl").read_text().splitlines()[-1])["event"] == "ended"
    assert 1 / statistics.median(plain) >= 4
    assert upper_bound(ratios) <= 0.02
