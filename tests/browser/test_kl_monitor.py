"""The KL monitor in a real JupyterLab: a policy that trains and goes wrong, steered with keys and brought back with a click; and one
whose KL ran off, at every width and in both themes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import workbench as wb
from tests.browser.lab import Lab, Notebook
from tests.browser.layout import assert_layout
from tests.runs import tools
from widgets.kl_monitor.reading import LIVING
from workbench.runs.folders import undated

pytestmark = pytest.mark.browser

BEGIN = """import workbench as wb
from widgets import KLMonitor
def brief(prompt, reply):
    return -abs(len(reply.split()) - 3)
recipe = wb.Recipe(model="town-small", data="town:conduct",
                   objective=wb.PPO(rewards={"brief": brief}, beta=0.05, kl_target=0.4, reply_tokens=8, epochs=1),
                   method=wb.LoRA(rank=4), learning_rate=1e-3, schedule="constant", warmup_steps=0, steps=600, batch_size=4, heldout=0.005,
                   evaluate_every=5, checkpoint_every=5, keep_checkpoints=1000, sample_prompts=1)
wb.standby(wait=True)  # both workers come from it
run = wb.start(recipe, runs="policies")
monitor = KLMonitor(run)
monitor"""
STORY = """from pathlib import Path
from tests.widgets.policy_story import HOSTILE, events, policy_run, recipe
from widgets import KLMonitor
run = policy_run(Path("story/2026-11-21_093015-ppo-3"), *events(words=HOSTILE), made=recipe(18.0, 2000), living=True)
monitor = KLMonitor(run)
monitor"""


@pytest.fixture(scope="module")
def story(lab: Lab) -> Iterator[Notebook]:
    notebook = lab.open([STORY], "kl_story")
    notebook.run_all()
    notebook.drawn()
    yield notebook
    assert notebook.errors == []
    notebook.close()


@pytest.mark.parametrize(("width", "theme"), [(1200, "light"), (700, "light"), (420, "light"), (420, "dark"), (1200, "dark")])
def test_no_word_is_cut_or_covered(story: Notebook, width: int, theme: str) -> None:
    story.dark(theme == "dark")
    story.set_width(width)
    story.screenshot(f"kl_monitor_{width}" + ("_dark" if theme == "dark" else ""))
    assert_layout(story.page)


def test_keys_scrub_evaluations_and_what_a_model_wrote_stays_text(story: Notebook) -> None:
    story.dark(False)
    story.set_width(1200)
    page, said = story.page, "step => document.querySelector('.wb-extra .wb-between .wb-hint').textContent.startsWith(`Step ${step} ·`)"
    story.wait(said, "1\u202f600")
    page.locator(".noUi-handle[aria-label='Evaluation at step']").focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    story.wait(said, "1\u202f400")
    page.get_by_role("button", name="k3", exact=True).click()
    story.wait("() => [...document.querySelectorAll('.wb-panel .annotation-text')].some(t => /^k3 4\\d/.test(t.textContent))")
    assert "<img src=x" in page.locator(".wb-extra").inner_text()
    assert page.evaluate("() => window.hacked") is None and page.locator(".wb-panel img").count() == 0
    page.get_by_role("button", name="</> Code").click()
    assert "run.fork(step=700)" in page.locator(".wb-panel .wb-code").inner_text()
    assert_layout(page)


TRAINING_MS = 90_000
"""The first steps wait for a worker's imports on a machine that does other things too."""


def events(folder: Path, kind: str) -> list[dict]:
    """The journal's events of a kind, complete lines only."""
    return [event for event in map(json.loads, (folder / "journal.jsonl").read_bytes().split(b"\n")[:-1]) if event["event"] == kind]


@pytest.fixture
def policy(lab: Lab) -> Iterator[Notebook]:
    """A policy that trains, shown in a notebook; it and its branches end with the test."""
    notebook = lab.open([BEGIN], "kl_policy")
    yield notebook
    for folder in (lab.notebooks / "policies").iterdir():
        run = wb.attach(folder)
        if run.status in LIVING:
            run.stop()
            run.wait(60)
    assert notebook.errors == []
    notebook.close()


def test_a_policy_is_steered_with_keys_and_brought_back_with_a_click(policy: Notebook) -> None:
    page, runs = policy.page, policy.lab.notebooks / "policies"
    policy.run_all()
    policy.wait("() => document.querySelector('.wb-panel [role=status]').textContent.startsWith('KL is ')", None, TRAINING_MS)
    [folder] = runs.iterdir()
    assert page.locator(".wb-panel td", has_text="▲ KL out of band").count() == 1
    policy.wait("() => document.querySelector('.wb-panel .js-plotly-plot')?.data?.some(t => t.uid === 'alarm-kl')")

    page.locator(".wb-controls button", has_text="Pause").click()  # a paused run takes changes too, and leaves the cores to the page
    policy.wait("() => document.querySelector('.wb-panel .wb-progress').textContent.includes('paused')", None, TRAINING_MS)
    page.get_by_label("β, penalty per nat", exact=True).focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    policy.wait("() => [...document.querySelectorAll('.wb-controls button')].some(b => b.textContent.includes('Apply') && !b.disabled)")
    page.locator(".wb-controls button", has_text="Apply at next step").click()
    tools.until(lambda: events(folder, "changed"), what="the change in the journal")
    [change] = events(folder, "changed")
    assert change["field"] == "beta" and change["new"] != change["old"]
    said = f"β {change['old']:.3g} → {change['new']:.3g}"
    policy.wait("said => [...document.querySelectorAll('.wb-panel .annotation-text')].some(t => t.textContent === said)", said, TRAINING_MS)
    policy.wait("() => document.querySelector('.wb-extra span[title$=nats]')", None, TRAINING_MS)
    policy.screenshot("kl_monitor_policy")
    assert_layout(page)

    back = page.locator(".wb-controls button", has_text="Back to step")
    step = int(back.inner_text().split()[-1])
    assert step in [0, *(event["step"] for event in events(folder, "saved"))]
    back.click()
    policy.wait(
        "() => [...document.querySelectorAll('.wb-panel .annotation-text')].some(t => t.textContent.startsWith('fork'))", None, TRAINING_MS
    )
    [branch] = [path for path in runs.iterdir() if path != folder]
    assert events(branch, "forked")[0]["step"] == step and undated(branch.name) in page.get_by_label("Run", exact=True).input_value()
    policy.wait(
        """step => { const plot = document.querySelector('.wb-panel .js-plotly-plot'), kl = plot?.data?.find(t => t.uid === 'kl');
        return kl && kl.x.length > step && plot.data.some(t => t.uid === 'parent-kl'); }""",
        step,
        TRAINING_MS,
    )
    assert events(folder, "ended")[-1]["status"] == "stopped"
