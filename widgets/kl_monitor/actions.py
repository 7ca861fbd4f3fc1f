"""What a person does in the KL monitor: noted at once and done by a thread, so that no click waits for a disk or a worker.

What goes wrong is said beside the control that asked for it. Knows the monitor it belongs to; makes no widget.
"""

from collections.abc import Callable
from typing import Any

from widgets.frame.errands import Errands
from widgets.kl_monitor.reading import LIVING, in_force


class Actions:
    """The handlers of one monitor's controls."""

    def __init__(self, monitor: Any) -> None:
        self.monitor, self.errands = monitor, Errands("KL monitor errands")

    def later(self, control: str, job: Callable[[], object] = lambda: None, key: str = "") -> None:
        """Do `job` in a thread and look again; what goes wrong is said beside the control of that name."""
        monitor = self.monitor

        def do() -> None:
            with monitor.errors_at(getattr(monitor.made, control) if monitor.made else None):
                job()
            monitor.look_again()

        self.errands.add(do, key)

    def pending(self) -> dict[str, Any]:
        """What a person set that is not in force yet."""
        return self.monitor.state.pending

    def want(self, name: str, value: Any) -> None:
        """A control says `value`; it waits for Apply, or for a branch."""
        monitor, run = self.monitor, self.monitor.run
        if run is None:
            return
        others = {key: wanted for key, wanted in monitor.state.pending.items() if key != name}
        same = value == in_force(run).get(name) and name not in monitor.sent
        monitor.state.pending = others if same else others | {name: value}
        if monitor.made:
            monitor.made.apply.disabled = monitor.status not in LIVING or run.read_only or not monitor.unsent()
        self.later("apply", key="wanted")  # what a branch would change stands under its button

    def hold(self, who: str) -> None:
        """Who holds β from the next step on, of `controls.HOLDERS`."""
        run = self.monitor.run
        if run is None:
            return
        now, sliders = in_force(run), self.monitor.made.sliders
        if "kl_target" in now:
            self.want("kl_target", (now["kl_target"] or sliders["kl_target"].value) if who == "target" else None)
        if who == "off":
            self.want("beta", 0.0)
        elif not self.pending().get("beta", now["beta"]):
            self.want("beta", now["beta"] or sliders["beta"].value)

    def weigh(self, name: str, value: float) -> None:
        """The weight of one reward; the others keep theirs."""
        weights = self.pending().get("reward_weights") or in_force(self.monitor.run).get("reward_weights", {})
        self.want("reward_weights", {**weights, name: value})

    def apply(self) -> None:
        monitor, run = self.monitor, self.monitor.run
        wanted = monitor.unsent()

        def apply() -> None:
            with monitor._lock:  # no look between the two: the journal may say at once that it is in force
                told = len(run.history.changes)
                run.set(**wanted)
                monitor.sent |= {name: (value, told) for name, value in wanted.items()}

        if wanted:
            self.later("apply", apply)

    def pause(self) -> None:
        run = self.monitor.run
        self.later("pause", run.resume if self.monitor.status == "paused" else run.pause)

    def back(self) -> None:
        """A branch from the last healthy checkpoint, shown from now on; a run in trouble ends, so that the branch has the device."""
        monitor, run = self.monitor, self.monitor.run
        where = monitor.way_back()
        if where is None:
            return
        step, changes, found = where

        def back() -> None:
            branch = run.fork(step=step, **changes)
            if found and run.status in LIVING:
                run.stop()
            monitor.open(branch)
            # on their way with the branch: shown as what will be in force, from its first moment
            monitor.state.pending, monitor.sent = dict(changes), {name: (value, 0) for name, value in changes.items()}

        self.later("back", back)

    def pick(self, folder: str) -> None:
        if folder and (self.monitor.run is None or folder != str(self.monitor.run.folder)):
            self.later("run", lambda: self.monitor.open(self.monitor.engine.attach(folder)))

    def estimate(self, name: str) -> None:
        self.monitor.state.estimator = name
        self.later("estimator", key="estimator")

    def prompt(self, prompt: str) -> None:
        self.monitor.state.prompt, self.monitor.state.sample_step = prompt, -1
        self.later("prompt", key="sample")

    def sample(self, step: int) -> None:
        """The evaluation whose reply is shown; the last one goes on with the run."""
        _, steps, _ = self.monitor.replies()
        self.monitor.state.sample_step = -1 if not steps or step == steps[-1] else step
        self.later("scrub", key="sample")
