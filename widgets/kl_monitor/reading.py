"""What the KL monitor reads off a run: the series of its policy, its marks and alarms, settings in force, the replies it drew.

Works on anything with the surface of `workbench.runs.run.Run`. Makes no widget and no figure.
"""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from widgets.frame.sheet import number
from workbench.alignment import alarms
from workbench.alignment.alarms import Alarm
from workbench.errors import WorkbenchError
from workbench.recipes import Recipe
from workbench.runs.folders import undated

LIVING = ("queued", "starting", "running", "paused")
"""Statuses in which a worker has the run or will."""
ESTIMATORS = {"k1": "kl", "k2": "kl/k2", "k3": "kl/k3"}
"""Estimator -> its column in the journal."""
SETTINGS = ("beta", "kl_target", "learning_rate", "temperature", "reward_weights")
"""Settings that this panel changes while a run goes."""
SHORT = {"beta": "β", "kl_target": "KL target", "learning_rate": "lr", "reward_weights": "weights"}


@dataclass(slots=True)
class State:
    """What makes this monitor this one; JSON round trip by `state_json`."""

    run: str = ""
    """Folder of the run shown, "" for none."""
    runs: str = "runs"
    estimator: str = "k1"
    """Which estimate of the KL is the strong line: k1, k2 or k3."""
    smoothing: int = 0
    """Steps lines are averaged over; 0 chooses by the length of the run."""
    pending: dict = field(default_factory=dict)
    """What the controls say and is not in force: some of `SETTINGS`."""
    prompt: str = ""
    """Whose replies are shown; "" for the first."""
    sample_step: int = -1
    """At which evaluation; -1 for the last."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that a person did at `step`."""

    step: int
    words: str
    fork: bool = False


@dataclass(slots=True, kw_only=True)
class Curves:
    """What drawing needs of one policy's run. All series of one length, NaN where unknown."""

    name: str = ""
    steps: int | None = None
    span: int = 20
    series: dict[str, np.ndarray] = field(default_factory=dict)
    heldout: dict[str, np.ndarray] = field(default_factory=dict)
    """Of the evaluations: step, reward, gold, kl, all of one length."""
    marks: list[Mark] = field(default_factory=list)
    alarms: list[Alarm] = field(default_factory=list)
    targets: np.ndarray | None = None
    """The KL target in force at each step; None where there never was one."""
    parent: "Curves | None" = None
    _means: dict[str, np.ndarray] = field(default_factory=dict, repr=False)

    @property
    def step(self) -> np.ndarray:
        return self.series.get("step", np.empty(0))

    @property
    def band(self) -> tuple[float, float] | None:
        """Nats aimed at now."""
        return None if self.targets is None or not len(self.targets) else alarms.band_of(float(self.targets[-1]))

    def has(self, name: str) -> bool:
        return name in self.series and bool(np.isfinite(self.series[name]).any())

    def mean(self, name: str) -> np.ndarray:
        """The exponential average over `span` steps, from what came before alone: what is drawn never changes again."""
        if name not in self._means:
            import pandas as pd

            values = self.series.get(name, np.full(len(self.step), math.nan))
            self._means[name] = pd.Series(values).ewm(span=self.span, ignore_na=True).mean().to_numpy() if len(values) else values
        return self._means[name]

    def now(self, name: str) -> float:
        """The average at the last step; NaN where unknown."""
        values = self.mean(name)
        return float(values[-1]) if len(values) else math.nan


@dataclass(slots=True)
class Taken:
    """One look at everything that is drawn, so that figure, sentence and controls agree."""

    run: Any
    status: str
    curves: Curves
    policy: bool = True
    """Whether the run has a policy at all."""
    shape: tuple = ()


def recipe_of(run: Any) -> Recipe | None:
    """The run's recipe, None for a folder of another program."""
    try:
        return run.recipe
    except (OSError, ValueError, WorkbenchError):
        return None


def is_policy(run: Any) -> bool:
    """Whether replies of its model are rewarded: by its recipe, or by what its trainer logs."""
    recipe = recipe_of(run)
    if recipe is not None:
        return bool(getattr(recipe.settings, "policy", False))
    return "reward" in run.history.columns and "kl" in run.history.columns


def curves_of(run: Any, smoothing: int = 0, parent: Any = None) -> Curves:
    """The curves of `run`, its journal as it was last read."""
    history = run.history
    series = {name: np.asarray(values) for name, values in history.metrics().items()}
    for ours, theirs in (("length", "completions/mean_length"), ("clip_fraction", "clip_ratio/region_mean")):  # as trl names them
        if ours not in series and theirs in series:
            series[ours] = series[theirs]
    if "objective" not in series and {"reward", "kl", "beta"} <= series.keys():
        series["objective"] = series["reward"] - series["beta"] * series["kl"]
    heldout, targets = alarms.evaluations_of(history), alarms.targets_of(run, series["step"])
    found = alarms.alarms_of(series, target=targets, evaluations=heldout)
    return Curves(
        name=undated(run.name),
        steps=history.steps,
        span=smoothing or automatic_span(history.steps),
        series=series,
        heldout=heldout,
        marks=marks_of(history),
        alarms=found,
        targets=targets,
        parent=curves_of(parent, smoothing) if parent is not None else None,
    )


def automatic_span(steps: int | None) -> int:
    """Steps lines are averaged over when nobody said: a fiftieth of the run, 5 to 100."""
    return min(100, max(5, round((steps or 1000) / 50)))


def marks_of(history: Any) -> list[Mark]:
    """Forks, changes and resumptions in order of step; what happened at one step shares one mark."""
    words: dict[int, list[str]] = {}
    fork = history.forked.step if history.forked else None
    if fork is not None:
        words[fork] = ["fork"]
    for change in history.changes:
        said = change_words(change.field, change.old, change.new)
        if said not in words.setdefault(change.step, []):
            words[change.step].append(said)
    for step in history.resumptions:
        words.setdefault(step, []).append("resumed")
    return [Mark(step, " · ".join(said), step == fork) for step, said in sorted(words.items())]


def change_words(name: str, old: Any, new: Any) -> str:
    """`β 0.115 → 0.04`; of weights those that differ."""
    if isinstance(new, dict):
        before = old if isinstance(old, dict) else {}
        return (
            ", ".join(
                f"{part} {value_words(before.get(part))} → {value_words(value)}" for part, value in new.items() if before.get(part) != value
            )
            or f"{SHORT.get(name, name)} set"
        )
    return f"{SHORT.get(name, name.replace('_', ' '))} {value_words(old)} → {value_words(new)}"


def value_words(value: Any) -> str:
    """0.0003 -> `3e-4`, 0.1147 -> `0.115`, None -> `none`."""
    if isinstance(value, float) and math.isfinite(value) and 0 < abs(value) < 0.001:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    return (
        "none"
        if value is None
        else f"{value:.3g}"
        if isinstance(value, float)
        else number(value)
        if isinstance(value, int)
        else str(value)[:40]
    )


def in_force(run: Any) -> dict[str, Any]:
    """The live settings as they are now: what was last set, and a β that its controller moves as it stood at the last step."""
    recipe = recipe_of(run)
    if recipe is None:
        return {}
    start = {"learning_rate": recipe.learning_rate} | (recipe.settings.live_values() if recipe.settings else {})
    now = {name: run.history.setting(name, value) for name, value in start.items() if name in SETTINGS}
    betas, step = run.history.columns.get("beta"), run.history.step
    moved = all(change.step < step for change in run.history.changes if change.field == "beta")  # a step was taken since it was set
    if now.get("kl_target") is not None and betas and math.isfinite(betas[-1]) and moved:
        now["beta"] = float(f"{betas[-1]:.3g}")
    return now


def in_force_at(run: Any, step: int) -> dict[str, Any]:
    """β and learning rate's peak as they were when `step` steps were done."""
    recipe = recipe_of(run)
    if recipe is None:
        return {}
    start = {"learning_rate": recipe.learning_rate} | (recipe.settings.live_values() if recipe.settings else {})
    for change in run.history.changes:
        if change.step < step:
            start[change.field] = change.new
    steps, betas = np.asarray(run.history.columns["step"]), np.asarray(run.history.columns.get("beta", ()))
    known = np.flatnonzero((steps <= step) & np.isfinite(betas)) if len(betas) == len(steps) else ()
    if start.get("kl_target") is not None and len(known):
        start["beta"] = float(f"{betas[known[-1]]:.3g}")
    return {name: start[name] for name in ("beta", "learning_rate") if name in start}


def checkpoints_of(run: Any) -> list[int]:
    """Steps of the checkpoints that are still on the disk; of a fork the one it began with too."""
    kept = [saved.step for saved in run.history.checkpoints if (Path(run.folder) / saved.folder).exists()]
    forked = run.history.forked
    return sorted({*kept, *([forked.checkpoint] if forked else [])})


def policy_runs(records: list[dict]) -> list[tuple[str, str]]:
    """(name, folder) of the runs of a list that have a policy, the newest first."""
    found = []
    for record in records:
        folder = Path(record["folder"])
        try:
            body = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if "rewards" in (body.get("settings") or {}):
            found.append((f"{undated(folder.name)} ({record['status']})", str(folder)))
    return found


def near(folder: str | Path) -> str:
    """`folder` as a person would write it: relative to the working folder where it lies in it."""
    path = Path(folder)
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def replies_of(history: Any, prompt: str, step: int) -> tuple[list[str], list[int], Any]:
    """(prompts, steps at which `prompt` was answered, the reply at `step` or else the last one); None where there is no reply."""
    prompts = list(dict.fromkeys(reply.prompt for reply in history.replies))
    chosen = prompt if prompt in prompts else prompts[0] if prompts else ""
    mine = {reply.step: reply for reply in history.replies if reply.prompt == chosen}
    steps = sorted(mine)
    return prompts, steps, mine.get(step, mine[steps[-1]] if steps else None)
