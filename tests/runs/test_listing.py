"""The table of runs is read on from the look before, and still notices a journal that was put in another's place."""

import pytest

import workbench as wb
from workbench.journal import events as ev
from workbench.runs import listing
from workbench.runs.start import default_name


def write(folder, *steps):
    with open(folder / "journal.jsonl", "ab") as journal:
        for step in steps:
            journal.write(ev.encode(ev.Step(step=step, loss=1.0 / step)))


def test_a_second_look_reads_on(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    write(folder, 1, 2)
    run = listing.opened(folder)
    assert listing.list_runs(tmp_path)["step"].tolist() == [2]
    write(folder, 3)
    assert listing.list_runs(tmp_path)["step"].tolist() == [3] and listing.opened(folder) is run
    other = tmp_path / "other.jsonl"
    other.write_bytes(ev.encode(ev.Step(step=1, loss=4.0)) + b" " * 4000 + b"\n")
    other.replace(folder / "journal.jsonl")  # longer, and another file
    assert listing.list_runs(tmp_path)["loss"].tolist() == [4.0]
    (folder / "journal.jsonl").write_bytes(ev.encode(ev.Step(step=1, loss=5.0)))  # the same file, shorter
    assert listing.list_runs(tmp_path)["loss"].tolist() == [5.0]


def test_a_row_says_what_is_learned_and_why_a_run_failed(tmp_path):
    from tests.widgets.policy_story import events, policy_run

    policy_run(tmp_path / "a", *events(400, 60, change=None))
    policy_run(tmp_path / "b", ended="failed")
    policy, failed = (row for _, row in listing.list_runs(tmp_path).sort_values("name").iterrows())
    assert (policy["objective"], policy["status"], policy["reason"]) == ("ppo", "finished", "") and policy["heldout_loss"] is None
    assert failed["reason"].startswith("Failed at step 0")


def test_a_journal_that_breaks_off_is_said_and_so_is_a_result_that_is_there(tmp_path):
    folder = tmp_path / "run"
    (folder / "result").mkdir(parents=True)
    (folder / "recipe.json").write_text("{}")
    gone = ev.Started(pid=2**22 + 1)  # more than Linux gives
    (folder / "journal.jsonl").write_bytes(ev.encode(gone) + ev.encode(ev.Step(step=1, loss=1.0)))
    assert "whole result" in wb.attach(folder).status.sentence and "breaks off" not in wb.attach(folder).status.sentence
    with open(folder / "journal.jsonl", "ab") as journal:
        journal.write(ev.encode(ev.Step(step=2, loss=1.0))[:20])
    status = wb.attach(folder).status
    assert status == "died" and "breaks off in the middle of a line" in status.sentence and status.remedy.startswith("run.load() opens the result; run.resume()")
    assert "breaks off" in listing.list_runs(tmp_path)["reason"][0]
    (folder / "result").rmdir()
    assert "result" not in str(wb.attach(folder).status.sentence + wb.attach(folder).status.remedy)


@pytest.mark.parametrize(("model", "objective", "name"), [
    ("town", "sft", "town-lora8"), ("town", "dpo", "town-dpo-lora8"), ("runs/2026-11-22_020146-town-lora8", "dpo", "town-dpo-lora8"),
    ("runs/2026-11-22_020146-town-lora8/result", "orpo", "town-orpo-lora8")])
def test_a_runs_own_name_tells_it_from_others(model, objective, name):
    assert default_name(wb.Recipe(model=model, objective=objective, method=wb.LoRA(rank=8))) == name
