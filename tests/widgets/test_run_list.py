"""The list of runs: forks below their parents, found by name, note and recipe."""

from __future__ import annotations

import math

from widgets.run_monitor.run_list import count_words, matching, rows_of


def record(name: str, parent: str = "", **more: object) -> dict:
    return (
        dict(
            name=name,
            folder=f"/runs/{name}",
            status="finished",
            step=2000,
            steps=2000,
            loss=1.6,
            heldout_loss=math.nan,
            parent=parent,
            note="",
        )
        | more
    )


def test_forks_stand_below_their_parents() -> None:
    rows = rows_of(
        [
            record("c", "b"),
            record("2026-11-21_093015-b", heldout_loss=1.519),
            record("2026-11-21_080000-d", "2026-11-21_093015-b", status="paused"),
            record("a"),
        ]
    )
    assert [(row["name"], row["depth"]) for row in rows] == [("c", 0), ("b", 0), ("d", 1), ("a", 0)]
    assert rows[1]["loss"] == "1.519" and rows[3]["loss"] == "1.600" and rows[2]["step"] == "2\u202f000" and "paused" in rows[2]["title"]


def test_search_looks_through_names_notes_and_recipes() -> None:
    rows = rows_of(
        [record("town-full", note="best SO far"), record("town-lora8", "town-full")], {"/runs/town-lora8": '{"learning_rate": 0.0003}'}
    )
    assert [row["name"] for row in matching(rows, "so best")] == ["town-full"]
    assert [(row["name"], row["depth"]) for row in matching(rows, "0.0003")] == [("town-lora8", 0)]
    assert matching(rows, "") == rows and matching(rows, "nothing of it") == []


def test_two_runs_of_one_name_are_told_apart_by_their_dates() -> None:
    rows = rows_of([record("2026-11-21_093015-b"), record("2026-11-22_080000-b"), record("2026-11-22_080000-c"), record("b")])
    assert [row["shown"] for row in rows] == ["11-21 09:30:15 b", "11-22 08:00:00 b", "c", "b"]


def test_the_list_says_how_many_runs_there_are_where_that_is_not_seen() -> None:
    assert [count_words(8, 8), count_words(200, 200), count_words(3, 200)] == ["", "200 runs; the list scrolls.", "3 of 200 runs match."]
