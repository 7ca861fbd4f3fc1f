"""Sweeps: one recipe with some fields varied, every point trained with several seeds, as ordinary runs that take turns on the device.

A sweep is a folder beside its runs, with a `sweep.json` that names them. A small process of its own starts one run after another, so a
sweep goes on when the notebook is closed, and never has more places in the device's queue than can run at once: a run that somebody else
starts meanwhile has its turn after the one that goes. What a run does is not changed by standing in a sweep. `python -m
workbench.runs.sweep FOLDER` is that process. Not here: choosing points by what earlier ones gave.
"""

import contextlib
import fcntl
import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench import device_queue, living
from workbench.errors import RecipeError, RunError
from workbench.recipes import Recipe
from workbench.runs import folders, processes, standby
from workbench.runs.run import Run
from workbench.runs.start import prepare
from workbench.runs.status import LIVING, Status
from workbench.runs.sweep_points import at_point, notes_of, points_of, seeds_of, short

if TYPE_CHECKING:
    import pandas as pd

FILE, STOPPED, LOG, LEFT_OUT = "sweep.json", "stop", "sweep.log", "left-out"
POLL_S = 0.1
CONFIDENCE = 0.95
RESULTS = ("status", "step", "steps", "loss", "best", "parameters", "seconds", "folder")
"""Columns that every sweep's runs have, behind the varied fields and the seed."""


def sweep(recipe: Recipe, values: dict[str, Sequence[Any]], seeds: int | Sequence[int] = 3, runs: str | Path = "runs",
          name: str | None = None) -> "Sweep":
    """Start a run for every combination of `values` and every seed, in new folders under `runs`; returns at once.

    `values` is {"method.rank": [1, 2, 4, 8], "learning_rate": [1e-3, 3e-3]}: any field of the recipe, the method's own with a dot. `seeds`
    is how many, from the recipe's own up, or which; a seed also draws the held-out rows and the order of rows, the same ones at every
    point. A LoRA's alpha that is None stays twice the rank. All of one seed run before the next. Raises `RecipeError`, `DataError` or
    `RunError` where any point cannot work: nothing is started then, and nothing left behind.
    """
    given = seeds_of(recipe, seeds)
    labels, points = points_of(recipe, values)
    planned = [(label, seed, _recipe(recipe, point, label, seed)) for seed in given for label, point in zip(labels, points, strict=True)]
    if recipe.heldout == 0 and "heldout" not in values:
        raise RecipeError("A sweep compares held-out losses, and heldout is 0.", "Use heldout=0.1.")
    made: list[Path] = []
    try:
        with folders.making(runs, f"sweep-{name or '-'.join(field.rsplit('.', 1)[-1] for field in values)}") as folder:
            for label, seed, asked in planned:
                with at_point(label):
                    made.append(prepare(asked, runs, f"{name or 'sweep'}-{short(label)}-seed{seed}"))
            body = {"fields": list(values), "seeds": given, "notes": notes_of(recipe, values),
                    "runs": [{"name": path.name, "point": label, "seed": seed} for path, (label, seed, _) in zip(made, planned, strict=True)]}
            living.write_json(folder / FILE, body)
            processes.spawn(made[0])  # by this process, whose standby may be warm; all others by the sweep's own
    except BaseException:  # an interruption too: nothing is left behind
        for path in made:
            shutil.rmtree(path, ignore_errors=True)
        raise
    started = Sweep(folder)
    started._drive()
    return started


class Sweep:
    """A sweep, going or not; `Sweep(folder)` opens one that is there. Raises `RunError` where there is none.

    `fields` are the names varied, `points` their values as the table shows them, `seeds` the seeds, `runs` the runs in the order they train
    in, `notes` sentences a person should know.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder).expanduser().resolve()
        try:
            body = json.loads((self.folder / FILE).read_text())
        except FileNotFoundError as error:
            raise RunError(f"{self.folder} is no sweep: it has no {FILE}.",
                           "workbench.runs.sweep.list_sweeps(folder) shows those of a folder.") from error
        except ValueError as error:
            raise RunError(f"{self.folder / FILE} is not JSON: {error}.", "Its runs are there still: wb.list_runs(folder).") from error
        self.fields: list[str] = body["fields"]
        self.seeds: list[int] = body["seeds"]
        self.notes: list[str] = body["notes"]
        self._told: list[dict[str, Any]] = body["runs"]
        self.points: list[dict[str, Any]] = []
        for told in self._told:
            if told["point"] not in self.points:
                self.points.append(told["point"])
        self.runs: list[Run] = [SweptRun(self.folder.parent / told["name"], self) for told in self._told]

    def __repr__(self) -> str:
        return f"Sweep {self.name}: {self.status.sentence}"

    @property
    def name(self) -> str:
        return self.folder.name

    def runs_of(self, point: int) -> list[Run]:
        """The runs of `points[point]`, one a seed."""
        return [run for run, told in zip(self.runs, self._told, strict=True) if told["point"] == self.points[point]]

    @property
    def status(self) -> Status:
        """"running", "finished", "stopped" (by a person), "failed" (a run failed or died) or "died" (nobody starts what is left), with a
        sentence."""
        found = [run.status for run in self.runs]
        count = {word: sum(status == word for status in found) for word in ("finished", "new")}
        sentence = f"{count['finished']} of {len(found)} runs have finished"
        going = next(((run, status) for run, status in zip(self.runs, found, strict=True) if status in LIVING and run.pid), None)
        if going or self._driven:
            return Status("running", f"{sentence}; {going[0].name}: {going[1].sentence}" if going else sentence + ".")
        if count["finished"] == len(found):
            return Status("finished", f"All {len(found)} runs have finished.")
        remedy = "sweep.resume() goes on with what is left."
        bad = next(((run, status) for run, status in zip(self.runs, found, strict=True) if status in ("failed", "died")), None)
        if bad:
            return Status("failed", f"{sentence}; {bad[0].name}: {bad[1].sentence}", f"{bad[1].remedy} {remedy}".strip(),
                          bad[1].log_tail)
        if (self.folder / STOPPED).exists() or not count["new"]:
            return Status("stopped", f"Stopped: {sentence}.", remedy)
        return Status("died", f"{sentence}, and nobody starts the {count['new']} that are left.", remedy, processes.tail(self.folder / LOG))

    @property
    def _driven(self) -> bool:
        worker = living.worker_of(self.folder)
        return bool(worker) and processes.alive(worker)

    def refresh(self) -> int:
        """Read what is new in the runs' journals; returns the number of events."""
        return sum(run.history.refresh() for run in self.runs)

    def wait(self, timeout: float | None = None) -> Status:
        """Wait for the end. Raises `RunError` at the timeout."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (status := self.status) == "running":
            if deadline is not None and time.monotonic() > deadline:
                raise RunError(f"{self.name} is still running after {timeout:g} s: {status.sentence}", "Wait longer; it goes on by itself.")
            time.sleep(POLL_S)
        return status

    def stop(self) -> None:
        """End the run that goes after its step, and start no other; what has finished stays."""
        (self.folder / STOPPED).touch()
        _stop_living(self.runs)

    def resume(self) -> "Sweep":
        """Go on with what has not finished: runs that never started, and from their checkpoints those that were stopped, failed or died."""
        if self.status == "finished":
            raise RunError(f"{self.name} has finished.", "Start another sweep for other points.")
        (self.folder / STOPPED).unlink(missing_ok=True)
        for run in self.runs:
            (run.folder / LEFT_OUT).unlink(missing_ok=True)
        if not self._driven:
            self._drive("--again")
        return self

    def _drive(self, *options: str) -> None:
        try:
            with open(self.folder / LOG, "ab") as log:
                child = subprocess.Popen([sys.executable, "-m", "workbench.runs.sweep", str(self.folder), *options], stdin=subprocess.DEVNULL,
                                         stdout=log, stderr=log, start_new_session=True, env=processes.environment(), cwd=self.folder)
        except OSError as error:
            raise RunError(f"The sweep cannot go on: {error.strerror}.", "Give its folder write permission, or free some space.") from error
        processes._children[child.pid] = child
        living.note(self.folder, child.pid, person=device_queue.person())

    # what came out ------------------------------------------------------------------------------------------------------------------

    def results(self) -> "pd.DataFrame":
        """One line a run: the varied fields, seed, status, step, steps, loss (the last held-out loss), best (the lowest), parameters
        (trained ones), seconds, folder, and what else the last evaluation measured, such as a classifier's accuracy."""
        import pandas as pd

        self.refresh()
        lines = [told["point"] | {"seed": told["seed"]} | _measures(run) for run, told in zip(self.runs, self._told, strict=True)]
        measured = dict.fromkeys(name for run in self.runs for name in _extra(run))
        columns = [*self.fields, "seed", *RESULTS, *measured]
        return pd.DataFrame(lines, columns=columns).astype(dict.fromkeys(["loss", "best", "parameters", "seconds", *measured], float))

    def table(self) -> "pd.DataFrame":
        """One line a point: the varied fields, loss, low, high, best, best_low, best_high, behind, behind_low, behind_high, parameters,
        seconds, finished, runs.

        `loss` is the mean final held-out loss of the runs that have finished, nats per trained token, `low` to `high` its 95 % interval
        over seeds (Student's t; NaN below two seeds); `best` is the mean of each run's lowest. A loss that is not finite makes the mean
        NaN. `seconds` is a run's mean time. What else was measured follows in the same way: accuracy, accuracy_low, accuracy_high.
        `behind` is `compare` with the point of the lowest mean: seeds differ in their held-out rows, which widens `low` to `high`, not it.
        """
        import pandas as pd

        results = self.results()
        lines = []
        for point in self.points:
            mine = results[[told["point"] == point for told in self._told]]
            done = mine[mine["status"] == "finished"]
            line: dict[str, Any] = dict(point)
            line["loss"], line["low"], line["high"] = interval(done["loss"])
            line["best"], line["best_low"], line["best_high"] = interval(done["best"])
            line |= dict.fromkeys(("behind", "behind_low", "behind_high"), math.nan)
            line |= {"parameters": mine["parameters"].max(), "seconds": done["seconds"].mean(), "finished": len(done), "runs": len(mine)}
            for name in results.columns[len(self.fields) + 1 + len(RESULTS):]:
                line[name], line[f"{name}_low"], line[f"{name}_high"] = interval(done[name])
            lines.append(line)
        known = [number for number, line in enumerate(lines) if math.isfinite(line["loss"])]
        first = min(known, key=lambda number: (-lines[number]["finished"], lines[number]["loss"]), default=None)
        for number in known:
            lines[number] |= dict(zip(("behind", "behind_low", "behind_high"), self._apart(results, first, number, "loss"), strict=True))
        return pd.DataFrame(lines)

    def compare(self, first: int, second: int, measure: str = "loss") -> tuple[float, float, float]:
        """(mean, low, high) of how much `points[second]`'s loss (or "best") lies above `points[first]`'s, seed by seed, with its 95 %
        interval.

        Seed by seed, since both were trained and held out on the same rows: what a seed's rows are worth falls out. NaN where no seed has
        finished at both points.
        """
        return self._apart(self.results(), first, second, measure)

    def _apart(self, results: "pd.DataFrame", first: int, second: int, measure: str) -> tuple[float, float, float]:
        pair = []
        for point in (first, second):
            mine = results[[told["point"] == self.points[point] for told in self._told]]
            pair.append(mine[mine["status"] == "finished"].set_index("seed")[measure])
        return interval((pair[1] - pair[0]).loc[pair[0].index.intersection(pair[1].index)])


class SweptRun(Run):
    """A run of a sweep: before its turn it is queued, and can be stopped as one that waits for the device can."""

    def __init__(self, folder: Path, swept: Sweep):
        super().__init__(folder)
        self._sweep = swept

    @property
    def status(self) -> Status:
        status = super().status
        if status != "new":
            return status
        if (self.folder / LEFT_OUT).exists():
            return Status("stopped", "Taken out of its sweep before its turn.", "sweep.resume() trains it.")
        if self._sweep._driven and not (self._sweep.folder / STOPPED).exists():
            return Status("queued", f"Waits for its turn in {self._sweep.name}.")
        return status

    def stop(self) -> None:
        if super().status == "new":
            (self.folder / LEFT_OUT).touch()
        else:
            super().stop()


def list_sweeps(runs: str | Path = "runs") -> list[Sweep]:
    """The sweeps of a folder of runs, newest first."""
    return [Sweep(path.parent) for path in sorted(Path(runs).expanduser().glob(f"*/{FILE}"), reverse=True)]


def interval(values: Iterable[float], confidence: float = CONFIDENCE) -> tuple[float, float, float]:
    """(mean, low, high): the mean of independent values with its interval by Student's t; NaN where there are too few of them."""
    from scipy import stats

    found = [float(value) for value in values]
    if not found:
        return math.nan, math.nan, math.nan
    mean = math.fsum(found) / len(found)
    if len(found) < 2:
        return mean, math.nan, math.nan
    error = math.sqrt(math.fsum((value - mean) ** 2 for value in found) / (len(found) - 1) / len(found))
    half = float(stats.t.ppf((1 + confidence) / 2, len(found) - 1)) * error
    return mean, mean - half, mean + half


def _measures(run: Run) -> dict[str, Any]:
    status, history = run.status, run.history
    losses = [math.nan if event.loss is None else event.loss for event in history.evaluations]
    seconds = history.last_time - history.began if history.began else math.nan
    return {"status": str(status), "step": history.step, "steps": history.steps or run.recipe.steps, "loss": losses[-1] if losses else math.nan,
            "best": min(losses) if losses else math.nan, "seconds": seconds, "folder": str(run.folder),
            "parameters": history.prepared.trainable_parameters if history.prepared else math.nan} | _extra(run)


def _extra(run: Run) -> dict[str, float]:
    """What the last evaluation measured beside the loss."""
    last = run.history.evaluations[-1:]
    return {name: math.nan if value is None else value for event in last for name, value in event.extra.items()}


def _recipe(recipe: Recipe, point: dict[str, Any], label: dict[str, Any], seed: int) -> Recipe:
    with at_point(label):
        return recipe.replace(**point, seed=seed)


# the process that starts one run after another -------------------------------------------------------------------------------------


def drive(folder: Path, again: bool = False) -> None:
    """Start the sweep's runs, no more at a time than there are places on the device, until all have ended or the sweep is stopped."""
    with open(folder / "sweep.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a process that was told to stop may still be ending
        runs = [Run(run.folder) for run in Sweep(folder).runs]
        slots = max(1, int(os.environ.get("WORKBENCH_SLOTS", "1")))
        waiting = [run for run in runs if run.status == "new" or (again and run.status in ("stopped", "failed", "died"))]
        if waiting:
            standby.standby()
        while not (folder / STOPPED).exists():
            waiting = [run for run in waiting if not (run.folder / LEFT_OUT).exists()]
            going = sum(run.status in LIVING for run in runs)
            if not going and not waiting:
                return
            if going < slots and waiting:
                processes.spawn(waiting.pop(0).folder)
                if waiting:
                    standby.standby()  # where one serves a single run, the next imports while this one trains
                continue
            time.sleep(POLL_S)
        _stop_living(runs)


def _stop_living(runs: list[Run]) -> None:
    for run in runs:
        if run.pid and run.status in LIVING:
            with contextlib.suppress(RunError):  # it ended this moment
                run.stop()


if __name__ == "__main__":
    drive(Path(sys.argv[1]), "--again" in sys.argv[2:])
