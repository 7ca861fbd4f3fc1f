"""One row that holds several becomes several: instances of an instruction, and conversations out of trees of messages.

Every path from a tree's first message down to its last reply is one conversation. Not here: rankings out of trees
(`preferences.ranked_tree`).
"""

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from workbench.data import layouts, sources, tables, turns
from workbench.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]


def unfold(table: "pa.Table") -> "pa.Table":
    """Rows of the layout instruction/input/output or messages, out of a table of instances, of nested trees, or of one message a row.

    Other columns of an instruction are kept beside each of its instances; a tree's number or id is kept as `tree`. Raises `DataError` for
    any other layout, for a message whose parent is missing, and for messages that are each other's parents.
    """
    layout, name = layouts.layout_of(table), sources.origin(table)
    if layout.name == "instruction with instances":
        made = _instances(table.to_pylist(), name)
    elif layout.name == "ranked reply trees":
        made = [{"messages": path, "tree": row["message_tree_id"]} for row in table.to_pylist() for path in _paths(row["prompt"], name)]
    elif layout.name == "tree messages":
        made = [{"messages": path, "tree": tree} for tree, node in enumerate(_grown(table.to_pylist(), layout.columns, name))
                for path in _paths(node, name)]
    else:
        raise DataError(f"{name} is a table of the layout {layout.name}, in which no row holds several.", "Use it as it is.")
    return sources.finished(tables.from_dicts(made, name), name)


def _instances(rows: list[Row], name: str) -> list[Row]:
    made = []
    for number, row in enumerate(rows, start=1):
        cases = row["instances"]
        if not isinstance(cases, list) or not all(isinstance(case, dict) for case in cases):
            raise DataError(f"Row {number} of {name} does not hold a list of instances.", "Mend or remove that row.")
        made += [{key: value for key, value in row.items() if key != "instances"} | case for case in cases]
    return made


def _grown(rows: list[Row], columns: tuple[str, ...], name: str) -> list[Row]:
    """The first messages, each with its replies below it. `columns` are those of the id and of the parent's id, then text and role."""
    own, above = columns[:2]
    nodes = {row[own]: {"text": row["text"], "role": row["role"], "replies": []} for row in rows}
    below: dict[Any, list[Any]] = defaultdict(list)
    firsts = []
    for number, row in enumerate(rows, start=1):
        if row[above] is None:
            firsts.append(nodes[row[own]])
        elif row[above] not in nodes:
            raise DataError(f"Row {number} of {name} answers the message {row[above]!r}, which is not there.",
                            "Give the whole tree, or remove that row.")
        else:
            below[row[above]].append(row[own])
            nodes[row[above]]["replies"].append(nodes[row[own]])
    seen, waiting = 0, list(firsts)
    while waiting:
        seen += 1
        waiting += waiting.pop()["replies"]
    if len(nodes) != len(rows) or seen != len(rows):
        raise DataError(f"The messages of {name} are no trees: an id is given twice, or messages answer each other in a circle.",
                        "Mend the ids.")
    return firsts


def _paths(first: Row, name: str) -> list[list[dict[str, str]]]:
    """Every path down to a last reply of the assistant; a question that nobody answered is left off its end."""
    found: list[list[dict[str, str]]] = []
    waiting: list[tuple[list[dict[str, str]], Row]] = [([], first)]
    while waiting:
        said, node = waiting.pop()
        try:
            said = [*said, turns.message(node, "role", "text")]
        except ValueError as error:
            raise DataError(f"A tree of {name} cannot be read: {error}.", "Mend or remove that tree.") from error
        replies = node.get("replies") or []
        if said[-1]["role"] == "assistant" and not any(reply.get("replies") for reply in replies):
            found.append(said)
        waiting += [(said, reply) for reply in reversed(replies)]
    return found
