"""The table of runs is read on from the look before, and still notices a journal that was put in another's place."""

from workbench.journal import events as ev
from workbench.runs import listing


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
