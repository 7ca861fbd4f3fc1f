"""Families of models through the real calls: each way of tuning and looking on some family that could break it; all of them on all by command
(`families_long.py`)."""

from __future__ import annotations

import pytest

from tests.models.family_tools import CHECKS, folder_of

COVER = [
    ("llama", "DPO"), ("qwen3", "SFT LoRA, rank explorer"), ("gemma2", "packed"), ("mistral", "reward"), ("gpt2", "DPO"),
    ("phi", "SFT full"), ("phi3", "SFT LoRA, rank explorer"),
]
"""No pad token under comparisons; norms of q and k; soft caps and windows; padding on the left; dropout of the model's own; biases; fused matrices."""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folders = {}
    return lambda name: folders.get(name) or folders.setdefault(name, folder_of(name, tmp_path_factory.mktemp(name)))


@pytest.mark.parametrize(("name", "check"), COVER, ids=lambda part: part.split(",")[0].replace(" ", "-"))
def test_a_family_holds(made, tmp_path, name, check):
    assert CHECKS[check](made(name), tmp_path)

