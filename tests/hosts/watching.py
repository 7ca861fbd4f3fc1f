"""What is noted of a page: bytes it received, when each panel could be read and was drawn, scripts that failed, breaches of the content policy.

Times are the page's own `Date.now()`; bytes come from the browser's protocol (Network domain): HTTP as it travelled, with headers, and
web sockets as the page got them, before any compression of the socket. A panel is *readable* when its sentence is on the page together
with a picture (the one drawn in Python or the live one) and *live* when plotly has drawn it; both are noted in the animation frame after,
so they are on the screen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from playwright.sync_api import Page

LINKS = {"loopback": None, "slow": {"offline": False, "latency": 150, "downloadThroughput": 125_000, "uploadThroughput": 125_000}}
"""Of the slow link: 1 Mbit/s each way, 150 ms."""

NOTE = """(() => {
    const notes = globalThis.__notes = {readable: {}, live: {}, violations: []};
    document.addEventListener("securitypolicyviolation", event =>
        notes.violations.push(`${event.effectiveDirective}: ${event.blockedURI} ${event.sourceFile ?? ""}`));
    const find = (node, name, found = []) => { // through shadow roots, which marimo has
        for (const one of node.querySelectorAll("*")) {
            if (one.classList.contains(name)) found.push(one);
            if (one.shadowRoot) find(one.shadowRoot, name, found);
        }
        return found;
    };
    globalThis.__panels = () => find(document, "wb-panel").filter(panel => panel.getBoundingClientRect().width > 0);
    const look = () => {
        for (const [i, panel] of __panels().entries()) {
            const place = panel.querySelector(".wb-fig > [role=img]"), said = panel.querySelector("[role=status]")?.textContent;
            const drawn = place?.dataset.version !== undefined && place.querySelector(".plot-container");
            if (!(i in notes.live) && drawn) requestAnimationFrame(() => { notes.live[i] ??= Date.now(); });
            if (!(i in notes.readable) && said && (drawn || place?.querySelector("img.wb-poster")?.complete))
                requestAnimationFrame(() => { notes.readable[i] ??= Date.now(); });
        }
        if (Object.keys(notes.live).length < 9) setTimeout(() => requestAnimationFrame(look), 30);
    };
    look();
})()"""

PICTURE = """i => [...(__panels()[i]?.querySelectorAll(".wb-fig .plot-container path, .wb-fig .plot-container text, .wb-fig .plot-container image") ?? [])]
    .map(node => (node.getAttribute("d") ?? "") + (node.getAttribute("href")?.length ?? "") + (node.tagName === "text" ? node.textContent : "")).join("|")"""
"""The drawn lines and words of panel `i`."""


@dataclass
class Bytes:
    http: int = 0
    socket: int = 0

    @property
    def all(self) -> int:
        return self.http + self.socket

    def __sub__(self, other: Bytes) -> Bytes:
        return Bytes(self.http - other.http, self.socket - other.socket)


class Watch:
    """One page from before it is opened: `Watch(page, "slow")`."""

    def __init__(self, page: Page, link: str) -> None:
        self.page, self.errors, self.policy = page, [], ""
        self._bytes = Bytes()
        page.add_init_script(NOTE)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("response", self._policy)
        self._session = page.context.new_cdp_session(page)
        for event, call in {"Network.loadingFinished": self._loaded, "Network.webSocketFrameReceived": self._frame}.items():
            self._session.on(event, call)
        self._session.send("Network.enable")
        self._session.send("Network.setCacheDisabled", {"cacheDisabled": True})
        if LINKS[link]:
            self._session.send("Network.emulateNetworkConditions", LINKS[link])

    def bytes(self) -> Bytes:
        """Received since the page was opened."""
        return Bytes(self._bytes.http, self._bytes.socket)

    def notes(self) -> dict[str, Any]:
        return self.page.evaluate("() => globalThis.__notes")

    def picture(self, panel: int) -> str:
        return self.page.evaluate(PICTURE, panel)

    def sentence(self, panel: int) -> str:
        return self.page.evaluate("i => __panels()[i]?.querySelector('[role=status]')?.textContent ?? ''", panel)

    def _policy(self, response: Any) -> None:
        if response.request.resource_type == "document" and response.frame == self.page.main_frame:
            self.policy = response.headers.get("content-security-policy", "")

    def _loaded(self, event: dict) -> None:
        self._bytes.http += int(event["encodedDataLength"])

    def _frame(self, event: dict) -> None:
        frame = event["response"]
        payload = frame["payloadData"]  # binary frames come as base64
        self._bytes.socket += len(payload.encode()) if frame["opcode"] == 1 else len(payload) * 3 // 4 - payload[-2:].count("=")
