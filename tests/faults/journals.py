"""Long journals for tests: a run of so many steps, written as a worker would write it, sound or damaged."""

from __future__ import annotations

import math
import random
from pathlib import Path

from workbench.journal import events as ev

STARTED = 1_795_255_200.0
DAMAGE = (b"\x00" * 300 + b"\n", b"\xff\xfe garbage \x1b[31m\n", '{"v":1,"event":"sampled","step":7,"reply":"maña'.encode()[:-1] + b"\n", b'{"v":1,"event":"step","st\n')
"""NUL bytes, garbage, half a UTF-8 character, a torn line."""


def write(folder: Path, steps: int, damaged_every: int = 0, torn: bool = False) -> int:
    """A finished run of `steps` steps 0.2 s apart with 1,000 evaluations; a damaged line each `damaged_every` steps, and half a line at its end. Returns the lines damaged."""
    folder.mkdir(parents=True)
    draw, damaged, every = random.Random(0), 0, max(1, steps // 1000)
    with open(folder / "journal.jsonl", "wb") as file:
        file.write(ev.encode(ev.Started(time=STARTED, pid=1, created=1.0)))
        file.write(ev.encode(ev.Prepared(time=STARTED, rows=100, heldout_rows=10, dropped={}, truncated=0, tokens=9000, trained_tokens=4000, parameters=10, trainable_parameters=10,
                                         steps=steps)))
        for step in range(1, steps + 1):
            time = STARTED + 0.2 * step
            file.write(ev.encode(ev.Step(time=time, step=step, loss=2 * math.exp(-step / steps) + draw.random(), learning_rate=3e-4 * (1 - step / steps), grad_norm=draw.random(),
                                         epoch=step / 100, tokens=draw.randrange(900, 1000), tokens_per_s=1000 * draw.random(), memory_gib=1.2 + draw.random() / 100)))
            if step % every == 0:
                file.write(ev.encode(ev.Evaluated(time=time, step=step, loss=1.5 + draw.random() / 10, seconds=0.1)))
            if damaged_every and step % damaged_every == 0:
                file.write(DAMAGE[damaged % len(DAMAGE)])
                damaged += 1
        file.write(ev.encode(ev.Ended(time=time, step=steps, status="finished", result="result")))
        if torn:
            file.write(b'{"v":1,"event":"step","time":1795')
    return damaged
