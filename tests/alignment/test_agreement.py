"""Agreement between judges: Fleiss' published example, hand-made tables, and what the coefficients must be at their ends."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from workbench.alignment import agreement, cohen, people
from workbench.alignment.agreement import outcomes
from workbench.errors import DataError


def judged(rows: list[tuple[int, str, str, bool]]) -> pd.DataFrame:
    """(pair, judge, verdict, again); what is asked again is shown the other way round."""
    out = []
    for pair, judge, verdict, again in rows:
        replies = [f"{pair} a", f"{pair} b"]
        out.append(
            {
                "kind": "pair",
                "prompt": f"{pair}?",
                "judge": judge,
                "at": 0.0,
                "again": again,
                "sources": ["m", "n"],
                "replies": replies[::-1] if again else replies,
                "verdict": verdict,
            }
        )
    return pd.DataFrame(out)


def test_which_reply_won_does_not_depend_on_the_order_shown():
    table = outcomes(judged([(1, "ann", "left", False), (1, "ann", "right", True), (1, "bob", "tie", False)]))
    assert table["won"].tolist() == [0, 0, 2] and table["pair"].nunique() == 1


def test_with_himself():
    rows = [(n, "ann", "left", False) for n in range(10)] + [(n, "ann", "right" if n < 7 else "left", True) for n in range(10)]
    assert agreement(judged(rows))["self"] == pytest.approx(0.7)


def test_full_agreement_is_one_and_chance_is_about_zero():
    generator = np.random.default_rng(0)
    verdicts = generator.choice(["left", "right", "tie"], 400)
    full = agreement(judged([(n, judge, str(verdict), False) for n, verdict in enumerate(verdicts) for judge in ("ann", "bob", "cem")]))
    assert [full[name] for name in ("percent", "cohen", "fleiss", "krippendorff")] == pytest.approx([1, 1, 1, 1])
    chance = agreement(
        judged([(n, judge, str(generator.choice(["left", "right", "tie"])), False) for n in range(400) for judge in ("ann", "bob", "cem")])
    )
    assert all(abs(chance[name]) < 0.06 for name in ("cohen", "fleiss", "krippendorff")) and chance["percent"] == pytest.approx(
        1 / 3, abs=0.05
    )


def test_two_judges_by_hand():
    """Twenty pairs: both left 10, both right 5, left/right 2, right/left 3. Observed 15/20; by chance (12·13 + 8·7)/400 = 0.53; κ = (0.75 -
    0.53)/0.47."""
    pairs = [("left", "left")] * 10 + [("right", "right")] * 5 + [("left", "right")] * 2 + [("right", "left")] * 3
    found = agreement(
        judged([(n, judge, verdict, False) for n, both in enumerate(pairs) for judge, verdict in zip(("ann", "bob"), both, strict=True)])
    )
    assert found["percent"] == 0.75 and found["cohen"] == pytest.approx((0.75 - 0.53) / 0.47)
    # Scott's pi, which Fleiss' kappa is for two: chance is (25² + 15²)/40²
    chance = (25**2 + 15**2) / 40**2
    assert found["fleiss"] == pytest.approx((0.75 - chance) / (1 - chance))
    # Krippendorff's alpha, nominal: 1 - (40 - 1) · disagreements / (25 · 15)  with 2·5 disagreeing values of 40, each pair counted twice
    assert found["krippendorff"] == pytest.approx(1 - 39 * 10 / (2 * 25 * 15))


def test_too_little_is_not_a_number():
    found = agreement(judged([(1, "ann", "left", False)]))
    assert all(math.isnan(value) for value in found.values())


def test_what_each_person_did_by_hand():
    rows = [
        (1, "ann", "left", False),
        (2, "ann", "right", False),
        (3, "ann", "left", False),
        (1, "ann", "right", True),
        (3, "ann", "left", True),
        (1, "bob", "tie", False),
    ]
    found = people(judged(rows)).to_dict("records")
    assert found == [
        {"judge": "ann", "votes": 3, "first": 2, "second": 1, "tie": 0, "again": 2, "same": 1},
        {"judge": "bob", "votes": 1, "first": 0, "second": 0, "tie": 1, "again": 0, "same": 0},
    ]


def test_kappas_of_every_two():
    """The twenty pairs of two judges by hand above, and a third who saw too few of them."""
    pairs = [("left", "left")] * 10 + [("right", "right")] * 5 + [("left", "right")] * 2 + [("right", "left")] * 3
    rows = [(n, judge, verdict, False) for n, both in enumerate(pairs) for judge, verdict in zip(("ann", "bob"), both, strict=True)] + [
        (1, "cem", "left", False)
    ]
    found = cohen(judged(rows))
    assert found.loc["ann", "bob"] == found.loc["bob", "ann"] == pytest.approx((0.75 - 0.53) / 0.47)
    assert found.loc["cem"].isna().all() and np.isnan(np.diag(found)).all()


@pytest.mark.parametrize("ask", [agreement, cohen, people, outcomes])
def test_votes_are_no_judgements(ask):
    with pytest.raises(DataError, match="have no 'kind'"):
        ask(pd.DataFrame([{"left": "a", "right": "b", "winner": "left", "judge": "ann", "prompt": "?"}]))
