"""The machinery under every way of making rows: exact counts, the same rows whatever interrupts, replies that are kept, many at a time."""

from __future__ import annotations

import collections
import threading

import pytest

from workbench.data import making, novelty
from workbench.data.making import Dropped, Kind, Made, Synthesis
from workbench.errors import DataError

COLOURS = "red blue green white black brown grey pink".split()


def asking(number, chance, before):
    """Two prompts; two rows or a reason, depending on the rows before."""
    first = yield f"Begin {number} {chance.randrange(10)} after {len(before)}"
    second = yield f"Go on from {first}"
    if number % 5 == 4:
        return [Dropped("unlucky", second)]
    return [Made(f"{first} question", second, f"{first} {second} {number * 17}"), Made("again", "again", f"seen {number % 3}")]


def answer(prompt):
    return f"{COLOURS[sum(map(ord, prompt)) % 8]} {prompt.replace(' ', '')}"


def synthesis(generator=answer, kind=None, **options):
    return Synthesis(kind or Kind("test", asking), generator, novelty.Shelf(), 0.7, **options)


def rows(made):
    return made.rows.to_pylist()


@pytest.mark.parametrize("workers", [1, 4])
def test_all_that_was_written_is_kept_or_dropped_for_one_reason(workers):
    made = synthesis(workers=workers).make(40)
    gone = made.dropped
    assert len(rows(made)) == 40 == made.counts["kept"]
    assert dict(made.counts) == {"kept": 40} | dict(collections.Counter(gone["reason"]))
    taken = [row["attempt"] for row in rows(made)] + gone["attempt"].tolist()
    whole = [number for number in range(made.attempts) if number < max(taken)]
    assert all(taken.count(number) == (1 if number % 5 == 4 else 2) for number in whole)
    assert made.sentence.startswith(f"40 rows out of {made.counts.total()} that were written; dropped: ") and "enough rows" in made.sentence
    near = gone[gone["reason"] == making.NEAR]
    assert (near["similarity"] >= 0.7).all() and (near["nearest"] == near["text"]).all()


def test_rows_are_new_to_each_other():
    made = synthesis().make(30)
    texts = made.shelf.texts
    nearest = [max((novelty.rouge_l(text, other) for other in texts[:place]), default=0) for place, text in enumerate(texts)]
    assert len(texts) == 30 and max(nearest) < 0.7
    assert [row["similarity"] for row in rows(made)] == [round(value, 4) for value in nearest]


@pytest.mark.parametrize("workers", [1, 3])
def test_the_same_seed_gives_the_same_rows_and_another_gives_others(workers):
    one, two, other = (rows(synthesis(seed=seed, workers=workers).make(20)) for seed in (5, 5, 6))
    assert one == two != other


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("after", [1, 2, 7, 20])
def test_an_interruption_at_any_prompt_changes_nothing_and_asks_nothing_twice(workers, after):
    whole = rows(synthesis(workers=workers).make(20))
    asked, lock = [], threading.Lock()

    def breaks(prompt):
        with lock:
            asked.append(prompt)
            if len(asked) == after:
                raise KeyboardInterrupt
        return answer(prompt)

    made = synthesis(breaks, workers=workers)
    with pytest.raises(KeyboardInterrupt):
        made.make(20)
    assert made.ended == "interrupted"
    assert [row["question"] for row in whole] == [row["question"] for row in rows(made.make(20))]
    again = collections.Counter(asked)
    assert sum(again.values()) - len(again) <= workers  # the prompt that broke, and those under way beside it


def test_a_file_of_replies_outlives_the_process(tmp_path):
    file, asked = tmp_path / "made" / "replies.jsonl", []

    def fails(prompt):
        if len(asked) == 9:
            raise DataError("The server is gone.", "Wait.")
        asked.append(prompt)
        return answer(prompt)

    def later(prompt):
        asked.append(prompt)
        return answer(prompt)

    fails.name = later.name = "one model"
    with pytest.raises(DataError, match="server is gone"):
        synthesis(fails, kept=file).make(20)
    assert len(file.read_bytes().splitlines()) == 9
    for _ in range(2):  # twice, since what is written after a torn line must not join it
        file.write_bytes(file.read_bytes()[:-10])
        made = synthesis(later, kept=file).make(20)
    assert [row["question"] for row in rows(made)] == [row["question"] for row in rows(synthesis().make(20))]
    assert len(asked) == len(set(asked)) + 2 and made.asked == 1  # each torn one again
    unseen = synthesis(answer, kept=file).make(2)
    assert unseen.asked > 0  # another generator's replies are not taken for its own


def test_rows_beyond_those_asked_for_come_next_and_going_on_is_as_in_one():
    made = synthesis(workers=3)
    assert len(rows(made.make(7))) == 7 and len(rows(made.make(7))) == 7
    asked = made.asked
    assert len(rows(made.make(8))) == 8 and made.asked == asked  # it had been written
    assert rows(made.make(20)) == rows(synthesis(workers=3).make(20))


def test_it_is_stopped_from_another_thread_and_goes_on():
    begun, made, many = threading.Event(), None, []

    def slow(prompt):
        many.append(prompt)
        if len(many) == 6:
            begun.set()
            assert stopped.wait(30)
        return answer(prompt)

    stopped = threading.Event()
    made = synthesis(slow)
    thread = threading.Thread(target=made.make, args=(50,))
    thread.start()
    assert begun.wait(30)
    with pytest.raises(DataError, match="being made already"):
        made.make(1)
    made.stop()
    stopped.set()
    thread.join(30)
    assert made.ended == "stopped" and len(many) == 6 and len(rows(made)) < 50
    assert rows(made.make(20)) == [row | {"generator": "slow"} for row in rows(synthesis().make(20))] and len(many) == len(set(many))


def test_what_progress_raises_stops_it_and_nothing_is_lost():
    told = []

    def progress(done, wanted):
        told.append((done, wanted))
        if done >= 6 and len(told) < 9:
            raise KeyboardInterrupt

    made = synthesis()
    with pytest.raises(KeyboardInterrupt):
        made.make(20, progress)
    there = rows(made)
    assert len(there) == told[-1][0] >= 6 and told[0] == (0, 20)
    assert rows(made.make(20))[:len(there)] == there


def test_who_writes_nothing_new_is_given_up():
    made = synthesis(lambda prompt: "the same", Kind("test", lambda number, chance, before: _same())).make(5)
    assert len(rows(made)) == 1 and made.counts[making.NEAR] == making.IN_VAIN == made.asked - 1
    assert "given up after 50 attempts" in made.sentence


def _same():
    reply = yield "?"
    return [Made(reply, reply, reply)]


def test_attempts_that_build_on_each_other_are_never_asked_together():
    together, lock, most = set(), threading.Lock(), []

    def attempt(number, chance, before):
        with lock:
            together.add(number)
            most.append({each // 5 for each in together})
        reply = yield f"{number} {len(before)}"
        with lock:
            together.discard(number)
        return [Made(reply, reply, f"{number} {reply}")]

    made = synthesis(kind=Kind("test", attempt, ends=15, together=5), workers=4).make()
    assert made.ended == "nothing is left to try" and made.attempts == 15 and all(len(rounds) == 1 for rounds in most)


def test_several_workers_ask_at_once():
    meet = threading.Barrier(3)

    def wait(prompt):
        meet.wait(30)
        return answer(prompt)

    assert len(rows(synthesis(wait, Kind("test", asking, ends=3), workers=3).make())) > 1


def test_no_row_yet_and_none_at_all_is_a_sentence():
    made = synthesis(lambda prompt: "x", Kind("test", lambda number, chance, before: _none(), ends=2))
    with pytest.raises(DataError, match="not begun.*make"):
        made.rows
    with pytest.raises(DataError, match="dropped: 2 nothing.*dropped"):
        made.make().rows


def _none():
    yield "?"
    return [Dropped("nothing", "")]


def test_half_characters_and_other_things_than_text(tmp_path):
    made = synthesis(lambda prompt: "\ud800 a b", kept=tmp_path / "a.jsonl").make(1)
    again = synthesis(lambda prompt: "\ud800 a b", kept=tmp_path / "a.jsonl").make(1)
    assert rows(made)[0]["answer"] == "? a b" == rows(again)[0]["answer"] and again.asked == 0
    with pytest.raises(DataError, match="answered with NoneType"):
        synthesis(lambda prompt: None).make(1)


@pytest.mark.parametrize(("options", "count", "words"), [
    ({"seed": -1}, 1, "seed"), ({"workers": 0}, 1, "workers"), ({"seed": True}, 1, "seed"), ({}, 0, "no number of rows"),
    ({}, 1.5, "no number of rows"), ({}, None, "Say how many")])
def test_settings_that_cannot_be_are_said_before_anything_is_asked(options, count, words):
    asked = []
    with pytest.raises(DataError, match=words):
        synthesis(asked.append, **options).make(count)
    assert asked == []


def test_a_file_of_something_else_and_a_folder_are_said(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"key": "a", "score": 1}\n')
    with pytest.raises(DataError, match="rows.jsonl, line 1: not a reply"):
        synthesis(kept=tmp_path / "rows.jsonl")
    with pytest.raises(DataError, match="is a folder"):
        synthesis(kept=tmp_path)
