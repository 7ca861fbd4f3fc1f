"""Thirty people judge a hundred pairs each at once, in one store of SQLite and one of PostgreSQL; one of them is killed with -9 in the
middle.

Bars: nothing that anybody was told is kept is lost or there twice, and nobody waits over 200 ms for a judgement to be kept, nor for the
next pair. Each judge is a process and reads for half a second on average, several times faster than people do: sixty judgements a second.
"""

from __future__ import annotations

import os
import statistics

from tests.alignment.class_of_judges import check, filled, hold
from tests.alignment.conftest import postgres, url  # noqa: F401 - the fixtures

PEOPLE, COUNT, PAUSE_S = 30, 100, 0.5


def test_a_class_of_thirty(url, tmp_path, report):  # noqa: F811
    filled(url)
    load = os.getloadavg()[0]
    told = hold(url, tmp_path / "told", PEOPLE, COUNT, PAUSE_S)
    check(url, told, PEOPLE, COUNT)
    ms = {
        f"{what}_{name}_ms": 1000 * value
        for what, waits in (("judge", told.judged_s), ("next", told.asked_s))
        for name, value in (("median", statistics.median(waits)), ("p99", waits[int(0.99 * len(waits))]), ("longest", waits[-1]))
    }
    report(database="PostgreSQL" if "://" in url else "SQLite", judgements=len(told.kept), lost=0, **ms, load_before=load)
    assert ms["judge_longest_ms"] <= 200 and ms["next_longest_ms"] <= 200
