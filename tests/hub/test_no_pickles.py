"""Of our own source: nothing unpickles, `torch.load` reads weights only, and no call lets a repository's code run."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
UNPICKLE = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
FILES = [path for package in ("workbench", "widgets", "tools") for path in sorted((ROOT / package).rglob("*.py"))]


def test_nothing_unpickles_and_no_code_of_a_repository_runs():
    calls, wrong = 0, []
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.partition(".")[0] in UNPICKLE for name in names):
                wrong.append((path.name, node.lineno, names))
            if isinstance(node, ast.Call):
                calls += 1
                given = {word.arg: getattr(word.value, "value", None) for word in node.keywords}
                if ast.unparse(node.func) == "torch.load" and given.get("weights_only") is not True:
                    wrong.append((path.name, node.lineno, "torch.load"))
                if given.get("trust_remote_code", False) is not False or given.get("allow_pickle", False) is not False:
                    wrong.append((path.name, node.lineno, sorted(given)))
    assert calls > 1000 and wrong == []
