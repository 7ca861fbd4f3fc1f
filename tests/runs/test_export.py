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
