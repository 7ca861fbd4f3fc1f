"""A hub on the loopback: as much of the hub's web API as its own client asks for when it reads, from folders on disk.

`models/WHO/NAME` and `datasets/WHO/NAME` under one folder are its repositories, each of one commit, made of what is in them. It answers for
a repository's files and sizes, a file's head, and a file or a range of it, with the headers the client goes by (`X-Repo-Commit`, `ETag`,
`X-Error-Code`); and does what hubs and networks do: wants a token, refuses, cuts the connection, is slow, says nothing at all.
Not here: uploads, large-file stores behind redirects, revisions other than the newest.
"""

from __future__ import annotations

import hashlib
import json
import threading
import urllib.parse
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PIECE = 4096
PAUSE_S = 0.002
"""Between two pieces of a slow file."""


@dataclass
class Hub:
    """`with Hub(folder) as hub:` serves at `hub.url`; its fields may be changed while it does."""

    folder: Path
    tokens: dict[str, str] = field(default_factory=dict)
    """Private repositories and who may read them: without that token there is, to the caller, no such repository."""
    gated: dict[str, int] = field(default_factory=dict)
    """Repositories whose files are refused, with the status: 401 to strangers, 403 to those who were not let in."""
    failing: dict[str, int] = field(default_factory=dict)
    """Statuses of the server's own, such as 503, by repository."""
    cut: dict[str, list[int]] = field(default_factory=dict)
    """Of a file's name: after how many bytes each of the next answers ends without a word."""
    slow: set[str] = field(default_factory=set)
    silent: bool = False
    """It takes connections and says nothing."""
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    """(method, path, Range) of every request."""
    closing: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Hub:
        hub = self

        class Answer(_Answer):
            def setup(self) -> None:
                self.hub = hub
                super().setup()

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    def repository(self, name: str, kind: str = "models") -> Path:
        """The folder of a repository, made if need be: what is put there is on the hub."""
        path = self.folder / kind / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def got(self, file: str) -> list[str]:
        """The ranges with which a file's bytes were asked for, "" for all of it."""
        return [span for method, path, span in self.asked if method == "GET" and path.endswith(f"/{file}") and "/resolve/" in path]


def commit_of(folder: Path) -> str:
    digest = hashlib.sha1(usedforsecurity=False)
    for path in files_of(folder):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: object) -> None:
        """Nothing: what was asked is in `Hub.asked`."""

    def do_HEAD(self) -> None:
        self._serve()

    do_GET = do_POST = do_HEAD

    def _serve(self) -> None:
        hub = self.hub
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        parts = urllib.parse.urlsplit(self.path)
        path = urllib.parse.unquote(parts.path)
        hub.asked.append((self.command, path, self.headers.get("Range", "")))
        if hub.silent:
            hub.closing.wait()
            self.close_connection = True
            return
        kind, name, action, rest = _taken_apart(path)
        folder = hub.folder / kind / name
        token = hub.tokens.get(name)
        if not folder.is_dir() or (token and self.headers.get("authorization") != f"Bearer {token}"):
            # the hub does not tell a stranger whether it has a private repository of this name
            return self._refuse(401 if not self.headers.get("authorization") else 404, "RepoNotFound", "Repository not found")
        if name in hub.failing:
            return self._refuse(hub.failing[name])
        if action == "resolve":
            if name in hub.gated:
                return self._refuse(hub.gated[name], "GatedRepo", f"Access to {kind} {name} is restricted.")
            return self._file(folder, rest)
        if action == "auth-check":
            return self._refuse(hub.gated[name], "GatedRepo", f"Access to {kind} {name} is restricted.") if name in hub.gated else self._json({})
        if action == "tree":
            return self._tree(folder, rest, "true" in urllib.parse.parse_qs(parts.query).get("recursive", ["false"])[0].lower())
        if action == "paths-info":
            wanted = urllib.parse.parse_qs(body).get("paths", []) if not body.startswith("{") else json.loads(body)["paths"]
            return self._json([_entry(folder, folder / each) for each in wanted if (folder / each).exists()])
        commit = commit_of(folder)
        return self._json({"id": name, "sha": commit, "private": bool(token), "disabled": False, "gated": name in hub.gated, "downloads": 0, "likes": 0,
                           "tags": [], "siblings": [{"rfilename": each.relative_to(folder).as_posix()} for each in files_of(folder)]})

    def _tree(self, folder: Path, below: str, recursive: bool) -> None:
        place = folder / below
        if not place.is_dir():
            return self._refuse(404, "EntryNotFound", f"{below} does not exist")
        found = sorted(place.rglob("*") if recursive else place.iterdir())
        return self._json([_entry(folder, each) for each in found])

    def _file(self, folder: Path, name: str) -> None:
        path = folder / name
        if not path.is_file():
            return self._refuse(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": commit_of(folder)})
        whole = path.read_bytes()
        span = self.headers.get("Range", "")
        first = int(span.removeprefix("bytes=").partition("-")[0]) if span else 0
        self.send_response(HTTPStatus.PARTIAL_CONTENT if span else HTTPStatus.OK)
        if span:
            self.send_header("Content-Range", f"bytes {first}-{len(whole) - 1}/{len(whole)}")
        for header, value in {"X-Repo-Commit": commit_of(folder), "ETag": f'"{hashlib.sha1(whole, usedforsecurity=False).hexdigest()}"',
                              "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream", "Content-Length": len(whole) - first}.items():
            self.send_header(header, str(value))
        self.end_headers()
        if self.command == "HEAD":
            return
        sent, cuts = whole[first:], self.hub.cut.get(path.name)
        if cuts:
            self.wfile.write(sent[:cuts.pop(0)])
            self.wfile.flush()
            self.close_connection = True
            return
        if path.name not in self.hub.slow:
            self.wfile.write(sent)
            return
        for start in range(0, len(sent), PIECE):
            self.wfile.write(sent[start:start + PIECE])
            self.hub.closing.wait(PAUSE_S)

    def _json(self, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _refuse(self, status: int, code: str = "", message: str = "", more: dict[str, str] | None = None) -> None:
        body = json.dumps({"error": message}).encode()
        self.send_response(status)
        for header, value in ({"X-Error-Code": code, "X-Error-Message": message, "Content-Length": str(len(body))} | (more or {})).items():
            if value:
                self.send_header(header, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _taken_apart(path: str) -> tuple[str, str, str, str]:
    """(kind, repository, what of it, the rest): /api/models/who/name/tree/main/folder, /datasets/who/name/resolve/main/file, ..."""
    parts = path.strip("/").split("/")
    kind = "models"
    if parts[0] == "api":
        parts = parts[1:]
    if parts[0] in ("models", "datasets"):
        kind, parts = parts[0], parts[1:]
    action = parts[2] if len(parts) > 2 else ""
    return kind, "/".join(parts[:2]), action, "/".join(parts[4:])


def _entry(folder: Path, path: Path) -> dict[str, Any]:
    name = path.relative_to(folder).as_posix()
    if path.is_dir():
        return {"type": "directory", "path": name, "oid": hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest(), "size": 0}
    body = path.read_bytes()
    return {"type": "file", "path": name, "oid": hashlib.sha1(body, usedforsecurity=False).hexdigest(), "size": len(body)}
