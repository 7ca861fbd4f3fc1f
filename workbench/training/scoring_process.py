"""Rewards in a process of their own, so that they are scored while the policy goes on writing.

    python -m workbench.training.scoring_process
One line of JSON each way: first the settings and the answer that the models are there, then replies and their rewards, in order. The
child's own standard output is turned to its log, so that nothing a reward function prints is taken for an answer; it ends when its input
does, which is when its parent is gone. How rewards are had: `scoring.py`.
"""

import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from workbench.alignment import reward_sources
from workbench.alignment.policy_objectives import PolicyObjective
from workbench.errors import RecipeError, RunError, WorkbenchError
from workbench.journal.redacted import Redacting
from workbench.training.scoring import Messages, Scorer

LOG = "rewards.log"
"""In the run folder: what the process says."""
LAST_WORDS = 300
ENDS_S = 5.0
"""How long the process may take to end by itself."""


class ProcessScorer(Scorer):
    """A `Scorer` whose rewards are scored elsewhere: `submit` returns at once, `collect` waits. Functions must be in files."""

    def __init__(self, settings: PolicyObjective, folder: Path | None, device: str):
        super().__init__({}, settings.gold, folder, device)
        for name, source in settings.rewards.items():
            if callable(source):
                raise RecipeError(f"The reward {name!r} is a function in memory, which a process of its own cannot have.",
                                  reward_sources.BY_FILE)
        self.names = tuple(settings.rewards)
        self._collected = 0
        self._log = open(Path(folder) / LOG, "w+b") if folder else tempfile.TemporaryFile()
        self._child = subprocess.Popen([sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log,
                                       env=os.environ | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path)), "PYTHONSAFEPATH": "1"})
        threads = sys.modules["torch"].get_num_threads() if "torch" in sys.modules else None
        self._tell({"rewards": settings.rewards, "folder": str(folder) if folder else None, "device": device, "threads": threads})
        self._hear()

    def submit(self, prompts: Sequence[Messages], replies: Sequence[str], references: Sequence[str] | None = None) -> int:
        self._tell({"prompts": list(prompts), "replies": list(replies), "references": list(references or [""] * len(replies))})
        self._tickets += 1
        return self._tickets

    def collect(self, ticket: int) -> dict[str, np.ndarray]:
        start = time.perf_counter()
        while self._collected < ticket:
            answer = self._hear()
            self._collected += 1
            self.waits["reward"] += answer["idle"]
            self._done[self._collected] = {name: np.array(values, np.float32) for name, values in answer["rewards"].items()}
        self.waits["policy"] += time.perf_counter() - start
        return self._done.pop(ticket)

    def close(self) -> None:
        super().close()
        if self._child.stdin.closed:
            return
        try:
            self._child.stdin.close()
        except BrokenPipeError:
            pass  # it went before its input was empty
        self._child.stdout.close()
        try:
            self._child.wait(ENDS_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._log.close()

    def _tell(self, body: dict[str, Any]) -> None:
        try:
            self._child.stdin.write(orjson.dumps(body) + b"\n")
            self._child.stdin.flush()
        except BrokenPipeError:
            self._hear()  # what it said before it went
            raise self._gone() from None

    def _hear(self) -> dict[str, Any]:
        line = self._child.stdout.readline()
        if not line.endswith(b"\n"):
            raise self._gone()
        answer = orjson.loads(line)
        if "error" in answer:
            raise RunError(answer["error"], answer["remedy"])
        return answer

    def _gone(self) -> RunError:
        code = self._child.wait()
        self._log.seek(0)
        words = self._log.read().decode("utf-8", "replace").strip().splitlines()
        how = f"was ended by signal {-code}" if code < 0 else f"ended with status {code}"
        said = f'; its last words: "{words[-1][:LAST_WORDS]}"' if words else ""
        return RunError(f"The process that scores rewards {how}{said}.",
                        "Mend what it says, then run.resume() goes on from the last checkpoint.")


def main() -> None:
    """The child: until its input ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what functions print goes to the log
    sys.stdout, sys.stderr = Redacting(sys.stdout), Redacting(sys.stderr)  # without the keys that they may show
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def listen(given: Any = os.fdopen(os.dup(0), "rb")) -> None:
        for line in given:
            lines.put(line)
        os._exit(0)  # the parent is gone, or has closed: also in the middle of a batch

    threading.Thread(target=listen, daemon=True).start()

    def answer(body: dict[str, Any]) -> None:
        answers.write(orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY) + b"\n")
        answers.flush()

    try:
        asked = orjson.loads(lines.get())
        scorer = Scorer(asked["rewards"], None, Path(asked["folder"]) if asked["folder"] else None, asked["device"])
        if asked["threads"] and "torch" in sys.modules:  # functions alone need no torch, which takes seconds to import
            sys.modules["torch"].set_num_threads(asked["threads"])
        answer({"ready": True})
        idle_since = None
        while True:
            batch = orjson.loads(lines.get())
            idle = time.perf_counter() - idle_since if idle_since else 0.0
            answer({"rewards": scorer.score(batch["prompts"], batch["replies"], batch["references"]), "idle": idle})
            idle_since = time.perf_counter()
    except WorkbenchError as error:
        answer({"error": error.what, "remedy": error.remedy})
        sys.exit(1)


if __name__ == "__main__":
    main()
