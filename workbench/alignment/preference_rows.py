"""Judgements as rows to train on: pairs, rankings, and replies that are good or not.

Of `PreferenceStore.judgements()`. What was asked again is the caller's to leave out; here nothing is weighed, and nobody's judgement counts
more than another's.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def paired(table: "pd.DataFrame") -> list[dict[str, Any]]:
    """prompt, chosen, rejected: one row for each two replies that a majority tells apart. A ranking votes for each pair in it."""
    votes: dict[tuple[str, str, str], int] = {}
    for row in table.to_dict("records"):
        if row["kind"] == "pair" and row["verdict"] != "tie":
            best = (0, 1) if row["verdict"] == "left" else (1, 0)
            pairs = [best]
        elif row["kind"] == "ranking":
            pairs = [(row["verdict"][i], row["verdict"][j]) for i in range(len(row["verdict"])) for j in range(i + 1, len(row["verdict"]))]
        else:
            continue
        for better, worse in pairs:
            one, other = row["replies"][better], row["replies"][worse]
            sign = 1 if one < other else -1
            key = (row["prompt"], *sorted((one, other)))
            votes[key] = votes.get(key, 0) + sign
    return [
        {"prompt": prompt, "chosen": one if total > 0 else other, "rejected": other if total > 0 else one}
        for (prompt, one, other), total in votes.items()
        if total
    ]


def ranked(table: "pd.DataFrame") -> list[dict[str, Any]]:
    """prompt, replies: a row a ranking, the best reply first."""
    return [
        {"prompt": row["prompt"], "replies": [row["replies"][place] for place in row["verdict"]]}
        for row in table.to_dict("records")
        if row["kind"] == "ranking"
    ]


def unpaired(table: "pd.DataFrame") -> list[dict[str, Any]]:
    """prompt, completion, label: a row a thumb, True for up."""
    return [
        {"prompt": row["prompt"], "completion": row["replies"][0], "label": row["verdict"]}
        for row in table.to_dict("records")
        if row["kind"] == "thumbs"
    ]


MAKERS = {"paired": paired, "ranked": ranked, "unpaired": unpaired}
