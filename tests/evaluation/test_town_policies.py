"""The town's policies: win rates and intervals by hand, best of n against its law and against dice, every recipe for two steps, and that what
is done is not done again."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

import workbench as wb
from workbench.__main__ import main
from workbench.alignment.kl import best_of_n_kl
from workbench.evaluation import policy_measures, town_policies, town_policy_tables, win_rate
from workbench.town import conduct
from workbench.town.world import asked, held_out


def test_a_tie_is_half_a_win() -> None:
    points = win_rate.points([1.0, 0.4, 0.5, 0.2 + 0.1], [0.5, 0.5, 0.5, 0.3])
    assert points.tolist() == [1.0, 0.0, 0.5, 0.5]
    assert win_rate.share(points).mean == (1 + 0 + 0.5 + 0.5) / 4
    with pytest.raises(ValueError, match="not of one shape"):
        win_rate.points([1, 2], [1, 2, 3])


def test_the_interval_is_over_prompts_and_narrows_as_their_root() -> None:
    wins = np.tile([1.0, 0.0], 200)  # 400 prompts, share 1/2: standard error sqrt(.25 / 400) = 0.025
    mean, low, high = win_rate.share(wins)
    assert mean == 0.5 and low == pytest.approx(0.5 - 1.96 * 0.025, abs=0.006) and high == pytest.approx(0.5 + 1.96 * 0.025, abs=0.006)
    assert win_rate.share([wins, wins]) == win_rate.share(wins)  # a second seed that says the same adds no prompts
    assert win_rate.share([wins, 1 - wins]) == (0.5, 0.5, 0.5)  # every prompt is won by one seed of two


def test_the_best_of_n_follows_its_law() -> None:
    rewards = np.arange(64.0)
    for n in (1, 2, 16):
        kl, reward, gold = policy_measures._best(rewards, rewards / 64, n)
        assert kl <= best_of_n_kl(n) and kl == pytest.approx(best_of_n_kl(n), abs=0.03)  # no ties: equal but for the 64 steps
        drawn = np.random.default_rng(n).integers(64, size=(200_000, n)).max(1)
        assert reward == pytest.approx(drawn.mean(), abs=0.15) and gold == pytest.approx(reward / 64)
    # two values, half each: the worse one is left with 1/4, so KL = 3/4 log(3/2) + 1/4 log(1/2), far below log 2 - 1/2
    kl, reward, gold = policy_measures._best(np.array([0.0, 1.0, 1.0, 0.0]), np.array([0.0, 1.0, 0.5, 0.0]), 2)
    assert kl == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5)) and kl < best_of_n_kl(2)
    assert reward == pytest.approx(0.75) and gold == pytest.approx(0.75 * 0.75)


def test_what_is_trained_on_is_about_other_people_than_what_is_measured() -> None:
    shown = town_policies.demonstrations(6, 0)
    judged = town_policies.judged_pairs(wb.load("town-small"), 200, 0)
    assert len(judged) > 5 and all(row["chosen"] != row["rejected"] for row in judged)
    asked_for = [row["prompt"] for row in judged]  # what an untrained model replies may hold any name
    text = json.dumps([*shown, *asked_for, *town_policies.practice(6, 0)])
    assert not [person.name for person in held_out() if person.name in text]
    measured, tuning = policy_measures.prompts(20), town_policies.tuning_prompts(20)
    assert len(set(measured)) == len(measured) == 20 * len(conduct.CONDUCTS)
    assert not [question for question in measured if f'"{question}"' in text] and not set(tuning) & set(measured)
    known = {person.name for person in asked()}
    assert not [question for question in measured if any(name in question for name in known)]
    found = [(conduct.find(row["question"]), row) for row in shown]
    golds = [conduct.gold(row["question"], row["answer"]) for request, row in found if request and request.topic.kind != "plain"]
    assert 0.3 < np.mean(golds) < 0.85 and min(golds) < 0.4 and max(golds) == 1  # room for improvement, and not noise alone


TRAINED = ("dpo", "ppo", "grpo", "best")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run of each kind for two steps, on the small model."""
    folder = tmp_path_factory.mktemp("policies")
    town_policies.train_all(folder, [0], TRAINED, sizes=town_policies.QUICK)
    return folder


def test_every_policy_is_trained_and_measured(folder: Path) -> None:
    results = town_policy_tables.read(folder)
    assert set(results) == {"sft", "dpo", "ppo", "grpo", town_policies.BEST}
    for name in ("dpo", "ppo", "grpo"):
        found = results[name][0]
        assert found["steps"] == 2 and len(found["measured"]["gold"]) == len(conduct.CONDUCTS) * town_policies.QUICK.measured
        assert all(0 <= gold <= 1 for gold in found["measured"]["gold"])
    assert results["sft"][0]["measured"]["kl"] != 0  # to the base
    sources = {name: results[name][0]["settings"]["rewards"] for name in ("ppo", "grpo")}
    assert all(list(rewards) == ["people"] and "reward" in rewards["people"] for rewards in sources.values()), "the gold grader is no reward"


def test_what_differs_is_where_a_policy_starts_and_what_holds_it(folder: Path) -> None:
    lab = town_policies.Lab(folder, 0, town_policies.QUICK)
    usual, free, base = (lab.recipe(name) for name in ("ppo", town_policies.FREE, town_policies.FROM_BASE))
    assert free.settings.beta == 0 < usual.settings.beta and free.model == usual.model == str(lab.run("sft").folder)
    assert base.model == "town-small" and base.settings.rewards == usual.settings.rewards


def test_what_is_done_is_not_done_again(folder: Path) -> None:
    before = sorted(path.name for path in folder.iterdir())
    said: list[str] = []
    town_policies.train_all(folder, [0], TRAINED, sizes=town_policies.QUICK, say=said.append)
    assert sorted(path.name for path in folder.iterdir()) == before and not said
    lab = town_policies.Lab(folder, 0, town_policies.QUICK)
    assert lab.run("dpo").recipe.seed == 0
    place = next((folder / "results").glob("seed0-dpo.json"))
    place.unlink()
    lab.result("dpo")  # measured again, of the run that is there
    assert place.exists() and sorted(path.name for path in folder.iterdir()) == before


def test_a_run_that_was_cut_short_goes_on(folder: Path) -> None:
    lab = town_policies.Lab(folder, 0, town_policies.QUICK)
    cut = wb.start(lab.recipe("ipo"), runs=folder, name=lab._label("ipo"))
    cut.note = town_policies._key(lab.recipe("ipo"))
    cut.pause(at_step=1)
    cut.wait(until="paused")
    cut.stop()
    assert cut.wait() == "stopped" and cut.history.step == 1
    first = town_policies.seconds(cut)
    run = lab.run("ipo")
    assert run.folder == cut.folder and run.status == "finished" and run.history.step == 2
    events = [json.loads(line) for line in (run.folder / "journal.jsonl").read_text().splitlines()]
    begun = [event["time"] for event in events if event["event"] == "started"]
    assert len(begun) == 2 and first < town_policies.seconds(run) < events[-1]["time"] - begun[0]  # not the time between them


def test_tables_are_of_what_is_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["town", "policies", "--show", "--runs", str(folder)]) == 0
    told = capsys.readouterr().out
    titles = [title for title, needs in town_policy_tables.NEEDS.items() if town_policies.FROM_BASE not in needs]
    assert len(titles) == 2 and all(f"**{title}**" in told for title in titles)
    results = town_policy_tables.read(folder)
    assert not town_policy_tables.compared({"ppo": results["ppo"]}, "ppo")
    part = town_policy_tables.policies({name: results[name] for name in ("sft", "dpo")})
    assert "| dpo | 1 |" in part and "ppo" not in part
    assert main(["town", "policies", "--show", "--runs", str(folder / "none")]) == 0
    assert "Nothing is measured yet" in capsys.readouterr().out


def made(gold: list[float], task: float, path: list[tuple[int, float, float]] = ()) -> dict:
    """A result as files have it, of two prompts."""
    measured = dict(gold=gold, greedy_gold=gold, proxy=gold, lengths=[3, 5], replies=["", ""], kl=1.0, task=task)
    return {"measured": measured, "seconds": 60.0, "path": [{"step": step, "proxy": proxy, "gold": value, "kl": 4.0} for step, proxy, value in path]}


def test_a_claim_that_does_not_hold_is_printed_as_one_that_does_not() -> None:
    results = {"sft": {0: made([0.5, 0.5], 0.60)}, "dpo": {0: made([1.0, 0.5], 0.58)}, "ppo": {0: made([0.5, 0.4], 0.50, [(5, 1.0, 0.9), (10, 2.0, 0.8)])},
               town_policies.FREE: {0: made([0.5, 0.5], 0.6, [(5, 1.0, 0.9), (10, 2.0, 0.8)]), 1: made([0.5, 0.5], 0.6, [(5, 1.0, 0.9), (10, 2.0, 0.85)])}}
    lines = {line.split(" | ")[0].removeprefix("| "): line for line in town_policy_tables.claims(results).splitlines()}
    assert lines["dpo: gold win rate at least 70%"].endswith("| yes, on 1 of 3 seeds |") and "75.0 %" in lines["dpo: gold win rate at least 70%"]
    assert lines["dpo: task score at most 3 points lower"].endswith("| yes, on 1 of 3 seeds |") and "+2.0" in lines["dpo: task score at most 3 points lower"]
    assert lines["ppo: gold win rate at least 70%"].endswith("| NO, on 1 of 3 seeds |") and "25.0 %" in lines["ppo: gold win rate at least 70%"]
    assert lines["ppo: task score at most 3 points lower"].endswith("| NO, on 1 of 3 seeds |")
    assert lines["β = 0, seed 0: proxy rises while gold falls after its peak"].endswith("| yes |")
    assert lines["β = 0, seed 1: proxy rises while gold falls after its peak"].endswith("| NO |")  # by 0.05: noise
    assert lines["β in band, seed 0: gold within 5% of its best and 0.05 above SFT"].endswith("| NO |")  # 0.8 of 0.9
    assert town_policy_tables.frontier(results, ["ppo"])[0]["distance"] == 2.0


def test_an_unknown_policy_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(wb.RunError, match="no policy 'sarsa'"):
        town_policies.train_all(tmp_path, [0], ["sarsa"])
    assert main(["town", "policies", "--only", "sarsa", "--runs", str(tmp_path)]) == 1
    assert "no policy 'sarsa'" in capsys.readouterr().err
