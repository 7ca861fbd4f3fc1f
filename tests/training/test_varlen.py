"""A GPU's way with packed rows, with a kernel written by hand in the GPU's place: the same losses and gradients as every example alone
and as the block mask; and a kernel that does not run, or gives other numbers, is not taken."""

from __future__ import annotations

import pytest
import torch

import workbench as wb
from tests.training.test_fast_rows import features, model_of, one_by_one, take_gradients, trainer_of
from workbench.data.run_rows import gather
from workbench.errors import RecipeError
from workbench.training import fast_rows, supervised, varlen
from workbench.training.rows import IGNORE

HEADS = (4, 2, 8)


def by_hand(query, key, value, begins, longest, scale):
    """Softmax over what lies before in the same segment, position by position."""
    segment = torch.bucketize(torch.arange(len(query)), begins[1:].long(), right=True)
    at, shared = torch.arange(len(query)), query.shape[1] // key.shape[1]
    seen = (segment[:, None] == segment[None]) & (at[:, None] >= at[None])
    key, value = key.repeat_interleave(shared, 1), value.repeat_interleave(shared, 1)
    scores = torch.einsum("qhd,khd->hqk", query, key) * (query.shape[-1] ** -0.5 if scale is None else scale)
    assert longest == int(begins.diff().max())
    return torch.einsum("hqk,khd->qhd", scores.masked_fill(~seen, -torch.inf).softmax(-1), value)


@pytest.mark.parametrize("name", ["qwen2", "grouped heads", "sliding window"])
def test_packed_rows_through_a_kernel_are_the_examples_one_by_one(name, tmp_path):
    model, rows = model_of(name), features()
    loss, gradients = one_by_one(model, rows)
    calls = []

    def kernel(*parts):
        calls.append(1)
        return by_hand(*parts)

    trainer = trainer_of(model, rows, tmp_path)
    trainer.kernel = kernel  # as on a GPU
    batch = trainer.data_collator(rows)
    count = (batch["labels"] != IGNORE).sum()
    assert trainer.training_step(model, batch, count).item() == pytest.approx(loss, abs=1e-5)
    assert len(calls) == (0 if name == "sliding window" else 2)  # a window's layers keep the mask
    found = take_gradients(model)
    for key, gradient in gradients.items():
        torch.testing.assert_close(found[key], gradient, atol=1e-5, rtol=1e-4)


def test_mask_groups_and_kernel_train_alike(tmp_path):
    """The same three steps of a packed run: attention="sdpa" and "eager" (a block mask), "auto" on this CPU, and a kernel."""
    rows = [{"prompt": f"Who is number {n}?", "completion": "A baker " * (1 + n % 5)} for n in range(48)]
    losses = {}
    for way in ("sdpa", "eager", "auto", "kernel"):
        recipe = wb.Recipe(
            model="town-small",
            data=rows,
            method=wb.LoRA(rank=2),
            steps=3,
            batch_size=2,
            max_length=96,
            packing=True,
            heldout=0,
            learning_rate=1e-2,
            attention="auto" if way == "kernel" else way,
            training_arguments={"use_cpu": True},
        )
        job = supervised.load_job(recipe, gather(recipe.data, 0, 0)[0])
        trainer = supervised.build_trainer(recipe, job, tmp_path / way, [])
        assert isinstance(trainer, supervised.PackedTrainer) == (way in ("auto", "kernel"))
        assert job.model.config._attn_implementation == (fast_rows.NAME if way in ("auto", "kernel") else way)
        if way == "kernel":
            trainer.kernel = by_hand
        trainer.train()
        losses[way] = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses["auto"][0] > losses["auto"][-1]
    for way in ("eager", "auto", "kernel"):
        assert losses[way] == pytest.approx(losses["sdpa"], abs=2e-5), way


def test_the_plain_kernel_is_the_one_by_hand_and_is_agreed_with():
    begins = torch.tensor([0, 1, 4, 11], dtype=torch.int32)
    parts = [torch.randn(11, heads, 8, dtype=torch.double) for heads in (4, 2, 2)]
    torch.testing.assert_close(varlen.plain(*parts, begins, 7, 0.3), by_hand(*parts, begins, 7, 0.3))
    assert varlen.agreeing(by_hand, HEADS, "cpu", torch.float32) == (by_hand, "")


def test_a_kernel_that_cannot_or_errs_is_not_taken():
    def leaky(query, key, value, begins, longest, scale):  # examples see one another
        return by_hand(query, key, value, torch.tensor([0, len(query)]), len(query), scale)

    def of_broken(*_parts):
        raise RuntimeError("no kernel image is available for execution on the device\nmore")

    kernel, why = varlen.agreeing(leaky, HEADS, "cpu", torch.float32)
    assert kernel is None and "gives other numbers than sdpa" in why
    kernel, why = varlen.agreeing(of_broken, HEADS, "cpu", torch.float32)
    assert kernel is None and why == "broken's kernel does not run here: no kernel image is available for execution on the device"
    # torch's own kernel is for GPUs: asked for here, it is told apart in a sentence
    kernel, why = varlen.agreeing(varlen.of_torch, HEADS, "cpu", torch.bfloat16)
    assert kernel is None and why.startswith("torch's kernel does not run here: ")


def test_what_a_cpu_worker_says_to_flash(tmp_path):
    recipe = wb.Recipe(
        model="town-small",
        data=[{"prompt": "a", "completion": "b"}] * 4,
        steps=1,
        heldout=0,
        attention="flash",
        training_arguments={"use_cpu": True},
    )
    job = supervised.load_job(recipe, gather(recipe.data, 0, 0)[0])
    with pytest.raises(RecipeError, match="attention is 'flash', and it cannot be had. It computes in 16 bits"):
        supervised.build_trainer(recipe, job, tmp_path, [])
