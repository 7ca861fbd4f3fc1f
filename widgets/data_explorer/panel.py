"""Panel 8, the data explorer: what is in these rows, and which of them should not be trained on?

`DataExplorer("rows.jsonl", test="test.jsonl", model="runs/...")` shows rows with what the engine finds in them; `explorer.kept` is what is
left, for `wb.Recipe(data=explorer.kept)`. What is found is computed in `findings.py`, masks and counts in `view.py`, words in `words.py`;
here they are joined. Looking, searching and scoring are done by threads; a click only notes what was wanted.
"""

from typing import Any

import numpy as np

from widgets.data_explorer import findings as finding
from widgets.data_explorer import view, words
from widgets.data_explorer.actions import Actions
from widgets.data_explorer.figure import Picture, figure
from widgets.data_explorer.looking import AT_FIRST, Looker
from widgets.data_explorer.reading import PAGE_ROWS, Shown, copies_words, detail, page, picture_of, shows_of, span_of
from widgets.data_explorer.state import State, Where
from widgets.frame.errands import Errands
from widgets.frame.panel import Panel, _in_kernel
from widgets.frame.selection import Selection
from widgets.frame.status import Sentence

CELLS = ("length", "quality", "likeness", "loss")


class DataExplorer(Panel):
    """`DataExplorer(rows)`; `rows` and `test` are whatever `wb.load_rows` takes.

    `test`: rows that must not stand in `rows`. `model`: a run, its folder, a model's name or a pair (model, tokenizer), whose loss of each
    row is joined. `tokenizer`: a tokenizer or a model's name, to count lengths in its tokens. `quality`: one score a row. `columns`: what the
    text of a row is. `selection` shared between panels: examples (row numbers) picked in one are shown here, and sources where the rows have
    a column of that name; a run picked elsewhere is offered for scoring. Results: `kept` (an Arrow table, for `wb.Recipe(data=...)`, or
    `datasets.Dataset(explorer.kept)`), `dropped` and `flagged` (row
    numbers). Raises `DataError` where rows cannot be read.
    """

    title = "Data explorer"
    question = "what is in these rows, and which should not be trained on?"
    help_text = words.HELP
    State = State
    frame_ms = 33

    def __init__(self, rows: Any = None, test: Any = None, model: Any = None, *, tokenizer: Any = None, quality: Any = None,
                 columns: tuple[str, ...] | str = (), state: State | None = None, selection: Selection | None = None):
        from workbench.data import sources
        from workbench.errors import DataError

        columns = (columns,) if isinstance(columns, str) else tuple(columns)
        super().__init__(state or State(columns=columns), selection)
        given = self.state
        rows, test = rows if rows is not None else given.source or None, test if test is not None else given.test or None
        if rows is None:
            raise DataError("This state was made with rows given as a table, and they are not part of it.",
                            "Give them again: DataExplorer.from_json(text, rows=rows).")
        self.table = rows if hasattr(rows, "to_batches") and hasattr(rows, "column_names") else sources.load_rows(rows)
        self._test = sources.load_rows(test) if test is not None and not hasattr(test, "to_batches") else test
        self._model, self._tokenizer, self._quality = model or given.model or None, tokenizer or given.tokenizer or None, quality
        given.source = rows if isinstance(rows, str) else str(rows) if hasattr(rows, "__fspath__") else ""
        given.test = test if isinstance(test, str) else str(test) if hasattr(test, "__fspath__") else ""
        given.tokenizer = self._tokenizer if isinstance(self._tokenizer, str) else ""
        given.model = _name_of(self._model)
        self.findings = finding.Findings(count=self.table.num_rows)
        self.actions, self.errands, self.made = Actions(self), Errands("data explorer"), None
        self._taken: Shown | None = None
        self._bins: dict[tuple[str, int], view.Bins] = {}
        self.looker, self.looked, self._live_look, self._picking = Looker(self), False, False, False

    # ---- the rows

    @property
    def count(self) -> int:
        """How many rows there are, dropped ones too."""
        return self.table.num_rows

    @property
    def kept(self) -> Any:
        """The rows that are not dropped, in order, as an Arrow table. Raises `DataError` where none is left."""
        from workbench.data import cleaning

        return cleaning.without(self.table, self.decided().dropped)

    @property
    def dropped(self) -> list[int]:
        """Numbers of the rows that are dropped, from 0."""
        return np.flatnonzero(self.decided().dropped).tolist()

    @property
    def flagged(self) -> list[int]:
        return list(self.state.flagged)

    @property
    def shown(self) -> list[int]:
        """Numbers of the rows in the table now, in its order."""
        return self._take().order.tolist()

    @property
    def picked(self) -> tuple[int, ...]:
        """The rows of the shared selection of examples."""
        return tuple(sorted(row for row in self.selection["examples"] if type(row) is int and 0 <= row < self.count))

    def look(self) -> "DataExplorer":
        """Looks for everything now, in this thread: measures, copies, leaks, private details, losses. Returns itself."""
        for _ in finding.steps(self.table, self.findings, **self.sources()):
            pass
        self.looked = True
        self.refresh()
        return self

    def drop(self, rows: Any = None) -> None:
        """Drops these rows by number, or (None) what is shown; as the panel's buttons and keys do."""
        if rows is None:
            self.actions.drop_shown()
        else:
            self.actions.mark("drop", tuple(int(row) for row in rows))

    def sources(self) -> dict[str, Any]:
        """What there is to look at, as `findings.steps` takes it."""
        tokenizer = self._tokenizer
        if isinstance(tokenizer, str):
            import workbench

            tokenizer = self._tokenizer = workbench.load(tokenizer)[1]
        return dict(columns=tuple(self.state.columns), test=self._test, tokenizer=tokenizer, model=self._model, quality=self._quality)

    # ---- what it shows, pure

    def figure(self, width: str = "wide") -> dict:
        return figure(self._take().pictures, width)

    def summary(self) -> Sentence:
        taken = self._take()
        return words.summary(self.findings, taken.decided, self.state.where, len(taken.order), self.looker.words)

    def code(self) -> str:
        self._take()
        given = dict(rows=not self.state.source, test=self._test is not None and not self.state.test, quality=self._quality is not None,
                     model=self._model is not None and not self.state.model,
                     tokenizer=self._tokenizer is not None and not self.state.tokenizer)
        return words.code(self.state, self.findings, self.picked, given)

    def extra_html(self) -> str:
        from widgets.frame import controls

        taken = self._take()
        shown = page(taken, self.table, self.findings, self.state, self.picked, 8)
        head, rows = shown["head"][1:], [[*line["cells"][1:], ", ".join(line["mark"].split()) or ""] for line in shown["rows"]]
        wide = next(k for k, column in enumerate(head) if column["wide"])
        return controls.table_html([column["label"] for column in head] + ["decision"], rows, wide=wide, caption="The first rows shown",
                                   numeric=[k for k, column in enumerate(head) if column["num"]])

    def decided(self) -> view.Decided:
        self._ready()
        return view.decisions(self.state, self.findings)

    def measure_of(self, cell: str) -> str:
        """The measure of a histogram: length, quality, likeness, loss."""
        self._ready()
        if cell == "length":
            return self.findings.length
        if cell == "quality":
            choices = self.findings.qualities
            return self.state.quality if self.state.quality in choices else choices[0] if choices else "letter_share"
        return cell

    def bins_of(self, measure: str) -> view.Bins | None:
        """None where the measure is not known yet, or of no row."""
        values = self.findings.measures.get(measure)
        if values is None or not np.isfinite(values).any():
            return None
        key = (measure, self.findings.version)
        if key not in self._bins:
            self._bins = {old: bins for old, bins in self._bins.items() if old[1] == self.findings.version}
            self._bins[key] = view.bins_of(values, measure in self.findings.whole)
        return self._bins[key]

    def _ready(self) -> None:
        """A panel on its own looks for everything before it answers; one in a page shows what its thread has found so far."""
        if not self.looked and not self._live_look:
            self.look()

    def _take(self) -> Shown:
        """Everything drawn, computed now; the same while a refresh goes on."""
        if self._taken is not None:
            return self._taken
        self._ready()
        state, found = self.state, self.findings
        decided = view.decisions(state, found)
        rows = view.mask(state.where, found, decided, self.picked)
        order = view.order(rows, state.sort, state.descending, found, decided, state.where.threshold)
        pictures = [self._picture(cell, decided, rows) for cell in CELLS]
        return Shown(decided=decided, order=order, pictures=pictures)

    def _picture(self, cell: str, decided: view.Decided, rows: np.ndarray) -> Picture:
        measure = self.measure_of(cell)
        bins = self.bins_of(measure)
        return picture_of(cell, measure, bins, rows, decided, self.state.where, self.findings, self.looker.words, bool(self._model))

    # ---- where the hand is

    def order_now(self) -> np.ndarray:
        return self._take().order

    def cursor_now(self) -> int | None:
        """The row under the cursor: the first one where the old one is not shown; None where no row is."""
        order = self.order_now()
        if not len(order):
            return None
        return self.state.cursor if (order == self.state.cursor).any() else int(order[0])

    def go(self, to: str) -> None:
        """Moves the cursor through what is shown; at an end it stays."""
        with self._lock:
            order, cursor = self.order_now(), self.cursor_now()
            if cursor is not None:
                at = int(np.flatnonzero(order == cursor)[0])
                at = {"next": at + 1, "previous": at - 1, "page": at + PAGE_ROWS, "page back": at - PAGE_ROWS, "first": 0,
                      "last": len(order) - 1}.get(to, at)
                self.state.cursor = int(order[min(max(at, 0), len(order) - 1)])
        self.soon()

    def pick(self, rows: tuple[int, ...]) -> None:
        """Sets the shared selection of examples without following it."""
        self._picking = True
        try:
            self.selection.set("examples", rows)
        finally:
            self._picking = False
        self.soon()

    # ---- the live widget

    @property
    def locked(self) -> Any:
        return self._lock

    def later(self, job: Any) -> None:
        """Does `job` in the panel's thread, after what was asked before; at once where the panel was never shown."""
        if self._root is None:
            job()
        else:
            self.errands.add(job)

    def soon(self) -> None:
        """Shows what is so now, in the panel's thread; a picture that waits already is drawn once."""
        if self._root is not None:
            self.errands.add(self.refresh, key="draw")

    def controls(self) -> list:
        if self.made is None:
            from widgets.data_explorer.controls import Controls

            self.made = Controls(self.actions, self._view(self._take()))
        return self.made.column

    def extra(self) -> Any:
        self.controls()
        return self.made.table

    def _view(self, taken: Shown) -> Any:
        from widgets.data_explorer.controls import View

        state, found = self.state, self.findings
        spans = {cell: span_of(self.measure_of(cell), self.bins_of(self.measure_of(cell)), state.where) for cell in CELLS}
        seen, cursor = len(taken.order), self.cursor_now()
        if cursor is not None:
            state.cursor = cursor
        groups = found.groups(state.where.threshold)
        copies = "" if groups is None else copies_words(int((~groups["keep"]).sum()), groups["group"].nunique())
        left = int((~taken.decided.dropped).sum())
        return View(
            query=state.where.query, shows=shows_of(found, taken.decided, state.where, self.picked), show=state.where.show, spans=spans,
            qualities=[(finding.measure_name(name)[0], name) for name in found.qualities],
            quality=self.measure_of("quality") if found.qualities else "",
            threshold=state.where.threshold, copies=copies, seen=seen, can_undo=self.actions.can_undo, filtered=not state.where.everything,
            can_drop=bool(seen) and not state.where.everything and bool((~taken.decided.dropped[taken.order]).any()),
            can_keep_only=bool(seen) and not state.where.everything and seen < self.count and left > 0, model=state.model,
            table=page(taken, self.table, found, state, self.picked), detail=detail(cursor, taken, self.table, found, state))

    def refresh(self) -> None:
        """Everything again: figure, sentence, code, controls; from any thread."""
        with self._lock:
            if self._root is None:
                return
            self._taken = self._take()
            try:
                super().refresh()
                self.made.show(self._view(self._taken))
            finally:
                self._taken = None

    def _build(self) -> None:
        self._live_look = not self.looked
        self.looker.words = "" if self.looked else AT_FIRST
        self._taken = self._take()
        try:
            super()._build()
        finally:
            self._taken = None
        self._live.on_event(self._brushed)
        self.selection.observe(self._selected)
        if not self.looked:
            self.looker.begin(self.looker.look)

    def _ipython_display_(self) -> None:
        if _in_kernel() and not self.looked:
            _ = self.widget  # begins to look in a thread, so that the cell does not wait for it
        super()._ipython_display_()

    def score(self, model: str) -> None:
        """Joins the loss of each row under `model` (a run folder or a model's name), in a thread; what is wrong is said at the button."""
        wanted = model.strip().strip('"')
        if not wanted:
            self.show_error(self.made.score, 'Name a run folder or a model first, such as "town".')
            return
        self.clear_error(self.made.score)
        source = self._model if wanted == self.state.model and self._model is not None else wanted
        self.looker.begin(lambda: self.looker.score(source, wanted))

    def scored_by(self, model: Any, name: str) -> None:
        self._model, self.state.model = model, _name_of(model) or name

    def reach(self, row: int) -> None:
        """Puts the cursor on a row; where it is not among those shown, all are."""
        with self._lock:
            if not (self.order_now() == row).any():
                self.state.where = Where(threshold=self.state.where.threshold)
            self.state.cursor = row
        self.soon()

    def _brushed(self, event: dict) -> None:
        """A drag over a histogram: its two edges, to the nearest bin."""
        if event["type"] != "brush":
            return
        if event["range"] is None:
            self.actions.unbrush()
            return
        cell = CELLS[int(event["axis"][1:] or 1) - 1]
        bins = self.bins_of(self.measure_of(cell))
        if bins is not None:
            ends = event["range"]
            low, high = (min(max(round(value), 0), len(bins.edges) - 1) for value in ends)
            self.actions.span(cell, low if low < high else min(max(int(ends[0]), 0), high), high)

    def _selected(self, kind: str, ids: frozenset) -> None:
        """Examples picked in another panel are shown here; a run picked there is offered for scoring."""
        if kind == "examples" and ids and not self._picking:
            with self._lock:
                self.state.where = Where(show="picked", threshold=self.state.where.threshold)
                self.state.cursor = min(self.picked, default=self.state.cursor)
            self.soon()
        elif kind == "source" and "source" in self.table.column_names:
            with self._lock:
                self.state.where.sources = tuple(sorted(map(str, ids)))
            self.soon()
        elif kind == "run" and len(ids) == 1 and (folder := str(next(iter(ids)))) != self.state.model:
            self.state.model, self._model = folder, folder
            self.soon()


def _name_of(model: Any) -> str:
    """What code can write for a model; empty for a pair of objects."""
    if isinstance(model, str):
        return model
    if hasattr(model, "__fspath__"):
        return str(model)
    return str(model.folder) if hasattr(model, "folder") else ""
