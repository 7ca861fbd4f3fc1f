"""What a person does in the reward-gap panel: a setting is noted and shown at once, what reads or writes is done by a thread.

Knows the panel it belongs to; makes no widget. What goes wrong is said beside the control that asked for it.
"""

from collections.abc import Callable
from typing import Any

from widgets.frame.errands import Cancelled, Errands


class Actions:
    """The handlers of one panel's controls."""

    def __init__(self, panel: Any) -> None:
        self.panel = panel
        self.errands = Errands("reward gap errands")
        self._stop = False

    def later(self, control: str, job: Callable[[], object], key: str = "") -> None:
        """Does `job` in a thread (at once where the panel was never shown), and shows what is so then."""
        panel = self.panel
        if panel.made is None:
            job()
            return

        def do() -> None:
            widget = getattr(panel.made, control)
            widget = getattr(widget, "box", widget)
            try:
                with panel.errors_at(widget):
                    job()
            except Cancelled:
                panel.show_error(widget, "It was cancelled. Pick the run again to begin anew.")
            finally:
                panel.busy(None)
            panel.refresh()

        self.errands.add(do, key)

    def wait(self, timeout_s: float = 60.0) -> bool:
        """Whether everything asked for was done in that time, for tests and scripts."""
        return self.errands.wait(timeout_s) and self.panel.settling.wait(timeout_s)

    def progress(self, words: str, done: int, total: int) -> None:
        if self._stop:
            raise Cancelled
        if self.panel.made is not None:
            self.panel.busy(words, done, total or None, cancel=self._cancel)

    def _cancel(self) -> None:
        self._stop = True

    # ---- settings: arithmetic on what is there

    def set(self, **values: Any) -> None:
        """Notes settings and shows them; what takes longer follows when the hand rests."""
        panel = self.panel
        for name, value in values.items():
            setattr(panel.state, name, value)
        panel.refresh()
        panel.settle_soon()

    def evaluation(self, number: int) -> None:
        """The step of evaluation `number`, from 1; the last one is followed while the run goes."""
        steps = self.panel.book.steps if self.panel.book is not None else []
        if 1 <= number <= len(steps):
            self.set(step=0 if number == len(steps) else steps[number - 1], place=0)

    def part(self, part: str) -> None:
        self.set(part=part, place=0)

    def by(self, column: str) -> None:
        self.set(column=column, category="", place=0)

    def category(self, category: str) -> None:
        self.set(category=category, place=0)

    def weigh(self, head: str, weight: float) -> None:
        self.set(weights=self.panel.state.weights | {head: round(weight, 3)})

    def show(self, show: str | None) -> None:
        if show:
            self.set(show=show, place=0)

    def bin(self, number: int) -> None:
        """The pairs of a bar, from 0 at the left."""
        edges = self.panel.seen().edges
        if 0 <= number < len(edges) - 1:
            self.set(show="bin", low=float(edges[number]), high=float(edges[number + 1]), place=0)

    def pair(self, number: int) -> None:
        self.set(place=max(0, number - 1))

    def turn(self, by: int) -> None:
        """To the next pair, or the one before; at an end it stays."""
        count = len(self.panel.seen().picked)
        self.set(place=min(max(min(self.panel.state.place, count - 1) + by, 0), max(count - 1, 0)))

    def read(self, place: int) -> None:
        """The pair at this place of the table, among those of its bin."""
        look = self.panel.seen()
        if 0 <= place < look.pairs:
            gap = look.frame["gap"].iloc[place]
            self.bin(int((look.edges[1:-1] <= gap).sum()))
            self.set(place=self.panel.seen().picked.tolist().index(place))

    # ---- what reads, writes or starts

    def source(self, text: str) -> None:
        """A run folder, or several with commas between them."""
        given = tuple(part.strip().strip('"') for part in text.split(",") if part.strip())
        self._stop = False
        self.later("source", (lambda: self.panel.open(*given)) if given and given != self.panel.state.sources else lambda: None, "open")

    def flag(self) -> None:
        """Flags the pair that is read as mislabelled, or takes its flag away."""
        self.later("flag", self.panel.toggle_flag)

    def select(self) -> None:
        """The pairs that are read become the selection of examples."""
        self.panel.select()

    def train(self) -> None:
        """Starts the next run without what is flagged."""
        self.later("train", self.panel.train_again)
