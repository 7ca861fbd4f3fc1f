"""What goes wrong while a policy trains, told from its series: KL out of band, reward up while gold falls, entropy collapsed, replies that
repeat themselves, ratios clipped, no number; and the last checkpoint from before it.

    watch(run)                                   -> [Alarm("kl", 700, "KL is 44 nats, ...", 44.1)], [] while all is well
    alarms_of(run.metrics(), target=6.0)         the same of columns by name
    healthy_step([300, 600, 900], alarms)        -> 600

Pure but for `watch`, which reads a run's journal. Judges averages over a window of steps, never one step, and only what still stands at
the end. Not here: what a person does about them. Limits with no source named are this project's own choice.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from workbench.errors import WorkbenchError

BAND = 1 / 3
"""The KL is in band within this share of its target. `AdaptiveKL` answers in proportion within 20 % (Ziegler et al. 2019, section 2.2); a
third lets a controller that is at work with all its force, and the noise of a window, pass."""
LOOSE = 1.0
"""Without a target: nats a token over which the KL is too large. There the policy gives its own tokens e times the probability that the
reference gives them (in geometric mean), all along the reply."""
COLLAPSED = 0.25
"""The share of the entropy at the start under which it has collapsed: replies are drawn from next to no choice."""
REPEATING, MORE = 0.2, 0.1
"""The share of replies that repeat themselves which is too large, where it also grew by so much: some data repeats by nature."""
CLIPPED = 0.5
"""The share of clipped ratios that is too large: most tokens then have no gradient (Schulman et al. 2017, eq. 7). 0.1 to 0.3 is usual."""
FALL, SURE = 0.05, 4.5
"""Gold has fallen where its average is this share, and so many standard errors, below its best: the best of many noisy windows stands above
the truth by two or three of them with no fall at all, and it is looked at again and again."""
FIRST, LEAST = 5, 10
"""Values that tell the start; steps before which nothing but a number that is none is judged."""
ORDER = ("nan", "gold", "kl", "entropy", "repetition", "clip")
"""Kinds of alarms, the worst first."""
MINUS, NARROW = "\u2212", "\u202f"


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that is wrong at the last step of a series."""

    kind: str
    """One of `ORDER`."""
    step: int
    """The last step from before it: a checkpoint of this step or an earlier one is healthy."""
    sentence: str
    value: float
    """What it is now: nats of KL, gold's fall, nats of entropy a token, shares; NaN for "nan"."""


def watch(run: Any) -> list[Alarm]:
    """The alarms of a run (as `workbench.attach` gives one) at the last step that its journal tells of, the worst first."""
    run.history.refresh()
    series = run.history.metrics()
    return alarms_of(series, target=targets_of(run, series["step"]), evaluations=evaluations_of(run.history))


def news(run: Any, said: set[str]) -> list[Alarm]:
    """Of the alarms that stand now, a loss's own among them (`loss_alarms.py`), those not told yet; `said` are the kinds that were, and is brought
    up to date: what has gone and comes again is news."""
    from workbench.alignment import loss_alarms

    now = [*watch(run), *loss_alarms.watch(run)]
    fresh = [alarm for alarm in now if alarm.kind not in said]
    said.clear()
    said.update(alarm.kind for alarm in now)
    return fresh


def targets_of(run: Any, step: Any) -> np.ndarray | None:
    """The KL target in force at each of `step`, nats: the recipe's, and what it was changed to, NaN where it was switched off;
    None where there never was one."""
    try:
        start = getattr(run.recipe.settings, "kl_target", None)
    except (OSError, ValueError, WorkbenchError):  # a folder of another program
        start = None
    changes = [change for change in run.history.changes if change.field == "kl_target"]
    if start is None and not changes:
        return None
    step = np.asarray(step, float)
    targets = np.full(len(step), np.nan if start is None else float(start))
    for change in changes:
        targets[step > change.step] = np.nan if change.new is None else float(change.new)
    return targets


def evaluations_of(history: Any) -> dict[str, np.ndarray]:
    """Columns step, reward, gold and kl of the evaluations that have any of the first two, NaN where unknown."""
    told = [event for event in history.evaluations if event.extra.get("reward") is not None or event.extra.get("gold") is not None]
    return {"step": np.array([event.step for event in told], float)} | {
        name: np.array([np.nan if (value := event.extra.get(name)) is None else value for event in told], float)
        for name in ("reward", "gold", "kl")
    }


def alarms_of(series: Mapping[str, Any], *, target: Any = None, evaluations: Mapping[str, Any] | None = None) -> list[Alarm]:
    """The alarms that stand at the last step of `series`, the worst first.

    `series` has columns of one length (a DataFrame, or arrays by name) as a policy's run names them: step, and of loss, reward, gold, kl,
    length, entropy, repetition, clip_fraction those there are; NaN where unknown. `target` is the KL aimed at in nats, one number or one
    a step; None or NaN where there is none. `evaluations` has columns step, reward and gold of the held-out prompts, looked at where the
    steps have no gold.
    """
    step = _column(series, "step")
    if step is None or not len(step):
        return []
    found = [_no_number(step, series)]
    if len(step) >= LEAST:
        span = span_of(len(step))
        found += [
            _kl(step, series, target, span),
            _entropy(step, series, span),
            _repetition(step, series, span),
            _clip(step, series, span),
            _gold(step, _column(series, "reward"), _column(series, "gold"), gold_span(len(step))),
        ]
        if _column(series, "gold") is None and evaluations is not None and (when := _column(evaluations, "step")) is not None:
            found.append(_gold(when, _column(evaluations, "reward"), _column(evaluations, "gold"), 2))
    return sorted((alarm for alarm in found if alarm), key=lambda alarm: ORDER.index(alarm.kind))


def healthy_step(checkpoints: Sequence[int], alarms: Sequence[Alarm]) -> int:
    """The last of the checkpoints' steps from before every alarm; 0, the start, where none is."""
    limit = min((alarm.step for alarm in alarms), default=math.inf)
    return max((int(step) for step in checkpoints if step <= limit), default=0)


def remedy(alarms: Sequence[Alarm], there: Mapping[str, float], now: Mapping[str, float]) -> dict[str, float]:
    """What to change in a branch from before the alarms, or it would go the same way again; {} where nothing needs to.

    `there` and `now` are beta and learning_rate as they were at the branch and are at the end. Half the learning rate where numbers or
    ratios ran away; else twice the β (0.05 where it is 0), unless a hand has made it smaller since: then the branch has the larger one.
    """
    kinds = {alarm.kind for alarm in alarms}
    if not kinds:
        return {}
    if "nan" in kinds or kinds == {"clip"}:
        rate = there.get("learning_rate")
        return {"learning_rate": rate / 2} if rate else {}
    beta = there.get("beta")
    if beta is None or beta > 1.2 * now.get("beta", beta):
        return {}
    return {"beta": 2 * beta if beta else 0.05}


def band_of(target: float | None) -> tuple[float, float] | None:
    """(low, high) in nats around a KL target; None without one."""
    return None if target is None or not math.isfinite(target) else (target * (1 - BAND), target * (1 + BAND))


def span_of(steps: int) -> int:
    """Steps an average is taken over, by how many there are: a twentieth, from 5 to 50."""
    return min(50, max(5, round(steps / 20)))


def gold_span(steps: int) -> int:
    """Steps gold is averaged over: a tenth, from 6 to 200; it falls by little, and slowly."""
    return min(200, max(6, round(steps / 10)))


def entropy_floor(entropy: Any) -> float | None:
    """Nats a token under which this series' entropy has collapsed; None while its start is unknown."""
    known = _known(entropy)
    return COLLAPSED * float(known[:FIRST].mean()) if len(known) >= FIRST else None


def gold_peak(gold: Any, span: int) -> int | None:
    """The index at which the average of `gold` over `span` values is highest, the middle of that window; None while there is none."""
    mean = averaged(gold, span)
    if not np.isfinite(mean).any():
        return None
    return max(0, int(np.nanargmax(mean)) - span // 2)


def averaged(values: Any, span: int) -> np.ndarray:
    """The mean of the last `span` values at each place, of shape (n,); NaN before there are so many, and where half of them are unknown."""
    import pandas as pd

    values = np.asarray(values, float)
    mean = pd.Series(values).rolling(span, min_periods=span // 2 + 1).mean().to_numpy(copy=True)
    mean[: span - 1] = np.nan
    return mean


def _no_number(step: np.ndarray, series: Mapping[str, Any]) -> Alarm | None:
    for name, words in (("loss", "loss"), ("reward", "reward"), ("kl", "KL")):
        values = _column(series, name)
        if values is None or math.isfinite(values[-1]):
            continue
        fine = np.flatnonzero(np.isfinite(values))
        if len(fine):  # a metric that was never there is no trouble
            since = int(step[fine[-1] + 1])
            return Alarm("nan", int(step[fine[-1]]), f"The {words} is not a number since step {_count(since)}.", math.nan)
    return None


def _kl(step: np.ndarray, series: Mapping[str, Any], target: Any, span: int) -> Alarm | None:
    kl, length = _column(series, "kl"), _column(series, "length")
    if kl is None:
        return None
    aims = np.full(len(step), np.nan) if target is None else np.broadcast_to(np.asarray(target, float), len(step))
    now, aim = averaged(kl, span), float(aims[-1])
    if math.isfinite(aim):
        since = _since(step, now > aim * (1 + BAND), span)
        low, high = band_of(aim)
        where = f"above the band {_nats(low)}–{_nats(high)}"
    elif length is not None:
        since = _since(step, now > LOOSE * averaged(length, span), span)
        where = f"over {LOOSE:g} nat a token, with no target to hold it"
    else:
        return None
    return (
        None if since is None else Alarm("kl", since, f"KL is {_nats(now[-1])} nats, {where} since step {_count(since)}.", float(now[-1]))  # type: ignore[arg-type]
    )


def _entropy(step: np.ndarray, series: Mapping[str, Any], span: int) -> Alarm | None:
    entropy = _column(series, "entropy")
    floor = None if entropy is None else entropy_floor(entropy)
    if floor is None:
        return None
    now = averaged(entropy, span)
    since = _since(step, now < floor, span)
    began = floor / COLLAPSED
    return (
        None
        if since is None
        else Alarm(
            "entropy",
            since,
            f"Entropy has collapsed from {began:.2f} to {now[-1]:.2f} nats a token since step "
            f"{_count(since)}: the policy has next to no choice left.",
            float(now[-1]),
        )
    )


def _repetition(step: np.ndarray, series: Mapping[str, Any], span: int) -> Alarm | None:
    values = _column(series, "repetition")
    if values is None or not len(_known(values)):
        return None
    now, began = averaged(values, span), float(_known(values)[:FIRST].mean())
    since = _since(step, now > max(REPEATING, began + MORE), span)
    return (
        None
        if since is None
        else Alarm(
            "repetition", since, f"{_percent(now[-1])} of the replies repeat themselves, {_percent(began)} at the start.", float(now[-1])  # type: ignore[arg-type]
        )
    )


def _clip(step: np.ndarray, series: Mapping[str, Any], span: int) -> Alarm | None:
    values = _column(series, "clip_fraction")
    if values is None:
        return None
    now = averaged(values, span)
    since = _since(step, now > CLIPPED, span)
    return (
        None
        if since is None
        else Alarm(
            "clip",
            since,
            f"{_percent(now[-1])} of the ratios are clipped since step {_count(since)}: "  # type: ignore[arg-type]
            f"most tokens teach nothing, so the steps are too large.",
            float(now[-1]),
        )
    )


def _gold(step: np.ndarray, reward: np.ndarray | None, gold: np.ndarray | None, span: int) -> Alarm | None:
    """Gold below its best by more than noise while the proxy rose since, as in Gao et al. 2022 ("Scaling Laws for Reward Model
    Overoptimization")."""
    if reward is None or gold is None:
        return None
    fine = np.isfinite(gold) & np.isfinite(reward)
    step, reward, gold = step[fine], reward[fine], gold[fine]
    if len(step) < 3 * span and span > 2:
        return None
    golds, rewards = averaged(gold, span), averaged(reward, span)
    best = int(np.nanargmax(golds))
    fall, rise = float(golds[best] - golds[-1]), float(rewards[-1] - rewards[best])
    if (
        len(step) - 1 - best < span
        or fall <= max(FALL * abs(float(golds[best])), SURE * _error(gold, span))
        or rise <= _error(reward, span)
    ):
        return None
    since = int(step[max(0, best - span // 2)])
    return Alarm(
        "gold", since, f"Over-optimised: since step {_count(since)} the proxy reward rose {rise:.2f} while gold fell {fall:.2f}.", fall
    )


def _error(values: np.ndarray, span: int) -> float:
    """The standard error of the difference of two averages over `span` values, from how far each is from the line through its neighbours: a
    trend does not touch that, and the median passes over jumps."""
    bends = np.diff(values, n=2)  # of independent noise with standard deviation s, that of a bend is s √6
    spread = 1.4826 * float(np.median(np.abs(bends))) / math.sqrt(6) if len(bends) else 0.0
    return spread * math.sqrt(2 / span)


def _since(step: np.ndarray, bad: np.ndarray, span: int) -> int | None:
    """The last step before the stretch of `bad` that reaches the end, its whole window taken off, for an average lags; None where it does
    not, 0 where it reaches back to the start."""
    if not bad[-1]:
        return None
    last = int(np.flatnonzero(~bad)[-1]) - span if not bad.all() else -1
    return int(step[last]) if last >= 0 else 0


def _column(series: Mapping[str, Any], name: str) -> np.ndarray | None:
    """The column as float64; None where there is none, or nothing in it is known."""
    if name not in series:
        return None
    values = np.asarray(series[name], float)
    return values if np.isfinite(values).any() else None


def _known(values: Any) -> np.ndarray:
    values = np.asarray(values, float)
    return values[np.isfinite(values)]


def _count(step: int) -> str:
    return f"{step:,d}".replace(",", NARROW)


def _nats(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 10 else f"{value:.1f}" if abs(value) >= 1 else f"{value:.2f}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f}{NARROW}%"
