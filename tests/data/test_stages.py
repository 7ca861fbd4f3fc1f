"""Stages: which rows each draws, what is replayed, going on in the middle, what is refused. Rates and orders are in test_mixture.py."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from workbench.data.mixture import Mixture
from workbench.data.stages import Stages
from workbench.errors import DataError


def texts(letter, count):
    return [{"text": f"{letter}{i}"} for i in range(count)]


def letters(drawn):
    return Counter(row["text"][0] for row in drawn)


def test_stages_draw_one_after_the_other_and_keep_some_of_the_first():
    stages = Stages([(Mixture({"t": texts("t", 600), "u": texts("u", 200)}), 400), (Mixture({"c": texts("c", 500)}), 200)], replay=0.1)
    assert stages.rates == [{"t": 0.75, "u": 0.25, "c": 0}, pytest.approx({"t": 0.075, "u": 0.025, "c": 0.9})]
    drawn = stages.draw(seed=3)
    assert letters(drawn.select(range(400))) == {"t": 300, "u": 100}
    assert letters(drawn.select(range(400, 600))) == {"t": 15, "u": 5, "c": 180}
    assert len(set(drawn["text"])) == 600  # what is replayed had not come yet
    assert stages.epochs() == {"t": 315 / 600, "u": 105 / 200, "c": 180 / 500}
    for start, rows in ((0, 10), (399, 2), (400, 200), (450, 3), (600, 0)):
        assert stages.draw(rows, seed=3, start=start)["text"][:] == drawn["text"][start:start + rows]
    assert stages.position(600, seed=3).taken == {"t": 315, "u": 105, "c": 180}


def test_later_stages_replay_all_before_them_by_their_rows():
    a, b, c = (Mixture({name: texts(name, 50)}) for name in "abc")
    stages = Stages([(a, 300), (b, 100), (c, 400)], replay=[0, 0.2, 0.5])
    # before stage 3 came 300 rows of {a} and 100 of {b}: what is replayed is 3/4 a and 1/4 b
    assert stages.rates[2] == pytest.approx({"a": 0.375, "b": 0.125, "c": 0.5})
    assert letters(stages.draw().select(range(400, 800))) == {"a": 150, "b": 50, "c": 200}


def test_stages_that_mean_two_sources_by_one_name_are_refused():
    with pytest.raises(DataError, match="one source in one stage and another"):
        Stages([(Mixture({"a": 5}), 10), (Mixture({"a": 6}), 10)])


@pytest.mark.parametrize(("rows", "replay"), [(0, 0), (True, 0), (1, [0.5]), (1, [0, 0]), (1, 1.0), (1, [0, -0.1])])
def test_stages_that_cannot_be_drawn_are_refused_with_a_remedy(rows, replay):
    with pytest.raises(DataError) as caught:
        Stages([(Mixture({"a": 5}), rows), (Mixture({"a": 5}), 2)][:1 if replay in ([0.5], [0, 0]) else 2], replay)
    assert caught.value.what.endswith(".") and caught.value.remedy


@pytest.mark.parametrize("stages", [[], "ab", 5, [5], [(5, 5)], [Mixture({"a": 5})]])
def test_what_is_no_list_of_stages_is_refused(stages):
    with pytest.raises(DataError, match="mixture, rows"):
        Stages(stages)


def test_more_rows_than_there_are_cannot_be_drawn():
    stages = Stages([(Mixture({"a": texts("a", 5)}), 10)])
    for ask in (lambda: stages.draw(11), lambda: stages.draw(1, start=10), lambda: stages.draw(start=11), lambda: stages.draw(-1)):
        with pytest.raises(DataError, match="10 rows|rows after row"):
            ask()


def test_stages_go_through_json(tmp_path):
    for name in "xy":
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in texts(name, 40)))
    x, y = (str(tmp_path / f"{name}.jsonl") for name in "xy")
    stages = Stages([(Mixture({"x": x, "y": y}, temperature=2), 20), (Mixture({"y": y}), 10)], replay=0.2)
    again = Stages.from_json(json.loads(json.dumps(stages.to_json())))
    assert again.rates == stages.rates and again.draw(seed=1)["text"][:] == stages.draw(seed=1)["text"][:]
    with pytest.raises(DataError, match="no field 'share'"):
        Stages.from_json({"stages": [], "share": 1})


def test_a_mixture_goes_on_after_stages():
    a, b = {"a": texts("a", 100)}, {"b": texts("b", 100)}
    stages = Stages([(Mixture(a), 60), (Mixture(b), 50)], replay=0.2)
    later = Mixture(a | b, rule="equal").draw(60, seed=2, start=stages.position(110, seed=2))
    drawn = stages.draw(seed=2)["text"][:] + later["text"][:]
    assert letters(later) == {"a": 30, "b": 30} and len(set(drawn)) == 170
