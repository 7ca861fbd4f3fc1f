"""The worker of a run that several processes train: it starts them through torchrun's own agent, watches them, and says how they ended.

The processes (`ranks.py`) find each other on this machine alone: by a file, and over the loopback device. One that dies takes the others
with it at once, and the worker's last word names it; if the worker dies they end as well. Without a GPU they are forked from the worker,
which has imported everything; with one each is a process of its own from the start. Not here: several machines (`wb.launch_command`).
"""

import json
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from workbench.errors import RunError
from workbench.journal.history import History
from workbench.launching import Launch
from workbench.training import ranks

GRACE_S = 3
"""How long the others have to end after one has died."""
PRIVATE = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo", "DS_ACCELERATOR": "cpu"}
AGAIN = "run.resume() goes on from the last checkpoint."


def train(folder: Path, launch: Launch) -> str:
    """Train the run in `folder` with the processes of `launch`; returns how it ended. Raises `RunError` with what they said where one failed."""
    import torch
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    from workbench.training import alone

    if launch.machines > 1:
        raise RunError(f"This run is for {launch.machines} machines, and this one cannot start the others.", "Type what wb.launch_command(run) says on each.")
    cuda = torch.cuda.is_available()
    if not cuda:
        from workbench.training import stream, supervised  # noqa: F401  (torch, transformers, peft: for all of them at once)
    scratch = Path(tempfile.mkdtemp(prefix="workbench-"))
    alone.register()
    os.environ |= {name: value for name, value in PRIVATE.items() if not (cuda and name == "DS_ACCELERATOR")} | {
        ranks.WORDS: str(scratch), ranks.STORE: str(scratch / "store"), ranks.WORKER: str(os.getpid())}
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=launch.processes, run_id=folder.name, max_restarts=0, monitor_interval=0.1,
        rdzv_backend=alone.NAME, rdzv_endpoint=str(scratch / "agent"), local_addr="127.0.0.1",
        start_method="fork", signals_to_handle="SIGQUIT", shutdown_timeout=GRACE_S, logs_specs=DefaultLogsSpecs(log_dir=str(scratch / "logs")))
    try:
        if cuda:
            elastic_launch(config, sys.executable)("-m", ranks.__name__, str(folder))
        else:
            elastic_launch(config, ranks.run)(str(folder))
    except ChildFailedError as error:
        status = _ended(folder)
        if status is None:
            raise _told(scratch, launch, error.failures) from error
        return status
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    status = _ended(folder)
    if status is None:
        raise RunError("Its processes ended without a word.", f"See worker.log; {AGAIN}")
    return status


def _ended(folder: Path) -> str | None:
    """What the processes wrote as their last word, if they did."""
    history = History(folder)
    history.refresh()
    return history.ended.status if history.ended else None


def _told(scratch: Path, launch: Launch, failures: dict[int, Any]) -> RunError:
    """The failure that came first: a process that was killed before one that raised, and one that only lost the others last."""
    words = {rank: json.loads(path.read_text()) for rank in range(launch.world) if (path := scratch / f"{rank}.json").exists()}
    killed = {rank: -failure.exitcode for rank, failure in failures.items() if failure.exitcode < 0 and rank not in words}
    for rank, number in killed.items():
        if number != signal.SIGTERM:
            return RunError(f"Process {rank} of {launch.world} was killed ({signal.Signals(number).name}), so the others were ended.",
                            f"{AGAIN} If memory ran out, use a smaller batch_size with more gradient_accumulation.")
    own = [(rank, said) for rank, said in words.items() if not said["lost"]]
    for rank, said in own:
        return RunError(f"Process {rank} of {launch.world}: {said['reason']}", said["remedy"])
    silent = sorted(set(range(launch.world)) - set(words))
    if silent:
        return RunError(f"Process {silent[0]} of {launch.world} ended without a word, so the others were ended.", f"See worker.log; {AGAIN}")
    return RunError("The processes lost each other.", f"See worker.log; {AGAIN}")
