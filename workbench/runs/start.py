"""A recipe becomes a run folder with its rows in it, and a worker is started on it.

Everything that can be wrong with the recipe, the rows or the folder is found here, before a process starts.
"""

import dataclasses
from pathlib import Path
from typing import Any

from workbench import launching, living
from workbench.data import run_rows
from workbench.errors import RecipeError, RunError
from workbench.journal.redacted import holds_secret
from workbench.models import kernels
from workbench.models.checking import check_method
from workbench.recipes import HEADED, OBJECTIVES, TOWN_MODELS, Recipe, resolve_model
from workbench.runs import folders, processes, quotas, trackers
from workbench.runs.run import Run


def start(recipe: Recipe, runs: str | Path = "runs", name: str | None = None) -> Run:
    """Start training `recipe` in a new folder under `runs`; returns at once. Runs on one machine take turns on the device.

    Raises `RecipeError`, `DataError` or `RunError` where it cannot work; nothing is left behind then.
    """
    if isinstance(recipe, Recipe):
        launching.one_machine(recipe.launch, "Use wb.launch_command(recipe, runs), and type what it says on each.")
    folder = prepare(recipe, runs, name)
    processes.spawn(folder)
    return Run(folder)


def prepare(recipe: Recipe, runs: str | Path, name: str | None = None) -> Path:
    """The run folder of `recipe`, ready for a worker: its rows and `recipe.json` in it. Raises as `start` does."""
    if not isinstance(recipe, Recipe):
        raise RecipeError(f"{recipe!r} is no recipe.", 'Use wb.start(wb.Recipe(model="town", data="town:instructions")).')
    _no_secret(recipe)
    model = resolve_model(recipe.model)
    check_method(recipe.method, model, recipe.objective in HEADED)
    launching.ready(recipe.launch)
    kernels.check(recipe.attention, recipe.compile, recipe.precision)
    trackers.check(recipe.report_to)
    quotas.check(recipe, runs)
    if recipe.settings:
        recipe.settings.prepare()
    rows, data, digest = run_rows.gather(recipe.data, recipe.heldout, recipe.seed, OBJECTIVES[recipe.objective])
    # a worker runs in a folder of its own, so a relative path would mean another place there
    asked = recipe.replace(model=recipe.model if recipe.model in TOWN_MODELS else model, data=data, data_hash=digest)
    with folders.making(runs, name or default_name(recipe)) as folder:
        try:
            asked = asked.replace(data=run_rows.in_files(data, folder))  # rows from memory too: so the recipe can be started again
            if asked.settings:
                asked = asked.replace(settings=asked.settings.kept_in(folder))
            rows.write(folder)
            living.write_json(folder / "recipe.json", asked.to_json())
        except OSError as error:
            raise RunError(f"The rows cannot be kept in {folder}: {error.strerror or error}.", "Free some space, or choose another runs folder.") from error
    return folder


def _no_secret(recipe: Recipe) -> None:
    """Raises `RecipeError` where a field holds a key or a password of this process's environment: recipes are kept, shown and exported."""
    for name in (field.name for field in dataclasses.fields(recipe)):
        if holds_secret(repr(getattr(recipe, name)) if name != "data" or isinstance(recipe.data, str) else ""):
            raise RecipeError(f"{name} holds a key or a password, and the recipe is kept with the run.", "Leave it in an environment variable, which workers read too.")


def default_name(recipe: Recipe) -> str:
    """Model, objective (but for sft) and method: what tells runs apart in a list. Of a run as the model, what stands in its name for its own."""
    path = Path(recipe.model)
    model = folders.undated((path.parent if path.name == "result" else path).name)
    method = recipe.method.name + (str(recipe.method.rank) if hasattr(recipe.method, "rank") else "")
    return "-".join([model.removesuffix(f"-{method}"), *([] if recipe.objective == "sft" else [recipe.objective]), method])


def train(recipe: Recipe, **options: Any) -> Run:
    """`start` and wait for the end. Raises `RunError` where the run did not finish."""
    run = start(recipe, **options)
    run.wait()
    if run.status != "finished":
        raise RunError(run.status.sentence, run.status.remedy)
    return run
