"""GRPO and RLOO by trl's trainers: advantages and losses by hand, a bandit is solved, changes take effect, resumed is uninterrupted.

Trains in this process on the town's small model.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

import workbench as wb
from tests.runs import tools
from workbench.alignment.policy_objectives import GRPO, RLOO
from workbench.data import run_rows
from workbench.errors import RecipeError, RunError
from workbench.journal import commands as cmd
from workbench.runs.run import Run
from workbench.runs.start import prepare
from workbench.training import group_policy

PROMPTS = [{"prompt": f"What is in box {number}?"} for number in range(24)]


def early(prompt, reply):
    """Whether it begins with one of the letters A to M."""
    return reply[:1].upper() < "N"


def short(prompt, reply):
    return -len(reply) / 10


def recipe(kind=GRPO, **fields):
    names = set(kind.__dataclass_fields__)
    own = dict(rewards=early, beta=0.02, replies_per_prompt=4, reply_tokens=4)
    own |= {name: fields.pop(name) for name in list(fields) if name in names}
    given = dict(model="town-small", data=PROMPTS, objective=kind(**own), method=wb.LoRA(rank=4, dropout=0.1), steps=6, batch_size=4,
                 learning_rate=5e-3, heldout=0.25, evaluate_every=3, checkpoint_every=2, max_length=64, sample_prompts=2)
    return wb.Recipe(**(given | fields))


def trainer_of(recipe: wb.Recipe, runs):
    folder = prepare(recipe, runs)
    asked = Run(folder).recipe
    job = group_policy.load_job(asked, run_rows.read(folder))
    return group_policy.build_trainer(asked, job, folder / "checkpoints", []), job.train.rows


class Given:
    """A scorer that gives what it is told."""

    def __init__(self, **rewards):
        self.rewards = {name: np.array(values, np.float32) for name, values in rewards.items()}
        self.names = tuple(rewards)

    def submit(self, *_asked):
        return 1

    def collect(self, _ticket):
        return self.rewards

    def gold(self, *_asked):
        return None

    def take_waits(self):
        return {"policy": 0.0, "reward": 0.0}

    def close(self):
        pass


def scored(trainer, rows, **rewards) -> dict:
    """What a round of one prompt comes to with these rewards, after the policy has left its reference."""
    trainer.scorer = Given(**rewards)
    trainer.model.train()
    trainer.beta, trainer.temperature = trainer.live["beta"], 1.0
    trainer.reward_weights = torch.tensor([trainer.live["reward_weights"].get(name, 1.0) for name in rewards])
    with torch.no_grad():
        for weights in (weights for name, weights in trainer.model.named_parameters() if "lora_B" in name):
            weights.add_(0.1)
    count = len(next(iter(rewards.values())))
    return trainer._generate_and_score_completions([rows[0]] * count)


def test_advantages_of_a_group_are_as_the_papers_have_them(tmp_path) -> None:
    """GRPO: (r - mean) / standard deviation of the group (Shao et al., section 4.1.2); rewards 2, 0, 0, 2 have mean 1 and, with n - 1,
    deviation √(4/3). RLOO: r - mean of the others - what the KL takes off, by the same rule (Ahmadian et al., eq. 8)."""
    trainer, rows = trainer_of(recipe(rewards={"a": early, "b": short}, reward_weights={"a": 2.0, "b": 0.0}), tmp_path)
    found = scored(trainer, rows, a=[1, 0, 0, 1], b=[5, 6, 7, 8])["advantages"]
    np.testing.assert_allclose(found, np.array([1, -1, -1, 1]) / (np.sqrt(4 / 3) + 1e-4), rtol=1e-5)

    trainer, rows = trainer_of(recipe(RLOO, beta=0.5), tmp_path)
    out = scored(trainer, rows, early=[1, 0, 0, 1])
    with torch.no_grad():
        logp, _, _ = trainer._get_per_token_logps_and_entropies(
            trainer.model, torch.cat([out["prompt_ids"], out["completion_ids"]], 1),
            torch.cat([out["prompt_mask"], out["completion_mask"]], 1), out["completion_ids"].shape[1])
    kl = ((logp - out["ref_per_token_logps"]) * out["completion_mask"]).sum(1).numpy()
    rewards = np.array([1, 0, 0, 1]) - 0.5 * kl
    others = (rewards.sum() - rewards) / 3
    assert np.abs(kl).max() > 0.01
    np.testing.assert_allclose(out["advantages"], rewards - others, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", [wb.LoRA(rank=4), wb.Full()], ids=["adapter off", "a copy"])
def test_log_probabilities_are_those_of_the_model_and_its_reference(tmp_path, method) -> None:
    """At the temperature in force; what the model had before it learned stays the reference's."""
    trainer, rows = trainer_of(recipe(method=method, temperature=0.7), tmp_path)
    trainer.temperature, ids = 0.7, rows[0]["input_ids"]
    reply = torch.tensor([ids + [20, 30, 40], ids + [50, 60, 0]])
    mask = torch.ones_like(reply)
    mask[1, -1] = 0
    with torch.no_grad():
        expected = (trainer.model.eval()(input_ids=reply).logits / 0.7).log_softmax(-1)
        next(weights for weights in trainer.model.parameters() if weights.requires_grad).add_(0.1)
        under, _, _ = trainer._get_per_token_logps_and_entropies(trainer.ref_model, reply, mask, 3)
    expected = expected[:, -4:-1].gather(2, reply[:, -3:, None])[..., 0] * mask[:, -3:]
    torch.testing.assert_close(under, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [GRPO, RLOO])
def test_a_bandit_is_solved(kind, tmp_path) -> None:
    asked = recipe(kind, reply_tokens=1, steps=14, batch_size=8, evaluate_every=14, learning_rate=2e-2, schedule="constant")
    run = tools.here(asked, tmp_path)
    rewards = run.metrics()["reward"]
    assert rewards[0] < 0.7 and rewards[11:].mean() > 0.95, list(rewards)
    (evaluation,) = run.history.evaluations
    assert evaluation.loss is None and evaluation.extra["reward"] > 0.95 and evaluation.extra["kl"] > 0.05
    assert len(run.history.replies) == 2 and all(len(event.logp) == len(event.tokens) == 1 for event in run.history.replies)


def test_a_round_in_several_passes_clips_and_tells_what_it_was(tmp_path) -> None:
    asked = recipe(rewards={"early": early, "short": short}, epochs=2, minibatches=2, clip=0.01, learning_rate=2e-2, gold=early)
    run = tools.here(asked, tmp_path)
    steps = run.metrics()
    assert steps["clip_fraction"][1:].max() > 0 and (steps["gold"] == steps["reward/early"]).all()
    np.testing.assert_allclose(steps["reward"], steps["reward/early"] + steps["reward/short"], atol=1e-5)
    np.testing.assert_allclose(steps["objective"], steps["reward"] - 0.02 * steps["kl"], atol=1e-5)
    assert abs(steps["kl"][0]) < 1e-4 and abs(steps["kl"][1:]).max() > 1e-3
    for name in ("kl/k2", "kl/k3", "entropy", "length", "ended", "repetition", "temperature", "seconds/generate", "seconds/score",
                 "seconds/train", "waits/policy", "waits/reward"):
        assert np.isfinite(steps[name]).all(), name
    assert not [name for name in steps if name.startswith(("completions", "rewards/", "clip_ratio", "frac"))], "trl's own names"


def test_changes_take_effect_at_their_step_and_a_resumed_run_is_an_uninterrupted_one(tmp_path) -> None:
    asked = recipe(rewards={"early": early, "short": short}, epochs=2)
    changes = {"beta": 0.0, "temperature": 1.5, "reward_weights": {"short": 0.0}, "learning_rate": 1e-3}
    folders = [prepare(asked, tmp_path, name) for name in ("whole", "parts")]
    for folder in folders:
        cmd.send(folder, cmd.Set(values=changes, at_step=3))
    cmd.send(folders[1], cmd.Stop(at_step=5))
    assert [tools.train_here(folder) for folder in folders] == ["finished", "stopped"]
    (folders[1] / "commands.jsonl").unlink()
    assert tools.train_here(folders[1]) == "finished"
    whole, parts = (Run(folder).metrics() for folder in folders)
    assert list(whole["beta"]) == [0.02] * 3 + [0.0] * 3 and list(whole["temperature"]) == [1.0] * 3 + [1.5] * 3
    np.testing.assert_allclose(whole["reward"][3:], whole["reward/early"][3:], atol=1e-6)
    assert (whole["kl/k2"][3:] > 0).all(), "the KL is seen where it weighs nothing"
    for name in ("loss", "grad_norm", "reward", "kl", "entropy", "length", "learning_rate"):
        assert list(whole[name]) == list(parts[name]), name
    evaluations = [[event.extra for event in Run(folder).history.evaluations] for folder in folders]
    assert evaluations[0] == evaluations[1]


def test_prompts_of_a_mixture_and_what_cannot_work(tmp_path) -> None:
    mixture = wb.Mixture({"a": PROMPTS[:12], "b": PROMPTS[12:]}, rule="weights", weights={"a": 3, "b": 1})
    steps = tools.here(recipe(data=mixture, steps=2, evaluate_every=2), tmp_path).metrics()
    assert (steps["rows/a"] == 3).all() and (steps["rows/b"] == 1).all()
    with pytest.raises(RecipeError, match="round of 16 replies cannot be cut into 3"):
        tools.here(recipe(minibatches=3), tmp_path)
    with pytest.raises(RecipeError, match="trl refuses this recipe: .*unexpected keyword argument 'no_such'"):
        tools.here(recipe(training_arguments={"no_such": 1}), tmp_path)
    with pytest.raises(RecipeError, match="replies_per_prompt of rloo is 1"):
        RLOO(rewards=early, replies_per_prompt=1)
    with pytest.raises(RecipeError, match="loss of grpo is 'dpo'"):
        GRPO(rewards=early, loss="dpo")


def test_a_reward_that_fails_ends_the_run_in_a_sentence(tmp_path) -> None:
    file = tmp_path / "odd.py"
    file.write_text("def odd(prompt, reply):\n    raise KeyError('no such letter')\n")
    with pytest.raises(RunError, match="The reward 'odd', odd of odd.py, raised KeyError: 'no such letter' .line 2 of odd.py. on"):
        tools.here(recipe(rewards={"odd": f"{file}:odd"}), tmp_path)
