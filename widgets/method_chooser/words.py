"""The method chooser in words: the sentence under the figure, its tables, and the Python that makes the same plans. Pure."""

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from widgets.frame import controls
from widgets.frame.markup import escape
from widgets.frame.sheet import number
from widgets.frame.status import Sentence
from widgets.method_chooser.state import PRECISIONS, State, method_of, written
from workbench.models.memory import COMPONENTS, GIB

if TYPE_CHECKING:
    from widgets.method_chooser.reading import Look
    from workbench.models.fitting import Fit
    from workbench.models.measuring import Measured

HELP = (
    "A training step holds weights, gradients, the optimizer's states (two numbers a trained parameter with Adam) and activations, kept for "
    "the backward pass. Bars show the fullest moment of a step: gradients are made while activations go, so the two are never both whole, "
    "unless gradients are summed over batches. A frozen weight has no gradient, no optimizer state, and asks for fewer activations. ZeRO "
    "shares out the optimizer (1), gradients (2) and weights (3) among GPUs (Rajbhandari et al. 2020); activations are reckoned as in "
    "Korthikanti et al. 2022, from the model's own layers."
)
PARTS = {
    "frozen": "frozen weights",
    "trained": "trained weights",
    "gradients": "gradients",
    "optimizer": "optimizer",
    "activations": "activations",
    "buffers": "buffers",
}


def size(amount: float) -> str:
    """Bytes as people read them: `413 MiB`, `31.4 GiB`."""
    if amount >= 0.995 * GIB:
        return f"{number(amount / GIB, 0 if amount >= 99.5 * GIB else 1)} GiB"
    if amount >= 0.995 * 2**20:
        return f"{number(amount / 2**20, 0 if amount >= 10 * 2**20 else 1)} MiB"
    return f"{number(amount / 2**10)} KiB" if amount else "0"


def count(parameters: int) -> str:
    """`6.74 B`, `40.0 M`, `1 234`."""
    for unit, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if parameters >= unit:
            digits = 0 if parameters >= 99.5 * unit else 1 if parameters >= 9.95 * unit else 2
            return f"{number(parameters / unit, digits)} {letter}"
    return number(parameters)


def share(part: float, whole: float) -> str:
    percent = 100 * part / whole if whole else 0.0
    return "100 %" if percent >= 99.95 else f"{number(percent, 1 if percent >= 9.95 else 2)} %" if percent >= 0.005 else "< 0.01 %"


def asked(state: State) -> str:
    """`batch 8 of 512 tokens`"""
    return f"batch {number(state.batch_size)} of {number(state.sequence_length)} tokens"


def summary(now: "Look", fits: "list[Fit]", measured: "Measured | None") -> Sentence:
    plan, way, device = now.plan, now.way, now.device
    if plan is None:
        return Sentence("warn", f"{way.label} cannot be done as things are set: {way.fault}")
    each = f" a GPU (ZeRO {now.state.zero_stage} on {now.state.devices})" if now.state.devices > 1 else ""
    largest = max(COMPONENTS, key=lambda name: plan.moments[plan.worst][name])
    text = f"{way.label} takes {size(plan.total)}{each} at its fullest moment ({plan.worst}), most of it {largest}"
    told = (
        f" Measured on this machine's {measured.device}: {size(measured.peak)}, and the plan is {_off(plan.total, measured.peak)}."
        if measured
        else ""
    )
    told += f" {plan.notes[0]}" if plan.notes else ""
    if device.room is None:
        return Sentence("warn", f"{text}. How much memory the {device.name} has is not known here.{told}")
    if not now.over(now.picked):
        others = [k for k in range(len(now.plans)) if k != now.picked and now.over(k)]
        beside = f", where {now.read.ways[others[0]].label} would need {size(now.plans[others[0]].total)}" if others else ""
        return Sentence("ok", f"{text}; it fits the {device.name}{beside}.{told}")
    ways = f" It would fit {_way(fits[0], now)}." if fits else " Nothing near these settings fits; choose a smaller model or more GPUs."
    return Sentence(
        "warn",
        f"{way.label} needs {size(plan.total)}{each} at {asked(now.state)}, and the {device.name} has {size(device.room)} for it.{ways}{told}",
    )


def _way(fit: "Fit", now: "Look") -> str:
    """`as QLoRA r 8, with batch 8 → 2`"""
    other = next((way.label for way in now.read.ways if way.method == fit.method), "") if "method" in fit.changes else ""
    rest = dataclasses.replace(fit, changes={name: change for name, change in fit.changes.items() if name != "method"}).sentence.split(":")[
        0
    ]
    as_other = f"as {other}" if other else ""
    return ", ".join(part for part in (as_other, "" if rest == "as it is" else f"with {rest}") if part)


def _off(planned: float, peak: float) -> str:
    percent = 100 * (planned / peak - 1)
    return f"{number(abs(percent), 1)} % {'above' if percent >= 0 else 'below'}"


# ---- tables


@dataclass(frozen=True, slots=True)
class Table:
    """A table as a page has room for it. `narrow` are the columns that stay where there is little."""

    head: list[str]
    rows: list[list[str]]
    kinds: dict[tuple[int, int], str]
    narrow: tuple[int, ...]
    words: int
    """Columns of words at the left; the others are numbers."""
    caption: str
    picked: int | None = None

    def html(self, columns: tuple[int, ...] | None = None) -> str:
        """All columns, or these."""
        chosen = tuple(range(len(self.head))) if columns is None else columns
        kinds = {
            (row, place): self.kinds[row, column]
            for row in range(len(self.rows))
            for place, column in enumerate(chosen)
            if (row, column) in self.kinds
        }
        return controls.table_html(
            [self.head[column] for column in chosen],
            [[row[column] for column in chosen] for row in self.rows],
            numeric=[place for place, column in enumerate(chosen) if column >= self.words],
            kinds=kinds,
            picked=self.picked,
            caption=self.caption,
        )


def components(now: "Look") -> Table:
    """Every number of the figure, by method."""
    head = ["method", "trained", "of all", *COMPONENTS, "fullest moment"]
    last, rows, kinds = len(head) - 1, [], {}
    for k, (way, plan) in enumerate(zip(now.read.ways, now.plans, strict=True)):
        if plan is None:
            rows.append([way.label, *["–"] * (last - 1), "cannot be done"])
            kinds[k, last] = "mute"
            continue
        if now.over(k):
            kinds[k, last] = "bad"
        each = [size(plan[name]) for name in COMPONENTS]
        rows.append([way.label, count(plan.trainable), share(plan.trainable, plan.trainable + plan.frozen), *each, size(plan.total)])
    return Table(head, rows, kinds, (0, 1, last), 1, "Methods", now.picked)


def cards(now: "Look", groups: list, batches: list[list[int]], alone: list[bool]) -> Table:
    """Which GPUs each way fits, and with how large a batch; `batches` by way, then by group of cards."""
    head = ["GPU", "GiB", "reading alone", *(way.label for way in now.read.ways)]
    rows, kinds = [], {}
    for k, (gib, devices) in enumerate(groups):
        cells = [column[k] for column in batches]
        names = ", ".join(device.name for device in devices)
        rows.append([names, number(gib, 1 if gib % 1 else 0), "fits" if alone[k] else "–", *(_batch(cell) for cell in cells)])
        kinds |= {(k, 3 + place): "good" if cell > 0 else "mute" for place, cell in enumerate(cells)}
        kinds[k, 2] = "good" if alone[k] else "mute"
    return Table(head, rows, kinds, (0, 1, 3 + now.picked), 1, "GPUs: the largest batch that fits")


def instances(now: "Look", found: list) -> Table:
    """Which cloud instances each way fits."""
    head = ["instance", "cloud", "GPUs", *(way.label for way in now.read.ways)]
    rows = [[each.name, each.cloud, f"{each.count} × {each.device.name}", *(_batch(cell) for cell in cells)] for each, cells in found]
    kinds = {(k, 3 + place): "good" if cell > 0 else "mute" for k, (_, cells) in enumerate(found) for place, cell in enumerate(cells)}
    return Table(head, rows, kinds, (0, 2, 3 + now.picked), 3, "Cloud instances: the largest batch a GPU")


def _batch(rows: int) -> str:
    return "–" if rows <= 0 else f"{number(rows)}{'+' if rows == 1024 else ''}"


def titles(state: State) -> dict[str, str]:
    """What each table shows, as its heading."""
    settings = ", ".join([state.precision, state.optimizer, *(["checkpointing"] if state.checkpointing else [])])
    batch = f"Largest batch of {number(state.sequence_length)} tokens that fits, {settings}"
    return {
        "components": "Bytes by component",
        "GPUs": f"{batch}: on one GPU",
        "cloud instances": f"{batch}: a GPU, with ZeRO 3 where there are several",
    }


def table_html(title: str, table: Table, live: bool) -> str:
    """A table under its heading; on a page also in its narrow form, of which the style sheet shows one."""
    narrow = f'<div class="wb-narrow-only">{table.html(table.narrow)}</div>' if live else ""
    return f'<h3>{escape(title)}</h3><div class="wb-roomy-only">{table.html()}</div>{narrow}'


# ---- Python


def code(state: State, way: int, named: bool) -> str:
    """Python that makes the same plans without the panel."""
    methods = [method_of(body) for body in state.methods]
    precision, convention = PRECISIONS[state.precision]
    model = repr(state.model) if named else "config"
    lines = ["import workbench as wb", ""] + ([] if named else ["# config: the model or config that this panel was given"])
    if state.task == "classifier":
        lines = [
            "import workbench as wb",
            "from workbench.models.classifier import labelled",
            "from workbench.sizing import named",
            "from workbench.models.folders import config_of",
            "",
            f'config = labelled({f"config_of(named({model}))" if named else "config"}, ["no", "yes"])',
        ]
        model = "config"
    changes = dict(
        sequence_length=state.sequence_length,
        batch_size=state.batch_size,
        precision=precision,
        convention=convention,
        optimizer=state.optimizer,
        checkpointing=state.checkpointing,
        zero_stage=state.zero_stage,
        devices=state.devices,
    )
    lines += [
        "settings = dict(" + ", ".join(f"{name}={value!r}" for name, value in changes.items()) + ")",
        f"plan = wb.plan_memory({model}, {written(methods[way])}, **settings)",
        "print(plan, plan.worst)",
        "",
        "for method in [" + ", ".join(written(method) for k, method in enumerate(methods) if k != way) + "]:",
        "    try:",
        f"        print(method.name, wb.plan_memory({model}, method, **settings))",
        "    except wb.RecipeError as error:",
        "        print(method.name, error)",
    ]
    return "\n".join(lines)
