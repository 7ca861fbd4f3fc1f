"""What a page does that no text may make it do: a script that ran, a dialog, a breach of its Content-Security-Policy, an element that data made.

`watch(page)` before anything is loaded; `policy()` is the strictest policy that JupyterLab lives with, for `Lab(..., policy=policy())`. It
lets no inline script and no handler in an attribute run; it allows `eval` (JupyterLab compiles the schemas of its settings)
and scripts from Blob URLs (anywidget imports each widget's module from one, and so is plotly.js loaded).
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Page

POLICY = ("default-src 'self'; script-src 'self' 'unsafe-eval' blob: {own}; script-src-attr 'none'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
          "font-src 'self' data:; connect-src 'self' data: ws: ; worker-src 'self' blob:; frame-src 'none'; object-src 'none'; base-uri 'none'; form-action 'self'")
"""`own` are the hashes of the page's own inline scripts."""
LISTEN = """(() => {
    window.__violations = [];
    document.addEventListener("securitypolicyviolation", event => window.__violations.push(
        `${event.effectiveDirective}: ${event.blockedURI} ${event.sample} at ${event.sourceFile ?? ""}:${event.lineNumber}`));
})()"""
FOREIGN = """selector => [...document.querySelectorAll(selector)].flatMap(panel => [...panel.querySelectorAll("*")]).filter(node => {
    // plotly draws a heatmap as a picture of its own making
    const heatmap = node.tagName === "image" && node.closest(".heatmaplayer") && /^data:image.png;base64,/.test(node.href.baseVal)
        && ![...node.attributes].some(({name}) => /^on/i.test(name));
    const own = heatmap || node.tagName === "IMG" && node.className === "wb-poster";
    return !own && (/^(script|iframe|frame|object|embed|img|image|audio|video|link|meta|base|form|style|a|animate|set|foreignobject|mjx-container|math)$/i.test(node.tagName)
        && !(node.tagName === "style" && node.closest("svg")) && !node.closest(".modebar")
        || [...node.attributes].some(({name, value}) => /^on/i.test(name) || /^(href|src|srcdoc|action|formaction|xlink:href)$/i.test(name) && !/^#/.test(value)));
}).map(node => node.outerHTML.slice(0, 300))"""
"""Elements and attributes that no panel writes, under `selector`."""
INLINE = re.compile(r"<script(?![^>]*\bsrc=)(?![^>]*application/json)[^>]*>(.*?)</script>", re.S)


@dataclass
class Watch:
    """`ran` and `breaches` ask the page; `dialogs` and `complaints` were collected."""

    page: Page
    dialogs: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    bytes_sent: int = 0
    """Over web sockets to the page."""

    @property
    def ran(self) -> str | None:
        """Id of the hostile string whose script ran in the page or in a frame of it."""
        found = [frame.evaluate("() => window.__hostile ?? null") for frame in self.page.frames]
        return next((name for name in found if name is not None), None)

    @property
    def breaches(self) -> list[str]:
        return self.page.evaluate("() => window.__violations")

    def foreign(self, selector: str) -> list[str]:
        """Elements that data made."""
        return self.page.evaluate(FOREIGN, selector)


def watch(page: Page) -> Watch:
    made = Watch(page)
    page.add_init_script(LISTEN)
    page.on("dialog", lambda dialog: (made.dialogs.append(dialog.message), dialog.dismiss()))
    page.on("console", lambda message: made.complaints.append(message.text) if message.type == "error" else None)

    def received(payload: str | bytes) -> None:
        made.bytes_sent += len(payload)

    page.on("websocket", lambda socket: socket.on("framereceived", received))
    return made


def policy() -> str:
    """`POLICY` for the installed JupyterLab: the inline scripts of its own page are allowed by their hashes."""
    import jupyterlab

    page = (Path(jupyterlab.__file__).parent / "static" / "index.html").read_text(encoding="utf-8")
    made = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in INLINE.findall(page)]
    return POLICY.format(own=" ".join(f"'sha256-{each}'" for each in made))
