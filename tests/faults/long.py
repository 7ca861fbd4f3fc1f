"""The long set, `make faults`: one run killed at ten random steps. `make test` takes three kills instead."""

from __future__ import annotations

import random

import pytest

import workbench as wb
from tests.faults.test_faults import assert_as_uninterrupted, change, killed_and_resumed, recipe, uninterrupted  # noqa: F401 (a fixture)
from tests.runs import tools


@pytest.mark.faults
@pytest.mark.timeout(1200)
def test_killed_ten_times_it_ends_with_the_losses_of_an_uninterrupted_run(real_data, tmp_path, uninterrupted):  # noqa: F811
    run = wb.start(recipe(real_data), runs=tmp_path)
    change(run)
    killed_and_resumed(run, 10, seed=random.SystemRandom().randrange(10**6))
    assert_as_uninterrupted(run, uninterrupted)
    assert len(run.history.resumptions) == 10 and len(tools.losses(run)) == 60
