"""A run as curves and marks, ready to be drawn: plain arrays, an exponential average, the words on its change-marks.

Reads a `History`; knows neither plotly nor widgets, and never touches the disk.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from widgets.frame.sheet import number
from widgets.run_monitor import answers, mixing
from widgets.run_monitor.answers import Answers
from widgets.run_monitor.mixing import Mixing
from workbench.journal.history import History

SHORT = {
    "learning_rate": "lr",
    "evaluate_every": "evaluate every",
    "max_grad_norm": "clip",
    "batch_size": "batch",
    "max_length": "max length",
    "method.rank": "rank",
    "method.alpha": "alpha",
    "checkpoint_every": "checkpoint every",
    "warmup_steps": "warm-up",
}
"""Names of settings as marks and tables show them; others lose their underscores."""
CARD = {"card_gib": "gpu_memory_gib", "utilisation": "gpu_utilisation"}
"""What a GPU tells of itself (`training/gpu.py`), by the names of the metrics."""


def field_words(name: str) -> str:
    return SHORT.get(name) or name.replace("_", " ").replace(".", " ")


def value_words(value: Any) -> str:
    """0.0003 -> `3e-4`, 0.15 -> `0.15`, None -> `none`, "cosine" -> `cosine`; long values are cut at 40 characters."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and math.isfinite(value) and value != 0 and abs(value) < 0.01:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 40 else text[:39] + "…"


def change_words(name: str, old: Any, new: Any) -> str:
    if name == "mixture":
        return mixing.change_words(old, new)
    return f"{field_words(name)} {value_words(old)} → {value_words(new)}"


LONG, SPAN = 10_000, 256
"""Values from which an average is computed in pieces, and how many are in one."""


class Average:
    """Exponential average of a stream, with the start-up bias taken out; what is not finite is passed over.

    With `span` steps, alpha = 2 / (span + 1); equals pandas' `ewm(span=span, adjust=True, ignore_na=True).mean()`.
    """

    def __init__(self, span: float):
        if span < 1:
            raise ValueError("span is a number of steps, 1 or more")
        self.span, self.keep = span, 1 - 2 / (span + 1)
        self.total = self.weight = 0.0
        self.values = np.empty(0)
        """The averages given so far."""

    def extend(self, values: Sequence[float]) -> np.ndarray:
        """The average after each of `values`; NaN until the first finite value."""
        values = np.asarray(values, float)
        out = self._many(values) if len(values) > LONG else self._few(values)
        self.values = np.concatenate([self.values, out])
        return out

    def _few(self, values: np.ndarray) -> np.ndarray:
        keep, total, weight, out = self.keep, self.total, self.weight, []
        for value in values.tolist():  # plain floats are four times as fast as numpy's
            if math.isfinite(value):
                total, weight = keep * total + value, keep * weight + 1
            out.append(total / weight if weight else math.nan)
        self.total, self.weight = total, weight
        return np.array(out)

    def _many(self, values: np.ndarray) -> np.ndarray:
        """The same for a long run that is opened, `SPAN` values at a time: within such a piece a total is a sum of powers of `keep`, and only what is
        carried from piece to piece goes through Python."""
        fine = np.isfinite(values)
        known, before = values[fine], self.total / self.weight if self.weight else math.nan
        n = len(known)
        lag = np.arange(SPAN)[:, None] - np.arange(SPAN)
        pieces = np.pad(known, (0, -n % SPAN)).reshape(-1, SPAN)
        totals = pieces @ np.where(lag >= 0, self.keep ** np.maximum(lag, 0), 0.0).T
        carried, kept = [self.total], self.keep ** SPAN
        for last in totals[:-1, -1].tolist():
            carried.append(kept * carried[-1] + last)
        totals += np.array(carried[:len(totals)])[:, None] * self.keep ** np.arange(1, SPAN + 1)
        faded = self.keep ** np.arange(1, n + 1)
        averages = totals.ravel()[:n] / (weights := faded * self.weight + (1 - faded) / (1 - self.keep))
        if n:
            self.total, self.weight = float(totals.ravel()[n - 1]), float(weights[-1])
        return np.concatenate([[before], averages])[np.cumsum(fine)]


def automatic_span(steps: int | None) -> int:
    """How many steps the line is averaged over when nobody said: a fiftieth of the run, 5 to 100."""
    return min(100, max(5, round((steps or 1000) / 50)))


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened at `step` and may explain the curve after it."""

    step: int
    words: str
    fork: bool = False


@dataclass(slots=True, kw_only=True)
class RunCurves:
    """What drawing needs to know of one run. All arrays of one length, NaN where unknown."""

    name: str
    steps: int | None = None
    step: np.ndarray = field(default_factory=lambda: np.empty(0))
    loss: np.ndarray = field(default_factory=lambda: np.empty(0))
    learning_rate: np.ndarray = field(default_factory=lambda: np.empty(0))
    grad_norm: np.ndarray = field(default_factory=lambda: np.empty(0))
    tokens_per_s: np.ndarray = field(default_factory=lambda: np.empty(0))
    memory_gib: np.ndarray = field(default_factory=lambda: np.empty(0))
    card_gib: np.ndarray = field(default_factory=lambda: np.empty(0))
    """Memory in use on the whole GPU; of no length where nobody knows, as `utilisation`, the percent of the time it computes."""
    utilisation: np.ndarray = field(default_factory=lambda: np.empty(0))
    heldout_step: np.ndarray = field(default_factory=lambda: np.empty(0))
    heldout: np.ndarray = field(default_factory=lambda: np.empty(0))
    marks: list[Mark] = field(default_factory=list)
    clip: float | None = None
    """The gradient norm above which it is clipped; None or 0 where it is not."""
    rest_step: np.ndarray = field(default_factory=lambda: np.empty(0))
    rest_rate: np.ndarray = field(default_factory=lambda: np.empty(0))
    """The schedule still to come: steps and the learning rate there."""
    mixing: Mixing = field(default_factory=Mixing)
    """Of a mixture: the shares of its sources."""
    planned_gib: float | None = None
    """The memory that a step was planned to take, with what the process had before the model; None where nothing was planned."""
    processes: int = 1
    """That train it; memory, taken and planned, is one's."""
    answers: Answers = field(default_factory=Answers)
    """Of a run that classifies: how good its answers are."""

    averages: dict[float, np.ndarray] = field(default_factory=dict, repr=False, compare=False)
    """Averages known already, by span: one look at a run asks for the same several times."""

    def average(self, span: float) -> np.ndarray:
        if span not in self.averages:
            self.averages[span] = Average(span).extend(self.loss)
        return self.averages[span]


def curves_of(history: History, name: str, *, clip: float | None = None, shape: Callable[[int], float] | None = None,
              peak: float | None = None, fork_changes: Sequence[tuple[str, Any, Any]] = ()) -> RunCurves:
    """The curves of `history`.

    `shape(step)` is the schedule's factor in 0..1 and `peak` the learning rate it started with: with both, the rest of the schedule
    is drawn too. `fork_changes` are the settings (name, old, new) in which a fork differs from its parent.
    """
    columns = {key: np.asarray(values) for key, values in history.metrics().items()}
    known = [(e.step, e.loss) for e in history.evaluations if e.loss is not None]
    rest_step = rest_rate = np.empty(0)
    planned = history.prepared.planned if history.prepared else {}
    peak = history.setting("learning_rate", peak)
    if shape and peak and history.steps and history.step < history.steps:
        rest_step = np.unique(np.linspace(history.step, history.steps, 60).round())
        rest_rate = np.array([peak * shape(int(s)) for s in rest_step])
    return RunCurves(
        name=name,
        steps=history.steps,
        **{key: columns[key] for key in ("step", "loss", "learning_rate", "grad_norm", "tokens_per_s", "memory_gib")},
        **{name: columns[column] for name, column in CARD.items() if column in columns},
        heldout_step=np.array([s for s, _ in known], float),
        heldout=np.array([v for _, v in known], float),
        marks=marks_of(history, fork_changes),
        clip=clip,
        planned_gib=(planned["before"] + planned["total"]) / 2**30 if planned else None,
        rest_step=rest_step,
        rest_rate=rest_rate,
        mixing=mixing.mixing_of(history, automatic_span(history.steps)),
        answers=answers.answers_of(history),
    )


def marks_of(history: History, fork_changes: Sequence[tuple[str, Any, Any]] = ()) -> list[Mark]:
    """Forks, changes and resumptions in order of step; what happened at one step shares one mark."""
    words: dict[int, list[str]] = {}
    fork_step = history.forked.step if history.forked else None
    if fork_step is not None:
        words[fork_step] = ["fork"] + [change_words(*change) for change in fork_changes]
    for change in history.changes:
        said = change_words(change.field, change.old, change.new)
        if said not in words.setdefault(change.step, []):
            words[change.step].append(said)
    for step in history.resumptions:
        said = f"resumed from {number(step)}"
        if said not in words.setdefault(step, []):
            words[step].append(said)
    return [Mark(step, " · ".join(said), step == fork_step) for step, said in sorted(words.items())]


@dataclass(slots=True, kw_only=True)
class Overlay:
    """One line drawn for comparison: a run, or several that differ only by seed (then their mean, in a band from least to most)."""

    label: str
    runs: list[RunCurves]
    parent: bool = False

    @property
    def heldout(self) -> bool:
        """Whether the line shows held-out loss (every run has some) rather than the averaged training loss."""
        return all(len(run.heldout) > 1 for run in self.runs)

    def line(self, span: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(steps, mean, least, most), over the steps that all its runs have reached."""
        lines = []
        for run in self.runs:
            step, value = (run.heldout_step, run.heldout) if self.heldout else (run.step, run.average(span))
            fine = np.isfinite(value)
            if fine.any():
                lines.append((step[fine], value[fine]))
        if not lines:
            return (np.empty(0),) * 4
        low, high = max(s[0] for s, _ in lines), min(s[-1] for s, _ in lines)
        grid = np.unique(np.concatenate([s[(s >= low) & (s <= high)] for s, _ in lines]))
        if not len(grid):
            return (np.empty(0),) * 4
        table = np.array([np.interp(grid, s, v) for s, v in lines])
        return grid, table.mean(0), table.min(0), table.max(0)
