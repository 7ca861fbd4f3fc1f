"""Replies laid end to end give the rewards and the gradients of padded ones."""

from __future__ import annotations

import copy

import pytest
import torch

from workbench import town
from workbench.models import classifier, methods, reward
from workbench.training import fast_rows, laid_rows

REPLIES = [[5, 9, 300, 7], [40] * 30, [8], [11, 12] * 9, list(range(20, 45)), [6, 7, 8]]


def test_each_end_is_where_its_reply_s_last_token_lies(monkeypatch):
    monkeypatch.setattr(laid_rows, "WIDTH", 32)
    batch = laid_rows.laid(REPLIES, 3)
    flat, positions = batch["input_ids"].flatten(), batch["position_ids"].flatten()
    for reply, end in zip(REPLIES, batch["ends"].tolist(), strict=True):
        first = end + 1 - len(reply)
        assert flat[first:end + 1].tolist() == reply and positions[first:end + 1].tolist() == list(range(len(reply)))
    assert batch["lengths"] == [[30, 1], [25, 4, 3], [18]] and batch["input_ids"].shape == (3, 32)


@pytest.mark.parametrize("method", [methods.Full(), methods.LoRA(rank=4)], ids=["full", "lora"])
def test_rewards_and_gradients_are_those_of_padded_rows(method, monkeypatch):
    monkeypatch.setattr(laid_rows, "WIDTH", 64)
    torch.manual_seed(0)
    first = method.apply(reward.load(str(town.base_folder("small")), ["a", "b"])[0]).eval()
    second = copy.deepcopy(first)
    inputs = classifier.padded(REPLIES, first.config.pad_token_id)
    wanted = first(**inputs).logits
    assert laid_rows.prepare(second)
    batch = laid_rows.laid(REPLIES, 3)
    with fast_rows.apart(batch.pop("lengths"), batch["input_ids"].shape[1]):
        found = laid_rows.outputs(second, **batch).logits
        found.square().sum().backward()
    wanted.square().sum().backward()
    assert torch.allclose(found, wanted, atol=1e-5)
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None)
        assert one.grad is None or torch.allclose(one.grad, other.grad, atol=1e-4, rtol=1e-3)
    assert torch.allclose(second(**inputs).logits, wanted, atol=1e-5), "padded rows are read as before"
