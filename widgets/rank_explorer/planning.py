"""What the next training would cost and where its ranks would go: linear layers of the base, the suggested pattern, parameters, memory.

Everything that takes longer than a frame is done by `known` and `plan`, which a thread calls; what they found last is read by the panel.
"""

from typing import Any

from widgets.frame.sheet import number
from widgets.rank_explorer import reading
from widgets.rank_explorer.state import State
from workbench.errors import WorkbenchError


class Planning:
    """Of one panel."""

    def __init__(self) -> None:
        self.layers: dict[str, tuple[int, int]] = {}
        """Linear layers of the base, without its head; of the adapter alone where the base is not there."""
        self.total = 0
        """Parameters of the base."""
        self.fault = ""
        """Why the base is not there."""
        self.last_pattern: dict[str, int] = {}
        self.pattern_fault = ""
        self._pattern_for: tuple | None = None
        self._all_fit = False
        """Whether the suggestion has a rank for every singular value of the table."""
        self._config: Any = None
        self._memory: dict[str, float] = {}
        self._length, self._batch, self._precision = 512, 8, "bf16"

    def known(self, opened: reading.Opened) -> None:
        """Looks at the base's architecture, and at how the run was trained; reads no weights."""
        self.total, self.fault, self._config, self._memory, self._pattern_for = 0, "", None, {}, None
        self.layers = {matrix.name: matrix.shape for matrix in opened.spectra.matrices if matrix.shape}
        if opened.run is not None and not opened.run.read_only:
            recipe = opened.run.recipe
            self._length, self._batch, self._precision = recipe.max_length, recipe.batch_size, reading.precision_of(recipe)
        if not opened.base:
            self.fault = "The adapter does not say its base, so neither parameters nor memory can be told. Name the base."
            return
        try:
            self._config = reading.config_of(opened.base)
            self.layers, self.total = reading.linear_layers(self._config)
        except WorkbenchError as error:
            self.fault = str(error)

    def plan(self, opened: reading.Opened, state: State) -> None:
        """Suggested ranks and memory for the settings of now."""
        self.pattern(opened, state)
        key = self._key(state)
        if self._config is not None and key not in self._memory:
            try:
                method = reading.method_of(opened, state.settings(self.last_pattern))
                self._memory[key] = reading.memory_of(self._config, method, self._length, self._batch, self._precision)
            except WorkbenchError:  # such a method the base cannot take: starting it says so
                self._memory[key] = 0.0

    def pattern(self, opened: reading.Opened, state: State) -> dict[str, int]:
        """The suggestion for as many parameters as rank r takes in the same matrices; {} where there is none."""
        frame, budget = reading.targeted(opened, state.targets), self.budget(opened, state)
        key = (id(opened), state.targets, budget)
        if key != self._pattern_for:
            from workbench.adapters import suggest_rank_pattern

            self.pattern_fault = ""
            try:
                self.last_pattern = suggest_rank_pattern(frame, opened.frame.attrs["shapes"], budget=budget) if len(frame) else {}
            except WorkbenchError as error:
                self.last_pattern, self.pattern_fault = {}, str(error)
            self._pattern_for, self._all_fit = key, sum(self.last_pattern.values()) >= len(frame)
        return self.last_pattern

    def budget(self, opened: reading.Opened, state: State) -> int:
        """Parameters of the factors of rank r in every matrix of the spectrum that the next training reaches."""
        chosen = reading.chosen({matrix.name: matrix.shape for matrix in opened.spectra.matrices if matrix.shape}, state.targets)
        return max(state.rank, 1) * sum(d_out + d_in for d_out, d_in in chosen.values())

    def memory_of(self, state: State) -> float:
        """Bytes on one device, 0 where not known yet; until the thread has it, the last one."""
        return self._memory.get(self._key(state), list(self._memory.values())[-1] if self._memory else 0.0)

    @property
    def memory_words(self) -> str:
        return f"{number(self._batch)} × {number(self._length)} tokens, {self._precision}" if self._config is not None else "base not known"

    def pattern_words(self, state: State) -> str:
        if self.pattern_fault:
            return self.pattern_fault
        if self._pattern_for is None:
            return "The base is read in the background."
        if not self.last_pattern:
            return "No suggestion: no matrix of the spectrum is chosen."
        if set(self.last_pattern.values()) == {max(state.rank, 1)}:
            if state.rank <= 1:
                return "Every matrix gets its one direction."
            if self._all_fit:
                return "Every known direction fits; at a lower rank it shows where they matter most."
            return "The suggestion is the same rank everywhere."
        return f"No more parameters than rank {max(state.rank, 1)} everywhere."

    def _key(self, state: State) -> str:
        return repr(sorted(state.settings(self.last_pattern).items(), key=str))
