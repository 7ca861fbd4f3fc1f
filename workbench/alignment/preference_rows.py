"""Judgements as rows to train on: pairs, rankings, replies that are good or not, and pairs by criteria.

Of `PreferenceStore.judgements()`. What was asked again is the caller's to leave out; here nothing is weighed, and nobody's judgement counts
more than another's.
"""

import itertools
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


def scored(table: "pd.DataFrame") -> list[dict[str, Any]]:
    """prompt, chosen, rejected and better_NAME for each criterion: a row for every two replies that one judge scored, by every criterion of
    both. Chosen is the one with the higher mean score; better_NAME says which is better by NAME: "chosen", "rejected"
    or "tie". Equal means give no row."""
    given: dict[tuple[str, str], dict[str, dict[str, float]]] = {}
    for row in table.to_dict("records"):
        if row["kind"] == "scores":
            given.setdefault((row["prompt"], row["judge"]), {})[row["replies"][0]] = row["verdict"]
    out = []
    for (prompt, _), replies in given.items():
        for one, other in itertools.combinations(replies, 2):
            names = sorted(replies[one].keys() & replies[other].keys())
            total = sum(replies[one][name] - replies[other][name] for name in names)
            if not total:
                continue
            chosen, rejected = (one, other) if total > 0 else (other, one)
            apart = {name: replies[chosen][name] - replies[rejected][name] for name in names}
            better = {f"better_{name}": "tie" if not gap else "chosen" if gap > 0 else "rejected" for name, gap in apart.items()}
            out.append({"prompt": prompt, "chosen": chosen, "rejected": rejected, **better})
    names = dict.fromkeys(name for row in out for name in row)  # type: ignore[assignment]
    return [dict.fromkeys(names) | row for row in out]


MAKERS = {"paired": paired, "ranked": ranked, "unpaired": unpaired, "scored": scored}
