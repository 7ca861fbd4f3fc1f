"""Two runs on one chart: one trained plainly and quantized after (post-training quantization), one trained quantized (`wb.QAT`).

Held-out losses are read off the runs' journals; that of the quantized result is measured on the same rows in the same way. Draws nothing.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from widgets.quantization_viewer.looks import TrainingLook
from widgets.quantization_viewer.measuring import Progress, silent
from workbench.errors import RunError, WorkbenchError


class Runs:
    """What is known of pairs of runs. `attach` opens a folder; tests give their own."""

    def __init__(self) -> None:
        self._opened: dict[str, Any] = {}
        self._after: dict[tuple[str, str], float] = {}
        self._seen = 0

    def open(self, folder: str) -> Any:
        """The run of a folder. Raises `WorkbenchError` where there is none."""
        if folder not in self._opened:
            from workbench.runs.attach import attach

            self._opened[folder] = attach(folder)
        return self._opened[folder]

    def fault(self, folder: str) -> str:
        """Why a folder is no run; "" where it is one, or where none is named."""
        try:
            if folder:
                self.open(folder)
        except WorkbenchError as error:
            return str(error)
        return ""

    def look(self, plain: str, aware: str) -> TrainingLook | None:
        """None where no run is named, or none can be read."""
        curves, names = [], []
        for folder in (plain, aware):
            if not folder or self.fault(folder):
                curves.append((np.empty(0), np.empty(0)))
                names.append("")
                continue
            run = self.open(folder)
            run.history.refresh()
            known = [event for event in run.history.evaluations if event.loss is not None]
            curves.append((np.array([event.step for event in known], float), np.array([event.loss for event in known], float)))
            names.append(run.name)
        if not any(names):
            return None
        return TrainingLook(plain=curves[0], aware=curves[1], names=(names[0], names[1]), bits=self.settings(aware)["bits"] if names[1]
                            else 8,
                            after=self._after.get((plain, aware)))

    def grown(self, plain: str, aware: str) -> bool:
        """Whether there are held-out losses that `look` did not see."""
        seen = 0
        for run in (self._opened[folder] for folder in (plain, aware) if folder in self._opened):
            run.history.refresh()
            seen += len(run.history.evaluations)
        fresh, self._seen = seen != self._seen, seen
        return fresh

    def settings(self, aware: str) -> dict[str, Any]:
        """How the run trained quantized rounds, as `quantized_model` takes it; one of another method: 8 bits, vector-wise."""
        method = self.open(aware).recipe.method
        inputs = "dynamic" if getattr(method, "activations", False) else "16-bit"
        return dict(scheme=getattr(method, "scheme", "vector-wise"), bits=getattr(method, "bits", 8), block=getattr(method, "block", 64),
                    activations=inputs)

    def known_settings(self, plain: str, aware: str) -> dict[str, Any] | None:
        """`settings`, where both are runs; else None."""
        return None if not plain or not aware or self.fault(plain) or self.fault(aware) else self.settings(aware)

    def measure(self, plain: str, aware: str, progress: Progress = silent) -> float:
        """The held-out loss, in nats per token, of the plain run's result with every linear layer quantized as the other run's was.

        Raises `WorkbenchError` for folders that are no runs, a run without a result, and one without held-out rows.
        """
        from workbench.data import run_rows
        from workbench.evaluation.row_losses import row_losses
        from workbench.quantization.layers import linear_layers
        from workbench.quantization.models import quantized_model

        settings = self.settings(aware)
        run = self.open(plain)
        heldout = [table for table in run_rows.read(run.folder).heldout.values() if table is not None and table.num_rows]
        if not heldout:
            raise RunError(f"{run.name} has no held-out rows.", "Start it again with heldout=0.1.")
        progress("Loading the plain run's result", 0, 0)
        model, tokenizer = run.load()
        model = model.merge_and_unload() if hasattr(model, "merge_and_unload") else model
        head = model.get_output_embeddings()  # which training leaves as it is
        layers = [name for name, module in linear_layers(model).items() if module is not head]
        losses, tokens = 0.0, 0
        with quantized_model(model, **settings, layers=layers):
            for table in heldout:
                found = row_losses((model, tokenizer), table, max_length=run.recipe.max_length,
                                   completions_only=run.recipe.completions_only and run.recipe.objective == "sft",
                                   progress=lambda done, total: progress("Measuring the held-out loss", done, total)).dropna(subset="loss")
                losses, tokens = losses + float((found["loss"] * found["tokens"]).sum()), tokens + int(found["tokens"].sum())
        self._after[plain, aware] = losses / max(1, tokens)
        return self._after[plain, aware]

    def pair(self, picked: Iterable[Any]) -> tuple[str, str] | None:
        """Two picked run folders, the one trained by QAT second; None for another number of runs."""
        folders = sorted(str(Path(str(folder))) for folder in picked)
        if len(folders) != 2 or any(self.fault(folder) for folder in folders):
            return None
        aware = [type(self.open(folder).recipe.method).__name__ == "QAT" for folder in folders]
        return (folders[1], folders[0]) if aware[0] and not aware[1] else (folders[0], folders[1])
