"""Models by hub id through the hub's real client: fetched whole or not at all, refused in one sentence, and never a pickle or their code."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch

import workbench as wb
from tests.models import tools
from workbench.models import folders, hub_folders, loading

IDS = tools.tokens()
NAME = "someone/model"


def put(hub, folder: Path, name: str = NAME) -> Path:
    return Path(shutil.copytree(folder, hub.repository(name), dirs_exist_ok=True))


def refused(call, *words: str) -> wb.WorkbenchError:
    """What it says: one sentence and a remedy, in one line."""
    with pytest.raises(wb.WorkbenchError) as caught:
        call()
    said = caught.value
    assert all(word in str(said) for word in words), str(said)
    assert said.remedy and len(str(said).splitlines()) == 1 and "Traceback" not in str(said) and "trust_remote_code" not in str(said)
    return said


def cached(hub) -> list[str]:
    return sorted({path.name for path in (hub.folder.parent / "home" / "hub").rglob("snapshots/*/*")})


def test_a_model_is_fetched_once_and_is_the_folder_it_was_made_from(hub, model_folder):
    put(hub, model_folder)
    model, tokenizer = wb.load(NAME)
    assert torch.equal(tools.logits(model, IDS), tools.logits(wb.load(str(model_folder))[0], IDS))
    assert tokenizer.get_vocab() == loading.load_tokenizer(str(model_folder)).get_vocab() == loading.load_tokenizer(NAME).get_vocab()
    assert model.config._name_or_path == model.name_or_path == NAME, "its name, not a path of this machine's cache"
    asked = len(hub.asked)
    wb.load(NAME)
    assert len(hub.asked) == asked, "a process looks a repository up once"
    assert hub.got("model.safetensors") == [""]


def test_what_is_small_is_enough_to_check_a_recipe_with(hub, model_folder, tmp_path):
    put(hub, model_folder)
    assert wb.count_parameters(NAME, wb.LoRA(rank=2)) == wb.count_parameters(str(model_folder), wb.LoRA(rank=2))
    with pytest.raises(wb.RecipeError, match="q_proj"):
        wb.start(wb.Recipe(model=NAME, method=wb.LoRA(target_modules=("nothing",))), runs=tmp_path / "runs")
    assert hub.got("model.safetensors") == [] and "model.safetensors" not in cached(hub)


def test_an_adapter_by_hub_id_finds_its_base_by_hub_id(hub, model_folder, tmp_path):
    put(hub, model_folder)
    model = tools.step(wb.LoRA(rank=2).apply(wb.load(NAME)[0]), IDS)
    model.save_pretrained(hub.repository("someone/adapter"))
    assert folders.base_of("someone/adapter") == NAME
    again, _ = wb.load("someone/adapter")
    assert torch.equal(tools.logits(again, IDS), tools.logits(model, IDS))
    merged, _ = loading.merged("someone/adapter")
    torch.testing.assert_close(tools.logits(merged, IDS), tools.logits(model, IDS), atol=5e-5, rtol=0)


def test_shards_are_fetched_by_their_index_and_an_index_that_points_elsewhere_is_refused(hub, model_folder):
    model, tokenizer = wb.load(str(model_folder))
    sharded = hub.repository(NAME)
    model.save_pretrained(sharded, max_shard_size="60KB")
    tokenizer.save_pretrained(sharded)
    assert len(list(sharded.glob("*.safetensors"))) > 1
    assert torch.equal(tools.logits(wb.load(NAME)[0], IDS), tools.logits(model, IDS))
    other = put(hub, sharded, "someone/crooked")
    index = json.loads((other / "model.safetensors.index.json").read_text())
    index["weight_map"] = dict.fromkeys(index["weight_map"], "../../../../secrets.safetensors")
    (other / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(lambda: wb.load("someone/crooked"), "secrets.safetensors", "no safetensors file beside it")


@pytest.mark.parametrize(("status", "words"), [(401, "no token says who asks"), (403, "this token's owner has no access")])
def test_a_gated_model_says_where_to_ask(hub, model_folder, tmp_path, status, words):
    put(hub, model_folder)
    hub.gated[NAME] = status
    said = refused(lambda: wb.start(wb.Recipe(model=NAME), runs=tmp_path / "runs"), "is gated", words)
    assert f"{hub.url}/{NAME}" in said.remedy and not (tmp_path / "runs").exists()


def test_a_missing_model_and_a_private_one_look_alike_and_a_token_opens_the_second(hub, model_folder, monkeypatch):
    put(hub, model_folder, "someone/private")
    hub.tokens["someone/private"] = "hf_the_right_one"
    for name in ("someone/nothing", "someone/private"):
        refused(lambda name=name: wb.load(name), f"The hub has no model {name!r} that you can see", "HF_TOKEN")
    monkeypatch.setenv("HF_TOKEN", "hf_a_wrong_one")
    said = refused(lambda: wb.load("someone/private"), "that you can see")
    assert "hf_a" not in str(said)
    monkeypatch.setenv("HF_TOKEN", "hf_the_right_one")
    assert wb.load("someone/private")[0].name_or_path == "someone/private"
    written = [path for path in hub.folder.parent.rglob("*") if path.is_file() and b"hf_the_right_one" in path.read_bytes()]
    assert written == [], "a token is never written"


def test_names_that_are_none_and_repositories_that_hold_no_model_are_refused(hub):
    (hub.repository("someone/notes") / "README.md").write_text("notes")
    refused(lambda: wb.load("someone/notes"), "holds no model", "config.json")
    refused(lambda: wb.load("some one/model"), "is no name of a repository")


def test_a_listed_file_that_is_gone_is_named(hub, model_folder, later):
    folder = put(hub, model_folder)
    hub_folders.folder_of(NAME)
    (folder / "model.safetensors").unlink()
    refused(lambda: wb.load(NAME), "has no file model.safetensors on the hub")


@pytest.mark.usefixtures("hasty")
def test_a_connection_cut_in_the_weights_resumes_where_it_broke(hub, model_folder):
    put(hub, model_folder)
    hub.cut["model.safetensors"] = [10_000, 20_000]
    assert torch.equal(tools.logits(wb.load(NAME)[0], IDS), tools.logits(wb.load(str(model_folder))[0], IDS))
    assert hub.got("model.safetensors") == ["", "bytes=10000-", "bytes=30000-"]


@pytest.mark.usefixtures("hasty")
def test_a_connection_that_stays_cut_is_told_and_nothing_half_written_is_taken_for_whole(hub, model_folder, later):
    put(hub, model_folder)
    hub.cut["model.safetensors"] = [10_000] + 6 * [0]
    said = refused(lambda: wb.load(NAME), "The connection to 127.0.0.1 broke before the model 'someone/model' was here")
    assert "HF_HUB_OFFLINE" in said.remedy and "model.safetensors" not in cached(hub)
    later()
    hub.cut["tokenizer.json"] = [100] + 6 * [0]
    shutil.rmtree(hub.folder.parent / "home")
    refused(lambda: loading.load_tokenizer(NAME), "broke before")
    assert not {"config.json", "tokenizer.json"} & set(cached(hub)), "the file that says what it is comes last"
    assert wb.load(NAME)[0].config.model_type == "llama", "the next time it is whole"


def test_a_hub_that_says_nothing_is_told_within_seconds(hub, monkeypatch):
    monkeypatch.setattr("workbench.models.hub.ANSWER_S", 0.2)
    hub.silent = True
    begin = time.monotonic()
    refused(lambda: wb.load(NAME), "The connection to 127.0.0.1 broke")
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize(("status", "words"), [(429, "asks to wait"), (503, "cannot give the model 'someone/model' now (503)")])
def test_a_hub_that_is_busy_or_broken_is_told(hub, model_folder, status, words):
    put(hub, model_folder)
    hub.failing[NAME] = status
    refused(lambda: wb.load(NAME), words)


def test_a_slow_hub_is_waited_for(hub, model_folder):
    put(hub, model_folder)
    hub.slow |= {"model.safetensors", "tokenizer.json"}
    assert wb.load(NAME)[0].name_or_path == NAME


@pytest.mark.parametrize("how", ["offline mode", "no network", "the hub is broken"])
def test_what_is_in_the_cache_loads_without_the_hub(hub, model_folder, later, monkeypatch, how):
    put(hub, model_folder)
    wanted = tools.logits(wb.load(NAME)[0], IDS)
    later()
    asked = len(hub.asked)
    if how == "offline mode":
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    elif how == "no network":
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # the discard port: nothing listens
    else:
        hub.failing[NAME] = 500
    assert torch.equal(tools.logits(wb.load(NAME)[0], IDS), wanted)
    assert len(hub.asked) - asked == (how == "the hub is broken")
    if how == "offline mode":
        refused(lambda: wb.load("someone/other"), "is not on this machine, and the hub cannot be reached")


def test_weights_that_are_not_all_here_are_told_without_a_network(hub, model_folder, later, monkeypatch):
    put(hub, model_folder)
    loading.load_tokenizer(NAME)
    later()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert loading.load_tokenizer(NAME).eos_token
    refused(lambda: wb.load(NAME), "The weights of the model 'someone/model' are not all on this machine")


class Trap:
    """Unpickled, it makes a file."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("kind", ["model", "adapter"])
def test_pickled_weights_are_refused_and_never_fetched(hub, model_folder, tmp_path, kind):
    folder, marker = put(hub, model_folder), tmp_path / "unpickled"
    pickled = {"model": "pytorch_model.bin", "adapter": "adapter_model.bin"}[kind]
    if kind == "adapter":
        wb.LoRA(rank=2).apply(wb.load(NAME)[0]).save_pretrained(hub.repository("someone/adapter"))
        folder = hub.repository("someone/adapter")
    for path in folder.glob("*.safetensors"):
        path.unlink()
    torch.save({"weight": Trap(marker)}, folder / pickled)
    name = NAME if kind == "model" else "someone/adapter"
    hub_folders._looked_up.clear()
    for call in (lambda: wb.load(name), lambda: wb.start(wb.Recipe(model=name), runs=tmp_path / "runs"), lambda: loading.merged(name)):
        refused(call, f"only {pickled}, which could run code when it is opened", "safetensors")
    assert not marker.exists() and hub.got(pickled) == []


CODE = "import os\nos.mkdir({marker!r})\nfrom transformers import LlamaConfig as Odd, LlamaForCausalLM as OddModel, LlamaTokenizer as OddTokenizer\n"


def test_code_in_a_repository_is_refused_and_never_runs(hub, model_folder, tmp_path):
    marker, names = tmp_path / "ran", {}
    for part, file, change in (
        ("model", "config.json", {"model_type": "odd", "auto_map": {"AutoConfig": "odd.Odd", "AutoModelForCausalLM": "odd.OddModel"}}),
        ("tokenizer", "tokenizer_config.json", {"tokenizer_class": "OddTokenizer", "auto_map": {"AutoTokenizer": ["odd.OddTokenizer", None]}}),
        ("kernel", "config.json", {"attn_implementation": "someone/kernel"}),
        ("beside", "config.json", {"auto_map": {"AutoConfig": "odd.Odd", "AutoModelForCausalLM": "odd.OddModel"}}),
    ):
        names[part] = folder = put(hub, model_folder, f"someone/{part}")
        (folder / "odd.py").write_text(CODE.format(marker=str(marker)))
        (folder / file).write_text(json.dumps(json.loads((folder / file).read_text()) | change))
    never = "which is never run here"
    refused(lambda: wb.start(wb.Recipe(model="someone/model"), runs=tmp_path / "runs"), "needs Python code that its repository brings", never)
    refused(lambda: wb.load("someone/tokenizer"), "The tokenizer of 'someone/tokenizer' needs Python code", never)
    refused(lambda: wb.load("someone/kernel"), "asks for code of the hub, 'someone/kernel'", never)
    assert wb.load("someone/beside")[0].config.model_type == "llama", "where transformers has the architecture, its own code is used"
    for part in ("model", "tokenizer", "kernel"):  # and so as folders
        refused(lambda part=part: wb.load(str(names[part])), never)
    assert not marker.exists() and hub.got("odd.py") == []


def test_files_that_are_cut_short_or_of_another_model_are_refused(hub, model_folder):
    whole = safetensors.torch.load_file(model_folder / "model.safetensors")
    short, other = put(hub, model_folder, "someone/short"), put(hub, model_folder, "someone/other")
    (short / "model.safetensors").write_bytes((short / "model.safetensors").read_bytes()[:-100])
    refused(lambda: wb.load("someone/short"), "The model 'someone/short' cannot be loaded")
    safetensors.torch.save_file({name: tensor for name, tensor in whole.items() if ".layers.1." not in name}, other / "model.safetensors",
                                metadata={"format": "pt"})
    refused(lambda: wb.load("someone/other"), "has no weights for 9 of its tensors")
