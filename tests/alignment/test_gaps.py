"""What gaps say, against hand computation, scipy and scikit-learn, on gaps made with and without what is looked for."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from sklearn.calibration import calibration_curve

from workbench.alignment import gaps
from workbench.errors import DataError


def table(seed: int, count: int = 400, liking: float = 0.0, judged_by_length: float = 0.0) -> pd.DataFrame:
    """Two replies a row with a quality and a length each; people choose by quality (and length), the model scores quality, some noise and
    `liking` for every word."""
    draw = np.random.default_rng(seed)
    quality, length = draw.normal(size=(2, count)), draw.integers(3, 40, size=(2, count))
    chosen = (quality[0] - quality[1] + judged_by_length * (length[0] - length[1]) > 0).astype(int)
    reward = quality + 0.5 * draw.normal(size=(2, count)) + liking * length
    at = np.arange(count)
    one, other = 1 - chosen, chosen
    gap = reward[one, at] - reward[other, at]
    return pd.DataFrame({"gap": gap, "chosen_length": length[one, at], "rejected_length": length[other, at]})


@pytest.mark.parametrize("seed", range(3))
def test_a_planted_liking_of_length_is_found_and_none_where_there_is_none(seed):
    fair = gaps.length_bias(table(seed))
    assert not fair.biased and fair.sentence.startswith("No length bias shows")
    for liking, words in ((0.1, "It likes longer replies"), (-0.1, "It likes shorter replies")):
        found = gaps.length_bias(table(seed, liking=liking))
        assert found.biased and found.sentence.startswith(words) and found.per_ten_words == pytest.approx(10 * liking, abs=0.25)
    shared = gaps.length_bias(table(seed, liking=0.1, judged_by_length=0.1))
    assert shared.biased and shared.longer_chosen > 0.6, "that people like length too is no excuse"


def test_that_rambling_is_a_fault_is_no_bias_and_its_mirror_is():
    """People who prefer shorter replies teach a model to; people who prefer longer ones too, and only that is told."""
    fair = gaps.length_bias(table(5, liking=-0.05, judged_by_length=-0.05))
    assert not fair.biased and fair.correlation < -gaps.LONGER and fair.longer_chosen < 0.45
    liked = gaps.length_bias(table(5, liking=0.05, judged_by_length=0.05))
    assert liked.biased and "likes longer" in liked.sentence and liked.longer_chosen > 0.55
    strong = gaps.length_bias(table(5, liking=-0.3, judged_by_length=-0.3))
    assert strong.biased and "likes shorter" in strong.sentence


def test_the_correlation_is_spearman_s_of_both_orders():
    given = table(7, 60)
    apart = given["chosen_length"] - given["rejected_length"]
    kept = apart != 0
    both = [np.concatenate([x[kept], -x[kept]]) for x in (given["gap"], apart)]
    found = gaps.length_bias(given)
    assert found.correlation == pytest.approx(scipy.stats.spearmanr(*both).statistic) and found.pairs == kept.sum()
    assert found.interval[0] < found.correlation < found.interval[1]


def test_which_reply_was_called_chosen_does_not_matter_to_the_correlation():
    given = table(3, liking=0.1)
    turned = pd.DataFrame({"gap": -given["gap"], "chosen_length": given["rejected_length"], "rejected_length": given["chosen_length"]})
    assert gaps.length_bias(turned).correlation == pytest.approx(gaps.length_bias(given).correlation)


def test_calibration_by_hand():
    """Gaps of ln 3 are 0.75 sure, of ln 19 0.95; three of four and one of two of them are right."""
    near, far = math.log(3), math.log(19)
    found = gaps.calibration(pd.DataFrame({"gap": [near, near, near, -near, far, -far]}), bins=5)
    assert found["pairs"].tolist() == [4, 2] and found["low"].tolist() == pytest.approx([0.7, 0.9])
    assert found["predicted"].tolist() == pytest.approx([0.75, 0.95]) and found["observed"].tolist() == [0.75, 0.5]
    assert found.attrs["error"] == pytest.approx((4 * 0 + 2 * 0.45) / 6)


def test_calibration_is_scikit_learn_s():
    draw = np.random.default_rng(0)
    values = draw.normal(0.7, 1.5, 500)
    found = gaps.calibration(pd.DataFrame({"gap": values}))
    sure = 1 / (1 + np.exp(-np.abs(values)))
    observed, predicted = calibration_curve(values > 0, sure, n_bins=20)
    assert found["observed"].to_numpy() == pytest.approx(observed) and found["predicted"].to_numpy() == pytest.approx(predicted)
    pairs = int(found["pairs"][0])
    interval = scipy.stats.binomtest(round(found["observed"][0] * pairs), pairs).proportion_ci(method="wilson")
    assert (found["observed_low"][0], found["observed_high"][0]) == pytest.approx(tuple(interval), abs=1e-6)


def test_a_judge_who_errs_as_bradley_and_terry_say_is_calibrated():
    draw = np.random.default_rng(1)
    quality = draw.normal(0, 2, 20_000)
    agreed = draw.random(20_000) < 1 / (1 + np.exp(-quality))
    assert gaps.calibration(pd.DataFrame({"gap": np.where(agreed, quality, -quality)})).attrs["error"] < 0.02
    assert gaps.calibration(pd.DataFrame({"gap": np.where(agreed, 3 * quality, -3 * quality)})).attrs["error"] > 0.08


def test_the_lowest_gaps_are_suspicious():
    given = pd.DataFrame({"gap": [0.3, -2.0, 1.0, -0.1, 0.0]}, index=[4, 5, 6, 7, 8])
    assert gaps.suspicious(given, 0.4).index.tolist() == [5, 7] and len(gaps.suspicious(given, 0.01)) == 1


@pytest.mark.parametrize(("ask", "words"), [
    (lambda: gaps.suspicious(table(0), 0), "share is 0"),
    (lambda: gaps.calibration(pd.DataFrame({"loss": [1.0]})), "no gaps"),
    (lambda: gaps.calibration(table(0), bins=0), "no 0 bins"),
    (lambda: gaps.length_bias(table(0, 10)), "too few"),
    (lambda: gaps.length_bias(table(0).assign(gap=math.nan)), "400 of 400 pairs have a gap that is no finite"),
    (lambda: gaps.calibration(pd.DataFrame({"gap": [1.0, math.nan, math.inf]})), "2 of 3 pairs"),
    (lambda: gaps.suspicious(pd.DataFrame({"gap": [1.0, math.nan]})), "1 of 2 pairs"),
    (lambda: gaps.suspicious(pd.DataFrame({"gap": ["high"]})), "no number"),
    (lambda: gaps.length_bias(table(0).drop(columns="chosen_length")), "no 'chosen_length'"),
])
def test_what_cannot_be_said_is_refused(ask, words):
    with pytest.raises(DataError, match=words) as caught:
        ask()
    assert caught.value.remedy
