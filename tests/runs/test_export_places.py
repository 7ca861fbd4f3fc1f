"""Exports to places: folders, formats, the hub."""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
import transformers
import yaml

import workbench as wb
from tests.runs import tools
from tests.runs.test_export import llama_cpp, logits, sorter, tuned
from workbench import town
from workbench.models import classifier
from workbench.models.added import Adapters
from workbench.models.card import Card, escaped
from workbench.models.methods import Full, LoRA
from workbench.runs.export import MARK, export, push


def test_the_converter_is_found_on_the_path(tuned, llama_cpp, tmp_path, monkeypatch):
    script = llama_cpp() / "convert_hf_to_gguf.py"
    script.chmod(0o755)
    monkeypatch.delenv("LLAMA_CPP")
    monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")
    assert (export(tuned, tmp_path / "small", form="gguf") / "model.gguf").exists()


def test_a_converter_that_fails_is_quoted_in_a_sentence(tuned, sorter, llama_cpp, tmp_path, monkeypatch):
    llama_cpp(refused=80)
    with pytest.raises(wb.WorkbenchError, match="converter failed: NotImplementedError: Architecture .* not supported!"):
        export(tuned, tmp_path / "x", form="gguf")
    # the converter's words for a tokenizer that is not in its table (ggml-org/llama.cpp, issue 8649)
    llama_cpp(refused=80, words="BPE pre-tokenizer was not recognized - update get_vocab_base_pre()")
    with pytest.raises(wb.WorkbenchError, match="does not know this model's tokenizer") as caught:
        export(tuned, tmp_path / "x", form="gguf")
    assert "whose tokenizer llama.cpp knows" in caught.value.remedy
    llama_cpp(magic=b"PK\3\4")
    with pytest.raises(wb.WorkbenchError, match="no GGUF"):
        export(tuned, tmp_path / "x", form="gguf")
    with pytest.raises(wb.WorkbenchError, match="llama.cpp runs language models"):
        export(sorter, tmp_path / "x", form="gguf")
    monkeypatch.setenv("LLAMA_CPP", str(tmp_path / "gone"))
    with pytest.raises(wb.WorkbenchError, match="LLAMA_CPP names"):
        export(tuned, tmp_path / "x", form="gguf")
    assert not (tmp_path / "x").exists()


# ---- the hub

class Hub(ThreadingHTTPServer):
    """As much of the hub as an upload asks for: a repository made, files told apart, one commit. `fails` is what it does at a path that
    ends so."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Desk)
        self.asked: list[tuple[str, str | None]] = []
        self.files: dict[str, bytes] = {}
        self.private: bool | None = None
        self.fails: tuple[str, int] = ("", 0)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Desk(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args) -> None:
        pass

    def do_GET(self) -> None:
        self.answer(404, {"error": "not here"})

    def do_POST(self) -> None:
        body = (
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Transfer-Encoding") != "chunked"
            else self.chunks()
        )
        path = self.path.split("?")[0]
        self.server.asked.append((path, self.headers.get("Authorization")))
        where, how = self.server.fails
        if where and path.endswith(where):
            if how:
                self.answer(how, {"error": "no"})
            else:
                self.close_connection = True
                self.connection.close()
            return
        if path == "/api/repos/create":
            self.server.private = json.loads(body).get("private", json.loads(body).get("visibility") == "private")
            self.answer(200, {"url": f"{self.server.endpoint}/who/filter"})
        elif path == "/api/models/who/filter/preupload/main":
            self.answer(
                200,
                {"files": [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in json.loads(body)["files"]]},
            )
        elif path == "/api/models/who/filter/commit/main":
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.server.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self.answer(200, {"success": True, "commitUrl": f"{self.server.endpoint}/who/filter/commit/abc", "commitOid": "abc"})
        elif path == "/api/validate-yaml":
            self.answer(200, {"errors": [], "warnings": []})
        else:
            self.answer(404, {"error": f"no {path}"})

    def chunks(self) -> bytes:
        out = b""
        while size := int(self.rfile.readline(), 16):
            out += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return out

    def answer(self, status: int, body: dict) -> None:
        said = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)


@pytest.fixture
def hub(monkeypatch) -> Iterator[Hub]:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)  # loopback alone: the endpoint is ours
    server = Hub()
    monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
    monkeypatch.setenv("HF_TOKEN", "hf_secret_token")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_run_is_pushed_whole_in_one_commit(tuned, hub, tmp_path):
    address = push(tuned, "who/filter")
    assert address == f"{hub.endpoint}/who/filter/commit/abc" and hub.private is True
    assert {path for path, _ in hub.asked} >= {
        "/api/repos/create",
        "/api/models/who/filter/preupload/main",
        "/api/models/who/filter/commit/main",
    }
    assert {token for _, token in hub.asked if token} == {"Bearer hf_secret_token"}
    assert {"README.md", "config.json", "model.safetensors", "tokenizer.json"} <= set(hub.files)
    for name, content in hub.files.items():
        (tmp_path / name).write_bytes(content)
        assert b"hf_secret_token" not in content
    assert torch.allclose(logits(wb.load(str(tmp_path))[0]), logits(tuned.load()[0]), atol=1e-4)


def test_an_exported_folder_is_pushed_as_it_is(tuned, hub, tmp_path):
    folder = export(tuned, tmp_path / "adapter", form="adapter", base="who/base")
    push(folder, "who/filter", private=False)
    assert hub.files == {path.name: path.read_bytes() for path in folder.iterdir() if path.name != MARK} and hub.private is False


def test_of_an_exported_folder_only_what_export_wrote_is_sent(tuned, hub, tmp_path):
    folder = export(tuned, tmp_path / "adapter", form="adapter", base="who/base")
    (folder / "README.md").write_text("edited")
    for name in (".env", "optimizer.pt", "notes.txt", "trainer_state.json"):
        (folder / name).write_text("SECRET")
    (folder / "runs").mkdir()
    (folder / "runs" / "README.md").write_text("SECRET")
    push(folder, "who/filter")
    assert "adapter_model.safetensors" in hub.files and hub.files["README.md"] == b"edited"
    assert b"SECRET" not in b"".join(hub.files.values())
    asked = len(hub.asked)
    for options in ({"form": "nonsense"}, {"form": "adapter"}, {"dtype": "float99"}, {"base": "who/other"}):
        with pytest.raises(wb.WorkbenchError, match=f"exported already, so {next(iter(options))} cannot be chosen"):
            push(folder, "who/filter", **options)
    (folder / "adapter_config.json").unlink()
    with pytest.raises(wb.WorkbenchError, match="adapter_config.json is no longer in"):
        push(folder, "who/filter")
    assert len(hub.asked) == asked


def test_a_folder_with_a_readme_that_export_did_not_write_is_exported_first(tuned, hub, tmp_path):
    """peft writes a README.md into every adapter's folder: that is no export."""
    model, tokenizer = tuned.load()
    model.save_pretrained(tmp_path / "peft")
    tokenizer.save_pretrained(tmp_path / "peft")
    assert (tmp_path / "peft" / "README.md").exists()
    for name in (".env", "optimizer.pt", "trainer_state.json"):
        (tmp_path / "peft" / name).write_text("SECRET")
    with pytest.raises(wb.WorkbenchError, match="'nonsense', which is none of"):
        push(tmp_path / "peft", "who/filter", form="nonsense")
    with pytest.raises(wb.WorkbenchError, match="'float99', which is none of"):
        push(tmp_path / "peft", "who/filter", dtype="float99")
    assert not hub.asked
    push(tmp_path / "peft", "who/filter")
    assert "model.safetensors" in hub.files and not {".env", "optimizer.pt", "adapter_config.json", "trainer_state.json"} & set(hub.files)
    push(tmp_path / "peft", "who/filter", form="adapter", base="who/base")
    assert b"SECRET" not in b"".join(hub.files.values())


@pytest.mark.parametrize(("fails", "words"), [
    (("/api/repos/create", 401), "does not know this token \\(401\\)"), (("/api/repos/create", 403), "may not write to who/filter"),
    (("/commit/main", 403), "may not write to who/filter"), (("/api/repos/create", 0), "connection to http://127.0.0.1:\\d+ broke")])
def test_a_hub_that_refuses_or_breaks_off_is_one_sentence(tuned, hub, tmp_path, fails, words):
    hub.fails = fails
    folder = export(tuned, tmp_path / "adapter", form="adapter", base="who/base")
    with pytest.raises(wb.WorkbenchError, match=words) as caught:
        push(folder, "who/filter")
    assert caught.value.remedy and "hf_secret_token" not in str(caught.value) and not hub.files


def test_what_cannot_be_pushed_is_said_before_anything_is_sent(tuned, hub, monkeypatch):
    with pytest.raises(wb.WorkbenchError, match="stands on a model folder of this machine"):
        push(tuned, "who/filter", form="adapter")
    with pytest.raises(wb.WorkbenchError, match="no name of a repository"):
        push(tuned, "who//filter")
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(wb.WorkbenchError, match="no token for the hub in HF_TOKEN"):
        push(tuned, "who/filter")
    assert not hub.asked


def test_without_a_network_it_is_said(tuned, hub):
    endpoint = hub.endpoint
    hub.shutdown()
    hub.server_close()
    with pytest.raises(wb.WorkbenchError, match=f"connection to {endpoint} broke"):
        push(tuned, "who/filter")
