"""Panel 1, the dataset balancer: what share of training does each source get?

`DatasetBalancer({"chat": "chat.jsonl", "code": rows})` reads and measures its sources in a thread; from then on every slider is arithmetic
on counts. Numbers are reckoned in `balance.py`, drawn in `figure.py`, said in `words.py`; here they are joined and kept up to date.
"""

from dataclasses import dataclass, replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any, ClassVar

from widgets.dataset_balancer import words
from widgets.dataset_balancer.actions import Actions
from widgets.dataset_balancer.balance import MANY_EPOCHS, Balance, Binning, balance, plain_sources
from widgets.dataset_balancer.controls import SHOWN_ROWS, Controls, View, preview_html
from widgets.dataset_balancer.figure import figure, lines_of
from widgets.dataset_balancer.measuring import Measuring
from widgets.dataset_balancer.source_table import COLUMNS
from widgets.dataset_balancer.state import State, mixed
from widgets.frame import controls as frame_controls
from widgets.frame.markup import escape
from widgets.frame.panel import Panel
from widgets.frame.selection import Selection
from widgets.frame.sheet import number
from widgets.frame.status import Sentence
from workbench.data.mixture import Mixture, exact
from workbench.data.profiles import MOST_ROWS, Lengths, Profile
from workbench.data.stages import Stages
from workbench.errors import DataError


@dataclass(slots=True)
class Look:
    """What there is to show: numbers, or why there are none."""

    found: Balance | None
    refusal: str = ""


class DatasetBalancer(Panel):
    """`DatasetBalancer(sources)`, a dict of name -> rows (all that `Mixture` takes, or a count), or a `Mixture` to go on from.

    `model` names the model whose tokenizer counts (as in a recipe), or is a tokenizer. `tasks` {task: [sources]} are held out whole;
    `pretraining` names the sources of plain text, where their rows do not show it; at most `most` rows of a source are measured; `profiles`
    are of sources measured already. `panel.mixture` is the result, a `Mixture` or `Stages`; `panel.rows` how many rows of it are drawn.
    """

    title = "Dataset balancer"
    question = "what share of training does each source get?"
    help_text: ClassVar[str] = words.HELP
    State = State
    frame_ms = 30

    def __init__(self, sources: Any = None, *, model: Any = "town", tasks: dict[str, list[str]] | None = None, pretraining: tuple = (),
                 most: int | None = MOST_ROWS, profiles: dict[str, Profile] | None = None, state: State | None = None,
                 selection: Selection | None = None) -> None:
        super().__init__(state or State(), selection)
        if isinstance(sources, Mixture):
            self.base = _taken_over(sources, self.state if state is None else State())
        else:
            self.base = Mixture(_given(self.state.sources if sources is None else sources))
        self.state.sources = {name: source if isinstance(source, (int, str)) else None for name, source in self.base.sources.items()}
        if tasks is not None:
            self.state.tasks = {task: list(members) for task, members in tasks.items()}
        if pretraining:
            self.state.pretraining = tuple(pretraining)
        self.measuring = Measuring(self.base, model, most)
        self.measuring.found = dict(profiles or {})
        self.measuring.opened |= set(self.measuring.found)
        self.made: Controls | None = None
        self.dataset: Any = None
        """The rows, once "Use this mixture" was pressed or `choose()` was called; they lie where they are."""
        self.chosen: Mixture | Stages | None = None
        """The mixture of that moment."""
        self.refusal = ""
        """Why the settings of now make no mixture; "" where they do."""
        self.preview: list[tuple[str, int, str]] = []
        """Source, row and text of the first rows that would be drawn."""
        self._sampled_for: tuple = ()
        self._good: Balance | None = None
        self._taken: Look | None = None
        self._binning: tuple[tuple, Binning] | None = None
        self.actions = Actions(self)

    # ---- the result

    @property
    def mixture(self) -> Mixture | Stages:
        """What the settings make of the sources. Raises `DataError` where they make none."""
        return self._mixed().mixture

    @property
    def rows(self) -> int:
        """Rows that the budget buys."""
        return self._mixed().rows

    def _mixed(self) -> Any:
        for name in self.faulty():
            raise DataError(f"The source {name!r} cannot be read, and nobody has left it out: {self.measuring.faults[name]}",
                            f"Mend it, or go on without it: panel.leave_out({name!r}).")
        profiles = self.measuring.found
        return mixed(self.state, self.base, {name: profile.tokens for name, profile in profiles.items()},
                     plain_sources(self.state, self.base, profiles))

    def choose(self) -> Any:
        """Draws the rows of the mixture, as a `datasets.Dataset` that points into the sources; `chosen` and `dataset` are these from now
        on. Raises `DataError` where there are none to draw."""
        here = self._mixed()
        dataset = here.mixture.draw(here.rows, seed=self.state.seed)
        self.chosen, self.dataset = here.mixture, dataset
        return dataset

    def measure(self) -> "DatasetBalancer":
        """Reads and measures all sources here and now. Raises `DataError` for a source that cannot be read."""
        self.measuring.run(list(self.included()))
        for name, fault in self.measuring.faults.items():
            if name in self.included():
                raise DataError(f"The source {name!r} cannot be measured: {fault}", "Mend it, or leave it out.")
        self._sample()
        self.refresh()
        return self

    def included(self) -> list[str]:
        """Sources that were not left out."""
        return [name for name in self.base.sources if name not in self.state.left_out]

    def faulty(self) -> list[str]:
        """Sources that cannot be read and were not left out: numbers are shown without them, and no mixture is made until they are mended
        or left out on purpose."""
        return [name for name in self.measuring.faults if name in self.included()]

    # ---- what it shows, pure

    def look(self, rough: bool = False) -> Look:
        """The numbers of now; the last good ones, and why, where the settings make no mixture."""
        if self._taken is not None:
            return self._taken
        state = self._effective()
        there = [name for name in self.base.sources if name not in state.left_out]
        if not there or any(name not in self.measuring.opened for name in there):
            return Look(None)
        profiles = {name: self.measuring.found[name] for name in there if name in self.measuring.found}
        try:
            self._good = balance(state, self.base, profiles, self._bins(profiles), self.selection["source"], rough)
        except DataError as error:
            return Look(self._good, str(error))
        return Look(self._good)

    def _effective(self) -> State:
        """The state that numbers are shown of: without the sources that cannot be read."""
        faults = self.faulty()
        return replace(self.state, left_out=(*self.state.left_out, *faults)) if faults else self.state

    def _bins(self, profiles: dict[str, Profile]) -> Binning | None:
        key = tuple((name, id(profile)) for name, profile in profiles.items())
        if not key:
            return None
        if self._binning is None or self._binning[0] != key:
            self._binning = key, Binning(Lengths(profiles))
        return self._binning[1]

    def figure(self, width: str = "wide") -> dict:
        look = self.look()
        return figure(look.found, width, self.state.max_length, self.state.batch_size, self.selection["source"], self._empty(look))

    def _empty(self, look: Look) -> tuple[str, str]:
        if look.refusal:
            return "No mixture", look.refusal
        if not self.included():
            return "No sources", "Give some: DatasetBalancer({'name': rows})."
        return "Nothing read yet", "The sources are read in the background." if self.made else "Call measure(), or show the panel."

    def summary(self) -> Sentence:
        look = self.look()
        faults = {name: self.measuring.faults[name] for name in self.faulty()}
        if look.refusal:
            return Sentence("warn", look.refusal)
        if faults:
            return words.unread(faults, None if look.found is None else words.summary(look.found, self.state))
        if look.found is None:
            return Sentence("idle", "Nothing to show yet: " + self._empty(look)[1][0].lower() + self._empty(look)[1][1:])
        return words.summary(look.found, self.state)

    def code(self) -> str:
        found = self.look().found
        plain = plain_sources(self.state, self.base, self.measuring.found)
        faults = {name: self.measuring.faults[name] for name in self.faulty()}
        return words.code(self.state, self.base, plain, found.mixed.rows if found and not faults else None, faults)

    def extra_html(self) -> str:
        view = self._view(self.look())
        nothing = ["–", "–", "–", False]
        live = [view.live.get(row["name"], nothing) for row in view.rows]
        body = [[row["name"], row["rows"], row["tokens"], row["mean"], row["copies"], *of[:3]] for row, of in zip(view.rows, live, strict=True)]
        kinds = {(k, 7): "bad" for k, of in enumerate(live) if of[3]}
        table = frame_controls.table_html(COLUMNS, body, numeric=range(1, len(COLUMNS)), kinds=kinds, caption="Sources") if body else ""
        if self._root is None and self._sampled_for != self._now():
            self._sample()
        rows = preview_html(self.preview)
        return table + (f"<p>Sampled rows</p>{rows}" if rows else "")

    # ---- the live widget

    def controls(self) -> list:
        if self.made is None:
            self.made = Controls(self.actions, self._view(self.look()))
        return self.made.column

    def extra(self) -> Any:
        self.controls()
        return self.made.extra

    def _build(self) -> None:
        self._taken = self.look()
        try:
            super()._build()
        finally:
            self._taken = None
        self._live.on_event(self._clicked)
        self.selection.observe(lambda _kind, _ids: self._picked(), "source")
        self.start_measuring()
        self.actions.later.ask()

    def refresh(self, rough: bool = False) -> None:
        """Everything again: figure, sentence, code, controls; from any thread."""
        with self._lock:
            if self._root is None:
                self.refusal = self.look().refusal
                return
            self._taken = self.look(rough)
            self.refusal = self._taken.refusal
            try:
                super().refresh()
                self.made.show(self._view(self._taken))
            finally:
                self._taken = None

    def settle(self) -> None:
        """What may take longer than a frame: exact packing, sampled rows."""
        self._sample()
        self.refresh()
        if self.made is not None:
            self.made.preview.value = preview_html(self.preview, escape(self._no_rows()))

    def start_measuring(self) -> None:
        """Reads what is not read yet, in a thread, with progress and Cancel."""
        if not self.measuring.missing(self.included()) or self.measuring.going:
            return
        self.measuring.start(self.included(), self._measuring_said, self.refresh, self._measured)
        self.refresh()

    def _measuring_said(self, what: str, done: int, total: int) -> None:
        self.busy(what, done, total or None, self.measuring.stop)

    def _measured(self) -> None:
        self.busy(None)
        for name, fault in self.measuring.faults.items():
            if name not in self.state.left_out:
                self.show_error(self.made.table, f"{name} cannot be read and is left out of these numbers. {fault}",
                                ("Leave it out", lambda name=name: self.leave_out(name)))
        self.settle()
        if not self._live.open_views:  # a page brings its notebook up to date when it is left or saved; nobody else would
            self.freeze()

    def leave_out(self, name: str) -> None:
        """Goes on without a source."""
        self.state.left_out = (*self.state.left_out, name)
        if self.made is not None:
            self.clear_error(self.made.table)
        self.actions.moved(None)

    def _clicked(self, event: dict) -> None:
        """A click on a source's line picks it."""
        found = self.look().found
        place = event.get("y")
        if event["type"] == "click" and found is not None and event["trace"] in ("mixed", "natural", "epochs"):
            name = lines_of(found)[int(place)].name
            if name in found.names:  # the last line may stand for many
                self.actions.pick(name)

    def _picked(self) -> None:
        self.refresh(rough=True)
        self.actions.later.ask()

    # ---- rows

    def _sample(self) -> None:
        """The first rows that would be drawn; of the picked sources alone, where some are picked."""
        self._sampled_for = self._now()
        look = self.look()
        if look.refusal:
            return
        self.preview = []
        if look.found is None:
            return
        mixture = look.found.mixed.mixture
        picked = [name for name in look.found.names if name in self.selection["source"]]
        parts = [(mixture, SHOWN_ROWS, 0)] if isinstance(mixture, Mixture) else [
            (each, SHOWN_ROWS // 2, start) for each, start in zip(mixture.mixtures(), self._starts(mixture), strict=True)]
        if picked:
            parts = [(self.base.without([name for name in self.base.sources if name not in picked]), SHOWN_ROWS, 0)]
        rows = []
        for part, count, start in parts:
            order = part.order(count, seed=self.state.seed, start=start)
            rows += [(order.names[source], int(row)) for source, row in zip(order.source, order.row, strict=True)]
        if any(isinstance(self.base.sources[name], int) for name, _ in rows):
            return
        from workbench.data import texts

        self.preview = [(name, row, texts.texts_of(self.base.table(name).select([row]))[0]) for name, row in rows if row >= 0]

    def _now(self) -> tuple:
        """What the sampled rows hang on."""
        return self.state_json(), self.selection["source"], len(self.measuring.opened)

    def _starts(self, stages: Stages) -> list[Any]:
        starts, done = [], 0
        for _, rows in stages.stages:
            starts.append(stages.position(done, self.state.seed) if done else 0)
            done += rows
        return starts

    def _no_rows(self) -> str:
        if any(isinstance(source, int) for source in self.base.sources.values()):
            return "These sources are counts, so there are no rows to show."
        return "The first rows appear when the sources are read."

    # ---- what the controls show

    def _view(self, look: Look) -> View:
        state, found, profiles = self.state, look.found, self.measuring.found
        order = [*(found.names if found else ()), *(name for name in self.included() if not found or name not in found.names)]
        live = {} if found is None else {
            name: [words.percent(found.natural[name]), words.percent(found.shares[name]), words.times(found.epochs[name]),
                   found.epochs[name] > MANY_EPOCHS] for name in found.names}
        known = found is not None and found.tokens is not None
        total = 0 if found is None else sum((found.tokens if known and state.by == "tokens" else found.rows).values())
        return View(
            state=state, tokens_known=known, picked=sorted(self.selection["source"]), live=live,
            budget=state.budget or (0 if found is None else found.tokens_drawn if known and state.by == "tokens" else found.mixed.rows),
            most=20.0 * total or 1e6,
            plain_share=None if found is None or not 0 < len(found.plain) < len(found.names) else
            sum(found.mixed.rates[name] for name in found.plain),
            largest=max(found.rows.values()) if found else 1000, rows=[self._row(name, profiles.get(name)) for name in order],
            drawn=self._drawn(found), missing=len(self.measuring.missing(self.included())), measuring=self.measuring.going,
        )

    def _row(self, name: str, profile: Profile | None) -> dict:
        state = self.state
        known = name in self.measuring.opened
        sampled = profile is not None and profile.measured < profile.rows
        rows = self.base.rows_of(name) if known else None
        task, fault = state.task_of(name), self.measuring.faults.get(name, "")
        own = task == name
        return dict(
            name=name, shown=name if own else f"{name} · {task}", called=name, title=fault or (name if own else f"{name}, task {task}"),
            hold="hold it out to test on" if own else f"hold out the whole task {task}", task=task, rows="–" if rows is None else number(rows),
            tokens="–" if profile is None else ("~" if sampled else "") + words.amount(profile.tokens),
            mean="–" if profile is None else number(profile.mean, 0 if profile.mean >= 99.5 else 1),
            copies="–" if profile is None or profile.copies is None else ("≥ " if sampled else "") + words.percent(profile.copies),
            value=(state.weights if state.rule == "weights" else state.multipliers).get(name, 1.0),
            stage=2 if name in state.second else 1, out=task in state.held_out,
        )

    def _drawn(self, found: Balance | None) -> str:
        if found is None:
            return ""
        text = f"The budget draws {words.drawn_words(found)}."
        if self.dataset is not None:
            drawn = number(len(self.dataset)) if hasattr(self.dataset, "__len__") else "a stream of"
            text += f" Chosen: {drawn} rows, as panel.chosen and panel.dataset."
        return f'<span class="wb-hint">{escape(text)}</span>'


def _given(sources: dict[str, Any]) -> dict[str, Any]:
    """Sources by name, paths as text. Raises `ValueError` where rows that were in memory are not given again."""
    missing = [name for name, source in sources.items() if source is None]
    if missing:
        raise ValueError(f"the rows of {', '.join(missing)} were in memory: give them again, from_json(text, sources={{name: rows}}).")
    return {name: fspath(source) if isinstance(source, (Path, PathLike)) else source for name, source in sources.items()}


def _taken_over(mixture: Mixture, state: State) -> Mixture:
    """The sources of a mixture; its settings go into `state`."""
    state.rule = "capped" if mixture.cap is not None else mixture.rule
    if mixture.cap is not None:
        state.cap = int(mixture.cap) if mixture.cap == int(mixture.cap) else float(mixture.cap)
    state.temperature = float(mixture.temperature)
    factors = mixture.multipliers or {}
    if mixture.weights is None:
        state.multipliers = {name: float(factor) for name, factor in factors.items() if factor != 1}
    else:  # the panel has one number a source: what its factor makes of its weight
        state.weights = {name: float(exact(weight) * exact(factors.get(name, 1))) for name, weight in mixture.weights.items()}
    if mixture.pretraining_share:
        state.plain_share = float(mixture.pretraining_share)
    if mixture.pretraining is not None or mixture.pretraining_share:
        state.pretraining = tuple(name for name in mixture.sources if name in mixture.plain())
    return mixture.changed(rule="proportional", cap=None, temperature=1.0, multipliers=None, weights=None, pretraining_share=0.0,
                           pretraining=None)
