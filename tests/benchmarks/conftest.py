"""What the benchmarks share: where their printed results go, and a device queue of their own."""

import json
import os
import statistics
from pathlib import Path

import pytest

from tests.browser.conftest import lab  # noqa: F401 - the fixture

RESULTS = Path(__file__).resolve().parents[2] / "build" / "bench.jsonl"


@pytest.fixture(autouse=True)
def own_queue(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_QUEUE", str(tmp_path / "queue"))


@pytest.fixture
def report(request, capsys):
    """Print a line of named figures, and append it to build/bench.jsonl."""
    def line(**figures):
        body = {"benchmark": request.node.name, "cores": os.cpu_count(), **figures}
        RESULTS.parent.mkdir(exist_ok=True)
        with open(RESULTS, "a") as file:
            file.write(json.dumps(body) + "\n")
        with capsys.disabled():
            print("\n" + request.node.name + ": " + ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in figures.items()))
    return line


@pytest.fixture
def upper_bound():
    """The one-sided upper confidence bound of a mean, by Student's t."""
    def bound(values: list[float], confidence: float = 0.95) -> float:
        from scipy import stats

        return statistics.mean(values) + stats.t.ppf(confidence, len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5
    return bound
