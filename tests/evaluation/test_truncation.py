"""Cut adapters scored at once: the same losses as the cut written to disk and loaded, the run's own loss at its own rank, the base's at
rank 0."""

from __future__ import annotations

import pytest

import workbench as wb
from tests.adapters import tools as adapter_tools
from tests.runs import tools
from workbench.adapters import open_adapter, truncate
from workbench.data import run_rows
from workbench.evaluation.row_losses import row_losses
from workbench.evaluation.truncation import truncation_losses


@pytest.fixture(scope="module")
def run(real_data, tmp_path_factory):
    return tools.here(tools.recipe(real_data, method=wb.LoRA(rank=6), steps=20, learning_rate=1e-2), tmp_path_factory.mktemp("cut"))


def mean(table):
    return (table["loss"] * table["tokens"]).sum() / table["tokens"].sum()


def test_each_rank_scores_as_the_cut_adapter_on_disk_does(run, real_data, tmp_path):
    heldout = run_rows.read(run.folder).heldout[""]
    told: list[tuple[int, int]] = []
    table = truncation_losses(run, [0, 1, 3, 6], progress=lambda *now: told.append(now))
    for rank, loss in zip(table["rank"], table["loss"], strict=True):
        model = str(real_data / "stories260k") if rank == 0 else str(truncate(run, rank, tmp_path / str(rank)))
        assert loss == pytest.approx(mean(row_losses(model, heldout, max_length=128)), abs=1e-5)
    assert table["loss"].iloc[-1] == pytest.approx(run.history.evaluations[-1].loss, abs=1e-5)
    assert table["loss"].iloc[0] > table["loss"].iloc[-1]  # it has learned something
    assert table["parameters"].tolist() == [rank * run.history.prepared.trainable_parameters // 6 for rank in (0, 1, 3, 6)]
    assert told == sorted(told) and told[-1] == (4 * heldout.num_rows,) * 2


@pytest.mark.parametrize("variant", ["rslora", "dora", "pissa"])
def test_every_variant_is_cut_in_memory_as_on_disk(variant, real_data, tmp_path):
    run = tools.here(tools.recipe(real_data, method=wb.LoRA(rank=3, variant=variant), steps=6, learning_rate=1e-2), tmp_path)
    own = max(factor.rank for factor in open_adapter(run).factors)  # of PiSSA twice the rank, since that is how it fits the base as it was
    table = truncation_losses(run, [2, own])
    folder = str(truncate(run, 2, tmp_path / "cut"))
    assert table["loss"][0] == pytest.approx(mean(row_losses(folder, run_rows.read(run.folder).heldout[""], max_length=128)), abs=1e-5)
    assert table["loss"][1] == pytest.approx(run.history.evaluations[-1].loss, abs=1e-5)
    assert table["loss"][0] > table["loss"][1]


def test_ranks_not_named_are_the_powers_of_two_and_the_adapters_own(run):
    table = truncation_losses(run.folder, rows=tools.rows(5, seed=3))
    assert table["rank"].tolist() == [1, 2, 4, 6]
    assert truncation_losses(run.folder / "result", [9], tools.rows(5, seed=3))["loss"][0] == pytest.approx(table["loss"].iloc[-1], abs=1e-4)


def test_progress_can_stop_it(run):
    def cancel(_done: int, _of: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        truncation_losses(run, progress=cancel)


def test_refusals(run, real_data, tmp_path):
    with pytest.raises(wb.WorkbenchError, match="no held-out rows"):
        truncation_losses(run.folder / "result")
    with pytest.raises(wb.WorkbenchError, match="rank of -1"):
        truncation_losses(run, [-1])
    with pytest.raises(wb.WorkbenchError, match="no rank to cut to"):
        truncation_losses(run, [])
    pissa = adapter_tools.saved(adapter_tools.adapted(adapter_tools.tiny(), init_lora_weights="pissa"), tmp_path / "pissa")
    with pytest.raises(wb.WorkbenchError, match="began as pissa"):
        truncation_losses(pissa, rows=tools.rows(2))
    with pytest.raises(wb.WorkbenchError, match="whole model"):
        truncation_losses(real_data / "stories260k", rows=tools.rows(2))
