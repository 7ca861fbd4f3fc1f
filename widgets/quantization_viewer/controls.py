"""The viewer's widgets: model and picture, scheme and its settings, the tree of tensors, and what is measured on a click.

They show a `View` and report what a person did as `do.set(name, value, widget)`; what is set by `show` is not reported.
"""

from dataclasses import dataclass, field
from typing import Any

from widgets.frame import controls
from widgets.frame.hearing import Hearing
from widgets.quantization_viewer.state import ACTIVATIONS, BLOCKS, FAILURES, INTEGER, SCHEMES, VIEWS, State
from widgets.quantization_viewer.tensor_tree import TensorTree


@dataclass(slots=True, kw_only=True)
class View:
    """What the widgets show."""

    state: State
    rows: list[dict] = field(default_factory=list)
    """Of the tree; see `tensor_tree.rows_of`."""
    live: dict[str, list] = field(default_factory=dict)
    picked: str = ""
    """Full name of the tensor."""
    empty: str = ""
    """What the tree says while it has no rows."""
    primary: tuple[str, str] = ("", "")
    """The main action: its words, and why it cannot be done now ("" where it can)."""
    second: tuple[str, str] = ("", "")
    can_threshold: bool = False
    has_model: bool = True
    """Whether it can be run, and is not only tensors."""
    given: bool = False
    """Tensors were given in memory, so there is no model to name."""
    missing: int = 0
    """Tensors that the overview has not come to."""
    going: bool = False
    """Whether it goes on by itself."""


class Controls(Hearing):
    """`do` has one function for each thing a person can do; see `actions.Actions`."""

    def __init__(self, do: Any, view: View) -> None:
        state = view.state
        self.model = controls.text("Model, folder or run", state.model, "town", continuous_update=False)
        self.view = controls.dropdown("Show", [(words, name) for name, words in VIEWS.items()], state.view)
        self.failure = controls.dropdown("Show a failure", [(words, name) for name, words in FAILURES.items()], state.failure)
        self.plain = controls.text("Run that is quantized after", state.plain, "runs/...", continuous_update=False)
        self.aware = controls.text("Run trained quantized", state.aware, "runs/...", continuous_update=False)
        self.scheme = controls.dropdown("Scheme", list(SCHEMES), state.scheme)
        self.bits = controls.slider("Bits", state.bits, 2, 8)
        self.block = controls.toggles("Block size", [str(size) for size in BLOCKS], str(state.block))
        self.double = controls.checkbox("Double quantization", state.double)
        self.activations = controls.toggles("Activations in the whole model", list(ACTIVATIONS), state.activations)
        self.threshold = controls.slider("Outlier threshold", state.threshold, 0.5, 20, 0.1, form=".1f")
        self.search = controls.text("Tensors", state.query, "search, for example q_proj")
        self.tree = TensorTree(on_pick=do.pick)
        self.rest = controls.button("Look at the rest", on_click=do.overview)
        self.second = controls.button("–", on_click=do.second)
        self.primary = controls.button("–", kind="primary", on_click=do.primary)
        self.column = [
            controls.group("", self.model, self.view, self.plain, self.aware, self.failure),
            controls.group("", self.scheme, self.bits, self.block, self.double, self.activations, self.threshold),
            controls.group("", self.search, self.tree, self.rest),
            controls.actions(self.second, self.primary),
        ]
        for widget, name, back in (
            (self.model, "model", str.strip), (self.view, "view", str), (self.failure, "failure", str), (self.plain, "plain", str.strip),
            (self.aware, "aware", str.strip), (self.scheme, "scheme", str), (self.bits, "bits", int), (self.block, "block", int),
            (self.double, "double", bool), (self.activations, "activations", str),
            (self.threshold, "threshold", lambda value: round(value, 1)), (self.search, "query", str),
        ):
            self.heard(widget, lambda value, name=name, back=back, widget=widget: do.set(name, back(value), widget))
        self.tree.observe(lambda change: None if self.is_showing else do.fold(tuple(change["new"])), "unfolded")
        self._rows: list | None = None
        self.show(view)

    @property
    def is_showing(self) -> bool:
        import threading

        return self._showing == threading.get_ident()

    def show(self, view: View) -> None:
        """Brings every widget up to date; from any thread, one at a time."""
        with self.showing():
            self._show(view)

    def _show(self, view: View) -> None:
        state = view.state
        for widget, value in ((self.model, state.model), (self.view, state.view), (self.failure, state.failure), (self.plain, state.plain),
                              (self.aware, state.aware), (self.scheme, state.scheme), (self.bits, state.bits), (self.double, state.double),
                              (self.activations, state.activations), (self.threshold, float(state.threshold)), (self.search, state.query)):
            if widget.value != value:
                widget.value = value
        if str(state.block) in self.block.options:
            self.block.value = str(state.block)
        else:
            self.block.value = None  # a size of one's own: none of these
        training = state.view == "training" and not state.failure
        for widget in (self.plain, self.aware):
            widget.layout.display = "" if training else "none"
        self.model.layout.display = "none" if view.given or training else ""
        failing = bool(state.failure)
        choice = state.choice
        self.view.disabled = failing
        self.bits.disabled = not failing and (state.scheme not in INTEGER or state.scheme == "LLM.int8()")
        self.block.disabled = not choice.blocks or failing
        self.double.disabled = state.scheme not in ("NF4", "FP4") or failing
        self.scheme.disabled = failing
        self.activations.disabled = failing or not view.has_model
        self.threshold.disabled = not view.can_threshold
        if view.rows is not self._rows:
            self._rows = self.tree.rows = view.rows
        for name, value in (("live", view.live), ("picked", view.picked), ("unfolded", list(state.open)), ("query", state.query),
                            ("empty", view.empty)):
            if getattr(self.tree, name) != value:
                setattr(self.tree, name, value)
        self.rest.layout.display = "" if view.missing and not view.going else "none"
        for button, (words, why) in ((self.primary, view.primary), (self.second, view.second)):
            button.layout.display = "" if words else "none"
            if words:
                button.description, button.disabled, button.tooltip = words, bool(why), why or words
