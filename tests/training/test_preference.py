"""Preference objectives as runs: the reference, live beta, resumed is uninterrupted, forks, rows of every layout and real files.

Trains in this process on the town's small model; forks go through a worker.
"""

from __future__ import annotations

import math
import shutil

import pytest
import torch

import workbench as wb
from tests.runs import tools
from workbench import town
from workbench.data import comparisons, run_rows, sources, verdicts
from workbench.evaluation.rewards import reward_gaps
from workbench.journal import commands as cmd
from workbench.models import methods
from workbench.runs.start import prepare
from workbench.training import gap_arrays, preference, reference, reply_logps, reply_rows
from workbench.training.preference_terms import Replies, objective_loss
from workbench.training.reply_logps import ReplyLogps

PAIRS = town.rows("preferences")[:60]
RANKINGS = [{"prompt": row["prompt"], "replies": [row["chosen"], row["rejected"], "I do not know at all."], "ranks": [0, 1, 1]}
            for row in PAIRS[:24]]


def recipe(**fields):
    given = dict(model="town-small", data=PAIRS, objective="dpo", method=methods.LoRA(rank=4, dropout=0.1), steps=6, batch_size=6,
                 learning_rate=5e-3, heldout=0.2, evaluate_every=3, checkpoint_every=2, max_length=96, sample_prompts=1, sample_tokens=4)
    return wb.Recipe(**(given | fields))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return tools.here(recipe(), tmp_path_factory.mktemp("plain"), "plain")


@pytest.fixture(scope="module")
def town_small():
    return wb.load("town-small")


def evaluations(run):
    return [(e.step, e.loss, e.extra) for e in run.history.evaluations]


def logps_of(model, rows):
    batch, told = reply_logps.padded(rows, 0), ReplyLogps(model.eval())
    with torch.no_grad():
        return told(batch)


def test_a_run_begins_at_ln_2_and_says_what_it_sees(plain):
    frame = plain.metrics()
    first = frame.iloc[0]
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert first["gap"] == 0 == first["rewards/chosen"] and first["accuracy"] == 0.5
    assert {"rewards/chosen", "rewards/rejected", "gap", "accuracy", "logp/chosen", "logp/rejected", "beta"} <= set(frame.columns)
    assert frame["gap"].tolist() == pytest.approx((frame["rewards/chosen"] - frame["rewards/rejected"]).tolist(), abs=1e-6)
    assert len(plain.samples()) == 2 and plain.samples()["reference"][0] in {row["chosen"] for row in PAIRS}


def test_an_evaluation_is_what_the_two_models_say_of_the_held_out_pairs(plain, town_small):
    model, tokenizer = plain.load()
    rows, _ = preference.rows_of(comparisons.read(sources.kept(plain.folder / "data" / "heldout.arrow")), tokenizer, 96)
    gaps = [0.1 * ((own[0] - other[0]) - (own[1] - other[1])).item() for own, other in
            ((logps_of(model, [row]), logps_of(town_small[0], [row])) for row in rows)]
    last = plain.history.evaluations[-1]
    assert last.loss == pytest.approx(sum(math.log1p(math.exp(-gap)) for gap in gaps) / len(gaps), abs=1e-4)
    assert last.extra["gap"] == pytest.approx(sum(gaps) / len(gaps), abs=1e-4)
    assert last.extra["accuracy"] == pytest.approx(sum(gap > 0 for gap in gaps) / len(gaps))
    told = reward_gaps(plain, sources.kept(plain.folder / "data" / "heldout.arrow"))
    assert told["gap"].tolist() == pytest.approx(gaps, abs=1e-4) and (told["gap"] == told["chosen"] - told["rejected"]).all()
    kept = gap_arrays.load(plain.folder, plain.history.arrays[-1])["heldout"]
    assert (kept.chosen - kept.rejected)[:, 0].tolist() == pytest.approx(gaps, abs=1e-3)


def test_resumed_is_uninterrupted_and_a_changed_beta_is_made_again(plain, tmp_path):
    """The same run twice, once stopped at step 4 with the checkpoint before it lost; beta changes at step 3 in both."""
    runs = []
    for name in ("whole", "torn"):
        folder = prepare(recipe(), tmp_path, name)
        cmd.send(folder, cmd.Set(values={"beta": 0.7}, at_step=3))
        if name == "torn":
            cmd.send(folder, cmd.Stop(at_step=4))
            assert tools.train_here(folder) == "stopped"
            (folder / "commands.jsonl").unlink()
            shutil.rmtree(folder / "checkpoints" / "step-000004")
        tools.train_here(folder)
        runs.append(wb.attach(folder))
    whole, torn = runs
    assert tools.losses(torn) == tools.losses(whole) and evaluations(torn) == evaluations(whole)
    assert torn.metrics()["beta"].tolist() == [0.1] * 3 + [0.7] * 3
    assert tools.losses(whole)[:3] == tools.losses(plain)[:3] and tools.losses(whole)[3] != tools.losses(plain)[3]
    one, other = (run.load()[0].state_dict() for run in runs)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_copied_reference_is_read_in_the_policy_s_precision(tmp_path):
    """In bf16 too the policy begins as its reference."""
    frame = tools.here(recipe(method=methods.Full(), precision="bf16", steps=1, heldout=0), tmp_path).metrics()
    assert frame["loss"][0] == pytest.approx(math.log(2), abs=1e-6) and frame["rewards/chosen"][0] == 0


@pytest.mark.usefixtures("warm")
def test_a_fork_with_another_beta_goes_on_from_its_parent(plain):
    child = plain.fork(step=4, beta=0.5)
    child.wait(60)
    assert tools.losses(child)[:4] == tools.losses(plain)[:4] and tools.losses(child)[4] != tools.losses(plain)[4]
    assert child.metrics()["beta"].tolist() == [0.1] * 4 + [0.5] * 2
    child.history.refresh()
    assert [event.step for event in child.history.arrays] == [3, 6]  # the first is the parent's
    first, parents = (gap_arrays.load(run.folder, run.history.arrays[0])["heldout"] for run in (child, plain))
    assert first.chosen.tolist() == parents.chosen.tolist()


@pytest.mark.parametrize(("objective", "data"), [("ipo", PAIRS[:24]), ("kto", PAIRS[:24]), ("orpo", PAIRS[:24]), ("rrhf", RANKINGS),
                                                 ("dpo", RANKINGS)])
def test_an_objective_learns_its_rows(objective, data, tmp_path):
    run = tools.here(recipe(objective=objective, data=data, method=methods.Full(), learning_rate=1e-3, steps=16, evaluate_every=16,
                            sample_prompts=0, checkpoint_every=16), tmp_path)
    frame = run.metrics()
    assert frame["loss"].iloc[-3:].mean() < frame["loss"].iloc[:3].mean() and frame["gap"].iloc[-3:].mean() > 0
    assert {"gap", "accuracy"} <= set(run.history.evaluations[-1].extra)


def test_the_first_step_is_the_loss_of_its_rows_however_they_are_cut(tmp_path):
    """Rows at once or in three parts weigh alike, rankings too."""
    seen = []
    for batch, parts in ((6, 1), (2, 3)):
        given = recipe(objective=wb.DPO(beta=0.1, loss="apo_zero"), data=RANKINGS[:12], method=methods.Full(), heldout=0, steps=1,
                       batch_size=batch, gradient_accumulation=parts)
        frame = tools.here(given, tmp_path, str(batch)).metrics()
        seen.append((frame["loss"][0], frame["grad_norm"][0]))
    assert seen[1] == pytest.approx(seen[0], rel=1e-4)


@pytest.mark.parametrize(("per_token", "loss"), [(True, 2.25), (False, 0.25)])
def test_ipo_is_of_log_ratios_per_token_or_of_their_sums(per_token, loss):
    """By hand: log-ratios 2 over 4 tokens and -1 over 2, drawn apart to 1 / (2 * 0.2) = 2.5: (0.5 + 0.5 - 2.5)^2, and (2 + 1 - 2.5)^2."""
    rows = [{"number": 0, "replies": [[1] * 4, [1] * 2], "pairs": [(0, 1, 1.0)]}]
    told = Replies(rows, torch.tensor([4, 2]), torch.tensor([-12.0, -19.0]), None)
    found, _ = objective_loss(wb.IPO(beta=0.2, per_token=per_token), 0.2, torch.tensor([-10.0, -20.0]), told)
    assert found.item() == pytest.approx(loss)


def test_a_mixture_is_drawn(tmp_path):
    mixture = wb.Mixture({"one": PAIRS[:20], "other": PAIRS[20:40]}, rule="weights", weights={"one": 1, "other": 3})
    drawn = tools.here(recipe(data=mixture, steps=4, heldout=0, sample_prompts=0), tmp_path).metrics()
    assert drawn["rows/one"].sum() + drawn["rows/other"].sum() == 24 and drawn["loss"][0] == pytest.approx(math.log(2), abs=1e-6)


def test_laid_replies_that_share_a_prompt_are_what_padded_ones_are(town_small):
    """Values and gradients, of replies to three prompts, one of which is longer than the rest together."""
    model, tokenizer = town_small
    examples = comparisons.read(sources.load_rows(RANKINGS[:3]))
    rows, _ = reply_rows.encode(tokenizer, examples, 512)
    rows[1]["prompt"] = rows[1]["prompt"] * 9
    told = ReplyLogps(model)
    assert reply_logps.agrees(model, told, rows[0], 0)
    found = []
    for lay in (reply_logps.laid, reply_logps.padded):
        batch = lay(rows, 0, True)
        model.zero_grad()
        with reply_logps.within(batch):
            values = told(batch)
            (values * torch.arange(1, len(values) + 1)).sum().backward()
        found.append((values.detach(), [weights.grad.clone() for weights in model.parameters()]))
    assert len(found[0][0]) == 9 + 3 and torch.allclose(found[0][0], found[1][0], atol=1e-3)
    for one, other in zip(found[0][1], found[1][1], strict=True):
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-4 * other.abs().max().item() + 1e-6)


@pytest.mark.parametrize(("method", "off"), [(methods.LoRA(rank=2), True), (methods.Full(), False),
                                             (methods.LoRA(rank=2, variant="pissa"), False), (methods.LoRA(rank=2, bias="all"), False),
                                             (methods.PromptTuning(tokens=2), True)], ids=["lora", "full", "pissa", "biases", "prompt"])
def test_the_reference_is_the_model_it_started_from(method, off, town_small, tmp_path):
    """Also where an adapter put off would be another model."""
    folder = prepare(recipe(method=method, heldout=0), tmp_path, "one")
    job = preference.load_job(recipe(method=method, heldout=0), run_rows.read(folder))
    assert (job.reference.copy is None) == off
    with torch.no_grad():  # as if it had learned
        for weights in job.model.parameters():
            if weights.requires_grad:
                weights += 0.1
    row = job.train.rows[0]
    own = ReplyLogps(job.model)
    job.reference.ready(torch.device("cpu"), False)
    found = job.reference.of([row], own, lambda rows: reply_logps.padded(rows, 0))
    assert torch.allclose(found, logps_of(town_small[0], [row]), atol=1e-3)
    assert not torch.allclose(found, logps_of(job.model, [row]), atol=1e-3)
    job.reference.save(tmp_path)
    again = reference.KeptSums(job.model, job.reference.copy)
    again.restore(tmp_path)
    assert again.of([row], own, None).tolist() == found.tolist()  # nothing is computed again


def test_what_is_too_long_loses_its_prompt_s_beginning_first(town_small):
    tokenizer = town_small[1]
    long, short = ([{"role": "user", "content": "Who? " * count}] for count in (40, 1))
    examples = [{"prompt": long, "replies": [[{"role": "assistant", "content": text}] for text in ("Mira does.", "Tom. " * 60)]}]
    whole, _ = reply_rows.encode(tokenizer, examples, 1000)
    (row,), cut = reply_rows.encode(tokenizer, examples, 50)
    assert cut == 2 and len(row["prompt"]) == 1 and row["prompt"] == whole[0]["prompt"][-1:]
    assert row["replies"][0] == whole[0]["replies"][0] and row["replies"][1] == whole[0]["replies"][1][:49]
    assert whole[0]["replies"][0][-1] == tokenizer.eos_token_id
    assert tokenizer.decode(whole[0]["prompt"]).endswith("<|im_start|>assistant\n")
    assert reply_rows.encode(tokenizer, [{**examples[0], "prompt": short}], 1000)[1] == 0


def test_verdicts_of_pairs_rankings_and_judged_replies():
    told = verdicts.read(sources.load_rows([{"prompt": "Who?", "replies": ["a", "b", "c"], "ranks": [0, 1, 2]}]))
    assert told[0]["good"] == [True, False] and [comparisons.words(reply) for reply in told[0]["replies"]] == ["a", "c"]
    judged = verdicts.read(sources.load_rows([{"prompt": "Who?", "completion": "Mira.", "label": False}]))
    assert judged[0]["good"] == [False] and comparisons.words(judged[0]["replies"][0]) == "Mira."
    with pytest.raises(wb.DataError, match="judge no reply"):
        verdicts.read(sources.load_rows([{"question": "Who?", "answer": "Mira."}]))


def test_what_cannot_be_trained_is_said(tmp_path):
    with pytest.raises(wb.RecipeError, match="sorts the pairs"):
        tools.here(recipe(objective=wb.DPO(loss="aot"), data=RANKINGS), tmp_path, "sorted")
    with pytest.raises(wb.RecipeError, match="batch_size is 1"):
        tools.here(recipe(objective="kto", batch_size=1), tmp_path, "alone")
    criteria = [row | {"better_one": "chosen", "better_two": "rejected"} for row in PAIRS[:20]]
    with pytest.raises(wb.DataError, match="2 criteria"):
        tools.here(recipe(data=criteria), tmp_path, "criteria")


@pytest.mark.parametrize(("file", "objective"), [
    ("dpo_kto_demo/dpo_en_demo.json", "ipo"), ("dpo_kto_demo/kto_en_demo.json", "kto"),
    ("hh_rlhf/harmless_first1200.jsonl.gz", "dpo"), ("open_assistant/en_100_tree.jsonl", "rrhf")])
def test_real_files_train(file, objective, real_data, tmp_path):
    given = recipe(data=str(real_data / file), objective=objective, model=str(real_data / "stories260k"), steps=2, batch_size=2,
                   heldout=0.01, evaluate_every=2, max_length=128)
    run = tools.here(given, tmp_path)
    assert run.metrics()["loss"].notna().all() and run.history.evaluations[-1].loss is not None
