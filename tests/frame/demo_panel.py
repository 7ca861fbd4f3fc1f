"""A small panel for the tests: a loss curve, two side cells, one of every control."""

from __future__ import annotations

import dataclasses

import numpy as np

from widgets.frame import controls
from widgets.frame.panel import Panel
from widgets.frame.sheet import Sheet, number, plain
from widgets.frame.status import Sentence

HOSTILE = "town <script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'> $x$"


@dataclasses.dataclass
class State:
    rate: float = 1e-4
    every: int = 100
    picked: tuple = ()


class DemoPanel(Panel):
    title = "Demo panel"
    question = "is this run learning, and how fast?"
    help_text = "Loss is the mean negative log-likelihood of a trained token."
    State = State

    def __init__(self, state: State | None = None, n: int = 300, name: str = "town-lora8") -> None:
        super().__init__(state)
        self.name, self.step = name, np.arange(n) * 4.0
        self.loss = 1.46 + 1.2 * np.exp(-self.step / 300) + np.random.default_rng(0).normal(0, 0.02, n)

    def figure(self, width: str = "wide") -> dict:
        px, columns = {"wide": (860, 2), "medium": (430, 2), "narrow": (370, 1)}[width]
        sheet = Sheet(px, 460 if columns == 2 else 620)
        last = 4 * 500 if len(self.step) <= 500 else self.step[-1]
        axes = [sheet.cell(0, 0, px, 300, "Loss", "nats per token", "step", right=92, x=dict(range=[0, last], tickformat=",d"),
                           y=dict(range=[1.3, 2.8], tickformat=".1f"))]
        sheet.line(axes[0], self.step, self.loss, "blue", uid="loss", name=plain(self.name))
        sheet.label(axes[0], self.step[-1], self.loss[-1], plain(self.name[:24]), "blue-text", anchor="right", valign="bottom", dy=24)
        wide = (px - 22 * (columns - 1)) / columns
        for k, (name, unit, level, top) in enumerate((("Speed", "tokens/s", 1800, 2200), ("Memory", "GiB", 11, 14))):
            x0, y0 = (k * (wide + 22), 314) if columns == 2 else (0, 314 + 156 * k)
            axis = sheet.cell(x0, y0, x0 + wide, y0 + 146, name, unit, "step", right=18,
                              x=dict(range=[0, last], nticks=3, tickformat=",d"), y=dict(range=[0, top], nticks=3, tickformat=",d"))
            sheet.line(axis, self.step, np.full(len(self.step), float(level)), "blue", uid=name, width=1.25)
            axes.append(axis)
        sheet.rule(axes[2], y=12, colour="vermillion", dash="dash")
        sheet.change(axes, 400, "lr 2e-4 → 1e-4")
        return sheet.figure()

    def summary(self) -> Sentence:
        return Sentence("ok" if self.loss[-1] < 2 else "warn", f"Step {number(self.step[-1])}: loss {self.loss[-1]:.3f} in {self.name}.")

    def code(self) -> str:
        return f"panel = DemoPanel(State(rate={self.state.rate}, every={self.state.every}))"

    def controls(self) -> list:
        self.rate = controls.slider("Learning rate peak", self.state.rate, 1e-5, 1e-2, log=True)
        self.rank = controls.slider("Rank r", 16, 1, 64)
        self.cancel = controls.button("", "times", tooltip="Forget this run")
        every = controls.dropdown("Evaluate every", [("100 steps", 100), ("200 steps", 200)])
        return [controls.group("Change while it runs", self.rate, self.rank, every,
                               controls.toggles("Rows", ["train", "held out"], "held out"), controls.checkbox("Double quantization"),
                               controls.row(controls.button("Apply at next step", disabled=True), self.cancel)),
                controls.group("Runs", controls.text("", placeholder="Search runs and recipes"),
                               controls.table(["run", "step", "held-out"], [["town-full", "2 000", "1.561"], [self.name, "1 240", "1.469"]],
                                              numeric=[1, 2], picked=1, wide=0))]

    def bar(self):
        self.progress = controls.Progress()
        self.progress.show("step 1 240", "of 2 000", "1 840 tok/s · 14 min left", 0.62)
        return controls.bar(controls.button("Start", "play", disabled=True), controls.button("Pause", "pause", "primary"),
                            controls.button("Step", "step-forward", disabled=True), controls.button("Stop", "stop", "danger"),
                            controls.separator(), controls.button("Fork", "code-fork"), self.progress)

    def extra(self):
        return controls.html(self.extra_html())

    def extra_html(self) -> str:
        rows = [["400", "Tomas will come by the road by the ford.", "wrong"], ["800", self.name, "right"]]
        return controls.table_html(["step", "reply", "verdict"], rows, numeric=[0], kinds={(0, 2): "bad", (1, 2): "good"})

    def grow(self, k: int = 1) -> None:
        """Goes on for `k` points, as a run would."""
        n = len(self.step)
        self.step = np.append(self.step, 4.0 * (n + np.arange(k)))
        self.loss = np.append(self.loss, np.full(k, self.loss[-1]))
        self.refresh()
