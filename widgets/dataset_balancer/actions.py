"""What a person does in the balancer: a setting is taken, the figure follows at once, and what takes longer is done by a thread.

What cannot be is said beside the control that asked for it, with the way back. Knows the balancer it belongs to; makes no widget.
"""

import copy
from typing import Any

from widgets.frame.later import Later
from widgets.frame.threads import thread
from workbench.errors import WorkbenchError


class Actions:
    """The handlers of one balancer's controls."""

    def __init__(self, balancer: Any) -> None:
        self.balancer = balancer
        self.later = Later(balancer.settle, "balancer settling")
        self._refused: Any = None
        self._good = copy.deepcopy(balancer.state)

    def set(self, name: str, value: Any, control: Any = None) -> None:
        """A control says `value`."""
        balancer, state = self.balancer, self.balancer.state
        if getattr(state, name) == value:
            return
        if name == "by" and state.budget:
            found = balancer.look().found
            if found is not None and found.tokens_drawn is not None:
                state.budget = float(found.mixed.rows) if value == "examples" else round(found.tokens_drawn)
        if name == "stages" and value and not state.second:
            state.second = tuple(balancer.included()[-1:])
        if name == "rule" and value == "capped" and (found := balancer.look().found) is not None:
            rows = sorted(found.rows.values())
            if state.cap >= rows[-1]:  # a cap that cuts nothing shows nothing: begin at the source in the middle
                state.cap = rows[len(rows) // 2]
        setattr(state, name, value)
        self.moved(control)

    def set_source(self, name: str, what: str, value: Any) -> None:
        state = self.balancer.state
        if what == "value":
            which = "weights" if state.rule == "weights" else "multipliers"
            others = {key: old for key, old in getattr(state, which).items() if key != name}
            setattr(state, which, others if value == 1 else others | {name: float(value)})
        elif what == "stage":
            others = tuple(other for other in state.second if other != name)
            state.second = (*others, name) if value == 2 else others
        else:
            task = state.task_of(name)
            others = tuple(other for other in state.held_out if other != task)
            state.held_out = (*others, task) if value else others
        self.moved(self.balancer.made.table if self.balancer.made else None)

    def moved(self, control: Any) -> None:
        """Shows what the settings come to now, or says at `control` why they come to nothing."""
        balancer = self.balancer
        balancer.refresh(rough=True)
        refusal = balancer.refusal
        if refusal:
            if self._refused is not None and self._refused is not control:
                balancer.clear_error(self._refused)
            self._refused = control
            balancer.show_error(control, refusal, ("Undo", self.undo))
        else:
            if self._refused is not None:
                balancer.clear_error(self._refused)
                self._refused = None
            self._good = copy.deepcopy(balancer.state)
        self.later.ask()

    def undo(self) -> None:
        self.balancer.state = copy.deepcopy(self._good)
        self.moved(self._refused)

    def pick(self, name: str) -> None:
        """Picks a source, or lets it go again."""
        selection = self.balancer.selection
        selection.set("source", () if selection["source"] == {name} else {name})

    def other_rows(self) -> None:
        self.balancer.state.seed += 1
        self.moved(None)

    def measure(self) -> None:
        self.balancer.start_measuring()

    def use(self) -> None:
        """Draws the rows in a thread, so that a fault in them is said here and not when a run starts."""
        balancer = self.balancer
        balancer.busy("Drawing the rows", cancel=None)

        def draw() -> None:
            control = balancer.made.use if balancer.made else None
            try:
                balancer.clear_error(control)
                balancer.choose()
            except WorkbenchError as error:
                balancer.show_error(control, str(error))
            finally:
                balancer.busy(None)
            balancer.refresh()

        thread(draw, "balancer drawing").start()
