"""Panel 3, the LoRA rank explorer: how many directions does an update really use, and where?

`RankExplorer("runs/...")` shows an adapter's spectra, `RankExplorer(tuned=folder, base="town")` what is different in a tuned model. Numbers
are read in `reading.py`, arranged in `spectra.py`, drawn in `figure.py`, said in `words.py`; here they are joined. Reading, scoring and
training are done by threads; a slider is arithmetic on singular values that are there.
"""

from pathlib import Path
from typing import Any, ClassVar

from widgets.frame.later import Later
from widgets.frame.panel import Panel, _in_kernel
from widgets.frame.selection import Selection
from widgets.frame.sheet import number
from widgets.frame.status import Sentence
from widgets.rank_explorer import reading, words
from widgets.rank_explorer.actions import Actions
from widgets.rank_explorer.controls import Controls, View, choices, pattern_html
from widgets.rank_explorer.figure import Look, figure
from widgets.rank_explorer.planning import Planning
from widgets.rank_explorer.spectra import Matrix, plain_name, short
from widgets.rank_explorer.state import State
from widgets.rank_explorer.sweeping import Sweeping, values_of
from workbench.errors import WorkbenchError

WATCH_S = 0.4
"""Between two looks at the runs of a sweep."""


class RankExplorer(Panel):
    """`RankExplorer(source)`: a `wb.Run` or its folder, an adapter's folder or file, or a tuned model (then with `base`).

    `tuned` is another word for `source`. `other` is a second adapter to compare with. `rows` are held-out rows to score on (all that
    `wb.load_rows` takes; those of the run unless given), `recipe` what a sweep trains (that of the run unless given), in the folder `runs`.
    `selection` shared between panels: "layer" is the picked matrix, "run" the run. Results: `method` (a `wb.LoRA`), `pattern`,
    `opened.frame` (the table of singular values).
    """

    title = "LoRA rank explorer"
    question = "how many directions does this update really use, and where?"
    help_text: ClassVar[str] = words.HELP
    State = State
    frame_ms = 30

    def __init__(self, source: Any = None, *, tuned: Any = None, base: Any = None, other: Any = None, rows: Any = None, recipe: Any = None,
                 runs: str | Path | None = None, state: State | None = None, selection: Selection | None = None) -> None:
        super().__init__(state or State(), selection)
        state, source = self.state, source if source is not None else tuned
        for name, given in (("source", source), ("other", other)):
            if given is not None:
                setattr(state, name, reading.near(getattr(given, "folder", None) or getattr(given, "path", None) or given))
        if base is not None:
            state.base = str(base)
        if isinstance(rows, (str, Path)):
            state.rows = str(rows)
        self.rows, self.recipe = rows if rows is not None else state.rows or None, recipe
        if runs is not None:
            state.runs = str(runs)
        elif state.source and Path(state.source, "recipe.json").exists() and state.runs == "runs":
            state.runs = reading.near(Path(state.source).parent)
        self.opened: reading.Opened | None = None
        self.other: reading.Opened | None = None
        self.phis: dict[tuple[int, str], Any] = {}
        self.faults: dict[str, str] = {}
        """What is wrong, by the control it is said at: source, base, other."""
        self.planning, self.sweeping = Planning(), Sweeping()
        self.actions = Actions(self)
        self.made: Controls | None = None
        self.proposals: list[str] = []
        self._read_for: tuple | None = None
        self._opened_from: str | None = None
        self._threaded = False
        self._settling = Later(self.settle, "rank explorer settling")
        self._picking = False

    # ---- results

    @property
    def method(self) -> Any:
        """The `wb.LoRA` (of a QLoRA run `wb.QLoRA`) that the controls describe. Raises `RecipeError` where there is none such."""
        self._ready()
        return reading.method_of(self.opened, self.state.settings(self.pattern))

    @property
    def pattern(self) -> dict[str, int]:
        """The suggested `rank_pattern`: at most as many parameters as rank r in each of its matrices."""
        self._ready()
        if self.opened is None:
            return {}
        return self.planning.pattern(self.opened, self.state)

    def look(self) -> "RankExplorer":
        """Reads everything here and now; raises `WorkbenchError` where the source or the sweep cannot be read."""
        if "source" in self.faults:
            self.forget()
        self.read()
        self.sweeping.look(self.state)
        self.refresh()
        return self

    # ---- reading

    def read(self, progress: reading.Progress = lambda *_: None) -> None:
        """Reads what the state names and is not read yet. What is wrong with the base or the other adapter is noted in `faults` only."""
        state = self.state
        wanted = (state.source, state.base, state.other)
        if wanted == self._read_for or not state.source:
            return
        same_source = self._read_for is not None and wanted[:2] == self._read_for[:2] and self.opened is not None
        self.faults = {}
        self._read_for = wanted
        if not same_source:
            try:
                opened = reading.read(state.source, state.base, progress)
            except (WorkbenchError, OSError) as error:
                self.faults["source"] = str(error)
                raise
            if self._opened_from not in (None, state.source):  # what belonged to the last one goes with it
                state.picked, state.cuts, state.sweep, state.rank, state.alpha, state.targets = "", {}, "", 0, None, ()
                self.sweeping.forget()
            self.opened, self.other, self.phis, self._opened_from = opened, None, {}, state.source
            self.planning.known(self.opened)
            self.opened.spectra.arrange([module for module, _ in reading.modules_of(self.planning.layers)])
            self.faults |= {"base": self.planning.fault} if self.planning.fault else {}
            if not state.rank:
                state.rank, state.variant = self.opened.spectra.rank, self.opened.spectra.variant
                modules = [module for module, _ in reading.modules_of(self.planning.layers)]
                state.targets = () if not opened.targets or set(modules) <= set(opened.targets) else \
                    tuple(module for module in modules if module in opened.targets)
                if self.opened.spectra.kind == "difference":
                    state.rank = 8
                elif self.opened.alpha and self.opened.alpha != state.usual_alpha:
                    state.alpha = float(self.opened.alpha)
        self.other, self.phis = None, {}
        if state.other:
            try:
                self.other = reading.read(state.other, "", progress)
                self.phis = reading.similarities(self.opened, self.other, progress)
            except (WorkbenchError, OSError) as error:
                self.other, self.faults["other"] = None, str(error)
        self.planning.plan(self.opened, state)

    def forget(self) -> None:
        """The next `read` reads everything anew."""
        self._read_for = None

    def _ready(self) -> None:
        """A panel on its own reads before it answers; one in a page shows what its thread has read so far."""
        if self._threaded:
            return
        try:
            self.read()
            self.sweeping.look(self.state)
        except (WorkbenchError, OSError):
            pass  # said by the sentence, from `faults`

    def score(self, ranks: list[int] | None = None, progress: reading.Progress = lambda *_: None) -> dict[int, float]:
        """Held-out loss of the adapter cut to each of `ranks` (the rank set, unless given; 0 is the base alone), nats per token; shown, and
        kept in `state.cuts`.

        Raises `WorkbenchError` where there is no adapter or there are no held-out rows.
        """
        self._ready()
        if self.opened is None:
            raise WorkbenchError(self.faults.get("source", "No adapter is opened."), "Open one first.")
        state = self.state
        found = reading.cut_losses(self.opened, state.source, self._cut_base, ranks or [max(state.rank, 1)], self.rows, progress)
        self.state.cuts = self.state.cuts | {str(rank): loss for rank, loss in found.items()}
        self.refresh()
        return found

    @property
    def _cut_base(self) -> str:
        """The base to load under a cut adapter, where its folder is no run and so may only know a name."""
        return self.state.base or ("" if self.opened is None or self.opened.run is not None else self.opened.base)

    # ---- what it shows, pure

    def seen(self) -> Look:
        """Everything the figure shows now."""
        self._ready()
        state = self.state
        if self.opened is None:
            return Look()
        spectra, picked = self.opened.spectra, self.picked
        beside, beside_name = None, ""
        if picked is not None and self.other is not None:
            beside, beside_name = self.other.spectra.at(picked.layer, picked.module), self.other.spectra.name
        if picked is not None and beside is None:
            beside = spectra.partner(picked)
            beside_name = short(beside.module) if beside else ""
        elif beside is not None:
            beside_name = "the other" if len(beside_name) > 14 else beside_name
        cuts = sorted((int(rank), loss) for rank, loss in state.cuts.items())
        whole = next((loss for rank, loss in cuts if rank >= spectra.rank), None)
        phi_map = None
        if self.phis:
            phi_map = [[None if (phi := self.phis.get((layer, module))) is None else float(phi[-1, -1]) for layer in spectra.layers]
                       for module in spectra.modules]
        return Look(
            spectra=spectra, picked=picked, beside=beside, beside_name=beside_name, map=state.map, rank=max(state.rank, 1),
            cuts=[cut for cut in cuts if 0 < cut[0] < spectra.rank], whole=whole, untuned=state.cuts.get("0"), points=self.sweeping.points,
            other_name=self.other.spectra.name if self.other else "", phi=self.phis.get((picked.layer, picked.module)) if picked else None,
            phi_map=phi_map, chance=reading.chance(spectra, self.phis),
            losses_hint="Truncate now: cut and score.\nSweep: train other ranks.")

    @property
    def picked(self) -> Matrix | None:
        """The matrix looked at."""
        if self.opened is None:
            return None
        return self.opened.spectra.named(self.state.picked) or self.opened.spectra.hungriest()

    def figure(self, width: str = "wide") -> dict:
        return figure(self.seen(), width, self._empty())

    def _empty(self) -> tuple[str, str]:
        if "source" in self.faults:
            return "No spectrum", self.faults["source"]
        if not self.state.source:
            return "No adapter picked yet", "Pick a run that trained one, or type the folder of an adapter."
        return "Nothing read yet", "The adapter is read in the background."

    def summary(self) -> Sentence:
        look = self.seen()
        if "source" in self.faults:
            return Sentence("warn", self.faults["source"])
        if look.spectra is None:
            return Sentence("idle", f"Nothing to show yet: {self._empty()[1][0].lower()}{self._empty()[1][1:]}")
        missing = [self.faults[name] for name in ("base", "other") if name in self.faults]
        if self.opened.adapter is not None and not reading.rows_words(self.opened, self.rows):
            missing.append("There are no held-out rows, so no cut can be scored.")
        return words.summary(look, self.state, self.opened.notes, missing)

    def code(self) -> str:
        self._ready()
        opened = self.opened
        budget = self.planning.budget(opened, self.state) if opened else 0
        try:
            values = values_of(self.state, self.planning.last_pattern, opened)[1]
        except WorkbenchError:  # there is no such method: starting it says so
            values = None
        return words.code(self.state, opened.spectra if opened else None, opened.base if opened else self.state.base, self.picked, budget,
                          opened is not None and opened.adapter is None, self.rows is not None and not self.state.rows, self._cut_base,
                          reading.KINDS[opened.kind] if opened else "LoRA", opened.carried if opened else {}, values, self._recipe_code())

    def _recipe_code(self) -> str:
        """What a sweep trains, in Python."""
        if self.recipe is not None:
            return "...   # the one given to this panel"
        if self.opened is not None and self.opened.run is not None and not self.opened.run.read_only:
            return f"wb.attach({self.state.source!r}).recipe"
        return "wb.Recipe(...)   # what to train: the adapter does not say"

    def extra_html(self) -> str:
        from widgets.frame import controls

        look = self.seen()
        if look.spectra is None:
            return ""
        points = [[f"{p.rank}, suggested" if p.suggested else str(p.rank), "–" if p.loss is None else f"{p.loss:.4f}",
                   "–" if p.low is None else f"{p.low:.4f} to {p.high:.4f}", str(p.seeds)] for p in look.points]
        table = controls.table_html(["rank trained", "held-out loss", "95 % interval", "seeds"], points, numeric=range(4),
                                    caption="The sweep") if points else ""
        return table + pattern_html(self._view())

    # ---- the live widget

    def controls(self) -> list:
        if self.made is None:
            self.made = Controls(self.actions, self._view())
        return self.made.column

    def above(self) -> Any:
        self.controls()
        return self.made.above

    def _build(self) -> None:
        self._threaded = self._read_for is None
        super()._build()
        self._live.on_event(self._clicked)
        self.selection.observe(self._selected)
        if self.state.source:
            self.selection.set("run", {str(Path(self.state.source).resolve())} if self.sweeping.is_run(self.state.source) else ())
        self.actions.begin()
        self.every(self._watch, WATCH_S)

    def _ipython_display_(self) -> None:
        if _in_kernel() and self._read_for is None:
            _ = self.widget  # begins to read in a thread, so that the cell does not wait for it
        super()._ipython_display_()

    def refresh(self) -> None:
        """Everything again: figure, sentence, code, controls; from any thread."""
        with self._lock:
            if self._root is not None:
                super().refresh()
                self.made.show(self._view())

    def settle_soon(self) -> None:
        """What takes longer than a frame follows when the hand rests."""
        if self._root is None:
            self.settle()
        else:
            self._settling.ask()

    def settle(self) -> None:
        """The suggested ranks and the memory."""
        if self.opened is not None:
            self.planning.plan(self.opened, self.state)
            self.refresh()

    def _watch(self) -> None:
        """Called by the pump: what the sweep's runs have done since."""
        before = self.sweeping.going
        try:
            moved = self.sweeping.look(self.state)
        except WorkbenchError as error:  # the folder of a sweep is gone
            self.state.sweep = ""
            self.sweeping.forget()
            self.show_error(self.made.sweep, str(error))
            moved = True
        if moved:
            self.refresh()
            if before and not self.sweeping.going:
                self.freeze()

    def pick(self, name: str) -> None:
        """Picks a matrix, here and in the shared selection."""
        self.state.picked = name
        self._picking = True
        try:
            self.selection.set("layer", {name})
        finally:
            self._picking = False
        self.refresh()

    def _clicked(self, event: dict) -> None:
        """A click on a cell of a map picks its matrix."""
        index = event.get("index")
        if event["type"] != "click" or event["trace"] not in ("map", "phi-map") or self.opened is None or not isinstance(index, list):
            return
        row, column = index
        spectra = self.opened.spectra
        matrix = spectra.at(spectra.layers[column], spectra.modules[row])
        if matrix is not None:
            self.actions.later(lambda: self.pick(matrix.name), "pick")

    def _selected(self, kind: str, ids: frozenset) -> None:
        """Another panel picked a layer or a run."""
        if self._picking or len(ids) != 1:
            return
        one = str(next(iter(ids)))
        if kind == "layer" and self.opened is not None and (matrix := self.opened.spectra.named(one)) is not None:
            if plain_name(matrix.name) != plain_name(self.state.picked):
                self.state.picked = matrix.name
                self.actions.later(self.refresh, "pick")
        elif kind == "run" and reading.near(one) != reading.near(self.state.source) and self.sweeping.is_run(one):
            self.actions.open(reading.near(one))

    # ---- what the controls show

    def _view(self) -> View:
        state, opened = self.state, self.opened
        if opened is None:
            return View(state=state, proposals=self.proposals, base=state.base)
        plan = self.planning
        attention, others = choices(reading.modules_of(plan.layers or {m.name: (1, 1) for m in opened.spectra.matrices}))
        settings = state.settings(plan.last_pattern)
        count = reading.trainable(plan.layers, settings) if plan.layers else 0
        scoring = reading.rows_words(opened, self.rows)
        size = plan.memory_of(state)
        going, readable = self.sweeping.going, "source" not in self.faults
        return View(
            state=state, proposals=self.proposals, base=opened.base, picked=self.picked.name if self.picked else "",
            matrices=[(matrix.label, matrix.name) for matrix in opened.spectra.matrices], attention=attention, others=others,
            targets=list(state.targets or [name for _, name in (*attention, *others)]), trainable=words.amount(count) if count else "–",
            total=f"{100 * count / plan.total:.2g} % of {words.amount(plan.total)}" if plan.total else "",
            memory=words.memory(size) if size else ("–", ""), memory_words=plan.memory_words,
            pattern=words.pattern_rows(plan.last_pattern, opened.spectra), pattern_words=plan.pattern_words(state),
            needs_rows=opened.adapter is not None and (opened.run is None or not reading.rows_words(opened, None)),
            scoring=f"Scored on {scoring}." if scoring else "No held-out rows to score on.",
            can_truncate=bool(scoring) and opened.adapter is not None and readable,
            cuts=state.rank < opened.spectra.rank,
            can_sweep=readable and (self.recipe is not None or (opened.run is not None and not opened.run.read_only)), sweeping=going,
            sweep_words=self.sweeping.sentence or f"{number(len(state.ranks) * state.seeds)} runs, one after the other.")
