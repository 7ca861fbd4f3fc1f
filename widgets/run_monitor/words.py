"""A run in words: the sentence under the run monitor, its progress line, and the Python that rebuilds it.

Pure: everything comes from a `History`, a status and curves read elsewhere. Says the worst thing first, and "unknown" by leaving it out.
"""

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np

from widgets.frame.literals import argument
from widgets.frame.sheet import number
from widgets.frame.status import Sentence
from widgets.run_monitor import answers
from widgets.run_monitor.curves import RunCurves
from workbench.alignment import loss_alarms
from workbench.data import run_rows
from workbench.data.mixture import Mixture
from workbench.data.stages import Stages
from workbench.journal.history import History
from workbench.runs.folders import undated
from workbench.runs.status import behind_words

OVER = ("finished", "stopped", "failed", "died")
"""Statuses in which no worker has the run."""


def summary(status: str, history: History, curves: RunCurves, span: float, parent: RunCurves | None = None) -> Sentence:
    """What the figure shows now. `status` is the run's (its `.sentence` and `.remedy` are used where it has them)."""
    said = _summary(status, history, curves, span, parent)
    return said if history.damage in said.text else Sentence(said.kind, f"{said.text} {history.damage}")


def _summary(status: str, history: History, curves: RunCurves, span: float, parent: RunCurves | None) -> Sentence:
    sentence, remedy = getattr(status, "sentence", ""), getattr(status, "remedy", "")
    ended = history.ended
    if status == "died":
        last = f" It got to step {number(history.step)}{_of(history)}."
        return Sentence(
            "warn",
            _joined(
                sentence or "The worker died.",
                last if str(history.step) not in sentence else "",
                remedy or "Resume goes on from the last checkpoint.",
            ),
        )
    if status == "failed":
        return Sentence(
            "warn",
            _joined(
                sentence or f"Failed at step {number(history.step)}: {ended.reason if ended else 'no reason given'}",
                remedy or (ended.remedy if ended else ""),
            ),
        )
    if status == "queued":
        return Sentence("idle", queue_words(history))
    if status in ("starting", "new"):
        return Sentence("idle", sentence or "Starting: the worker loads the model and the rows.")
    warning = trouble(history, curves, span)
    if warning:
        return Sentence("warn", warning)
    if not len(curves.step):
        return Sentence("ok", "The model and the rows are ready; the first step is on its way.")
    return Sentence(
        "ok", _headline(status, history) + _reading(curves, span, parent, status in OVER) + _dropped(history) + _left(status, history) + "."
    )


def empty_words(status: str, there: bool, recipe: Any) -> tuple[str, str]:
    """What stands where the curves will be: a headline and a sentence. `there` is whether a run is shown, `recipe` what Start would
    start.
    """
    if there:
        headline = {"queued": "Waiting for the device", "starting": "Starting", "failed": "Failed", "died": "Died"}.get(
            status, "No step yet"
        )
        return headline, "The first points appear with the first steps."
    if recipe is None:
        return "No run picked", "Give a recipe or a run, or pick one from the list."
    length = f"{number(recipe.steps)} steps" if recipe.steps else f"{recipe.epochs:g} epochs"
    names = list(run_rows.names(recipe.data))
    rows = recipe.data if isinstance(recipe.data, str) else f"a mixture of {', '.join(names[:4])}{' and others' if len(names) > 4 else ''}" if names else "the rows given"
    method = type(recipe.method).__name__ + (f" of rank {recipe.method.rank}" if hasattr(recipe.method, "rank") else "")
    return "Nothing has run yet", f"Start trains {Path(recipe.model).name} on {rows} for {length} with {method}."


def no_samples_words(status: str, recipe: Any) -> str:
    """What stands where the replies will be; where none will come, why."""
    if recipe is not None and not recipe.sample_prompts:
        return "No replies were asked for (sample_prompts=0)."
    return "No replies came before its end." if status in OVER else "The first replies come with the first evaluation."


def queue_words(history: History) -> str:
    """`It is ada's turn. Waits for the device behind ada's town-lora8; next in the queue.`"""
    queued = history.queued
    if queued is None or not queued.behind:
        return "Waits for the device; it is next."
    place = {1: "next", 2: "second", 3: "third"}.get(queued.position, f"number {queued.position}")
    turn = f"It is {queued.people[0]}'s turn. " if queued.people else ""
    up = " Move up puts it before your other runs." if queued.mine else ""
    return f"{turn}Waits for the device behind {behind_words(queued, lambda name: undated(Path(name).name))}; {place} in the queue.{up}"


def trouble(history: History, curves: RunCurves, span: float) -> str:
    """The one thing most wrong with the curves, or "". Loss not a number, loss climbing, or held-out loss rising while training loss
    falls.
    """
    if not len(curves.loss):
        return ""
    here = f"Step {number(history.step)}{_of(history)}: "
    if not math.isfinite(curves.loss[-1]):
        fine = np.flatnonzero(np.isfinite(curves.loss))
        since = int(curves.step[fine[-1] + 1]) if len(fine) else int(curves.step[0])
        healthy = [saved.step for saved in history.checkpoints if saved.step < since]
        remedy = (
            f"fork from step {number(healthy[-1])} with a lower learning rate"
            if healthy
            else "stop it and start again with a lower learning rate"
        )
        return f"{here}the loss is not a number since step {number(since)}; {remedy}."
    # rows of other sources have another loss, which is no trouble: only what came since the mixture was changed is compared
    remixed = max((change.step for change in history.changes if change.field == "mixture"), default=0)
    fine = np.isfinite(curves.loss) & (curves.step > remixed)
    step, value, raw = curves.step[fine], curves.average(span)[fine], curves.loss[fine]
    if alarm := loss_alarms.climbed(step, raw, value, span):
        return (
            f"{here}the training loss has climbed from {number(value[step == alarm.step][0], 3)} at step {number(alarm.step)} "
            f"to {number(alarm.value, 3)}; "
            + ("a fork from before it, with a lower learning rate, may fare better." if history.ended else "a lower learning rate may bring it back.")
        )
    held = curves.heldout
    if alarm := loss_alarms.by_heart(step, value, curves.heldout_step, held):
        return (
            f"{here}held-out loss has risen from {number(held[curves.heldout_step == alarm.step][0], 3)} at step {number(alarm.step)} "
            f"to {number(alarm.value, 3)} while training loss falls: it learns the rows by heart."
        )
    return ""


def _headline(status: str, history: History) -> str:
    step, of = number(step_now(status, history)), _of(history)
    if status == "finished":
        return f"Finished {step} steps{_took(history)}: "
    if status == "stopped":
        return f"Stopped at step {step}{of}: "
    if status == "paused":
        return f"Paused at step {step}{of}, the model stays loaded: "
    return f"Step {step}{of}: "


def step_now(status: str, history: History) -> int:
    """Steps done: a script that logs every tenth has done more than its journal says."""
    return max(history.step, getattr(status, "step", None) or 0)


def _of(history: History) -> str:
    return f" of {number(history.steps)}" if history.steps else ""


def _reading(curves: RunCurves, span: float, parent: RunCurves | None, over: bool) -> str:
    held = curves.heldout
    if not len(held):
        average = curves.average(span)
        words = f"training loss {number(average[-1], 3)}" if math.isfinite(average[-1]) else "no loss yet"
        return words + (f", averaged over {number(span)} steps" if len(curves.step) > 1 else "")
    words = f"held-out loss {number(held[-1], 3)}"
    scored = answers.words(curves.answers)
    best = int(np.argmin(held))
    sayings = []
    if len(held) > 1:
        sayings.append(
            ("its lowest" if over else "the lowest so far")
            if best == len(held) - 1
            else f"{number(held[-1] - held[best], 3)} above its lowest at step {number(curves.heldout_step[best])}"
        )
    if parent is not None and len(parent.heldout) > 1 and parent.heldout_step[0] <= curves.heldout_step[-1] <= parent.heldout_step[-1]:
        gap = float(held[-1] - np.interp(curves.heldout_step[-1], parent.heldout_step, parent.heldout))
        side = "below" if gap < 0 else "above"
        sayings.append(
            f"{number(abs(gap), 3)} {side} {parent.name} at the same step"
            if round(abs(gap), 3)
            else f"equal to {parent.name} at the same step"
        )
    return words + (", " + " and ".join(sayings) if sayings else "") + (f"; {scored}" if scored else "")


def _dropped(history: History) -> str:
    dropped = history.prepared.dropped if history.prepared else {}
    count = sum(dropped.values())
    if not count:
        return ""
    total = count + history.prepared.rows
    reasons = ", ".join(reason for reason, n in dropped.items() if n)
    return f"; {number(count)} of {number(total)} rows {'was' if count == 1 else 'were'} dropped ({reasons})"


def _took(history: History) -> str:
    seconds = float(np.diff(np.asarray(history.columns["time"])).clip(0).sum())  # a clock that was set back counts nothing, and takes nothing away
    return f" in {duration(seconds)}" if seconds > 0 else ""


def _left(status: str, history: History) -> str:
    seconds = seconds_left(history) if status == "running" else None
    return "" if seconds is None else f"; about {duration(seconds)} left"


def seconds_left(history: History) -> float | None:
    """From the time of the last steps, evaluations between them counted in and pauses left out; None where it cannot be told."""
    times = np.asarray(history.columns["time"])[-51:]
    if history.steps is None or len(times) < 3:
        return None
    taken = np.diff(times)
    usual = float(np.median(taken))
    taken = taken[(taken >= 0) & (taken <= max(20 * usual, 10))]
    if not len(taken) or usual < 0:
        return None
    return max(0.0, (history.steps - history.step) * float(taken.mean()))


def duration(seconds: float) -> str:
    """20 -> `20 s`, 840 -> `14 min`, 7500 -> `2 h 5 min`."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{number(minutes // 60)} h" + (f" {minutes % 60} min" if minutes % 60 else "")


def progress(status: str, history: History) -> tuple[str, str, str, float | None]:
    """(bold, rest, right, share) for the progress line."""
    right = []
    speeds = np.asarray(history.columns["tokens_per_s"])[-20:]
    speeds = speeds[np.isfinite(speeds)]
    if status in ("running", "paused") and len(speeds):
        right.append(f"{number(float(np.median(speeds)))} tok/s")
    seconds = seconds_left(history) if status == "running" else None
    right.append(f"{duration(seconds)} left" if seconds is not None else str(status))
    step = step_now(status, history)
    return f"step {number(step)}", _of(history).strip(), " · ".join(right), step / history.steps if history.steps else None


def run_code(folder: str, runs: str, history: History, options: dict[str, Any]) -> str:
    """Python that shows this run again; what was changed while it ran stands there as comments, for it is in the journal already."""
    lines = ["import workbench as wb", "from widgets import RunMonitor", "", f"run = wb.attach({folder!r})"]
    for change in history.changes:
        lines.append(f"# at step {change.step}: run.set({argument(change.field, change.new)})")
    wanted = options.get("pending", {})
    if wanted:
        lines.append(f"# not applied yet: run.set({', '.join(argument(name, value) for name, value in wanted.items())})")
    arguments = [f"runs={runs!r}", *(f"{name}={value!r}" for name, value in options.items() if name != "pending" and value)]
    return "\n".join([*lines, f"monitor = RunMonitor(run, {', '.join(arguments)})"])


def recipe_code(recipe: Any, defaults: Any, runs: str) -> str:
    """Python that builds `recipe` (what differs from `defaults`, a recipe with nothing given) and the monitor that can start it."""
    given = []
    for name, value in _given(recipe, defaults):
        if name == "data":
            given.append(f"data={data_words(value)}")
        elif dataclasses.is_dataclass(value):
            inner = [f"{key}={part!r}" for key, part in _given(value, type(value)())]
            given.append(f"{name}=wb.{type(value).__name__}({', '.join(inner)})")
        else:
            given.append(f"{name}={value!r}")
    first = ["# rows: what was given to this recipe in memory"] if not _is_named(recipe.data) else []
    return "\n".join(["import workbench as wb", "from widgets import RunMonitor", "", *first, f"recipe = wb.Recipe({', '.join(given)})",
                      f"monitor = RunMonitor(recipe, runs={runs!r})   # Start, or: run = wb.start(recipe, runs={runs!r})"])


def data_words(data: Any) -> str:
    """A recipe's rows as Python; those in memory are called `rows`, and `rows["name"]` in a mixture."""
    if isinstance(data, Stages):
        stages = ", ".join(f"({data_words(mixture)}, {rows})" for mixture, rows in data.stages)
        return f"wb.Stages([{stages}], replay={data.replay!r})"
    if isinstance(data, Mixture):
        sources = ", ".join(f"{name!r}: {source!r}" if _is_named(source) else f"{name!r}: rows[{name!r}]" for name, source in data.sources.items())
        options = [f"{f.name}={value!r}" for f in dataclasses.fields(data) if f.init and f.name not in ("sources", "counts")
                   and (value := getattr(data, f.name)) != f.default]
        return f"wb.Mixture({', '.join(['{' + sources + '}', *options])})"
    return repr(data) if _is_named(data) else "rows"


def _is_named(data: Any) -> bool:
    """Whether the rows can be had again by a name: none of them is a table in memory."""
    if isinstance(data, Stages):
        return all(_is_named(mixture) for mixture, _ in data.stages)
    if isinstance(data, Mixture):
        return all(map(_is_named, data.sources.values()))
    return isinstance(data, (str, int))


def _given(value: Any, defaults: Any) -> list[tuple[str, Any]]:
    """The fields of a dataclass that differ from the defaults; a table always differs."""
    pairs = [(f.name, getattr(value, f.name), getattr(defaults, f.name)) for f in dataclasses.fields(value)]
    return [(name, here) for name, here, default in pairs if type(here) is not type(default) or here != default]


def _joined(*sentences: str) -> str:
    return " ".join(sentence.strip() for sentence in sentences if sentence.strip())
