"""Inputs of ipywidgets whose page gets text as it can be sent and read: labels of options legible and short, what is edited whole but for half
characters, which no message carries. Python keeps its own; nothing else differs.
"""

import re
from collections.abc import Iterable
from typing import Any

import ipywidgets as ipw
import traitlets
from ipywidgets.widgets.trait_types import TypedTuple

from workbench.legible import letters, whole_characters, words

_TEX = re.compile(r"\\(?=[a-zA-Z(\[])")
MOST = 120
"""Letters of a label or of an option: a line of the controls column holds about forty."""


def caption(text: object) -> str:
    """What stands on a control, in one line. Where a notebook has MathJax, ipywidgets hands it every label: what would begin a formula there (two
    dollar signs, a backslash before a letter or bracket) is broken up so that it stays text."""
    line = words(" ".join(str(text)[:10 * MOST].split()), MOST)
    return _TEX.sub("\\\\\u2060", line if line.count("$") < 2 else line.replace("$", "\uff04"))


def _shown(value: Iterable[str], _widget: Any) -> list[str]:
    return [letters(text, MOST) for text in value]


def _whole(value: Any, _widget: Any) -> Any:
    return whole_characters(value) if isinstance(value, str) else [whole_characters(text) for text in value]


class Dropdown(ipw.Dropdown):
    """Its options go back by their places, so their labels may be cut."""

    _options_labels = TypedTuple(trait=traitlets.Unicode()).tag(sync=True, to_json=_shown)


class Combobox(ipw.Combobox):
    value = traitlets.Unicode().tag(sync=True, to_json=_whole)
    placeholder = traitlets.Unicode("\u200b").tag(sync=True, to_json=_whole)
    options = TypedTuple(trait=traitlets.Unicode()).tag(sync=True, to_json=_whole)


class Text(ipw.Text):
    value = traitlets.Unicode().tag(sync=True, to_json=_whole)


class Textarea(ipw.Textarea):
    value = traitlets.Unicode().tag(sync=True, to_json=_whole)
