"""The quota of a runs folder: what is counted, refused before a run starts, and kept to while one trains, which goes on without further checkpoints."""

import os

import pytest

import workbench as wb
from tests.runs import tools
from workbench import quota
from workbench.runs import quotas
from workbench.runs.listing import run_folders
from workbench.runs.start import prepare


def test_what_runs_share_counts_once_and_links_do_not_count(tmp_path):
    (tmp_path / "outside").write_bytes(b"x" * 5000)
    for name, size in (("a", 3000), ("b", 1000)):
        (tmp_path / "runs" / name / "deep").mkdir(parents=True)
        (tmp_path / "runs" / name / "deep" / "file").write_bytes(b"x" * size)
        (tmp_path / "runs" / name / "link").symlink_to(tmp_path / "outside")
    os.link(tmp_path / "runs" / "a" / "deep" / "file", tmp_path / "runs" / "b" / "same")
    assert quota.used(tmp_path / "runs") == (4000, {"a": 3000, "b": 1000}) and quota.used(tmp_path / "nowhere") == (0, {})


@pytest.mark.parametrize("told", ["much", "-1", "inf", "nan"])
def test_a_quota_that_is_no_amount_is_refused(told):
    with pytest.raises(wb.RunError, match="WORKBENCH_QUOTA_GB is"):
        quota.limit({"WORKBENCH_QUOTA_GB": told})
    assert quota.limit({"WORKBENCH_QUOTA_GB": " "}) is None and quota.limit({"WORKBENCH_QUOTA_GB": "0.5"}) == 5e8


def test_a_run_that_would_pass_the_quota_does_not_start_and_one_that_reaches_it_goes_on_without_checkpoints(real_data, tmp_path, monkeypatch):
    recipe = tools.recipe(real_data, checkpoint_every=3, sample_prompts=0, data=tools.file_of_rows(tmp_path, 80))
    runs = tmp_path / "runs"
    free = tools.here(recipe, runs, "free")
    sizes = [sum(found.st_size for found in quota.files(path)) for path in sorted((free.folder / "checkpoints").iterdir())]
    taken = sum(sizes) + sum(found.st_size for found in quota.files(free.folder / "result"))
    assert len(sizes) == 4 and taken <= quotas.checkpoint_bytes(recipe) * 1.1 and quotas.checkpoint_bytes(recipe) < 2 * taken, (taken, quotas.checkpoint_bytes(recipe))
    assert quotas._surely(recipe) > quotas.checkpoint_bytes(recipe)

    used = quota.used(runs)[0]
    monkeypatch.setenv("WORKBENCH_QUOTA_GB", str((used + 2.5 * sizes[0]) / quota.GB))
    for start in (lambda: wb.start(recipe, runs=runs), lambda: free.fork(step=6)):
        with pytest.raises(wb.RunError, match=rf"that WORKBENCH_QUOTA_GB allows, .* most is taken by {free.name} \(.*python -m workbench clean"):
            start()
    assert run_folders(runs) == [free.folder], "nothing is left behind"

    monkeypatch.delenv("WORKBENCH_QUOTA_GB")
    folder = prepare(recipe, runs, "bound")
    monkeypatch.setenv("WORKBENCH_QUOTA_GB", str((quota.used(runs)[0] + 2.5 * sizes[0]) / quota.GB))
    assert tools.train_here(folder) == "finished"
    run = wb.attach(folder)
    assert run.status == "finished" and tools.losses(run) == tools.losses(free) and run.load()[0].num_parameters()
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["step-000003", "step-000006"] and [c.step for c in run.history.checkpoints] == [3, 6]
    note, = run.history.notes
    assert note.step == 9 and "No checkpoint was written" in note.note and "That of step 6 stays" in note.note and "python -m workbench clean" in note.note
