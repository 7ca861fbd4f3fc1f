"""Weights on disk: what opens, what is refused and with which words, and that nothing is read before it is looked at."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from workbench.errors import DataError
from workbench.quantization import open_weights


@pytest.fixture
def tensors():
    generator = torch.Generator().manual_seed(0)
    layers = {f"model.layers.{i}.mlp.up_proj.weight": torch.randn(40, 64, generator=generator).bfloat16() for i in range(11)}
    return {"model.embed_tokens.weight": torch.randn(100, 16, generator=generator), "model.norm.weight": torch.ones(16).half(),
            "steps": torch.arange(3), **layers}


@pytest.fixture
def sharded(tensors, tmp_path):
    """A folder of three shards with an index."""
    names = list(tensors)
    parts = {f"model-0000{i + 1}-of-00003.safetensors": names[i::3] for i in range(3)}
    for file, held in parts.items():
        save_file({name: tensors[name] for name in held}, tmp_path / file)
    where = {name: file for file, held in parts.items() for name in held}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return tmp_path


def test_file_folder_index_and_memory_are_the_same(tensors, sharded, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    save_file(tensors, folder / "model.safetensors")
    for source in (sharded, str(sharded), sharded / "model.safetensors.index.json", folder, folder / "model.safetensors", tensors):
        weights = open_weights(source)
        assert set(weights.names) == set(tensors) and len(weights) == len(tensors)
        for name, tensor in tensors.items():
            assert weights.shapes[name] == tuple(tensor.shape) and weights.dtypes[name] == str(tensor.dtype).removeprefix("torch.")
            assert torch.equal(weights.read(name), tensor)
        assert weights.bytes == sum(t.numel() * t.element_size() for t in tensors.values())
        assert "steps" not in weights.quantizable and len(weights.quantizable) == len(tensors) - 1


def test_layers_are_in_order_and_names_are_a_tree(sharded):
    weights = open_weights(sharded)
    layers = [name.split(".")[2] for name in weights.names if ".layers." in name]
    assert layers == [str(i) for i in range(11)]
    tree = weights.tree()
    assert tree["model"]["layers"]["10"]["mlp"]["up_proj"]["weight"] == "model.layers.10.mlp.up_proj.weight"
    assert list(tree["model"]["layers"]) == [str(i) for i in range(11)]


def test_a_model_opens_too():
    weights = open_weights(torch.nn.Linear(3, 2))
    assert weights.shapes == {"weight": (2, 3), "bias": (2,)}


def test_a_tensor_is_a_window_on_its_file(tensors, tmp_path):
    file = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(4)}, file)
    tensor = open_weights(file).read("a")
    with open(file, "r+b") as raw:
        raw.seek(-4, 2)
        raw.write(np.float32(7).tobytes())
    assert tensor.tolist() == [0, 0, 0, 7], "mapped, not copied"


def test_a_sample_is_whole_rows_drawn_by_its_seed(tensors):
    weights = open_weights(tensors)
    name = "model.embed_tokens.weight"
    rows = weights.sample_rows(name, 10 * 16, seed=3)
    assert len(rows) == 10 and bool((rows.diff() > 0).all())
    assert torch.equal(weights.take(name, rows), tensors[name][rows])
    assert torch.equal(weights.sample(name, 160, seed=3), weights.sample(name, 160, seed=3))
    assert not torch.equal(weights.sample(name, 160, seed=3), weights.sample(name, 160, seed=4))
    assert torch.equal(weights.sample(name, 10**6), tensors[name]) and len(weights.sample(name, 1)) == 1
    long = open_weights({"v": torch.arange(20_000.0)})
    assert long.sample("v", 8192).shape == (2, 4096)


def test_a_name_that_is_not_there(sharded):
    with pytest.raises(DataError, match="has no tensor 'model.norm.weigh'. Did you mean 'model.norm.weight'?"):
        open_weights(sharded).read("model.norm.weigh")


def test_pickles_are_never_opened(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"not looked at")
    with pytest.raises(DataError, match="only pytorch_model.bin, which could run code"):
        open_weights(tmp_path)
    with pytest.raises(DataError, match="may be a pickle"):
        open_weights(tmp_path / "pytorch_model.bin")


def test_what_cannot_be_opened(tmp_path, sharded):
    with pytest.raises(DataError, match="There is no file or folder"):
        open_weights(tmp_path / "nothing")
    with pytest.raises(DataError, match="'nobody/nothing' is neither a folder here nor in the hub's cache"):
        open_weights("nobody/nothing")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match="holds no safetensors"):
        open_weights(empty)
    (empty / "model.safetensors").write_bytes(b"\x00" * 40)
    with pytest.raises(DataError, match="not a readable safetensors file"):
        open_weights(empty)


def test_a_shard_that_is_missing_or_elsewhere(sharded):
    index = sharded / "model.safetensors.index.json"
    good = index.read_text()
    (sharded / "model-00002-of-00003.safetensors").rename(sharded / "kept")
    with pytest.raises(DataError, match="The shard model-00002-of-00003.safetensors that model.safetensors.index.json names is missing"):
        open_weights(sharded)
    (sharded / "kept").rename(sharded / "model-00002-of-00003.safetensors")
    index.write_text(good.replace("model-00002", "../model-00002"))
    with pytest.raises(DataError, match="not in its own folder"):
        open_weights(sharded)
    mapping = json.loads(good)
    mapping["weight_map"]["ghost"] = "model-00001-of-00003.safetensors"
    index.write_text(json.dumps(mapping))
    with pytest.raises(DataError, match="does not hold the tensor 'ghost'"):
        open_weights(sharded)
    index.write_text("[]")
    with pytest.raises(DataError, match="is not an index of shards"):
        open_weights(sharded)
