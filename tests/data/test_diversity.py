"""Diversity against hand counts, the Vendi score's own theorems, and sets whose order of diversity is known."""

from __future__ import annotations

import math
import random

import numpy as np
import pyarrow as pa
import pytest

from workbench.data import diversity
from workbench.errors import DataError

ALIKE = ["the cat sat on the mat"] * 6
APART = ["one two three", "four five six", "seven eight nine", "ten eleven twelve"]


def test_distinct_by_hand():
    rows = ["the cat the cat", "the dog"]
    assert diversity.distinct(rows, n=1) == pytest.approx(3 / 6) and diversity.distinct(rows, n=2) == pytest.approx(3 / 4)
    assert math.isnan(diversity.distinct(["one"], n=2)) and diversity.distinct(APART, n=1) == 1


def test_rows_that_share_nothing_count_whole_and_equal_ones_count_once():
    assert diversity.vendi_score(diversity.similarity(APART)) == pytest.approx(4)
    assert diversity.vendi_score(diversity.similarity(ALIKE)) == pytest.approx(1)
    # the paper's lemma 2.1: m kinds that share nothing, in shares p, have exp(entropy of p)
    mixed = [APART[0]] * 3 + [APART[1]] * 2 + [APART[2]]
    entropy = -sum(p * math.log(p) for p in (3 / 6, 2 / 6, 1 / 6))
    assert diversity.vendi_score(diversity.similarity(mixed)) == pytest.approx(math.exp(entropy))


def test_two_rows_of_known_similarity_have_the_score_of_the_formula():
    rows = ["a b c d e", "a b c x y"]  # pairs of words: 4 and 4, two shared
    kernel = diversity.similarity(rows, n=2)
    assert kernel.tolist() == [[1, 0.5], [0.5, 1]]
    assert diversity.vendi_score(kernel) == pytest.approx(math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25))))


def test_the_kernel_is_one_and_its_score_lies_between_one_and_its_rows():
    chance = random.Random(0)
    rows = [" ".join(f"w{chance.randrange(30)}" for _ in range(chance.randrange(12))) for _ in range(60)]
    kernel = diversity.similarity(rows)
    assert np.allclose(np.diag(kernel), 1) and np.allclose(kernel, kernel.T) and np.linalg.eigvalsh(kernel).min() > -1e-9
    sets = [set(zip(row.split(), row.split()[1:])) or {tuple(row.split())} for row in rows]
    i, j = 7, 31
    assert kernel[i, j] == pytest.approx(len(sets[i] & sets[j]) / math.sqrt(len(sets[i]) * len(sets[j])))
    assert 1 <= diversity.vendi_score(kernel) <= 60


def test_empty_rows_are_alike_and_not_nothing():
    kernel = diversity.similarity(["", "", "a b"])
    assert kernel.tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]


def test_groups_are_measured_on_equally_many_rows_and_come_in_their_order():
    chance = random.Random(1)
    names = [f"n{i}" for i in range(500)]
    own = [" ".join(chance.choices(names, k=12)) for _ in range(300)]
    template = [f"Please tell me in one word what {chance.choice(names)} likes to eat and why it is so" for _ in range(40)]
    table = pa.table({"text": own + template, "source": ["written"] * 300 + ["template"] * 40})
    found = diversity.diversity(table, by="source").set_index("group")
    assert found["measured"].tolist() == [40, 40] and found["rows"].tolist() == [300, 40]
    written, made = found.loc["written"], found.loc["template"]
    assert written["vendi"] > 30 > 10 > made["vendi"] and written["distinct_2"] > made["distinct_2"]
    assert written["mean_similarity"] < made["mean_similarity"] and written["compression"] < made["compression"]


def test_the_draw_is_the_seeds():
    rows = [f"{i} " + " ".join(random.Random(i).choices("abcdefgh", k=6)) for i in range(200)]
    one, again, other = (diversity.diversity(rows, sample=50, seed=seed) for seed in (1, 1, 2))
    assert one.equals(again) and not one.equals(other)
    assert diversity.diversity(rows[:1])["vendi"].tolist() == [pytest.approx(1)]


@pytest.mark.parametrize("rows, options, sentence",
                         [([], {}, "no rows"), (["a"], {"sample": 1}, "sample of 1"), (["a"], {"n": 0}, "n-gram of 0")])
def test_what_cannot_be_measured_is_said(rows, options, sentence):
    with pytest.raises(DataError, match=sentence):
        diversity.diversity(rows, **options)


def test_real_questions_of_people_are_more_diverse_than_one_template_over_the_news(real_data):
    import json

    def texts(path, column):
        return [json.loads(line)[column] for line in (real_data / path).read_text(encoding="utf-8").splitlines()]

    seeds = diversity.diversity(texts("self_instruct/seed_tasks.jsonl", "instruction"), sample=150)
    news = (real_data / "t0_prompted" / "rotten_tomatoes_Reviewer_Enjoyment.jsonl").read_text(encoding="utf-8").splitlines()
    prompted = diversity.diversity([" ".join(str(value) for value in json.loads(line).values()) for line in news], sample=150)
    assert seeds["mean_similarity"].iloc[0] < prompted["mean_similarity"].iloc[0]
    assert seeds["distinct_3"].iloc[0] > prompted["distinct_3"].iloc[0]
