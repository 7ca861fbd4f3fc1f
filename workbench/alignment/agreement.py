"""How far judges agree with themselves and with each other: percent, Cohen's, Fleiss' and Krippendorff's coefficients.

Of pairs (`PreferenceStore.judgements("pair")`); what is compared is which of the two replies won, or a tie, in whatever order they were shown. 1 is full agreement, 0 what
chance alone would give. The coefficients are scikit-learn's, statsmodels' and krippendorff's.
"""

import itertools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

FEWEST = 5
"""Pairs that two judges must have in common to be compared."""


def agreement(judgements: "pd.DataFrame") -> dict[str, float]:
    """`self`: share of pairs asked again that were judged the same; `percent`: share of two judges' judgements of one pair that are equal; `cohen`: the mean over pairs of
    judges; `fleiss`: over pairs judged by as many as most are; `krippendorff`: over all. NaN where there is too little to say."""
    table = outcomes(judgements)
    once = table[~table["again"]]
    by_pair = once.pivot_table(index="pair", columns="judge", values="won", aggfunc="last")
    return {"self": _with_himself(table), **_of_two(by_pair), "fleiss": _fleiss(by_pair), "krippendorff": _krippendorff(by_pair)}


def outcomes(judgements: "pd.DataFrame") -> "pd.DataFrame":
    """`pair` (a number for each two replies to a prompt), `judge`, `again`, and `won`: 0 or 1, the first or second reply in the order of the alphabet, or 2 for a tie."""
    import pandas as pd

    rows, known = [], {}
    for _, row in judgements[judgements["kind"] == "pair"].iterrows():
        one, other = sorted(row["replies"])
        number = known.setdefault((row["prompt"], one, other), len(known))
        winner = {"left": row["replies"][0], "right": row["replies"][1]}.get(row["verdict"])
        rows.append((number, row["judge"], bool(row["again"]), 2 if winner is None else int(winner == other)))
    return pd.DataFrame(rows, columns=["pair", "judge", "again", "won"]).astype({"again": bool})


def _with_himself(table: "pd.DataFrame") -> float:
    both = table[~table["again"]].merge(table[table["again"]], on=["pair", "judge"], suffixes=("", "_again"))
    return float((both["won"] == both["won_again"]).mean())


def _of_two(by_pair: "pd.DataFrame") -> dict[str, float]:
    import numpy as np
    from sklearn.metrics import cohen_kappa_score

    equal: list[float] = []
    kappas = []
    for one, other in itertools.combinations(by_pair.columns, 2):
        both = by_pair[[one, other]].dropna()
        equal += list(both[one] == both[other])
        if len(both) >= FEWEST and (both.nunique() > 1).any():
            kappas.append(cohen_kappa_score(both[one], both[other]))
    return {"percent": float(np.mean(equal)) if equal else float("nan"), "cohen": float(np.mean(kappas)) if kappas else float("nan")}


def _fleiss(by_pair: "pd.DataFrame") -> float:
    from statsmodels.stats.inter_rater import aggregate_raters, fleiss_kappa

    raters = by_pair.notna().sum(axis=1)
    most = int(raters.mode().max()) if len(raters) else 0
    whole = by_pair[raters == most]
    if most < 2 or len(whole) < FEWEST:
        return float("nan")
    counts, _ = aggregate_raters([row.dropna().astype(int).tolist() for _, row in whole.iterrows()], n_cat=3)
    return float(fleiss_kappa(counts))


def _krippendorff(by_pair: "pd.DataFrame") -> float:
    import krippendorff

    values: Any = by_pair.to_numpy(float).T
    shared = by_pair.notna().sum(axis=1) > 1
    if shared.sum() < FEWEST or len(set(by_pair[shared].stack())) < 2:
        return float("nan")
    return float(krippendorff.alpha(reliability_data=values, level_of_measurement="nominal"))
