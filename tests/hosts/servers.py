"""The hosts that people use, each started on loopback with one document of panels: a command, an address, and what its page is like.

A host is a program with a page; `opened(host, folder, cells)` starts it and gives its address. What is not installed raises `Missing`,
which says the line to type. Nothing here drives a page (`visit.py`) or measures (`watching.py`). Settings, runtime files and logs lie in
the folder it is given.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import nbformat

from tests.browser.lab import ROOT, _free_port

START_S = 300
HUB_CONFIG = """
c.JupyterHub.bind_url = {address!r}
c.JupyterHub.authenticator_class = "dummy"
c.DummyAuthenticator.allow_all = True
c.JupyterHub.spawner_class = "simple"
c.JupyterHub.hub_port = {hub_port}
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{api_port}"
c.ConfigurableHTTPProxy.auth_token = {token!r}
c.JupyterHub.db_url = "sqlite://"
c.JupyterHub.cookie_secret_file = {folder!r} + "/cookie_secret"
c.Spawner.cmd = [{python!r}, "-m", "jupyterhub.singleuser"]
c.Spawner.notebook_dir = {notebooks!r}
c.Spawner.env_keep = list({env!r})
c.Spawner.environment = {env!r}
c.Spawner.start_timeout = 300
c.Spawner.http_timeout = 300
c.Spawner.args = ["--LabApp.expose_app_in_browser=True", "--LabApp.app_settings_dir=" + {settings!r}, "--ServerApp.allow_root=True"]
"""


class Missing(RuntimeError):
    """A host that is not on this machine; says what to type."""


@dataclass(frozen=True, slots=True)
class Host:
    name: str
    title: str
    module: str
    """What must be importable."""
    install: str
    page: str
    """Of what kind its page is: "cells" (cells are run one by one), "app" (all runs at opening) or "marimo"."""


HOSTS = (
    Host("lab", "JupyterLab 4", "jupyterlab", "pip install jupyterlab", "cells"),
    Host("notebook", "Notebook 7", "notebook", "pip install notebook", "cells"),
    Host("hub", "JupyterHub, prefix /user/ann/", "jupyterhub", "pip install jupyterhub; npm install -g configurable-http-proxy", "cells"),
    Host("voila", "Voilà", "voila", "pip install voila", "app"),
    Host("marimo", "marimo", "marimo", "pip install marimo", "marimo"),
)


def check(host: Host) -> None:
    """Raises `Missing` where the host cannot be started."""
    if importlib.util.find_spec(host.module) is None or host.name == "hub" and shutil.which("configurable-http-proxy") is None:
        raise Missing(f"{host.title} is not installed. Type: {host.install}")


@contextmanager
def opened(host: Host, folder: Path, cells: list[str]) -> Iterator[str]:
    """Starts the host on a document with these cells; gives the address of the page to open; ends all it started."""
    check(host)
    notebooks = folder / "notebooks"
    notebooks.mkdir(parents=True)
    if host.page == "marimo":
        document = notebooks / "panels.py"
        document.write_text(marimo_app(cells), encoding="utf-8")
    else:
        document = notebooks / "panels.ipynb"
        made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
        made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(made, document)
    port, token = _free_port(), secrets.token_hex(16)
    address = f"http://127.0.0.1:{port}"
    command, probe, page = _command(host, folder, document, address, token)
    paths = os.pathsep.join(part for part in (str(ROOT), os.environ.get("PYTHONPATH")) if part)
    own = {name: str(folder / name.lower()) for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR", "XDG_CONFIG_HOME", "XDG_STATE_HOME")}
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=folder, start_new_session=True,
                                  env=os.environ | own | {"PYTHONPATH": paths})
    try:
        _wait(server, probe, folder / "server.log")
        yield page
    finally:
        _end(server)


def _command(host: Host, folder: Path, document: Path, address: str, token: str) -> tuple[list[str], str, str]:
    """(command, an address that answers once the host is up, the page)."""
    port, python = address.rsplit(":", 1)[1], sys.executable
    server = ["--no-browser", "--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}",
              f"--ServerApp.root_dir={document.parent}", "--ServerApp.allow_root=True"]
    if host.name == "lab":
        return ([python, "-m", "jupyterlab", *server, f"--LabApp.app_settings_dir={ROOT / 'tools' / 'lab_settings'}",
                 "--LabApp.expose_app_in_browser=True", "--LabApp.extension_manager=readonly"],
                f"{address}/api", f"{address}/lab/tree/{document.name}?token={token}")
    if host.name == "notebook":
        return ([python, "-m", "notebook", *server, "--JupyterNotebookApp.expose_app_in_browser=True"],
                f"{address}/api", f"{address}/notebooks/{document.name}?token={token}")
    if host.name == "voila":
        return ([python, "-m", "voila", "--no-browser", f"--port={port}", "--Voila.ip=127.0.0.1", str(document)], f"{address}/voila/static/voila.js", address)
    if host.name == "marimo":
        return ([python, "-m", "marimo", "-y", "run", str(document), "--headless", f"--port={port}", "--host=127.0.0.1", "--no-token"],
                f"{address}/health", address)
    config = folder / "jupyterhub_config.py"
    kept = {key: os.environ[key] for key in ("PATH", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "WORKBENCH_QUEUE", "GOMP_SPINCOUNT",
                                             "JUPYTER_PATH") if key in os.environ}
    kept["PYTHONPATH"] = os.pathsep.join(part for part in (str(ROOT), os.environ.get("PYTHONPATH")) if part)
    kept |= {name: str(folder / name.lower()) for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR")}
    config.write_text(HUB_CONFIG.format(address=address, hub_port=_free_port(), api_port=_free_port(), token=token, folder=str(folder), python=python,
                                        notebooks=str(document.parent), env=kept, settings=str(ROOT / "tools" / "lab_settings")))
    return [python, "-m", "jupyterhub", "-f", str(config)], f"{address}/hub/health", f"{address}/user/ann/lab/tree/{document.name}"


def _wait(server: subprocess.Popen, probe: str, log: Path) -> None:
    """Until something answers at `probe`, whatever its answer is; a server that ended raises RuntimeError with the end of its log."""
    deadline = time.monotonic() + START_S
    while server.poll() is None and time.monotonic() < deadline:
        try:
            urllib.request.urlopen(probe, timeout=5).close()
            return
        except urllib.error.HTTPError as answer:
            if answer.code < 500:
                return
        except OSError:
            pass
        time.sleep(0.2)
    raise RuntimeError(f"the host did not start: {log.read_text(errors='replace')[-2000:]}")


def _end(server: subprocess.Popen) -> None:
    if server.poll() is None:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def marimo_app(cells: list[str]) -> str:
    """A marimo app whose cells are these; a name that begins with an underscore is a cell's own there, and every other name stands once."""
    body = ["import marimo", "", "app = marimo.App(width='full')", ""]
    for cell in cells:
        lines = cell.strip().splitlines()
        body += ["", "@app.cell", "def _():", *("    " + line for line in lines[:-1]), f"    {lines[-1]}", "    return", ""]
    return "\n".join([*body, "", 'if __name__ == "__main__":', "    app.run()", ""])
