"""What lies in the repository: nothing too large, no path of one machine, no registry's address, and a README whose tree is true."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LARGEST_MB = 10
PACKAGES = ("workbench", "widgets")

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
    """What the tree names and is not there, and what lies directly in a package and the tree does not name."""
    named = tree_paths(lines)
    folders = {f"{parent.as_posix()}/" for path in files for parent in path.parents if parent != Path(".")}
    present = {path.as_posix() for path in files} | folders
    absent = [f"{path} is in the README's tree and not in the repository" for path in named if path not in present]
    direct = {"/".join(path.parts[:2]) + ("/" if len(path.parts) > 2 else "") for path in files if path.parts[0] in PACKAGES}
    expected = {path for path in direct if not path.endswith("__init__.py")}
    return absent + [f"{path} is not in the README's tree" for path in sorted(expected - set(named))]


def test_the_readme_shows_the_tree_as_it_is() -> None:
    readme = ROOT / "README.md"
    if Path("README.md") not in tracked():
        return
    lines = tree_block(readme.read_text(encoding="utf-8"))
    assert lines, "README.md shows no tree of workbench/ and widgets/ in a fenced block"
    assert tree_faults(lines, tracked()) == []


def test_a_wrong_tree_is_noticed() -> None:
    files = [Path(name) for name in ("workbench/__init__.py", "workbench/recipes.py", "workbench/runs/start.py", "widgets/frame/panel.py", "LICENSE")]
    right = ["workbench/          the engine", "├── recipes.py      what to train", "└── runs/           the notebook's side", "widgets/",
             "    frame/", "        panel.py        the base", "LICENSE"]
    assert tree_faults(right, files) == []
    assert tree_faults(["workbench/", "  recipes.py  x", "  runs/  y", "  gone.py  z", "widgets/", "  frame/"], files) == [
        "workbench/gone.py is in the README's tree and not in the repository"]
    assert tree_faults(["workbench/", "  recipes.py  x", "widgets/", "  frame/"], files) == ["workbench/runs/ is not in the README's tree"]
