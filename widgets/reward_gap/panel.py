"""Panel 5, the reward gap: does the reward model put the chosen reply first, and for the right reason?

`RewardGap(run)` shows a reward run, live or finished, or the implicit rewards of a run of DPO; `RewardGap(runs)` several as an ensemble;
`RewardGap(gaps)` a table of `reward_gaps`. What is opened is read in `reading.py`, counted in `look.py`, drawn in `figure.py`, said in
`words.py`; here they are joined. A slider is arithmetic on rewards that are there; the rest is done by threads.
"""

from pathlib import Path
from typing import Any, ClassVar

from widgets.frame.later import Later
from widgets.frame.panel import Panel, _in_kernel
from widgets.frame.selection import Selection
from widgets.frame.sheet import number
from widgets.frame.status import Sentence
from widgets.reward_gap import reading, words
from widgets.reward_gap.actions import Actions
from widgets.reward_gap.controls import Controls, View, list_html
from widgets.reward_gap.figure import MOST_POINTS, figure
from widgets.reward_gap.look import Look
from widgets.reward_gap.seeing import see
from widgets.reward_gap.state import State
from workbench.alignment.gaps import LengthBias, length_bias
from workbench.data.flags import Flags
from workbench.errors import DataError, WorkbenchError

WATCH_S = 0.5
"""Between two looks at a run that goes on."""


class RewardGap(Panel):
    """`RewardGap(source)`: a `wb.Run` or its folder, a list of them, or a table of gaps.

    `runs` is where runs to open are looked for. `selection` shared between panels: "examples" are row numbers of the held-out (or training)
    rows, "run" the run. Results: `gaps` (the table shown), `flags`, `rows_without_flagged()`, `next_recipe()`.
    """

    title = "Reward gap"
    question = "does the reward model put the chosen reply first, and for the right reason?"
    help_text: ClassVar[str] = words.HELP
    State = State
    frame_ms = 30

    def __init__(self, source: Any = None, *, runs: str | Path | None = None, state: State | None = None,
                 selection: Selection | None = None) -> None:
        super().__init__(state or State(), selection)
        given = [] if source is None else [source] if hasattr(source, "columns") or not isinstance(source, (list, tuple)) else list(source)
        self._table = given[0] if given and hasattr(given[0], "columns") else None
        if given and self._table is None:
            self.state.sources = tuple(_near(one) for one in given)
        if runs is not None:
            self.state.runs = str(runs)
        elif self.state.sources and self.state.runs == "runs":
            self.state.runs = _near(Path(self.state.sources[0]).parent)
        self.book: Any = None
        self.flags: Flags | None = None
        self.fault = ""
        """Why nothing can be read, in a sentence."""
        self.actions, self.made = Actions(self), None
        self.settling = Later(self._settle, "reward gap settling")
        self.proposals: list[str] = []
        self.training = ""
        """What the run started from here says."""
        self._read_for: Any = None
        self._threaded = False
        self._told: dict[tuple, LengthBias | None] = {}
        self._now: tuple[list[int], bool] | None = None
        """The run's steps and whether it lives; in a page as the last look at it had them."""
        self._tellings = 0
        """How often a length bias was told after the figure was."""
        self._seen: tuple[tuple, Look] | None = None
        self._next: Any = None

    # ---- results

    @property
    def gaps(self) -> Any:
        """The table of gaps shown, as `reward_gaps` has it, by the weights that are set."""
        return self.seen().frame

    def rows_without_flagged(self) -> Any:
        """The run's training rows that no flag is on, an Arrow table; of a mixture a dict of them by source. Raises `DataError`."""
        from workbench.data import run_rows

        self._ready()
        if self.flags is None:
            raise DataError("A table of gaps has no rows to train on.", "Open the run itself: RewardGap(run).")
        left = {name: self.flags.without(table) for name, table in run_rows.read(self.book.folder).train.items()}
        return left[""] if list(left) == [""] else left

    def next_recipe(self) -> Any:
        """The recipe of the next run: this one's without the flagged pairs. Raises `DataError` for a table."""
        from workbench.evaluation.next_run import without_flagged

        self._ready()
        if self.flags is None:
            raise DataError("A table of gaps has no recipe.", "Open the run itself: RewardGap(run).")
        return without_flagged(self.book.run, self.flags)

    def train_again(self) -> Any:
        """Starts the next run and returns it."""
        from workbench.runs.start import start

        self._next = start(self.next_recipe(), runs=self.state.runs)
        self.training = f"{self._next.name} trains without {number(len(self.flags))} flagged."
        self.selection.set("run", {str(self._next.folder)})
        return self._next

    def toggle_flag(self) -> None:
        """Flags the pair that is read as mislabelled, or takes its flag away. Raises `DataError` for a table of gaps."""
        if self.flags is None:
            raise DataError("A table of gaps keeps no flags.", "Open the run itself: RewardGap(run).")
        pair = self.read
        if pair is None:
            return
        verdict = (pair["prompt"], pair["chosen_text"], pair["rejected_text"])
        (self.flags.remove if verdict in self.flags else self.flags.add)(*verdict)
        self._seen = None

    @property
    def read(self) -> dict[str, Any] | None:
        """The pair that is read: its line of the table; None where none is."""
        look = self.seen()
        return None if not len(look.picked) else look.frame.iloc[look.picked[min(self.state.place, len(look.picked) - 1)]].to_dict()

    def select(self) -> None:
        """The pairs that are read become the shared selection of examples."""
        look = self.seen()
        self.selection.set("examples", {int(look.ids[place]) for place in look.picked})

    # ---- reading

    def open(self, *sources: Any) -> "RewardGap":
        """Shows a run, or several. Raises `WorkbenchError` where they cannot be read; the last good one stays then."""
        before = self.state.sources, self._table
        self.state.sources, self._table = tuple(_near(one) for one in sources), None
        try:
            self._read()
        except WorkbenchError:
            self.state.sources, self._table = before
            self._read_for = self._given()
            self.fault = "" if self.book is not None else self.fault
            raise
        return self

    def look(self) -> "RewardGap":
        """Reads everything, or what is new, here and now; raises `WorkbenchError` where it cannot be read."""
        if self.book is None or self._read_for != self._given():
            self._read()
        self._seen = self._now = None
        self.refresh()
        return self

    def _given(self) -> Any:
        return self.state.sources if self._table is None else id(self._table)

    def _read(self) -> None:
        """Opens what the state names. Raises `WorkbenchError`."""
        self._read_for = self._given()
        sources = self.state.sources if self._table is None else [self._table]
        if not len(sources):
            return
        try:
            book = reading.opened(sources)
            if book.needs_model():
                book.compute(self.actions.progress)
            flags = reading.flags_of(book)
            if book.steps:
                book.pairs(book.steps[-1], book.parts[0])
        except WorkbenchError as error:
            self.fault = str(error)
            raise
        self.book, self.flags, self.fault, self._seen, self._told = book, flags, "", None, {}
        self._now = None
        self.state.part = self.state.part if self.state.part in book.parts or not book.parts else book.parts[0]
        if book.folder is not None and self.made is not None:
            self.selection.set("run", {str(book.folder)})

    def _ready(self) -> None:
        """A panel on its own reads before it answers; one in a page shows what its thread has read so far."""
        if self._threaded or self._read_for == self._given():
            return  # in a page a thread reads
        try:
            self._read()
        except WorkbenchError:
            pass  # said by the sentence, from `fault`

    # ---- what it shows, pure

    def seen(self) -> Look:
        """Everything shown now; the same object until a setting or the run changes."""
        self._ready()
        book = self.book
        if book is None:
            return Look()
        state = self.state
        if not self._threaded or self._now is None:
            self._now = book.steps, book.living
        steps, living = self._now
        step = state.step if state.step in steps else steps[-1] if steps else None
        key = (tuple(steps), step, state.part, state.column, state.category, tuple(state.weights.items()), state.show, state.low,
               state.high, state.share, self.selection["examples"], len(self.flags or ()), self._tellings, living)
        if self._seen is None or self._seen[0] != key:
            self._seen = key, see(book, state, step, steps, self.flags, self.selection["examples"], self._bias)
        return self._seen[1]

    def _bias_key(self, step: int | None) -> tuple:
        state = self.state
        return step, state.part, state.column if state.category else "", state.category, tuple(state.weights.items())

    def _bias(self, step: int, frame: Any) -> LengthBias | None:
        """In a page it is told when the hand rests, and till then the last one stands; None where there is none."""
        key = self._bias_key(step)
        if key not in self._told and not self._threaded:
            self._tell(key, frame)
        return self._told.get(key, next(reversed(self._told.values()), None))

    def _tell(self, key: tuple, frame: Any) -> None:
        try:
            self._told[key] = length_bias(frame)
        except DataError:  # too few pairs of different length
            self._told[key] = None

    def figure(self, width: str = "wide") -> dict:
        look = self.seen()
        return figure(look, width, words.empty_words(look, self.fault, self._given_any))

    @property
    def _given_any(self) -> bool:
        return bool(self.state.sources) or self._table is not None

    def summary(self) -> Sentence:
        return words.summary(self.seen(), self.state, self.fault if self.book is None else "", self._given_any)

    def code(self) -> str:
        book = self.book
        scored = next((part for part in getattr(book, "parts", ()) if not book.kept.steps), "") if book is not None and book.folder else ""
        return words.code(self.seen(), self.state, book.heads if book is not None else (), self._table is not None, scored)

    def extra_html(self) -> str:
        look = self.seen()
        return list_html(self._lines(look), 0, 12) if look.pairs else ""

    def _lines(self, look: Look) -> list[dict[str, Any]]:
        frame = look.frame.iloc[look.picked].assign(flagged=look.flagged[look.picked])
        names = ["prompt", "chosen_text", "rejected_text", "chosen", "rejected", "gap", "flagged"]
        return frame[[*names, *(["spread"] if "spread" in frame else [])]].to_dict("records")

    # ---- the live widget

    def controls(self) -> list:
        if self.made is None:
            self.made = Controls(self.actions, self._view())
        return self.made.column_box

    def extra(self) -> Any:
        self.controls()
        return self.made.reader

    def _view(self) -> View:
        look, state, book = self.seen(), self.state, self.book
        steps = book.steps if book is not None else []
        if not look.pairs:
            return View(state=state, source=", ".join(state.sources), proposals=self.proposals, steps=steps, step=look.step,
                        total=look.total, parts=book.parts if book is not None else ["heldout"], words=words.reading_words(look, state))
        pairs, at = self._lines(look), 0
        at = int((look.edges[1:-1] <= state.low + 1e-12).sum()) if state.low is not None else 0
        low, high = look.edges[at], look.edges[at + 1]
        return View(
            state=state, source=", ".join(state.sources), proposals=self.proposals, steps=steps, step=look.step, total=look.total,
            parts=book.parts, columns=look.columns, column=look.column, categories=[each.name for each in look.categories],
            heads=book.heads, bins=len(look.edges) - 1, bin=at,
            bin_words=f"Bin from {number(low, 2)} to {number(high, 2)}", words=words.reading_words(look, state), pairs=pairs,
            place=min(state.place, max(len(pairs) - 1, 0)), flags=len(self.flags or ()), can_flag=bool(pairs) and self.flags is not None,
            can_train=self.flags is not None, training=self.training)

    def refresh(self) -> None:
        """Everything again: figure, sentence, code, controls; from any thread."""
        with self._lock:
            if self._root is not None:
                super().refresh()
                self.made.show(self._view())

    def settle_soon(self) -> None:
        """What takes longer than a frame follows when the hand rests."""
        if self._root is not None and self.book is not None and self._bias_key(self.seen().step) not in self._told:
            self.settling.ask()

    def _settle(self) -> None:
        with self._lock:
            look = self.seen()
            key = self._bias_key(look.step)
        if look.pairs and key not in self._told:
            self._tell(key, look.frame)
            self._tellings += 1
            self.refresh()

    def _build(self) -> None:
        self._threaded = self._read_for is None
        super()._build()
        self._live.on_event(self._clicked)
        self.selection.observe(self._selected)
        if self._threaded and self._given_any:
            self.actions.later("source", self._read, "open")
        elif self.book is not None and self.book.folder is not None:
            self.selection.set("run", {str(self.book.folder)})
        self.actions.later("source", self._propose, "propose")
        self.actions.later("source", self._settle, "settle")
        self.every(self._watch, WATCH_S)

    def _ipython_display_(self) -> None:
        if _in_kernel() and self._read_for is None:
            _ = self.widget  # begins to read in a thread, so that the cell does not wait for it
        super()._ipython_display_()

    def _propose(self) -> None:
        self.proposals = reading.runs_of_pairs(self.state.runs)

    def _watch(self) -> None:
        """A run that goes on has new steps; one that was started from here says how it fares."""
        if self._next is not None:
            told = f"{self._next.name}: {self._next.status.sentence}"
            if told != self.training:
                self.training = told
                self.actions.later("train", lambda: None, "draw")
        if self.book is None or self.book.folder is None:
            return
        before, self._now = self._now, (self.book.steps, self.book.living)
        if before != self._now:
            self.actions.later("source", self._settle, "settle")
        elif self._now[1]:
            self._seen = None  # the training curve goes on
            self.actions.later("source", lambda: None, "draw")

    def _clicked(self, event: dict) -> None:
        """A bar is read, a step gone to, a pair or a category picked."""
        if event["type"] != "click":
            return
        trace, index = event["trace"], event["index"]
        look = self.seen()
        if trace == "gaps":
            self.actions.later("bin", lambda: self.actions.bin(index))
        elif trace == "accuracy":
            self.actions.later("step", lambda: self.actions.evaluation(index + 1))
        elif trace == "lengths":
            every = max(1, -(-look.pairs // MOST_POINTS))
            self.actions.later("bin", lambda: self.actions.read(index * every))
        elif trace == "categories" and index < len(look.categories):
            name = look.categories[index].name
            wanted = "" if name == self.state.category else name
            self.actions.later("category", lambda: self.actions.set(column=look.column, category=wanted, place=0))

    def _selected(self, kind: str, ids: frozenset) -> None:
        """Examples picked in another panel are read here; a run picked there is opened."""
        if kind == "examples" and ids:
            self.actions.later("show_pairs", self._show_picked)
        elif kind == "run" and len(ids) == 1 and self.book is not None and self.book.folder is not None:
            folder = Path(next(iter(ids)))
            if folder != self.book.folder and (self._next is None or folder != self._next.folder) and (folder / "arrays").is_dir():
                self.actions.later("source", lambda: self.open(str(folder)), "open")

    def _show_picked(self) -> None:
        look = self.seen()
        mine = {int(look.ids[place]) for place in look.picked}
        if mine != set(self.selection["examples"]):
            self.actions.set(show="picked", place=0)


def _near(source: Any) -> str:
    """The path of a run as code has it: from here where it lies below."""
    folder = Path(getattr(source, "folder", source)).expanduser()
    try:
        return str(folder.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(folder.resolve())
