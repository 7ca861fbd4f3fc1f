"""Rows that compare replies, as a reward model learns from them: pairs, rankings, margins, criteria; and what must hold before it trains.

    {"prompt": P, "replies": [R, R, ...], "pairs": [(better, worse, head, margin), ...], "row": 0}
P is a list of messages, each R too; a prompt or a reply that is plain text is one turn of a user or an assistant, so that every reply goes
through the chat template that the policy writes with. `better` and `worse` are numbers of replies, `head` the number of a criterion in
`heads_of`, `row` the row of the table. Beside the columns of the layouts (`preferences.py`) a table of pairs may have
    margin           how much better the chosen reply is, at least 0 (Llama 2, arXiv 2307.09288, eq. 2)
    better_NAME      "chosen", "rejected", "tie" or nothing: which reply is better by the criterion NAME; each is a head of its own
Not here: tokens (`reply_tokens.py`), votes between models and replies judged one by one, which compare nothing.
"""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from workbench.data import layouts, sources
from workbench.data.run_rows import RowRules, RunRows
from workbench.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]
HEAD = "reward"
"""The one head where rows name no criteria."""
PREFIX = "better_"
"""What the names of columns of criteria begin with."""


def heads_of(table: "pa.Table") -> list[str]:
    """The criteria by the alphabet; `[HEAD]` where there are none."""
    return sorted(name.removeprefix(PREFIX) for name in table.column_names if name.startswith(PREFIX) and name != PREFIX) or [HEAD]


def read(table: "pa.Table") -> list[Row]:
    """Every comparison of a table in order; a tree of replies gives one for each question with ranked replies.

    Raises `DataError` naming the row whose replies are alike, that has no prompt, ranks one reply only, or does not hold what its layout
    says; and where the rows compare nothing.
    """
    if not table.num_rows:
        return []
    layout, name, heads = layouts.layout_of(table), sources.origin(table), heads_of(table)
    if layout.kind not in ("pairs", "ranking"):
        use = layout.use or f"rows to imitate ({layout.name})"
        columns = ", ".join(map(repr, layout.columns))
        raise DataError(f"The columns {columns} of {name} are {use}; they do not compare two replies to one prompt.",
                        "Give rows with prompt, chosen and rejected, or with prompt and ranked replies.")
    if layout.kind == "ranking" and heads != [HEAD]:
        raise DataError(f"{name} ranks replies and has columns of criteria ({PREFIX}{heads[0]}), which say which of two replies is better.",
                        "Make pairs of it, or drop those columns.")
    out: list[Row] = []
    for number, row in enumerate(table.to_pylist(), start=1):
        try:
            out += [{**found, "row": number - 1} for found in _comparisons(row, layout, heads)]
        except ValueError as error:
            raise DataError(f"Row {number} of {name} cannot be learned from: {error}.", "Mend or remove that row.") from error
    if not any(row["pairs"] for row in out):
        raise DataError(f"{name} says of no two replies that one is better.", "Give rows in which replies are ranked or chosen.")
    return out


def _comparisons(row: Row, layout: layouts.Layout, heads: list[str]) -> Iterator[Row]:
    if layout.kind == "pairs":
        if row.get("chosen") is not None and row.get("chosen") == row.get("rejected"):
            raise ValueError("its chosen and rejected replies are the same")
        told = layout.example(row)
        yield _comparison(told["prompt"], [told["chosen"], told["rejected"]], _pairs_by_head(row, heads))
        return
    found = layout.example(row)
    if not isinstance(found, list):
        found = [found]
    for told in found:
        ranks = told["ranks"]
        if len(told["replies"]) < 2:
            raise ValueError("it ranks one reply only")
        pairs = [(i, j, 0, 0.0) for i in range(len(ranks)) for j in range(i + 1, len(ranks)) if ranks[i] < ranks[j]]
        if not pairs:
            raise ValueError("all its replies have the same rank")
        yield _comparison(told["prompt"], told["replies"], pairs)


def _comparison(prompt: Any, replies: list[Any], pairs: list[tuple[int, int, int, float]]) -> Row:
    asked = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    said = [[{"role": "assistant", "content": reply}] if isinstance(reply, str) else reply for reply in replies]
    if not asked or not any(turn["content"].strip() for turn in asked):
        raise ValueError("it has no prompt")
    for better, worse, *_ in pairs:
        if said[better] == said[worse]:
            same = "its chosen and rejected replies are the same" if len(said) == 2 else "two replies of different rank are the same"
            raise ValueError(same)
    return {"prompt": asked, "replies": said, "pairs": pairs}


def _pairs_by_head(row: Row, heads: list[str]) -> list[tuple[int, int, int, float]]:
    margin = row.get("margin")
    margin = 0.0 if margin is None else margin
    if isinstance(margin, bool) or not isinstance(margin, (int, float)) or not 0 <= margin < math.inf:
        raise ValueError(f"its margin is {margin!r}, not a number of at least 0")
    if heads == [HEAD] and PREFIX + HEAD not in row:
        return [(0, 1, 0, float(margin))]
    pairs = []
    for number, head in enumerate(heads):
        told = row[PREFIX + head]
        if told not in ("chosen", "rejected", "tie", "", None):
            raise ValueError(f"{PREFIX + head!r} is {told!r}, not chosen, rejected or tie")
        if told in ("chosen", "rejected"):
            pairs.append((0, 1, number, float(margin)) if told == "chosen" else (1, 0, number, float(margin)))
    return pairs


def words(reply: list[dict[str, str]]) -> str:
    """The text of a prompt or a reply: its last turn."""
    return reply[-1]["content"]


def check_table(table: "pa.Table") -> None:
    """Raises `DataError` where the rows compare no replies."""
    read(table)


def check_run(rows: RunRows) -> None:
    """Raises `DataError` where tables that are trained or held out together name different criteria, and for trees in a mixture."""
    tables = [*rows.train.items(), *rows.heldout.items()]
    heads = {tuple(heads_of(table)): name for name, table in tables if table.num_rows}
    if len(heads) > 1:
        told = " and ".join(", ".join(names) for names in list(heads)[:2])
        raise DataError(f"The rows do not name the same criteria: {told}.", f"Give every source the same columns {PREFIX}...")
    if rows.segments:
        for name, table in rows.train.items():
            if len(read(table)) != table.num_rows:
                raise DataError(f"The source {name!r} holds trees of several rankings a row, and a mixture is drawn row by row.",
                                "Give it as rankings: rows with prompt, replies and ranks.")


RULES = RowRules(check_table, check_run)
