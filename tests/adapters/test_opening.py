"""Adapters open wherever they were trained: every layout gives the update that its own program would add, and what is none is refused in a
sentence."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.adapters import tools
from workbench.adapters import open_adapter
from workbench.adapters.names import places, read_key
from workbench.errors import RunError, WorkbenchError


def formed(factor):
    return factor.scale * factor.b.double() @ factor.a.double()


@pytest.mark.parametrize("options", [
    {}, {"use_rslora": True}, {"rank_pattern": {"q_proj": 2, "layers.1.mlp.up_proj": 6}, "alpha_pattern": {"v_proj": 3}},
    {"rank_pattern": {"q_proj": 2}, "use_rslora": True}, {"use_dora": True}, {"target_modules": ["q_proj", "embed_tokens"]}])
def test_a_peft_folder_gives_the_update_that_peft_itself_adds(tmp_path, options):
    model = tools.adapted(tools.tiny(), **options)
    adapter = open_adapter(tools.saved(model, tmp_path / "adapter"))
    updates = tools.deltas(model)
    assert {factor.name for factor in adapter.factors} == set(updates)
    for factor in adapter.factors:
        update = formed(factor).T if factor.kind == "embedding" else formed(factor)
        assert torch.allclose(update, updates[factor.name], atol=1e-5), factor.name
    assert adapter.parameters == sum(p.numel() for n, p in model.named_parameters() if "lora_" in n and "magnitude" not in n)
    assert any("DoRA" in note for note in adapter.notes) == bool(options.get("use_dora"))


def test_conv1d_matrices_are_stored_the_other_way_round_and_their_factors_are_not(tmp_path):
    model = tools.adapted(tools.tiny("gpt2"), fan_in_fan_out=True)
    adapter = open_adapter(tools.saved(model, tmp_path / "adapter"))
    updates = tools.deltas(model)
    assert len(adapter.factors) == len(updates) == 8
    for factor in adapter.factors:
        assert torch.allclose(formed(factor).T, updates[factor.name], atol=1e-5)
    assert adapter.factor(1, "c_fc").shape == (24, 16)


def test_named_adapters_are_opened_by_name(tmp_path):
    model = tools.adapted(tools.tiny())
    model.add_adapter("second", model.peft_config["default"])
    model.save_pretrained(str(tmp_path), selected_adapters=["second"])
    assert not (tmp_path / "adapter_config.json").exists()
    assert open_adapter(tmp_path).path == tmp_path / "second"  # the only one there
    model.add_adapter("third", model.peft_config["default"])
    model.save_pretrained(str(tmp_path), selected_adapters=["third"])
    with pytest.raises(WorkbenchError, match="several adapters.*second, third"):
        open_adapter(tmp_path)
    assert open_adapter(tmp_path, adapter="third").path == tmp_path / "third"
    with pytest.raises(WorkbenchError, match="no adapter called 'typo'. There are second, third."):
        open_adapter(tmp_path, adapter="typo")
    tools.saved(model, tmp_path)  # beside them, the one without a name
    assert open_adapter(tmp_path).path == open_adapter(tmp_path, adapter="default").path == tmp_path
    assert open_adapter(tmp_path, adapter="third").path == tmp_path / "third"
    for path in (tmp_path, tmp_path / "adapter_model.safetensors"):
        with pytest.raises(WorkbenchError, match="no adapter called 'typo'. There (are default, second, third|is default)."):
            open_adapter(path, adapter="typo")


def test_several_adapters_in_one_file_are_told_apart(tmp_path):
    tensors = {f"base_model.model.layers.0.q_proj.lora_{part}.{name}.weight": torch.full((2, 2), number)
               for part in "AB" for name, number in (("one", 1.0), ("two", 2.0))}
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    with pytest.raises(WorkbenchError, match="one, two"):
        open_adapter(tmp_path)
    assert open_adapter(tmp_path, adapter="two").factors[0].a[0, 0] == 2.0
    with pytest.raises(WorkbenchError, match="no adapter called 'typo'. There are one, two."):
        open_adapter(tmp_path, adapter="typo")


def test_each_known_layout_gives_the_same_update(tmp_path):
    """B·A at alpha 6 and rank 3, so scale 2, written as each program writes it."""
    generator = torch.Generator().manual_seed(1)
    a, b = torch.randn(3, 5, generator=generator), torch.randn(4, 3, generator=generator)
    alpha = torch.tensor(6.0)
    flat, dotted = "lora_te_text_model_encoder_layers_7_self_attn_q_proj", "text_encoder.layers.7.self_attn.q_proj"
    layouts = {
        "kohya": ({f"{flat}.lora_down.weight": a, f"{flat}.lora_up.weight": b, f"{flat}.alpha": alpha}, None),
        "diffusers": ({f"{dotted}.lora_linear_layer.down.weight": a, f"{dotted}.lora_linear_layer.up.weight": b, f"{dotted}.alpha": alpha}, None),
        "no prefix": ({"layers.7.q_proj.lora_A.weight": a, "layers.7.q_proj.lora_B.weight": b}, {"lora_alpha": 6, "r": 3}),
        "loralib": ({"layers.7.q_proj.lora_A": a, "layers.7.q_proj.lora_B": b}, {"lora_alpha": 6, "r": 3}),
        "torchtune": ({"layers.7.attn.q_proj.lora_a.weight": a, "layers.7.attn.q_proj.lora_b.weight": b}, {"lora_alpha": 6, "r": 3}),
        "mlx": ({"model.layers.7.q_proj.lora_a": a.T.contiguous(), "model.layers.7.q_proj.lora_b": b.T.contiguous()},
                {"lora_parameters": {"rank": 3, "scale": 2.0}}),
    }
    for name, (tensors, config) in layouts.items():
        folder = tmp_path / name
        folder.mkdir()
        save_file(tensors, folder / "adapter_model.safetensors")
        if config:
            (folder / "adapter_config.json").write_text(json.dumps(config))
        factor, = open_adapter(folder).factors
        assert (factor.layer, factor.module.rsplit(".", 1)[-1]) == (7, "q_proj"), name
        assert torch.allclose(formed(factor), 2 * b.double() @ a.double()), name


def test_any_other_layout_opens_by_a_name_map_and_says_that_its_scale_is_not_known(tmp_path):
    a, b = torch.ones(2, 4), torch.ones(3, 2)
    save_file({"net.7.q.first": a, "net.7.q.second": b}, tmp_path / "own.safetensors")
    with pytest.raises(WorkbenchError, match="No low-rank factors.*names="):
        open_adapter(tmp_path / "own.safetensors")
    names = {r"net\.(\d+)\.(\w+)\.first": r"layers.\1.\2.lora_A", r"net\.(\d+)\.(\w+)\.second": r"layers.\1.\2.lora_B"}
    opened = open_adapter(tmp_path / "own.safetensors", names)
    assert (opened.factors[0].name, opened.factors[0].layer, opened.factors[0].scale) == ("layers.7.q", 7, 1.0)
    assert "does not say its alpha" in opened.notes[0]
    scaled = open_adapter(tmp_path / "own.safetensors", names, scale=0.5)
    assert scaled.factors[0].scale == 0.5 and scaled.notes == []
    with pytest.raises(WorkbenchError, match="is no pattern"):
        open_adapter(tmp_path / "own.safetensors", {"(": "x"})


def test_what_is_no_part_of_the_update_is_kept_apart(tmp_path):
    model = tools.adapted(tools.tiny("bert"), task_type="SEQ_CLS", target_modules=["query"])
    adapter = open_adapter(tools.saved(model, tmp_path))
    assert [factor.module for factor in adapter.factors] == ["query", "query"]
    assert {key.rsplit(".", 2)[-2] for key in adapter.rest} == {"classifier"}


def test_refusals_are_one_sentence_and_what_to_do(tmp_path):
    def refused(folder, match, kind=WorkbenchError):
        with pytest.raises(kind, match=match) as caught:
            open_adapter(folder)
        assert caught.value.remedy

    def made(name, **files):
        folder = tmp_path / name
        folder.mkdir()
        for file, content in files.items():
            (folder / file.replace("__", ".")).write_bytes(content)
        return folder

    refused(tmp_path / "nowhere", "There is no")
    refused(made("empty"), "has no adapter_model.safetensors")
    refused(made("pickled", adapter_config__json=b"{}", adapter_model__bin=b"x"), "only adapter_model.bin, which could run code")
    refused(made("pickled file", lora__pt=b"x") / "lora.pt", "could run code")
    refused(made("whole", config__json=b"{}", model__safetensors=b""), "whole model, not an adapter")
    refused(made("going", recipe__json=b"{}"), "has no result yet", RunError)
    refused(made("torn", adapter_model__safetensors=b"abc"), "cannot be read")
    refused(made("not json", adapter_config__json=b"{", adapter_model__safetensors=b""), "is not JSON")
    refused(made("other kind", adapter_config__json=b'{"peft_type": "LOHA"}', adapter_model__safetensors=b""), "of the kind LOHA")
    refused(made("experts", adapter_config__json=b'{"target_parameters": ["mlp.experts.gate_up_proj"]}', adapter_model__safetensors=b""),
            r"single parameters \(mlp.experts.gate_up_proj\)")
    half = made("half")
    save_file({"layers.0.q.lora_A.weight": torch.ones(2, 4)}, half / "adapter_model.safetensors")
    refused(half, "only one of the two factors of layers.0.q")
    swapped = made("swapped")
    save_file({"layers.0.q.lora_A.weight": torch.ones(4, 2), "layers.0.q.lora_B.weight": torch.ones(2, 3)}, swapped / "adapter_model.safetensors")
    refused(swapped, r"do not fit: A is \(4, 2\)")
    with pytest.raises(WorkbenchError, match="no update of k_proj in layer 0.*q_proj"):
        open_adapter(tools.saved(tools.adapted(tools.tiny(), target_modules=["q_proj"]), tmp_path / "q")).factor(0, "k_proj")


def test_an_adapter_that_began_as_a_part_of_the_base_says_so(tmp_path):
    folder = tools.saved(tools.adapted(tools.tiny(), init_lora_weights="pissa"), tmp_path)
    assert "began as pissa" in open_adapter(folder).notes[0]


def test_places_are_the_shortest_that_tell_matrices_apart():
    names = ["h.0.attn.c_proj", "h.0.mlp.c_proj", "h.0.attn.c_attn", "h.10.attn.c_proj", "lm_head",
             "encoder.block.0.layer.0.SelfAttention.q", "decoder.block.0.layer.0.SelfAttention.q"]
    found = places(names)
    assert found["h.0.attn.c_proj"] == (0, "attn.c_proj") and found["h.10.attn.c_proj"] == (10, "attn.c_proj")
    assert found["h.0.attn.c_attn"] == (0, "c_attn") and found["lm_head"] == (-1, "lm_head")
    assert len(set(found.values())) == len(names)
    assert read_key("base_model.model.score.weight") is None


def test_the_file_is_the_one_that_peft_wrote(tmp_path):
    """`rest` and factors together are all that is in the file."""
    folder = tools.saved(tools.adapted(tools.tiny(), bias="all"), tmp_path)
    adapter = open_adapter(folder)
    assert len(load_file(folder / "adapter_model.safetensors")) == 2 * len(adapter.factors) + len(adapter.rest)
