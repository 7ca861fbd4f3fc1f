"""A model's own replies ranked by a reward, as rows that preference objectives take."""

from __future__ import annotations

import pytest

import workbench as wb
from workbench.data import comparisons, sources
from workbench.evaluation.alignment_sets import ranked_by_reward

QUESTIONS = ["Who bakes bread in Hathby?", "What is the pet of Mira?"]


def shortness(prompt, reply):
    return -float(len(reply))


@pytest.fixture(scope="module")
def model():
    return wb.load("town-small")


def test_best_and_worst_of_n_are_a_pair_and_all_of_them_a_ranking(model):
    pairs = ranked_by_reward(model, shortness, QUESTIONS, n=6, reply_tokens=12)
    rankings = ranked_by_reward(model, shortness, QUESTIONS, n=6, reply_tokens=12, form="rankings")
    assert len(pairs) == len(rankings) == 2
    for pair, ranking in zip(pairs, rankings, strict=True):
        texts = [comparisons.words(reply) for reply in ranking["replies"]]
        assert len(set(texts)) == len(texts) >= 2 and ranking["scores"] == sorted(ranking["scores"], reverse=True)
        assert [shortness("", text) for text in texts] == ranking["scores"]
        assert comparisons.words(pair["chosen"]) == texts[0] and pair["reward_rejected"] == ranking["scores"][-1]
    assert len(comparisons.read(sources.load_rows(pairs))) == 2
    assert comparisons.read(sources.load_rows(rankings))[0]["pairs"][0][:2] == (0, 1)


def test_what_leaves_nothing_to_prefer_is_said(model):
    with pytest.raises(wb.DataError, match="differ in reward"):
        ranked_by_reward(model, shortness, QUESTIONS, n=2, reply_tokens=2, least_gap=1000)
    with pytest.raises(wb.DataError, match="two of them at least"):
        ranked_by_reward(model, shortness, QUESTIONS, n=1)
    with pytest.raises(wb.DataError, match="none of pairs, rankings"):
        ranked_by_reward(model, shortness, QUESTIONS, form="votes")
