"""Sheet figures are plain and escaped, tokens are read from one file, and nothing unresolved leaves the page."""

from __future__ import annotations

import json
import re

import pytest

from widgets.frame import theme
from widgets.frame.sheet import Sheet, hatch, number, plain


def sheet_figure(name: str = "this run") -> dict:
    sheet = Sheet(600, 300, 1.2)
    axis = sheet.cell(0, 0, 600, 300, "Loss", "nats per token", "step")
    sheet.line(axis, [0, 1, 2], [3.0, 2.0, 1.5], "blue", name=plain(name), uid="loss")
    sheet.label(axis, 2, 1.5, plain(name), "blue-text")
    sheet.rule(axis, y=2, colour="vermillion", dash="dash")
    sheet.band(axis, x=(0, 1))
    sheet.change([axis], 1, "lr 2e-4 → 1e-4")
    return sheet.figure()


def test_numbers_have_narrow_spaces_and_a_true_minus() -> None:
    assert number(1240) == "1\u202f240"
    assert number(-0.5, 1) == "\u22120.5"
    assert number(-0.01, 1) == "0.0"  # what rounds to zero has no sign


@pytest.mark.parametrize(("text", "shown"), [
    ("<script>x</script>", "&lt;script&gt;x&lt;/script&gt;"), ("a & b", "a &amp; b"), ("&lt;", "&amp;lt;"),
    ("$x^2$", "&#36;x^2&#36;"), ("two\nlines", "two lines"), (7, "7")])
def test_plain_leaves_no_markup(text: object, shown: str) -> None:
    assert plain(text) == shown


def test_a_cell_lies_where_it_was_cut() -> None:
    layout = sheet_figure()["layout"]
    assert layout["height"] == 360
    low, high = layout["xaxis"]["domain"]
    assert (low * 600, high * 600) == pytest.approx((40, 590))
    assert layout["yaxis"]["domain"][0] * 360 == pytest.approx(40)  # the foot keeps its px when the cell is stretched
    assert layout["meta"]["units"] == {"yaxis": {"name": "Loss", "unit": "nats per token"}}


def test_a_rule_and_a_band_span_the_whole_cell() -> None:
    rule, band, mark = sheet_figure()["layout"]["shapes"]
    assert (rule["xref"], rule["x0"], rule["x1"], rule["y0"], rule["y1"]) == ("x domain", 0, 1, 2, 2)
    assert (band["yref"], band["x0"], band["x1"]) == ("y domain", 0, 1)
    assert (mark["x0"], mark["x1"], mark["yref"]) == (1, 1, "y domain")


def test_what_is_over_the_limit_is_striped() -> None:
    assert hatch(["blue", "vermillion"], [False, True])["pattern"]["shape"] == ["", "/"]


@pytest.mark.parametrize("name", ["light", "dark"])
def test_resolve_leaves_no_variable(name: theme.Theme) -> None:
    figure = sheet_figure()
    assert "var(" in json.dumps(figure)
    resolved = json.dumps(theme.resolve(figure, name))
    assert "var(" not in resolved
    assert {"light": "#0072b2", "dark": "#4ba3dc"}[name] in resolved


def test_every_token_a_figure_or_a_rule_names_exists() -> None:
    known = set(theme.tokens("light"))
    assert set(theme.tokens("dark")) == known
    used = set(re.findall(r"var\((--wb-[\w-]+)", theme.css() + json.dumps(sheet_figure())))
    assert used - known == {"--wb-share"}  # set on each slider by status_line.js


def test_text_colours_can_be_read_on_the_surface() -> None:
    def luminance(colour: str) -> float:
        parts = [int(colour[k:k + 2], 16) / 255 for k in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    for name in ("light", "dark"):
        values = theme.tokens(name)
        surface = luminance(values["--wb-surface"]) if name == "light" else luminance("#17181b")
        for token, colour in values.items():
            if re.fullmatch(r"--wb-(ink(-2|-3)?|[a-z]+-text)", token):
                one, other = sorted((luminance(colour), surface), reverse=True)
                assert (one + 0.05) / (other + 0.05) >= 4.5, f"{token} in {name}"


def test_width_classes() -> None:
    assert [theme.width_class(px) for px in (780, 779, 400, 399)] == ["wide", "medium", "medium", "narrow"]


def test_an_unknown_theme_is_refused() -> None:
    with pytest.raises(ValueError, match="light.*dark"):
        theme.tokens("sepia")


def test_what_is_missing_is_said_letter_by_letter() -> None:
    drawn = Sheet(420, 300).empty("No <b>rows</b>", "There is no <a href='x'>$file$</a> & no other.")
    words = [note["text"] for note in drawn["layout"]["annotations"]]
    assert words == ["<b>No &lt;b&gt;rows&lt;/b&gt;</b>", "There is no &lt;a href='x'&gt;&#36;file&#36;&lt;/a&gt; &amp; no other."]
    assert drawn["data"] == [] and not any(drawn["layout"][axis]["visible"] for axis in ("xaxis", "yaxis"))
