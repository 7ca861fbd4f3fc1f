"""What the viewer's threads do: open the weights, follow a resting hand with exact numbers, look at every tensor, measure the whole model.

One long piece of work at a time (`measuring.Work`); of the picked tensor's exact numbers only the newest are wanted. Knows the viewer it
belongs to; computes nothing itself.
"""

import time
from collections.abc import Callable
from typing import Any

from widgets.frame.later import Later
from widgets.quantization_viewer.measuring import Progress, Work
from widgets.quantization_viewer.state import compared
from workbench.errors import DataError

SHOW_S = 0.3
"""Between two states of the tree while an overview streams in."""


class Moved(Exception):
    """The hand moved again."""


class Jobs:
    """The threads of one viewer."""

    def __init__(self, viewer: Any) -> None:
        self.viewer = viewer
        self.work, self.later = Work(self), Later(self.settle, "quantization settling")
        self._asked = 0
        self._cancelled: Any = None
        """The scheme whose overview a person cancelled: it does not begin again by itself."""

    def busy(self, *words: Any, **more: Any) -> None:
        self.viewer.busy(*words, **more)

    # ---- the weights and the picked tensor

    def open(self) -> None:
        """Reads the headers of what was named."""
        def job(progress: Progress) -> None:
            progress("Opening the weights", 0, 0)
            self.viewer.open()

        self.work.begin("open", job)

    def opened(self) -> None:
        self.viewer.fault = ""
        self.viewer.picked()
        self.overview()

    def moved(self) -> None:
        """A setting changed: shows it from the sample now; the rest follows when the hand rests."""
        self._asked += 1
        self.viewer.refresh()
        self.later.ask()

    def settle(self) -> None:
        """Exact numbers of the picked tensor, its rival and the schemes beside it; gives way to a hand that moves again."""
        viewer, asked = self.viewer, self._asked
        weights, state = viewer.known.weights, viewer.state
        if not weights.opened or state.failure or state.view == "training":
            self._say()
            return
        name, choice = viewer.tensor, state.choice

        def going(_words: str, _done: float, _total: float) -> None:
            if self._asked != asked:
                raise Moved

        try:
            if state.view == "activations":
                viewer.known.activations(name, choice, state.threshold)
            weights.fill_lines(name, choice, whole=False, progress=going)
            viewer.refresh()
            for whole in (False, True):
                weights.exact(name, choice, going, whole)
                viewer.refresh()
            weights.exact_lines(name, choice, going, viewer.refresh)
        except Moved:
            return
        except DataError as error:
            viewer.fault = str(error)
            viewer.refresh()
        self._say()
        if weights.missing(choice) and self.work.going in ("", "overview", "open") and self._cancelled != choice.key:
            self.overview()

    def _say(self) -> None:
        """A fault of the picked tensor, at the tree."""
        viewer = self.viewer
        if viewer.made is None:
            return
        if viewer.fault and viewer.known.weights.opened and not viewer.state.failure:
            viewer.show_error(viewer.made.tree, viewer.fault)
        else:
            viewer.clear_error(viewer.made.tree)

    # ---- long work

    def overview(self) -> None:
        """Every tensor in the chosen scheme."""
        viewer, choice, last = self.viewer, self.viewer.state.choice, 0.0

        def show() -> None:
            nonlocal last
            if time.monotonic() - last > SHOW_S:
                last = time.monotonic()
                viewer.show_controls()

        if viewer.known.weights.missing(choice):
            self._begin("overview", lambda progress: viewer.known.weights.overview(choice, progress, show))

    def perplexity(self) -> None:
        viewer, choice, inputs = self.viewer, self.viewer.state.choice, self.viewer.inputs
        self._begin("perplexity", lambda progress: viewer.known.perplexities(compared(choice), choice, *inputs, progress, viewer.refresh))

    def sensitivity(self) -> None:
        viewer, choice, inputs = self.viewer, self.viewer.state.choice, self.viewer.inputs
        self._begin("sensitivity", lambda progress: viewer.known.measure_sensitivity(choice, *inputs, progress, viewer.refresh))

    def calibrate(self) -> None:
        self._begin("calibrate", self.viewer.known.calibrate)

    def after(self) -> None:
        """Quantizes the plain run's result."""
        viewer, plain, aware = self.viewer, self.viewer.state.plain, self.viewer.state.aware
        self._begin("after", lambda progress: viewer.runs.measure(plain, aware, progress))

    def _begin(self, name: str, job: Callable[[Progress], object]) -> None:
        if self.viewer.made is not None:
            self.viewer.clear_error(self.viewer.made.primary)
        self.work.begin(name, job)
        self.viewer.show_controls()

    def worked(self, name: str, ended: str, fault: str | None) -> None:
        """A piece of long work ended: "done", "cancelled" or "failed"."""
        viewer, made = self.viewer, self.viewer.made
        if fault is not None:
            if name == "open":
                viewer.fault = fault
            viewer.show_error(made.model if name == "open" else made.tree if name == "overview" else made.primary, fault)
        elif name == "open" and ended == "done":
            viewer.clear_error(made.model)
            self.opened()
            return
        if ended == "cancelled" and name == "overview":
            self._cancelled = viewer.state.choice.key
        viewer.refresh()
        weights = viewer.known.weights
        if ended == "done" and name != "overview" and weights.opened and weights.missing(viewer.state.choice):
            self.overview()
        elif not viewer.seen:  # a page brings its notebook up to date when it is left or saved; nobody else would
            viewer.freeze()
