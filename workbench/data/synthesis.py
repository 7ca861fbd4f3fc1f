"""Instruction data that a model writes: new tasks like the seeds, instructions made deeper or broader, and what `retelling.py` makes.

    made = synthesis.self_instruct("seeds.jsonl", wb.Endpoint(address, model), kept="replies.jsonl").make(200)
    wb.Recipe(data=made.rows)

Each takes a generator (`generators.py`: a local model, a run, an endpoint, any function of a prompt), checks what it can at once, and
gives a `Synthesis` (`making.py`) that asks when told to `make`. After Self-Instruct (Wang et al. 2023) and Evol-Instruct (Xu et al. 2023),
in words of our own. Not here: whether an answer is true (`quality.grades` asks a judge), Wang et al.'s way of its own for classification.
"""

import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workbench.data import ngrams, novelty
from workbench.data.making import NEAR, Asking, Dropped, Kind, Made, Synthesis, begin, too_near, whole
from workbench.data.replies import BREAKS_OFF, CANNOT, NOTHING, Task, answer_fault, bare, cut_off, fault_of, labelled, numbered, tasks_of
from workbench.data.retelling import identify as identify
from workbench.data.retelling import question_answers as question_answers
from workbench.data.retelling import rewrite as rewrite
from workbench.errors import DataError

NEW_TASKS = """This is a list of tasks that people give to an assistant. They differ in subject, in wording, in length and in kind.
Go on with {count} more tasks that would fit the list, unlike each other and unlike all above. Write each on one line with its number, as
complete as those above, and do not solve it.

{shown}
{next}."""

ANSWER = """Solve the task. If it speaks of a text, a list or data that it does not give, make that up first; otherwise the input is none.

{shown}Task: {task}
"""

OWN_TASKS = 2
"""Demonstrations that are drawn from tasks made before, once there are some: of 8, as in Wang et al. 2023, section 2.2."""


def self_instruct(seeds: Any, generator: Any, *, demonstrations: int = 8, tasks: int = 4, words: tuple[int, int] = (4, 150),
                  cannot: Sequence[str] = CANNOT, near: float = 0.7, beside: Any = None, seed: int = 0,
                  kept: str | Path | None = None, **options: Any) -> Synthesis:
    """New tasks with answers: each attempt shows `demonstrations`, asks for `tasks` more, and has those answered that pass.

    Dropped are instructions outside `words` (lowest, highest), that begin with punctuation, that hold a word of `cannot`, or that are near
    (ROUGE-L ≥ `near`) a seed, a row of `beside` or one made before; and tasks whose answer is empty or repeats them. `options` are
    `workers` (prompts asked at a time) and, for a local model, `max_tokens` and `temperature`. Raises `DataError` before anything is asked.
    """
    whole("demonstrations", demonstrations, 1, 8)
    whole("tasks", tasks, 1, 4)
    given = list({task.instruction: task for task in reversed(tasks_of(seeds))}.values())[::-1]
    solved = [number for number, task in enumerate(given) if task.output]
    shelf = novelty.Shelf([task.instruction for task in given])

    def attempt(number: int, chance: random.Random, before: list[dict[str, Any]]) -> Asking:
        own = chance.sample(before, min(OWN_TASKS, len(before), demonstrations - 1))
        drawn = chance.sample(range(len(given)), min(demonstrations - len(own), len(given)))
        shown = [given[i].instruction for i in drawn] + [row["question"].split("\n\n")[0] for row in own]
        chance.shuffle(shown)
        listed = "\n".join(f"{place}. {' '.join(text.split())}" for place, text in enumerate(shown, start=1))
        found: list[Made | Dropped] = []
        fresh: list[str] = []
        reply = yield NEW_TASKS.format(count=tasks, shown=listed, next=len(shown) + 1)
        examples = "".join(_shown(given[i]) for i in chance.sample(solved, min(2, len(solved))))
        instructions, torn = numbered(reply, len(shown) + 1)
        for instruction in instructions:
            fault = fault_of(instruction, *words, cannot)
            twin = next((text for text in fresh if novelty.rouge_l(text, instruction) >= near), None)
            dropped = Dropped(fault, instruction) if fault else too_near(shelf, instruction, near)
            if dropped is None and twin is not None:
                dropped = Dropped(NEAR, instruction, twin, novelty.rouge_l(twin, instruction))
            if dropped is not None:
                found.append(dropped)
                continue
            reply = yield ANSWER.format(shown=examples, task=instruction)
            task, whole_reply = _solved(instruction, reply)
            fault = answer_fault(task) or ("" if whole_reply else cut_off(reply))
            if not fault:
                fresh.append(instruction)
            found.append(Dropped(fault, instruction) if fault else
                         Made(task.question, task.output, instruction, "new task", tuple(sorted(drawn))))
        found += [Dropped(BREAKS_OFF, torn)] if torn else []
        return found or [Dropped("no task in the reply", reply)]

    return begin(Kind("self_instruct", attempt), generator, shelf, near, seed, kept, beside, lambda task: task.instruction, **options)


def _shown(task: Task) -> str:
    return f"Task: {task.instruction}\nInput: {task.input or 'none'}\nOutput: {task.output}\n\n"


def _solved(instruction: str, reply: str) -> tuple[Task, bool]:
    """The task with the input and the output that a reply gives (a reply without labels is the output), and whether more came after it."""
    reply, *more = re.split(r"(?im)^\s*task:", reply)  # a base model goes on with the next one
    return _read(instruction, reply), bool(more)


def _read(instruction: str, reply: str) -> Task:
    if both := labelled(reply, "Input", "Output"):
        given, answer = both[0]
        return Task(instruction, "" if given.lower().strip(" .<>()") in NOTHING else given, answer)
    if answers := labelled(reply, "Output"):
        return Task(instruction, "", answers[0][0])
    return Task(instruction, "", "" if re.match(r"(?i)\s*\W*input\W", reply) else reply.strip())


# ---- evolving an instruction

DEEPER = {
    "constraint": "Add one condition or requirement that a good answer has to meet.",
    "depth": "Where it asks about a thing, let it ask about that thing more deeply and from more sides.",
    "concrete": "Put something particular in place of what it says in general.",
    "reasoning": "Where few steps of thought would do, let it take several that build on each other.",
    "data": "Put in something to work on: a table, a list of numbers, some code, a formula or a short text.",
}
"""Ways to make an instruction harder: the five of Xu et al. 2023, section 3.2."""

DEEPEN = """Rewrite the instruction below so that it is somewhat harder for an assistant, and still makes sense and can be answered.
{way} Keep whatever text, code or data it holds. Use ten to twenty words more at most.
Reply with the rewritten instruction and nothing else.

<instruction>
{instruction}
</instruction>"""

BROADEN = """Look at the instruction below and write another one, from the same field but about something rarer. It should be about as long
and as hard, and make sense by itself. Reply with the other instruction and nothing else.

<instruction>
{instruction}
</instruction>"""

SAME = """Here are two instructions. Do they ask for the same: the same demands, equally deep and equally broad?

First: {first}

Second: {second}

Reply with one word, same or different."""

LEAK = re.compile(r"</?instruction>|(?:rewritten|given|other|new|original) instruction|instruction (?:below|above)", re.IGNORECASE)
"""Words of our prompts that have no place in an instruction."""

UNCHANGED = 0.95
"""ROUGE-L with what it was made from, from which an evolved instruction is the same again."""

SHORT_REFUSAL = 80
"""Words below which an answer that says sorry is a refusal (Xu et al. 2023, section 3.3)."""


def evolve(rows: Any, generator: Any, *, rounds: int = 4, ways: Sequence[str] = (*DEEPER, "broader"), words: tuple[int, int] = (4, 500),
           cannot: Sequence[str] = CANNOT, judged: bool = True, near: float = 0.7, beside: Any = None, seed: int = 0,
           kept: str | Path | None = None, **options: Any) -> Synthesis:
    """Instructions made deeper (`DEEPER`) or broader, and answered; every one that succeeds is a row, and is evolved on in the next of
    `rounds`. One that fails stays as it was and is tried again, another way.

    A failure is: no instruction, words of the prompt in it, what `self_instruct` drops (but near its own forebears it may be, unless it is
    unchanged), the generator itself finding it the same as before (`judged`, one more prompt each), and an answer that is empty, a short
    "sorry", or stop words alone. `sources` is the row it began with. Other settings are those of `self_instruct`.
    """
    whole("rounds", rounds, 1, 4)
    unknown = [way for way in ways if way not in (*DEEPER, "broader")]
    if unknown or not ways:
        raise DataError(f"There is no way {unknown[0]!r} to evolve an instruction." if unknown else "No way to evolve is given.",
                        f"The ways are {', '.join(DEEPER)} and broader.")
    given = tasks_of(rows)
    shelf = novelty.Shelf([task.question for task in given])

    def attempt(number: int, chance: random.Random, before: list[dict[str, Any]]) -> Asking:
        origin = number % len(given)
        line = [given[origin].question, *(row["question"] for row in before if row["sources"] == [origin])]
        way = chance.choice(list(ways))
        prompt = BROADEN if way == "broader" else DEEPEN
        reply = yield prompt.format(instruction=line[-1], **({} if way == "broader" else {"way": DEEPER[way]}))
        instruction = bare(reply)
        if fault := cut_off(reply):
            return [Dropped(fault, instruction)]
        own = frozenset(line)
        if not ngrams.words(instruction):
            return [Dropped("no instruction in the reply", reply)]
        if LEAK.search(instruction) and not LEAK.search(line[-1]):
            return [Dropped("words of the prompt", instruction)]
        if fault := fault_of(instruction, *words, _beyond(cannot, line[-1])):
            return [Dropped(fault, instruction)]
        nearest = max(line, key=lambda text: novelty.rouge_l(text, instruction))
        if (similarity := novelty.rouge_l(nearest, instruction)) >= UNCHANGED:
            return [Dropped("unchanged", instruction, nearest, similarity)]
        if dropped := too_near(shelf, instruction, near, own):
            return [dropped]
        if judged and _says_same((yield SAME.format(first=line[-1], second=instruction))):
            return [Dropped("asks the same as before", instruction, line[-1], novelty.rouge_l(line[-1], instruction))]
        reply = yield instruction
        answer = reply.strip()
        if fault := cut_off(reply) or answer_fault(Task(instruction, "", answer)) or _says_nothing(answer):
            return [Dropped(fault, instruction)]
        return [Made(instruction, answer, instruction, way if way == "broader" else f"deeper: {way}", (origin,), own)]

    return begin(Kind("evolve", attempt, rounds * len(given), len(given)), generator, shelf, near, seed, kept, beside,
                 lambda task: task.question, **options)


def _beyond(cannot: Sequence[str], before: str) -> list[str]:
    """Words that the instruction did not hold before: a person who evolves tasks about maps wants them."""
    held = set(ngrams.words(before))
    return [word for word in cannot if not set(ngrams.words(word)) <= held]


def _says_same(reply: str) -> bool:
    said = next((word for word in ngrams.words(reply) if word in ("same", "equal", "different")), "different")
    return said != "different" and "not" not in ngrams.words(reply)


def _says_nothing(answer: str) -> str:
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    words = ngrams.words(answer)
    if "sorry" in words and len(words) < SHORT_REFUSAL:
        return "refused"
    return "stop words alone" if all(word in ENGLISH_STOP_WORDS for word in words) else ""
