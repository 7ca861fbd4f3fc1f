"""The table of sources: what each one is and comes to, and what a person sets for it: its factor or weight, its stage, held out or not.

Draws `rows` and `live` and reports what was set; knows nothing of mixtures. Everything from a source is shown as text.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from widgets.frame.sending import legible

COLUMNS = ("source", "rows", "tokens", "tokens a row", "copies %", "natural %", "mixed %", "epochs")


class SourceTable(anywidget.AnyWidget):
    """`SourceTable(on_set=..., on_pick=...)`: `on_set(name, field, value)` for "value" (a number of at least 0), "stage" (1 or 2) and "out"
    (true or false); `on_pick(name)`. Both are called in the thread that handles messages.
    """

    _esm = Path(__file__).with_name("source_table.js").read_text(encoding="utf-8")
    _css = Path(__file__).with_name("dataset_balancer.css").read_text(encoding="utf-8")
    rows = traitlets.List(traitlets.Dict()).tag(sync=True, to_json=legible("name"))
    """What a source is: name, and as words shown, called, title, hold, task, rows, tokens, mean, copies (words), value (number), stage, out."""
    live = traitlets.Dict().tag(sync=True)
    """Name -> [natural %, mixed %, epochs, whether these are too many], as words: what changes while a slider moves."""
    picked = traitlets.List(traitlets.Unicode()).tag(sync=True)
    by_hand = traitlets.Bool(False).tag(sync=True)
    """Whether the value is a weight and not a factor."""
    stages = traitlets.Bool(False).tag(sync=True)

    def __init__(self, on_set: Callable[[str, str, Any], object], on_pick: Callable[[str], object], **more: Any) -> None:
        super().__init__(**more)
        self._on_set, self._on_pick = on_set, on_pick
        self.on_msg(self._heard)
        self.add_class("wb-source-table")

    def _heard(self, _widget: Any, message: dict, _buffers: list) -> None:
        name, kind = message.get("name"), message.get("kind")
        if name not in {row["name"] for row in self.rows}:
            return
        if kind == "pick":
            self._on_pick(name)
        field, value = message.get("field"), message.get("value")
        fits = {"value": type(value) in (int, float) and 0 <= value < 1e9, "stage": value in (1, 2), "out": isinstance(value, bool)}
        if kind == "set" and fits.get(field):
            self._on_set(name, field, value)
