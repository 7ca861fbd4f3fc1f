"""Forks and replays: new runs whose changes are known beforehand.

Both are ordinary runs. What happened to the parent up to the starting checkpoint is copied (its journal's events; its checkpoint by hard links, so the parent's files
stay as they are and may be deleted); what happened after is asked for again as commands with `at_step`.
"""

import math
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.errors import RunError
from workbench.journal import commands as cmd
from workbench.journal import events as ev
from workbench.journal.history import History
from workbench.journal.log import Log, Tail
from workbench.recipes import LIVE, check_live
from workbench.runs import processes
from workbench.runs.run import Run
from workbench.runs.start import new_folder

COPIED = (ev.Step, ev.Evaluated, ev.Sampled, ev.Changed)


def fork(parent: Run, step: int | None, name: str | None, changes: dict[str, Any]) -> Run:
    """See `Run.fork`. Live settings in `changes` take effect at `step`; a fork cannot change anything else, since it goes on with the parent's optimizer."""
    if parent.read_only:
        raise RunError(f"{parent.name} is only read, so it has no checkpoints to fork.", "Start a run from its model folder instead.")
    parent.recipe  # a run without one cannot go on here; says so
    fixed = sorted(set(changes) - set(LIVE))
    if fixed:
        raise RunError(f"A fork cannot change {fixed[0]}: it goes on with its parent's model and optimizer.",
                       f"It can change {', '.join(LIVE)}; for others use wb.start(run.recipe.replace({fixed[0]}=...)).")
    if changes:
        check_live(changes)
    parent.history.refresh()
    done = parent.history.step
    step = done if step is None else step
    if not 0 <= step <= done:
        raise RunError(f"{parent.name} cannot be forked at step {step}: it has done {done}.", f"Give a step from 0 to {done}.")
    checkpoint = nearest_checkpoint(parent.folder, step)
    child = new_folder(parent.folder.parent, name or _fork_name(parent, changes))
    _share(parent.folder / "data", child / "data")
    shutil.copy2(parent.folder / "recipe.json", child / "recipe.json")
    if checkpoint is not None:
        _share(checkpoint[1], child / "start" / checkpoint[1].name)
    start = checkpoint[0] if checkpoint else 0
    _copy_events(parent, child, start, ev.Forked(parent=str(parent.folder), step=step, checkpoint=start))
    again = [(c.step, {c.field: c.new}) for c in parent.history.changes if start <= c.step < step]
    _ask(child, again + ([(step, changes)] if changes else []))
    processes.spawn(child)
    return Run(child)


def nearest_checkpoint(folder: Path, step: int) -> tuple[int, Path] | None:
    """`(step, folder)` of the last whole checkpoint at or before `step`; None where training starts from the beginning."""
    found = [(int(path.name.removeprefix("step-")), path) for part in ("checkpoints", "start") for path in (folder / part).glob("step-*")]
    return max((item for item in found if item[0] <= step), default=None)


def _fork_name(parent: Run, changes: dict[str, Any]) -> str:
    short = {"learning_rate": "lr", "evaluate_every": "eval"}
    base = parent.name.split("-", 3)[-1] if parent.name[:2] == "20" else parent.name
    return "-".join([base, *(f"{short.get(k, k)}{v:g}" for k, v in changes.items())]) if changes else base + "-fork"


def _share(source: Path, target: Path) -> None:
    """The same files under another name: hard links, or copies where the file system has none."""
    def link(a: str, b: str) -> None:
        try:
            os.link(a, b)
        except OSError:
            shutil.copy2(a, b)

    shutil.copytree(source, target, copy_function=link)


def _copy_events(parent: Run, child: Path, start: int, forked: ev.Forked) -> None:
    """The parent's curves up to the checkpoint, as they stand after any resumption, so that the child shows them whole."""
    history, events = parent.history, []
    log = Log(child / "journal.jsonl")
    for line in Tail(parent.folder / "journal.jsonl").read():
        try:
            event = ev.decode(line)
        except ValueError:
            continue
        if isinstance(event, COPIED) and (event.step < start or (event.step == start and not isinstance(event, ev.Changed))):
            events.append(event)
    kept: dict[tuple[str, int, str], ev.Event] = {}
    for event in events:  # a step run twice counts once, as it was run last
        key = (event.kind, event.step, getattr(event, "prompt", getattr(event, "field", "")))
        kept.pop(key, None)
        kept[key] = event
    for event in sorted(kept.values(), key=lambda e: (e.step, e.time)):
        log.write(ev.encode(event))
    forked.time = history.last_time
    log.write(ev.encode(forked))
    log.close()


def _ask(folder: Path, changes: list[tuple[int, dict[str, Any]]]) -> None:
    for step, values in changes:
        cmd.send(folder, cmd.Set(values=values, at_step=step))


@dataclass(slots=True)
class Replay:
    """How a replay compares: `same`, or the first step that differs with both losses; `sentence` says it."""

    run: Run
    same: bool
    step: int | None
    sentence: str


def replay(original: Run, timeout: float | None = None) -> Replay:
    """Run it again with its live changes, in a folder beside it, and compare every loss bit for bit (CPU, fp32)."""
    if original.read_only:
        raise RunError(f"{original.name} is only read, so it cannot be run again.", "Replay a run that workbench started.")
    original.recipe  # says so where there is none
    history = History(original.folder)
    history.refresh()
    if history.step == 0:
        raise RunError(f"{original.name} has no steps to compare.", "Replay a run that has trained.")
    again = _start_again(original, history)
    again.wait(timeout)
    if again.status not in ("finished", "stopped"):
        raise RunError(f"The replay did not finish: {again.status.sentence}", again.status.remedy)
    again.history.refresh()
    return compare(history, again)


def _start_again(original: Run, history: History) -> Run:
    folder = new_folder(original.folder.parent, original.name.split("-", 3)[-1] + "-replay")
    _share(original.folder / "data", folder / "data")
    shutil.copy2(original.folder / "recipe.json", folder / "recipe.json")
    start = 0
    if (original.folder / "start").exists():
        _share(original.folder / "start", folder / "start")
        start = max(int(path.name.removeprefix("step-")) for path in (folder / "start").glob("step-*"))
        _copy_events(original, folder, start, ev.Forked(parent=history.forked.parent if history.forked else "", step=start, checkpoint=start))
    _ask(folder, [(c.step, {c.field: c.new}) for c in history.changes if c.step >= start])
    # where the run says it ended, not the last step it has a loss of: a journal whose last lines were taken out is not the same
    last = max(history.step, history.ended.step if history.ended else 0)
    if history.ended is None or history.ended.status != "finished" or (history.steps and last < history.steps):
        cmd.send(folder, cmd.Stop(at_step=last))
    processes.spawn(folder, asked=0.0)
    return Run(folder)


def compare(history: History, again: Run) -> Replay:
    """Every loss of `history` against `again`'s; what the journal should hold and does not counts as a difference."""
    first, second = ({int(s): loss for s, loss in zip(h.columns["step"], h.columns["loss"], strict=True)} for h in (history, again.history))
    for step in range(1, max(max(first, default=0), max(second, default=0)) + 1):
        a, b = first.get(step), second.get(step)
        if a is None and b is None:
            continue
        if a is None or b is None:
            where = "journal" if a is None else "replay"
            return Replay(again, False, step, f"Step {step} is missing in the {where}.")
        if a != b and not (math.isnan(a) and math.isnan(b)):
            return Replay(again, False, step, f"Losses differ from step {step} on: {a!r} in the journal, {b!r} in the replay.")
    if history.damaged:
        return Replay(again, False, None, f"{history.damaged} lines of the journal are damaged, though every loss that can be read is the same.")
    return Replay(again, True, None, f"All {len(first)} losses are the same.")
