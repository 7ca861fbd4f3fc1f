"""What is asked of a run while it runs: `commands.jsonl`, written by any notebook, read by the worker at each step boundary.

    {"command":"set","id":"b1e...","time":1795255200.1,"by":"ada","values":{"learning_rate":0.0001},"at_step":null}

Each is echoed in the journal with the step at which it took effect (`Changed`, `Paused`, `Answered`, `Refused`, ...).
"""

import dataclasses
import getpass
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import orjson

from workbench.journal.log import append
from workbench.journal.redacted import redacted_line

KINDS: dict[str, type["Command"]] = {}


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user id without a name
        return ""


@dataclass(slots=True, kw_only=True)
class Command:
    kind: ClassVar[str] = ""
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    time: float = field(default_factory=time.time)
    by: str = field(default_factory=_user)

    def __init_subclass__(cls, **kw: Any):
        super(Command, cls).__init_subclass__(**kw)
        KINDS[cls.kind] = cls


@dataclass(slots=True, kw_only=True)
class Set(Command):
    """Change settings: at the next step boundary, or when `at_step` steps are done."""

    kind: ClassVar[str] = "set"
    values: dict[str, Any]
    at_step: int | None = None


@dataclass(slots=True, kw_only=True)
class Pause(Command):
    kind: ClassVar[str] = "pause"
    at_step: int | None = None


@dataclass(slots=True, kw_only=True)
class Resume(Command):
    kind: ClassVar[str] = "resume"


@dataclass(slots=True, kw_only=True)
class TakeSteps(Command):
    """While paused: take `count` steps and pause again."""

    kind: ClassVar[str] = "take_steps"
    count: int = 1


@dataclass(slots=True, kw_only=True)
class Stop(Command):
    kind: ClassVar[str] = "stop"
    at_step: int | None = None


@dataclass(slots=True, kw_only=True)
class Probe(Command):
    """A question to the model: `generate`, `next_tokens` or `losses`, with its arguments."""

    kind: ClassVar[str] = "probe"
    probe: str
    arguments: dict[str, Any] = field(default_factory=dict)


def encode(command: Command) -> bytes:
    body = {"command": command.kind}
    for f in dataclasses.fields(command):
        body[f.name] = getattr(command, f.name)
    return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE)


def decode(line: bytes) -> Command:
    """The command on one line; `ValueError` where there is none."""
    body = orjson.loads(line)
    if not isinstance(body, dict) or not isinstance(body.get("command"), str) or body["command"] not in KINDS:
        raise ValueError("not a command")
    cls = KINDS[body.pop("command")]
    try:
        command = cls(**body)
    except TypeError as error:
        raise ValueError(f"not a {cls.kind} command: {error}") from error
    if not _well_formed(command):
        raise ValueError(f"not a {cls.kind} command: {body}")
    return command


def _well_formed(command: Command) -> bool:
    """Anybody may write the file, and a bad line must not end the run."""
    at_step, values = getattr(command, "at_step", None), getattr(command, "values", {})
    return (isinstance(command.id, str) and isinstance(command.by, str) and type(command.time) in (int, float) and (at_step is None or type(at_step) is int)
            and isinstance(values, dict) and isinstance(getattr(command, "arguments", {}), dict) and isinstance(getattr(command, "probe", ""), str)
            and type(getattr(command, "count", 1)) is int)


def size(folder: Path) -> int:
    """Bytes of commands there are now."""
    path = Path(folder) / "commands.jsonl"
    return path.stat().st_size if path.exists() else 0


def send(folder: Path, command: Command) -> str:
    """Append `command` to the run's commands; returns its id."""
    append(Path(folder) / "commands.jsonl", redacted_line(encode(command)))
    return command.id
