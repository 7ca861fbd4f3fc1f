"""Sweeps: real runs in turn, a table with intervals, going on without the notebook, stopping and resuming; a bad point starts nothing."""

from __future__ import annotations

import itertools
import json
import math
import os
import subprocess
import sys

import psutil
import pytest
from scipy import stats

import workbench as wb
from tests.runs import tools
from workbench import device_queue, living
from workbench.journal import events as ev
from workbench.journal.log import Log
from workbench.runs.sweep import Sweep, interval, list_sweeps, sweep


@pytest.fixture
def held():
    """Somebody else has the device for the whole test."""
    ticket = device_queue.draw("held", os.getpid())
    yield ticket
    ticket.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def done(real_data, tmp_path_factory):
    """Ranks 1 and 3 with two seeds, started by a process that was gone before the first run had begun."""
    folder = tmp_path_factory.mktemp("done")
    path = tools.file_of_rows(folder, 60)
    script = (f"from tests.runs import tools; from pathlib import Path; from workbench.runs.sweep import sweep; import os\n"
              f"recipe = tools.recipe(Path({str(real_data)!r}), data={path!r}, steps=4, evaluate_every=1)\n"
              f"print(sweep(recipe, {{'method.rank': [1, 3]}}, seeds=2, runs={str(folder / 'runs')!r}).folder, flush=True)\n"
              f"os._exit(0)")
    started = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True, env=tools.environment())
    assert started.returncode == 0, started.stderr
    found = Sweep(started.stdout.strip())
    assert found.status == "running"
    found.wait(120)
    return found


def test_the_sweep_outlives_the_process_that_asked_for_it(done):
    assert done.status == "finished" and "All 4 runs" in done.status.sentence
    assert [run.recipe.method.rank for run in done.runs] == [1, 3, 1, 3] and [run.recipe.seed for run in done.runs] == [0, 0, 1, 1]
    ends = [(run.history.began, run.history.last_time) for run in done.runs]
    assert all(begun >= ended for (_, ended), (begun, _) in itertools.pairwise(ends))  # one at a time, all points of a seed first
    assert [found.folder for found in list_sweeps(done.folder.parent)] == [done.folder]
    assert sorted(wb.list_runs(done.folder.parent)["name"]) == sorted(run.name for run in done.runs)  # ordinary runs, and the sweep is none


def test_alpha_is_twice_the_rank_and_a_seed_has_the_same_rows_at_every_point(done):
    for run in done.runs:
        config = json.loads((run.folder / "result" / "adapter_config.json").read_text())
        assert config["lora_alpha"] == 2 * config["r"] == 2 * run.recipe.method.rank
    rows = [tools.hashes(run.folder / "data") for run in done.runs]
    assert rows[0] == rows[1] != rows[2] == rows[3]


def test_the_table_is_what_the_journals_say(done):
    table, results = done.table(), done.results()
    assert table["method.rank"].tolist() == [1, 3] and table["finished"].tolist() == table["runs"].tolist() == [2, 2]
    for number, line in table.iterrows():
        runs = done.runs_of(number)
        final, best = ([choose(e.loss for e in run.history.evaluations) for run in runs] for choose in (lambda losses: list(losses)[-1], min))
        assert line["loss"] == pytest.approx(sum(final) / 2) and line["best"] == pytest.approx(sum(best) / 2)
        expected = stats.ttest_1samp(final, 0).confidence_interval(0.95)
        assert (line["low"], line["high"]) == pytest.approx((expected.low, expected.high))
        assert line["parameters"] == runs[0].history.prepared.trainable_parameters
    assert table["parameters"][1] == 3 * table["parameters"][0]
    assert results["seed"].tolist() == [0, 0, 1, 1] and set(results["status"]) == {"finished"} and (results["seconds"] > 0).all()
    losses = [run.history.evaluations[-1].loss for run in done.runs]
    mean, low, high = done.compare(0, 1)
    assert mean == pytest.approx((losses[1] - losses[0] + losses[3] - losses[2]) / 2) and low < mean < high
    lowest = int(table["loss"].idxmin())
    behind = table[["behind", "behind_low", "behind_high"]].to_numpy()
    assert behind[lowest].tolist() == [0, 0, 0] and behind[1 - lowest].tolist() == pytest.approx(done.compare(lowest, 1 - lowest))


def test_a_sweep_is_opened_again_by_its_folder_and_says_the_same(done):
    again = Sweep(done.folder)
    assert again.table().equals(done.table()) and again.points == [{"method.rank": 1}, {"method.rank": 3}] and again.seeds == [0, 1]
    assert repr(again) == repr(done)
    with pytest.raises(wb.RunError, match="has finished"):
        again.resume()
    with pytest.raises(wb.RunError, match="is no sweep"):
        Sweep(done.runs[0].folder)


def test_what_else_was_measured_has_its_mean_and_interval_too(done):
    """As a classifier's evaluations say it: appended to the journals here."""
    accuracies = [0.5, 0.75, 0.7, 0.85]
    for run, accuracy in zip(done.runs, accuracies, strict=True):
        log = Log(run.folder / "journal.jsonl")
        log.write(ev.encode(ev.Evaluated(step=4, loss=run.history.evaluations[-1].loss, extra={"accuracy": accuracy})))
        log.close()
    again = Sweep(done.folder)
    assert again.results()["accuracy"].tolist() == accuracies
    expected = stats.ttest_1samp([0.5, 0.7], 0).confidence_interval(0.95)
    assert again.table().loc[0, ["accuracy", "accuracy_low", "accuracy_high"]].tolist() == pytest.approx([0.6, expected.low, expected.high])


@pytest.mark.usefixtures("warm")
def test_others_have_their_turn_and_a_run_that_dies_ends_neither_the_others_nor_itself(real_data, tmp_path):
    recipe = tools.recipe(real_data, steps=4, checkpoint_every=2)
    found = sweep(recipe, {"method.rank": [1, 2]}, seeds=1, runs=tmp_path / "runs")
    first, second = found.runs
    first.pause(at_step=2)
    first.wait(60, until="paused")
    assert [str(run.status) for run in found.runs] == ["paused", "queued"] and found.status == "running"
    assert "its turn in" in second.status.sentence and wb.attach(second.folder).status == "new"
    assert len(list(device_queue.queue_folder().glob("[0-9]*-*"))) == 1  # the second has no place in the queue before its turn
    other = wb.start(recipe, runs=tmp_path / "runs", name="other")
    psutil.Process(first.pid).kill()
    assert found.wait(120) == "failed" and [str(run.status) for run in found.runs] == ["died", "finished"]
    assert first.name in found.status.sentence and "sweep.resume()" in found.status.remedy
    assert other.wait(60) == "finished" and other.history.began < second.history.began
    assert found.table()["finished"].tolist() == [0, 1] and math.isnan(found.table()["loss"][0])
    assert found.resume().wait(120) == "finished"
    assert [run.history.step for run in found.runs] == [4, 4] and first.history.resumptions == [2]
    table = found.table()
    assert table["finished"].tolist() == [1, 1] and table["loss"].notna().all() and table["low"].isna().all()  # one seed has no interval


def test_a_sweep_without_its_process_says_that_nobody_starts_what_is_left(real_data, tmp_path, held):
    found = sweep(tools.recipe(real_data), {"method.rank": [1, 2]}, seeds=1, runs=tmp_path / "runs")
    psutil.Process(living.worker_of(found.folder)["pid"]).kill()
    tools.until(lambda: not found._driven, what="the end of the sweep's process")
    assert found.status == "running"  # the first waits for the device still
    found.runs[0].stop()
    found.runs[0].wait(60)
    assert found.status == "died" and "nobody starts the 1 that are left" in found.status.sentence and "resume" in found.status.remedy
    assert found.runs[1].status == "new"
    found.stop()
    assert found.status == "stopped"
    found.resume()
    assert found.status == "running"
    found.stop()
    assert found.wait(60) == "stopped"


def test_any_field_is_swept_and_a_stopped_sweep_starts_no_other(real_data, tmp_path, held):
    rows = tools.rows(40, seed=1)
    recipe = tools.recipe(real_data, method=wb.LoRA(rank=4, alpha=4))
    found = sweep(recipe, {"method": [wb.Full(), wb.LoRA(rank=2, dropout=0.5)], "data": [tools.file_of_rows(tmp_path, 50), rows],
                           "learning_rate": [1e-3, 2e-3]}, seeds=[7], runs=tmp_path / "runs", name="grid")
    assert len(found.points) == len(found.runs) == 8 and found.notes == []
    assert {point["method"] for point in found.points} == {"Full()", "LoRA(rank=2, dropout=0.5)"}
    assert "40 rows" in {point["data"] for point in found.points}
    recipes = [run.recipe for run in found.runs]
    assert [type(r.method).__name__ for r in recipes] == ["Full"] * 4 + ["LoRA"] * 4 and [r.learning_rate for r in recipes] == [1e-3, 2e-3] * 4
    assert {r.seed for r in recipes} == {7} and len({r.data_hash for r in recipes}) == 2
    found.stop()
    tools.until(lambda: found.status != "running", what="the end of the sweep")
    assert found.status == "stopped" and [str(run.status) for run in found.runs] == ["stopped"] + ["new"] * 7
    assert repr(found) == repr(Sweep(found.folder))
    assert not math.isfinite(found.table()["loss"].sum(skipna=False)) and found.results()["step"].tolist() == [0] * 8


def test_a_rank_sweep_at_a_fixed_alpha_says_that_the_scale_changes(real_data, tmp_path, held):
    found = sweep(tools.recipe(real_data, method=wb.LoRA(rank=4, alpha=4)), {"method.rank": range(1, 3)}, seeds=1, runs=tmp_path / "runs")
    assert "alpha stays at 4" in found.notes[0]
    found.stop()
    tools.until(lambda: found.status == "stopped", what="the end of the sweep")


def test_runs_taken_out_one_by_one_before_their_turn_are_never_started(real_data, tmp_path, held):
    found = sweep(tools.recipe(real_data), {"method.rank": [1, 2, 3]}, seeds=1, runs=tmp_path / "runs")
    for run in found.runs:
        run.stop()
    assert found.wait(60) == "stopped" and [str(run.status) for run in found.runs] == ["stopped"] * 3
    assert [run.history.began for run in found.runs] == [0.0] * 3


@pytest.mark.parametrize(("values", "seeds", "match"), [
    ({}, 3, "nothing to vary"),
    ({"method.rank": []}, 3, "has no values"),
    ({"method.rank": 8}, 3, "not a list of values"),
    ({"model": "town"}, 3, "not a list of values"),
    ({"method.rank": [1, 2, 2]}, 3, "the value 2 twice"),
    ({"seed": [1, 2]}, 3, "seed is varied"),
    ({"method.rnk": [1]}, 3, "method.rnk = 1 cannot be trained.*'rnk'.*Did you mean 'rank'"),
    ({"learningrate": [1e-3]}, 3, "no field 'learningrate'"),
    ({"method.rank": [1, 0]}, 3, "method.rank = 0 cannot be trained"),
    ({"method": [wb.LoRA(), wb.Full()], "method.rank": [1]}, 3, "rank"),
    ({"learning_rate": [1e-3, -1]}, 3, "learning_rate = -1"),
    ({"data": ["town:instructions", "nowhere.jsonl"]}, 3, "data = nowhere.jsonl"),
    ({"model": ["town", "/no/such/folder"]}, 3, "model = /no/such/folder"),
    ({"method.rank": [1]}, 0, "seeds is 0"),
    ({"method.rank": [1]}, [1, 1], "seeds is"),
    ({"method.rank": [1]}, [-1], "seed is -1"),
])
def test_one_bad_point_starts_nothing_and_leaves_nothing(real_data, tmp_path, values, seeds, match):
    with pytest.raises(wb.WorkbenchError, match=match) as caught:
        sweep(tools.recipe(real_data), values, seeds=seeds, runs=tmp_path / "runs")
    assert caught.value.remedy
    assert not (tmp_path / "runs").exists() or list((tmp_path / "runs").iterdir()) == []


def test_losses_must_be_held_out_and_a_recipe_must_be_one(real_data, tmp_path):
    with pytest.raises(wb.RecipeError, match="heldout is 0"):
        sweep(tools.recipe(real_data, heldout=0), {"method.rank": [1]}, runs=tmp_path / "runs")
    with pytest.raises(wb.RecipeError, match="is no recipe"):
        sweep({"model": "town"}, {"method.rank": [1]}, runs=tmp_path / "runs")


def test_intervals_are_students():
    for values in ([1.0, 2.0, 3.0], [0.1, 0.4], [2.5, 2.5, 2.5, 2.6]):
        expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
        assert interval(values) == pytest.approx((sum(values) / len(values), expected.low, expected.high))
    assert interval([2.0])[0] == 2.0 and all(map(math.isnan, (*interval([2.0])[1:], *interval([]))))
    assert all(map(math.isnan, interval([1.0, math.nan])))  # a run that diverged is not left out in silence
