"""What a table of rows means: its layout is told from its columns, and each row becomes one example.

An example is one of
    {"messages": [{"role": "user", "content": "..."}, ...]}      a conversation, rendered by the tokenizer's chat template
    {"prompt": "...", "completion": "..."}                       text and its continuation, no template
    {"text": "..."}                                              plain text
Not here: reading files (`sources.py`), tokens (`training/rows.py`), preference layouts.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from workbench.errors import DataError

ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "chatgpt": "assistant", "bot": "assistant",
         "model": "assistant", "system": "system", "tool": "tool", "function": "tool", "observation": "tool"}


@dataclass(frozen=True, slots=True)
class Layout:
    """`columns` must all be there; `example` makes one example of one row (and may raise `ValueError` with a sentence)."""

    name: str
    columns: tuple[str, ...]
    example: Callable[[dict[str, Any]], dict[str, Any]]


def _text(row: dict[str, Any], column: str) -> str:
    value = row.get(column)
    if value is None:
        raise ValueError(f"{column!r} is empty (null)")
    if not isinstance(value, str):
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return str(value)
        raise ValueError(f"{column!r} holds {type(value).__name__}, not text")
    return value


def _turn(message: Any, role: str, content: str) -> dict[str, str]:
    if not isinstance(message, dict) or message.get(role) is None or message.get(content) is None:
        raise ValueError(f"a turn lacks {role!r} or {content!r}")
    if not isinstance(message[role], str) or message[role] not in ROLES:
        raise ValueError(f"a turn's role is {message[role]!r}, which is none of {', '.join(ROLES)}")
    return {"role": ROLES[message[role]], "content": _text(message, content)}


def _conversation(turns: Any, role: str, content: str) -> list[dict[str, str]]:
    if not isinstance(turns, (list, tuple)) or len(turns) == 0:
        raise ValueError("the conversation has no turns")
    return [_turn(turn, role, content) for turn in turns]


def _pair(question: str, answer: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def _prompt_completion(row: dict[str, Any]) -> dict[str, Any]:
    if isinstance(row["prompt"], list) and isinstance(row["completion"], list):
        return {"messages": _conversation([*row["prompt"], *row["completion"]], "role", "content")}
    return {"prompt": _text(row, "prompt"), "completion": _text(row, "completion")}


def _instruction(row: dict[str, Any]) -> dict[str, Any]:
    given = row.get("input")
    question = _text(row, "instruction") + (f"\n\n{given}" if given else "")
    example = _pair(question, _text(row, "output"))
    if row.get("system"):
        example["messages"].insert(0, {"role": "system", "content": _text(row, "system")})
    return example


LAYOUTS = (
    Layout("messages", ("messages",), lambda row: {"messages": _conversation(row["messages"], "role", "content")}),
    Layout("ShareGPT", ("conversations",), lambda row: {"messages": _conversation(row["conversations"], "from", "value")}),
    Layout("prompt/completion", ("prompt", "completion"), _prompt_completion),
    Layout("instruction/input/output", ("instruction", "output"), _instruction),
    Layout("question/answer", ("question", "answer"), lambda row: _pair(_text(row, "question"), _text(row, "answer"))),
    Layout("plain text", ("text",), lambda row: {"text": _text(row, "text")}),
)

TEXT_COLUMNS = ("prompt", "completion", "instruction", "input", "output", "system", "question", "answer", "text")
"""Columns whose values are text in every layout that has them in a flat file."""


def detect(columns: list[str]) -> Layout:
    """The first layout whose columns are all there; others are left alone. Raises `DataError` naming what was found and what is known."""
    for layout in LAYOUTS:
        if set(layout.columns) <= set(columns):
            return layout
    known = "; ".join(f"{layout.name} ({', '.join(layout.columns)})" for layout in LAYOUTS)
    raise DataError(f"The columns {', '.join(map(repr, columns)) or '(none)'} are no layout known here.",
                    f"Rename them to one of: {known}.")


def examples(rows: list[dict[str, Any]], columns: list[str], first: int = 1) -> list[dict[str, Any]]:
    """One example a row. Raises `DataError` with the row's number (counted from `first`) where a row does not hold what its layout says."""
    layout = detect(columns)
    out = []
    for number, row in enumerate(rows, start=first):
        try:
            out.append(layout.example(row))
        except ValueError as error:
            raise DataError(f"Row {number} does not fit the layout {layout.name}: {error}.", "Mend or remove that row.") from error
    return out
