"""Losses of compared and judged replies: each against trl's own trainer on the same batch and models, and against figures by hand.

The models are the town's small one and a copy of it that went astray, so that log-ratios are neither zero nor of one sign.
"""

from __future__ import annotations

import copy
import math

import pytest
import torch
from datasets import Dataset
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

import workbench as wb
from workbench import town
from workbench.alignment import preference_losses as losses
from workbench.alignment import preference_objectives as objectives
from workbench.data import comparisons, sources, verdicts
from workbench.recipes import check_live
from workbench.training import preference, reply_logps
from workbench.training.preference_terms import Replies, objective_loss
from workbench.training.reply_logps import ReplyLogps

PAIRS = town.rows("preferences")[:6]
PLAIN = dict(report_to=[], use_cpu=True, bf16=False, gradient_checkpointing=False, disable_tqdm=True, save_strategy="no",
             per_device_train_batch_size=6, max_length=None)


def number(*values):
    return torch.tensor(values, dtype=torch.float64)


def pair(better, worse, chosen_length=1.0, rejected_length=1.0):
    """A pair with these log-ratios, the reference at 0."""
    return losses.Pairs(number(better), number(worse), number(0.0), number(0.0), number(chosen_length), number(rejected_length))


def as_trl_takes_them():
    """Rows for a trainer of trl's to be made with; what it is asked about are our tokens of them."""
    return Dataset.from_list([{name: row[name] for name in ("prompt", "chosen", "rejected")} for row in PAIRS])


@pytest.fixture(scope="module")
def models():
    model, tokenizer = wb.load("town-small")
    astray = copy.deepcopy(model)
    torch.manual_seed(0)
    with torch.no_grad():
        for weights in astray.parameters():
            weights += 0.05 * weights.std() * torch.randn_like(weights)
    return astray, model, tokenizer


@pytest.fixture(scope="module")
def pairs(models):
    return preference.rows_of(comparisons.read(sources.load_rows(PAIRS)), models[2], 512)[0]


def logps(model, rows, prompts=False):
    batch = reply_logps.padded(rows, 0, prompts)
    told = ReplyLogps(model)
    with torch.no_grad():
        return told(batch), batch.lengths, told.close()


def ours(settings, rows, models, mismatched=None):
    """The mean loss of the rows."""
    policy, reference, _ = models
    own, lengths, _ = logps(policy, rows)
    kl = logps(policy, mismatched)[0] - logps(reference, mismatched)[0] if mismatched else None
    total, _ = objective_loss(settings, settings.beta, own, Replies(rows, lengths, logps(reference, rows)[0], kl))
    return total.item() / len(rows)


@pytest.fixture(scope="module")
def trl_dpo(models, pairs, tmp_path_factory):
    policy, reference, tokenizer = models
    rows = [{"prompt_ids": row["prompt"], "chosen_ids": row["replies"][0], "rejected_ids": row["replies"][1]} for row in pairs]
    args = DPOConfig(output_dir=str(tmp_path_factory.mktemp("dpo")), **PLAIN)
    trainer = DPOTrainer(copy.deepcopy(policy).eval(), ref_model=copy.deepcopy(reference), args=args, train_dataset=as_trl_takes_them(),
                         processing_class=tokenizer)
    return trainer, trainer.data_collator(rows)


SMOOTHING = {"robust": 0.1, "exo_pair": 0.001, "aot": 0.1, "aot_unpaired": 0.1}


@pytest.mark.parametrize("name", objectives.PAIR_LOSSES)
@pytest.mark.parametrize("beta", [0.1, 0.7])
def test_a_loss_of_pairs_is_trl_s(name, beta, trl_dpo, models, pairs):
    trainer, batch = trl_dpo
    trainer.loss_types, trainer.loss_weights, trainer.beta, trainer.label_smoothing = [name], [1.0], beta, SMOOTHING.get(name, 0.0)
    with torch.no_grad():
        theirs = trainer._compute_loss(trainer.model, dict(batch), False).item()
    settings = objectives.DPO(beta=beta, loss=name, label_smoothing=SMOOTHING.get(name, 0.0))
    assert ours(settings, pairs, models) == pytest.approx(theirs, rel=1e-4, abs=1e-4)


def test_several_losses_together_are_trl_s_and_ipo_is_its_own_objective(trl_dpo, models, pairs):
    trainer, batch = trl_dpo
    told = {}
    for kinds, weights in ((["sigmoid", "sft"], [1.0, 0.5]), (["ipo"], [1.0])):
        trainer.loss_types, trainer.loss_weights, trainer.beta = kinds, weights, 0.2
        with torch.no_grad():
            told[kinds[0]] = trainer._compute_loss(trainer.model, dict(batch), False).item()
    assert ours(objectives.DPO(beta=0.2, sft_weight=0.5), pairs, models) == pytest.approx(told["sigmoid"], rel=1e-5)
    assert ours(objectives.IPO(beta=0.2), pairs, models) == pytest.approx(told["ipo"], rel=1e-5)


@pytest.mark.parametrize("loss", objectives.VERDICT_LOSSES)
def test_kto_is_trl_s_with_its_mismatched_replies(loss, models, tmp_path):
    policy, reference, tokenizer = models
    rows = preference.rows_of(verdicts.read(sources.load_rows(PAIRS[:3])), tokenizer, 512)[0]
    said = [row["replies"][0] for row in rows]
    mismatched = [{"prompt": row["prompt"], "replies": [reply]} for row, reply in zip(rows, [said[-1], *said[:-1]], strict=True)]
    told = [{"prompt_ids": row["prompt"], "completion_ids": row["replies"][0], "KL_completion_ids": other["replies"][0],
             "label": row["good"][0]} for row, other in zip(rows, mismatched, strict=True)]
    args = KTOConfig(output_dir=str(tmp_path), loss_type=loss, beta=0.3, desirable_weight=0.8, undesirable_weight=1.2, **PLAIN)
    trainer = KTOTrainer(copy.deepcopy(policy).eval(), ref_model=copy.deepcopy(reference), args=args, train_dataset=as_trl_takes_them(),
                         processing_class=tokenizer)
    with torch.no_grad():
        theirs = trainer._compute_loss(trainer.model, trainer.data_collator(told), False).item()
    settings = objectives.KTO(beta=0.3, loss=loss, desirable_weight=0.8, undesirable_weight=1.2)
    assert ours(settings, rows, models, mismatched if loss == "kto" else None) == pytest.approx(theirs, rel=1e-5)


def test_orpo_is_trl_s(models, pairs, tmp_path):
    policy, _, tokenizer = models
    args = ORPOConfig(output_dir=str(tmp_path), beta=0.3, max_length=512,
                      **{name: value for name, value in PLAIN.items() if name != "max_length"})
    trainer = ORPOTrainer(copy.deepcopy(policy).eval(), args=args, train_dataset=as_trl_takes_them(), processing_class=tokenizer)
    batch = {}
    for side, place in (("chosen", 0), ("rejected", 1)):
        talks = [(row["prompt"], row["replies"][place]) for row in pairs]
        width = max(len(prompt) + len(reply) for prompt, reply in talks)
        for name, rest, made in (("input_ids", 0, lambda p, r: p + r), ("attention_mask", 0, lambda p, r: [1] * len(p + r)),
                                 ("labels", -100, lambda p, r: [-100] * len(p) + r)):
            batch[f"{side}_{name}"] = torch.tensor([made(p, r) + [rest] * (width - len(p + r)) for p, r in talks])
    with torch.no_grad():
        theirs = trainer.get_batch_loss_metrics(trainer.model, batch)[0].item()
    own, lengths, _ = logps(policy, pairs, prompts=True)
    total, _ = objective_loss(objectives.ORPO(beta=0.3), 0.3, own, Replies(pairs, lengths, None, None))
    assert total.item() / len(pairs) == pytest.approx(theirs, rel=1e-5)


def test_dpo_at_its_start_is_ln_2_and_as_the_paper_has_it():
    """The reference's figures: 0.1 x (2 - -3) is 0.5, and -log sigmoid(0.5) is 0.474077."""
    assert losses.sigmoid(pair(0.0, 0.0), losses.Setting()).item() == pytest.approx(math.log(2))
    assert losses.sigmoid(pair(2.0, -3.0), losses.Setting(0.1)).item() == pytest.approx(0.474077, abs=1e-6)


def test_conservative_dpo_weighs_both_ways_round():
    expected = 0.9 * 0.474077 + 0.1 * (0.474077 + 0.5)  # -log sigmoid(-x) is -log sigmoid(x) + x
    assert losses.sigmoid(pair(2.0, -3.0), losses.Setting(0.1, 0.1)).item() == pytest.approx(expected, abs=1e-6)


def test_rrhf_of_a_ranking_by_hand():
    """Log-probabilities -6, -2, -9 of 3, 2 and 3 tokens: by token -2, -1, -3. Only the first two are in the wrong order, by 1; the best
    reply's own loss is 2."""
    row = {"number": 0, "replies": [[1, 2, 3], [1, 2], [4, 5, 6]], "pairs": [(0, 1, 1 / 3), (0, 2, 1 / 3), (1, 2, 1 / 3)]}
    told = Replies([row], torch.tensor([3, 2, 3]), None, None)
    total, seen = objective_loss(objectives.RRHF(), 1.0, number(-6.0, -2.0, -9.0), told)
    assert total.item() == pytest.approx(1 + 2) and seen.right.tolist() == [0, 1, 1]
    assert objective_loss(objectives.RRHF(), 10.0, number(-6.0, -2.0, -9.0), told)[0].item() == pytest.approx(10 + 2)


def test_a_ranking_weighs_as_much_as_a_pair():
    """Three replies with log-ratios 2, 0 and -3 at beta 0.1: the mean of -log sigmoid of 0.2, 0.5 and 0.3."""
    row = {"number": 0, "replies": [[1], [2], [3]], "pairs": [(0, 1, 1 / 3), (0, 2, 1 / 3), (1, 2, 1 / 3)]}
    told = Replies([row], torch.tensor([1, 1, 1]), number(0.0, 0.0, 0.0), None)
    total, _ = objective_loss(objectives.DPO(), 0.1, number(2.0, 0.0, -3.0), told)
    assert total.item() == pytest.approx(sum(math.log1p(math.exp(-x)) for x in (0.2, 0.5, 0.3)) / 3)


def test_odds_of_likely_replies_are_finite_and_have_finite_gradients():
    logp = torch.tensor([-1e-9, -1.0], requires_grad=True)
    loss = losses.odds_ratio(logp, logp.flip(0)).sum()
    loss.backward()
    assert math.isfinite(loss.item()) and logp.grad.isfinite().all()


def test_every_name_has_a_loss_and_what_there_is_not_is_named():
    assert tuple(losses.OF_PAIRS) == objectives.PAIR_LOSSES
    with pytest.raises(wb.RecipeError, match="none of sigmoid, hinge, ipo"):
        objectives.DPO(loss="simpo")
    with pytest.raises(wb.RecipeError, match="knows no label_smoothing"):
        objectives.DPO(loss="hinge", label_smoothing=0.1)
    with pytest.raises(wb.RecipeError, match="infinite"):
        objectives.DPO(loss="exo_pair")
    with pytest.raises(wb.RecipeError, match="beta of ipo"):
        objectives.IPO(beta=0)
    ipo = wb.Recipe(objective=objectives.IPO(), data=PAIRS)
    with pytest.raises(wb.RecipeError, match="beta of ipo is 0"):
        check_live({"beta": 0}, (), ipo)
    check_live({"beta": 0}, (), wb.Recipe(objective=objectives.DPO(), data=PAIRS))
