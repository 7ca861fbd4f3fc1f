"""Reading and measuring sources: in a thread of the panel's, source by source, so that a figure comes early and a stop keeps what there is.

Three rounds: open every source (rows), count tokens (lengths), look for copies. Knows the balancer it belongs to only by four functions.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

from widgets.frame.errands import Cancelled
from widgets.frame.threads import thread
from workbench import recipes
from workbench.data import profiles as profiling
from workbench.data.mixture import Mixture, need
from workbench.data.profiles import Profile
from workbench.errors import WorkbenchError

SHOW_S = 0.4
"""Between two figures of a measuring that goes on."""


def tokenizer_of(model: Any) -> Any:
    """The tokenizer itself, a callable, or the one of a model named as a recipe names it."""
    return recipes.load_tokenizer(model) if isinstance(model, str) else model


class Measuring:
    """`Measuring(base, model, most)`; `run(names)` measures here and now, `start(names)` in a thread.

    `found` gets a `Profile` a source, `faults` what is wrong with one that cannot be read.
    """

    def __init__(self, base: Mixture, model: Any, most: int | None) -> None:
        self.base, self.model, self.most = base, model, most
        self.found: dict[str, Profile] = {}
        self.opened: set[str] = {name for name, source in base.sources.items() if isinstance(source, int) or name in (base.counts or {})}
        """Sources whose rows are counted, so that reckoning with them opens nothing."""
        self.faults: dict[str, str] = {}
        self._stop, self._thread = threading.Event(), None

    @property
    def going(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def missing(self, names: list[str]) -> list[str]:
        """Which of them could be measured and are not, or not looked through for copies."""
        return [name for name in names if not isinstance(self.base.sources[name], int) and name not in self.faults
                and not (self._streamed(name) and name in self.opened)
                and (name not in self.found or self.found[name].copies is None)]

    def _streamed(self, name: str) -> bool:
        """Whether its rows only come one after the other: they are counted where somebody says how many there are, and not measured."""
        return type(self.base.sources[name]).__name__ == "IterableDataset"

    def start(self, names: list[str], said: Callable[..., object], changed: Callable[[], object], done: Callable[[], object]) -> None:
        """Measure in a thread. `said(words, done, total)` is called as it goes on, `changed()` where a figure would be another one,
        `done()` at the end, come what may."""
        if self.going:
            return
        self._stop.clear()

        def work() -> None:
            try:
                self.run(names, said, changed)
            except Cancelled:
                pass
            finally:
                done()

        self._thread = thread(work, "balancer measuring")
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Whether the thread ended in that time."""
        if self._thread is not None:
            self._thread.join(timeout_s)
        return not self.going

    def run(self, names: list[str], said: Callable[..., object] = lambda *_: None, changed: Callable[[], object] = lambda: None) -> None:
        """Measures what is not measured yet of `names`. Raises `Cancelled`."""
        names, shown_at = self.missing(names), time.monotonic()

        def show(last: bool = False) -> None:
            nonlocal shown_at
            if last or time.monotonic() - shown_at > SHOW_S:
                changed()
                shown_at = time.monotonic()

        if not names:
            return
        for count, name in enumerate(names):
            self._heard(said, f"Opening {name}", count, len(names))
            with _faults_of(self.faults, name):
                need(not self._streamed(name), "It is a stream of unknown length, so it has no natural share.",
                     f"Say how many rows it has: DatasetBalancer(Mixture(sources, counts={{{name!r}: rows}})).")
                self.base.table(name)
                self.opened.add(name)
        names = self.missing(names)
        show(last=True)
        fresh = [name for name in names if name not in self.found]
        if fresh:
            self._heard(said, "Loading the tokenizer", 0, 0)
            tokenizer = tokenizer_of(self.model)
            self._round(fresh, tokenizer, "Counting tokens of", None, said, show)
            show(last=True)
        else:
            tokenizer = tokenizer_of(self.model)
        self._round(self.missing(names), tokenizer, "Looking for copies in", 0.8, said, show)
        show(last=True)

    def _round(self, names: list[str], tokenizer: Any, words: str, near: float | None, said: Callable, show: Callable) -> None:
        sizes = {name: min(self.base.table(name).num_rows, self.most or 10**12) for name in names}
        total, before = sum(sizes.values()), 0
        for name in names:
            def progress(done: int, _of: int, before: int = before, name: str = name) -> None:
                self._heard(said, f"{words} {name}", before + done, total)

            progress(0, 0)
            with _faults_of(self.faults, name):
                profile = profiling.measure(self.base, name, tokenizer, most=self.most, near=near, progress=progress)
                self.found = self.found | {name: profile}
            before += sizes[name]
            show()

    def _heard(self, said: Callable, words: str, done: int, total: int) -> None:
        if self._stop.is_set():
            raise Cancelled
        said(words, done, total)


class _faults_of:
    """What is wrong with a source is kept under its name; the others go on."""

    def __init__(self, faults: dict[str, str], name: str) -> None:
        self.faults, self.name = faults, name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: Any, _trace: Any) -> bool:
        if isinstance(error, (WorkbenchError, OSError)):
            self.faults[self.name] = str(error)
            return True
        return False
