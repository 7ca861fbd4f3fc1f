"""Plain plotly dicts on a pixel grid: the rules every figure follows, as code.

A figure is a sheet of `width` x `height` px at which it was composed. `cell` cuts a rectangle out of it: the heading sits at
the cell's left edge, tick labels in the cell's gutter, the axis title at its foot. Colours are `var(--wb-...)` names; whoever
draws the figure resolves them against the page (live_figure.js) or the token file (theme.resolve), so one dict serves light
and dark. Does not cover: writing files, widgets, 3-D, secondary axes.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from workbench.legible import words

NARROW_SPACE, MINUS = "\u202f", "\u2212"
QUICK = dict(tickangle=0, ticklabeloverflow="allow")
"""For axes of figures that follow a slider: else plotly measures each tick's label at each drawing, to turn or hide what would not fit: half of its time."""
MOST = 400
"""Letters of a label; panels cut theirs shorter."""


def ink(name: str) -> str:
    """The token `name` as plotly takes a colour, for example `ink("blue-text")`."""
    return f"var(--wb-{name})"


def number(value: float, decimals: int = 0) -> str:
    """1024 -> '1 024' with a narrow no-break space, and a true minus sign."""
    text = f"{value:,.{decimals}f}".replace(",", NARROW_SPACE)
    if text.startswith("-"):
        text = text[1:] if not any(digit in text for digit in "123456789") else MINUS + text[1:]
    return text


def plain(text: object) -> str:
    """`text` as plotly shows it letter by letter: no tags, no entities, no TeX, no %{fields}, nothing that turns the order of words, one line.

    Anything a person or a file wrote (run names, column names, notes) goes through here before it becomes part of a label.
    """
    line = " ".join(words(text, MOST).split())
    for letter, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("$", "&#36;"), ("%{", "&#37;{")):
        line = line.replace(letter, entity)
    return line


def hatch(colours: Sequence[str], over: Sequence[bool]) -> dict:
    """A bar's `marker`: what is over the limit is told by stripes as well as by colour."""
    stripes = dict(shape=["/" if o else "" for o in over], fillmode="overlay", fgcolor=ink("surface"), fgopacity=1, size=6, solidity=.22)
    return dict(color=[ink(colour) for colour in colours], line=dict(width=0), pattern=stripes)


class Sheet:
    """Collects cells, traces, labels and rules; `figure()` gives the plotly dict."""

    def __init__(self, width: int, height: int, stretch: float = 1.0):
        """`width`, `height` in px at which it is composed. `stretch` makes the cells taller, not the type or the gutters."""
        self.width, self.height, self.stretch, self.count = width, round(height * stretch), stretch, 0
        self.data: list[dict] = []
        self.shapes: list[dict] = []
        self.notes: list[dict] = []
        self.axes: dict[str, dict] = {}
        self.units: dict[str, dict[str, str]] = {}

    def cell(self, x0: float, y0: float, x1: float, y1: float, name: str, unit: str, xtitle: str = "", gutter: float = 40,
             right: float = 10, foot: float | None = None, top: float = 26, x: dict | None = None, y: dict | None = None) -> str:
        """Axes inside the pixel box (x0, y0)-(x1, y1), measured from the top left.

        `name` and `unit` make the heading; `gutter`, `right`, `foot`, `top` are px kept free inside the box for tick labels,
        direct labels, the x title and the heading. `x`, `y` are laid over the axis dicts. Returns the axis number as plotly
        writes it: "" for the first, then "2", "3".
        """
        self.count += 1
        y0, y1 = y0 * self.stretch, y1 * self.stretch
        i = "" if self.count == 1 else str(self.count)
        foot = (40 if xtitle else 20) if foot is None else foot
        across = [(x0 + gutter) / self.width, (x1 - right) / self.width]
        up = [1 - (y1 - foot) / self.height, 1 - (y0 + top) / self.height]
        common = dict(zeroline=False, ticks="", fixedrange=True, tickfont=dict(size=11, color=ink("ink-3")), automargin=False)
        title = dict(text=xtitle, font=dict(size=12, color=ink("ink-2")), standoff=6)
        self.axes["xaxis" + i] = dict(common, domain=across, anchor="y" + i, showgrid=False, showline=True, linecolor=ink("axis"),
                                      linewidth=1, title=title, nticks=6) | (x or {})
        self.axes["yaxis" + i] = dict(common, domain=up, anchor="x" + i, showgrid=True, gridcolor=ink("grid"), gridwidth=1, nticks=5,
                                      showline=False, ticklabelstandoff=4) | (y or {})
        self.units["yaxis" + i] = dict(name=name, unit=unit)
        heading = f"<b>{name}</b>" + (f'<span style="color:{ink("ink-2")}">   {unit}</span>' if unit else "")
        self.notes.append(dict(xref="paper", yref="paper", x=x0 / self.width, y=up[1], xanchor="left", yanchor="bottom", yshift=7,
                               xshift=-2, align="left", text=heading, showarrow=False, font=dict(size=12, color=ink("ink"))))
        return i

    def add(self, axis: str, **trace: Any) -> None:
        """Any plotly trace, on the axes of a cell."""
        self.data.append(dict(dict(type="scatter", xaxis="x" + axis, yaxis="y" + axis), **trace))

    def line(self, axis: str, x: Iterable, y: Iterable, colour: str, dash: str = "solid", width: float = 2, **more: Any) -> None:
        """A scatter line. `width` in px; `more` goes into the trace. Give `uid` to traces that grow while a job runs."""
        stroke = dict(color=ink(colour), width=width, dash=dash, **more.pop("line", {}))
        self.add(axis, x=_values(x), y=_values(y), mode=more.pop("mode", "lines"), line=stroke, **more)

    def label(self, axis: str, x, y, text: str, colour: str = "ink-2", anchor: str = "left", valign: str = "middle", dx: float = 0,
              dy: float = 0, size: int = 12, xref: str | None = None, yref: str | None = None, **more: Any) -> None:
        """Words at a data point. `text` is plotly's pseudo-HTML: pass what people wrote through `plain`. `dx`, `dy` in px, up is +."""
        self.notes.append(dict(xref=xref or "x" + axis, yref=yref or "y" + axis, x=x, y=y, text=text, showarrow=False, xanchor=anchor,
                               yanchor=valign, xshift=dx, yshift=dy, align=anchor, font=dict(size=size, color=ink(colour)), **more))

    def rule(self, axis: str, *, x=None, y=None, colour: str = "ink-3", dash: str = "solid", width: float = 1,
             layer: str = "above") -> None:
        """A line across the whole cell at a data value: give `x` or `y`."""
        self.shapes.append(dict(type="line", layer=layer, line=dict(color=ink(colour), width=width, dash=dash),
                                **_across(axis, x if x is None else (x, x), y if y is None else (y, y))))

    def band(self, axis: str, *, x=None, y=None, colour: str = "grey-fill") -> None:
        """A filled strip across the whole cell between two data values: give `x` or `y` as a pair."""
        self.shapes.append(dict(type="rect", layer="below", line=dict(width=0), fillcolor=ink(colour), **_across(axis, x, y)))

    def change(self, axes: Sequence[str], step: float, text: str = "", row: int = 0) -> None:
        """A change-mark: a hairline through every cell that shares the step axis; the first one carries the words, `row` rows down."""
        for k, axis in enumerate(axes):
            self.rule(axis, x=step, colour="ink-2", dash="2px,3px")
            if k == 0 and text:
                self.label(axis, step, 1, text, "ink", yref=f"y{axis} domain", valign="top", dx=0, dy=-2 - 24 * row, size=11,
                           bgcolor=ink("surface"), bordercolor=ink("ink-2"), borderwidth=1, borderpad=3)

    def empty(self, headline: str, words: str) -> dict:
        """The figure where there is nothing to draw: two sentences, no axes, no made-up chart."""
        for k, (text, size, colour) in enumerate(((f"<b>{plain(headline)}</b>", 13, "ink"), (plain(words), 12, "ink-2"))):
            self.notes.append(dict(xref="paper", yref="paper", x=.5, y=.5, yshift=14 - 24 * k, text=text, showarrow=False, align="center",
                                   font=dict(size=size, color=ink(colour))))
        drawn = self.figure()
        drawn["layout"] |= {side + "axis": dict(visible=False, fixedrange=True) for side in "xy"}
        return drawn

    def figure(self) -> dict:
        """{"data": [...], "layout": {...}} for plotly; `layout.meta` holds the composed size in px and the units of each cell."""
        layout = dict(height=self.height, autosize=True, margin=dict(l=0, r=0, t=0, b=0, pad=0), paper_bgcolor="rgba(0,0,0,0)",
                      plot_bgcolor="rgba(0,0,0,0)", font=dict(family=ink("font"), size=12, color=ink("ink-2")), showlegend=False,
                      bargap=0.06, separators="." + NARROW_SPACE, hovermode="closest", dragmode=False, shapes=self.shapes,
                      annotations=self.notes, meta=dict(composed_at_px=[self.width, self.height], units=self.units), **self.axes,
                      hoverlabel=dict(bgcolor=ink("surface"), bordercolor=ink("line-strong"), font=dict(color=ink("ink"), size=12)))
        return dict(data=self.data, layout=layout)


def _values(column: Iterable) -> Any:
    """Arrays stay arrays (they travel as binary); other iterables become lists."""
    return column if hasattr(column, "dtype") else list(column)


def _across(axis: str, x, y) -> dict:
    if x is not None:
        return dict(xref=f"x{axis}", yref=f"y{axis} domain", x0=x[0], x1=x[1], y0=0, y1=1)
    return dict(xref=f"x{axis} domain", yref=f"y{axis}", x0=0, x1=1, y0=y[0], y1=y[1])
