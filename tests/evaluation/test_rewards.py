"""Gaps of rows that a model did not learn from: one line a pair, each reply scored once, several models together."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import workbench as wb
from workbench import town
from workbench.evaluation import rewards
from workbench.evaluation.classifier import classify
from workbench.models import classifier, reward

ROWS = [{"prompt": "Who bakes?", "chosen": "Mira bakes bread.", "rejected": "Tom.", "flipped": False},
        {"prompt": "Who bakes?", "chosen": "Tom.", "rejected": "Mira bakes bread.", "flipped": True}]


def model_of(seed):
    torch.manual_seed(seed)
    return reward.load(str(town.base_folder("small")), ["reward"])


@pytest.fixture(scope="module")
def model():
    return model_of(0)


def test_a_line_a_pair_with_what_the_rows_say_beside_it(model):
    found = rewards.reward_gaps(model, ROWS)
    assert list(found.columns) == ["row", "prompt", "chosen_text", "rejected_text", "chosen", "rejected", "gap", "chosen_length",
                                   "rejected_length", "flipped"]
    assert found["gap"][0] == -found["gap"][1] != 0 and found["chosen_length"].tolist() == [3, 1]
    assert found["flipped"].tolist() == [False, True]
    by_hand = rewards.score(model, ["Who bakes?"] * 2, ["Mira bakes bread.", "Tom."])[:, 0]
    assert found["gap"][0] == pytest.approx(by_hand[0] - by_hand[1]) and not found["gap"].isna().any()


def test_a_ranking_has_a_line_for_every_two_replies(model):
    rows = [{"prompt": "Q", "replies": ["a", "b", "c"], "ranks": [0, 1, 1]}, {"prompt": "R", "replies": ["a", "b"], "ranks": [1, 2]}]
    found = rewards.reward_gaps(model, rows)
    assert found["row"].tolist() == [0, 0, 1]
    assert found["chosen_text"].tolist() == ["a", "a", "a"] and found["rejected_text"].tolist() == ["b", "c", "b"]


def test_an_ensemble_is_mean_and_spread_of_its_centred_members(model):
    others = [model, model_of(1), model_of(2)]
    each = np.array([rewards.reward_gaps(one, ROWS)["gap"] for one in others])
    found = rewards.ensemble(others, ROWS)
    assert np.allclose(found["gap"], each.mean(0), atol=1e-6) and np.allclose(found["spread"], each.std(0, ddof=1), atol=1e-6)
    assert np.allclose(found[["gap_1", "gap_2", "gap_3"]].T, each, atol=1e-6)
    assert found[["chosen", "rejected"]].to_numpy().mean() == pytest.approx(0, abs=1e-6)
    with pytest.raises(wb.DataError, match="two models"):
        rewards.ensemble([model], ROWS)


@pytest.mark.parametrize("source", [3, "town-small"])
def test_what_gives_no_rewards_is_refused(source):
    with pytest.raises(wb.WorkbenchError, match="no model and no run|gives no rewards"):
        rewards.reward_gaps(source, ROWS)


def test_a_reward_model_tells_no_labels(model):
    with pytest.raises(wb.WorkbenchError, match="compares replies and tells no labels"):
        classify(model, ["Who bakes?"])


def test_a_classifier_of_labels_gives_no_rewards():
    with pytest.raises(wb.WorkbenchError, match="gives no rewards"):
        rewards.reward_gaps(classifier.load(str(town.base_folder("small")), ["plain", "spam"]), ROWS)
