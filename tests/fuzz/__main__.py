"""Every parser fuzzed for so many minutes: `python -m tests.fuzz --minutes 10`, printed as a table of examples tried and failures.

Each property runs in a process of its own whose memory is bounded, with fresh random examples; one that hangs ends its process with a
traceback of where. Failures are printed whole, shrunk. `--only rows journal` names some parsers.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import importlib
import resource
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

from tests.fuzz.profile import repeated

PARSERS = ("rows", "promptsource", "recipes", "journals", "commands", "templates")
MEMORY_BYTES = 3 * 2**30
"""Address space beyond what a process has when it begins: what a bomb takes in seconds."""


def properties(parser: str) -> tuple:
    return importlib.import_module(f"tests.fuzz.{parser}").PROPERTIES


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=10, help="for each parser (default 10)")
    parser.add_argument("--at-once", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--only", nargs="+", choices=PARSERS, default=PARSERS)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        return one(given.one[0], given.one[1], float(given.one[2]))
    work = [(name, found.__name__, 60 * given.minutes / len(properties(name))) for name in given.only for found in properties(name)]
    print("| parser | property | seconds | examples | peak MiB | result |\n|---|---|---:|---:|---:|---|", flush=True)
    failures = []
    with concurrent.futures.ThreadPoolExecutor(given.at_once) as pool:
        for (name, told, seconds), (examples, peak, said) in zip(work, pool.map(lambda job: in_process(*job), work), strict=True):
            print(
                f"| {name} | {told.replace('_', ' ')} | {seconds:.0f} | {examples} | {peak} | {'failed, see below' if said else 'held'} |",
                flush=True,
            )
            failures += [f"\n--- {name}, {told}\n{said}"] if said else []
    print("\n".join(failures))
    return int(bool(failures))


def in_process(name: str, told: str, seconds: float) -> tuple[str, str, str]:
    """Examples tried, the process's peak memory in MiB ("-" where it did not live to tell), and what it said where it failed."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "--one", name, told, str(seconds)], capture_output=True, text=True, check=False
    )
    *said, last = done.stdout.strip().splitlines() or [""]
    if done.returncode == 0:
        examples, peak = last.split()
        return f"{int(examples):,}", peak, ""
    return "-", "-", "\n".join([*said, last, done.stderr.strip()[-6000:], f"exit status {done.returncode}"])


def one(name: str, told: str, seconds: float) -> int:
    """One property in this process: prints how many examples were tried and the peak memory, or the failure."""
    check = next(found for found in properties(name) if found.__name__ == told)
    with tempfile.TemporaryDirectory() as folder:
        repeated(check, Path(folder), 1.0)  # imports what it needs before the bound
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES,) * 2)
        try:
            tried = repeated(check, Path(folder), seconds)
        except BaseException:  # noqa: BLE001 (an ExceptionGroup of several failures too: all of it is the result)
            print(traceback.format_exc()[-6000:])
            return 1
    print(tried, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 2**10)
    return 0


if __name__ == "__main__":
    sys.exit(main())
