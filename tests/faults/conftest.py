"""No worker of a test outlives it: one left paused would hold the device's queue against every test after it."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

import pytest

from workbench.runs import processes


@pytest.fixture(autouse=True)
def no_worker_left():
    yield
    for pid, child in processes._children.items():
        if child.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            child.wait(timeout=30)
