"""A real JupyterLab on loopback and a real Chromium, as the browser tests use them.

`Lab` is the server and the browser; `Notebook` one open notebook in a page of its own. Everything waits for a condition, never for
a time. Nothing outside the folder it is given is read or written: settings, workspaces and runtime files are its own.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
from playwright.sync_api import Page, Playwright

ROOT = Path(__file__).resolve().parents[2]
SCREENS = ROOT / "build" / "screens"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]
SETTINGS = {
    "@jupyterlab/apputils-extension/notification": {"checkForUpdates": False, "fetchNews": "false", "doNotDisturbMode": True},
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none", "kernelShutdown": True},
    "@jupyterlab/docmanager-extension/plugin": {"autosave": False},
}
PATIENCE = float(os.environ.get("WORKBENCH_PATIENCE", "1"))
"""Times as long as this is waited for everything, on a machine that has a lot else to do."""
START_S = 60 * PATIENCE
WAIT_MS = round(40_000 * PATIENCE)
"""How long a condition may take before the test fails; two labs on two cores need most of it at times."""

IN_THEME = """() => {
    const heading = document.querySelector('.wb-panel .annotation-text'), probe = document.querySelector('.wb-panel h2');
    return heading && getComputedStyle(heading).fill === getComputedStyle(probe).color;
}"""
"""Whether the figure is drawn in the page's colours of now."""
NO_CHROMIUM = "The browser tests need Chromium. Type: python tools/ensure_chromium.py"


class Lab:
    """`with Lab(folder, playwright) as lab: notebook = lab.open(["1 + 1"])`. `policy` is the Content-Security-Policy it serves, "" for its own."""

    def __init__(self, folder: Path, playwright: Playwright, policy: str = "") -> None:
        executable = shutil.which("chromium")
        if executable is None:
            raise RuntimeError(NO_CHROMIUM)
        self.playwright, self.policy = playwright, policy
        self.folder, self.token, self.notebooks = folder, secrets.token_hex(16), folder / "notebooks"
        self.log = folder / "server.log"
        self.notebooks.mkdir(parents=True)
        for name, values in SETTINGS.items():
            path = folder / "settings" / f"{name}.jupyterlab-settings"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(values), encoding="utf-8")
        self.address = f"http://127.0.0.1:{_free_port()}"
        self._server, self._up = self._start(), threading.Event()
        threading.Thread(target=self._follow, name="lab log", daemon=True).start()
        try:
            self._browser = playwright.chromium.launch(executable_path=executable, headless=True, args=FLAGS)
            self._context = self._browser.new_context(viewport={"width": 1400, "height": 1000})
            self._context.grant_permissions(["clipboard-read", "clipboard-write"], origin=self.address)
            self._wait_for_server()
        except BaseException:
            self.close()
            raise
        self._count = 0

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self, cells: list[str], name: str = "", prepare: Callable[[Page], object] | None = None) -> Notebook:
        """A new notebook of code cells, open in a new page with a running kernel; nothing has run yet. `prepare(page)` is called before
        anything is loaded."""
        self._count += 1
        path = self.notebooks / f"{name or 'notebook'}-{self._count}.ipynb"
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(notebook, path)
        return self.open_file(path, prepare)

    def open_file(self, path: Path, prepare: Callable[[Page], object] | None = None) -> Notebook:
        """A notebook that lies in `self.notebooks`."""
        page = self.new_page()
        if prepare is not None:
            prepare(page)
        return Notebook(self, path, page)

    def new_page(self) -> Page:
        """An empty page of the same browser."""
        return self._context.new_page()

    def close(self) -> None:
        """Ends browser, server and the server's kernels."""
        if hasattr(self, "_browser"):
            self._browser.close()
        if self._server.poll() is None:
            os.killpg(self._server.pid, signal.SIGTERM)
            try:
                self._server.wait(timeout=15)
            except subprocess.TimeoutExpired:
                os.killpg(self._server.pid, signal.SIGKILL)
                self._server.wait()

    def _start(self) -> subprocess.Popen:
        own = {name: str(self.folder / name.lower()) for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR")}
        path = os.pathsep.join(part for part in (str(ROOT), os.environ.get("PYTHONPATH")) if part)
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={self.address.rsplit(':', 1)[1]}",
                   "--ServerApp.port_retries=0", f"--IdentityProvider.token={self.token}", f"--ServerApp.root_dir={self.notebooks}",
                   f"--LabApp.workspaces_dir={self.folder / 'workspaces'}", f"--LabApp.user_settings_dir={self.folder / 'settings'}",
                   f"--LabApp.app_settings_dir={ROOT / 'tools' / 'lab_settings'}",  # as `make run` has it
                   "--LabApp.expose_app_in_browser=True", "--LabApp.extension_manager=readonly", "--ServerApp.allow_root=True"]
        if self.policy:
            command.append(f"--ServerApp.tornado_settings={ {'headers': {'Content-Security-Policy': self.policy}}!r}")
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                                env=os.environ | own | {"PYTHONPATH": path}, start_new_session=True)

    def _follow(self) -> None:
        """Copies what the server says into the log; the line with its address is what `_wait_for_server` waits for."""
        with self.log.open("w", encoding="utf-8") as log:
            for line in self._server.stdout:
                log.write(line)
                log.flush()
                if "is running at" in line:
                    self._up.set()
        self._up.set()  # it ended

    def _wait_for_server(self) -> None:
        if not self._up.wait(START_S) or self._server.poll() is not None:
            raise RuntimeError(f"JupyterLab did not start in {START_S} s: {self.log.read_text(errors='replace')[-2000:]}")


class Notebook:
    """One notebook in one page. `page` is Playwright's; `errors` collects what the page's scripts threw, but for what JupyterLab's own
    threw with none of a panel's (which are loaded from blob: addresses) on the stack: it sometimes asks a document that is just opening."""

    def __init__(self, lab: Lab, path: Path, page: Page) -> None:
        self.lab, self.path, self.page = lab, path, page
        self.errors: list[str] = []
        page.set_default_timeout(WAIT_MS)
        page.on("pageerror", self._threw)
        self._load()

    def _threw(self, error: Any) -> None:
        stack = getattr(error, "stack", None) or ""
        if "blob:" in stack or "/static/lab/" not in stack:
            self.errors.append(f"{error}\n{stack}")

    def _load(self) -> None:
        self.page.goto(f"{self.lab.address}/lab/tree/{self.path.name}?reset&token={self.lab.token}")
        self.wait("""() => {
            const panel = globalThis.jupyterapp?.shell?.currentWidget;
            return panel?.content?.widgets?.length && panel.sessionContext?.session?.kernel?.status === "idle";
        }""")
        self.page.evaluate("""() => { if (!document.querySelector('#jp-left-stack').classList.contains('lm-mod-hidden'))
            return jupyterapp.commands.execute('application:toggle-left-area'); }""")

    def wait(self, condition: str, argument: Any = None, timeout_ms: int = WAIT_MS) -> None:
        """Waits until the JavaScript function `condition` gives true in the page."""
        self.page.wait_for_function(condition, arg=argument, timeout=timeout_ms)

    def run_all(self) -> None:
        """Runs every cell and waits for the last; raises RuntimeError with the traceback where one failed."""
        self.page.evaluate("() => jupyterapp.commands.execute('notebook:run-all-cells')")
        self._ran()

    def run(self, cell: int) -> None:
        """Runs one cell and waits for it."""
        self.page.evaluate("""cell => { jupyterapp.shell.currentWidget.content.activeCellIndex = cell;
            return jupyterapp.commands.execute('notebook:run-cell'); }""", cell)
        self._ran()

    def _ran(self) -> None:
        self.wait("() => [...document.querySelectorAll('.jp-CodeCell .jp-InputArea-prompt')].every(p => !p.textContent.includes('*'))")
        failed = self.page.locator(".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.error']")
        if failed.count():
            raise RuntimeError(f"a cell failed: {failed.first.inner_text()}")

    def kernel(self, code: str) -> str:
        """Runs `code` in the notebook's kernel, outside any cell, and gives what it printed; raises RuntimeError on a traceback."""
        printed, failed = self.page.evaluate("""async code => {
            const future = jupyterapp.shell.currentWidget.sessionContext.session.kernel.requestExecute({code, store_history: false});
            let printed = "", failed = "";
            future.onIOPub = message => {
                if (message.header.msg_type === "stream") printed += message.content.text;
                if (message.header.msg_type === "error") failed += message.content.traceback.join("\\n");
            };
            await future.done;
            return [printed, failed];
        }""", code)
        if failed:
            raise RuntimeError(failed)
        return printed.strip()

    def reload(self) -> None:
        """Loads the page again; the kernel lives on. Save first what should still be in the notebook."""
        self._load()

    def save(self) -> None:
        self.page.evaluate("() => jupyterapp.commands.execute('docmanager:save')")
        self.wait("() => !jupyterapp.shell.currentWidget.context.model.dirty")

    def restart_kernel(self) -> None:
        self.page.evaluate("() => jupyterapp.shell.currentWidget.sessionContext.restartKernel()")
        self.wait("() => jupyterapp.shell.currentWidget.sessionContext.session.kernel.status === 'idle'")

    def dark(self, on: bool = True) -> None:
        """JupyterLab's own dark or light theme; a choice made again may arrive after the next one and undo it, so only where it differs."""
        if self.page.evaluate("() => document.body.dataset.jpThemeLight") == str(not on).lower():
            return
        theme = "JupyterLab Dark" if on else "JupyterLab Light"
        self.page.evaluate("theme => jupyterapp.commands.execute('apputils:change-theme', {theme})", theme)
        self.wait("light => document.body.dataset.jpThemeLight === light", "false" if on else "true")
        # until the choice is saved, settings that arrive late can take it back
        self.wait("async theme => (await jupyterapp.serviceManager.settings.fetch('@jupyterlab/apputils-extension:themes')).raw.includes(theme)", theme)

    def set_width(self, width_px: int, selector: str = ".wb-panel") -> None:
        """Makes the window so wide that the first element of `selector` is `width_px` wide, and waits until its figures follow."""
        for _ in range(3):  # a scroll bar may come or go
            size = self.page.viewport_size
            now = self.page.locator(selector).first.evaluate("node => node.getBoundingClientRect().width")
            if round(now) == width_px:
                break
            self.page.set_viewport_size({"width": size["width"] + width_px - round(now), "height": size["height"]})
            self.page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        assert round(self.page.locator(selector).first.evaluate("node => node.getBoundingClientRect().width")) == width_px
        self.drawn(selector)

    def drawn(self, selector: str = ".wb-panel") -> None:
        """Waits until every figure under `selector` is drawn for the width it has."""
        self.wait("""selector => {
            const places = [...document.querySelectorAll(selector + " .wb-fig > [role=img]")];
            return places.length && places.every(place => place._fullLayout && Math.abs(place._fullLayout.width - place.clientWidth) < 1);
        }""", selector)

    def points(self, selector: str = ".wb-panel", trace: int = 0) -> int:
        """How many points the first figure draws."""
        return self.page.evaluate("""([selector, trace]) =>
            document.querySelector(selector + " .js-plotly-plot")?.data?.[trace]?.y?.length ?? 0""", [selector, trace])

    def screenshot(self, name: str, selector: str = ".wb-panel") -> Path:
        """The first element of `selector` as build/screens/NAME.png, whole even where it is higher than the window."""
        SCREENS.mkdir(parents=True, exist_ok=True)
        path, before = SCREENS / f"{name}.png", self.page.viewport_size
        element = self.page.locator(selector).first
        high = int(element.evaluate("node => node.getBoundingClientRect().height")) + 260
        self.page.set_viewport_size({"width": before["width"], "height": max(before["height"], high)})
        element.scroll_into_view_if_needed()
        element.screenshot(path=path)
        self.page.set_viewport_size(before)
        return path

    def close(self) -> None:
        """Ends the kernel and the page."""
        self.page.evaluate("() => jupyterapp.shell.currentWidget.sessionContext.shutdown()")
        self.page.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
