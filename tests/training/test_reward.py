"""The objective `reward`: methods learn, save and load to equal rewards; resumed is uninterrupted; rankings, margins, criteria, mixtures.

Trains in this process on the town's small model; one run goes through a worker.
"""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

import workbench as wb
from tests.runs import tools
from workbench import town
from workbench.data import comparisons, reply_tokens, sources
from workbench.evaluation.rewards import reward_gaps
from workbench.journal import commands as cmd
from workbench.models import frozen, methods, reward
from workbench.runs.start import prepare
from workbench.training import gap_arrays, supervised
from workbench.training import reward as training

PAIRS = town.rows("preferences")[:60]


def recipe(**fields):
    given = dict(model="town-small", data=PAIRS, objective="reward", method=methods.LoRA(rank=4, dropout=0.1), steps=6, batch_size=6,
                 learning_rate=5e-3, heldout=0.2, evaluate_every=3, checkpoint_every=2, max_length=96, sample_prompts=2)
    return wb.Recipe(**(given | fields))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return tools.here(recipe(), tmp_path_factory.mktemp("plain"), "plain")


def rewards_of(model, tokenizer, rows=PAIRS[:4]):
    talks = [[*row["prompt"], *reply] for row in comparisons.read(sources.load_rows(rows)) for reply in row["replies"]]
    return reward.scores(model, reply_tokens.encode(tokenizer, talks, 96)[0])


@pytest.mark.parametrize(("method", "rate"), [(methods.Full(), 1e-3), (frozen.FrozenBackbone(), 5e-2)], ids=["full", "frozen"])
def test_a_method_learns_saves_and_loads_to_equal_rewards(method, rate, tmp_path, monkeypatch):
    made, build = [], training.build_trainer
    monkeypatch.setattr(training, "build_trainer", lambda *a, **kw: made.append(build(*a, **kw)) or made[0])
    run = tools.here(recipe(method=method, learning_rate=rate, steps=16, data=PAIRS[:24], heldout=0, sample_prompts=0), tmp_path)
    frame = run.metrics()
    assert frame["loss"].iloc[-4:].mean() < frame["loss"].iloc[:4].mean() and frame["accuracy"].iloc[-4:].mean() > 0.5
    before = rewards_of(made[0].model, made[0].processing_class)
    assert (rewards_of(*run.load()) == before).all() and np.ptp(before) > 0


def test_a_lora_s_folder_opens_to_the_run_s_rewards(plain):
    again = wb.load(str(plain.folder / "result"))
    assert (rewards_of(*again) == rewards_of(*plain.load())).all() and reward.heads_of(again[0].config) == ["reward"]


def test_an_evaluation_is_what_the_gaps_of_the_held_out_pairs_say(plain):
    last = plain.history.evaluations[-1]
    found = reward_gaps(plain, sources.kept(plain.folder / "data" / "heldout.arrow"))
    assert last.step == 6 and last.extra["accuracy"] == pytest.approx((found["gap"] > 0).mean(), abs=1e-6)
    assert last.extra["gap"] == pytest.approx(found["gap"].mean(), abs=1e-5)
    assert last.loss == pytest.approx(np.log1p(np.exp(-found["gap"])).mean(), rel=1e-5)
    assert {"accuracy", "gap"} <= set(plain.metrics().columns)
    named = plain.history.arrays
    assert [event.step for event in named] == [event.step for event in plain.history.evaluations] == [3, 6]
    kept = gap_arrays.load(plain.folder, named[-1])
    heldout, train = kept["heldout"], kept["train"]
    assert heldout.row.tolist() == found["row"].tolist() and train.row.tolist() == sorted(set(train.row.tolist()))
    assert (heldout.chosen - heldout.rejected)[:, 0] == pytest.approx(found["gap"].to_numpy(), abs=1e-5)
    steps = plain.metrics()
    assert len(train) == 18 and (train.chosen - train.rejected).mean() == pytest.approx(steps["gap"][3:].mean(), abs=1e-5)


def test_the_first_step_is_the_loss_of_its_rows_however_they_are_cut(tmp_path):
    """6 rankings of three replies at once, or 2 three times: the prompts of the accumulated batch weigh alike."""
    rankings = [{"prompt": row["prompt"], "replies": [row["chosen"], row["rejected"], "I do not know at all."]} for row in PAIRS[:12]]
    seen = []
    for batch, parts in ((6, 1), (2, 3)):
        given = recipe(data=rankings, method=methods.Full(), heldout=0, steps=1, batch_size=batch, gradient_accumulation=parts)
        run = tools.here(given, tmp_path, str(batch))
        frame = run.metrics()
        seen.append((frame["loss"][0], frame["grad_norm"][0], frame["accuracy"][0], frame["gap"][0]))
    assert seen[1] == pytest.approx(seen[0], rel=1e-4)


def test_resumed_is_uninterrupted(plain, tmp_path):
    folder = prepare(recipe(), tmp_path, "stopped")
    cmd.send(folder, cmd.Stop(at_step=3))
    assert tools.train_here(folder) == "stopped"
    (folder / "commands.jsonl").unlink()
    shutil.rmtree(folder / "checkpoints" / "step-000003")  # so that one step is run again
    tools.train_here(folder)
    run = wb.attach(folder)
    assert tools.losses(run) == tools.losses(plain) and [(e.loss, e.extra) for e in run.history.evaluations] == [
        (e.loss, e.extra) for e in plain.history.evaluations]
    assert run.metrics()["accuracy"].tolist() == plain.metrics()["accuracy"].tolist()
    assert (rewards_of(*run.load()) == rewards_of(*plain.load())).all()


def test_criteria_are_heads_whose_weights_are_chosen_later(tmp_path):
    """One criterion likes the chosen reply, the other the rejected one: mixed half and half they leave next to nothing."""
    judged = {"better_ours": "chosen", "better_theirs": "rejected"}
    rows = [{name: row[name] for name in ("prompt", "chosen", "rejected")} | judged for row in PAIRS[:24]]
    run = tools.here(recipe(data=rows, heldout=0.25, method=methods.Full(), learning_rate=1e-3, steps=12, evaluate_every=12), tmp_path)
    assert reward.heads_of(run.load()[0].config) == ["ours", "theirs"]
    extra = run.history.evaluations[-1].extra
    assert extra["accuracy"] == pytest.approx((extra["accuracy/ours"] + extra["accuracy/theirs"]) / 2)
    found = reward_gaps(run, rows)
    assert found["gap/ours"].mean() > 0 > found["gap/theirs"].mean()
    assert np.allclose(found["gap"], (found["gap/ours"] + found["gap/theirs"]) / 2, atol=1e-5)
    assert np.allclose(reward_gaps(run, rows, weights={"ours": 2})["gap"], found["gap/ours"], atol=1e-5)
    with pytest.raises(wb.DataError, match="'mine'"):
        reward_gaps(run, rows, weights={"mine": 1})


def test_a_mixture_is_drawn(tmp_path):
    mixture = wb.Mixture({"one": PAIRS[:20], "other": PAIRS[20:40]}, rule="weights", weights={"one": 1, "other": 3})
    drawn = tools.here(recipe(data=mixture, steps=4, heldout=0, sample_prompts=0), tmp_path).metrics()
    assert drawn["rows/one"].sum() + drawn["rows/other"].sum() == 24 and drawn["accuracy"].notna().all()


def test_samples_say_whether_the_best_reply_is_liked_best(plain):
    samples = plain.samples()
    assert len(samples) == 4 and ((samples["reply"] == samples["reference"]) == (samples["verdict"] == "right")).all()


def test_replies_alike_once_cut_are_dropped_and_counted():
    tokenizer = wb.load("town-small")[1]
    rows = comparisons.read(sources.load_rows([{"prompt": "Who?", "chosen": "Mira does that.", "rejected": "Tom does that."}]))
    assert training._rows(rows, tokenizer, 4, [0]) == ([None], (2, {"replies alike once cut at max_length": 1}))


@pytest.mark.usefixtures("warm")
def test_a_worker_scores_while_it_is_paused_and_its_result_after(plain, tmp_path):
    run = wb.start(recipe(), runs=tmp_path, name="steered")
    run.pause(at_step=2)
    run.wait(60, until="paused")
    early = run.score(PAIRS[0]["prompt"], [PAIRS[0]["chosen"], PAIRS[0]["rejected"]])
    run.resume()
    run.wait(60)
    late = run.score(PAIRS[0]["prompt"], [PAIRS[0]["chosen"], PAIRS[0]["rejected"]])
    assert tools.losses(run) == tools.losses(plain)
    assert list(late.columns) == ["reply", "reward"] and (early["reward"] != late["reward"]).all()
    gap = late["reward"][0] - late["reward"][1]
    assert run.losses(PAIRS[:1])[0] == pytest.approx(np.log1p(np.exp(-gap)), rel=1e-4)
    with pytest.raises(wb.RunError, match="scores replies and writes none"):
        run.generate("hello")


@pytest.mark.parametrize(("fields", "words"), [
    (dict(packing=True), "Packing puts several replies into one row"),
    (dict(method=methods.PromptTuning()), "a head given embeddings"),
    (dict(sample_prompts=["hello"]), "writes no replies"),
])
def test_a_recipe_that_cannot_work_is_refused(fields, words):
    with pytest.raises(wb.RecipeError, match=words) as caught:
        recipe(**fields)
    assert caught.value.remedy


@pytest.mark.parametrize(("data", "words"), [
    ("town:instructions", "do not compare two replies"),
    ([{"prompt": "Q", "chosen": "a", "rejected": "a"}], "are the same"),
    ([{"prompt": "Q", "replies": ["a"]}], "fewer than two replies"),
])
def test_rows_that_cannot_work_are_refused_before_anything_starts(data, words, tmp_path):
    with pytest.raises(wb.DataError, match=words):
        wb.start(recipe(data=data), runs=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_reward_recipe_survives_json_and_has_no_plain_script(plain, tmp_path):
    given = recipe(data="town:preferences")
    assert wb.Recipe.from_json(given.to_json()) == given
    with pytest.raises(wb.RunError, match="no plain script yet"):
        plain.script(tmp_path)


def test_the_trainer_counts_prompts():
    """By hand: of gaps 2, 0 and -1 one and a half of three are right."""
    gaps = torch.tensor([2.0, 0.0, -1.0])
    told = training.metrics([(gaps[:2], torch.tensor([0, 1])), (gaps[2:], torch.tensor([1]))], ("a", "b"))
    assert told == pytest.approx({"accuracy": 0.5, "gap": 1 / 3, "accuracy/a": 1.0, "accuracy/b": 0.25})
    assert training.metrics([], ("a",)) == {} and issubclass(training.RewardTrainer, supervised.CountingTrainer)
