"""The best of n on the town's small model, and rounds of imitating it."""

from __future__ import annotations

import copy
import os

import numpy as np
import pytest

import workbench as wb
from workbench import recipes
from workbench.alignment.kl import best_of_n_kl
from workbench.errors import RecipeError, WorkbenchError
from workbench.evaluation.best_of_n import best_of_n, imitated, rejection_rounds
from workbench.models.samplers import Beam, DiverseBeam

PROMPTS = ["What does a baker do?", "Who sells fish?", "Is it late?"]


def long(prompt, reply):
    return len(reply)


@pytest.fixture(scope="module")
def small():
    return recipes.load("town-small")


def test_the_best_of_the_first_n_is_kept_and_the_kl_is_told_beside_its_bound(small) -> None:
    table = best_of_n(small, {"long": long, "harm": "town:harmless"}, PROMPTS, n=4, draws=32, weights={"harm": 0.0}, reply_tokens=8)
    assert list(table["prompt"]) == PROMPTS and (table["bound"] == best_of_n_kl(4)).all()
    for line in table.itertuples():
        assert line.rewards == [len(reply) for reply in line.replies] and len(line.replies) == 32
        assert line.reward == max(line.rewards[:4]) == len(line.reply) and line.mean == pytest.approx(np.mean(line.rewards))
        assert 0 < line.kl <= line.bound
    alone = best_of_n(small, long, PROMPTS, n=1, reply_tokens=8)
    assert (alone["kl"] == 0).all() and (alone["bound"] == 0).all() and (alone["reward"] == alone["mean"]).all()


def test_a_tokenizer_without_padding_may_be_given_and_stays_as_it_was(small) -> None:
    model, tokenizer = small[0], copy.deepcopy(small[1])
    tokenizer.pad_token = None
    table = best_of_n((model, tokenizer), long, PROMPTS, n=1, reply_tokens=4)
    assert list(table["prompt"]) == PROMPTS and tokenizer.pad_token is None


def test_replies_that_are_searched_for_have_no_kl(small) -> None:
    for sampler in (Beam(3), DiverseBeam(2.0)):
        table = best_of_n(small, long, PROMPTS, n=3, sampler=sampler, reply_tokens=6)
        assert table["kl"].isna().all() and all(max(line.rewards) == line.reward for line in table.itertuples())


def test_rounds_imitate_the_best_as_runs_that_can_be_seen(tmp_path, warm, real_data) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    recipe = wb.Recipe(model=str(real_data / "stories260k"), data=[{"prompt": prompt} for prompt in PROMPTS], method=wb.Full(), steps=40,
                       batch_size=3, learning_rate=5e-3, heldout=0, max_length=96, schedule="constant")
    rounds = rejection_rounds(recipe, long, rounds=2, n=4, reply_tokens=12, runs=tmp_path)
    assert [one.run.name.rsplit("-", 2)[-2:] for one in rounds] == [["rejection", "1"], ["rejection", "2"]]
    assert rounds[1].run.recipe.model == str(rounds[0].run.folder / "result") and rounds[0].run.status == "finished"
    rows = wb.load_rows(rounds[0].run.recipe.data).to_pylist()
    assert [row["messages"][-1]["content"] for row in rows] == list(rounds[0].kept["reply"])
    assert rounds[1].kept["mean"].mean() > rounds[0].kept["mean"].mean(), "imitating the longest replies makes them longer"


def test_what_cannot_be_had_says_so(small) -> None:
    with pytest.raises(WorkbenchError, match="best of 4 cannot be taken of 2"):
        best_of_n(small, long, PROMPTS, n=4, draws=2)
    with pytest.raises(WorkbenchError, match="no reward to choose by"):
        best_of_n(small, {}, PROMPTS, n=2)
    with pytest.raises(WorkbenchError, match="imitates replies, and the recipe's objective is 'reward'"):
        rejection_rounds(wb.Recipe(data="town:preferences", objective="reward"), long)
    for wrong, words in ((dict(prompts=[3]), "Prompt 1 is 3, no text"), (dict(prompts=["Who?", ""]), "Prompt 2 asks nothing"),
                         (dict(reply_tokens=0), "reply_tokens is 0"), (dict(draws="a"), "draws is 'a'")):
        with pytest.raises(WorkbenchError, match=words):
            best_of_n(small, long, **({"prompts": PROMPTS, "n": 2} | wrong))
    with pytest.raises(WorkbenchError, match="nothing to imitate"):
        imitated([{"prompt": [{"role": "user", "content": "Who?"}]}], [""], 2)
    with pytest.raises(RecipeError, match="no such folder"):
        best_of_n(small, "nowhere", PROMPTS, n=2, reply_tokens=2)
