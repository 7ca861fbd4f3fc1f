"""Names that people give (runs, forks, rows, rewards, stores) stay names: no path out of where they belong, no file that cannot be made."""

from __future__ import annotations

from pathlib import Path

import pytest

import workbench as wb
from workbench.alignment import reward_sources
from workbench.data import run_rows
from workbench.errors import DataError, RunError, WorkbenchError
from workbench.runs import folders

NAMES = (
    "../../x",
    "/etc/passwd",
    "..",
    ".",
    "",
    "-rf",
    "--help",
    "a/b\\c",
    "NUL",
    "CON.txt",
    "a\0b",
    "a\nb",
    "x" * 5000,
    "\U0001d56c" * 500,
    "\u202egnp.exe",
    "ﬁle\u2044x",
    "％2e％2e",
    "~root",
    "$HOME",
    "a" * 59 + "é" * 99,
    "\u0130\u0131",
    "e\u0301",
    7,
)


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_a_run_of_any_name_is_one_folder_below_the_runs(tmp_path, name):
    with folders.making(tmp_path / "runs", name) as folder:
        assert folder.parent == tmp_path / "runs" and folder.is_dir()
    assert len(folder.name.encode()) <= 150 and not set(folder.name) & set('/\\:*?"<>|\0\n\u202e$~') and folder.name.isprintable()
    assert folder.name[:4].isdecimal() and folder.name[-1] not in ". -", "no name of Windows' own, no option of a command, nothing hidden"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs"]


@pytest.mark.parametrize(
    "name",
    [
        "town:../../x",
        "town:/etc/passwd",
        "town:",
        "town:a\0b",
        "town:" + "x" * 5000,
        "a\0b.jsonl",
        "x" * 5000,
        "../" * 50 + "nothing.jsonl",
        "/proc/self/mem",
        "/dev/zero",
        "\u202e",
        "-",
        "who/../../x",
        "file:///etc/passwd",
    ],
)
def test_a_data_set_of_any_name_is_rows_or_a_sentence(name):
    with pytest.raises(DataError) as caught:
        wb.load_rows(name)
    assert caught.value.remedy and len(str(caught.value)) < 2500


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000, "/dev/null", "../" * 50 + "nothing", "\u202e"])
def test_a_run_or_a_model_of_any_name_is_there_or_a_sentence(name):
    with pytest.raises(RunError):
        wb.attach(name)
    with pytest.raises(WorkbenchError):
        wb.load(name)
    assert len(wb.list_runs(name)) == 0


def test_names_of_sources_and_rewards_are_no_paths(tmp_path):
    rows = run_rows.gather(wb.Mixture({name: "town:facts" for name in ("../../x", "/etc/x", "a\0b")}), 0, 0)[0]
    rows.write(tmp_path / "run")
    numbered = [[f"{part}-{number:03}.arrow" for number in range(3)] for part in ("heldout", "train")]
    assert sorted(path.name for path in (tmp_path / "run" / "data").iterdir()) == [*numbered[0], "mixture.json", *numbered[1]]
    assert list(run_rows.read(tmp_path / "run").train) == ["../../x", "/etc/x", "a\0b"]
    (tmp_path / "run" / "recipe.json").write_text("{}")
    for name in ("../../x", "a\0b", "x" * 5000, "\U0001d56c" * 500):
        kept = reward_sources.kept(name, short, tmp_path / "run")
        assert Path(kept).parent == Path("rewards") and (tmp_path / "run" / kept.rpartition(":")[0]).is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def short(prompt, reply):
    return -len(reply)


@pytest.mark.parametrize(
    "url",
    [
        "mysql://host/x",
        "sqlite+nothing:///x",
        "postgresql+os://host/x",
        "postgresql://host:port/x",
        "file:///etc/passwd",
        "://",
        "",
        "/proc/1/x/y.db",
        "a\0b.db",
    ],
)
def test_a_store_of_any_address_is_opened_or_a_sentence(url):
    from workbench.alignment.preference_database import Database

    with pytest.raises(DataError) as caught:
        Database(url)
    assert caught.value.remedy
