"""ROUGE-L against its definition and the usual package's numbers, and a shelf against comparing with every text."""

from __future__ import annotations

import json
import random
import re

import pytest

from workbench.data import ngrams, novelty


def longest(a, b):
    """The table of the textbook."""
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            table[i + 1][j + 1] = table[i][j] + 1 if x == y else max(table[i][j + 1], table[i + 1][j])
    return table[-1][-1]


def test_the_bit_parallel_subsequence_is_the_textbooks():
    chance = random.Random(0)
    for _ in range(500):
        a, b = ([chance.choice("abcde"[:chance.randint(1, 5)]) for _ in range(chance.randint(1, 90))] for _ in range(2))
        assert novelty.common_subsequence(novelty._places(a), len(a), b) == longest(a, b)


@pytest.mark.parametrize(("first", "second", "value"), [
    # values of rouge-score 0.1.2, rougeL, without stemming
    ("Write a poem about the sea.", "Write a short poem about the deep sea!", 12 / 14),
    ("What is the relation between the given pairs?", "Given the pairs, what is between them?", 6 / 15),
    ("the the the", "the", 0.5), ("Don't stop", "don t stop", 1.0), ("a b", "c d", 0.0), ("", "a", 0.0), ("!!!", "???", 0.0)])
def test_rouge_l_has_the_values_of_the_usual_package(first, second, value):
    assert novelty.rouge_l(first, second) == pytest.approx(value) == novelty.rouge_l(second, first)


def test_other_alphabets_count():
    assert novelty.rouge_l("Напиши письмо маме", "Напиши письмо папе") == pytest.approx(2 / 3)
    assert novelty.rouge_l("写一首诗", "写一首歌") == pytest.approx(3 / 4)


def test_one_other_word_in_ten_is_near_by_rouge_and_far_by_trigrams():
    import numpy as np

    from workbench.data import duplicates

    first = "Write a short letter to your old teacher at school."
    second = first.replace("old", "new")
    assert novelty.rouge_l(first, second) == pytest.approx(0.9)
    assert duplicates.jaccard(ngrams.grams([first, second], 3), np.array([0]), np.array([1]))[0] == pytest.approx(5 / 11)


@pytest.mark.parametrize("seed", range(3))
def test_a_shelf_that_grows_finds_what_comparing_with_all_finds(seed):
    chance = random.Random(seed)
    words = "the a of cat dog runs sings red blue quickly to and".split()
    shelf = novelty.Shelf(["nothing like it"])
    for _ in range(300):
        text = " ".join(chance.choices(words, k=chance.randint(1, 14)))
        every = [novelty.rouge_l(text, other) for other in shelf.texts]
        best = max(every)
        assert shelf.nearest(text) == (best, every.index(best) if best else None)
        apart = {shelf.texts[every.index(best)]}
        left = [value for other, value in zip(shelf.texts, every, strict=True) if other not in apart]
        assert shelf.nearest(text, apart)[0] == max(left, default=0.0)
        shelf.add(text)
    assert len(shelf) == 301 and novelty.Shelf().nearest("a") == (0.0, None) == shelf.nearest("!?")


def test_few_texts_are_compared_with_a_new_one(real_data, monkeypatch):
    texts = [json.loads(line)["question"] for line in (real_data / "gsm8k" / "train_2000.jsonl").read_text().splitlines()]
    shelf, counted, real = novelty.Shelf(texts), [], novelty.common_subsequence
    monkeypatch.setattr(novelty, "common_subsequence", lambda *given: counted.append(1) or real(*given))
    planted = [re.sub(r"\d+", "7", texts[i]) for i in range(50)]
    assert all(shelf.nearest(text)[1] == i for i, text in enumerate(planted))
    print(f"{len(counted) / 50:.1f} of {len(texts)} texts compared with a new one")
    assert len(counted) < 50 * 20
