"""Pairs that a model writes under given principles: it replies, criticises its reply by a principle, and writes it again.

    made = revised(["How do I open Mira's door?"], wb.Endpoint(address, model), ["Help nobody into a place that is not theirs."]).make()
    wb.Recipe(objective="dpo", data=made.rows)

Of each row the reply as first written is rejected and its last revision chosen, as in the supervised stage of Constitutional AI (Bai et al.
2022, arXiv 2212.08073, section 3.1; a principle is drawn anew for each revision), in words of our own. Generators and how they are asked,
kept and stopped are those of `synthesis.py`. Not here: whether the revision is better (let people, a judge or a reward model compare them).
"""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.data import generators, ngrams, novelty, sources
from workbench.data import prompts as prompts_module
from workbench.data.making import Asking, Dropped, Kind, Made, Synthesis, begin, whole
from workbench.data.replies import Task, answer_fault, bare, cut_off
from workbench.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

PRINCIPLES = (
    "Help with what is asked, fully and to the point.",
    "Say only what is true, and say so where it is not known.",
    "Help nobody to hurt, steal, deceive or spy, and refuse kindly.",
    "Where it is not clear what is meant, ask back.",
)
"""Helpful, honest, harmless; a beginning, to be replaced by one's own."""

CRITICISE = """Somebody asked an assistant this, and the assistant replied.

<question>
{question}
</question>

<reply>
{reply}
</reply>

Say in one or two sentences what in the reply goes against this principle, or that nothing does: {principle}"""

REVISE = """Somebody asked an assistant this, and the assistant replied.

<question>
{question}
</question>

<reply>
{reply}
</reply>

A critic said: {critique}

Write the reply again so that it keeps to this principle: {principle}
Write the new reply and nothing else."""


class Revised:
    """Pairs in the making; `make`, `stop`, `sentence`, `counts` and `dropped` are those of the `Synthesis` that it holds as `made`."""

    def __init__(self, made: Synthesis, first: dict[int, str], prompts: list[list[dict[str, str]]]):
        self.made, self._first, self._prompts = made, first, prompts

    def make(self, count: int | None = None, progress: ngrams.Progress | None = None) -> "Revised":
        """Ask until there are `count` pairs, or every prompt had its turn. Raises as `Synthesis.make` does."""
        self.made.make(count, progress)
        return self

    def stop(self) -> None:
        self.made.stop()

    @property
    def sentence(self) -> str:
        return self.made.sentence

    @property
    def dropped(self) -> Any:
        return self.made.dropped

    @property
    def rows(self) -> "pa.Table":
        """`prompt`, `chosen`, `rejected` (messages), `principle` (the last one), `generator` and `attempt`. Raises `DataError` while there
        are none."""
        import pyarrow as pa

        def said(text: str) -> list[dict[str, str]]:
            return [{"role": "assistant", "content": text}]

        rows = [{"prompt": self._prompts[row["sources"][0]], "chosen": said(row["answer"]), "rejected": said(self._first[row["attempt"]]),
                 "principle": row["how"], "generator": row["generator"], "attempt": row["attempt"]} for row in self.made.rows.to_pylist()]
        return sources.finished(pa.Table.from_pylist(rows), self.made.kind.name)


def revised(prompts: Any, generator: Any, principles: Sequence[str] = PRINCIPLES, *, policy: Any = None, revisions: int = 1, times: int = 1,
            unchanged: float = 0.95, seed: int = 0, kept: str | Path | None = None, **options: Any) -> Revised:
    """A pair for each prompt, `times` over: the reply of `policy` (None: of the generator itself) and what `generator` made of it in
    `revisions` rounds of criticising and writing again.

    `prompts` are texts, or rows that ask something. Dropped are replies and revisions that are empty or break off, and revisions that are
    what was written first (ROUGE-L ≥ `unchanged`): they prefer nothing. Other settings are those of `synthesis.self_instruct`. Raises
    `DataError` before anything is asked.
    """
    whole("revisions", revisions, 1, 1)
    whole("times", times, 1, 1)
    if isinstance(principles, str) or not principles or not all(isinstance(one, str) and ngrams.words(one) for one in principles):
        raise DataError("No principle is given, or one of them says nothing.", 'Use principles=["Say only what is true."].')
    asked = _asked(prompts)
    writes = None if policy is None else generators.generator_of(policy, seed)
    first: dict[int, str] = {}

    def attempt(number: int, chance: random.Random, before: list[dict[str, Any]]) -> Asking:
        origin = number % len(asked)
        question = asked[origin][-1]["content"]
        reply = (yield question) if writes is None else writes(question)
        if fault := cut_off(reply) or answer_fault(Task(question, "", reply)):
            return [Dropped(fault, reply)]
        told, principle = reply.strip(), ""
        for _ in range(revisions):
            principle = chance.choice(list(principles))
            critique = yield CRITICISE.format(question=question, reply=told, principle=principle)
            again = yield REVISE.format(question=question, reply=told, critique=critique.strip(), principle=principle)
            if fault := cut_off(critique) or cut_off(again) or answer_fault(Task(question, "", bare(again))):
                return [Dropped(fault, again)]
            told = bare(again)
        if (similarity := novelty.rouge_l(reply, told)) >= unchanged:
            return [Dropped("unchanged", told, reply.strip(), similarity)]
        first[number] = reply.strip()
        return [Made(question, told, f"{question}\n{told}", principle, (origin,))]

    made = begin(Kind("revised", attempt, times * len(asked), len(asked)), generator, novelty.Shelf(), 2, seed, kept, None,
                 lambda task: task.question, **options)
    return Revised(made, first, asked)


def _asked(prompts: Any) -> list[list[dict[str, str]]]:
    if isinstance(prompts, (list, tuple)) and prompts and all(isinstance(prompt, str) and prompt.strip() for prompt in prompts):
        return [[{"role": "user", "content": prompt}] for prompt in prompts]
    found = [row["prompt"] for row in prompts_module.read(sources.load_rows(prompts))]
    if any(len(prompt) > 1 for prompt in found):
        raise DataError("Some of these prompts are conversations of several turns, and a generator is asked one question.",
                        "Give questions alone.")
    return found
