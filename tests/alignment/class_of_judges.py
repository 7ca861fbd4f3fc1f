"""A class that judges at once: a process for each judge, all in one store. `hold` runs it, kills one judge with -9, and says who was told
what.

`python class_of_judges.py URL FOLDER PEOPLE COUNT PAUSE` is the class itself: it prints the processes' numbers, and each judge writes what
he was told is kept, and how long that took, into a file of his own in FOLDER.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sql

from workbench.alignment import PreferenceStore

ROOT = Path(__file__).resolve().parents[2]
RESTLESS = 5
"""Times as many pairs has the one who is killed before him, so that he never comes to their end."""


@dataclass(frozen=True)
class Told:
    """What the judges were told: numbers of judgements that are kept, and the seconds that each judgement and each next pair took."""

    kept: set[str]
    judged_s: list[float]
    asked_s: list[float]


def judge(name: str, url: str, count: int, pause_s: float, out) -> None:
    """A `pause_s` of 0 does not sleep at all: nearly all of the time something is written or read."""
    store, chance = PreferenceStore(url), random.Random(name)
    for number in range(count):
        if pause_s:
            time.sleep(chance.uniform(0, 2 * pause_s))  # a person reads before he judges, if more slowly
        begun = time.perf_counter()
        item = store.next(name, seed=number)
        asked = time.perf_counter()
        key = store.judge(item, chance.choice(["left", "right", "tie"]), name, number=f"{name} {number}")
        print(json.dumps([key, time.perf_counter() - asked, asked - begun]), file=out, flush=True)


def hold(url: str, folder: Path, people: int, count: int, pause_s: float) -> Told:
    """Everybody judges `count` pairs; the first one, who does not rest, is killed in the middle of his, somewhere in a judgement."""
    folder.mkdir()
    crowd = subprocess.Popen(
        [sys.executable, "-m", "tests.alignment.class_of_judges", url, str(folder), str(people), str(count), str(pause_s)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert crowd.stdout is not None
    children = json.loads(crowd.stdout.readline())
    while len((folder / "0").read_text().splitlines()) < count // 2:
        assert crowd.poll() is None
        time.sleep(0.002)
    until = time.perf_counter() + random.uniform(0, 0.01)  # a judgement takes some milliseconds: any part of it is hit
    while time.perf_counter() < until:
        pass
    os.kill(children[0], signal.SIGKILL)
    assert crowd.wait(300) == 0
    lines = [json.loads(line) for path in folder.iterdir() for line in path.read_text().splitlines() if line.endswith("]")]
    return Told({key for key, _, _ in lines}, sorted(wait for _, wait, _ in lines), sorted(wait for _, _, wait in lines))


def check(url: str, told: Told, people: int, count: int) -> None:
    """What anybody was told is kept is there, once; those who lived have given all of theirs, and the one who was killed half of them or
    more."""
    store = PreferenceStore(url)
    numbers = [row.number for row in store._look(sql.select(store._tables["judgements"].c.number))[0]]
    by_judge = store.judgements("pair").groupby("judge").size().to_dict()
    store.close()
    assert told.kept <= set(numbers) and len(numbers) == len(set(numbers))
    killed = by_judge.pop("judge 0")
    assert by_judge == {f"judge {number}": count for number in range(1, people)} and count // 2 <= killed < RESTLESS * count


def filled(url: str, prompts: int = 60) -> None:
    store = PreferenceStore(url)
    for number in range(prompts):
        store.add(f"{number}?", {name: f"{number} {name}" for name in "abcd"})
    store.close()


if __name__ == "__main__":
    url, folder, people, count, pause_s = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5])
    children = []
    for number in range(people):
        with open(folder / str(number), "w") as out:
            child = os.fork()
            if child == 0:
                judge(f"judge {number}", url, *((count, pause_s) if number else (RESTLESS * count, 0.0)), out)
                os._exit(0)
        children.append(child)
    print(json.dumps(children), flush=True)
    for child in children:
        os.waitpid(child, 0)
