"""The data explorer in a real JupyterLab: what was planted is found with the mouse and the keys, dropped, and left out of what is trained on."""

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
explorer = DataExplorer(given, test=test, model="town", selection=linked)
explorer"""
SENTENCE = "() => document.querySelector('.wb-panel [role=status]')?.textContent ?? ''"


@pytest.fixture(scope="module")
def notebook(lab: Lab) -> Iterator[Notebook]:
    made = lab.open([PLANT], "explorer")
    try:
        made.run_all()
        made.drawn()
    except Exception as error:
        made.page.screenshot(path="/tmp/fail.png"); print("ERRORS", made.errors); print(made.page.locator(".jp-OutputArea").first.inner_text()[:3000])
        raise
    made.wait("() => document.querySelector('.wb-panel .wb-rows-list tbody tr[data-id]') && document.querySelectorAll('.wb-panel select option').length >= 10"
              " && !document.querySelector('.wb-busy')", None, 60_000)
    yield made
    assert made.errors == []
    made.close()


def test_look(notebook: Notebook) -> None:
    notebook.set_width(1200)
    print(notebook.page.evaluate(SENTENCE))
    notebook.screenshot("data_explorer")
    notebook.set_width(700)
    notebook.screenshot("data_explorer_700")
    notebook.set_width(420)
    notebook.screenshot("data_explorer_420")
    notebook.set_width(1200)
    notebook.dark()
    notebook.screenshot("data_explorer_dark")
    notebook.dark(False)
