"""The run monitor's widgets: control bar, the column beside the figure, the samples below it. They show a `View` and report what a person
did.

A `View` is everything they show, as plain values; `show` sends what differs. Handlers here only call the functions they were given, which
enqueue. Everything a run or a model wrote is shown as text.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import floor, log10
from typing import Any

from widgets.frame import controls
from widgets.frame.hearing import Hearing
from widgets.frame.markup import escape
from widgets.frame.sheet import number
from widgets.run_monitor import mixing
from widgets.run_monitor.reading import LIVING
from widgets.run_monitor.run_list import RunList

VERDICTS = {"right": "good", "wrong": "bad"}
SAMPLES = 6
"""Rows of the table of samples: the first evaluation and the last ones."""


@dataclass(slots=True, kw_only=True)
class View:
    """What the widgets show."""

    status: str = ""
    read_only: bool = False
    has_recipe: bool = False
    step: int = 0
    checkpoint: int = 0
    steps: int | None = None
    progress: tuple[str, str, str, float | None] = ("step 0", "", "", 0.0)
    learning_rate: float | None = None
    evaluate_every: int | None = None
    weights: dict[str, float] = field(default_factory=dict)
    """Of a mixture's sources, in force now."""
    pending: dict[str, Any] = field(default_factory=dict)
    """What a person set that is not in force yet; of it, `sent` is on its way to the worker."""
    sent: dict[str, Any] = field(default_factory=dict)
    difference_title: str = ""
    difference: list[tuple[str, str, str]] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)
    prompt: str = ""
    samples: list[Any] = field(default_factory=list)
    no_samples: str = ""
    """What stands in the place of samples while there are none."""
    note: str = ""
    run: str = ""
    overlays: list[str] = field(default_factory=list)
    log_tail: str = ""
    followed: str = ""
    """Markup: where else the run is followed, and notes on it (`trackers.py`)."""
    smoothing: int = 20
    mine: int = 0
    """While it waits: its person's runs that wait before it."""

    @property
    def can(self) -> dict[str, bool]:
        """What the buttons can do now. Everything always stands there; what cannot be done is disabled."""
        live = self.status in LIVING and not self.read_only
        return dict(
            start=not self.read_only and (self.status in ("paused", "died", "failed", "stopped") if self.run else self.has_recipe),
            pause=live and self.status in ("starting", "running"),
            step=live and self.status == "paused",
            stop=live,
            up=live and self.status == "queued" and self.mine > 0,
            fork=not self.read_only and self.has_recipe and self.step > 0 and bool(self.run),
            change=live,
            apply=live and self.pending != self.sent,
            ask=live and self.status in ("running", "paused"),
            note=bool(self.run) and not self.read_only,
        )


def samples_html(samples: Sequence[Any], none: str = "") -> str:
    """The table of samples of one prompt (events `Sampled` in order of step), or the words `none`; every cell is text."""
    samples = list(samples)
    shown = samples if len(samples) <= SAMPLES else [samples[0], *samples[1 - SAMPLES:]]
    if not shown:
        return f'<p class="wb-hint">{escape(none)}</p>' if none else ""
    verdicts = any(sample.verdict for sample in shown)
    rows = [[number(s.step), s.reply or "(nothing)", *([s.verdict] if verdicts else [])] for s in shown]
    kinds = {(i, 0): "mute" for i in range(len(shown) - 1)}
    kinds |= {(i, 2): VERDICTS.get(s.verdict, "caution") for i, s in enumerate(shown) if verdicts}
    return controls.table_html(
        ["step", "reply", *(["verdict"] if verdicts else [])], rows, numeric=[0], kinds=kinds, caption="Sample outputs"
    )


def difference_html(rows: Sequence[tuple[str, str, str]]) -> str:
    """Setting, there, here."""
    return controls.table_html([], rows, numeric=[1, 2], kinds={(i, 1): "mute" for i in range(len(rows))}, caption="Recipe difference")


class Controls(Hearing):
    """`do` has one function for each thing a person can do; see `RunMonitor`."""

    def __init__(self, do: Any, view: View):
        import ipywidgets as ipw

        self._pending = do.pending
        self.start = controls.button("Start", "play", "primary", "start this recipe", on_click=do.start)
        self.pause = controls.button("Pause", "pause", tooltip="pause; the model stays loaded", on_click=do.pause)
        self.step = controls.button("Step", "step-forward", tooltip="take one step", on_click=do.step)
        self.stop = controls.button("Stop", "stop", "danger", "stop for good; the result so far is kept", on_click=do.stop)
        self.up = controls.button("Move up", "arrow-up", tooltip="make it the next of your runs that wait for the device", on_click=do.move_up)
        self.fork = controls.button("Fork", "code-fork", tooltip="start a new run from a step of this one", on_click=self._toggle_fork)
        self.progress = controls.Progress()
        self.bar = controls.bar(self.start, self.pause, self.step, self.stop, self.up, controls.separator(), self.fork, self.progress)

        rate = view.learning_rate or 1e-4
        span = (min(1e-6, 10.0 ** floor(log10(rate))), max(1e-2, 10.0 ** (floor(log10(rate)) + 1)))
        self.rate = controls.slider("Learning rate peak", rate, *span, log=True)
        self.every = controls.dropdown("Evaluate every", _intervals(view), view.evaluate_every)
        self.apply = controls.button("Apply at next step", on_click=do.apply)
        self.apply.layout.width = "100%"
        self.heard(self.rate, lambda value: do.want("learning_rate", value))
        self.heard(self.every, lambda value: do.want("evaluate_every", value))
        self.source = controls.dropdown("Source of the mixture", [""], "")
        self.share = controls.slider("Its share of the rows, %", 0, 0, 100)
        self.heard(self.source, lambda name: self.show_share())
        self.heard(self.share, lambda value: do.want("mixture", mixing.weights_for(self._weights(), self.source.value, value / 100)))
        self._shown_weights: dict[str, float] = {}

        self.fork_step = controls.slider("Fork from step", max(1, view.checkpoint), 1, max(2, view.step))
        self.fork_rate = controls.slider("Learning rate peak of the fork", rate, *span, log=True)
        self.fork_now = controls.button(
            "Start the fork", "code-fork", on_click=lambda: do.fork(self.fork_step.value, self.fork_rate.value)
        )
        self.fork_group = controls.group("Fork", self.fork_step, self.fork_rate, self.fork_now)
        self.fork_group.layout.display = "none"

        self.search = controls.text("Search runs", placeholder="name, recipe or note")
        self.heard(self.search, do.search)
        self.list, self.count = RunList(on_pick=do.pick, on_overlay=do.overlay), controls.html("", "wb-hint")
        self.count.layout.display = "none"
        self.note = controls.textarea("Note on this run", view.note, rows=2, continuous_update=False)
        self.heard(self.note, do.note)
        self.smoothing = controls.slider("Line averaged over, steps", view.smoothing, 1, 200)
        self.heard(self.smoothing, do.smooth)
        self.followed = controls.html("")
        self.followed_group = controls.group("Trackers and notes", self.followed)
        self.difference_title, self.difference = controls.heading(""), controls.html("")
        self.difference_group = controls.group("", self.difference_title, self.difference)
        self.column = [
            self.fork_group,
            controls.group("Change while it runs", self.rate, self.source, self.share, self.every, self.apply),
            controls.group("Runs", self.search, self.list, self.count, self.note),
            self.followed_group,
            self.difference_group,
            controls.group("Picture", self.smoothing),
        ]

        self.log = controls.html("")
        self.prompt = controls.dropdown("Prompt", view.prompts or [""], view.prompt or None)
        self.heard(self.prompt, do.prompt)
        self.samples = controls.html("", "wb-samples")
        self.question = controls.text("Ask the model as it is now", placeholder="Who bakes bread?")
        self.ask = controls.button(
            "Ask", tooltip="let the model answer, between two steps or while paused", on_click=lambda: do.ask(self.question.value)
        )
        self.reply = controls.html("")
        asking = controls.row(self.question, self.ask)
        asking.add_class("wb-ask")
        self.extra = ipw.VBox(
            [self.log, controls.heading("Sample outputs at each evaluation"), self.prompt, self.samples, asking, self.reply]
        )
        self._shown_run: str | None = None
        self.show(view)

    def _weights(self) -> dict[str, float]:
        """Weights as a person has set them so far."""
        return self._pending().get("mixture", self._shown_weights)

    def show_share(self) -> None:
        """The slider at the share of the source that is picked."""
        weights = mixing.shares(self._weights())
        if self.source.value in weights:
            with self.showing():
                self.share.value = round(100 * weights[self.source.value])

    def _toggle_fork(self) -> None:
        self.fork_group.layout.display = "" if self.fork_group.layout.display == "none" else "none"

    def show(self, view: View) -> None:
        """Brings every widget up to date; from any thread, one at a time."""
        with self.showing():
            self._show(view)

    def _show(self, view: View) -> None:
        can = view.can
        for name in ("start", "pause", "step", "stop", "fork", "apply", "ask", "note"):
            getattr(self, name).disabled = not can[name]
        self.up.layout.display = "" if can["up"] else "none"  # of no use to a run that goes, or to who waits with one
        self.start.description = "Resume" if view.run and can["start"] else "Start"
        self.start.tooltip = "go on" if view.run else "start this recipe"
        self.start.button_style = "primary" if can["start"] else ""
        self.pause.button_style = "primary" if can["pause"] else ""
        self.progress.show(*view.progress)

        for widget in (self.rate, self.every, self.source, self.share):
            widget.disabled = not can["change"]
        self._show_mixture(view)
        if view.learning_rate:
            self.rate.home = view.learning_rate
            if "learning_rate" not in self._pending():
                self.rate.value = view.learning_rate
        options = _intervals(view)
        if tuple(self.every.options) != tuple(options):
            self.every.options = options
        if "evaluate_every" not in self._pending():
            self.every.value = view.evaluate_every if view.evaluate_every in dict(options).values() else options[0][1]

        if view.step > 1:
            self.fork_step.max = view.step
        if view.run != self._shown_run:
            self._shown_run = view.run
            self.note.value = view.note
            self.fork_group.layout.display = "none"
            if view.checkpoint:
                self.fork_step.value = min(view.checkpoint, self.fork_step.max)
            if view.learning_rate:
                self.fork_rate.home = self.fork_rate.value = view.learning_rate
            self.reply.value = ""
        self.smoothing.value = view.smoothing
        self.list.picked, self.list.overlays = view.run, view.overlays
        self.followed.value = view.followed
        self.followed_group.layout.display = "" if view.followed else "none"
        self.difference_title.value = f"<h3>{escape(view.difference_title)}</h3>"
        self.difference.value = difference_html(view.difference)
        self.difference_group.layout.display = "" if view.difference_title else "none"

        self.log.value = (
            "" if not view.log_tail else f'<h3>The last lines of worker.log</h3><pre class="wb-log">{escape(view.log_tail)}</pre>'
        )
        if list(view.prompts) != [option for option in self.prompt.options if option]:
            self.prompt.options = view.prompts or [""]
        if view.prompt and self.prompt.value != view.prompt:
            self.prompt.value = view.prompt
        self.prompt.layout.display = "" if len(view.prompts) > 1 else "none"
        self.samples.value = (f'<p class="wb-hint">{escape(view.prompt)}</p>' if len(view.prompts) == 1 else "") + samples_html(
            view.samples, view.no_samples
        )

    def _show_mixture(self, view: View) -> None:
        names = list(view.weights)
        for widget in (self.source, self.share):
            widget.layout.display = "" if len(names) > 1 else "none"
        if names and list(self.source.options) != names:
            self.source.options = names
        if view.weights != self._shown_weights or "mixture" not in self._pending():
            self._shown_weights = view.weights
            self.show_share()

    def show_count(self, words: str) -> None:
        """How many runs there are, "" where that is seen."""
        self.count.value, self.count.layout.display = words, "" if words else "none"

    def show_reply(self, prompt: str, reply: str | None) -> None:
        """The model's answer, as text; None while it is thinking."""
        words = "…" if reply is None else reply or "(nothing)"
        self.reply.value = f'<p class="wb-hint">{escape(prompt)}</p><p class="wb-reply">{escape(words)}</p>'


def _intervals(view: View) -> list[tuple[str, int | None]]:
    """Choices of steps between evaluations, the one in force among them."""
    most = view.steps or 1000
    values = {n for n in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if n <= max(1, most)} | (
        {view.evaluate_every} if view.evaluate_every else set()
    )
    if not view.evaluate_every:
        return [("never", None)]
    return [(f"{number(n)} step{'s' if n > 1 else ''}", n) for n in sorted(values)]
