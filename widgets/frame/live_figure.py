"""A plotly figure that lives in a notebook page: one plotly.js for each page, numbers as binary deltas, whole again after a reload.

Python holds the full figure. The page gets it once and from then on only what differs: appended points, changed columns, changed
paths of the layout, at most ten times a second unless told otherwise, from any thread. Long lines are thinned out for the screen (M4) and sent again in
full resolution where a person zooms in. Does not compute figures, and does not draw without a page: see static.py for that.
"""

import gzip
import threading
import time
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets

from widgets.frame import columns, downsample, static, theme
from widgets.frame.pump import Pump

FRAME_S = 0.1
"""Deltas closer together than this are sent as one, where `frame_ms` says nothing else."""
RESEND_S = 90
"""A page that asks again within this gets no second copy of plotly.js: on 1 Mbit/s the first travels for 12 s, behind what was sent before."""


@cache
def plotly_js_gz() -> bytes:
    """plotly.js as the installed plotly package carries it, gzipped."""
    return gzip.compress(files("plotly").joinpath("package_data/plotly.min.js").read_bytes(), compresslevel=6, mtime=0)


@cache
def plotly_version() -> str:
    import plotly

    return plotly.__version__


class LiveFigure(anywidget.AnyWidget):
    """`LiveFigure({"wide": figure, "medium": figure, "narrow": figure})` or `LiveFigure(figure)` for all widths.

    A figure is a plotly dict or a plotly.graph_objects.Figure; traces that grow should carry the same `uid` in every width class.
    All methods may be called from any thread.
    """

    _esm = Path(__file__).with_name("live_figure.js").read_text(encoding="utf-8")
    _css = theme.css()
    _full = traitlets.Dict().tag(sync=True)
    summary = traitlets.Unicode("").tag(sync=True)
    """The sentence a screen reader says for the picture."""
    plotly_key = traitlets.Unicode("").tag(sync=True)
    frame_ms = traitlets.Int(round(1000 * FRAME_S)).tag(sync=True)
    """Frames come at most so often; a figure that follows a hand wants more of them than one that follows a run."""

    plotly_copies = 0
    """How often this kernel sent plotly.js."""
    _plotly_sent: dict[str, float] = {}
    """When, by the page's own name for itself, of those of the last `RESEND_S`."""
    _plotly_lock = threading.Lock()

    def __init__(self, figures: Any, summary: str = "", pump: Pump | None = None, **more: Any) -> None:
        self._lock = threading.RLock()
        self._columns: dict[str, columns.Column] = {}
        self._specs: dict[str, dict] = {}
        self._sent_specs: dict[str, dict] | None = None
        self._windows: dict[str, tuple[float, float]] = {}
        self._version, self._sent_at, self._waiting = 0, 0.0, False
        self._views: set[str] = set()
        self._listeners: list[Callable[[dict], object]] = []
        self._pictures: dict[int, tuple[threading.Event, list[str]]] = {}
        self._pump = pump or Pump.shared()
        self.sent_bytes = 0  # of deltas, for tests and for the curious
        self._set(figures)
        super().__init__(summary=summary, plotly_key=plotly_version(), **more)
        self.on_msg(self._heard)

    # ---- what the figure is

    @property
    def figures(self) -> dict[str, dict]:
        """The full figures by width class, every point, numbers as float64 arrays."""
        with self._lock:
            return {width: columns.join(spec, self._columns.__getitem__) for width, spec in self._specs.items()}

    @property
    def open_views(self) -> int:
        """How many pages or views have asked for the figure and not gone since."""
        return len(self._views)

    # ---- changing it

    def set_figures(self, figures: Any, summary: str | None = None) -> None:
        """Takes whole figures; the page is sent only what differs from the last ones."""
        with self._lock:
            self._set(figures)
        self._changed(summary)

    def extend(self, points: dict[str | int, tuple[Any, Any]], summary: str | None = None) -> None:
        """Appends points: {trace uid or place in the list: (x values, y values)}. Raises KeyError for a trace it has not."""
        with self._lock:
            for trace, (x, y) in points.items():
                x, y = np.atleast_1d(np.asarray(x, dtype=float)), np.atleast_1d(np.asarray(y, dtype=float))
                if len(x) != len(y):
                    raise ValueError(f"trace {trace!r} got {len(x)} x and {len(y)} y values; give as many of each.")
                for column in self._columns_of(trace):
                    column.append(x, y)
        self._changed(summary)

    def replace(self, values: dict[str | int, tuple[Any, Any]], summary: str | None = None) -> None:
        """Puts new x and y in the place of a trace's old ones."""
        with self._lock:
            for trace, (x, y) in values.items():
                for column in self._columns_of(trace):
                    column.become(np.asarray(x, dtype=float), np.asarray(y, dtype=float))
        self._changed(summary)

    def set_layout(self, patch: dict, width: str | None = None) -> None:
        """Lays `patch` over the layout of one width class or of all: dicts merge, lists replace, None takes a key away."""
        with self._lock:
            patch = columns.plain_json(patch)
            changed = {name: spec | {"layout": columns.merge(spec["layout"], patch)}
                       for name, spec in self._specs.items() if width in (None, name)}
            self._specs = self._specs | changed  # a new dict: the old one is what the page has
        self._changed(None)

    # ---- hearing from the page

    def on_event(self, callback: Callable[[dict], object]) -> Callable[[], None]:
        """Calls `callback({"type": "click" | "select", "trace", "index", "x", "y"})`; returns the function that ends it.

        `trace` is the trace's uid, or its place in the list; `index` counts in the full data. For "select" the last three are
        lists. A figure with `dragmode="select"` also gives `{"type": "brush", "axis": "x2", "range": [low, high]}`, and a range of None
        after a double click. The callback runs where the kernel handles messages: it should only enqueue.
        """
        self._listeners.append(callback)
        return lambda: self._listeners.remove(callback) if callback in self._listeners else None

    def picture(self, timeout: float = 5.0) -> str | None:
        """The figure as an open page draws it, as SVG text; None where no page has it open or none answers in `timeout` seconds.

        The answer comes as a message, which the kernel reads only when no cell runs: call this from a thread. Raises RuntimeError
        on the main thread where a page is open; static.svg needs no page.
        """
        if not self._views:
            return None
        if threading.current_thread() is threading.main_thread():
            raise RuntimeError("picture() waits for a message that cannot arrive while a cell runs; call it from a thread, "
                               "or use static.svg(figure).")
        arrived, answer = threading.Event(), []
        with self._lock:
            number = max(self._pictures, default=0) + 1
            self._pictures[number] = (arrived, answer)
        self.send({"kind": "picture", "id": number})
        arrived.wait(timeout)
        with self._lock:
            del self._pictures[number]
        return answer[0] if answer else None

    @staticmethod
    def _wants_plotly(page: str) -> bool:
        """Whether a page is to be sent plotly.js: every figure that waits asks every few seconds, and one copy is on its way for longer."""
        with LiveFigure._plotly_lock:
            now = time.monotonic()
            LiveFigure._plotly_sent = {one: at for one, at in LiveFigure._plotly_sent.items() if now - at < RESEND_S}
            if page in LiveFigure._plotly_sent:
                return False
            LiveFigure._plotly_sent[page] = now
            LiveFigure.plotly_copies += 1
            return True

    def _heard(self, _widget: Any, message: dict, _buffers: list) -> None:
        kind = message.get("kind")
        if kind == "ready":
            self._views.add(message["view"])
            if message.get("version") != self._version or self._waiting:
                full = self._whole()
                pool = full.pop("pool")
                self.send({"kind": "full", "view": message["view"], **full}, pool)
        elif kind == "gone":
            self._views.discard(message["view"])
        elif kind == "plotly":
            if self._wants_plotly(str(message.get("page", ""))[:64]):
                self.send({"kind": "plotly"}, [plotly_js_gz()])
        elif kind == "range":
            self._zoomed(message["axis"], message.get("range"))
        elif kind == "picture":
            waiting = self._pictures.get(message["id"])
            if waiting:
                waiting[1].append(message["svg"])
                waiting[0].set()
        elif kind == "event":
            event = self._located(message)
            for callback in tuple(self._listeners):
                callback(event)

    # ---- how it gets there

    def get_state(self, key=None, drop_defaults=False):
        """The widget's state; where all of it is asked for (a new or reloaded page), with the full figure of now.

        The poster in it is the same figure as SVG: what the page shows until it has plotly.js, or where no kernel will send it.
        """
        state = super().get_state(key=key, drop_defaults=drop_defaults)
        if key is None or key == "_full":
            figure = self.figures.get("wide") or next(iter(self.figures.values()))
            state["_full"] = self._whole() | {"poster": static.svg(figure, summary=self.summary)}
        return state

    def close(self) -> None:
        self._views.clear()
        super().close()

    def _set(self, figures: Any) -> None:
        specs, found = columns.split(_by_width(figures))
        for name, (x, y, decimates, axis) in found.items():
            column = self._columns.get(name)
            if column is None:
                column = self._columns[name] = columns.Column()
            column.decimates, column.axis = decimates, axis
            column.become(x, y)
        self._specs = specs
        self._columns = {name: column for name, column in self._columns.items() if name in found}

    def _columns_of(self, trace: str | int) -> set[columns.Column]:
        found = set()
        for spec in self._specs.values():
            for place, entry in enumerate(spec["data"]):
                if trace in (entry.get("uid"), place) and isinstance(entry.get("x"), dict) and "$" in entry["x"]:
                    found.add(self._columns[entry["x"]["$"]])
        if not found:
            known = [entry.get("uid", place) for place, entry in enumerate(next(iter(self._specs.values()))["data"])]
            raise KeyError(f"no trace {trace!r} with numeric x and y; the traces are {known}.")
        return found

    def _changed(self, summary: str | None) -> None:
        if summary is not None and summary != self.summary:
            self.summary = summary
        with self._lock:
            frame_s = self.frame_ms / 1000
            if time.monotonic() - self._sent_at >= frame_s and not self._waiting:
                self._flush()
            elif not self._waiting:
                self._waiting = True
                turn = self._pump.add(self._flush, frame_s)
                turn.due_s = self._sent_at + frame_s

    def _flush(self) -> bool:
        """Sends what the page has not; False, so that the pump calls it once."""
        with self._lock:
            self._waiting = False
            message, buffers = self._delta()
            if message is None or self.comm is None:
                return False
            self._sent_at = time.monotonic()
            self.sent_bytes += sum(len(buffer) for buffer in buffers)
            self.send(message, buffers)
            return False

    def _delta(self) -> tuple[dict | None, list[bytes]]:
        """The message that brings a page at the version before to the current one; what it holds counts as sent."""
        opening = self._sent_specs is None  # no page yet: the whole figure travels with the widget, as version 0
        steps = [] if opening else columns.diff(self._sent_specs, self._specs)
        moved, buffers = [], []
        for name, column in self._columns.items():
            change = column.delta(self._windows.get(column.axis))
            if change is not None:
                how, x, y = change
                moved.append([how, name, len(x)])
                buffers += [x.astype("<f8").tobytes(), y.astype("<f8").tobytes()]
        self._sent_specs = self._specs
        if opening or not steps and not moved:
            return None, []
        self._version += 1
        message = {"kind": "delta", "version": self._version, "moved": moved}
        return message | ({"steps": steps} if steps else {}), buffers

    def _whole(self) -> dict:
        """{"version", "specs", "columns": [[id, n], ...], "pool": [x bytes, y bytes, ...]} of now."""
        with self._lock:
            if self._sent_specs is not None and self.comm is not None:
                self._flush()
            else:
                self._delta()
            named, pool = [], []
            for name, column in self._columns.items():
                x, y = column.screen(self._windows.get(column.axis))
                named.append([name, len(x)])
                pool += [x.astype("<f8").tobytes(), y.astype("<f8").tobytes()]
            return {"version": self._version, "specs": self._specs, "columns": named, "pool": pool}

    def _zoomed(self, axis: str, span: list[float] | None) -> None:
        with self._lock:
            if span is None:
                self._windows.pop(axis, None)
            else:
                self._windows[axis] = (float(span[0]), float(span[1]))
            for column in self._columns.values():
                if column.axis == axis and column.decimates and column.n > downsample.N_OUT:
                    column.generation += 1
        self._changed(None)

    def _located(self, message: dict) -> dict:
        """The page's event with places in the full data instead of places on the screen."""
        if message["type"] == "brush":
            return {name: message[name] for name in ("type", "axis", "range")}
        trace = message["trace"]
        spec = self._specs.get(message["width"]) or next(iter(self._specs.values()))
        entry = spec["data"][trace] if trace < len(spec["data"]) else {}
        index, x, y = message["index"], message["x"], message["y"]
        if isinstance(entry.get("x"), dict) and "$" in entry["x"]:
            column = self._columns[entry["x"]["$"]]
            many = isinstance(index, list)
            places = [_place(column, a, b, i) for a, b, i in (zip(x, y, index, strict=False) if many else [(x, y, index)])]
            index = places if many else places[0]
        return {"type": message["type"], "trace": entry.get("uid", trace), "index": index, "x": x, "y": y}


def _place(column: columns.Column, x: float, y: float, shown: int) -> int:
    if not column.decimates:
        return shown
    same = np.flatnonzero((column.x == x) & (column.y == y))
    return int(same[0]) if len(same) else shown


def _by_width(figures: Any) -> dict[str, dict]:
    """Any way of giving figures -> {"wide": dict, ...}; missing classes take the next one there is."""
    if hasattr(figures, "to_plotly_json"):
        figures = figures.to_plotly_json()
    if "data" in figures:
        return {"wide": {"data": list(figures["data"]), "layout": figures.get("layout", {})}}
    unknown = set(figures) - set(columns.WIDTHS)
    if unknown or not figures:
        raise ValueError(f"figures are given by {', '.join(columns.WIDTHS)}, not by {sorted(unknown)}.")
    return {width: _by_width(figures[width])["wide"] for width in columns.WIDTHS if width in figures}
