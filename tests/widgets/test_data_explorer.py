"""The data explorer without a browser: what is planted is found and said, the code gives the same rows, counts are those of plain loops."""

from __future__ import annotations

import json
import re
import time
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pytest

import workbench as wb
from widgets import DataExplorer
from widgets.data_explorer import view
from widgets.data_explorer.findings import Findings
from widgets.data_explorer.state import State, Where
from widgets.frame.selection import Selection
from workbench.data import duplicates, filters
from workbench.errors import DataError

NASTY = "<img src=x onerror='alert(1)'> $x$ <b>&amp;"


def planted() -> tuple[list[dict], list[dict]]:
    """200 rows with a leak at 31, three alike at 44, 150 and 199, an e-mail at 77, five long rows at 60 to 64, markup at 90."""
    rows = [{"question": row["question"], "answer": row["answer"]} for row in wb.load_rows("town:instructions").to_pylist()[:200]]
    test = [{"question": row["question"], "answer": row["answer"]} for row in wb.load_rows("town:heldout").to_pylist()[:40]]
    rows[31] = dict(test[7])
    for place in (44, 150, 199):
        rows[place] = {"question": "Tell me who the baker of the upper market in Orla is, please.",
                       "answer": "It is Mira, as everybody in the upper market of the town knows" + (" well." if place == 199 else ".")}
    for place in range(60, 65):
        rows[place]["answer"] += " And so on, she said." * (40 + place)
    rows[77]["answer"] = "Write to mira.baker@gmail.com for the price."
    rows[90]["answer"] = NASTY
    return rows, test


@pytest.fixture(scope="module")
def given() -> tuple[list[dict], list[dict]]:
    return planted()


@pytest.fixture
def explorer(given) -> DataExplorer:
    return DataExplorer(given[0], test=given[1]).look()


# ---- what is found

def test_rows_of_one_wording_are_not_called_rows_of_the_test_set():
    """They share a long run of words by nature; of thirty only two are in the test set word for word."""
    say = "Read this advertisement and tell me in one line what is offered there and at what price: {} for {} coins."
    rows = [{"question": say.format(f"thing {n}", n), "answer": f"{n} coins"} for n in range(30)]
    test = [dict(rows[4]), dict(rows[9]), *({"question": say.format(f"ware {n}", n), "answer": f"{n} coins"} for n in range(3))]
    said = DataExplorer(rows, test=test).look().summary()
    assert said.kind == "warn" and said.text.startswith("30 rows share 13 words in a row with the test set, 2 rows are in it whole, so a score on it would flatter")


def test_the_sentence_names_the_leak_first_and_says_when_it_is_gone(explorer: DataExplorer) -> None:
    said = explorer.summary()
    assert (said.kind, said.text) == ("warn", "1 row is also in the test set, so a score on it would flatter; 1 row holds private details "
                                      "(e-mail); 2 rows are extra copies of another row. 200 rows.")
    for show, left in (("leaks", 199), ("private", 198), ("copies", 196)):
        explorer.state.where = Where(show=show)
        explorer.drop()
        assert explorer.kept.num_rows == left
    explorer.actions.clear()
    said = explorer.summary()
    assert said.kind == "ok" and said.text.startswith("196 of 200 rows kept. No leak into the test set")
    assert explorer.dropped == [31, 77, 150, 199]
    assert repr(explorer).startswith("Data explorer: 196 of 200 rows kept")


@pytest.mark.parametrize(("show", "rows"), [("leaks", [31]), ("private", [77]), ("copies", [150, 199]), ("all", range(200)),
                                            ("flagged", []), ("suspicious", []), ("kept", range(200)), ("dropped", [])])
def test_each_show_has_the_rows_that_were_planted(explorer: DataExplorer, show: str, rows) -> None:
    explorer.state.where.show = show
    assert explorer.shown == list(rows)


def test_a_panel_that_is_not_shown_looks_before_it_answers(given) -> None:
    assert DataExplorer(given[0], test=given[1]).summary().text.startswith("1 row is also in the test set")


def test_without_a_test_set_nothing_is_claimed_of_leaks() -> None:
    rows = [{"text": f"Row number {number} speaks of {word}."} for number, word in enumerate("apples pears plums figs".split())]
    said = DataExplorer(rows).summary().text
    assert "leak" not in said and "no copy" in said


def test_a_short_test_row_that_was_trained_on_is_a_leak_and_what_is_hardly_compared_is_said() -> None:
    rows = [{"question": f"Who keeps the mill number {number} of the long valley by the sea?", "answer": f"Mira {number}"}
            for number in range(30)]
    short = {"question": "Who bakes in Orla?", "answer": "Mira."}
    clean = DataExplorer(rows, test=[short, {"question": "?", "answer": "!"}]).summary()
    assert clean.kind == "ok" and "No leak into the test set" in clean.text
    assert clean.text.endswith("1 test row has fewer than 8 words and was compared with whole rows only. "
                               "1 test row has no words and was not compared.")
    leaking = DataExplorer([*rows, {"question": "who bakes in  ORLA", "answer": "Mira"}], test=[short])
    leaking.state.where = Where(show="leaks")
    assert leaking.summary().text.startswith("1 row is also in the test set") and leaking.shown == [30]


def test_the_threshold_joins_what_agrees_enough(explorer: DataExplorer) -> None:
    for threshold in (0.5, 0.8, 0.97):
        explorer.state.where = Where(show="copies", threshold=threshold)
        assert explorer.shown == duplicates.extra_rows(duplicates.near(explorer.findings.texts, threshold=threshold)).tolist()


# ---- linked histograms

def counted(picture, uid: str) -> list[int]:
    trace = next(trace for trace in picture["data"] if trace["uid"] == uid)
    return [int(re.sub(r"\D", "", words.split(": ")[1])) for words in trace["customdata"]]


def test_a_brush_over_one_histogram_leaves_its_rows_in_all_of_them(explorer: DataExplorer) -> None:
    words = filters.measures(explorer.findings.texts)["words"].to_numpy()
    explorer._brushed({"type": "brush", "axis": "x", "range": [37.2, 40.3]})
    (name, (low, high)), = explorer.state.where.ranges.items()
    assert name == "words" and high is None and explorer.shown == np.flatnonzero(words >= low).tolist() == [60, 61, 62, 63, 64]
    figure = explorer.figure()
    letters = explorer.findings.measures["letter_share"]
    bins = explorer.bins_of("letter_share")
    expected = [int(((letters[60:65] >= a) & (letters[60:65] < b)).sum()) for a, b in zip(bins.edges, bins.edges[1:])]
    assert counted(figure, "kept2") == expected and sum(counted(figure, "kept")) == 5
    assert sum(counted(figure, "every")) == 200
    explorer.drop()
    figure = explorer.figure()
    assert sum(counted(figure, "dropped")) == 5 and sum(counted(figure, "kept")) == 0
    explorer._brushed({"type": "brush", "axis": "", "range": None})
    assert explorer.state.where.everything and sum(counted(explorer.figure(), "kept")) == 195


@pytest.mark.parametrize(("values", "whole"), [([1, 2, 3, 400], True), ([0.1, 0.5, 0.9], False), ([5, 5, 5], True), ([0.5], False),
                                               ([0.0, 0.0], False), ([-3.0, 4.0], False), ([1e-9, 2.0, 30.0], False)])
def test_every_value_is_in_one_bin_whose_label_is_not_that_of_its_neighbour(values, whole) -> None:
    bins = view.bins_of(np.array([*values, np.nan], float), whole)
    every = np.ones(len(values) + 1, bool)
    assert bins.counts(every).sum() == len(values) and (np.diff(bins.edges) > 0).all()
    for low in range(len(bins.edges) - 1):
        found = Findings(count=len(every), measures={"m": np.array([*values, np.nan])})
        ranged = view.mask(Where(ranges={"m": bins.bounds(low, low + 1)}), found)
        assert ranged.sum() == bins.counts(every)[low]
        assert bins.places(bins.bounds(low, low + 1)) == (low, low + 1)


def test_the_figure_is_the_same_at_every_width_and_says_its_units(explorer: DataExplorer) -> None:
    kept = {width: counted(explorer.figure(width), "kept") for width in ("wide", "medium", "narrow")}
    assert kept["wide"] == kept["medium"] == kept["narrow"]
    units = explorer.figure()["layout"]["meta"]["units"]
    named = [units[axis]["name"] for axis in ("yaxis", "yaxis2", "yaxis3", "yaxis4")]
    assert named == ["Length", "Letters", "Likeness to another row", "Loss"]
    assert "Name a run or a model" in json.dumps(explorer.figure()["layout"]["annotations"])


# ---- decisions

def test_drop_keep_and_flag_row_by_row_over_rules_and_back(explorer: DataExplorer) -> None:
    explorer.state.where = Where(show="copies")
    explorer.drop()
    explorer.actions.clear()
    explorer.state.cursor = 150
    explorer.actions.mark("keep")
    assert explorer.dropped == [199] and explorer.state.cursor == 151
    explorer.actions.mark("drop")
    explorer.actions.mark("flag")
    assert explorer.dropped == [151, 199] and explorer.flagged == [152]
    explorer.actions.mark("keep", (151,))
    explorer.actions.mark("flag", (152,))
    assert explorer.dropped == [199] and explorer.flagged == []
    for expected in ([199], [151, 199], [151, 199], [199], [150, 199], []):
        explorer.actions.undo()
        assert explorer.dropped == expected
    assert not explorer.actions.can_undo


def test_keeping_only_what_is_shown_drops_the_others(explorer: DataExplorer) -> None:
    explorer.state.where = Where(query="mira")
    explorer.actions.keep_only()
    expected = [row for row, text in enumerate(explorer.findings.texts) if "mira" in text.lower()]
    assert len(expected) > 3 and explorer.kept.to_pylist() == explorer.table.take(expected).to_pylist()


def test_dropping_everything_is_warned_of_and_refused(explorer: DataExplorer) -> None:
    explorer.drop(range(200))
    assert explorer.summary().kind == "warn" and "nothing is left to train on" in explorer.summary().text
    with pytest.raises(DataError, match="Every row is dropped"):
        explorer.kept


# ---- losses, scores, other panels

def test_the_losses_of_a_model_are_joined_and_the_code_finds_the_hardest(given) -> None:
    from workbench.evaluation.row_losses import row_losses

    rows = pa.Table.from_pylist(given[0][:40])
    explorer = DataExplorer(rows, model="town")
    explorer.state.where = Where(show="hardest")
    explorer.state.sort, explorer.state.descending = "loss", True
    losses = row_losses("town", rows)["loss"]
    assert explorer.shown == losses.nlargest(20).index.tolist()
    explorer.drop(explorer.shown[:2])
    names: dict = {"rows": rows}
    exec(explorer.code(), names)
    assert names["shown"].tolist() == explorer.shown and names["kept"].equals(explorer.kept) and names["kept"].num_rows == 38


def test_rows_that_cannot_be_scored_leave_the_rest_and_say_why() -> None:
    explorer = DataExplorer([{"a": f"text {number}", "b": "more"} for number in range(30)], model="town").look()
    assert "no layout known" in explorer.findings.wrong["losses"] and explorer.findings.pairs is not None
    assert "could not be scored" in json.dumps(explorer.figure()["layout"]["annotations"])


def test_scores_of_a_judge_and_numeric_columns_are_measures(given) -> None:
    rows = [dict(row, price=number % 7) for number, row in enumerate(given[0])]
    explorer = DataExplorer(rows, quality=np.linspace(1, 5, 200))
    assert explorer.measure_of("quality") == "quality" and "price" in explorer.findings.qualities
    explorer.state.where.ranges = {"quality": [4.0, None], "price": [None, 2.0]}
    expected = [row for row in range(200) if np.linspace(1, 5, 200)[row] >= 4 and row % 7 < 2]
    assert explorer.shown == expected
    names = {"rows": explorer.table, "quality": np.linspace(1, 5, 200)}
    exec(explorer.code(), names)
    assert names["shown"].tolist() == expected
    assert "There are 3 quality scores for 200 rows" in DataExplorer(given[0], quality=[1, 2, 3]).look().findings.wrong["measures"]


def test_examples_picked_in_another_panel_are_shown_and_a_run_is_offered(given) -> None:
    linked = Selection()
    explorer = DataExplorer(given[0], selection=linked).look()
    assert explorer.widget is not None
    linked.set("examples", {5, 90, 4_000, "other"})
    assert explorer.errands.wait() and explorer.shown == [5, 90] and explorer.state.where.show == "picked"
    explorer.actions.mark("pick")
    assert linked["examples"] == {90}
    linked.set("run", {"runs/one"})
    assert explorer.errands.wait() and explorer.made.model.value == "runs/one"


def test_a_source_picked_in_another_panel_leaves_its_rows() -> None:
    rows = [{"text": f"Row number {number} of all.", "source": ("news", "mail", "code")[number % 3]} for number in range(30)]
    linked = Selection()
    explorer = DataExplorer(rows, selection=linked).look()
    assert explorer.widget is not None
    linked.set("source", {"mail", "code"})
    assert explorer.errands.wait() and explorer.shown == [row for row in range(30) if row % 3]
    explorer.drop()
    names: dict = {"rows": explorer.table}
    exec(explorer.code(), names)
    assert names["kept"].equals(explorer.kept) and set(explorer.kept["source"].to_pylist()) == {"news"}


# ---- the live widget

def test_a_look_that_is_cancelled_says_so_and_keeps_what_was_found(given) -> None:
    explorer = DataExplorer(given[0], test=given[1])
    explorer.looked = True
    assert explorer.widget is not None
    explorer.looker.stop.set()
    explorer.looker.look()
    assert explorer.summary().kind == "idle" and "not everything was looked for" in explorer.summary().text
    assert explorer.findings.texts and explorer.findings.private is None
    explorer.looker.stop.clear()
    explorer.looker.look()
    assert explorer.summary().text.startswith("1 row is also in the test set")


def test_what_a_person_does_with_the_controls_is_shown(explorer: DataExplorer) -> None:
    assert explorer.widget is not None
    made = explorer.made
    made.search.value = "mira"
    assert explorer.errands.wait() and made.table.shown["total"] == len(explorer.shown) < 200
    assert made.drop.description == f"Drop these {len(explorer.shown)} rows" and not made.drop.disabled
    made.clear.click()
    assert explorer.errands.wait() and made.search.value == "" and made.drop.disabled
    made.spans["length"].value = (38, made.spans["length"].max)
    assert explorer.errands.wait() and explorer.shown == [60, 61, 62, 63, 64] and made.spans["length"].description.startswith("Length: ")
    made.drop.click()
    assert explorer.errands.wait() and explorer.dropped == [60, 61, 62, 63, 64] and made.drop.disabled
    made.undo.click()
    assert explorer.errands.wait() and explorer.dropped == []
    made.clear.click()
    assert explorer.errands.wait() and made.show_rows.value == "all"
    made.show_rows.value = "leaks"
    assert explorer.errands.wait() and explorer.state.where == Where(show="leaks")


def test_messages_of_a_page_that_make_no_sense_change_nothing(explorer: DataExplorer) -> None:
    assert explorer.widget is not None
    before = explorer.state_json()
    for message in ({"kind": "cursor", "row": 4_000}, {"kind": "cursor", "row": "5"}, {"kind": "mark", "how": "burn"},
                    {"kind": "go", "to": "moon"}, {"kind": "nothing"}, {"kind": "sort"}, {}):
        explorer.made.table._heard(None, message, [])
    assert explorer.errands.wait() and explorer.state_json() == before


def test_a_copy_that_is_not_among_the_shown_is_reached(explorer: DataExplorer) -> None:
    assert explorer.widget is not None
    explorer.made.show_rows.value = "copies"
    explorer.made.table._heard(None, {"kind": "cursor", "row": 199}, [])
    assert explorer.errands.wait() and explorer.made.table.shown["cursor"] == 199 and explorer.state.where.show == "copies"
    others = {other["row"] for other in explorer.made.table.detail["others"]}
    explorer.made.table._heard(None, {"kind": "cursor", "row": 44}, [])
    assert explorer.errands.wait() and explorer.made.table.detail["row"] == 44 and 44 in others and explorer.state.where.show == "all"


def test_sorting_shows_the_top_and_rows_without_a_value_come_last(explorer: DataExplorer) -> None:
    assert explorer.widget is not None
    explorer.made.table._heard(None, {"kind": "sort", "key": "words"}, [])
    assert explorer.errands.wait() and [line["row"] for line in explorer.made.table.shown["rows"][:5]] == [64, 63, 62, 61, 60]
    explorer.made.table._heard(None, {"kind": "sort", "key": "group"}, [])
    assert explorer.errands.wait() and [line["row"] for line in explorer.made.table.shown["rows"][:4]] == [44, 150, 199, 0]
    explorer.made.table._heard(None, {"kind": "sort", "key": "text"}, [])
    texts = explorer.findings.texts
    assert explorer.errands.wait() and explorer.shown == sorted(range(200), key=lambda row: (texts[row][:60].lower(), row))


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs) -> None:
        self.tags.add(tag)


def test_what_rows_hold_never_becomes_markup(given) -> None:
    rows = [{NASTY: f"{NASTY} {number}", "price $x$": number} for number in range(30)]
    explorer = DataExplorer(rows).look()
    explorer.state.quality = "price $x$"
    still = explorer.static_html()
    tags = Tags()
    tags.feed(still)
    assert "img" not in tags.tags and "&lt;img" in still
    figure = json.dumps(explorer.figure(), default=np.ndarray.tolist)
    assert "<img" not in figure and "price $x$" not in figure and "price &#36;x&#36;" in figure


def test_a_hundred_thousand_rows_answer_a_brush_and_a_search_within_a_frame_or_two() -> None:
    draw = np.random.default_rng(0)
    table = pa.table({"text": [f"row {number} speaks of thing {number % 977} at length" for number in range(100_000)]})
    explorer = DataExplorer(table)
    found = explorer.findings
    found.texts = table["text"].to_pylist()
    from workbench.data import cleaning

    found.lowered = cleaning.lowered(found.texts)
    found.measures = {"words": draw.integers(1, 600, 100_000).astype(float), "letter_share": draw.random(100_000),
                      "loss": draw.gamma(2, 1, 100_000)}
    found.whole, explorer.looked = {"words"}, True
    assert explorer.widget is not None

    def taken(act) -> float:
        act()
        times = []
        for _ in range(5):
            begun = time.perf_counter()
            act()
            times.append(time.perf_counter() - begun)
        return min(times)

    def act(**changes) -> None:
        explorer.state.where = Where(**changes)
        explorer.refresh()

    brushed = taken(lambda: act(ranges={"words": [100.0, 300.0]}))
    searched = taken(lambda: act(query="thing 12", ranges={"words": [100.0, 300.0]}))
    print(f"100,000 rows: a brush {1000 * brushed:.1f} ms, a search {1000 * searched:.1f} ms")
    assert brushed < 0.1 and searched < 0.2


def test_the_state_starts_empty() -> None:
    assert State().where.everything and json.loads(json.dumps(State().where.to_json())) == State().where.to_json()
