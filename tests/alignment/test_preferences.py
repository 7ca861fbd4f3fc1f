"""The preference store, on SQLite and on PostgreSQL: what is judged comes back, blind and balanced."""

from __future__ import annotations

import contextlib
import itertools
import math
import random
import sqlite3
from collections import Counter

import pytest
import sqlalchemy as sql

import workbench as wb
from workbench.alignment import PreferenceStore, bradley_terry
from workbench.alignment.preference_database import APPLICATION
from workbench.errors import DataError

PROMPTS = {f"What is {n} and {n}?": {"base": f"It is {n}.", "tuned": f"{2 * n}, so it is.", "larger": f"{2 * n}."} for n in range(12)}
HOSTILE = "<img src=x onerror='hacked()'> $x$ \u202e'; DROP TABLE replies; --"


@pytest.fixture
def store(url):
    store = PreferenceStore(url)
    for prompt, replies in PROMPTS.items():
        store.add(prompt, replies)
    yield store
    store.close()


def source(item, side: int) -> str:
    return next(name for name, text in PROMPTS[item.prompt].items() if text == item.replies[side])


def test_a_pair_is_blind_and_comes_back_as_it_was_shown(store, url):
    item = store.next("ann", seed=1)
    assert not any(name in repr(item) for name in ("base", "tuned", "larger")) and len(set(item.replies)) == 2
    store.judge(item, "right", "ann", at=12.5)
    again = PreferenceStore(url)
    [row] = again.votes().to_dict("records")
    assert row == {"left": source(item, 0), "right": source(item, 1), "winner": "right", "judge": "ann", "prompt": item.prompt}
    [row] = again.judgements().to_dict("records")
    assert row["at"] == 12.5 and row["replies"] == list(item.replies) and row["again"] is False
    again.close()


def test_orders_are_even_prompts_take_turns_and_nobody_is_asked_twice(store):
    shown, first = Counter(), Counter()
    for number in range(36):
        item = store.next("ann", seed=number, again=0)
        shown[item.prompt] += 1
        first[source(item, 0)] += 1
        store.judge(item, "tie", "ann")
    assert set(shown.values()) == {3}, "every prompt of its three pairs once"
    assert store.next("ann", again=0) is None and store.next("bob", again=0) is not None
    assert min(first.values()) >= 6, "each source is shown first about as often"


def test_the_last_pair_of_very_many_is_found(url):
    """One of 435 pairs is left: 240 blind draws miss it more often than not."""
    store = PreferenceStore(url)
    store.add("Hello?", {f"m{number}": f"{number}" for number in range(30)})
    ids = [row.id for row in store._look(store._replies_with_prompts)[0]]
    pairs = {frozenset(pair) for pair in itertools.combinations(ids, 2)}
    for number, last in enumerate(random.Random(0).sample(sorted(pairs, key=sorted), 8)):
        item = store.next("ann", seed=number, skipped=pairs - {last})
        assert item is not None and set(item.reply_ids) == last
    assert store.next("ann", skipped=pairs) is None
    store.close()


def test_some_pairs_are_asked_again_the_other_way_round(store):
    for number in range(20):
        store.judge(store.next("ann", seed=number, again=0 if number > 5 else 1), "left", "ann")
    assert not store.judgements()["again"].any(), "none of the last five is asked again"
    item = store.next("ann", seed=3, again=1)
    assert item.again
    before = [row for _, row in store.judgements().iterrows() if set(row["replies"]) == set(item.replies) and row["prompt"] == item.prompt]
    assert len(before) == 1 and before[0]["replies"] == list(item.replies)[::-1]
    store.judge(item, "left", "ann")
    assert len(store.votes()) == 20 and len(store.votes(again=True)) == 21 and store.judgements()["again"].sum() == 1
    for number in range(19):
        store.judge(store.next("ann", seed=number, again=1), "left", "ann")
    assert not store.next("ann", again=1).again, "each is asked again once"


def test_equal_replies_never_stand_beside_each_other(url):
    store = PreferenceStore(url)
    store.add("Hello?", {"a": "Yes.", "b": "Yes.", "c": "No."})
    store.add("Alone?", {"a": "Same.", "b": "Same."})
    items = [store.next("ann", seed=number) for number in range(20)]
    assert {item.prompt for item in items} == {"Hello?"} and all(set(item.replies) == {"Yes.", "No."} for item in items)
    store.close()


def test_rankings_thumbs_and_scores(store):
    item = store.next("ann", "ranking", replies=3, seed=2)
    store.rank(item, [2, 0, 1], "ann")
    places = {source(item, side): rank for rank, side in enumerate([2, 0, 1])}
    votes = store.votes().to_dict("records")
    assert len(votes) == 3 and all((places[row["left"]] < places[row["right"]]) == (row["winner"] == "left") for row in votes)
    assert store.rows("ranked").to_pylist() == [{"prompt": item.prompt, "replies": [item.replies[2], item.replies[0], item.replies[1]]}]
    one = store.next("bob", "thumbs", seed=1)
    store.thumb(one, True, "bob")
    assert store.rows("unpaired").to_pylist() == [{"prompt": one.prompt, "completion": one.replies[0], "label": True}]
    store.score(store.next("cem", "scores", replies=1), {"helpful": 4, "honest": 5.5}, "cem")
    assert store.judgements("scores").iloc[0]["verdict"] == {"helpful": 4, "honest": 5.5}
    paired = store.rows("paired").to_pylist()
    assert len(paired) == 3 and all(
        places[next(n for n, t in PROMPTS[row["prompt"]].items() if t == row["chosen"])]
        < places[next(n for n, t in PROMPTS[row["prompt"]].items() if t == row["rejected"])]
        for row in paired
    )


def test_the_majority_of_judges_makes_the_training_row_and_a_recipe_reads_it(store):
    item = store.next("ann", seed=5)
    for judge, winner in (("ann", "left"), ("bob", "right"), ("cem", "left"), ("dan", "tie")):
        store.judge(item, winner, judge)
    tied = next(other for other in (store.next("eve", seed=n) for n in range(9)) if other.prompt != item.prompt)
    store.judge(tied, "left", "ann"), store.judge(tied, "right", "bob")
    assert store.rows("paired").to_pylist() == [{"prompt": item.prompt, "chosen": item.replies[0], "rejected": item.replies[1]}]
    assert wb.load_rows(store.rows("paired")).column_names == ["prompt", "chosen", "rejected"]


def test_scores_become_pairs_with_what_is_better_by_each_criterion(url):
    """By hand: Yes. has 4 + 2, No. 1 + 3, so Yes. is chosen; another judge's score is compared with none."""
    store = PreferenceStore(url)
    store.add("Hello?", {"a": "Yes.", "b": "No."})
    scores = {"Yes.": {"helpful": 4, "honest": 2, "kind": 3}, "No.": {"helpful": 1, "honest": 3, "kind": 3}}
    while (item := store.next("ann", "scores")) is not None:
        store.score(item, scores[item.replies[0]], "ann")
    store.score(store.next("bob", "scores"), {"helpful": 5}, "bob")
    row = {"prompt": "Hello?", "chosen": "Yes.", "rejected": "No."}
    assert store.rows("scored").to_pylist() == [row | {"better_helpful": "chosen", "better_honest": "rejected", "better_kind": "tie"}]
    store.close()


def test_ratings_come_out_of_it(store):
    better = ["base", "tuned", "larger"]
    for judge in ("ann", "bob", "cem"):
        while (item := store.next(judge, again=0)) is not None:
            left, right = (better.index(source(item, side)) for side in (0, 1))
            winner = "tie" if item.prompt.endswith("0 and 0?") else "left" if left > right else "right"
            store.judge(item, winner, judge)
    assert bradley_terry(store.votes(), samples=0)["model"].tolist() == better[::-1]


def test_what_is_text_stays_text(url):
    store = PreferenceStore(url)
    store.add(HOSTILE, {HOSTILE: HOSTILE, "other": "\u00e9\U0001f600 " * 50})
    item = store.next(HOSTILE)
    store.judge(item, "left", HOSTILE)
    assert item.prompt == HOSTILE and set(item.replies) == {HOSTILE, "\u00e9\U0001f600 " * 50} and store.votes().iloc[0]["judge"] == HOSTILE
    store.close()


def test_texts_longer_than_an_index_holds(url):
    """PostgreSQL's indices hold 2,704 bytes, and what cannot be compressed is not made shorter."""
    store, chance = PreferenceStore(url), random.Random(0)
    long = ["".join(chr(chance.randrange(33, 0xD7FF)) for _ in range(10_000)) for _ in range(3)]
    name = "".join(chr(chance.randrange(0x4E00, 0x9FFF)) for _ in range(500))
    number = store.add(long[0], {"a": long[1], name: long[2]})
    assert store.add(long[0], {}) == number != store.add(long[0][:-1], {})
    store.judge(item := store.next(name), "left", name)
    assert item.prompt == long[0] and set(item.replies) == set(long[1:]) and store.votes()["judge"].tolist() == [name]
    for call in (lambda: store.add("a", {"b" * 501: "c"}), lambda: store.judge(item, "left", "d" * 501)):
        with pytest.raises(DataError, match="501 characters"):
            call()
    store.close()


def test_adding_again_changes_nothing_and_the_same_number_is_written_once(store):
    prompt = next(iter(PROMPTS))
    assert store.add(prompt, {"base": "something else", "new": "Four."}) == store.add(prompt, {})
    item = store.next("ann")
    assert (
        store.judge(item, "left", "ann", number="n1") == store.judge(item, "left", "ann", number="n1") == "n1" and len(store.votes()) == 1
    )


def test_what_is_withdrawn_counts_no_more_and_is_asked_anew(store):
    item = store.next("ann", seed=4)
    number = store.judge(item, "left", "ann")
    assert store.state() == (36, 1, 0) and item != store.next("ann", seed=4)
    with pytest.raises(DataError, match="bob has no judgement"):
        store.withdraw(number, "bob")
    store.withdraw(number, "ann")
    assert store.judgements().empty and store.state() == (36, 1, 1)
    with pytest.raises(DataError, match="could be taken back"):
        store.withdraw(number, "ann")
    assert item == store.next("ann", seed=4)
    store.judge(item, "right", "ann")
    assert store.votes()["winner"].tolist() == ["right"]


def test_what_is_skipped_is_not_shown_and_stays_for_others(store):
    skipped = set()
    while (item := store.next("ann", skipped=skipped)) is not None:
        assert frozenset(item.reply_ids) not in skipped
        skipped.add(frozenset(item.reply_ids))
    assert len(skipped) == 36 and store.next("bob") is not None and store.judgements().empty


def test_replies_that_another_adds_are_seen(store, url):
    store.next("ann")
    other = PreferenceStore(url)
    other.add("New?", {"a": "One.", "b": "Two."})
    for _ in range(13):
        store.judge(store.next("ann", again=0), "tie", "ann")
    assert "New?" in set(store.judgements()["prompt"]), "the least judged prompt's turn comes"
    other.close()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda store: store.judge(store.next("a"), "first", "a"), "no judgement"),
        (lambda store: store.rank(store.next("a", "ranking", 3), [0, 0, 1], "a"), "each of 3 replies once"),
        (lambda store: store.judge(store.next("a"), "left", " "), "somebody"),
        (lambda store: store.judge(store.next("a"), ["left"], "a"), "no judgement"),
        (lambda store: store.rank(store.next("a", "ranking", 3), None, "a"), "each of 3 replies once"),
        (lambda store: store.rank(store.next("a", "thumbs"), [0], "a"), "each of 1 replies once"),
        (lambda store: store.thumb(store.next("a"), True, "a"), "2 replies are shown"),
        (lambda store: store.thumb(store.next("a", "thumbs"), "up", "a"), "no thumb"),
        (lambda store: store.score(store.next("a"), {"helpful": 3}, "a"), "2 replies are shown"),
        (lambda store: store.score(store.next("a", "scores"), {"helpful": math.nan}, "a"), "finite"),
        (lambda store: store.score(store.next("a", "scores"), [3], "a"), "finite"),
        (lambda store: store.next("a", kind="foo"), "judged by 'foo'"),
        (lambda store: store.next("a", replies=0), "0 replies are no pair"),
        (lambda store: store.next("a", "thumbs", replies=2), "2 replies are no thumbs"),
        (lambda store: store.next("a", "ranking", replies="b"), "'b' replies are no ranking"),
        (lambda store: store.next(""), "somebody"),
        (lambda store: store.score(store.next("a", "scores", 1), {"helpful": "x"}, "a"), "scores are"),
        (lambda store: store.rows("paired"), "No judgement"),
        (lambda store: store.rows("other"), "no 'other' rows"),
        (lambda store: store.add("a", {"b": 3}), "no text"),
        (lambda store: store.add("a", {"b": "nul \0"}), "no database keeps"),
        (lambda store: store.add("half \ud800", {}), "no database keeps"),
        (lambda store: store.add("a", {"b\0": "c"}), "source holds characters"),
        (lambda store: store.add("a", None), "replies are None"),
        (lambda store: store.judge(store.next("a"), "left", "a\0b"), "name holds characters"),
        (lambda store: store.judge(store.next("a"), "left", "a\ud800"), "name holds characters"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_kept(store, call, says):
    with pytest.raises(DataError, match=says):
        call(store)
    assert store.judgements().empty


@pytest.mark.parametrize(
    ("setting", "says"), [("user_version=7", "something else"), (f"application_id={APPLICATION}", "another version .0, not 2")]
)
def test_a_foreign_file_is_refused_and_stays_as_it_is(tmp_path, setting, says):
    file = tmp_path / "foreign.db"
    with contextlib.closing(sqlite3.connect(file)) as there:
        there.execute("CREATE TABLE prompts (id INTEGER, author TEXT)")
        there.execute(f"PRAGMA {setting}")
    before = file.read_bytes()
    with pytest.raises(DataError, match=says):
        PreferenceStore(file)
    assert file.read_bytes() == before


def test_a_table_of_something_else_is_refused(url):
    if "://" in url:
        engine = sql.create_engine(url)
        with engine.begin() as there:
            there.execute(sql.text("CREATE TABLE replies (id INTEGER, author TEXT)"))
        engine.dispose()
        with pytest.raises(DataError, match="table 'replies' that is not of preferences"):
            PreferenceStore(url)
    else:
        with contextlib.closing(sqlite3.connect(url)) as there:
            there.execute("CREATE TABLE replies (id INTEGER, author TEXT)")
        with pytest.raises(DataError, match="something else than preferences"):
            PreferenceStore(url)


def test_addresses_that_cannot_be(tmp_path):
    (tmp_path / "text.db").write_text("this is no database, " * 100)
    for address, says in (
        (str(tmp_path / "text.db"), "no database of preferences"),
        (str(tmp_path / "text.db" / "below" / "a.db"), "cannot be kept in"),
        ("mysql://a/b", "not kept in mysql|no driver"),
        ("postgresql+psycopg://nobody:SECRET@127.0.0.1:1/none", "cannot be read or written"),
        ("://", "no database URL"),
        (None, "cannot be kept in None"),
    ):
        with pytest.raises(DataError, match=says) as caught:
            PreferenceStore(address)
        assert "SECRET" not in str(caught.value)


def test_nothing_left_cannot_be_judged_and_a_mistyped_folder_is_not_made(tmp_path):
    store = PreferenceStore(tmp_path / "p.db")
    nothing = store.next("ann")
    assert nothing is None
    for give in (lambda: store.judge(nothing, "left", "ann"), lambda: store.rank(nothing, [0, 1], "ann"), lambda: store.thumb(nothing, True, "ann")):
        with pytest.raises(DataError, match="nothing to judge. .*None means that nothing is left"):
            give()
    with pytest.raises(DataError, match="there is no folder"):
        PreferenceStore(tmp_path / "mistyped" / "p.db")
    assert not (tmp_path / "mistyped").exists()
