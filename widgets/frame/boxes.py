"""A panel as one anywidget, for a host that knows anywidgets and not the boxes and sliders of ipywidgets: marimo.

The widgets of the panel stay what they are; the host has given each a channel of its own (marimo does so for every ipywidgets widget that
is made). Boxes, words and controls are drawn by boxes.js from their models; anywidgets among them by the host. Where ipywidgets are at
home nothing of this is used. Does not start anything and keeps no state: see panel.py.
"""

from pathlib import Path
from typing import Any

import anywidget
import traitlets

from widgets.frame import theme


class Boxes(anywidget.AnyWidget):
    """`Boxes(panel.widget)` shows any tree of the ipywidgets that the panels use."""

    _esm = Path(__file__).with_name("boxes.js").read_text(encoding="utf-8")
    _css = theme.css()
    root = traitlets.Unicode("").tag(sync=True)
    """The model id of the widget shown."""

    def __init__(self, widget: Any, **more: Any) -> None:
        self.widget = widget  # lives as long as what shows it
        super().__init__(root=widget.model_id, **more)
