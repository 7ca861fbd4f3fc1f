"""The one exception a person is meant to read: what was wrong, and what to do.

In a notebook it is shown as its sentence, without a traceback. Programming mistakes keep their own exception types, but for an argument of a
recipe that is misspelt (`named_fields`, which also lets `help()` say what each field is).
"""

import dataclasses
import difflib
import functools
import inspect
import linecache
import re
import sys
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
    """A decorator of a dataclass: an argument that is none of its fields is refused in one sentence. Its signature stays, and what stands
    under each field in the source stands in its docstring too, where `help()` finds it."""
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
    told = {name: words for base in reversed(kind.__mro__) for name, words in _field_words(base).items()}
    listed = [f"    {f.name}: {told[f.name]}" for f in dataclasses.fields(kind) if f.init and f.name in told]
    if kind.__doc__ and listed:
        kind.__doc__ = "\n".join([inspect.cleandoc(kind.__doc__), "", "Fields:", *listed])
    return kind


def _field_words(kind: type) -> dict[str, str]:
    """The strings under a class's fields, on one line each; Python itself keeps none of them. {} where there is no source."""
    source = "".join(linecache.getlines(getattr(sys.modules.get(kind.__module__), "__file__", None) or ""))
    body = re.search(rf"^class {kind.__name__}\b.*\n((?:[ \t].*\n|\n)*)", source, re.MULTILINE)
    found = re.findall(r'^    (\w+): .*\n    """([\s\S]+?)"""', body[1], re.MULTILINE) if body else []
    return {name: " ".join(text.split()) for name, text in found}
