"""Panel 10, the preference arena: which reply is better, and do people agree?

`PreferenceArena("preferences.db")` judges what a store holds, blind; under Results it shows what came of it. Numbers are made in
`reading.py`, drawn in `figure.py`, said in `words.py`; here they are joined. Whatever asks the database is done by a thread, and what
others judge is seen within a second or so.
"""

import getpass
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from widgets.frame.markup import escape
from widgets.frame.panel import Panel
from widgets.frame.selection import Selection
from widgets.frame.sheet import number
from widgets.frame.status import Sentence
from widgets.preference_arena import figure as drawing
from widgets.preference_arena import reading, words
from widgets.preference_arena.actions import Actions
from widgets.preference_arena.controls import Controls
from widgets.preference_arena.state import SCORES, State
from workbench.alignment import PreferenceStore
from workbench.alignment.preference_database import shown
from workbench.errors import DataError, WorkbenchError

WATCH_S = 1.0
"""Between two looks at what others judged."""
REST, LONGEST_REST_S = 4, 5.0
"""Reading the results again waits so many times as long as the last reading took, up to so long: thirty people judge faster than all of it
can be read."""


class PreferenceArena(Panel):
    """`PreferenceArena(store)`: a `PreferenceStore`, a file of SQLite (made where it is not there) or the URL of PostgreSQL.

    `judge` is who judges here, the user's name unless given. Results: `table` (the rows made last), `rows(kind)`, `counts` and `found`.
    Without a page `item` is what is shown, and `ask`, `vote`, `skip` and `undo` do what keys do.
    """

    title = "Preference arena"
    question = "which reply is better, and do people agree?"
    help_text: ClassVar[str] = words.HELP
    State = State

    def __init__(self, store: Any = None, *, judge: str = "", state: State | None = None, selection: Selection | None = None) -> None:
        super().__init__(state or State(), selection)
        self.ordered: tuple[list[str], dict[str, Any], dict[str, Any]] | None = None
        """Prompts, sources and options of `from_replies`."""
        self.collecting = False
        """Whether models write replies now."""
        self.counts, self.found, self.fault = reading.Counts(), reading.Results(), ""
        self.item: Any = None
        self.kind = self.state.kind
        """How `item` is judged: what the state says when it was asked for."""
        self.token = 0
        """Of what is shown: a new one for each item."""
        self.table: Any = None
        self.said, self.rows_said = "", ""
        self.made: Controls | None = None
        self.address: Any = self.state.source if store is None else store
        """What the store is opened from, its password included."""
        self._store: PreferenceStore | None = store if isinstance(store, PreferenceStore) else None
        self.state.source = self._named(self.address)
        self.state.judge = judge or self.state.judge or _user()
        self.actions = Actions(self)
        self._history: list[tuple[str, str, str, Any]] = []
        self._skipped: set[frozenset[int]] = set()
        self._counted = self._read = None
        self._next_read = 0.0
        self._threaded = False

    @classmethod
    def from_replies(
        cls, prompts: Iterable[str], sources: Mapping[str, Any], store: Any = None, *, judge: str = "", **options: Any
    ) -> "PreferenceArena":
        """An arena that asks `sources` (runs, checkpoints, model folders, endpoints, functions, by name) for replies to `prompts` in the
        background, as `workbench.evaluation.replies.collect_replies` does; `options` are those of it. Without a page `collect()` asks
        them. Raises `WorkbenchError` for prompts and sources that cannot be."""
        from workbench.evaluation.replies import checked

        asked, _ = checked(prompts, sources, **options)
        made = cls(store, judge=judge)
        made.ordered = (asked, dict(sources), options)
        return made

    # ---- the store

    @property
    def store(self) -> PreferenceStore:
        """Opened at its first use. Raises `DataError` where it cannot be."""
        if self._store is None:
            self._store = PreferenceStore(self.address)
        return self._store

    def open(self, source: Any) -> None:
        """Another store; what was seen of the last one stays until this one is read."""
        if self._store is not None:
            self._store.close()
        self._store, self.address, self.fault = source if isinstance(source, PreferenceStore) else None, source, ""
        self.state.source = self._named(source)
        self._counted = self._read = None
        self.item, self.said, self._history, self._skipped = None, "", [], set()

    def collect(self, progress: Callable[[int, int], object] | None = None) -> "PreferenceArena":
        """Asks for the replies of `from_replies` that are not there yet. Raises `WorkbenchError` where a source cannot be asked."""
        from workbench.evaluation.replies import collect_replies

        if self.ordered is not None:
            prompts, sources, options = self.ordered
            collect_replies(prompts, sources, self.store, progress=progress, **options)
        return self

    def look(self) -> "PreferenceArena":
        """Counts and results as they are now; raises `DataError` where the store cannot be read."""
        store = self.store
        state = store.state()
        if state != self._counted:
            counts = reading.count(store)
            if self._counted is None:  # another store
                self.found = reading.Results()
            self.counts, self._counted = counts, state
        if self.state.view == "results" and state != self._read:
            self.found, self._read = reading.read(store), state
        self.fault = ""
        return self

    def watch(self) -> None:
        """Brings a shown panel up to date with what everybody judged; from a thread."""
        before = self._counted, self._read, self.fault
        if self.fault and self._store is None:
            return  # it did not open: that is tried again when somebody asks for it
        results, began = self.state.view == "results", time.monotonic()
        if results and self._read is not None and began < self._next_read:
            return
        try:
            self.look()
        except WorkbenchError as error:
            self.store_failed(error)
        else:
            self._next_read = time.monotonic() + min(REST * (time.monotonic() - began), LONGEST_REST_S)
            if before[2]:
                self.clear_error(self.made.source)
            if self.item is None and before[0] != self._counted and self.counts.replies:
                self.ask()
        if before != (self._counted, self._read, self.fault):
            self.refresh()

    def store_failed(self, error: WorkbenchError) -> None:
        """Said at the field that names the store; the last good figure stays."""
        if self.fault != str(error):
            self.fault = str(error)
            if self.made is not None:
                self.show_error(self.made.source, self.fault, ("Try again", self.actions.again))

    # ---- judging

    def ask(self) -> Any:
        """What is judged next, an `Item` or None where nothing is left; what was skipped comes again when nothing else is left."""
        state = self.state
        if self._history and self._history[-1][1] != state.judge:
            self._history, self._skipped = [], set()
        many = {"pair": 2, "ranking": state.replies}.get(state.kind, 1)
        self.item = self.store.next(state.judge, state.kind, replies=many, skipped=self._skipped)
        if self.item is None and self._skipped:
            self._skipped = set()
            self.item = self.store.next(state.judge, state.kind, replies=many)
        self.kind = state.kind
        self.token += 1
        return self.item

    def vote(self, verdict: Any, number: str = "") -> str:
        """Judges `item`: "left", "right" or "tie" of a pair, the places of a ranking (from 0, the best first), True or False of a thumb, or
        {criterion: score}; then asks for the next. Returns the judgement's number. Raises `DataError` for anything else, and where nothing
        is shown."""
        if self.item is None:
            raise DataError("There is nothing to judge.", "Ask for an item first; add prompts with replies where none is left.")
        judge = self.state.judge
        give = {"pair": self.store.judge, "ranking": self.store.rank, "thumbs": self.store.thumb, "scores": self.store.score}[self.kind]
        number = give(self.item, verdict, judge, number=number)
        self._history.append((number, judge, self.kind, self.item))
        self.said = f"Kept: {_words(self.kind, verdict)}."
        self.ask()
        return number

    def skip(self) -> None:
        """Another one instead; nothing is kept of it."""
        if self.item is not None:
            self._skipped.add(frozenset(self.item.reply_ids))
            self.said = "Skipped."
        self.ask()

    def undo(self) -> None:
        """Takes the last judgement given here back and shows it again."""
        if self._history:
            number, judge, kind, item = self._history[-1]
            self.store.withdraw(number, judge)
            self._history.pop()
            self.item, self.kind, self.said = item, kind, "Taken back."
            self.token += 1

    # ---- rows

    def rows(self, kind: str | None = None) -> Any:
        """Training rows as a table: "paired", "ranked" or "unpaired" (the state's unless given). Raises `DataError` where no judgement
        gives any."""
        return self.store.rows(kind or self.state.rows)

    def make_rows(self) -> Any:
        """The rows of the state, written into its file where it names one; kept in `table`."""
        state = self.state
        self.table = self.store.save_rows(state.file, state.rows) if state.file else self.store.rows(state.rows)
        there = f"in {state.file} and in panel.table" if state.file else "in panel.table"
        self.rows_said = f"{words.many(self.table.num_rows, f'{state.rows} row')} {there}; wb.Recipe(data=...) takes them."
        return self.table

    # ---- what it shows, pure

    def _ready(self) -> None:
        """A panel on its own reads before it answers; one in a page shows what its thread has read so far."""
        if not self._threaded:
            try:
                self.look()
            except WorkbenchError as error:
                self.fault = str(error)

    def figure(self, width: str = "wide") -> dict:
        self._ready()
        if self.state.view == "judge":
            return drawing.progress(self.counts, self.state.judge, width)
        empty = ("No results", "The store cannot be read.") if self.fault else words.no_picture(self.counts)
        return drawing.figure(self.found, width, empty)

    def summary(self) -> Sentence:
        self._ready()
        if self.state.view == "judge":
            return words.judging(self.counts, self.state, self.fault, self.collecting)
        return words.results(self.found, self.counts, self.fault)

    def code(self) -> str:
        source = self.state.source
        return words.code(self.state, repr(source) if "***" not in source else 'os.environ["PREFERENCES_URL"]')

    def extra_html(self) -> str:
        from widgets.frame import controls

        if self.state.view == "judge":
            if self.item is None:
                return ""
            shown = [("Prompt", self.item.prompt), *((f"Reply {place}", text) for place, text in enumerate(self.item.replies, start=1))]
            return "".join(f'<p><b>{name}</b></p><p style="white-space:pre-wrap">{escape(text)}</p>' for name, text in shown)
        rows = [
            [
                one.model,
                "–" if one.rating is None else number(one.rating),
                "–" if one.low is None else f"{number(one.low)}\u00a0to\u00a0{number(one.high)}",
                number(one.elo),
                number(one.votes),
            ]
            for one in self.found.models
        ]
        table = (
            controls.table_html(["model", "Bradley-Terry", "95 % interval", "Elo", "votes"], rows, numeric=range(1, 5), caption="Ratings")
            if rows
            else ""
        )
        return table + "".join(f"<p>{escape(line)}</p>" for line in words.about(self.found))

    # ---- the live widget

    def controls(self) -> list:
        if self.made is None:
            self.made = Controls(self.actions, self.state)
        return self.made.column

    def above(self) -> Any:
        self.controls()
        return self.made.above

    def extra(self) -> Any:
        self.controls()
        return self.made.about

    def _build(self) -> None:
        self._threaded = True
        super()._build()
        self._show()
        self.actions.begin()
        self.every(self._look_around, WATCH_S)

    def _look_around(self) -> None:
        """Called by the pump, which must not wait for a database."""
        self.actions.errands.add(self.watch, "count")

    def refresh(self) -> None:
        """Everything again: figure, sentence, code, controls, desk; from any thread."""
        with self._lock:
            if self._root is not None:
                super().refresh()
                self._show()

    def _show(self) -> None:
        state, item = self.state, self.item
        self.made.show(state, self.rows_said, words.about(self.found))
        shown: dict[str, Any] = {"token": self.token, "kind": self.kind, "said": self.said, "undo": bool(self._history)}
        if item is not None:
            shown |= {"prompt": item.prompt, "replies": list(item.replies), "criteria": list(state.criteria), "scores": list(SCORES)}
        elif self.fault:
            shown["empty"] = "The store cannot be read."
        elif self.token:
            shown["empty"] = self._nothing()
        if self.made.desk.shown != shown:
            self.made.desk.shown = shown

    def _nothing(self) -> str:
        if self.collecting:
            return f"{words.WRITING} Nothing is to be done meanwhile."
        if not self.counts.replies:
            return (
                "Nothing to judge yet. Add some: store.add(prompt, {model: reply, ...}), or PreferenceArena.from_replies(prompts, sources)."
            )
        return (
            f"Nothing is left to judge for {self.state.judge}. Thank you."
            if self.state.kind != "ranking" or self.counts.possible("ranking", self.state.replies)
            else f"No prompt has {self.state.replies} different replies to rank."
        )

    @staticmethod
    def _named(source: Any) -> str:
        """The store as people write it: a file relative to the folder of now, a URL without its password."""
        text = source.address if isinstance(source, PreferenceStore) else os.fspath(source)
        if "://" in text:
            try:
                return shown(text)
            except DataError:  # what it holds cannot be told apart
                return text.partition("://")[0] + "://***"
        path = Path(text).expanduser()
        return (
            str(path.resolve().relative_to(Path.cwd())) if path.is_absolute() and path.resolve().is_relative_to(Path.cwd()) else str(path)
        )


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no such user in a container
        return "me"


def _words(kind: str, verdict: Any) -> str:
    if kind == "pair":
        return {"left": "reply 1 is better", "right": "reply 2 is better", "tie": "a tie"}[verdict]
    if kind == "ranking":
        return "reply " + ", then ".join(str(place + 1) for place in verdict)
    return ("good" if verdict else "not good") if kind == "thumbs" else ", ".join(f"{name} {value:g}" for name, value in verdict.items())
