"""What every test shares: an environment without the network, a device queue of the session's own, and the real data.

No worker of a test outlives it. Browsers and kernels have a conftest of their own.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
"""Set for this process and every worker, kernel and notebook it starts: a test that reaches for the network fails at once."""

QUEUE_FOLDER = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    """Sets the environment before any test module, and so any of our packages, is imported."""
    os.environ.update(OFFLINE)
    config.stash[QUEUE_FOLDER] = tempfile.mkdtemp(prefix="workbench-queue-")
    os.environ["WORKBENCH_QUEUE"] = config.stash[QUEUE_FOLDER]
    os.environ["XDG_STATE_HOME"] = config.stash[QUEUE_FOLDER]  # what a person has named as code of their own is kept there


def pytest_unconfigure(config: pytest.Config) -> None:
    """Removes the session's queue; a worker that a failed test left behind may still hold a file in it."""
    shutil.rmtree(config.stash[QUEUE_FOLDER], ignore_errors=True)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data, from WORKBENCH_REAL_DATA. Skips when it is not set, fails when it names no folder."""
    name = os.environ.get("WORKBENCH_REAL_DATA")
    if not name:
        pytest.skip("set WORKBENCH_REAL_DATA to the folder of real data (CI takes ../shared/data)")
    folder = Path(name)
    if not folder.is_dir():
        pytest.fail(f"WORKBENCH_REAL_DATA is {name}, and there is no such folder: correct it, or unset it to skip these tests")
    return folder.resolve()


@pytest.fixture
def warm() -> None:
    """A standby, so that each run of this test starts in less than a second instead of several; one serves the whole session."""
    import workbench as wb

    wb.standby()


@pytest.fixture(autouse=True)
def no_worker_left() -> Iterator[None]:
    """A worker left paused would hold the device's queue against every test after it."""
    yield
    from workbench.runs import processes, standby

    waiting = standby._waiting
    left = [psutil.Process(child.pid) for child in processes._children.values() if child is not waiting and child.poll() is None]
    with suppress(psutil.NoSuchProcess):
        left += psutil.Process(waiting.pid).children() if waiting else []
    _kill(left)


@pytest.fixture(autouse=True, scope="module")
def no_orphan_left(pytestconfig: pytest.Config) -> Iterator[None]:
    """Nor one whose standby was sent away before it."""
    yield
    from workbench.runs.processes import MODULE

    orphans = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.ppid() == 1 and MODULE in process.cmdline() and process.environ().get("WORKBENCH_QUEUE") == pytestconfig.stash[QUEUE_FOLDER]:
                orphans.append(process)
    _kill(orphans)


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
            process.wait(timeout=30)
