"""Cleaning a runs folder: against real forks that wait, are killed and go on, a cleaner killed in the middle, links out of the folder, and runs that others name."""

import fcntl
import json
import os
import signal
import subprocess
import sys

import pytest

import workbench as wb
from tests.runs import many, tools
from workbench import device_queue, living, quota
from workbench.__main__ import main
from workbench.journal import events as ev
from workbench.runs.fork import nearest_checkpoint
from workbench.runs.start import prepare

FILES = 8


def with_checkpoints(folder, *steps):
    """Checkpoints of a few files each, each file's content its own name."""
    for step in steps:
        (folder / "checkpoints" / f"step-{step:06d}").mkdir(parents=True)
        for number in range(FILES):
            (folder / "checkpoints" / f"step-{step:06d}" / f"part{number}").write_text(f"{folder.name} {step} {number}" * 50)
    return folder


def best_of(folder) -> int:
    """The step of the lowest held-out loss."""
    history = wb.attach(folder).history
    history.refresh()
    return min(history.evaluations, key=lambda event: event.loss).step


def paths(table) -> list[str]:
    return sorted(table["path"])


def test_a_fork_that_waits_is_killed_and_goes_on_has_all_it_needs(real_data, tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_QUEUE", str(tmp_path / "queue"))
    place = device_queue.Place("held")  # so that the fork waits
    assert place.wait(lambda standing: None, lambda: True)
    runs = tmp_path / "runs"
    folder = prepare(tools.recipe(real_data, checkpoint_every=2, evaluate_every=4, sample_prompts=0, keep_checkpoints=9), runs, "parent")
    assert tools.train_here(folder) == "finished"
    parent = wb.attach(folder)
    child = parent.fork(step=7, learning_rate=1e-4, name="child")
    child.wait(180, until="queued")
    whole, mine, result = tools.hashes(runs), tools.hashes(child.folder), tools.hashes(folder / "result")

    best = best_of(folder)
    shown = wb.clean(runs)
    assert tools.hashes(runs) == whole, "a dry run removes nothing"
    gone = {2, 4, 8, 10} - {best}  # 6 is the fork's start by another name, 12 the last
    assert paths(shown) == [f"{folder.name}/checkpoints/step-{step:06d}" for step in sorted(gone)] and set(shown["what"]) == {"checkpoint"}
    before = quota.used(runs)[0]
    assert len(wb.clean(runs, dry_run=False)) == len(gone)
    assert before - quota.used(runs)[0] == shown["bytes"].sum() > 0
    assert tools.hashes(child.folder) == mine, "nothing of a run that waits"

    os.kill(child.pid, signal.SIGKILL)
    assert child.wait(60) == "died"
    wb.clean(runs, keep=0, dry_run=False)
    assert sorted(p.name for p in (folder / "checkpoints").iterdir()) == ["step-000006"] and tools.hashes(folder / "result") == result
    assert {name: value for name, value in tools.hashes(child.folder).items() if name in mine and name.startswith(("start", "data", "recipe"))} == {
        name: value for name, value in mine.items() if name.startswith(("start", "data", "recipe"))}
    assert tools.train_here(child.folder) == "finished"
    assert tools.losses(child)[:8] == tools.losses(parent)[:8] and len(tools.losses(child)) == 12  # the change after step 7 shows in the loss of step 9

    wb.clean(runs, keep=0, dry_run=False)
    assert not list((child.folder / "checkpoints").glob("step-*")) and nearest_checkpoint(child.folder, 9)[0] == 6, "it can be forked and replayed from its start"
    with pytest.raises(wb.RunError, match=f"{parent.name} cannot be removed: {child.name} needs it"):  # the rows its recipe names, kept there from memory
        wb.clean(runs, whole=[parent.name], dry_run=False)
    wb.clean(runs, whole=[child.name], dry_run=False)
    assert not child.folder.exists() and tools.hashes(folder / "result") == result
    place.release()


def test_a_cleaner_killed_in_the_middle_leaves_whole_checkpoints_and_can_clean_again(tmp_path):
    folders = [with_checkpoints(many.run_folder(tmp_path, number, steps=50), *range(5, 51, 5)) for number in range(8)]
    before = tools.hashes(tmp_path)
    there = len(list(tmp_path.glob("*/checkpoints/step-*")))
    cleaner = subprocess.Popen([sys.executable, "-c", f"import workbench as wb; wb.clean({str(tmp_path)!r}, dry_run=False)"], env=tools.environment())
    tools.until(lambda: len(list(tmp_path.glob("*/checkpoints/step-*"))) < there - 3, what="the first removals")
    cleaner.kill()
    cleaner.wait()
    left = list(tmp_path.glob("*/checkpoints/step-*"))
    print(f"killed with {len(left)} of {there} left, {len(list(tmp_path.glob('*/checkpoints/checkpoint-*')))} half removed")
    assert len(left) > 16, "it was killed before its end"
    assert all(len(list(path.iterdir())) == FILES for path in left)
    after = tools.hashes(tmp_path)
    assert all(before[name] == value for name, value in after.items() if "/checkpoint-" not in name and not name.endswith(".lock"))
    wb.clean(tmp_path, dry_run=False)
    for folder in folders:
        best = best_of(folder)
        assert sorted(p.name for p in (folder / "checkpoints").iterdir()) == sorted({f"step-{best:06d}", "step-000050"})


def test_what_others_name_and_what_lives_stays(tmp_path):
    runs, elsewhere = tmp_path / "runs", tmp_path / "elsewhere"
    base, judge, tuned, policy, going, swept = (with_checkpoints(many.run_folder(runs, number, steps=50, ended="" if number == 4 else "finished"), 10, 20, 50)
                                                for number in range(6))
    other = many.run_folder(elsewhere, 7, steps=20)

    def names(folder, **fields):
        (folder / "recipe.json").write_text(json.dumps(json.loads((folder / "recipe.json").read_text()) | fields))

    (base / "result").mkdir()
    names(tuned, model=str(base / "result"))
    names(policy, objective="ppo", settings={"rewards": {"helpful": f"{judge}#kind"}}, model=str(tuned / "checkpoints" / "step-000010"))
    names(other, data={"sources": {"a": str(swept / "recipe.json")}})
    sweep = runs / "2026-11-22_000000-sweep"
    sweep.mkdir()
    (sweep / "sweep.json").write_text(json.dumps({"fields": [], "seeds": [0], "notes": [], "runs": [{"name": going.name, "point": {}, "seed": 0}]}))
    for run, user in ((base, tuned), (judge, policy), (tuned, policy), (going, sweep)):
        with pytest.raises(wb.RunError, match=f"{run.name} cannot be removed: {user.name} needs it"):
            wb.clean(runs, whole=[run.name])
    assert paths(wb.clean(runs, whole=[swept.name]))[-1] == swept.name
    with pytest.raises(wb.RunError, match=f"{other.name} needs it"):
        wb.clean(runs, whole=[swept.name], used_by=[elsewhere])
    assert {base.name, judge.name} <= set(wb.clean(runs, whole=[base.name, tuned.name, policy.name, judge.name])["run"])

    with open(going / "worker.lock", "w") as lock:  # as a worker has it
        fcntl.flock(lock, fcntl.LOCK_EX)
        shown = wb.clean(runs, keep=0)
    assert f"{tuned.name}/checkpoints/step-000010" not in paths(shown) and f"{tuned.name}/checkpoints/step-000020" in paths(shown)
    assert going.name not in set(shown["run"]) and going.name in set(wb.clean(runs)["run"])
    assert wb.clean(runs, older_than=1).empty
    with pytest.raises(wb.RunError, match="has no run 'nothing'"):
        wb.clean(runs, whole=["nothing"])


def test_links_are_not_followed(tmp_path):
    outside, runs = tmp_path / "outside", tmp_path / "runs"
    kept = with_checkpoints(many.run_folder(outside, 1, steps=50), 10, 20, 50)
    inside, linked = many.run_folder(runs, 2, steps=50), many.run_folder(runs, 3, steps=50)
    (runs / kept.name).symlink_to(kept)
    (linked / "checkpoints").symlink_to(kept / "checkpoints")
    (linked / "arrays").symlink_to(outside)
    (inside / "checkpoints").mkdir()
    (inside / "checkpoints" / "step-000010").symlink_to(kept / "checkpoints" / "step-000010")
    with_checkpoints(inside, 20, 50)
    (inside / "result.scratch").mkdir()
    (inside / "result.scratch" / "link").symlink_to(kept)
    before = tools.hashes(outside)
    assert paths(wb.clean(runs, keep=0, dry_run=False)) == [f"{inside.name}/result.scratch"]
    assert tools.hashes(outside) == before and (runs / kept.name).is_symlink() and (linked / "checkpoints").is_symlink()
    with pytest.raises(wb.RunError, match="has no run"):
        wb.clean(runs, whole=[kept.name], dry_run=False)


def test_the_checkpoint_from_before_things_went_wrong_stays(tmp_path):
    folder = with_checkpoints(many.run_folder(tmp_path, 1, steps=50, ended=""), 10, 20, 30, 40, 50, 60)
    with open(folder / "journal.jsonl", "ab") as journal:
        for step in range(51, 61):
            journal.write(ev.encode(ev.Step(step=step, loss=None)))
    best = best_of(folder)
    assert best != 30
    gone = {10, 20, 30, 40} - {best}  # 50 is the last from before the loss was no number, 60 the last
    assert paths(wb.clean(tmp_path)) == [f"{folder.name}/checkpoints/step-{step:06d}" for step in sorted(gone)]
    assert paths(wb.clean(tmp_path, keep=0)) == paths(wb.clean(tmp_path)), "one that can be resumed keeps its last"


def test_who_takes_how_much_is_told(tmp_path, capsys):
    for number, person in enumerate(("ada", "bob", "ada", None)):
        folder = many.run_folder(tmp_path, number, steps=50)
        (folder / "weights").write_bytes(b"x" * 10_000_000)
        if person:
            living.note(folder, os.getpid(), person=person)
            living.note(folder, os.getpid())  # as a standby's child is noted: it stays ada's
            living.note_exit(folder, os.getpid(), 0)
    assert main(["clean", str(tmp_path)]) == 0
    shown = capsys.readouterr().err
    assert "(ada 20" in shown and ", bob 10" in shown and f", {device_queue.called('', os.getuid())} 10" in shown, shown


def test_arrays_of_a_finished_run_but_the_last_go_and_the_command_line_only_shows_until_told(tmp_path, capsys):
    folder = many.run_folder(tmp_path, 1, steps=50)
    (folder / "arrays").mkdir()
    for step in (10, 20, 30):
        (folder / "arrays" / f"gaps-{step:06d}.safetensors").write_bytes(b"x" * 1000)
    before = tools.hashes(tmp_path)
    assert main(["clean", str(tmp_path)]) == 0
    told = capsys.readouterr()
    assert "arrays" in told.out and "2 kB in 1 parts can go. Nothing was removed" in told.err and tools.hashes(tmp_path) == before
    assert main(["clean", str(tmp_path), "--yes"]) == 0 and "Removed 2 kB" in capsys.readouterr().err
    assert [path.name for path in (folder / "arrays").iterdir()] == ["gaps-000030.safetensors"]
    assert main(["clean", str(tmp_path / "nowhere")]) == 1 and "is no folder of runs" in capsys.readouterr().err
