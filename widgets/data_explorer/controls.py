"""The data explorer's widgets: the column beside the figure. They show a `View` and report what a person did.

A control is set from here only where it shall show something else than the person last put there, so nobody's typing is taken back.
Handlers only call the functions they were given, which enqueue.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import ipywidgets as ipw

from widgets.data_explorer.state import LOWEST_LIKENESS
from widgets.data_explorer.table import RowTable
from widgets.frame import controls
from widgets.frame.hearing import Hearing
from widgets.frame.sheet import number


@dataclass(slots=True, kw_only=True)
class Span:
    """A histogram's brush as a slider: the number of its last edge, the two picked, and what they mean in words."""

    words: str
    edges: int
    picked: tuple[int, int]


@dataclass(slots=True, kw_only=True)
class View:
    """What the widgets show."""

    query: str = ""
    shows: list[tuple[str, str]] = field(default_factory=list)
    show: str = "all"
    spans: dict[str, Span | None] = field(default_factory=dict)
    """By cell: length, quality, likeness, loss; None where there is nothing to choose from."""
    qualities: list[tuple[str, str]] = field(default_factory=list)
    quality: str = ""
    threshold: float = 0.8
    copies: str = ""
    seen: int = 0
    can_drop: bool = False
    can_keep_only: bool = False
    can_undo: bool = False
    filtered: bool = False
    model: str = ""
    table: dict = field(default_factory=dict)
    detail: dict = field(default_factory=dict)


CELLS = ("length", "quality", "likeness", "loss")


class Controls(Hearing):
    """`do` has one function for each thing a person can do; see `actions.py`."""

    def __init__(self, do: Any, view: View):
        self._told: dict[str, Any] = {}
        self.search = controls.text("Search the text", placeholder='words, or "a phrase"')
        self.show_rows = controls.dropdown("Show", view.shows, view.show)
        self.clear = controls.button("Show all rows", tooltip="no search, no brush", on_click=do.clear)
        self.spans = {cell: self._span(cell, do) for cell in CELLS}
        self.quality = controls.dropdown("Second histogram", view.qualities or [("", "")])
        self.threshold = controls.slider("Copies agree from", view.threshold, LOWEST_LIKENESS, 1.0, 0.01, form=".2f")
        self.copies = controls.hint("")
        self.model = controls.text("Loss under a run or a model", placeholder='runs/… or "town"', continuous_update=False)
        self.score = controls.button("Score the rows", tooltip="the loss of each row, in a thread",
                                     on_click=lambda: do.score(self.model.value))
        self.undo = controls.button("Undo", "undo", tooltip="take the last decision back (u)", on_click=do.undo)
        self.keep_only = controls.button("Keep only what is shown", on_click=do.keep_only)
        self.drop = controls.button("Drop what is shown", kind="primary", on_click=do.drop_shown)
        self._hear(self.search, "query", do.search)
        self._hear(self.show_rows, "show", do.show)
        self._hear(self.quality, "quality", do.quality)
        self._hear(self.threshold, "threshold", do.threshold)
        self._hear(self.model, "model", lambda value: None)
        foot = controls.actions(self.undo, self.keep_only, self.drop)
        foot.add_class("wb-decide")
        self.column = [controls.group("", self.search, self.show_rows, self.clear),
                       controls.group("Between", self.spans["length"], self.quality, *(self.spans[cell] for cell in CELLS[1:])),
                       controls.group("", self.threshold, self.copies), controls.group("", self.model, self.score), foot]
        self.table = RowTable(do.table)
        self.show(view)

    def _span(self, cell: str, do: Any) -> ipw.IntRangeSlider:
        """Counts edges of the histogram: how many there are changes with the rows, and its words stand in its label."""
        made = ipw.IntRangeSlider(value=(0, 1), min=0, max=1, readout=False, continuous_update=True, layout=ipw.Layout(**controls.FULL))
        made.add_class("wb-range")
        self._hear(made, cell, lambda picked: do.span(cell, *picked))
        return made

    def _hear(self, widget: Any, name: str, call: Callable[[Any], object]) -> None:
        """As `heard`; remembers what was told, so that `show` does not set what a person goes on typing."""
        def told(value: Any) -> None:
            self._told[name] = value
            call(value)

        self.heard(widget, told)

    def show(self, view: View) -> None:
        """Brings every widget up to date; from any thread, one at a time."""
        with self.showing():
            self._show(view)

    def _put(self, widget: Any, name: str, value: Any) -> None:
        if name not in self._told or self._told[name] != value:
            self._told[name] = value
            if widget.value != value:
                widget.value = value

    def _show(self, view: View) -> None:
        self._put(self.search, "query", view.query)
        self._options(self.show_rows, "show", view.shows, view.show)
        self._options(self.quality, "quality", view.qualities or [("", "")], view.quality)
        self._put(self.threshold, "threshold", view.threshold)
        self._put(self.model, "model", view.model)
        for cell, span in view.spans.items():
            self._show_span(cell, span)
        self.copies.value = f'<span class="wb-hint">{view.copies}</span>'
        self.clear.disabled = not view.filtered
        self.undo.disabled = not view.can_undo
        rows = "what is shown" if not view.filtered else "this 1 row" if view.seen == 1 else f"these {number(view.seen)} rows"
        self.drop.description, self.drop.disabled = f"Drop {rows}", not view.can_drop
        self.keep_only.description, self.keep_only.disabled = f"Keep only {rows}", not view.can_keep_only
        self.table.shown, self.table.detail = view.table, view.detail

    def _options(self, widget: Any, name: str, options: list[tuple[str, str]], value: str) -> None:
        """New labels without the change of value that ipywidgets makes of new options."""
        if tuple(widget.options) != tuple(options):
            now = widget.value
            with widget.hold_sync():
                widget.options = options
                widget.value = now if now in [choice for _, choice in options] else value
        self._put(widget, name, value)

    def _show_span(self, cell: str, span: Span | None) -> None:
        widget = self.spans[cell]
        widget.layout.display = "" if span else "none"
        if span is None:
            return
        if widget.description != span.words:
            widget.description = span.words
        widget.max = span.edges
        self._put(widget, cell, span.picked)
