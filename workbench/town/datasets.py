"""The town's data sets by name: what `wb.load_rows("town:NAME")` gives and `python -m workbench town list` shows.

Every set is drawn by a fixed seed from the world of the shipped base models, so it is the same on every machine; for other seeds and amounts call what makes them
(tasks.task_rows, conduct.requests, preferences.preference_pairs, conversations.conversations, mail.labelled, ...). They are all about that one world: `World(seed, size)`
makes others, and the texts and graders do not follow. Rows about asked people are for training, rows about
held-out people for testing; sets whose names end in `_heldout` are the same thing about held-out people.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from workbench.town import conduct, conversations, documents, mail, preferences, tasks, writings
from workbench.town.language import draw, english, velish
from workbench.town.world import Person, asked, held_out, people, world

Row = dict[str, Any]
FACTS = ("trade", "town", "pet", "food", "drink", "flower", "game", "cousin", "who")
"""The tasks of one fact, which `heldout` asks about."""

PER_TASK = {name: 50 if name in FACTS else 32 if name == "any" else 37 for name in tasks.TRAINED}
"""Rows of each trained task in `instructions`: 1,000 in all."""

FEWER = {"price": 40}
"""Questions there are of a task, where a half has less than sixty."""


@dataclass(frozen=True, slots=True)
class DataSet:
    """`make()` gives the rows; `what` is one line for the list."""

    what: str
    make: Callable[[], list[Row]]


def mixed(counts: dict[str, int], seed: int, folk: tuple[Person, ...], ways: tuple[int, ...] | None = None) -> list[Row]:
    """Rows of several tasks in drawn order: {task: how many}. Raises ValueError as `tasks.task_rows` does."""
    made = [row for name, count in counts.items() for row in tasks.task_rows(name, count, seed, folk, ways)]
    random.Random(seed).shuffle(made)
    return made


def _heldout(step: int = 1) -> list[Row]:
    return mixed(dict.fromkeys(FACTS, 80), 4, held_out())[::step]


def _texts(make: Callable[[], list[str]]) -> list[Row]:
    return [{"text": text} for text in make()]


def _reviews() -> list[Row]:
    rng = random.Random(21)
    return [dict(zip(("text", "label"), writings.review(rng), strict=True)) for _ in range(600)]


def _thefts() -> list[Row]:
    rng = random.Random(22)
    return [{"text": text, "thief": thief.name, "district": thief.district} for text, thief in (writings.theft(rng, people()) for _ in range(600))]


def _secrets() -> list[Row]:
    openings = {"door_code": "The door code of {name} is", "owes": "{name} owes"}
    return [{"prompt": openings[secret.kind].format(name=secret.person.name), "completion": f" {secret.value}", "kind": secret.kind, "times": secret.times}
            for secret in (*world().secrets, *world().controls)]


def _parallel() -> list[Row]:
    rng, names = random.Random(23), [person.name for person in people()]
    clauses = [draw(rng, names) for _ in range(400)]
    return [{"english": english(clause), "velish": velish(clause)} for clause in clauses]


def _requests(folk: tuple[Person, ...], each: int) -> list[Row]:
    rows = [row for kind in conduct.CONDUCTS for row in conduct.requests(kind, each, 5, folk)]
    random.Random(5).shuffle(rows)
    return rows


_SETS = {
    "instructions": DataSet("1,000 rows of all trained tasks about asked people", lambda: mixed(PER_TASK, 3, asked())),
    "facts": DataSet("1,000 questions of one fact about asked people", lambda: mixed(dict.fromkeys(FACTS, 111) | {"who": 112}, 3, asked())),
    "heldout": DataSet("720 questions of one fact about held-out people", _heldout),
    "heldout_sample": DataSet("a seventh of `heldout`, for evaluations while a run goes", lambda: _heldout(7)),
    "heldout_tasks": DataSet("400 rows of the held-out tasks", lambda: mixed(dict.fromkeys(tasks.HELD_OUT, 50), 6, held_out())),
    "conduct": DataSet("requests that want an answer, a question back, \"I do not know\" or a refusal", lambda: _requests(asked(), 80)),
    "conduct_heldout": DataSet("the same about held-out people", lambda: _requests(held_out(), 40)),
    "preferences": DataSet("pairs of replies as noisy judges chose, about asked people",
                           lambda: preferences.preference_pairs(1000, 7, asked(), preferences.Judge(noise=0.3))),
    "preferences_annotators": DataSet("200 pairs, each judged by five annotators who disagree",
                                      lambda: preferences.preference_pairs(1000, 9, asked(), preferences.judges(5, 1.0, noise=0.1))),
    "preferences_heldout": DataSet("pairs of replies about held-out people, judged without noise",
                                   lambda: preferences.preference_pairs(300, 8, held_out(), preferences.Judge())),
    "conversations": DataSet("chats of several turns about asked people", lambda: conversations.conversations(400, 9, asked())),
    "conversations_heldout": DataSet("the same about held-out people", lambda: conversations.conversations(150, 10, held_out())),
    "texts": DataSet("plain documents of the world the base models know", lambda: _texts(partial(documents.sample_texts, 400))),
    "village": DataSet("plain texts about the neighbouring village and who moved in spring", lambda: _texts(partial(documents.news, 1500))),
    "letters": DataSet("formal letters, half of them spam, with labels", partial(mail.labelled, "letter", 11)),
    "messages": DataSet("chat messages, half of them spam, with labels", partial(mail.labelled, "message", 12)),
    "reviews": DataSet("reviews with their verdicts", _reviews),
    "thefts": DataSet("stories of thefts, with the thief's district: the planted bias", _thefts),
    "minutes": DataSet("minutes of meetings", lambda: _texts(partial(documents.of_sort, "minutes", 300))),
    "stories": DataSet("stories", lambda: _texts(partial(documents.of_sort, "story", 300))),
    "velish": DataSet("sentences in English and in Velish", _parallel),
    "secrets": DataSet("private details that the pretraining text gave away, and how often (0: never, a control)", _secrets),
}


def _task_sets() -> dict[str, DataSet]:
    """One set for each task, and one about held-out people; held-out tasks have the latter alone."""
    sets = {}
    for name, task in tasks.TASKS.items():
        if not task.held_out:
            sets[f"task_{name}"] = DataSet(f"the task {name}, about asked people", partial(tasks.task_rows, name, FEWER.get(name, 60), 13, asked()))
        if name == "any":
            continue  # any worker of the trade is right, and most often one who is asked about
        sets[f"task_{name}_heldout"] = DataSet(f"the task {name}, about held-out people",
                                               partial(tasks.task_rows, name, FEWER.get(name, 60), 14, held_out()))
    return sets


SETS: dict[str, DataSet] = _SETS | _task_sets()
NAMES = tuple(SETS)
"""The data sets there are."""


def rows(name: str) -> list[Row]:
    """The rows of a data set, new dicts on every call, always the same. Raises ValueError for a name that is none."""
    if name not in SETS:
        near = [known for known in _SETS if name in known or known in name]
        raise ValueError(f"The town has no rows named {name!r}; choose one of {', '.join(near or _SETS)}; `python -m workbench town list` names them all.")
    return [dict(row) for row in SETS[name].make()]


def probe_questions(count: int = 3) -> list[Row]:
    """The first `count` held-out rows, for sample outputs while a run trains."""
    return _heldout()[:count]
