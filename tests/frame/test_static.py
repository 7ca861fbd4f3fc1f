"""The static picture is valid SVG, draws what the sheet holds where it belongs, and lets no markup of a label through."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from tests.frame.demo_panel import HOSTILE, DemoPanel
from widgets.frame.sheet import Sheet, hatch, plain
from widgets.frame.static import svg
from widgets.frame.static_draw import spans

SVG = "{http://www.w3.org/2000/svg}"


def drawn(figure: dict, **more) -> ET.Element:
    return ET.fromstring(svg(figure, **more))


def words(root: ET.Element) -> list[str]:
    return ["".join(text.itertext()) for text in root.iter(SVG + "text")]


@pytest.mark.parametrize("width", ["wide", "medium", "narrow"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_panel_figure_is_valid_and_resolved(width: str, theme: str) -> None:
    figure = DemoPanel(name=HOSTILE).figure(width)
    text = svg(figure, theme=theme, summary=HOSTILE)
    root = ET.fromstring(text)
    assert "var(" not in text
    assert not list(root.iter(SVG + "script")) and not list(root.iter(SVG + "img"))
    assert root.find(SVG + "title").text == HOSTILE == root.find(SVG + "desc").text
    assert any(HOSTILE[:24] in line for line in words(root))
    assert {"Loss   nats per token", "1\u202f000", "2.0", "step", "lr 2e-4 → 1e-4"} <= set(words(root))


def test_a_line_goes_through_its_points() -> None:
    sheet = Sheet(200, 100)
    axis = sheet.cell(0, 0, 200, 100, "A", "", gutter=0, right=0, foot=0, top=0, x=dict(range=[0, 2]), y=dict(range=[0, 10]))
    sheet.line(axis, [0, 1, 2], [0, 5, float("nan")], "blue", dash="dash")
    path = next(drawn(sheet.figure()).iter(SVG + "path"))
    assert path.get("d") == "M0 100L100 50"
    assert path.get("stroke") == "#0072b2" and path.get("stroke-dasharray")


def test_bars_stand_on_zero_and_stripes_are_drawn() -> None:
    sheet = Sheet(200, 100)
    axis = sheet.cell(0, 0, 200, 100, "A", "", gutter=0, right=0, foot=0, top=0, x=dict(range=[-0.5, 1.5]), y=dict(range=[0, 10]))
    sheet.add(axis, type="bar", x=[0, 1], y=[4, 8], marker=hatch(["blue", "vermillion"], [False, True]))
    root = drawn(sheet.figure())
    bars = [rect for rect in root.iter(SVG + "rect") if rect.get("fill") in ("#0072b2", "#d55e00")]
    assert [float(bar.get("height")) for bar in bars] == [40, 80]
    assert [float(bar.get("y")) + float(bar.get("height")) for bar in bars] == [100, 100]
    assert len(list(root.iter(SVG + "path"))) == 1


def test_horizontal_bars_with_names() -> None:
    sheet = Sheet(300, 100)
    axis = sheet.cell(0, 0, 300, 100, "A", "", gutter=100, right=0)
    sheet.add(axis, type="bar", orientation="h", y=["letters", "<b>code"], x=[1, 2], marker=dict(color="#123456"))
    root = drawn(sheet.figure())
    first, second = (float(bar.get("width")) for bar in root.iter(SVG + "rect") if bar.get("fill") == "#123456")
    assert second == pytest.approx(2 * first, abs=0.1)
    assert "letters" in words(root)


def test_bold_and_coloured_words_become_tspans_and_nothing_else_does() -> None:
    assert (spans('<b>Loss</b> <span style="color:#123456">nats</span>')
            == '<tspan font-weight="600">Loss</tspan> <tspan fill="#123456">nats</tspan>')
    assert "<script" not in spans("<script>alert(1)</script>")
    assert "onload" not in spans('<span style="color:red" onload="x">a</span>')
    assert spans(plain("<b>x</b>")) == "&lt;b&gt;x&lt;/b&gt;"
    assert spans("<b>never closed") == '<tspan font-weight="600">never closed</tspan>'


def test_a_hostile_colour_is_not_written() -> None:
    sheet = Sheet(200, 100)
    axis = sheet.cell(0, 0, 200, 100, "A", "")
    sheet.add(axis, x=[0, 1], y=[0, 1], mode="lines", line=dict(color='red" onload="x', dash='"><script>'))
    text = svg(sheet.figure())
    ET.fromstring(text)
    assert "onload" not in text and "script" not in text


def test_long_lines_are_thinned_out() -> None:
    sheet = Sheet(800, 300)
    axis = sheet.cell(0, 0, 800, 300, "A", "")
    sheet.line(axis, np.arange(200_000.0), np.random.default_rng(0).normal(size=200_000), "blue")
    assert len(svg(sheet.figure())) < 60_000


def test_ticks_follow_dtick_and_words() -> None:
    sheet = Sheet(400, 200)
    axis = sheet.cell(0, 0, 400, 200, "A", "", x=dict(range=[0, 1000], dtick=250),
                      y=dict(range=[0, 2], tickvals=[0, 2], ticktext=["low", "high"]))
    sheet.add(axis, x=[0], y=[0], mode="markers", marker=dict(size=8, symbol="diamond"))
    assert {"0", "250", "500", "750", "1\u202f000", "low", "high"} <= set(words(drawn(sheet.figure())))


def test_words_at_points_stand_beside_them() -> None:
    sheet = Sheet(200, 100)
    axis = sheet.cell(0, 0, 200, 100, "Share", "%", gutter=0, right=0, top=0, foot=0, x=dict(range=[0, 10]), y=dict(range=[0, 10]))
    sheet.add(axis, x=[5, 5], y=[5, 2], mode="text", text=["4.6", "<b>"], textposition=["middle right", "middle left"],
              textfont=dict(size=12, color=["var(--wb-vermillion-text)", "var(--wb-ink-2)"]))
    found = {"".join(text.itertext()): text for text in drawn(sheet.figure()).iter(SVG + "text")}
    right, left = found["4.6"], found[""]
    assert right.get("text-anchor") == "start" and 100 < float(right.get("x")) < 106 and 50 < float(right.get("y")) < 57
    assert left.get("text-anchor") == "end" and 94 < float(left.get("x")) < 100
    assert right.get("fill") != left.get("fill")


def test_a_heatmap_is_cells_with_words_that_read_on_them() -> None:
    sheet = Sheet(320, 150)
    axis = sheet.cell(0, 0, 320, 150, "Ranks", "", gutter=40, right=0, foot=24, top=26, x=dict(range=[-.5, 1.5], tickvals=[0, 1]),
                      y=dict(range=[1.5, -.5], tickvals=[0, 1], ticktext=["q", "k"]))
    sheet.add(axis, type="heatmap", z=[[0, 5], [None, 10]], text=[["none", "<img src=x>"], ["", "ten"]], texttemplate="%{text}", zmin=0, zmax=10,
              colorscale=[[0, "#ffffff"], [1, "#000000"]], xgap=2, ygap=2)
    root = drawn(sheet.figure())
    cells = [rect for rect in root.iter(SVG + "rect") if rect.get("fill") in ("#ffffff", "#808080", "#000000")]
    assert [rect.get("fill") for rect in cells] == ["#ffffff", "#808080", "#000000"], "half way is grey, and no value is no cell"
    assert [(float(rect.get("x")), float(rect.get("y"))) for rect in cells] == [(41, 27), (181, 27), (181, 77)]
    assert (float(cells[0].get("width")), float(cells[0].get("height"))) == (138, 48)  # (320 - 40) / 2 and (150 - 24 - 26) / 2, less the gap
    inks = {"".join(text.itertext()): text.get("fill") for text in root.iter(SVG + "text")}
    assert inks["none"] == "#1f2328" and inks["ten"] == "#ffffff" and "<img src=x>" in inks and not list(root.iter(SVG + "img"))


def test_a_label_on_a_log_axis_stands_at_its_power_of_ten() -> None:
    sheet = Sheet(200, 100)
    axis = sheet.cell(0, 0, 200, 100, "Size", "", gutter=40, right=0, foot=0, top=20, x=dict(range=[0, 1]), y=dict(type="log", range=[0, 4], tickvals=[]))
    sheet.label(axis, .5, 2, "hundred", size=10)  # plotly wants the exponent of a note, and the number itself of a point
    text = next(text for text in drawn(sheet.figure()).iter(SVG + "text") if "".join(text.itertext()) == "hundred")
    assert 54 < float(text.get("y")) < 70, "the middle of 20 to 100, where the powers 0 to 4 stand"


def test_a_box_is_as_wide_as_the_words_in_it_are_in_a_wide_font() -> None:
    """Advances of DejaVu Sans in em: r .411 e .615 s .521 u .634 m .974 d .635 space .318 f .352 o .612 5 .636."""
    advance = {"r": .411, "e": .615, "s": .521, "u": .634, "m": .974, "d": .635, " ": .318, "f": .352, "o": .612, "5": .636}
    sheet = Sheet(400, 200)
    axis = sheet.cell(0, 0, 400, 200, "Loss", "", "")
    sheet.label(axis, 0.1, 0.5, "resumed from 5", size=11, bgcolor="#fffffe", bordercolor="#012345", borderwidth=1, borderpad=3)
    (box,) = [rect for rect in drawn(sheet.figure()).iter() if rect.get("stroke") == "#012345"]
    assert float(box.get("width")) - 8 >= 11 * sum(advance[letter] for letter in "resumed from 5")
