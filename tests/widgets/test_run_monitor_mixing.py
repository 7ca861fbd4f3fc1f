"""A mixture in the run monitor: shares against pandas' own sums, weights for a share, the words of a change, the cell, the code that rebuilds the recipe."""

import json

import numpy as np
import pandas as pd
import pytest

import workbench as wb
from widgets import RunMonitor
from widgets.run_monitor import mixing
from widgets.run_monitor.words import data_words
from workbench.journal import events as ev
from workbench.journal.history import History

SOURCES = {"facts": 300, "letters": 100, "<b>$x$": 100}


def history_of(steps: int, change_at: int | None = None, rows: int = 8) -> History:
    """A journal of a run that draws rows by chance, with the weights of `letters` changed once."""
    history, chance = History("nowhere"), np.random.default_rng(0)
    history.apply(ev.Prepared(rows=9, heldout_rows=0, dropped={}, truncated=0, tokens=1, trained_tokens=1, parameters=1, trainable_parameters=1, steps=steps,
                              mixture={name: size / 500 for name, size in SOURCES.items()}, source_rows=SOURCES))
    for step in range(1, steps + 1):
        if step - 1 == change_at:
            history.apply(ev.Changed(step=change_at, field="mixture", old={name: size / 500 for name, size in SOURCES.items()}, new={"facts": 0.6, "letters": 1.2, "<b>$x$": 0.2}))
        counts = chance.multinomial(rows, [0.6, 0.2, 0.2])
        history.apply(ev.Step(step=step, loss=1.0, extra={f"rows/{name}": float(count) for name, count in zip(SOURCES, counts, strict=True)}))
    return history


def test_shares_drawn_are_those_of_the_last_steps():
    history = history_of(70)
    found = mixing.mixing_of(history, 30)
    table = pd.DataFrame({name: history.columns[f"rows/{name}"] for name in SOURCES}).rolling(30, min_periods=1).sum()
    for name in SOURCES:
        assert found.drawn[name] == pytest.approx((table[name] / table.sum(axis=1)).to_numpy())


def test_shares_asked_for_step_where_they_were_changed():
    steps, facts = mixing.mixing_of(history_of(70, change_at=40), 30).asked["facts"]
    assert steps.tolist() == [0, 40, 70] and facts == pytest.approx([0.6, 0.3, 0.3])
    assert mixing.mixing_of(History("nowhere"), 30).asked == {}


@pytest.mark.parametrize("share", [0.0, 0.25, 0.9, 1.0])
def test_weights_for_a_share_keep_the_others_in_proportion(share):
    after = mixing.shares(mixing.weights_for({"a": 3, "b": 1, "c": 2}, "c", share))
    assert after["c"] == pytest.approx(share, abs=1e-8) and (share == 1 or after["a"] / after["b"] == pytest.approx(3))


def test_all_for_one_and_then_some_for_the_others():
    alone = mixing.weights_for({"a": 3, "b": 1}, "b", 1.0)
    assert mixing.shares(mixing.weights_for(alone, "b", 0.5)) == {"a": 0.5, "b": 0.5}


def test_a_change_names_the_source_that_moved_most():
    assert mixing.change_words({"a": 1, "b": 1, "c": 2}, {"a": 2, "b": 1, "c": 2}) == "a 25\u202f% → 40\u202f%"


def monitor_of(tmp_path, history_steps=60) -> RunMonitor:
    from workbench.journal.log import Log

    folder = tmp_path / "runs" / "2026-11-21_090000-mixed"
    folder.mkdir(parents=True)
    (folder / "recipe.json").write_text(json.dumps(wb.Recipe(data=wb.Mixture({name: f"town:{part}" for name, part in zip(SOURCES, ("facts", "letters", "messages"), strict=True)},
                                                                             counts=SOURCES)).to_json()))
    history, log = history_of(history_steps, change_at=20), Log(folder / "journal.jsonl")
    log.write(ev.encode(ev.Started(pid=1, time=1.0)))
    log.write(ev.encode(history.prepared))
    for row, step in enumerate(history.columns["step"]):
        if step == 21:
            log.write(ev.encode(history.changes[0]))
        log.write(ev.encode(ev.Step(step=int(step), loss=1.0, extra={f"rows/{name}": history.columns[f"rows/{name}"][row] for name in SOURCES})))
    log.close()
    return RunMonitor(folder)


@pytest.mark.parametrize("width", ["wide", "medium", "narrow"])
def test_the_cell_is_there_for_a_mixture_and_names_are_text(tmp_path, width):
    figure = monitor_of(tmp_path).figure(width)
    traces = {trace["uid"]: trace for trace in figure["data"]}
    assert [traces[f"drawn-{i}"]["name"] for i in range(3)] == ["facts", "letters", "&lt;b&gt;&#36;x&#36;"]
    assert np.nanmax(traces["drawn-0"]["y"]) <= 100 and traces["asked-1"]["y"].tolist() == pytest.approx([20, 60, 60])
    assert any("letters 20 % → 60 %" in note["text"] for note in figure["layout"]["annotations"])


def test_a_loss_that_climbs_because_the_rows_are_others_is_no_trouble(tmp_path):
    from widgets.run_monitor.curves import curves_of
    from widgets.run_monitor.words import trouble

    for change_at, said in ((100, ""), (None, "climbed")):
        history = history_of(100, change_at)
        if change_at:
            history.apply(ev.Changed(step=100, field="mixture", old={"facts": 1, "letters": 0, "<b>$x$": 0}, new={"facts": 0, "letters": 1, "<b>$x$": 0}))
        for step in range(101, 201):
            history.apply(ev.Step(step=step, loss=4.0, extra=dict.fromkeys((f"rows/{name}" for name in SOURCES), 1.0)))
        told = trouble(history, curves_of(history, "run"), 20)
        assert said in told and bool(told) == bool(said)


def test_the_code_of_a_mixture_gives_it_again():
    mixture = wb.Mixture({"facts": "town:facts", "letters": "town:letters"}, rule="weights", weights={"facts": 1, "letters": 2})
    stages = wb.Stages([(mixture, 100), (wb.Mixture({"talk": "town:conversations"}), 50)], replay=0.2)
    for data in (mixture, stages):
        again = eval(data_words(data), {"wb": wb})
        assert again.rates == data.rates and type(again) is type(data)
    assert "recipe = wb.Recipe(data=wb.Mixture({'facts': 'town:facts', 'letters': 'town:letters'}, rule='weights'" in RunMonitor(wb.Recipe(data=mixture)).code()
