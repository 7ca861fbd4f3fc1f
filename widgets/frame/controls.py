"""ipywidgets as every panel uses them: one widget is one control, its `description` is its label and its accessible name.

Looks come from panel.css, which lays label and read-out on the first line and the control on the second. Does not wire anything:
panels observe the widgets they make. Everything that shows text escapes it.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import ipywidgets as ipw

from widgets.frame import inputs
from widgets.frame.inputs import caption
from widgets.frame.log_slider import LogSlider
from widgets.frame.markup import escape
from widgets.frame.several import Several
from workbench.legible import letters

FULL = {"width": "100%"}
MOST_CELL, MOST_CLIPPED, MOST_TITLE = 2000, 300, 1000
"""Letters of a table's cell, of one that shows a line of them, and of what it says on hover."""


def slider(description: str, value: float, low: float, high: float, step: float | None = None, *, log: bool = False,
           form: str | None = None, disabled: bool = False, live: bool = True, stops: Sequence[float] = ()) -> ipw.Widget:
    """A slider with an editable read-out. Whole numbers give an IntSlider; `log` makes low..high (both > 0) decades of a `LogSlider`.

    `form` is the read-out's d3 format (a `LogSlider` shows every digit, as 1e5 or with "," as 100 000, and takes no `step` but, where they
    are not to be round numbers, `stops`); `live=False` reports only where the handle is let go. The unit belongs in `description`.
    """
    if log:
        return LogSlider(description=caption(description), value=value, min=low, max=high, disabled=disabled, live=live, grouped=form == ",",
                         stops=[float(stop) for stop in stops], layout=ipw.Layout(**FULL))
    common = dict(description=caption(description), continuous_update=live, disabled=disabled, layout=ipw.Layout(**FULL))
    if all(float(v).is_integer() for v in (value, low, high, step or 1)) and form in (None, "d"):
        return ipw.IntSlider(value=int(value), min=int(low), max=int(high), step=int(step or 1), readout_format=form or "d", **common)
    return ipw.FloatSlider(value=value, min=low, max=high, step=step or (high - low) / 100, readout_format=form or ".2f", **common)


def dropdown(description: str, options: Sequence, value: Any = None, **more: Any) -> inputs.Dropdown:
    """One of five or more. `options` are values or (label, value) pairs."""
    return inputs.Dropdown(description=caption(description), options=options, layout=ipw.Layout(**FULL), **_given(value=value), **more)


def toggles(description: str, options: Sequence, value: Any = None, **more: Any) -> ipw.ToggleButtons:
    """One of two to four, all in sight."""
    return ipw.ToggleButtons(description=caption(description), options=options, layout=ipw.Layout(**FULL), **_given(value=value), **more)


def several(description: str, options: Sequence[tuple[str, str]], value: Iterable[str] = (), **more: Any) -> Several:
    """Any number of a few, all in sight; `options` are (words, value)."""
    pairs = [list(option) for option in options]
    return Several(description=caption(description), options=pairs, value=list(value), layout=ipw.Layout(**FULL), **more)


def combobox(description: str, options: Sequence[str], value: str = "", placeholder: str = "", **more: Any) -> ipw.Combobox:
    """A line to type, with proposals."""
    return inputs.Combobox(description=caption(description), options=tuple(options), value=value, placeholder=placeholder, ensure_option=False,
                        continuous_update=False, layout=ipw.Layout(**FULL), **more)


def checkbox(description: str, value: bool = False, **more: Any) -> ipw.Checkbox:
    return ipw.Checkbox(description=caption(description), value=value, indent=False, layout=ipw.Layout(**FULL), **more)


def text(description: str, value: str = "", placeholder: str = "", **more: Any) -> ipw.Text:
    return inputs.Text(description=caption(description), value=value, placeholder=placeholder, layout=ipw.Layout(**FULL), **more)


def textarea(description: str, value: str = "", rows: int = 3, **more: Any) -> ipw.Textarea:
    return inputs.Textarea(description=caption(description), value=value, rows=rows, layout=ipw.Layout(**FULL), **more)


def button(label: str, icon: str = "", kind: str = "", tooltip: str = "", disabled: bool = False,
           on_click: Callable[[], object] | None = None) -> ipw.Button:
    """A button. `kind`: "" | "primary" (at most one in a panel) | "danger" | "quiet". `icon` is a Font Awesome name.

    With no label the tooltip is the button's name, and must be given. `on_click()` takes nothing and should only enqueue.
    """
    if not label and not tooltip:
        raise ValueError("a button without words needs a tooltip: it is its name for a screen reader.")
    made = ipw.Button(description=caption(label), icon=icon, tooltip=letters(tooltip, MOST_TITLE) or None, disabled=disabled,
                      button_style="primary" if kind == "primary" else "", layout=ipw.Layout(width="auto"))
    if kind in ("danger", "quiet"):
        made.add_class(f"wb-{kind}")
    if on_click is not None:
        made.on_click(lambda _button: on_click())
    return made


def group(title: str, *widgets: ipw.Widget) -> ipw.VBox:
    """Controls that belong together, under a small heading ("" for none)."""
    children = ([heading(title)] if title else []) + list(widgets)
    return _box(ipw.VBox, children, "wb-group")


def actions(*buttons: ipw.Widget) -> ipw.VBox:
    """The foot of the controls column: one or two buttons, the last one primary."""
    return _box(ipw.VBox, buttons, "wb-action")


def row(*widgets: ipw.Widget) -> ipw.HBox:
    return _box(ipw.HBox, widgets, "wb-row")


def bar(*widgets: ipw.Widget) -> ipw.HBox:
    """The control bar above the body; `separator()` parts its buttons."""
    return _box(ipw.HBox, widgets, "wb-bar")


def separator() -> ipw.HTML:
    return _classed(ipw.HTML(""), "wb-sep")


def heading(title: str) -> ipw.HTML:
    return html(f"<h3>{escape(title)}</h3>")


def hint(words: str) -> ipw.HTML:
    return html(f'<span class="wb-hint">{escape(words)}</span>')


def html(markup: str, *classes: str) -> ipw.HTML:
    """Ready markup: what people wrote must be escaped in it already."""
    return _classed(ipw.HTML(markup), *classes)


class Progress(ipw.HTML):
    """`progress.show("step 1 240", "of 2 000", "14 min left", 0.62)`: a line of words over a bar."""

    def __init__(self) -> None:
        super().__init__("")
        self.add_class("wb-progress")

    def show(self, bold: str, rest: str = "", right: str = "", share: float | None = 0.0) -> None:
        """`share` from 0 to 1, or None where the end is not known."""
        self.value = progress_html(bold, rest, right, share)


def progress_html(bold: str, rest: str = "", right: str = "", share: float | None = 0.0) -> str:
    percent = 0.0 if share is None else 100 * min(max(share, 0.0), 1.0)
    now = "" if share is None else f' aria-valuenow="{percent:.0f}"'
    return (f'<div class="wb-progress-words"><span><b>{escape(bold)}</b> {escape(rest)}</span><span>{escape(right)}</span></div>'
            f'<span class="wb-track" role="progressbar" aria-valuemin="0" aria-valuemax="100"{now} '
            f'aria-label="{escape(" ".join((bold, rest, right)).strip())}"><i style="width:{percent:.1f}%"></i></span>')


def table_html(head: Sequence[str], rows: Iterable[Sequence[Any]], *, numeric: Iterable[int] = (), picked: int | None = None,
               kinds: dict[tuple[int, int], str] | None = None, wide: int | None = None, caption: str = "") -> str:
    """A table in which every cell is text. `numeric` columns are right-aligned, row `picked` is marked, the `wide` column takes
    the room and is cut with an ellipsis; `kinds` {(row, column): "mute" | "good" | "bad" | "caution"} colours words."""
    numeric = set(numeric)

    def cell(tag: str, place: int, value: Any, kind: str = "") -> str:
        names = [name for name, on in (("num", place in numeric), ("clip", place == wide and tag == "td"), (f"wb-word-{kind}", kind)) if on]
        full = f' title="{escape(value, MOST_TITLE)}"' if "clip" in names else ""
        named = ' class="' + " ".join(names) + '"' if names else ""
        return f"<{tag}{named}{full}>{escape(value, MOST_CLIPPED if full else MOST_CELL)}</{tag}>"

    kinds = kinds or {}
    words = f'<caption class="wb-unseen">{escape(caption)}</caption>' if caption else ""
    top = "".join(cell("th", k, name) for k, name in enumerate(head))
    mark = ' class="on" aria-current="true"'
    body = "".join(f"<tr{mark if i == picked else ''}>"
                   + "".join(cell("td", k, value, kinds.get((i, k), "")) for k, value in enumerate(line)) + "</tr>"
                   for i, line in enumerate(rows))
    return f'<table class="wb-table">{words}{f"<thead><tr>{top}</tr></thead>" if top else ""}<tbody>{body}</tbody></table>'


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], **more: Any) -> ipw.HTML:
    """`table_html` as a widget."""
    return html(table_html(head, rows, **more))


def _box(kind: type, children: Iterable[ipw.Widget], name: str):
    return _classed(kind(list(children)), name)


def _classed(widget, *names: str):
    for name in names:
        widget.add_class(name)
    return widget


def _given(**values: Any) -> dict:
    return {name: value for name, value in values.items() if value is not None}
