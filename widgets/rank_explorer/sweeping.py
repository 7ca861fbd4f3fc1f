"""A sweep as points of loss against rank, and the runs there are to open.

Means and intervals are the engine's (`wb.sweep(...).table()`); of what has not ended the last held-out loss is read from the runs' own
journals.
"""

import math
from pathlib import Path
from typing import Any

from widgets.frame.sheet import number
from widgets.rank_explorer.figure import Point, rival_of
from widgets.rank_explorer.reading import method_of, near
from widgets.rank_explorer.state import State
from workbench.errors import WorkbenchError

LIVING = ("queued", "starting", "running", "paused")


def values_of(state: State, pattern: dict[str, int], opened: Any = None) -> tuple[Any, dict[str, list[Any]]]:
    """(the method every run starts from, what a sweep varies): the ranks, each with the scale that is set; and where the suggested ranks
    are in use, those too, at as many parameters as the same rank everywhere."""
    plain = {name: value for name, value in state.settings().items() if name != "alpha"}
    ranks = sorted({*state.ranks, *([max(state.rank, 1)] if state.spread == "suggested" and pattern else [])})

    def method(rank: int, **more: Any) -> Any:
        alpha = {} if state.alpha is None else {"alpha": state.alpha if state.variant == "rslora" else state.scale * rank}
        return method_of(opened, plain | {"rank": rank} | alpha | more)

    if state.spread == "suggested" and pattern:
        return method(ranks[0]), {"method": [method(rank) for rank in ranks] + [method(max(state.rank, 1), rank_pattern=pattern)]}
    if state.alpha is not None and state.variant != "rslora":
        return method(ranks[0]), {"method": [method(rank) for rank in ranks]}
    return method(ranks[0]), {"method.rank": ranks}


class Sweeping:
    """Of one panel."""

    def __init__(self) -> None:
        self.sweep: Any = None
        """The `workbench.runs.sweep.Sweep`."""
        self.points: list[Point] = []
        self.going = False
        self.sentence = ""
        self._seen: tuple = ()

    def start(self, opened: Any, recipe: Any, state: State, pattern: dict[str, int]) -> None:
        """Puts the runs into the queue. Raises as `wb.sweep` does, and `WorkbenchError` where it is not known what to train."""
        from workbench.runs.sweep import sweep

        if recipe is None:
            if opened is None or opened.run is None or opened.run.read_only:
                raise WorkbenchError("This adapter was not trained here, so it is not known what to train.",
                                     "Give the recipe: RankExplorer(folder, recipe=wb.Recipe(...)).")
            recipe = opened.run.recipe
        method, values = values_of(state, pattern, opened)
        started = sweep(recipe.replace(method=method), values, seeds=state.seeds, runs=state.runs, name="ranks")
        self.forget()
        self.sweep, state.sweep = started, near(started.folder)

    def forget(self) -> None:
        self.sweep, self.points, self.going, self.sentence, self._seen = None, [], False, "", ()

    def stop(self) -> None:
        """Ends the run that trains, and starts no other."""
        if self.sweep is not None:
            self.sweep.stop()

    def look(self, state: State) -> bool:
        """Reads what the runs have done since; whether anything is different now. Raises `RunError` where a kept state's sweep is gone."""
        if self.sweep is None and state.sweep:
            from workbench.runs.sweep import Sweep

            self.sweep = Sweep(state.sweep)
        if self.sweep is None or (self._seen and not self.going):
            return False
        status = self.sweep.status
        runs = [(run, str(run.status)) for run in self.sweep.runs]
        seen = (str(status), *((word, len(run.history.evaluations)) for run, word in runs))
        if seen == self._seen:
            return False
        self._seen, self.going = seen, status == "running"
        done = sum(word not in (*LIVING, "new") for _, word in runs)
        self.sentence = f"{number(done)} of {number(len(runs))} runs have ended." if self.going else status.sentence
        self.points = points_of(self.sweep)
        return True

    @staticmethod
    def is_run(folder: str) -> bool:
        return any(Path(folder).expanduser().joinpath(name).exists() for name in ("recipe.json", "journal.jsonl"))

    @staticmethod
    def adapters_in(runs: str) -> list[str]:
        """Folders of runs below `runs` whose result is an adapter, newest first."""
        found = [path.parent.parent for path in Path(runs).expanduser().glob("*/result/adapter_config.json")]
        return [near(path) for path in sorted(found, key=lambda path: path.name, reverse=True)]


def points_of(sweep: Any) -> list[Point]:
    """One point for each that the sweep trains, by rank, compared as the sweep compares them."""
    points = []
    for place, row in enumerate(sweep.table().to_dict("records")):
        runs = sweep.runs_of(place)
        words = [str(run.status) for run in runs]
        shown = {"running": "running", "starting": "running", "paused": "running", "queued": "queued", "new": "queued"}
        status = next((shown[word] for word in shown if word in words), "finished")
        loss, low, high = (float(row[name]) if row[name] == row[name] else None for name in ("loss", "low", "high"))
        if loss is None and status == "finished":
            status = "failed"
        going = [run for run, word in zip(runs, words, strict=True) if word in LIVING and run.history.evaluations]
        now = going[0].history.evaluations[-1].loss if going else None
        method = runs[0].recipe.method
        points.append(Point(method.rank, loss, low, high, int(row["finished"]), now, status, bool(getattr(method, "rank_pattern", None))))
    for place, point in enumerate(points):
        rival = None if point.loss is None else rival_of(point, points)
        if rival is not None and rival is not point:
            apart = sweep.compare(next(at for at, other in enumerate(points) if other is rival), place)
            point.apart = None if any(map(math.isnan, apart)) else apart  # NaN: too few seeds at both
    return sorted(points, key=lambda point: (point.rank, point.suggested))
