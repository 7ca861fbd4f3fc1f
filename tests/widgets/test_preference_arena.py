"""The preference arena without a page: votes, undo, sentence, figure, code, rows and errors, against the store and the libraries."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

import workbench as wb
from widgets.preference_arena import PreferenceArena, reading, words
from widgets.preference_arena.figure import FORMS, figure, progress
from widgets.preference_arena.reading import Counts, Person, Rated, Results
from widgets.preference_arena.state import State
from workbench.alignment import PreferenceStore, bradley_terry, elo
from workbench.errors import DataError, WorkbenchError

BAD = "<img src=x onerror='hacked()'><script>hacked()</script> $x$"
BETTER = {"base": 0.0, "tuned": 1.0, BAD: 2.0}


def filled(path, prompts: int = 30) -> PreferenceStore:
    store = PreferenceStore(path)
    for number in range(prompts):
        store.add(f"{number} {BAD if number == 0 else ''}?", {name: f"{number} says\n{place} {BAD}" for place, name in enumerate(BETTER)})
    return store


def source(item, side: int) -> str:
    return list(BETTER)[int(item.replies[side].split("\n")[1][0])]


def judged(store: PreferenceStore, judge: str, count: int, first: float = 0.0) -> None:
    """`first`: how often the reply shown first wins whatever it says; else the better one does, now and then not."""
    chance = random.Random(judge)
    for number in range(count):
        item = store.next(judge, seed=number)
        better = BETTER[source(item, 0)] > BETTER[source(item, 1)]
        store.judge(item, "left" if chance.random() < first or better != (chance.random() < 0.2) else "right", judge)


@pytest.fixture
def arena(tmp_path) -> PreferenceArena:
    return PreferenceArena(filled(tmp_path / "p.db"), judge="ann")


@pytest.fixture(scope="module")
def known(tmp_path_factory) -> PreferenceArena:
    """An arena that three people have judged in, one of them by the place."""
    store = filled(tmp_path_factory.mktemp("arena") / "p.db")
    for judge in ("ann", "bob"):
        judged(store, judge, 60)
    judged(store, "cem", 60, first=0.9)
    made = PreferenceArena(store, judge="ann")
    made.state.view = "results"
    return made.look()


# ---- judging


def test_a_vote_is_kept_taken_back_and_given_anew(arena):
    item = arena.ask()
    number = arena.vote("right")
    assert (
        arena.store.judgements().iloc[0]["verdict"] == "right"
        and arena.item != item
        and "ann has judged 1 of 90 pairs" in arena.summary().text
    )
    arena.undo()
    assert arena.item == item and arena.store.judgements().empty
    again = arena.vote("left")
    assert again != number and arena.store.votes()["winner"].tolist() == ["left"]
    with pytest.raises(DataError, match="no judgement"):
        arena.vote("first")


def test_what_is_skipped_comes_again_only_when_nothing_else_is_left(tmp_path):
    arena = PreferenceArena(filled(tmp_path / "p.db", prompts=2), judge="ann")
    arena.ask()
    first, seen = frozenset(arena.item.reply_ids), set()
    for _ in range(6):
        seen.add(frozenset(arena.item.reply_ids))
        arena.skip()
    assert len(seen) == 6 and arena.item is not None and first in seen and arena.store.judgements().empty


def test_other_kinds_of_judgement(arena):
    for kind, verdict, kept in (
        ("ranking", [2, 0, 1], [2, 0, 1]),
        ("thumbs", False, False),
        ("scores", {"helpful": 4, "kind": 2}, {"helpful": 4, "kind": 2}),
    ):
        arena.state.kind = kind
        item = arena.ask()
        assert len(item.replies) == {"ranking": 3}.get(kind, 1)
        arena.vote(verdict)
        assert arena.store.judgements(kind).iloc[0]["verdict"] == kept
    arena.state.kind = "pair"
    assert arena.kind == "scores", "what is shown is judged as it was asked for"


def test_a_second_press_judges_nothing_and_a_verdict_given_again_is_kept_once(arena):
    _ = arena.widget
    assert arena.actions.wait()
    token, desk = arena.token, arena.made.desk
    desk._heard(desk, {"do": "judge", "verdict": "left", "token": token}, [])
    desk._heard(desk, {"do": "judge", "verdict": "left", "token": token}, [])
    assert arena.actions.wait() and len(arena.store.judgements()) == 1 and arena.token == token + 1
    assert desk.shown["undo"] and desk.shown["said"] == "Kept: reply 1 is better."
    desk._heard(desk, {"do": "judge", "verdict": "nonsense", "token": arena.token}, [])
    assert arena.actions.wait() and "no judgement" in str([part.children[0].value for _, part in arena._errors.values()])
    number = arena.actions._numbers[arena.token]  # of the verdict that was refused
    arena.vote("left", number)
    arena.store.judge(arena._history[-1][3], "left", "ann", number=number)
    assert len(arena.store.judgements()) == 2
    desk._heard(desk, {"do": "undo", "token": arena.token}, [])
    assert arena.actions.wait() and len(arena.store.judgements()) == 1 and not arena._errors


def test_what_others_judge_is_seen(arena):
    _ = arena.widget
    arena.actions.set("view", "results")
    assert arena.actions.wait() and arena.found.votes == 0
    judged(PreferenceStore(arena.store.address), "bob", 20)
    arena._next_read = 0.0
    arena._look_around()
    assert arena.actions.wait() and arena.found.votes == len(arena.store.votes()) > 10


def test_settings_that_cannot_be(arena):
    _ = arena.widget
    for name, control, says in (("judge", arena.made.judge, "needs a name"), ("criteria", arena.made.criteria, "one criterion")):
        control.value = " "
        assert says in arena._errors[control][1].children[0].value and getattr(arena.state, name)
        control.value = "dan, eve"
        assert control not in arena._errors
    assert arena.state.criteria == ("dan", "eve") and arena.state.judge == "dan, eve"
    arena.actions.wait()


# ---- results


def test_the_figure_shows_the_ratings_of_the_store(known):
    votes = known.store.votes()
    for width in FORMS:
        traces = {trace.get("uid"): trace for trace in known.figure(width)["data"]}
        expected = bradley_terry(votes)
        assert list(traces["ratings"]["x"]) == expected["rating"].tolist()
        assert [one[:2] for one in traces["ratings"]["customdata"]] == expected[["low", "high"]].values.tolist()
        assert list(traces["elo"]["x"]) == elo(votes).set_index("model").loc[expected["model"], "rating"].tolist()
        table = known.store.judgements("pair")
        table = table[~table["again"]]
        for place, judge in enumerate(("ann", "bob", "cem")[::-1]):
            verdicts = table[table["judge"] == judge]["verdict"]
            assert traces[f"first-{place}"]["x"] == [pytest.approx(100 * (verdicts == "left").mean())]
        uids = [trace.get("uid") for trace in known.figure(width)["data"]]
        assert all(uid and uid.replace("-", "").isalnum() for uid in uids), "plotly makes selectors of them"


def test_agreement_of_two_is_that_of_scikit_learn(known):
    table = known.store.judgements("pair")
    table = table[~table["again"]]
    won = {
        judge: {
            frozenset(row["replies"]): sorted(row["replies"])[0] == row["replies"][row["verdict"] == "right"]
            for row in table[table["judge"] == judge].to_dict("records")
        }
        for judge in ("ann", "bob")
    }
    both = sorted(set(won["ann"]) & set(won["bob"]), key=sorted)
    assert known.found.kappas["ann", "bob"] == pytest.approx(
        cohen_kappa_score([won["ann"][pair] for pair in both], [won["bob"][pair] for pair in both])
    )


def test_the_sentence_finds_who_judges_by_the_place(known):
    sentence = known.summary()
    assert sentence.kind == "warn" and sentence.text.startswith("Position bias: what is shown first wins") and "of cem's" in sentence.text
    assert any("asked again the other way round" in line for line in words.about(known.found))


def person(judge: str, first: int, second: int) -> Person:
    return Person(judge, first + second, first, second, 0, 20, 18)


RATED = (Rated("a", 1100.0, 1050.0, 1150.0, 1080.0, 50), Rated("b", 900.0, 850.0, 950.0, 920.0, 50))
SURE = {"first": "a", "second": "b", "points": 200.0, "low": 150.0, "high": 250.0}
AGREED = {"self": 0.9, "percent": 0.8, "cohen": 0.6, "fleiss": float("nan"), "krippendorff": 0.6}


@pytest.mark.parametrize(
    ("found", "kind", "says"),
    [
        (Results(), "idle", "No votes yet: 5 prompts with replies of 2 models"),
        (
            Results(50, RATED, lead=SURE, people=(person("x", 26, 24),), agreement=AGREED),
            "ok",
            "a leads b by 200 points (95 % interval 150 to 250; 50 votes). Krippendorff's alpha",
        ),
        (
            Results(50, RATED, lead=SURE | {"low": -10.0}, people=(person("x", 26, 24),), agreement=AGREED),
            "warn",
            "Too few votes to tell a and b apart",
        ),
        (
            Results(50, RATED, lead=SURE, people=(person("x", 26, 24),), agreement=AGREED | {"krippendorff": 0.1}),
            "warn",
            "People hardly agree",
        ),
        (
            Results(50, RATED, lead=SURE, people=(person("x", 26, 24),), agreement=AGREED | {"self": 0.5}),
            "warn",
            "judge only 50 % of 20 pairs as before",
        ),
        (
            Results(50, RATED, lead=SURE, people=(person("x", 3, 47),), agreement=AGREED),
            "warn",
            "what is shown second wins 94 % of x's 50 decided votes",
        ),
        (
            Results(50, RATED, lead=SURE, people=tuple(person(name, 19, 9) for name in "wxyz"), agreement=AGREED),
            "warn",
            "wins 68 % of all 112 decided votes",
        ),
        (Results(50, (), "No rating fits."), "warn", "No rating fits."),
    ],
)
def test_the_sentence_says_the_most_important_thing(found, kind, says):
    sentence = words.results(found, Counts(5, 10, 2, (2,) * 5))
    assert sentence.kind == kind and says in sentence.text


def test_a_share_that_chance_gives_is_no_bias():
    generator = np.random.default_rng(0)
    called = [
        Results(
            50,
            people=tuple(
                person(name, int(first), 50 - int(first)) for name, first in zip("vwxyz", generator.binomial(50, 0.5, 5), strict=True)
            ),
        ).partial()
        for _ in range(200)
    ]
    assert sum(one is not None for one in called) <= 6  # one time in a hundred at most, over two hundred classes


def test_while_one_judges_no_model_is_named(known, tmp_path):
    arena = PreferenceArena(filled(tmp_path / "p.db"), judge="ann")
    arena.ask()
    arena.vote("left")
    shown = arena.static_html() + json.dumps(arena.figure()) + arena.summary().text
    assert "tuned" not in shown and "base" not in shown
    assert "tuned" in known.static_html()


def test_text_stays_text(known, arena):
    arena.ask()
    for page in (known.static_html(), arena.static_html()):
        assert "<img" not in page and "<script" not in page
    labels = json.dumps([known.figure(width)["layout"] for width in FORMS])
    assert "<img" not in labels and "$x$" not in labels
    assert json.dumps(progress(Counts(given={(BAD, "pair"): 3}), BAD)).count("<img") == 0


def test_many_people_and_models_are_cut_and_it_says_so():
    models = tuple(Rated(f"model {n}", 1000.0 - n, 990.0 - n, 1010.0 - n, 1000.0, 9) for n in range(40))
    drawn = figure(Results(90, models, people=tuple(person(f"judge {n}", 20, 20) for n in range(30))))
    headings = " ".join(note["text"] for note in drawn["layout"]["annotations"])
    assert "16 of 40 models" in headings and "8 of 30 people" in headings
    shown = progress(Counts(given={(f"judge {n:02}", "pair"): 90 - n for n in range(30)}), "judge 29")
    assert "judge 29" in str(shown["layout"]["yaxis"]["ticktext"]) and "8 of 30 people" in str(shown["layout"]["annotations"])


# ---- code, state, rows, replies


def test_the_code_gives_the_same(known, tmp_path, monkeypatch):
    monkeypatch.setattr(known.state, "file", str(tmp_path / "rows.jsonl"))
    there: dict = {}
    exec(known.code(), there)
    assert there["ratings"]["rating"].tolist() == [one.rating for one in known.found.models] and there["ahead"] == known.found.lead
    assert there["agreed"] == pytest.approx(known.found.agreement, nan_ok=True) and there["rows"].equals(known.rows())
    assert wb.load_rows(tmp_path / "rows.jsonl").equals(known.rows())


def test_the_state_comes_back_and_holds_no_password(known):
    arena = PreferenceArena(
        "postgresql+psycopg://ann:SECRET@127.0.0.1:1/none", state=State(view="results", kind="ranking", criteria=("a", "b")), judge="bob"
    )
    assert "SECRET" not in arena.state_json() + arena.code() and 'PreferenceStore(os.environ["PREFERENCES_URL"])' in arena.code()
    compile(arena.code(), "code", "exec")
    again = PreferenceArena.from_json(arena.state_json())
    assert again.state == arena.state
    assert arena.summary().kind == "warn" and "cannot be read or written" in arena.summary().text and "SECRET" not in arena.summary().text


@pytest.mark.parametrize("address", ["postgresql+psycopg://127.0.0.1:1/db?password=SECRET&application_name=arena", "postgresql://ann:SECRET@h:port/db"])
def test_no_part_of_an_address_gives_a_password_away(address):
    arena = PreferenceArena(address, judge="ann")
    assert "SECRET" not in arena.state_json() + arena.code() + arena.summary().text and 'os.environ["PREFERENCES_URL"]' in arena.code()
    assert arena.summary().kind == "warn" and "***" in arena.state.source


def test_rows_of_each_kind_are_made_and_trained_on(known, arena, tmp_path):
    assert wb.Recipe(model="town-small", objective="reward", data=known.rows("paired")) is not None
    arena.ask()
    with pytest.raises(DataError, match="No judgement gives paired rows"):
        arena.make_rows()
    arena.vote("left")
    arena.state.file = str(tmp_path / "made" / "rows.jsonl")
    table = arena.make_rows()
    assert (
        table is arena.table
        and [json.loads(line) for line in open(arena.state.file)] == table.to_pylist()
        and "1 paired row in" in arena.rows_said
    )
    arena.state.file = str(tmp_path / "p.db" / "rows.jsonl")
    with pytest.raises(DataError, match="cannot be written"):
        arena.make_rows()


def test_replies_are_asked_for_in_the_background_and_can_be_cancelled(tmp_path):
    arena = PreferenceArena.from_replies(
        ["Who bakes?", "Who sings?"], {"loud": str.upper, "soft": str.lower}, tmp_path / "p.db", judge="ann"
    )
    assert arena.store.replies().empty, "nothing is asked before it is shown"
    _ = arena.widget
    assert arena.actions.wait() and set(arena.made.desk.shown["replies"]) in ({"WHO BAKES?", "who bakes?"}, {"WHO SINGS?", "who sings?"})
    asked = []
    stopped = PreferenceArena.from_replies(
        [f"{n}?" for n in range(50)], {"a": lambda text: asked.append(text) or stopped.actions._stop.set() or text}, tmp_path / "q.db"
    )
    _ = stopped.widget
    assert stopped.actions.wait() and 1 <= len(asked) < 50 and len(stopped.store.replies()) == len(asked) and stopped._busy is None
    with pytest.raises(WorkbenchError, match="no folder nowhere"):
        PreferenceArena.from_replies(["a"], {"a": "./nowhere"}, tmp_path / "r.db")

    def refuses(text):
        raise DataError("It does not answer.", "Start it.")

    broken = PreferenceArena.from_replies(["a"], {"a": refuses}, tmp_path / "r.db")
    _ = broken.widget
    assert broken.actions.wait() and "It does not answer." in broken._errors[None][1].children[0].value


def test_what_is_still_being_done_is_said(tmp_path):
    said = []

    def slow(text):
        said.append((arena.summary().text, arena._nothing()))
        return text

    arena = PreferenceArena.from_replies(["Who bakes?"], {"loud": slow, "soft": str.lower}, tmp_path / "p.db", judge="ann")
    _ = arena.widget
    assert arena.actions.wait() and said == [(words.WRITING, f"{words.WRITING} Nothing is to be done meanwhile.")]
    arena.vote("left")
    assert arena.actions.wait()
    counts = reading.count(arena.store)
    assert words.results(reading.Results(), counts).text == "The ratings of 1 judgement are being reckoned."
    assert words.no_picture(counts)[0] == "One moment"
    arena.actions.set("kind", "thumbs")
    assert arena.said == "", "what was kept before is of another kind"


def test_counting_knows_what_could_be_judged(arena):
    counts = reading.count(arena.store)
    assert (counts.prompts, counts.replies, counts.sources) == (30, 90, 3)
    assert [counts.possible(kind, 3) for kind in ("pair", "ranking", "thumbs")] == [90, 30, 90]
