"""Many steps read at once mean what they mean line by line: random journals with resumes, damage and a trainer's own metrics, folded both ways.

How fast that is stands in docs/reliability.md; `tests/faults/long_journal.py` measures it.
"""

from __future__ import annotations

import random

import pytest

from workbench.journal import bulk
from workbench.journal import events as ev
from workbench.journal.history import History
from workbench.journal.log import Log

DAMAGE = (b"\x00\xff garbage", b'{"v":1,"event":"step","st', b"\xc3", b"", b"   ", b"[]", b'{"v":1,"event":"step","time":1.0}', b'{"v":1,"event":"step","step":"x"}',
          b'{"v":1,"event":"step","time":1.0,"step":7.5,"loss":1.0}', b'{"v":1,"event":"step","time":1.0,"step":3,"loss":"low"}',
          b'{"v":1,"event":"step","time":1.0,"step":3,"loss":1.0,"extra":[1]}', b'{"v":1,"event":"step","time":1.0,"step":3,"loss":1.0} {}',
          b'{"v":1,"event":"step","time":null,"step":3,"loss":1.0}', b'{"v":1,"event":"step","time":1.0,"step":3,"loss":1e999}', b'\x00' * 40,
          b'{"v":1,"event":"step","time":1.0,"step":3,"loss":1.0,"extra":{"a":"b"}}', b'{"v":1,"event":"step","time":1.0,"step":3,"loss":\xc3\x28}')
"""Lines that are no events, or none that Arrow may be trusted with."""
ODD = (b'{"v":1,"event":"step","time":2,"step":%d,"loss":3,"tokens_per_s":4,"new":{"of":"a later version"}}', b'{"event":"step","step":%d,"time":1.5}',
       b'{"v":1,"event":"step","step":%d,"loss":true}', b'{"v":1,"event":"step","time":9.5,"step":%d,"extra":{"step":2.0,"kl":1}}\r', b'{"v":1,"event":"later","step":%d}',
       b'{"v":1,"event":"step","time":2.0,"step":%d,"loss":0.1,"extra":{"rows/a b":1,"rows/\xc3\xa9":null,"kl":0.25}}')
"""Lines that are events, and not as this version writes them."""


def journal(seed: int, steps: int = 400) -> bytes:
    """A run that dies and goes on, with evaluations, changes, pauses, and in odd seeds damage and lines of other writers."""
    draw, step, attempt, lines = random.Random(seed), 0, 1, [ev.encode(ev.Started(pid=1, time=1.0)), b"\n"]
    for number in range(steps):
        step += 1
        extra = {name: draw.choice([draw.random(), draw.randrange(9), None]) for name in ("kl", "reward") if draw.random() < 0.4 * (seed % 4 > 1)}
        lines.append(ev.encode(ev.Step(time=1.0 + number, step=step, loss=draw.choice([draw.gauss(2, 1), None, 3e-5]), learning_rate=3e-4, grad_norm=None,
                                       tokens=draw.choice([None, 400]), memory_gib=draw.random(), extra=extra)))
        chance = draw.random()
        if chance < 0.03:
            step = max(0, step - draw.randrange(20))
            attempt += 1
            lines.append(ev.encode(ev.Started(pid=attempt, attempt=attempt, resumed_from=step, time=2.0 + number)))
        elif chance < 0.1:
            lines.append(ev.encode(draw.choice([ev.Evaluated(step=step, loss=draw.random()), ev.Saved(step=step, folder="c"), ev.Paused(step=step), ev.Resumed(step=step),
                                                ev.Changed(step=step, field="learning_rate", old=1.0, new=draw.random(), command=str(number))])))
        elif chance < 0.12:
            step = max(0, step - 3)  # a script that ran again without a word
        elif chance < 0.15 and seed % 2:
            lines.append(draw.choice(DAMAGE) + b"\n")
        elif chance < 0.18 and seed % 2:
            step += 1
            lines.append(draw.choice(ODD).replace(b"%d", str(step).encode()) + b"\n")
    return b"".join(lines)


def told(history: History) -> dict:
    """All that a history says, NaN as text so that it equals itself."""
    plain = {name: value for name, value in vars(history).items() if name not in ("folder", "_tail", "_lock", "columns")}
    return plain | {name: [repr(value) for value in column] for name, column in history.columns.items()}


@pytest.mark.parametrize("seed", range(12))
def test_read_at_once_it_says_what_it_says_line_by_line(tmp_path, monkeypatch, seed):
    """In pieces of some dozen lines each, so that some hold damage and others are read at once."""
    (tmp_path / "journal.jsonl").write_bytes(journal(seed))
    slowly, fast, at_once = History(tmp_path), History(tmp_path), []
    counted = slowly.refresh()
    monkeypatch.setattr(bulk, "LEAST", 1000)
    monkeypatch.setattr(bulk, "PART", 4000)
    read = bulk.steps_of
    monkeypatch.setattr(bulk, "steps_of", lambda lines: at_once.append(read(lines)) or at_once[-1])
    assert fast.refresh() == counted > 300
    assert told(fast) == told(slowly) and (slowly.damaged > 0) == bool(seed % 2)
    assert sum(found is not None for found in at_once) > (2 if seed % 2 else len(at_once) - 1), "most of it was read at once"


@pytest.mark.parametrize("line", [*DAMAGE, *(line.replace(b"%d", b"2") for line in ODD)], ids=repr)
def test_one_odd_line_among_steps_means_the_same(tmp_path, monkeypatch, line):
    around = [ev.encode(ev.Step(step=n, loss=float(n), time=1.0)) for n in (1, 3, 4)]
    (tmp_path / "journal.jsonl").write_bytes(b"".join([around[0], line + b"\n", *around[1:]]))
    slowly, fast = History(tmp_path), History(tmp_path)
    slowly.refresh()
    monkeypatch.setattr(bulk, "LEAST", 1)
    fast.refresh()
    assert told(fast) == told(slowly) and slowly.step == 4


def test_cut_at_any_byte_it_says_the_whole_lines_before_and_is_written_on(tmp_path):
    """Nothing a reader saw is lost to the next writer, whose own first event is read."""
    lines = [ev.encode(event) for event in (ev.Started(pid=1), ev.Step(step=1, loss=2.0), ev.Sampled(step=1, prompt="où\x00", reply="mañana 🙂"), ev.Step(step=2, loss=1.5))]
    whole, path = b"".join(lines), tmp_path / "journal.jsonl"
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        history = History(tmp_path)
        seen = history.refresh()
        assert seen == whole[:cut].count(b"\n") and history.damaged == 0
        log = Log(path)
        log.write(ev.encode(ev.Started(pid=2, attempt=2)))
        log.close()
        complete = cut < len(whole) and whole[cut:cut + 1] == b"\n"  # all of an event but its line end
        torn = not complete and not whole[:cut].endswith(b"\n") and cut > 0
        assert history.refresh() == 1 + complete and history.damaged == torn and history.started.pid == 2
