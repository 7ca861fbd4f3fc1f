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

from workbench import launching
from workbench.alignment import reward_sources
from workbench.errors import RunError
from workbench.journal import commands as cmd
from workbench.journal import events as ev
from workbench.journal import inside
from workbench.journal.history import History
from workbench.journal.log import Log, Tail
from workbench.recipes import LIVE, check_live, live_value
from workbench.runs import folders, processes, quotas
from workbench.runs.run import Run

LINE = "Start its recipe anew with wb.launch_command(run.recipe, runs), and type what it says on each."
COPIED = (ev.Step, ev.Evaluated, ev.Sampled, ev.Replied, ev.Arrays, ev.Changed)


def fork(parent: Run, step: int | None, name: str | None, changes: dict[str, Any]) -> Run:
    """See `Run.fork`. Live settings in `changes` take effect at `step`; a fork cannot change anything else, since it goes on with the parent's optimizer."""
    if parent.read_only:
        raise RunError(f"{parent.name} is only read, so it has no checkpoints to fork.", "Start a run from its model folder instead.")
    parent.check_known()  # says so, too, where a run has no recipe to go on with
    launching.one_machine(parent.recipe.launch, LINE)
    fixed = sorted(set(changes) - set(LIVE))
    if fixed:
        raise RunError(f"A fork cannot change {fixed[0]}: it goes on with its parent's model and optimizer.",
                       f"It can change {', '.join(LIVE)}; for others use wb.start(run.recipe.replace({fixed[0]}=...)).")
    changes = {name: live_value(value) for name, value in changes.items()}
    if changes:
        check_live(changes, parent.sources, parent.recipe)
    parent.history.refresh()
    done = parent.history.step
    step = done if step is None else step
    if not 0 <= step <= done:
        raise RunError(f"{parent.name} cannot be forked at step {step}: it has done {done}.", f"Give a step from 0 to {done}.")
    if step == parent.history.steps:
        raise RunError(f"{parent.name} has done all of its {step} steps, so a fork from there has none left.", "Give an earlier step, such as "
                       f"step={step // 2}; to train for longer use wb.start(run.recipe.replace(steps=...)).")
    quotas.check(parent.recipe, parent.folder.parent)
    with folders.making(parent.folder.parent, name or _fork_name(parent, changes)) as child:
        _share_asked(parent.folder, child)
        start = _share_checkpoint(parent.folder, step, child / "start")
        best = min((e for e in parent.history.evaluations if e.step <= start and e.loss is not None), key=lambda e: e.loss, default=None)
        if parent.recipe.keep_best and best is not None:  # it may stay the best
            _share_checkpoint(parent.folder, best.step, child / "checkpoints", exactly=True)
        _copy_events(parent, child, start, ev.Forked(parent=str(parent.folder), step=step, checkpoint=start))
        again = [(c.step, {c.field: c.new}) for c in parent.history.changes if start <= c.step < step]
        _ask(child, again + ([(step, changes)] if changes else []))
    processes.spawn(child)
    return Run(child)


def nearest_checkpoint(folder: Path, step: int) -> tuple[int, Path] | None:
    """`(step, folder)` of the last whole checkpoint at or before `step`; None where training starts from the beginning."""
    found = [(int(path.name.removeprefix("step-")), path) for part in ("checkpoints", "start") for path in (folder / part).glob("step-*")
             if path.name.removeprefix("step-").isdecimal()]
    return max((item for item in found if item[0] <= step), default=None)


def _share_checkpoint(folder: Path, step: int, target: Path, exactly: bool = False) -> int:
    """Link the nearest checkpoint at or before `step` (or only that very one) into `target`; returns its step, 0 where there is none.

    A running worker removes old checkpoints: one that goes while it is linked is given up for the next older one.
    """
    while (found := nearest_checkpoint(folder, step)) is not None and (found[0] == step or not exactly):
        try:
            _share(found[1], target / found[1].name)
            return found[0]
        except (FileNotFoundError, shutil.Error):
            shutil.rmtree(target / found[1].name, ignore_errors=True)
            step = found[0] - 1 if found[1].exists() else step
    return 0


def _fork_name(parent: Run, changes: dict[str, Any]) -> str:
    short = {"learning_rate": "lr", "evaluate_every": "eval"}
    base = folders.undated(parent.name)
    return "-".join([base, *(f"{short.get(k, k)}{'' if isinstance(v, dict) else 'none' if v is None else format(v, 'g')}" for k, v in changes.items())]) if changes else base + "-fork"


def _share(source: Path, target: Path) -> None:
    """The same files under another name."""
    shutil.copytree(source, target, copy_function=_link)


def _share_file(folder: Path, target: Path, name: str) -> bool:
    """The file `name` of a run folder in another; False where there is none. Writers put a new file in its place, so the first stays."""
    source, copy = inside.inside(folder, name), inside.inside(target, name)
    if source is None or copy is None or not source.is_file():
        return False
    copy.parent.mkdir(parents=True, exist_ok=True)
    _link(str(source), str(copy))
    return True


def _link(a: str, b: str) -> None:
    """A hard link, or a copy where the file system has none."""
    try:
        os.link(a, b)
    except OSError:
        shutil.copy2(a, b)


def _share_asked(folder: Path, target: Path) -> None:
    """The recipe with its rows, and the functions that reward replies."""
    _share(folder / "data", target / "data")
    if (folder / reward_sources.FOLDER).is_dir():
        _share(folder / reward_sources.FOLDER, target / reward_sources.FOLDER)
    shutil.copy2(folder / "recipe.json", target / "recipe.json")


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
        key = (event.kind, event.step, event.name if isinstance(event, ev.Arrays) else getattr(event, "prompt", getattr(event, "field", "")))
        kept.pop(key, None)
        kept[key] = event
    kept = {key: event for key, event in kept.items() if not isinstance(event, ev.Arrays) or _share_file(parent.folder, child, event.file)}
    for event in sorted(kept.values(), key=lambda e: e.step):  # type: ignore[attr-defined]
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
    """Run it again with its live changes, in a folder beside it, and compare every loss bit for bit (CPU, fp32).

    Also compared: learning rates, gradient norms and held-out losses. Of a fork only the steps past its starting checkpoint are run again; those before it are
    compared with its parent's journal, where that is still there.
    """
    if original.read_only:
        raise RunError(f"{original.name} is only read, so it cannot be run again.", "Replay a run that workbench started.")
    original.check_known()  # says so, too, where it has no recipe
    launching.one_machine(original.recipe.launch, LINE)
    history = History(original.folder)
    history.refresh()
    if history.step == 0:
        raise RunError(f"{original.name} has no steps to compare.", "Replay a run that has trained.")
    again = _start_again(original, history)
    again.wait(timeout)
    if again.status not in ("finished", "stopped"):
        raise RunError(f"The replay did not finish: {again.status.sentence}", again.status.remedy)
    again.history.refresh()
    return compare(history, again, _start_of(original))


def _start_again(original: Run, history: History) -> Run:
    with folders.making(original.folder.parent, folders.undated(original.name) + "-replay") as folder:
        _share_asked(original.folder, folder)
        start = 0
        if (original.folder / "start").exists():
            _share(original.folder / "start", folder / "start")
            start = _start_of(original)
            _copy_events(original, folder, start, ev.Forked(parent=history.forked.parent if history.forked else "", step=start, checkpoint=start))
        _ask(folder, [(c.step, {c.field: c.new}) for c in history.changes if c.step >= start])
        # where the run says it ended, not the last step it has a loss of: a journal whose last lines were taken out is not the same
        last = max(history.step, history.ended.step if history.ended else 0)
        if history.ended is None or history.ended.status != "finished" or (history.steps and last < history.steps):
            cmd.send(folder, cmd.Stop(at_step=last))
    processes.spawn(folder, asked=0)
    return Run(folder)


def _start_of(run: Run) -> int:
    """The step of the checkpoint a run was forked with; 0 where it began at the beginning."""
    return max((int(path.name.removeprefix("step-")) for path in (run.folder / "start").glob("step-*")), default=0)


COMPARED = ("loss", "learning_rate", "grad_norm")


def compare(history: History, again: Run, start: int = 0) -> Replay:
    """`history` against what `again` made of it; what the journal should hold and does not counts as a difference."""
    sentence = ""
    if start and history.forked and (Path(history.forked.parent) / "journal.jsonl").exists():
        parent = History(history.forked.parent)
        parent.refresh()
        found = _first_difference(history, parent, 0, start, "parent's journal")
        if found:
            return Replay(again, False, *found)
        sentence = f" The {start} before them are the parent's."
    elif start:
        sentence = f" The {start} before them were not run again, and the parent is gone."
    found = _first_difference(history, again.history, start, None, "replay")
    if found:
        return Replay(again, False, *found)
    if history.damaged:
        return Replay(again, False, None, f"{history.damaged} lines of the journal are damaged, though every loss that can be read is the same.")
    count = len(history.columns["step"]) - start
    return Replay(again, True, None, f"All {count} losses are the same.{sentence}")


def _first_difference(history: History, other: History, after: int, upto: int | None, name: str) -> tuple[int, str] | None:
    """The first step in (after, upto] at which the two differ, and a sentence."""
    first, second = (_values(h, after, upto) for h in (history, other))
    for step in sorted(first.keys() | second.keys()):
        if step not in first or step not in second:
            return step, f"Step {step} is missing in the {'journal' if step not in first else name}."
        for what, a in first[step].items():
            b = second[step].get(what, math.nan)
            if a != b and not (math.isnan(a) and math.isnan(b)):
                words = {"loss": "Losses differ"}.get(what, f"The {what.replace('_', ' ')} differs")
                return step, f"{words} from step {step} on: {a!r} in the journal, {b!r} in the {name}."
        if second[step].keys() - first[step].keys():
            return step, f"An evaluation at step {step} is missing in the journal."
    return None


def _values(history: History, after: int, upto: int | None) -> dict[int, dict[str, float]]:
    """step -> what is compared there."""
    out = {int(step): {name: history.columns[name][row] for name in COMPARED} for row, step in enumerate(history.columns["step"])}
    for event in history.evaluations:
        out.setdefault(event.step, {})["held-out_loss"] = math.nan if event.loss is None else event.loss
    return {step: values for step, values in out.items() if after < step <= (math.inf if upto is None else upto)}
