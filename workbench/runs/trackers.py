"""Whether the trackers that a recipe reports to are installed, asked before anything starts. Reporting itself is the worker's
(`training/reporting.py`)."""

import importlib.util
from collections.abc import Iterable

from workbench.errors import RecipeError
from workbench.recipes import TRACKERS


def check(report_to: Iterable[str]) -> None:
    """Raises `RecipeError` for the first tracker whose package is missing, with the command that installs it."""
    for name in report_to:
        if importlib.util.find_spec(TRACKERS[name]) is None:
            raise RecipeError(
                f"report_to names {name!r}, and the package {TRACKERS[name]} is not installed.",
                f"pip install {TRACKERS[name]}, or leave it out.",
            )
