"""The data explorer in a real JupyterLab: what was planted is found with the mouse and the keys, and dropped."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.browser.lab import Lab, Notebook
from tests.browser.layout import assert_layout

pytestmark = pytest.mark.browser

PLANT = """import workbench as wb
from widgets import DataExplorer
from widgets.frame.selection import Selection
given = wb.load_rows("town:instructions").to_pylist()[:260]
given = [{"question": row["question"], "answer": row["answer"]} for row in given]
test = wb.load_rows("town:heldout").to_pylist()[:60]
given[31] = {"question": test[7]["question"], "answer": test[7]["answer"]}
for place in (44, 150, 222):
    given[place] = {"question": "Tell me who the baker of the upper market in Orla is, please.",
                    "answer": f"It is Mira, as everybody in the upper market knows{'.' if place < 200 else ' well.'}"}
for place in (60, 61, 62, 63, 64):
    given[place]["answer"] += " And so on, she said, and told it all again." * (20 + place)
given[90]["answer"] = "<img src=x onerror='window.hacked = 1'> $x$ <b>bold</b>"
linked = Selection()
explorer = DataExplorer(given, test=test, selection=linked)
explorer"""
TRAIN = """from pathlib import Path
from tests.runs import tools
from workbench.evaluation.row_losses import hardest, row_losses
run = tools.here(wb.Recipe(model="town", data=given, steps=4, batch_size=4, max_length=64, learning_rate=3e-3, heldout=0.1, evaluate_every=4,
                           checkpoint_every=4, sample_prompts=0), Path("explored"))
linked.set("run", {str(run.folder)})"""
SENTENCE = "() => document.querySelector('.wb-panel [role=status]')?.textContent ?? ''"


LOOKED = """() => document.querySelector('.wb-panel .wb-rows-list tbody tr[data-id]')
    && document.querySelectorAll('.wb-panel .wb-controls select option').length >= 16 && !document.querySelector('.wb-panel .wb-busy')"""


class Explored:
    """The notebook in which the tests of this file clean one table, one after the other."""

    def __init__(self, notebook: Notebook) -> None:
        self.notebook, self.page = notebook, notebook.page

    def sentence(self) -> str:
        return self.page.evaluate(SENTENCE)

    def wait_sentence(self, words: str) -> None:
        self.notebook.wait("words => document.querySelector('.wb-panel [role=status]').textContent.includes(words)", words)

    def wait_shown(self, count: int) -> None:
        """Until the table says that so many rows are shown, and the picture counts as many."""
        words = f"of {count} shown" if count else "none shown"
        self.notebook.wait("words => document.querySelector('.wb-rows-where').textContent.endsWith(words)", words)
        self.notebook.wait("""count => { const kept = document.querySelector('.wb-panel .js-plotly-plot')?.data?.find(t => t.uid === 'kept');
            return kept && kept.customdata.reduce((sum, words) => sum + Number(words.split(': ')[1].split(' ')[0]), 0) <= count; }""", count)

    def show(self, label: str) -> None:
        """Chooses from the Show list by what its label begins with."""
        options = self.page.locator(".wb-controls select").first
        value = options.locator("option").filter(has_text=label).first.inner_text()
        options.select_option(label=value)

    def rows(self) -> list[int]:
        """Numbers of the rows on the page of the table."""
        return self.page.evaluate("""() => [...document.querySelectorAll('.wb-rows-list tbody tr[data-id]')]
            .map(tr => Number(tr.dataset.id))""")

    def wait_marks(self, marks: dict[int, str]) -> None:
        """Until these rows, and no others, are on the page with these decisions."""
        self.notebook.wait("""marks => { const found = [...document.querySelectorAll('.wb-rows-list tbody tr[data-id]')];
            return found.length === Object.keys(marks).length
                && found.every(tr => marks[tr.dataset.id] === tr.querySelector('.wb-row-mark').textContent); }""",
                           {str(row): mark for row, mark in marks.items()})

    def wait_mark(self, row: int, mark: str) -> None:
        self.notebook.wait("([id, mark]) => document.querySelector(`tr[data-id='${id}'] .wb-row-mark`)?.textContent === mark", [str(row), mark])

    def button(self, words: str):
        return self.page.locator(".wb-panel button", has_text=words).first

    def wait_rows(self, rows: list[int]) -> None:
        self.notebook.wait("""rows => JSON.stringify([...document.querySelectorAll('.wb-rows-list tbody tr[data-id]')]
            .map(tr => Number(tr.dataset.id))) === JSON.stringify(rows)""", rows)

    def drag(self, cell: str, start: float, end: float) -> None:
        """Drags over a histogram ("xy", "x2y2") from one share of its width to another."""
        box = self.page.locator(f".wb-panel .js-plotly-plot .draglayer .{cell} .nsewdrag").bounding_box()
        middle = box["y"] + box["height"] / 2
        self.page.mouse.move(box["x"] + start * box["width"], middle)
        self.page.mouse.down()
        self.page.mouse.move(box["x"] + (start + end) / 2 * box["width"], middle, steps=4)
        self.page.mouse.move(box["x"] + end * box["width"], middle, steps=4)
        self.page.mouse.up()

    def asked(self, code: str):
        """What the kernel says, as JSON."""
        return json.loads(self.notebook.kernel(f"import json; print(json.dumps({code}))"))


@pytest.fixture(scope="module")
def explored(lab: Lab) -> Iterator[Explored]:
    notebook = lab.open([PLANT], "explorer")
    notebook.run_all()
    notebook.drawn()
    notebook.wait(LOOKED, None, 60_000)
    notebook.set_width(1200)
    yield Explored(notebook)
    assert notebook.errors == [] and notebook.page.evaluate("() => window.hacked") is None
    notebook.close()


def test_the_first_look_names_the_leak_before_the_copies(explored: Explored) -> None:
    assert explored.sentence().startswith("1 row is also in the test set, so a score on it would flatter; 2 rows are extra copies")
    for width in (420, 700, 1200):
        explored.notebook.set_width(width)
        assert_layout(explored.page)
        explored.notebook.screenshot(f"data_explorer_{width}")
    explored.notebook.dark()
    explored.notebook.wait("""() => { const ink = getComputedStyle(document.querySelector('.wb-panel')).getPropertyValue('--wb-ink').trim();
        return document.querySelector('.wb-panel .js-plotly-plot')._fullLayout.annotations[0].font.color.toLowerCase() === ink; }""")
    explored.notebook.screenshot("data_explorer_dark")
    explored.notebook.dark(False)


def test_a_planted_leak_is_found_read_and_dropped(explored: Explored) -> None:
    explored.show("Also in the test set")
    explored.wait_rows([31])
    explored.notebook.wait("() => document.querySelector('.wb-row-detail').textContent.includes('test row 7')")
    explored.button("Drop this 1 row").click()
    explored.wait_sentence("259 of 260 rows kept")
    explored.wait_marks({31: "dropped"})
    assert not explored.sentence().startswith("1 row is also") and explored.asked("explorer.dropped") == [31]


def test_a_planted_group_of_copies_is_found_and_one_of_it_stays(explored: Explored) -> None:
    explored.show("Extra copies")
    explored.wait_rows([150, 222])
    row = explored.page.locator(".wb-rows-list tr[data-id='222']")
    row.click()
    explored.notebook.wait("() => document.querySelector('.wb-row-detail').textContent.includes('One of 3 alike')")
    explored.notebook.screenshot("data_explorer_copies")
    explored.button("Drop these 2 rows").click()
    explored.wait_sentence("257 of 260 rows kept")
    explored.wait_marks({150: "dropped", 222: "dropped"})
    assert explored.asked("explorer.dropped") == [31, 150, 222]
    assert explored.page.locator(".wb-status").get_attribute("data-kind") == "ok"
    explored.button("Undo").click()
    explored.wait_sentence("259 of 260")
    explored.button("Drop these 2 rows").click()
    explored.wait_sentence("257 of 260")


def test_the_long_rows_are_brushed_away(explored: Explored) -> None:
    explored.button("Show all rows").click()
    explored.wait_shown(260)
    explored.drag("xy", 0.8, 0.99)
    explored.wait_shown(5)
    assert explored.rows() == [60, 61, 62, 63, 64]
    explored.notebook.screenshot("data_explorer_brushed")
    assert explored.page.locator(".js-plotly-plot .selectionlayer path, .js-plotly-plot .select-outline").count() == 0
    assert_layout(explored.page)
    explored.button("Drop these 5 rows").click()
    explored.wait_sentence("252 of 260 rows kept")
    box = explored.page.locator(".js-plotly-plot .draglayer .xy .nsewdrag").bounding_box()
    explored.page.mouse.dblclick(box["x"] + box["width"] / 2, box["y"] + 20)
    explored.wait_shown(260)
    words = explored.asked("explorer.code()")
    assert "cleaning.between(measures['words'].to_numpy()" in words


def test_the_same_brush_by_keys(explored: Explored) -> None:
    handle = explored.page.locator(".wb-range .noUi-handle").first
    handle.focus()
    before = explored.asked("len(explorer.shown)")
    for _ in range(6):
        explored.page.keyboard.press("ArrowRight")
    sixth = explored.asked("explorer.bins_of('words').label(6)")
    explored.notebook.wait("sixth => document.querySelector('.wb-range .widget-label').textContent === `Length: ${sixth} to 857`", sixth)
    explored.wait_shown(explored.asked("len(explorer.shown)"))
    assert explored.asked("len(explorer.shown)") < before
    explored.button("Show all rows").click()
    explored.wait_shown(260)


def test_the_hardest_examples_of_a_run_are_followed_here_and_two_dropped_by_keys(explored: Explored) -> None:
    explored.notebook.kernel(TRAIN)  # the run is picked in the shared selection, as the run monitor does
    explored.notebook.wait("() => [...document.querySelectorAll('.wb-controls input[type=text]')].at(-1).value.endsWith('here')")
    explored.button("Score the rows").click()
    explored.notebook.wait("() => document.querySelector('.wb-panel .js-plotly-plot')?.data?.some(trace => trace.uid === 'kept4')")
    explored.show("Hardest")
    explored.wait_shown(20)
    explored.page.locator(".wb-sort", has_text="loss").click()
    ordered = explored.asked("[int(row) for row in hardest(row_losses(run, given), 12)]")
    explored.wait_rows(ordered)
    gone = explored.asked("explorer.dropped")
    first, second, third = [row for row in ordered if row not in gone][:3]
    cells = explored.page.evaluate("() => document.querySelectorAll('.jp-Cell').length")
    for row, key, mark in ((first, "d", "dropped"), (second, "d", "dropped"), (third, "f", "flagged")):
        explored.page.locator(f".wb-rows-list tr[data-id='{row}']").click()
        explored.notebook.wait("id => document.activeElement?.dataset?.id === id", str(row))
        explored.page.keyboard.press(key)
        explored.wait_mark(row, mark)
    assert explored.page.evaluate("() => document.querySelectorAll('.jp-Cell').length") == cells, "two d's delete a cell elsewhere"
    assert explored.asked("explorer.flagged") == [third] and explored.asked("explorer.dropped") == sorted([*gone, first, second])
    assert_layout(explored.page)
    explored.notebook.screenshot("data_explorer_hardest")
    explored.page.keyboard.press("d")
    explored.wait_mark(third, "droppedflagged")
    explored.page.keyboard.press("u")
    explored.wait_mark(third, "flagged")


def test_examples_picked_in_another_panel_are_shown(explored: Explored) -> None:
    explored.notebook.kernel("linked.set('examples', {200, 11})")
    explored.wait_rows([200, 11] if explored.asked("explorer.shown")[0] == 200 else [11, 200])
    explored.page.locator(".wb-rows-list tr[data-id='200']").click()
    explored.page.keyboard.press(" ")
    explored.wait_rows([11])
    assert explored.asked("sorted(linked['examples'])") == [11]


def test_a_search_finds_hostile_text_and_shows_it_as_text(explored: Explored) -> None:
    explored.button("Show all rows").click()
    explored.wait_shown(260)
    explored.page.locator(".wb-controls input[type=text]").first.fill("onerror")
    explored.wait_rows([90])
    explored.notebook.wait("() => document.querySelector('.wb-row-detail mark')?.textContent === 'onerror'")
    assert "<img src=x onerror='window.hacked = 1'> $x$ <b>bold</b>" in explored.page.locator(".wb-row-detail").inner_text()
    explored.page.locator(".wb-controls input[type=text]").first.fill("")
    explored.wait_shown(260)


def test_pages_and_sorting_by_keys(explored: Explored) -> None:
    explored.page.locator(".wb-sort", has_text="row").first.focus()
    explored.page.keyboard.press("Enter")
    explored.notebook.wait("() => document.querySelector('.wb-rows-list tbody tr').dataset.id === '0'")
    explored.page.locator(".wb-rows-list tr[tabindex='0']").focus()
    explored.page.keyboard.press("Home")
    explored.notebook.wait("() => document.activeElement?.dataset?.id === '0'")
    explored.page.keyboard.press("PageDown")
    explored.notebook.wait("() => document.activeElement?.dataset?.id === '12'")
    explored.page.keyboard.press("ArrowUp")
    explored.notebook.wait("() => document.activeElement?.dataset?.id === '11'")
    explored.page.keyboard.press("End")
    explored.notebook.wait("() => document.activeElement?.dataset?.id === '259'")


def test_a_model_that_is_none_is_said_beside_the_button_and_the_losses_stay(explored: Explored) -> None:
    place = explored.page.locator(".wb-controls input[type=text]").last
    place.fill("./nowhere")
    place.press("Enter")
    explored.button("Score the rows").click()
    explored.notebook.wait("() => document.querySelector('.wb-panel .wb-error')?.textContent.includes('There is no folder')")
    assert explored.asked("len(explorer.findings.hardest)") == 20
    place.fill("town")
    place.press("Enter")
    explored.button("Score the rows").click()
    explored.notebook.wait("() => !document.querySelector('.wb-panel .wb-error')")


def test_the_code_in_the_drawer_gives_the_rows_of_the_panel(explored: Explored) -> None:
    explored.page.locator(".wb-status button", has_text="Code").click()
    code = explored.page.locator(".wb-code pre").inner_text()
    assert explored.asked(f"(lambda names: (exec({code!r}, names), names['kept'].equals(explorer.kept))[1])"
                          "({'rows': explorer.table, 'test': test})") is True


def test_it_is_still_there_after_a_reload(explored: Explored) -> None:
    explored.notebook.save()
    said = explored.sentence()
    explored.notebook.reload()
    explored.notebook.drawn()
    explored.notebook.wait("said => document.querySelector('.wb-panel [role=status]')?.textContent === said", said)
    assert len(explored.rows()) >= 8
