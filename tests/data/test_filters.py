"""Filters: measures by hand, planted bad rows each with its reason, and real rows that must pass."""

from __future__ import annotations

import json

import pytest

from workbench.data import filters
from workbench.errors import DataError

GOOD = [
    "Who bakes the bread in Orla? Mira does, every morning but Sunday.",
    "Yes.",
    "for i in range(10):\n    print(i ** 2)",
    "Das Café öffnet um 8:30 Uhr; bringe bitte 20 € mit.",
    "町の東にある古い図書館には誰も読まない本がたくさん並んでいる。",
    "हिन्दी में एक छोटा वाक्य जो ठीक है।",
    "To be, or not to be, that is the question: whether 'tis nobler in the mind to suffer the slings and arrows of outrageous fortune.",
    "12 + 30 = 42, so the answer is 42.",
]

BAD = {
    "": "too short",
    "   \n ": "too short",
    "@@@ ### $$$ %%% ^^^ *** ~~~ a": "symbols",
    "4111 2222 3333 4444 5555 6666 7777 8888 a": "digits",
    "9" * 50: "hardly a letter",
    "a" * 200: "run together",
    "the same line again and again\n" * 12: "repeated lines",
    "we will see what we will do and then " * 10: "repeated phrases",
    "very " * 40: "one word over and over",
    "caf\u00c3\u00a9 au lait": "broken characters",
    "it\u00e2\u20ac\u2122s broken": "broken characters",
    "what is \ufffd this": "broken characters",
}


def test_good_rows_pass():
    assert filters.passing(GOOD).tolist() == list(range(len(GOOD))), filters.failing(GOOD).to_string()


@pytest.mark.parametrize("text", BAD)
def test_a_bad_row_is_told_with_its_reason(text):
    found = filters.failing([*GOOD, text])
    assert found["row"].tolist() == [len(GOOD)]
    assert BAD[text] in found["reasons"].iloc[0]


def test_measures_by_hand():
    line = filters.measures(["ab, cd 12 #\nab, cd 12 #"]).iloc[0]
    assert line["characters"] == 23 and line["words"] == 6 and line["mean_word_length"] == 2
    assert line["letter_share"] == pytest.approx(8 / 16) and line["digit_share"] == pytest.approx(4 / 16)
    assert line["symbol_share"] == pytest.approx(2 / 16)
    assert line["repeated_line_share"] == 0.5 and line["top_word_share"] == pytest.approx(2 / 6) and line["repeated_gram_share"] == 0
    assert filters.measures(["a b c d e a b c d"])["repeated_gram_share"].iloc[0] == pytest.approx(4 / 9)
    assert filters.measures([""]).iloc[0].tolist() == [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]


def test_bounds_are_moved_by_measure_and_measuring_is_done_once():
    rows = ["one two three", "one two three four five", "one"]
    measured = filters.measures(rows)
    assert filters.failing(rows, measured=measured, words=(2, 4))["row"].tolist() == [1, 2]
    assert filters.failing(rows, measured=measured, words=(2, None))["reasons"].tolist() == [["too short"]]
    assert filters.failing(rows, measured=measured, characters=(None, 13))["row"].tolist() == [1]
    found = filters.failing(rows, measured=measured, words=(None, 4))
    assert (found["measure"].tolist(), found["value"].tolist()) == (["words"], [5])


def test_repetition_is_not_held_against_a_short_row_unless_asked():
    assert filters.passing(["no no no no"]).tolist() == [0]
    assert filters.passing(["no no no no"], top_word_share=(0, 0.9)).tolist() == []


@pytest.mark.parametrize("bounds, sentence", [({"beauty": (0, 1)}, "no measure 'beauty'"), ({"words": (5, 2)}, "words from 5 to 2")])
def test_what_cannot_be_asked_is_said(bounds, sentence):
    with pytest.raises(DataError, match=sentence):
        filters.failing(["a"], **bounds)


def test_real_rows_of_people_pass_but_for_a_few(real_data):
    seeds = [json.loads(line) for line in (real_data / "self_instruct" / "seed_tasks.jsonl").read_text().splitlines()]
    kept = filters.passing([task["instruction"] for task in seeds])
    assert len(kept) >= 0.99 * len(seeds)
    table = str(real_data / "gsm8k" / "train_2000.jsonl")
    assert len(filters.failing(table)) <= 0.01 * 2000
