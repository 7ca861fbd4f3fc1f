"""`compile=True` for real: a run through torch's own compiler against the same run without it, its batches of many lengths.

    python -m tests.benchmarks.compiled

Prints steps, the largest difference of a loss, how many graphs were compiled for how many lengths, and seconds of the first step and of
the median of the others. Exit status 1 where a loss differs by more than 1e-4. Takes a compiler (g++) and, on a CPU, about a minute.
"""

import statistics
import sys
import tempfile
from pathlib import Path

from torch._dynamo.utils import counters

import workbench as wb
from tests.runs import tools
from workbench.models import kernels

STEPS = 24
ROWS = [{"prompt": f"Who is number {n}?", "completion": "A baker " * (1 + 3 * (n % 7))} for n in range(96)]


def main() -> int:
    if missing := kernels.compiler_missing():
        print(f"Nothing was compiled: {missing}.")
        return 2
    given = dict(
        model="town-small",
        data=ROWS,
        method=wb.LoRA(rank=2),
        steps=STEPS,
        batch_size=4,
        max_length=64,
        heldout=0,
        checkpoint_every=100,
        learning_rate=1e-2,
    )
    print("| run | graphs | lengths | first step, s | median step, s | last loss |\n|---|---|---|---|---|---|")
    runs = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, compiled in (("plain", False), ("compiled", True)):
            counters.clear()
            run = runs[name] = tools.here(wb.Recipe(**given, compile=compiled), Path(folder), name)
            frame = run.metrics()
            seconds = list(frame["tokens"] / frame["tokens_per_s"])
            print(
                f"| {name} | {counters['stats']['unique_graphs']} | {frame['tokens'].nunique()} | {seconds[0]:.2f} "
                f"| {statistics.median(seconds[1:]):.3f} "
                f"| {frame['loss'].iloc[-1]:.6f} |"
            )
        apart = max(abs(a - b) for a, b in zip(tools.losses(runs["plain"]), tools.losses(runs["compiled"]), strict=True))
    print(f"\nLargest difference of a loss over {STEPS} steps: {apart:.1e} nats per token.")
    return 0 if apart <= 1e-4 else 1


if __name__ == "__main__":
    sys.exit(main())
