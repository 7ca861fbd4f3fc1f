"""The chooser's widgets: the model, the method looked into, the settings of a step, the GPU; and the tables below the figure.

They show a `View` and report what a person did as `do.set(name, value)`; what is set by `show` is not reported. Every text is escaped.
"""

from dataclasses import dataclass
from typing import Any

from widgets.frame import controls
from widgets.frame.hearing import Hearing
from widgets.frame.sheet import number
from widgets.method_chooser.state import OPTIMIZERS, PRECISIONS, TABLES, TASKS, State
from workbench.models.devices import DEVICES

LENGTHS = (16, 32, 64, 128, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 16384, 32768, 65536, 131072)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
COUNTS = (1, 2, 4, 8, 16, 32, 64)


@dataclass(slots=True, kw_only=True)
class View:
    """What the widgets show."""

    state: State
    labels: list[str]
    """Of the methods, in their order."""
    picked: int
    named: bool
    """Whether the model is one that has a name."""
    fits: bool
    can_fit: bool
    ready: bool
    tables: str = ""


class Controls(Hearing):
    """`do` has one function for each thing a person can do; see `MethodChooser`."""

    def __init__(self, do: Any, view: View) -> None:
        import ipywidgets as ipw

        state = view.state
        self.model = controls.text("Model: a name, folder or hub id", state.model, continuous_update=False)
        self.task = controls.toggles("Trained to tell", list(TASKS.items()), state.task)
        self.method = controls.dropdown("Method", _methods(view.labels), max(view.picked, 0) if view.labels else -1)
        self.length = controls.slider("Sequence, tokens", state.sequence_length, LENGTHS[0], LENGTHS[-1], log=True, form=",", stops=LENGTHS)
        self.batch = controls.slider("Batch, rows a GPU", state.batch_size, 1, BATCHES[-1], log=True, form=",", stops=BATCHES)
        self.precision = controls.dropdown("Precision", list(PRECISIONS), state.precision)
        self.optimizer = controls.dropdown("Optimizer", list(OPTIMIZERS), state.optimizer)
        self.checkpointing = controls.checkbox("Checkpointing", state.checkpointing)
        self.devices = controls.slider("GPUs", state.devices, 1, COUNTS[-1], log=True, form=",", stops=COUNTS)
        self.stage = controls.toggles("ZeRO stage (3 is FSDP)", [0, 1, 2, 3], state.zero_stage)
        self.gpu = controls.dropdown("GPU", _cards(state.gpu), state.gpu)
        self.fit = controls.button("Make it fit", on_click=do.make_fit, tooltip="change the settings as little as it takes")
        self.measure = controls.button("Measure one step", kind="primary", on_click=do.measure)
        self.column = [
            controls.group("", self.model, self.task, self.method),
            controls.group("", self.length, self.batch, self.precision, self.optimizer, self.checkpointing),
            controls.group("", self.devices, self.stage, self.gpu),
            controls.actions(self.fit, self.measure),
        ]
        self.which = controls.toggles("Table", list(TABLES), state.table)
        self.tables = controls.html("", "wb-chooser")
        self.extra = ipw.VBox([self.which, self.tables], layout=ipw.Layout(grid_gap="12px"))
        for widget, name, back in (
            (self.model, "model", str),
            (self.task, "task", str),
            (self.method, "picked", int),
            (self.length, "sequence_length", round),
            (self.batch, "batch_size", round),
            (self.precision, "precision", str),
            (self.optimizer, "optimizer", str),
            (self.checkpointing, "checkpointing", bool),
            (self.devices, "devices", round),
            (self.stage, "zero_stage", int),
            (self.gpu, "gpu", str),
            (self.which, "table", str),
        ):
            self.heard(widget, lambda value, name=name, back=back, widget=widget: do.set(name, back(value), widget))
        self._labels = view.labels
        self.show(view)

    def show(self, view: View) -> None:
        """Brings every widget up to date; from any thread, one at a time."""
        with self.showing():
            self._show(view)

    def _show(self, view: View) -> None:
        state = view.state
        if view.labels != self._labels:
            self._labels = view.labels
            self.method.options = _methods(view.labels)
        if view.labels:
            self.method.value = view.picked
        self.model.value = state.model if view.named else "(the config that was given)"
        self.model.disabled = not view.named
        self.task.value, self.precision.value, self.optimizer.value, self.checkpointing.value = (
            state.task,
            state.precision,
            state.optimizer,
            state.checkpointing,
        )
        self.length.value, self.batch.value, self.devices.value = (
            float(state.sequence_length),
            float(state.batch_size),
            float(state.devices),
        )
        self.stage.value = state.zero_stage
        if state.gpu not in [value for _, value in self.gpu.options]:
            self.gpu.options = _cards(state.gpu)
        self.gpu.value, self.which.value = state.gpu, state.table
        self.fit.disabled = not view.ready or view.fits or not view.can_fit
        self.measure.disabled = not view.ready
        if view.tables and self.tables.value != view.tables:
            self.tables.value = view.tables


def _methods(labels: list[str]) -> list[tuple[str, int]]:
    return [(words, place) for place, words in enumerate(labels)] or [("–", -1)]


def _cards(chosen: str) -> list[tuple[str, str]]:
    known = [
        (f"{device.name}, {number(device.gib, 1 if device.gib % 1 else 0)} GiB", device.name)
        for device in sorted(DEVICES, key=lambda each: (each.gib, each.name))
    ]
    return known if chosen in [value for _, value in known] else [(f"{chosen}, memory not known", chosen), *known]
