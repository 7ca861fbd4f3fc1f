"""Mixtures in which a source is a stream: its rows in order, its share, the columns of what is drawn."""

from __future__ import annotations

import datasets
import pytest

from tests.data.test_mixture import letters, texts
from workbench.data.mixture import Mixture
from workbench.errors import DataError


def stream(letter, count):
    return datasets.IterableDataset.from_generator(lambda: iter(texts(letter, count)))


def test_a_stream_gives_its_rows_in_order_beside_sources_with_a_length():
    mixture = Mixture({"a": texts("a", 40), "s": stream("s", 7)}, rule="weights", weights={"a": 1, "s": 3})
    drawn = [row["text"] for row in mixture.draw(3000)]
    assert letters({"text": text} for text in drawn) == {"a": 750, "s": 2250}
    assert [text for text in drawn if text[0] == "s"] == [f"s{i % 7}" for i in range(2250)]
    assert set(drawn[:160]) >= {f"a{i}" for i in range(40)}
    assert [row["text"] for row in mixture.draw(60, start=1001)] == drawn[1001:1061]
    assert mixture.epochs(160) == {"a": 1.0, "s": None}


def test_rows_of_a_stream_and_of_others_have_the_same_columns():
    def talk():
        yield from ({"question": f"q{i}", "answer": "!"} | ({"system": "s"} if i == 5 else {}) for i in range(30))

    mixture = Mixture({"a": texts("a", 9), "s": datasets.IterableDataset.from_generator(talk), "t": stream("t", 4)}, rule="equal")
    rows = list(mixture.draw(45))
    late = next(k for k, row in enumerate(rows) if row["question"] == "q5")
    assert {tuple(row) for row in rows[:late]} == {("text", "question", "answer")} and len(rows) == 45
    assert {tuple(row) for row in rows[late:]} == {("text", "question", "answer", "system")} and rows[late]["system"] == "s"
    assert all((row["text"] is None) == (row["question"] is not None) == (row["answer"] is not None) for row in rows)


def test_a_stream_has_no_share_of_its_own_until_its_rows_are_said():
    with pytest.raises(DataError, match="unknown length"):
        Mixture({"a": 10, "s": stream("s", 5)}).rates  # noqa: B018 - reading it raises
    assert Mixture({"a": 10, "s": stream("s", 5)}, counts={"s": 30}).rates == {"a": 0.25, "s": 0.75}
    with pytest.raises(DataError, match="gave no rows"):
        list(Mixture({"s": stream("s", 0)}, rule="equal").draw(3))
