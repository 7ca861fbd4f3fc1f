"""`python -m tests.hosts [NAME ...] [--link loopback slow]`: the panels in every host that is installed, printed as the tables of docs/hosts.md.

Trains a small run to its end and another that is paused, once; each host opens a document of four panels on them and a person's ways are
gone through (`visit.py`). Hosts that are not installed are named with the line to type. Pictures lie in build/screens/hosts. Does not
judge: a check that fails is printed as it is, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Error, sync_playwright

from tests.browser.lab import FLAGS, SCREENS
from tests.hosts.servers import HOSTS, Host, Missing, check, opened
from tests.hosts.visit import Seen, Visit, cells

VIEWPORT = {"width": 1400, "height": 1000}


def runs(folder: Path) -> tuple[Path, Path]:
    """A finished run, and one paused after 40 steps."""
    import workbench as wb

    recipe = wb.Recipe(model="town-small", data="town:facts", method=wb.LoRA(rank=6), learning_rate=3e-3, steps=60, batch_size=4, max_length=64,
                       heldout=0.05, sample_prompts=2, evaluate_every=30, checkpoint_every=10**6)
    wb.standby()
    finished = wb.start(recipe, runs=folder, name="finished")
    print("a run:", finished.wait(300), flush=True)
    living = wb.start(recipe.replace(steps=100_000, evaluate_every=10_000), runs=folder, name="living")
    living.pause(at_step=40)
    print("a living run:", living.wait(300, until="paused"), flush=True)
    return finished.folder, living.folder


def visited(host: Host, link: str, finished: Path, living: Path, folder: Path) -> Seen:
    screens = SCREENS / "hosts"
    screens.mkdir(parents=True, exist_ok=True)
    before = os.getloadavg()[0]
    with opened(host, folder, cells(finished, living, host.page)) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), headless=True, args=FLAGS)
        try:
            visit = Visit(host, link, browser.new_context(viewport=VIEWPORT).new_page(), address, screens)
            try:
                visit.open()
                visit.picture("opened")
                if link == "loopback":
                    visit.use()
            except Error as error:
                visit.seen.errors.append(" ".join(str(error).split())[:200])
            visit.seen.load = before, os.getloadavg()[0]
            return visit.seen
        finally:
            browser.close()


def times(seen: Seen) -> str:
    """A line of the first table."""
    def panel(place: int) -> str:
        if place not in seen.live_s:
            return "- | - | -"
        return f"{seen.readable_s[place]:.1f} | {seen.live_s[place]:.1f} | {seen.received[place].all / 1e3:,.0f}".replace(",", "\u202f")

    page = f"{seen.opened_s:.1f} s, {seen.opened.all / 1e6:.1f} MB" if seen.opened_s else "in the next"
    return f"| {seen.host.title} | {seen.link} | {seen.load[0]:.0f}, {seen.load[1]:.0f} | {page} | {panel(0)} | {panel(1)} |"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hosts", description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(host.name for host in HOSTS))
    parser.add_argument("--link", nargs="*", default=["loopback", "slow"], choices=["loopback", "slow"])
    asked = parser.parse_args()
    missing = set(asked.names) - {host.name for host in HOSTS}
    if missing:
        parser.error(f"no host {', '.join(sorted(missing))}; there are {', '.join(host.name for host in HOSTS)}")
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
    all_seen, bad = [], 0
    with tempfile.TemporaryDirectory(prefix="workbench-hosts-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        os.environ.setdefault("WORKBENCH_QUEUE", str(folder / "queue"))
        finished, living = runs(folder / "runs")
        try:
            for host in HOSTS:
                if asked.names and host.name not in asked.names:
                    continue
                try:
                    check(host)
                except Missing as error:
                    print(error, flush=True)
                    continue
                for link in asked.link:
                    seen = visited(host, link, finished, living, folder / f"{host.name}-{link}")
                    all_seen.append(seen)
                    print(times(seen), flush=True)
                    print(f"    policy of the page: {seen.policy or 'none'}; errors: {seen.errors or 'none'}", flush=True)
                    bad += bool(seen.errors) or any(result.startswith("no") for result in seen.checks.values())
        finally:
            import workbench as wb

            wb.attach(living).stop()
    print("\n| host | link | load before, after | page until the kernel is idle | 1st panel readable, s | live, s | kB | 2nd panel readable, s | live, s | kB |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    print("\n".join(map(times, all_seen)))
    return min(bad, 1)


if __name__ == "__main__":
    sys.exit(main())
