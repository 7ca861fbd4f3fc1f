"""What the run monitor reads off runs beyond their journal: recipes, settings in force, how two runs differ, which runs belong together.

Works on anything with the surface of `workbench.runs.run.Run`. Makes no widget and no figure.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from widgets.run_monitor.curves import Overlay, RunCurves, curves_of, field_words, value_words
from workbench.errors import WorkbenchError
from workbench.launching import world_of
from workbench.recipes import Recipe, difference, schedule_shape
from workbench.runs.folders import undated

LIVING = ("queued", "starting", "running", "paused")
"""Statuses in which a worker has the run or will."""
DONE = ("finished", "stopped", "failed")
"""Statuses in which no step is expected any more."""


@dataclass(slots=True)
class State:
    """What makes this monitor this one; JSON round trip by `state_json`."""

    run: str = ""
    """Folder of the run shown, "" before a start."""
    runs: str = "runs"
    recipe: dict | None = None
    overlays: tuple[str, ...] = ()
    """Folders of the runs laid over the loss."""
    pending: dict = field(default_factory=dict)
    """What the controls say and is not in force: learning_rate, evaluate_every, mixture."""
    smoothing: int = 0
    """Steps the line is averaged over; 0 chooses by the length of the run."""
    prompt: str = ""
    """Whose samples are shown; "" for the first."""


@dataclass(slots=True)
class Taken:
    """One look at everything that is drawn, so that figure, sentence and tables agree."""

    run: Any
    status: str
    curves: RunCurves
    overlays: list[Overlay]
    parent: RunCurves | None
    span: int
    shape: tuple = ()
    """What, when it changes, needs a whole new figure or new tables."""


def recipe_of(run: Any) -> Recipe | None:
    """The run's recipe, None for a folder of another program."""
    try:
        return run.recipe
    except (OSError, ValueError, WorkbenchError):
        return None


def curves_for(run: Any, parent: Any = None) -> RunCurves:
    recipe, history = recipe_of(run), run.history
    shape = (lambda step: schedule_shape(recipe, step, history.steps)) if recipe else None
    changes = [change for change in differences(parent, run, live=False) if change[0] != "data_hash"][:3] if parent is not None else []
    made = curves_of(history, undated(run.name), clip=recipe.max_grad_norm if recipe else None, shape=shape,
                     peak=recipe.learning_rate if recipe else None, fork_changes=changes)
    made.processes = world_of(recipe) if recipe else 1
    return made


def differences(there: Any, here: Any, live: bool = True) -> list[tuple[str, Any, Any]]:
    """(field, there, here) of two runs' recipes; with `live`, of their settings as they are now."""
    a, b = recipe_of(there), recipe_of(here)
    if a is None or b is None:
        return []
    if live:
        a, b = (recipe.replace(learning_rate=rate_now(run), evaluate_every=interval_now(run)) for recipe, run in ((a, there), (b, here)))
    return difference(a, b)


def compared(run: Any, others: list) -> tuple[str, list[tuple[str, str, str]]]:
    """A title and rows (setting, there, here) against the first of `others` that has a recipe; "" and [] where there is none."""
    other = next((other for other in others if recipe_of(other) is not None), None)
    if other is None or recipe_of(run) is None:
        return "", []
    parent = run.parent is not None and Path(run.parent).name == other.folder.name
    rows = [(field_words(name), value_words(there), value_words(here)) for name, there, here in differences(other, run)]
    title = f"Recipe, against {'its parent ' if parent else ''}{undated(other.name)}"
    return title, rows or [("the same in everything", "", "")]


def by_recipe(runs: list) -> list[list]:
    """Runs in groups that differ only by seed, in order."""
    groups: list[list] = []
    for run in runs:
        alike = next((group for group in groups if recipe_of(run) and recipe_of(group[0]) and
                      {name for name, *_ in difference(recipe_of(group[0]), recipe_of(run))} <= {"seed"}), None)
        groups.append([run]) if alike is None else alike.append(run)
    return groups


def rate_now(run: Any) -> float | None:
    """The peak of the learning rate in force now."""
    recipe = recipe_of(run)
    return run.history.setting("learning_rate", recipe.learning_rate if recipe else None)


def interval_now(run: Any) -> int | None:
    """Steps between evaluations in force now; None where there are none."""
    recipe = recipe_of(run)
    default = None
    if recipe is not None and recipe.heldout != 0:
        default = recipe.evaluate_every or (max(1, run.history.steps // 10) if run.history.steps else None)
    return run.history.setting("evaluate_every", default)


def in_force(run: Any) -> dict[str, Any]:
    """The live settings as they are now."""
    return {"learning_rate": rate_now(run), "evaluate_every": interval_now(run), "mixture": weights_now(run)}


def weights_now(run: Any) -> dict[str, float]:
    """Weights of a mixture's sources in force now; {} where it draws from one source."""
    prepared = run.history.prepared
    return run.history.setting("mixture", prepared.mixture if prepared else {})


def near(folder: str | Path) -> str:
    """`folder` as a person would write it: relative to the working folder where it lies in it."""
    path = Path(folder)
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
