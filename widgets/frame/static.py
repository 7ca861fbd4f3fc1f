"""A figure as SVG text, drawn in Python: for notebooks without a kernel, exports and reports.

Draws the part of plotly that `Sheet` uses: scatter (lines, dashes, markers, fill to zero), bars, rules and bands, labels with bold
and coloured words, axes with domains. Not plotly: no hover, no stacking, no log minor ticks, no other trace types (they are
skipped). Everything it writes is escaped.
"""

from html import escape
from typing import Any

from widgets.frame import theme as themes
from widgets.frame.status import Sentence


def svg(figure: dict, width: int | None = None, theme: themes.Theme = "light", summary: str = "") -> str:
    """The figure as one <svg> element `width` px wide (None: as composed), with `summary` as its description."""
    from widgets.frame.static_draw import Drawing

    return Drawing(themes.resolve(figure, theme), width, summary).text()


def card(title: str, question: str, picture: str, extra: str, sentence: Sentence) -> str:
    """A panel that stands still: head, picture, tables, sentence, with its styles written out (style sheets do not travel)."""
    colour = themes.tokens("light")
    ink, soft, line, raised = (colour["--wb-" + name] for name in ("ink", "ink-2", "line", "raised"))
    mark = {"ok": f'<circle cx="7" cy="7" r="5" fill="{colour["--wb-blue"]}"/>',
            "warn": f'<path d="M7 1.2L13.4 12.6H.6z" fill="{colour["--wb-vermillion"]}"/>',
            "idle": f'<circle cx="7" cy="7" r="4" fill="none" stroke="{colour["--wb-grey"]}" stroke-width="2"/>'}[sentence.kind]
    edge = f"1px solid {line}"
    tables = f'<div style="padding:12px 16px;border-top:{edge};overflow-x:auto">{extra}</div>' if extra else ""
    return (f'<div class="wb-static" style="border:{edge};border-radius:8px;background:{colour["--wb-surface"]};color:{ink};max-width:1200px;'
            f'font:13px/1.45 system-ui,-apple-system,Segoe UI,Helvetica,Arial,sans-serif;overflow:hidden">'
            f'<div style="padding:12px 16px;border-bottom:{edge}"><b style="font-size:16px;font-weight:600">{escape(title)}</b>'
            f'<span style="color:{soft};margin-left:12px">{escape(question)}</span></div>'
            + (f'<div style="padding:16px">{picture}</div>' if picture else "") + tables +
            f'<div style="padding:10px 16px;border-top:{edge};background:{raised}"><svg width="14" height="14" viewBox="0 0 14 14" '
            f'style="vertical-align:-2px;margin-right:12px" aria-hidden="true">{mark}</svg>{escape(sentence.text)}</div></div>')
