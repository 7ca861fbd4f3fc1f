"""The rows as a table in the page: a page of them at a time, sorted by its heads, read in full beside it, decided on by keys.

Python holds the rows and sends the page in sight and the row under the cursor; the page sends what a person did, with row numbers. It shows
text only, never markup, and decides nothing itself.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from widgets.frame import theme
from widgets.frame.sending import legible

HERE = Path(__file__).resolve().parent


class RowTable(anywidget.AnyWidget):
    """`RowTable(on_act=...)`: `on_act(message)` runs in the thread that handles messages and should only enqueue.

    Messages: {"kind": "cursor", "row"}, {"kind": "go", "to": "next" | "previous" | "page" | "page back" | "first" | "last"},
    {"kind": "sort", "key"}, {"kind": "mark", "how": "drop" | "keep" | "flag" | "pick"}, {"kind": "undo"}.
    """

    _esm = (HERE / "table.js").read_text(encoding="utf-8")
    _css = theme.css() + (HERE / "data_explorer.css").read_text(encoding="utf-8")
    shown = traitlets.Dict().tag(sync=True, to_json=legible("key"))
    """head: [{key, label, num, sorted}], rows: [{row, cells, mark, picked}], start, total, cursor, empty."""
    detail = traitlets.Dict().tag(sync=True, to_json=legible("words"))
    """row, mark, fields: [[name, text]], notes: [words], others: [{row, label, text}], words: what to mark in the text."""

    KINDS = {"cursor": "row", "go": "to", "sort": "key", "mark": "how", "undo": None}

    def __init__(self, on_act: Callable[[dict[str, Any]], object], **more: Any) -> None:
        super().__init__(**more)
        self._act = on_act
        self.on_msg(self._heard)
        self.add_class("wb-rows")

    def _heard(self, _widget: Any, message: dict, _buffers: list) -> None:
        kind = message.get("kind")
        if kind in self.KINDS and (self.KINDS[kind] is None or self.KINDS[kind] in message):
            self._act(message)
