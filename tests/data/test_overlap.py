"""Overlap against a search in plain Python for every run of words, and against leaks that were planted."""

from __future__ import annotations

import random

import pytest

from workbench.data import ngrams, overlap
from workbench.errors import DataError


def story(chance: random.Random, words: int) -> str:
    return " ".join(f"w{chance.randrange(3000)}" for _ in range(words))


def brute(test: list[str], train: list[str], n: int) -> list[set[int]]:
    """Word places of each test row that lie in a run of n words which some training row has."""
    there = {tuple(parts[i:i + n]) for parts in map(str.split, train) for i in range(len(parts) - n + 1)}
    out = []
    for parts in map(str.split, test):
        out.append({i + k for i in range(len(parts) - n + 1) if tuple(parts[i:i + n]) in there for k in range(n)})
    return out


@pytest.fixture
def planted():
    chance = random.Random(1)
    train, test = [story(chance, chance.randint(5, 120)) for _ in range(300)], [story(chance, chance.randint(13, 80)) for _ in range(60)]
    for i in range(20):  # runs of 9 to 18 words of a test row, in the middle of a training row
        parts, length = test[i].split(), 9 + i % 10
        start = chance.randrange(len(parts) - min(length, len(parts)) + 1)
        into = train[i * 7].split()
        train[i * 7] = " ".join([*into[:3], *parts[start:start + length], *into[3:]])
    return test, train


@pytest.mark.parametrize("n", [5, 9, 13])
def test_what_is_found_is_what_a_plain_search_finds(planted, n):
    test, train = planted
    found = overlap.overlap(test, train, n=n, shortest=n)
    expected = brute(test, train, n)
    assert found["matched"].tolist() == [len(places) for places in expected] and sum(map(bool, expected)) >= 10
    for text, spans, places in zip(test, found["spans"], expected):
        assert " ".join(text[a:b] for a, b in spans) == " ".join(text.split()[i] for i in sorted(places))
    assert found["coverage"].tolist() == [pytest.approx(len(places) / len(text.split())) for text, places in zip(test, expected)]


def test_the_training_rows_that_leak_are_those_that_share_a_run(planted):
    test, train = planted
    expected = [i for i, text in enumerate(train) if any(brute(test, [text], 13))]
    assert overlap.leaking_rows(test, train, shortest=13).tolist() == expected != []
    found = overlap.overlap(test, train, shortest=13)
    for row, first in zip(found["row"], found["train_row"]):
        sharing = [i for i, text in enumerate(train) if brute([test[row]], [text], 13)[0]]
        assert first == (sharing[0] if sharing else -1)
    clean = [text for i, text in enumerate(train) if i not in expected]
    assert overlap.overlap(test, clean, shortest=13)["matched"].sum() == 0


def test_case_punctuation_and_white_space_hide_nothing_and_the_span_is_that_of_the_text():
    train = ["Before. The old mill by the river turned all night while the miller, half asleep, counted sacks. After."]
    test = ["— the OLD mill by\nthe river  turned all night; while the miller half-asleep counted other things"]
    [line] = overlap.overlap(test, train).to_dict("records")
    [(begin, end)] = line["spans"]
    assert test[0][begin:end] == "the OLD mill by\nthe river  turned all night; while the miller half-asleep counted"
    assert line["matched"] == 15 and line["words"] == 17 and line["train_row"] == 0


def test_a_short_question_is_looked_for_whole():
    question = "Who bakes the bread in the small town of Orla?"
    train = ["A talk.", f"Ann asked: {question} Nobody knew.", "Who bakes the bread in the small town of Vels?"]
    found = overlap.overlap([question, "Who bakes the bread?", "Who bakes the bread in the town of Orla?"], train)
    assert found["whole"].tolist() == [False, True, False] and found["coverage"].tolist() == [1, 0, 0]
    assert found["train_row"].tolist() == [1, -1, -1]
    assert overlap.leaking_rows([question], train).tolist() == [1]
    assert overlap.overlap([question], train, shortest=11)[["whole", "matched"]].values.tolist() == [[True, 0]]


@pytest.mark.parametrize("n, shortest", [(13, 8), (5, 8), (13, 1), (4, 4)])
def test_a_row_too_short_to_be_looked_for_leaks_into_the_rows_of_its_very_words(n, shortest):
    chance = random.Random(n)
    train, test = ([" ".join(chance.choice("abc") for _ in range(chance.randint(0, 9))) for _ in range(count)] for count in (300, 60))
    found = overlap.overlap(test, [text.upper() + "!" for text in train], n=n, shortest=shortest)
    for line, text in zip(found.itertuples(), test):
        short = 0 < len(text.split()) < min(n, shortest)
        assert line.whole == short and line.checked == bool(text)
        if short:
            assert line.train_row == (train.index(text) if text in train else -1) and line.coverage == (text in train)
            assert line.spans == ([(0, len(text))] if text in train else [])
    leaking = overlap.leaking_rows([text for text in test if len(text.split()) < min(n, shortest)], train, n=n, shortest=shortest)
    assert leaking.tolist() == [row for row, text in enumerate(train) if text in test and 0 < len(text.split()) < min(n, shortest)]


def test_how_test_rows_are_looked_for_is_counted():
    test = ["", "!?", "one", "a b c d e f g", "a b c d e f g h", "a b c d e f g h i j k l m n"]
    assert overlap.looked_for(test) == {"inside": 2, "whole": 2, "not compared": 2}
    assert overlap.looked_for(test, n=5) == {"inside": 3, "whole": 1, "not compared": 2}


def test_boilerplate_can_be_left_out():
    head = "please read the following text with care and then answer the question that stands below it in one word"
    train = [f"{head} text{i}" for i in range(12)]
    test = [f"{head} another"]
    assert overlap.overlap(test, train)["matched"].tolist() == [19]
    assert overlap.overlap(test, train, common=10)["matched"].tolist() == [0] and len(overlap.leaking_rows(test, train, common=10)) == 0
    assert overlap.overlap(test, train, common=12)["matched"].tolist() == [19]


def test_text_without_spaces_and_decomposed_letters():
    base = "町の東にある古い図書館には誰も読まない本がたくさん並んでいる"
    [line] = overlap.overlap([f"では、{base}。"], [f"昔々{base}のだった"]).to_dict("records")
    assert line["matched"] == len(base)
    whole, parts = "caf\u00e9 " * 14, "cafe\u0301 " * 14
    assert overlap.overlap([whole], [parts])["coverage"].tolist() == [1]


def test_nothing_against_nothing():
    assert len(overlap.overlap([], ["a b"])) == 0
    assert overlap.overlap(["a b c d e f g h i j k l m n"], [])["matched"].tolist() == [0]
    assert overlap.overlap([""], [""])[["words", "checked", "coverage"]].values.tolist() == [[0, False, 0.0]]


def test_it_can_be_stopped_from_its_progress():
    def stop(done, count):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        overlap.overlap(["a"], ["b"] * (ngrams.CHUNK_ROWS + 1), progress=stop)


@pytest.mark.parametrize("options", [{"n": 0}, {"shortest": 0}, {"common": 0}])
def test_what_cannot_be_looked_for_is_said(options):
    with pytest.raises(DataError, match="cannot be looked for"):
        overlap.overlap(["a"], ["b"], **options)


def test_the_real_test_file_shares_little_with_its_training_rows(real_data):
    from workbench.data import sources, texts

    train, test = (sources.load_rows(str(real_data / "gsm8k" / name)) for name in ("train_2000.jsonl", "test.jsonl"))
    found = overlap.overlap(test, train)
    plain = [[" ".join(ngrams.words(text)) for text in texts.texts_of(table)] for table in (test, train)]
    long = [i for i, text in enumerate(plain[0]) if len(text.split()) >= 13]
    assert found["matched"].iloc[long].tolist() == [len(places) for places in brute([plain[0][i] for i in long], plain[1], 13)]
