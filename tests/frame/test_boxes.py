"""A panel for a host that knows anywidgets only: one anywidget whose page code draws every kind of control that a panel uses."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import anywidget
import ipywidgets

import widgets
from tests.frame.demo_panel import DemoPanel
from widgets.frame.boxes import Boxes
from widgets.frame.threads import thread

FOLDER = Path(widgets.__file__).parent


def test_every_kind_of_control_that_a_panel_uses_is_drawn() -> None:
    used = {name for path in FOLDER.rglob("*.py") for name in re.findall(r"\bipw\.(\w+)", path.read_text(encoding="utf-8"))}
    kinds = {getattr(ipywidgets, name).class_traits()["_view_name"].default_value for name in used - {"Layout", "Widget"}}
    drawn = set(re.findall(r"(\w+View): [A-Z]+", (FOLDER / "frame" / "boxes.js").read_text(encoding="utf-8")))
    assert len(used) > 12 and kinds <= drawn, kinds - drawn


def test_marimo_gets_the_whole_panel_as_one_anywidget() -> None:
    panel = DemoPanel()
    shown = panel._display_()
    assert isinstance(shown, Boxes) and isinstance(shown, anywidget.AnyWidget)
    assert shown.root == panel.widget.model_id and shown.widget is panel.widget


def test_a_thread_outside_marimo_is_a_thread() -> None:
    done: list[object] = []
    made = thread(lambda *given: done.append((given, threading.current_thread().name)), "looks", (1, 2))
    assert type(made) is threading.Thread and made.daemon and not made.is_alive()
    made.start()
    made.join(10)
    assert done == [((1, 2), "looks")]
