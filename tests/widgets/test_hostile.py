"""Every panel on hostile text, without a browser: what it would put into a page, a figure, a sentence or code is text, legible and short.

The figures are read as plotly reads them (pseudo-HTML, TeX, %{fields}), the markup with html.parser against the tags and attributes that the
panels write themselves. That nothing runs in a real page is for tests/browser/test_hostile.py.
"""

from __future__ import annotations

import ast
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.frame.test_panel import descendants
from tests.hostile.panels import MADE
from tests.hostile.strings import HALF, STRINGS, WORD

WIDTHS = ("wide", "medium", "narrow")
TAGS = {"b", "br", "button", "caption", "circle", "clippath", "desc", "dd", "div", "dl", "dt", "g", "h2", "h3", "i", "line", "p", "path", "polygon", "pre", "rect",
        "section", "small", "span", "svg", "table", "tbody", "td", "text", "th", "thead", "title", "tr", "tspan"}
"""What panels write."""
ATTRIBUTES = {"aria-current", "aria-hidden", "aria-label", "aria-valuemax", "aria-valuemin", "aria-valuenow", "baseline-shift", "class", "clip-path", "cx", "cy", "d",
              "fill", "fill-opacity", "font-family", "font-size", "font-style", "font-weight", "height", "id", "opacity", "points", "r", "role", "stroke",
              "stroke-dasharray", "stroke-linecap", "stroke-linejoin", "stroke-width", "style", "text-anchor", "title", "transform", "viewbox", "width", "x", "x1",
              "x2", "xml:space", "xmlns", "y", "y1", "y2"}
OURS = re.compile(r"""</?b>|<br>|</?i>|</?su[bp]>|<span style=["'][\w\s:;.#(),%-]*["']>|</span>|<extra></extra>""")
"""The pseudo-HTML that figures write themselves."""
FIELD = re.compile(r"%\{(x|y|z|text|base|customdata(\[\d\])?)(:[,.+\w~%]*)?\}")
ACTS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066\u2067\ud800-\udfff]")
IDS = {"id", "name", "group", "key", "words", "criteria", "picked", "overlays", "unfolded", "value", "options"}
"""What the page sends back or a person edits: it goes whole. The labels of options have another name."""
MOST = 400_000
"""Bytes of a panel's markup, where its data hold a word of a million letters in many places."""


@pytest.fixture(scope="module", params=sorted(MADE))
def panel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return opened(request.param, tmp_path_factory.mktemp("hostile"))


def opened(name: str, folder: Path) -> Any:
    """The panel after it has looked at everything, in this thread."""
    made = MADE[name](folder)
    if name == "balancer":
        made.measure()
    if name == "arena":
        made.ask()
    if name in ("columns", "explorer", "ranks", "chooser"):
        made.look()
    if name == "quantized":
        made.measure()
    return made


class Strict(HTMLParser):
    """Tags, attributes and text, and what of them is not a panel's own."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.strange: list[str] = []
        self.text = ""
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attributes: list) -> None:
        self.strange += [f"<{tag}>"] * (tag not in TAGS)
        for name, value in attributes:
            self.strange += [f"{tag} {name}={value!r}"] * (name not in ATTRIBUTES)
            if name == "style" and not re.fullmatch(r"[\w\s:;.#(),%+/'-]*", value):
                self.strange.append(f"{tag} style={value!r}")
            self.strange += [f"{tag} {name} acts"] * bool(value and ACTS.search(value))

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        self.strange.append(f"<!--{data}")

    def handle_decl(self, decl: str) -> None:
        self.strange.append(f"<!{decl}")

    unknown_decl = handle_decl


def assert_text_only(markup: str, most: int = MOST) -> str:
    """Fails for any tag, attribute or acting character that no panel writes; gives the text."""
    read = Strict(markup)
    assert read.strange == []
    assert not ACTS.search(read.text) and len(markup) < most
    return read.text


def labels(node: Any, key: str = "") -> list[tuple[str, str]]:
    """(key, text) of every string of a figure that plotly may draw; what it never draws (ids, colours) is left out."""
    if isinstance(node, dict):
        return [found for name, value in node.items() if name not in ("uid", "meta", "source") for found in labels(value, name)]
    if isinstance(node, (list, tuple)) or isinstance(node, np.ndarray) and node.dtype.kind in "OU":
        return [found for value in node for found in labels(value, key)]
    return [(key, node)] if isinstance(node, str) else []


def test_what_stays_in_a_notebook_is_text(panel) -> None:
    assert_text_only(panel.static_html())
    assert not ACTS.search(repr(panel)) and len(repr(panel)) < 10_000
    assert not ACTS.search(panel.summary().text) and len(panel.summary().text) <= 2100


def test_what_a_figure_draws_is_text(panel) -> None:
    for width in WIDTHS:
        drawn = labels(panel.figure(width))
        assert len(drawn) > 3
        for key, text in drawn:
            rest = OURS.sub("", text)
            assert "<" not in rest and ">" not in rest and "$" not in rest, (key, text)
            assert "%{" not in FIELD.sub("", rest), (key, text)
            assert not ACTS.search(text) and len(text) < 1200, (key, text[:300])


def test_what_its_widgets_send_is_text(panel) -> None:
    sent = {widget: widget.get_state() for widget in descendants(panel.widget)}
    whole = json.dumps(list(sent.values()), default=lambda value: len(value) if isinstance(value, (bytes, memoryview)) else str(value), ensure_ascii=False)
    assert len(whole.encode("utf-8")) < 3_000_000  # and no half character, which no message carries
    for widget, state in sent.items():
        if type(widget).__name__ in ("HTML", "Progress", "HTMLMath"):
            assert_text_only(state["value"])
        for key, text in labels({name: value for name, value in state.items() if not name.startswith("_")}):
            assert key in IDS or not ACTS.search(text), (type(widget).__name__, key, text[:200])


def test_what_its_code_says_of_them_is_a_literal(panel) -> None:
    read = ast.parse(panel.code())
    assert not any(isinstance(node, ast.Name) and node.id == "hostile_ran" for node in ast.walk(read))
    assert "\x1b" not in panel.code() and "\u202e" not in panel.code() and "\0" not in panel.code()
