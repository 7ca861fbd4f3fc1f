"""A policy's run in words: the sentence under the KL monitor, the table of alarms, progress, and the Python that shows it again.

Pure: everything comes from curves, a history and a status read elsewhere. Says the worst thing first.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from widgets.frame.literals import argument
from widgets.frame.sheet import MINUS, number
from widgets.frame.status import Sentence
from widgets.kl_monitor.reading import Curves
from workbench.alignment import alarms
from workbench.alignment.alarms import Alarm
from workbench.runs.folders import undated
from workbench.runs.status import behind_words

SAID = 3
"""Alarms that the sentence names; the table has them all."""
WAITS = 0.25
"""The share of a step's time that the policy waits, from which on the sentence says it."""
NAMES = {
    "gold": "Reward up, gold down",
    "kl": "KL out of band",
    "entropy": "Entropy",
    "clip": "Clip fraction",
    "repetition": "Repetition",
    "nan": "Not a number",
}
UNIT_NAMES = {"beta": "β", "kl_target": "KL target"}
OVER = {"finished": "Finished", "stopped": "Stopped", "paused": "Paused"}


def summary(status: str, history: Any, curves: Curves, policy: bool) -> Sentence:
    """What the figure shows now. `status` is the run's (its `.sentence` and `.remedy` are used where it has them)."""
    sentence, remedy = getattr(status, "sentence", ""), getattr(status, "remedy", "")
    if not policy:
        return Sentence(
            "idle",
            f"{curves.name or 'This run'} writes no replies that are rewarded, so there is no KL to watch: pick one of PPO, GRPO or RLOO.",
        )
    if status in ("died", "failed"):
        return Sentence("warn", f"{sentence} {remedy}".strip())
    if status == "queued":
        behind = behind_words(history.queued, lambda name: undated(name.rsplit("/", 1)[-1])) if history.queued else ""
        return Sentence("idle", f"Waits for the device behind {behind}." if behind else "Waits for the device; it is next.")
    if status in ("starting", "new") or not len(curves.step):
        return Sentence(
            "idle",
            "Starting: the worker loads the model and the prompts." if status != "running" else "Ready: the first replies are being drawn.",
        )
    if curves.alarms:
        more = len(curves.alarms) - SAID
        said = " ".join(alarm.sentence for alarm in curves.alarms[:SAID])
        return Sentence("warn", said + (f" {number(more)} more in the table of alarms." if more > 0 else ""))
    return Sentence("ok", _healthy(status, history, curves))


def _healthy(status: str, history: Any, curves: Curves) -> str:
    head = f"{OVER[status]} at step" if status in OVER else "Step"
    of = f" of {number(history.steps)}" if history.steps else ""
    parts = []
    if curves.has("reward"):
        parts.append(f"reward {number(curves.now('reward'), 2)}{_gained(curves.series['reward'], curves.now('reward'))}")
    if curves.has("gold"):
        parts.append(f"gold {number(curves.now('gold'), 2)}{_gained(curves.series['gold'], curves.now('gold'))}")
    if curves.has("kl"):
        parts.append(f"KL {nats(curves.now('kl'))} nats" + _in_band(curves))
    waits = waiting(curves)
    return f"{head} {number(history.step)}{of}: {', '.join(parts) or 'nothing measured yet'}{f'; {waits}' if waits else ''}."


def _gained(values: np.ndarray, now: float) -> str:
    fine = values[np.isfinite(values)]
    if len(fine) < alarms.LEAST:
        return ""
    gain = now - float(fine[: alarms.FIRST].mean())
    return f" ({'+' if gain >= 0 else ''}{number(gain, 2)} since the start)"


def _in_band(curves: Curves) -> str:
    if not curves.band:
        return ""
    low, high = curves.band
    place = "below" if curves.now("kl") < low else "in" if curves.now("kl") <= high else "above"
    return f", {place} the band {band_words(curves.band)}"


def band_words(band: tuple[float, float]) -> str:
    return "–".join(nats(value) for value in band)


def nats(value: float) -> str:
    """With as many digits as say something: 44, 6.2, 0.07."""
    return number(value, 0 if abs(value) >= 10 else 1 if abs(value) >= 1 else 2)


def waiting(curves: Curves) -> str:
    """That the policy waits for its rewards, where that is much of a step; "" where it is not. The other way round nothing is lost."""
    whole = sum(value for name in ("seconds/generate", "seconds/score", "seconds/train") if math.isfinite(value := curves.now(name)))
    share = curves.now("waits/policy") / whole if whole else math.nan
    return f"the policy waits {number(100 * min(share, 1))}\u202f% of a step for its rewards" if share >= WAITS else ""


def table(curves: Curves) -> list[tuple[str, str, bool]]:
    """(name, value now, whether it is an alarm) of everything that is watched and known."""
    on = {alarm.kind: alarm for alarm in curves.alarms}
    rows = []
    for kind, column in (("gold", "gold"), ("kl", "kl"), ("entropy", "entropy"), ("clip", "clip_fraction"), ("repetition", "repetition")):
        known = curves.has(column) or (kind == "gold" and np.isfinite(curves.heldout.get("gold", np.empty(0))).any())
        if kind in on:
            rows.append((NAMES[kind], _alarm_value(on[kind]), True))
        elif known:
            now = curves.now(column)
            rows.append(
                (
                    NAMES[kind],
                    {"gold": "no", "kl": f"{nats(now)} nats", "entropy": number(now, 2)}.get(kind, f"{number(100 * now)}\u202f%"),
                    False,
                )
            )
    return ([(NAMES["nan"], "", True)] if "nan" in on else []) + rows


def _alarm_value(alarm: Alarm) -> str:
    if alarm.kind == "gold":
        return MINUS + number(alarm.value, 2)
    if alarm.kind == "kl":
        return f"{nats(alarm.value)} nats"
    return number(alarm.value, 2) if alarm.kind == "entropy" else f"{number(100 * alarm.value)}\u202f%"


def back_words(
    step: int, found: Sequence[Alarm], changes: dict[str, Any], now: dict[str, Any], then: dict[str, Any], there: bool, living: bool
) -> tuple[str, str]:
    """(the button, the words under it) for a branch from `step` with `changes`.

    `now` and `then` are the settings in force at the end and at `step`; `there` is whether the checkpoint is on the disk.
    """
    button = f"{'Back to' if found else 'Branch from'} step {number(step)}"
    parts = [
        "the last checkpoint with no alarm"
        if found and there
        else "the last checkpoint"
        if there
        else "its checkpoint is gone, so it is trained again up to there"
        if step
        else "no checkpoint is from before the alarm: it begins anew"
    ]
    parts += [
        f"{UNIT_NAMES.get(name, name.replace('_', ' '))} {_value((now | then).get(name))} → {_value(value)}"
        for name, value in changes.items()
    ]
    if "beta" not in changes and round(then.get("beta", 0), 6) != round(now.get("beta", 0), 6):
        parts.append(f"β is {_value(then['beta'])} there")
    if living and found:
        parts.append("this run stops, what it learned is kept")
    return button, "; ".join(parts)


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {part:g}" for name, part in value.items())
    return "none" if value is None else f"{value:.3g}"


def empty_words(there: bool, policy: bool) -> tuple[str, str]:
    """What stands where the curves will be."""
    if not there:
        return "No run picked", "Give a run of PPO, GRPO or RLOO, or pick one from the list."
    if not policy:
        return "No policy", "This run writes no replies that are rewarded."
    return "No step yet", "The first points appear with the first replies and their rewards."


def why_not(read_only: bool, has_recipe: bool, living: bool, status: str) -> str:
    """Why nothing can be changed here; "" where it can."""
    if read_only or not has_recipe:
        return "This folder is only read: it was not started here, so nothing in it can be changed."
    if not living:
        return f"The run is {status}, so nothing can be changed in it; a branch of it can be started below with these values."
    return ""


def adaptive_words(now: dict[str, Any]) -> str:
    """Who holds β."""
    if now.get("kl_target") is not None:
        return f"β follows the KL target of {_value(now['kl_target'])} nats; one set here is where it goes on from."
    if "kl_target" in now:
        return "β stays where it is put, until a KL target holds it."
    if "beta" in now:
        return "β stays where it is put: this objective has none that follows a KL target."
    return ""


def holder(now: dict[str, Any]) -> str:
    """Who holds β where these settings are in force: "hand", "target" or "off"; "" where there is none."""
    if "beta" not in now:
        return ""
    if now["beta"] == 0:
        return "off"
    return "hand" if now.get("kl_target") is None else "target"


def progress(status: str, history: Any) -> tuple[str, str, str, float | None]:
    """(bold, rest, right, share) for the progress line."""
    return (
        f"step {number(history.step)}",
        f"of {number(history.steps)}" if history.steps else "",
        str(status),
        history.step / history.steps if history.steps else None,
    )


def code(
    folder: str, runs: str, history: Any, options: dict[str, Any], pending: dict[str, Any], back: tuple[int, dict[str, Any]] | None
) -> str:
    """Python that shows this run again and judges it; what was changed while it ran stands there as comments."""
    lines = ["import workbench as wb", "from widgets import KLMonitor", ""]
    if not folder:
        return "\n".join([*lines, f"monitor = KLMonitor(runs={runs!r})"])
    lines = [
        "import workbench as wb",
        "from widgets import KLMonitor",
        "from workbench.alignment.alarms import watch",
        "",
        f"run = wb.attach({folder!r})",
    ]
    for change in history.changes:
        lines.append(f"# at step {change.step}: run.set({argument(change.field, change.new)})")
    if pending:
        lines.append(f"# not applied yet: run.set({_arguments(pending)})")
    if back is not None:
        lines.append(
            f"# back to step {back[0]}: branch = run.fork({', '.join(part for part in (f'step={back[0]}', _arguments(back[1])) if part)})"
        )
    given = "".join(f", {name}={value!r}" for name, value in options.items() if value)
    return "\n".join([*lines, "alarms = watch(run)", f"monitor = KLMonitor(run, runs={runs!r}{given})"])


def _arguments(values: dict[str, Any]) -> str:
    return ", ".join(argument(name, value) for name, value in values.items())
