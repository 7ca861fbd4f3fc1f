"""One example as it is read: who says what, and the same text as tokens, trained ones marked, cut ones struck.

`ExampleView` is the widget; its page code sets every word as text. `static_html` is the same without a kernel. Computes no tokens.
"""

from pathlib import Path

import anywidget
import traitlets

from widgets.frame import theme
from widgets.frame.controls import table_html
from widgets.frame.markup import escape
from widgets.frame.sending import legible
from widgets.frame.sheet import number
from widgets.template_builder.reading import Shown, Token

SPOKEN = {"trained": "trained", "read": "read, not trained", "skipped": "not shown"}


def counts(shown: Shown) -> list[list[str]]:
    """Numbers and their words: tokens, trained, truncated."""
    return [[number(shown.length), "tokens"], [number(shown.trained), "trained"], [number(shown.cut), "truncated"]]


def heading(shown: Shown, rows: int) -> str:
    """Which row it is, and by which wording where several are used."""
    return f"Row {number(shown.row + 1)} of {number(rows)}" + (f" · {shown.wording}" if shown.wording else "")


def visible(text: str) -> list[str]:
    """A token's text cut behind each line break; spaces become dots, line breaks stand as \\n."""
    out, rest = [], text.replace(" ", "·").replace("\t", "\\t").replace("\r", "\\r")
    while "\n" in rest:
        line, rest = rest.split("\n", 1)
        out.append(f"{line}\\n\n")
    return [*out, rest] if rest or not out else out


def plain_tokens(tokens: list[Token]) -> list[dict]:
    """Tokens as the page takes them."""
    return [{"text": visible(token.text), "kind": token.kind, "special": token.special, "cut": token.cut,
             "title": f"{SPOKEN[token.kind]}{', cut off' if token.cut else ''}" + (f" · id {token.id}" if token.id >= 0 else "")}
            for token in tokens]


class ExampleView(anywidget.AnyWidget):
    """`view.show(shown, rows)`; the last example stays at half strength while `stale`."""

    _esm = Path(__file__).with_name("example_view.js").read_text(encoding="utf-8")
    _css = Path(__file__).with_name("template_builder.css").read_text(encoding="utf-8")
    heading = traitlets.Unicode("").tag(sync=True, to_json=legible())
    counts = traitlets.List().tag(sync=True)
    turns = traitlets.List().tag(sync=True, to_json=legible())
    tokens = traitlets.List().tag(sync=True, to_json=legible())
    stale = traitlets.Bool(False).tag(sync=True)

    def show(self, shown: Shown | None, rows: int) -> None:
        """Sends what changed."""
        with self.hold_sync():
            self.heading = heading(shown, rows) if shown else ""
            self.counts = counts(shown) if shown else []
            self.turns = [list(turn) for turn in shown.turns] if shown else []
            self.tokens = plain_tokens(shown.tokens) if shown else []


def static_html(shown: Shown, rows: int) -> str:
    """The example with its styles written out; every word of it is escaped."""
    colour = theme.tokens("light")
    names = ("ink", "ink-2", "line", "blue-text", "grey-text", "vermillion-text")
    ink, soft, line, blue, grey, bad = (colour[f"--wb-{name}"] for name in names)
    numbers = " &nbsp; ".join(f"<b>{escape(count)}</b> {escape(words)}" for count, words in counts(shown))
    spans = []
    for token in shown.tokens:
        trained = token.kind == "trained"
        look = f"color:{blue if trained else grey};background:{colour['--wb-blue-fill' if trained else '--wb-grey-fill']}"
        if trained:
            look += f";border-bottom:2px solid {colour['--wb-blue']};font-weight:600"
        if token.special:
            look += f";outline:1px solid {line};background:none"
        if token.cut:
            look += f";text-decoration:line-through;color:{bad};border-bottom:0"
        for part in visible(token.text):
            spans.append(f'<span style="{look};margin-right:1px;padding:0 1px">{escape(part.rstrip(chr(10)))}</span>')
            spans.append("<br>" if part.endswith("\n") else "")
    text = table_html(["", heading(shown, rows)], shown.turns)
    return (f'{text}<div style="margin:12px 0 6px;font-size:12px;color:{soft}">{numbers}</div>'
            f'<div style="font:12px/1.9 Menlo,Consolas,monospace;color:{ink};overflow-wrap:anywhere">{"".join(spans)}</div>'
            f'<div style="margin-top:8px;font-size:11px;color:{soft}">grey: read, not trained · blue, underlined: trained · '
            "struck: cut off · outlined: special token</div>")
