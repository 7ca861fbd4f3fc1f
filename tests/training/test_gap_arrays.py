"""Rewards of pairs in files: what is written is read, and of a pair drawn twice the later counts."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.training import gap_arrays


def test_what_is_saved_is_loaded(tmp_path):
    heldout = gap_arrays.PairRewards(np.array([0, 2]), np.zeros(2), np.ones(2), np.array([0.5, -1.0]), np.array([0.25, 2.0]))
    event = gap_arrays.save(tmp_path, 40, heldout)
    assert event.step == 40 and (tmp_path / event.file).exists() and not list(tmp_path.rglob("*.partial"))
    found = gap_arrays.load(tmp_path, event)
    assert list(found) == ["heldout"] and found["heldout"].row.tolist() == [0, 2] and found["heldout"].worse.tolist() == [1, 1]
    assert (found["heldout"].chosen - found["heldout"].rejected).tolist() == [[0.25], [-3.0]]
    (tmp_path / event.file).unlink()
    with pytest.raises(FileNotFoundError):
        gap_arrays.load(tmp_path, event)


def test_of_a_pair_drawn_twice_the_later_counts(tmp_path):
    """Row 7 is a ranking: its pairs (0, 1) and (0, 2) are two; row 3 comes twice."""
    heads = ("ours", "theirs")
    ranking = gap_arrays.PairRewards([7, 7], [0, 0], [1, 2], np.array([[1.0, 5.0]] * 2), np.array([[0.0, 0.0], [3.0, 0.0]]), heads)
    twice = [gap_arrays.PairRewards([3], [0], [1], [[value, value]], [[0.0, 0.0]], heads) for value in (1.0, 9.0)]
    one = gap_arrays.joined([*twice, ranking])
    assert one.row.tolist() == [3, 7, 7] and one.worse.tolist() == [1, 1, 2]
    assert one.chosen[:, 0].tolist() == [9.0, 1.0, 1.0] and one.rejected[:, 0].tolist() == [0.0, 0.0, 3.0]
    event = gap_arrays.save(tmp_path, 1, one, one)
    found = gap_arrays.load(tmp_path, event)
    assert set(found) == {"heldout", "train"} and found["train"].heads == ("ours", "theirs")
