"""What a run writes into `journal.jsonl`: one typed event a line, written by the worker alone.

    {"v":1,"event":"step","time":1795255200.1,"step":40,"loss":2.31,"learning_rate":0.0003,...}

`step` is always the number of optimizer steps completed when the thing happened. Unknown events of a newer version are kept as
`Unknown`, never an error. Not here: how lines reach the disk (`log.py`) and what readers make of them (`history.py`).
"""

import dataclasses
import types
import typing
from dataclasses import dataclass, field
from typing import Any, ClassVar

import orjson

from workbench.legible import whole_characters

VERSION = 1
LAST_TIME = 2e11
"""Seconds since 1970, in the year 8307: what lies beyond has no date."""
KINDS: dict[str, type["Event"]] = {}


@dataclass(slots=True, kw_only=True)
class Event:
    """The base of every event; `time` is seconds since 1970 on the worker's clock."""

    kind: ClassVar[str] = ""
    time: float = 0.0

    def __init_subclass__(cls, **kw: Any):
        super(Event, cls).__init_subclass__(**kw)
        KINDS[cls.kind] = cls


@dataclass(slots=True, kw_only=True)
class Queued(Event):
    """`{"event":"queued","position":2,"behind":["town-lora8"]}`: waits for the device; position 1 is next.

    `behind` names the first runs ahead of it, `people` whose they are ([] where all are its own person's); `mine` counts those ahead that wait and are its own person's.
    """

    kind: ClassVar[str] = "queued"
    position: int
    behind: list[str] = field(default_factory=list)
    people: list[str] = field(default_factory=list)
    mine: int = 0


@dataclass(slots=True, kw_only=True)
class Started(Event):
    """`{"event":"started","pid":712,"attempt":1,"resumed_from":null,...}`: a worker has the run and the device.

    `resumed_from` is the step of the checkpoint it goes on from; readers forget every later step they had.
    """

    kind: ClassVar[str] = "started"
    pid: int
    attempt: int = 1
    resumed_from: int | None = None
    created: float = 0.0
    """When the process was created, in seconds after the machine started, so that a reused pid is not taken for it."""
    host: str = ""
    device: str = ""
    packages: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Forked(Event):
    """`{"event":"forked","parent":"/runs/a","step":100,"checkpoint":80}`: the events before it are the parent's own."""

    kind: ClassVar[str] = "forked"
    parent: str
    step: int
    checkpoint: int


@dataclass(slots=True, kw_only=True)
class Prepared(Event):
    """`{"event":"prepared","rows":900,"dropped":{"answer cut off by max_length":2},"steps":200,...}`: rows and model are ready.

    `rows` are the examples kept, `dropped` counts those with no trainable token by reason, `tokens`/`trained_tokens` are totals over
    the kept rows, `notes` are sentences a person should know (no chat template, pad = EOS, ...). Of a mixture, `mixture` is each source's share of the examples at
    the start and `source_rows` how many rows it has.
    """

    kind: ClassVar[str] = "prepared"
    rows: int
    heldout_rows: int
    dropped: dict[str, int]
    truncated: int
    tokens: int
    trained_tokens: int
    parameters: int
    trainable_parameters: int
    steps: int
    start_step: int = 0
    notes: list[str] = field(default_factory=list)
    mixture: dict[str, float] = field(default_factory=dict)
    source_rows: dict[str, int] = field(default_factory=dict)
    planned: dict[str, int] = field(default_factory=dict)
    """Bytes that a step is planned to take, by component; "total", the most at one moment; "before", what the process had before the
    model; and the "sequence_length" planned for, the longest row. {} where nothing was planned."""


@dataclass(slots=True, kw_only=True)
class Launched(Event):
    """`{"event":"launched","step":0,"strategy":"fsdp","pids":[71,72],"hosts":["a","a"],"shares":[0.5,0.5],"backend":"gloo"}`: several processes
    train this run, and how they share the model was looked at: `shares` of the weights that each of them holds, by rank."""

    kind: ClassVar[str] = "launched"
    step: int
    strategy: str
    pids: list[int]
    hosts: list[str] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    backend: str = ""


@dataclass(slots=True, kw_only=True)
class Step(Event):
    """`{"event":"step","step":41,"loss":2.29,...}`: one optimizer step. Loss in nats per trained token, `grad_norm` before clipping.

    `tokens` are real (non-padding) tokens read in this step; `memory_gib` the process's resident memory on CPU, the peak allocated
    on the device on GPU. What a trainer logs beyond these is in `extra`, and of a mixture "rows/NAME", the step's rows of each source. None where unknown or not finite.
    """

    kind: ClassVar[str] = "step"
    step: int
    loss: float | None = None
    learning_rate: float | None = None
    grad_norm: float | None = None
    epoch: float | None = None
    tokens: int | None = None
    tokens_per_s: float | None = None
    memory_gib: float | None = None
    extra: dict[str, float | None] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Evaluated(Event):
    """`{"event":"evaluated","step":40,"loss":2.4,"seconds":0.3,"best":true}`: loss on the held-out rows, nats per trained token."""

    kind: ClassVar[str] = "evaluated"
    step: int
    loss: float | None
    seconds: float = 0.0
    best: bool = False
    extra: dict[str, float | None] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Sampled(Event):
    """`{"event":"sampled","step":40,"prompt":"...","reply":"...","reference":"...","verdict":"right"}`: greedy reply at an evaluation."""

    kind: ClassVar[str] = "sampled"
    step: int
    prompt: str
    reply: str
    reference: str = ""
    verdict: str = ""


@dataclass(slots=True, kw_only=True)
class Arrays(Event):
    """`{"event":"arrays","step":40,"name":"gaps","file":"arrays/gaps-000040.safetensors"}`: columns too long for a line, whole in that file
    of the run's folder."""

    kind: ClassVar[str] = "arrays"
    step: int
    name: str
    file: str


@dataclass(slots=True, kw_only=True)
class Replied(Event):
    """`{"event":"replied","step":40,"prompt":"...","reply":"...","tokens":["Mira"," bakes"],"logp":[-0.1,-0.4],...}`: a reply that a policy
    drew at an evaluation, token by token, with the log-probability (nats) of each under the policy and under its reference.

    `rewards` has each reward by name as it was given, `reward` their weighted sum, `gold` what the grader that is only watched says.
    """

    kind: ClassVar[str] = "replied"
    step: int
    prompt: str
    reply: str
    tokens: list[str] = field(default_factory=list)
    logp: list[float] = field(default_factory=list)
    logp_reference: list[float] = field(default_factory=list)
    reward: float | None = None
    gold: float | None = None
    rewards: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Saved(Event):
    """`{"event":"saved","step":40,"folder":"checkpoints/step-000040"}`: a whole checkpoint, written, synced and renamed."""

    kind: ClassVar[str] = "saved"
    step: int
    folder: str


@dataclass(slots=True, kw_only=True)
class Changed(Event):
    """`{"event":"changed","step":57,"field":"learning_rate","old":0.0003,"new":0.0001,"command":"..."}`: in force from step + 1 on."""

    kind: ClassVar[str] = "changed"
    step: int
    field: str
    old: Any
    new: Any
    command: str = ""
    by: str = ""


@dataclass(slots=True, kw_only=True)
class Paused(Event):
    """`{"event":"paused","step":57,"command":"..."}`: the model stays loaded and answers probes."""

    kind: ClassVar[str] = "paused"
    step: int
    command: str = ""


@dataclass(slots=True, kw_only=True)
class Resumed(Event):
    """`{"event":"resumed","step":57,"command":"..."}`: goes on after a pause."""

    kind: ClassVar[str] = "resumed"
    step: int
    command: str = ""


@dataclass(slots=True, kw_only=True)
class Answered(Event):
    """`{"event":"answered","step":57,"command":"...","result":"Mira is a baker."}`: the answer to a probe; `error` if it had none."""

    kind: ClassVar[str] = "answered"
    step: int
    command: str
    result: Any = None
    error: str = ""


@dataclass(slots=True, kw_only=True)
class Refused(Event):
    """`{"event":"refused","step":57,"command":"...","reason":"..."}`: a command that could not be carried out."""

    kind: ClassVar[str] = "refused"
    step: int
    command: str
    reason: str


@dataclass(slots=True, kw_only=True)
class Reported(Event):
    """`{"event":"reported","tracker":"mlflow","url":"http://.../runs/3f2a","run":"3f2a"}`: a tracker follows this run.

    `url` is its page there, or `folder` where its files lie and `command` what shows them; `run` the tracker's own name for it. No keys.
    """

    kind: ClassVar[str] = "reported"
    tracker: str
    url: str = ""
    folder: str = ""
    command: str = ""
    run: str = ""


@dataclass(slots=True, kw_only=True)
class Noted(Event):
    """`{"event":"noted","step":40,"note":"The webhook did not answer."}`: a sentence a person should know, said while the run goes."""

    kind: ClassVar[str] = "noted"
    step: int
    note: str


@dataclass(slots=True, kw_only=True)
class Ended(Event):
    """`{"event":"ended","step":200,"status":"finished","result":"result"}`: the worker's last word.

    `status` is finished, stopped or failed; `reason` and `remedy` are sentences.
    """

    kind: ClassVar[str] = "ended"
    step: int
    status: str
    reason: str = ""
    remedy: str = ""
    result: str = ""


@dataclass(slots=True, kw_only=True)
class Unknown(Event):
    """An event this version does not know."""

    kind: ClassVar[str] = "unknown"
    event: str
    fields: dict[str, Any]


_FIELDS = {kind: frozenset(f.name for f in dataclasses.fields(cls)) for kind, cls in KINDS.items()}
_NUMBER = (int, float)


def _accepted(annotation: Any) -> tuple[type, ...] | None:
    """The types a field's value may have on the line; None where any may."""
    parts = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    if Any in parts:
        return None
    out: list[type] = []
    for part in parts:
        part = typing.get_origin(part) or part
        out += _NUMBER if part is float else [part]
    return tuple(out)


_TYPES = {kind: [(f.name, _accepted(f.type)) for f in dataclasses.fields(cls) if _accepted(f.type)] for kind, cls in KINDS.items()}


_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE


def encode(event: Event) -> bytes:
    """One line, newline included. Floats that are not finite become null, half characters (in names of files) U+FFFD."""
    body = {"v": VERSION, "event": event.kind}
    for f in dataclasses.fields(event):
        body[f.name] = getattr(event, f.name)
    try:
        return orjson.dumps(body, option=_OPTIONS)
    except TypeError:  # half a character, or what is no JSON at all and raises again
        return orjson.dumps(_whole(body), option=_OPTIONS)


def _whole(node: Any) -> Any:
    if isinstance(node, str):
        return whole_characters(node)
    if isinstance(node, dict):
        return {_whole(name): _whole(value) for name, value in node.items()}
    return [_whole(value) for value in node] if isinstance(node, (list, tuple)) else node


def decode(line: bytes) -> Event:
    """The event on one line. Raises `ValueError` where the line is not an event (torn or damaged)."""
    body = orjson.loads(line)
    if not isinstance(body, dict) or "event" not in body:
        raise ValueError("not an event")
    body.pop("v", None)
    kind, when = body.pop("event"), body.get("time", 0.0)
    if not isinstance(kind, str) or type(when) not in _NUMBER or not 0 <= when <= LAST_TIME:
        raise ValueError(f"not an event: {kind!r} at {when!r}")
    cls = KINDS.get(kind)
    if cls is None:
        return Unknown(time=body.pop("time", 0.0), event=str(kind), fields=body)
    known = _FIELDS[kind]
    try:
        event = cls(**(body if body.keys() <= known else {k: v for k, v in body.items() if k in known}))
    except TypeError as error:
        raise ValueError(f"not a {kind} event: {error}") from error
    for name, accepted in _TYPES[kind]:
        if not isinstance(getattr(event, name), accepted):
            raise ValueError(f"not a {kind} event: {name} is {getattr(event, name)!r}")
    extra = getattr(event, "extra", None)
    if extra and not all(value is None or isinstance(value, _NUMBER) for value in extra.values()):
        raise ValueError(f"not a {kind} event: extra holds what is no number")
    if extra and not extra.keys().isdisjoint(known):  # what has a place of its own is taken from there
        kept = {name: value for name, value in extra.items() if name not in known}
        return dataclasses.replace(event, **{"extra": kept})  # type: ignore[arg-type]  # typed as any event, which has none
    return event
