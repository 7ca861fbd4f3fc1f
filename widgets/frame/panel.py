"""What every panel is: state -> figure, sentence and code, all pure; and the widget that shows them, built on first display.

A panel subclass computes; this file lays out, refreshes, shows errors and progress, and keeps what stays in the notebook when
there is no kernel. Knows nothing of any one panel, and never runs long work itself.
"""

import contextlib
import dataclasses
import json
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from widgets.frame import static
from widgets.frame.markup import escape
from widgets.frame.pump import Pump, Turn
from widgets.frame.selection import Selection
from widgets.frame.sheet import number
from widgets.frame.status import Sentence
from workbench.errors import WorkbenchError
from workbench.legible import words

WIDTHS = ("wide", "medium", "narrow")
VIEW = "application/vnd.jupyter.widget-view+json"


class Panel:
    """Subclass it: give `title`, `question`, `help_text`, `State`, `figure`, `summary`, `code`, and where there are any `controls`,
    `bar`, `extra`.

    `state`, `figure()`, `summary()` and `code()` work with no browser and no kernel and make no widget.
    """

    title: ClassVar[str] = ""
    question: ClassVar[str] = ""
    help_text: ClassVar[str] = ""
    State: ClassVar[type | None] = None
    """A dataclass of plain values; `from_json` makes one."""
    frame_ms: ClassVar[int] = 100
    """A new figure is sent at most so often: 100 for one that follows a run, less for one that follows a slider."""

    def __init__(self, state: Any = None, selection: Selection | None = None) -> None:
        self.state = state if state is not None or self.State is None else self.State()
        self.selection = selection or Selection()
        self._lock = threading.RLock()
        self._display_id = uuid.uuid4().hex
        self._displayed = False
        self._frozen: dict | None = None
        self._root = self._live = self._status = self._busy = self._main = None
        self._errors: dict[Any, tuple[Any, Any]] = {}
        self._pump_said = ""

    # ---- what a panel gives

    def figure(self, width: str = "wide") -> dict | None:
        """The plotly dict for a width class ("wide", "medium", "narrow"); None for a panel without a figure."""
        return None

    def summary(self) -> Sentence | str:
        """The one sentence; a plain str counts as Sentence("ok", ...)."""
        raise NotImplementedError(f"{type(self).__name__} needs summary().")

    def code(self) -> str:
        """The Python that rebuilds this state without the panel."""
        raise NotImplementedError(f"{type(self).__name__} needs code().")

    def controls(self) -> list:
        """Groups of ipywidgets for the left column, made anew; called once."""
        return []

    def bar(self) -> Any:
        """A widget for the line above the body, or None; called once."""
        return None

    def above(self) -> Any:
        """A widget over the figure, in its column, or None; called once."""
        return None

    def extra(self) -> Any:
        """A widget for the wide area under the figure, or None; called once."""
        return None

    def extra_html(self) -> str:
        """What of `above()` and `extra()` stays readable without a kernel: markup with everything escaped (controls.table_html)."""
        return ""

    # ---- state

    def state_json(self) -> str:
        """The state as JSON; `from_json` of the same class takes it back."""
        return json.dumps({"panel": type(self).__name__, "version": 1, "state": dataclasses.asdict(self.state)}, default=_listed)

    @classmethod
    def from_json(cls, text: str, **more: Any) -> "Panel":
        """A panel with the state of `state_json()`; `more` goes to the constructor. Raises ValueError for another panel's state."""
        found = json.loads(text)
        if found.get("panel") != cls.__name__ or found.get("version") != 1:
            raise ValueError(f"this is the state of {found.get('panel')!r}, version {found.get('version')}; "
                             f"{cls.__name__} reads its own, version 1.")
        return cls(state=_filled(cls.State, found["state"]), **more)

    # ---- the live widget

    @property
    def widget(self) -> Any:
        """The ipywidgets tree, built on first use."""
        with self._lock:
            if self._root is None:
                self._build()
            return self._root

    @property
    def live(self) -> Any:
        """The LiveFigure, or None where the panel has no figure or was never shown. `live.extend` and `live.on_event` are for panels."""
        return self._live

    def refresh(self) -> None:
        """Computes figure, sentence and code again and shows them; from any thread. Only what differs travels."""
        with self._lock:
            if self._root is None:
                return
            sentence = Sentence.of(self.summary())
            if self._live is not None:
                self._live.set_figures(self._figures(), summary=sentence.text)
            self._status.show(sentence, self.code())

    def every(self, call: Callable[[], object], period_s: float = 0.1) -> Turn:
        """Calls `call()` from the kernel's pump; what it raises is shown above the figure until it succeeds again."""
        return Pump.shared().add(call, period_s, self._failed, self._recovered)

    def _failed(self, error: Exception) -> None:
        with self._lock:
            said = str(error) or type(error).__name__
            if self._pump_said != said:
                self._pump_said = said
                self.show_error(None, said)

    def _recovered(self) -> None:
        with self._lock:
            self._pump_said = ""
            self.clear_error(None)

    def show_error(self, control: Any, sentence: str, remedy: tuple[str, Callable[[], object]] | None = None) -> None:
        """Says at `control` (a widget of this panel; None: above the figure) what is wrong and what to do.

        `remedy` is (words of a button, what it does). The last good figure stays, at half strength.
        """
        from widgets.frame import controls

        with self._lock:
            self.widget
            self.clear_error(control)
            parts = [controls.html(f'<span class="wb-error" role="alert">{TRIANGLE}<span>{escape(words(sentence))}</span></span>')]
            if remedy is not None:
                parts.append(controls.button(remedy[0], on_click=remedy[1]))
            box = controls.group("", *parts)
            box.remove_class("wb-group")
            box.add_class("wb-error-box")
            parent = _parent_of(self._root, control) if control is not None else self._main
            if parent is None:
                parent, control = self._main, None
            place = 0 if control is None else parent.children.index(control) + 1
            parent.children = (*parent.children[:place], box, *parent.children[place:])
            if control is not None:
                control.add_class("wb-bad")
            self._errors[control] = (parent, box)
            if self._live is not None:
                self._live.add_class("wb-stale")

    def clear_error(self, control: Any = ...) -> None:
        """Takes the error at `control` away; with no argument all of them."""
        with self._lock:
            for key in list(self._errors) if control is ... else [control] if control in self._errors else []:
                parent, box = self._errors.pop(key)
                parent.children = tuple(child for child in parent.children if child is not box)
                box.close()
                if key is not None:
                    key.remove_class("wb-bad")
            if not self._errors and self._live is not None:
                self._live.remove_class("wb-stale")

    @contextlib.contextmanager
    def errors_at(self, control: Any) -> Iterator[None]:
        """Inside, what a person can mend ends the work and is said at `control`, in place of what stood there."""
        self.clear_error(control)
        try:
            yield
        except WorkbenchError as error:
            self.show_error(control, str(error))
        except OSError as error:
            self.show_error(control, f"The disk said no: {error.strerror or error}. Nothing was changed.")

    def busy(self, what: str | None, done: float = 0, total: float | None = None, cancel: Callable[[], object] | None = None) -> None:
        """Shows progress above the figure with a Cancel button, from any thread; `busy(None)` takes it away."""
        from widgets.frame import controls

        with self._lock:
            self.widget
            if what is None:
                if self._busy is not None:
                    self._main.children = tuple(child for child in self._main.children if child is not self._busy[0])
                    self._busy[0].close()
                    self._busy = None
                return
            if self._busy is None:
                progress = controls.Progress()
                stop = controls.button("Cancel", on_click=lambda: self._busy and self._busy[2] and self._busy[2]())
                self._busy = [controls.row(progress, stop), progress, cancel]
                self._busy[0].add_class("wb-busy")
                self._main.children = (self._busy[0], *self._main.children)
            self._busy[2] = cancel
            count = f"{number(done)} of {number(total)}" if total else ""
            self._busy[1].show(count, "", what, done / total if total else None)
            self._busy[0].children[1].disabled = cancel is None

    def _figures(self) -> dict[str, dict] | None:
        figures = {width: self.figure(width) for width in WIDTHS}
        return None if figures["wide"] is None else figures

    def _build(self) -> None:
        import ipywidgets as ipw

        from widgets.frame import controls
        from widgets.frame.live_figure import LiveFigure
        from widgets.frame.status import StatusLine

        def box(kind, children, *names):
            made = kind([child for child in children if child is not None])
            for name in names:
                made.add_class(name)
            return made

        figures, sentence = self._figures(), Sentence.of(self.summary())
        if figures is not None:
            self._live = LiveFigure(figures, summary=sentence.text, frame_ms=self.frame_ms)
        self._status = StatusLine(on_leave=self.freeze, kind=sentence.kind, sentence=sentence.text, code=self.code(), help=self.help_text)
        head = controls.html(f"<h2>{escape(self.title)}</h2><p>{escape(self.question)}</p>", "wb-head")
        groups, bar, extra = self.controls(), self.bar(), self.extra()
        self._main = box(ipw.VBox, [self.above(), self._live], "wb-main")
        if extra is not None:
            extra = box(ipw.VBox, [extra], "wb-extra")
        column = box(ipw.VBox, groups, "wb-controls") if groups else None
        body = box(ipw.Box, [column, self._main, extra], "wb-body", *(() if groups else ("wb-alone",)))
        self._root = box(ipw.VBox, [head, bar, body, self._status], "wb-panel")

    # ---- what stays in the notebook

    def static_html(self) -> str:
        """Title, question, figure, tables and sentence as one piece of HTML that needs no kernel, no script and no style sheet."""
        sentence, figure = Sentence.of(self.summary()), self.figure("wide")
        picture = "" if figure is None else static.svg(figure, summary=sentence.text)
        return static.card(self.title, self.question, picture, self.extra_html(), sentence)

    def _bundle(self, live: bool) -> dict[str, Any]:
        sentence = Sentence.of(self.summary())
        bundle: dict[str, Any] = {"text/plain": repr(self) if not live else f"{self.title}: {sentence.text}", "text/html": self.static_html()}
        if live:
            bundle[VIEW] = {"model_id": self.widget.model_id, "version_major": 2, "version_minor": 0}
        return bundle

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, Any]:
        return self._bundle(live=_in_kernel())

    def _display_(self) -> Any:
        """What marimo asks an object for: the panel as one anywidget."""
        from widgets.frame.boxes import Boxes

        return Boxes(self.widget)

    def _ipython_display_(self) -> None:
        """Shows the panel under a display id, so that `freeze` can bring what stays in the notebook up to date."""
        from IPython.display import display

        with self._lock:
            bundle = self._bundle(live=_in_kernel())
            self._frozen, self._displayed = bundle, True
        display(bundle, raw=True, display_id=self._display_id)

    def __repr__(self) -> str:
        return f"{self.title}: {Sentence.of(self.summary()).text} (A notebook shows the picture.)"

    def display(self) -> None:
        self._ipython_display_()

    def freeze(self) -> bool:
        """Puts the figure and sentence of now into the notebook's output, where they stay readable without a kernel.

        Call it at the end of a run; the page calls it when it is hidden, left or saved. The view is drawn again, so not for every
        change. True where something had changed.
        """
        from IPython.display import update_display

        with self._lock:
            if not self._displayed:
                return False
            live = _in_kernel()
            bundle = self._bundle(live)
            if bundle == self._frozen:
                return False
            self._frozen = bundle
            if live and self._live is not None:
                self._live.send_state("_full")  # whoever stored the widget's state has the last figure too
        update_display(bundle, raw=True, display_id=self._display_id)
        return True


TRIANGLE = ('<svg width="13" height="13" viewBox="0 0 14 14" fill="none" stroke="currentColor" stroke-width="1.6" stroke-linecap="round" '
             'stroke-linejoin="round" aria-hidden="true"><path d="M7 1.8L13 12.200H1z"/><path d="M7 5.500v3M7 10.400v.1"/></svg>')


def _in_kernel() -> bool:
    from IPython import get_ipython

    return getattr(get_ipython(), "kernel", None) is not None


def _parent_of(root: Any, wanted: Any) -> Any:
    for child in getattr(root, "children", ()):
        if child is wanted:
            return root
        found = _parent_of(child, wanted)
        if found is not None:
            return found
    return None


def _listed(value: Any) -> list:
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=str)
    raise TypeError(f"a panel's state holds plain values only, not {type(value).__name__}.")


PLAIN = {(int, float): (int, float), (str,): (str,), (tuple, set, frozenset): (tuple,)}
"""What a field that starts as one of the first may hold in JSON; a list has been made a tuple by then."""


def _filled(kind: type, values: dict) -> Any:
    """`kind(**values)`, lists turned back into the tuples, sets and dataclasses its fields start from.

    Raises ValueError for a value of another type than its field starts with: it would be taken for a number in code.
    """
    made = {}
    for field in dataclasses.fields(kind):
        if field.name not in values:
            continue
        value = values[field.name]
        start = field.default if field.default is not dataclasses.MISSING else \
            field.default_factory() if field.default_factory is not dataclasses.MISSING else None
        if isinstance(start, (tuple, set, frozenset)) and isinstance(value, list):
            value = type(start)(tuple(item) if isinstance(item, list) else item for item in value)
        elif dataclasses.is_dataclass(start) and isinstance(value, dict):
            value = _filled(type(start), value)
        elif value is not None and next((not isinstance(value, kinds) for of, kinds in PLAIN.items() if isinstance(start, of)), False):
            raise ValueError(f"{field.name} of this state is {value!r}, and it starts as {start!r}.")
        made[field.name] = value
    return kind(**made)
