"""`python -m workbench town list|report|policies`: every data set of the town with a row of it, what fine-tuning does to the base models, and
what preferences make of them."""

import argparse
import json
import os
import signal
import sys
from collections.abc import Iterable

from workbench import town

ROW_CHARACTERS = 160


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the command to the command line."""
    about = commands.add_parser("town", help="the built-in world: its data sets, and what tuning does to its models")
    what = about.add_subparsers(dest="what", metavar="ACTION", required=True)
    what.add_parser("list", help="every data set with one row of it")
    report = what.add_parser("report", help="trains and measures (about an hour on 2 cores), prints tables")
    report.add_argument("--seeds", type=int, default=3, help="trainings of each kind (default 3)")
    report.add_argument("--only", nargs="+", choices=("habits", "methods", "amounts", "news"), help="these parts alone (default all)")
    policies = what.add_parser("policies", help="trains a reward model and policies, measures them, prints tables (about 15 minutes a seed on "
                                                "2 cores); what is trained already is not trained again")
    policies.add_argument("--seeds", type=int, default=3, help="seeds 0, 1, ... (default 3)")
    policies.add_argument("--seed", type=int, help="this seed alone; such commands may work on one folder side by side, each with a "
                                                   "WORKBENCH_QUEUE of its own")
    policies.add_argument("--runs", default="town-policies", help="the folder of its runs and results (default town-policies)")
    policies.add_argument("--only", default="", help="these policies alone, with commas between: dpo,ppo,grpo,free,base,best,ipo,kto,orpo,rrhf")
    policies.add_argument("--show", action="store_true", help="train nothing: print what is there")


def run(given: argparse.Namespace) -> int:
    try:
        if given.what == "policies":
            seeds = range(given.seeds) if given.seed is None else [given.seed]
            status = compared(seeds, given.runs, [name for name in given.only.split(",") if name], given.show)
        else:
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


def compared(seeds: Iterable[int], folder: str, only: list[str], show: bool) -> int:
    """The tables of policies; cut short (Ctrl+C, SIGTERM), those of what is there by then. Errors are a sentence and status 1."""
    from workbench.errors import WorkbenchError
    from workbench.evaluation import town_policies, town_policy_tables

    status = 0
    if not show:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            town_policies.train_all(folder, seeds, only, say=lambda line: print(line, file=sys.stderr, flush=True))
        except KeyboardInterrupt:
            print("Cut short; the same command goes on from here.", file=sys.stderr, flush=True)
            status = 130
        except WorkbenchError as error:
            print(error, file=sys.stderr, flush=True)
            status = 1
    for part in town_policy_tables.printed(folder):
        print(part, flush=True)
    return status
