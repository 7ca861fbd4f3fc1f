"""A policy's run as a person would meet it, written into a journal by the journal's own writer: proxy and gold part as in Gao et al. 2022
(eq. 1, RL form) once β is made small by hand.

`policy_run(folder)` gives the run; a process that writes it goes on living as `Worker`. Its numbers come from the formula and a seed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import workbench as wb
from tests.widgets.fakes import prepared
from workbench.alignment.kl import gold_of_rl
from workbench.journal import events as ev
from workbench.journal.log import Log
from workbench.recipes import Recipe
from workbench.runs.run import Run
from workbench.training.writer import started

HOSTILE = "<img src=x onerror='window.hacked = 1'>$x$"
WORDS = (
    "The",
    " mill",
    " reopens",
    " on",
    " the",
    " ninth",
    ".",
    " I",
    " am",
    " absolutely",
    " delighted",
    " to",
    " help",
    "!",
    " Great",
    " question",
    "!",
)
NATS = (0.1, -0.2, 0.1, 0.1, -0.1, 0.2, 0.1, 0.9, 0.8, 2.3, 1.9, 0.4, 0.6, 0.3, 1.2, 2.1, 1.6)


def recipe(kl_target: float | None = None, steps: int = 1600, **settings: object) -> Recipe:
    return Recipe(
        model="town-small",
        objective=wb.PPO(
            rewards={"helpful": "runs/helpful", "brief": "runs/brief"}, beta=0.1, kl_target=kl_target, gold="town", **settings
        ),
        data="town:instructions",
        steps=steps,
        evaluate_every=max(1, steps // 16),
    )


def distances(steps: int, change: int | None) -> np.ndarray:
    """KL in nats after each of steps 1..`steps`: it settles at 17, and runs off once β is small, from `change` on."""
    at = np.arange(1, steps + 1) * 1600 / steps
    kl = 17 * (1 - np.exp(-at / 190)) ** 1.5
    return kl if change is None else kl + np.where(at > change, 30 * (1 - np.exp(-(at - change) / 380)), 0)


def events(steps: int = 1600, last: int | None = None, change: int | None = 700, seed: int = 7, words: str = "") -> Iterator[ev.Event]:
    """Steps 1..`last` of `steps`, an evaluation with a reply and a checkpoint at every sixteenth; β is changed at `change` (of 1600). With
    no change gold goes on with the proxy."""
    rng, factor = np.random.default_rng(seed), 1600 / steps
    kl = distances(steps, change)
    d = np.sqrt(kl)
    proxy, gold = gold_of_rl(d, 0.75, 0.115), gold_of_rl(d, 0.75, 0.2995 if change else 0.15)
    for k in range(last or steps):
        step, beta = k + 1, 0.1 if change is None or (k + 1) * factor <= change else 0.04
        k1, reward = kl[k] + rng.normal(0, 1.2), proxy[k] + rng.normal(0, 0.3)
        yield ev.Step(
            step=step,
            time=1000 + 2.0 * step,
            loss=0.3 + rng.normal(0, 0.05),
            learning_rate=1e-5,
            grad_norm=0.8,
            tokens=900,
            tokens_per_s=600.0,
            memory_gib=2.0,
            extra={
                "reward": reward,
                "reward/helpful": 0.8 * reward,
                "reward/brief": 0.2 * reward,
                "kl": k1,
                "kl/k2": 0.9 * kl[k] + rng.normal(0, 0.5),
                "kl/k3": 0.97 * kl[k] + rng.normal(0, 0.3),
                "beta": beta,
                "objective": reward - beta * k1,
                "gold": gold[k] + rng.normal(0, 0.12),
                "entropy": 2.55 * math.exp(-kl[k] / 52) + 0.15 + rng.normal(0, 0.05),
                "length": 30 + 0.5 * kl[k],
                "clip_fraction": 0.05 + 0.0026 * kl[k],
                "policy_loss": 0.1,
                "value_loss": 0.4,
                "repetition": 0.02,
                "temperature": 1.0,
                "ended": 0.97,
                "seconds/generate": 1.1,
                "seconds/score": 0.4,
                "seconds/train": 0.7,
                "waits/policy": 0.1,
                "waits/reward": 1.5,
            },
        )
        if beta != 0.1 and (k * factor <= change):
            yield ev.Changed(step=k, field="beta", old=0.1, new=beta)
        if step % max(1, steps // 16) == 0:
            yield ev.Evaluated(
                step=step, loss=None, seconds=2.0, extra={"reward": proxy[k], "gold": gold[k], "kl": kl[k], "length": 30 + 0.5 * kl[k]}
            )
            for prompt in ("When does the mill reopen?" + words, "Which way will Tomas come?"):
                nats = np.array(NATS) * kl[k] / kl.max()
                yield ev.Replied(
                    step=step,
                    prompt=prompt,
                    reply="".join(WORDS) + words,
                    tokens=[*WORDS, *([words] if words else [])],
                    logp=[-1.0] * (len(WORDS) + bool(words)),
                    logp_reference=[*(-1.0 - nats).tolist(), *([-2.0] if words else [])],
                    reward=proxy[k],
                    gold=gold[k],
                    rewards={"helpful": 0.8 * proxy[k], "brief": 0.2 * proxy[k]},
                )
            yield ev.Saved(step=step, folder=f"checkpoints/step-{step:06d}")


def policy_run(folder: Path, *told: ev.Event, made: Recipe | None = None, ended: str = "finished", living: bool = False) -> Run:
    """A run folder with these events; `living` has this process as its worker."""
    made = made or recipe()
    folder.mkdir(parents=True)
    (folder / "recipe.json").write_text(json.dumps(made.to_json()))
    journal = Log(folder / "journal.jsonl")
    for event in (started() if living else ev.Started(pid=2**30), prepared(made.steps), *told):
        journal.write(ev.encode(event))
        if isinstance(event, ev.Saved):
            (folder / event.folder).mkdir(parents=True, exist_ok=True)
    if not living:
        journal.write(ev.encode(ev.Ended(step=max((event.step for event in told), default=0), status=ended)))
    journal.close()
    return wb.attach(folder)


def write(run: Run, *told: ev.Event) -> None:
    """More of the journal of a run."""
    journal = Log(run.folder / "journal.jsonl")
    for event in told:
        journal.write(ev.encode(event))
    journal.close()


def healthy(folder: Path, last: int = 400, **more: object) -> Run:
    """A run that does well, `last` steps of 400."""
    return policy_run(folder, *events(400, last, change=None), made=recipe(18.0, 400), **more)
