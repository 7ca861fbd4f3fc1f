"""Run folders that look like real ones without any training: what a worker leaves, written with the journal's own encoder."""

from __future__ import annotations

import math
import random
from pathlib import Path

from workbench import living
from workbench.journal import events as ev
from workbench.journal.log import Log
from workbench.recipes import Recipe

HOUR = 3600.0


def run_folder(root: Path, number: int, steps: int = 400, parent: Path | None = None, ended: str = "finished", resumed: bool = False) -> Path:
    """A run of a LoRA on town rows: recipe, rows' names, note, worker.json and a journal of `steps` steps with ten evaluations of three replies each.

    `ended` "" leaves the journal as a killed worker does; `resumed` takes back the steps past the middle once and runs them again.
    """
    draw = random.Random(number)
    folder = root / f"2026-11-{1 + number // 24 % 28:02d}_{number % 24:02d}{number // 672:02d}00-town-lora{number}"
    folder.mkdir(parents=True)
    living.write_json(folder / "recipe.json", Recipe(steps=steps, seed=number, data_hash="0" * 64).to_json())
    living.write_json(folder / "worker.json", {"pid": 2**22 + number, "created": 100.0, "asked": HOUR * number, "exit": 0 if ended else -9})
    if number % 3 == 0:
        (folder / "note.txt").write_text(f"try {number}")
    log, now = Log(folder / "journal.jsonl"), HOUR * number

    def write(event: ev.Event, seconds: float = 0.1) -> None:
        nonlocal now
        now += seconds
        event.time = now
        log.write(ev.encode(event))

    def attempt(first: int, last: int) -> None:
        for step in range(first, last + 1):
            write(ev.Step(step=step, loss=3 * math.exp(-step / 200) + draw.random(), learning_rate=3e-3, grad_norm=draw.random(), epoch=step / 100, tokens=512,
                          tokens_per_s=9000.0, memory_gib=1.5, extra={"rows/facts": 3.0, "rows/letters": 5.0}))
            if step % (steps // 10) == 0:
                write(ev.Evaluated(step=step, loss=2 * math.exp(-step / 200) + draw.random(), seconds=0.4))
                for prompt in range(3):
                    write(ev.Sampled(step=step, prompt=f"Who bakes bread in lane {prompt}?", reply="Mira Oatley bakes bread there. " * 3, reference="Mira Oatley"))
                write(ev.Saved(step=step, folder=f"checkpoints/step-{step:06d}"))

    if parent is not None:
        write(ev.Forked(parent=str(parent), step=0, checkpoint=0))
    write(ev.Started(pid=2**22 + number, created=100.0, packages={"torch": "2.13.0", "transformers": "5.23.0"}))
    prepared = ev.Prepared(rows=900, heldout_rows=100, dropped={}, truncated=0, tokens=40_000, trained_tokens=9_000, parameters=1_355_040, trainable_parameters=40_000,
                           steps=steps, notes=["The tokenizer has no chat template: plain lines are used."])
    write(prepared, 3)
    attempt(1, steps if not resumed else steps * 3 // 4)
    if resumed:
        write(ev.Started(pid=2**22 + number, created=100.0, attempt=2, resumed_from=steps // 2), 60)
        write(prepared, 3)
        attempt(steps // 2 + 1, steps)
    if ended:
        write(ev.Ended(step=steps, status=ended, result="result"))
    log.close()
    return folder
