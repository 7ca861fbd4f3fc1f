"""The append-only log on a real disk: torn lines, garbage, several writers, a reader at every byte. Full disks are in `tests/faults`."""

from __future__ import annotations

import os
import random
import threading

import pytest

from workbench.journal import commands as cmd
from workbench.journal import events as ev
from workbench.journal.log import Log, Tail, append


def test_a_reader_at_every_byte_never_sees_half_a_line(tmp_path):
    lines = [ev.encode(ev.Step(step=n, loss=1 / n)) for n in range(1, 6)]
    whole, path = b"".join(lines), tmp_path / "journal.jsonl"
    tail, seen = Tail(path), []
    for end in range(len(whole) + 1):
        path.write_bytes(whole[:end])
        seen += list(tail.read())
        assert b"\n".join(seen) == b"\n".join(whole[:end].split(b"\n")[:len(seen)])
    assert [ev.decode(line).step for line in seen] == [1, 2, 3, 4, 5]
    assert tail.offset == len(whole) and list(tail.read()) == []


def test_a_missing_file_has_no_lines_yet_and_is_read_once_it_is_there(tmp_path):
    tail = Tail(tmp_path / "journal.jsonl")
    assert list(tail.read()) == []
    append(tmp_path / "journal.jsonl", b"a\n")
    assert list(tail.read()) == [b"a"]


def test_opening_a_log_closes_the_line_that_a_crash_left_torn(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"event":"step","st')
    log = Log(path)
    log.write(b"next\n")
    log.close()
    assert list(Tail(path).read()) == [b'{"event":"step","st', b"next"]


@pytest.mark.parametrize("write", ["log.write", "partial(append, path)"])
def test_a_blocked_write_leaves_no_part_of_its_line_and_says_so(tmp_path, write):
    """RLIMIT_FSIZE makes the kernel cut a real write short and refuse the rest, as a full disk does."""
    path = tmp_path / "journal.jsonl"
    code = f"""
import resource, signal
from functools import partial
from pathlib import Path
from workbench.journal.log import Log, append
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path = Path({str(path)!r})
log = Log(path)
log.write(b"a" * 99 + bytes([10]))
resource.setrlimit(resource.RLIMIT_FSIZE, (150, 150))
try:
    {write}(b"b" * 99 + bytes([10]))
except OSError as error:
    print("refused", error.errno)
"""
    import subprocess
    import sys

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    assert done.stdout.startswith("refused"), done.stderr
    assert path.read_bytes() == b"a" * 99 + b"\n"


def test_lines_appended_by_eight_threads_at_once_stay_whole(tmp_path):
    path = tmp_path / "commands.jsonl"
    sent: list[list[str]] = [[] for _ in range(8)]

    def write(index: int) -> None:
        for number in range(50):
            sent[index].append(cmd.send(tmp_path, cmd.Set(values={"learning_rate": 1 / (number + 1)})))

    threads = [threading.Thread(target=write, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    got = [cmd.decode(line) for line in Tail(path).read()]
    assert sorted(c.id for c in got) == sorted(ident for part in sent for ident in part)
    for part in sent:  # each writer's own order is kept
        assert [c.id for c in got if c.id in set(part)] == part


@pytest.mark.parametrize("ending", [b"", b"torn"])
def test_one_read_goes_through_the_whole_file_block_by_block(tmp_path, ending):
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b"".join(b"%06d\n" % n for n in range(1000)) + ending)
    tail = Tail(path)
    assert list(tail.read(block_size=100)) == [b"%06d" % n for n in range(1000)]  # 14 whole lines in 100 bytes
    assert tail.offset == 7000 and list(tail.read(block_size=100)) == []


def test_a_file_larger_than_one_block_is_read_whole_as_it_is_called(tmp_path):
    """History, forks and the worker's list of commands call it once."""
    path = tmp_path / "journal.jsonl"
    with open(path, "wb") as file:
        for number in range(70):
            file.write(b"%02d" % number + b"x" * (1 << 20) + b"\n")
    assert [int(line[:2]) for line in Tail(path).read()] == list(range(70))


def test_an_endless_line_is_stepped_over(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b"x" * 250 + b"\nafter\n")
    assert list(Tail(path).read(block_size=100))[-1] == b"after"


@pytest.mark.parametrize("seed", range(3))
def test_events_come_back_as_they_were_whatever_is_in_their_text(tmp_path, seed):
    draw = random.Random(seed)
    text = "".join(chr(draw.choice([draw.randrange(32, 0x2FF), 0x2028, 0x85, 10, 13, 0x1F600])) for _ in range(200))
    events = [ev.Sampled(time=1.0, step=1, prompt=text, reply=text[::-1]), ev.Changed(time=2.0, step=2, field="learning_rate", old=1e-3, new=3e-4, by=text),
              ev.Answered(time=3.0, step=3, command="c", result=[[text, 0.5]])]
    log = Log(tmp_path / "journal.jsonl")
    for event in events:
        log.write(ev.encode(event))
    log.close()
    assert [ev.decode(line) for line in Tail(tmp_path / "journal.jsonl").read()] == events


def test_numbers_that_are_not_finite_become_null():
    back = ev.decode(ev.encode(ev.Step(step=1, loss=float("nan"), grad_norm=float("inf"))))
    assert back.loss is None and back.grad_norm is None


def test_an_event_of_a_newer_version_is_kept_as_unknown_and_a_new_field_is_passed_over():
    assert ev.decode(b'{"v":9,"event":"teleported","time":5.0,"where":"x"}') == ev.Unknown(time=5.0, event="teleported", fields={"where": "x"})
    assert ev.decode(b'{"v":9,"event":"step","step":3,"loss":1.0,"mood":"good"}') == ev.Step(step=3, loss=1.0)


@pytest.mark.parametrize("line", [b"", b"null", b"[]", b"{}", b'{"event":"step"}', b'{"event":"step","step":1', b"\xff\xfe", b'"step"', b"NaN"])
def test_what_is_no_event_is_a_value_error(line):
    with pytest.raises(ValueError):
        ev.decode(line)


@pytest.mark.parametrize("line", [
    b'{"command":"set","values":5}', b'{"command":"set","values":{},"at_step":"3"}', b'{"command":"take_steps","count":"many"}', b'{"command":"pause","at_step":1.5}',
    b'{"command":"probe","probe":3}', b'{"command":"probe","probe":"generate","arguments":[]}', b'{"command":"fly"}', b"[]", b'{"command":"stop","id":7}'])
def test_what_is_no_command_is_a_value_error_and_never_reaches_a_trainer(line):
    with pytest.raises(ValueError):
        cmd.decode(line)
