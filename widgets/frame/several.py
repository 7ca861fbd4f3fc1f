"""A labelled row of buttons of which any number can be pressed: some of a few. Does not say what none pressed means."""

from pathlib import Path

import anywidget
import traitlets

from widgets.frame.inputs import caption
from workbench.legible import whole_characters


class Several(anywidget.AnyWidget):
    """`Several(description="Attention", options=[["q", "q_proj"], ["v", "v_proj"]], value=["q_proj"])`; options are (words, value)."""

    _esm = Path(__file__).with_name("several.js").read_text(encoding="utf-8")
    description = traitlets.Unicode("").tag(sync=True)
    options = traitlets.List(traitlets.List(traitlets.Unicode(), minlen=2, maxlen=2)).tag(
        sync=True, to_json=lambda pairs, _widget: [[caption(words), whole_characters(value)] for words, value in pairs])
    value = traitlets.List(traitlets.Unicode()).tag(sync=True)
    disabled = traitlets.Bool(False).tag(sync=True)
