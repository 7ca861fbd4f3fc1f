"""Replies that were paid for, one JSON line each, so that they outlive an error, an interruption, or the process.

A file may be shared by several jobs and written by several threads. A line that was torn off while it was written is passed over. Not here:
what a reply means.
"""

from pathlib import Path
from typing import Any

import orjson

from workbench.errors import DataError
from workbench.journal import log

OPENING = b'{"key":'
"""How every line of such a file begins."""


class Kept:
    """`key` → a line of `fields`, in memory, and with a `path` in a file as well. Raises `DataError` for a file of other lines."""

    def __init__(self, path: str | Path | None, fields: tuple[str, ...], what: str = "a reply"):
        self.path = Path(path).expanduser() if path is not None else None
        self._lines: dict[str, dict[str, Any]] = {}
        if self.path is None:
            return
        if self.path.is_dir():
            raise DataError(f"{self.path} is a folder.", "Give a file in it, such as replies.jsonl.")
        for number, line in enumerate(self.path.read_bytes().split(b"\n") if self.path.exists() else (), start=1):
            try:
                body = orjson.loads(line) if line.strip() else None
            except orjson.JSONDecodeError as error:
                if line.startswith(OPENING) or OPENING.startswith(line):
                    continue  # torn off
                raise DataError(f"{self.path.name}, line {number}: not {what}.", "Remove that line, or give another file.") from error
            if body is None:
                continue
            if not isinstance(body, dict) or not {"key", *fields} <= set(body):
                raise DataError(f"{self.path.name}, line {number}: not {what}.", "Remove that line, or give another file.")
            self._lines[body["key"]] = {name: body[name] for name in fields}

    def __contains__(self, key: str) -> bool:
        return key in self._lines

    def __getitem__(self, key: str) -> dict[str, Any]:
        return self._lines[key]

    def add(self, key: str, **line: Any) -> None:
        """Remember it, and write it down at once. Raises `DataError` where the disk is full or may not be written to."""
        self._lines[key] = line
        if self.path is None:
            return
        body = orjson.dumps({"key": key, **line}) + b"\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            log.append(self.path, body)
        except OSError as error:
            raise DataError(f"{self.path} cannot be written: {error.strerror}.", "Free some space, or give another file.") from error
