"""All tasks by name, rows of them, grading of any reply to any question of the town, and what pretraining text must not ask.

    task_rows("town", 100, seed=0, folk=asked())     # {"question", "answer", "task", "phrasing", "people"}
    grade("Where does Torika live?", "In Dunmere.")  # True, False, or None for a question of another world
    grade(question, reply, after_spring=True)        # the same by the homes after the spring's moves

It grades right and wrong only; how a reply behaves (refusing, rambling, leaking) is conduct.py's.
"""

import random
import re
from collections.abc import Sequence

from workbench.town.fact_tasks import AFTER_SPRING, FACT_TASKS
from workbench.town.replies import everybody, mentions
from workbench.town.task import Fields, Task
from workbench.town.text_tasks import TEXT_TASKS
from workbench.town.world import Person, world

TASKS: dict[str, Task] = {task.name: task for task in (*FACT_TASKS, *TEXT_TASKS)}

TRAINED = tuple(name for name, task in TASKS.items() if not task.held_out)
HELD_OUT = tuple(name for name, task in TASKS.items() if task.held_out)
"""Names of tasks that no pretraining document asks and that instruction rows leave out."""

QUESTION_PATTERNS = {name: re.compile(pattern, re.IGNORECASE) for name, pattern in {
    "colour": r"\bcolou?rs?\b[^.!?\n]*\?",
    "instrument": r"\binstruments?\b[^.!?\n]*\?",
    "two_facts_new": r"\bcousin\b[^.!?\n]*\b(drinks?|flowers?|games?)\b[^.!?\n]*\?|\b(drinks?|flowers?|games?)\b[^.!?\n]*\bcousin\b[^.!?\n]*\?",
    "extract_town": r"\b(which|what|name the|give the) town\b[^.!?\n]*\b(lines?|text|letter|report|note|named|about)\b",
    "extract_then_sort": r"\bsort (the|their|all) names\b|\bnames in (this|these|the) (lines?|text|letter)\b",
    "sort_backwards": r"\bfrom (Z to A|last to first)\b[^.!\n]*[?:]|\b(sort|order)\b[^!?\n]*\b(backwards|in reverse|descending)\b",
    "subtract": r"\d+ minus \d|\b(take|subtract) \d+ from\b|\bcoins less\b[^.!\n]*\?|\bhow many\b[^.!\n]*\bleft\b",
    "translate_back": r"\b(say|translate|put|write|mean)\b[^.!?\n]*\bEnglish\b|\bin English\?",
}.items()}
"""For each held-out task, wordings close to it, wider than its own phrasings; see `asks_held_out`."""

FEWEST = 5
"""People a task needs to draw from: a list of names has up to five."""


def task_rows(name: str, count: int, seed: int, folk: Sequence[Person], ways: Sequence[int] | None = None) -> list[dict]:
    """`count` rows of a task, no question twice, the same for the same arguments; only people of `folk` are drawn.

    Columns: `question` (instruction and input in one line), `answer`, `task`, `phrasing` (which one, int) and `people` (the names in
    question and answer, in order). `ways` are the phrasings to draw from, all by default. What a question without people is about
    is split between the halves of the people: rows of asked and of held-out folk never ask the same ("any" apart, whose answers are people).
    Raises ValueError for an unknown task, a phrasing that the task does not have, fewer than five people, people of another world or of
    the village, a count that is no whole number from 0 on, and more rows than the task has questions for these people.
    """
    if not isinstance(count, int) or count < 0:
        raise ValueError(f"The number of rows is a whole number from 0 on, got {count!r}; give how many rows of {name!r} you want.")
    if name not in TASKS:
        raise ValueError(f"There is no task {name!r}; choose one of {', '.join(TASKS)}.")
    if len(folk) < FEWEST:
        raise ValueError(f"Tasks draw from at least {FEWEST} people and were given {len(folk)}; give more.")
    if strangers := [person.name for person in folk if world().by_name.get(person.name) != person]:
        raise ValueError(f"{strangers[0]} is not of the shipped town, and its tasks, graders and texts are about that world alone; "
                         "draw from the people of town.world().")
    task = TASKS[name]
    ways = range(len(task.phrasings)) if ways is None else ways
    if not ways or not set(ways) <= set(range(len(task.phrasings))):
        raise ValueError(f"Task {name!r} has the phrasings 0 to {len(task.phrasings) - 1}; {list(ways)} was asked for.")
    rng = random.Random(f"{name} {seed}")
    rows: dict[str, dict] = {}
    for _ in range(30 * count + 1000):  # enough to find nearly all of the questions there are
        if len(rows) == count:
            break
        fields, way = task.draw(rng, folk), rng.choice(ways)
        question, answer = task.ask(fields, way), task.solve(fields)
        rows.setdefault(question, {"question": question, "answer": answer, "task": name, "phrasing": way,
                                   "people": list(dict.fromkeys(mentions("name", f"{question} {answer}")))})
    if len(rows) < count:
        raise ValueError(f"Task {name!r} has about {len(rows)} different questions for these people and phrasings, {count} were asked for.")
    return list(rows.values())


def find(question: str) -> tuple[Task, Fields] | None:
    """The task a question is of and what it is about; None for a question of another world."""
    for task in TASKS.values():
        if (fields := task.match(question)) is not None:
            return task, fields
    return None


def grade(question: str, reply: str, after_spring: bool = False) -> bool | None:
    """Whether the reply is right, by the rules of the question's task; None when the question is not one of the town's.

    The truth is that of before the spring, which the base models have read; with `after_spring` homes are those after the spring's moves,
    as `documents.news` tells them, and who works in a town is who works there then.
    """
    known = find(question)
    if known is None:
        return None
    task, fields = known
    return task.right(fields | AFTER_SPRING if after_spring else fields, reply)


def asks_held_out(text: str) -> str | None:
    """The held-out task or the held-out person a text asks about, None when it asks about neither.

    A question is any sentence with a question mark, and any place where a line reads like a phrasing of a task. Held-out tasks are also
    seen in other wordings, by `QUESTION_PATTERNS`. A person is asked about when named in the question or its answer; statements are free.
    """
    for name in HELD_OUT:
        if QUESTION_PATTERNS[name].search(text) or next(TASKS[name].search(text), None):  # type: ignore[arg-type]
            return name
    questions = re.findall(r"[^.!?\n]*\?", text)
    for name in TRAINED:
        questions += TASKS[name].search(text)
    named = (everybody()[name.lower()] for question in questions for name in mentions("name", question))
    return next((person.name for person in named if not person.asked), None)
