"""Keys planted in the environment are in nothing that is written: everything that writes is done, and every byte is searched.

An endpoint is asked, preferences are kept, a database is opened by a URL with a password; one run ends well, another's reward function
prints a key and raises with all of them; both are shown in panels, and one exported and written as a script. Searched are the saved
notebook and its page, the runs, exports, stores and whatever else lies there, and inside what is packed (gzip, Parquet, Arrow, SQLite,
headers of safetensors).
"""

from __future__ import annotations

import base64
import gzip
import json
import secrets
import sqlite3
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pyarrow.parquet as pq
import pytest
from nbconvert import HTMLExporter

import workbench as wb
from tests.data.test_endpoint import Server, completion
from tests.runs import tools
from workbench.alignment.preferences import PreferenceStore
from workbench.data.readers import read_arrow
from workbench.errors import WorkbenchError
from workbench.journal import redacted

pytestmark = pytest.mark.timeout(900)
NAMES = (
    "HF_TOKEN",
    "OPENAI_API_KEY",
    "WANDB_API_KEY",
    "AWS_SECRET_ACCESS_KEY",
    "JUDGE_KEY",
    "DB_PASSWORD",
    "MY_SECRET",
    "WORKBENCH_WEBHOOK",
)
REWARD = f"""
import os

calls = []


def leaky(prompt, reply):
    calls.append(reply)
    print("asked with", os.environ["OPENAI_API_KEY"], flush=True)
    if len(calls) > 4:
        held = " ".join(os.environ[name] for name in {NAMES!r})
        raise RuntimeError("no access with " + held + " at postgresql://ann:" + os.environ["DB_PASSWORD"] + "@db/x")
    return 1.0
"""


def saved(folder: Path, *shown: Any) -> None:
    """A notebook as JupyterLab saves it, and its page: what each panel and value shows, and what an error says."""
    outputs = [
        nbformat.v4.new_output("error", ename=type(one).__name__, evalue=str(one), traceback=one._render_traceback_())
        if isinstance(one, WorkbenchError)
        else nbformat.v4.new_output("display_data", data={"text/plain": repr(one)} | shows_itself(one))
        for one in shown
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("...", outputs=outputs)])
    nbformat.write(notebook, folder / "saved.ipynb")
    (folder / "saved.html").write_text(HTMLExporter().from_notebook_node(notebook)[0])


def shows_itself(one: Any) -> dict[str, Any]:
    bundle = one._repr_mimebundle_() if hasattr(one, "_repr_mimebundle_") else {}
    state = (
        {"state.json": json.dumps(one.get_state(), default=str)} if hasattr(one, "get_state") else {}
    )  # what a page with widget state holds
    return {"text/html": str({**(bundle[0] if isinstance(bundle, tuple) else bundle or {}), **state})}


def refusal(ask: Callable[[], Any]) -> WorkbenchError:
    with pytest.raises(WorkbenchError) as caught:
        ask()
    return caught.value


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """What was planted, the folder of all that was written, the two runs, and the requests that the server saw."""
    from widgets import KLMonitor, PreferenceArena, RunMonitor

    folder, patch = tmp_path_factory.mktemp("keys"), pytest.MonkeyPatch()
    server = Server(completion("yes"), (401, {}, "no such key"), (200, {}, ""))
    planted = {name: f"{name[:2].lower()}-{secrets.token_hex(12)}" for name in NAMES}
    planted["AWS_SECRET_ACCESS_KEY"] += "/+=" + secrets.token_hex(4)
    planted["DB_PASSWORD"] += "#%41&" + secrets.token_hex(4)
    planted["MY_SECRET"] += "\"'\\ä" + secrets.token_hex(4)
    planted["WORKBENCH_WEBHOOK"] = server.address + "/" + secrets.token_hex(12)
    for name, value in (planted | {"no_proxy": "127.0.0.1,localhost", "OMP_NUM_THREADS": "1"}).items():
        patch.setenv(name, value)
    patch.chdir(folder)
    (folder / "reward.py").write_text(REWARD)
    common = {
        "model": "town-small",
        "data": "town:facts",
        "steps": 2,
        "batch_size": 4,
        "max_length": 64,
        "sample_prompts": 1,
        "sample_tokens": 4,
        "evaluate_every": 1,
    }
    try:
        bad = wb.start(wb.Recipe(**common, objective=wb.PPO(rewards={"leaky": "reward.py:leaky"}, reply_tokens=4)), name="bad")
        judge = wb.Endpoint(server.address, "judge", key_variable="JUDGE_KEY")
        assert judge("Is it good?") == "yes"
        store = PreferenceStore("preferences.db")
        store.add("Who bakes?", {"a": judge.name, "b": "Mira."})
        good = tools.here(wb.Recipe(**common), folder / "runs", "good")
        good.note = "fine"
        password, other = (urllib.parse.quote(planted[name], safe="") for name in ("DB_PASSWORD", "MY_SECRET"))
        url = f"postgresql+psycopg://ann:{password}@127.0.0.1:1/x?sslpassword={other}"
        refused = [
            refusal(lambda: judge("and now it refuses")),
            refusal(lambda: PreferenceStore(url)),
            refusal(lambda: wb.start(wb.Recipe(**common | {"sample_prompts": ["The key is " + planted["OPENAI_API_KEY"]]}))),
            refusal(lambda: wb.start(wb.Recipe(**common | {"model": f"https://ann:{planted['DB_PASSWORD']}@host/x"}))),
        ]
        bad.wait(240)
        saved(
            folder,
            judge,
            store,
            bad,
            bad.status,
            good,
            wb.list_runs(),
            wb.export(good, "exported"),
            good.script("script"),
            RunMonitor(good),
            RunMonitor(bad),
            KLMonitor(bad),
            PreferenceArena(store),
            *refused,
        )
        yield planted, folder, bad, server.seen, refused
    finally:
        patch.undo()
        server.server.shutdown()
        server.server.server_close()


def contents(path: Path) -> bytes:
    """Everything that a file holds, packed or not."""
    told = path.read_bytes()
    if told[:2] == b"\x1f\x8b":
        told += gzip.decompress(told)
    if path.suffix in (".parquet", ".arrow"):
        table = pq.read_table(path) if path.suffix == ".parquet" else read_arrow(path)
        told += repr(table.to_pylist()).encode() + repr(table.schema).encode()
    if told.startswith(b"SQLite format 3"):
        with sqlite3.connect(path) as database:
            told += "\n".join(database.iterdump()).encode()
    return told


def forms(value: str) -> set[bytes]:
    """A secret as files may have it."""
    return {
        form.encode()
        for form in (
            value,
            json.dumps(value)[1:-1],
            json.dumps(value, ensure_ascii=False)[1:-1],
            repr(value)[1:-1],
            urllib.parse.quote(value),
            urllib.parse.quote(value, safe=""),
        )
    } | {base64.b64encode(value.encode())}


def test_nothing_that_is_written_holds_a_key(written):
    planted, folder, *_ = written
    files = [path for path in folder.rglob("*") if path.is_file()]
    found = {
        (name, str(path.relative_to(folder)))
        for path in files
        for told in (contents(path),)
        for name, value in planted.items()
        if any(form in told for form in forms(value))
    }
    assert found == set()
    assert {path.suffix for path in files} >= {
        ".ipynb",
        ".html",
        ".jsonl",
        ".json",
        ".log",
        ".md",
        ".py",
        ".db",
        ".arrow",
        ".parquet",
        ".safetensors",
    }


def test_all_of_it_took_place_with_the_keys(written):
    planted, folder, bad, seen, refused = written
    sent = [headers.get("Authorization") for path, headers, _ in seen if path.endswith("/chat/completions")]
    assert sent == [f"Bearer {planted['JUDGE_KEY']}"] * 2
    assert {path for path, *_ in seen if "chat" not in path} == {urllib.parse.urlsplit(planted["WORKBENCH_WEBHOOK"]).path}
    assert (
        bad.status == "failed"
        and "no access with ***" in bad.history.ended.reason
        and "postgresql://ann:***@db" in bad.history.ended.reason
    )
    log = (bad.folder / "worker.log").read_text()
    assert "asked with ***" in log and "no access with *** ***" in log
    assert (folder / "exported" / "README.md").exists() and "holds a key or a password" in str(refused[2])


def test_only_secrets_are_taken_out(monkeypatch):
    for name, value in {
        "API_KEY": "finished",
        "TOKENIZERS_PARALLELISM": "falsetto",
        "SSH_AUTH_SOCK": "/tmp",
        "MAX_TOKEN": "123456789",
        "DB_PASSWORD": "8392017465",
        "LDAP_PASS": "rosebud",
        "ENCRYPTION_KEYS": "opensesame",
        "SHORT_KEY": "false",
    }.items():
        monkeypatch.setenv(name, value)
    assert (
        redacted.redacted("finished falsetto /tmp 123456789 8392017465 rosebud opensesame false ftp://a:b@c http://x/y:z")
        == "*** falsetto /tmp 123456789 *** *** *** false ftp://a:***@c http://x/y:z"
    )
    line = b'{"v":1,"event":"ended","status":"finished","reason":"finished"}\n'
    assert redacted.redacted_line(line) == line.replace(b'"reason":"finished"', b'"reason":"***"')
