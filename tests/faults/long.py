"""The long set, `make faults`: a run killed at ten random steps, and one with its first and its last step among the ten.

`make test` takes three kills instead.
"""

from __future__ import annotations

import random

import pytest

import workbench as wb
from tests.faults.test_faults import assert_as_uninterrupted, change, killed_and_resumed, recipe, uninterrupted  # noqa: F401 (a fixture)
from tests.runs import tools


@pytest.mark.faults
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", [None, 9], ids=["random", "first and last step"])
def test_killed_ten_times_it_ends_with_the_losses_of_an_uninterrupted_run(real_data, tmp_path, uninterrupted, seed):  # noqa: F811
    """Seed 9 draws the first and the last step among its ten."""
    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    run = wb.start(recipe(real_data), runs=tmp_path)
    change(run)
    killed_and_resumed(run, 10, seed)
    assert_as_uninterrupted(run, uninterrupted)
    assert len(run.history.resumptions) == 10 and len(tools.losses(run)) == 60
