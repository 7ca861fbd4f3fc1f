"""Masks against plain loops, and the table they leave."""

from __future__ import annotations

import random

import numpy as np
import pyarrow as pa
import pytest

import workbench as wb
from workbench.data import cleaning, duplicates, overlap
from workbench.errors import DataError

TEXTS = ["The baker of Orla", "a BAKER lives here", "Straße in Orla", "", "of the baker, Orla", "100% $x$ <b>", "of the baker"]


@pytest.mark.parametrize(("query", "expected"), [("baker", [0, 1, 4, 6]), ("orla baker", [0, 4]), ('"of the"', [4, 6]), ("", range(7)),
                                                 ("straße", [2]), ("100% <b", [5]), ("$x$", [5]), ('"" baker of', [0, 4, 6]),
                                                 ("no such", [])])
def test_a_row_matches_where_it_holds_every_word(query, expected):
    assert np.flatnonzero(cleaning.matching(TEXTS, query)).tolist() == list(expected)
    assert np.flatnonzero(cleaning.matching(cleaning.lowered(TEXTS), query)).tolist() == list(expected)


def test_text_that_no_encoding_has_is_searched_too():
    assert cleaning.matching(["odd \udc80 text", "odd"], "odd text").tolist() == [True, False]


def test_between_takes_the_lower_bound_in_and_leaves_the_upper_out():
    values = [1, 2, float("nan"), 3]
    assert cleaning.between(values, 1, 3).tolist() == [True, True, False, False]
    assert cleaning.between(values, high=2).tolist() == [True, False, False, False]
    assert cleaning.between(values).tolist() == [True, True, False, True]
    with pytest.raises(DataError, match="No value lies from 3 to 1"):
        cleaning.between(values, 3, 1)


def test_what_is_left_are_the_other_rows_in_order_with_their_source():
    rows = wb.load_rows("town:instructions")
    dropped = cleaning.numbered([3, 0, 3, 999], 1000)
    kept = cleaning.without(rows, dropped)
    assert kept.to_pylist() == [row for i, row in enumerate(rows.to_pylist()) if i not in (0, 3, 999)]
    assert kept.schema.metadata == rows.schema.metadata and cleaning.without(rows, np.zeros(1000, bool)).equals(rows)
    assert wb.Recipe(data=kept).data is kept and wb.load_rows(kept).num_rows == 997


@pytest.mark.parametrize(("call", "words"), [
    (lambda rows: cleaning.without(rows, np.ones(2, bool)), "Every row is dropped"),
    (lambda rows: cleaning.without(rows, np.ones(3, bool)), "3 rows, and there are 2"),
    (lambda rows: cleaning.numbered([2], 2), "no row 2 among 2"), (lambda rows: cleaning.numbered([-1], 2), "no row -1 among 2")])
def test_a_mask_that_does_not_fit_is_refused(call, words):
    with pytest.raises(DataError, match=words):
        call(pa.table({"text": ["a", "b"]}))


def test_groups_of_pairs_found_at_a_lower_threshold_are_those_found_at_the_higher_one():
    chance = random.Random(3)
    base = [" ".join(f"w{chance.randrange(400)}" for _ in range(40)) for _ in range(120)]
    texts = base + [" ".join(word if chance.random() > share else "other" for word in text.split())
                    for text in base[:60] for share in (0.02, 0.08)]
    pairs = duplicates.near_pairs(texts, threshold=0.4)
    sizes = []
    for threshold in (0.5, 0.7, 0.9):
        expected = duplicates.near(texts, threshold=threshold)
        assert duplicates.groups(pairs, len(texts), threshold).equals(expected)
        assert duplicates.likeness(pairs, len(texts))[expected["row"]].tolist() == expected["similarity"].tolist()
        sizes.append(len(expected))
    assert sizes[0] > sizes[1] > sizes[2] > 0


def test_a_leaking_row_names_the_first_test_row_it_shares_a_run_with():
    chance = random.Random(5)
    test = [" ".join(f"t{i}w{k}" for k in range(20)) for i in range(8)]
    train = [" ".join(f"w{chance.randrange(900)}" for _ in range(40)) for _ in range(50)]
    train[7] += " " + test[5] + " " + test[2]
    train[30] = "so " + test[6]
    found = overlap.leaks(test, train)
    assert found.to_dict("list") == {"row": [7, 30], "test_row": [2, 6]}
    assert overlap.leaking_rows(test, train).tolist() == [7, 30] and len(overlap.leaks(test, train[8:20])) == 0
