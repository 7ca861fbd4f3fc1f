"""The quick way of packed rows against the plain one: every example alone through the untouched model, in fp32. Several architectures, checkpointed layers, and what falls back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers
from datasets import Dataset

import workbench as wb
from workbench.training import fast_rows, supervised
from workbench.training.rows import IGNORE, Collator, Prepared

WIDTH, VOCABULARY = 96, 61
SIZE = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, vocab_size=VOCABULARY, max_position_embeddings=WIDTH)
CONFIGS = {
    "qwen2": lambda: transformers.Qwen2Config(**SIZE, num_key_value_heads=4),
    "grouped heads": lambda: transformers.LlamaConfig(**SIZE, num_key_value_heads=2),
    "gpt2": lambda: transformers.GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=VOCABULARY, n_positions=WIDTH, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0),
    "sliding window": lambda: transformers.MistralConfig(**SIZE, num_key_value_heads=2, sliding_window=8),
}
LENGTHS = [[40, 30, 20], [5, 1, 70], [96], [33, 33]]
"""Of the examples in each row; the rows' ends are padding."""


def model_of(name: str) -> torch.nn.Module:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(CONFIGS[name](), attn_implementation="sdpa")
    model.config.use_cache = False
    return model


def features() -> list[dict]:
    """Rows of `LENGTHS`; about half of the tokens are trained, of the example of one token none can be."""
    generator, out = torch.Generator().manual_seed(1), []
    for lengths in LENGTHS:
        ids = [torch.randint(1, VOCABULARY, (length,), generator=generator) for length in lengths]
        keep = [torch.rand(length, generator=generator) < 0.5 for length in lengths]
        labels = [torch.where(kept & (torch.arange(len(kept)) > 0), example, IGNORE) for example, kept in zip(ids, keep, strict=True)]
        out.append({"input_ids": torch.cat(ids).tolist(), "labels": torch.cat(labels).tolist(), "seq_lengths": lengths})
    return out


def one_by_one(model: torch.nn.Module, rows: list[dict]) -> tuple[float, dict[str, torch.Tensor]]:
    """Mean loss over the trained tokens and its gradients, with one example in the model at a time."""
    trained = sum(label != IGNORE for row in rows for label in row["labels"])
    total = 0.0
    for row in rows:
        begin = 0
        for length in row["seq_lengths"]:
            ids, labels = (torch.tensor(row[part][begin:begin + length]) for part in ("input_ids", "labels"))
            begin += length
            if length > 1:
                logits = model(input_ids=ids[None]).logits[0, :-1]
                loss = torch.nn.functional.cross_entropy(logits, labels[1:], reduction="sum") / trained
                loss.backward()
                total += loss.item()
    return total, take_gradients(model)


def take_gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    found = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    model.zero_grad(set_to_none=True)
    return found


def trainer_of(model: torch.nn.Module, rows: list[dict], folder: Path, **fields) -> supervised.CountingTrainer:
    recipe = wb.Recipe(packing=True, steps=1, batch_size=len(LENGTHS), learning_rate=1e-9, warmup_steps=0, max_grad_norm=0, optimizer="sgd", **fields)
    tokenizer = wb.load("town")[1]
    job = supervised.Job(model, tokenizer, Prepared(Dataset.from_list(rows), 9, epoch_rows=len(rows)), Prepared(None, 0), [], WIDTH, [])
    return supervised.build_trainer(recipe, job, folder, [])


@pytest.mark.parametrize("checkpointed", [False, True], ids=["kept", "computed again"])
@pytest.mark.parametrize("name", list(CONFIGS))
def test_loss_and_gradients_are_those_of_the_examples_one_by_one(name, checkpointed, tmp_path):
    model, rows = model_of(name), features()
    loss, gradients = one_by_one(model, rows)
    if checkpointed:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    trainer = trainer_of(model, rows, tmp_path)
    assert isinstance(trainer, supervised.PackedTrainer) and model.config._attn_implementation == fast_rows.NAME
    batch = trainer.data_collator(rows)
    count = (batch["labels"] != IGNORE).sum()
    assert trainer.training_step(model, batch, count).item() == pytest.approx(loss, abs=1e-5)
    found = take_gradients(model)
    assert found.keys() == gradients.keys() and len(found) > 10
    for key, gradient in gradients.items():
        torch.testing.assert_close(found[key], gradient, atol=1e-5, rtol=1e-4)


def test_only_examples_that_causal_attention_is_all_of_go_the_quick_way(tmp_path, monkeypatch):
    """The window's layers must have taken the mask, the others must not: the fallback would hide a quick way that is never taken."""
    taken = []
    attend = fast_rows.Groups.attend
    monkeypatch.setattr(fast_rows.Groups, "attend", lambda self, *parts: taken.append(1) or attend(self, *parts))
    for name, expected in (("qwen2", 2), ("sliding window", 0)):
        model = model_of(name)
        trainer = trainer_of(model, features(), tmp_path / name)
        trainer.training_step(model, trainer.data_collator(features()), torch.tensor(1))
        assert len(taken) == expected
        taken.clear()


def test_beyond_the_limit_of_memory_sdpas_kernel_gives_the_same(tmp_path, monkeypatch):
    losses = []
    for limit in (fast_rows.MOST_PROBABILITIES, 0):
        monkeypatch.setattr(fast_rows, "MOST_PROBABILITIES", limit)
        model = model_of("grouped heads")
        trainer = trainer_of(model, features(), tmp_path / str(limit))
        losses.append(trainer.training_step(model, trainer.data_collator(features()), torch.tensor(1)).item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


@pytest.mark.parametrize("length", [1, 2, 127, 128, 129, 300])
def test_causal_attention_is_sdpas(length):
    torch.manual_seed(length)
    query, key, value = (torch.randn(3, 2, length, 8, dtype=torch.double) for _ in range(3))
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True, scale=0.3)
    torch.testing.assert_close(fast_rows.causal(query, key, value, 0.3), expected)


def test_evaluation_replies_and_the_folder_are_as_before(tmp_path):
    """Held-out rows, sorted and on trained positions alone, give the mean by hand; afterwards the model generates as ever, and what is saved names no attention of ours."""
    model, rows = model_of("qwen2"), features()
    plain = [{"input_ids": row["input_ids"][:length], "labels": row["labels"][:length]} for row in rows for length in row["seq_lengths"][:1]]
    by_hand, _ = one_by_one(model, [row | {"seq_lengths": [len(row["input_ids"])]} for row in plain])
    asked = dict(input_ids=torch.tensor([[13, 14, 15]]), attention_mask=torch.ones(1, 3), max_new_tokens=20, do_sample=False, use_cache=True, eos_token_id=-1, pad_token_id=0)
    before = model.generate(**asked)
    recipe = wb.Recipe(packing=True, steps=1, batch_size=3, learning_rate=1e-12)
    job = supervised.Job(model, wb.load("town")[1], Prepared(Dataset.from_list(rows), 9, epoch_rows=4), Prepared(Dataset.from_list(plain), len(plain)), [], WIDTH, [])
    trainer = supervised.build_trainer(recipe, job, tmp_path, [])
    assert trainer.evaluate()["eval_loss"] == pytest.approx(by_hand, abs=1e-5)
    trainer.train()
    assert torch.equal(model.generate(**asked), before)
    trainer.save_model(str(tmp_path / "kept"))
    assert fast_rows.NAME not in json.dumps(json.loads((tmp_path / "kept" / "config.json").read_text()))
    assert wb.load(str(tmp_path / "checkpoint-1"))[0].config._attn_implementation == "sdpa"


def test_an_adapter_on_the_head_and_positions_before_trained_tokens_only(tmp_path):
    """With LoRA on every matrix and the output head too; the head must see as many positions as tokens are trained, no more."""
    model, rows = wb.LoRA(rank=2, target_modules=("q_proj", "lm_head")).apply(model_of("grouped heads")), features()
    loss, gradients = one_by_one(model, rows)
    seen = []
    model.get_output_embeddings().register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape[:-1]))
    trainer = trainer_of(model, rows, tmp_path)
    batch = trainer.data_collator(rows)
    count = int((batch["labels"] != IGNORE).sum())
    assert trainer.training_step(model, batch, torch.tensor(count)).item() == pytest.approx(loss, abs=1e-5)
    assert seen == [(1, count)]
    for key, gradient in take_gradients(model).items():
        torch.testing.assert_close(gradient, gradients[key], atol=1e-5, rtol=1e-4)
