"""Reading what generators reply with, and the plain reasons for which papers drop it: shared by all ways of making rows.

Not here: what is asked (`synthesis.py`, `retelling.py`), whether a text is near another (`novelty.py`).
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from workbench.data import layouts, ngrams, sources, unfold
from workbench.data.endpoint import Cut
from workbench.errors import DataError
from workbench.templates import chat

CANNOT = ("image", "images", "picture", "pictures", "photo", "photos", "graph", "graphs", "plot", "plots", "diagram", "diagrams",
          "flowchart", "map", "maps", "video", "videos", "audio", "recording", "file", "files", "attachment", "attached", "screenshot",
          "link below", "go to", "sing", "draw")
"""Words that tell of what a model of text alone can neither see nor do; Wang et al. 2023 name image, picture and graph."""

OPENS = frozenset("\"'“‘«„([{¿¡`")
"""Punctuation that a sentence may begin with."""

BREAKS_OFF = "breaks off"

NOTHING = frozenset(["", "none", "n/a", "na", "no input", "noinput", "empty", "-", "nothing"])


@dataclass(frozen=True, slots=True)
class Task:
    """An instruction, the text or data it works on ("" where it needs none), and its answer ("" where none is known)."""

    instruction: str
    input: str = ""
    output: str = ""

    @property
    def question(self) -> str:
        return f"{self.instruction}\n\n{self.input}" if self.input else self.instruction


def tasks_of(rows: Any) -> list[Task]:
    """Rows as tasks, one a row: a list of instructions, or anything `load_rows` takes in a layout to train on (the first exchange of a
    conversation), or instructions with their instances. Raises `DataError` for rows of other layouts, or without text."""
    if isinstance(rows, (list, tuple)) and rows and all(isinstance(row, str) for row in rows):
        found = [Task(row.strip()) for row in rows]
    else:
        table = sources.load_rows(list(rows) if isinstance(rows, tuple) else rows)
        if layouts.layout_of(table).kind == "nested":
            table = unfold.unfold(table)
        examples = layouts.examples(table.to_pylist(), table.column_names, 1, sources.origin(table))
        if "instruction" in layouts.layout_of(table).columns:
            found = [Task(row["instruction"].strip(), (row.get("input") or "").strip(), row["output"].strip()) for row in table.to_pylist()]
        else:
            found = [_first_exchange(example) for example in examples]
    for number, task in enumerate(found, start=1):
        if not ngrams.words(task.instruction):
            raise DataError(f"Row {number} of what was given to begin with asks nothing.", "Fill it, or remove that row.")
    return found


def _first_exchange(example: dict[str, Any]) -> Task:
    if "messages" not in example:
        prompt, completion, _ = chat.prompt_of(example) if "prompt" in example else (example["text"], "", True)
        return Task(str(prompt).strip(), "", completion.strip())
    turns = example["messages"]
    asked = next((i for i, turn in enumerate(turns) if turn["role"] == "user"), None)
    if asked is None:
        return Task("")
    answer = turns[asked + 1]["content"] if asked + 1 < len(turns) and turns[asked + 1]["role"] == "assistant" else ""
    return Task(turns[asked]["content"].strip(), "", answer.strip())


def fault_of(instruction: str, least: int, most: int, cannot: Iterable[str] = CANNOT) -> str:
    """Why an instruction is dropped, "" where it is not: words outside `least` to `most`, a beginning in punctuation, or what a model of
    text cannot do. (Wang et al. also drop what does not begin with an English letter; other languages are no fault here.)"""
    count = len(ngrams.words(instruction))
    if count < least:
        return "too short"
    if count > most:
        return "too long"
    if instruction[0] not in OPENS and unicodedata.category(instruction[0])[0] in "PS":
        return "starts with punctuation"
    plain = f" {' '.join(ngrams.words(instruction))} "
    return "needs more than text" if any(f" {' '.join(ngrams.words(word))} " in plain for word in cannot) else ""


def answer_fault(task: Task) -> str:
    """Why an answer is dropped: there is none, or it says the task or its input again. "" where it is not."""
    said = " ".join(ngrams.words(task.output))
    if not said:
        return "no answer"
    asked = [" ".join(ngrams.words(part)) for part in (task.instruction, task.input, task.question)]
    return "the answer repeats the task" if said in asked else ""


NUMBERED = re.compile(r"^\s*(?:\*\*)?(?:task\s*)?(\d{1,3})\s*[.):](?:\*\*)?\s*(.*)$", re.IGNORECASE)


def numbered(reply: str, first: int) -> tuple[list[str], str]:
    """The items of a list that goes on at `first`, one a line, and the last one where the reply was cut off or it alone has no
    end (else "").

    A line before them counts as item `first` where the next is `first` + 1, since a prompt may end in that number."""
    items: list[tuple[int, str]] = []
    opening = ""
    for line in reply.splitlines():
        found = NUMBERED.match(line)
        if found:
            items.append((int(found[1]), found[2].strip()))
        elif not items and not opening:
            opening = line.strip()
    if opening and ((items and items[0][0] == first + 1) or (not items and not opening.endswith(":"))):
        items.insert(0, (first, opening))
    texts = [bare(text) for _, text in items if text]
    if texts and (isinstance(reply, Cut) or (len(texts) > 1 and all(_ends(text) for text in texts[:-1]) and not _ends(texts[-1]))):
        return texts[:-1], texts[-1]
    return texts, ""


def _ends(text: str) -> bool:
    return text[-1:] in ".?!:;)\"'”’»…。？！`]"


def cut_off(reply: str) -> str:
    """Why a reply that is used whole is dropped: it ended with its tokens. "" where it did not."""
    return BREAKS_OFF if isinstance(reply, Cut) else ""


def bare(text: str) -> str:
    """Without blanks, marks of emphasis and one pair of quotes around the whole."""
    text = text.strip().strip("*").strip()
    for opening, closing in ('""', "“”", "«»", "''"):
        if len(text) > 2 and text[0] == opening and text[-1] == closing and opening not in text[1:-1] and closing not in text[1:-1]:
            text = text[1:-1].strip()
    return text


def labelled(reply: str, *labels: str) -> list[tuple[str, ...]]:
    """The parts behind labels that come in this order, again and again: labelled("Q: a\\nA: b", "Q", "A") → [("a", "b")]. Numbers and
    marks of emphasis around a label are passed over; what lacks a part is left out."""
    names = "|".join(re.escape(label) for label in labels)
    parts = re.split(rf"(?im)^[\s*#>-]*(?:\d+[.)]\s*)?[*]*({names})\s*\d*[*]*\s*[:.)][*]*[ \t]*", reply)
    found, group = [], []
    for label, text in zip(parts[1::2], parts[2::2], strict=True):
        if label.lower() == labels[0].lower():
            group = []
        if len(group) < len(labels) and label.lower() == labels[len(group)].lower():
            group.append(text.strip())
            if len(group) == len(labels):
                found.append(tuple(group))
        else:
            group = []
    return found
