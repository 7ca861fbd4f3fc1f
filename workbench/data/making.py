"""Rows that are being made: attempts, each of which asks a generator and ends in rows or in reasons why not, until there are enough.

`Synthesis` holds all that was made, so an interruption, an error or a reload of the page loses nothing: `make` goes on where it stood, and
with a file of replies so does another process. An attempt's prompts follow from the seed, its number and the rows kept before its round, so
the same generator gives the same rows, interrupted or not. Not here: what is asked and which replies are good (`synthesis.py`).
"""

import hashlib
import random
import threading
from collections import Counter, deque
from collections.abc import Callable, Collection, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.data import generators, ngrams, novelty, replies, sources
from workbench.data.endpoint import Cut
from workbench.data.kept import Kept
from workbench.errors import DataError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

NEAR = "near a row already there"
IN_VAIN = 50
"""Attempts one after the other without a new row, after which it is given up."""


@dataclass(frozen=True, slots=True)
class Made:
    """A row as a generator wrote it. `text` is what must be new; `sources` are numbers of the rows it was made from, from 0."""

    question: str
    answer: str
    text: str
    how: str = ""
    sources: tuple[int, ...] = ()
    apart: frozenset[str] = frozenset()
    """Texts that it may be near: those it grew out of."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """What became no row, and why; `nearest` is the text it is near, where that is why."""

    reason: str
    text: str
    nearest: str = ""
    similarity: float = 0.0


Asking = Generator[str, str, list[Made | Dropped]]
"""An attempt: yields prompts, is sent their replies, returns what came of them."""


@dataclass(slots=True)
class Kind:
    """What `synthesis.py` fills in: `attempt(number, random state, rows kept so far)`; `ends` after so many attempts (None: never);
    rounds of `together` attempts that build on those before them, so that none of the next may be asked beside them (None: any)."""

    name: str
    attempt: Callable[[int, random.Random, list[dict[str, Any]]], Asking]
    ends: int | None = None
    together: int | None = None


@dataclass(slots=True)
class Synthesis:
    """Rows in the making. `make` asks; `rows`, `counts`, `dropped` and `sentence` say at any time what came of it."""

    kind: Kind
    generator: generators.Generator
    shelf: novelty.Shelf
    """What a new row must be unlike: the rows given, and those made."""
    near: float
    """ROUGE-L from which a row is near another; above 1 nothing is."""
    seed: int = 0
    kept: str | Path | None = None
    workers: int = 1
    attempts: int = 0
    """Attempts that are done with."""
    asked: int = 0
    """Prompts the generator was given; replies found in `kept` are not asked for again."""
    counts: Counter[str] = field(default_factory=Counter)
    """"kept", and each reason to drop → how many. They sum to all that the replies held."""
    ended: str = "not begun"
    """Why the last `make` came back."""
    _made: list[dict[str, Any]] = field(default_factory=list)
    _dropped: list[dict[str, Any]] = field(default_factory=list)
    _waiting: deque[tuple[int, Made | Dropped]] = field(default_factory=deque)
    """What came of attempts that are done with, beyond the rows asked for."""
    _fruitful: int = 0
    """Attempts done with when the last row was kept."""
    _replies: Kept = field(init=False)
    _lock: Any = field(default_factory=threading.Lock, init=False)
    _busy: Any = field(default_factory=threading.Lock, init=False)
    _stopped: threading.Event = field(default_factory=threading.Event, init=False)

    def __post_init__(self) -> None:
        whole("seed", self.seed, 0, 0)
        whole("workers", self.workers, 1, 8)
        if isinstance(self.near, bool) or not isinstance(self.near, (int, float)) or not 0 < self.near <= 2:
            raise DataError(f"near is {self.near!r}, which is no similarity.", "Use near=0.7, or 2 to keep what is near too.")
        self._replies = Kept(self.kept, ("reply", "cut"))

    def __repr__(self) -> str:
        return f"Synthesis {self.kind.name}: {self.sentence}"

    # what there is -----------------------------------------------------------------------------------------------------------------

    @property
    def rows(self) -> "pa.Table":
        """The rows kept, in order: `question`, `answer`, `made_by`, `how`, `generator`, `sources`, `similarity` (ROUGE-L to the nearest row
        that was there, 0 to 1) and `attempt`. Raises `DataError` while there are none."""
        if not self._made:
            raise DataError(f"No row was made: {self.sentence}", "Look at .dropped, or call .make(count).")
        import pyarrow as pa

        kinds = dict.fromkeys(self._made[0], pa.string())
        kinds |= {"sources": pa.list_(pa.int64()), "similarity": pa.float64(), "attempt": pa.int64()}
        return sources.finished(pa.Table.from_pylist(list(self._made), pa.schema(list(kinds.items()))), self.kind.name)

    @property
    def dropped(self) -> "pd.DataFrame":
        """One line each: `reason`, `text`, `nearest` (the text it is near, or ""), `similarity` and `attempt`."""
        import pandas as pd

        return pd.DataFrame(list(self._dropped), columns=["reason", "text", "nearest", "similarity", "attempt"])

    @property
    def sentence(self) -> str:
        """"12 rows out of 30 that were written; dropped: 10 near a row already there, 8 too short. Ended: enough rows."""
        gone = [f"{count} {reason}" for reason, count in self.counts.most_common() if reason != "kept"]
        told = f"; dropped: {', '.join(gone)}" if gone else ""
        return f"{self.counts['kept']} rows out of {self.counts.total()} that were written{told}. Ended: {self.ended}."

    # making ------------------------------------------------------------------------------------------------------------------------

    def make(self, count: int | None = None, progress: ngrams.Progress | None = None) -> "Synthesis":
        """Ask until `count` rows are there in all, nothing is left to try, `stop` is called, or `IN_VAIN` attempts in a row gave no row.
        Returns itself; `ended` says which it was.

        `progress` is called with rows done and rows wanted (attempts, where `count` is None). What it or the generator raises goes up, and
        nothing is lost: call `make` again. Raises `DataError` for a count that is none, or while another thread makes.
        """
        if count is None and self.kind.ends is None:
            raise DataError(f"{self.kind.name} never comes to an end by itself.", "Say how many rows: make(100).")
        if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
            raise DataError(f"{count!r} is no number of rows.", "Say how many rows: make(100).")
        if not self._busy.acquire(blocking=False):
            raise DataError("These rows are being made already.", "Wait for it, or call .stop() first.")
        try:
            self._stopped = threading.Event()  # threads that an interruption left behind keep theirs, and ask nothing more
            self.ended = "interrupted"
            self.ended = self._make(count, progress, self._stopped)
        finally:
            self._stopped.set()
            self._busy.release()
        return self

    def stop(self) -> None:
        """From another thread: `make` returns once the replies under way are there."""
        self._stopped.set()

    def _make(self, count: int | None, progress: ngrams.Progress | None, stopped: threading.Event) -> str:
        begun = self.attempts
        while True:
            while self._waiting and (count is None or len(self._made) < count):
                self._take(*self._waiting[0])
                self._waiting.popleft()
            if progress is not None:
                progress(*((min(len(self._made), count), count) if count is not None else (self.attempts, self.kind.ends)))
            if count is not None and len(self._made) >= count:
                return "enough rows"
            if self.kind.ends is not None and self.attempts >= self.kind.ends:
                return "nothing is left to try"
            if self.attempts - max(begun, self._fruitful) >= IN_VAIN:
                return f"given up after {self.attempts - max(begun, self._fruitful)} attempts without a new row"
            if stopped.is_set() or not self._round(stopped):
                return "stopped"

    def _round(self, stopped: threading.Event) -> bool:
        """The next attempts, as many as may be asked at a time. False where they were stopped: then none of them is done with, and their
        replies are kept for when they come again."""
        first, last = self.attempts, self.attempts + self.workers
        for limit in (self.kind.ends, (first // self.kind.together + 1) * self.kind.together if self.kind.together else None):
            last = last if limit is None else min(last, limit)
        before = list(self._made)
        if self.workers == 1:
            found = [self._attempt(first, before, stopped)]
        else:
            pool = ThreadPoolExecutor(self.workers)
            try:
                found = list(pool.map(lambda number: self._attempt(number, before, stopped), range(first, last)))
            except BaseException:
                stopped.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
            pool.shutdown()
        if any(outcome is None for outcome in found):
            return False
        for number, outcome in enumerate(found, start=first):
            self._waiting.extend((number, each) for each in outcome)
        self.attempts = last
        return True

    def _attempt(self, number: int, before: list[dict[str, Any]], stopped: threading.Event) -> list[Made | Dropped] | None:
        """What came of one attempt; None where it was stopped before its end."""
        asking = self.kind.attempt(number, random.Random(f"{self.seed} {self.kind.name} {number}"), before)
        try:
            prompt, turn = next(asking), 0
            while not stopped.is_set():
                reply = self._reply(prompt, number, turn)
                prompt, turn = asking.send(reply), turn + 1
        except StopIteration as end:
            return end.value
        except BaseException:
            stopped.set()  # the others of this round ask for nothing more
            raise
        return None

    def _reply(self, prompt: str, number: int, turn: int) -> str:
        told = f"{generators.name_of(self.generator)}\0{self.kind.name}\0{self.seed}\0{number}\0{turn}\0{prompt}"
        key = hashlib.blake2b(told.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        with self._lock:
            if key in self._replies:
                return _as_told(**self._replies[key])
            self.asked += 1
        reply = self.generator(prompt)
        if not isinstance(reply, str):
            raise DataError(f"The generator answered with {type(reply).__name__}, not text.", "Give one that returns text.")
        line = {"reply": reply.encode("utf-8", "replace").decode(), "cut": isinstance(reply, Cut)}  # half a character cannot be kept
        with self._lock:
            self._replies.add(key, **line)
        return _as_told(**line)  # type: ignore[arg-type]

    def _take(self, number: int, found: Made | Dropped) -> None:
        if isinstance(found, Made):
            found = too_near(self.shelf, found.text, self.near, found.apart) or found
        if isinstance(found, Dropped):
            self.counts[found.reason] += 1
            self._dropped.append({"reason": found.reason, "text": found.text, "nearest": found.nearest,
                                  "similarity": round(found.similarity, 4), "attempt": number})
            return
        similarity, _ = self.shelf.nearest(found.text, found.apart)
        self.counts["kept"] += 1
        self.shelf.add(found.text)
        self._fruitful = self.attempts
        self._made.append({"question": found.question, "answer": found.answer, "made_by": self.kind.name, "how": found.how,
                           "generator": generators.name_of(self.generator), "sources": list(found.sources),
                           "similarity": round(similarity, 4), "attempt": number})


def _as_told(reply: str, cut: bool) -> str:
    return Cut(reply) if cut else reply


def too_near(shelf: novelty.Shelf, text: str, near: float, apart: Collection[str] = ()) -> Dropped | None:
    """Why the text is dropped, where something on the shelf that is none of `apart` is as near as that."""
    similarity, nearest = shelf.nearest(text, apart)
    return Dropped(NEAR, text, shelf.texts[nearest], similarity) if nearest is not None and similarity >= near else None


def begin(kind: Kind, generator: Any, shelf: novelty.Shelf, near: float, seed: int, kept: str | Path | None, beside: Any,
          compared: Callable[[replies.Task], str], workers: int | None = None, **options: Any) -> Synthesis:
    """Everything checked, nothing asked. `beside` are rows that new ones must be unlike too (a test set, an earlier synthesis), by the text
    that `compared` takes of them; `options` those of a local model."""
    asked = generators.generator_of(generator, seed, **options)
    made = Synthesis(kind, asked, shelf, near, seed, kept, int(getattr(asked, "workers", 1)) if workers is None else workers)
    if beside is not None:
        shelf.extend(compared(task) for task in replies.tasks_of(beside))
    return made


def whole(name: str, value: Any, least: int, example: int) -> None:
    """Raises `DataError` where the setting is no whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise DataError(f"{name} is {value!r}; it must be a whole number of at least {least}.", f"Use {name}={example}.")
