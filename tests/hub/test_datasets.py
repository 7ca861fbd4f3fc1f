"""Data sets by hub id through `datasets` and the hub's real client, and a whole run of which both came from there."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

import workbench as wb
from tests.hub.test_models import NAME, put, refused
from tests.models import tools as models
from tests.runs import tools
from workbench.runs import standby

ROWS = tools.rows(24)
DATA = "someone/questions"


def lines(rows: list[dict]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def filled(hub, name: str = DATA) -> Path:
    folder = hub.repository(name, "datasets")
    (folder / "train.jsonl").write_text(lines(ROWS))
    return folder


@pytest.mark.parametrize("form", ["jsonl", "parquet", "csv"])
def test_rows_of_a_repository_are_those_that_were_put_there(hub, form):
    folder = hub.repository(DATA, "datasets")
    table = pa.Table.from_pylist(ROWS)
    if form == "parquet":
        (folder / "data").mkdir()
        pyarrow.parquet.write_table(table, folder / "data" / "train-00000-of-00001.parquet")
    elif form == "csv":
        table.to_pandas().to_csv(folder / "train.csv", index=False)
    else:
        filled(hub)
    (folder / "README.md").write_text("---\nlicense: mit\n---\nQuestions.\n")
    assert wb.load_rows(DATA).to_pylist() == ROWS


def test_what_was_loaded_once_loads_without_a_network(hub, monkeypatch):
    filled(hub)
    rows = wb.load_rows(DATA).to_pylist()
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # the discard port: nothing listens
    assert wb.load_rows(DATA).to_pylist() == rows
    refused(lambda: wb.load_rows("someone/others"), "The data set 'someone/others' is not on this machine, and the hub cannot be reached")


@pytest.mark.parametrize(("status", "words"), [(401, "no token says who asks"), (403, "this token's owner has no access")])
def test_a_gated_data_set_says_where_to_ask(hub, status, words):
    filled(hub)
    hub.gated[DATA] = status
    said = refused(lambda: wb.load_rows(DATA), "The data set 'someone/questions' is gated", words)
    assert f"{hub.url}/datasets/{DATA}" in said.remedy


@pytest.mark.usefixtures("hasty")
def test_missing_private_broken_and_cut_ones_are_told_before_a_run_is_made(hub, tmp_path):
    filled(hub, "someone/private")
    hub.tokens["someone/private"] = "hf_the_right_one"
    filled(hub, "someone/broken")
    hub.failing["someone/broken"] = 503
    filled(hub, "someone/cut")
    hub.cut["train.jsonl"] = [100] + 6 * [0]
    for name, words in {"someone/nothing": "The hub has no data set 'someone/nothing' that you can see",
                        "someone/private": "The hub has no data set 'someone/private' that you can see",
                        "someone/broken": "The hub cannot give the data set 'someone/broken' now (503)",
                        "someone/cut": "broke before the data set 'someone/cut' was here"}.items():
        refused(lambda name=name: wb.start(wb.Recipe(model="town-small", data=name), runs=tmp_path / "runs"), words)
    assert not (tmp_path / "runs").exists()
    assert wb.load_rows("someone/cut").to_pylist() == ROWS, "nothing half-written was taken for whole"


def test_code_pickles_and_empty_repositories_are_refused_and_nothing_runs(hub, tmp_path):
    marker = tmp_path / "ran"
    code = filled(hub, "someone/code")
    (code / "code.py").write_text(f"import os\nos.mkdir({str(marker)!r})\n")
    refused(lambda: wb.load_rows("someone/code"), "made by Python code that its repository brings (code.py), which is never run here")
    (hub.repository("someone/pickled", "datasets") / "train.pkl").write_bytes(f"cos\nmkdir\n(V{marker}\ntR.".encode())
    refused(lambda: wb.load_rows("someone/pickled"), "The data set 'someone/pickled' cannot be loaded")
    (hub.repository("someone/torn", "datasets") / "train.jsonl").write_text('{"question": "a", "answer": "b"}\n{"question": ')
    refused(lambda: wb.load_rows("someone/torn"), "The data set 'someone/torn' cannot be loaded")
    assert not marker.exists() and hub.got("train.pkl") == [] == hub.got("code.py")


def test_a_data_set_of_other_parts_names_them(hub):
    (hub.repository("someone/parts", "datasets") / "README.md").write_text(
        "---\nconfigs:\n- config_name: first\n  data_files: a.jsonl\n- config_name: second\n  data_files: b.jsonl\n---\n")
    for name in ("a", "b"):
        (hub.repository("someone/parts", "datasets") / f"{name}.jsonl").write_text(lines(ROWS))
    said = refused(lambda: wb.load_rows("someone/parts"), "has no one part called train", "first", "second")
    assert "datasets.load_dataset('someone/parts'" in said.remedy
    (hub.repository("someone/exam", "datasets") / "test.jsonl").write_text(lines(ROWS))
    refused(lambda: wb.load_rows("someone/exam"), "has no one part called train", "test")


def test_a_whole_run_from_a_private_model_and_a_private_data_set(hub, model_folder, tmp_path, monkeypatch):
    """In a worker of its own, with the environment alone to tell it where the hub is."""
    token = "hf_" + "secretsecret" * 3
    monkeypatch.setenv("HF_TOKEN", token)
    put(hub, model_folder)
    filled(hub)
    hub.tokens |= {NAME: token, DATA: token}
    standby.dismiss()
    asked = wb.Recipe(model=NAME, data=DATA, steps=3, batch_size=4, max_length=96, heldout=0.25, method=wb.LoRA(rank=2), sample_prompts=1, sample_tokens=4,
                      evaluate_every=3, checkpoint_every=2)
    run = wb.start(asked, runs=tmp_path / "runs")
    assert hub.got("model.safetensors") == [], "the worker fetches the weights, so starting returns at once"
    run.wait()
    assert run.status == "finished", run.status.sentence
    assert hub.got("model.safetensors") == [""]
    said = json.loads((run.folder / "result" / "adapter_config.json").read_text())
    assert said["base_model_name_or_path"] == NAME == run.recipe.model
    model, _ = run.load()
    assert models.logits(model, models.tokens()).isfinite().all()
    written = [str(path) for path in tmp_path.rglob("*") if path.is_file() and token.encode() in path.read_bytes()]
    assert written == [], "a token is never written"
    heads = [path for _, path, _ in hub.asked if "/resolve/main/config.json" in path]
    assert len(heads) <= 4, "a look-up in each of two processes, and none at a checkpoint"
