"""A run on several machines: its folder on a disk that all of them see, and the line to type on each.

    print(wb.launch_command(wb.Recipe(..., launch=wb.Launch(processes=4, strategy="fsdp", machines=2)), runs="/shared/runs"))

torchrun starts the processes; the first process of the first machine writes the run's folder, so every notebook on any machine watches and
steers it by `wb.attach(folder)`. To go on after a failure the same line is typed again. Not here: one machine (`start.py`).
"""

import shlex
from pathlib import Path

from workbench.errors import RecipeError
from workbench.recipes import Recipe
from workbench.runs.attach import attach
from workbench.runs.run import Run
from workbench.runs.start import prepare

MODULE = "workbench.training.ranks"
PORT = 29500


def launch_command(source: Recipe | Run | str | Path, runs: str | Path = "runs", name: str | None = None, *, port: int = PORT) -> str:
    """The command that trains a recipe, whose folder is made in `runs`, or goes on with a run that is there (a handle or its folder).

    On every machine `FIRST_MACHINE` becomes the name of the first one and `NUMBER` 0, 1, ...: the packages, the model and the folder must be
    where they are here. Raises as `start` and `attach` do, and `RecipeError` where the recipe has no launch.
    """
    if isinstance(source, Recipe):
        launch, folder = source.launch, None
    else:
        run = source if isinstance(source, Run) else attach(source)
        launch, folder = run.recipe.launch, run.folder
    if launch is None:
        raise RecipeError("This recipe trains in one process, so there is nothing to launch.", "Give it launch=wb.Launch(processes=4, machines=2).")
    folder = folder or prepare(source, runs, name)  # type: ignore[arg-type]
    parts = ["torchrun", f"--nproc-per-node={launch.processes}", f"--nnodes={launch.machines}"]
    if launch.machines > 1:
        parts += ["--node-rank=NUMBER", "--master-addr=FIRST_MACHINE", f"--master-port={port}"]
    else:
        parts += ["--master-addr=127.0.0.1", f"--master-port={port}"]
    return shlex.join([*parts, "-m", MODULE, str(folder)])
