"""Where one judges: a prompt and its replies side by side, buttons and keys. It shows text and tells what was pressed; it keeps nothing.

A verdict carries the `token` of what was shown, so that a second press, or one from a page that is behind, judges nothing else.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from widgets.frame.sending import legible

HERE = Path(__file__).parent


class Desk(anywidget.AnyWidget):
    """`Desk(on_verdict)`: `on_verdict(token, what)` with what = {"do": "judge", "verdict": ...}, {"do": "skip"} or {"do": "undo"}; it is
    called by the thread that handles messages and should only enqueue."""

    _esm = (HERE / "desk.js").read_text(encoding="utf-8")
    _css = (HERE / "preference_arena.css").read_text(encoding="utf-8")
    shown = traitlets.Dict().tag(sync=True, to_json=legible("criteria"))
    """token, kind, prompt, replies, criteria, scores, said (what was kept last), undo (whether there is something to take back), empty
    (words where nothing is left)."""

    def __init__(self, on_verdict: Callable[[int, dict], object], **more: Any) -> None:
        super().__init__(**more)
        self._on_verdict = on_verdict
        self.on_msg(self._heard)

    def _heard(self, _widget: Any, message: dict, _buffers: list) -> None:
        if message.get("do") in ("judge", "skip", "undo") and isinstance(message.get("token"), int):
            self._on_verdict(message["token"], message)
