"""What a mixture costs: an order of a million rows, the first thousand rows over ten million, the arithmetic behind a slider.

Bars: 1,000,000 rows ordered in at most 1 s (from 2 sources, 9 and 50, median of 5 each). The first 1,000 rows over 10,000,000 at most 0.5
s after the call and at most 300 MB above the start, in a process of its own: once in memory-mapped Arrow files of 1 GB (as `datasets`
keeps them), opening them counted, where the bar is on the process's own memory and the pages of the files that the kernel has mapped (it
maps many around each row, and takes them back when it needs them) are printed beside it; once in tables that are in memory already, where
the bar is on the peak of all. Rates and epochs of 50 sources at most 10 ms, half of what a slider may take in all.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from workbench.data.mixture import Mixture

ROOT = Path(__file__).resolve().parents[2]
ROWS = 10_000_000

FIRST = """import json, sys, time
import datasets
from workbench.data.mixture import Mixture
def status():
    lines = dict(line.split(":") for line in open("/proc/self/status"))
    return {name: int(lines[name].split()[0]) * 1024 / 1e6 for name in ("VmHWM", "VmRSS", "RssAnon", "RssFile")}
def opened():
    return {name: datasets.Dataset.from_file(path, in_memory=held) for name, path in json.loads(sys.argv[1]).items()}
held = sys.argv[2] == "held"
sources = opened() if held else None
open("/proc/self/clear_refs", "w").write("5")  # the peak counts from here
before, begun = status(), time.perf_counter()
mixture = Mixture(sources or opened(), cap=1_000_000, temperature=2)
first = mixture.draw(1000, seed=1)[:]
seconds, after = time.perf_counter() - begun, status()
assert len(set(first["text"])) == 1000 and sum(mixture.rows_of(name) for name in mixture.sources) == 10_000_000
print(json.dumps({"seconds": seconds, "peak_mb": after["VmHWM"] - before["VmRSS"], "own_mb": after["RssAnon"] - before["RssAnon"],
                  "mapped_mb": after["RssFile"] - before["RssFile"]}))"""


def timed(call, times):
    """Seconds of each of so many calls."""
    out = []
    for _ in range(times):
        begun = time.perf_counter()
        call()
        out.append(time.perf_counter() - begun)
    return out


@pytest.mark.parametrize("count", [2, 9, 50])
def test_the_order_of_a_million_rows(count, report):
    sizes = np.random.default_rng(count).pareto(0.8, count) + 0.01
    rows = {f"s{i}": int(ROWS * size / sizes.sum()) + 1 for i, size in enumerate(sizes)}
    mixture = Mixture(rows, cap=1_000_000, temperature=2)
    mixture.order(1000)
    seconds = timed(lambda: mixture.order(1_000_000, seed=1), 5)
    report(sources=count, rows_of_sources=sum(rows.values()), seconds=statistics.median(seconds), worst_s=max(seconds))
    assert statistics.median(seconds) <= 1.0


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="the peak of a process is reset by Linux alone")
@pytest.mark.parametrize(("kind", "width"), [("mapped", 100), ("held", 20)])
def test_the_first_thousand_rows_over_ten_million(kind, width, tmp_path, report):
    files, schema = {}, pa.schema([("text", pa.string())])
    for i, share in enumerate((0.6, 0.3, 0.07, 0.03)):
        path, count = tmp_path / f"{i}.arrow", round(ROWS * share)
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
            for begun in range(0, count, 100_000):
                numbers = pc.cast(pa.array(np.arange(begun, min(begun + 100_000, count)) + i * ROWS), pa.string())
                writer.write_batch(pa.record_batch([pc.utf8_rpad(numbers, width)], schema=schema))
        files[f"s{i}"] = str(path)
    runs = [json.loads(subprocess.run([sys.executable, "-c", FIRST, json.dumps(files), kind], cwd=ROOT, capture_output=True, text=True,
                                      check=True).stdout) for _ in range(3)]
    figures = {name: max(run[name] for run in runs) for name in runs[0]}
    seconds = statistics.median(run["seconds"] for run in runs)
    report(kind=kind, rows=ROWS, file_mb=sum(map(os.path.getsize, files.values())) / 1e6, **figures | {"seconds": seconds})
    for path in files.values():
        os.remove(path)
    assert seconds <= 0.5 and figures["own_mb" if kind == "mapped" else "peak_mb"] <= 300


def test_rates_and_epochs_behind_a_slider(report):
    rows = {f"s{i}": int(n) for i, n in enumerate(np.random.default_rng(0).multinomial(ROWS, np.full(50, 0.02)))}
    tokens = {name: 97 * count for name, count in rows.items()}
    calls = iter(range(1, 400))

    def moved():
        mixture = Mixture(rows, cap=100_000 + next(calls), temperature=1 + next(calls) / 100, multipliers={"s3": 2.5})
        return mixture.rates, mixture.epochs(10**9, tokens), mixture.token_shares(tokens)

    assert sum(moved()[0].values()) == pytest.approx(1)
    milliseconds = [1000 * second for second in timed(moved, 100)]
    report(sources=50, median_ms=statistics.median(milliseconds), worst_ms=max(milliseconds))
    assert statistics.median(milliseconds) <= 10
