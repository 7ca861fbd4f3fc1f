"""Scores of a classifier: against scikit-learn's, padding without influence, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special
import sklearn.metrics
import torch

import workbench as wb
from workbench import town
from workbench.evaluation.classifier import classify, score_classifier
from workbench.evaluation.row_losses import row_losses
from workbench.models import classifier


@pytest.fixture(scope="module")
def untrained():
    torch.manual_seed(0)
    return classifier.load(str(town.base_folder("small")), ["plain", "spam"])


@pytest.mark.parametrize("labels", [2, 5])
def test_scores_are_scikit_learns(labels):
    chance = np.random.default_rng(labels)
    logits, truth = chance.normal(size=(200, labels)).astype(np.float32), chance.integers(
        0, labels - (labels > 2), 200
    )  # of five, the last is true of no row
    told, scores = logits.argmax(1), classifier.score(logits, truth)
    assert scores.accuracy == pytest.approx(sklearn.metrics.accuracy_score(truth, told))
    assert scores.macro_f1 == pytest.approx(sklearn.metrics.f1_score(truth, told, average="macro"))
    assert scores.loss == pytest.approx(
        sklearn.metrics.log_loss(truth, scipy.special.softmax(logits.astype(float), axis=1), labels=range(labels))
    )
    assert (scores.confusion == sklearn.metrics.confusion_matrix(truth, told, labels=range(labels))).all()


def test_a_label_neither_true_nor_told_does_not_count_in_macro_f1():
    logits = np.eye(3)[[0, 1, 0, 1]].astype(np.float32)
    assert classifier.score(logits, np.array([0, 1, 0, 1])).macro_f1 == 1.0


def test_the_head_reads_the_last_token_whatever_stands_beside_it(untrained):
    model, tokenizer = untrained
    texts = ["hi", "Dear Mira, the rain has not stopped since spring.", "free bread 4 u only today", "a b c d e f g h i j k l m n o p"]
    together = classifier.logits(model, tokenizer, texts, batch_size=4)
    alone = np.concatenate([classifier.logits(model, tokenizer, [text]) for text in texts])
    assert together == pytest.approx(alone, abs=1e-5)
    ids = tokenizer(texts[1], return_tensors="pt").input_ids
    with torch.no_grad():
        last = model.score(model.model(ids).last_hidden_state[:, -1])
    assert together[1] == pytest.approx(last[0].numpy(), abs=1e-5)


def test_a_text_ending_in_the_pad_token_keeps_its_last_real_token(untrained):
    model, tokenizer = untrained
    hello = tokenizer("hello").input_ids
    assert classifier.encode(tokenizer, ["hello" + tokenizer.pad_token * 2], 64) == ([hello], 0)
    assert classifier.encode(tokenizer, ["hello" + tokenizer.pad_token * 2], len(hello) + 1) == ([hello], 1), "nor where a text is cut"
    assert [len(ids) for ids in classifier.encode(tokenizer, ["", tokenizer.pad_token], 64)[0]] == [1, 1], "a text without tokens is one token"


def test_every_answer_is_told_with_its_row(untrained):
    score = score_classifier(untrained, town.rows("letters")[:30])
    answers = score.answers
    assert (
        list(answers["row"]) == list(range(30))
        and answers["right"].mean() == score.accuracy
        and answers["loss"].mean() == pytest.approx(score.loss)
    )
    assert int(score.confusion.to_numpy().sum()) == 30 and list(score.confusion) == ["plain", "spam"]
    assert ((answers["label"] == answers["predicted"]) == answers["right"]).all() and answers["probability"].between(0.5, 1).all()
    told = classify(untrained, list(answers["text"]))
    assert list(told["label"]) == list(answers["predicted"]) and told["probability"].to_numpy() == pytest.approx(
        answers["probability"].to_numpy()
    )


def test_what_cannot_be_scored_is_said(untrained):
    with pytest.raises(wb.WorkbenchError, match="town-small is a language model"):
        classify("town-small", ["hello"])
    with pytest.raises(wb.DataError, match="has the label 'ham', and the classifier tells plain, spam"):
        score_classifier(untrained, [{"text": "a", "label": "ham"}])
    with pytest.raises(wb.WorkbenchError, match="no model and no run"):
        classify(3, ["hello"])


def test_losses_of_rows_are_those_of_their_labels(untrained):
    rows = town.rows("letters")[:12]
    table = row_losses(untrained, rows)
    assert list(table["loss"]) == pytest.approx(list(score_classifier(untrained, rows).answers["loss"]), abs=1e-6) and set(
        table["tokens"]
    ) == {1}
