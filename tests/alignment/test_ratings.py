"""Ratings against the published ones of real votes, against scikit-learn's logistic regression, and against hand computation."""

from __future__ import annotations

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.linear_model import LogisticRegression

from workbench.alignment import bradley_terry, elo, lead
from workbench.alignment.ratings import expected, position_bias
from workbench.errors import DataError

PUBLISHED = {
    "gpt4": 1366.30,
    "65b-guanaco": 1020.37,
    "30b-guanaco": 989.22,
    "vicuna-13b": 971.52,
    "gpt35": 963.91,
    "13b-guanaco": 913.21,
    "bard": 899.20,
    "7b-guanaco": 876.27,
}


@pytest.fixture(scope="module")
def votes(real_data) -> pd.DataFrame:
    table = pd.read_csv(real_data / "votes" / "vicuna_gpt4_threeclass.csv")
    table = table[table["label"] != -1]
    return pd.DataFrame(
        {
            "left": table["model_1"],
            "right": table["model_2"],
            "winner": table["label"].map({1: "left", 2: "right", 3: "tie"}),
            "judge": "gpt-4",
        }
    )


def test_the_ratings_of_real_votes(votes):
    found = bradley_terry(votes, samples=0)
    assert list(found["model"]) == list(PUBLISHED) and found["rating"].tolist() == pytest.approx(list(PUBLISHED.values()), abs=0.005)
    assert found["rating"].mean() == pytest.approx(1000)


def test_who_is_shown_first_wins(votes):
    shares = position_bias(votes)
    assert (
        shares["left"] == pytest.approx(0.5623, abs=5e-5)
        and shares["right"] == pytest.approx(0.3033, abs=5e-5)
        and sum(shares.values()) == pytest.approx(1)
    )


def made(seed: int, count: int, strengths: dict[str, float], ties: float = 0.2) -> list[dict]:
    generator, names = np.random.default_rng(seed), list(strengths)
    out = []
    for _ in range(count):
        left, right = generator.choice(names, 2, replace=False)
        won = generator.random() < expected(strengths[left], strengths[right])
        out.append({"left": str(left), "right": str(right), "winner": "tie" if generator.random() < ties else "left" if won else "right"})
    return out


def test_it_is_logistic_regression_without_a_penalty():
    rows = made(3, 500, {"a": 900, "b": 1000, "c": 1200, "d": 1100})
    names = sorted({row[side] for row in rows for side in ("left", "right")})
    features, labels, weights = [], [], []
    for row in rows:
        line = [(row["left"] == name) - (row["right"] == name) for name in names]
        for label, weight in {"left": [(1, 1.0)], "right": [(0, 1.0)], "tie": [(1, 0.5), (0, 0.5)]}[row["winner"]]:
            features.append(line), labels.append(label), weights.append(weight)
    model = LogisticRegression(C=1e12, fit_intercept=False, tol=1e-12, max_iter=10_000).fit(features, labels, sample_weight=weights)
    theirs = model.coef_[0] * 400 / np.log(10)
    ours = bradley_terry(rows, samples=0).set_index("model").loc[names, "rating"]
    assert ours.tolist() == pytest.approx((theirs - theirs.mean() + 1000).tolist(), abs=0.05)


def test_intervals_hold_the_truth_as_often_as_they_say():
    truth = {"a": 850.0, "b": 1000.0, "c": 1150.0}
    held = []
    for seed in range(40):
        table = bradley_terry(made(seed, 250, truth, ties=0), samples=100, seed=seed).set_index("model")
        held += [table.loc[name, "low"] <= rating <= table.loc[name, "high"] for name, rating in truth.items()]
        assert (table["low"] <= table["rating"]).all() and (table["rating"] <= table["high"]).all()
    assert 0.88 <= np.mean(held) <= 0.99


def test_intervals_are_the_same_again_and_narrower_with_more_votes():
    truth = {"a": 900.0, "b": 1000.0, "c": 1100.0}
    few, again, many = (bradley_terry(made(1, count, truth), seed=4) for count in (150, 150, 2400))
    pd.testing.assert_frame_equal(few, again)
    widths = [(table["high"] - table["low"]).mean() for table in (few, many)]
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.35)  # the square root of sixteen times as many


def test_the_lead_is_that_of_the_ratings_and_nothing_where_there_is_none():
    truth = {"a": 900.0, "b": 1000.0, "c": 1100.0}
    votes = made(1, 2400, truth)
    table, found = bradley_terry(votes, seed=4), lead(votes, seed=4)
    assert (found["first"], found["second"]) == ("c", "b") == tuple(table["model"][:2])
    assert found["points"] == pytest.approx(table["rating"][0] - table["rating"][1]) and 0 < found["low"] < found["points"] < found["high"]
    alike = lead(made(2, 600, {"a": 1000.0, "b": 1000.0}))
    assert alike["low"] < 0 < alike["high"]


def test_elo_by_hand_and_its_expectation():
    assert expected(1200, 1000) == pytest.approx(0.7597, abs=5e-5) and expected(1000, 1200) == pytest.approx(1 - expected(1200, 1000))
    rows = [{"left": "a", "right": "b", "winner": "left"}, {"left": "b", "right": "a", "winner": "tie"}]
    found = elo(rows, k=32).set_index("model")["rating"]
    after_first = 1016.0, 984.0  # 32 · (1 - 1/2)
    moved = 32 * (0.5 - 1 / (1 + 10 ** ((after_first[0] - after_first[1]) / 400)))
    assert found["b"] == pytest.approx(after_first[1] + moved) and found["a"] == pytest.approx(after_first[0] - moved)
    assert elo(rows[::-1], k=32).set_index("model")["rating"]["a"] != pytest.approx(found["a"]), "the order counts"


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([], "no votes"),
        ([{"left": "a", "right": "b"}], "Vote 1 has no 'winner'"),
        ([{"left": "a", "right": "b", "winner": "a"}], "won by 'a'"),
        ([{"left": "a", "right": "a", "winner": "tie"}], "against itself"),
        ([{"left": "a", "right": "b", "winner": ["left"]}], "won by .'left'."),
        ([{"left": float("nan"), "right": "b", "winner": "left"}], "nan for its left model"),
        ([{"left": "a", "right": None, "winner": "left"}], "None for its right model"),
        ([3], "Vote 1 is 3"),
        (None, "votes are NoneType"),
        ([{"left": "a", "right": "b", "winner": "left"}, {"left": "b", "right": "c", "winner": "tie"}], "ever won against a"),
        ([{"left": "a", "right": "b", "winner": "tie"}, {"left": "c", "right": "d", "winner": "tie"}], "ever compared"),
    ],
)
def test_votes_that_give_no_rating_are_refused_in_a_sentence(rows, says):
    with pytest.raises(DataError, match=says):
        bradley_terry(rows)


TWO = [{"left": "a", "right": "b", "winner": "left"}, {"left": "b", "right": "a", "winner": "left"}]


@pytest.mark.parametrize(("ask", "says"), [
    (lambda: bradley_terry(TWO, level=95), "level is 95"), (lambda: lead(TWO, level=0), "level is 0"),
    (lambda: bradley_terry(TWO, samples=-1), "samples is -1"), (lambda: lead(TWO, samples=0), "at least 1"),
    (lambda: elo(TWO, k="a"), "k is 'a'"), (lambda: elo(TWO, k=float("nan")), "k is nan"), (lambda: elo(TWO, start=None), "start is None"),
], ids=["level", "level of a lead", "samples", "samples of a lead", "k of letters", "k of nan", "start"])
def test_settings_that_give_no_rating_are_refused_in_a_sentence(ask, says):
    with pytest.raises(DataError, match=says) as caught:
        ask()
    assert caught.value.remedy


@pytest.mark.parametrize("kind", [pa.Table.from_pylist, datasets.Dataset.from_list, pd.DataFrame, iter], ids=["Arrow", "datasets", "pandas", "generator"])
def test_votes_of_any_table_give_the_same(kind):
    rows = made(5, 100, {"a": 900, "b": 1000, "c": 1100})
    pd.testing.assert_frame_equal(elo(kind(rows)), elo(rows))
