"""Panel 6, the KL monitor: is the policy still getting better, or only better paid?

`KLMonitor(run)` shows a run of PPO, GRPO or RLOO that goes or went. Figures are computed in `figure.py`, words in `words.py`, widgets made
in `controls.py`, alarms judged by `workbench.alignment.alarms`; here they are joined and kept up to date. Runs nothing itself.
"""

import time
from pathlib import Path
from typing import Any, ClassVar

from widgets.frame import controls as shared
from widgets.frame.markup import escape
from widgets.frame.panel import Panel
from widgets.frame.pump import Pump
from widgets.frame.selection import Selection
from widgets.frame.status import Sentence
from widgets.kl_monitor import reading, tokens, words
from widgets.kl_monitor.actions import Actions
from widgets.kl_monitor.controls import Controls, View
from widgets.kl_monitor.figure import figure
from widgets.kl_monitor.reading import ESTIMATORS, LIVING, State, Taken
from workbench.alignment import alarms
from workbench.alignment.alarms import Alarm
from workbench.errors import WorkbenchError

LOOK_S, LIST_S = 0.1, 3.0
SOON_S, LATER_S, SHARE = 0.4, 1.0, 33
"""A new picture comes at most so often, after something that happened (a mark, an evaluation, a checkpoint) and for more points, and never
before so many times its own cost has passed: drawing takes the cores from the training."""


class KLMonitor(Panel):
    """`KLMonitor(run)` or `KLMonitor("runs/...")`. Starts nothing; what it changes is `run.set`, what it branches is `run.fork`.

    `runs` is the folder of the runs that can be picked: "runs", or the one the run lies in. `estimator` is the strong line of the KL: k1,
    k2 or k3. `selection` shared between panels makes a run picked in one the run of all. Raises `WorkbenchError` where a folder is no run,
    and for an estimator that is none. `monitor.run` is the run shown now, `monitor.alarms` what is wrong with it.
    """

    title = "KL monitor"
    question = "is the policy still getting better, or only better paid?"
    help_text: ClassVar[str] = (
        "KL is how far the policy has moved from the reference, in nats per reply: k1 is its plain estimate, k2 and k3 have less noise "
        "(Schulman 2020). The proxy reward keeps rising with distance, while the gold reward it stands for peaks and falls: d(α − β log "
        "d) with d = √KL (Gao et al. 2022). β is what a nat costs; a larger one keeps the policy near. An alarm says since when "
        "something is wrong; its button starts a branch from the last checkpoint before that, with another β. A token's colour is log π "
        "− log π_ref: orange where the policy says it more than its reference, blue where less."
    )
    State = State

    def __init__(
        self,
        run: Any = None,
        runs: str | Path | None = None,
        *,
        estimator: str = "k1",
        smoothing: int = 0,
        prompt: str = "",
        sample_step: int = -1,
        state: State | None = None,
        selection: Selection | None = None,
        engine: Any = None,
        pump: Pump | None = None,
    ):
        if estimator not in ESTIMATORS:
            raise WorkbenchError(f"estimator is {estimator!r}, which is none of {', '.join(ESTIMATORS)}.", 'Use estimator="k3".')
        super().__init__(
            state or State(runs=str(runs or "runs"), estimator=estimator, smoothing=smoothing, prompt=prompt, sample_step=sample_step),
            selection,
        )
        if engine is None:
            import workbench as engine
        self.engine, self._pump = engine, pump
        self.run: Any = None
        self.actions = Actions(self)
        self.made: Controls | None = None
        self.sent: dict[str, tuple[Any, int]] = {}
        """Of `state.pending`, what was given to the worker: the value, and how many changes its journal had told of by then."""
        self.status, self._taken, self._shape, self._parent = "", None, (), None
        self._refreshed_at = self._seen_at = self._listed_at = self._cost_s = self._list_cost_s = 0.0
        self._choices: list[tuple[str, str]] = []
        self._refusals, self._lived = 0, False
        pending, step = self.state.pending, self.state.sample_step
        if run is not None:
            self.open(engine.attach(run) if isinstance(run, (str, Path)) else run)
            if runs is None and state is None:
                self.state.runs = reading.near(self.run.folder.parent)
        elif self.state.run:
            self.open(engine.attach(self.state.run))
        self.state.pending, self.state.sample_step = pending, step

    # ---- what it shows, pure

    def figure(self, width: str = "wide") -> dict:
        taken = self._take()
        return figure(
            taken.curves if taken.policy else reading.Curves(),
            width,
            self.state.estimator,
            words.empty_words(taken.run is not None, taken.policy),
        )

    def summary(self) -> Sentence:
        taken = self._take()
        if taken.run is None:
            return Sentence("idle", "No run picked: give a run of PPO, GRPO or RLOO, or pick one from the list.")
        return words.summary(taken.status, taken.run.history, taken.curves, taken.policy)

    @property
    def alarms(self) -> list[Alarm]:
        """What is wrong at the last step, the worst first."""
        return list(self._take().curves.alarms)

    def code(self) -> str:
        taken, state = self._take(), self.state
        options = dict(estimator=state.estimator if state.estimator != "k1" else "", smoothing=state.smoothing, prompt=state.prompt)
        if state.sample_step >= 0:
            options["sample_step"] = state.sample_step
        back = self.way_back() if taken.curves.alarms else None
        return words.code(
            state.run, state.runs, taken.run.history if taken.run else None, options, state.pending, back[:2] if back else None
        )

    def extra_html(self) -> str:
        view = self._view(self._take())
        rows = [[("▲ " if on else "✓ ") + name, value] for name, value, on in view.alarms]
        made = (
            shared.table_html(["watched", "now"], rows, numeric=[1], kinds={(i, 0): "bad" for i, (*_, on) in enumerate(view.alarms) if on})
            if rows
            else ""
        )
        if view.reply is not None:
            made += (
                f"<p>Step {view.reply.step}: {escape(view.reply.prompt)}</p>{tokens.html(view.reply, live=False)}"
                f"<p>{escape(tokens.line(view.reply))}. {escape(tokens.words(view.reply))} {tokens.legend_html(live=False)}</p>"
            )
        return made

    def way_back(self) -> tuple[int, dict[str, Any], list[Alarm]] | None:
        """(step, what to change there, the alarms it is for): where one click branches; None where it cannot."""
        taken = self._take()
        run = taken.run
        if run is None or run.read_only or not taken.policy or reading.recipe_of(run) is None or not run.history.step:
            return None
        found = taken.curves.alarms
        kept, saved = reading.checkpoints_of(run), [event.step for event in run.history.checkpoints]
        step = alarms.healthy_step(kept, found) or alarms.healthy_step(saved, found)  # one that is gone is trained up to again
        if not step and not found or step == run.history.steps:
            return None
        wanted = dict(self.state.pending)
        return step, wanted or alarms.remedy(found, reading.in_force_at(run, step), reading.in_force(run)), found

    # ---- looking

    def _take(self) -> Taken:
        """Everything drawn, read now; the same look while a refresh goes on."""
        if self._taken is not None:
            return self._taken
        run = self.run
        if run is None:
            return Taken(None, "", reading.Curves())
        status = run.status
        run.history.refresh()
        if self._parent is not None:
            self._parent.history.refresh()
        shape = self._shape_of(run, status)
        return Taken(run, status, reading.curves_of(run, self.state.smoothing, self._parent), reading.is_policy(run), shape)

    def replies(self) -> tuple[list[str], list[int], Any]:
        """(prompts, steps, the reply that is shown)."""
        if self.run is None:
            return [], [], None
        return reading.replies_of(self.run.history, self.state.prompt, self.state.sample_step)

    def unsent(self) -> dict[str, Any]:
        """What a person set that no worker was given yet."""
        return {name: value for name, value in self.state.pending.items() if name not in self.sent or self.sent[name][0] != value}

    def _view(self, taken: Taken) -> View:
        run = taken.run
        if run is None:
            return View(choices=self._choices, estimator=self.state.estimator, progress=("no run", "", "", 0.0))
        now, living, recipe = reading.in_force(run), taken.status in LIVING, reading.recipe_of(run)
        prompts, steps, reply = self.replies()
        where = self.way_back()
        back = ("Branch", "No checkpoint with steps after it yet." if not run.read_only and recipe is not None else "")
        if where is not None:
            step, changes, found = where
            there = step in reading.checkpoints_of(run)
            back = words.back_words(step, found, changes, now, reading.in_force_at(run, step), there, living)
        return View(
            run=str(run.folder),
            choices=self._choices,
            status=str(taken.status),
            read_only=run.read_only,
            progress=words.progress(taken.status, run.history),
            now=now,
            pending=self.state.pending,
            sent=not self.unsent(),
            why_not=words.why_not(run.read_only, recipe is not None, living, str(taken.status)),
            adaptive=words.adaptive_words(now),
            held=words.holder(now | self.state.pending),
            estimator=self.state.estimator,
            alarms=words.table(taken.curves),
            back=back,
            can_branch=where is not None,
            prompts=prompts,
            steps=steps,
            reply=reply,
        )

    # ---- the live widget

    def controls(self) -> list:
        if self.made is None:
            self.made = Controls(self.actions, self._view(self._take()))
        return self.made.column

    def extra(self) -> Any:
        self.controls()
        return self.made.extra

    def _build(self) -> None:
        self._taken = self._take()
        try:
            super()._build()
            self._shown(self._taken)
        finally:
            self._taken = None
        self.selection.observe(self._selected, "run")
        (self._pump.add if self._pump else self.every)(self._look, LOOK_S)

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
            self._taken = self._take()
            self._settle(self._taken)
            try:
                super().refresh()
                self.made.show(self._view(self._taken))
                self._refused(self._taken)
                self._shown(self._taken)
            finally:
                self._taken = None
            self._cost_s, self._refreshed_at = time.thread_time() - begun, time.monotonic()

    def _settle(self, taken: Taken) -> None:
        """What the journal says is in force waits no longer, nor what a run that is over will never hear."""
        if taken.run is None:
            return
        changes = taken.run.history.changes
        for name, (value, told) in list(self.sent.items()):
            if any(change.field == name and _holds(change.new, value) for change in changes[told:]):
                del self.sent[name]
                if self.state.pending.get(name) == value:
                    self.state.pending = {key: wanted for key, wanted in self.state.pending.items() if key != name}
        if taken.status not in LIVING:
            self.sent = {}

    def _shown(self, taken: Taken) -> None:
        self.status, self._shape = taken.status, taken.shape

    def _shape_of(self, run: Any, status: str) -> tuple:
        """What, when it changes, is worth a new picture; the number of steps is the last."""
        history = run.history
        told = (history.evaluations, history.replies, history.changes, history.checkpoints, history.resumptions, history.refusals)
        return (str(run.folder), str(status), history.generation, history.steps, *map(len, told), len(history.columns["step"]))

    def _look(self) -> None:
        """Called by the pump: reads what is new, and shows it when it is due."""
        with self._lock:
            now, run = time.monotonic(), self.run
            if now - self._listed_at > max(LIST_S, 20 * self._list_cost_s):
                self._listed_at = now
                self.actions.errands.add(self._list, key="list")
            if run is None:
                return
            if run.history.refresh() or now - self._seen_at > 0.5:
                self.status, self._seen_at = run.status, now
            self._lived = self._lived or self.status in LIVING
            shape, since = self._shape_of(run, self.status), now - self._refreshed_at
            if shape != self._shape:
                if since >= max(LATER_S if shape[:-1] == self._shape[:-1] else SOON_S, SHARE * self._cost_s):
                    self.refresh()
            elif self._lived and self.status not in LIVING:
                self._lived = False
                self.freeze()  # the picture of the end stays in the notebook

    def _refused(self, taken: Taken) -> None:
        """A command that the worker could not carry out is said where it was asked for."""
        refusals = taken.run.history.refusals if taken.run is not None else []
        if len(refusals) > self._refusals:
            self.show_error(self.made.apply, refusals[-1].reason)
            self.sent = {}
        self._refusals = len(refusals)

    def _list(self) -> None:
        begun = time.perf_counter()
        try:
            records = self.engine.list_runs(self.state.runs).to_dict("records")
        except (WorkbenchError, OSError):
            return  # no such folder yet: nothing to pick
        choices = reading.policy_runs(records)
        self._list_cost_s = time.perf_counter() - begun
        if choices != self._choices:
            self._choices = choices
            self.refresh()

    # ---- which run

    def open(self, run: Any) -> None:
        """Show `run` from now on, and what it was forked from behind it."""
        with self._lock:
            run.history.refresh()
            self.run, self.sent, self._parent = run, {}, None
            self.state.run, self.state.pending, self.state.sample_step = reading.near(run.folder), {}, -1
            self._refusals, self._lived, self.status = len(run.history.refusals), False, ""
            if run.parent:
                try:
                    self._parent = self.engine.attach(run.parent)
                except WorkbenchError:
                    self._parent = None  # the parent's folder is gone
        self.selection.set("run", {str(run.folder)})

    def _selected(self, _kind: str, ids: frozenset) -> None:
        if len(ids) == 1:
            self.actions.pick(str(next(iter(ids))))


def _holds(new: Any, value: Any) -> bool:
    """Whether a change brought `value`; of weights, all that were named."""
    return all(new.get(name) == part for name, part in value.items()) if isinstance(new, dict) and isinstance(value, dict) else new == value
