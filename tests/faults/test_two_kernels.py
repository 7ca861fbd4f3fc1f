"""Two kernels control one run at the same time, really: two processes send changes, pauses, resumptions and questions as fast as they can, then both stop it."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import Counter

import pytest

import workbench as wb
from tests.runs import tools
from workbench.journal import commands as cmd
from workbench.journal import events as ev

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("warm")]
EACH = 40

KERNEL = """
import hashlib, json, random, sys, time
import workbench as wb
from workbench.journal import commands as cmd
folder, seed, each = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
run, draw, kinds = wb.attach(folder), random.Random(seed), []
sys.stdin.readline()
for n in range(each):
    kind = draw.choice(["set", "set", "set", "every", "pause", "resume", "ask"] if n else ["ask"])
    kinds.append(kind)
    if kind == "set":
        run.set(learning_rate=1e-3 + seed * 1e-5 + n * 1e-7)
    elif kind == "every":
        run.set(evaluate_every=500 + n)
    elif kind == "ask":
        assert len(run.next_tokens("What did the red cat", k=2)) == 2
    else:
        getattr(run, kind)()
print(json.dumps(kinds), flush=True)
sent = [cmd.decode(line).id for line in open(folder + "/commands.jsonl", "rb")] if sys.stdin.readline() else []
def answered():
    run.history.refresh()
    return {change.command for change in run.history.changes} | run.history.obeyed | set(run.history.answers)
while not set(sent) <= answered():
    time.sleep(0.01)
told = [(c.step, c.field, c.new, c.command) for c in run.history.changes], sorted(run.history.obeyed - {""}), sorted(run.history.answers), run.history.phase
print(hashlib.sha256(repr(told).encode()).hexdigest(), flush=True)
sys.stdin.readline()
try:
    run.stop()
except wb.RunError as error:
    assert "it is not running (stopped)" in str(error)
print(run.wait(60), flush=True)
"""


def test_two_kernels_that_control_one_run_at_once_lose_nothing_and_read_the_same(real_data, tmp_path):
    run = wb.start(tools.recipe(real_data, steps=100_000, evaluate_every=1000, checkpoint_every=100_000, sample_prompts=0), runs=tmp_path)
    run.wait(180, until=2)
    seeds = random.SystemRandom().sample(range(1, 90), 2)
    print("seeds", seeds)
    kernels = [subprocess.Popen([sys.executable, "-c", KERNEL, str(run.folder), str(seed), str(EACH)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                env=tools.environment()) for seed in seeds]

    def both() -> list[str]:
        for kernel in kernels:
            kernel.stdin.write("\n")
            kernel.stdin.flush()
        return [kernel.stdout.readline().strip() for kernel in kernels]

    kinds = Counter(kind for told in both() for kind in json.loads(told))
    digests = both()
    lines = (run.folder / "commands.jsonl").read_bytes().splitlines()
    sent = [cmd.decode(line) for line in lines]  # fails at a line that another one tore
    assert len(sent) == len({command.id for command in sent}) == 2 * EACH
    assert Counter(type(command) for command in sent) == {cmd.Set: kinds["set"] + kinds["every"], cmd.Pause: kinds["pause"], cmd.Resume: kinds["resume"],
                                                          cmd.Probe: kinds["ask"]}

    answer = {cmd.Set: ev.Changed, cmd.Pause: ev.Paused, cmd.Resume: ev.Resumed, cmd.Probe: ev.Answered}
    journal = [ev.decode(line) for line in (run.folder / "journal.jsonl").read_bytes().splitlines()]
    answers = [event for event in journal if getattr(event, "command", "")]
    assert [(event.command, type(event)) for event in answers] == [(command.id, answer[type(command)]) for command in sent], "each once, in the order they came in"
    for command, event in zip(sent, answers, strict=True):
        if isinstance(event, ev.Changed):
            assert command.values == {event.field: event.new}
    rates = [command.values["learning_rate"] for command in sent if "learning_rate" in getattr(command, "values", {})]
    assert run.status and run.history.setting("learning_rate", None) == rates[-1]
    assert digests[0] == digests[1] != ""

    assert both() == ["stopped", "stopped"] and [kernel.wait(30) for kernel in kernels] == [0, 0]
    run.history.refresh()
    assert sum(isinstance(ev.decode(line), ev.Ended) for line in (run.folder / "journal.jsonl").read_bytes().splitlines()) == 1 and run.load()[0].num_parameters()
