"""Sources whose columns come in different types: joined where no value changes, refused by name where one would."""

from __future__ import annotations

import datasets
import pandas as pd
import pyarrow as pa
import pytest

from workbench.data import sources
from workbench.data.mixture import Mixture
from workbench.errors import DataError


def frame(**columns):
    return pd.DataFrame(columns)


@pytest.mark.parametrize("other", [[{"text": "q", "n": 2}], datasets.Dataset.from_list([{"text": "q", "n": 2}]),
                                   pa.table({"text": ["q"], "n": pa.array([2], pa.int32())}),
                                   pa.table({"text": pa.array(["q"], pa.string_view()), "n": [2]}),
                                   pa.table({"text": pa.array(["q"]).dictionary_encode(), "n": [2.0]})])
def test_a_frame_mixes_with_rows_from_anywhere(other):
    for mine in (frame(text=["p"], n=[1]), frame(text=["p"], n=[1]).astype({"text": "category"}),
                 datasets.Dataset.from_pandas(frame(text=["p"], n=[1])), pa.table({"text": pa.array(["p"], pa.large_string()), "n": [1]})):
        drawn = Mixture({"a": mine, "b": other}, rule="equal").draw(2)
        assert sorted((row["text"], row["n"]) for row in drawn) == [("p", 1), ("q", 2)]


def test_whole_numbers_become_numbers_and_objects_get_the_fields_they_lack_without_a_value_changing():
    rows = {"a": [{"n": 3, "m": [{"role": "user", "content": "x"}], "e": None, "z": 1}] * 2,
            "b": [{"n": 0.5, "m": [{"role": "user", "name": "N"}], "e": "y"}]}
    mixture = Mixture({"a": datasets.Dataset.from_list(rows["a"]).select([1]), "b": rows["b"]}, rule="equal")
    drawn = {row["n"]: row for row in mixture.draw(2)}
    assert drawn[3.0]["m"] == [{"role": "user", "content": "x", "name": None}] and drawn[3.0]["e"] is None and drawn[3.0]["z"] == 1
    assert drawn[0.5]["m"] == [{"role": "user", "content": None, "name": "N"}] and drawn[0.5]["e"] == "y" and drawn[0.5]["z"] is None


@pytest.mark.parametrize("values, words", [
    ((["x"], [1]), "'one' has text, 'two' has whole numbers"), (([True], [1]), "'one' has truth values, 'two' has whole numbers"),
    (([[1]], [["x"]]), "'one' has lists of whole numbers, 'two' has lists of text"), (([b"x"], ["x"]), "'one' has bytes, 'two' has text"),
    (([{"a": 1}], ["x"]), "'one' has objects, 'two' has text"),
    (([0.5], [2**60 + 1]), r"'one' needs numbers, 'two' has values that are none \(Integer value 1152921504606846977 not in range")])
def test_columns_that_clash_are_named_with_both_sources(values, words):
    mixture = Mixture({"zero": [{"text": "x"}], "one": pa.table({"c": values[0]}), "two": pa.table({"c": values[1]})}, rule="equal")
    with pytest.raises(DataError, match=f"The column 'c' cannot be one type: {words}"):
        mixture.draw(3)


def test_labels_are_no_plain_numbers():
    labelled = datasets.Dataset.from_list([{"c": 0}]).cast_column("c", datasets.ClassLabel(names=["ham", "spam"]))
    with pytest.raises(DataError, match=r"'one' has labels \(ham, spam\), 'two' has whole numbers"):
        Mixture({"one": labelled, "two": [{"c": 1}]}, rule="equal").draw(2)
    assert Mixture({"one": labelled, "two": labelled.select([0])}, rule="equal").draw(2)["c"][:] == [0, 0]


def test_tables_are_read_in_plain_types():
    large = pa.struct([("role", pa.large_string()), ("kind", pa.dictionary(pa.int8(), pa.large_string()))])
    messages = pa.array([[{"role": "user", "kind": "k"}], None, []], pa.large_list(large))
    table = pa.table({"text": pa.array(["a", None, "c"], pa.large_string()), "messages": messages, "n": pa.array([1, 2, 3], pa.int8()),
                      "kind": pa.chunked_array([pa.array(["x", "y", None]).dictionary_encode()]),
                      "b": pa.array([b"x"] * 3, pa.large_binary())})
    read = sources.load_rows(table)
    plain = pa.list_(pa.struct([("role", pa.string()), ("kind", pa.string())]))
    assert read.schema.types == [pa.string(), plain, pa.int8(), pa.string(), pa.binary()] and read.to_pylist() == table.to_pylist()
    same = pa.table({"text": ["a"]})
    assert sources.load_rows(same)["text"].chunk(0).buffers()[2].address == same["text"].chunk(0).buffers()[2].address


def test_a_frame_and_its_rows_have_one_layout_and_one_hash():
    rows = [{"prompt": "p", "completion": "c"}] * 3
    tables = [sources.load_rows(source) for source in (pd.DataFrame(rows), rows, datasets.Dataset.from_list(rows))]
    assert len({sources.content_hash(table) for table in tables}) == 1 and len({tuple(table.schema.types) for table in tables}) == 1
