"""One axis of a static picture: data to px, and its ticks. Linear, log and names; no dates."""

import math
from typing import Any

import numpy as np

from widgets.frame.sheet import MINUS, NARROW_SPACE


class Axis:
    """Data to px along one side of a cell."""

    def __init__(self, layout: dict, low_px: float, high_px: float, values: list) -> None:
        self.layout, self.low_px, self.high_px = layout, low_px, high_px
        self.log = layout.get("type") == "log"
        self.names = list(dict.fromkeys(v for part in values for v in part if isinstance(v, str))) if layout.get("type") != "linear" else []
        self.low, self.high = self._range(values)

    def _range(self, values: list) -> tuple[float, float]:
        given = self.layout.get("range")
        if given and None not in given:
            return float(given[0]), float(given[1])
        found = [self.number(v) for part in values for v in part]
        found = [v for v in found if v is not None and math.isfinite(v)]
        low, high = (min(found), max(found)) if found else (0.0, 1.0)
        if self.names:
            low, high = -0.5, len(self.names) - 0.5
        elif low == high:
            low, high = low - 1, high + 1
        else:
            pad = 0.05 * (high - low)
            low, high = (low if self.layout.get("rangemode") == "tozero" and low >= 0 else low - pad), high + pad
        if self.layout.get("rangemode") == "tozero":
            low, high = min(low, 0.0), max(high, 0.0)
        return (high, low) if self.layout.get("autorange") == "reversed" else (low, high)

    def number(self, value: Any) -> float | None:
        """A data value on the linear scale of the axis."""
        if value is None or isinstance(value, bool):
            return None
        if isinstance(value, str):
            if value in self.names:
                return float(self.names.index(value))
            try:
                value = float(value)
            except ValueError:
                return None
        return (math.log10(value) if value > 0 else None) if self.log else float(value)

    def px(self, value: Any) -> float | None:
        at = self.number(value)
        if at is None or not math.isfinite(at):
            return None
        return self.low_px + (at - self.low) / (self.high - self.low) * (self.high_px - self.low_px)

    def at(self, share: float) -> float:
        return self.low_px + share * (self.high_px - self.low_px)

    def ticks(self) -> list[tuple[float, str]]:
        """(px, label) of each tick inside the range."""
        words = self.layout.get("ticktext")
        values = self.layout.get("tickvals")
        if self.layout.get("showticklabels") is False:
            words = [""] * len(values if values is not None else ())
        if values is None:
            values = list(range(len(self.names))) if self.names else self._chosen()
            words = self.names or None
        low, high = sorted((self.low, self.high))
        slack = 1e-9 * (high - low)
        found = []
        for k, value in enumerate(values):
            at = float(value) if self.names and not isinstance(value, str) else self.number(value)
            if at is not None and low - slack <= at <= high + slack:
                label = str(words[k]) if words is not None and k < len(words) else self._format(value)
                found.append((self.low_px + (at - self.low) / (self.high - self.low) * (self.high_px - self.low_px), label))
        return found if self.layout.get("showticklabels", True) else [(px, "") for px, _ in found]

    def _chosen(self) -> list[float]:
        low, high = sorted((self.low, self.high))
        if self.log:
            return [10.0 ** k for k in range(math.ceil(low), math.floor(high) + 1)]
        step = self.layout.get("dtick")
        if not isinstance(step, (int, float)) or step <= 0:
            rough = (high - low) / max(int(self.layout.get("nticks") or 6) - 1, 1)
            power = 10.0 ** math.floor(math.log10(rough))
            step = next(power * k for k in (1, 2, 5, 10) if power * k >= rough * 0.999)
        first = math.ceil(low / step - 1e-9)
        return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]

    def _format(self, value: float) -> str:
        form = (self.layout.get("tickformat") or "").replace("d", ".0f").replace("~", "")
        try:
            text = format(float(value), form) if form else f"{float(value):,.10g}"
        except ValueError:
            text = f"{float(value):g}"
        return self.layout.get("tickprefix", "") + text.replace(",", NARROW_SPACE).replace("-", MINUS) + self.layout.get("ticksuffix", "")


def item(value: Any) -> Any:
    """A numpy value as Python's; NaN as None."""
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and math.isnan(value) else value
