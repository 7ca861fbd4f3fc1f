"""How properties are run: a few fixed examples of each in `make test`, fresh ones for minutes by `python -m tests.fuzz`.

Nothing is kept between runs and nothing is written into the repository; what fails is printed, shrunk, and belongs into a plain test then.
"""

from __future__ import annotations

import faulthandler
import functools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, configuration, settings

EXAMPLES = 40
"""Of each property in `make test`: a second or so."""
HANG_S = 240
"""An example that takes longer hangs (seconds on the clock: others may have the machine)."""

configuration.set_hypothesis_home_dir(Path(tempfile.gettempdir()) / "hypothesis")  # it keeps constants of the modules it finds there
COMMON = {"database": None, "deadline": None, "suppress_health_check": list(HealthCheck), "print_blob": False}
settings.register_profile("quick", max_examples=EXAMPLES, derandomize=True, **COMMON)
settings.register_profile("long", max_examples=500, derandomize=False, **COMMON)
settings.load_profile("quick")


def repeated(check: Callable[..., None], folder: Path, seconds: float) -> int:
    """Fresh examples of the property until its seconds are over; returns how many. Raises what it raises, for the simplest example
    found."""
    inner, ends, tried = check.hypothesis.inner_test, time.monotonic() + seconds, 0

    @functools.wraps(inner)
    def one(*args: Any, **named: Any) -> None:
        nonlocal tried, ends
        if time.monotonic() > ends:
            return
        tried += 1
        faulthandler.dump_traceback_later(HANG_S, exit=True)
        try:
            inner(*args, **named)
        except BaseException:
            ends = max(ends, time.monotonic() + HANG_S)  # it is being made simpler now
            raise

    check.hypothesis.inner_test = one
    fresh = settings(settings.get_profile("long"))(check)  # the profile of the moment it was decorated is a property's own
    try:
        while time.monotonic() < ends:
            fresh(folder)
    finally:
        check.hypothesis.inner_test = inner
        faulthandler.cancel_dump_traceback_later()
    return tried
