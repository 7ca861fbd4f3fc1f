"""The worker's end of `journal.jsonl`. Light: it is there before torch is imported."""

import importlib.metadata
import os
import socket
import sys
import time
from pathlib import Path

from workbench import living
from workbench.journal import events as ev
from workbench.journal.log import Log
from workbench.journal.redacted import redacted_line


class Journal:
    """Stamps the time and writes, without keys and passwords of the environment. Raises `OSError` where the disk refuses; the line is then not there at all."""

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log = Log(self.folder / "journal.jsonl")

    def write(self, event: ev.Event) -> None:
        event.time = time.time()
        self.log.write(redacted_line(ev.encode(event)))


class Mute:
    """A pen that writes nothing: of several processes that train one run, one writes."""

    def write(self, event: ev.Event) -> None:
        pass


def started(attempt: int = 1, resumed_from: int | None = None) -> ev.Started:
    """The event that says which process, device and packages run."""
    packages = {name: importlib.metadata.version(name) for name in ("torch", "transformers", "peft", "trl", "datasets")}
    device = "cpu"
    if (torch := sys.modules.get("torch")) and torch.cuda.is_available():
        device = torch.cuda.get_device_name()
    return ev.Started(pid=os.getpid(), created=living.created(os.getpid()), attempt=attempt, resumed_from=resumed_from, host=socket.gethostname(),
                      device=device, packages=packages)
