"""What the panel opens: a run with the gaps it kept, several runs as an ensemble, or a table of gaps; and what can be read off them.

A `Book` gives `Pairs` at a step, and curves. Reads files and, where a run kept no gaps, its model; makes no widget. Heads are criteria.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench.data import comparisons, run_rows
from workbench.data.flags import Flags
from workbench.errors import DataError, WorkbenchError
from workbench.evaluation.kept_gaps import KeptGaps, check_same
from workbench.recipes import OBJECTIVES
from workbench.runs.attach import attach

IMPLICIT = ("rewards/chosen", "rewards/rejected")
"""Metrics of a run whose rewards are implicit: beta times the log ratio of the policy and its reference (Rafailov et al. 2023)."""
AVERAGED = 10
"""Steps that a training curve is averaged over."""
LIVING = ("queued", "starting", "running", "paused")


@dataclass(slots=True)
class Pairs:
    """P pairs with rewards by head: `frame` their lines, `ids` each one's row number among the part's; of an ensemble `each` are the
    members' gaps, R x P x H."""

    frame: pd.DataFrame
    ids: np.ndarray
    chosen: np.ndarray
    rejected: np.ndarray
    each: np.ndarray | None = None


@dataclass(slots=True)
class Curves:
    """Columns over steps: of training as the journal has it (averaged), and a run's implicit rewards."""

    steps: np.ndarray = field(default_factory=lambda: np.zeros(0))
    accuracy: np.ndarray = field(default_factory=lambda: np.zeros(0))
    implicit: dict[str, np.ndarray] = field(default_factory=dict)
    """"chosen", "rejected" and "margin"; {} where rewards are a head's."""


def averaged(values: np.ndarray, span: int = AVERAGED) -> np.ndarray:
    """Each value with up to `span` - 1 before it; what is not known is left out."""
    known = np.isfinite(values)
    total, count = np.cumsum(np.where(known, values, 0.0)), np.cumsum(known)
    late = np.arange(len(values)) >= span
    before = np.where(late, np.roll(total, span), 0.0), np.where(late, np.roll(count, span), 0)
    return (total - before[0]) / np.maximum(count - before[1], 1)


class RunBook:
    """One run, live or finished. Raises `WorkbenchError` for what is no run of pairs."""

    def __init__(self, source: Any):
        self.run = source if hasattr(source, "history") else attach(source)
        if self.run.read_only:
            raise DataError(f"{self.run.name} is only read here: its pairs are not in its folder.", "Give reward_gaps(run, rows), a table.")
        objective = self.run.recipe.objective
        if OBJECTIVES[objective] is not comparisons.RULES:
            able = ", ".join(name for name, rules in OBJECTIVES.items() if rules is comparisons.RULES)
            raise DataError(f"{self.run.name} is a run of the objective {objective!r}, which learns from no pairs.", f"Give a run of one of {able}.")
        self.kept = KeptGaps(self.run)
        self._pairs: dict[tuple[int, str], Pairs] = {}
        self._computed: dict[str, pd.DataFrame] = {}

    @property
    def name(self) -> str:
        return self.run.name

    @property
    def folder(self) -> Path:
        return self.run.folder

    @property
    def total(self) -> int | None:
        """Steps in all, None where they are not known."""
        return self.run.history.steps

    @property
    def living(self) -> bool:
        return str(self.run.status) in LIVING

    @property
    def told(self) -> str:
        """How the run stands, in words."""
        status = self.run.status
        return status.sentence if str(status) in LIVING else f"{status.sentence} {status.remedy}".strip()

    @property
    def steps(self) -> list[int]:
        return self.kept.steps or ([self.run.history.step] if self._computed else [])

    @property
    def parts(self) -> list[str]:
        return ["heldout", "train"] if self.kept.steps else list(self._computed)

    @property
    def heads(self) -> tuple[str, ...]:
        return self.kept.rewards().heads if self.kept.steps else ("reward",)

    def needs_model(self) -> bool:
        """Whether its gaps are not there, and its result can make them."""
        return not self.steps and not self.living and (self.folder / "result").exists()

    def compute(self, progress: Callable[[str, int, int], None]) -> None:
        """The gaps of its held-out (without any, its training) pairs under its result: for a run that kept none."""
        from workbench.evaluation.rewards import reward_gaps

        rows = run_rows.read(self.folder)
        part = "heldout" if any(table.num_rows for table in rows.heldout.values()) else "train"
        found = []
        for number, table in enumerate(tables := [table for table in getattr(rows, part).values() if table.num_rows]):
            progress("Scoring the pairs", number, len(tables))
            found.append(reward_gaps(self.run, table))
        self._computed = {part: pd.concat(found, ignore_index=True)}

    def pairs(self, step: int, part: str) -> Pairs:
        """Raises `DataError` where that step kept none of that part."""
        if (step, part) not in self._pairs:
            if part in self._computed:
                self._pairs[step, part] = of_table(self._computed[part])
            else:
                kept, numbers = self.kept.rewards(step, part), np.array(self.kept.line_numbers(step, part))
                frame = self.kept.lines(part).iloc[numbers]
                self._pairs[step, part] = Pairs(frame.reset_index(drop=True), numbers, kept.chosen, kept.rejected)
        return self._pairs[step, part]

    def curves(self) -> Curves:
        columns = {name: np.asarray(values, float) for name, values in self.run.history.metrics().items()}
        steps = columns["step"]
        out = Curves(steps, averaged(columns["accuracy"]) if "accuracy" in columns else np.full(len(steps), np.nan))
        if set(IMPLICIT) <= set(columns):
            chosen, rejected = (averaged(columns[name]) for name in IMPLICIT)
            out.implicit = {"chosen": chosen, "rejected": rejected, "margin": chosen - rejected}
        return out


class EnsembleBook(RunBook):
    """Several runs that hold out the same pairs: rewards are means of the members', each centred on its own mean, for a reward has no zero
    (as `workbench.evaluation.rewards.ensemble` has it)."""

    def __init__(self, sources: Sequence[Any]):
        self.members = [RunBook(source) for source in sources]
        self.run, self.kept = self.members[0].run, self.members[0].kept
        self._pairs, self._computed = {}, {}

    @property
    def name(self) -> str:
        return f"{len(self.members)} runs"

    @property
    def living(self) -> bool:
        return any(member.living for member in self.members)

    @property
    def steps(self) -> list[int]:
        """Those that all have; where they share none, the last of the first run stands for each one's last."""
        each = [member.steps for member in self.members]
        common = set(each[0]).intersection(*each[1:])
        return sorted(common) or ([each[0][-1]] if all(each) else [])

    @property
    def parts(self) -> list[str]:
        return ["heldout"]

    def needs_model(self) -> bool:
        return any(member.needs_model() for member in self.members)

    def compute(self, progress: Callable[[str, int, int], None]) -> None:
        for member in self.members:
            if member.needs_model():
                member.compute(progress)

    def pairs(self, step: int, part: str) -> Pairs:
        if (step, part) in self._pairs:
            return self._pairs[step, part]
        each = [member.pairs(step if step in member.steps else member.steps[-1], "heldout") for member in self.members]
        check_same([(member.name, pairs.frame) for member, pairs in zip(self.members, each, strict=True)])
        if len({pairs.chosen.shape for pairs in each}) > 1:
            raise DataError("The runs have different criteria.", "Train all on the same columns.")
        centred = [np.stack([pairs.chosen, pairs.rejected]) for pairs in each]
        centred = np.stack([both - both.mean((0, 1)) for both in centred])
        chosen, rejected = centred.mean(0)
        self._pairs[step, part] = Pairs(each[0].frame, each[0].ids, chosen, rejected, centred[:, 0] - centred[:, 1])
        return self._pairs[step, part]


class TableBook:
    """A table of gaps, as `reward_gaps` or `ensemble` make it: one step, one head. Raises `DataError` where columns are missing."""

    name, folder, total, living, steps, parts, heads, run = "a table of gaps", None, None, False, [0], ["heldout"], ("reward",), None

    def __init__(self, table: pd.DataFrame):
        missing = [name for name in ("gap", "prompt", "chosen_text", "rejected_text") if name not in table]
        if missing:
            raise DataError(f"This table has no column {missing[0]!r}.", "Give what reward_gaps or ensemble returned.")
        self._pairs = of_table(table)

    def needs_model(self) -> bool:
        return False

    def pairs(self, step: int, part: str) -> Pairs:
        return self._pairs

    def curves(self) -> Curves:
        return Curves()


def of_table(table: pd.DataFrame) -> Pairs:
    """A table of gaps as pairs of one head; an ensemble's "gap_1", "gap_2", ... are its members'."""
    frame = table.reset_index(drop=True)
    for side in ("chosen", "rejected"):
        if f"{side}_length" not in frame:
            frame[f"{side}_length"] = frame[f"{side}_text"].str.split().str.len()
    gap = frame["gap"].to_numpy(float)[:, None]
    chosen = frame["chosen"].to_numpy(float)[:, None] if "chosen" in frame else gap
    members = [name for name in frame if name.startswith("gap_") and name[4:].isdecimal()]
    each = frame[members].to_numpy(float).T[:, :, None] if len(members) > 1 else None
    rewards = ["chosen", "rejected", "gap", "spread", *members, *(name for name in frame if name.startswith("gap/"))]
    numbers = frame["row"].to_numpy() if "row" in frame else np.arange(len(frame))
    return Pairs(frame.drop(columns=[name for name in rewards if name in frame]), numbers, chosen, chosen - gap, each)


def opened(sources: Sequence[Any]) -> Any:
    """The book of what was given: a table, a run, or several. Raises `WorkbenchError`."""
    if len(sources) == 1 and hasattr(sources[0], "columns"):
        return TableBook(sources[0])
    return RunBook(sources[0]) if len(sources) == 1 else EnsembleBook(sources)


def shares(heads: Sequence[str], weights: Mapping[str, float]) -> np.ndarray:
    """The weight of each head, 1 in all; all alike where every one is 0."""
    out = np.array([max(0.0, float(weights.get(head, 1.0))) for head in heads])
    return out / out.sum() if out.sum() else np.full(len(heads), 1 / len(heads))


def runs_of_pairs(folder: str) -> list[str]:
    """Runs below `folder` that learn from pairs, newest first."""
    from workbench.runs.listing import run_folders

    found = []
    for path in run_folders(folder):
        try:
            if (path / "arrays").is_dir() or attach(path).recipe.objective == "reward":
                found.append(str(path))
        except WorkbenchError:  # no run of ours, or not written yet
            continue
    return found


def flags_of(book: Any) -> Flags | None:
    """The flags kept in the run's folder; of an ensemble in the first one's; None for a table."""
    return Flags(book.folder) if book is not None and book.folder is not None else None
