"""The public surface, frozen: every name of both packages with its arguments, and every class with its fields, properties and methods.

It is in `public_surface.txt`, one line each. A change of it is a decision: `python -m tests.test_public_surface` writes the file anew,
and its difference is what is decided on. Not here: what they do; annotations, whose spelling depends on Python's version.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PACKAGES = ("workbench", "widgets")
FILE = Path(__file__).with_name("public_surface.txt")


def signature(function: Any) -> str:
    """`(recipe, runs='runs', *, name=None)`; "..." for a default that is no plain value."""
    found = inspect.signature(function)
    parameters = [
        parameter.replace(
            annotation=inspect.Parameter.empty,
            default=parameter.default if parameter.default is parameter.empty else Default(parameter.default),
        )
        for parameter in found.parameters.values()
        if parameter.name != "self"
    ]
    return str(found.replace(parameters=parameters, return_annotation=inspect.Signature.empty))


class Default:
    """Prints as the value it stands for."""

    def __init__(self, value: Any):
        self.value = value

    def __repr__(self) -> str:
        return repr(self.value) if isinstance(self.value, (int, float, str, bytes, tuple, type(None))) else "..."


def lines_of_class(name: str, kind: type) -> Iterator[str]:
    yield f"{name}{signature(kind)}"
    fields = {field.name for field in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else set()
    for member in sorted(dir(kind)):
        owner = next((base for base in kind.__mro__ if member in vars(base)), object)
        if member.startswith("_") or member in fields or not owner.__module__.startswith(PACKAGES):
            continue
        value = inspect.getattr_static(kind, member)
        value = value.__func__ if isinstance(value, (classmethod, staticmethod)) else value
        yield f"{name}.{member}{signature(value) if inspect.isfunction(value) else ''}"


def surface() -> str:
    lines = []
    for package in map(importlib.import_module, PACKAGES):
        for name in sorted(package.__all__):
            value, path = getattr(package, name), f"{package.__name__}.{name}"
            lines += lines_of_class(path, value) if inspect.isclass(value) else [f"{path}{signature(value)}"]
    return "\n".join(lines) + "\n"


def test_the_public_surface_is_as_agreed():
    agreed, now = FILE.read_text(encoding="utf-8").splitlines(), surface().splitlines()
    changed = [line for line in difflib.unified_diff(agreed, now, "agreed", "now", lineterm="", n=0) if not line.startswith("@@")]
    assert not changed, "\n".join(["the public surface has changed; if that is meant: python -m tests.test_public_surface", *changed])


def test_it_sees_a_name_an_argument_a_default_a_field_and_a_method():
    class Before:
        def draw(self, count, *, seed=0):
            return count, seed

    class After(Before):
        def draw(self, count, *, seed=1):
            return count, seed

    Before.__module__ = After.__module__ = "workbench.x"
    assert list(lines_of_class("x.Box", Before)) == ["x.Box()", "x.Box.draw(count, *, seed=0)"]
    assert list(lines_of_class("x.Box", After)) == ["x.Box()", "x.Box.draw(count, *, seed=1)"]
    assert (
        signature(lambda recipe, /, *rows, steps=None, choose=print, **more: None) == "(recipe, /, *rows, steps=None, choose=..., **more)"
    )
    text = FILE.read_text(encoding="utf-8")
    assert (
        "workbench.Recipe(*, model='town', data='town:instructions'" in text
        and "\nworkbench.Run.fork(step=None, name=None, **changes)\n" in text
        and "\nwidgets.RunMonitor(" in text
    )


if __name__ == "__main__":
    before = FILE.read_text(encoding="utf-8").splitlines() if FILE.exists() else []
    FILE.write_text(surface(), encoding="utf-8")
    sys.stdout.writelines(f"{line}\n" for line in difflib.unified_diff(before, surface().splitlines(), "before", "now", lineterm="", n=0))
