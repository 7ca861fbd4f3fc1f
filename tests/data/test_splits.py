"""Splits against their own promise: no value on two sides, every row once, the same in any order."""

from __future__ import annotations

import random
import re

import numpy as np
import pyarrow as pa
import pytest

from workbench.data import duplicates, splits
from workbench.errors import DataError

THREE = {"train": 0.8, "check": 0.1, "test": 0.1}


def letters(people: int = 60, tasks: int = 40, seed: int = 0) -> list[dict]:
    """Rows of unequal groups: person i works on two tasks of a village of four people, so that components stay small."""
    chance = random.Random(seed)
    rows = []
    for person in range(people):
        for _ in range(chance.randint(1, 12)):
            rows.append({"person": f"p{person}", "task": f"t{person // 4 * 2 + chance.randrange(2)}",
                         "text": f"letter {chance.randrange(10 ** 9)}"})
    chance.shuffle(rows)
    return rows


def sides(rows, parts, *columns):
    return [{tuple(rows[i][c] for c in columns) for i in found} for found in parts.values()]


@pytest.mark.parametrize("growing", [False, True])
@pytest.mark.parametrize("by", ["person", "task", ["person", "task"]])
def test_no_person_and_no_task_crosses(by, growing):
    rows = letters()
    parts = splits.split(rows, by, {"train": 0.6, "test": 0.4}, growing=growing)
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(len(rows)))
    for column in [by] if isinstance(by, str) else by:
        train, test = sides(rows, parts, column)
        assert train and test and not train & test
        assert splits.crossing(rows, parts, column).empty


def test_grouped_by_person_alone_tasks_do_cross_and_it_is_shown():
    rows = [{"person": "ann", "task": "sums", "text": "1"}, {"person": "bob", "task": "sums", "text": "2"},
            {"person": "cy", "task": "rhymes", "text": "3"}]
    found = splits.crossing(rows, {"train": [0, 2], "test": [1]}, "task")
    assert found.to_dict("records") == [{"value": "sums", "parts": "train, test", "rows_train": 1, "rows_test": 1}]
    assert splits.crossing(rows, {"train": [0, 2], "test": [1]}, "person").empty


def test_shares_are_met_but_for_the_size_of_a_group():
    rows = letters(people=300)
    largest = max(sum(row["person"] == f"p{i}" for row in rows) for i in range(300))
    parts = splits.split(rows, "person", THREE)
    for part, share in THREE.items():
        assert abs(len(parts[part]) - share * len(rows)) <= (len(THREE) - 1) * largest


@pytest.mark.parametrize("growing", [False, True])
def test_the_order_of_the_rows_does_not_matter(growing):
    rows = letters()
    turned = rows[::-1]
    first = splits.split(rows, ["person", "task"], {"train": 0.6, "test": 0.4}, growing=growing)
    second = splits.split(turned, ["task", "person"][::-1], {"train": 0.6, "test": 0.4}, growing=growing)
    assert sides(rows, first, "text") == sides(turned, second, "text")


def test_another_seed_is_another_split():
    rows = letters()
    found = {tuple(splits.split(rows, "person", seed=seed)["test"]) for seed in range(5)}
    assert len(found) == 5


def test_growing_moves_nothing_that_was_there():
    rows = letters()
    more = rows + [{"person": f"q{i}", "task": f"u{i}", "text": f"new {i}"} for i in range(200)]
    before = splits.split(rows, "person", {"train": 0.7, "test": 0.3}, growing=True)
    after = splits.split(more, "person", {"train": 0.7, "test": 0.3}, growing=True)
    for part in before:
        assert set(before[part]) <= set(after[part])
    assert abs(len(after["test"]) / len(more) - 0.3) < 0.12


def added(rows: list[dict], seed: int) -> list[dict]:
    """Rows of old and new people who work on old and new tasks, as chance has it."""
    chance = random.Random(seed)
    return [*rows, *({"person": f"p{chance.randrange(70)}", "task": f"{chance.choice('at')}{chance.randrange(60)}", "text": f"new {i}"}
                     for i in range(3))]


@pytest.mark.parametrize("seed", range(30))
def test_rows_of_one_column_never_move_and_those_of_several_stay_or_are_refused(seed):
    rows, shares = letters(seed=seed), {"train": 0.6, "test": 0.4}
    more = added(rows, seed)
    for by in ("person", "task"):
        before, after = (splits.split(part, by, shares, growing=True, seed=seed) for part in (rows, more))
        assert all(set(before[part]) <= set(after[part]) for part in before)
    by = ["person", "task"]
    for growing in (True, False):
        before = splits.split(rows, by, shares, growing=growing, seed=seed)
        try:
            after = splits.split(more, by, shares, growing=before, seed=seed)
        except DataError as error:
            first, second = (int(number) - 1 for number in re.findall(r"[Rr]ow (\d+) \(", error.what))
            assert "a row that was added ties them" in error.what and (first in before["train"]) != (second in before["train"])
        else:
            assert all(set(before[part]) <= set(after[part]) for part in before)
            assert all(splits.crossing(more, after, column).empty for column in by)


def test_a_row_that_ties_two_parts_is_refused_and_one_that_ties_none_goes_along():
    rows = [{"a": "x", "b": "1", "text": "one"}, {"a": "y", "b": "2", "text": "two"}]
    parts = {"train": [0], "test": [1]}
    shares = {"train": 0.5, "test": 0.5}
    with pytest.raises(DataError, match=r"Row 1 \(train\) and row 2 \(test\) belong together now"):
        splits.split([*rows, {"a": "x", "b": "2", "text": "three"}], ["a", "b"], shares, growing=parts)
    found = splits.split([*rows, {"a": "a", "b": "2", "text": "three"}], ["a", "b"], shares, growing=parts)
    assert {part: of.tolist() for part, of in found.items()} == {"train": [0], "test": [1, 2]}
    for wrong, words in (({"dev": [0]}, "have 'dev'"), ({"train": [5]}, "has row 6")):
        with pytest.raises(DataError, match=words):
            splits.split(rows, ["a", "b"], shares, growing=wrong)


def test_empty_values_join_nothing():
    rows = [{"person": value, "text": f"same or {i % 3}"} for i, value in enumerate([None, "", float("nan"), None] * 50)]
    rows = [{**row, "person": None if row["person"] != row["person"] else row["person"]} for row in rows]
    parts = splits.split(rows, "person", {"train": 0.5, "test": 0.5})
    assert len(parts["train"]) == len(parts["test"]) == 100


def test_near_duplicates_stay_on_one_side():
    base = [f"w{i} " * 3 + f"the letter number {i} is about bread and fish and nothing but {i}" for i in range(40)]
    texts = [text + ending for text in base for ending in (" today", " now")]
    found = duplicates.near(texts, threshold=0.6)
    assert len(found) == 80
    parts = splits.split(texts, labels=splits.duplicate_labels(found, len(texts)), shares={"train": 0.5, "test": 0.5})
    assert {i // 2 for i in parts["train"]} & {i // 2 for i in parts["test"]} == set() and len(parts["test"]) == 40


def test_containers_agree():
    rows = letters()
    table = pa.Table.from_pylist(rows)
    expected = splits.split(rows, "person")["test"].tolist()
    for source in (table, table.to_pandas(), iter(rows)):
        assert splits.split(source, "person")["test"].tolist() == expected
    assert splits.split(rows, labels=[row["person"] for row in rows])["test"].tolist() == expected


@pytest.mark.parametrize("arguments, sentence", [
    ({"by": "person", "shares": {"train": 0.5, "test": 0.4}}, "do not divide"),
    ({"by": "person", "shares": {"train": 1.5, "test": -0.5}}, "do not divide"),
    ({"by": "nobody"}, "no column 'nobody'"), ({"labels": [1, 2]}, "2 labels for"), ({"by": "list"}, "list where a group's name"),
    ({"by": "all"}, "No rows are left for test: 1 groups .* holds 100 %|100%")])
def test_what_cannot_be_split_is_said(arguments, sentence):
    rows = [{**row, "list": ["a"], "all": "x"} for row in letters()]
    with pytest.raises(DataError, match=sentence):
        splits.split(rows, **arguments)


def test_no_rows_cannot_be_split():
    with pytest.raises(DataError, match="No rows are left"):
        splits.split([])
