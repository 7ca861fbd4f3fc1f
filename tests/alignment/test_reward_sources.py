"""What may reward a reply: understood and refused before a run starts, kept with it, found again by forks and by its recipe started anew."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest

import workbench as wb
from workbench.alignment import reward_sources
from workbench.alignment.policy_objectives import GRPO, PPO
from workbench.errors import RecipeError
from workbench.runs import fork
from workbench.runs.run import Run
from workbench.runs.start import prepare
from workbench.training.scoring import open_scorer

LIMIT = 3


def digits(prompt, reply):
    return len(re.findall(r"\d", reply)) / math.e


def referring(prompt, reply, reference=""):
    def same(a, b):
        return a == b

    return float(same(reply, reference))


def needing(prompt, reply):
    return len(reply) < LIMIT


def closing():
    least = 3

    def inside(prompt, reply):
        return len(reply) > least

    return inside


def one_argument(reply):
    return 1.0


def another(prompt, reply, limit):
    return limit


def reward_folder(folder: Path, heads=("helpful",), objective: str | None = "reward", result: bool = True) -> Path:
    """What a reward run leaves behind, without its weights."""
    model = folder / "result" if objective else folder
    if result:
        model.mkdir(parents=True)
        body = {"architectures": ["Qwen2ForSequenceClassification"], "id2label": dict(enumerate(heads)), "problem_type": "regression"}
        (model / "config.json").write_text(json.dumps(body))
    folder.mkdir(exist_ok=True)
    if objective:
        (folder / "recipe.json").write_text(json.dumps({"objective": objective, "max_length": 64}))
    return folder


def recipe(**settings) -> wb.Recipe:
    return wb.Recipe(model="town-small", data=[{"prompt": f"Question {n}?"} for n in range(6)], objective=GRPO(**settings), heldout=0)


def test_functions_in_memory_are_kept_in_a_file_that_gives_the_same(tmp_path) -> None:
    folder = prepare(recipe(rewards={"the digits": digits, "right": referring}, gold=digits), tmp_path)
    kept = json.loads((folder / "recipe.json").read_text())["settings"]
    assert kept["rewards"] == {"the digits": "rewards/the_digits.py:digits", "right": "rewards/right.py:referring"}
    assert kept["gold"] == "rewards/gold.py:digits"
    asked = [[{"role": "user", "content": "How many?"}]] * 2, ["12 of 7", "Two"], ["", "Two"]
    with open_scorer(GRPO(**kept), folder) as scorer:
        found, gold = scorer.collect(scorer.submit(*asked)), scorer.gold(*asked)
    assert list(found["right"]) == [0, 1] and found["the digits"].tolist() == pytest.approx([3 / math.e, 0]) and list(gold) == list(found["the digits"])


def test_a_fork_and_a_recipe_started_again_have_the_functions_too(tmp_path) -> None:
    folder = prepare(recipe(rewards={"digits": digits}), tmp_path)
    again = prepare(Run(folder).recipe, tmp_path, "again")
    child = tmp_path / "child"
    child.mkdir()
    fork._share_asked(folder, child)
    for other in (again, child):
        assert json.loads((other / "recipe.json").read_text())["settings"]["rewards"] == {"digits": "rewards/digits.py:digits"}
        assert (other / "rewards" / "digits.py").read_text() == (folder / "rewards" / "digits.py").read_text()
        assert Run(other).recipe.settings.rewards == {"digits": f"{other}/rewards/digits.py:digits"}


@pytest.mark.parametrize(("function", "what"), [
    (lambda prompt, reply: 1.0, "is a lambda"),
    (needing, "needs 'LIMIT', which lives in this process alone"),
    (closing(), "needs 'least', which lives in this process alone"),
    (one_argument, "does not take .prompt, reply."),
    (another, "does not take .prompt, reply."),
    (len, "does not take .prompt, reply."),
    (print, "is a builtin_function_or_method"),
], ids=["lambda", "a global", "a closure", "one argument", "another argument", "len", "built in"])
def test_a_function_that_cannot_be_kept_is_refused_before_anything_is_there(function, what: str, tmp_path) -> None:
    with pytest.raises(RecipeError, match=f"The reward 'odd' .*({what})"):
        prepare(recipe(rewards={"odd": function}), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_function_without_source_is_refused() -> None:
    space: dict = {}
    exec("def typed(prompt, reply):\n    return 1.0\n", space)
    with pytest.raises(RecipeError, match="'odd' is a function whose source is not to be had"):
        reward_sources.check("odd", space["typed"])


FILE = "import helper\n\ndef good(prompt, reply):\n    return helper.value\n\ndef bad(reply):\n    return 1\n"


@pytest.mark.parametrize(("source", "what"), [
    ("nowhere", "no such folder"), ("gone.py:f", "no file gone.py"), ("given.py:none", "no such function"), ("given.py:bad", "does not take"),
    ("broken.py:f", "broken.py raises SyntaxError"), ("ftp://judge.example/x", "no address"), ("https://me:secret@judge.example", "holds a user name"),
    ("https://judge.example/score?n=3&api_key=secret", "holds api_key[.]"), ("https://judge.example/?Access_Token=secret", "holds Access_Token"),
    ("town:wise", "the town grades gold, helpful, honest, harmless"), ("sft", "whose objective is 'sft'"), ("early", "has no result yet"),
    ("empty", "gives no rewards"), ("judge#rude", "the head 'rude' of judge, whose heads are helpful, polite"),
    ("torn", "torn/recipe.json cannot be read"), ("cut", "cut/config.json cannot be read"), ("listed", "listed/config.json holds no settings"),
])
def test_what_cannot_score_is_refused_in_a_sentence(source: str, what: str, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "given.py").write_text(FILE)
    (tmp_path / "helper.py").write_text("value = 2.5\n")
    (tmp_path / "broken.py").write_text("def f(:\n")
    reward_folder(tmp_path / "sft", objective="sft")
    reward_folder(tmp_path / "early", result=False)
    reward_folder(tmp_path / "judge", ("helpful", "polite"))
    (tmp_path / "empty").mkdir()
    for folder, file, text in (("torn", "recipe.json", '{"objective": "rew'), ("cut", "config.json", "{"), ("listed", "config.json", "[]")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / file).write_text(text)
    with pytest.raises(RecipeError, match=what) as error:
        GRPO(rewards={"odd": source}).prepare()
    assert "secret" not in str(error.value)
    GRPO(rewards={"one": "given.py:good", "two": "judge", "three": "judge#polite", "four": "http://localhost:80/x?max_tokens=9", "five": "town"}).prepare()


def test_paths_are_whole_in_a_run_and_a_file_beside_others_stays_there(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "given.py").write_text(FILE)
    (tmp_path / "helper.py").write_text("value = 2.5\n")
    judge = reward_folder(tmp_path / "judge")
    kept = GRPO(rewards={"good": "given.py:good", "judge": "judge", "far": "https://judge.example/x"}).kept_in(tmp_path / "run")
    assert kept.rewards == {"good": f"{tmp_path}/given.py:good", "judge": str(judge), "far": "https://judge.example/x"}
    monkeypatch.chdir("/")
    with open_scorer(GRPO(rewards={"good": kept.rewards["good"]})) as scorer:
        assert scorer.collect(scorer.submit([[{"role": "user", "content": "?"}]], ["!"]))["good"] == [2.5]


@pytest.mark.parametrize(("weights", "kept"), [
    ({}, {"judge/helpful": 0.5, "judge/polite": 0.5}), ({"judge": 3.0}, {"judge/helpful": 1.5, "judge/polite": 1.5}),
    ({"judge/polite": 2.0}, {"judge/helpful": 0.0, "judge/polite": 2.0}),
], ids=["their mean", "weighed", "one head"])
def test_heads_become_rewards_that_are_weighed_alone(weights, kept, tmp_path) -> None:
    judge = reward_folder(tmp_path / "judge", ("helpful", "polite"))
    asked = PPO(rewards={"judge": str(judge)}, reward_weights=weights)
    asked.prepare()
    found = asked.kept_in(tmp_path)
    assert found.rewards == {"judge/helpful": f"{judge}#helpful", "judge/polite": f"{judge}#polite"}
    assert found.reward_weights == found.live_values()["reward_weights"] == kept
    with pytest.raises(RecipeError, match="'judge/rude', and the reward 'judge' has no such head"):
        PPO(rewards={"judge": str(judge)}, reward_weights={"judge/rude": 1.0}).prepare()


def test_a_reward_that_fails_is_the_last_word_of_its_run(tmp_path, warm) -> None:
    """Through a worker: the sentence is what a person reads, and the function's own lines are in the log."""
    file = tmp_path / "odd.py"
    file.write_text("def odd(prompt, reply):\n    raise KeyError('no such letter')\n")
    run = wb.start(recipe(rewards=f"{file}:odd", replies_per_prompt=2, reply_tokens=2, own_process=True), runs=tmp_path / "runs")
    run.wait(120)
    assert run.status == "failed" and "odd of odd.py, raised KeyError" in run.status.sentence + str(run.history.ended)
