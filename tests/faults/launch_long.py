"""Every strategy with every objective on two processes of this machine, against one process with the same rows a step, as a table.

    python -m tests.faults.launch_long [strategy ...] [-- objective ...]
Losses, held-out losses and counts of tokens must be those of one process (1e-5); policies have no such twin and must run, stay in step and
leave an adapter. A process is killed by -9 in one run of each strategy, and the run goes on to the same losses. Not here: GPUs, several
machines.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import workbench as wb  # noqa: E402  (the variable is read when torch is imported)
from workbench.launching import STRATEGIES  # noqa: E402

EQUAL = 1e-5
PATIENCE_S = 900
SHORT = dict(model="town-small", steps=6, max_length=128, heldout=0.1, evaluate_every=3, checkpoint_every=3, sample_prompts=1, sample_tokens=4,
             learning_rate=1e-3)
MIXTURE = wb.Mixture({"facts": "town:facts", "all tasks": "town:instructions"}, rule="weights", weights={"facts": 2, "all tasks": 1})
OBJECTIVES: dict[str, dict[str, Any]] = {
    "sft, LoRA": dict(data="town:instructions", method=wb.LoRA(rank=4)),
    "sft, all weights": dict(data="town:instructions", method=wb.Full()),
    "sft, packed": dict(data="town:instructions", method=wb.LoRA(rank=4), packing=True),
    "sft, 4 bits": dict(data="town:instructions", method=wb.QLoRA(rank=4)),
    "sft, a mixture": dict(data=MIXTURE, method=wb.LoRA(rank=4)),
    "classification": dict(data="town:messages", objective="classification", method=wb.LoRA(rank=4)),
    "reward": dict(data="town:preferences", objective="reward", method=wb.LoRA(rank=4)),
    "dpo": dict(data="town:preferences", objective=wb.DPO(beta=0.1), method=wb.LoRA(rank=4)),
}


REWARDS = "def vowels(prompt, reply):\n    return sum(letter in 'aeiou' for letter in reply) / 4\n"
POLICIES = {"ppo": wb.PPO, "grpo": wb.GRPO, "rloo": wb.RLOO}


def recipe(fields: dict[str, Any], **more: Any) -> wb.Recipe:
    return wb.Recipe(**(SHORT | fields | more))


def losses(run: wb.Run) -> list[float]:
    return list(run.metrics()["loss"])


def apart(one: list[float], two: list[float]) -> float:
    """The largest difference; infinite where there are not as many."""
    return max((abs(a - b) for a, b in zip(one, two, strict=True)), default=float("inf")) if len(one) == len(two) else float("inf")


def same(one: wb.Run, two: wb.Run) -> tuple[float, float]:
    """How far training and held-out losses lie apart. Raises `AssertionError` where tokens were read twice, or not at all."""
    assert list(one.metrics()["tokens"]) == list(two.metrics()["tokens"]), "other tokens were read"
    heldout = ([e.loss for e in run.history.evaluations] for run in (one, two))
    return apart(losses(one), losses(two)), apart(*heldout)


def row(name: str, fields: dict[str, Any], strategy: str, one: wb.Run, folder: Path) -> str:
    began = time.monotonic()
    try:
        asked = recipe(fields, batch_size=4, launch=wb.Launch(processes=2, strategy=strategy))
    except wb.RecipeError as error:
        return f"| {name} | {strategy} | refused: {error.what} | | | | |"
    run = wb.start(asked, runs=folder, name=f"two-{strategy}")
    if run.wait(PATIENCE_S) != "finished":
        return f"| {name} | {strategy} | {run.status.sentence} | | | | |"
    training, heldout = same(one, run)
    model, _ = run.load()
    held = ", ".join(f"{share:.0%}" for share in run.history.launched.shares)
    verdict = "equal" if max(training, heldout) < EQUAL else "NOT EQUAL"
    return (f"| {name} | {run.history.launched.strategy} | {verdict} | {training:.1e} | {heldout:.1e} | {held} | "
            f"{type(model).__name__} | {time.monotonic() - began:.0f} s |")


def killed(strategy: str, one: wb.Run, folder: Path) -> str:
    """A process killed -9, noticed, and the run gone on with."""
    fields = OBJECTIVES["sft, LoRA"]
    run = wb.start(recipe(fields, batch_size=4, launch=wb.Launch(processes=2, strategy=strategy)), runs=folder, name=f"killed-{strategy}")
    seconds = []
    for rank, step in ((1, 4), (0, 5)):
        run.pause(at_step=step)
        run.wait(PATIENCE_S, until="paused")
        began = time.monotonic()
        os.kill(run.history.launched.pids[rank], signal.SIGKILL)
        assert run.wait(60) == "failed" and "SIGKILL" in run.status.sentence, repr(run.status)
        seconds.append(time.monotonic() - began)
        run.resume()
    assert run.wait(PATIENCE_S) == "finished", repr(run.status)
    training, heldout = same(one, run)
    verdict = "equal" if max(training, heldout) < EQUAL else "NOT EQUAL"
    return f"| {strategy} | {', '.join(f'{s:.1f} s' for s in seconds)} | {run.history.resumptions} | {verdict} | {training:.1e} | {heldout:.1e} |"


def policy(name: str, folder: Path) -> str:
    """A policy has no twin of one process, since each process draws replies of its own: two runs are alike, one of them killed and gone on with."""
    (folder / "rewards.py").write_text(REWARDS)
    settings = POLICIES[name](rewards={"vowels": f"{folder / 'rewards.py'}:vowels"}, reply_tokens=6)
    asked = recipe(dict(data="town:conduct", objective=settings, method=wb.LoRA(rank=4)), batch_size=4, launch=wb.Launch(processes=2), steps=6)
    one, two = (wb.start(asked, runs=folder, name=f"{name}-{which}") for which in ("whole", "killed"))
    assert one.wait(PATIENCE_S) == "finished", repr(one.status)
    two.pause(at_step=5)
    two.wait(PATIENCE_S, until="paused")
    os.kill(two.history.launched.pids[1], signal.SIGKILL)
    assert two.wait(60) == "failed", repr(two.status)
    two.resume()
    assert two.wait(PATIENCE_S) == "finished", repr(two.status)
    rewards = [list(run.metrics()["reward"]) for run in (one, two)]
    verdict = "equal" if max(apart(losses(one), losses(two)), apart(*rewards)) < EQUAL else "NOT EQUAL"
    return f"| {name} | {two.history.launched.strategy} | {two.history.resumptions} | {verdict} | {rewards[0][0]:.2f} to {rewards[0][-1]:.2f} |"


def main(arguments: list[str]) -> int:
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    strategies, objectives = arguments[:cut] or list(STRATEGIES), arguments[cut + 1:] or [*OBJECTIVES, *POLICIES]
    folder = Path(tempfile.mkdtemp(prefix="launch-long-"))
    ones, bad = {}, 0

    def told(line: str) -> None:
        nonlocal bad
        bad += any(words in line for words in ("NOT EQUAL", "Failed", "Stopped", "killed", "ended with"))
        print(line, flush=True)

    told("| objective | strategy | against one process | losses apart | held-out losses apart | weights a process holds | result opens as | seconds |")
    told("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in (name for name in objectives if name in OBJECTIVES):
        ones[name] = wb.start(recipe(OBJECTIVES[name], batch_size=8), runs=folder, name="one")
        assert ones[name].wait(PATIENCE_S) == "finished", repr(ones[name].status)
        for strategy in strategies:
            told(row(name, OBJECTIVES[name], strategy, ones[name], folder))
    if "sft, LoRA" in ones:
        told("\n| strategy | a process killed -9 was noticed after | went on from steps | then | losses apart | held-out losses apart |")
        told("| --- | --- | --- | --- | --- | --- |")
        for strategy in strategies:
            told(killed(strategy, ones["sft, LoRA"], folder))
    if policies := [name for name in objectives if name in POLICIES]:
        told("\n| policy | strategy | killed -9, went on from steps | against the same run undisturbed | mean reward, first and last step |")
        told("| --- | --- | --- | --- | --- |")
        for name in policies:
            told(policy(name, folder))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
