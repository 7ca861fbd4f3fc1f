"""Where models come from: names that cannot work are refused in a sentence before anything is loaded, adapters find their base."""

import socket
import time

import pytest
import torch

import workbench as wb
from workbench import town
from workbench.models import hub, loading


@pytest.fixture
def online(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def test_the_hub_answers_where_something_listens(online, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        assert hub.reachable()
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        assert not hub.reachable()
    monkeypatch.delenv("HF_HUB_OFFLINE")
    assert not hub.reachable(), "the port is closed now"


def test_a_hub_id_without_a_network_is_refused_at_once(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    begin = time.monotonic()
    with pytest.raises(wb.WorkbenchError, match="'nobody/nothing' is not on this machine, and the hub cannot be reached"):
        wb.start(wb.Recipe(model="nobody/nothing"), runs=tmp_path)
    assert time.monotonic() - begin < 5
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("source", "what", "remedy"), [
    ("nowhere", "There is no folder nowhere here, the model 'nowhere' is not on this machine", "a run's folder"),
    ("runs/nowhere", "There is no folder runs/nowhere here", "a run's folder"), ("someone/model", "The model 'someone/model' is not", "HF_TOKEN"),
    ("twon", "There is no folder twon here", "Did you mean 'town'? The town's models are town-small, town, town-large."),
    ("town-smal", "There is no folder town-smal here", "Did you mean 'town-small'?")])
def test_a_name_of_nothing_is_told_as_what_it_may_have_been_meant_for(monkeypatch, tmp_path, source, what, remedy):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    for ask in (wb.load, lambda name: wb.export(name, tmp_path / "exported")):
        with pytest.raises(wb.WorkbenchError) as caught:
            ask(source)
        assert caught.value.what.startswith(what) and remedy in caught.value.remedy
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_a_model_of_the_town_is_exported_by_its_name(tmp_path):
    made = wb.export("town-small", tmp_path / "exported")
    assert wb.load(str(made))[0].num_parameters() == wb.load("town-small")[0].num_parameters()


@pytest.mark.parametrize(("source", "words"), [("./nothing/here", "There is no folder"), (__file__, "is a file, not a model folder")])
def test_a_wrong_path_is_named(source, words):
    with pytest.raises(wb.WorkbenchError, match=words):
        loading.check_source(source)


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(wb.WorkbenchError, match="neither config.json nor adapter_config.json"):
        loading.check_source(str(tmp_path))


def test_an_adapter_is_loaded_on_its_base_and_an_untrained_one_changes_nothing(tmp_path):
    model, tokenizer = wb.load("town")
    ids = torch.tensor([tokenizer("Who bakes bread?").input_ids])
    with torch.no_grad():
        expected = model(ids).logits
    wb.LoRA(rank=2).apply(model).save_pretrained(tmp_path)
    again, _ = loading.load(tmp_path, base=str(town.base_folder()))
    with torch.no_grad():
        assert torch.equal(again(ids).logits, expected)
    assert any("lora_A" in name for name, _ in again.named_parameters())


@pytest.fixture(params=["model", "adapter"])
def pickled(request, tmp_path):
    """A folder as older libraries wrote it: the weights in a pickle."""
    model, _ = wb.load("town")
    if request.param == "adapter":
        model = wb.LoRA(rank=2).apply(model)
    model.save_pretrained(tmp_path)
    for path in tmp_path.glob("*.safetensors"):
        path.unlink()
        torch.save({}, tmp_path / {"model": "pytorch_model.bin", "adapter": "adapter_model.bin"}[request.param])
    return tmp_path


def test_a_folder_of_pickled_weights_is_refused_in_one_sentence(pickled):
    for call in (loading.load, wb.load, lambda folder: loading.check_source(str(folder))):
        with pytest.raises(wb.WorkbenchError, match=r"has no (adapter_)?model\.safetensors, only \w+\.bin, .*save_pretrained") as caught:
            call(str(pickled))
        assert len(str(caught.value).splitlines()) == 1


def test_an_adapter_on_a_pickled_base_is_refused(tmp_path):
    model, _ = wb.load("town")
    model.save_pretrained(tmp_path / "base")
    (tmp_path / "base" / "model.safetensors").rename(tmp_path / "base" / "pytorch_model.bin")
    wb.LoRA(rank=2).apply(model).save_pretrained(tmp_path / "adapter")
    with pytest.raises(wb.WorkbenchError, match="base has no model.safetensors, only pytorch_model.bin"):
        loading.load(tmp_path / "adapter", base=str(tmp_path / "base"))


def test_lora_on_modules_the_model_lacks_names_those_it_has():
    model, _ = wb.load("town")
    with pytest.raises(wb.RecipeError, match="q_proj"):
        wb.LoRA(target_modules=("nothing",)).apply(model)


def test_greedy_text_of_the_real_model_is_the_published_one(real_data):
    """llama2.c's test_all.py prints this beginning for 200 greedy tokens of stories260K."""
    model, tokenizer = wb.load(str(real_data / "stories260k"))
    text = loading.generate(model, tokenizer, [tokenizer.bos_token_id], max_new_tokens=200)
    assert text.startswith("Once upon a time, there was a little girl named Lily. She loved to play outside in the park.")
