"""The command line: `python -m workbench train|runs|replay|queue|clean|town`.

The progress bar and plain lines go to standard error; the run folder is the last line of standard output. Exit status 0 only if the run finished
(`train`) or every loss is the same (`replay`).
"""

import argparse
import dataclasses
import math
import sys
from pathlib import Path
from typing import Any, NoReturn

from workbench.errors import RunError, WorkbenchError
from workbench.evaluation import town_command
from workbench.launching import STRATEGIES, Launch
from workbench.models.methods import METHODS
from workbench.runs import cleaning, turns

RUNS = "runs"
"""Where runs are unless another folder is named; the first run makes it."""


class Parser(argparse.ArgumentParser):
    """One sentence and exit status 1 for arguments that cannot be read, as for those that cannot work."""

    def error(self, message: str) -> NoReturn:
        self.exit(1, f"{message[:1].upper()}{message[1:]}. {self.prog} --help says what there is.\n")


def parser() -> argparse.ArgumentParser:
    top = Parser(prog="python -m workbench", description="Fine-tune language models; every run is a folder.")
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    train = commands.add_parser("train", help="train a model and wait for the end")
    train.add_argument("--model", default="town", help='"town", a model folder or a hub id (default: %(default)s)')
    train.add_argument("--data", default="town:instructions", help='"town:NAME", a file of rows or a hub id (default: %(default)s)')
    train.add_argument("--objective", default="sft", help="what is learned: sft, pretraining or classification (default: %(default)s)")
    train.add_argument("--method", default="lora", choices=sorted(METHODS), help="which weights are trained (default: %(default)s)")
    train.add_argument("--rank", type=int, help="of lora and qlora (default: 8)")
    train.add_argument("--alpha", type=float, help="of lora and qlora (default: twice the rank)")
    for name, kind, words in (
        ("steps", int, "optimizer steps in all (default: 200, unless --epochs is given)"),
        ("epochs", float, "passes over the rows, in place of --steps (default: none)"),
        ("learning-rate", float, "the schedule's peak (default: 0.0003)"),
        ("batch-size", int, "rows a forward pass (default: 8)"),
        ("gradient-accumulation", int, "forward passes a step (default: 1)"),
        ("max-length", int, "tokens; longer rows are cut and counted (default: 512)"),
        ("schedule", str, "of the learning rate: constant, linear or cosine (default: cosine)"),
        ("evaluate-every", int, "steps between evaluations (default: a tenth of the run)"),
        ("checkpoint-every", int, "steps between checkpoints (default: a tenth of the run)"),
        ("keep-checkpoints", int, "how many of the last ones stay on disk (default: 4)"),
        ("seed", int, "of the rows' order, dropout and new weights (default: 0)"),
    ):
        train.add_argument(f"--{name}", type=kind, help=words)
    train.add_argument("--processes", type=int, help="processes of this machine, each with --batch-size rows (default: one)")
    train.add_argument("--strategy", choices=STRATEGIES, help="how they share the model (default: ddp, which copies it)")
    train.add_argument("--packing", action="store_true", default=None, help="several rows in one of the maximum length (default: off)")
    train.add_argument("--heldout", help="rows never trained on: a share below 1, or another source (default: 0.1)")
    train.add_argument("--runs", default=RUNS, help="folder of runs (default: %(default)s)")
    train.add_argument("--name", help="ends the run folder's name (default: made from model and method)")
    listing = commands.add_parser("runs", help="list the runs of a folder")
    listing.add_argument("runs", nargs="?", default=RUNS, help="folder of runs (default: %(default)s)")
    replay = commands.add_parser("replay", help="run it again with its live changes and compare every loss")
    replay.add_argument("run", help="folder of the run")
    turns.add(commands)  # type: ignore[arg-type]
    cleaning.add(commands)  # type: ignore[arg-type]
    town_command.add(commands)  # type: ignore[arg-type]
    return top


def main(arguments: list[str] | None = None) -> int:
    top = parser()
    given = top.parse_args(arguments)
    if given.command is None:
        top.print_help()
        return 0
    try:
        return {"train": train, "runs": runs, "replay": replay, "queue": turns.run, "clean": cleaning.run, "town": town_command.run}[given.command](given)
    except WorkbenchError as error:
        print(error, file=sys.stderr)
        return 1


def train(given: argparse.Namespace) -> int:
    from workbench.recipes import Recipe
    from workbench.runs.start import start

    method: dict[str, Any] = {"name": given.method}
    for name in ("rank", "alpha"):
        if getattr(given, name) is not None:
            if name not in (field.name for field in dataclasses.fields(METHODS[given.method])):
                raise WorkbenchError(f"--{name} belongs to --method lora, not {given.method}.", "Leave it out.")
            method[name] = getattr(given, name)
    names = ("model", "data", "objective", "steps", "epochs", "learning_rate", "batch_size", "gradient_accumulation", "max_length", "packing",
             "schedule", "evaluate_every", "checkpoint_every", "keep_checkpoints", "seed")
    fields = {name: getattr(given, name) for name in names if getattr(given, name) is not None}
    if given.processes is not None or given.strategy is not None:
        fields["launch"] = Launch(**{name: getattr(given, name) for name in ("processes", "strategy") if getattr(given, name) is not None})
    if given.heldout is not None:
        fields["heldout"] = _share_or_source(given.heldout)
    run = start(Recipe(method=method, **fields), runs=given.runs, name=given.name)
    try:
        follow(run)
    except KeyboardInterrupt:
        print("\nStopping after this step; what was learned is kept. (Press again to leave it running.)", file=sys.stderr)
        try:
            run.stop()
            run.wait()
        except KeyboardInterrupt:
            print("Left running.", file=sys.stderr)
    status = run.status
    print(status.sentence if status == "finished" else repr(status), file=sys.stderr)
    print(run.folder)
    return 0 if status == "finished" else 1


def _share_or_source(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def follow(run: Any) -> None:
    """Show a run until it ends: a bar on a terminal, else a line at each evaluation and at a twentieth of the steps."""
    import time

    from tqdm import tqdm

    from workbench.runs.status import LIVING

    bar = tqdm(unit="step", disable=not sys.stderr.isatty(), file=sys.stderr, dynamic_ncols=True)
    shown = evaluations = notes = 0
    paused, waiting = False, ""
    while True:
        status, history = run.status, run.history
        if status == "queued" and status.sentence != waiting:
            waiting = status.sentence
            tqdm.write(f"{waiting} A paused run keeps its place until it is resumed or stopped.", file=sys.stderr)
        if history.prepared and not notes:
            notes = 1
            for sentence in history.prepared.notes:
                tqdm.write(sentence, file=sys.stderr)
            for reason, count in history.prepared.dropped.items():
                tqdm.write(f"{count} rows dropped: {reason}.", file=sys.stderr)
        if history.steps:
            bar.total = history.steps
        bar.n = history.step
        if losses := history.columns["loss"]:
            bar.set_postfix(loss=_number(losses[-1], 3), refresh=False)
        bar.refresh()
        if bar.disable and history.step > shown and history.step - shown >= max(1, (history.steps or 20) // 20):
            print(f"step {history.step} of {history.steps}  loss {_number(losses[-1])}", file=sys.stderr, flush=True)
            shown = history.step
        for event in history.evaluations[evaluations:]:
            scored = f"  accuracy {_number(event.extra['accuracy'])}" if "accuracy" in event.extra else ""
            tqdm.write(f"step {event.step}  held-out loss {_number(event.loss)}{scored}", file=sys.stderr)
        evaluations = len(history.evaluations)
        if status == "paused" and not paused:
            resume = f"python -c \"import workbench as wb; wb.attach({str(run.folder)!r}).resume()\""
            tqdm.write(f"paused at step {history.step}; resume with {resume}", file=sys.stderr)
        paused = status == "paused"
        if status not in LIVING:
            break
        time.sleep(0.1)
    bar.close()


def _number(value: float | None, digits: int = 4) -> str:
    """A loss as text; the journal keeps one that is not finite as null."""
    return "not a number" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def runs(given: argparse.Namespace) -> int:
    import pandas as pd

    from workbench.legible import letters
    from workbench.runs.listing import in_passing, row_of, run_folders

    if given.runs != RUNS and not Path(given.runs).expanduser().is_dir():
        raise RunError(f"There is no folder {given.runs}.", "Name the folder that holds the run folders.")
    rows = [row_of(in_passing(folder)) for folder in run_folders(given.runs)]
    if not rows:
        print(f"No runs in {given.runs}.", file=sys.stderr)
        return 0
    names = ("name", "objective", "status", "step", "steps", "loss", "heldout_loss", "parent", "note", "reason")
    def cell(name: str, value: Any) -> str:
        return "" if value is None else _number(value) if name.endswith("loss") else " ".join(letters(value, 120).split())

    shown = [{name: cell(name, row[name]) for name in names} for row in rows]
    print(pd.DataFrame(shown).to_string(index=False))
    return 0


def replay(given: argparse.Namespace) -> int:
    from workbench.runs.attach import attach
    from workbench.runs.fork import replay

    result = replay(attach(given.run))
    print(result.sentence, file=sys.stderr)
    print(result.run.folder)
    return 0 if result.same else 1


if __name__ == "__main__":
    sys.exit(main())
