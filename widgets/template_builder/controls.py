"""The template builder's widgets: the column of fields, and over the figure the row slider and the example.

They show a `View` and report what a person did to `do`, the panel. A field that is being written in is never set from here, only when
another wording, a file or a button put other words into it (`show_fields`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import ipywidgets as ipw

from widgets.frame import controls
from widgets.frame.hearing import Hearing
from widgets.frame.inputs import caption
from widgets.frame.markup import escape
from widgets.frame.panel import TRIANGLE
from widgets.template_builder.example_view import ExampleView
from widgets.template_builder.reading import Shown
from widgets.template_builder.state import WORDINGS, State

MOST_TOGGLES = 5
"""More wordings than this are a list to choose from."""
ADD = -1
LENGTHS = [n * 2**k for k in range(3, 14) for n in (2, 3)]
"""Stops of the max length slider: 16, 24, 32, 48, 64, ..."""


@dataclass(slots=True, kw_only=True)
class View:
    """What the widgets show beside the texts."""

    state: State
    used: set[str] = field(default_factory=set)
    """Columns that the picked wording reads."""
    chat_names: Sequence[tuple[str, bool]] = ()
    shown: Shown | None = None
    rows: int = 0
    reason: str = ""
    usable: bool = False
    stale: bool = False


class Controls(Hearing):
    """`column`: groups for the left; `above`: what stands over the figure. `do` has `edit`, `option`, `column`, `pick`, `add`, `remove`,
    `scrub`, `use`, `read_file` and `write_file`."""

    def __init__(self, do: Any, columns: Sequence[str], view: View):
        state = view.state
        self.chips = {name: ipw.ToggleButton(description=caption(name), tooltip=caption(f"put the column {name} into the field you wrote in last"))
                      for name in columns}
        for name, chip in self.chips.items():
            self.heard(chip, lambda used, name=name: do.column(name, used))
        self.columns = ipw.HBox(list(self.chips.values()))
        self.columns.add_class("wb-chips")
        self.toggles = controls.toggles("Wording", [("1", 0), ("+", ADD)], 0)
        self.list = controls.dropdown("Wording", [("1", 0)], 0)
        for widget in (self.toggles, self.list):
            self.heard(widget, lambda place: do.add() if place == ADD else do.pick(place))
        self.wording = controls.group("", self.toggles, self.list)
        self.wording.remove_class("wb-group")
        self.wording.add_class("wb-labelled")
        self.name = controls.text("Name of this wording")
        self.input = controls.textarea("Input", rows=3)
        self.target = controls.textarea("Target", rows=2)
        self.answer_choices = controls.text("Answer choices", placeholder="yes ||| no")
        for name in ("name", "input", "target", "answer_choices"):
            self.heard(getattr(self, name), lambda text, name=name: do.edit(name, text))
        self.remove = controls.button("", "trash", tooltip="remove this wording", on_click=do.remove)
        self.named = controls.row(self.name, self.remove)
        self.named.add_class("wb-named")
        self.use_of = controls.toggles("Wordings trained on", [(words, name) for name, words in WORDINGS.items()], state.use)
        self.system = controls.textarea("System prompt", rows=2)
        self.demonstrations = controls.slider("Demonstrations", state.demonstrations, 0, 8)
        self.as_turns = controls.checkbox("Each as a turn of its own")
        self.inverted = controls.checkbox("Invert: answer to question")
        self.chat = controls.dropdown("Chat template", [("the tokenizer's", True), ("none: prompt and completion", False)], state.chat)
        self.completions_only = controls.checkbox("Train on completions only")
        self.max_length = controls.slider("Max length, tokens", state.max_length, LENGTHS[0], LENGTHS[-1], log=True, form=",",
                                          stops=LENGTHS)
        for name in ("system", "demonstrations", "as_turns", "inverted", "chat", "completions_only"):
            self.heard(getattr(self, name), lambda value, name=name: do.option(name, value))
        self.heard(self.max_length, lambda value: do.option("max_length", max(1, round(value))))
        self.heard(self.use_of, lambda value: do.option("use", value))
        self.tokenizer = controls.text("Tokenizer of the model", placeholder="town, a folder or a hub id", continuous_update=False)
        self.heard(self.tokenizer, lambda value: do.option("tokenizer", value.strip()))
        self.file = controls.text("promptsource file", placeholder="templates.yaml")
        self.read = controls.button("Import", tooltip="take the templates of this file",
                                    on_click=lambda: do.read_file(self.file.value.strip()))
        self.write = controls.button("Export", tooltip="write these wordings into this file",
                                     on_click=lambda: do.write_file(self.file.value.strip()))
        files = controls.row(self.read, self.write)
        self.refused = controls.html("")
        self.use = controls.button("Use this template", kind="primary", tooltip="check all rows; panel.admitted has what may be trained on",
                                   on_click=do.use)
        label = controls.html('<span class="wb-label">Columns</span>')
        chosen = controls.group("", label, self.columns)
        chosen.remove_class("wb-group")
        chosen.add_class("wb-labelled")
        self.column = [
            controls.group("", chosen, self.wording, self.named, self.input, self.target, self.answer_choices, self.inverted, self.use_of),
            controls.group("", self.system, self.demonstrations, self.as_turns),
            controls.group("", self.tokenizer, self.chat, self.completions_only, self.max_length),
            controls.group("", self.file, files),
            controls.actions(self.refused, self.use),
        ]
        self.row = controls.slider("Row, from the shortest to the longest", 1, 1, 2)
        self.heard(self.row, lambda value: do.scrub(value - 1))
        self.example = ExampleView()
        self.above = ipw.VBox([self.row, self.example])
        self.above.add_class("wb-above")
        self.show_fields(state)
        self.show(view)

    def show_fields(self, state: State) -> None:
        """Everything a person writes in or sets, as the state has it."""
        with self.showing():
            now = state.templates[state.picked]
            for name in ("name", "input", "target", "answer_choices"):
                getattr(self, name).value = now.get(name) or ""
            for name in ("system", "demonstrations", "as_turns", "inverted", "chat", "completions_only", "tokenizer", "file"):
                getattr(self, name).value = getattr(state, name)
            self.max_length.value, self.use_of.value = state.max_length, state.use
            names = [fields["name"] for fields in state.templates]
            many = len(names) > MOST_TOGGLES
            only = [("1", 0)]
            self.toggles.options = only if many else [(str(place + 1), place) for place in range(len(names))] + [("+", ADD)]
            self.toggles.tooltips = [*names, "one more wording, begun as this one"] if not many else []
            numbered = [(f"{place + 1}  {name}", place) for place, name in enumerate(names)]
            self.list.options = [*numbered, ("+ one more wording", ADD)] if many else only
            (self.list if many else self.toggles).value = state.picked
            self.toggles.layout.display, self.list.layout.display = ("none", "") if many else ("", "none")
            self.use_of.layout.display = "" if len(names) > 1 else "none"
            self.remove.layout.display = "" if len(names) > 1 else "none"

    def show(self, view: View) -> None:
        """What follows from the fields: chips, example, the reason above the button."""
        with self.showing():
            state, shown = view.state, view.shown
            for name, chip in self.chips.items():
                chip.value = name.replace("-", "_") in view.used
            if view.chat_names and tuple(self.chat.options) != tuple(view.chat_names):
                self.chat.options = view.chat_names
                self.chat.value = state.chat
            self.as_turns.disabled = not (state.chat and state.demonstrations)
            if shown is not None:
                self.row.max = max(shown.of, 1)
                self.row.value = shown.rank + 1
            self.row.disabled = shown is None or shown.of < 2
            self.example.show(shown, view.rows)
            self.example.stale = view.stale
            self.refused.value = f'<span class="wb-refused">{TRIANGLE}<span>{escape(view.reason)}</span></span>' if view.reason else ""
            self.refused.layout.display = "" if view.reason else "none"
            self.use.disabled = not view.usable
            self.use.button_style = "primary" if view.usable else ""
