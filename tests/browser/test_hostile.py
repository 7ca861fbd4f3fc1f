"""Every panel on hostile text in one page of a real JupyterLab under a strict Content-Security-Policy, and the same notebook as HTML without a
kernel: nothing runs, nothing becomes an element, every string can be read. The last test shows that the watch sees what does run.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.browser.lab import Lab, Notebook
from tests.browser.watch import Watch, policy, watch
from tests.hostile.panels import MADE, TEXTS
from tests.hostile.strings import STRINGS
from workbench.legible import letters, words

pytestmark = pytest.mark.browser

CELLS = ["""from tests.hostile.panels import everything
import workbench as wb
panels = everything("hostile")""",
         *(f"panels[{name!r}]" for name in MADE),
         """display(wb.list_runs("hostile/runs"), panels["explorer"].table.to_pandas().head(30))
try:
    wb.attach(panels["monitor"].state.run + "x")
except wb.WorkbenchError as error:
    print(error)"""]
SETTLED_MS = 180_000
"""Importing torch and transformers on a machine that does other things takes most of it."""
SETTLED = """count => document.querySelectorAll('.wb-panel').length === count && !document.querySelector('.wb-busy')
    && [...document.querySelectorAll('.wb-panel .wb-fig > [role=img]')].every(place => place.dataset.version !== undefined)"""


class Page:
    """The notebook with every panel, and the watch on it."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.notebook: Notebook = lab.open(CELLS, "hostile", prepare=self._watched)

    def _watched(self, page) -> None:
        self.watch: Watch = watch(page)

    def settled(self, count: int) -> None:
        self.notebook.wait(SETTLED, count, SETTLED_MS)

    def texts(self, script: str) -> str:
        """What `script` gives for each element, a list, in the page's own letters."""
        return "\n".join(self.notebook.page.evaluate(script))


@pytest.fixture(scope="module")
def hostile(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with Lab(tmp_path_factory.mktemp("guarded"), lab.playwright, policy=policy()) as guarded:
        made = Page(guarded)
        for cell in range(len(CELLS)):
            made.notebook.run(cell)  # one after another: 150 widgets at once are more than a page loads in the 2 s that anywidget gives each
            made.settled(min(cell, len(MADE)))
        yield made
        made.notebook.close()


def test_nothing_that_data_hold_runs_or_becomes_an_element(hostile: Page) -> None:
    page, seen = hostile.notebook.page, hostile.watch
    page.evaluate("() => document.querySelectorAll('.wb-panel .wb-status nav button').forEach(button => button.click())")
    hostile.notebook.kernel("panels['arena'].state.view = 'results'; panels['arena'].look(); panels['arena'].refresh()")
    hostile.settled(len(MADE))
    hovered = page.evaluate(HOVER)
    assert len(hovered) > 8 and any("␛[31mred" in text for text in hovered)
    assert seen.foreign(".wb-panel") == []
    assert (seen.ran, seen.dialogs, seen.breaches, hostile.notebook.errors, seen.complaints) == (None, [], [], [], [])


HOVER = """async () => {
    const Plotly = await [...globalThis.__wbPlotly.values()][0].promise, said = new Set();
    for (const place of document.querySelectorAll(".wb-panel .wb-fig > [role=img]")) {
        for (const [curveNumber, trace] of place.data.entries()) {
            const count = Math.max(trace.x?.length ?? 0, trace.y?.length ?? 0, 1), map = trace.type === "heatmap";
            Plotly.Fx.hover(place, map ? {xval: 0, yval: 0} : [{curveNumber, pointNumber: Math.floor(count / 2)}], (trace.xaxis ?? "x") + (trace.yaxis ?? "y"));
            await new Promise(done => setTimeout(done, 55)); // plotly answers a hand every 50 ms
            for (const text of place.querySelectorAll(".hoverlayer text")) said.add(text.textContent);
        }
        Plotly.Fx.unhover(place);
    }
    return [...said];
}"""
"""The words that each figure shows when a hand rests on its points."""


def test_every_string_can_be_read_in_order_and_no_word_is_endless(hostile: Page) -> None:
    page = hostile.notebook.page
    sources = hostile.texts("() => [...document.querySelectorAll('.wb-source-table-place td.clip')].map(one => one.textContent)")
    runs = hostile.texts("() => [...document.querySelectorAll('.wb-run-list-place tr')].map(row => row.title)")
    tensors = hostile.texts("() => [...document.querySelectorAll('.wb-tensor-tree-place td')].map(cell => cell.title)")
    assert [text for text in TEXTS if letters(text) not in sources] == []
    assert [text for text in TEXTS if letters(text) not in runs and "\r" not in text] == []  # a note's line ends are those of its file
    assert letters(STRINGS["img"]) in tensors
    begun = time.monotonic()
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert time.monotonic() - begun < 5 and hostile.watch.bytes_sent < 20_000_000
    longest = page.evaluate("() => Math.max(...[...document.querySelectorAll('.wb-panel *')].filter(one => !one.children.length).map(one => one.textContent.length))")
    assert 10_000 < longest <= 20_001
    turned = f"abc\u202e{STRINGS['hebrew']}"
    shown, raw = page.evaluate(ORDER, [f"{words(turned)} 20 of 40 pairs", f"{turned} 20 of 40 pairs"])
    assert shown == ["20", "of", "40", "pairs"] != raw


ORDER = """texts => texts.map(text => {
    const line = document.createElement("p"), found = [];
    line.style.whiteSpace = "nowrap";
    line.append(text);
    document.querySelector(".wb-panel .wb-status").append(line);
    for (const word of ["20", "of", "40", "pairs"]) {
        const range = document.createRange(), at = text.lastIndexOf(word);
        range.setStart(line.firstChild, at);
        range.setEnd(line.firstChild, at + word.length);
        found.push([range.getBoundingClientRect().left, word]);
    }
    line.remove();
    return found.sort((a, b) => a[0] - b[0]).map(([, word]) => word);
})"""
"""The words behind a name, from left to right as the page draws them."""


def test_the_notebook_as_html_runs_nothing(hostile: Page, tmp_path) -> None:
    from nbconvert import HTMLExporter

    hostile.notebook.save()
    body, _ = HTMLExporter().from_filename(str(hostile.notebook.path))
    (tmp_path / "hostile.html").write_text(body, encoding="utf-8")
    page = hostile.lab.new_page()
    seen = watch(page)
    page.goto((tmp_path / "hostile.html").as_uri(), wait_until="domcontentloaded")
    assert page.locator(".wb-static.tex2jax_ignore").count() == len(MADE) and seen.foreign(".wb-static") == []
    page.evaluate("() => document.querySelectorAll('.wb-static, .jp-OutputArea-output *').forEach(one => one.dispatchEvent(new MouseEvent('mouseover')))")
    assert (seen.ran, seen.dialogs) == (None, [])
    assert len(body) < 12_000_000
    page.evaluate("snippet => { document.querySelector('.wb-static').innerHTML += snippet; }", STRINGS["img"])  # the watch sees what does run
    page.wait_for_function("() => window.__hostile === 'img'")
    assert seen.ran == "img" and seen.foreign(".wb-static") != []
    page.close()


def test_the_watch_sees_what_a_careless_widget_would_let_in(hostile: Page) -> None:
    hostile.notebook.kernel("from tests.hostile.strings import STRINGS; panels['monitor'].made.samples.value = STRINGS['img'] + STRINGS['link']")
    hostile.notebook.wait("() => window.__violations.some(one => one.startsWith('script-src-attr'))")
    assert any("<img" in node for node in hostile.watch.foreign(".wb-panel")) and hostile.watch.ran is None
