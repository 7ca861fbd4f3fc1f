"""Losses of many rows at once against one row at a time, and against rows whose answers were swapped."""

from __future__ import annotations

import math

import numpy as np
import pytest

import workbench as wb
from workbench.errors import DataError, RunError, WorkbenchError
from workbench.evaluation import row_losses as engine
from workbench.evaluation.row_losses import hardest, row_losses, suspicious


@pytest.fixture(scope="module")
def town():
    return wb.load("town")


@pytest.fixture(scope="module")
def rows():
    return wb.load_rows("town:instructions").take(list(range(0, 120)))


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_the_losses_of_a_batch_are_those_of_its_rows_one_by_one(town, rows, batch_size):
    alone = wb.Probes(*town).losses(rows.to_pylist())
    found = row_losses(town, rows, batch_size=batch_size)
    assert found["row"].tolist() == list(range(120)) and (found["tokens"] > 0).all()
    np.testing.assert_allclose(found["loss"], alone, atol=1e-5)
    assert found["loss"].std() > 0.1


def test_a_batch_of_long_rows_is_cut_smaller_and_changes_nothing(town, rows, monkeypatch):
    expected = row_losses(town, rows)
    monkeypatch.setattr(engine, "BATCH_TOKENS", 100)
    np.testing.assert_allclose(row_losses(town, rows)["loss"], expected["loss"], atol=1e-5)


def test_a_row_without_a_trained_token_has_no_loss_and_moves_nobody(town):
    given = [{"prompt": "Who bakes?", "completion": " Mira bakes."}, {"prompt": "Who sells?", "completion": ""},
             {"prompt": "Who sings?", "completion": " Orla sings a song."}]
    found = row_losses(town, given)
    assert found["tokens"].tolist()[1] == 0 and math.isnan(found["loss"][1])
    np.testing.assert_allclose(found["loss"][[0, 2]], row_losses(town, [given[0], given[2]])["loss"], atol=1e-6)
    assert hardest(found, 5).tolist() == found.dropna().sort_values("loss", ascending=False)["row"].tolist()


def test_everything_is_trained_where_completions_are_not_asked_for(town, rows):
    every, only = row_losses(town, rows, completions_only=False), row_losses(town, rows)
    assert (every["tokens"] > only["tokens"]).all()
    assert row_losses(town, rows, max_length=8, completions_only=False)["tokens"].max() <= 7


def test_progress_grows_to_the_end_and_stops_the_work_where_it_raises(town, rows):
    seen: list[tuple[int, int]] = []
    row_losses(town, rows, progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen) and seen[-1] == (120, 120) and len(seen) > 3

    class Stop(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done > 60:
            raise Stop

    before = town[0].training
    with pytest.raises(Stop):
        row_losses(town, rows, progress=stop)
    assert town[0].training is before


def test_a_name_a_run_and_its_folder_are_the_model_they_stand_for(tmp_path, town, rows):
    from tests.runs import tools

    np.testing.assert_allclose(row_losses("town", rows)["loss"], row_losses(town, rows)["loss"])
    run = tools.here(wb.Recipe(model="town", data=rows, steps=3, batch_size=4, max_length=64, learning_rate=3e-3, evaluate_every=3,
                               checkpoint_every=3, sample_prompts=0), tmp_path)
    expected = run.losses(rows.to_pylist())
    np.testing.assert_allclose(row_losses(run, rows)["loss"], expected, atol=1e-5)
    np.testing.assert_allclose(row_losses(str(run.folder), rows)["loss"], expected, atol=1e-5)
    assert abs(row_losses(run, rows)["loss"].mean() - row_losses(town, rows)["loss"].mean()) > 0.01


@pytest.mark.parametrize(("source", "given", "kind", "words"), [
    (3, [{"text": "a"}], WorkbenchError, "This int is no model and no run"),
    ("town", [{"chosen": "a", "rejected": "b"}], DataError, "not trained on as they stand"),
    ("./nowhere", [{"text": "a"}], WorkbenchError, "There is no folder")])
def test_what_cannot_be_scored_is_said(source, given, kind, words):
    with pytest.raises(kind, match=words):
        row_losses(source, given)


def test_a_run_without_a_result_says_so(tmp_path, rows):
    from workbench.runs.start import prepare

    folder = prepare(wb.Recipe(model="town", data=rows, steps=3), tmp_path, "new")
    with pytest.raises(RunError, match="no result yet"):
        row_losses(folder, rows)


def test_losses_far_above_the_others_are_suspicious():
    draw = np.random.default_rng(0)
    losses = draw.uniform(0.1, 0.5, 400)
    losses[[17, 300]] = 3.0, 5.0
    assert suspicious(losses).tolist() == [300, 17]
    assert suspicious(losses[:19]).tolist() == [] and suspicious(np.ones(50)).tolist() == []
    losses[5] = np.nan
    assert suspicious(losses).tolist() == [300, 17]
