"""Panel 7, the run monitor: is this run learning, and what did each change do?

`RunMonitor(recipe)` shows a run before it starts, `RunMonitor(run)` one that goes or went: its curves, its control, the runs beside it.
Figures are computed in `figure.py`, words in `words.py`, widgets made in `controls.py`; here they are joined
and kept up to date. What a person does is only noted down and done by a thread, so no cell and no click waits for a disk or a model.
"""

import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from widgets.frame.markup import escape
from widgets.frame.panel import Panel
from widgets.frame.pump import Pump
from widgets.frame.selection import Selection
from widgets.frame.status import Sentence
from widgets.run_monitor import words
from widgets.run_monitor.actions import Actions
from widgets.run_monitor.controls import Controls, View, samples_html
from widgets.run_monitor.curves import CARD, Average, Overlay, RunCurves, automatic_span
from widgets.run_monitor.figure import figure
from widgets.run_monitor.reading import DONE, LIVING, State, Taken, by_recipe, compared, curves_for, in_force, interval_now, near, rate_now, recipe_of, text_of, weights_now
from widgets.run_monitor.run_list import count_words, matching, rows_of
from widgets.run_monitor.trackers import followed_html
from workbench.errors import WorkbenchError
from workbench.recipes import Recipe
from workbench.runs.folders import undated

LOOK_S, FRAME_S, LIST_S = 0.025, 0.1, 2.0
"""The journal is looked at so often that a slow run's step is seen at once; a fast run's are read and shown together each `FRAME_S`."""
MANY, MANY_S = 20, 0.3
"""Over so many steps a frame nobody tells one from the next: frames then come this far apart, for drawing takes the cores from the training."""
SOON_S, LATER_S = 0.4, 1.0
"""Whole figures are computed again at most so often: after something structural (a mark, an evaluation), and for more points."""


class RunMonitor(Panel):
    """`RunMonitor(recipe)`, `RunMonitor(run)` or `RunMonitor("runs/...")`. Nothing starts until Start is pressed.

    `runs` is the folder of the runs listed and of a run started here: "runs", or the one the run lies in.
    `overlays` are folders of runs to lay over the loss; runs that differ only by seed become one band. `selection` shared between panels
    makes a run picked in one the run of all. Raises `WorkbenchError` where a folder is no run. `monitor.run` is the run shown now, None
    before the start.
    """

    title = "Run monitor"
    question = "is this run learning, and what did each change do?"
    help_text: ClassVar[str] = (
        "Loss is the mean negative log-likelihood of a trained token, in nats. The pale line is each step's, the strong one their "
        "exponential average; rings are held-out rows that the run never trains on. A dotted vertical is something you changed: compare "
        "the slope on either side of it. A run that classifies has its loss per row, and shows the share of held-out rows it labels "
        "rightly. The gradient norm is measured before clipping. A change made here is applied between two steps and written into the "
        "run's journal, so it can be replayed."
    )
    State = State

    def __init__(
        self,
        recipe_or_run: Any = None,
        runs: str | Path | None = None,
        *,
        overlays: tuple[str, ...] = (),
        smoothing: int = 0,
        prompt: str = "",
        state: State | None = None,
        selection: Selection | None = None,
        engine: Any = None,
        pump: Pump | None = None,
    ):
        super().__init__(
            state
            or State(runs=str(runs or "runs"), overlays=tuple(str(folder) for folder in overlays), smoothing=smoothing, prompt=prompt),
            selection,
        )
        if engine is None:
            import workbench as engine
        self.engine, self._pump = engine, pump
        self.run: Any = None
        self.recipe: Recipe | None = None
        self._others: dict[str, Any] = {}
        self.actions = Actions(self)
        self.made: Controls | None = None
        self._taken: Taken | None = None
        self._sent, self._composed, self._average, self._scale, self._shape = 0, 0, Average(1), 1.0, ()
        self.status, self._seen_at, self._refreshed_at, self._listed_at, self._cost_s, self._list_cost_s = "", 0.0, 0.0, 0.0, 0.0, 0.0
        self._rows: list[dict] = []
        self._traces: set[str] = set()
        """Uids of what the page has."""
        self.sent: dict[str, Any] = {}
        """Of `state.pending`, what was given to the worker and is not in force yet."""
        self.query, self._refusals, self._lived, self._appended_at, self._many = "", 0, False, 0.0, False
        if isinstance(recipe_or_run, Recipe):
            self.recipe = recipe_or_run
            self.state.recipe = _kept(recipe_or_run)
        elif recipe_or_run is not None:
            self.open(engine.attach(recipe_or_run) if isinstance(recipe_or_run, (str, Path)) else recipe_or_run)
            if runs is None:
                self.state.runs = near(self.run.folder.parent)
        elif self.state.run:
            pending = self.state.pending
            self.open(engine.attach(self.state.run))
            self.state.pending = pending
        elif self.state.recipe:
            self.recipe = Recipe.from_json(self.state.recipe)

    # ---- what it shows, pure

    def figure(self, width: str = "wide") -> dict:
        taken = self._take()
        empty = words.empty_words(taken.status, taken.run is not None, self.recipe)
        return figure(taken.curves, taken.overlays, width, taken.span, empty)

    def summary(self) -> Sentence:
        taken = self._take()
        if taken.run is None:
            nothing = words.empty_words("", False, self.recipe)[1]
            return Sentence("idle", f"Nothing has run yet: {nothing}" if self.recipe else "Nothing to show yet: no run picked.")
        return words.summary(taken.status, taken.run.history, taken.curves, taken.span, taken.parent)

    def code(self) -> str:
        if self.run is None:
            return words.recipe_code(self.recipe or Recipe(), Recipe(), self.state.runs)
        return words.run_code(
            self.state.run,
            self.state.runs,
            self.run.history,
            dict(overlays=self.state.overlays, smoothing=self.state.smoothing, prompt=self.state.prompt, pending=self.state.pending),
        )

    def extra_html(self) -> str:
        view = self._view(self._take())
        samples = f"<p>{escape(view.prompt)}</p>{samples_html(view.samples)}" if view.samples else ""
        return samples + view.followed + (f"<pre>{escape(view.log_tail)}</pre>" if view.log_tail else "")

    # ---- looking

    def _take(self) -> Taken:
        """Everything drawn, read now; the same look while a refresh goes on."""
        if self._taken is not None:
            return self._taken
        run = self.run
        if run is None:
            return Taken(None, "", RunCurves(name=""), [], None, self.span)
        status = run.status
        run.history.refresh()
        shape = self._shape_of(run, status)
        parent = self._other(run.parent) if run.parent else None
        curves = curves_for(run, parent)
        if status in DONE:  # nothing more will come: the axis ends where the run did
            curves.steps, curves.rest_step, curves.rest_rate = None, np.empty(0), np.empty(0)
        chosen = [
            other
            for other in map(self._other, self.state.overlays)
            if other is not None and other.folder not in (run.folder, parent and parent.folder)
        ]
        overlays = [Overlay(label=undated(parent.name), runs=[curves_for(parent)], parent=True)] if parent else []
        for alike in by_recipe(chosen):
            overlays.append(Overlay(label=undated(alike[0].name), runs=[curves_for(other) for other in alike]))
        return Taken(run, status, curves, overlays, overlays[0].runs[0] if parent else None, self.span, shape)

    def _other(self, folder: str) -> Any:
        """Another run, opened once; None where it is gone."""
        path = Path(folder) if Path(folder).is_absolute() or Path(folder).exists() else Path(self.state.runs) / folder
        key = str(path)
        if key not in self._others:
            try:
                self._others[key] = self.engine.attach(path)
            except WorkbenchError:
                self._others[key] = None
        other = self._others[key]
        if other is not None:
            other.history.refresh()
        return other

    def _view(self, taken: Taken) -> View:
        run = taken.run
        if run is None:
            recipe = self.recipe
            return View(
                has_recipe=recipe is not None,
                steps=recipe.steps if recipe else None,
                learning_rate=recipe.learning_rate if recipe else None,
                evaluate_every=recipe.evaluate_every if recipe else None,
                overlays=list(self.state.overlays),
                no_samples=words.no_samples_words("", recipe),
                smoothing=taken.span,
                progress=("not started", "", "", 0.0),
            )
        history, recipe = run.history, recipe_of(run)
        prompts = list(dict.fromkeys(sample.prompt for sample in history.samples))
        prompt = self.state.prompt if self.state.prompt in prompts else prompts[0] if prompts else ""
        others = [self._other(folder) for folder in (run.parent, *self.state.overlays) if folder]
        title, rows = compared(run, [other for other in others if other is not None])
        return View(
            status=str(taken.status),
            read_only=run.read_only,
            has_recipe=recipe is not None,
            step=history.step,
            steps=history.steps,
            checkpoint=history.checkpoints[-1].step if history.checkpoints else 0,
            progress=words.progress(taken.status, history),
            learning_rate=rate_now(run),
            evaluate_every=interval_now(run),
            weights=weights_now(run),
            pending=self.state.pending,
            sent=self.sent,
            difference_title=title,
            difference=rows,
            prompts=prompts,
            prompt=prompt,
            samples=[sample for sample in history.samples if sample.prompt == prompt],
            no_samples=words.no_samples_words(taken.status, recipe),
            note=run.note,
            mine=history.queued.mine if history.queued else 0,
            run=str(run.folder),
            overlays=list(self.state.overlays),
            log_tail=getattr(taken.status, "log_tail", ""),
            followed=followed_html(history.trackers, history.notes),
            smoothing=taken.span,
        )

    # ---- the live widget

    def controls(self) -> list:
        if self.made is None:
            self.made = Controls(self.actions, self._view(self._take()))
        return self.made.column

    def bar(self) -> Any:
        self.controls()
        return self.made.bar

    def extra(self) -> Any:
        self.controls()
        return self.made.extra

    def _bundle(self, live: bool) -> dict[str, Any]:
        with self._lock:
            self._taken = self._take()  # one look for the sentence, the picture and the page: that of a long run takes a while
            try:
                return super()._bundle(live)
            finally:
                self._taken = None

    def _build(self) -> None:
        self._taken = self._go_on(self._take())
        try:
            super()._build()
            self._drawn_now(self._taken)
        finally:
            self._taken = None
        self._live.on_event(self._clicked)
        self.selection.observe(self._selected, "run")
        if self.run is None and self.recipe is not None:
            self.actions.errands.add(self.engine.standby)  # so that Start has a worker waiting
        (self._pump.add if self._pump else self.every)(self._look, LOOK_S)

    @property
    def span(self) -> int:
        """Steps the line is averaged over now."""
        return self.state.smoothing or automatic_span(self.run.history.steps if self.run else None)

    def look_again(self) -> None:
        """Show at once what an action changed."""
        self._seen_at = 0.0
        self.refresh()

    def refresh(self) -> None:
        """Everything again: figure, sentence, code, controls; from any thread."""
        with self._lock:
            if self._root is None:
                return
            begun = time.thread_time()
            self._taken = self._go_on(self._take())
            self._settle(self._taken)
            try:
                super().refresh()
                self.made.show(self._view(self._taken))
                self._drawn_now(self._taken)
            finally:
                self._taken = None
            self._cost_s, self._refreshed_at = time.thread_time() - begun, time.monotonic()

    def _settle(self, taken: Taken) -> None:
        """What is in force now, or never will be, waits no longer; unless something else is on its way to the worker."""
        if taken.run is None:
            return
        now, over = in_force(taken.run), taken.status not in LIVING
        self.state.pending = {} if over else {
            name: value for name, value in self.state.pending.items() if not now[name] == value == self.sent.get(name, value)
        }
        self.sent = {} if over else {name: value for name, value in self.sent.items() if now[name] != value}

    def _go_on(self, taken: Taken) -> Taken:
        """Carries the averaged line on from the point the page has: the steps before it are not averaged again."""
        if taken.shape[:2] != self._shape[:2] or taken.span != self._average.span or len(taken.curves.loss) < len(self._average.values):
            self._average = Average(taken.span)
        self._average.extend(taken.curves.loss[len(self._average.values):])
        taken.curves.averages[taken.span] = self._average.values
        return taken

    def _drawn_now(self, taken: Taken) -> None:
        """Remember what the page has, so that later points can be appended."""
        self.status, self._shape, self._sent = taken.status, taken.shape, len(taken.curves.step)
        self._composed = self._sent
        traces = {trace["uid"]: trace for trace in self._live.figures["wide"]["data"] if "uid" in trace}
        self._traces, self._scale = set(traces), traces["rate"]["meta"]["scale"] if "rate" in traces else 0.0

    def _shape_of(self, run: Any, status: str) -> tuple:
        history = run.history
        others = tuple(len(other.history.columns["step"]) for other in self._others.values() if other is not None)
        return (
            str(run.folder),
            history.generation,
            history.steps,
            str(status),
            len(history.changes),
            len(history.evaluations),
            len(history.samples),
            len(history.resumptions),
            len(history.refusals),
            len(history.trackers),
            len(history.notes),
            history.queued,
            others,
            words.step_now(status, history) - history.step,
        )

    def _look(self) -> None:
        """Called by the pump."""
        if time.monotonic() - max(self._appended_at, self._refreshed_at) >= (MANY_S if self._many else FRAME_S):
            self._tick()

    def _tick(self) -> None:
        """Read what is new and show it, points at once, the rest when it is due."""
        with self._lock:
            now, run = time.monotonic(), self.run
            if now - self._listed_at > max(LIST_S, 20 * self._list_cost_s):
                self._listed_at = now
                self.actions.errands.add(self._list)
            if run is None:
                return
            if run.history.refresh() or now - self._seen_at > 0.5:
                self.status, self._seen_at = run.status, now
                for other in filter(None, self._others.values()):
                    other.history.refresh()
            self._lived = self._lived or self.status in LIVING  # a fast run has a new step in every look
            shape, count = self._shape_of(run, self.status), len(run.history.columns["step"])
            changed, since = shape != self._shape, now - self._refreshed_at
            if since >= max(SOON_S if changed else LATER_S, 33 * self._cost_s) and (changed or count != self._composed):
                self._refused(run)
                self.refresh()
            elif count > self._sent and shape[:3] == self._shape[:3] and self._scale:
                self._append(run)
            if not changed and count == self._composed:
                self._ended()

    def _append(self, run: Any) -> None:
        """Send the new points alone."""
        self._appended_at = time.monotonic()
        columns = run.history.metrics(self._sent)
        step, loss = columns["step"], columns["loss"]
        self._sent += len(step)
        self._many = len(step) > (3 * MANY if self._many else MANY)  # a frame three times as long holds three times as many
        values = {
            "raw": loss,
            "train": self._average.extend(loss),
            "rate": [value * self._scale for value in columns["learning_rate"]],
            "grad": columns["grad_norm"],
            "speed": columns["tokens_per_s"],
            "memory": columns["memory_gib"],
            **{uid: columns[CARD[name]] for uid, name in (("card", "card_gib"), ("busy", "utilisation")) if uid in self._traces},
        }
        self._live.extend({uid: (step, y) for uid, y in values.items()})
        self.made.progress.show(*words.progress(self.status, run.history))

    def _refused(self, run: Any) -> None:
        """A command that the worker could not carry out is said where it was asked for."""
        refusals = run.history.refusals
        if len(refusals) > self._refusals:
            self.show_error(self.made.apply, refusals[-1].reason)
            self.sent = {}
        self._refusals = len(refusals)

    def _ended(self) -> None:
        """At the end of a run that was seen alive, leave its picture in the notebook."""
        living = self.status in LIVING
        if self._lived and not living:
            self.freeze()
        self._lived = living

    def _list(self) -> None:
        begun = time.perf_counter()
        try:
            table = self.engine.list_runs(self.state.runs)
        except (WorkbenchError, OSError):
            return  # no such folder yet: the list stays empty
        records = table.to_dict("records")
        for record in records:
            if record["status"] == "queued" and (waiting := self._other(record["folder"])) is not None:
                record["sentence"] = words.queue_words(waiting.history)
        self._rows = rows_of(records, {str(record["folder"]): text_of(Path(record["folder"]) / "recipe.json") for record in records})
        self.show_list()
        self._list_cost_s = time.perf_counter() - begun

    def show_list(self) -> None:
        if self.made is not None:
            found = matching(self._rows, self.query)
            self.made.show_count(count_words(len(found), len(self._rows)))
            self.made.list.empty = "No run matches." if self._rows else "No runs yet."
            self.made.list.rows = [{key: value for key, value in row.items() if key != "words"} for row in found]

    # ---- which run

    def open(self, run: Any) -> None:
        """Show `run` from now on."""
        with self._lock:
            self.run, self.recipe = run, recipe_of(run) or self.recipe
            self.state.run, self.state.pending, self.sent = near(run.folder), {}, {}
            self.state.overlays = tuple(folder for folder in self.state.overlays if Path(folder).name != Path(run.folder).name)
            self._refusals, self._lived, self.status = len(run.history.refusals), False, ""
        self.selection.set("run", {str(run.folder)})

    def _clicked(self, event: dict) -> None:
        """A click on a curve says where a fork would begin."""
        if event["type"] == "click":
            self.made.fork_step.value = max(1, min(round(event["x"]), self.made.fork_step.max))

    def _selected(self, _kind: str, ids: frozenset) -> None:
        if len(ids) == 1 and (folder := str(next(iter(ids)))) != (str(self.run.folder) if self.run else ""):
            self.actions.pick(folder)


def _kept(recipe: Recipe) -> dict | None:
    """The recipe as JSON, None where its rows are in memory."""
    try:
        return recipe.to_json()
    except WorkbenchError:
        return None
