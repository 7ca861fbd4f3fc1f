"""History folded from journals written here: resumes, forks, damage, two readers in step. Real runs' journals are in `tests/runs`."""

from __future__ import annotations

import math
import os
import threading

from workbench.journal import events as ev
from workbench.journal.history import History
from workbench.journal.log import Log


def written(folder, *events: ev.Event) -> History:
    log = Log(folder / "journal.jsonl")
    for event in events:
        log.write(ev.encode(event))
    log.close()
    history = History(folder)
    history.refresh()
    return history


def steps(first: int, last: int, scale: float = 1.0) -> list[ev.Event]:
    return [ev.Step(step=n, loss=scale * n) for n in range(first, last + 1)]


def prepared(total: int) -> ev.Prepared:
    return ev.Prepared(rows=9, heldout_rows=1, dropped={}, truncated=0, tokens=9, trained_tokens=4, parameters=5, trainable_parameters=5, steps=total)


def test_after_a_resume_every_curve_has_one_value_a_step(tmp_path):
    history = written(tmp_path, ev.Started(pid=1), prepared(9), *steps(1, 4), ev.Evaluated(step=4, loss=4.0), ev.Saved(step=4, folder="a"),
                      *steps(5, 7), ev.Evaluated(step=7, loss=7.0), ev.Sampled(step=7, prompt="p", reply="r"),
                      ev.Started(pid=2, attempt=2, resumed_from=4), *steps(5, 6, scale=10.0))
    assert list(history.columns["step"]) == [1, 2, 3, 4, 5, 6]
    assert list(history.columns["loss"]) == [1, 2, 3, 4, 50, 60]
    assert [e.step for e in history.evaluations] == [4] and history.samples == [] and [c.step for c in history.checkpoints] == [4]
    assert history.resumptions == [4] and history.step == 6 and history.generation == 1


def test_a_change_taken_back_by_a_resume_is_remembered_until_it_is_made_again(tmp_path):
    """Killed at 7, resumed from 4, killed at 5 before the change of step 6 came round again: the third attempt must still know of it."""
    change = ev.Changed(step=6, field="learning_rate", old=1.0, new=0.5, command="c1")
    lines = [ev.Started(pid=1), prepared(9), *steps(1, 6), change, *steps(7, 7), ev.Started(pid=2, attempt=2, resumed_from=4), *steps(5, 5)]
    history = written(tmp_path, *lines)
    assert history.changes == [] and history.undone == [change] and history.setting("learning_rate", 1.0) == 1.0
    written(tmp_path, ev.Started(pid=3, attempt=3, resumed_from=4), *steps(5, 6), change)
    history.refresh()
    assert history.changes == [change] and history.undone == [] and history.setting("learning_rate", 1.0) == 0.5


def test_a_change_at_the_checkpoint_itself_is_made_again_and_an_earlier_one_stays(tmp_path):
    early, late = (ev.Changed(step=n, field="learning_rate", old=1.0, new=n / 10, command=f"c{n}") for n in (3, 4))
    history = written(tmp_path, ev.Started(pid=1), *steps(1, 3), early, *steps(4, 4), late, *steps(5, 5), ev.Started(pid=2, attempt=2, resumed_from=4))
    assert history.changes == [early] and history.undone == [late]


def test_a_first_start_after_a_fork_keeps_the_parents_curve(tmp_path):
    history = written(tmp_path, *steps(1, 4), ev.Forked(parent="/runs/a", step=5, checkpoint=4), ev.Started(pid=9, resumed_from=4), prepared(9), *steps(5, 6))
    assert list(history.columns["loss"]) == [1, 2, 3, 4, 5, 6] and history.forked.parent == "/runs/a" and history.resumptions == []


def test_damaged_lines_are_counted_and_passed_over(tmp_path):
    (tmp_path / "journal.jsonl").write_bytes(ev.encode(ev.Step(step=1, loss=1.0)) + b"\x00\x00garbage\n{\"event\":\"step\"}\n\n" + ev.encode(ev.Step(step=2, loss=2.0)) + b'{"event":"st')
    history = History(tmp_path)
    assert history.refresh() == 2
    assert list(history.columns["loss"]) == [1, 2] and history.damaged == 2
    with open(tmp_path / "journal.jsonl", "ab") as file:
        file.write(b'ep","step":3,"loss":3.0}\n')
    assert history.refresh() == 1 and history.step == 3 and history.damaged == 2


def test_a_metric_that_comes_late_or_stays_away_is_nan_there(tmp_path):
    history = written(tmp_path, ev.Step(step=1, loss=1.0), ev.Step(step=2, loss=None, extra={"entropy": 0.5}), ev.Step(step=3, loss=3.0))
    entropy, loss = history.metrics()["entropy"], history.metrics()["loss"]
    assert math.isnan(entropy[0]) and entropy[1] == 0.5 and math.isnan(entropy[2]) and math.isnan(loss[1])
    assert len({len(column) for column in history.metrics().values()}) == 1


def test_phases_follow_the_events(tmp_path):
    expected = [(ev.Queued(position=1, behind=["a"]), "queued"), (ev.Started(pid=1), "starting"), (prepared(5), "running"), (ev.Step(step=1, loss=1.0), "running"),
                (ev.Paused(step=1), "paused"), (ev.Step(step=2, loss=1.0), "paused"), (ev.Resumed(step=2), "running"),
                (ev.Ended(step=2, status="stopped"), "stopped"), (ev.Started(pid=2, attempt=2, resumed_from=0), "starting")]
    history = History(tmp_path)
    for event, phase in expected:
        history.apply(event)
        assert history.phase == phase, event


def test_two_readers_agree_at_every_moment_of_a_journal_growing_under_them(tmp_path):
    """One reads after every event, the other from several threads while it is written; in the end, and at each common length, they say the same."""
    log, careful, hasty, done = Log(tmp_path / "journal.jsonl"), History(tmp_path), History(tmp_path), threading.Event()

    def read() -> None:
        while not done.is_set():
            hasty.refresh()

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for n in range(1, 400):
        log.write(ev.encode(ev.Step(step=n, loss=1 / n)))
        if n % 50 == 0:
            log.write(ev.encode(ev.Started(pid=n, attempt=n, resumed_from=n - 10)))
        careful.refresh()
        both = hasty.metrics()
        known = min(len(both["step"]), len(careful.columns["step"])) - 10  # what no resume takes back any more
        assert list(both["step"])[:max(0, known)] == list(careful.columns["step"])[:max(0, known)]
    done.set()
    for thread in threads:
        thread.join()
    hasty.refresh()
    assert {n: c.tobytes() for n, c in hasty.metrics().items()} == {n: c.tobytes() for n, c in careful.metrics().items()}
    assert hasty.damaged == careful.damaged == 0 and hasty.step == careful.step
    os.close(log.fd)
