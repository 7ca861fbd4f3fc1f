"""What a person does in the data explorer: noted in the state at once, shown by a thread. Decisions can be undone.

Knows the explorer it belongs to; makes no widget and reads no rows but those on screen.
"""

from typing import Any

from widgets.data_explorer.state import DECIDED, Where


class Actions:
    """The handlers of one explorer's controls."""

    def __init__(self, explorer: Any) -> None:
        self.explorer = explorer
        self._before: list[tuple] = []

    @property
    def can_undo(self) -> bool:
        return bool(self._before)

    # ---- which rows

    def search(self, query: str) -> None:
        self._where(query=query)

    def show(self, show: str) -> None:
        self._where(show=show)

    def threshold(self, value: float) -> None:
        self._where(threshold=round(value, 2))

    def clear(self) -> None:
        self._where(query="", show="all", ranges={}, sources=())

    def span(self, cell: str, low: int, high: int) -> None:
        """A slider's or a brush's two edges of the histogram in `cell`."""
        explorer = self.explorer
        with explorer.locked:
            measure = explorer.measure_of(cell)
            bins = explorer.bins_of(measure)
            if high <= low:  # two handles on one edge mean the bin beside it
                low, high = (low, low + 1) if low + 1 < len(bins.edges) else (low - 1, low)
            bounds = bins.bounds(low, high)
            ranges = {name: value for name, value in explorer.state.where.ranges.items() if name != measure}
            self._where(ranges=ranges if bounds == [None, None] else ranges | {measure: bounds})

    def unbrush(self) -> None:
        self._where(ranges={})

    def quality(self, measure: str) -> None:
        explorer = self.explorer
        with explorer.locked:
            old = explorer.measure_of("quality")
            explorer.state.quality = measure
            self._where(ranges={name: value for name, value in explorer.state.where.ranges.items() if name != old})

    def _where(self, **changes: Any) -> None:
        with self.explorer.locked:
            for name, value in changes.items():
                setattr(self.explorer.state.where, name, value)
        self.explorer.soon()

    # ---- the table

    def table(self, message: dict[str, Any]) -> None:
        """A message of the page's table; see `RowTable`. A row that is none is passed over."""
        kind, explorer = message["kind"], self.explorer
        if kind == "cursor" and type(message["row"]) is int and 0 <= message["row"] < explorer.count:
            explorer.later(lambda: explorer.reach(message["row"]))
            return
        elif kind == "go":
            explorer.later(lambda: explorer.go(str(message["to"])))
            return
        elif kind == "sort" and isinstance(message["key"], str):
            state = explorer.state
            with explorer.locked:
                again = state.sort == message["key"]
                first_down = message["key"] not in ("row", "text", "group")  # of numbers one wants the highest first
                state.descending = not state.descending if again else first_down
                state.sort, state.cursor = message["key"], -1  # the top of the new order is what one sorts for
        elif kind == "mark":
            explorer.later(lambda: self.mark(str(message["how"])))
            return
        elif kind == "undo":
            self.undo()
            return
        explorer.soon()

    # ---- what becomes of them

    def mark(self, how: str, rows: tuple[int, ...] | None = None) -> None:
        """Drops, keeps, flags or picks the row under the cursor; or `rows`."""
        explorer, state = self.explorer, self.explorer.state
        with explorer.locked:
            cursor = explorer.cursor_now()
            if rows is None:
                if cursor is None:
                    return
                rows = (cursor,)
            if how == "pick":
                explorer.pick(explorer.picked + (cursor,) if cursor not in explorer.picked else
                              tuple(row for row in explorer.picked if row != cursor))
            elif how in ("drop", "keep", "flag"):
                self._remember()
                those, dropped, kept, flagged = set(rows), set(state.dropped), set(state.kept), set(state.flagged)
                if how == "flag":
                    flagged = flagged - those if those <= flagged else flagged | those
                elif how == "drop":
                    dropped, kept = dropped | those, kept - those
                else:
                    dropped, flagged = dropped - those, flagged - those
                    state.dropped, state.kept = tuple(sorted(dropped)), tuple(sorted(kept))
                    by_rule = explorer.decided().dropped
                    kept |= {row for row in those if by_rule[row]}
                state.dropped, state.kept, state.flagged = (tuple(sorted(part)) for part in (dropped, kept, flagged))
            if how in ("drop", "keep") and rows == (cursor,):
                explorer.go("next")
        explorer.soon()

    def drop_shown(self) -> None:
        self._rule("drop")

    def keep_only(self) -> None:
        self._rule("keep only")

    def _rule(self, how: str) -> None:
        """What is shown becomes a rule: by what it is (a search, a brush, a finding), or by its numbers where people
        chose it."""
        explorer, state = self.explorer, self.explorer.state
        with explorer.locked:
            where = Where.from_json(state.where.to_json())
            if where.show in DECIDED and not (where.show == "kept" and how == "drop"):
                where = Where(show="rows", rows=tuple(int(row) for row in explorer.order_now()), threshold=where.threshold)
            elif where.show == "kept":
                where.show = "all"
            self._remember()
            state.rules = (*state.rules, {"how": how, "where": where.to_json()})
            if how == "drop" and state.kept:  # what was kept by hand before is dropped with the others now
                shown = set(explorer.order_now().tolist())
                state.kept = tuple(row for row in state.kept if row not in shown)
        explorer.soon()

    def undo(self) -> None:
        with self.explorer.locked:
            if self._before:
                state = self.explorer.state
                state.rules, state.dropped, state.kept, state.flagged = self._before.pop()
        self.explorer.soon()

    def _remember(self) -> None:
        state = self.explorer.state
        self._before = [*self._before[-199:], (state.rules, state.dropped, state.kept, state.flagged)]

    def score(self, model: str) -> None:
        self.explorer.score(model)
