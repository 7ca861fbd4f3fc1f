"""The KL monitor's widgets: which run, what can be changed while it goes, alarms, the way back, and the replies below. They show a `View`.

`show` sends what differs. Handlers here only call the functions they were given, which enqueue. What a run or a model wrote is shown as
text.
"""

from dataclasses import dataclass, field
from typing import Any

from widgets.frame import controls
from widgets.frame.hearing import Hearing
from widgets.frame.markup import escape
from widgets.frame.sheet import number
from widgets.kl_monitor import tokens
from widgets.kl_monitor.reading import ESTIMATORS, LIVING
from workbench.runs.folders import undated

UNITS = {
    "beta": "β, penalty per nat",
    "kl_target": "KL target, nats per reply",
    "learning_rate": "Learning rate peak",
    "temperature": "Temperature",
}
RANGES = {"beta": (1e-3, 1.0), "kl_target": (0.5, 100.0), "learning_rate": (1e-7, 1e-2)}
"""What the handles reach; any number can be typed."""
HOLDERS = {"hand": "by hand", "target": "to target", "off": "off"}
"""Who holds β: one who moves its handle, the controller that keeps KL at its target, or nobody (β is 0)."""


@dataclass(slots=True, kw_only=True)
class View:
    """What the widgets show."""

    run: str = ""
    choices: list[tuple[str, str]] = field(default_factory=list)
    """(words, folder) of the runs that can be picked."""
    status: str = ""
    read_only: bool = False
    progress: tuple[str, str, str, float | None] = ("", "", "", 0.0)
    now: dict[str, Any] = field(default_factory=dict)
    """Settings in force; what the run does not have is not in it."""
    pending: dict[str, Any] = field(default_factory=dict)
    sent: bool = False
    """Whether all that is pending is on its way."""
    why_not: str = ""
    adaptive: str = ""
    held: str = ""
    """Who holds β, of `HOLDERS`; "" where the run has none."""
    estimator: str = "k1"
    alarms: list[tuple[str, str, bool]] = field(default_factory=list)
    back: tuple[str, str] = ("Branch", "")
    can_branch: bool = False
    prompts: list[str] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    reply: Any = None

    @property
    def living(self) -> bool:
        return self.status in LIVING and not self.read_only


def alarms_html(rows: list[tuple[str, str, bool]]) -> str:
    """What is watched, what it is now; an alarm has a triangle, bold words and a colour of its own."""
    cells = [[("▲ " if on else "✓ ") + name, value] for name, value, on in rows]
    kinds = {(i, k): "bad" for i, (*_, on) in enumerate(rows) for k in (0, 1) if on}
    return (
        controls.table_html([], cells, numeric=[1], kinds=kinds, caption="Alarms")
        if rows
        else '<p class="wb-hint">Nothing to watch yet.</p>'
    )


def reply_html(reply: Any, live: bool = True) -> str:
    """One reply in colours, with its legend and the same in words."""
    if reply is None:
        return '<p class="wb-hint">The first replies come with the first evaluation.</p>'
    said = [f"Step {number(reply.step)}", *filter(None, [tokens.line(reply)])]
    head = (
        f'<div class="wb-between"><span class="wb-hint">{escape(" · ".join(said))}</span>'
        f'<span class="wb-hint">{tokens.legend_html(live)}</span></div>'
    )
    asked = f'<p class="wb-hint" style="white-space:pre-wrap;margin:0 0 4px">{escape(reply.prompt)}</p>'
    return f'{head}{asked}{tokens.html(reply, live)}<p class="wb-hint" style="margin:4px 0 0">{escape(tokens.words(reply))}</p>'


class Controls(Hearing):
    """`do` has one function for each thing a person can do; see `Actions`."""

    def __init__(self, do: Any, view: View):
        import ipywidgets as ipw

        self._do = do
        self.run = controls.dropdown("Run", view.choices or [("", "")], None)
        self.heard(self.run, do.pick)
        self.progress = controls.Progress()
        self.progress.layout.flex = "none"  # it stands in a column here, not in a bar
        self.sliders: dict[str, Any] = {}
        for name, (low, high) in RANGES.items():
            self.sliders[name] = controls.slider(
                UNITS[name], view.now.get(name) or low, low, high, log=True, form="," if name != "learning_rate" else None
            )
        self.sliders["temperature"] = controls.slider(UNITS["temperature"], 1.0, 0.05, 2.0, 0.05)
        self.sliders = {name: self.sliders[name] for name in UNITS}
        for name, slider in self.sliders.items():
            self.heard(slider, lambda value, name=name: do.want(name, value))
        self.weights_place, self.weights = ipw.VBox([], layout=ipw.Layout(width="100%", grid_gap="12px")), {}
        self.adaptive, self.why_not = controls.html(""), controls.html("")
        self.held = controls.toggles("β is held", [(words, who) for who, words in HOLDERS.items()], view.held or "hand")
        self.heard(self.held, do.hold)
        self.apply = controls.button("Apply at next step", on_click=do.apply)
        self.estimator = controls.toggles("Estimator", list(ESTIMATORS), view.estimator)
        self.heard(self.estimator, do.estimate)
        self.alarms = controls.html("")
        self.pause = controls.button("Pause", "pause", on_click=do.pause)
        self.back = controls.button("Branch", "code-fork", "primary", "start a new run from there", on_click=do.back)
        self.back_words = controls.html("")
        change = controls.group(
            "Change while it runs",
            self.held,
            self.sliders["beta"],
            self.adaptive,
            self.sliders["kl_target"],
            self.sliders["learning_rate"],
            self.sliders["temperature"],
            self.weights_place,
            self.apply,
            self.why_not,
        )
        self.column = [
            controls.group("", self.run, self.progress),
            change,
            controls.group("", self.estimator),
            controls.group("Alarms", self.alarms),
            controls.actions(self.pause, self.back, self.back_words),
        ]
        self.prompt = controls.dropdown("Prompt", [""], "")
        self.heard(self.prompt, do.prompt)
        self.scrub = ipw.SelectionSlider(description="Evaluation at step", options=[("–", -1)], layout=ipw.Layout(width="100%"))
        self.heard(self.scrub, do.sample)
        self.reply = controls.html("")
        self.choose = controls.row(self.prompt, self.scrub)
        self.extra = ipw.VBox(
            [controls.heading("A sampled reply, tokens by their KL"), self.choose, self.reply],
            layout=ipw.Layout(width="100%", grid_gap="8px"),
        )
        self.show(view)

    def show(self, view: View) -> None:
        """Brings every widget up to date; from any thread, one at a time."""
        with self.showing():
            self._show_run(view)
            self._show_settings(view)
            self._show_reply(view)
            self.estimator.value = view.estimator
            self.alarms.value = alarms_html(view.alarms)
            paused = view.status == "paused"
            self.pause.description, self.pause.icon = ("Resume", "play") if paused else ("Pause", "pause")
            self.pause.disabled = not view.living or view.status == "queued"
            self.back.description, self.back.disabled = view.back[0], not view.can_branch
            self.back_words.value = f'<span class="wb-hint">{escape(view.back[1])}</span>'

    def _show_run(self, view: View) -> None:
        options = view.choices or [("no run", "")]
        if view.run and view.run not in [folder for _, folder in options]:
            options = [(undated(view.run.rsplit("/", 1)[-1]), view.run), *(option for option in options if option[1])]
        if list(self.run.options) != options:
            self.run.options = options
        if self.run.value != view.run and view.run:
            self.run.value = view.run
        self.progress.show(*view.progress)

    def _show_settings(self, view: View) -> None:
        weights = view.now.get("reward_weights") or {}
        if list(weights) != list(self.weights):
            self.weights = {
                name: controls.slider(f"Weight of {name}", weights[name], 0.0, max(2.0, 2 * weights[name]), 0.05) for name in weights
            }
            for name, slider in self.weights.items():
                self.heard(slider, lambda value, name=name: self._do.weigh(name, value))
            self.weights_place.children = tuple(self.weights.values())
        for name, slider in self.sliders.items():
            there = name in view.now
            slider.disabled = not there or not (view.living or view.can_branch)
            if there and view.now[name]:  # a β of 0 has no place among decades: `held` says it
                if hasattr(slider, "home"):
                    slider.home = view.now[name]
                slider.value = self._do.pending().get(name) or view.now[name]
        for name, slider in self.weights.items():
            slider.disabled = not (view.living or view.can_branch)
            if "reward_weights" not in self._do.pending():
                slider.value = weights[name]
        holders = [(words, who) for who, words in HOLDERS.items() if who != "target" or "kl_target" in view.now]
        if list(self.held.options) != holders:
            self.held.options = holders
        self.held.value, self.held.disabled = view.held or "hand", self.sliders["beta"].disabled
        self.sliders["kl_target"].layout.display = "" if self.held.value == "target" else "none"
        self.apply.disabled = not view.living or not view.pending or view.sent
        self.adaptive.value = f'<span class="wb-hint">{escape(view.adaptive)}</span>'
        self.why_not.value = f'<span class="wb-hint">{escape(view.why_not)}</span>'
        self.adaptive.layout.display = "" if view.adaptive else "none"
        self.why_not.layout.display = "" if view.why_not else "none"

    def _show_reply(self, view: View) -> None:
        prompts = view.prompts or [""]
        options = [(prompt.replace("\n", " "), prompt) for prompt in prompts]
        if list(self.prompt.options) != options:
            self.prompt.options = options
        if view.reply is not None and self.prompt.value != view.reply.prompt:
            self.prompt.value = view.reply.prompt
        steps = [(number(step), step) for step in view.steps] or [("–", -1)]
        if list(self.scrub.options) != steps:
            self.scrub.options = steps
        if view.reply is not None and self.scrub.value != view.reply.step:
            self.scrub.value = view.reply.step
        self.choose.layout.display = "" if view.reply is not None else "none"
        self.reply.value = reply_html(view.reply)
