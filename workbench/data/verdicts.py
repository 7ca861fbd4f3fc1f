"""Replies judged good or bad one by one, as unpaired preference tuning (KTO) learns from them, whatever layout the rows have.

    {"prompt": [messages], "replies": [[messages]], "good": [True], "row": 0}
Of a pair the chosen reply is good and the rejected one bad; of a ranking the best are good, the worst are bad, and those between are
neither. Replies to one prompt stand together, each with its verdict. Not here: tokens, and rows that compare (`comparisons.py`).
"""

from typing import TYPE_CHECKING, Any

from workbench.data import comparisons, layouts, sources
from workbench.data.run_rows import RowRules, RunRows
from workbench.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]


def read(table: "pa.Table") -> list[Row]:
    """The judged replies of a table in order. Raises `DataError` where rows judge nothing, and for a row without a prompt or a reply."""
    if not table.num_rows:
        return []
    layout, name = layouts.layout_of(table), sources.origin(table)
    if layout.kind in ("pairs", "ranking"):
        return [_of_comparison(row) for row in comparisons.read(table) if row["pairs"]]
    if layout.kind != "unpaired":
        use = layout.use or f"rows to imitate ({layout.name})"
        raise DataError(f"The columns {', '.join(map(repr, layout.columns))} of {name} are {use}; they judge no reply.",
                        "Give rows with prompt, completion and label (true or false), or pairs.")
    out = []
    for number, told in enumerate(layouts.read(table.to_pylist(), layout, name=name)):
        prompt, reply = told["prompt"], told["completion"]
        prompt = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        reply = [{"role": "assistant", "content": reply}] if isinstance(reply, str) else reply
        if not any(turn["content"].strip() for turn in prompt) or not any(turn["content"].strip() for turn in reply):
            raise DataError(f"Row {number + 1} of {name} has no prompt or no reply.", "Mend or remove that row.")
        out.append({"prompt": prompt, "replies": [reply], "good": [bool(told["label"])], "row": number})
    return out


def _of_comparison(row: Row) -> Row:
    better, worse = {pair[0] for pair in row["pairs"]}, {pair[1] for pair in row["pairs"]}
    judged = [number for number in range(len(row["replies"])) if (number in better) != (number in worse)]
    return {"prompt": row["prompt"], "replies": [row["replies"][number] for number in judged],
            "good": [number in better for number in judged], "row": row["row"]}


def check_table(table: "pa.Table") -> None:
    """Raises `DataError` where the rows judge no replies."""
    read(table)


def check_run(rows: RunRows) -> None:
    """Raises `DataError` for trees in a mixture, which is drawn row by row."""
    for name, table in rows.train.items() if rows.segments else ():
        if len(read(table)) != table.num_rows:
            raise DataError(f"The source {name!r} has rows that hold several rankings or none, and a mixture is drawn row by row.",
                            "Give it as rows with prompt, completion and label.")


RULES = RowRules(check_table, check_run)
"""What KTO asks of rows."""
