"""How far judges agree with themselves and with each other: percent, Cohen's, Fleiss' and Krippendorff's coefficients.

Of pairs (`PreferenceStore.judgements("pair")`); what is compared is which of the two replies won, or a tie, in whatever order they were
shown. 1 is full agreement, 0 what chance alone would give. The coefficients are scikit-learn's, statsmodels' and krippendorff's.
"""

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from workbench.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

FEWEST = 5
"""Pairs that two judges must have in common to be compared."""


def agreement(judgements: "pd.DataFrame") -> dict[str, float]:
    """`self`: share of pairs asked again that were judged the same; `percent`: share of two judges' judgements of one pair that are equal;
    `cohen`: the mean over pairs of judges; `fleiss`: over pairs judged by as many as most are; `krippendorff`: over all. NaN where there is
    too little to say."""
    table = outcomes(judgements)
    by_pair = _by_pair(table)
    return {"self": _with_himself(table), **_of_two(by_pair), "fleiss": _fleiss(by_pair), "krippendorff": _krippendorff(by_pair)}


def people(judgements: "pd.DataFrame") -> "pd.DataFrame":
    """A line a judge of pairs, who judged most first: `judge`, `votes` (without what was asked again), how many of them the reply shown
    first won (`first`), the other (`second`) or neither (`tie`), how many pairs were asked `again`, and how many of those he judged the
    `same`."""
    import pandas as pd

    pairs = _pairs(judgements)
    once = pairs[~pairs["again"].astype(bool)]
    counts = pd.crosstab(once["judge"], once["verdict"]).reindex(columns=["left", "right", "tie"], fill_value=0)
    out = counts.set_axis(["first", "second", "tie"], axis=1)
    out.insert(0, "votes", out.sum(axis=1))
    twice = _twice(outcomes(pairs))
    out["again"] = twice.groupby("judge").size().reindex(out.index, fill_value=0)
    out["same"] = twice[twice["won"] == twice["won_again"]].groupby("judge").size().reindex(out.index, fill_value=0)
    return out.reset_index().sort_values(["votes", "judge"], ascending=[False, True], kind="stable", ignore_index=True)


def cohen(judgements: "pd.DataFrame") -> "pd.DataFrame":
    """Cohen's kappa of every two judges, by name in both directions; NaN where they have fewer than `FEWEST` pairs in common, or gave all
    of them one and the same verdict, and on the diagonal."""
    import pandas as pd

    by_pair = _by_pair(outcomes(judgements))
    names = list(by_pair.columns)
    out = pd.DataFrame(float("nan"), index=names, columns=names)
    for one, other, _, kappa in _twos(by_pair):
        out.loc[one, other] = out.loc[other, one] = kappa
    return out


def outcomes(judgements: "pd.DataFrame") -> "pd.DataFrame":
    """`pair` (a number for each two replies to a prompt), `judge`, `again`, and `won`: 0 or 1, the first or second reply in the order of
    the alphabet, or 2 for a tie."""
    import pandas as pd

    rows, known = [], {}
    pairs = _pairs(judgements)
    for prompt, replies, verdict, judge, again in zip(
        *(pairs[name] for name in ("prompt", "replies", "verdict", "judge", "again")), strict=True
    ):
        one, other = sorted(replies)
        number = known.setdefault((prompt, one, other), len(known))
        winner = {"left": replies[0], "right": replies[1]}.get(verdict)
        rows.append((number, judge, bool(again), 2 if winner is None else int(winner == other)))
    return pd.DataFrame(rows, columns=["pair", "judge", "again", "won"]).astype({"again": bool})


def _pairs(judgements: "pd.DataFrame") -> "pd.DataFrame":
    missing = [name for name in ("kind", "prompt", "replies", "verdict", "judge", "again") if name not in judgements]
    if missing:
        raise DataError(f"These judgements have no {missing[0]!r}.", 'Give store.judgements("pair"); votes() does not say what was shown.')
    return judgements[judgements["kind"] == "pair"]


def _by_pair(table: "pd.DataFrame") -> "pd.DataFrame":
    """A line a pair, a column a judge; what was asked again left out."""
    return table[~table["again"]].pivot_table(index="pair", columns="judge", values="won", aggfunc="last")


def _twice(table: "pd.DataFrame") -> "pd.DataFrame":
    return table[~table["again"]].merge(table[table["again"]], on=["pair", "judge"], suffixes=("", "_again"))


def _with_himself(table: "pd.DataFrame") -> float:
    both = _twice(table)
    return float((both["won"] == both["won_again"]).mean())


def _twos(by_pair: "pd.DataFrame") -> Iterator[tuple[str, str, list[bool], float]]:
    """Every two judges: where they are equal, and Cohen's kappa."""
    from sklearn.metrics import cohen_kappa_score

    for one, other in itertools.combinations(by_pair.columns, 2):
        both = by_pair[[one, other]].dropna()
        enough = len(both) >= FEWEST and (both.nunique() > 1).any()
        yield one, other, list(both[one] == both[other]), float(cohen_kappa_score(both[one], both[other])) if enough else float("nan")


def _of_two(by_pair: "pd.DataFrame") -> dict[str, float]:
    import numpy as np

    twos = list(_twos(by_pair))
    equal = [same for _, _, some, _ in twos for same in some]
    kappas = [kappa for *_, kappa in twos if kappa == kappa]
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
