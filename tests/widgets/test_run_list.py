"""The list of runs: forks below their parents, found by name, note and recipe."""

from __future__ import annotations

import math

from widgets.run_monitor.run_list import matching, rows_of


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
