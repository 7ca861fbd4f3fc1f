"""A slider over decades that shows exactly the number it stands for, and takes any number that is typed.

The sliders of ipywidgets snap to a grid of the exponent, so that 3e-4 would read 3.2e-4. This one's keys and handle go to round numbers
(1, 1.1, 1.2, 1.3, 1.5 ... 9 in each decade) and to `home`, while its value can be any positive number. Does not check what a number means.
"""

from pathlib import Path
from typing import Any

import anywidget
import traitlets


class LogSlider(anywidget.AnyWidget):
    """`LogSlider(description="Learning rate", value=3e-4, min=1e-6, max=1e-2)`: a slider and a field beside its label.

    `min` and `max` (both > 0) bound the handle, not what is typed. Escape goes back to `home`, the value in force (0: there is none).
    """

    _esm = Path(__file__).with_name("log_slider.js").read_text(encoding="utf-8")
    description = traitlets.Unicode("").tag(sync=True)
    value = traitlets.Float(1.0).tag(sync=True)
    home = traitlets.Float(0.0).tag(sync=True)
    min = traitlets.Float(1e-6).tag(sync=True)
    max = traitlets.Float(1.0).tag(sync=True)
    disabled = traitlets.Bool(False).tag(sync=True)
    live = traitlets.Bool(True).tag(sync=True)
    """Whether it reports while the handle moves, or only where it is let go."""
    grouped = traitlets.Bool(False).tag(sync=True)
    """Whether numbers stand as 100 000 and not as 1e5."""
    stops = traitlets.List(traitlets.Float()).tag(sync=True)
    """Where keys and handle go, for other places than the round numbers: powers of two."""

    def __init__(self, **more: Any) -> None:
        if not 0 < more.get("min", 1e-6) < more.get("max", 1.0):
            raise ValueError(f"min is {more.get('min')} and max {more.get('max')}; a slider over decades needs 0 < min < max.")
        super().__init__(**more)
