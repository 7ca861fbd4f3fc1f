"""What a person does in the run monitor: each thing noted at once and done by a thread, so that no click waits for a disk, a worker or a
model.

What goes wrong is said beside the control that asked for it. Knows the monitor it belongs to; makes no widget.
"""

from collections.abc import Callable
from typing import Any

from widgets.frame.errands import Errands
from widgets.run_monitor.reading import LIVING, in_force, near, rate_now
from workbench.errors import WorkbenchError


class Actions:
    """The handlers of one monitor's controls."""

    def __init__(self, monitor: Any) -> None:
        self.monitor = monitor
        self.errands, self.questions = Errands("run monitor errands"), Errands("run monitor questions")

    def later(self, control: str, job: Callable[[], object] = lambda: None, errands: Errands | None = None) -> None:
        """Do `job` in a thread and look again; what goes wrong is said beside the control of that name."""
        monitor = self.monitor

        def do() -> None:
            with monitor.errors_at(getattr(monitor.made, control) if monitor.made else None):
                job()
            monitor.look_again()

        (errands or self.errands).add(do)

    def start(self) -> None:
        monitor = self.monitor

        def start() -> None:
            if monitor.run is not None:
                monitor.run.resume()
            else:
                monitor.open(monitor.engine.start(monitor.recipe, runs=monitor.state.runs))

        self.later("start", start)

    def pause(self) -> None:
        self.later("pause", self.monitor.run.pause)

    def step(self) -> None:
        self.later("step", self.monitor.run.step)

    def stop(self) -> None:
        self.later("stop", self.monitor.run.stop)

    def move_up(self) -> None:
        self.later("up", self.monitor.run.move_up)

    def pending(self) -> dict[str, Any]:
        """What a person set that is not in force yet, as it is now."""
        return self.monitor.state.pending

    def want(self, name: str, value: Any) -> None:
        """A control says `value`; it waits for Apply."""
        monitor, run = self.monitor, self.monitor.run
        if run is None:
            return
        others = {key: wanted for key, wanted in monitor.state.pending.items() if key != name}
        same = value == in_force(run)[name] and name not in monitor.sent  # else it takes back what is on its way
        monitor.state.pending = others if value is None or same else others | {name: value}
        if monitor.made:
            monitor.made.apply.disabled = not (monitor.state.pending != monitor.sent and monitor.status in LIVING)

    def apply(self) -> None:
        run, monitor = self.monitor.run, self.monitor
        wanted = {name: value for name, value in monitor.state.pending.items() if monitor.sent.get(name) != value}

        def apply() -> None:
            with monitor._lock:  # no look between the two: the journal may say at once that it is in force
                run.set(**wanted)
                monitor.sent |= wanted  # what was set stays in sight until the journal says that it is in force

        if wanted:
            self.later("apply", apply)

    def fork(self, step: int, rate: float) -> None:
        run = self.monitor.run

        def fork() -> None:
            changes = {} if rate_now(run) == rate else {"learning_rate": rate}
            self.monitor.open(run.fork(step=step, **changes))

        self.later("fork_now", fork)

    def search(self, query: str) -> None:
        self.monitor.query = query
        self.monitor.show_list()

    def pick(self, folder: str) -> None:
        self.later("list", lambda: self.monitor.open(self.monitor.engine.attach(folder)))

    def overlay(self, folder: str) -> None:
        """Lays a run over the loss, or takes it away again."""
        chosen, one = self.monitor.state.overlays, near(folder)
        self.monitor.state.overlays = tuple(other for other in chosen if other != one) if one in chosen else (*chosen, one)
        self.later("list")

    def note(self, text: str) -> None:
        run = self.monitor.run
        if run is not None and text != run.note:
            self.later("note", lambda: setattr(run, "note", text))

    def smooth(self, steps: int) -> None:
        if steps != self.monitor.span:
            self.monitor.state.smoothing = steps
            self.later("smoothing")

    def prompt(self, prompt: str) -> None:
        if prompt and prompt != self.monitor.state.prompt:
            self.monitor.state.prompt = prompt
            self.later("prompt")

    def ask(self, prompt: str) -> None:
        run, made = self.monitor.run, self.monitor.made
        if run is None or not prompt.strip():
            return
        made.show_reply(prompt, None)

        def ask() -> None:
            try:
                made.show_reply(prompt, run.generate(prompt, max_new_tokens=64, timeout=60))
            except WorkbenchError:
                made.reply.value = ""
                raise

        self.later("question", ask, self.questions)
