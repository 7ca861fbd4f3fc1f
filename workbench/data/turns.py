"""What one cell of a row holds: text, a list of turns, or a transcript, each as text or as `{"role", "content"}` messages.

All raise `ValueError` with a clause that goes after "Row 17 of a.jsonl does not fit the layout ...: ". Not here: which columns make a
layout (`layouts.py`).
"""

import re
from typing import Any

ROLES = {"human": "user", "user": "user", "prompter": "user", "gpt": "assistant", "assistant": "assistant", "chatgpt": "assistant",
         "bot": "assistant", "model": "assistant", "system": "system", "tool": "tool", "function": "tool", "observation": "tool"}

_SPEAKER = re.compile(r"(?:\n\n|\A)(Human|Assistant):")


def text(row: dict[str, Any], column: str) -> str:
    """The cell as text; a number is written out, anything else is refused."""
    value = row.get(column)
    if value is None:
        raise ValueError(f"{column!r} is empty (null)")
    if not isinstance(value, str):
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return str(value)
        raise ValueError(f"{column!r} holds {type(value).__name__}, not text")
    return value


def message(turn: Any, role: str = "role", content: str = "content") -> dict[str, str]:
    """One turn, its role in the words of chat templates: user, assistant, system or tool."""
    if not isinstance(turn, dict) or turn.get(role) is None or turn.get(content) is None:
        raise ValueError(f"a turn lacks {role!r} or {content!r}")
    if not isinstance(turn[role], str) or turn[role] not in ROLES:
        raise ValueError(f"a turn's role is {turn[role]!r}, which is none of {', '.join(ROLES)}")
    return {"role": ROLES[turn[role]], "content": text(turn, content)}


def conversation(turns: Any, role: str = "role", content: str = "content") -> list[dict[str, str]]:
    """A list of turns as messages."""
    if not isinstance(turns, (list, tuple)) or len(turns) == 0:
        raise ValueError("the conversation has no turns")
    return [message(turn, role, content) for turn in turns]


def either(turns: Any) -> list[dict[str, str]]:
    """A turn or a list of turns, named `role`/`content` or, as ShareGPT has them, `from`/`value`."""
    turns = [turns] if isinstance(turns, dict) else turns
    shared = isinstance(turns, (list, tuple)) and turns and isinstance(turns[0], dict) and turns[0].get("from") is not None
    return conversation(turns, *(("from", "value") if shared else ("role", "content")))


def is_transcript(value: Any) -> bool:
    """Whether it is text that opens as hh-rlhf's transcripts do: "\\n\\nHuman: ..."."""
    return isinstance(value, str) and re.match(r"\s*Human:", value) is not None


def transcript(value: str) -> list[dict[str, str]]:
    """hh-rlhf's "\\n\\nHuman: ... \\n\\nAssistant: ..." as messages, without the blanks around each turn (an empty reply stays an empty
    reply)."""
    parts = _SPEAKER.split(value.lstrip() if is_transcript(value) else value)
    if len(parts) < 3 or parts[0].strip():
        raise ValueError('the transcript does not open with "Human:" or "Assistant:"')
    return [{"role": "user" if who == "Human" else "assistant", "content": said.strip()}
            for who, said in zip(parts[1::2], parts[2::2], strict=True)]


def pair(question: str, answer: str) -> dict[str, Any]:
    """A question and its answer as a conversation of two turns."""
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}
