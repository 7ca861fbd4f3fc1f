"""The KL monitor without a browser, on journals written by the journal's own writer: its lines against independent computations, its words,
its code run, its commands as a worker would read them, and nothing a run wrote as markup.
"""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.frame.test_panel import Reader, descendants
from tests.widgets.fakes import StillPump, trace
from tests.widgets.fakes import words as labels
from tests.widgets.policy_story import (
    HOSTILE,
    distances,
    events,
    healthy,
    policy_run,
    recipe,
)
from widgets import KLMonitor
from widgets.frame import static
from widgets.kl_monitor import tokens
from widgets.kl_monitor.reading import change_words, value_words
from workbench.errors import WorkbenchError
from workbench.journal import events as ev
from workbench.recipes import Recipe
from workbench.runs.run import Run


@pytest.fixture(scope="module")
def gone_wrong(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """1 600 steps, β made small at 700: KL runs off, the proxy rises, gold falls."""
    return policy_run(tmp_path_factory.mktemp("story") / "runs" / "2026-11-21_093015-ppo-3", *events(), made=recipe(18.0), ended="stopped")


# ---- the sentence and the alarms


def test_it_says_what_is_wrong_worst_first(gone_wrong: Run) -> None:
    said, found = KLMonitor(gone_wrong).summary(), KLMonitor(gone_wrong).alarms
    assert [alarm.kind for alarm in found] == ["gold", "kl"]
    assert said.kind == "warn" and said.text == found[0].sentence + " " + found[1].sentence
    truth = distances(1600, 700)
    assert abs(truth[found[1].step - 1] - 24) < 4, "the alarm begins where the KL of the formula passes the band's top"


def test_it_is_silent_while_all_is_well(tmp_path: Path) -> None:
    monitor = KLMonitor(healthy(tmp_path / "runs" / "a"))
    said = monitor.summary()
    assert monitor.alarms == [] and said.kind == "ok" and said.text.startswith("Finished at step 400 of 400: reward ")
    assert f"KL {average(monitor.run.metrics()['kl'], 8)[-1]:.0f} nats, in the band 12–24" in said.text
    assert not [found for found in monitor.figure()["data"] if found.get("uid", "").startswith("alarm")]


def test_it_says_who_waits(tmp_path: Path) -> None:
    told = [
        ev.Step(
            step=k,
            loss=0.1,
            extra={
                "reward": 1.0,
                "kl": 1.0,
                "seconds/generate": 1.0,
                "seconds/score": 0.5,
                "seconds/train": 0.5,
                "waits/policy": 0.8,
                "waits/reward": 0.2,
            },
        )
        for k in range(1, 9)
    ]
    said = KLMonitor(policy_run(tmp_path / "a", *told, made=recipe(steps=8))).summary()
    assert said.text.endswith("; the policy waits 40\u202f% of a step for its rewards.")


def test_runs_without_a_policy_and_runs_that_have_not_begun(tmp_path: Path) -> None:
    sft = policy_run(tmp_path / "sft", ev.Step(step=1, loss=1.0), made=Recipe(steps=5))
    said = KLMonitor(sft).summary()
    assert (
        said.kind == "idle" and "writes no replies that are rewarded" in said.text and "<b>No policy</b>" in labels(KLMonitor(sft).figure())
    )
    fresh = policy_run(tmp_path / "fresh", made=recipe(steps=5), living=True)
    assert KLMonitor(fresh).summary().text == "Ready: the first replies are being drawn."
    assert KLMonitor().summary().kind == "idle" and "<b>No run picked</b>" in labels(KLMonitor().figure())
    with pytest.raises(WorkbenchError, match="k9"):
        KLMonitor(fresh, estimator="k9")


# ---- the figure


def average(values: np.ndarray, span: int) -> list[float]:
    """The exponential average with the start-up bias taken out, step by step."""
    keep, total, weight, out = 1 - 2 / (span + 1), 0.0, 0.0, []
    for value in values:
        total, weight = keep * total + value, keep * weight + 1
        out.append(total / weight)
    return out


def test_lines_are_the_journals(gone_wrong: Run) -> None:
    drawn, table = KLMonitor(gone_wrong).figure(), gone_wrong.metrics()
    for uid, column in (
        ("kl", "kl"),
        ("reward", "reward"),
        ("objective", "objective"),
        ("gold", "gold"),
        ("k2", "kl/k2"),
        ("k3", "kl/k3"),
        ("entropy", "entropy"),
        ("length", "length"),
        ("seconds-generate", "seconds/generate"),
        ("waits-reward", "waits/reward"),
    ):
        assert list(trace(drawn, uid)["x"]) == list(range(1, 1601))
        assert list(trace(drawn, uid)["y"]) == pytest.approx(average(table[column], 32)), uid
    assert list(trace(drawn, "clip_fraction")["y"]) == pytest.approx([100 * value for value in average(table["clip_fraction"], 32)])
    assert list(trace(drawn, "beta")["y"]) == [0.1] * 700 + [0.04] * 900
    over = trace(drawn, "kl-over")["y"]
    assert np.isfinite(over).tolist() == [value > 24 for value in average(table["kl"], 32)]


def test_what_names_a_trace_is_a_selector_too(gone_wrong: Run) -> None:
    """plotly looks for traces with `.querySelector` of their uid."""
    uids = [found["uid"] for found in KLMonitor(gone_wrong).figure()["data"]]
    assert len(set(uids)) == len(uids) and all(re.fullmatch(r"[\w-]+", uid) for uid in uids)


def test_reward_against_distance_has_proxy_gold_and_golds_peak(gone_wrong: Run) -> None:
    drawn, table = KLMonitor(gone_wrong).figure(), gone_wrong.metrics()
    proxy, gold = trace(drawn, "proxy-distance"), trace(drawn, "gold-distance")
    steps = proxy["customdata"]
    d = np.sqrt(np.clip(average(table["kl"], 32), 0, None))
    assert list(proxy["x"]) == pytest.approx([d[int(step) - 1] for step in steps]) and list(gold["x"]) == list(proxy["x"])
    start = table["reward"][:5].mean()
    assert list(proxy["y"]) == pytest.approx([average(table["reward"], 32)[int(step) - 1] - start for step in steps])
    at = int(
        next(text for text in labels(drawn) if text.startswith("gold is best")).removeprefix("gold is best at step ").replace("\u202f", "")
    )
    assert trace(drawn, "peak")["x"] == [pytest.approx(d[at - 1])]
    truth = distances(1600, 700)
    best = math.exp(0.75 / 0.2995 - 1)  # of d (α − β log d), Gao et al. 2022
    assert abs(math.sqrt(truth[at - 1]) - best) < 0.5
    band = next(shape for shape in drawn["layout"]["shapes"] if shape["type"] == "rect" and shape["xref"] == "x")
    assert (band["x0"], band["x1"]) == pytest.approx((math.sqrt(12), math.sqrt(24)))


def test_gold_too_flat_to_be_seen_is_drawn_larger_and_says_so(tmp_path: Path) -> None:
    told = [ev.Step(step=k, loss=0.1, extra={"reward": k / 10, "kl": k / 10, "gold": 0.5 + 0.002 * k}) for k in range(1, 101)]
    drawn = KLMonitor(policy_run(tmp_path / "a", *told, made=recipe(steps=100))).figure()
    assert "gold × 20" in labels(drawn)
    gain = np.array(trace(drawn, "gold-distance")["y"])
    assert gain[-1] - gain[0] == pytest.approx(
        20 * (average(0.5 + 0.002 * np.arange(1, 101), 5)[-1] - average(0.5 + 0.002 * np.arange(1, 101), 5)[5 - 0]), rel=0.01
    )


def test_without_a_target_the_limit_is_drawn(tmp_path: Path) -> None:
    told = [ev.Step(step=k, loss=0.1, extra={"reward": 1.0, "kl": k / 2, "length": 10.0}) for k in range(1, 61)]
    monitor = KLMonitor(policy_run(tmp_path / "a", *told, made=recipe(None, 60)))
    drawn = monitor.figure()
    assert list(trace(drawn, "kl-limit")["y"]) == pytest.approx([10.0] * 60) and "1 a token" in labels(drawn)
    over = np.isfinite(trace(drawn, "kl-over")["y"])
    assert over.tolist() == [value > 10 for value in average(np.arange(1, 61) / 2, 5)] and monitor.summary().text.startswith("KL is 2")
    assert not [shape for shape in drawn["layout"]["shapes"] if shape["type"] == "rect"]


def test_changes_stand_as_marks_with_their_values(gone_wrong: Run) -> None:
    drawn = KLMonitor(gone_wrong).figure()
    assert labels(drawn).count("β 0.1 → 0.04") == 1
    lines = [shape for shape in drawn["layout"]["shapes"] if shape["type"] == "line" and shape.get("x0") == 700]
    assert len(lines) == 8, "through every cell that has steps along it"
    assert change_words("reward_weights", {"a": 1.0, "b": 1.0}, {"a": 1.0, "b": 0.5}) == "b 1 → 0.5"
    assert [value_words(value) for value in (3e-4, 0.1147, None, 6, 18.0)] == ["3e-4", "0.115", "none", "6", "18"]


@pytest.mark.parametrize("width", ["wide", "medium", "narrow"])
def test_every_cell_stands_on_the_sheet_and_on_no_other(gone_wrong: Run, width: str) -> None:
    layout = KLMonitor(gone_wrong).figure(width)["layout"]
    boxes = [(*layout["xaxis" + key]["domain"], *layout["yaxis" + key]["domain"]) for key in ("", *map(str, range(2, 10)))]
    assert all(0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1 for x0, x1, y0, y1 in boxes)
    assert not any(a[0] < b[1] and b[0] < a[1] and a[2] < b[3] and b[2] < a[3] for i, a in enumerate(boxes) for b in boxes[i + 1 :])
    assert [unit["name"] for unit in layout["meta"]["units"].values()] == [
        "Reward against distance",
        "What the policy is paid",
        "KL to the reference",
        "β",
        "Entropy",
        "Reply length",
        "Clip fraction",
        "Repetition",
        "Time of a step",
    ]


def test_two_thousand_steps_cost_little(tmp_path: Path) -> None:
    monitor = KLMonitor(policy_run(tmp_path / "a", *events(2000), made=recipe(18.0, 2000)), pump=StillPump())
    assert monitor.widget
    monitor.run.history.refresh()
    costs = []
    for _ in range(5):
        begun = time.thread_time()
        monitor.refresh()
        costs.append(time.thread_time() - begun)
    assert min(costs) < 0.15 and monitor._cost_s * 33 < 20, costs
    sent = monitor.live.sent_bytes
    monitor.refresh()
    assert monitor.live.sent_bytes == sent, "nothing new, nothing sent"


# ---- replies


def test_tokens_have_the_log_ratio_of_policy_and_reference() -> None:
    reply = ev.Replied(
        step=4,
        prompt="?",
        reply="a b",
        tokens=["a", " b", "\n"],
        logp=[-1.0, -0.5, -2.0],
        logp_reference=[-3.0, -0.25, -2.0],
        reward=1.5,
        rewards={"helpful": 1.5},
    )
    assert tokens.differences(reply).tolist() == [2.0, -0.25, 0.0]
    assert tokens.words(reply) == "KL 1.8 nats over 3 tokens: most at “a” 2.0." and tokens.line(reply) == "reward 1.50"
    shown = tokens.html(reply)
    assert (
        "color-mix(in srgb, var(--wb-vermillion) 43%, transparent)" in shown
        and "var(--wb-blue) 5%" in shown
        and 'title="2.00 nats"' in shown
    )
    assert "rgba(213,94,0,0.43)" in tokens.html(reply, live=False)
    assert tokens.words(ev.Replied(step=1, prompt="", reply="")) == "Nothing is known of its tokens."


def test_replies_are_chosen_by_prompt_and_by_evaluation(gone_wrong: Run) -> None:
    monitor = KLMonitor(gone_wrong)
    prompts, steps, reply = monitor.replies()
    assert (
        prompts == ["When does the mill reopen?", "Which way will Tomas come?"]
        and steps == list(range(100, 1601, 100))
        and reply.step == 1600
    )
    monitor = KLMonitor(gone_wrong, prompt=prompts[1], sample_step=300)
    assert (monitor.replies()[2].prompt, monitor.replies()[2].step) == (prompts[1], 300)


# ---- code, state, what stays


def test_code_gives_the_same_monitor_and_the_same_alarms(gone_wrong: Run) -> None:
    monitor = KLMonitor(gone_wrong, estimator="k3", prompt="Which way will Tomas come?")
    found: dict = {}
    exec(monitor.code(), found)
    assert found["monitor"].state_json() == monitor.state_json() and found["alarms"] == monitor.alarms
    assert json.dumps(found["monitor"].figure(), default=np.ndarray.tolist) == json.dumps(monitor.figure(), default=np.ndarray.tolist)
    assert "# at step 700: run.set(beta=0.04)" in monitor.code() and "# back to step 700: branch = run.fork(step=700)" in monitor.code()
    exec(KLMonitor(runs="nowhere").code(), found)
    assert found["monitor"].state.runs == "nowhere"


def test_state_makes_the_round_trip(gone_wrong: Run) -> None:
    monitor = KLMonitor(gone_wrong, estimator="k2", smoothing=9, sample_step=300)
    monitor.state.pending = {"beta": 0.2, "reward_weights": {"helpful": 0.5, "brief": 1.0}}
    again = KLMonitor.from_json(monitor.state_json())
    assert again.state == monitor.state and again.run.folder == gone_wrong.folder and again.replies()[2].step == 300


def test_it_makes_no_widget_and_opens_nothing_heavy(gone_wrong: Run) -> None:
    code = (
        "import sys, ipywidgets; from widgets import KLMonitor\n"
        "made = []; old = ipywidgets.Widget.__init__\n"
        "def noted(self, *a, **k): made.append(self); old(self, *a, **k)\n"
        "ipywidgets.Widget.__init__ = noted\n"
        f"panel = KLMonitor({str(gone_wrong.folder)!r})\n"
        "panel.figure(); panel.summary(); panel.code(); panel.state_json(); panel.static_html()\n"
        "assert not made, made\n"
        "assert not {'torch', 'transformers', 'peft', 'datasets', 'trl'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).resolve().parents[2], timeout=60)


def test_what_a_run_wrote_is_never_markup(tmp_path: Path) -> None:
    made = Recipe(model="town-small", objective=recipe().settings.__class__(rewards={HOSTILE: "runs/x"}, beta=0.1), steps=160)
    run = policy_run(
        tmp_path / "a", *events(160, words=HOSTILE), ev.Changed(step=90, field=HOSTILE, old=HOSTILE, new=HOSTILE), made=made, living=True
    )
    monitor = KLMonitor(run, pump=StillPump())
    kept = Reader(monitor.static_html())
    assert kept.tags.isdisjoint({"script", "img", "link"}) and not kept.handlers and HOSTILE in kept.text
    drawn = monitor.figure()
    assert any("&lt;img" in text for text in labels(drawn)) and not any("<img" in text or "$" in text for text in labels(drawn))
    assert "<img" not in static.svg(drawn, summary=monitor.summary().text)
    found = [widget.value for widget in descendants(monitor.widget) if type(widget).__name__ in ("HTML", "Progress")]
    assert any("&lt;img" in text for text in found) and not any("<img" in text for text in found)


@pytest.mark.parametrize(("last", "end"), [(1600, 1600), (700, 1600), (500, 800), (3, 25)])
def test_step_axes_end_where_the_steps_can_be_seen(tmp_path: Path, last: int, end: float) -> None:
    drawn = KLMonitor(policy_run(tmp_path / "a", *events(last=last, change=None), made=recipe(18.0))).figure()
    assert drawn["layout"]["xaxis" + trace(drawn, "reward")["xaxis"][1:]]["range"] == [0, end]
