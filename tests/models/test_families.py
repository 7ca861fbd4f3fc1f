"""Families of models through the real calls: each way of tuning and looking on some family that could break it; all of them on all by command
(`families_long.py`)."""

from __future__ import annotations

import pytest
import torch

import workbench as wb
from tests.models.family_tools import CHECKS, folder_of
from workbench import quantization
from workbench.models import loading

COVER = [
    ("llama", "DPO"), ("qwen3", "SFT LoRA, rank explorer"), ("gemma2", "packed"), ("mistral", "reward"), ("gpt2", "QLoRA"), ("gpt2", "DPO"),
    ("phi", "SFT full"), ("phi3", "SFT LoRA, rank explorer"), ("gemma", "quantization viewer, memory"), ("phi3", "quantization viewer, memory"),
]
"""No pad token under comparisons; norms of q and k; soft caps and windows; padding on the left; matrices that lie the other way round;
dropout of the model's own; biases; fused matrices; wide heads."""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folders = {}
    return lambda name: folders.get(name) or folders.setdefault(name, folder_of(name, tmp_path_factory.mktemp(name)))


@pytest.mark.parametrize(("name", "check"), COVER, ids=lambda part: part.split(",")[0].replace(" ", "-"))
def test_a_family_holds(made, tmp_path, name, check):
    assert CHECKS[check](made(name), tmp_path)


def test_4_bits_are_read_as_they_were_rounded_where_blocks_cross_the_ends_of_rows():
    """The town's small model is 80 wide, and a block is 64: its rounded layers err as the rounding itself does, computing or dequantized."""
    plain, rounded = wb.load("town-small")[0], loading.load_base(wb.recipes.resolve_model("town-small"), wb.QLoRA())[0]
    name = "model.layers.0.self_attn.q_proj"
    wanted = quantization.quantize(plain.get_submodule(name).weight.detach(), "nf4 double").dequantize()
    inputs = torch.randn(3, 80, generator=torch.Generator().manual_seed(0))
    bias = plain.get_submodule(name).bias
    with torch.no_grad():
        torch.testing.assert_close(rounded.get_submodule(name)(inputs), torch.nn.functional.linear(inputs, wanted, bias), atol=1e-5, rtol=0)
    assert torch.equal(loading.dequantized(rounded).get_submodule(name).weight, wanted)
