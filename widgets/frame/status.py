"""The foot of a panel: the sentence, the drawers `</> Code` and `?`, and what the page must do for every panel.

Its page code also gives names to what ipywidgets leaves nameless (slider handles, icon buttons), marks wrong inputs for screen
readers, keeps the focus on a button that can do nothing now, says so where a click waits for a busy kernel, and tells the kernel when
the page is about to be left or saved. Shows text only, never markup.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import anywidget
import traitlets

from widgets.frame import theme
from workbench.legible import words

Kind = Literal["ok", "warn", "idle"]


@dataclass(frozen=True, slots=True)
class Sentence:
    """What the figure shows now, in one sentence. `kind`: "ok" fine or running, "warn" something is wrong, "idle" nothing yet.

    Names and values in it are made legible (`workbench.legible.words`).
    """
    kind: Kind
    text: str

    def __post_init__(self) -> None:
        if self.kind not in ("ok", "warn", "idle"):
            raise ValueError(f'a sentence is of kind "ok", "warn" or "idle", not {self.kind!r}.')
        object.__setattr__(self, "text", words(self.text))

    @classmethod
    def of(cls, words: "Sentence | str") -> "Sentence":
        return words if isinstance(words, Sentence) else cls("ok", words)


class StatusLine(anywidget.AnyWidget):
    """`StatusLine(kind="ok", sentence="...", code="...", help="...")`."""

    _esm = Path(__file__).with_name("status_line.js").read_text(encoding="utf-8")
    _css = theme.css()
    kind = traitlets.Unicode("idle").tag(sync=True)
    sentence = traitlets.Unicode("").tag(sync=True)
    code = traitlets.Unicode("").tag(sync=True)
    help = traitlets.Unicode("").tag(sync=True)
    drawers = traitlets.Unicode("").tag(sync=True)
    """Which drawer is open: "", "code" or "help"; kept here so that a second view shows the same."""

    def __init__(self, on_leave: Callable[[], object] | None = None, **more: Any) -> None:
        super().__init__(**more)
        self._on_leave = on_leave
        self.on_msg(self._heard)

    def show(self, sentence: Sentence, code: str) -> None:
        """Sends what changed of the three."""
        with self.hold_sync():
            self.kind, self.sentence, self.code = sentence.kind, sentence.text, code

    def _heard(self, _widget: Any, message: dict, _buffers: list) -> None:
        if message.get("kind") == "ask":  # the page wants to know that everything a person did before was heard
            self.send(message | {"kind": "answer"})
        if message.get("kind") == "leaving" and self._on_leave is not None:
            self._on_leave()
