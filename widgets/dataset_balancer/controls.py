"""The balancer's widgets: rule, budget and stages in the column beside the figure, the sources and sampled rows below it.

They show a `View` and report what a person did as `do.set(name, value)`; what is set by `show` is not reported. Every text is escaped.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from widgets.dataset_balancer.source_table import SourceTable
from widgets.dataset_balancer.state import RULES, State
from widgets.dataset_balancer.words import short
from widgets.frame import controls
from widgets.frame.hearing import Hearing
from widgets.frame.sheet import number

LENGTHS = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 16384, 32768)
SHOWN_ROWS = 8
"""Rows of the preview."""


@dataclass(slots=True, kw_only=True)
class View:
    """What the widgets show."""

    state: State
    budget: float
    """In force, in what `state.by` counts."""
    most: float
    """The largest budget the slider goes to."""
    plain_share: float | None
    """In force, of examples; None where no source is plain text."""
    tokens_known: bool
    largest: int
    """Rows of the largest source."""
    rows: list[dict] = field(default_factory=list)
    live: dict[str, list] = field(default_factory=dict)
    picked: list[str] = field(default_factory=list)
    drawn: str = ""
    missing: int = 0
    measuring: bool = False


def preview_html(rows: Sequence[tuple[str, int, str]], hint: str = "") -> str:
    """Source, number and text of each row."""
    if not rows:
        return f'<p class="wb-hint">{hint}</p>' if hint else ""
    body = [[short(source, 24), number(row), text] for source, row, text in rows]
    return controls.table_html(["source", "row", "text"], body, numeric=[1], kinds={(k, 1): "mute" for k in range(len(body))}, wide=2,
                               caption="Sampled rows")


class Controls(Hearing):
    """`do` has one function for each thing a person can do; see `DatasetBalancer`."""

    def __init__(self, do: Any, view: View) -> None:
        import ipywidgets as ipw

        state = view.state
        self.rule = controls.dropdown("Rule", [(words, rule) for rule, words in RULES.items()], state.rule)
        self.cap = controls.slider("Cap K, examples", state.cap, 10, 1e7, log=True, form=",")
        self.temperature = controls.slider("Temperature T", state.temperature, 0.5, 50, log=True, form=",")
        self.plain = controls.slider("Plain text mixed in, %", 0.0, 0, 100, 0.5, form=".1f")
        self.by = controls.toggles("Count", ["tokens", "examples"], state.by)
        self.budget = controls.slider("Budget, tokens", max(1.0, view.budget), 100, 1e6, log=True, form=",")
        self.max_length = controls.slider("Max length, tokens", state.max_length, LENGTHS[0], LENGTHS[-1], log=True, form=",",
                                          stops=LENGTHS)
        self.batch = controls.slider("Rows a batch", state.batch_size, 1, 64)
        self.stages = controls.checkbox("Two stages", state.stages)
        self.first = controls.slider("First stage, % of examples", round(100 * state.first_share), 5, 95)
        self.replay = controls.slider("Replayed in stage 2, %", round(100 * state.replay), 0, 90)
        self.drawn = controls.html("")
        self.use = controls.button("Use this mixture", kind="primary", on_click=do.use)
        self.measure = controls.button("Measure the rest", on_click=do.measure)
        self.column = [
            controls.group("", self.rule, self.cap, self.temperature, self.plain),
            controls.group("", self.by, self.budget, self.max_length, self.batch),
            controls.group("", self.stages, self.first, self.replay),
            controls.actions(self.drawn, self.measure, self.use),
        ]
        for widget, name, back in (
            (self.rule, "rule", str), (self.cap, "cap", round), (self.temperature, "temperature", float),
            (self.plain, "plain_share", lambda value: value / 100), (self.by, "by", str), (self.budget, "budget", float),
            (self.max_length, "max_length", round), (self.batch, "batch_size", int), (self.stages, "stages", bool),
            (self.first, "first_share", lambda value: value / 100), (self.replay, "replay", lambda value: value / 100),
        ):
            self.heard(widget, lambda value, name=name, back=back, widget=widget: do.set(name, back(value), widget))
        self.table = SourceTable(on_set=do.set_source, on_pick=do.pick)
        self.others = controls.button("Draw others", tooltip="sample other rows", on_click=do.other_rows)
        self.preview_title, self.preview = controls.heading("Sampled rows"), controls.html("", "wb-preview")
        head = controls.row(self.preview_title, self.others)
        head.add_class("wb-preview-head")
        self.extra = ipw.VBox([self.table, head, self.preview])
        self._order: list | None = None
        self.show(view)

    def show(self, view: View) -> None:
        """Brings every widget up to date; from any thread, one at a time."""
        with self.showing():
            self._show(view)

    def _show(self, view: View) -> None:
        state = view.state
        self.rule.value, self.temperature.value = state.rule, float(state.temperature)
        self.cap.disabled = state.rule != "capped"
        self.cap.max, self.cap.value = max(1000.0, float(view.largest)), float(state.cap)
        self.plain.disabled = view.plain_share is None
        self.plain.value = round(100 * (view.plain_share or 0.0), 1)
        self.by.value, self.by.disabled = state.by, not view.tokens_known
        self.budget.description = f"Budget, {state.by if view.tokens_known else 'examples'}"
        self.budget.max, self.budget.value = max(1000.0, view.most), max(1.0, float(round(view.budget)))
        self.max_length.value, self.batch.value = float(state.max_length), state.batch_size
        self.stages.value = state.stages
        for widget, share in ((self.first, state.first_share), (self.replay, state.replay)):
            widget.disabled, widget.value = not state.stages, round(100 * share)
        if self.drawn.value != view.drawn:
            self.drawn.value = view.drawn
        self.measure.layout.display = "" if view.missing and not view.measuring else "none"
        self.table.by_hand, self.table.stages, self.table.picked = state.rule == "weights", state.stages, view.picked
        if view.rows != self._order:
            self._order = self.table.rows = view.rows
        if view.live != self.table.live:
            self.table.live = view.live
