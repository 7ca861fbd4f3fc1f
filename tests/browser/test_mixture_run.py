"""A run that draws from a mixture, in a real JupyterLab: its shares are seen as they are drawn, and a source gets another share by the keyboard alone."""

from __future__ import annotations

import json

import pytest

from tests.browser.lab import Lab, Notebook
from tests.browser.layout import assert_layout

pytestmark = pytest.mark.browser

BEGIN = """import workbench as wb
from widgets import RunMonitor
mixture = wb.Mixture({"facts": "town:facts", "letters": "town:task_spam", "sums": "town:task_add"}, rule="equal")
recipe = wb.Recipe(data=mixture, method=wb.LoRA(rank=4), learning_rate=1e-3, schedule="constant", steps=1_000_000, batch_size=3, max_length=64, evaluate_every=500,
                   checkpoint_every=500, heldout=0.01, sample_prompts=0)
monitor = RunMonitor(recipe, runs="mixed")
monitor"""
TRAINING_MS = 60_000


@pytest.fixture
def notebook(lab: Lab):
    """Open on the panel, its run stopped when the test ends, however that is."""
    opened = lab.open([BEGIN], "mixture")
    opened.run(0)
    opened.drawn()
    yield opened
    opened.kernel("monitor.run and monitor.run.status in ('running', 'paused', 'starting') and (monitor.run.stop(), monitor.run.wait(60))")
    assert opened.errors == []
    opened.close()


def test_a_source_gets_another_share_while_it_trains(lab: Lab, notebook: Notebook) -> None:
    page = notebook.page
    page.locator(".wb-bar button", has_text="Start").first.click()
    notebook.wait("() => document.querySelector('.wb-panel .js-plotly-plot')?.data?.some(t => t.uid === 'drawn-2' && t.x.length > 30)", None, TRAINING_MS)

    def drawn() -> list[list[float]]:
        """The last share drawn of each source, in percent."""
        return page.evaluate("""() => [0, 1, 2].map(i => document.querySelector('.wb-panel .js-plotly-plot').data.find(t => t.uid === `drawn-${i}`)).map(t => [...t.y].at(-1))""")

    assert drawn() == pytest.approx([100 / 3] * 3)
    page.get_by_label("Source of the mixture").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.getAttribute('aria-label')") == "Its share of the rows, %"
    page.keyboard.press("End")
    notebook.wait("() => [...document.querySelectorAll('.wb-controls button')].some(b => b.textContent.includes('Apply') && !b.disabled)")
    page.get_by_role("button", name="Apply at next step").focus()
    page.keyboard.press("Enter")
    notebook.wait("() => [...document.querySelectorAll('.wb-panel .annotation-text')].some(t => t.textContent.startsWith('letters 33 % → 100 %'))", None, TRAINING_MS)
    notebook.wait("() => [...document.querySelector('.wb-panel .js-plotly-plot').data.find(t => t.uid === 'drawn-1').y].at(-1) === 100", None, TRAINING_MS)
    assert drawn() == [0, 100, 0]
    assert_layout(page)
    notebook.screenshot("run_monitor_mixture")
    folder = next((lab.notebooks / "mixed").iterdir())
    events = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    change = next(event for event in events if event["event"] == "changed")
    steps = {event["step"]: event["extra"] for event in events if event["event"] == "step"}
    assert change["field"] == "mixture" and change["new"]["letters"] > 0 == change["new"]["facts"]
    assert all(extra["rows/letters"] == (3 if step > change["step"] else 1) for step, extra in steps.items())
