"""A figure as SVG text, drawn in Python: for notebooks without a kernel, exports and reports.

Draws the part of plotly that `Sheet` uses: scatter (lines, dashes, markers, fill to zero), bars, heatmaps, rules and bands, labels with
bold and coloured words, axes with domains. Not plotly: no hover, no stacking, no log minor ticks, no other trace types (they are
skipped). Everything it writes is escaped.
"""

import re

from widgets.frame import theme as themes
from widgets.frame.markup import escape
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
    tables = f'<div style="padding:12px 16px;border-top:{edge};overflow-x:auto">{_styled(extra, colour)}</div>' if extra else ""
    return (f'<div class="wb-static tex2jax_ignore" style="border:{edge};border-radius:8px;background:{colour["--wb-surface"]};color:{ink};'
            f'max-width:1200px;font:13px/1.45 system-ui,-apple-system,Segoe UI,Helvetica,Arial,sans-serif;overflow:hidden">'
            f'<div style="padding:12px 16px;border-bottom:{edge}"><b style="font-size:16px;font-weight:600">{escape(title)}</b>'
            f'<span style="color:{soft};margin-left:12px">{escape(question)}</span></div>'
            + (f'<div style="padding:16px">{picture}</div>' if picture else "") + tables +
            f'<div style="padding:10px 16px;border-top:{edge};background:{raised}"><svg width="14" height="14" viewBox="0 0 14 14" '
            f'style="vertical-align:-2px;margin-right:12px" aria-hidden="true">{mark}</svg>{escape(sentence.text)}</div></div>')


def _styled(tables: str, colour: dict[str, str]) -> str:
    """The tables of controls.table_html with their look written into each tag; in them every "<" of a cell is escaped."""
    words = {"mute": "ink-3", "good": "blue-text", "bad": "vermillion-text", "caution": "orange-text"}

    def tag(found: re.Match) -> str:
        name, rest = found[1], found[2]
        if name == "caption":
            look = "display:none"
        elif name == "table":
            look = ("border-collapse:collapse;table-layout:auto;width:100%;margin:0;font-size:12px;line-height:16px;font-variant-numeric:tabular-nums;"
                    f"color:{colour['--wb-ink']}")
        else:
            kind = re.search(r"wb-word-(\w+)", rest)
            ink = colour["--wb-" + (words.get(kind[1], "ink") if kind else "ink-3" if name == "th" else "ink")]
            side = "right;width:1%" if re.search(r'class="num\b', rest) else "left"
            look = (f"text-align:{side};padding:5px 8px 5px 0;border:0;border-bottom:1px solid {colour['--wb-grid']};"
                    f"font-weight:400;color:{ink}")
        return f'<{name} style="{look}"{rest}>'

    return re.sub(r"<(table|caption|th|td)\b([^<>]*)>", tag, tables)
