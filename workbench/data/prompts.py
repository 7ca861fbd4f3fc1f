"""Rows as prompts: what a policy is asked, whatever layout the rows have; an answer beside it is a reference that rewards may look at.

    {"prompt": [messages], "reference": "...", "row": 0}
Rows of a column "prompt" alone are prompts; of pairs, rankings and verdicts the prompts are taken, each once, and of conversations all but the
last reply. Not here: tokens (`reply_tokens.py`), and the rewards.
"""

from typing import TYPE_CHECKING, Any

from workbench.data import comparisons, layouts, sources, turns
from workbench.data.run_rows import RowRules
from workbench.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]


def read(table: "pa.Table") -> list[Row]:
    """The prompts of a table in order, each once. Raises `DataError` naming the row that holds none, and where rows ask nothing."""
    if not table.num_rows:
        return []
    name = sources.origin(table)
    asked = _asked(table, name)
    out, seen = [], set()
    for number, (prompt, reference) in enumerate(asked):
        if not prompt or not prompt[-1]["content"].strip():
            raise DataError(f"Row {number + 1} of {name} asks nothing.", "Mend or remove that row.")
        key = tuple((message["role"], message["content"]) for message in prompt)
        if key not in seen:
            seen.add(key)
            out.append({"prompt": prompt, "reference": reference, "row": number})
    return out


def _asked(table: "pa.Table", name: str) -> list[tuple[list[dict[str, str]], str]]:
    rows, columns = table.to_pylist(), table.column_names
    if "prompt" in columns and not {"completion", "chosen", "response", "replies", "responses"} & set(columns):
        return [(_messages(row["prompt"]), "") for row in rows]
    layout = layouts.layout_of(table)
    if layout.kind in ("pairs", "ranking"):
        return [(row["prompt"], "") for row in comparisons.read(table)]
    examples = layouts.judged(rows, columns, name=name) if layout.kind == "unpaired" else layouts.examples(rows, columns, name=name)
    if any("text" in example for example in examples):
        raise DataError(f"{name} is plain text, which asks nothing.", 'Give rows with a column "prompt", or of questions and answers.')
    return [_split(example) for example in examples]


def _split(example: Row) -> tuple[list[dict[str, str]], str]:
    if "messages" in example:
        messages = example["messages"]
        last = messages[-1]["role"] == "assistant"
        return (messages[:-1], messages[-1]["content"]) if last else (messages, "")
    prompt = example["prompt"]
    return _messages(prompt), example.get("completion", "") if isinstance(example.get("completion", ""), str) else ""


def _messages(prompt: Any) -> list[dict[str, str]]:
    return turns.conversation(prompt) if isinstance(prompt, list) else [{"role": "user", "content": str(prompt or "")}]


def _check(table: "pa.Table") -> None:
    read(table)


RULES = RowRules(_check)
"""What a policy asks of rows."""
