"""What tests of training share: short rows, recipes on the small real model, training in this process, waiting for a condition.

`here` trains in the test's own process (the worker's very code, without its start of some seconds); what is about processes uses `wb.start`.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import workbench as wb
from workbench.runs.run import Run
from workbench.runs.start import prepare

os.environ["OMP_NUM_THREADS"] = "1"  # for the workers: two threads gain nothing on this model, and lose much on a busy machine

THINGS = ("cat", "dog", "tree", "ball", "house", "bird", "boat", "hat", "cake", "box")
COLOURS = ("red", "blue", "green", "big", "small", "old", "happy", "sad")


def rows(count: int, seed: int = 0) -> list[dict[str, str]]:
    """Questions and answers of 20 to 60 tokens of the small model."""
    draw = random.Random(seed)
    out = []
    for _ in range(count):
        colour, thing, other = draw.choice(COLOURS), draw.choice(THINGS), draw.choice(THINGS)
        more = " It was a very nice day and they were happy." * draw.randrange(3)
        out.append({"question": f"What did the {colour} {thing} see?", "answer": f"The {colour} {thing} saw a {other}.{more}"})
    return out


def file_of_rows(folder: Path, count: int, seed: int = 0) -> str:
    path = Path(folder) / f"rows-{count}-{seed}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows(count, seed)))
    return str(path)


def recipe(real_data: Path, **fields: Any) -> wb.Recipe:
    """On the 260,032-parameter model: 12 steps of 4 rows with dropout, so that the random state matters."""
    given = dict(model=str(real_data / "stories260k"), data=rows(80), steps=12, batch_size=4, max_length=128, learning_rate=5e-3, heldout=0.1,
                 method=wb.LoRA(rank=4, dropout=0.1), evaluate_every=6, checkpoint_every=4, sample_prompts=1, sample_tokens=4)
    return wb.Recipe(**(given | fields))


def here(recipe: wb.Recipe, runs: Path, name: str = "here") -> Run:
    """Train in this process, in a queue of its own."""
    folder = prepare(recipe, runs, name)
    train_here(folder)
    run = Run(folder)
    run.history.refresh()
    return run


def train_here(folder: Path) -> str:
    import torch

    from workbench.training.session import Session

    torch.set_num_threads(1)
    before = os.environ["WORKBENCH_QUEUE"]
    os.environ["WORKBENCH_QUEUE"] = tempfile.mkdtemp(dir=folder.parent)  # a ticket lasts as long as its process, and this one goes on
    try:
        return Session(folder).train()
    finally:
        os.environ["WORKBENCH_QUEUE"] = before


def until(condition: Callable[[], Any], timeout: float = 60.0, what: str = "the condition") -> Any:
    """The first true value of `condition`, looked at again and again; fails after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    pause = threading.Event()
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come within {timeout:g} s")
        pause.wait(0.01)
    return value


def losses(run: Run) -> list[float]:
    """Loss of each step, in order; fails where a step is missing or there twice."""
    frame = run.metrics()
    assert list(frame["step"]) == list(range(1, len(frame) + 1)), list(frame["step"])
    return list(frame["loss"])


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file under `folder`."""
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()}


def environment() -> dict[str, str]:
    """For a process that shall find this repository's packages wherever it runs."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
