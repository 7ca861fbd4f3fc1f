"""What must come out the same: packed and unpacked, accumulated and at once, ours and a hand computation, ours and a plain transformers Trainer.

Everything in fp32 on a CPU. Whole runs against their scripts are in `tests/runs/test_script.py`.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import workbench as wb
from tests.runs import tools
from workbench.data import sources
from workbench.data.run_rows import RunRows, gather
from workbench.training import supervised
from workbench.training.rows import IGNORE, Collator


def job_of(real_data: Path, **fields):
    torch.set_num_threads(1)
    recipe = tools.recipe(real_data, **(dict(heldout=0, method=wb.LoRA(rank=4), sample_prompts=0) | fields))
    return recipe, supervised.load_job(recipe, gather(recipe.data, 0, 0)[0])


def mean_loss(model, batch) -> torch.Tensor:
    """Cross entropy by hand from the logits: nats per trained token of the batch."""
    logits = model(**{k: v for k, v in batch.items() if k != "labels"}, use_cache=False).logits.double()
    total, count = torch.zeros((), dtype=torch.double), 0
    for row in range(logits.shape[0]):
        for t in range(logits.shape[1] - 1):
            target = batch["labels"][row, t + 1].item()
            if target != IGNORE:
                total, count = total + torch.logsumexp(logits[row, t], -1) - logits[row, t, target], count + 1
    return total / count


@pytest.mark.parametrize("method", [wb.Full(), wb.LoRA(rank=4)], ids=["full", "lora"])
def test_packed_loss_and_gradients_are_the_unpacked_ones(real_data, method):
    out = []
    for packing in (False, True):
        _, job = job_of(real_data, packing=packing, method=method, data=tools.rows(24))
        if method.name == "lora":  # B starts at zero, which would hide the adapters
            torch.manual_seed(1)
            for name, parameter in job.model.named_parameters():
                if "lora_B" in name:
                    torch.nn.init.normal_(parameter, std=0.02)
        batch = Collator(job.tokenizer.pad_token_id, 128 if packing else None)(list(job.train.rows))
        loss = job.model(**batch).loss
        loss.backward()
        out.append((loss.item(), {n: p.grad for n, p in job.model.named_parameters() if p.grad is not None}, batch["input_ids"].shape[0]))
    (plain, plain_gradients, plain_rows), (packed, packed_gradients, packed_rows) = out
    assert packed_rows < 0.7 * plain_rows
    assert packed == pytest.approx(plain, abs=1e-4)
    assert plain_gradients.keys() == packed_gradients.keys() and len(plain_gradients) > 10
    for name, gradient in plain_gradients.items():
        torch.testing.assert_close(packed_gradients[name], gradient, atol=1e-4, rtol=1e-3)


def test_packed_examples_do_not_see_each_other(real_data):
    _, job = job_of(real_data, packing=True, data=tools.rows(24), max_length=256)
    features = list(job.train.rows)
    row = next(i for i, f in enumerate(features) if len(f["seq_lengths"]) >= 3)
    batch = Collator(job.tokenizer.pad_token_id, 256)(features)
    batch.pop("labels")
    first, second = features[row]["seq_lengths"][:2]
    job.model.eval()
    with torch.no_grad():
        before = job.model(**batch).logits
        changed = batch | {"input_ids": batch["input_ids"].clone()}
        changed["input_ids"][row, first:first + second] = torch.randint(5, 500, (second,))
        after = job.model(**changed).logits
    elsewhere = torch.ones(before.shape[:2], dtype=torch.bool)
    elsewhere[row, first:first + second] = False
    assert (before - after)[elsewhere].abs().max() < 1e-5
    assert (before - after)[~elsewhere].abs().max() > 0.1, "the change did reach the model"


def trained(real_data, folder: Path, **fields) -> tuple[list[float], dict[str, torch.Tensor]]:
    recipe, job = job_of(real_data, **fields)
    trainer = supervised.build_trainer(recipe, job, folder, [])
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry], {k: v.clone() for k, v in job.model.state_dict().items()}


def test_eight_accumulated_rows_are_a_batch_of_eight(real_data, tmp_path):
    """The rows differ in length, so a mean of means would be off by far more than rounding."""
    options = dict(data=tools.rows(48), steps=4, warmup_steps=0, method=wb.Full(), learning_rate=1e-3)
    at_once, weights = trained(real_data, tmp_path / "a", batch_size=8, **options)
    accumulated, same_weights = trained(real_data, tmp_path / "b", batch_size=1, gradient_accumulation=8, **options)
    assert accumulated == pytest.approx(at_once, abs=1e-4) and len(at_once) == 4 and at_once[3] < at_once[0]
    for name, weight in weights.items():
        torch.testing.assert_close(same_weights[name], weight, atol=1e-4, rtol=1e-3)


def test_the_first_loss_is_the_one_computed_by_hand(real_data, tmp_path):
    """Of the same 16 rows, from the logits of the untouched model; accumulated over batches of different widths."""
    first, _ = trained(real_data, tmp_path, data=tools.rows(16), batch_size=4, gradient_accumulation=4, steps=1, warmup_steps=0)
    _, job = job_of(real_data, data=tools.rows(16))
    job.model.eval()
    with torch.no_grad():
        by_hand = mean_loss(job.model, Collator(job.tokenizer.pad_token_id)(list(job.train.rows))).item()
    assert first[0] == pytest.approx(by_hand, abs=1e-5)


def test_losses_are_those_of_a_plain_trainer(real_data, tmp_path):
    """transformers' own Trainer and DataCollatorForSeq2Seq on the same rows: the same numbers, to the last bit, and the same weights."""
    import transformers

    fields = dict(steps=6, gradient_accumulation=2, warmup_steps=2, method=wb.LoRA(rank=4, dropout=0.1), weight_decay=0.01, max_grad_norm=0.5)
    ours, weights = trained(real_data, tmp_path / "ours", **fields)
    recipe, job = job_of(real_data, **fields)
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path / "plain"), max_steps=6, per_device_train_batch_size=4, gradient_accumulation_steps=2, learning_rate=5e-3, weight_decay=0.01,
        max_grad_norm=0.5, optim="adamw_torch", lr_scheduler_type="cosine", warmup_steps=2, seed=0, data_seed=0, logging_steps=1, report_to=[], disable_tqdm=True, use_cpu=True, save_strategy="no")
    trainer = transformers.Trainer(model=job.model, args=arguments, train_dataset=job.train.rows, processing_class=job.tokenizer,
                                   data_collator=transformers.DataCollatorForSeq2Seq(job.tokenizer, label_pad_token_id=-100))
    trainer.train()
    assert ours == [entry["loss"] for entry in trainer.state.log_history if "loss" in entry] and len(ours) == 6
    for name, weight in job.model.state_dict().items():
        assert torch.equal(weight, weights[name]), name


def test_held_out_loss_is_nats_per_trained_token_whatever_the_batch(real_data, tmp_path):
    """Rows of very different lengths, batches that do not divide them: the one number must still be the mean over tokens."""
    heldout = [{"question": "Who?", "answer": "Tom."}, {"question": "Who?", "answer": "Once there was a big red dog. " * 4},
               {"question": "What?", "answer": "A cat."}] * 3
    out = []
    for batch_size in (2, 9):
        recipe = tools.recipe(real_data, batch_size=batch_size, steps=1, sample_prompts=0)
        job = supervised.load_job(recipe, RunRows({"": sources.load_rows(recipe.data)}, {"": sources.load_rows(heldout)}))
        trainer = supervised.build_trainer(recipe, job, tmp_path, [])
        out.append(trainer.evaluate()["eval_loss"])
        job.model.eval()
        with torch.no_grad():
            by_hand = mean_loss(job.model, Collator(job.tokenizer.pad_token_id)(list(job.heldout.rows))).item()
    assert out == pytest.approx([by_hand, by_hand], abs=1e-4)
