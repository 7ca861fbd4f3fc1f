"""Grades from judges whose verdict is known, and a classifier whose reported agreement is checked on rows whose truth is known."""

from __future__ import annotations

import math
import random
import re

import numpy as np
import pytest

from workbench.data import quality
from workbench.errors import DataError

ROWS = [f"the row with {'good ' * i}words" for i in range(6)]


def counting(asked):
    """A judge that gives as many points as there are "good" in the row, and notes what it was asked."""
    def judge(prompt):
        asked.append(prompt)
        row = re.search(r"<row>\n(.*)\n</row>", prompt, re.S)[1]
        return f"It says good {row.count('good')} times.\nScore: {row.count('good')}"
    return judge


def test_each_row_is_asked_once_and_gets_its_score():
    asked = []
    found = quality.grades([*ROWS, ROWS[2]], counting(asked))
    assert found["row"].tolist() == list(range(7)) and len(asked) == 6
    assert math.isnan(found["score"].iloc[0]) and found["score"].tolist()[1:] == [1, 2, 3, 4, 5, 2]
    assert found["reply"].iloc[3] == "It says good 3 times.\nScore: 3"


@pytest.mark.parametrize("reply, score", [
    ("Fine.\nScore: 4", 4), ("**Score: 4/5**", 4), ("score = 3.5", 3.5), ("5", 5), (" 2 / 5 ", 2), (3, 3), (4.5, 4.5),
    ("Score: 2\nNo, it is better.\nScore: 4", 4), ("Score: 9", None), ("Score: 0", None), ("A score of 3 would be fair", None), ("", None),
    ("I cannot", None), (True, None), (7, None), ("The row says\n> Score: 5\nbut it is bad", 5)])
def test_the_score_that_is_read_from_a_reply(reply, score):
    found = quality.grades(["x"], lambda prompt: reply)["score"].iloc[0]
    assert math.isnan(found) if score is None else found == score


def test_braces_in_a_row_are_text():
    asked = []
    quality.grades(["a {row} and {other} {}"], counting(asked))
    assert "<row>\na {row} and {other} {}\n</row>" in asked[0]


def test_no_judge_no_question():
    with pytest.raises(DataError, match="No judge was given"):
        quality.grades(ROWS)
    with pytest.raises(DataError, match="no place for the row"):
        quality.grades(ROWS, lambda prompt: 3, question="How good?")


def test_what_was_paid_for_outlives_an_error_and_is_not_asked_again(tmp_path):
    asked, file = [], tmp_path / "grades" / "kept.jsonl"

    def fails_at_the_fourth(prompt):
        if len(asked) == 3:
            raise DataError("The server is gone.", "Wait.")
        return counting(asked)(prompt)

    with pytest.raises(DataError, match="server is gone"):
        quality.grades(ROWS, fails_at_the_fourth, kept=file)
    assert len(file.read_bytes().splitlines()) == 3
    file.write_bytes(file.read_bytes() + b'{"key": "cut of')  # a process killed while it wrote
    later = []
    found = quality.grades(ROWS, counting(later), kept=file)
    assert len(later) == 3 and found["score"].tolist()[1:] == [1, 2, 3, 4, 5]
    assert quality.grades(ROWS, counting(later), kept=file).equals(found) and len(later) == 3  # what came after the torn line stands apart


def test_a_file_that_holds_something_else_is_said(tmp_path):
    (tmp_path / "other.jsonl").write_text('{"text": "a"}\n{"text": "b"}\n')
    with pytest.raises(DataError, match="other.jsonl, line 1: not a grade"):
        quality.grades(ROWS, lambda prompt: 3, kept=tmp_path / "other.jsonl")


@pytest.mark.parametrize("workers", [1, 4])
def test_it_can_be_stopped_and_then_asks_no_more(workers):
    asked = []

    def stop(done, count):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quality.grades([str(i) for i in range(500)], counting(asked), workers=workers, progress=stop)
    assert len(asked) <= 30


def test_grades_through_an_endpoint_hold_no_key(tmp_path, monkeypatch):
    from tests.data.test_endpoint import KEY, Server, completion

    monkeypatch.setenv("THE_KEY", KEY)
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    server = Server(completion("Clear.\nScore: 4"))
    found = quality.grades(ROWS, quality.Endpoint(server.address, "small", "THE_KEY"), kept=tmp_path / "kept.jsonl")
    server.server.shutdown()
    server.server.server_close()
    assert found["score"].tolist() == [4] * 6 and all(headers["Authorization"] == f"Bearer {KEY}" for _, headers, _ in server.seen)
    assert KEY not in (tmp_path / "kept.jsonl").read_text() + found.to_csv()


def graded(count: int, seed: int = 0) -> tuple[list[str], np.ndarray]:
    """Rows of which half hold words of one kind; the score is 4 or 5 for those and 1 or 2 for others."""
    chance = random.Random(seed)
    rows, scores = [], []
    for i in range(count):
        good = i % 2
        names = [f"{'clear' if good else 'muddy'}{chance.randrange(40)}" for _ in range(3)]
        names += [f"w{chance.randrange(500)}" for _ in range(12)]
        chance.shuffle(names)
        rows.append(" ".join(names))
        scores.append((4 if good else 1) + chance.randrange(2))
    return rows, np.array(scores, float)


def test_the_classifier_learns_what_can_be_learned_and_says_so():
    rows, scores = graded(400)
    scorer = quality.learn(rows, scores, threshold=3)
    fresh, truth = graded(400, seed=9)
    right = ((scorer.score(fresh) >= 0.5) == (truth >= 3)).mean()
    assert right > 0.95 and scorer.agreement["kappa"] > 0.9 and abs(scorer.agreement["accuracy"] - right) < 0.05
    assert 90 <= scorer.agreement["heldout"] <= 110 and scorer.agreement["majority"] < 0.6


def test_grades_that_are_noise_agree_no_better_than_chance():
    rows, scores = graded(600)
    np.random.default_rng(0).shuffle(scores)
    agreement = quality.learn(rows, scores, threshold=3).agreement
    assert abs(agreement["kappa"]) < 0.25 and abs(agreement["auc"] - 0.5) < 0.15 and agreement["accuracy"] < 0.65


def test_copies_of_a_row_do_not_stand_on_both_sides():
    """With copies on both sides even noise would be learned by heart and look like agreement."""
    rows, scores = graded(120)
    np.random.default_rng(1).shuffle(scores)
    agreement = quality.learn(rows * 6, np.tile(scores, 6), threshold=3).agreement
    assert abs(agreement["kappa"]) < 0.5


def test_rows_without_a_grade_are_left_out_and_features_can_be_given():
    rows, scores = graded(200)
    scores[::10] = float("nan")
    scorer = quality.learn(rows, scores,
                           features=lambda texts: np.array([[text.count("clear"), text.count("muddy")] for text in texts], float))
    assert scorer.agreement["accuracy"] == 1 and scorer.score([]).shape == (0,)
    assert scorer.score(["clear1 clear2 clear3", "muddy1 muddy2 muddy3"]).round().tolist() == [1, 0]


def test_the_threshold_leaves_rows_on_both_sides():
    rows, _ = graded(100)
    assert quality.learn(rows, [5.0] * 25 + [4.0] * 75).threshold == 5
    assert quality.learn(rows, [1.0] * 30 + [3.0] * 70).threshold == 3


@pytest.mark.parametrize("scores, sentence",
                         [([3.0] * 99, "99 scores for 100 rows"), ([3.0] * 100, "100 graded rows are good and 0 are not"),
                                              ([float("nan")] * 100, "0 graded rows are good"),
                                              ([5.0] * 90 + [1.0] * 10, "and 10 are not")])
def test_what_cannot_be_learned_is_said(scores, sentence):
    with pytest.raises(DataError, match=sentence):
        quality.learn(graded(100)[0], scores)


def test_on_real_messages_the_reported_agreement_is_the_true_one(real_data):
    lines = (real_data / "sms_spam" / "SMSSpamCollection").read_text(encoding="utf-8").splitlines()
    kinds, texts = zip(*(line.split("\t", 1) for line in lines))
    scores = np.array([1.0 if kind == "spam" else 5.0 for kind in kinds])
    scorer = quality.learn(list(texts[:1500]), scores[:1500], threshold=3)
    right = ((scorer.score(list(texts[1500:])) >= 0.5) == (scores[1500:] >= 3)).mean()
    assert right > 0.96 and scorer.agreement["accuracy"] > scorer.agreement["majority"] + 0.05
    assert abs(scorer.agreement["accuracy"] - right) < 0.03
