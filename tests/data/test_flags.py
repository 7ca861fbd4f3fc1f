"""Flags on verdicts: kept in a file, found again in any table, gone from what is trained next."""

from __future__ import annotations

import pytest

from workbench.data import sources
from workbench.data.flags import FILE, Flags
from workbench.errors import DataError

ROWS = [{"prompt": f"Who is {n}?", "chosen": "Mira.", "rejected": "Tom."} for n in range(4)]


def test_a_flagged_row_is_left_out_and_the_flag_survives(tmp_path):
    flags = Flags(tmp_path)
    assert flags.without(ROWS).num_rows == 4
    flags.add("Who is 1?", "Mira.", "Tom.")
    flags.add("Who is 1?", "Mira.", "Tom.")
    flags.add("Who is 2?", "Tom.", "Mira.")  # the verdict turned round: no row has it
    again = Flags(tmp_path)
    assert len(again) == 2 and ("Who is 1?", "Mira.", "Tom.") in again
    assert again.without(ROWS)["prompt"].to_pylist() == ["Who is 0?", "Who is 2?", "Who is 3?"]
    again.remove("Who is 1?", "Mira.", "Tom.")
    assert Flags(tmp_path).without(sources.load_rows(ROWS)).num_rows == 4
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_one_flagged_verdict_takes_its_ranking(tmp_path):
    rows = [{"prompt": prompt, "replies": ["a", "b", "c"], "ranks": ranks} for prompt, ranks in (("Q", [0, 1, 1]), ("R", [0, 1, 2]))]
    flags = Flags(tmp_path)
    flags.add("Q", "b", "c")  # no verdict: both have the same rank
    assert flags.without(rows).num_rows == 2
    flags.add("R", "b", "c")
    assert flags.without(rows)["prompt"].to_pylist() == ["Q"]


def test_what_cannot_be_is_refused(tmp_path):
    flags = Flags(tmp_path)
    for row in ROWS:
        flags.add(*row.values())
    with pytest.raises(DataError, match="none is left"):
        flags.without(ROWS)
    (tmp_path / FILE).write_text('{"a": 1}')
    with pytest.raises(DataError, match="no flags"):
        Flags(tmp_path)
