"""Profiles of sources and what a mixture of them wastes, against rows that are really drawn and batches written out."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.data import lengths
from workbench.data.mixture import Mixture
from workbench.data.profiles import Lengths, Profile, measure
from workbench.errors import DataError


def profile(counted, rows=None) -> Profile:
    different, counts = np.unique(counted, return_counts=True)
    return Profile(rows or len(counted), different, counts)


def by_letter(text: str) -> int:
    return len(text)


@pytest.fixture
def mixture() -> Mixture:
    return Mixture({"short": [{"text": "a" * (1 + i % 7)} for i in range(300)],
                    "long": [{"question": "b" * (20 + i % 50), "answer": "c"} for i in range(100)]})


def test_a_profile_says_what_the_rows_say(mixture):
    found = measure(mixture, "short", by_letter, near=None)
    assert (found.rows, found.measured, found.layout, found.copies) == (300, 300, "plain text", None)
    assert found.tokens == sum(1 + i % 7 for i in range(300)) and found.mean == pytest.approx(found.tokens / 300)
    assert dict(zip(found.lengths.tolist(), found.counts.tolist(), strict=True)) == {k: 43 if k <= 6 else 42 for k in range(1, 8)}
    assert measure(mixture, "long", by_letter, near=None).layout == "question/answer"


def test_of_a_large_source_a_random_sample_is_measured(mixture):
    found = measure(mixture, "long", by_letter, most=40, near=None)
    assert (found.rows, found.measured) == (100, 40)
    assert found.tokens == round(found.mean * 100) and len(found.lengths) > 20  # not the first forty, which differ too; not one row twice
    everything = measure(mixture, "long", by_letter, near=None)
    assert abs(found.mean - everything.mean) < 6


def test_copies_are_counted():
    rows = [{"text": f"the {i} miller of the village sold {i * 7} sacks of flour to the {i} baker"} for i in range(30)]
    mixture = Mixture({"some": rows + rows[:10]})
    assert measure(mixture, "some", by_letter).copies == pytest.approx(10 / 40)


def test_measuring_tells_how_far_it_is_and_can_be_stopped(mixture):
    from transformers import AutoTokenizer

    from workbench import town

    class Stop(Exception):
        pass

    heard = []

    def progress(done, of):
        heard.append((done, of))
        raise Stop

    with pytest.raises(Stop):
        measure(mixture, "long", AutoTokenizer.from_pretrained(town.base_folder()), progress=progress)
    assert heard == [(100, 100)]


@pytest.mark.parametrize("seed", range(4))
def test_waste_is_that_of_rows_really_drawn(seed):
    rng = np.random.default_rng(seed)
    counted = {name: np.exp(rng.normal(mean, spread, count)).astype(int).clip(1, 900)
               for name, mean, spread, count in (("a", 3, .6, 4000), ("b", 4.5, .8, 700), ("c", 5.5, .4, 90))}
    mixture = Mixture({name: len(found) for name, found in counted.items()}, temperature=2, multipliers={"c": 1.5})
    order = mixture.order(60_000, seed=seed)
    drawn = np.array([counted[order.names[source]][row] for source, row in zip(order.source, order.row, strict=True)])
    told = Lengths({name: profile(found) for name, found in counted.items()}).waste(mixture.rates, 256, 16, rows=60_000)
    real = lengths.waste(drawn, 256, batch_size=16).iloc[0]
    assert told["truncated_share"] == pytest.approx(real["truncated_share"], abs=2e-3)
    assert told["lost_share"] == pytest.approx(real["lost_share"], abs=2e-3)
    assert told["tokens"] == pytest.approx(real["tokens"] / 60_000, rel=5e-3)
    assert told["padding_share"] == pytest.approx(real["padding_share"], abs=4e-3)
    assert told["packing_waste"] == pytest.approx(1 - real["packing_efficiency"], abs=2e-3)


def test_rough_packing_wastes_a_little_more():
    rng = np.random.default_rng(0)
    table = Lengths({"a": profile(np.exp(rng.normal(5.5, .9, 20_000)).astype(int).clip(4, 16_000))})
    exact, rough = (table.waste({"a": 1.0}, 4096, rows=100_000, rough=rough) for rough in (False, True))
    assert exact["packing_waste"] <= rough["packing_waste"] <= exact["packing_waste"] + 0.02
    assert {name: value for name, value in exact.items() if name != "packing_waste"} == \
        {name: value for name, value in rough.items() if name != "packing_waste"}


def test_a_max_length_out_of_all_proportion_costs_nothing():
    table = Lengths({"a": profile(np.arange(10, 400))})
    told = table.waste({"a": 1.0}, 10**9, rows=1000)
    assert told["truncated_share"] == 0 and 0.99 < told["packing_waste"] <= 1  # one row of a thousand million holds them all


def test_a_source_that_nobody_measured_is_named():
    table = Lengths({"a": profile(np.array([3, 4]))})
    with pytest.raises(DataError, match="'b' has no profile"):
        table.shares({"a": 0.5, "b": 0.5})
    assert table.shares({"a": 1.0, "b": 0.0}).tolist() == [0.5, 0.5]
    with pytest.raises(DataError, match="below 1"):
        table.waste({"a": 1.0}, 0)


def test_padding_of_a_batch_by_enumerating_every_batch():
    counts = np.array([0, 3, 1, 0, 2])  # lengths 1 1 1 2 4 4
    every = [1, 1, 1, 2, 4, 4]
    longest = np.mean([max(a, b, c) for a in every for b in every for c in every])
    assert lengths.padding_counts(counts, 3) == pytest.approx(1 - np.mean(every) / longest)
    assert lengths.padding_counts(counts, 1) == pytest.approx(0)


def test_other_settings_share_the_rows_that_were_read(mixture):
    rows = mixture.table("short")
    other = mixture.changed(rule="equal", multipliers={"long": 3})
    assert other.rates == {"short": 0.25, "long": 0.75} and other.table("short") is rows and mixture.rule == "proportional"
    with pytest.raises(DataError, match="Other sources"):
        mixture.changed(sources={"short": 3})
