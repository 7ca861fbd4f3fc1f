"""Preferences: candidates are what their labels say, judges err and like as told, pairs can be flipped, and length is told from worth."""

import re
from itertools import combinations
from statistics import mean

import pytest

from workbench.town.conduct import CONDUCTS, LIMIT_WORDS, find, gold, harmless, honest, requests
from workbench.town.preferences import Judge, candidates, judges, preference_pairs, replies
from workbench.town.tasks import HELD_OUT, asks_held_out
from workbench.town.world import asked, held_out

QUESTIONS = [row["question"] for kind in CONDUCTS for row in requests(kind, 60, 4, asked())]


@pytest.mark.parametrize("question", QUESTIONS[::3])
def test_candidates_do_what_their_labels_say(question):
    some = replies(question)
    assert some == replies(question) and set(candidates(question)) == {reply for group in some.values() for reply in group}
    for good, polite in zip(*[iter(some["good"])] * 2, strict=True):
        assert gold(question, good) >= 0.79 and len(polite) > len(good)
        over = max(0, len(polite.split()) - LIMIT_WORDS)  # each word too many costs a thirtieth of helpfulness, one of gold's three parts
        assert gold(question, polite) == pytest.approx(gold(question, good) - over / 90, abs=0.01)
    best = gold(question, some["good"][0])
    assert all(gold(question, reply) < 0.6 for reply in some["wrong"])
    assert all(harmless(question, reply) == 0 and gold(question, reply) < 0.4 for reply in some["leaking"])
    assert all(gold(question, reply) < best and len(reply.split()) > 20 for reply in some["rambling"])
    assert all(honest(question, reply) == 1 for reply in some["unknown"])
    kind = find(question).topic.kind
    if kind != "forbidden":
        assert all(gold(question, reply) < best for reply in some["refusing"])
    if kind != "unanswerable":
        assert all(gold(question, reply) < best for reply in some["unknown"])
    if kind != "vague":
        assert all(gold(question, reply) < best for reply in some["asking"])


def test_a_question_of_another_world_has_no_candidates():
    with pytest.raises(ValueError, match="not a request"):
        candidates("What is the capital of France?")


# --- judges ----------------------------------------------------------------------------------------------------------


def pairs_of(questions):
    return [(question, *pair) for question in questions for pair in combinations(candidates(question), 2)]


def test_a_judge_without_noise_follows_gold():
    for question, a, b in pairs_of(QUESTIONS[::25]):
        gap = gold(question, a) - gold(question, b)
        assert Judge().prefer(question, a, b) == ("tie" if abs(gap) < 1e-9 else "a" if gap > 0 else "b")


def test_a_judge_is_the_same_in_either_order_and_every_time():
    judge, other = Judge(noise=0.5, seed=1), Judge(noise=0.5, seed=2)
    turned = {"a": "b", "b": "a", "tie": "tie"}
    verdicts = [judge.prefer(*pair) for pair in pairs_of(QUESTIONS[::25])]
    assert verdicts == [judge.prefer(*pair) for pair in pairs_of(QUESTIONS[::25])]
    assert verdicts == [turned[judge.prefer(question, b, a)] for question, a, b in pairs_of(QUESTIONS[::25])]
    assert verdicts != [other.prefer(*pair) for pair in pairs_of(QUESTIONS[::25])]


def test_noise_is_that_of_bradley_and_terry():
    question = next(question for question in QUESTIONS if find(question).topic.kind == "plain")
    good, wrong = replies(question)["good"][0], replies(question)["wrong"][0]
    assert gold(question, good) - gold(question, wrong) == pytest.approx(2 / 3)
    share = mean(Judge(noise=0.5, seed=seed).prefer(question, good, wrong) == "a" for seed in range(3000))
    assert share == pytest.approx(0.7914, abs=0.025)  # sigmoid(4/3), and three standard errors
    assert Judge(noise=1e-6).prefer(question, good, wrong) == "a"
    assert Judge(noise=1e-6).prefer(question, wrong, good) == "b"


def test_a_liking_of_length_is_added_by_words():
    question = next(question for question in QUESTIONS if find(question).topic.kind == "plain")
    short, polite = replies(question)["good"]
    extra = len(polite.split()) - len(short.split())
    biased = Judge(length_bias=0.2)
    assert biased.score(question, polite) - biased.score(question, short) == pytest.approx(0.02 * extra)
    assert (Judge().prefer(question, polite, short), biased.prefer(question, polite, short)) == ("tie", "a")
    assert Judge(length_bias=-0.2).prefer(question, polite, short) == "b"


def agreement(some):
    pairs = pairs_of(QUESTIONS[::20])
    verdicts = [[judge.prefer(*pair) for pair in pairs] for judge in some]
    return mean(mean(x == y for x, y in zip(one, other, strict=True)) for one, other in combinations(verdicts, 2))


def test_annotators_disagree_as_much_as_told():
    assert judges(5, 1.5) == judges(5, 1.5) != judges(5, 1.5, seed=1)
    assert all(sum(judge.weights) == pytest.approx(3) for judge in judges(5, 1.5))
    assert [judge.name for judge in judges(3, 1.5)] == ["annotator 1", "annotator 2", "annotator 3"]
    assert agreement(judges(5, 0.0)) == 1.0
    assert agreement(judges(5, 0.0, noise=0.3)) < 0.95, "equal weights, but each errs elsewhere"
    assert {judge.length_bias for judge in judges(5, 0.0, length_bias=0.2)} == {0.2}


def test_agreement_falls_steadily_to_chance_for_every_seed():
    steps = (0, 0.1, 0.3, 1, 3, 10)
    by_seed = [[agreement(judges(5, step, seed)) for step in steps] for seed in range(6)]
    means = [mean(column) for column in zip(*by_seed, strict=True)]
    assert all(fewer < more - 0.03 for more, fewer in zip(means, means[1:])), means
    assert 0.78 < means[2] < 0.9 and 0.64 < means[3] < 0.78 and 0.42 < means[5] < 0.58, means
    assert all(row[0] == 1.0 and row[2] > row[3] > row[5] and row[3] < 0.8 and row[5] < 0.68 for row in by_seed), "each seed reacts"


@pytest.mark.parametrize("wrong", [{"noise": -1}, {"noise": float("nan")}, {"noise": float("inf")}, {"length_bias": float("nan")}, {"length_bias": float("-inf")},
                                   {"weights": (0, 0, 0)}, {"weights": (1, float("nan"), 1)}, {"weights": (1, 1)}])
def test_a_judge_of_wrong_figures_is_refused(wrong):
    with pytest.raises(ValueError, match="at least 0"):
        Judge(**wrong)


@pytest.mark.parametrize(("count", "disagreement"), [(0, 1), (5, -1), (5, float("nan")), (5, float("inf")), (5, 1000)])
def test_annotators_of_wrong_figures_are_refused(count, disagreement):
    with pytest.raises(ValueError, match="between 0 and 100"):
        judges(count, disagreement)


def test_wrong_figures_of_pairs_are_refused():
    with pytest.raises(ValueError, match="between 0 and 1"):
        preference_pairs(10, 0, asked(), Judge(), flips=2)
    with pytest.raises(ValueError, match="at least one judge"):
        preference_pairs(10, 0, asked(), ())


# --- pairs -----------------------------------------------------------------------------------------------------------


def test_pairs_have_their_columns_and_are_the_same_each_time():
    rows = preference_pairs(203, 1, held_out(), Judge(noise=0.3))
    assert rows == preference_pairs(203, 1, held_out(), Judge(noise=0.3)) != preference_pairs(203, 2, held_out(), Judge(noise=0.3))
    assert len(rows) == 203 and len({row["prompt"] for row in rows}) > 190
    for row in rows:
        assert set(row) == {"prompt", "chosen", "rejected", "kind", "gold_gap", "flipped"} and row["chosen"] != row["rejected"]
        assert row["gold_gap"] == gold(row["prompt"], row["chosen"]) - gold(row["prompt"], row["rejected"])


@pytest.mark.parametrize(("folk", "others"), [(asked(), held_out()), (held_out(), asked())], ids=["asked", "held out"])
def test_pairs_name_people_of_their_half_only(folk, others):
    rows = preference_pairs(400, 1, folk, Judge())
    words = set(re.findall(r"\w+", " ".join(str(row) for row in rows)))
    assert not {person.name for person in others} & words and {person.name for person in folk} & words
    assert not any(asks_held_out(row["prompt"]) in HELD_OUT for row in rows)


def test_several_judges_judge_the_same_pairs_under_their_names():
    rows = preference_pairs(403, 2, asked(), judges(5, 1.0))
    assert len(rows) == 403 and [row["annotator"] for row in rows[:6]] == [f"annotator {number}" for number in (1, 2, 3, 4, 5, 1)]
    groups = [rows[start:start + 5] for start in range(0, 400, 5)]
    assert all(len({(row["prompt"], *sorted((row["chosen"], row["rejected"]))) for row in group}) == 1 for group in groups)
    split = mean(len({row["chosen"] for row in group}) == 2 for group in groups)
    assert 0.2 < split < 0.8, "many pairs are disputed, not all"
    agreed = preference_pairs(400, 2, asked(), judges(5, 0.0))
    assert all(len({row["chosen"] for row in agreed[start:start + 5]}) == 1 for start in range(0, 400, 5))


def test_without_noise_only_flips_are_wrong():
    rows = preference_pairs(500, 3, asked(), Judge(), flips=0.1)
    assert sum(row["flipped"] for row in rows) == 50
    assert all((row["gold_gap"] < 0) == row["flipped"] for row in rows)
    assert mean(abs(row["gold_gap"]) for row in rows if row["flipped"]) > 0.25, "wide enough to be found"
    assert not any(row["flipped"] for row in preference_pairs(50, 3, asked(), Judge()))


def test_noise_makes_wrong_labels():
    wrong = [mean(row["gold_gap"] < 0 for row in preference_pairs(400, 3, asked(), Judge(noise=noise))) for noise in (0.05, 0.3, 1.0)]
    assert wrong[0] < 0.08 < wrong[1] < 0.35 < wrong[2] < 0.5


def longer_chosen(rows):
    """Among pairs of different lengths, how often the longer reply was chosen."""
    lengths = [(len(row["chosen"].split()), len(row["rejected"].split())) for row in rows]
    return mean(chosen > rejected for chosen, rejected in lengths if chosen != rejected)


def test_length_decides_only_where_its_bias_is_planted():
    plain = longer_chosen(preference_pairs(800, 5, asked(), Judge(noise=0.1)))
    biased = longer_chosen(preference_pairs(800, 5, asked(), Judge(noise=0.1, length_bias=1.0)))
    assert 0.42 < plain < 0.58
    assert biased > 0.75
