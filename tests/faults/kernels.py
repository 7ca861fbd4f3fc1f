"""A process that is killed at one file operation after another while it makes a run's folder; `python -m tests.faults.kernels RUNS [PARENT]`.

Each kill takes a process forked from this one, which has imported everything: a hundred take some seconds. Prints a line of JSON for each: at which operation, and
what a look at the runs found afterwards. Without PARENT the folder is a new run's, with it a fork's of that run.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import workbench as wb
from tests.runs import tools
from workbench.runs import folders, processes
from workbench.runs.start import prepare

WRITES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "shutil.copyfile", "fcntl.flock")


def killed_at(operation: int, work) -> bool:
    """Whether a process that does `work()` came to its file operation of that number, where it is killed."""
    pid = os.fork()
    if pid == 0:
        left = [operation]

        def heard(event: str, arguments: tuple) -> None:
            writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if event in WRITES or writes:
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(heard)
        work()
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, status
    return os.WIFSIGNALED(status)


def main(runs: Path, parent: str = "") -> None:
    recipe = tools.recipe(Path(os.environ["WORKBENCH_REAL_DATA"]), data=tools.rows(20))
    processes.spawn = lambda folder, asked=None: 0  # the folder is whole before its worker is started

    def work() -> None:
        wb.attach(parent).fork(2, "child") if parent else prepare(recipe, runs, "run")

    work()  # once whole: what is imported on the way is there
    operation = 0
    while True:
        operation += 1
        killed = killed_at(operation, work)
        listed = list(wb.list_runs(runs)["folder"])
        unlisted = [str(path) for path in runs.iterdir() if str(path) not in listed]
        whole = all(wb.attach(folder).recipe.steps and (folder == parent or bool(parent) == (wb.attach(folder).parent == parent)) for folder in listed)
        folders.clear(runs)
        left = [str(path) for path in runs.iterdir() if str(path) not in listed]
        print(json.dumps({"operation": operation, "killed": killed, "listed": len(listed), "half_made": len(unlisted), "whole": whole, "left": left}), flush=True)
        if not killed:
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
