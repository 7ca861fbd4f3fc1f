"""Alarms of a policy's run: silent at every step of runs that go well, and each told with its step where something goes wrong."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.alignment import alarms
from workbench.alignment.alarms import Alarm, alarms_of, healthy_step, remedy
from workbench.alignment.kl import gold_of_rl

STEPS = 600


def well(seed: int = 0, steps: int = STEPS, **other: object) -> dict[str, np.ndarray]:
    """A run that goes well: KL settles at 16 of a target of 18, gold rises with the proxy, everything with noise."""
    rng, at = np.random.default_rng(seed), np.arange(1, steps + 1) * 1600 / steps
    kl = 16 * (1 - np.exp(-at / 190)) ** 1.5
    d = np.sqrt(kl)
    return {
        "step": np.arange(1, steps + 1),
        "loss": rng.normal(0, 1, steps),
        "reward": gold_of_rl(d, 0.75, 0.115) + rng.normal(0, 0.4, steps),
        "gold": gold_of_rl(d, 0.75, 0.15) + rng.normal(0, 0.25, steps),
        "kl": kl + rng.normal(0, 2.5, steps),
        "length": np.full(steps, 40.0),
        "entropy": 0.5 + np.exp(-at / 300) + rng.normal(0, 0.1, steps),
        "repetition": rng.uniform(0, 0.1, steps),
        "clip_fraction": rng.uniform(0, 0.3, steps),
    } | other


def kinds(series: dict, **more: object) -> list[str]:
    return [alarm.kind for alarm in alarms_of(series, **more)]


@pytest.mark.parametrize("seed", range(6))
def test_nothing_is_said_at_any_step_of_a_run_that_goes_well(seed: int) -> None:
    series = well(seed)
    for done in range(1, STEPS + 1, 11):
        assert kinds({name: values[:done] for name, values in series.items()}, target=18.0) == []


@pytest.mark.parametrize("seed", range(6))
def test_gold_that_stays_while_the_proxy_rises_is_no_alarm(seed: int) -> None:
    rng = np.random.default_rng(seed)
    gold = 0.7 + 0.1 * (1 - np.exp(-np.arange(STEPS) / 60)) + rng.normal(0, 0.15, STEPS)
    series = {"step": np.arange(1, STEPS + 1), "reward": np.linspace(0, 3, STEPS) + rng.normal(0, 0.4, STEPS), "gold": gold}
    for done in range(10, STEPS + 1, 10):
        assert kinds({name: values[:done] for name, values in series.items()}) == []


@pytest.mark.parametrize("seed", range(3))
def test_reward_up_while_gold_falls_is_found_near_its_peak(seed: int) -> None:
    rng = np.random.default_rng(seed)
    d = np.sqrt(np.linspace(0.1, 60, STEPS))
    truth = gold_of_rl(d, 0.75, 0.45)
    series = well(
        seed, reward=gold_of_rl(d, 0.75, 0.1) + rng.normal(0, 0.3, STEPS), gold=truth + rng.normal(0, 0.15, STEPS), kl=np.full(STEPS, 5.0)
    )
    [alarm] = alarms_of(series, target=18.0)
    assert alarm.kind == "gold" and alarm.sentence.startswith(f"Over-optimised: since step {alarm.step} the proxy reward rose ")
    assert truth[alarm.step - 1] > truth.max() - 0.05 and alarm.value == pytest.approx(truth.max() - truth[-60:].mean(), abs=0.1)
    assert kinds(series | {"reward": series["reward"][::-1]}, target=18.0) == [], "where the proxy falls too it is no over-optimisation"


def test_gold_of_evaluations_alone_is_enough() -> None:
    held = {
        "step": np.arange(0, 100, 10),
        "reward": np.linspace(0, 2, 10),
        "gold": np.array([0.5, 0.6, 0.7, 0.75, 0.74, 0.7, 0.6, 0.5, 0.4, 0.3]),
    }
    series = {name: values[:90] for name, values in well().items() if name != "gold"}
    [alarm] = alarms_of(series, target=18.0, evaluations=held)
    assert alarm.kind == "gold" and alarm.step in (20, 30, 40)
    rising = held | {"gold": np.array([0.5, 0.6, 0.7, 0.75, 0.74, 0.75, 0.76, 0.75, 0.77, 0.76])}
    assert alarms_of(series, target=18.0, evaluations=rising) == []


def test_kl_over_its_band_and_back_in_it() -> None:
    kl = np.where(np.arange(1, STEPS + 1) > 400, 30.0, 15.0)
    [alarm] = alarms_of(well(kl=kl), target=18.0)
    span = alarms.span_of(STEPS)
    assert (alarm.kind, alarm.value) == ("kl", 30.0) and 400 - span <= alarm.step <= 400, "an average lags, and what it lags is taken off"
    assert alarm.sentence == f"KL is 30 nats, above the band 12–24 since step {alarm.step}."
    assert kinds(well(kl=kl), target=25.0) == [], "30 is within a third of 25"
    assert kinds(well(kl=np.where(np.arange(1, STEPS + 1) > 500, 15.0, kl)), target=18.0) == [], "it came back"
    assert kinds(well(kl=kl), target=np.where(np.arange(STEPS) < 400, 18.0, 28.0)) == [], "the target went with it"


def test_without_a_target_a_nat_a_token_is_too_much() -> None:
    assert kinds(well(kl=np.full(STEPS, 39.0))) == []
    [alarm] = alarms_of(well(kl=np.full(STEPS, 41.0)))
    assert alarm.kind == "kl" and alarm.step == 0 and "over 1 nat a token" in alarm.sentence
    series = well(kl=np.full(STEPS, 41.0))
    del series["length"]
    assert kinds(series) == [], "nothing to judge it by"


def test_entropy_repetition_and_clipping() -> None:
    late = np.arange(1, STEPS + 1) > 300
    series = well(entropy=np.where(late, 0.2, 1.0), repetition=np.where(late, 0.31, 0.02), clip_fraction=np.where(late, 0.61, 0.2))
    found = alarms_of(series, target=18.0)
    assert [alarm.kind for alarm in found] == ["entropy", "repetition", "clip"] and all(270 <= alarm.step <= 300 for alarm in found)
    assert found[0].sentence.startswith("Entropy has collapsed from 1.00 to 0.20 nats a token since step ")
    assert found[1].sentence == "31\u202f% of the replies repeat themselves, 2\u202f% at the start."
    assert found[2].sentence.startswith("61\u202f% of the ratios are clipped since step ")
    assert kinds(well(repetition=np.full(STEPS, 0.3)), target=18.0) == [], "these repeated themselves from the start"
    assert kinds(well(entropy=np.where(late, 0.26, 1.0)), target=18.0) == [], "a quarter of the start is the limit"


@pytest.mark.parametrize("name", ["loss", "reward", "kl"])
def test_a_number_that_is_none_is_told_at_once(name: str) -> None:
    series = {key: values[:9].astype(float) for key, values in well().items()}
    series[name][6:] = np.nan
    [alarm] = alarms_of(series)
    assert (alarm.kind, alarm.step) == ("nan", 6) and alarm.sentence.endswith("is not a number since step 7.")
    assert alarms_of(series | {name: np.full(9, np.nan)}) == [], "what was never there is no trouble"


def test_nothing_to_judge_says_nothing() -> None:
    assert alarms_of({}) == [] and alarms_of({"step": []}) == [] and alarms_of({"step": [1, 2, 3]}) == []


def test_the_way_back_is_from_before_every_alarm() -> None:
    found = [Alarm("gold", 758, "", 0.1), Alarm("kl", 811, "", 44.0)]
    assert healthy_step([100, 700, 800, 1600], found) == 700 and healthy_step([758], found) == 758 and healthy_step([800], found) == 0
    assert healthy_step([100, 1600], []) == 1600 and healthy_step([], []) == 0


def test_a_branch_differs_from_what_went_wrong() -> None:
    kl, nan, clip = Alarm("kl", 1, "", 1.0), Alarm("nan", 1, "", 1.0), Alarm("clip", 1, "", 1.0)
    same = {"beta": 0.05, "learning_rate": 1e-4}
    assert remedy([kl], same, same) == {"beta": 0.1} and remedy([kl], {"beta": 0.0}, {"beta": 0.0}) == {"beta": 0.05}
    assert remedy([kl], {"beta": 0.1}, {"beta": 0.04}) == {}, "a hand made it smaller since: the branch has the larger one"
    assert remedy([nan, kl], same, same) == {"learning_rate": 5e-5} == remedy([clip], same, same)
    assert remedy([], same, same) == {} == remedy([kl], {}, {})
