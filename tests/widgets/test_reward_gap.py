"""The reward-gap panel without a browser: its counts against numpy's and scipy's, its code run, its flags kept, its sentence, refusals,
widgets.

Runs are folders as workers leave them, their rewards made here: no model is trained or loaded.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats

import workbench as wb
from tests.frame.test_panel import descendants
from tests.widgets.policy_story import policy_run
from widgets import RewardGap
from widgets.frame.selection import Selection
from widgets.reward_gap.figure import FORMS
from workbench.data import sources
from workbench.data.flags import Flags
from workbench.evaluation.rewards import together
from workbench.journal import events as ev
from workbench.runs.start import prepare
from workbench.training import gap_arrays
from workbench.training.writer import Journal

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = "<img src=x onerror=alert(1)> $x$ & <script>alert(2)</script>"
COUNT = 60
KINDS = ("plain", "vague", "forbidden")
FEW_MS = 20
"""Of kernel work, for a move of a slider."""


def rows(count: int = COUNT, seed: int = 0) -> list[dict]:
    """Replies of 2 to 21 words; every sixth verdict is called flipped."""
    draw = np.random.default_rng(seed)
    out = []
    for n in range(count):
        one, other = (" ".join(["word"] * int(draw.integers(2, 22))) for _ in range(2))
        out.append({"prompt": f"Question {n}?", "chosen": f"{one} a", "rejected": f"{other} b", "kind": KINDS[n % 3],
                    "flipped": n % 6 == 0})
    return out


def rewards(table: list[dict], seed: int, skill: float, liking: float = 0.0, heads: int = 1) -> gap_arrays.PairRewards:
    """Of the chosen reply higher by `skill`, of each word by `liking`; noise of 1."""
    draw = np.random.default_rng(seed)
    chosen, rejected = draw.normal(size=(2, len(table), heads))
    words = [np.array([len(row[side].split()) for row in table])[:, None] for side in ("chosen", "rejected")]
    names = ("helpful", "harmless")[:heads] if heads > 1 else ("reward",)
    places = np.arange(len(table))
    chosen, rejected = chosen + skill + liking * words[0], rejected + liking * words[1]
    return gap_arrays.PairRewards(places, 0 * places, 0 * places + 1, chosen, rejected, names)


def run_of(folder: Path, name: str = "here", skills=(0.0, 0.6, 1.2), *, liking: float = 0.0, heads: int = 1, status: str = "finished",
           metrics: dict | None = None, held: list[dict] | None = None, seed: int = 0) -> Path:
    """A run of 30 steps that was evaluated at 10, 20 and 30, if it got so far; `metrics` are added to every step."""
    held, train = held or rows(), rows(40, 99)
    file = folder / f"held-{name}.arrow"
    sources.keep(sources.load_rows(held), file)
    run = prepare(wb.Recipe(model="town-small", data=train, objective="reward", heldout=str(file), steps=30), folder / "runs", name)
    journal = Journal(run)
    journal.write(ev.Started(pid=1))
    journal.write(ev.Prepared(rows=40, heldout_rows=len(held), dropped={}, truncated=0, tokens=1, trained_tokens=1, parameters=1,
                              trainable_parameters=1, steps=30))
    for number, skill in enumerate(skills):
        for step in range(10 * number + 1, 10 * number + 11):
            journal.write(ev.Step(step=step, loss=0.6, extra={"accuracy": 0.5 + step / 100, "gap": 0.1} | (metrics or {})))
        evaluate(run, journal, 10 * (number + 1), held, train, skill, liking, heads, seed)
    if status:
        journal.write(ev.Ended(step=10 * len(skills), status=status))
    return run


def evaluate(run: Path, journal: Journal, step: int, held, train, skill, liking=0.0, heads=1, seed=0) -> None:
    made = rewards(held, step + seed, skill, liking, heads)
    journal.write(ev.Evaluated(step=step, loss=0.6, extra={"accuracy": float((made.chosen > made.rejected)[:, 0].mean())}))
    journal.write(gap_arrays.save(run, step, made, rewards(train, step + 7, skill + 0.5, liking, heads)))


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    return run_of(tmp_path_factory.mktemp("plain"))


def trace(figure: dict, uid: str) -> dict:
    return next(trace for trace in figure["data"] if trace.get("uid") == uid)


# ---- what it shows


def test_the_histogram_moves_with_the_step_and_its_axis_stays(plain):
    panel, seen = RewardGap(plain), []
    for step in (10, 20, 30):
        panel.state.step = step
        made = rewards(rows(), step, {10: 0.0, 20: 0.6, 30: 1.2}[step])
        gap = (made.chosen - made.rejected)[:, 0]
        bars = trace(panel.figure(), "gaps")
        width = bars["x"][1] - bars["x"][0]
        edges = np.append(bars["x"] - width / 2, bars["x"][-1] + width / 2)
        assert bars["y"].tolist() == np.histogram(gap, edges)[0].tolist() and bars["y"].sum() == COUNT
        assert any(abs(edge) < 1e-9 for edge in edges), "0 parts two bars"
        assert [bool(shape) for shape in bars["marker"]["pattern"]["shape"]] == (edges[1:] < 1e-9).tolist(), "the wrong way is striped"
        assert f"{100 * (gap > 0).mean():.1f} % chosen ahead" in str(panel.figure()["layout"]["annotations"])
        seen.append((edges.tolist(), bars["y"].tolist(), "first" in [one.get("uid") for one in panel.figure()["data"]]))
    assert seen[0][0] == seen[1][0] == seen[2][0] and len({str(each[1]) for each in seen}) == 3
    assert [each[2] for each in seen] == [False, True, True], "the first step is drawn behind the others"


def test_accuracy_of_training_and_of_held_out_pairs_over_steps(plain):
    drawn = RewardGap(plain).figure()
    held = trace(drawn, "accuracy")
    journal = wb.attach(plain).history
    journal.refresh()
    assert held["x"].tolist() == [10, 20, 30]
    assert held["y"] == pytest.approx([100 * event.extra["accuracy"] for event in journal.evaluations])
    train = trace(drawn, "train-accuracy")
    assert train["y"][-1] == pytest.approx(100 * np.mean([0.5 + step / 100 for step in range(21, 31)])), "the mean of ten steps"


def test_categories_have_wilson_s_interval_and_are_picked_alone(plain):
    panel = RewardGap(plain)
    table = panel.gaps
    look = panel.seen()
    assert look.column == "kind" and {each.name for each in look.categories} == set(KINDS)
    for each in look.categories:
        right = (table["gap"][table["kind"] == each.name] > 0).to_numpy()
        told = scipy.stats.binomtest(int(right.sum()), len(right)).proportion_ci(method="wilson")
        assert (each.right, each.low, each.high) == pytest.approx((right.mean(), *told), abs=1e-6)
    assert [each.right for each in look.categories] == sorted((each.right for each in look.categories), reverse=True)
    panel.actions.category("vague")
    assert set(panel.gaps["kind"]) == {"vague"} and len(panel.gaps) == 20 and "where kind is vague" in panel.summary().text
    panel.actions.by("flipped")
    assert len(panel.gaps) == COUNT and {each.name for each in panel.seen().categories} == {"flipped", "not flipped"}


def test_pairs_of_a_bin_the_suspicious_and_a_point_are_read(plain):
    panel = RewardGap(plain)
    lowest = panel.gaps.sort_values("gap").head(6)
    assert panel.seen().frame["prompt"].iloc[panel.seen().picked].tolist() == lowest["prompt"].tolist(), "a tenth of 60"
    assert panel.read["prompt"] == lowest["prompt"].iloc[0]
    bars = trace(panel.figure(), "gaps")
    at = int(np.argmax(bars["y"]))
    panel.actions.bin(at)
    inside = panel.gaps[panel.gaps["gap"].between(panel.state.low, panel.state.high, inclusive="left")]
    assert len(panel.seen().picked) == len(inside) == bars["y"][at]
    panel.actions.turn(1)
    assert panel.state.place == 1
    panel.actions.read(17)
    assert panel.read["prompt"] == panel.gaps["prompt"].iloc[17]
    shapes = [shape for shape in panel.figure()["layout"]["shapes"] if shape["type"] == "rect"]
    assert len(shapes) == 1 and (shapes[0]["x0"], shapes[0]["x1"]) == (panel.state.low, panel.state.high)


def test_training_pairs_are_those_drawn_since_the_evaluation_before(plain):
    panel = RewardGap(plain)
    panel.actions.part("train")
    made = rewards(rows(40, 99), 37, 1.7)
    assert panel.gaps["gap"].to_numpy() == pytest.approx((made.chosen - made.rejected)[:, 0], abs=1e-6)
    assert "training pairs drawn since" in panel.summary().text and "drawn since" in panel.figure()["layout"]["annotations"][0]["text"]


def test_criteria_are_mixed_by_weights(tmp_path):
    panel = RewardGap(run_of(tmp_path, heads=2))
    made = rewards(rows(), 30, 1.2, heads=2)
    gaps = made.chosen - made.rejected
    assert panel.gaps["gap"].to_numpy() == pytest.approx(gaps.mean(1), abs=1e-6)
    panel.actions.weigh("harmless", 0.25)
    assert panel.gaps["gap"].to_numpy() == pytest.approx((gaps[:, 0] + 0.25 * gaps[:, 1]) / 1.25, abs=1e-6)
    assert same_table(panel)


def test_several_runs_are_an_ensemble(tmp_path):
    folders = [run_of(tmp_path, f"seed{seed}", seed=1000 * seed) for seed in (0, 1, 2)]
    panel = RewardGap(folders)
    each = [RewardGap(folder).gaps.drop(columns="row") for folder in folders]
    told = together(each)
    assert panel.gaps["gap"].to_numpy() == pytest.approx(told["gap"].to_numpy(), abs=1e-6)
    assert panel.gaps["spread"].to_numpy() == pytest.approx(told["spread"].to_numpy(), abs=1e-6)
    assert same_table(panel) and "± " in panel.extra().children[0].value
    assert sum(uid.startswith("member-") for uid in uids(panel.figure())) == 3
    other = run_of(tmp_path, "other", held=rows(seed=5))
    assert "holds out other pairs" in RewardGap([folders[0], other]).summary().text


def uids(figure: dict) -> list[str]:
    return [one.get("uid", "") for one in figure["data"]]


def test_implicit_rewards_stand_chosen_rejected_and_margin_together(tmp_path):
    panel = RewardGap(run_of(tmp_path, metrics={"rewards/chosen": -0.4, "rewards/rejected": -1.5}))
    drawn = panel.figure()
    assert [trace(drawn, f"implicit-{name}")["y"][-1] for name in ("chosen", "rejected", "margin")] == pytest.approx([-0.4, -1.5, 1.1])
    assert panel.summary().kind == "warn" and "both replies have become less likely" in panel.summary().text
    fine = RewardGap(run_of(tmp_path, "fine", metrics={"rewards/chosen": 0.4, "rewards/rejected": -1.5}))
    assert "less likely" not in fine.summary().text


# ---- the sentence


@pytest.mark.parametrize(("liking", "words"), [(0.0, "No length bias shows"), (0.3, "likes longer replies"), (-0.3, "likes shorter")])
def test_the_sentence_says_a_length_bias_and_only_where_one_is(tmp_path, liking, words):
    panel = RewardGap(run_of(tmp_path, liking=liking, held=rows(200)))
    assert words in panel.summary().text and (panel.summary().kind == "warn") == (liking != 0)
    assert (trace(panel.figure(), "length-line")["line"]["color"] == "var(--wb-orange)") == (liking != 0)


def test_the_sentence_says_that_pairs_are_learned_by_heart(tmp_path):
    panel = RewardGap(run_of(tmp_path, skills=(2.5, 1.0, 0.0)))
    assert "learns the pairs by heart" in panel.summary().text and "at step 10" in panel.summary().text
    assert "by heart" not in RewardGap(run_of(tmp_path, "fine")).summary().text


def test_a_run_without_gaps_yet_says_so_and_shows_them_when_they_come(tmp_path):
    folder = run_of(tmp_path, skills=(), status="")
    panel = RewardGap(folder)
    assert panel.summary().kind == "idle" and panel.figure()["data"] == [] and "first evaluation" not in panel.code()
    evaluate(folder, Journal(folder), 10, rows(), rows(40, 99), 1.0)
    panel.look()
    assert "60 pairs" in panel.summary().text


def test_a_run_that_kept_no_gaps_is_scored_by_its_result(tmp_path):
    from tests.runs import tools
    from workbench.town import datasets

    recipe = wb.Recipe(model="town-small", data=datasets.rows("preferences")[:40], objective="reward", steps=1, batch_size=4, heldout=0.5,
                       sample_prompts=0, max_length=64)
    folder = tools.here(recipe, tmp_path).folder
    kept = RewardGap(folder).gaps
    for path in (folder / "arrays").iterdir():
        path.unlink()
    panel = RewardGap(folder)
    assert panel.gaps["gap"].to_numpy() == pytest.approx(kept["gap"].to_numpy(), abs=1e-4) and len(kept) == 20
    assert "reward_gaps" in panel.code() and same_table(panel)


def test_nothing_given_and_what_cannot_be_opened_are_said(tmp_path):
    assert RewardGap().summary().kind == "idle" and "No run picked" in RewardGap().figure()["layout"]["annotations"][0]["text"]
    bad = RewardGap(tmp_path / "nowhere")
    with pytest.raises(wb.WorkbenchError):
        bad.look()
    assert bad.summary().kind == "warn" and str(tmp_path / "nowhere") in bad.summary().text
    assert "gap" in RewardGap(pd.DataFrame({"loss": [1.0]})).summary().text
    with pytest.raises(wb.DataError, match="keeps no flags"):
        RewardGap(table_of()).toggle_flag()


def table_of() -> pd.DataFrame:
    made, told = rewards(rows(), 3, 1.0), pd.DataFrame(rows())
    return pd.DataFrame({"prompt": told["prompt"], "chosen_text": told["chosen"], "rejected_text": told["rejected"], "kind": told["kind"],
                         "chosen": made.chosen[:, 0], "rejected": made.rejected[:, 0], "gap": (made.chosen - made.rejected)[:, 0]})


def test_a_table_of_gaps_is_shown_without_steps():
    panel = RewardGap(table_of())
    assert "accuracy" not in uids(panel.figure()) and "60 pairs" in panel.summary().text and not panel.summary().text.startswith("Step")
    assert panel.gaps["gap"].to_numpy() == pytest.approx(table_of()["gap"].to_numpy())


# ---- flags and the next run


def test_a_flag_survives_and_its_pair_leaves_the_next_run(tmp_path):
    folder = run_of(tmp_path)
    panel = RewardGap(folder)
    suspect = panel.read
    panel.actions.flag()
    panel.actions.part("train")
    in_training = panel.read
    panel.actions.flag()
    again = RewardGap(folder)
    again.actions.show("flagged")
    assert [again.read["prompt"], len(again.seen().picked)] == [suspect["prompt"], 1] and "1 is flagged" in again.summary().text
    left = again.rows_without_flagged()
    assert left.num_rows == 39 and in_training["chosen_text"] not in [
        row["chosen"] for row in left.to_pylist() if row["prompt"] == in_training["prompt"]]
    given = {}
    exec(again.code(), given)
    following = prepare(given["recipe"], tmp_path / "runs", "next")
    kept = sources.kept(following / "data" / "heldout.arrow")
    assert kept.num_rows == COUNT - 1 and suspect["prompt"] not in kept["prompt"].to_pylist()
    assert sources.kept(following / "data" / "train.arrow").num_rows == 39
    again.actions.flag()
    assert len(Flags(folder)) == 1 and "are flagged" not in again.summary().text


def same_table(panel: RewardGap) -> bool:
    """Whether the panel's code makes its table and the pairs it reads."""
    given: dict = {}
    exec(panel.code(), given)
    mine, read = panel.gaps, panel.seen().frame.iloc[panel.seen().picked]
    assert given["gaps"]["gap"].to_numpy() == pytest.approx(mine["gap"].to_numpy(), abs=1e-6)
    assert given["gaps"]["prompt"].tolist() == mine["prompt"].tolist()
    return given["read"]["prompt"].tolist() == read["prompt"].tolist()


def written(figure: dict) -> str:
    return json.dumps(figure, default=lambda value: value.tolist())


@pytest.mark.parametrize("changes", [
    {}, {"step": 10}, {"part": "train"}, {"category": "vague"}, {"column": "flipped", "category": "not flipped"},
    {"column": "longer reply", "category": "the rejected"}, {"show": "bin", "low": -1.0, "high": 0.5}], ids=" ".join)
def test_its_code_makes_the_same_table_and_its_state_survives_json(plain, changes):
    panel = RewardGap(plain)
    for name, value in changes.items():
        setattr(panel.state, name, value)
    assert same_table(panel)
    again = RewardGap.from_json(panel.state_json())
    assert written(again.figure()) == written(panel.figure())
    assert again.summary() == panel.summary() and again.state == panel.state


# ---- the widgets


def test_hostile_text_stays_text(tmp_path):
    held = [row | {"prompt": f"{HOSTILE}{n}", "chosen": HOSTILE, "rejected": HOSTILE + "b", "kind": HOSTILE}
            for n, row in enumerate(rows())]
    held[0]["kind"] = "other"
    panel = RewardGap(run_of(tmp_path, held=held))
    panel.actions.by("kind")
    shown = panel.static_html() + panel.extra().children[0].value + panel.extra().children[2].value + str(panel.figure()["layout"])
    assert "<img" not in shown and "<script" not in shown and "$x$" not in str(panel.figure()["layout"])
    assert "&lt;img" in panel.extra().children[0].value


def test_it_is_read_without_a_kernel_and_each_width_is_composed(plain):
    panel = RewardGap(plain)
    html = panel.static_html()
    assert "Reward gap at step 30" in html and "Question" in html and panel.summary().text.split(".")[0] in html
    for width, form in FORMS.items():
        drawn = panel.figure(width)
        assert drawn["layout"]["meta"]["composed_at_px"][0] == form.width and len(drawn["layout"]["meta"]["units"]) == 5


def test_a_slider_answers_within_a_frame_and_keeps_what_others_set(tmp_path):
    panel = RewardGap(run_of(tmp_path, heads=2, held=rows(300)))
    _ = panel.widget
    assert panel.actions.wait()
    spent = []
    for weight in (0.2, 0.4, 0.6, 0.8, 1.2):
        begun = time.thread_time()
        panel.made._weights["helpful"].value = weight
        spent.append(1000 * (time.thread_time() - begun))
    assert panel.state.weights == {"helpful": 1.2} and panel.actions.wait()
    assert sorted(spent)[2] < 5 * FEW_MS, spent  # of all three widths and on a shared core; the browser test holds it to a frame


def test_widgets_follow_and_are_followed(plain, tmp_path):
    selection = Selection()
    panel = RewardGap(plain, selection=selection)
    _ = panel.widget
    assert panel.actions.wait() and selection["run"] == {str(plain)}
    made = panel.made
    assert all(getattr(widget, "description", "x") or getattr(widget, "tooltip", "") for widget in descendants(panel.widget)
               if hasattr(widget, "description") and type(widget).__name__ not in ("HTML", "Progress"))
    made.step.slider.value = 1
    assert panel.state.step == 10 and "Step 10 of 30" in made.step.slider.description
    made.step.slider.value = 3
    assert panel.state.step == 0, "the last one is followed"
    made.show_pairs.value = "bin"
    made.bin.slider.value = int(np.argmax(trace(panel.figure(), "gaps")["y"]))
    assert len(panel.seen().picked) > 1 and not made.forth.disabled
    panel.actions.turn(1)
    assert made.pair.slider.value == 2
    panel.select()
    assert selection["examples"] == {int(panel.seen().ids[place]) for place in panel.seen().picked}
    selection.set("examples", {3, 4})
    assert panel.actions.wait() and panel.state.show == "picked" and len(panel.seen().picked) == 2 and made.show_pairs.value is None
    made.source.value = str(tmp_path / "nowhere")
    assert panel.actions.wait() and "nowhere" in "".join(getattr(widget, "value", "") for widget in descendants(panel.widget)
                                                         if type(widget).__name__ == "HTML")
    assert "60 pairs" in panel.summary().text and made.source.value.endswith("nowhere"), "the last good figure stays, and what was typed"
    made.source.value = panel.state.sources[0]
    assert panel.actions.wait() and not panel._errors


def test_a_live_run_is_followed(tmp_path):
    folder = run_of(tmp_path, skills=(0.5,), status="")
    panel = RewardGap(folder)
    _ = panel.widget
    assert panel.actions.wait() and panel.seen().step == 10
    evaluate(folder, Journal(folder), 20, rows(), rows(40, 99), 2.0)
    panel._watch()
    assert panel.actions.wait() and panel.seen().step == 20 and panel.made.step.slider.max == 2


def test_importing_it_loads_nothing_heavy():
    code = "import sys; from widgets import RewardGap; print(sorted({'torch', 'transformers', 'trl', 'datasets'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_run_without_gaps_says_how_it_stands(tmp_path):
    reward = wb.Recipe(model="town-small", objective="reward", data="town:preferences")
    stopped = RewardGap(policy_run(tmp_path / "stopped", made=reward, ended="stopped"))
    assert "The run kept none. Stopped at step 0" in stopped.summary().text and "run.resume()" in stopped.summary().text
    begun = RewardGap(policy_run(tmp_path / "begun", made=reward, living=True))
    assert "No gaps yet. " in begun.summary().text and "first evaluation" in begun.summary().text
    assert str(begun.book.run.status.sentence) in begun.summary().text
    other = RewardGap(policy_run(tmp_path / "ppo"))
    assert "is a run of the objective 'ppo', which learns from no pairs" in other.summary().text
