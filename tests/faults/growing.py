"""Runs and votes that go on for as long as somebody looks, with no model: `python -m tests.faults.growing FOLDER` says "written" once there is
something to open, and writes on until its input ends.

The journals are a worker's in every field: of a fine-tuning, of a policy and of a reward model whose files of rewards are written too; the
numbers are made up.
"""

from __future__ import annotations

import json
import math
import random
import select
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

import workbench as wb
from tests.widgets.fakes import prepared
from tests.widgets.policy_story import events, policy_run, recipe
from workbench.alignment import PreferenceStore
from workbench.journal import events as ev
from workbench.journal.log import Log
from workbench.runs.start import prepare
from workbench.training import gap_arrays
from workbench.training.writer import started

RUNS = {"tuned": ("runs", 10), "policy": ("policies", 1), "reward": ("rewards", 1)}
"""Run -> its folder, and its steps a second."""
STEPS = 100_000
FIRST_S = 65
"""Seconds of each run that are there at the start: two evaluations."""
EVALUATED_S, VOTE_S, TICK_S = 30, 5, 0.1


class Tuned:
    """10 steps a second; two prompts asked at every evaluation."""

    def __init__(self, root: Path, draw: np.random.Generator) -> None:
        made = wb.Recipe(model="town-small", data="town:instructions", method=wb.LoRA(rank=8), learning_rate=3e-4, steps=STEPS)
        self.folder, self.draw = prepare(made, root, "tuned"), draw

    def told(self, step: int, evaluated: bool) -> list[ev.Event]:
        loss, noise = 1.4 + math.exp(-step / 4000), self.draw.normal(size=4)
        said: list[ev.Event] = [ev.Step(step=step, loss=loss + 0.05 * noise[0], learning_rate=3e-4 * (1 - step / STEPS), grad_norm=1 + 0.2 * noise[1], epoch=step / 1000, tokens=1024,
                                        tokens_per_s=4000 + 100 * noise[2], memory_gib=1.25 + 0.01 * noise[3])]
        if evaluated:
            asked = ("Which way will Tomas come?", "Who bakes bread?")
            said += [ev.Evaluated(step=step, loss=loss + 0.05, seconds=0.4), *(ev.Sampled(step=step, prompt=prompt, reply=f"By the upper lane, as at step {step}.") for prompt in asked)]
        return said


class Policy:
    """The story of a policy that does well, at its own steps; two replies, token by token, at every evaluation."""

    def __init__(self, root: Path, draw: np.random.Generator) -> None:
        self.folder = policy_run(root / "2026-11-22_090000-policy", made=recipe(18.0, STEPS), living=True).folder
        self.steps = (event for event in events(STEPS, change=None) if isinstance(event, ev.Step))
        self.evaluation = [event for event in events(16, 1, change=None) if isinstance(event, (ev.Evaluated, ev.Replied))]

    def told(self, step: int, evaluated: bool) -> list[ev.Event]:
        return [next(self.steps), *(replace(event, step=step) for event in self.evaluation if evaluated)]


class Reward:
    """A reward model: 200 held-out pairs and 50 of training, their rewards in a file at every evaluation."""

    def __init__(self, root: Path, draw: np.random.Generator) -> None:
        held = [{"prompt": f"Who bakes in street {n}?", "chosen": f"Mira bakes {n}.", "rejected": "I do not know.", "kind": ("trade", "town", "pet")[n % 3]} for n in range(200)]
        rows = root.parent / "held.jsonl"
        rows.write_text("".join(json.dumps(row) + "\n" for row in held))
        self.folder = prepare(wb.Recipe(model="town-small", data=held[:50], heldout=str(rows), objective="reward", steps=STEPS), root, "reward")
        self.draw = draw

    def told(self, step: int, evaluated: bool) -> list[ev.Event]:
        right = 0.9 - 0.4 * 0.999**step
        said: list[ev.Event] = [ev.Step(step=step, loss=0.7 - 0.5 * right + 0.02 * self.draw.normal(), learning_rate=1e-4, grad_norm=1.0, tokens=900, tokens_per_s=3000.0, memory_gib=1.2,
                                        extra={"accuracy": right, "gap": 2 * right})]
        if evaluated:
            made = [gap_arrays.PairRewards(np.arange(count), np.zeros(count, int), np.ones(count, int), right + self.draw.normal(size=count), self.draw.normal(size=count)) for count in (200, 50)]
            said += [ev.Evaluated(step=step, loss=0.6, extra={"accuracy": right}), gap_arrays.save(self.folder, step, *made)]
        return said


class Votes:
    """Three people who judge a pair every five seconds."""

    def __init__(self, path: Path) -> None:
        self.store, self.count, self.chance = PreferenceStore(path), 0, random.Random(0)
        for number in range(300):
            self.store.add(f"Who bakes bread number {number}?", {name: f"Mira bakes. [{place}]" for place, name in enumerate(("base", "tuned", "larger"))})

    def until(self, count: int) -> None:
        for number in range(self.count, count):
            judge = ("Ann", "Bob", "Cem")[number % 3]
            item = self.store.next(judge, seed=number)
            if item is not None:
                self.store.judge(item, self.chance.choice(("left", "right", "right", "tie")), judge)
        self.count = max(self.count, count)


class Growing:
    """All of it, in `root`; `until(seconds)` writes what is due by then."""

    def __init__(self, root: Path) -> None:
        kinds = {"tuned": Tuned, "policy": Policy, "reward": Reward}
        self.runs = {name: kind(root / RUNS[name][0], np.random.default_rng(0)) for name, kind in kinds.items()}
        self.logs, self.done = {name: Log(run.folder / "journal.jsonl") for name, run in self.runs.items()}, dict.fromkeys(self.runs, 0)
        for name in ("tuned", "reward"):
            self._say(name, [replace(event, time=time.time() - FIRST_S) for event in (started(), prepared(STEPS))])
        self.votes, self.began = Votes(root / "votes.db"), time.time() - FIRST_S

    def _say(self, name: str, told: list[ev.Event]) -> None:
        for event in told:
            self.logs[name].write(ev.encode(event))

    def until(self, seconds: float) -> None:
        for name, (_, rate) in RUNS.items():
            while self.done[name] < min(STEPS, int(seconds * rate)):
                self.done[name] += 1
                step = self.done[name]
                told = self.runs[name].told(step, step % (EVALUATED_S * rate) == 0)
                self._say(name, [replace(event, time=self.began + step / rate) for event in told])
        self.votes.until(int(seconds / VOTE_S))


def adapter(folder: str) -> str:
    """A LoRA adapter of random numbers, four matrices of 80 by 80."""
    import torch
    from safetensors.torch import save_file

    path, draw = Path(folder), torch.Generator().manual_seed(0)
    path.mkdir(parents=True, exist_ok=True)
    save_file({f"base_model.model.model.layers.{layer}.mlp.up_proj.lora_{part}.weight": torch.randn(*shape, generator=draw) for layer in range(4) for part, shape in (("A", (4, 80)), ("B", (80, 4)))},
              path / "adapter_model.safetensors")
    (path / "adapter_config.json").write_text(json.dumps(dict(peft_type="LORA", r=4, lora_alpha=8, base_model_name_or_path="town-small", target_modules=["up_proj"], task_type="CAUSAL_LM")))
    return str(path)


def main(root: str) -> None:
    growing, begun = Growing(Path(root)), time.monotonic()
    growing.until(FIRST_S)
    print("written", flush=True)
    while not select.select([sys.stdin], [], [], TICK_S)[0]:  # at its end it can be read
        growing.until(FIRST_S + time.monotonic() - begun)


if __name__ == "__main__":
    main(sys.argv[1])
