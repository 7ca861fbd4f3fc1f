"""Panel 9, the method chooser and memory planner: which ways of training fit, and what takes the room?

`MethodChooser("town")` reads the model as each method would train it, without its weights and in a thread; from then on every slider is
arithmetic. Numbers are reckoned in `reading.py`, drawn in `figure.py`, said in `words.py`; here they are joined and kept up to date.
"""

import dataclasses
import sys
import threading
from pathlib import Path
from typing import Any, ClassVar

from widgets.frame.errands import Cancelled, Errands
from widgets.frame.panel import Panel
from widgets.frame.selection import Selection
from widgets.frame.status import Sentence
from widgets.method_chooser import reading, words
from widgets.method_chooser.controls import Controls, View
from widgets.method_chooser.figure import figure
from widgets.method_chooser.reading import Look, Read
from widgets.method_chooser.state import TABLES, State
from workbench.errors import WorkbenchError
from workbench.models import fitting, memory
from workbench.models.adaptation import Method
from workbench.models.devices import device_of
from workbench.models.measuring import Measured, Stopped, measure_step


class MethodChooser(Panel):
    """`MethodChooser(model)`: a name ("town"), folder, hub id, transformers config or model. `methods` are those put side by side (None:
    one of each kind).

    `gpu` names the card that is to hold it. `run` is a run of the workbench: its recipe is planned, and what it took is drawn beside the
    plan. `panel.plan` is the plan of the method that is looked into, `panel.plans` those of all (None where a method cannot be). Raises
    `WorkbenchError` for what is no model.
    """

    title = "Method chooser"
    question = "which ways of training fit, and what takes the room?"
    help_text: ClassVar[str] = words.HELP
    State = State
    frame_ms = 30

    def __init__(
        self,
        model: Any = None,
        methods: list[Method] | None = None,
        *,
        gpu: str | None = None,
        run: Any = None,
        state: State | None = None,
        selection: Selection | None = None,
    ) -> None:
        super().__init__(state, selection)
        self._ran: tuple[str, Measured] | None = None
        if run is not None:
            self._take_run(run)
        self._given = None if model is None or isinstance(model, (str, Path)) else model
        if self._given is not None:
            self.state.model = ""
        elif model is not None:
            self.state.model = str(model)
        elif not self.state.model:
            raise ValueError("the model of this state was given as a config: give it again, MethodChooser.from_json(text, model=config).")
        if methods is not None:
            self.state.methods, self.state.picked = [method.to_json() for method in methods], -1
        if gpu is not None:
            self.state.gpu = device_of(gpu).name
        self.made: Controls | None = None
        self.errands = Errands("method chooser")
        self.measured: dict[str, Measured] = {}
        """What steps really took, by what was measured."""
        if self._ran is not None:
            self.measured[self._key_of(self.state.picked)] = self._ran[1]
        self._read: dict[str, Read] = {}
        self._fault, self._by_thread = "", False
        self._shown: Read | None = None
        self._taken: tuple[Look | None, list[fitting.Fit]] | None = None
        """The numbers and ways out of now, while one refresh goes."""
        self._refused: Any = None

    def _take_run(self, run: Any) -> None:
        """A run's recipe as settings, and what it took: on a CPU what its process had more than before the model."""
        run.history.refresh()
        recipe, prepared = run.recipe, run.history.prepared
        longest = prepared.planned.get("sequence_length", recipe.max_length) if prepared else recipe.max_length
        found = [value for value in run.history.columns["memory_gib"] if value == value]
        args = recipe.training_arguments
        half = recipe.precision == "bf16" or (
            recipe.precision == "auto" and run.history.started is not None and run.history.started.device != "cpu"
        )
        self.state = State(
            model=recipe.model,
            methods=[recipe.method.to_json()],
            picked=0,
            sequence_length=longest,
            batch_size=recipe.batch_size,
            precision="bf16 autocast" if half else "fp32",
            optimizer=memory.optimizer_of(recipe.optimizer),
            checkpointing=bool(args.get("gradient_checkpointing")),
            gpu=self.state.gpu,
            task="classifier" if recipe.objective == "classification" else "language model",
        )
        if found and prepared and prepared.planned:
            device = run.history.started.device if run.history.started else ""
            before = prepared.planned["before"] if device == "cpu" else 0
            self._ran = run.name, Measured(round(max(found) * memory.GIB) - before, 0, device.replace("cpu", "CPU"))

    # ---- the result

    @property
    def plan(self) -> memory.Plan | None:
        return self.look().plan

    @property
    def plans(self) -> list[memory.Plan | None]:
        return self.look().plans

    # ---- what it shows, pure

    def look(self) -> Look | None:
        """The numbers of now; None while the model is being read by the thread."""
        if self._taken is not None:
            return self._taken[0]
        found = self._read.get(self._model_key())
        if found is None and not self._by_thread:
            found = self._read_now()
        if found is None:
            found = self._shown  # the last good one
        else:
            self._shown = found
        return None if found is None else reading.look(found, self.state)

    def _read_now(self, progress: Any = None) -> Read | None:
        try:
            found = reading.read(self._given if self._given is not None else self.state.model, self.state, progress)
        except WorkbenchError as error:
            self._fault = str(error)
            return None
        self._fault = ""
        self._read[self._model_key()] = found
        return found

    def _model_key(self) -> str:
        return repr((self.state.model, self.state.task, self.state.methods))

    def _key_of(self, place: int) -> str:
        """What a measurement hangs on."""
        state = self.state
        return repr(
            (
                state.model,
                state.task,
                state.methods[place],
                state.sequence_length,
                state.batch_size,
                state.precision,
                state.optimizer,
                state.checkpointing,
                state.devices,
            )
        )

    def figure(self, width: str = "wide") -> dict:
        now = self.look()
        return figure(
            now,
            width,
            self._measurements(now),
            ("No model to plan for", self._fault)
            if self._fault
            else ("Reading the model", "Its layers are counted as each method would train them; no weight is loaded."),
        )

    def _measurements(self, now: Look | None) -> dict[int, Measured]:
        return (
            {}
            if now is None
            else {place: found for place in range(len(now.plans)) if (found := self.measured.get(self._key_of(place))) is not None}
        )

    def summary(self) -> Sentence:
        now = self.look()
        if self._fault:
            return Sentence("warn", self._fault)
        if now is None:
            return Sentence("idle", "Reading the model; plans appear as soon as its layers are counted.")
        return words.summary(now, self.fits(now), self.measured.get(self._key_of(now.picked)))

    def fits(self, now: Look | None = None) -> list[fitting.Fit]:
        """The nearest settings that fit the chosen GPU; [] where the plan fits as it is, or the GPU is not known."""
        if self._taken is not None:
            return self._taken[1]
        now = now or self.look()
        if now is None or now.plan is None or not now.over(now.picked):
            return []
        others = [now.way, *(way for way in now.read.ways if way.of and way.method.name in ("lora", "qlora") and way is not now.way)]
        return fitting.nearest([(way.method, way.of) for way in others], self.state.settings, now.device.room)

    def code(self) -> str:
        now = self.look()
        return words.code(self.state, now.picked if now else 0, self._given is None)

    def extra_html(self) -> str:
        now = self.look()
        return "" if now is None else "<br>".join(self._table(now, name, live=False) for name in TABLES)

    def _table(self, now: Look, name: str, live: bool) -> str:
        settings, groups = self.state.settings, reading.groups()
        match name:
            case "components":
                table = words.components(now)
            case "GPUs":
                rooms = [min(device.room for device in devices) for _, devices in groups]
                one = dataclasses.replace(settings, devices=1, zero_stage=0)
                needed = reading.alone(now.read, one)
                table = words.cards(now, groups, reading.largest_batches(now.read, one, rooms), [needed <= room for room in rooms])
            case _:
                table = words.instances(now, reading.on_instances(now.read, settings))
        return words.table_html(words.titles(self.state)[name], table, live)

    # ---- the live widget

    def controls(self) -> list:
        if self.made is None:
            self.made = Controls(self, self._view(self.look()))
        return self.made.column

    def extra(self) -> Any:
        self.controls()
        return self.made.extra

    def _view(self, now: Look | None, tables: str = "") -> View:
        over = now is not None and now.plan is not None and now.over(now.picked)
        return View(
            state=self.state,
            labels=[way.label for way in now.read.ways] if now else [],
            picked=now.picked if now else -1,
            named=self._given is None,
            fits=not over,
            can_fit=over and bool(self.fits(now)),
            ready=now is not None and now.plan is not None and not self._fault,
            tables=tables,
        )

    def _build(self) -> None:
        if "transformers" in sys.modules and self._given is None and self.state.model.startswith("town"):
            self.look()  # a moment: nothing heavy is left to import
        self._by_thread = True
        super()._build()
        self._live.on_event(self._clicked)
        if self._model_key() not in self._read:
            self._start_reading()
        else:
            self.errands.add(self._settle, "tables")

    def refresh(self) -> None:
        """Figure, sentence, code and controls; from any thread. The tables follow when the hand rests."""
        with self._lock:
            if self._root is None:
                return
            now = self.look()
            self._taken = now, self.fits(now)
            try:
                super().refresh()
                self.made.show(self._view(now))
            finally:
                self._taken = None

    def _settle(self) -> None:
        now = self.look()
        tables = self._table(now, self.state.table, live=True) if now is not None else ""
        with self._lock:
            if self.made is not None and tables:
                self.made.show(self._view(self.look(), tables))

    def _start_reading(self) -> None:
        self.busy("Reading the model")
        self.errands.add(self._reading, "read")

    def _reading(self) -> None:
        """In the thread: read the model as each method would train it."""
        stop, first = threading.Event(), self._shown is None

        def progress(label: str, done: int, total: int) -> None:
            if stop.is_set():
                raise Cancelled
            self.busy(f"Counting its layers: {label}", done, total, stop.set)

        fault = ""
        try:
            self._read_now(progress)
            fault = self._fault
        except Cancelled:
            fault = "Reading was cancelled, so there is no plan yet. Write the model's name again to read it."
        with self._lock:
            self.busy(None)
            self._fault = fault
            self.refresh()
            if fault:
                self.show_error(
                    self.made.model,
                    fault,
                    ('Use "town"', lambda: self.set("model", "town")) if self._given is None and self.state.model != "town" else None,
                )
            else:
                self.clear_error(self.made.model)
        self._settle()
        if first:
            self.freeze()

    # ---- what a person does

    def set(self, name: str, value: Any, control: Any = None) -> None:
        """A control says `value`."""
        state = self.state
        if getattr(state, name) == value:
            return
        setattr(state, name, value)
        if name in ("model", "task"):
            self._fault = ""
            if self.made is not None and self._model_key() not in self._read:
                self._start_reading()
                return
        if self._refused is not None:
            self.clear_error(self._refused)
            self._refused = None
        if self.made is not None and name in ("model", "task"):
            self.clear_error(self.made.model)
        self.refresh()
        self.errands.add(self._settle, "tables")

    def make_fit(self) -> None:
        """Take over the nearest settings that fit."""
        now = self.look()
        found = self.fits(now)
        if not found:
            return
        fit, state = found[0], self.state
        for name, (_, new) in fit.changes.items():
            if name == "method":
                state.picked = next(k for k, way in enumerate(now.read.ways) if way.method == fit.method)
            elif name != "gradient_accumulation":
                setattr(state, name, new)
        self.refresh()
        self.errands.add(self._settle, "tables")

    def measure(self) -> None:
        """Train two steps of the method that is looked into, in a process of its own, and draw what they took."""
        self.errands.add(self._measure, "measure")

    def _measure(self) -> None:
        now, stop = self.look(), threading.Event()
        if now is None or now.plan is None:
            return
        key = self._key_of(now.picked)
        self.clear_error(self.made.measure)
        self.busy(f"Measuring a step of {now.way.label}", cancel=stop.set)
        fault = ""
        try:
            self.measured[key] = measure_step(now.read.config, now.way.method, self.state.settings, stop)
        except Stopped:
            pass
        except WorkbenchError as error:
            fault = str(error)
        with self._lock:
            self.busy(None)
            self.refresh()
            if fault:
                self._refused = self.made.measure
                self.show_error(
                    self.made.measure, fault, ("Use fp32", lambda: self.set("precision", "fp32")) if "DeepSpeed" in fault else None
                )
        self.freeze()

    def _clicked(self, event: dict) -> None:
        """A click on a method's bar looks into it."""
        now = self.look()
        if event["type"] == "click" and now is not None and event["trace"] in words.PARTS:
            place = len(now.plans) - 1 - round(event["y"])
            if 0 <= place < len(now.plans):
                self.set("picked", place)
