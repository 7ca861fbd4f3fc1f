"""Keys and passwords out of what is written down: the values of environment variables that hold such, and passwords in addresses, become
***.

    redacted("no answer for sk-1234")  ->  "no answer for ***"      where OPENAI_API_KEY is sk-1234

Which variables do is told by their names. Journals, commands and the worker's log pass through here. Not here: rows and files that a person
gives to train on, which are kept as they are; values cut in two by whoever writes them.
"""

import json
import os
import re
from typing import Any, TextIO
from urllib.parse import quote

import orjson

SECRET = re.compile(
    r"TOKEN(?!IZ)|SECRET|PASSW|PASSPHRASE|(^|_|SSH)PASS($|_)|PWD$|CREDENTIAL|HOOK|(^|_)(KEYS?|AUTH|DSN|PAT|PW)($|_)|APIKEY|ACCESSKEY|PRIVATEKEY", re.IGNORECASE
)
"""Of an environment variable's name. SSH_AUTH_SOCK and the like hold paths, which are no secrets: see `_values`."""
SHORTEST = 6
"""A shorter value is a switch or a number; to put *** for it would make words unreadable and hide nothing."""
PASSWORD = re.compile(r"PASS|PWD|PW$", re.IGNORECASE)
"""Of a variable whose value may be digits alone; MAX_TOKEN and the like hold numbers, which are no secrets."""
SHOWN = "***"
STRUCTURE = frozenset(("event", "command", "status", "field", "id", "file", "folder"))
"""Keys of lines whose values are words of ours, or name what must be found again."""
_IN_ADDRESS = re.compile(r"(\b[a-z][a-z0-9+.\-]{1,30}://[^\s/:@\"'\\]{0,200}:)([^\s/@\"'\\]{1,500})(@)", re.IGNORECASE)
"""scheme://user:password@host (RFC 3986, section 3.2.1)."""
_cached: tuple[dict[str, str], re.Pattern[str] | None] = ({}, None)


def _values() -> list[str]:
    """The secret values there are now, the longest first; each also as JSON and as addresses write it, and the password in an address
    alone."""
    found = set()
    for name, value in os.environ.items():
        if len(value) >= SHORTEST and SECRET.search(name) and (PASSWORD.search(name) or not value.isdecimal()) and not os.path.exists(value):
            found |= {value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], quote(value, safe=""), quote(value)}
    return sorted(found, key=len, reverse=True)


def _pattern() -> re.Pattern[str] | None:
    """One expression for all of them; made again where the environment has changed."""
    global _cached
    now = {name: value for name, value in os.environ.items() if SECRET.search(name)}
    if now != _cached[0]:
        values = _values()
        _cached = now, re.compile("|".join(map(re.escape, values))) if values else None
    return _cached[1]


def redacted(text: str) -> str:
    """`text` without the secrets of this process's environment."""
    pattern = _pattern()
    if pattern is not None:
        text = pattern.sub(SHOWN, text)
    return _IN_ADDRESS.sub(rf"\1{SHOWN}\3", text) if "://" in text else text


def redacted_line(line: bytes) -> bytes:
    """A line of JSON with the same done to its texts; those that say what kind of line it is stay, whatever a password is."""
    if not holds_secret(line.decode("utf-8", "surrogateescape")):
        return line
    return orjson.dumps(_walked(orjson.loads(line)), option=orjson.OPT_APPEND_NEWLINE)


def _walked(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: part if name in STRUCTURE else _walked(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_walked(part) for part in value]
    return redacted(value) if isinstance(value, str) else value


def holds_secret(text: str) -> bool:
    """Whether something would be taken out of it."""
    return redacted(text) != text


class Redacting:
    """A text stream whose lines are written without secrets: a worker's stdout and stderr, which are its log."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(redacted(text))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        self.write("".join(lines))

    def __getattr__(self, name: str):
        return getattr(self._stream, name)
