"""The frame in a real JupyterLab: what a person sees, at every width, in both themes, while it grows and after a reload."""

from __future__ import annotations

import html
import json
import os
import signal
from collections.abc import Iterator

import nbformat
import pytest

from tests.browser.lab import Lab, Notebook
from tests.browser.layout import assert_layout, layout_faults

pytestmark = pytest.mark.browser

OPEN = "from tests.frame.demo_panel import *\npanel = DemoPanel(name={name})\npanel"


LONG = """import numpy as np
from widgets.frame.live_figure import LiveFigure
from widgets.frame.sheet import Sheet
sheet, steps = Sheet(600, 300), np.arange(1.0, 1_000_001.0)
for top in (0, 150):
    axis = sheet.cell(0, top, 600, top + 150, "Loss", "nats", x=dict(range=[0, 1e6], tickvals=[0, 1e6], ticktext=["0", "1 000 000"]))
    sheet.line(axis, steps, np.sin(steps), "blue", uid=f"line{axis}")
drawn = sheet.figure()
drawn["layout"]["meta"]["zoom"] = ["x", "x2"]
long = LiveFigure(drawn, _dom_classes=["long"])
long"""
"""A figure of two lines with a million points each over one scale."""


@pytest.fixture(scope="module")
def shown(lab: Lab) -> Iterator[Notebook]:
    """A demo panel whose run has a hostile name, drawn."""
    notebook = lab.open([OPEN.format(name="HOSTILE"), "others = [DemoPanel(), DemoPanel()]\ndisplay(*others)", LONG], "frame")
    notebook.run(0)
    notebook.drawn()
    yield notebook
    assert notebook.errors == []
    notebook.close()


def figure_has(points: int) -> str:
    return f"() => document.querySelector('.wb-panel .js-plotly-plot')?.data?.[0]?.y?.length === {points}"


def test_it_draws_and_says_what_it_shows(shown: Notebook) -> None:
    sentence = shown.page.locator(".wb-panel [role=status]").inner_text()
    assert sentence.startswith("Step 1\u202f196: loss 1.499 in town")
    picture = shown.page.locator(".wb-panel .wb-fig > [role=img]")
    assert picture.get_attribute("aria-label") == sentence
    assert "var(" not in picture.inner_html()


def test_three_figures_fetch_plotly_once(shown: Notebook) -> None:
    shown.run(1)
    shown.wait("() => [...document.querySelectorAll('.wb-panel')].filter(one => one.querySelector('.scatterlayer .trace')).length === 3")
    assert shown.kernel("from widgets.frame.live_figure import LiveFigure; print(LiveFigure.plotly_copies)") == "1"
    assert shown.page.evaluate("() => typeof window.Plotly") == "undefined"  # another plotly on the page is left alone
    shown.page.evaluate("() => jupyterapp.commands.execute('notebook:clear-cell-output')")
    shown.wait("() => document.querySelectorAll('.wb-panel').length === 1")


def test_zooming_into_200_of_a_million_steps_shows_every_one_of_them(shown: Notebook) -> None:
    """By dragging, with the keyboard, and back; the page never holds more than some thousand points a line."""
    shown.run(2)
    figure, plot = ".long", "document.querySelector('.long .js-plotly-plot')"
    shown.wait(f"() => {plot}?._fullLayout?.xaxis2")
    span = f"(() => {plot}._fullLayout.xaxis.range.map(Number))()"
    held = f"(() => {plot}.data.map(line => line.x.length))()"
    assert max(shown.page.evaluate(held)) <= 2000
    place = shown.page.locator(figure + " > [role=img]").first
    place.scroll_into_view_if_needed()
    for _ in range(12):
        low, high = shown.page.evaluate(span)
        if high - low <= 200:
            break
        box = shown.page.locator(figure + " .nsewdrag").first.bounding_box()
        middle, across = box["y"] + box["height"] / 2, box["x"] + box["width"] / 2
        shown.page.mouse.move(across - 30, middle)
        shown.page.mouse.down()
        shown.page.mouse.move(across + 30, middle, steps=4)
        shown.page.mouse.up()
        shown.wait(f"before => {span}[1] - {span}[0] < before", high - low)
    low, high = shown.page.evaluate(span)
    assert 20 < high - low <= 200 and shown.page.evaluate(f"(() => {plot}._fullLayout.xaxis2.range.map(Number))()") == [low, high]
    every = """([low, high]) => PLOT.data.every(line => {
        const seen = new Set(line.x);
        for (let step = Math.ceil(low); step <= high; step++) if (!seen.has(step)) return false;
        return line.x.length <= 4000; })""".replace("PLOT", plot)
    shown.wait(every, [low, high])
    place.focus()
    shown.page.keyboard.press("ArrowRight")
    shown.wait(f"before => {span}[0] > before", low)
    shown.wait(every, shown.page.evaluate(span))
    shown.page.keyboard.press("-")
    shown.wait(f"before => {span}[1] - {span}[0] > 1.5 * before", high - low)
    shown.page.keyboard.press("Escape")
    shown.wait(f"() => {span}[0] === 0 && {span}[1] === 1e6 && Math.max(...{held}) <= 2500")
    shown.page.evaluate("() => jupyterapp.commands.execute('notebook:clear-cell-output')")


def test_markup_in_a_name_stays_text(shown: Notebook) -> None:
    assert shown.page.evaluate("() => window.hacked") is None
    assert shown.page.locator(".wb-panel script, .wb-panel img").count() == 0
    assert "<script>window.hacked = 1</script>" in shown.page.locator(".wb-panel [role=status]").inner_text()
    assert any("<script>" in text for text in shown.page.locator(".wb-panel .annotation-text").all_text_contents())


@pytest.mark.parametrize("width", [1200, 700, 420])
def test_no_word_is_cut_or_covered(shown: Notebook, width: int) -> None:
    shown.set_width(width)
    assert_layout(shown.page)
    shown.screenshot(f"frame_{width}")
    composed = {1200: "wide", 700: "medium", 420: "narrow"}[width]
    assert shown.page.locator(".wb-fig > [role=img]").get_attribute("data-width") == composed


def test_the_layout_check_sees_faults(shown: Notebook) -> None:
    shown.set_width(700)
    shown.page.evaluate("""() => { const label = document.querySelector('.wb-panel .wb-log-slider .widget-label');
        label.dataset.before = label.style.cssText;
        label.style.cssText = 'display:block;width:40px;overflow:hidden;white-space:nowrap'; }""")
    shown.page.evaluate("() => { document.querySelector('.wb-panel .wb-head p').style.marginLeft = '-60px'; }")
    faults = " ".join(layout_faults(shown.page))
    shown.page.evaluate("""() => { const label = document.querySelector('.wb-panel .wb-log-slider .widget-label');
        label.style.cssText = label.dataset.before;
        document.querySelector('.wb-panel .wb-head p').style.marginLeft = ''; }""")
    assert "cut off" in faults and "on each other" in faults
    assert_layout(shown.page)


def test_the_theme_is_followed(shown: Notebook) -> None:
    line = ".wb-panel .scatterlayer .trace .js-line"
    assert shown.page.locator(line).first.evaluate("node => getComputedStyle(node).stroke") == "rgb(0, 114, 178)"
    shown.dark()
    shown.wait(f"() => getComputedStyle(document.querySelector('{line}')).stroke === 'rgb(75, 163, 220)'")
    shown.set_width(1200)
    assert_layout(shown.page)
    shown.screenshot("frame_dark")
    shown.dark(False)
    shown.wait(f"() => getComputedStyle(document.querySelector('{line}')).stroke === 'rgb(0, 114, 178)'")


def test_everything_is_reached_by_keyboard_and_named(shown: Notebook) -> None:
    shown.page.locator(".wb-panel button", has_text="Pause").focus()
    order = []
    for _ in range(16):
        order.append(shown.page.evaluate("""() => { const node = document.activeElement;
            const name = node.getAttribute('aria-label') || node.labels?.[0]?.textContent || node.textContent;
            return node.closest('.wb-panel') && name.trim(); }"""))
        shown.page.keyboard.press("Tab")
    order = [name for name in order if name is not None]
    assert all(order), f"a control without a name: {order}"
    expected = ["Pause", "Stop", "Fork", "Learning rate peak", "Rank r", "Evaluate every", "train", "held out", "Double quantization",
                "Forget this run", "Search runs and recipes", "</> Code", "What is this?"]
    assert [name for name in order if name in expected] == expected
    shown.page.get_by_role("slider", name="Rank r").focus()
    shown.page.keyboard.press("ArrowRight")
    shown.wait("() => document.querySelector(\"[aria-label='Rank r']\").getAttribute('aria-valuenow') === '17.0'")
    assert shown.kernel("print(panel.rank.value)") == "17"


def heard(shown: Notebook, condition: str) -> None:
    """Until the kernel has it: what a page says may be heard in a thread of its own."""
    assert any(shown.kernel(f"print({condition})") == "True" for _ in range(100)), condition


def test_a_rate_is_shown_exactly_and_can_be_typed(shown: Notebook) -> None:
    shown.kernel("before = panel.rate.value; panel.rate.home = panel.rate.value = 3e-4")
    handle, field = shown.page.get_by_role("slider", name="Learning rate peak"), shown.page.get_by_label("Learning rate peak, value")
    shown.wait("() => document.querySelector(\"[aria-label='Learning rate peak']\").getAttribute('aria-valuetext') === '3e-4'")
    assert field.input_value() == "3e-4"
    field.focus()
    shown.page.keyboard.type("3.17e-4")
    shown.page.keyboard.press("Enter")
    assert field.input_value() == "3.17e-4"
    heard(shown, "panel.rate.value == 3.17e-4")
    handle.focus()
    for key, words in (("ArrowRight", "3.5e-4"), ("ArrowLeft", "3e-4"), ("ArrowLeft", "2.5e-4"), ("Escape", "3e-4")):
        shown.page.keyboard.press(key)
        assert (handle.get_attribute("aria-valuetext"), field.input_value()) == (words, words)
    heard(shown, "panel.rate.value == 3e-4")
    field.fill("fast")
    field.press("Enter")
    assert "Type a number above 0, such as 3e-4" in shown.page.get_by_role("alert").inner_text()
    shown.wait("() => document.querySelector('.wb-number[aria-invalid=true]')")
    field.press("Escape")
    assert field.input_value() == "3e-4" and shown.page.get_by_role("alert").count() == 0
    assert_layout(shown.page)
    shown.kernel("panel.rate.home, panel.rate.value = 0.0, before")


def test_a_button_that_can_do_nothing_any_more_keeps_the_focus(shown: Notebook) -> None:
    shown.kernel("clicks = []; panel.cancel.on_click(clicks.append)")
    button = shown.page.get_by_role("button", name="Forget this run")
    button.focus()
    shown.page.keyboard.press("Enter")
    shown.kernel("panel.cancel.disabled = True")
    shown.wait("() => document.activeElement.getAttribute('aria-disabled') === 'true'")
    assert button.is_disabled() and shown.page.evaluate("() => document.activeElement.getAttribute('aria-label')") == "Forget this run"
    shown.page.keyboard.press("Enter")
    shown.wait("() => document.activeElement.tabIndex === -1")
    shown.kernel("panel.cancel.disabled = False")
    shown.wait("() => !document.activeElement.hasAttribute('aria-disabled') && document.activeElement.tabIndex === 0")
    heard(shown, "len(clicks) == 1")
    shown.page.keyboard.press("Enter")
    heard(shown, "len(clicks) == 2")


WAITS = "import os, time\nopen({name!r} + '.pid', 'w').write(str(os.getpid()))\nwhile not os.path.exists({name!r}): time.sleep(0.02)"
BUSY = "() => document.querySelector('.wb-panel [role=status]').textContent.startsWith('The kernel is busy with a cell; this')"
NOT_BUSY = "() => document.querySelector('.wb-panel [role=status]').textContent.startsWith('Step 1\u202f196: loss')"


@pytest.fixture(scope="module")
def waiting(lab: Lab) -> Iterator[Notebook]:
    """A notebook whose kernel hears one thing at a time; its second cell waits for the file "held"."""
    notebook = lab.open([OPEN.format(name="'town'"), WAITS.format(name="held")], "held")
    yield notebook
    assert notebook.errors == []
    notebook.close()


@pytest.fixture
def held(waiting: Notebook) -> Iterator[Notebook]:
    """A demo panel that was clicked while the second cell holds the kernel."""
    waiting.page.evaluate("() => { jupyterapp.shell.currentWidget.sessionContext.session.kernel.commsOverSubshells = 'disabled'; }")
    waiting.run(0)
    waiting.drawn()
    waiting.kernel("asked = []; panel._status.on_msg(lambda _widget, message, _buffers: asked.append(message['kind']))")
    waiting.page.evaluate("""() => { jupyterapp.shell.currentWidget.content.activeCellIndex = 1;
        void jupyterapp.commands.execute('notebook:run-cell'); }""")
    waiting.wait("() => jupyterapp.shell.currentWidget.sessionContext.session.kernel.status === 'busy'")
    waiting.page.get_by_role("button", name="Forget this run").click()
    waiting.wait(BUSY)
    yield waiting
    (waiting.path.parent / "held").unlink(missing_ok=True)


def test_a_click_during_a_long_cell_is_said_to_wait(held: Notebook) -> None:
    assert_layout(held.page)
    held.page.get_by_role("slider", name="Rank r").focus()
    for _ in range(30):
        held.page.keyboard.press("ArrowRight")
    (held.path.parent / "held").touch()
    held.wait(NOT_BUSY)
    assert held.kernel("print(asked.count('ask'))") == "2"  # for the click, and for all that was done while it waited


@pytest.mark.parametrize("dies", [False, True], ids=["restarts", "dies"])
def test_with_the_kernel_goes_what_waited_for_it(held: Notebook, dies: bool) -> None:
    if dies:
        os.kill(int((held.path.parent / "held.pid").read_text()), signal.SIGKILL)
    else:
        held.restart_kernel()
    held.wait(NOT_BUSY)
    held.wait("() => jupyterapp.shell.currentWidget.sessionContext.session.kernel.status === 'idle'")  # it cannot be ended before it is back


def test_a_wrong_rate_stays_with_its_fault_until_the_kernel_has_another(shown: Notebook) -> None:
    shown.kernel("before = panel.rate.value; panel.rate.value = 3e-4")
    field, fault = shown.page.get_by_label("Learning rate peak, value"), shown.page.locator(".wb-log-slider [role=alert]").first
    field.fill("fast")
    field.press("Tab")
    assert field.input_value() == "fast" and "Type a number above 0" in fault.inner_text()
    shown.kernel("panel.rate.value = 4e-4")
    shown.wait("() => document.querySelector('.wb-number').value === '4e-4' && !document.querySelector('.wb-number[aria-invalid]')")
    assert fault.is_hidden()
    field.focus()
    shown.kernel("panel.rate.value = 5e-4")
    shown.wait("() => document.querySelector('.wb-number').value === '5e-4'")
    field.press("Tab")
    assert shown.kernel("print(panel.rate.value)") == "0.0005" and field.input_value() == "5e-4"
    shown.kernel("panel.rate.value = before")


def test_drawers_show_text_and_copy_it(shown: Notebook) -> None:
    shown.page.get_by_role("button", name="</> Code").click()
    shown.page.get_by_role("button", name="What is this?").click()
    assert shown.page.locator(".wb-code pre").inner_text() == "panel = DemoPanel(State(rate=0.0001, every=100))"
    assert shown.page.locator(".wb-help").is_visible()
    shown.page.get_by_role("button", name="Copy", exact=True).click()
    shown.page.get_by_role("button", name="Copied").wait_for()
    assert shown.page.evaluate("() => navigator.clipboard.readText()") == "panel = DemoPanel(State(rate=0.0001, every=100))"
    shown.set_width(700)
    assert_layout(shown.page)
    shown.screenshot("frame_drawers")
    shown.page.get_by_role("button", name="</> Code").click()
    shown.page.locator(".wb-code").wait_for(state="hidden")
    shown.page.get_by_role("button", name="What is this?").click()


def test_an_error_is_seen_where_it_was_made(shown: Notebook) -> None:
    shown.kernel("remedy = ('Use 1e-3', lambda: setattr(panel.rate, 'value', 1e-3))\n"
                 "panel.show_error(panel.rate, 'Above 1e-3 this model diverges. Lower it to 1e-3.', remedy)\n"
                 "panel.busy('about 20 s left', 87, 224, panel.clear_error)")
    shown.page.get_by_role("alert").wait_for()
    shown.page.locator(".wb-busy [role=progressbar]").wait_for()
    shown.wait("() => document.querySelector(\"[aria-label='Learning rate peak']\").getAttribute('aria-invalid') === 'true'")
    assert_layout(shown.page)
    shown.screenshot("frame_error")
    shown.page.get_by_role("button", name="Use 1e-3").click()
    shown.wait("() => document.querySelector(\"[aria-label='Learning rate peak']\").getAttribute('aria-valuetext') === '1e-3'")
    shown.page.get_by_role("button", name="Cancel").click()
    shown.page.get_by_role("alert").wait_for(state="detached")
    shown.kernel("panel.busy(None)")
    shown.page.locator(".wb-busy").wait_for(state="detached")


def test_a_click_names_the_point(shown: Notebook) -> None:
    shown.kernel("heard = []; panel.live.on_event(heard.append)")
    box = shown.page.locator(".wb-panel .js-plotly-plot").bounding_box()
    place = shown.page.evaluate("""() => { const plot = document.querySelector('.wb-panel .js-plotly-plot');
        const {xaxis, yaxis} = plot._fullLayout;
        return [xaxis._offset + xaxis.c2p(plot.data[0].x[200]), yaxis._offset + yaxis.c2p(plot.data[0].y[200])]; }""")
    shown.page.mouse.move(box["x"] + place[0] - 3, box["y"] + place[1])
    shown.page.mouse.move(box["x"] + place[0], box["y"] + place[1])
    shown.page.locator(".hoverlayer .hovertext").first.wait_for()
    shown.page.mouse.click(box["x"] + place[0], box["y"] + place[1])
    for _ in range(50):
        heard = shown.kernel("import json; print(json.dumps(heard))")
        if heard != "[]":
            break
    event = json.loads(heard)[0]
    assert (event["type"], event["trace"]) == ("click", "loss")
    assert abs(event["index"] - 200) < 5  # points stand closer than pixels
    assert event["x"] == 4 * event["index"]


def test_a_page_gives_its_own_picture(shown: Notebook) -> None:
    shown.kernel("import threading; got = []; asking = threading.Thread(target=lambda: got.append(panel.live.picture(15))); asking.start()")
    for _ in range(200):
        if shown.kernel("print(asking.is_alive())") == "False":
            break
    assert shown.kernel("print(got[0][:4], 'train' in got[0] or 'Loss' in got[0])") == "<svg True"


def test_the_notebook_keeps_the_last_figure(shown: Notebook) -> None:
    assert shown.kernel("panel.grow(50); print(panel.freeze(), panel.freeze())") == "True False"
    last = shown.kernel("print(panel.summary().text)")
    assert last.startswith("Step 1\u202f396")
    shown.wait("last => document.querySelector('.wb-panel [role=status]')?.textContent === last", last)
    shown.drawn()
    shown.save()
    page = to_html(shown.path)
    assert html.escape(last, quote=False) in page and "Step 1\u202f196" not in page
    assert "<svg" in page and "nats per token" in page and "<script>window.hacked" not in page
    shown.screenshot("frame_frozen")


def test_points_arrive_and_a_reload_shows_them_all(shown: Notebook) -> None:
    before = shown.points()
    shown.kernel("panel.grow(25)")
    shown.wait(figure_has(before + 25))
    assert shown.page.locator(".wb-panel [role=status]").inner_text().startswith("Step 1\u202f496")
    shown.kernel("panel.live.extend({'loss': ([1500.0], [1.5])})")
    shown.wait(figure_has(before + 26))
    shown.save()
    shown.reload()
    shown.wait(figure_has(before + 26))
    shown.kernel("panel.grow(24)")
    shown.wait(figure_has(before + 49))


def test_a_stream_is_drawn_at_most_ten_times_a_second(shown: Notebook) -> None:
    shown.page.evaluate("""() => { globalThis.drawnAt = [];
        document.querySelector('.wb-panel .js-plotly-plot').on('plotly_afterplot', () => globalThis.drawnAt.push(performance.now())); }""")
    before = shown.points()
    shown.kernel("""import time
for k in range(60):
    panel.live.extend({'loss': ([2000.0 + k], [1.5])})
    time.sleep(0.02)""")
    shown.wait(figure_has(before + 60))
    times = shown.page.evaluate("() => globalThis.drawnAt")
    assert 3 <= len(times) <= 2 + (times[-1] - times[0]) / 100


SLOWLY = """ms => { const place = document.querySelector('.wb-panel .js-plotly-plot');
    globalThis.drawnSlowly = [];
    place.on('plotly_afterplot', () => { for (const until = performance.now() + ms; performance.now() < until;); globalThis.drawnSlowly.push(performance.now()); }); }"""


def test_a_page_that_draws_slowly_skips_frames_and_does_not_fall_behind(shown: Notebook) -> None:
    """A drawing of 300 ms, and news each 110 ms: drawn one by one they would take three times as long as they come in; so there is as long a rest after each."""
    before = shown.points()
    shown.page.evaluate(SLOWLY, 300)
    shown.kernel("""import time
for k in range(36):
    panel.live.extend({'loss': ([3000.0 + k], [1.5])})
    time.sleep(0.11)""")
    shown.wait(figure_has(before + 36))
    times = shown.page.evaluate("() => globalThis.drawnSlowly")
    assert 3 <= len(times) <= 2 + (times[-1] - times[0]) / 550


def test_a_restarted_kernel_draws_again_with_the_plotly_the_page_has(shown: Notebook) -> None:
    shown.restart_kernel()
    shown.run(0)
    shown.wait(figure_has(300))
    assert shown.kernel("from widgets.frame.live_figure import LiveFigure; print(LiveFigure.plotly_copies)") == "0"


def test_while_a_cell_computes_a_picture_stands_in(lab: Lab) -> None:
    source = OPEN.format(name="'town-lora8'") + "\ndisplay(panel)\nimport os, time\nwhile not os.path.exists('go'): time.sleep(0.05)"
    notebook = lab.open([source.replace("\npanel\n", "\n")], "busy")
    notebook.page.evaluate("() => void jupyterapp.commands.execute('notebook:run-all-cells')")
    poster = notebook.page.locator(".wb-panel img.wb-poster")
    poster.wait_for()
    assert poster.evaluate("image => image.decode().then(() => image.naturalWidth)") == 860
    (notebook.path.parent / "go").touch()
    notebook.drawn()
    assert poster.count() == 0
    notebook.close()


def to_html(path) -> str:
    from nbconvert import HTMLExporter

    page, _ = HTMLExporter(mathjax_url="", require_js_url="", widget_renderer_url="").from_notebook_node(nbformat.read(path, as_version=4))
    return page
