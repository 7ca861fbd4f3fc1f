"""What a person does in a host: opens the document, runs its cells, moves a slider, presses a button, opens the code, loads the page again.

Every check is a line (name, what was seen); one that fails says what failed and the visit goes on, so that the table shows all of it.
The panels of the document, in order, are PANELS.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

from playwright.sync_api import Error, Page

from tests.hosts.servers import Host
from tests.hosts.watching import Bytes, Watch

PANELS = ("finished run", "living run", "TemplateBuilder", "RankExplorer")
PATIENCE_MS = 300_000
"""For one thing: a machine that does other work needs most of it, and the slow link some."""
KERNEL_IDLE = """() => { const panel = globalThis.jupyterapp?.shell?.currentWidget;
    return panel?.content?.widgets?.length && panel.sessionContext?.session?.kernel?.status === "idle"; }"""


def cells(finished: Path, living: Path, page: str) -> list[str]:
    """The document's cells, one panel each; for marimo every name stands in one cell."""
    imports = "import workbench as wb\nfrom widgets import RankExplorer, RunMonitor, TemplateBuilder"
    panels = [f"RunMonitor(wb.attach({str(finished)!r}))", f"RunMonitor(wb.attach({str(living)!r}))", "TemplateBuilder('town:letters')",
              f"RankExplorer(wb.attach({str(finished)!r}))"]
    if page == "marimo":
        return [f"{imports}\n{panels[0]}", *(f"import workbench as _wb\nfrom widgets import {panel.split('(')[0]} as _Panel\n"
                                             + panel.replace(panel.split("(")[0], "_Panel", 1).replace("wb.", "_wb.") for panel in panels[1:])]
    return [f"{imports}\n{panels[0]}", *panels[1:]]


@dataclass
class Seen:
    """Times in s, bytes received."""
    host: Host
    link: str
    opened_s: float = 0.0
    opened: Bytes = field(default_factory=Bytes)
    readable_s: dict[int, float] = field(default_factory=dict)
    live_s: dict[int, float] = field(default_factory=dict)
    received: dict[int, Bytes] = field(default_factory=dict)
    checks: dict[str, str] = field(default_factory=dict)
    policy: str = ""
    load: tuple[float, float] = (0.0, 0.0)
    """Programs that ran or waited for a core, of the minute before the visit and of its last minute (`os.getloadavg`)."""
    errors: list[str] = field(default_factory=list)


class Visit:
    def __init__(self, host: Host, link: str, page: Page, address: str, screens: Path) -> None:
        self.host, self.page, self.address, self.screens = host, page, address, screens
        self.seen, self.watch = Seen(host, link), Watch(page, link)
        page.set_default_timeout(PATIENCE_MS)

    # ---- opening and running

    def open(self) -> None:
        """To a page whose kernel is idle, or, where opening runs all, to its last panel."""
        begun = self._now()
        if self.host.name == "hub":  # signs in; the hub starts the person's server and leads to the document
            hub, document = self.address.split("/user/")
            spawn = "/hub/spawn?" + urlencode({"next": f"/user/{document}"})
            self.page.goto(f"{hub}/hub/login?" + urlencode({"next": spawn}), wait_until="commit")
            self.page.fill("#username_input", "ann")
            self.page.fill("#password_input", "ann")
            self.page.click("#login_submit", no_wait_after=True)
        else:
            self.page.goto(self.address, wait_until="commit")
        if self.host.page == "cells":
            self.page.wait_for_function(KERNEL_IDLE)
            self.page.evaluate("""() => { const left = document.querySelector('#jp-left-stack');
                return left && !left.classList.contains('lm-mod-hidden') && jupyterapp.commands.execute('application:toggle-left-area'); }""")
            self.seen.opened_s, self.seen.opened = (self._now() - begun) / 1000, self.watch.bytes()
            for place in range(len(PANELS)):
                self._run(place)
        else:
            for place in range(len(PANELS)):
                self._arrived(place, begun, Bytes())
        self.seen.policy = self.watch.policy

    def _run(self, place: int) -> None:
        before = self.watch.bytes()
        begun = self.page.evaluate("""cell => { const at = Date.now();
            jupyterapp.shell.currentWidget.content.activeCellIndex = cell;
            jupyterapp.commands.execute('notebook:run-cell');
            return at; }""", place)
        self._arrived(place, begun, before)

    def _arrived(self, place: int, begun: float, before: Bytes) -> None:
        """Until panel `place` is drawn; `begun` in ms. Its bytes are those until the next animation frames have passed quietly."""
        try:
            self.page.wait_for_function("place => place in globalThis.__notes.live", arg=place, timeout=PATIENCE_MS)
        except Error:
            self.seen.checks[f"{PANELS[place]} drawn"] = "no: " + self._instead(place)
            return
        notes = self.watch.notes()
        self.seen.live_s[place] = (notes["live"][str(place)] - begun) / 1000
        self.seen.readable_s[place] = (notes["readable"].get(str(place), notes["live"][str(place)]) - begun) / 1000
        self.seen.received[place] = self.watch.bytes() - before

    def _instead(self, place: int) -> str:
        return self.page.evaluate("""() => ([...document.querySelectorAll('[data-mime-type*=error], [data-mime-type*=stderr]')][0]?.textContent
            ?? `${__panels().length} panels on the page`).slice(0, 300)""")

    # ---- what a person does

    def check(self, name: str, call: Callable[[], str | None]) -> None:
        try:
            self.seen.checks[name] = call() or "yes"
        except (Error, AssertionError) as error:
            self.seen.checks[name] = "no: " + " ".join(str(error).split())[:200]
        print(f"    {name}: {self.seen.checks[name]}", flush=True)

    def use(self) -> None:
        """All the checks; the page is loaded again in between."""
        self.check("slider of a finished run", lambda: self._keys(0, "Line averaged over, steps", ["End"]))
        self.check("button: a living run goes on", self._goes_on)
        self.check("slider of the template builder", lambda: self._words(2, "Row, from the shortest to the longest", ["End"]))
        self.check("slider of the rank explorer", lambda: self._keys(3, "Rank r", ["Home", "ArrowRight"]))
        self.check("code drawer", self._code)
        self.picture("used")
        self.check("page loaded again", self._again)
        self.check("slider after that", lambda: self._keys(0, "Line averaged over, steps", ["Home"]))
        self.picture("again")
        self.seen.errors = self.watch.errors + [f"policy: {one}" for one in self.watch.notes()["violations"]]

    def picture(self, name: str) -> None:
        for place, _ in enumerate(PANELS):
            path = self.screens / f"{self.host.name}_{self.seen.link}_{name}_{place}.png"
            one = self._panel(place)
            if one.count():
                one.screenshot(path=path)
        self.page.screenshot(path=self.screens / f"{self.host.name}_{self.seen.link}_{name}.png")

    def _panel(self, place: int):
        return self.page.locator(".wb-panel").nth(place)

    def _keys(self, place: int, slider: str, keys: list[str]) -> str:
        """Keys on a slider change the picture."""
        handle = self._panel(place).get_by_role("slider", name=slider).first
        handle.focus()
        before, begun = self.watch.picture(place), time.perf_counter()
        for key in keys:
            self.page.keyboard.press(key)
        self._other(lambda: self.watch.picture(place) != before, "the picture stays as it was")
        return f"{1000 * (time.perf_counter() - begun):.0f} ms"

    def _words(self, place: int, slider: str, keys: list[str]) -> str:
        """Keys on a slider change the example over the figure."""
        def read() -> str:
            return self.page.evaluate("i => [...__panels()[i].querySelectorAll('.wb-token')].map(t => t.textContent).join('')", place)

        handle = self._panel(place).get_by_role("slider", name=slider).first
        handle.focus()
        before, begun = read(), time.perf_counter()
        for key in keys:
            self.page.keyboard.press(key)
        self._other(lambda: read() != before, "the example stays as it was")
        return f"{1000 * (time.perf_counter() - begun):.0f} ms"

    def _goes_on(self) -> str:
        """The paused run is resumed by its button, its line grows, and it is paused again."""
        panel, before, begun = self._panel(1), self.watch.picture(1), time.perf_counter()
        assert "aused" in self.watch.sentence(1), self.watch.sentence(1)
        panel.get_by_role("button", name="Resume").or_(panel.get_by_role("button", name="Start", exact=True)).first.click()
        self._other(lambda: self.watch.picture(1) != before and "aused" not in self.watch.sentence(1), "the line does not grow")
        grown = time.perf_counter() - begun
        panel.get_by_role("button", name="Pause").first.click()
        self._other(lambda: "aused" in self.watch.sentence(1), "it is not paused again")
        return f"{1000 * grown:.0f} ms"

    def _code(self) -> None:
        panel = self._panel(3)
        panel.get_by_role("button", name="</> Code").click()
        self._other(lambda: "RankExplorer" in panel.locator(".wb-code pre").inner_text() or "import" in panel.locator(".wb-code pre").inner_text(),
                    "no code")

    def _again(self) -> str:
        """Loads the page again; every panel is drawn and says what it said."""
        self._other(lambda: "in the background" not in self._panel(3).inner_text(), "the rank explorer still reads")
        said = [self.watch.sentence(place) for place in (0, 2, 3)]
        if self.host.page == "cells":
            self.page.evaluate("() => jupyterapp.commands.execute('docmanager:save')")
            self.page.wait_for_function("() => !jupyterapp.shell.currentWidget.context.model.dirty")
        begun = self._now()
        self.page.reload(wait_until="commit")
        for place in range(len(PANELS)):
            self.page.wait_for_function("place => place in (globalThis.__notes?.live ?? {})", arg=place, timeout=PATIENCE_MS)
        last = max(self.watch.notes()["live"].values())
        now = [self.watch.sentence(place) for place in (0, 2, 3)]
        assert self.host.page != "cells" or now == said, f"{said} became {now}"
        return f"all drawn after {(last - begun) / 1000:.1f} s"

    def _other(self, condition: Callable[[], bool], otherwise: str) -> None:
        deadline = time.monotonic() + PATIENCE_MS / 3000
        while not condition():
            assert time.monotonic() < deadline, otherwise
            self.page.evaluate("() => new Promise(done => requestAnimationFrame(done))")

    def _now(self) -> float:
        return 1000 * time.time()
