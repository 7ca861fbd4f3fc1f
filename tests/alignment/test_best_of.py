"""What the best of n keeps, against every tuple counted one by one, and its KL against the bound."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from workbench.alignment.best_of import kept_kl, kept_shares
from workbench.alignment.kl import best_of_n_kl
from workbench.errors import WorkbenchError

LAWS = {"as likely": (None, [1, 2, 3, 4]), "a skewed law": ([0.7, 0.2, 0.06, 0.04], [0, 3, 1, 2]),
        "ties": ([0.4, 0.3, 0.2, 0.1], [1, 1, 0, 1]), "nothing to choose": ([0.5, 0.5], [2, 2]), "what never comes": ([0.0, 1.0], [9, 1])}


@pytest.mark.parametrize("n", [1, 2, 3, 5])
@pytest.mark.parametrize(("shares", "rewards"), LAWS.values(), ids=LAWS)
def test_shares_are_those_of_all_tuples(shares, rewards, n: int) -> None:
    given = shares or [1 / len(rewards)] * len(rewards)
    counted = np.zeros(len(rewards))
    for drawn in itertools.product(range(len(rewards)), repeat=n):
        best = [k for k in drawn if rewards[k] == max(rewards[j] for j in drawn)]
        for k in best:
            counted[k] += math.prod(given[j] for j in drawn) / len(best)
    np.testing.assert_allclose(kept_shares(rewards, n, shares), counted, atol=1e-12)
    kl = sum(q * math.log(q / p) for q, p in zip(counted, given, strict=True) if q > 0)
    assert kept_kl(rewards, n, shares) == pytest.approx(kl, abs=1e-12)


@pytest.mark.parametrize("n", [1, 2, 4, 16, 128])
def test_the_kl_is_at_or_under_its_bound_and_comes_to_it_where_outcomes_are_many(n: int) -> None:
    """log n - (n - 1)/n is the KL where no two draws can tie (Stiennon et al. 2020, appendix G.3); any other law gives less."""
    draw = np.random.default_rng(n)
    for _ in range(50):
        count = int(draw.integers(1, 30))
        assert kept_kl(draw.integers(0, 9, count), n, draw.dirichlet(np.full(count, 0.5))) <= best_of_n_kl(n) + 1e-12
    assert kept_kl(draw.normal(size=200_000), n) == pytest.approx(best_of_n_kl(n), abs=1e-3)


@pytest.mark.parametrize("n", [0, 1.5, True])
def test_the_best_of_nothing_is_refused(n) -> None:
    with pytest.raises(WorkbenchError, match="cannot be had"):
        kept_shares([1, 2], n)


@pytest.mark.parametrize(("rewards", "shares", "says"), [
    ([], None, "no rewards"), ([1.0, math.nan], None, "some that are no number"), (["a"], None, "what is no number"),
    ([1, 2], [0.5, 0.4], "no law"), ([1, 2], [1.5, -0.5], "no law"), ([1, 2], [1.0], "no law"), ([1, 2], [math.nan, 1.0], "no law"),
])
def test_what_is_no_law_is_refused(rewards, shares, says) -> None:
    for ask in (kept_shares, kept_kl):
        with pytest.raises(WorkbenchError, match=says):
            ask(rewards, 2, shares)
