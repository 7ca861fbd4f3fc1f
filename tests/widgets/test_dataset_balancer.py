"""The dataset balancer without a browser: its numbers against rows really drawn, its code run, its sentence, its refusals, its widgets."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.frame.test_panel import Reader, descendants
from widgets import DatasetBalancer
from widgets.dataset_balancer.state import State
from workbench.data.mixture import Mixture
from workbench.data.profiles import Profile
from workbench.data.stages import Stages
from workbench.errors import DataError

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = "<img src=x onerror=alert(1)> $x$"


def questions(count: int, word: str = "bread", long: int = 1) -> list[dict]:
    return [{"question": f"Who bakes {word} {i}?", "answer": " ".join([f"Mira {i * 7 % 13}"] * (1 + i % (4 * long)))} for i in range(count)]


def texts(count: int) -> list[dict]:
    return [{"text": f"In month {i} the {'long ' * (i % 9)}fair of Orla was sunny."} for i in range(count)]


def words(text: str) -> int:
    return len(text.split())


def made(**more) -> DatasetBalancer:
    sources = {"chat": questions(400), "letters": questions(40, "cake", 3), "math": questions(120, "pie"), "books": texts(240)}
    return DatasetBalancer(sources, model=words, **more).measure()


def profile(lengths, rows: int | None = None, copies: float = 0.0, layout: str = "") -> Profile:
    found, counts = np.unique(lengths, return_counts=True)
    return Profile(rows or len(lengths), found, counts, copies, layout)


def counted(**more) -> DatasetBalancer:
    """Counts alone, with lengths that make the shares easy: 100 and 300 tokens a row."""
    return DatasetBalancer({"a": 9000, "b": 1000}, profiles={"a": profile([100], 9000), "b": profile([300], 1000)}, **more)


def trace(figure: dict, uid: str) -> dict:
    return next(trace for trace in figure["data"] if trace["uid"] == uid)


def test_nothing_heavy_is_needed_for_counts_and_no_widget_is_made() -> None:
    code = ("import sys, ipywidgets; from widgets import DatasetBalancer\n"
            "made = []; old = ipywidgets.Widget.__init__\n"
            "def noted(self, *a, **k): made.append(self); old(self, *a, **k)\n"
            "ipywidgets.Widget.__init__ = noted\n"
            "p = DatasetBalancer({'a': 900, 'b': 100}); p.figure('narrow'); p.summary(); p.code(); p.state_json(); p.static_html(); p.mixture\n"
            "print(len(made), *(m in sys.modules for m in ('torch', 'transformers', 'trl', 'datasets')))")
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert printed.split() == ["0", "False", "False", "False", "False"]


def test_shares_are_of_tokens_or_of_examples() -> None:
    panel = counted()
    natural = trace(panel.figure(), "natural")
    assert natural["x"] == pytest.approx([25.0, 75.0])  # 300 000 of 1 200 000 tokens, from below
    panel.state.by = "examples"
    assert trace(panel.figure(), "natural")["x"] == pytest.approx([10.0, 90.0])
    panel.state.rule = "equal"
    assert trace(panel.figure(), "mixed")["x"] == pytest.approx([50.0, 50.0])
    panel.state.by = "tokens"
    mixed = dict(zip(trace(panel.figure(), "mixed")["y"], trace(panel.figure(), "mixed")["x"], strict=True))
    assert mixed == pytest.approx({0: 75.0, 1: 25.0})  # as many rows of each, three times as long
    assert panel.mixture.token_shares({"a": 900_000, "b": 300_000}) == pytest.approx({"a": .25, "b": .75})


def test_a_budget_counts_tokens_or_examples() -> None:
    panel = counted(state=State(rule="equal", by="examples", budget=2000.0))
    assert panel.rows == 2000 and panel.look().found.epochs == pytest.approx({"a": 1000 / 9000, "b": 1.0})
    panel.state.by, panel.state.budget = "tokens", 2000.0 * 200
    assert panel.rows == 2000 == panel.mixture.examples(2000 * 200, {"a": 900_000, "b": 300_000})
    assert panel.look().found.tokens_drawn == pytest.approx(400_000)
    panel.state.budget = 0.0
    assert panel.rows == 10_000


@pytest.mark.parametrize("settings", [
    dict(), dict(rule="equal"), dict(rule="capped", cap=100), dict(temperature=3.0, multipliers={"letters": 2.5}),
    dict(rule="weights", weights={"chat": 5.0, "letters": 0.0}), dict(plain_share=0.25, rule="equal"),
    dict(stages=True, second=("letters", "books"), replay=0.2, first_share=0.5), dict(held_out=("math",), temperature=2.0),
])
def test_what_is_drawn_is_what_the_figure_says(settings: dict) -> None:
    panel = made(state=State(by="examples", budget=5000.0, **settings))
    found, dataset = panel.look().found, panel.choose()
    assert len(dataset) == 5000 == panel.rows
    come = Counter("books" if row["text"] else "letters" if "cake" in row["question"] else "math" if "pie" in row["question"] else "chat"
                   for row in dataset)
    for name in found.names:
        assert come[name] / 5000 == pytest.approx(found.shares[name], abs=2e-3)
        assert come[name] / found.rows[name] == pytest.approx(found.epochs[name], abs=2 / found.rows[name])
    assert set(come) <= set(found.names)


@pytest.mark.parametrize("settings", [
    dict(), dict(rule="capped", cap=100, temperature=2.0, multipliers={"letters": 2.5}), dict(rule="weights", weights={"chat": 5.0}),
    dict(plain_share=0.25), dict(held_out=("questions",), plain_share=None), dict(held_out=("math",), rule="equal"),
    dict(stages=True, second=("books",), replay=0.3, temperature=1.7), dict(stages=True, second=("books", "math"), held_out=("letters",)),
])
def test_the_code_makes_the_same_rows(settings: dict) -> None:
    state = State(by="examples", budget=300.0, tasks={"questions": ["chat", "math"]} if "questions" in settings.get("held_out", ()) else {}, **settings)
    panel = made(state=state)
    names = {"sources": panel.base.sources}
    exec(panel.code(), names)
    assert type(names["mixture"]) is type(panel.mixture) and names["mixture"].rates == panel.mixture.rates
    assert names["dataset"].to_list() == panel.choose().to_list()


def test_code_of_files_needs_nothing_else() -> None:
    panel = DatasetBalancer({"facts": "town:facts", "talk": "town:conversations"})
    assert panel.summary().kind == "idle" and "wb.Mixture({'facts': 'town:facts', 'talk': 'town:conversations'})" in panel.code()
    names: dict = {}
    exec(panel.code(), names)
    assert names["mixture"] == panel.mixture


def test_state_survives_json_and_rows_in_memory_are_asked_for() -> None:
    panel = made(state=State(rule="capped", cap=70, multipliers={"math": 2.0}, second=("math",), held_out=("letters",), tasks={"t": ["chat"]}))
    text = panel.state_json()
    with pytest.raises(ValueError, match="chat, letters, math, books were in memory"):
        DatasetBalancer.from_json(text)
    again = DatasetBalancer.from_json(text, sources=panel.base.sources, model=words).measure()
    assert again.state == panel.state and again.summary() == panel.summary() and again.mixture.rates == panel.mixture.rates
    json.loads(text)


def test_a_mixture_is_taken_over_with_its_settings() -> None:
    mixture = Mixture({"chat": questions(300), "books": texts(30)}, cap=100, temperature=2.0, multipliers={"books": 3}, pretraining_share=0.2,
                      pretraining=("books",))
    panel = DatasetBalancer(mixture, model=words).measure()
    assert panel.mixture.rates == mixture.rates and panel.mixture.rates["books"] == pytest.approx(0.2)


def test_stages_share_and_replay() -> None:
    panel = made(state=State(stages=True, second=("books",), first_share=0.75, replay=0.2, by="examples", budget=1000.0))
    assert isinstance(panel.mixture, Stages) and [rows for _, rows in panel.mixture.stages] == [750, 250]
    found = panel.look().found
    assert found.stages[0]["books"] == 0 and found.stages[1]["books"] == pytest.approx(0.8)
    assert found.shares["books"] == pytest.approx(0.25 * 0.8) and found.epochs == pytest.approx(panel.mixture.epochs())
    assert trace(panel.figure(), "stage-2")["x"] == pytest.approx([100 * found.stages[1][name] for name in found.names[::-1]])
    panel.state.second = ()
    assert panel.summary().kind == "warn" and "No source is in stage 2" in panel.summary().text


def test_a_whole_task_leaves_together() -> None:
    panel = made(tasks={"questions": ["chat", "letters"]})
    panel.actions.set_source("chat", "out", True)
    assert panel.look().found.names == ["math", "books"] and set(panel.look().found.tests) == {"chat", "letters"}
    assert "Held out to test on: questions." in panel.summary().text
    panel.actions.set_source("letters", "out", False)
    assert panel.state.held_out == () and len(panel.look().found.names) == 4


def test_the_sentence_names_the_worst_first() -> None:
    panel = counted(state=State(by="examples", budget=20_000.0, rule="equal"))
    assert panel.summary().kind == "warn"
    assert panel.summary().text.startswith("b is 10 % of examples but 50 % of training, so each row is seen 10 times.")
    panel.state.budget = 2000.0
    panel.state.max_length = 256
    assert panel.summary().text.startswith("50 % of the examples are longer than 256 tokens and lose their end.")
    panel.state.max_length = 512
    said = panel.summary()
    assert said.kind == "ok" and said.text.startswith("a is 90 % of examples but 50 % of training; each row of it is seen 0.1 times.")
    panel.state.rule = "proportional"
    assert panel.summary().text.startswith("Every source keeps its natural share: a, the largest, is 90 % of examples.")
    panel.measuring.found["b"] = profile([300], 1000, copies=0.3)
    assert panel.summary().text.startswith("30 % of the rows of b nearly copy another one") and panel.summary().kind == "warn"


def test_waste_is_that_of_the_engine() -> None:
    panel = made(state=State(max_length=16, batch_size=4, rule="equal"))
    found = panel.look().found
    kept, wasted = trace(panel.figure(), "kept"), trace(panel.figure(), "wasted")
    assert wasted["x"] == pytest.approx([100 * found.waste["packing_waste"], 100 * found.waste["padding_share"]])
    assert [a + b for a, b in zip(kept["x"], wasted["x"], strict=True)] == pytest.approx([100, 100])
    bars = trace(panel.figure(), "lengths")
    assert sum(bars["y"]) == pytest.approx(100)
    over = [height for height, stripes in zip(bars["y"], bars["marker"]["pattern"]["shape"], strict=True) if stripes]
    assert sum(over) == pytest.approx(100 * found.waste["truncated_share"], abs=8)  # a bin may hold lengths of both sides


def test_many_sources_keep_their_shares_and_the_smallest_share_a_line() -> None:
    panel = DatasetBalancer({f"s{k:03}": 10 * (k + 1) for k in range(100)})
    lines = trace(panel.figure(), "natural")["x"]
    assert len(lines) == 60 and sum(lines) == pytest.approx(100) and "41 others" in panel.figure()["layout"]["yaxis"]["ticktext"]


def test_without_lengths_shares_count_examples_and_say_so() -> None:
    panel = DatasetBalancer({"a": 900, "b": 100})
    assert panel.look().found.by == "examples" and "Lengths are not measured" in panel.summary().text
    assert "not measured yet" in json.dumps(panel.figure()["layout"]["annotations"])
    assert [unit["name"] for unit in panel.figure()["layout"]["meta"]["units"].values()] == ["Share of training", "Times repeated"]
    with pytest.raises(DataError, match="is a count"):
        panel.choose()


def test_names_and_rows_stay_text() -> None:
    panel = DatasetBalancer({HOSTILE: [{"text": HOSTILE}] * 20, "b": texts(30)}, model=words, tasks={HOSTILE: [HOSTILE]}).measure()
    read = Reader(panel.static_html())
    assert read.tags.isdisjoint({"script", "img"}) and not read.handlers and HOSTILE in read.text
    layout = panel.figure()["layout"]
    shown = " ".join([*layout["yaxis"]["ticktext"], *(note["text"] for note in layout["annotations"])])
    assert "<img" not in shown and "$x$" not in shown
    panel.widget
    assert panel.actions.later.wait()
    assert "<img" not in panel.made.preview.value and "&lt;img" in panel.made.preview.value


def test_a_picked_source_shows_its_own_lengths_and_rows() -> None:
    panel = made()
    panel.selection.set("source", {"letters"})
    found = panel.look().found
    assert trace(panel.figure(), "picked")["y"].max() == pytest.approx(100 * found.bins.picked.max())
    assert any(words.startswith("<b>letters") for words in panel.figure()["layout"]["yaxis"]["ticktext"])
    panel.settle()
    assert {name for name, _, _ in panel.preview} == {"letters"} and all("cake" in text for _, _, text in panel.preview)


# ---- the live widget

@pytest.fixture
def shown() -> DatasetBalancer:
    panel = made()
    panel.widget
    assert panel.measuring.wait(30) and panel.actions.later.wait()
    return panel


def test_sliders_set_the_state_and_the_figure_follows_at_once(shown: DatasetBalancer) -> None:
    shown.made.rule.value = "capped"
    assert shown.state.cap == 240, "a cap that cuts nothing begins at the source in the middle"
    shown.made.cap.value = 100.0
    assert shown.state.cap == 100 and not shown.made.cap.disabled
    found = shown.look().found
    assert found.shares["books"] != found.natural["books"]
    assert list(trace(shown.live.figures["wide"], "mixed")["x"]) == pytest.approx([100 * found.shares[name] for name in found.names[::-1]])
    shown.made.temperature.value = 2.0
    shown.made.plain.value = 10.0
    shown.made.max_length.value = 32.0
    assert (shown.state.temperature, shown.state.plain_share, shown.state.max_length) == (2.0, 0.1, 32)
    assert shown.mixture.rates["books"] == pytest.approx(0.1)
    foot = shown.widget.children[-1]
    assert foot.sentence == shown.summary().text == shown.live.summary and "temperature=2.0" in foot.code


def test_changing_what_counts_keeps_the_budget(shown: DatasetBalancer) -> None:
    shown.made.budget.value = 2000.0
    rows = shown.rows
    shown.made.by.value = "examples"
    assert shown.state.budget == rows == shown.rows and shown.made.budget.description == "Budget, examples"


def test_the_table_sets_factors_stages_and_tasks(shown: DatasetBalancer) -> None:
    table = shown.made.table
    table._heard(table, {"kind": "set", "name": "letters", "field": "value", "value": 2.5}, [])
    assert shown.state.multipliers == {"letters": 2.5} and next(r for r in table.rows if r["name"] == "letters")["value"] == 2.5
    shown.made.stages.value = True
    assert shown.state.second == ("books",) and table.stages
    table._heard(table, {"kind": "set", "name": "math", "field": "stage", "value": 2}, [])
    assert set(shown.state.second) == {"books", "math"}
    table._heard(table, {"kind": "set", "name": "chat", "field": "out", "value": True}, [])
    assert shown.state.held_out == ("chat",) and next(r for r in table.rows if r["name"] == "chat")["out"]
    table._heard(table, {"kind": "pick", "name": "letters"}, [])
    assert shown.selection["source"] == {"letters"} and table.picked == ["letters"]
    before = dict(shown.state.multipliers)
    for wrong in ({"name": "nobody"}, {"field": "value", "value": -1}, {"field": "value", "value": "2"}, {"field": "stage", "value": 3}):
        table._heard(table, {"kind": "set", "name": "math", "field": "value", "value": 2} | wrong, [])
    assert shown.state.multipliers == before


def test_what_cannot_be_is_said_beside_its_control_and_taken_back(shown: DatasetBalancer) -> None:
    before = trace(shown.live.figures["wide"], "mixed")["x"]
    for name in ("chat", "letters", "math"):
        shown.actions.set_source(name, "out", True)
    good = trace(shown.live.figures["wide"], "mixed")["x"]
    shown.actions.set_source("books", "out", True)
    alerts = [w for w in descendants(shown.widget) if 'role="alert"' in str(getattr(w, "value", ""))]
    assert len(alerts) == 1 and "Every source would be held out" in alerts[0].value and "wb-bad" in shown.made.table._dom_classes
    assert list(trace(shown.live.figures["wide"], "mixed")["x"]) == list(good) != list(before)
    box = next(w for w in descendants(shown.widget) if "wb-error-box" in getattr(w, "_dom_classes", ()))
    box.children[1].click()
    assert shown.refusal == "" and set(shown.state.held_out) == {"chat", "letters", "math"}
    assert not [w for w in descendants(shown.widget) if 'role="alert"' in str(getattr(w, "value", ""))]


def test_sources_are_measured_in_the_background_and_a_bad_one_is_named(tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"question": "Who?", "answer": "Mira"}\n{"question": oh\n')
    panel = DatasetBalancer({"good": questions(50), "bad": str(bad)}, model=words)
    panel.widget
    assert panel.measuring.wait(30) and panel.actions.later.wait()
    assert panel.look().found.names == ["good"] and panel.look().found.tokens
    alert = next(w.value for w in descendants(panel.widget) if 'role="alert"' in str(getattr(w, "value", "")))
    assert "bad cannot be read" in alert and "line 2" in alert
    box = next(w for w in descendants(panel.widget) if "wb-error-box" in getattr(w, "_dom_classes", ()))
    box.children[1].click()
    assert panel.state.left_out == ("bad",) and [row["name"] for row in panel.made.table.rows] == ["good"]
    assert "bad" not in panel.code()
    with pytest.raises(DataError, match="line 2"):
        DatasetBalancer({"bad": str(bad)}, model=words).measure()


def test_cancel_keeps_what_was_measured_and_the_rest_can_follow() -> None:
    panel = DatasetBalancer({"a": questions(30), "b": questions(60, "pie")}, model=words)
    seen = []

    def said(what: str, done: int, total: int) -> None:
        seen.append(what)
        if what == "Counting tokens of b":
            panel.measuring.stop()

    panel._measuring_said = said
    panel.widget
    assert panel.measuring.wait(30) and panel.actions.later.wait()
    assert set(panel.measuring.found) <= {"a", "b"} and "a" in panel.measuring.found and "Looking for copies in a" not in seen
    assert panel.made.measure.layout.display == "" and panel.measuring.missing(["a", "b"])
    del panel._measuring_said
    panel.made.measure.click()
    assert panel.measuring.wait(30) and panel.actions.later.wait()
    assert panel.measuring.missing(["a", "b"]) == [] and panel.made.measure.layout.display == "none"
    assert panel.look().found.by == "tokens"


def test_use_this_mixture_draws_the_rows(shown: DatasetBalancer) -> None:
    shown.made.temperature.value = 3.0
    shown.made.use.click()
    for thread in [thread for thread in threading.enumerate() if thread.name == "balancer drawing"]:
        thread.join(20)
    assert len(shown.dataset) == shown.rows and shown.chosen.rates == shown.mixture.rates
    assert "panel.chosen" in shown.made.drawn.value
    import workbench as wb

    assert wb.Recipe(data=shown.chosen, steps=5).data is shown.chosen


def test_a_click_on_a_line_picks_its_source(shown: DatasetBalancer) -> None:
    names = shown.live.figures["wide"]["layout"]["yaxis"]["ticktext"]
    shown._clicked({"type": "click", "trace": "mixed", "index": 1, "x": 3.0, "y": 1})
    assert shown.selection["source"] == {names[1]} and shown.made.table.picked == [names[1]]
    shown._clicked({"type": "click", "trace": "lengths", "index": 1, "x": 3.0, "y": 1})
    assert shown.selection["source"] == {names[1]}
    shown._clicked({"type": "click", "trace": "epochs", "index": 1, "x": 3.0, "y": 1})
    assert shown.selection["source"] == frozenset()
