"""Duplicates against brute force over all pairs, with sets of plain Python tuples."""

from __future__ import annotations

import itertools
import random
import subprocess
import sys

import pyarrow as pa
import pytest

from workbench.data import duplicates
from workbench.errors import DataError


def three_words(text: str) -> set[tuple[str, ...]]:
    parts = text.split()
    return {tuple(parts[i:i + 3]) for i in range(len(parts) - 2)}


def brute(texts: list[str], threshold: float) -> dict[tuple[int, int], float]:
    sets = [three_words(text) for text in texts]
    pairs = {(i, j): len(sets[i] & sets[j]) / len(sets[i] | sets[j]) for i, j in itertools.combinations(range(len(texts)), 2)}
    return {pair: value for pair, value in pairs.items() if value >= threshold}


def rows_with_families(count: int = 120, seed: int = 3) -> list[str]:
    """Families of three texts whose members differ in one to twelve words, shuffled among others."""
    chance = random.Random(seed)
    texts = []
    for _ in range(count // 4):
        base = [f"w{chance.randrange(400)}" for _ in range(60)]
        texts.append(" ".join(base))
        for changes in (1, 4, 12):
            other = list(base)
            for place in chance.sample(range(60), changes):
                other[place] = f"z{chance.randrange(10 ** 6)}"
            texts.append(" ".join(other))
    chance.shuffle(texts)
    return texts


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.9])
def test_pairs_and_their_similarity_are_those_of_brute_force(threshold):
    texts = rows_with_families()
    expected = brute(texts, threshold)
    found = duplicates.near_pairs(texts, threshold=threshold)
    got = {(int(a), int(b)): s for a, b, s in found.itertuples(index=False)}
    assert set(got) <= set(expected), "a pair that is not that similar"
    assert all(got[pair] == pytest.approx(expected[pair], abs=1e-12) for pair in got)
    assert {pair for pair, value in expected.items() if value >= threshold + 0.1} <= set(got)
    assert len(got) >= 0.95 * len(expected) > 10


def pairs_at(target: float, count: int, chance: random.Random) -> list[str]:
    """`2 * count` texts, 2k and 2k + 1 at a similarity of `target` or just above, counted by `three_words`; nothing else alike."""
    texts = []
    for _ in range(count):
        base = [f"w{chance.randrange(10 ** 6)}" for _ in range(60)]
        other, one = list(base), " ".join(base)
        for place in chance.sample(range(60), 60):
            tried = [*other[:place], f"z{chance.randrange(10 ** 6)}", *other[place + 1:]]
            there = three_words(" ".join(tried)), three_words(one)
            if len(there[0] & there[1]) / len(there[0] | there[1]) >= target:
                other = tried
        texts += [one, " ".join(other)]
    return texts


@pytest.mark.parametrize("threshold", [0.2, 0.25, 0.3, 0.35, 0.5, 0.59, 0.6, 0.7, 0.8, 0.95])
def test_pairs_just_at_the_threshold_are_found_as_it_comes(threshold):
    texts = pairs_at(threshold, 400, random.Random(5))
    sets = [three_words(text) for text in texts]
    reached = [len(one & other) / len(one | other) for one, other in zip(sets[::2], sets[1::2])]
    assert threshold <= min(reached) and sum(reached) / 400 < threshold + 0.03
    found = duplicates.near_pairs(texts, threshold=threshold)
    assert {(int(a), int(b)) for a, b in zip(found["first"], found["second"])} <= {(k, k + 1) for k in range(0, 800, 2)}
    assert len(found) >= 0.95 * 400


def test_groups_are_the_components_of_the_pairs_and_keep_their_first_row():
    texts = ["a b c d e f g h i j", "other words stand here alone", "a b c d e f g h i x", "A, b; c d e f g h i j!", "y b c d e f g h i x"]
    groups = duplicates.near(texts, threshold=0.7)
    assert groups["row"].tolist() == [0, 2, 3, 4] and groups["group"].tolist() == [0, 0, 0, 0] and groups["size"].tolist() == [4] * 4
    assert groups["keep"].tolist() == [True, False, False, False]
    assert groups["similarity"].tolist() == pytest.approx([1, 7 / 9, 1, 7 / 9])  # 7 shared of 8 + 8 - 7; rows 0 and 3 are one set of words
    assert duplicates.extra_rows(groups).tolist() == [2, 3, 4]


def test_groups_are_numbered_by_their_first_row():
    groups = duplicates.exact(["b", "a", "b", "c", "a", "a"])
    assert list(zip(groups["row"], groups["group"], groups["size"])) == [(0, 0, 2), (2, 0, 2), (1, 1, 3), (4, 1, 3), (5, 1, 3)]


def test_exact_tells_letters_apart_and_normalised_does_not():
    texts = ["The cat.", "the  cat", "The cat.", "ﬁne", "FINE"]
    assert duplicates.exact(texts)["row"].tolist() == [0, 2]
    assert duplicates.exact(texts, normalise=True)["row"].tolist() == [0, 1, 2, 3, 4]


def test_an_empty_row_is_near_other_empty_rows_only():
    assert duplicates.near(["", "a word", "", "!!"])["row"].tolist() == [0, 2, 3]
    assert len(duplicates.near([])) == 0 and len(duplicates.near(["one"])) == 0 and len(duplicates.near(["", "x"])) == 0


def test_texts_shorter_than_the_n_gram_are_compared_whole():
    assert duplicates.near(["yes", "no", "Yes.", "yes no"])["row"].tolist() == [0, 2]


def test_text_without_spaces_is_compared_by_character():
    base = "町の東にある古い図書館には誰も読まない本がたくさん並んでいる"
    found = duplicates.near_pairs([base, base.replace("古い", "白い"), "まったく別の話をここに書いておくことにする"], threshold=0.6)
    assert found[["first", "second"]].values.tolist() == [[0, 1]]


def test_characters_see_a_typing_error_in_a_short_row():
    texts = ["international", "internatoinal cooperation of towns", "international cooperation of towns"]
    assert len(duplicates.near_pairs(texts, threshold=0.6)) == 0
    assert duplicates.near_pairs(texts, threshold=0.6, unit="characters", n=3)[["first", "second"]].values.tolist() == [[1, 2]]


def test_ten_thousand_copies_of_a_boilerplate_are_one_group():
    texts = ["The quick brown fox jumps over the lazy dog today"] * 10_000 + [f"this is row {i} of many others {i}" for i in range(10)]
    pairs = duplicates.near_pairs(texts, threshold=0.9)
    assert len(pairs) == 9_999 and set(pairs["first"]) == {0}


def test_a_bucket_larger_than_the_window_is_still_one_group():
    head = " ".join(f"h{i}" for i in range(100))
    texts = [f"{head} own{i} tail{i}" for i in range(300)]
    groups = duplicates.near(texts, threshold=0.9)
    assert groups["size"].tolist() == [300] * 300


def test_layouts_columns_and_iterables_give_the_same_groups():
    questions = ["what is one and one", "who are you today", "what is one and one"]
    rows = [{"id": str(i), "question": question, "answer": "1"} for i, question in enumerate(questions)]
    table = pa.Table.from_pylist(rows)
    chat = [{"messages": [{"role": "user", "content": row["question"]}, {"role": "assistant", "content": row["answer"]}]} for row in rows]
    for source in (table, rows, iter(rows), chat, pa.Table.from_pylist(chat), table.to_pandas()):
        assert duplicates.exact(source)["row"].tolist() == [0, 2]
    assert duplicates.exact(table, columns="answer")["size"].tolist() == [3, 3, 3]
    assert duplicates.exact(table, columns=["id", "question"])["row"].tolist() == []


def test_another_process_finds_the_same():
    script = ("from workbench.data import duplicates\nfrom tests.data.test_duplicates import rows_with_families\n"
              "print(duplicates.near(rows_with_families(), threshold=0.5).to_json())")
    done = [subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env={"PYTHONHASHSEED": seed, "PYTHONPATH": "."})
            for seed in ("1", "2")]
    assert done[0].returncode == 0, done[0].stderr
    assert done[0].stdout == done[1].stdout and len(done[0].stdout) > 100


def test_it_can_be_stopped_from_its_progress():
    seen = []

    def stop(done, count):
        seen.append((done, count))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        duplicates.near(["a"] * 50_000, progress=stop)
    assert seen == [(20_000, 50_000)]


@pytest.mark.parametrize("options, sentence", [({"threshold": 0.1}, "threshold of 0.1"), ({"threshold": 1.2}, "threshold of 1.2"),
                                               ({"permutations": 81}, "81 permutations"), ({"n": 0}, "n-gram of 0"),
                                               ({"unit": "bytes"}, "'bytes'"),
                                               ({"columns": "no"}, "There is no column 'no'")])
def test_what_cannot_be_asked_is_said(options, sentence):
    with pytest.raises(DataError, match=sentence):
        duplicates.near([{"text": "a"}, {"text": "b"}], **options)


def test_rows_that_are_no_rows_are_named():
    with pytest.raises(DataError, match="Row 2 is int"):
        duplicates.near([{"text": "a"}, 3])


def test_real_rows_pair_as_brute_force_pairs_them(real_data):
    from workbench.data import ngrams, sources, texts

    table = sources.load_rows(real_data / "sms_spam" / "SMSSpamCollection")
    plain = dict.fromkeys(" ".join(ngrams.words(text)) for text in texts.texts_of(table, "text"))
    shown = [text for text in plain if len(text.split()) > 5][:800]
    expected = brute(shown, 0.3)
    found = duplicates.near_pairs(shown, threshold=0.3)
    got = {(int(a), int(b)) for a, b in zip(found["first"], found["second"])}
    assert len(expected) > 20 and got <= set(expected) and len(got) >= 0.95 * len(expected)
