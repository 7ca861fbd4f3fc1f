"""The tree of tensors: which there are, layer by layer, each with a bar for its error. Draws what it is given and reports what was picked.

`rows_of` and `shown` are pure. Knows nothing of weights; every name is shown as text.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from widgets.frame.sending import legible
from widgets.frame.sheet import number

_LAYER = re.compile(r"^(.*?\.?(?:\w+)\.\d+)\.(.+)$")
FULL_DB = 60.0
"""Decibels at which the error bar is empty; at 0 dB it is full."""
POOR_DB = 10.0
"""Below it the error holds more than a tenth of the signal's power, and the bar is vermillion."""


def rows_of(names: Iterable[str], shapes: dict[str, tuple]) -> list[dict[str, Any]]:
    """Rows of the tree, in order: name, shown (without what the group's other names share), group ("" outside layers) and
    heading, its words, title."""
    names = sorted(names, key=lambda name: (*_place(name), len(shapes[name]) < 2))
    parts = [_parted(name) for name in names]
    short = [".".join(rest.split(".")[-2:] if rest.endswith(".bias") else rest.split(".")[-1:]) for _, rest in parts]
    count = Counter(zip((group for group, _ in parts), short, strict=True))
    return [dict(name=name, group=group, heading=group, shown=last if count[group, last] == 1 else rest, title=f"{name}, {shape_words(shapes[name])}")
            for name, (group, rest), last in zip(names, parts, short, strict=True)]


def shown(sqnr_db: float, old: bool = False) -> list:
    """[words, length of the bar from 0 to 1, kind] of one tensor; NaN where it cannot be said."""
    if sqnr_db != sqnr_db:
        return ["NaN", 1.0, "poor"]
    words = "exact" if sqnr_db == float("inf") else number(sqnr_db, 1)
    share = min(max((FULL_DB - sqnr_db) / FULL_DB, 0.0), 1.0)
    return [words, round(share, 3), "old" if old else "poor" if sqnr_db < POOR_DB else ""]


def shape_words(shape: Iterable[int]) -> str:
    return " × ".join(number(side) for side in shape) or "one number"


def module_of(name: str) -> str:
    """A tensor's name as panels share it: that of its module."""
    return name.removesuffix(".weight")


def _parted(name: str) -> tuple[str, str]:
    """(`layers.0`, `self_attn.q_proj`); a name outside layers has the group ""."""
    found = _LAYER.match(module_of(name))
    if found is None:
        return "", module_of(name)
    return found[1].removeprefix("model."), found[2]


def _place(name: str) -> tuple:
    """Embeddings first, then layers by number, then the rest, as a model is drawn."""
    group, rest = _parted(name)
    order = 1 if group else 0 if "emb" in rest else 2
    return order, [int(part) if part.isdigit() else -1 for part in group.split(".")], group


class TensorTree(anywidget.AnyWidget):
    """`TensorTree(on_pick=...)`: `on_pick(name)` is called in the thread that handles messages; it should only enqueue."""

    _esm = Path(__file__).with_name("tensor_tree.js").read_text(encoding="utf-8")
    _css = Path(__file__).with_name("quantization_viewer.css").read_text(encoding="utf-8")
    rows = traitlets.List(traitlets.Dict()).tag(sync=True, to_json=legible("name", "group"))
    live = traitlets.Dict().tag(sync=True)
    """Name of a tensor, or "\\0" and that of a group -> `shown`."""
    picked = traitlets.Unicode("").tag(sync=True)
    unfolded = traitlets.List(traitlets.Unicode()).tag(sync=True)
    query = traitlets.Unicode("").tag(sync=True)
    empty = traitlets.Unicode("No tensors yet.").tag(sync=True)

    def __init__(self, on_pick: Callable[[str], object], **more: Any) -> None:
        super().__init__(**more)
        self._on_pick = on_pick
        self.on_msg(self._heard)
        self.add_class("wb-tensor-tree")

    def _heard(self, _widget: Any, message: dict, _buffers: list) -> None:
        name = message.get("name")
        if message.get("kind") == "pick" and any(row["name"] == name for row in self.rows):
            self._on_pick(name)
