"""The one exception a person is meant to read: what was wrong, and what to do.

In a notebook it is shown as its sentence, without a traceback. Programming mistakes keep their own exception types, but for an argument of a
recipe that is misspelt (`named_fields`).
"""

import dataclasses
import difflib
import functools
from typing import Any

from workbench.legible import words


class WorkbenchError(Exception):
    """Something the caller can mend.

    `what` is one sentence that says what was wrong; `remedy` says what to do about it (may be empty). Names and values of data in them are
    made legible: no control characters, no word without end.
    """

    def __init__(self, what: str, remedy: str = ""):
        what, remedy = words(what), words(remedy)
        super().__init__(what, remedy)
        self.what, self.remedy = what, remedy

    def __str__(self) -> str:
        return f"{self.what} {self.remedy}".strip()

    def _render_traceback_(self) -> list[str]:
        """IPython calls this instead of printing a traceback."""
        return [f"{type(self).__name__}: {self}"]


class RecipeError(WorkbenchError):
    """A recipe, or a live change, that cannot be run as it stands. Raised before anything slow starts."""


class DataError(WorkbenchError):
    """Rows that cannot be read, or cannot be trained on."""


class RunError(WorkbenchError):
    """A run that cannot do what was asked of it in the state it is in."""


def named_fields(kind: type) -> type:
    """A decorator of a dataclass: an argument that is none of its fields is refused in one sentence. Its signature stays."""
    made: Any = kind.__init__  # type: ignore[misc]

    @functools.wraps(made)
    def __init__(self, *args: Any, **fields: Any):
        names = [f.name for f in dataclasses.fields(kind) if f.init]
        for name in fields:
            if name not in names:
                close = difflib.get_close_matches(name, names, n=1)
                raise RecipeError(f"{kind.__name__} has no field {name!r}.",
                                  f"Did you mean {close[0]!r}?" if close else f"Its fields are {', '.join(names) or 'none'}.")
        made(self, *args, **fields)

    kind.__init__ = __init__  # type: ignore[misc]
    return kind
