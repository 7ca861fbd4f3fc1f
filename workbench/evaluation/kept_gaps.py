"""The gaps of a run's own pairs at each of its evaluations, from the files it kept while it trained: no model is loaded.

    kept = KeptGaps(run);  kept.steps;  kept.table(step=40);  kept.table(part="train");  kept_ensemble([run, other])

The tables are those of `reward_gaps`, of the held-out pairs or of the training pairs drawn since the evaluation before (each as it was
rewarded when it was drawn). They live: a run that goes on has more steps at the next look. Not here: rewards at other pairs or of a run
that kept no files (`rewards.py`).
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from workbench.data import run_rows
from workbench.errors import DataError
from workbench.evaluation.pair_lines import pair_lines
from workbench.evaluation.rewards import mixed, together
from workbench.journal.inside import inside
from workbench.runs.attach import attach
from workbench.runs.run import Run
from workbench.training import gap_arrays
from workbench.training.gap_arrays import PairRewards

if TYPE_CHECKING:
    import pandas as pd

PARTS = ("heldout", "train")


class KeptGaps:
    """`KeptGaps(run)`; a run or its folder. Raises `RunError` where there is none."""

    def __init__(self, run: Any):
        self.run = run if isinstance(run, Run) else attach(run)
        self._parts: dict[int, dict[str, PairRewards]] = {}
        self._lines: dict[str, pd.DataFrame] = {}
        self._places: dict[str, dict[tuple[int, int, int], int]] = {}
        self._there: set[str] = set()
        """Files that were seen."""

    @property
    def steps(self) -> list[int]:
        """Steps at which rewards were kept, so far."""
        self.run.history.refresh()
        return sorted(self._events())

    def _events(self) -> dict[int, Any]:
        named = [event for event in self.run.history.arrays if event.name == gap_arrays.NAME]
        self._there |= {event.file for event in named if event.file not in self._there and (path := inside(self.run.folder, event.file)) and path.exists()}
        return {event.step: event for event in named if event.file in self._there}

    def rewards(self, step: int | None = None, part: str = "heldout") -> PairRewards:
        """The rewards by head; the last step unless one is given. Raises `DataError` where none were kept."""
        events = self._events()
        if not events:
            self.run.history.refresh()
            events = self._events()
        if not events:
            raise DataError(f"{self.run.name} kept no rewards of its pairs.",
                            "Use reward_gaps(run, rows), or wait for its first evaluation.")
        step = max(events) if step is None else step
        if step not in events:
            raise DataError(f"{self.run.name} kept no rewards at step {step}.", f"It has steps {min(events)} to {max(events)}.")
        if step not in self._parts:
            self._parts[step] = gap_arrays.load(self.run.folder, events[step])
        if part not in self._parts[step]:
            raise DataError(f"{self.run.name} kept no rewards of {part!r} pairs at step {step}.", f"The parts are {', '.join(PARTS)}.")
        return self._parts[step][part]

    def lines(self, part: str = "heldout") -> "pd.DataFrame":
        """Every pair of the run's rows without rewards, in the tables' order; of a mixture `source` names where it is from."""
        import pandas as pd

        if part not in self._lines:
            rows = run_rows.read(self.run.folder)
            tables, frames, places, first = getattr(rows, part), [], [], 0
            for name, table in tables.items():
                if not table.num_rows:
                    continue
                told = pair_lines(table)
                frames.append(told.frame if len(tables) == 1 else told.frame.assign(source=name))
                places += [(first + number, better, worse) for number, better, worse in told.places]
                first += len(told.found)
            self._lines[part] = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
            self._places[part] = {place: line for line, place in enumerate(places)}
        return self._lines[part]

    def line_numbers(self, step: int | None = None, part: str = "heldout") -> list[int]:
        """Of each kept pair its place in `lines`."""
        self.lines(part)
        kept, places = self.rewards(step, part), self._places[part]
        return [places[place] for place in zip(kept.row.tolist(), kept.better.tolist(), kept.worse.tolist(), strict=True)]

    def table(self, step: int | None = None, part: str = "heldout", weights: Mapping[str, float] | None = None) -> "pd.DataFrame":
        """A table of gaps, as `reward_gaps` has it; its index is each pair's place in `lines`."""
        kept = self.rewards(step, part)
        return mixed(self.lines(part).iloc[self.line_numbers(step, part)], kept.chosen, kept.rejected, kept.heads, weights)


def kept_ensemble(runs: Sequence[Any], step: int | None = None, weights: Mapping[str, float] | None = None) -> "pd.DataFrame":
    """The held-out gaps of several runs together, as `ensemble` has them; each run's last step unless one is given.

    Raises `DataError` where the runs hold out other pairs or have other criteria.
    """
    if len(runs) < 2:
        raise DataError("An ensemble is of two runs at least.", "Give several, such as those of three seeds.")
    kept = [KeptGaps(run) for run in runs]
    tables = [one.table(step, weights=weights) for one in kept]
    check_same([(one.run.name, table) for one, table in zip(kept, tables, strict=True)])
    return together(tables)


def check_same(named: "Sequence[tuple[str, pd.DataFrame]]") -> None:
    """Raises `DataError` where tables, given with the names of their runs, are not of the same pairs and criteria."""
    (first, one), *others = named
    texts = ["prompt", "chosen_text", "rejected_text"]
    for name, other in others:
        if len(one) != len(other) or (one[texts].to_numpy() != other[texts].to_numpy()).any():
            raise DataError(f"{name} holds out other pairs than {first}.",
                            'Hold the same rows out of all, such as heldout="town:preferences_heldout".')
        if [column for column in one if column.startswith("gap/")] != [column for column in other if column.startswith("gap/")]:
            raise DataError(f"{name} has other criteria than {first}.", "Train all on the same columns.")
