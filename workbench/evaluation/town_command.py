"""`python -m workbench town list|report`: every data set of the town with a row of it, and what fine-tuning does to the base models."""

import argparse
import json
import os
import sys

from workbench import town

ROW_CHARACTERS = 160


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the command to the command line."""
    about = commands.add_parser("town", help="the built-in world: its data sets, and what tuning does to its models")
    what = about.add_subparsers(dest="what", required=True)
    what.add_parser("list", help="every data set with one row of it")
    report = what.add_parser("report", help="trains and measures (about an hour on 2 cores), prints tables")
    report.add_argument("--seeds", type=int, default=3, help="trainings of each kind (default 3)")
    report.add_argument("--only", nargs="+", choices=("habits", "methods", "amounts", "news"), help="these parts alone (default all)")


def run(given: argparse.Namespace) -> int:
    try:
        status = listed() if given.what == "list" else reported(given.seeds, given.only)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # the reader has seen enough (`| head`): nothing is wrong, and what is still buffered goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def listed() -> int:
    """Two lines a data set: its name, number of rows and meaning, and its first row as JSON, cut to fit a line."""
    for name, made in town.SETS.items():
        rows = made.make()
        row = json.dumps(rows[0], ensure_ascii=False)
        print(f"town:{name}  ({len(rows)} rows)  {made.what}")
        print(f"    {row[:ROW_CHARACTERS]}{'...' if len(row) > ROW_CHARACTERS else ''}")
    return 0


def reported(seeds: int, only: list[str] | None) -> int:
    from workbench.evaluation.town_report import SECTIONS, report

    for part in report(range(seeds), only or tuple(SECTIONS), say=lambda line: print(line, file=sys.stderr, flush=True)):
        print(part, flush=True)
    return 0
