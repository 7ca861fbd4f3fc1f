"""Opening a run that is there: a run folder, running or not, or a folder that a plain transformers Trainer left (read-only)."""

import json
import re
from pathlib import Path

from workbench.errors import RunError
from workbench.journal import events as ev
from workbench.journal import inside
from workbench.recipes import Recipe
from workbench.runs.folders import half_made
from workbench.runs.run import Run
from workbench.runs.status import Status


def attach(folder: str | Path) -> Run:
    """The run in `folder`. Raises `RunError` where there is none."""
    try:
        path = Path(folder).expanduser().resolve()
        path.exists()
    except (OSError, ValueError) as error:  # too long, NUL
        raise RunError(f"{str(folder)!r} is no name of a folder: {getattr(error, 'strerror', None) or error}.", "wb.list_runs(folder) shows the runs of a folder.") from error
    if half_made(path):
        raise RunError(f"{path.name} was never made whole: whoever started it was cut off.", "Start it again; what is left of this one goes then.")
    if (path / "journal.jsonl").exists() or (path / "recipe.json").exists():
        inside.check(path)
        return Run(path)
    state = trainer_state(path)
    if state is not None:
        return TrainerRun(path, state)
    what = "is no run folder: it has no journal.jsonl and no trainer_state.json" if path.is_dir() else "is not there"
    raise RunError(f"{path} {what}.", "wb.list_runs(folder) shows the runs of a folder.")


def trainer_state(folder: Path) -> Path | None:
    """The newest `trainer_state.json` in a Trainer's folder or its checkpoints."""
    if (folder / "trainer_state.json").exists():
        return folder / "trainer_state.json"
    found = [(int(m[1]), path) for path in folder.glob("checkpoint-*/trainer_state.json") if (m := re.match(r"checkpoint-(\d+)$", path.parent.name))]
    return max(found)[1] if found else None


class TrainerRun(Run):
    """A finished transformers Trainer folder, shown as a run; nothing in it is ever written."""

    def __init__(self, folder: Path, state_file: Path):
        super().__init__(folder)
        self.read_only = True
        try:
            state = json.loads(state_file.read_text())
        except ValueError as error:
            raise RunError(f"{state_file} is not JSON: {error}.", "It may have been cut short; take an earlier checkpoint's folder.") from error
        for event in events_of(state):
            self.history.apply(event)

    @property
    def recipe(self) -> Recipe:
        raise RunError(f"{self.name} was not started here, so it has no recipe.", "Its metrics are in run.metrics().")

    @property
    def status(self) -> Status:
        done = self.history.steps is None or self.history.step >= self.history.steps
        word = "finished" if done else "stopped"
        return Status(word, f"{word.capitalize()} at step {self.history.step} of {self.history.steps}; a Trainer's folder, only read.")

    @Run.note.setter  # type: ignore[attr-defined]
    def note(self, text: str) -> None:
        raise RunError(f"{self.name} is only read, so it takes no notes.")


def events_of(state: dict) -> list[ev.Event]:
    """A Trainer's `log_history` as events."""
    out: list[ev.Event] = []
    known = {"loss", "learning_rate", "grad_norm", "epoch", "step"}
    for entry in state.get("log_history", []):
        step = int(entry.get("step", 0))
        if "loss" in entry:
            extra = {k: float(v) for k, v in entry.items() if k not in known and isinstance(v, (int, float))}
            out.append(ev.Step(step=step, loss=entry["loss"], learning_rate=entry.get("learning_rate"), grad_norm=entry.get("grad_norm"),
                               epoch=entry.get("epoch"), extra=extra))
        elif "eval_loss" in entry:
            out.append(ev.Evaluated(step=step, loss=entry["eval_loss"], seconds=entry.get("eval_runtime", 0.0)))
    steps = state.get("max_steps") or None
    if steps:
        out.insert(0, ev.Prepared(rows=0, heldout_rows=0, dropped={}, truncated=0, tokens=0, trained_tokens=0, parameters=0, trainable_parameters=0,
                                  steps=int(steps)))
    return out
