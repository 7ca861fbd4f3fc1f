"""Which way imports run, and how fast the packages open.

Each rule is a table: a new folder of the engine is one line in FLOORS, and one in GROUND when it knows nothing of the rest.
Imports inside functions and under TYPE_CHECKING count, and so does `importlib.import_module("a.literal.name")`.
A worker named on a command line is not an import: `runs` starts `training` that way.
"""

from __future__ import annotations

import ast
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("workbench", "widgets")

# A unit is a folder or a module directly below a package. It imports units of lower floors, and of its own floor
# where no other table forbids it. The package's own __init__ stands on top.
FLOORS = {
    "workbench.legible": 0,
    "workbench.errors": 0,
    "workbench.living": 1,
    "workbench.device_queue": 1,
    "workbench.quota": 1,
    "workbench.webhook": 1,
    "workbench.journal": 1,
    "workbench.templates": 1,
    "workbench.models": 1,
    "workbench.adapters": 1,
    "workbench.quantization": 1,
    "workbench.alignment": 1,
    "workbench.town": 1,
    "workbench.data": 2,
    "workbench.launching": 2,
    "workbench.probes": 2,
    "workbench.recipes": 2,
    "workbench.sizing": 2,
    "workbench.runs": 3,
    "workbench.training": 3,
    "workbench.evaluation": 4,
    "workbench.__main__": 4,
    "workbench": 5,
    "widgets.frame": 6,
    "widgets.data_explorer": 7,
    "widgets.dataset_balancer": 7,
    "widgets.kl_monitor": 7,
    "widgets.method_chooser": 7,
    "widgets.preference_arena": 7,
    "widgets.quantization_viewer": 7,
    "widgets.rank_explorer": 7,
    "widgets.reward_gap": 7,
    "widgets.run_monitor": 7,
    "widgets.template_builder": 7,
    "widgets.workbench_app": 8,
    "widgets": 9,
}

GROUND = ("journal", "templates", "models", "adapters", "quantization", "alignment", "town")
"""Folders of the engine that import none of their neighbours of the same floor."""

STRANGERS = (("workbench.runs", "workbench.training"),)
"""Pairs that never import each other, in either direction: they meet in the journal."""

NOT_IN_THE_ENGINE = ("plotly", "ipywidgets", "IPython", "anywidget", "widgets")
"""Top-level names that nothing below workbench/ imports."""

PANELS_JOINED_BY = "widgets.workbench_app"
"""The only module of widgets/ that may import more than the frame and the engine's public names."""

HEAVY = ("torch", "transformers", "trl", "datasets", "peft")
"""Modules that opening both packages leaves unimported."""

OPENING_SECONDS = 0.8


class Import(NamedTuple):
    """One import: the importing module, the imported one (dotted, absolute), and its line."""

    importer: str
    imported: str
    line: int


def module_name(path: Path) -> str:
    """`workbench/runs/start.py` → `workbench.runs.start`; a package's `__init__.py` → the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def read_sources() -> dict[str, tuple[str, bool]]:
    """Module name → (source, whether it is a package's __init__), for every module of both packages."""
    paths = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    return {module_name(path): (path.read_text(encoding="utf-8"), path.name == "__init__.py") for path in paths}


def imports_of(module: str, source: str, is_package: bool, modules: Mapping[str, object]) -> Iterator[Import]:
    """Every import of `source`, relative ones resolved; `from p import n` names p.n where that is one of `modules`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = module.split(".") if is_package else module.split(".")[:-1]
                kept = above[: len(above) - (node.level - 1)]
                base = ".".join([*kept, *filter(None, [node.module])])
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield Import(module, full if full in modules else base, node.lineno)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                yield Import(module, node.args[0].value, node.lineno)


def unit_of(module: str) -> str:
    """`workbench.runs.start` → `workbench.runs`, `workbench` → `workbench`, `widgets.run_monitor.figure` → its panel `widgets.run_monitor`."""
    return ".".join(module.split(".")[:2])


def is_ours(module: str) -> bool:
    return module.split(".")[0] in PACKAGES


def violations(sources: Mapping[str, tuple[str, bool]], floors: Mapping[str, int] = FLOORS) -> list[str]:
    """One sentence for each import that breaks a rule and for each unit that no table knows."""
    found = []
    ground = {f"workbench.{name}" for name in GROUND}
    for unit in sorted({unit_of(module) for module in sources} - set(floors)):
        found.append(f"{unit} stands on no floor: add its line to FLOORS")
    for module, (source, is_package) in sources.items():
        for importer, imported, line in imports_of(module, source, is_package, sources):
            here, there = unit_of(importer), unit_of(imported)
            where = f"{importer}:{line} imports {imported}"
            if importer.split(".")[0] == "workbench" and imported.split(".")[0] in NOT_IN_THE_ENGINE:
                found.append(f"{where}: the engine knows nothing of widgets and plots")
                continue
            if not is_ours(imported) or here == there or here not in floors or there not in floors:
                continue
            if floors[there] > floors[here]:
                found.append(f"{where}: up from floor {floors[here]} to {floors[there]}")
            if here in ground and floors[there] == floors[here]:
                found.append(f"{where}: a ground folder imports none of its neighbours")
            if (here, there) in STRANGERS or (there, here) in STRANGERS:
                found.append(f"{where}: these two never import each other")
            if here.split(".")[0] == there.split(".")[0] == "widgets" and floors[here] == floors[there]:
                found.append(f"{where}: panels never import each other, {PANELS_JOINED_BY} joins them")
    return found


def circles(sources: Mapping[str, tuple[str, bool]]) -> list[str]:
    """Each circle of units as `a → b → a`, once."""
    edges: dict[str, set[str]] = {}
    for module, (source, is_package) in sources.items():
        targets = {unit_of(found.imported) for found in imports_of(module, source, is_package, sources) if is_ours(found.imported)}
        edges.setdefault(unit_of(module), set()).update(targets - {unit_of(module)})
    found: set[tuple[str, ...]] = set()

    def walk(trail: tuple[str, ...]) -> None:
        for target in sorted(edges.get(trail[-1], ())):
            if target in trail:
                circle = trail[trail.index(target) :]
                first = circle.index(min(circle))
                found.add((*circle[first:], *circle[:first]))
            else:
                walk((*trail, target))

    for unit in sorted(edges):
        walk((unit,))
    return [" → ".join((*circle, circle[0])) for circle in sorted(found)]


def test_imports_run_down_only() -> None:
    assert violations(read_sources()) == []


def test_no_circle_of_folders() -> None:
    assert circles(read_sources()) == []


MODULES = ("workbench", "workbench.recipes", "workbench.runs", "workbench.training", "workbench.journal", "workbench.town",
           "widgets.frame", "widgets.run_monitor", "widgets.run_monitor.run_list", "widgets.rank_explorer")


@pytest.mark.parametrize(
    ("module", "source", "expected"),
    [
        ("workbench.runs.start", "def f():\n    from workbench.training import worker\n", "never import each other"),
        ("workbench.training.worker", "from ..runs import queue\n", "never import each other"),
        ("workbench.training.worker", "import importlib\nimportlib.import_module('workbench.runs.queue')\n", "never import each other"),
        ("workbench.recipes", "from . import runs\n", "up from floor 2 to 3"),
        ("workbench.recipes", "import workbench\n", "up from floor 2 to 5"),
        ("workbench.journal.log", "from workbench.town import facts\n", "none of its neighbours"),
        ("workbench.runs.report", "def f():\n    import plotly.graph_objects as go\n", "knows nothing of widgets"),
        ("workbench.runs.report", "from widgets import RunMonitor\n", "knows nothing of widgets"),
        ("widgets.rank_explorer", "from widgets.run_monitor import RunMonitor\n", "panels never import each other"),
        ("widgets.rank_explorer", "from widgets.run_monitor import run_list\n", "panels never import each other"),
        ("widgets.frame.panel", "from ..run_monitor import RunMonitor\n", "up from floor 6 to 7"),
        ("workbench.novelty.thing", "import json\n", "stands on no floor"),
    ],
)
def test_the_checker_sees_a_violation(module: str, source: str, expected: str) -> None:
    sources = {**{name: ("", True) for name in MODULES}, module: (source, False)}
    found = violations(sources, {**FLOORS, "widgets.rank_explorer": FLOORS["widgets.run_monitor"]})
    assert len(found) == 1 and expected in found[0], found


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("workbench.runs.start", "from workbench import recipes\nfrom ..journal import log\nfrom .queue import Queue\n"),
        ("workbench.training.worker", "import torch\nfrom ..models import loading\n"),
        ("widgets.run_monitor.panel", "import plotly\nimport workbench as wb\nfrom . import run_list\nfrom ..frame import panel\n"),
    ],
)
def test_the_checker_lets_a_right_import_pass(module: str, source: str) -> None:
    sources = {**{name: ("", True) for name in MODULES if name != "widgets.rank_explorer"}, module: (source, False)}
    assert violations(sources) == []


def test_the_checker_sees_a_circle() -> None:
    sources = {
        "workbench.data.sources": ("from workbench.recipes import Recipe\n", False),
        "workbench.recipes": ("def f():\n    from .data import sources\n", False),
        "workbench.data": ("", True),
    }
    assert circles(sources) == ["workbench.data → workbench.recipes → workbench.data"]


OPEN_AND_REPORT = """
import json, sys, time
begun = time.perf_counter()
{statements}
seconds = time.perf_counter() - begun
print(json.dumps({{"seconds": seconds, "modules": sorted({{name.split(".")[0] for name in sys.modules}})}}))
"""


def open_in_a_fresh_process(statements: str) -> tuple[float, set[str]]:
    """Seconds that the statements took, and the top-level names in `sys.modules` after them."""
    script = OPEN_AND_REPORT.format(statements=statements)
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    return report["seconds"], set(report["modules"])


def test_both_packages_open_quickly_and_leave_the_heavy_ones_alone() -> None:
    reports = [open_in_a_fresh_process("import workbench, widgets") for _ in range(5)]
    assert set(HEAVY) & reports[0][1] == set()
    seconds = statistics.median(seconds for seconds, _ in reports)
    print(f"import workbench, widgets: {seconds:.2f} s, the median of {len(reports)} fresh processes")
    assert seconds <= OPENING_SECONDS


@pytest.mark.parametrize(
    "statements",
    [
        "from widgets import RunMonitor",
        "import workbench as wb\nwb.Recipe, wb.LoRA, wb.Full, wb.WorkbenchError",
        "import workbench as wb\nwb.start, wb.attach, wb.list_runs, wb.Run",
    ],
)
def test_the_names_a_notebook_begins_with_are_light_too(statements: str) -> None:
    seconds, modules = open_in_a_fresh_process(statements)
    print(f"{statements.splitlines()[-1]}: {seconds:.2f} s")
    assert set(HEAVY) & modules == set()
