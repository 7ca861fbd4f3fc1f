"""The text of a row: what its layout trains on, from every container, and every string in it where all are asked for."""

from __future__ import annotations

import hashlib

import pyarrow as pa
import pytest

from workbench.data import ngrams, texts
from workbench.errors import DataError


@pytest.mark.parametrize("row, text", [
    ({"id": "7", "question": "How?", "answer": "So."}, "How?\nSo."),
    ({"messages": [{"role": "user", "content": "How?"}, {"role": "assistant", "content": "So."}]}, "How?\nSo."),
    ({"conversations": [{"from": "human", "value": "How?"}, {"from": "gpt", "value": "So."}], "id": "a"}, "How?\nSo."),
    ({"output": "So.", "input": "Quickly.", "instruction": "Do it.", "system": "Be kind."}, "Be kind.\nDo it.\nQuickly.\nSo."),
    ({"instruction": "Do it.", "input": "", "output": None}, "Do it."),
    ({"prompt": "How?", "chosen": "So.", "rejected": "Go away."}, "How?\nSo."),
    ({"text": "Plain.", "source": "web"}, "Plain."),
    ({"left": "a", "number": 3, "right": [{"deep": "b"}, {"deep": "c"}]}, "a\nb\nc"),
])
def test_the_text_is_what_is_trained_on(row, text):
    assert texts.texts_of([row]) == texts.texts_of(pa.Table.from_pylist([row])) == [text]


def test_every_string_where_all_are_asked_for():
    row = {"id": "7", "prompt": "How?", "chosen": "So.", "rejected": "Go away."}
    assert texts.texts_of([row], whole=True) == ["7\nHow?\nSo.\nGo away."]
    assert texts.texts_of([row], "rejected") == ["Go away."] and texts.texts_of([row], ["rejected", "id"]) == ["Go away.\n7"]


def test_rows_with_other_columns_keep_their_place():
    assert texts.texts_of([{"a": "x"}, {}, {"b": "y"}]) == ["x", "", "y"] and texts.texts_of([]) == []
    assert texts.column_of([{"a": 1}, {}, {"a": None}], "a") == [1, None, None]


def test_one_text_is_taken_for_a_source_and_columns_of_texts_are_refused():
    with pytest.raises(DataError, match="There is no file"):
        texts.texts_of("no_such_file.jsonl")
    with pytest.raises(DataError, match="no columns to choose"):
        texts.texts_of(["a", "b"], "text")


def test_words_are_the_same_however_they_are_written():
    assert ngrams.words("The ﬁrst CAFÉ—don't") == ngrams.words("the first cafe\u0301, DON'T") == ["the", "first", "café", "don", "t"]
    assert ngrams.words("東京 2020年") == ["東", "京", "2020", "年"]


def test_n_grams_are_sets_and_their_hashes_do_not_change():
    found = ngrams.grams(["a b a b", "", "b a", "c"], n=2)
    assert found.counts.tolist() == [2, 0, 1, 1] and set(found.hashes[3:4]) | set(found.hashes[2:3]) != set(found.hashes[:2])
    assert set(found.hashes[2:3]) < set(found.hashes[:2])
    assert ngrams.hash_of("town").to_bytes(8, "little") == hashlib.blake2b(b"town", digest_size=8).digest()


@pytest.mark.parametrize(("row", "text"), [
    ({"label": "spam", "text": "Win"}, "Win"),
    ({"instruction": "Say", "context": "a word", "response": "yes", "category": "qa"}, "Say\na word\nyes"),
    ({"prompt": "P", "completion": "C", "label": "sport"}, "P\nC"), ({"system": "S", "prompt": "P", "response": "R"}, "S\nP\nR")])
def test_labels_are_no_text(row, text):
    assert texts.texts_of([row]) == [text]
