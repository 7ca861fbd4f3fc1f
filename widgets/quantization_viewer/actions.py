"""What a person does in the viewer: a setting is taken, the figure follows at once from a sample, exact numbers when the hand rests.

Knows the viewer it belongs to; makes no widget and computes nothing.
"""

from typing import Any

from widgets.quantization_viewer.tensor_tree import module_of


class Actions:
    """The handlers of one viewer's controls."""

    def __init__(self, viewer: Any) -> None:
        self.viewer = viewer

    def set(self, name: str, value: Any, control: Any = None) -> None:
        """A control says `value`."""
        viewer, state = self.viewer, self.viewer.state
        if getattr(state, name) == value:
            return
        setattr(state, name, value)
        if control is not None:
            viewer.clear_error(control)
        if name == "model":
            viewer.another()
        elif name == "query":
            viewer.show_controls()
        elif name in ("plain", "aware"):
            viewer.follow_runs(control)
        else:
            viewer.jobs.moved()

    def fold(self, groups: tuple) -> None:
        """The page folded or unfolded groups of the tree."""
        self.viewer.state.open = groups

    def pick(self, name: str) -> None:
        """A tensor's full name; every panel hears that of its module."""
        self.viewer.selection.set("layer", {module_of(name)})
        if self.viewer.state.layer != module_of(name):  # where the selection was that already
            self.viewer.picked()

    def overview(self) -> None:
        self.viewer.jobs.overview()

    def primary(self) -> None:
        state = self.viewer.state
        jobs = self.viewer.jobs
        {"activations": jobs.calibrate, "training": jobs.after}.get(state.view, jobs.perplexity)()

    def second(self) -> None:
        self.viewer.jobs.sensitivity()
