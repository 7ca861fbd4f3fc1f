"""A panel's four answers need no browser and no widget; its widget shows them, its errors and its progress; its HTML stands alone."""

from __future__ import annotations

import subprocess
import sys
import threading
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import ipywidgets
import pytest

from tests.frame.demo_panel import HOSTILE, DemoPanel, State
from widgets.frame import controls
from widgets.frame.log_slider import LogSlider
from widgets.frame.panel import Panel
from widgets.frame.status import Sentence

ROOT = Path(__file__).resolve().parents[2]


def descendants(widget) -> list:
    return [widget, *(found for child in getattr(widget, "children", ()) for found in descendants(child))]


def test_the_four_answers_make_no_widget() -> None:
    code = ("import sys; from tests.frame.demo_panel import DemoPanel; import ipywidgets\n"
            "made = []; old = ipywidgets.Widget.__init__\n"
            "def noted(self, *a, **k): made.append(self); old(self, *a, **k)\n"
            "ipywidgets.Widget.__init__ = noted\n"
            "p = DemoPanel(); p.figure('narrow'); p.summary(); p.code(); p.state_json(); p._repr_mimebundle_()\n"
            "print(len(made), 'torch' in sys.modules)")
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert printed.split() == ["0", "False"]


def test_a_figure_is_a_pure_function() -> None:
    panel = DemoPanel()
    one, other = panel.figure("medium"), panel.figure("medium")
    assert one["layout"] == other["layout"] and one is not other
    assert panel.state == State()


def test_state_survives_json() -> None:
    panel = DemoPanel(State(rate=3e-4, every=200, picked=("a", "b")))
    assert DemoPanel.from_json(panel.state_json()).state == panel.state

    class Other(DemoPanel):
        pass

    with pytest.raises(ValueError, match="DemoPanel"):
        Other.from_json(panel.state_json())


def test_a_widget_may_stand_over_the_figure_in_its_column() -> None:
    class Topped(DemoPanel):
        def above(self):
            self.top = controls.html("over the figure")
            return self.top

    panel = Topped()
    main = next(box for box in descendants(panel.widget) if "wb-main" in getattr(box, "_dom_classes", ()))
    assert list(main.children) == [panel.top, panel.live]


def test_an_unknown_kind_of_sentence_is_refused() -> None:
    with pytest.raises(ValueError, match="ok"):
        Sentence("good", "x")
    assert Sentence.of("fine") == Sentence("ok", "fine")


class Reader(HTMLParser):
    """Collects tags, attributes and text."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.handlers: set[str] = set()
        self.text = ""
        self.feed(markup)

    def handle_starttag(self, tag, attributes) -> None:
        self.tags.add(tag)
        self.handlers |= {name for name, _ in attributes if name.startswith("on")}

    def handle_data(self, data) -> None:
        self.text += data


def test_the_bundle_reads_without_a_kernel_and_runs_nothing() -> None:
    panel = DemoPanel(name=HOSTILE)
    bundle = panel._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"}  # a view of a widget only inside a kernel
    assert bundle["text/plain"] == repr(panel) == f"Demo panel: {panel.summary().text} (A notebook shows the picture.)"
    read = Reader(bundle["text/html"])
    assert read.tags.isdisjoint({"script", "img", "link", "iframe"}) and not read.handlers
    for part in ("Demo panel", panel.question, panel.summary().text, HOSTILE, "Tomas will come"):
        assert part in read.text
    assert "var(" not in bundle["text/html"] and bundle == panel._repr_mimebundle_()
    assert 'style="text-align:right' in bundle["text/html"]  # tables carry their look: style sheets do not travel
    ET.fromstring(bundle["text/html"][bundle["text/html"].index("<svg"):bundle["text/html"].index("</svg>") + 6])


def test_the_widget_has_the_frame() -> None:
    panel = DemoPanel()
    head, bar, body, foot = panel.widget.children
    assert panel.widget is panel.widget
    assert "is this run learning" in head.value
    assert [child._dom_classes[0] for child in body.children] == ["wb-controls", "wb-main", "wb-extra"]
    assert (foot.kind, foot.sentence, foot.code, foot.help) == ("ok", panel.summary().text, panel.code(), panel.help_text)
    assert panel.live.summary == panel.summary().text
    assert isinstance(bar, ipywidgets.HBox)


def test_refresh_sends_the_new_state() -> None:
    panel = DemoPanel()
    panel.refresh()  # not shown yet: nothing to do
    foot = panel.widget.children[-1]
    panel.state.every = 200
    panel.grow(3)
    assert foot.sentence == panel.live.summary == panel.summary().text
    assert "every=200" in foot.code
    assert len(panel.live.figures["narrow"]["data"][0]["x"]) == 303


def test_an_error_stands_below_its_control_with_its_remedy() -> None:
    panel, pressed = DemoPanel(), []
    panel.widget
    panel.show_error(panel.rate, "The rate is <b>too high</b>. Lower it to 3e-4.", ("Use 3e-4", lambda: pressed.append(1)))
    group = next(box for box in descendants(panel.widget) if panel.rate in getattr(box, "children", ()))
    box = group.children[group.children.index(panel.rate) + 1]
    assert "&lt;b&gt;too high" in box.children[0].value and 'role="alert"' in box.children[0].value
    box.children[1].click()
    assert pressed == [1]
    assert "wb-bad" in panel.rate._dom_classes and "wb-stale" in panel.live._dom_classes
    panel.show_error(panel.rate, "Still too high.")
    assert sum("wb-error-box" in getattr(w, "_dom_classes", ()) for w in descendants(panel.widget)) == 1
    panel.clear_error()
    assert not any("wb-error-box" in getattr(w, "_dom_classes", ()) for w in descendants(panel.widget))
    assert "wb-bad" not in panel.rate._dom_classes and "wb-stale" not in panel.live._dom_classes


def test_busy_shows_progress_and_cancels() -> None:
    panel, pressed = DemoPanel(), []
    panel.busy("about 20 s left", 87, 224, lambda: pressed.append(1))
    busy = next(w for w in descendants(panel.widget) if "wb-busy" in getattr(w, "_dom_classes", ()))
    assert "87 of 224" in busy.children[0].value and "about 20 s left" in busy.children[0].value
    busy.children[1].click()
    assert pressed == [1]
    panel.busy("counting")
    assert busy.children[1].disabled
    panel.busy(None)
    assert busy not in descendants(panel.widget)


def test_a_panel_without_figure_or_controls() -> None:
    class Words(Panel):
        title, question = "Words", "what is there?"

        def summary(self) -> str:
            return "Nothing to show yet: no run picked."

        def code(self) -> str:
            return "Words()"

    panel = Words()
    body = panel.widget.children[1]
    assert "wb-alone" in body._dom_classes and panel.live is None
    panel.refresh()
    assert panel.freeze() is False  # never displayed


def test_every_cell_of_a_table_is_escaped() -> None:
    read = Reader(controls.table_html([HOSTILE], [[HOSTILE]], wide=0, caption=HOSTILE))
    assert read.tags == {"table", "caption", "thead", "tbody", "tr", "th", "td"} and not read.handlers
    assert read.text.count(HOSTILE) == 3


def test_controls_are_named() -> None:
    slider = controls.slider("Rank r", 16, 1, 64)
    assert isinstance(slider, ipywidgets.IntSlider) and slider.description == "Rank r" and slider.layout.width == "100%"
    rate = controls.slider("Rate", 3.16e-4, 1e-5, 1e-2, log=True)
    assert isinstance(rate, LogSlider) and rate.value == 3.16e-4 and rate.description == "Rate"
    cap = controls.slider("Cap", 30_000, 100, 1e6, log=True, form=",", stops=[1_000, 30_000])
    assert cap.grouped and cap.stops == [1_000.0, 30_000.0] and not rate.grouped and rate.stops == []
    with pytest.raises(ValueError, match="0 < min < max"):
        controls.slider("Rate", 1e-4, 0, 1, log=True)
    assert isinstance(controls.slider("Weight", 0.5, 0, 1), ipywidgets.FloatSlider)
    with pytest.raises(ValueError, match="tooltip"):
        controls.button("", "times")


def test_what_the_pump_meets_is_shown_until_it_is_over() -> None:
    panel, broken, turns = DemoPanel(), True, threading.Semaphore(0)
    panel.widget

    def read() -> None:
        turns.release()
        if broken:
            raise OSError("journal.jsonl cannot be read; is the disk there?")

    def errors() -> list[str]:
        return [w.value for w in descendants(panel.widget) if 'role="alert"' in str(getattr(w, "value", ""))]

    turn = panel.every(read, 0.01)
    for _ in range(3):
        assert turns.acquire(timeout=5)
    assert len(errors()) == 1 and "is the disk there?" in errors()[0]
    broken = False
    for _ in range(3):
        assert turns.acquire(timeout=10)
    turn.remove()
    assert errors() == []
