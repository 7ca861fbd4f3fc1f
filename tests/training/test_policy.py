"""The objective `ppo`: a bandit whose optimum is known, the reference, updates of a round, live changes, resumption, results.

Trains in this process on a random model of two layers and eleven tokens, whose replies are one word or a few.
"""

from __future__ import annotations

import itertools
import json
import shutil

import numpy as np
import pytest
import safetensors.torch
import tokenizers
import torch
import transformers

import workbench as wb
from tests.runs import tools
from workbench.alignment import alarms
from workbench.journal import commands as cmd
from workbench.models import methods
from workbench.runs.fork import replay
from workbench.runs.start import prepare
from workbench.training import policy_rows, rollouts

WORDS = ("red", "green", "blue", "black", "white", "grey", "pink", "brown")
TEMPLATE = "{% for message in messages %}{{ message['content'] }} {% endfor %}"
ASKED = [{"prompt": " ".join(pair)} for pair in itertools.product(WORDS, repeat=2)]


def worth(prompt: str, reply: str) -> float:
    """What the first word of a reply is worth; of an empty one, nothing."""
    words = ("red", "green", "blue", "black", "white", "grey", "pink", "brown")
    return words.index(reply.split()[0]) / 4 if reply.split() and reply.split()[0] in words else 0.0


def asked(prompt: str, reply: str) -> float:
    words = ("red", "green", "blue", "black", "white", "grey", "pink", "brown")
    return words.index(prompt.split()[0]) / 4


def brief(prompt: str, reply: str) -> float:
    return -float(len(reply.split()))


@pytest.fixture(scope="module")
def bandit(tmp_path_factory) -> str:
    """A model folder: `WORDS`, padding, an end and an unknown token; random weights, so that its replies are no coin tosses."""
    folder = tmp_path_factory.mktemp("bandit")
    known = {word: number for number, word in enumerate(("<pad>", "<end>", "<unk>", *WORDS))}
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel(known, unk_token="<unk>"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<end>", unk_token="<unk>")
    tokenizer.chat_template = TEMPLATE
    torch.manual_seed(3)
    config = transformers.LlamaConfig(vocab_size=len(known), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
                                      num_attention_heads=2, num_key_value_heads=1, attention_bias=True, max_position_embeddings=64,
                                      initializer_range=0.15, bos_token_id=None, eos_token_id=1, pad_token_id=0, tie_word_embeddings=False)
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def recipe(model: str, fields: dict | None = None, **settings) -> wb.Recipe:
    asked = dict(rewards={"worth": worth}, reply_tokens=4, beta=0.1, epochs=2, minibatches=2) | settings
    given = dict(model=model, data=ASKED, objective=wb.PPO(**asked), method=methods.LoRA(rank=4, dropout=0.1), steps=6, batch_size=16,
                 learning_rate=3e-3, heldout=0.2, evaluate_every=3, checkpoint_every=2, max_length=32, sample_prompts=2, warmup_steps=0)
    return wb.Recipe(**(given | (fields or {})))


@pytest.fixture(scope="module")
def plain(bandit, tmp_path_factory):
    return tools.here(recipe(bandit, kl_target=0.5), tmp_path_factory.mktemp("plain"), "plain")


def first_word(model, tokenizer) -> torch.Tensor:
    """Probabilities of the first token of a reply to "what 1", V."""
    with torch.no_grad():
        return model(torch.tensor([tokenizer("what 1").input_ids]), use_cache=False).logits[0, -1].softmax(-1)


@pytest.mark.parametrize("beta", [0.5, 0.0])
def test_a_bandit_comes_to_its_known_optimum(beta, bandit, tmp_path):
    """One word is drawn and rewarded, after prompts that are all the same to the model. What is best at β is π_ref exp(r / β) / Z (Korbak
    et al. 2022, arXiv 2205.11275, eq. 5), and at β = 0 the word of the highest reward. Stated: a total variation from it under 0.06, where
    it was over 0.5; at β = 0 "brown", which had under 3 %, in over 95 % of the replies."""
    settings = dict(reply_tokens=1, beta=beta, epochs=4, minibatches=1, whiten_advantages=not beta, value_learning_rate=1e-2)
    fields = dict(data=[{"prompt": f"what {number}"} for number in range(128)], method=methods.Full(), steps=20, batch_size=128, heldout=0,
                  learning_rate=5e-3, schedule="linear", checkpoint_every=20)
    run = tools.here(recipe(bandit, fields, **settings), tmp_path)
    (start, tokenizer), (model, _) = wb.load(bandit), run.load()
    first, last = first_word(start, tokenizer), first_word(model, tokenizer)
    if not beta:
        brown = tokenizer.convert_tokens_to_ids("brown")
        assert last[brown] > 0.95 and first[brown] < 0.03
        return
    rewards = torch.tensor([worth("", tokenizer.decode([token], skip_special_tokens=True)) for token in range(len(first))])
    best = first * (rewards / beta).exp()
    best /= best.sum()
    assert (last - best).abs().sum() / 2 < 0.06 and (first - best).abs().sum() / 2 > 0.5
    assert run.metrics()["kl"].iloc[-5:].mean() == pytest.approx(float((last * (last / first).log()).sum()), abs=0.15)


def test_metrics_are_those_of_every_policy(plain):
    frame = plain.metrics()
    names = {"reward", "reward/worth", "kl", "kl/k2", "kl/k3", "beta", "objective", "entropy", "length", "clip_fraction", "policy_loss",
             "value_loss", "repetition", "temperature", "ended", "seconds/generate", "seconds/score", "seconds/train", "waits/policy",
             "waits/reward"}
    assert names <= set(frame.columns) and frame[sorted(names)].notna().all().all()
    assert frame["kl"][0] == frame["kl/k3"][0] == 0 and (frame["kl/k3"][1:] > 0).all()  # the first replies are the reference's own
    assert frame["objective"].tolist() == pytest.approx((frame["reward"] - frame["beta"] * frame["kl"]).tolist())


def test_a_copied_reference_is_read_in_the_policy_s_precision(bandit, tmp_path):
    """In bf16 too the first replies are the reference's own, so their KL is 0."""
    run = tools.here(recipe(bandit, dict(method=methods.Full(), precision="bf16", steps=1, heldout=0)), tmp_path)
    assert run.metrics()["kl"][0] == run.metrics()["kl/k3"][0] == 0


def test_an_adaptive_beta_is_ziegler_s(plain):
    """β (1 + 0.1 clip(KL / 0.5 - 1, -0.2, 0.2)) after each round."""
    frame = plain.metrics()
    beta = 0.1
    for found, kl in zip(frame["beta"], frame["kl"], strict=True):
        assert found == pytest.approx(beta)
        beta *= 1 + 0.1 * min(max(kl / 0.5 - 1, -0.2), 0.2)


def test_a_round_makes_epochs_times_minibatches_updates(plain):
    kept = torch.load(plain.folder / "checkpoints" / "step-000006" / "optimizer.pt", weights_only=True)
    assert {int(state["step"]) for state in kept["state"].values()} == {6 * 2 * 2} and len(kept["param_groups"]) == 3
    assert plain.history.prepared.steps == 6 and len(plain.metrics()) == 6


def test_an_evaluation_shows_replies_as_the_result_reads_them(plain):
    last, shown = plain.history.evaluations[-1], replied(plain)
    assert last.loss is None and {"reward", "reward/worth", "kl", "length"} <= set(last.extra)
    assert [event["step"] for event in shown] == [3, 3, 6, 6] and len({event["prompt"] for event in shown}) == 2
    (model, tokenizer), (start, _) = plain.load(), wb.load(plain.recipe.model)
    for event in shown[2:]:
        prompt, reply = tokenizer(event["prompt"]).input_ids, tokenizer.convert_tokens_to_ids(event["tokens"])
        for name, reader in (("logp", model), ("logp_reference", start)):
            assert rollouts.log_probabilities(reader, [prompt], [reply])[0][0].tolist() == pytest.approx(event[name], abs=1e-4)
        assert event["reward"] == event["rewards"]["worth"] == worth("", event["reply"])


def replied(run) -> list[dict]:
    lines = map(json.loads, (run.folder / "journal.jsonl").read_text().splitlines())
    return [line for line in lines if line["event"] == "replied"]


def test_the_value_head_is_in_checkpoints_and_not_in_the_result(plain):
    assert (plain.folder / "checkpoints" / "step-000006" / "value_head.safetensors").exists()
    assert {path.name for path in (plain.folder / "result").glob("*.safetensors")} == {"adapter_model.safetensors"}


def same(run, other) -> None:
    timed = ("seconds", "waits", "tokens_per_s", "memory_gib", "time")
    ours, theirs = ({name: list(column) for name, column in found.metrics().items() if not name.startswith(timed)}
                    for found in (run, other))
    assert ours.keys() == theirs.keys()
    assert all(ours[name] == theirs[name] or name == "heldout_loss" for name in ours), [name for name in ours if ours[name] != theirs[name]]
    assert [event.extra for event in run.history.evaluations] == [event.extra for event in other.history.evaluations]
    assert [event | {"time": 0} for event in replied(run)] == [event | {"time": 0} for event in replied(other)]


def test_resumed_is_uninterrupted(plain, bandit, tmp_path):
    folder = prepare(recipe(bandit, kl_target=0.5), tmp_path, "stopped")
    cmd.send(folder, cmd.Stop(at_step=3))
    assert tools.train_here(folder) == "stopped"
    (folder / "commands.jsonl").unlink()
    shutil.rmtree(folder / "checkpoints" / "step-000003")  # so that one round is drawn again
    lines = [line for line in (folder / "journal.jsonl").read_text().splitlines() if '"replied"' not in line]
    (folder / "journal.jsonl").write_text("\n".join(lines) + "\n")  # the round's evaluation comes again too
    tools.train_here(folder)
    run = wb.attach(folder)
    same(run, plain)
    for one, other in zip(run.load()[0].parameters(), plain.load()[0].parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_kl_target_comes_and_goes_while_a_run_goes(bandit, tmp_path):
    folder = prepare(recipe(bandit, dict(steps=5, heldout=0)), tmp_path, "target")
    for step, target in ((1, 0.5), (3, None)):
        cmd.send(folder, cmd.Set(values={"kl_target": target}, at_step=step))
    tools.train_here(folder)
    run = wb.attach(folder)
    beta = run.metrics()["beta"]
    assert beta[0] == beta[1] == 0.1 and beta[1] != beta[2] != beta[3] and beta[3] == beta[4]
    assert alarms.targets_of(run, [1, 3, 4])[1] == 0.5 and np.isnan(alarms.targets_of(run, [1, 3, 4])[[0, 2]]).all()


def test_live_changes_are_in_force_from_the_next_round_and_replay(bandit, tmp_path):
    runs = []
    for name in ("first", "again"):
        given = recipe(bandit, dict(steps=4, evaluate_every=4, sample_prompts=["red sky"]), rewards={"worth": worth, "brief": brief})
        folder = prepare(given, tmp_path, name)
        for step, values in ((1, {"beta": 0.7}), (2, {"temperature": 0.5, "reward_weights": {"brief": 2.0}})):
            cmd.send(folder, cmd.Set(values=values, at_step=step))
        tools.train_here(folder)
        runs.append(wb.attach(folder))
    frame = runs[0].metrics()
    assert frame["beta"].tolist() == [0.1, 0.7, 0.7, 0.7] and frame["temperature"].tolist() == [1, 1, 0.5, 0.5]
    assert [event["prompt"] for event in replied(runs[0])] == ["red sky"]
    summed = frame["reward/worth"] + frame["reward/brief"] * [1, 1, 2, 2]
    assert frame["reward"].tolist() == pytest.approx(summed.tolist(), abs=1e-5)
    same(*runs)


@pytest.mark.usefixtures("warm")
def test_a_fork_goes_on_from_its_parent_and_replays(plain):
    """Between two checkpoints, with other settings from there on, and a beta that its controller moves."""
    child = plain.fork(step=3, temperature=0.5, reward_weights={"worth": 2.0})
    child.wait(60)
    ours, theirs = child.metrics(), plain.metrics()
    for name in ("loss", "kl", "beta", "reward"):
        assert ours[name][:3].tolist() == theirs[name][:3].tolist() and ours[name][5] != theirs[name][5]
    assert ours["temperature"].tolist() == [1.0] * 3 + [0.5] * 3
    assert ours["reward"][3:].tolist() == pytest.approx((2 * ours["reward/worth"][3:]).tolist())
    again = replay(child, 60)
    assert again.same, again.sentence
    same(again.run, child)


def test_rewards_may_have_a_process_of_their_own(bandit, tmp_path):
    """Each prompt is worth its first word: a round of all 64, drawn in parts, is worth their mean."""
    run = tools.here(recipe(bandit, dict(steps=2, batch_size=64, heldout=0), rewards={"asked": asked}, own_process=True), tmp_path)
    frame = run.metrics()
    assert frame["reward"].tolist() == pytest.approx([sum(range(8)) / 4 / 8] * 2)
    assert (frame["waits/policy"] > 0).all() and frame["waits/reward"][1] > 0


@pytest.mark.parametrize(("method", "copied"), [
    (methods.LoRA(rank=4, dropout=0.5), False), (methods.Full(), True), (methods.LoRA(rank=4, variant="pissa"), True),
    (methods.LoRA(rank=4, bias="all"), True)], ids=["lora", "full", "pissa", "biases"])
def test_the_reference_is_the_model_that_the_policy_starts_from(method, copied, bandit):
    """With an adapter the same weights with it off, elsewhere a frozen copy: either reads as the untouched model does."""
    (start, _), (model, _) = wb.load(bandit), wb.load(bandit)
    model = method.apply(model)
    reference = policy_rows.TokenReference(model, [3, 4])
    with torch.no_grad():
        for weights in model.parameters():
            if weights.requires_grad:
                weights.add_(torch.randn_like(weights))
    prompts, replies = [[3, 4], [5]], [[6, 7, 8], [9, 1]]
    model.train()
    found = reference.logp(prompts, replies)
    assert (reference.copy is not None) == copied
    assert torch.allclose(found, rollouts.log_probabilities(start, prompts, replies)[0], atol=1e-4)
    assert not torch.allclose(found, rollouts.log_probabilities(model.eval(), prompts, replies)[0], atol=1e-2)


def test_while_the_value_head_warms_up_the_policy_stays_where_it_is(bandit, tmp_path):
    fields = dict(method=methods.Full(), steps=6, heldout=0, learning_rate=1e-3)
    run = tools.here(recipe(bandit, fields, beta=0.1, kl_target=1.0, value_warmup=4, value_learning_rate=1e-2), tmp_path)
    frame = run.metrics()
    assert (frame["kl"][:5] == 0).all() and frame["kl/k3"][5] > 0  # the fifth round is drawn before it is learned from
    assert (frame["beta"][:5] == 0.1).all() and frame["beta"][5] != 0.1
    heads = [safetensors.torch.load_file(run.folder / "checkpoints" / f"step-00000{step}" / "value_head.safetensors") for step in (2, 4)]
    assert all(not torch.equal(heads[0][name], heads[1][name]) for name in heads[0])


def test_options_of_a_round_count(bandit, tmp_path):
    """Replies learn to end where that costs, texts are learned beside, k3 is never negative."""
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(json.dumps({"text": "red green blue " * 4}) + "\n" for _ in range(8)))
    fields = dict(method=methods.Full(), steps=12, heldout=0, learning_rate=1e-2, checkpoint_every=20)
    run = tools.here(recipe(bandit, fields, rewards=brief, pretraining_weight=1.0, pretraining_data=str(texts), kl_estimator="k3",
                            whiten_rewards=True, entropy_bonus=0.01, unended_penalty=4.0), tmp_path)
    frame = run.metrics()
    assert frame["pretraining_loss"].iloc[-1] < 0.7 * frame["pretraining_loss"][0]
    assert frame["ended"].iloc[-3:].mean() > frame["ended"][:3].mean() + 0.2 and (frame["kl/k3"] >= 0).all()
    assert list(frame["reward"]) == list(frame["reward/brief"])


@pytest.mark.parametrize(("fields", "settings", "words"), [
    (dict(batch_size=2), dict(minibatches=4), "cannot be cut into 4 minibatches"),
    (dict(), dict(reply_tokens=40), "leave no room for a prompt in 32"),
    (dict(method=methods.PromptTuning()), {}, "puts tokens of its own before each prompt"),
])
def test_what_cannot_work_is_said_before_the_first_round(fields, settings, words, bandit, tmp_path):
    with pytest.raises(wb.WorkbenchError, match=words) as caught:
        tools.here(recipe(bandit, fields, **settings), tmp_path)
    assert caught.value.remedy


@pytest.mark.parametrize("settings", [dict(kl_estimator="k4"), dict(epochs=0), dict(clip=-1), dict(gamma=2), dict(shared_trunk="no"),
                                      dict(kl_target=1.0, beta=0), dict(pretraining_data=None)], ids=lambda given: next(iter(given)))
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(wb.RecipeError, match=next(iter(settings))) as caught:
        wb.PPO(rewards=worth, **settings)
    assert caught.value.remedy
