"""The template builder in a real JupyterLab: a template with a mistake is written and mended, a task inverted, keys alone, every width."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.browser.lab import IN_THEME, Lab, Notebook
from tests.browser.layout import assert_layout

pytestmark = pytest.mark.browser

BEGIN = """import workbench as wb
from widgets import TemplateBuilder
from tests.widgets.letters import LETTERS, TASK
builder = TemplateBuilder(LETTERS, TASK, max_length=96)
builder"""

HOSTILE = """from widgets import TemplateBuilder
BAD = "<img src=x onerror='window.hacked = 1'><script>window.hacked = 2</script> $x$"
rows = [{BAD: f"{BAD} {k}", "answer": BAD} for k in range(30)]
import workbench as wb
hostile = TemplateBuilder([{"question": row[BAD], "answer": row["answer"], BAD: "x"} for row in rows],
    wb.Task(name=BAD, system=BAD, templates=(wb.Template(name=BAD, input="{{ question }} " + BAD, target="{{ answer }}"),)))
hostile"""



class Page:
    """One builder on a page."""

    def __init__(self, notebook: Notebook) -> None:
        self.notebook, self.page = notebook, notebook.page

    def sentence(self) -> str:
        return self.page.locator(".wb-panel [role=status]").inner_text()

    def wait_sentence(self, words: str) -> None:
        self.notebook.wait("words => document.querySelector('.wb-panel [role=status]').textContent.includes(words)", words)

    def field(self, name: str):
        return self.page.get_by_label(name, exact=True).first

    def wait_field(self, name: str, text: str) -> None:
        self.notebook.wait("([name, text]) => [...document.querySelectorAll('.wb-panel label')].some(l => l.textContent === name "
                           "&& (l.control ?? l.parentElement.querySelector('input, textarea')).value === text)", [name, text])

    def wait_trained(self, words: str) -> None:
        self.notebook.wait("""words => [...document.querySelectorAll('.wb-token-trained')].map(t => t.textContent).join('')
            .replaceAll('·', ' ').includes(words)""", words)


@pytest.fixture(scope="module")
def built(lab: Lab) -> Iterator[Page]:
    notebook = lab.open([BEGIN, HOSTILE], "templates")
    notebook.run(0)
    notebook.wait("() => document.querySelectorAll('.wb-token').length > 20")
    notebook.drawn()
    yield Page(notebook)
    assert notebook.errors == []
    notebook.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 700, 420])
def test_no_word_is_cut_or_covered(built: Page, width: int, theme: str) -> None:
    built.notebook.dark(theme == "dark")
    built.notebook.set_width(width)
    built.notebook.wait(IN_THEME)
    built.notebook.screenshot(f"template_builder_{width}" + ("_dark" if theme == "dark" else ""))
    assert_layout(built.page)


def test_a_template_with_a_mistake_is_written_and_mended(built: Page) -> None:
    page = built.page
    built.notebook.dark(False)
    built.notebook.set_width(1200)
    before = page.locator(".wb-token").all_text_contents()
    built.field("Input").fill("Letter: {{ letter }}\nQuestion: {{ qestion }}")
    error = page.locator(".wb-error-box .wb-error").first
    error.wait_for()
    assert error.inner_text() == "Line 2, column 14: no column “qestion”. Did you mean question?"
    assert "wb-bad" in page.locator(".wb-controls .widget-textarea").first.get_attribute("class")
    assert "Line 2 of the input" in built.sentence() and "last good template" in built.sentence()
    built.notebook.wait("() => document.querySelector('.wb-example').classList.contains('wb-stale')")
    assert page.locator(".wb-token").all_text_contents() == before, "the last good picture stays"
    assert page.get_by_role("button", name="Use this template").is_disabled()
    assert_layout(page)
    built.notebook.screenshot("template_builder_error")
    page.get_by_role("button", name="Use question").click()
    error.wait_for(state="detached")
    assert built.field("Input").input_value() == "Letter: {{ letter }}\nQuestion: {{ question }}"
    built.notebook.wait("() => !document.querySelector('.wb-example').classList.contains('wb-stale')")
    built.wait_sentence("Not usable yet")


def test_the_target_is_broken_and_mended_by_hand(built: Page) -> None:
    built.field("Target").fill("{{ answer }")
    built.page.locator(".wb-error-box .wb-error").first.wait_for()
    assert "Line 1, column 11" in built.page.locator(".wb-error-box .wb-error").first.inner_text()
    assert "wb-bad" in built.page.locator(".wb-controls .widget-textarea").nth(1).get_attribute("class")
    built.field("Target").fill("So: {{ answer }}")
    built.page.locator(".wb-error-box .wb-error").first.wait_for(state="detached")
    assert "So: " in built.page.locator(".wb-turns .wb-answer").inner_text()
    built.field("Target").fill("{{ answer }}")
    built.notebook.wait("() => !document.querySelector('.wb-turns .wb-answer').textContent.includes('So:')")


def test_keys_alone_raise_the_max_length_until_it_can_be_used(built: Page) -> None:
    page = built.page
    name = "() => document.activeElement?.getAttribute('aria-label') || document.activeElement?.labels?.[0]?.textContent || ''"
    built.field("Tokenizer of the model").focus()
    for _ in range(8):
        page.keyboard.press("Tab")
        if page.evaluate(name) == "Max length, tokens":
            break
    assert page.evaluate(name) == "Max length, tokens"
    assert page.evaluate("() => document.activeElement.getAttribute('aria-valuetext')") == "96"
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    built.wait_sentence("160 rows train on")
    assert int(built.notebook.kernel("print(builder.state.max_length)")) == 256
    assert page.locator(".wb-refused").count() == 0 or not page.locator(".wb-refused").first.is_visible()
    built.notebook.screenshot("template_builder_fine")
    assert_layout(page)
    for _ in range(8):
        page.keyboard.press("Tab")
        if "Use this template" in page.evaluate("() => document.activeElement.textContent"):
            break
    page.keyboard.press("Enter")
    built.wait_sentence("In use: panel.admitted.table holds 160 rows")
    printed = built.notebook.kernel("print(builder.admitted.table.num_rows, builder.admitted.table.column_names)")
    assert printed == "160 ['messages', 'row', 'template']"


def test_a_task_is_inverted(built: Page) -> None:
    answer = built.page.locator(".wb-turns .wb-answer").inner_text()
    question = built.page.locator(".wb-turns dd").nth(1).inner_text()
    built.wait_trained(answer)
    built.page.get_by_label("Invert: answer to question").check()
    built.wait_trained("Letter: Dear")
    assert built.page.locator(".wb-turns .wb-answer").inner_text() == question, "what was asked is written now"
    assert answer in built.page.locator(".wb-turns dd").nth(1).inner_text()
    assert "wb.invert(" in built.notebook.kernel("print(builder.code())")
    built.notebook.screenshot("template_builder_inverted")
    built.page.get_by_label("Invert: answer to question").uncheck()
    built.wait_trained(answer)


def test_arrows_scrub_the_rows_and_a_click_picks_one(built: Page) -> None:
    page = built.page
    shown = "() => document.querySelector('.wb-example h3').textContent"
    before = page.evaluate(shown)
    page.locator(".wb-above .noUi-handle").focus()
    page.keyboard.press("ArrowRight")
    built.notebook.wait(f"before => ({shown})() !== before", before)
    row = int(page.evaluate(shown).split()[1])
    assert built.notebook.kernel("print(builder.selection['examples'], builder.state.row)") == f"frozenset({{{row - 1}}}) {row - 1}"
    built.notebook.kernel("builder.selection.set('examples', {11})")
    built.notebook.wait(f"() => ({shown})() === 'Row 12 of 160'")
    bar = page.locator(".wb-panel .barlayer .point path").nth(4)
    bar.click(force=True)
    built.notebook.wait(f"() => ({shown})() !== 'Row 12 of 160'")


def test_wordings_and_columns_are_chosen(built: Page) -> None:
    page = built.page
    wordings = """() => [...document.querySelectorAll('.wb-labelled .widget-toggle-buttons .widget-toggle-button')]
        .map(b => b.textContent.trim())"""
    page.locator(".wb-panel").get_by_role("button", name="2", exact=True).click()
    built.notebook.wait("() => document.querySelector('.wb-turns').textContent.includes('This is the letter')")
    assert built.field("Name of this wording").input_value() == "question first"
    page.locator(".wb-panel").get_by_role("button", name="+", exact=True).click()
    built.notebook.wait(f"() => ({wordings})().join() === '1,2,3,4,+'")
    built.field("Input").fill("{{ question }}")
    page.get_by_role("button", name="author", exact=True).click()
    built.notebook.wait("() => document.querySelector('.wb-turns').textContent.includes('Author: ')")
    built.wait_field("Input", "{{ question }}\nAuthor: {{ author }}")
    page.get_by_role("button", name="author", exact=True).click()
    built.notebook.wait("() => !document.querySelector('.wb-turns').textContent.includes('Author: ')")
    built.wait_field("Input", "{{ question }}")
    page.locator("button[title='remove this wording']").click()
    built.notebook.wait(f"() => ({wordings})().join() === '1,2,3,+'")


def test_a_promptsource_file_is_written_and_read(built: Page) -> None:
    page = built.page
    built.field("System prompt").fill("")
    built.field("promptsource file").fill("letters.yaml")
    page.get_by_role("button", name="Export").click()
    written = built.notebook.lab.notebooks / "letters.yaml"
    built.notebook.kernel("builder.errands.wait()")
    assert "jinja" in written.read_text()
    built.field("promptsource file").fill("nothing.yaml")
    page.get_by_role("button", name="Import").click()
    page.locator(".wb-error-box .wb-error", has_text="nothing.yaml").wait_for()
    assert_layout(page)
    built.field("promptsource file").fill("letters.yaml")
    page.get_by_role("button", name="Import").click()
    page.locator(".wb-error-box").wait_for(state="detached")
    assert built.notebook.kernel("print(sorted(t.name for t in builder.task.templates))") == "['letter first', 'question first', 'short']"
    assert "promptsource.read('letters.yaml')" in built.notebook.kernel("print(builder.code())")


def test_what_rows_and_templates_hold_stays_text(built: Page) -> None:
    """The second panel of the page; it comes last."""
    notebook = built.notebook
    notebook.run(1)
    notebook.wait("() => document.querySelectorAll('.wb-panel')[1]?.querySelectorAll('.wb-token').length > 20")
    panel = built.page.locator(".wb-panel").nth(1)
    notebook.kernel("hostile.edit('input', '{{ qestion }}' + BAD); hostile.errands.wait()")
    panel.locator(".wb-error-box").first.wait_for()
    assert built.page.evaluate("() => window.hacked") is None
    assert built.page.locator(".wb-panel script, .wb-panel img").count() == 0
    assert "<script>window.hacked" in panel.locator(".wb-turns").inner_text()
