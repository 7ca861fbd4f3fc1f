"""What a person does in the KL monitor: handles wait for Apply, who holds β, branches from a healthy checkpoint, what cannot be done; its commands
as a worker would read them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import workbench as wb
from tests.frame.test_panel import descendants
from tests.runs import tools
from tests.widgets.fakes import StillPump, trace
from tests.widgets.fakes import words as labels
from tests.widgets.policy_story import (
    events,
    healthy,
    policy_run,
    prepared,
    recipe,
    write,
)
from widgets import KLMonitor
from workbench.errors import RunError
from workbench.journal import commands as cmd
from workbench.journal import events as ev
from workbench.journal.log import Tail
from workbench.recipes import Recipe
from workbench.runs.run import Run


@pytest.fixture(scope="module")
def gone_wrong(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """1 600 steps, β made small at 700: KL runs off, the proxy rises, gold falls."""
    return policy_run(tmp_path_factory.mktemp("story") / "runs" / "2026-11-21_093015-ppo-3", *events(), made=recipe(18.0), ended="stopped")


def opened(run: Run, **more: object) -> KLMonitor:
    monitor = KLMonitor(run, pump=StillPump(), **more)
    assert monitor.widget
    return monitor


def done(monitor: KLMonitor) -> None:
    assert monitor.actions.errands.wait(30)


def asked(run: Run) -> list[cmd.Command]:
    return [cmd.decode(line) for line in Tail(run.folder / "commands.jsonl").read()]


def said(monitor: KLMonitor) -> list[str]:
    return [widget.value for widget in descendants(monitor.widget) if 'class="wb-error"' in str(getattr(widget, "value", ""))]


def test_sliders_wait_for_apply_and_become_what_the_journal_says(tmp_path: Path) -> None:
    run = healthy(tmp_path / "runs" / "a", 60, living=True)
    monitor = opened(run)
    made = monitor.made
    assert (
        made.apply.disabled
        and made.sliders["beta"].value == 0.1
        and made.sliders["kl_target"].value == 18.0
        and not made.sliders["temperature"].disabled
    )
    made.sliders["beta"].value, made.sliders["temperature"].value, made.weights["brief"].value = 0.2, 0.7, 0.5
    done(monitor)
    wanted = {"beta": 0.2, "temperature": 0.7, "reward_weights": {"helpful": 1.0, "brief": 0.5}}
    assert monitor.state.pending == wanted and not made.apply.disabled and asked(run) == []
    made.apply.click()
    done(monitor)
    assert [command.values for command in asked(run)] == [wanted] and made.apply.disabled and monitor.state.pending == wanted
    write(
        run,
        ev.Changed(step=60, field="beta", old=0.1, new=0.2),
        ev.Changed(step=60, field="temperature", old=1.0, new=0.7),
        ev.Changed(step=60, field="reward_weights", old={"helpful": 1.0, "brief": 1.0}, new={"helpful": 1.0, "brief": 0.5}),
    )
    monitor.look_again()
    assert monitor.state.pending == {} and made.weights["brief"].value == 0.5 and made.sliders["beta"].value == 0.2
    note = next(note for note in monitor.figure()["layout"]["annotations"] if note.get("hovertext"))
    assert note["hovertext"] == "β 0.1 → 0.2 · temperature 1 → 0.7 · brief 1 → 0.5" and note["text"].startswith("β 0.1 → 0.2 · temp")
    made.sliders["beta"].value = 0.3
    done(monitor)
    made.sliders["beta"].value = 0.2  # what is in force
    done(monitor)
    assert monitor.state.pending == {}


def test_what_the_worker_refuses_is_said_beside_apply(tmp_path: Path) -> None:
    run = healthy(tmp_path / "runs" / "a", 60, living=True)
    monitor = opened(run)
    monitor.made.sliders["beta"].value = 1e9  # more than any β may be: refused before it is sent
    done(monitor)
    monitor.made.apply.click()
    done(monitor)
    [text] = said(monitor)
    assert "beta cannot be 1000000000.0" in text and asked(run) == [] and "wb-bad" in monitor.made.apply._dom_classes
    write(run, ev.Refused(step=60, command="x", reason="This run has no temperature."))
    tools.until(lambda: monitor._look() or any("This run has no temperature." in text for text in said(monitor)), what="the refusal")


def test_a_run_without_a_target_may_be_given_one(tmp_path: Path) -> None:
    run = policy_run(tmp_path / "a", *events(400, 60, change=None), made=recipe(None, 400), living=True)
    monitor = opened(run)
    made = monitor.made
    assert "until a KL target holds it" in made.adaptive.value
    made.sliders["kl_target"].value = 12.0
    done(monitor)
    assert monitor.state.pending == {"kl_target": 12.0}
    made.apply.click()
    done(monitor)
    assert [command.values for command in asked(run)] == [{"kl_target": 12.0}]
    for old, new, words in ((None, 12.0, "follows the KL target of 12 nats"), (12.0, None, "until a KL target holds it")):
        write(run, ev.Changed(step=60, field="kl_target", old=old, new=new))
        monitor.look_again()
        assert words in made.adaptive.value


def test_finished_and_foreign_runs_have_no_control_that_cannot_work(gone_wrong: Run, tmp_path: Path) -> None:
    made = opened(gone_wrong).made
    assert made.apply.disabled and made.pause.disabled and not made.back.disabled and made.back.description == "Back to step 700"
    assert "The run is stopped, so nothing can be changed in it" in made.why_not.value
    log = [dict(step=k, loss=0.1, reward=k / 10, kl=0.1 * k, entropy=1.0, **{"completions/mean_length": 12.0}) for k in range(1, 21)]
    (tmp_path / "trainer_state.json").write_text(json.dumps(dict(log_history=log, max_steps=20, global_step=20)))
    monitor = opened(__import__("workbench").attach(tmp_path))
    assert all(widget.disabled for widget in (monitor.made.apply, monitor.made.pause, monitor.made.back, *monitor.made.sliders.values()))
    assert "only read" in monitor.made.why_not.value and list(trace(monitor.figure(), "length")["y"]) == pytest.approx([12.0] * 20)


class Branching(Run):
    """A run whose forks are journals too: what `fork` was asked is kept."""

    refuse = ""

    def fork(self, step: int | None = None, name: str | None = None, **changes: object) -> Run:
        if self.refuse:
            raise RunError(self.refuse, "Free some space.")
        self.forks = [*getattr(self, "forks", []), (step, changes)]
        begun = list(events(1600, step))
        child = policy_run(
            self.folder.parent / f"branch-{len(self.forks)}",
            *begun,
            ev.Forked(parent=str(self.folder), step=step, checkpoint=step),
            ev.Started(pid=1),
            prepared(1600),
            made=self.recipe,
            living=True,
        )
        return child


def test_one_click_goes_back_to_the_last_healthy_checkpoint_and_shows_the_branch(tmp_path: Path) -> None:
    run = Branching(policy_run(tmp_path / "runs" / "a", *events(), made=recipe(18.0, 2000), living=True).folder)
    monitor = opened(run)
    made = monitor.made
    assert (
        made.back.description == "Back to step 700"
        and "β is 0.1 there" in made.back_words.value
        and "this run stops" in made.back_words.value
    )
    made.sliders["beta"].value = 0.15
    done(monitor)
    assert "β 0.1 → 0.15" in made.back_words.value
    made.back.click()
    done(monitor)
    assert run.forks == [(700, {"beta": 0.15})] and [command.kind for command in asked(run)] == ["stop"]
    assert monitor.run.folder.name == "branch-1" and monitor.alarms == [] and monitor.unsent() == {}
    assert made.sliders["beta"].value == 0.15, "what the branch begins with"
    drawn = monitor.figure()
    assert len(trace(drawn, "kl")["x"]) == 700 and len(trace(drawn, "parent-kl")["x"]) == 1600 and "fork" in labels(drawn)


def test_a_checkpoint_that_is_gone_is_not_the_way_back(tmp_path: Path) -> None:
    run = Branching(policy_run(tmp_path / "runs" / "a", *events(), made=recipe(18.0, 2000)).folder)
    for step in (600, 700):
        (run.folder / "checkpoints" / f"step-{step:06d}").rmdir()
    monitor = opened(run)
    assert monitor.made.back.description == "Back to step 500"
    for step in range(100, 600, 100):
        (run.folder / "checkpoints" / f"step-{step:06d}").rmdir()
    monitor.look_again()
    assert monitor.made.back.description == "Back to step 700" and "trained again up to there" in monitor.made.back_words.value
    run.refuse = "The disk is full."
    monitor.made.back.click()
    done(monitor)
    assert any("The disk is full. Free some space." in text for text in said(monitor)) and monitor.run is run


def test_new_steps_are_shown_by_the_look_of_the_pump(tmp_path: Path) -> None:
    run = healthy(tmp_path / "runs" / "a", 60, living=True)
    monitor = opened(run)
    shown: Callable[[], int] = lambda: len(trace(monitor.live.figures["wide"], "kl")["y"])  # noqa: E731
    assert shown() == 60
    write(run, *list(events(400, 80, change=None))[-30:])
    tools.until(lambda: monitor._look() or shown() == 80, what="the new steps")
    assert monitor.made.progress.value.count("step 80") >= 1


def test_runs_with_a_policy_can_be_picked_and_a_pick_is_everyones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = healthy(tmp_path / "runs" / "a"), policy_run(tmp_path / "runs" / "b", *events(400, 80), made=recipe(18.0, 400))
    policy_run(tmp_path / "runs" / "c", ev.Step(step=1, loss=1.0), made=Recipe(steps=5))
    monitor = opened(first)
    monitor._look()
    done(monitor)
    assert sorted(folder for _, folder in monitor.made.run.options) == [str(first.folder), str(second.folder)]
    monitor.made.run.value = str(second.folder)
    done(monitor)
    assert monitor.run.folder == second.folder and monitor.selection["run"] == {str(second.folder)} and monitor.state.run == "runs/b"
    monitor.selection.set("run", {str(first.folder)})
    done(monitor)
    assert monitor.run.folder == first.folder and monitor.made.run.value == str(first.folder)


@pytest.mark.parametrize("who", ["hand", "off"])
def test_who_holds_beta_is_chosen(tmp_path: Path, who: str) -> None:
    run = healthy(tmp_path / "runs" / "a", 60, living=True)
    monitor = opened(run)
    made = monitor.made
    assert made.held.value == "target"
    made.held.value = who
    done(monitor)
    wanted = {"kl_target": None} | ({"beta": 0.0} if who == "off" else {})
    assert monitor.state.pending == wanted and made.held.value == who
    made.apply.click()
    done(monitor)
    assert [command.values for command in asked(run)] == [wanted]
    write(run, *(ev.Changed(step=60, field=name, old=1.0, new=new) for name, new in wanted.items()))
    monitor.look_again()
    assert monitor.state.pending == {} and made.held.value == who
    made.held.value = "target"
    done(monitor)
    back = {"kl_target": made.sliders["kl_target"].value} | ({"beta": made.sliders["beta"].value} if who == "off" else {})
    assert monitor.state.pending == back and made.held.value == "target" and all(back.values())


def test_an_objective_with_no_controller_offers_none(tmp_path: Path) -> None:
    grpo = recipe(steps=400).replace(objective=wb.GRPO(rewards={"helpful": "runs/helpful"}))
    made = opened(policy_run(tmp_path / "a", *events(400, 60, change=None), made=grpo, living=True)).made
    assert [who for _, who in made.held.options] == ["hand", "off"] and made.held.value == "hand"
