"""The drawing behind static.svg: one plotly dict onto one SVG sheet. See there for what is covered."""

import re
import zlib
from html import unescape
from typing import Any

import numpy as np

from widgets.frame.markup import escape
from widgets.frame.static_axis import Axis, item
from widgets.frame.static_map import cells

DASHES = {"solid": "", "dot": "2,2", "dash": "6,4", "longdash": "10,4", "dashdot": "6,3,2,3", "longdashdot": "10,3,2,3"}
ANCHOR = {"left": "start", "center": "middle", "right": "end"}
LETTER = 0.53
"""Mean width of a letter as a share of the type size: good enough to size the box behind a label."""

BOXED = 0.59
"""The same where a border stands around the words: as wide as DejaVu Sans, the widest of the usual fonts, writes words with many m's."""

TAG = re.compile(r"<(/?)(b|i|em|strong|sub|sup|br|span)\b([^<>]*)>", re.I)
COLOUR = re.compile(r"color:\s*([^;\"']+)")
PAINT = re.compile(r"#[0-9a-fA-F]{3,8}|[a-zA-Z]+|rgba?\([\d.,\s%]+\)")


class Drawing:
    """`Drawing(figure, width, summary).text()`; the figure's colours are already plain."""

    def __init__(self, figure: dict, width: int | None, summary: str) -> None:
        self.layout, self.summary = figure["layout"], summary
        size = (self.layout.get("width") or 800, self.layout.get("height") or 320)
        composed = (self.layout.get("meta") or {}).get("composed_at_px") or size
        self.width, self.height = int(width or composed[0]), int(self.layout.get("height") or composed[1])
        font = self.layout.get("font") or {}
        self.size, self.ink, self.family = font.get("size", 12), paint(font.get("color"), "#444"), str(font.get("family", "sans-serif"))
        self.out: list[str] = []
        self.margin = {side: (self.layout.get("margin") or {}).get(side, 0) for side in "lrtb"}
        self.data = [_thinned(trace) for trace in figure["data"] if trace.get("visible", True) is True]
        self.axes = self._axes()

    def text(self) -> str:
        """The whole element."""
        for key, axis in self.axes.items():
            self._grid(key, axis)
        for shape in self.layout.get("shapes") or ():
            if shape.get("layer") == "below":
                self._shape(shape)
        self._clips()
        for place, trace in enumerate(self.data):
            self._trace(place, trace)
        for shape in self.layout.get("shapes") or ():
            if shape.get("layer") != "below":
                self._shape(shape)
        for key, axis in self.axes.items():
            self._ticks(key, axis)
        for note in self.layout.get("annotations") or ():
            self._note(note)
        words = f"<title>{escape(self.summary)}</title><desc>{escape(self.summary)}</desc>" if self.summary else "<title>Figure</title>"
        return (f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{self.width}" height="{self.height}" viewBox="0 0 {self.width} '
                f'{self.height}" style="max-width:100%;height:auto" font-family="{escape(self.family)}" font-size="{num(self.size)}">'
                + words + "".join(self.out) + "</svg>")

    # ---- axes

    def _axes(self) -> dict[str, Axis]:
        found = {}
        names = {name for name in self.layout if re.fullmatch(r"[xy]axis\d*", name)} | {"xaxis", "yaxis"}
        for name in sorted(names, key=lambda n: (n[0], int(n[5:] or 1))):
            layout, key = self.layout.get(name) or {}, name[0] + name[5:]
            low, high = layout.get("domain", (0, 1))
            here = [trace for trace in self.data if trace.get(key[0] + "axis", key[0]) == key]
            values = [list(trace[key[0]]) for trace in here if trace.get(key[0]) is not None]
            bars = [trace for trace in here if trace.get("type") == "bar"]
            if any((key[0] == "y") != (trace.get("orientation") == "h") for trace in bars):
                values.append([0])
            self_paper = self._paper_x if key[0] == "x" else self._paper_y
            found[key] = Axis(layout, self_paper(low), self_paper(high), values)
        return found

    def _paper_x(self, share: float) -> float:
        return self.margin["l"] + share * (self.width - self.margin["l"] - self.margin["r"])

    def _paper_y(self, share: float) -> float:
        return self.margin["t"] + (1 - share) * (self.height - self.margin["t"] - self.margin["b"])

    def _partner(self, key: str, axis: Axis) -> Axis:
        other = axis.layout.get("anchor", ("y" if key[0] == "x" else "x") + key[1:])
        return self.axes.get(other) or self.axes["y" if key[0] == "x" else "x"]

    def _grid(self, key: str, axis: Axis) -> None:
        if axis.layout.get("visible") is False or not axis.layout.get("showgrid", True):
            return
        colour, width = paint(axis.layout.get("gridcolor"), "#eee"), axis.layout.get("gridwidth", 1)
        across = self._partner(key, axis)
        for px, _ in axis.ticks():
            ends = (across.low_px, px, across.high_px, px) if key[0] == "y" else (px, across.low_px, px, across.high_px)
            self._line(*ends, colour, width)

    def _ticks(self, key: str, axis: Axis) -> None:
        layout = axis.layout
        if layout.get("visible") is False:
            return
        font = layout.get("tickfont") or {}
        size, colour = font.get("size", self.size), paint(font.get("color"), self.ink)
        across = self._partner(key, axis)
        base = max(across.low_px, across.high_px) if key[0] == "x" else min(across.low_px, across.high_px)
        if layout.get("showline"):
            ends = (axis.low_px, base, axis.high_px, base) if key[0] == "x" else (base, axis.low_px, base, axis.high_px)
            self._line(*ends, paint(layout.get("linecolor"), "#444"), layout.get("linewidth", 1))
        away = layout.get("ticklabelstandoff", 0)
        for px, label in axis.ticks():
            if key[0] == "x":
                self._words(px, base + 4 + away + size * 0.8, label, size, colour, "middle")
            else:
                self._words(base - 3 - away, px + size * 0.35, label, size, colour, "end")
        title = layout.get("title") or {}
        title = {"text": title} if isinstance(title, str) else title
        if title.get("text"):
            font = title.get("font") or {}
            size = font.get("size", 12)
            middle = (axis.low_px + axis.high_px) / 2
            at = (middle, base + 15 + title.get("standoff", 6) + size) if key[0] == "x" else (base - 34, middle)
            self.out.append("<g>" if key[0] == "x" else f'<g transform="rotate(-90 {num(at[0])} {num(at[1])})">')
            self._words(*at, title["text"], size, paint(font.get("color"), self.ink), "middle")
            self.out.append("</g>")

    # ---- traces

    def _clips(self) -> None:
        # Names of clips are the page's, not the picture's: two pictures share one only where their cells are the same.
        self.clip_name = f"wb{zlib.crc32(''.join(self.out).encode()):08x}-{self.width}"
        for place, trace in enumerate(self.data):
            x, y = self._pair(trace)
            left, top = min(x.low_px, x.high_px), min(y.low_px, y.high_px)
            wide, high = abs(x.high_px - x.low_px), abs(y.high_px - y.low_px)
            self.out.append(f'<clipPath id="{self.clip_name}-{place}"><rect {box(left, top - 1, wide, high + 2)}/></clipPath>')

    def _pair(self, trace: dict) -> tuple[Axis, Axis]:
        return self.axes.get(trace.get("xaxis", "x"), self.axes["x"]), self.axes.get(trace.get("yaxis", "y"), self.axes["y"])

    def _trace(self, place: int, trace: dict) -> None:
        kind = trace.get("type", "scatter")
        if kind == "heatmap":
            return self._map(trace)
        if kind not in ("scatter", "scattergl", "bar") or trace.get("x") is None and trace.get("y") is None:
            return
        clipped = "" if trace.get("cliponaxis") is False else f' clip-path="url(#{self.clip_name}-{place})"'
        self.out.append(f'<g opacity="{num(trace.get("opacity", 1))}"{clipped}>')
        if kind == "bar":
            self._bars(trace)
        else:
            self._scatter(trace)
        self.out.append("</g>")

    def _points(self, trace: dict) -> list[tuple[float, float] | None]:
        x, y = trace.get("x"), trace.get("y")
        across, up = self._pair(trace)
        found = []
        for a, b in zip(range(len(y)) if x is None else x, y, strict=False):
            at = across.px(item(a)), up.px(item(b))
            found.append(None if None in at else at)
        return found

    def _scatter(self, trace: dict) -> None:
        points, mode = self._points(trace), trace.get("mode", "lines")
        stroke = trace.get("line") or {}
        colour = paint(stroke.get("color") or (trace.get("marker") or {}).get("color"), "#444")
        if "lines" in mode or trace.get("fill") in ("tozeroy", "tonexty"):
            path = []
            for k, point in enumerate(points):
                if point is None:
                    continue
                before = points[k - 1] if k else None
                if before is not None and stroke.get("shape") in ("hv", "vh"):
                    corner = (point[0], before[1]) if stroke["shape"] == "hv" else (before[0], point[1])
                    path.append(f"L{num(corner[0])} {num(corner[1])}")
                path.append(f"{'M' if before is None else 'L'}{num(point[0])} {num(point[1])}")
            drawn = [point for point in points if point is not None]
            if trace.get("fill") == "tozeroy" and drawn:
                zero = self._pair(trace)[1].px(0) or drawn[0][1]
                area = "".join(path) + f"L{num(drawn[-1][0])} {num(zero)}L{num(drawn[0][0])} {num(zero)}Z"
                self.out.append(f'<path d="{area}" fill="{paint(trace.get("fillcolor"), colour)}" stroke="none"/>')
            if trace.get("fill") == "toself" and path:
                self.out.append(f'<path d="{"".join(path)}Z" fill="{paint(trace.get("fillcolor"), colour)}" stroke="none"/>')
            if "lines" in mode and path:
                self.out.append(f'<path d="{"".join(path)}" fill="none" stroke="{colour}" stroke-width="{num(stroke.get("width", 2))}"'
                                f'{dashes(stroke.get("dash"))} stroke-linejoin="round"/>')
        if "markers" in mode:
            self._markers(trace, points)
        if "text" in mode:
            font, n = trace.get("textfont") or {}, len(points)
            each = zip(points, _each(trace.get("text"), n), _each(font.get("color"), n), _each(trace.get("textposition", "middle center"), n),
                       strict=False)
            size = font.get("size", self.size)
            for point, words, colour, where in each:
                if point is not None and words is not None:
                    high = {"top": -size * .65, "bottom": size * 1.1}.get(where.split()[0], size * .35)
                    aside, anchor = {"right": (3, "start"), "left": (-3, "end")}.get(where.split()[-1], (0, "middle"))
                    self._words(point[0] + aside, point[1] + high, str(words), size, paint(colour, self.ink), anchor)

    def _markers(self, trace: dict, points: list) -> None:
        marker = trace.get("marker") or {}
        edge, n = marker.get("line") or {}, len(points)
        rows = zip(points, _each(marker.get("size", 6), n), _each(marker.get("color", "#444"), n), _each(marker.get("symbol", "circle"), n),
                   _each(marker.get("opacity", 1), n), strict=False)
        for point, size, colour, symbol, opacity in rows:
            if point is None:
                continue
            (x, y), r, symbol = point, float(size) / 2, str(symbol)
            hollow = symbol.endswith("-open")
            fill = "none" if hollow or symbol == "x-thin" else paint(colour, "#444")
            stroke, width = (paint(colour, "#444"), 2) if hollow else (paint(edge.get("color"), "none"), edge.get("width", 0))
            look = f'fill="{fill}" stroke="{stroke}" stroke-width="{num(width)}" opacity="{num(opacity)}"'
            base = symbol.removesuffix("-open")
            corners = {"square": ((-1, -1), (1, -1), (1, 1), (-1, 1)), "diamond": ((0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)),
                       "triangle-up": ((0, -1.15), (1.1, .85), (-1.1, .85)), "triangle-down": ((0, 1.15), (1.1, -.85), (-1.1, -.85)),
                       "x": ((-1, -.5), (-.5, -1), (0, -.5), (.5, -1), (1, -.5), (.5, 0), (1, .5), (.5, 1), (0, .5), (-.5, 1), (-1, .5),
                             (-.5, 0))}.get(base)
            if corners:
                self.out.append(f'<polygon points="{" ".join(f"{num(x + a * r)},{num(y + b * r)}" for a, b in corners)}" {look}/>')
            else:
                self.out.append(f'<circle cx="{num(x)}" cy="{num(y)}" r="{num(r)}" {look}/>')

    def _bars(self, trace: dict) -> None:
        flat = trace.get("orientation") == "h"
        across, up = self._pair(trace)
        along, side = (across, up) if flat else (up, across)
        lengths, places = (trace["x"], trace.get("y")) if flat else (trace["y"], trace.get("x"))
        places = list(range(len(lengths))) if places is None else list(places)
        at = [side.number(item(place)) for place in places]
        known = sorted({value for value in at if value is not None})
        step = min((b - a for a, b in zip(known, known[1:], strict=False)), default=1.0)
        thick = trace.get("width")
        marker, n = trace.get("marker") or {}, len(lengths)
        bases = _each(trace.get("base", 0), n)
        per_px = abs(side.high_px - side.low_px) / abs(side.high - side.low)
        pattern = _each((marker.get("pattern") or {}).get("shape", ""), n)
        group = [t for t in self.data if t.get("type") == "bar" and self._pair(t) == (across, up)]
        side_by_side = self.layout.get("barmode", "group") == "group" and len(group) > 1 and thick is None
        share = len(group) if side_by_side else 1
        turn = next((k for k, t in enumerate(group) if t is trace), 0) if side_by_side else 0
        gap = self.layout.get("bargap", 0.2)
        colours, widths = _each(marker.get("color", "#444"), n), _each(thick, n)
        for k, (value, length, base, colour, width) in enumerate(zip(at, lengths, bases, colours, widths, strict=False)):
            length = item(length)
            if value is None or length is None:
                continue
            start, end = along.px(base or 0), along.px((base or 0) + length)
            if start is None or end is None:
                continue
            room = (float(width) if width is not None else step * (1 - gap)) * per_px
            middle = side.low_px + (value - side.low) / (side.high - side.low) * (side.high_px - side.low_px)
            breadth = room / share
            left = middle - room / 2 + turn * breadth
            sides = (min(start, end), left, abs(end - start), breadth) if flat else (left, min(start, end), breadth, abs(end - start))
            self.out.append(f'<rect {box(*sides)} fill="{paint(colour, "#444")}"/>')
            if pattern[k]:
                self.out.append(f'<path d="{stripes(*sides)}" stroke="{paint((marker.get("pattern") or {}).get("fgcolor"), "#fff")}" '
                                'stroke-width="1.3" fill="none"/>')

    def _map(self, trace: dict) -> None:
        size = (trace.get("textfont") or {}).get("size", self.size)
        for cell in cells(trace, *self._pair(trace)):
            self.out.append(f'<rect {box(cell.x, cell.y, cell.width, cell.height)} fill="{cell.fill}"/>')
            self._words(cell.x + cell.width / 2, cell.y + cell.height / 2 + size * .35, cell.words, size, cell.ink, "middle")

    # ---- shapes and labels

    def _place(self, ref: str, value: Any, side: str, exponent: bool = False) -> float | None:
        """px of a value under a plotly reference: "paper", "x2", "x2 domain". `exponent`: on a log axis it is the power of ten, as in notes."""
        if ref == "paper":
            return self._paper_x(float(value)) if side == "x" else self._paper_y(float(value))
        axis = self.axes.get(ref.removesuffix(" domain"))
        if axis is None:
            return None
        return axis.at(float(value)) if ref.endswith(" domain") else axis.px(10.0 ** value if exponent and axis.log else value)

    def _shape(self, shape: dict) -> None:
        ends = [self._place(shape.get(side + "ref", side), shape.get(side + end), side) for end in "01" for side in "xy"]
        if None in ends:
            return
        x0, y0, x1, y1 = ends
        stroke = shape.get("line") or {}
        if shape.get("type") == "line":
            self._line(x0, y0, x1, y1, paint(stroke.get("color"), "#444"), stroke.get("width", 2), stroke.get("dash"))
        elif shape.get("type") == "rect":
            self.out.append(f'<rect {box(min(x0, x1), min(y0, y1), abs(x1 - x0), abs(y1 - y0))} '
                            f'fill="{paint(shape.get("fillcolor"), "none")}" stroke="{paint(stroke.get("color"), "none")}" '
                            f'stroke-width="{num(stroke.get("width", 0))}" opacity="{num(shape.get("opacity", 1))}"/>')

    def _note(self, note: dict) -> None:
        if note.get("visible") is False:
            return
        x = self._place(note.get("xref", "paper"), note.get("x", 0), "x", exponent=True)
        y = self._place(note.get("yref", "paper"), note.get("y", 0), "y", exponent=True)
        if x is None or y is None:
            return
        font = note.get("font") or {}
        size = font.get("size", self.size)
        x, y = x + note.get("xshift", 0), y - note.get("yshift", 0)
        lines = re.split(r"<br\s*/?>", str(note.get("text", "")), flags=re.I)
        high, pad = size * 1.3 * len(lines), note.get("borderpad", 1) + note.get("borderwidth", 0)
        wide = max(len(unescape(TAG.sub("", line))) for line in lines) * size * (BOXED if note.get("bordercolor") else LETTER)
        anchor, valign = note.get("xanchor", "center"), note.get("yanchor", "middle")
        left = x + pad if anchor == "left" else x - wide - pad if anchor == "right" else x - wide / 2
        top = y + pad if valign == "top" else y - high - pad if valign == "bottom" else y - high / 2
        if note.get("bgcolor") or note.get("bordercolor"):
            self.out.append(f'<rect {box(left - pad, top - pad, wide + 2 * pad, high + 2 * pad)} '
                            f'fill="{paint(note.get("bgcolor"), "none")}" stroke="{paint(note.get("bordercolor"), "none")}" '
                            f'stroke-width="{num(note.get("borderwidth", 0))}"/>')
        align = {"left": left, "right": left + wide}.get(anchor, left + wide / 2)
        for k, line in enumerate(lines):
            self._words(align, top + size * (1.0 + 1.3 * k), line, size, paint(font.get("color"), self.ink), ANCHOR.get(anchor, "middle"))

    def _line(self, x0, y0, x1, y1, colour: str, width: float, dash: str | None = None) -> None:
        self.out.append(f'<line x1="{num(x0)}" y1="{num(y0)}" x2="{num(x1)}" y2="{num(y1)}" stroke="{colour}" '
                        f'stroke-width="{num(width)}"{dashes(dash)}/>')

    def _words(self, x: float, y: float, words: str, size: float, colour: str, anchor: str) -> None:
        if words:
            self.out.append(f'<text x="{num(x)}" y="{num(y)}" font-size="{num(size)}" fill="{colour}" text-anchor="{anchor}" '
                            f'xml:space="preserve">{spans(words)}</text>')


def _thinned(trace: dict) -> dict:
    """The trace with as few points as show the same; everything after looks at each point in turn."""
    from widgets.frame.columns import numbers, thins
    from widgets.frame.downsample import decimate

    x, y = trace.get("x"), trace.get("y")
    if not thins(trace) or y is None:
        return dict(trace)
    xs, ys = numbers(list(range(len(y))) if x is None else x), numbers(y)
    if xs is None or ys is None or len(xs) != len(ys):
        return dict(trace)
    xs, ys = decimate(xs, ys, 2000)
    return {**trace, "x": xs, "y": ys}


def spans(words: str) -> str:
    """plotly's pseudo-HTML as tspans: <b>, <i>, <sub>, <sup> and a span's colour; every other "<" is a letter."""
    out, open_tags, at = [], 0, 0
    for found in TAG.finditer(words):
        out.append(escape(unescape(words[at:found.start()])))
        at = found.end()
        closing, name, rest = found[1], found[2].lower(), found[3]
        if name == "br":
            out.append(" ")
        elif closing:
            if open_tags:
                out.append("</tspan>")
                open_tags -= 1
        else:
            colour = COLOUR.search(rest)
            look = {"b": ' font-weight="600"', "strong": ' font-weight="600"', "i": ' font-style="italic"', "em": ' font-style="italic"',
                    "sub": ' baseline-shift="sub" font-size="70%"', "sup": ' baseline-shift="super" font-size="70%"'}.get(name, "")
            fill = f' fill="{paint(colour[1].strip(), "inherit")}"' if colour else ""
            out.append(f"<tspan{look}{fill}>")
            open_tags += 1
    out.append(escape(unescape(words[at:])))
    return "".join(out) + "</tspan>" * open_tags


def paint(value: Any, otherwise: str) -> str:
    """A colour that is certainly only a colour."""
    return value if isinstance(value, str) and PAINT.fullmatch(value) else otherwise


def dashes(dash: str | None) -> str:
    pattern = DASHES.get(dash or "solid", dash or "")
    return f' stroke-dasharray="{escape(re.sub("px", "", pattern))}"' if pattern and re.fullmatch(r"[\d.,\spx%]+", pattern) else ""


def box(x: float, y: float, width: float, height: float) -> str:
    """The sides of a <rect>."""
    return f'x="{num(x)}" y="{num(y)}" width="{num(width)}" height="{num(height)}"'


def stripes(x: float, y: float, width: float, height: float) -> str:
    """A path of slanted lines 6 px apart, inside a box."""
    return "".join(f"M{num(x + max(0, d - height))} {num(y + min(d, height))}L{num(x + min(d, width))} {num(y + max(0, d - width))}"
                   for d in range(0, int(width + height), 6))


def num(value: float) -> str:
    return f"{float(value):.2f}".rstrip("0").rstrip(".")


def _each(value: Any, n: int) -> list:
    return list(value) if isinstance(value, (list, tuple, np.ndarray)) else [value] * n
