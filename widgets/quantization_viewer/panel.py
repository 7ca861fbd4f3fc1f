"""Panel 4, the quantization viewer: what does each weight become, and what does that cost?

`QuantizationViewer("town")` reads headers only; tensors are read one at a time. What is found out is kept in `knowledge.py`, drawn in
`figure.py`, said in `words.py`, and written as Python in `code.py`; here these are joined. A moving slider is answered from a sample of the
picked tensor, exact numbers come from a thread when the hand rests, and what takes long is done by `measuring.Work` with Cancel.
"""

import threading
from typing import Any, ClassVar

from widgets.frame import controls as frame_controls
from widgets.frame.panel import Panel
from widgets.frame.selection import Selection
from widgets.frame.sheet import number
from widgets.frame.status import Sentence
from widgets.quantization_viewer import code, failures, words
from widgets.quantization_viewer.actions import Actions
from widgets.quantization_viewer.controls import Controls, View
from widgets.quantization_viewer.drawing import decibels
from widgets.quantization_viewer.figure import figure
from widgets.quantization_viewer.jobs import Jobs
from widgets.quantization_viewer.knowledge import Known
from widgets.quantization_viewer.looks import ActivationLook, FailureLook, ModelLook, TensorLook
from widgets.quantization_viewer.model_knowledge import ModelKnown
from widgets.quantization_viewer.runs import Runs
from widgets.quantization_viewer.state import State, compared
from widgets.quantization_viewer.tensor_tree import module_of, rows_of, shape_words, shown
from workbench.errors import DataError, WorkbenchError

FOLLOW_S = 1.0
"""Between two looks at runs that may still be going."""
FALLBACK_ROWS = 12
"""Tensors listed where there is no kernel."""


class QuantizationViewer(Panel):
    """`QuantizationViewer(model)`: a name as in a recipe ("town"), a folder, a `.safetensors` file, a run or its folder, a hub id, a pair
    (model, tokenizer), or a dict of tensors.

    `texts` are what perplexity is measured on and activations are calibrated with: strings, or whatever `wb.load_rows` takes. `runs` are
    two run folders, of one that is quantized after training and of one trained with `wb.QAT`. `selection` shared between panels: a
    layer picked here (`"model.layers.0.self_attn.q_proj"`) is picked everywhere, and two runs picked elsewhere are compared here.
    """

    title = "Quantization viewer"
    question = "what does each weight become, and what does that cost?"
    help_text: ClassVar[str] = words.HELP
    State = State
    frame_ms = 30

    def __init__(self, model: Any = None, *, texts: Any = None, runs: tuple = (), state: State | None = None,
                 selection: Selection | None = None) -> None:
        super().__init__(state or State(), selection)
        self.given = model is not None and not _named(model)
        if model is not None:
            self.state.model = "" if self.given else str(getattr(model, "folder", model))
        elif state is None:
            self.state.model = "town"
        if not self.given and not self.state.model:
            raise ValueError("the tensors were in memory: give them again, from_json(text, model=tensors).")
        if runs:
            self.state.plain, self.state.aware = (str(getattr(run, "folder", run)) for run in runs)
        self._texts = texts
        self.known = ModelKnown(Known(model if self.given else self.state.model), texts)
        self.runs = Runs()
        self.actions, self.jobs = Actions(self), Jobs(self)
        self.made: Controls | None = None
        self.fault = ""
        """Why the weights cannot be opened, or the picked tensor not be quantized; "" where they can."""
        self._good: TensorLook | None = None
        self._taken: tuple[int, Any, list] | None = None
        """The thread that refreshes, and its look and lines, computed once; others that look meanwhile compute their own."""
        self._rows: list[dict] = []
        self._groups: dict[str, str] = {}
        self._live_look = False
        self._failures: dict[tuple, FailureLook] = {}
        self.seen = False
        """Whether a page has had it open."""

    @property
    def work(self) -> Any:
        """The long work in its thread: `work.wait()` waits for it."""
        return self.jobs.work

    @property
    def later(self) -> Any:
        """What follows a resting hand."""
        return self.jobs.later

    # ---- measuring here and now, for scripts

    def open(self) -> "QuantizationViewer":
        """Opens the weights. Raises `WorkbenchError` where there are none."""
        weights = self.known.weights
        if not weights.opened:
            weights.open()
        self._rows = rows_of(weights.names, weights.weights.shapes)
        self._groups = {row["name"]: row["group"] for row in self._rows}
        if not self.state.open:
            self.state.open = (self._groups.get(self.tensor, ""),) if self._groups.get(self.tensor) else ()
        return self

    def measure(self) -> "QuantizationViewer":
        """Looks at every tensor in the chosen scheme. Raises `WorkbenchError` where there are no weights."""
        self.open().known.weights.overview(self.state.choice)
        return self._changed()

    def measure_perplexity(self) -> "QuantizationViewer":
        """Perplexity as the model came, and under each of the schemes beside each other."""
        self.open()
        self.known.perplexities(compared(self.state.choice), self.state.choice, *self.inputs)
        return self._changed()

    def measure_sensitivity(self) -> "QuantizationViewer":
        """Perplexity with one layer quantized, each in turn, in the chosen scheme."""
        self.open()
        self.known.measure_sensitivity(self.state.choice, *self.inputs)
        return self._changed()

    def calibrate(self) -> "QuantizationViewer":
        """Collects what goes into each layer."""
        self.open()
        self.known.calibrate()
        return self._changed()

    def measure_after(self) -> "QuantizationViewer":
        """The held-out loss of the plain run's result, quantized in as many bits as the other run was trained in."""
        self.runs.measure(self.state.plain, self.state.aware)
        return self._changed()

    def _changed(self) -> "QuantizationViewer":
        self.refresh()
        return self

    # ---- what it shows, pure

    @property
    def tensor(self) -> str:
        """The picked tensor's full name; "" where nothing is open."""
        return self.known.weights.tensor_of(self.state.layer)

    @property
    def inputs(self) -> tuple[str, float]:
        """How layers' inputs are treated where the whole model is measured."""
        return self.state.activations, self.state.threshold

    def look(self) -> Any:
        """What is drawn now, of `looks.py`; None where there is nothing yet. On a page a tensor is what its threads know of it."""
        if self._taken is not None and self._taken[0] == threading.get_ident():
            return self._taken[1]
        state = self.state
        if state.failure:
            key = (state.failure, state.bits, round(state.threshold, 1))
            if key not in self._failures:
                self._failures[key] = failures.look(*key)
            return self._failures[key]
        if state.view == "training":
            return self.runs.look(state.plain, state.aware)
        if not self._ready():
            return self._good
        if state.view == "model":
            return self.known.look(compared(state.choice), state.choice, *self.inputs)
        if state.view == "activations":
            return self.known.activations(self.tensor, state.choice, state.threshold, not self._live_look)
        return self._tensor_look()

    def _ready(self) -> bool:
        """Whether the weights are open; a panel on its own opens them."""
        if not self.known.weights.opened and not self._live_look and not self.fault:
            try:
                self.open()
            except WorkbenchError as error:
                self.fault = str(error)
        return self.known.weights.opened

    def _tensor_look(self) -> TensorLook | None:
        name, choice, weights = self.tensor, self.state.choice, self.known.weights
        try:
            if self._live_look:
                self._good = weights.preview(name, choice)
            else:
                self._good = weights.exact(name, choice)
                weights.fill_lines(name, choice)
            self.fault = ""
        except DataError as error:
            self.fault = str(error)
        return self._good

    def figure(self, width: str = "wide") -> dict:
        return figure(self.look(), self._lines(), (self.known.base, self.known.size), width, self._empty())

    def _lines(self) -> list:
        if self._taken is not None and self._taken[0] == threading.get_ident():
            return self._taken[2]
        if self.state.view != "tensor" or self.state.failure or not self.known.weights.opened:
            return []
        name = self._good.name if self.fault and self._good is not None else self.tensor  # the last good picture stays
        return self.known.with_measures(self.known.weights.lines(name, self.state.choice), *self.inputs)

    def _empty(self) -> tuple[str, str]:
        state = self.state
        if state.view == "training" and not state.failure:
            return "No runs to compare", "Name two run folders, or give runs=(plain, aware)."
        if self.fault:
            return "No weights", self.fault
        if state.view == "activations" and self.known.weights.opened:
            return "Not calibrated yet", "Press Calibrate: the layer is watched on a sample of text."
        return "Nothing read yet", "The weights are opened in the background." if self.made else "Show the panel, or call open()."

    def summary(self) -> Sentence:
        look = self.look()
        if self.fault and not self.state.failure and self.state.view != "training":
            return Sentence("warn", self.fault)
        headline, said = self._empty()
        return words.summary(look, self._lines(), (self.known.base, self.known.size), f"{headline}. {said}")

    def code(self) -> str:
        tensor = self.tensor if self._ready() else ""
        source = self.known.weights.source
        given = "" if not self.given else "pair" if isinstance(source, tuple) else "model" if hasattr(source,
                                                                                                      "named_parameters") else "tensors"
        rounding = self.runs.known_settings(self.state.plain, self.state.aware)
        return code.code(self.state, tensor, module_of(tensor), given, self._texts is not None, rounding)

    def extra_html(self) -> str:
        shapes = self.known.weights.weights.shapes if self.known.weights.opened else {}
        found = {name: value for name, value in self.known.weights.errors.get(self.state.choice.key, {}).items() if len(shapes[name]) > 1}
        if not found or self.state.failure:
            return ""
        worst = sorted(found, key=lambda name: (found[name] == found[name], found[name]))[:FALLBACK_ROWS]
        rows = [[module_of(name), shape_words(shapes[name]), "NaN" if found[name] != found[name] else decibels(found[name])]
                for name in worst]
        title = f"The {number(len(rows))} matrices that suffer most of {number(len(found))}, {self.state.choice.label}"
        return f"<p>{title}</p>" + frame_controls.table_html(["tensor", "shape", "SQNR, dB"], rows, numeric=[1, 2], wide=0, caption=title)

    # ---- the live widget

    def controls(self) -> list:
        if self.made is None:
            self.made = Controls(self.actions, self._view())
        return self.made.column

    def _view(self) -> View:
        state, weights = self.state, self.known.weights
        look = self.look()
        missing = weights.missing(state.choice) if weights.opened else 0
        return View(state=state, rows=self._rows, live=self._bars(), picked=self.tensor, primary=self._primary(), second=self._second(),
                    given=self.given,
                    empty=self.fault or "The weights are opened.", missing=missing, going=self.jobs.work.going in ("open", "overview"),
                    has_model=self.known.has_model,
                    can_threshold=bool(state.failure) or isinstance(look, ActivationLook) or state.activations != "16-bit")

    def _bars(self) -> dict[str, list]:
        """What the tree says of each tensor; of those the overview has not come to, what the scheme before said, paler."""
        weights, choice = self.known.weights, self.state.choice
        now = weights.errors.get(choice.key, {})
        bars = {name: shown(value) for name, value in now.items()}
        return bars | {"\0" + group: shown(value) for group, value in weights.group_errors(choice, self._groups).items()}

    def _primary(self) -> tuple[str, str]:
        state = self.state
        if state.failure:
            return "", ""
        if state.view == "training":
            return "Quantize it after", "" if state.plain and state.aware else "Name two runs first."
        return "Calibrate" if state.view == "activations" else "Measure perplexity", self._cannot()

    def _cannot(self) -> str:
        """Why the model cannot be measured now; "" where it can."""
        if not self.known.has_model:
            return "Only tensors were given."
        if not self.known.weights.opened:
            return "The weights are not open."
        return "" if self.jobs.work.going in ("", "overview") else "Something is being measured: wait for it, or cancel it."

    def _second(self) -> tuple[str, str]:
        if self.state.view != "model" or self.state.failure:
            return "", ""
        return "Measure layer by layer", self._cannot()

    def _build(self) -> None:
        self._live_look = True
        super()._build()
        self._live.on_event(self._clicked)
        self.selection.observe(lambda _kind, _ids: self.picked(), "layer")
        self.selection.observe(lambda _kind, _ids: self._picked_runs(), "run")
        self.every(self._follow, FOLLOW_S)
        if self.known.weights.opened:
            self.jobs.opened()
        else:
            self.jobs.open()

    def _bundle(self, live: bool) -> dict[str, Any]:
        if live:
            self.widget  # noqa: B018 (built first, so that nothing below waits for weights)
        return super()._bundle(live)

    def refresh(self) -> None:
        """Everything again: figure, sentence, code, controls; from any thread."""
        with self._lock:
            if self._root is None:
                return
            self.seen = self.seen or self._live.open_views > 0
            self._taken = threading.get_ident(), self.look(), self._lines()
            try:
                super().refresh()
                self.made.show(self._view())
            finally:
                self._taken = None

    def show_controls(self) -> None:
        """The controls alone; from any thread."""
        with self._lock:
            if self.made is not None:
                self.made.show(self._view())

    def another(self) -> None:
        """Another model was named: nothing is known of it yet."""
        self.known = ModelKnown(Known(self.state.model), self._texts)
        self.fault, self._rows, self._groups, self.state.open, self.state.layer = "", [], {}, (), ""
        self.jobs.open()
        self.refresh()

    # ---- what is picked

    def picked(self) -> None:
        """The layer of the shared selection is shown here."""
        layers = sorted(layer for layer in self.selection["layer"] if isinstance(layer, str))
        known = [layer for layer in layers if self.known.weights.opened
                 and module_of(self.known.weights.tensor_of(layer)) == module_of(layer)]
        if known:
            self.state.layer = known[0]
            group = self._groups.get(self.tensor)
            if group and group not in self.state.open:
                self.state.open = (*self.state.open, group)
        self.jobs.moved()

    def _picked_runs(self) -> None:
        """Two runs picked elsewhere are compared: the one trained quantized second."""
        pair = self.runs.pair(self.selection["run"])
        if pair is not None and pair != (self.state.plain, self.state.aware):
            self.state.plain, self.state.aware = pair
            self.refresh()

    def _follow(self) -> None:
        if self.state.view == "training" and self.runs.grown(self.state.plain, self.state.aware):
            self.refresh()

    def follow_runs(self, control: Any) -> None:
        fault = self.runs.fault(getattr(self.state, "plain" if control is self.made.plain else "aware"))
        if fault:
            self.show_error(control, fault)
        self.refresh()

    def _clicked(self, event: dict) -> None:
        """A click on a layer's bar picks it; one on a scheme's line chooses it."""
        if event["type"] != "click":
            return
        look, place = self.look(), event.get("y")
        if isinstance(look, ModelLook) and event["trace"] in ("sensitivity", "sensitivity-words"):
            from widgets.quantization_viewer.other_figures import most_sensitive

            layers = most_sensitive(look)
            self.actions.pick(layers[len(layers) - 1 - int(place)][0])
        elif isinstance(look, TensorLook) and event["trace"] in ("sqnr", "sqnr-good", "perplexity"):
            lines = self._lines()
            choice = lines[len(lines) - 1 - int(place)].choice
            self.state.scheme, self.state.double = choice.scheme.removesuffix(" double"), choice.scheme.endswith(" double")
            if "bits" in choice.arguments:
                self.state.bits = choice.bits
            self.jobs.moved()


def _named(model: Any) -> bool:
    """Whether code can name it: a name, a path, or a run."""
    return isinstance(model, str) or hasattr(model, "__fspath__") or hasattr(model, "folder")

