"""Numbers in files: they load as they are written, or are refused; none is rounded on the way and none is made of true or false."""

from __future__ import annotations

import json

import pytest

from workbench.data import sources
from workbench.errors import DataError


@pytest.mark.parametrize(("written", "read"), [
    (["18446744073709551617", "18446744073709551618"], ["18446744073709551617", "18446744073709551618"]),
    (["9007199254740993", "1.5", ""], ["9007199254740993", "1.5", None]), (["1", "1.5", "true"], ["1", "1.5", "true"]),
    (["1", "true"], ["1", "true"]), (["true", "False"], [True, False]), (["9007199254740992", "1.5"], [2.0**53, 1.5]),
    (["9223372036854775807", "-5"], [2**63 - 1, -5]), (["1e300", "0.5"], [1e300, 0.5]), (["0", "1"], [0, 1])])
def test_a_number_in_csv_keeps_its_digits(tmp_path, written, read):
    (tmp_path / "a.csv").write_text("text,n\n" + "".join(f"x,{value}\n" for value in written))
    assert sources.load_rows(tmp_path / "a.csv")["n"].to_pylist() == read


def test_a_number_in_json_keeps_its_digits(tmp_path):
    rows = [{"n": 2**63 - 1, "f": 1e300, "s": "18446744073709551617"}, {"n": -2**63, "f": 2.0**70, "s": "x"}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert sources.load_rows(tmp_path / "a.jsonl").to_pylist() == rows


def test_truth_values_among_the_numbers_of_a_frame_are_named():
    import pandas as pd

    with pytest.raises(DataError, match="row 3 of the column 'n' has a truth value among numbers"):
        sources.load_rows(pd.DataFrame({"n": pd.Series([1, 1.5, True], dtype=object)}))
