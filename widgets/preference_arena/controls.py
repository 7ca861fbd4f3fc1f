"""The arena's widgets: who judges what, the view, training rows. Wires them to the actions; shows what the panel tells it."""

from typing import Any

import ipywidgets as ipw

from widgets.frame import controls
from widgets.frame.hearing import Hearing
from widgets.frame.markup import escape
from widgets.preference_arena.desk import Desk
from widgets.preference_arena.state import KINDS, MOST_REPLIES, ROWS, State


class Controls(Hearing):
    """`column`, `above` and `about` are what the panel lays out."""

    def __init__(self, do: Any, state: State) -> None:
        self.view = controls.toggles("View", [("Judge", "judge"), ("Results", "results")], state.view)
        self.view.add_class("wb-arena-head")
        self.judge = controls.text("Who judges", state.judge, placeholder="your name", continuous_update=False)
        self.kind = controls.toggles("What is judged", [(words, kind) for kind, words in KINDS.items()], state.kind)
        self.replies = controls.slider("Replies side by side", state.replies, 2, MOST_REPLIES, live=False)
        self.criteria = controls.text("Criteria, with commas between them", ", ".join(state.criteria), continuous_update=False)
        self.source = controls.text("Store: a file, or the URL of PostgreSQL", state.source, continuous_update=False)
        self.rows = controls.dropdown("Training rows", [(words, rows) for rows, words in ROWS.items()], state.rows)
        self.file = controls.text("File to write", state.file, placeholder="none: panel.table alone", continuous_update=False)
        self.made_rows = controls.html("")
        self.make = controls.button(
            "Make training rows",
            kind="primary",
            tooltip="panel.table has them; wb.Recipe(data=...) takes them or the file",
            on_click=do.make_rows,
        )
        self.column = [
            controls.group("", self.judge, self.kind, self.replies, self.criteria),
            controls.group("", self.source),
            controls.group("", self.rows, self.file, self.made_rows),
            controls.actions(self.make),
        ]
        self.desk = Desk(do.verdict)
        self.above = ipw.VBox([self.view, self.desk])
        self.above.add_class("wb-group")
        self.about = controls.html("", "wb-arena-about")
        for name in ("view", "judge", "kind", "replies", "criteria", "source", "rows", "file"):
            widget = getattr(self, name)
            self.heard(widget, lambda value, name=name, widget=widget: do.set(name, value, widget))
        self.show(state, "", ())

    def show(self, state: State, made: str, about: "list[str] | tuple") -> None:
        """Brings the widgets up to date, except what is being typed."""
        with self.showing():
            self.view.value, self.kind.value, self.replies.value, self.rows.value = state.view, state.kind, state.replies, state.rows
            judging = state.view == "judge"
            self.desk.layout.display = "" if judging else "none"
            self.replies.layout.display = "" if state.kind == "ranking" else "none"
            self.criteria.layout.display = "" if state.kind == "scores" else "none"
            self.about.layout.display = "none" if judging or not about else ""
            self._say(self.about, "".join(f"<p>{escape(line)}</p>" for line in about))
            self._say(self.made_rows, f'<span class="wb-hint">{escape(made)}</span>' if made else "")

    def spring_back(self, state: State) -> None:
        """What is typed is again what the state says."""
        with self.showing():
            self.judge.value, self.source.value, self.file.value, self.criteria.value = (
                state.judge,
                state.source,
                state.file,
                ", ".join(state.criteria),
            )

    @staticmethod
    def _say(widget: Any, markup: str) -> None:
        if widget.value != markup:
            widget.value = markup
