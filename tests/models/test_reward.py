"""The loss of rewards against the figures of the papers, by hand and against trl; the head reads the last real token."""

from __future__ import annotations

import itertools
import math

import datasets
import pytest
import torch
import trl

from workbench import town
from workbench.data import comparisons, reply_tokens, sources
from workbench.errors import RecipeError, WorkbenchError
from workbench.models import classifier, reward
from workbench.training.reward import PairCollator

BASE = str(town.base_folder("small"))


@pytest.fixture(scope="module")
def opened():
    torch.manual_seed(0)
    model, tokenizer = reward.load(BASE, ["reward"])
    with torch.no_grad():
        model.score.weight.mul_(20)  # so that a loss far from ln 2 is compared
    return model.eval(), tokenizer


def losses(values, pairs, margins=None):
    margins = torch.zeros(len(pairs)) if margins is None else torch.tensor(margins)
    return reward.pair_losses(torch.tensor(values).float(), torch.tensor(pairs), margins)


def test_the_figures_of_bradley_and_terry():
    """REFERENCE: Δ = 0 .693147, 1 .313262, 2 .126928; a margin moves Δ."""
    values, pairs = [[0.5], [0.5], [1.5], [2.5]], [(0, 1, 0), (2, 1, 0), (3, 1, 0), (3, 1, 0)]
    assert losses(values, pairs, [0.0, 0, 0, 1]).tolist() == pytest.approx([0.693147, 0.313262, 0.126928, 0.313262], abs=1e-6)


def test_a_ranking_is_the_mean_over_its_pairs():
    """InstructGPT, eq. 1, for rewards 2, 1, 0: (f(1) + f(2) + f(1)) / 3 with f = -log sigmoid; every head weighs alike."""
    pairs = [(i, j, 0, 0.0) for i, j in itertools.combinations(range(3), 2)]
    assert reward.pair_weights(pairs) == [1 / 3] * 3
    total = (torch.tensor(reward.pair_weights(pairs)) * losses([[2], [1], [0]], [pair[:3] for pair in pairs])).sum().item()
    assert total == pytest.approx((0.313262 + 0.126928 + 0.313262) / 3, abs=1e-6)
    assert reward.pair_weights([(0, 1, 0, 0.0), (0, 2, 0, 0.0), (1, 0, 1, 0.0)]) == [0.25, 0.25, 0.5]


def test_loss_and_gradient_are_trl_s(opened, tmp_path):
    model, tokenizer = opened
    rows = comparisons.read(sources.load_rows([row | {"margin": 0.1 * n} for n, row in enumerate(town.rows("preferences")[:6])]))
    ids, _ = reply_tokens.encode(tokenizer, [[*row["prompt"], *reply] for row in rows for reply in row["replies"]], 128)
    features = [{"chosen_ids": ids[2 * n], "rejected_ids": ids[2 * n + 1], "margin": 0.1 * n} for n in range(len(rows))]
    args = trl.RewardConfig(output_dir=str(tmp_path), report_to=[], use_cpu=True, bf16=False, gradient_checkpointing=False)
    theirs = trl.RewardTrainer(model=model, args=args, train_dataset=datasets.Dataset.from_list(features), processing_class=tokenizer)
    model.eval()
    wanted = theirs.compute_loss(model, theirs.data_collator(features))
    grad = torch.autograd.grad(wanted, model.score.weight)[0]
    batch = PairCollator(tokenizer.pad_token_id)([{"input_ids": ids[2 * n:2 * n + 2], "pairs": row["pairs"], "number": n} for n, row in enumerate(rows)])
    values = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    own = (batch["weights"] * reward.pair_losses(values, batch["pairs"], batch["margins"])).sum() / len(batch["labels"])
    assert own.item() == pytest.approx(wanted.item(), abs=1e-5) and abs(own.item() - math.log(2)) > 0.01
    assert torch.allclose(torch.autograd.grad(own, model.score.weight)[0], grad, atol=1e-5)


def test_the_reward_is_read_at_the_last_real_token_whatever_stands_beside_it(opened):
    model, _ = opened
    rows = [[5, 9, 300, 7], [5, 9], [40] * 11]
    with torch.no_grad():
        alone = [model.score(model.model(torch.tensor([row])).last_hidden_state[0, -1]).item() for row in rows]
    assert reward.scores(model, rows)[:, 0] == pytest.approx(alone, abs=1e-5)


def test_a_reward_model_is_told_from_a_classifier_and_a_language_model(opened):
    model, _ = opened
    assert reward.heads_of(model.config) == ["reward"] and reward.heads_of(reward.load(BASE, ["a", "b"])[0].config) == ["a", "b"]
    spam = classifier.load(BASE, ["plain", "spam"])[0]
    assert not reward.rewards(spam.config)
    with pytest.raises(WorkbenchError, match="gives no rewards"):
        reward.heads_of(spam.config)


def test_heads_that_a_reward_model_lacks_are_refused(opened, tmp_path):
    model, tokenizer = opened
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert (reward.load(str(tmp_path), ["reward"])[0].score.weight == model.score.weight).all()
    with pytest.raises(RecipeError, match="'kind'"):
        reward.load(str(tmp_path), ["kind"])
