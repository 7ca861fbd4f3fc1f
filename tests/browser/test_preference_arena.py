"""The preference arena in a real JupyterLab: votes by keys and buttons, taken back, by many people at once; results; rows; every width."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.browser.lab import IN_THEME, Lab, Notebook
from tests.browser.layout import assert_layout

pytestmark = pytest.mark.browser

BEGIN = """import math, random
from widgets import PreferenceArena
from workbench.alignment import PreferenceStore
BAD = "<img src=x onerror='window.hacked = 1'> $x$"
STRENGTH = {"base": 0.0, "tuned-lora-8": 1.0, BAD: 1.3, "larger": 2.0}
store, chance = PreferenceStore("arena.db"), random.Random(0)
for number in range(40):
    who = BAD if number == 0 else "Mira"
    told = [f"{who} bakes.\\n" * (1 + 9 * (place == 3)) + f"[{place}]" for place in range(4)]
    store.add(f"Who bakes bread number {number}?", dict(zip(STRENGTH, told, strict=True)))
def judged(name, count, bias=0.0):
    for number in range(count):
        item = store.next(name, seed=number)
        left, right = (list(STRENGTH.values())[int(reply[-2])] for reply in item.replies)
        first = chance.random() < 1 / (1 + math.exp(right - left - bias))
        store.judge(item, "tie" if chance.random() < .1 else "left" if first else "right", name)
for name in ("Ann", "Bob", "Cem with a long name"):
    judged(name, 60, bias=3.0 * (name == "Bob"))
panel = PreferenceArena("arena.db", judge="Dan")
panel"""


class Page:
    """A page with an arena."""

    def __init__(self, notebook: Notebook) -> None:
        self.notebook, self.page = notebook, notebook.page
        self.panel = self.page.locator(".wb-panel").first

    def says(self, words: str) -> str:
        self.notebook.wait(
            "words => [...document.querySelectorAll('.wb-panel [role=status]')].some(one => one.textContent.includes(words))", words
        )
        return next(text for text in self.panel.locator("[role=status]").all_inner_texts() if words in text)

    def prompt(self) -> str:
        return self.panel.locator(".wb-prompt-box .wb-reply-text").inner_text()

    def replies(self) -> list[str]:
        return self.panel.locator(".wb-replies .wb-reply-text").all_inner_texts()

    def press(self, key: str) -> None:
        """A key, and what it does is done."""
        token = self.page.evaluate("() => document.querySelector('.wb-panel .wb-desk').dataset.token")
        self.page.keyboard.press(key)
        self.notebook.wait("token => document.querySelector('.wb-panel .wb-desk').dataset.token !== token", token)

    def kernel(self, code: str) -> str:
        return self.notebook.kernel(code)


@pytest.fixture(scope="module")
def shown(lab: Lab) -> Iterator[Page]:
    notebook = lab.open([BEGIN], "arena")
    notebook.run(0)
    made = Page(notebook)
    notebook.wait("() => document.querySelectorAll('.wb-panel .wb-replies .wb-reply-text').length === 2")
    made.says("judgements of 3 people so far")
    notebook.drawn()
    yield made
    assert notebook.errors == []
    notebook.close()


def test_keys_vote_blind_and_a_vote_is_taken_back(shown: Page) -> None:
    page = shown.page
    shown.panel.locator(".wb-prompt-box .wb-reply-text").focus()
    first = (shown.prompt(), shown.replies())
    assert not any(name in shown.panel.inner_text() for name in ("tuned-lora-8", "larger")), "names of models are not seen while one judges"
    shown.press("1")
    shown.says("Kept: reply 1 is better")
    second = shown.replies()
    shown.press("0")
    shown.press("2")
    shown.says(f"Dan has judged 3 of 240 pairs; {shown.kernel('print(len(store.votes()))')} judgements of 4 people")
    mine = "[[row['verdict'], row['replies']] for row in store.judgements('pair').to_dict('records') if row['judge'] == 'Dan']"
    found = json.loads(shown.kernel(f"import json; print(json.dumps({mine}))"))
    assert [verdict for verdict, _ in found] == ["left", "tie", "right"]
    assert [text.split() for text in found[0][1]] == [text.split() for text in first[1]] and [text.split() for text in found[1][1]] == [
        text.split() for text in second
    ]
    third = shown.replies()
    shown.press("u")
    shown.says("Taken back.")
    shown.says("Dan has judged 2 of 240 pairs")
    assert [text.split() for text in shown.replies()] == [text.split() for text in found[2][1]] != third
    shown.press("s")
    shown.says("Skipped.")
    page.get_by_role("button", name="Tie").click()
    shown.says("Dan has judged 3 of 240 pairs")
    for key in "3dda":  # a heading, a deleted cell, a new one, were they to reach the notebook
        page.keyboard.press(key)
    assert page.evaluate("() => document.querySelectorAll('.jp-CodeCell').length") == 1, "no key reached the notebook"
    assert len(json.loads(shown.kernel("print(json.dumps(store.judgements('pair')['judge'].tolist().count('Dan') * [0]))"))) == 3
    shown.panel.get_by_label("Who judges").fill("Dan 1")
    page.keyboard.press("Enter")
    shown.says("Dan 1 has judged 0 of 240 pairs")
    shown.panel.get_by_label("Who judges").fill("Dan")
    page.keyboard.press("Enter")
    shown.says("Dan has judged 3 of 240 pairs")


def test_rankings_thumbs_and_scores_by_keys(shown: Page) -> None:
    page = shown.page
    page.get_by_role("button", name="Ranks").click()
    shown.notebook.wait("() => document.querySelectorAll('.wb-panel .wb-replies .wb-reply-text').length === 3")
    shown.panel.locator(".wb-prompt-box .wb-reply-text").focus()
    before = shown.replies()
    page.keyboard.press("3")
    page.keyboard.press("1")
    shown.notebook.screenshot("preference_arena_ranking")
    assert_layout(page)
    shown.press("Enter")
    shown.says("Kept: reply 3, then 1, then 2")
    ranked = json.loads(shown.kernel("print(json.dumps(store.rows('ranked').to_pylist()))"))
    assert [text.split() for text in ranked[0]["replies"]] == [before[place].split() for place in (2, 0, 1)]
    page.get_by_role("button", name="Thumbs").click()
    shown.notebook.wait("() => document.querySelectorAll('.wb-panel .wb-replies .wb-reply-text').length === 1")
    shown.press("2")
    shown.says("Kept: not good")
    page.get_by_role("button", name="Scores").click()
    page.locator(".wb-score-row").first.wait_for()
    for key in "452":
        page.keyboard.press(key)
    shown.notebook.screenshot("preference_arena_scores")
    shown.press("Enter")
    assert shown.kernel("print(store.judgements('scores')['verdict'][0])") == "{'helpful': 4, 'honest': 5, 'harmless': 2}"
    page.get_by_role("button", name="Pairs").click()
    shown.notebook.wait("() => document.querySelectorAll('.wb-panel .wb-replies .wb-reply-text').length === 2")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 700, 420])
def test_no_word_is_cut_or_covered(shown: Page, width: int, theme: str) -> None:
    shown.notebook.dark(theme == "dark")
    shown.notebook.set_width(width)
    for view, first in (("Results", "Rating"), ("Judge", "Judgements")):
        shown.page.get_by_role("button", name=view, exact=True).click()
        shown.notebook.wait("first => document.querySelector('.wb-panel .annotation-text')?.textContent.startsWith(first)", first)
        shown.notebook.drawn()
        shown.notebook.wait(IN_THEME)
        shown.notebook.screenshot(f"preference_arena_{view.lower()}_{width}" + ("_dark" if theme == "dark" else ""))
        assert_layout(shown.page)


def test_results_name_the_bias_and_follow_what_others_judge(shown: Page) -> None:
    page = shown.page
    shown.notebook.dark(False)
    shown.notebook.set_width(1200)
    page.get_by_role("button", name="Results", exact=True).click()
    sentence = shown.says("Position bias: what is shown first wins")
    assert "of Bob's" in sentence
    assert shown.panel.locator(".wb-reply-box").first.is_hidden() and shown.panel.get_by_text("tuned-lora-8").first.is_visible()
    shown.says("Position bias")
    before = shown.kernel("print(panel.found.votes)")
    shown.kernel("judged('Eve', 30)")  # nobody tells the panel
    shown.notebook.wait("() => [...document.querySelectorAll('.wb-panel .y2tick text')].some(one => one.textContent.includes('Eve'))")
    assert int(shown.kernel("print(panel.found.votes)")) > int(before)
    assert page.evaluate("() => window.hacked") is None and shown.panel.locator("img").count() == 0
    page.get_by_role("button", name="Code").click()
    code = shown.panel.locator(".wb-code pre").inner_text()
    assert "store.rows('paired')" in code and "bradley_terry(votes)" in code


def test_rows_are_made_and_errors_stand_where_they_belong(shown: Page) -> None:
    page = shown.page
    shown.panel.get_by_label("File to write").fill("rows/paired.jsonl")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Make training rows").click()
    shown.notebook.wait("() => document.querySelector('.wb-panel .wb-controls').textContent.includes('in rows/paired.jsonl')")
    rows = shown.notebook.lab.notebooks / "rows" / "paired.jsonl"
    assert len(rows.read_text().splitlines()) == int(shown.kernel("print(panel.table.num_rows)"))
    source = shown.panel.get_by_label("Store: a file, or the URL of PostgreSQL")
    figure = shown.panel.locator(".wb-fig .points path").count()
    source.fill("postgresql+psycopg://nobody:SECRET@127.0.0.1:1/none")
    source.press("Enter")
    error = shown.panel.locator(".wb-error-box .wb-error").first
    error.wait_for()
    assert "cannot be read or written" in error.inner_text()
    shown.notebook.wait("() => ![...document.querySelectorAll('.wb-panel input')].some(one => one.value.includes('SECRET'))")
    assert shown.panel.locator(".wb-fig .points path").count() == figure > 0, "the last good picture stays"
    assert_layout(page)
    shown.notebook.screenshot("preference_arena_error")
    source.fill("arena.db")
    source.press("Enter")
    error.wait_for(state="detached")
    shown.says("Position bias")
