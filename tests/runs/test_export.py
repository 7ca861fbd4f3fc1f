"""Exports open to equal logits, with a card in which nothing a person wrote becomes markup; GGUF by the converter that is there; the hub
over real HTTP on this machine."""

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
from workbench import town
from workbench.models import classifier
from workbench.models.added import Adapters
from workbench.models.card import Card, escaped
from workbench.models.methods import Full, LoRA
from workbench.runs.export import MARK, export, push

IDS = torch.tensor([[5, 9, 300, 7, 41, 12]])
NASTY = "<script>alert(1)</script> | `x` **b** [a](javascript:b)\n# head\n---\n$x$ &lt;"


def language(**fields):
    given = dict(
        model="town-small",
        data="town:instructions",
        steps=4,
        learning_rate=1e-2,
        batch_size=4,
        heldout=0.02,
        sample_prompts=0,
        max_length=64,
        method=LoRA(rank=2),
    )
    return wb.Recipe(**(given | fields))


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    run = tools.here(language(), tmp_path_factory.mktemp("tuned"), "tuned")
    run.note = NASTY
    return run


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return tools.here(language(method=Full(), learning_rate=1e-3), tmp_path_factory.mktemp("whole"), "whole")


@pytest.fixture(scope="module")
def sorter(tmp_path_factory):
    recipe = language(data=town.rows("letters")[:80], objective="classification", heldout=0.2)
    return tools.here(recipe, tmp_path_factory.mktemp("sorter"), "sorter")


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS).logits


def json_strings(folder: Path) -> str:
    return "".join(path.read_text() for path in folder.iterdir() if path.suffix in (".json", ".md"))


# ---- folders

def test_a_merged_folder_opens_with_transformers_alone_to_equal_logits(tuned, tmp_path):
    folder = export(tuned, tmp_path / "merged")
    plain = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    assert torch.allclose(logits(plain), logits(tuned.load()[0]), atol=1e-4)
    assert not torch.allclose(logits(plain), logits(wb.load("town-small")[0]), atol=1e-2), "it is not the base"
    assert transformers.AutoTokenizer.from_pretrained(folder)("hello").input_ids == tuned.load()[1]("hello").input_ids
    assert not (folder / "adapter_config.json").exists()


def test_an_adapter_folder_opens_to_the_very_logits(tuned, tmp_path):
    folder = export(tuned.folder, tmp_path / "adapter", form="adapter")
    assert (logits(wb.load(str(folder))[0]) == logits(tuned.load()[0])).all()
    named = export(tuned, tmp_path / "named", form="adapter", base="who/base")
    assert json.loads((named / "adapter_config.json").read_text())["base_model_name_or_path"] == "who/base"
    assert (logits(wb.load(str(named), base=str(town.base_folder("small")))[0]) == logits(tuned.load()[0])).all()


def test_a_whole_model_is_exported_as_it_is_and_in_half_the_bytes(whole, tmp_path):
    full, half = export(whole, tmp_path / "full"), export(whole, tmp_path / "half", dtype="bfloat16")
    assert (logits(wb.load(str(full))[0]) == logits(whole.load()[0])).all()
    sizes = [sum(path.stat().st_size for path in folder.glob("*.safetensors")) for folder in (full, half)]
    assert sizes[1] < 0.6 * sizes[0] and torch.allclose(logits(wb.load(str(half))[0]), logits(whole.load()[0]), atol=0.2)


def test_a_classifier_keeps_its_labels_and_its_answers(sorter, tmp_path):
    texts = [row["text"] for row in town.rows("messages")[:4]]
    expected = classifier.logits(*sorter.load(), texts)
    for form in ("merged", "adapter"):
        model, tokenizer = wb.load(str(export(sorter, tmp_path / form, form=form)))
        assert classifier.labels_of(model.config) == ["plain", "spam"] and classifier.logits(model, tokenizer, texts) == pytest.approx(
            expected, abs=1e-4
        )
    text = (tmp_path / "merged" / "README.md").read_text()
    assert "It tells these labels: plain, spam." in text and "held-out accuracy" in text and "pipeline_tag: text-classification" in text


def test_a_folder_that_no_run_made_is_exported_too(tmp_path):
    folder = export(town.base_folder("small"), tmp_path / "copy")
    assert (logits(wb.load(str(folder))[0]) == logits(wb.load("town-small")[0])).all() and (folder / "README.md").exists()


def test_no_place_on_this_machine_is_told(tuned, sorter, tmp_path):
    for run in (tuned, sorter):
        told = json_strings(export(run, tmp_path / run.name))
        assert str(run.folder.parent) not in told and str(town.base_folder("small")) not in told and str(Path.home()) not in told


def test_what_cannot_be_exported_is_said_and_leaves_nothing(tuned, whole, tmp_path, monkeypatch):
    monkeypatch.delenv("LLAMA_CPP", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("")
    for arguments, options, words in (
        ((tuned, tmp_path / "full"), {}, "is there already"),
        ((tuned, tmp_path / "x"), {"form": "onnx"}, "none of merged, adapter, gguf"),
        ((whole, tmp_path / "x"), {"form": "adapter"}, "a whole model, so it has no adapter"),
        ((tuned, tmp_path / "x"), {"dtype": "int8"}, "none of float32"),
        ((tuned, tmp_path / "x"), {"form": "gguf"}, "convert_hf_to_gguf.py is not on this machine"),
        ((tmp_path / "none", tmp_path / "x"), {}, "no folder"),
        ((7, tmp_path / "x"), {}, "no run and no folder"),
    ):
        with pytest.raises(wb.WorkbenchError, match=words) as caught:
            export(*arguments, **options)
        assert caught.value.remedy
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full"]


def test_what_no_weight_can_hold_is_not_merged(tmp_path):
    run = tools.here(language(method=Adapters(size=4)), tmp_path / "runs")
    with pytest.raises(wb.WorkbenchError, match="cannot be merged"):
        export(run, tmp_path / "x")
    assert (logits(wb.load(str(export(run, tmp_path / "added", form="adapter")))[0]) == logits(run.load()[0])).all()


# ---- the card

def test_the_card_tells_the_recipe_and_what_was_measured(tuned, tmp_path):
    text = (export(tuned, tmp_path / "merged") / "README.md").read_text()
    head, body = text.split("---\n", 2)[1:]
    assert yaml.safe_load(head) == {"library_name": "transformers", "pipeline_tag": "text-generation"}, "the town's models are on no hub"
    last, trained = tuned.history.evaluations[-1], tuned.history.prepared.trainable_parameters
    assert escaped(f"{last.loss:.4f}") in body and escaped(f"{trained:,} of") in body
    told = json.loads(body.split("```json\n")[1].split("\n```")[0])
    assert told["method"]["rank"] == 2 and told["data"] == "town:instructions" and told["learning_rate"] == 1e-2


def test_no_secret_in_a_recipe_reaches_the_card(tuned, tmp_path):
    shutil.copytree(tuned.folder, tmp_path / "run")
    body = json.loads((tmp_path / "run" / "recipe.json").read_text())
    names = ("run_token", "HF_TOKEN", "accessToken", "api_key", "apikey", "key", "db_password")
    planted = dict.fromkeys(names, "SECRET") | {"deep": [{"client_secret": {"a": "SECRET"}, "kept": 1}]}
    harmless = {"eos_token": "<end>", "num_tokens": "9", "tokenizer_file": "t.json", "keynote": "k", "rank_pattern": {"self.key": 4}}
    body["training_arguments"] = planted | harmless
    (tmp_path / "run" / "recipe.json").write_text(json.dumps(body))
    folder = export(tmp_path / "run", tmp_path / "adapter", form="adapter", base="who/base")
    assert "SECRET" not in json_strings(folder)
    told = json.loads((folder / "README.md").read_text().split("```json\n")[1].split("\n```")[0])
    assert told["training_arguments"] == harmless | {"deep": [{"kept": 1}]}


def test_a_recipe_takes_no_training_argument_about_the_hub():
    names = [field.name for field in dataclasses.fields(transformers.TrainingArguments) if field.name.startswith("hub_")]
    assert "hub_token" in names
    for name in names:
        with pytest.raises(wb.RecipeError, match=f"sets {name}, which the recipe itself decides") as caught:
            language(training_arguments={name: "hf_secret"})
        assert "hf_secret" not in str(caught.value)


def test_nothing_a_person_wrote_becomes_markup(tuned, tmp_path):
    text = (export(tuned, tmp_path / "merged") / "README.md").read_text()
    note, = [line for line in text.splitlines() if "alert" in line]
    assert (
        note.startswith("- ") and not any(mark in note for mark in ("<script", " | ", " `x`", "[a](", "**b**")) and "\n# head" not in text
    )
    card = Card(
        title=NASTY,
        summary=NASTY,
        form="merged",
        base="evil: [x]\n- y",
        labels=[NASTY, "```"],
        numbers=[(NASTY, NASTY)],
        changes=[NASTY],
        notes=[NASTY],
        recipe={"data": "```\n<b>", NASTY: NASTY},
        packages={NASTY: "1"},
    )
    head, body = card.text().split("---\n", 2)[1:]
    assert yaml.safe_load(head)["base_model"] == "evil: [x]\n- y"
    fences, outside = [], []
    for line in body.splitlines():
        (fences if line.startswith("```") else outside if len(fences) % 2 == 0 else []).append(line)
    assert fences == ["```python", "```", "```json", "```"] and "<" not in "".join(outside) and "# head" not in outside


@pytest.mark.parametrize(
    "text",
    [
        NASTY,
        "1. first",
        "2) second",
        "- item",
        "+ item",
        "> quote",
        "# head",
        "=====",
        "a_b *c* 3.5 - 2",
        "https://a.b www.c.d me@x.y",
        "\\[x]",
    ],
)
def test_escaped_text_reads_as_it_was(text):
    """Through a Markdown and HTML reader's rules: a backslash before a mark is the mark, an entity its letter; and no line begins
    anything."""
    import html
    import re

    said = escaped(text)
    assert html.unescape(re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", said)) == " ".join(text.split())
    assert "\\&" not in said, "a backslash would make the entity letters"
    assert not re.match(r"[-+=>#]|\d+[.)] ", said) and not re.search(r"(?<!\\)[*_`\[\]|$]|https?://|www\.", said)


# ---- GGUF

CONVERTER = '''import argparse, json, pathlib, sys
parser = argparse.ArgumentParser()
parser.add_argument("model", type=pathlib.Path)
parser.add_argument("--outfile", type=pathlib.Path)
parser.add_argument("--outtype")
told = parser.parse_args()
config = json.loads((told.model / "config.json").read_text())
assert (told.model / "model.safetensors").exists() and (told.model / "tokenizer.json").exists()
if config["hidden_size"] == {refused}:
    print("INFO: reading", file=sys.stderr)
    sys.exit("NotImplementedError: {words}")
told.outfile.write_bytes({magic!r} + told.outtype.encode() + config["architectures"][0].encode())
'''


@pytest.fixture
def llama_cpp(tmp_path, monkeypatch):
    def checkout(magic: bytes = b"GGUF", refused: int = 0, words: str = "Architecture <b>Qwen2</b> not supported!") -> Path:
        folder = tmp_path / "llama.cpp"
        folder.mkdir(exist_ok=True)
        (folder / "convert_hf_to_gguf.py").write_text(CONVERTER.format(magic=magic, refused=refused, words=words))
        monkeypatch.setenv("LLAMA_CPP", str(folder))
        return folder

    return checkout


def test_the_converter_gets_a_merged_folder_and_makes_the_file(tuned, llama_cpp, tmp_path):
    llama_cpp()
    folder = export(tuned, tmp_path / "small", form="gguf", dtype="float16")
    assert (folder / "model.gguf").read_bytes() == b"GGUFf16Qwen2ForCausalLM" and sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "model.gguf",
        MARK,
    ]
    assert "library_name: gguf" in (folder / "README.md").read_text()


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
