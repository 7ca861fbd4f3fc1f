"""Whose turn it is, for people: the device's queue as a table, and `python -m workbench queue`. How turns are given out is in
`device_queue.py`."""

import argparse
import sys
import time
from typing import TYPE_CHECKING

from workbench import device_queue
from workbench.errors import RunError
from workbench.runs.attach import attach
from workbench.runs.run import Run

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("position", "person", "run", "state", "minutes", "folder")


def queue() -> "pd.DataFrame":
    """Everybody's runs that have the device or wait for it, in the order of their turns.

    position (0 has it, 1 is next), person, run, state ("on the device" or "waits"), minutes since it was asked for, folder.
    """
    import pandas as pd

    return pd.DataFrame(_rows(), columns=list(COLUMNS))


def _rows() -> list[dict[str, object]]:
    rows, waiting, now = [], 0, time.time()
    for ticket in device_queue.line():
        waiting += not ticket.turn
        rows.append({"position": 0 if ticket.turn else waiting, "person": device_queue.name_of(ticket), "run": ticket.run,
                     "state": "on the device" if ticket.turn else "waits",
                     "minutes": round(max(0.0, now - ticket.asked) / 60, 1), "folder": ticket.folder})
    return rows


def named(run: str) -> Run:
    """The run of a folder, or the one in the queue that has this name. Raises `RunError` where there is none, or more than one."""
    found = [row for row in _rows() if row["run"] == run and row["folder"]]
    if len(found) > 1:
        raise RunError(f"{len(found)} runs in the queue are called {run}.", "Give the folder of the one you mean.")
    return attach(str(found[0]["folder"]) if found else run)


# the command line --------------------------------------------------------------------------------------------------------------------


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the command to the command line."""
    waiting = commands.add_parser("queue", help="who waits for the device; move a run of yours up, or cancel it")
    what = waiting.add_subparsers(dest="what", metavar="ACTION")
    for name, words in (("up", "make it the next of your runs"),
                        ("cancel", "take it out of the queue; one that has the device stops after its step")):
        one = what.add_parser(name, help=words)
        one.add_argument("run", help="its folder, or its name in the queue")


def run(given: argparse.Namespace) -> int:
    if given.what == "up":
        named(given.run).move_up()
    elif given.what == "cancel":
        chosen = named(given.run)
        chosen.stop()
        print(f"{chosen.name} {chosen.wait(60).sentence[:1].lower()}{chosen.status.sentence[1:]}", file=sys.stderr)
    rows = _rows()
    print(table([{name: row[name] for name in COLUMNS[:-1]} for row in rows]) if rows else "Nothing has the device, and nothing waits.")
    return 0


def table(rows: list[dict[str, object]]) -> str:
    """Columns for a terminal; names of others' runs are text, so what would steer the terminal is shown as it is written."""
    import pandas as pd

    shown = [{name: "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(value)) for name, value in row.items()} for row in rows]
    return pd.DataFrame(shown).to_string(index=False)
