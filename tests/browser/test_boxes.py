"""Controls drawn by boxes.js, in a page that has neither ipywidgets nor a kernel: the models of a real tree of widgets stand in it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import anywidget
import pytest
from playwright.sync_api import Page, expect

from tests.browser.lab import Lab
from tests.frame.demo_panel import HOSTILE
from widgets.frame import controls, theme
from widgets.frame.boxes import Boxes

pytestmark = pytest.mark.browser

PAGE = """<!doctype html><meta charset=utf-8><style>%(css)s</style><body><div id=here></div><script type=module>
const sent = window.sent = [], models = window.models = {}, states = %(states)s;
class Model {
    constructor(id, state) { this.id = id; this.state = state; this.heard = {}; this.changed = new Set(); this.widget_manager = {get_model: async id => models[id]}; }
    get(key) { return this.state[key]; }
    set(key, value) { this.state[key] = value; this.changed.add(key); this.tell(key); }
    save_changes() { for (const key of this.changed) sent.push([this.id, key, this.state[key]]); this.changed.clear(); }
    send(content) { sent.push([this.id, "custom", content]); }
    on(name, call) { (this.heard[name] ??= new Set()).add(call); }
    off(name, call) { this.heard[name]?.delete(call); }
    tell(key) { for (const call of this.heard[`change:${key}`] ?? []) call(); }
    get listening() { return Object.values(this.heard).reduce((sum, calls) => sum + calls.size, 0); }
}
for (const [id, state] of Object.entries(states)) models[id] = new Model(id, state);
const host = {getWidget: async name => ({render: async ({el}) => { el.textContent = name; }})};
const module = await import(URL.createObjectURL(new Blob([%(code)s], {type: "text/javascript"})));
window.stop = new AbortController();
module.default.render({model: new Model("boxes", {root: %(root)s}), el: document.querySelector("#here"), host, signal: window.stop.signal});
</script>"""


class Sample:
    """One of each control in a page of its own; `ids` are the model ids by name."""

    def __init__(self, lab: Lab) -> None:
        self.controls = dict(
            go=controls.button("Go", "play", "primary"), away=controls.button("", "trash", tooltip="take it away"), whole=controls.slider("Rows", 4, 1, 9),
            part=controls.slider("Share", 0.5, 0.0, 1.0), pick=controls.dropdown("Every", [("ten", 10), ("twenty", 20), (HOSTILE, 30)], 20),
            kind=controls.toggles("Kind", ["a", "b", "c"], "b"), on=controls.checkbox("Packed", True), name=controls.text("Name", "x"),
            note=controls.textarea("Note", "y"), wide=controls.combobox("Model", ["town", "tiny"], "town"), words=controls.html("<b>bold</b>"),
            rate=controls.slider("Rate", 1e-4, 1e-6, 1e-2, log=True))
        self.root = controls.group("All of them", *self.controls.values())
        self.ids = {name: made.model_id for name, made in self.controls.items()}
        states = {}
        for one in [self.root, *self.root.children]:
            states[one.model_id] = one.get_state() if not isinstance(one, anywidget.AnyWidget) else {"_model_module": "anywidget"}
            states[one.layout.model_id] = one.layout.get_state()
        self.page: Page = lab._browser.new_page()
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        filled = {key: json.dumps(value).replace("</", "<\\/") for key, value in dict(states=states, code=Boxes._esm, root=self.root.model_id).items()}
        self.page.set_content(PAGE % (filled | {"css": Boxes._css}))
        self.page.get_by_label("Note").wait_for()

    def sent(self, name: str) -> list:
        """What the page last sent of a control."""
        return self.page.evaluate("id => window.sent.filter(one => one[0] === id).at(-1)?.slice(1)", self.ids[name])

    def receive(self, name: str, **values: object) -> None:
        """What Python would set."""
        self.page.evaluate("""([id, values]) => { const model = window.models[id];
            Object.assign(model.state, values);
            for (const key in values) model.tell(key); }""", [self.ids.get(name, name), values])


@pytest.fixture(scope="module")
def sample(lab: Lab) -> Iterator[Sample]:
    made = Sample(lab)
    yield made
    assert made.errors == []
    made.page.close()


def test_what_a_person_does_is_sent_as_ipywidgets_sends_it(sample: Sample) -> None:
    page = sample.page
    page.get_by_role("button", name="Go").click()
    assert sample.sent("go") == ["custom", {"event": "click"}]
    page.get_by_role("button", name="take it away").click()
    assert sample.sent("away") == ["custom", {"event": "click"}]
    page.get_by_role("slider", name="Rows").press("ArrowRight")
    assert sample.sent("whole") == ["value", 5]
    page.get_by_label("Share, value").fill("0.25")
    page.get_by_label("Share, value").press("Enter")
    assert sample.sent("part") == ["value", 0.25]
    page.get_by_label("Every").select_option(index=2)
    assert sample.sent("pick") == ["index", 2]
    page.get_by_role("button", name="c", exact=True).click()
    assert sample.sent("kind") == ["index", 2]
    page.get_by_label("Packed").uncheck()
    assert sample.sent("on") == ["value", False]
    page.get_by_label("Name").fill("new")
    assert sample.sent("name") == ["value", "new"]
    page.get_by_label("Model").fill("tiny")
    page.get_by_label("Model").press("Enter")
    assert sample.sent("wide") == ["value", "tiny"]


def test_what_python_sets_is_shown_and_text_stays_text(sample: Sample) -> None:
    page = sample.page
    sample.receive("whole", value=9, description="All rows")
    expect(page.get_by_role("slider", name="All rows")).to_have_value("9")
    sample.receive("go", description=HOSTILE, disabled=True)
    expect(page.get_by_role("button", name="town <script>")).to_be_disabled()
    assert page.get_by_role("button", name="take it away").evaluate("node => getComputedStyle(node).display") != "none"
    sample.receive(sample.controls["away"].layout.model_id, display="none")
    expect(page.get_by_role("button", name="take it away")).to_be_hidden()
    sample.receive(sample.controls["away"].layout.model_id, display="")
    sample.receive("words", value="<i>slanted</i>", _dom_classes=["wb-bad"])
    assert page.locator(".wb-bad i").inner_text() == "slanted"
    assert page.locator("select option").nth(2).inner_text().startswith("town <script>")
    assert page.evaluate("() => window.hacked") is None and page.locator("#here script, #here img").count() == 0
    assert page.get_by_text(f"anywidget:{sample.ids['rate']}").count() == 1, "an anywidget is the host's to draw"


def test_dark_themes_of_marimo_and_vs_code_are_followed(sample: Sample) -> None:
    surface = "() => getComputedStyle(document.querySelector('#here .widget-box')).getPropertyValue('--wb-surface').trim()"
    light = sample.page.evaluate(surface)
    assert light == theme.tokens("light")["--wb-surface"]
    for word in ("dark", "vscode-dark"):
        sample.page.evaluate("word => { document.body.className = word; }", word)
        sample.page.wait_for_function(f"light => ({surface})() !== light", arg=light)
        assert sample.page.evaluate(surface) == theme.tokens("dark")["--wb-surface"]
    sample.page.evaluate("() => { document.body.className = ''; }")


def test_children_come_and_go_and_nothing_listens_at_the_end(sample: Sample) -> None:
    page, root = sample.page, sample.root.model_id
    before = page.evaluate("id => window.models[id].state.children", root)
    order = "() => [...document.querySelectorAll('#here .widget-box > *')].map(one => one.textContent)"
    words = page.evaluate(order)
    sample.receive(root, children=[before[1], *before[3:], before[0]])
    assert page.evaluate(order) == [words[1], *words[3:], words[0]]
    sample.receive(root, children=before)
    page.get_by_role("button", name="take it away").wait_for()
    page.evaluate("() => window.stop.abort()")
    assert page.evaluate("() => Object.values(window.models).filter(model => model.listening).length") == 0
