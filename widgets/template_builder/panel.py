"""Panel 2, the template builder: what does the model really read, and on which tokens does it train?

`TemplateBuilder(rows)` begins a template from the rows' columns, `TemplateBuilder(rows, task)` shows one that is there. What is rendered
and counted is in `reading.py`, the figure in `figure.py`, words in `words.py`, widgets in `controls.py`; here they are joined. Texts are
rendered again as they are written, by a thread that takes the newest; a fault is shown when the hand rests.
"""

import dataclasses
import re
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from widgets.frame.errands import Cancelled, Errands
from widgets.frame.panel import Panel
from widgets.frame.selection import Selection
from widgets.frame.status import Sentence
from widgets.template_builder import reading, words
from widgets.template_builder import state as edits
from widgets.template_builder.controls import Controls, View
from widgets.template_builder.example_view import static_html
from widgets.template_builder.figure import figure
from widgets.template_builder.reading import Fault, Faulty, Sample
from widgets.template_builder.state import State, task_of, templates_of
from workbench.errors import DataError, WorkbenchError
from workbench.templates import promptsource
from workbench.templates.demonstrations import TableRows
from workbench.templates.sandbox import TemplateError

SETTLE_S = 0.6
"""A fault is shown when nothing was written for so long: half a word is no mistake yet."""
SLOW_S = 0.1
"""Work that takes longer shows how far it is."""


class TemplateBuilder(Panel):
    """`TemplateBuilder(rows)`, `TemplateBuilder(rows, task)` or `TemplateBuilder(rows, "templates.yaml")`.

    `rows` is whatever `wb.load_rows` takes; `task` a `wb.Task` or the path of a promptsource file. `tokenizer` is "town", a model folder, a
    hub id, or a tokenizer. `panel.task` is the task as it stands; `panel.admitted`, after "Use this template", the examples that may be
    trained on (`panel.admitted.table` goes into `wb.Recipe(data=...)`). `selection` shared between panels makes the row shown here the
    example of all ("examples", row numbers). Raises `WorkbenchError` for rows or files that cannot be read.
    """

    title = "Template builder"
    question = "what does the model really read, and on which tokens does it train?"
    help_text: ClassVar[str] = words.HELP
    State = State
    frame_ms = 30

    def __init__(self, rows: Any = None, task: Any = None, *, tokenizer: Any = None, max_length: int | None = None,
                 state: State | None = None, selection: Selection | None = None):
        super().__init__(state, selection)
        from workbench.data.sources import load_rows

        source = rows if isinstance(rows, str) else str(rows) if isinstance(rows, Path) else ""
        rows = rows if rows is not None else self.state.source
        if isinstance(rows, str) and not rows:
            raise DataError("A template builder needs rows.", 'Give some, for example TemplateBuilder("town:facts").')
        self.rows = TableRows(load_rows(rows))
        if state is None:
            self.state = edits.begun(self.rows.table.column_names, self.rows[0])
        self.state.source = source or ("" if not isinstance(rows, str) else rows)
        self._tokenizer: Any = None
        self._given = tokenizer is not None and not isinstance(tokenizer, str)
        if self._given:
            self._tokenizer, self.state.tokenizer = tokenizer, ""
        elif tokenizer is not None:
            self.state.tokenizer = tokenizer
        if max_length is not None:
            self.state.max_length = max_length
        if isinstance(task, (str, Path)):
            self.state = edits.with_file(self.state, _text_of(task), str(task))
        elif task is not None:
            self.state = edits.with_task(self.state, task)
        self.made: Controls | None = None
        self.admitted: Any = None
        self.errands, self._newer = Errands("template builder"), threading.Event()
        self._sample: Sample | None = None
        self._fault: Fault | None = None
        self._measured, self._said, self._rank, self._field, self._kept_by_thread = "", None, 0, "input", False

    # ---- what it shows, pure

    @property
    def task(self) -> Any:
        """The engine's task, as it stands. Raises `DataError` or `TemplateError` where it cannot be inverted."""
        return task_of(self.state)

    def figure(self, width: str = "wide") -> dict:
        sample, _ = self._look()
        return figure(sample, self._place(sample), width, ("Reading the tokenizer", "The rows appear as soon as it is there.")
                      if self._fault is None else ("No picture yet", "Mend the template beside it."))

    def summary(self) -> Sentence:
        sample, fault = self._look()
        return words.summary(self.state, sample, fault, self.admitted, "Reading the tokenizer; the rows appear as soon as it is there.")

    def code(self) -> str:
        return words.code(self.state, self._given)

    def extra_html(self) -> str:
        shown = self._shown(self._look()[0])
        return static_html(shown, len(self.rows)) if shown else ""

    # ---- measuring

    def _look(self) -> tuple[Sample | None, Fault | None]:
        """Sample and fault of now; once the panel is on a page they are the thread's last ones."""
        if not self._kept_by_thread and self._measured != self._key():
            try:
                self._sample, self._fault = self._measure(dataclasses.replace(self.state)), None
            except Faulty as found:
                self._fault = found.fault
            self._measured = self._key()
        return self._sample, self._fault

    def _key(self) -> str:
        return repr(dataclasses.replace(self.state, file=""))

    def _measure(self, state: State) -> Sample:
        """The sample of a state, by what is known already where only the cut or the row differ. Raises `Faulty`."""
        tokenizer = self._load(state)
        before = self._sample
        if before is not None and dataclasses.replace(before.state, max_length=0, row=0, picked=0, file="") == dataclasses.replace(
                state, max_length=0, row=0, picked=0, file="") and (before.state.picked == state.picked or state.use != "this"):
            if before.whole or state.row in before.examples.rows:
                return before.recut(state)
        return reading.measure(state, self.rows, tokenizer)

    def _load(self, state: State) -> Any:
        if not self._given and (self._tokenizer is None or self._tokenizer[0] != state.tokenizer):
            try:
                self._tokenizer = state.tokenizer, reading.load_tokenizer(state.tokenizer)
            except WorkbenchError as error:
                raise Faulty(Fault("tokenizer", str(error))) from None
        return self._tokenizer if self._given else self._tokenizer[1]

    def _ready(self) -> bool:
        """Whether looking takes no seconds: a tokenizer is there already, or what reads it is."""
        return self._given or self._tokenizer is not None or "transformers" in sys.modules

    def _place(self, sample: Sample | None) -> int:
        """The place of the row shown among the sampled ones."""
        if sample is None:
            return 0
        if self._rank < len(sample.order) and sample.examples.rows[sample.order[self._rank]] == self.state.row:
            return self._rank
        return sample.rank(self.state.row) or 0

    def _shown(self, sample: Sample | None) -> reading.Shown | None:
        if sample is None:
            return None
        return reading.shown(sample, self._place(sample), self._tokenizer if self._given else self._tokenizer[1])

    def _view(self) -> View:
        sample, fault = self._sample, self._fault
        return View(state=self.state, used=self._used(), chat_names=self._chat_names(), shown=self._shown(sample), rows=len(self.rows),
                    reason=words.reason(sample, fault), usable=sample is not None and fault is None and not words.refused(sample) and not sample.too_long,
                    stale=fault is not None)

    def _used(self) -> set[str]:
        template = templates_of(self.state)[self.state.picked]
        try:
            return set(template.columns)
        except TemplateError:  # until it is mended: the names that stand in it
            written = set(re.findall(r"\w+", f"{template.input} {template.target or ''}"))
            return written & {name.replace("-", "_") for name in self.rows.table.column_names}

    def _chat_names(self) -> list[tuple[str, bool]]:
        if not self._given and self._tokenizer is None:
            return []
        return [(words.chat_name(self._tokenizer if self._given else self._tokenizer[1]), True), ("none: prompt and completion", False)]

    # ---- the live widget

    def controls(self) -> list:
        if self.made is None:
            self.made = Controls(self, self.rows.table.column_names, self._view())
        return self.made.column

    def above(self) -> Any:
        self.controls()
        return self.made.above

    def _build(self) -> None:
        if self._ready():
            self._look()
        self._kept_by_thread = True
        super()._build()
        self._live.on_event(self._clicked)
        self.selection.observe(self._selected, "examples")
        if self._sample is None and self._fault is None:
            self.busy("Reading the tokenizer")
            self.errands.add(self._again, "measure")
        else:
            self._say(self._fault)

    def _bundle(self, live: bool) -> dict[str, Any]:
        if live:
            self.widget  # noqa: B018 (built first, so that nothing below waits for a tokenizer)
        return super()._bundle(live)

    def refresh(self) -> None:
        """Everything again: figure, sentence, code, example and controls; from any thread."""
        with self._lock:
            if self._root is None:
                return
            super().refresh()
            self.made.show(self._view())

    def _again(self) -> None:
        """In the thread: measure the state of now, and show it or its fault."""
        self._newer.clear()
        state, first = dataclasses.replace(self.state), self._sample is None
        sample, fault = self._sample, None
        try:
            sample = self._measure(state)
        except Faulty as found:
            fault = found.fault
        if fault is not None and not first and self._newer.wait(SETTLE_S):
            return  # the hand goes on: the next measurement waits already
        with self._lock:
            self._sample, self._fault = sample, fault
            self.busy(None)
            self.refresh()
            self._say(fault)
        if first:
            self.freeze()

    def _say(self, fault: Fault | None) -> None:
        """The fault beside its control, once."""
        with self._lock:
            if fault == self._said:
                return
            self._said = fault
            self.clear_error()
            if fault is not None:
                remedy = (f"Use {fault.meant}", lambda: self._respell(fault)) if fault.meant else None
                self.show_error(getattr(self.made, fault.control, None), fault.sentence, remedy)

    def _set(self, state: State, fields: bool = False) -> None:
        """A new state; with `fields` what stands in the fields changes too."""
        with self._lock:
            self.state, self.admitted = state, None
            if self.made is None:
                return
            if fields:
                self.made.show_fields(state)
            if self._fault is not None and self._fault.control in ("use", "file", "columns"):
                self._fault = None
            self._newer.set()
        self.errands.add(self._again, "measure")

    # ---- what a person does

    def edit(self, field: str, text: str) -> None:
        """A field of the picked wording now holds `text`."""
        if field in ("input", "target"):
            self._field = field
        self._set(edits.edited(self.state, **{field: text}))
        if field == "name" and self.made is not None:
            self.made.toggles.tooltips = [fields["name"] for fields in self.state.templates] + [""]

    def option(self, name: str, value: Any) -> None:
        """A field of the state, for example `option("demonstrations", 2)`."""
        if getattr(self.state, name) != value:
            self._set(dataclasses.replace(self.state, **{name: value}))

    def column(self, name: str, used: bool) -> None:
        """Put a column into the field that was written in last, or take it out of both."""
        now = self.state.templates[self.state.picked]
        if used:
            state = edits.edited(self.state, **{self._field: edits.toggled(now.get(self._field) or "", name, False)})
        else:
            state = edits.edited(self.state, **{field: edits.toggled(now.get(field) or "", name, True) for field in ("input", "target")})
        self._set(state, fields=True)
        with self._lock:
            if self.made is not None and not used and name.replace("-", "_") in self._used():
                self.made.show(self._view())
                self._say(Fault("columns", f"The column {name} stands in an expression; take it out of the text by hand."))

    def pick(self, place: int) -> None:
        """Show another wording."""
        self._set(dataclasses.replace(self.state, picked=place), fields=True)

    def add(self) -> None:
        """One more wording, begun as the picked one."""
        self._set(edits.added(self.state), fields=True)

    def remove(self) -> None:
        self._set(edits.removed(self.state), fields=True)

    def _respell(self, fault: Fault) -> None:
        if fault.control == "system":
            self._set(dataclasses.replace(self.state, system=edits.respelled(self.state.system, fault.wrong, fault.meant)), fields=True)
        else:
            text = self.state.templates[self.state.picked].get(fault.control) or ""
            self._set(edits.edited(self.state, **{fault.control: edits.respelled(text, fault.wrong, fault.meant)}), fields=True)

    def scrub(self, rank: int) -> None:
        """Show the row at this place, counted from the shortest."""
        with self._lock:
            sample = self._sample
            if sample is None or not 0 <= rank < len(sample.order):
                return
            self._rank = rank
            self.state = dataclasses.replace(self.state, row=sample.examples.rows[sample.order[rank]])
            self.refresh()
        self.selection.set("examples", {self.state.row})

    def _selected(self, _kind: str, ids: frozenset) -> None:
        """A row picked in another panel is shown here."""
        row = next(iter(ids)) if len(ids) == 1 else None
        if isinstance(row, int) and 0 <= row < len(self.rows) and row != self.state.row:
            self._set(dataclasses.replace(self.state, row=row))

    def _clicked(self, event: dict) -> None:
        if event["type"] == "click":
            self.scrub(round(event["x"]) - 1)

    def use(self) -> None:
        """Check all rows by the gate; then `panel.admitted` holds what may be trained on."""
        self.errands.add(self._use, "use")

    def _use(self) -> None:
        state, begun, cancelled = dataclasses.replace(self.state), time.monotonic(), threading.Event()

        def progress(done: int, of: int) -> None:
            if cancelled.is_set():
                raise Cancelled
            if time.monotonic() - begun > SLOW_S:
                self.busy("Rendering and counting all rows", done // 2, of // 2, cancelled.set)

        def admit() -> None:
            task = task_of(state)
            self.admitted = task.admit(self.rows.table, self._load(state), max_length=state.max_length,
                                       completions_only=state.completions_only, progress=progress, **edits.options_of(state, task))
        self._try("use", admit)

    def read_file(self, path: str) -> None:
        """Take the templates of a promptsource file."""
        self.errands.add(lambda: self._try("file", lambda: self._set(edits.with_file(self.state, _text_of(path), path), fields=True)))

    def write_file(self, path: str) -> None:
        """Write the wordings as they would be used, inverted ones inverted, into a promptsource file."""
        def write() -> None:
            if not path:
                raise DataError("There is no name of a file.", "Write one, such as templates.yaml.")
            promptsource.write(task_of(self.state), path)
        self.errands.add(lambda: self._try("file", write))

    def _try(self, control: str, job: Callable[[], object]) -> None:
        """Do `job` in the thread; what goes wrong is said at the control."""
        fault = None
        try:
            job()
        except Cancelled:
            pass
        except WorkbenchError as error:
            fault = Fault(control, str(error))
        with self._lock:
            self._fault = fault
            if self._root is not None:
                self.busy(None)
                self.refresh()
                self._say(fault)


def _text_of(path: str | Path) -> str:
    """A promptsource file's text. Raises `DataError` where it cannot be read or is none."""
    promptsource.read(path)  # says what is wrong with it by name and line
    with Path(path).expanduser().open(encoding="utf-8", newline="") as file:
        return file.read()
