"""What lies in the repository: nothing too large, no path of one machine, no registry's address; a README with every folder and a page with every
file, both true."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LARGEST_MB = 10
PACKAGES = ("workbench", "widgets")
DESCRIBED = (*PACKAGES, "tests", "tools", "docs", "notebooks")
"""Folders whose every file has a line in docs/tree.md, and every folder one in the README, but for `__init__.py` and what lies in a folder of data."""
DATA_FOLDERS = ("workbench/town/base/",)

# Built from pieces, so that this file does not contain what it looks for.
HOME_FOLDERS = "|".join(["work", "root", r"home/[a-z][\w-]*", r"Users/[A-Za-z][\w-]*"])
MACHINE_PATH = re.compile(rf"(?<![\w./~}}-])/(?:{HOME_FOLDERS})/[\w.]")
REGISTRY = re.compile(r"\.".join(["pypi", "org"]) + "|" + r"\.".join(["pythonhosted", "org"]) + "|" + r"\.".join(["download", "pytorch", "org"]))


def tracked() -> list[Path]:
    """Every file of the index that is there, relative to the root."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    return [Path(name) for name in names if name and (ROOT / name).is_file()]


def text_of(path: Path) -> str:
    """The file as text; empty for a binary one, told as git tells it: by a zero byte near the beginning."""
    content = (ROOT / path).read_bytes()
    return "" if b"\0" in content[:8000] else content.decode("utf-8", errors="replace")


def test_no_file_is_over_ten_megabytes() -> None:
    large = {str(path): size for path in tracked() if (size := (ROOT / path).stat().st_size) > LARGEST_MB * 1_000_000}
    assert large == {}


@pytest.mark.parametrize("pattern", [MACHINE_PATH, REGISTRY], ids=["path of a machine", "address of a registry"])
def test_nothing_of_one_machine_is_written_down(pattern: re.Pattern[str]) -> None:
    found = [f"{path}: {match[0]}" for path in tracked() if (match := pattern.search(text_of(path)))]
    assert found == []


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("see " + "/work" + "/main/x", True),
        ('"' + "/home" + "/ada/data" + '"', True),
        ("/Users" + "/ada/data", True),
        ("../shared/data", False),
        ("notebooks/work/x", False),
        ("~/work/x", False),
    ],
)
def test_the_pattern_sees_paths_of_a_machine_only(text: str, seen: bool) -> None:
    assert (MACHINE_PATH.search(text) is not None) is seen


def tree_block(readme: str) -> list[str]:
    """The lines of the fenced block that shows the tree: the one with lines for both packages. Empty when there is none."""
    for block in re.findall(r"^```[^\n]*\n(.*?)^```", readme, flags=re.MULTILINE | re.DOTALL):
        lines = [line for line in block.splitlines() if line.strip()]
        if all(any(re.match(rf"[\s│├└─]*{package}/", line) for line in lines) for package in PACKAGES):
            return lines
    return []


def tree_paths(lines: list[str]) -> list[str]:
    """The paths a tree names, folders ending in /: nesting is read from the column a name begins in, a phrase from two spaces on."""
    stack: list[tuple[int, str]] = []
    paths = []
    for line in lines:
        name = line.lstrip(" \t│├└─")
        column = len(line) - len(name)
        words = re.split(r"\s{2,}|\t|\s+#", name.strip(), maxsplit=1)[0]
        while stack and stack[-1][0] >= column:
            stack.pop()
        for word in words.split(", "):
            path = (stack[-1][1] if stack else "") + word
            paths.append(path)
        if words.endswith("/"):
            stack.append((column, path))
    return [path.removeprefix("./") for path in paths if path not in ("./", ".")]


def tree_faults(lines: list[str], files: list[Path]) -> list[str]:
    """What the tree names and is not there, what is there and the tree does not name, and what shares a line or has no phrase."""
    named = tree_paths(lines)
    folders = {f"{parent.as_posix()}/" for path in files for parent in path.parents if parent != Path(".")}
    present = {path.as_posix() for path in files} | folders
    faults = [f"{path} is in the tree and not in the repository" for path in named if path not in present]
    expected = {path for path in present if path.startswith(tuple(f"{folder}/" for folder in DESCRIBED))
                and not path.endswith("__init__.py") and not any(path.startswith(folder) and path != folder for folder in DATA_FOLDERS)}
    faults += [f"{path} is not in the tree" for path in sorted(expected - set(named))]
    entries = [line.lstrip(" \t│├└─") for line in lines]
    return faults + [f"{entry!r} has no line and phrase of its own" for entry in entries
                     if not re.search(r"\S\s{2,}\S", entry) or ", " in re.split(r"\s{2,}", entry)[0]]


@pytest.mark.parametrize(("page", "files_too"), [("README.md", False), ("docs/tree.md", True)])
def test_the_tree_is_shown_as_it_is(page: str, files_too: bool) -> None:
    assert Path(page) in tracked(), f"{page} is not in the repository"
    lines = tree_block((ROOT / page).read_text(encoding="utf-8"))
    assert lines, f"{page} shows no tree of workbench/ and widgets/ in a fenced block"
    faults = tree_faults(lines, tracked())
    assert [fault for fault in faults if files_too or not (fault.endswith("is not in the tree") and "/ is" not in fault)] == []


def test_a_wrong_tree_is_noticed() -> None:
    files = [Path(name) for name in ("workbench/__init__.py", "workbench/recipes.py", "workbench/runs/start.py", "widgets/frame/panel.py", "LICENSE")]
    right = ["workbench/          the engine", "├── recipes.py      what to train", "└── runs/           the notebook's side",
             "    └── start.py    a recipe becomes a run", "widgets/            panels", "    frame/          their frame", "        panel.py    the base",
             "LICENSE             whose it is"]
    assert tree_faults(right, files) == []
    gone = [line.replace("start.py", "gone.py ") for line in right]
    assert tree_faults(gone, files) == [
        "workbench/runs/gone.py is in the tree and not in the repository", "workbench/runs/start.py is not in the tree"]
    assert tree_faults([line for line in right if "panel.py" not in line], files) == ["widgets/frame/panel.py is not in the tree"]
    shared = ["workbench/  x", "  recipes.py, runs/  y", "  runs/  z", "    start.py", "widgets/  x", "  frame/  y", "    panel.py  z"]
    assert tree_faults(shared, files) == [
        "'recipes.py, runs/  y' has no line and phrase of its own", "'start.py' has no line and phrase of its own"]
