"""What the chooser knows of a model: its architecture as each method would train it, or why a method cannot; and what follows from that by
arithmetic.

Reading builds the model without weights once for each method, which takes seconds for a large one: in a thread. All else is well under a
frame.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from widgets.method_chooser.state import State, label, method_of
from workbench.errors import WorkbenchError
from workbench.models import memory
from workbench.models.adaptation import Method
from workbench.models.architecture import Architecture
from workbench.models.devices import DEVICES, INSTANCES, Device, Instance, device_of
from workbench.models.memory import Plan, Settings

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
DEVICES_SHOWN = (1, 2, 4, 8, 16, 32, 64)
LABELS = ("no", "yes")
"""Of a classifier that is only planned for."""


@dataclass(slots=True)
class Way:
    """One method on one model: `of` is None where it cannot be, and `fault` says why."""

    method: Method
    label: str
    of: Architecture | None = None
    fault: str = ""


@dataclass(slots=True)
class Read:
    """A model with all its ways."""

    config: Any
    ways: list[Way] = field(default_factory=list)


def config_of(model_or_config: Any, task: str) -> Any:
    """The transformers config behind a name, folder, hub id or model. Raises `WorkbenchError`."""
    from workbench import sizing
    from workbench.models import classifier, folders

    if hasattr(model_or_config, "named_parameters"):
        model_or_config = model_or_config.config
    config = model_or_config if hasattr(model_or_config, "to_dict") else folders.config_of(sizing.named(model_or_config))
    return classifier.labelled(config, LABELS) if task == "classifier" else config


def read(model_or_config: Any, state: State, progress: Callable[[str, int, int], None] | None = None) -> Read:
    """Reads the model as each of the state's methods trains it. Raises `WorkbenchError` where there is no such model; what `progress`
    raises ends it."""
    found = Read(config_of(model_or_config, state.task))
    for number, body in enumerate(state.methods):
        method = method_of(body)
        way = Way(method, label(method))
        if progress is not None:
            progress(way.label, number, len(state.methods))
        try:
            way.of = memory.architecture_of(found.config, method)
        except WorkbenchError as error:
            way.fault = str(error)
        found.ways.append(way)
    return found


@dataclass(slots=True)
class Look:
    """The numbers of now."""

    state: State
    read: Read
    plans: list[Plan | None]
    picked: int
    device: Device
    sharing: dict[int, list[float]]
    """ZeRO stage → bytes a GPU for each of DEVICES_SHOWN, of the picked method."""

    @property
    def way(self) -> Way:
        return self.read.ways[self.picked]

    @property
    def plan(self) -> Plan | None:
        return self.plans[self.picked]

    def over(self, place: int) -> bool:
        """Whether a method's plan is more than the chosen GPU has."""
        plan, room = self.plans[place], self.device.room
        return plan is not None and room is not None and plan.total > room


def look(found: Read, state: State) -> Look:
    settings = state.settings
    plans = [memory.plan(way.of, settings) if way.of else None for way in found.ways]
    picked = pick(found, state)
    of = found.ways[picked].of
    sharing = (
        {}
        if of is None
        else {
            stage: [memory.plan(of, replace(settings, zero_stage=stage, devices=count)).total for count in DEVICES_SHOWN]
            for stage in range(4)
        }
    )
    return Look(state, found, plans, picked, device_of(state.gpu), sharing)


def pick(found: Read, state: State) -> int:
    """The method that is looked into: the one chosen, or LoRA, or the first that can be."""
    if 0 <= state.picked < len(found.ways):
        return state.picked
    lora = next((k for k, way in enumerate(found.ways) if way.method.name == "lora" and way.of), None)
    return lora if lora is not None else next((k for k, way in enumerate(found.ways) if way.of), 0)


# ---- tables


def groups() -> list[tuple[float, list[Device]]]:
    """The known GPUs by their memory, the smallest first."""
    found: dict[int, list[Device]] = {}
    for device in DEVICES:
        found.setdefault(round(device.gib), []).append(device)
    return [(min(each.gib for each in devices), devices) for _, devices in sorted(found.items())]


def largest_batches(found: Read, settings: Settings, rooms: list[float]) -> list[list[int]]:
    """For each way the largest of BATCHES rows that fits in each room (bytes); 0 where not even one does, -1 where the way cannot be."""
    table = []
    for way in found.ways:
        if way.of is None:
            table.append([-1] * len(rooms))
            continue
        totals = [memory.plan(way.of, replace(settings, batch_size=batch)).total for batch in BATCHES]
        table.append([max((batch for batch, total in zip(BATCHES, totals, strict=True) if total <= room), default=0) for room in rooms])
    return table


def alone(found: Read, settings: Settings) -> float:
    """Bytes that reading with the model takes, one row at a time: its weights as they are, without any method's."""
    plain = [way.of for way in found.ways if way.of and way.of.bits == 0]
    of = min(plain, key=lambda of: of.parameters, default=None)
    return memory.plan(of, replace(settings, training=False, batch_size=1)).total if of else 0.0


def on_instances(found: Read, settings: Settings) -> list[tuple[Instance, list[int]]]:
    """For each cloud instance the largest batch a GPU of each way; on several GPUs all is shared out (ZeRO 3)."""
    columns: dict[int, list[list[int]]] = {}
    counts = sorted({each.count for each in INSTANCES})
    for count in counts:
        rooms = [each.device.room for each in INSTANCES if each.count == count]
        columns[count] = largest_batches(found, replace(settings, devices=count, zero_stage=3 if count > 1 else 0), rooms)
    places = dict.fromkeys(counts, 0)
    rows = []
    for each in INSTANCES:
        place = places[each.count]
        places[each.count] += 1
        rows.append((each, [way[place] for way in columns[each.count]]))
    return rows
