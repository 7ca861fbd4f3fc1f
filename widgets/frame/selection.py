"""What is picked, shared by every panel: plain sets of ids by kind ("run", "layer", "examples").

Panels write and watch it; they never know each other. Observers are called in the thread that made the change and outside the
lock; they should only enqueue.
"""

import threading
from collections.abc import Callable, Hashable, Iterable

Observer = Callable[[str, frozenset], object]


class Selection:
    """`selection.set("layer", {"layers.0.q_proj"})`; `selection["layer"]` is a frozenset, empty where nothing is picked."""

    def __init__(self, picked: dict[str, Iterable[Hashable]] | None = None) -> None:
        self._lock = threading.RLock()
        self._sets: dict[str, frozenset] = {kind: frozenset(ids) for kind, ids in (picked or {}).items()}
        self._observers: list[tuple[str | None, Observer]] = []

    def __getitem__(self, kind: str) -> frozenset:
        with self._lock:
            return self._sets.get(kind, frozenset())

    def set(self, kind: str, ids: Iterable[Hashable]) -> None:
        """Picks exactly `ids`; a lone string is one id. Observers hear of it only if it differs."""
        ids = frozenset([ids]) if isinstance(ids, (str, bytes)) else frozenset(ids)
        with self._lock:
            if self._sets.get(kind, frozenset()) == ids:
                return
            self._sets[kind] = ids
            heard = [call for wanted, call in self._observers if wanted in (None, kind)]
        for call in heard:
            call(kind, ids)

    def toggle(self, kind: str, one: Hashable) -> None:
        """Adds or takes away one id."""
        with self._lock:
            ids = self[kind] ^ {one}
        self.set(kind, ids)

    def clear(self, kind: str) -> None:
        self.set(kind, ())

    def observe(self, call: Observer, kind: str | None = None) -> Callable[[], None]:
        """Calls `call(kind, ids)` after each change of `kind` (None: of any). Returns the function that ends it."""
        entry = (kind, call)
        with self._lock:
            self._observers.append(entry)

        def stop() -> None:
            with self._lock:
                if entry in self._observers:
                    self._observers.remove(entry)

        return stop

    def as_dict(self) -> dict[str, list]:
        """Sorted lists by kind, for JSON and for `code()`."""
        with self._lock:
            return {kind: sorted(ids, key=str) for kind, ids in self._sets.items() if ids}
