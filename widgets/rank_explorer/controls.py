"""The rank explorer's widgets: what is looked at, what the map shows, the next training, and what can be tried.

They show a `View` and report what a person did as `do.set(name, value, widget)`; what is set by `show` is not reported. Every text is
escaped.
"""

from dataclasses import dataclass, field
from typing import Any

from widgets.frame import controls
from widgets.frame.hearing import Hearing
from widgets.frame.inputs import caption
from widgets.frame.markup import escape
from widgets.frame.sheet import number
from widgets.rank_explorer.spectra import short
from widgets.rank_explorer.state import MAPS, VARIANTS, State

RANKS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 192, 256)
ALPHAS = (0.5, 1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512)


@dataclass(slots=True, kw_only=True)
class View:
    """What the widgets show."""

    state: State
    proposals: list[str] = field(default_factory=list)
    """Folders of runs that could be opened or compared with."""
    base: str = ""
    """In force, said by the source where nobody set it."""
    matrices: list[tuple[str, str]] = field(default_factory=list)
    """(words, name)"""
    picked: str = ""
    attention: list[tuple[str, str]] = field(default_factory=list)
    others: list[tuple[str, str]] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)
    trainable: str = ""
    total: str = ""
    memory: tuple[str, str] = ("–", "")
    memory_words: str = ""
    pattern: list[tuple[str, str]] = field(default_factory=list)
    pattern_words: str = ""
    needs_rows: bool = False
    """Whether the source has no held-out rows of its own."""
    scoring: str = ""
    """Which rows a cut is scored on; empty where there are none."""
    can_truncate: bool = False
    cuts: bool = True
    """Whether rank r is below the adapter's own."""
    can_sweep: bool = False
    sweeping: bool = False
    sweep_words: str = ""


def readouts_html(view: View) -> str:
    """The two numbers, and the ranks suggested."""
    unit = f' <small>{escape(view.memory[1])}</small>' if view.memory[1] else ""
    return (f'<div class="wb-readouts"><div>trainable<b>{escape(view.trainable or "–")}</b>{escape(view.total)}</div>'
            f'<div>training takes<b>{escape(view.memory[0])}{unit}</b>{escape(view.memory_words)}</div></div>')


def pattern_html(view: View) -> str:
    if not view.pattern:
        return f'<span class="wb-hint">{escape(view.pattern_words)}</span>'
    return controls.table_html(["suggested for", "rank"], view.pattern, numeric=[1], caption="Suggested ranks") + \
        f'<span class="wb-hint">{escape(view.pattern_words)}</span>'


class Controls(Hearing):
    """`do` has one function for each thing a person can do; see `actions.py`."""

    def __init__(self, do: Any, view: View) -> None:
        state = view.state
        self.source = controls.combobox("Run, adapter or tuned model", view.proposals, state.source, "runs/… or a folder")
        self.base = controls.combobox("Base", ["town", "town-small", "town-large"], state.base, "as the adapter remembers")
        self.other = controls.combobox("Compare with", view.proposals, state.other, "another adapter")
        self.rows = controls.combobox("Held-out rows", ["town:instructions", "town:facts"], state.rows, "a file, or town:facts")
        self.map = controls.toggles("Map shows", [(words, name) for name, words in MAPS.items()], state.map)
        self.matrix = controls.dropdown("Matrix", view.matrices or [("–", "")])
        self.variant = controls.toggles("Variant", [(words, name) for name, words in VARIANTS.items()], state.variant)
        self.rank = controls.slider("Rank r", max(state.rank, 1), RANKS[0], RANKS[-1], log=True, form=",", stops=RANKS)
        self.alpha = controls.slider("Alpha", state.alpha or state.usual_alpha, ALPHAS[0], ALPHAS[-1], log=True, form=",", stops=ALPHAS)
        self.attention = controls.several("Attention", view.attention)
        self.others = controls.several("Feed-forward", view.others)
        self.spread = controls.toggles("Ranks", [("the same", "uniform"), ("suggested", "suggested")], state.spread)
        self.readouts, self.pattern = controls.html("", "wb-rank-readouts"), controls.html("")
        self.ranks = controls.text("Ranks to train", " ".join(map(str, state.ranks)), "1 2 4 8", continuous_update=False)
        self.seeds = controls.slider("Seeds", state.seeds, 1, 8)
        self.scoring, self.sweeping = controls.html(""), controls.html("")
        self.truncate = controls.button("Truncate now", tooltip="cut the adapter to rank r and score it", on_click=do.truncate)
        self.cancel = controls.button("Stop the sweep", on_click=do.stop_sweep)
        self.sweep = controls.button("Sweep", kind="primary", tooltip="train every rank with every seed, one run after the other",
                                     on_click=do.sweep)
        self.column = [
            controls.group("", self.source, self.base, self.rows, self.other),
            controls.group("Next training", self.variant, self.rank, self.alpha, self.attention, self.others, self.spread, self.readouts,
                           self.pattern),
            controls.group("", controls.row(self.ranks, self.seeds)),
            controls.actions(self.scoring, self.truncate, self.sweeping, self.cancel, self.sweep),
        ]
        self.above = controls.row(self.map, self.matrix)
        for widget, name, back in (
            (self.source, "source", str), (self.base, "base", str), (self.other, "other", str), (self.rows, "rows", str),
            (self.map, "map", str), (self.matrix, "picked", str), (self.variant, "variant", str),
            (self.rank, "rank", round), (self.alpha, "alpha", float), (self.spread, "spread", str),
            (self.ranks, "ranks", str), (self.seeds, "seeds", int),
        ):
            self.heard(widget, lambda value, name=name, back=back, widget=widget: do.set(name, back(value), widget))
        for widget in (self.attention, self.others):
            self.heard(widget, lambda _value, widget=widget: do.set("targets", tuple([*self.attention.value, *self.others.value]), widget))
        self._ranks = state.ranks
        self.show(view)

    def show(self, view: View) -> None:
        """Brings every widget up to date; from any thread, one at a time."""
        with self.showing():
            self._show(view)

    def _show(self, view: View) -> None:
        state = view.state
        proposals = tuple(view.proposals)
        for widget, value in ((self.source, state.source), (self.other, state.other), (self.base, state.base)):
            if widget is not self.base and widget.options != proposals:
                widget.options = proposals
            if widget.value != value:
                widget.value = value
        if self.rows.value != state.rows:
            self.rows.value = state.rows
        self.rows.layout.display = "" if view.needs_rows else "none"
        self.base.placeholder = caption(view.base) or "as the adapter remembers"
        self.map.value, self.variant.value, self.spread.value = state.map, state.variant, state.spread
        options = tuple(view.matrices) or (("–", ""),)
        if self.matrix.options != options:
            self.matrix.options = options
        self.matrix.value, self.matrix.disabled = view.picked if view.matrices else "", not view.matrices
        self.rank.value, self.rank.home = float(max(state.rank, 1)), 0.0
        self.alpha.value, self.alpha.home = float(state.alpha or state.usual_alpha), state.usual_alpha
        for widget, choices in ((self.attention, view.attention), (self.others, view.others)):
            wanted = [list(choice) for choice in choices]
            if widget.options != wanted:
                widget.options = wanted
            pressed = [value for _, value in choices if value in view.targets]
            if widget.value != pressed:
                widget.value = pressed
            widget.layout.display = "" if choices else "none"
        self._say(self.readouts, readouts_html(view))
        self._say(self.pattern, pattern_html(view))
        if state.ranks != self._ranks:  # else it is being typed, or was refused
            self._ranks, self.ranks.value = state.ranks, " ".join(map(str, state.ranks))
        self.seeds.value = state.seeds
        self._say(self.scoring, f'<span class="wb-hint">{escape(view.scoring)}</span>' if view.scoring else "")
        self._say(self.sweeping, f'<span class="wb-hint">{escape(view.sweep_words)}</span>' if view.sweep_words else "")
        self.truncate.disabled, self.sweep.disabled = not view.can_truncate, not view.can_sweep or view.sweeping
        self.truncate.description = f"Truncate to rank {number(max(state.rank, 1))} now" if view.cuts else "Score it on held-out rows"
        self.cancel.layout.display = "" if view.sweeping else "none"
        low, high = min(state.ranks, default=1), max(state.ranks, default=1)
        self.sweep.description = f"Sweep ranks {low} to {high}" if low != high else f"Train rank {low}"

    @staticmethod
    def _say(widget: Any, markup: str) -> None:
        if widget.value != markup:
            widget.value = markup


def choices(modules: list[tuple[str, bool]]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """(of attention, the others) as (words, module)."""
    attention, others = ([(short(name), name) for name, is_attention in modules if is_attention is kind] for kind in (True, False))
    return attention, others
