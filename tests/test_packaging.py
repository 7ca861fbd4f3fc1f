"""pyproject.toml, constraints.txt, environment.yml and what the code imports: four lists that have to agree.

Nothing here is installed or built; `make test` has done that by the time this runs.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from importlib.metadata import distributions, packages_distributions, version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tools import ensure_chromium

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = ("workbench", "widgets")

NEEDED_BY_OTHERS = {
    "accelerate": "transformers' Trainer needs it, and says so only when a run begins",
    "bitsandbytes": "8-bit optimizers and 4-bit models, imported by transformers and peft when a recipe asks",
    "jinja2": "transformers renders chat templates with it, and does not require it itself",
    "ipykernel": "the kernel that nbclient and JupyterLab start",
    "jupyterlab": "started as a command",
    "mypy": "run as a command by tests/test_types_and_style.py",
    "psycopg": "SQLAlchemy's driver for PostgreSQL, named in a database's URL",
    "pytest-timeout": "a plugin, named in pyproject.toml",
    "pytest-xdist": "a plugin, named in the Makefile",
    "ruff": "run as a command by tests/test_types_and_style.py",
    "types-psutil": "what mypy knows of psutil",
    "types-pyyaml": "what mypy knows of PyYAML",
    "types-tqdm": "what mypy knows of tqdm",
}
"""Direct dependencies that no file of ours imports, with the reason each is there all the same."""


def requirements(lines: list[str]) -> dict[str, Requirement]:
    parsed = [Requirement(line) for line in lines]
    return {canonicalize_name(requirement.name): requirement for requirement in parsed}


CORE = requirements(PROJECT["project"]["dependencies"])
EXTRAS = {name: requirements(lines) for name, lines in PROJECT["project"]["optional-dependencies"].items()}
DIRECT = {**CORE, **{name: requirement for extra in EXTRAS.values() for name, requirement in extra.items()}}


def pins() -> dict[str, Version]:
    lines = [line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    parsed = requirements(lines)
    for name, requirement in parsed.items():
        assert [clause.operator for clause in requirement.specifier] == ["=="], f"constraints.txt does not pin {name} to one version"
    return {name: Version(next(iter(requirement.specifier)).version) for name, requirement in parsed.items()}


def test_constraints_pin_every_direct_dependency_and_nothing_else() -> None:
    assert sorted(pins()) == sorted(DIRECT)


def test_every_pin_lies_within_its_bound() -> None:
    outside = [f"{requirement} against {pins()[name]}" for name, requirement in DIRECT.items() if pins()[name] not in requirement.specifier]
    assert outside == []


def test_every_dependency_has_a_lower_bound_and_stands_in_one_list_only() -> None:
    unbounded = [name for name, requirement in DIRECT.items() if not any(clause.operator == ">=" for clause in requirement.specifier)]
    assert unbounded == []
    assert len(DIRECT) == len(CORE) + sum(len(extra) for extra in EXTRAS.values())


def test_torch_is_open_for_users_and_pinned_for_us() -> None:
    assert str(CORE["torch"].specifier) == ">=2.8"
    assert pins()["torch"] == Version("2.13.0")


def test_what_is_installed_satisfies_the_bounds() -> None:
    # `make test` does without the extra for ZeRO: see there
    asked = {name: requirement for name, requirement in DIRECT.items() if name not in EXTRAS["several"] or name in installed()}
    too_old = [f"{requirement}, installed {version(name)}" for name, requirement in asked.items() if version(name) not in requirement.specifier]
    assert too_old == []


def installed() -> set[str]:
    return {canonicalize_name(found.metadata["Name"]) for found in distributions()}


def test_conda_gives_the_same() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert environment["name"] == PROJECT["project"]["name"]
    conda = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    python = next(entry.partition("=")[2] for entry in conda if entry.startswith("python="))
    assert Version(python) in Requirement(f"python{PROJECT['project']['requires-python']}").specifier
    lines = next(entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    assert lines[0] == "-c constraints.txt"
    editable = re.fullmatch(r"-e \.\[([\w,]+)\]", lines[-1])
    assert editable is not None and set(editable[1].split(",")) == set(EXTRAS)
    assert lines[1:-1] == ["torch"], "torch comes first, its version from constraints.txt"


def imported_distributions(*folders: str) -> dict[str, str]:
    """Distribution → one file that imports it, over all Python files below `folders`, imports inside functions included."""
    by_module = packages_distributions()
    found: dict[str, str] = {}
    for path in (path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names = [node.module]
            for module in {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) - {*PACKAGES, "tests", "tools"}:
                for distribution in by_module.get(module, [module]):
                    found.setdefault(canonicalize_name(distribution), str(path.relative_to(ROOT)))
    return found


WHERE_IT_IS = {"deepspeed": "workbench/training/strategies.py", "flash-attn": "workbench/training/varlen.py", "nvidia-ml-py": "workbench/training/gpu.py"}
"""Imported in one file, where it is there: a recipe that asks for it is refused before anything starts where it is not."""


def test_the_packages_import_only_what_the_core_install_brings() -> None:
    missing = {name: path for name, path in imported_distributions(*PACKAGES).items() if name not in CORE and not comes_with(name, CORE)}
    assert missing == WHERE_IT_IS


COMES_WITH = {"ipython": "ipywidgets", "traitlets": "ipywidgets", "huggingface-hub": "transformers", "safetensors": "transformers", "jupyter-client": "nbclient"}
"""Imported by us, and a hard dependency of one of ours that could not do its work without it."""


def comes_with(name: str, listed: dict[str, Requirement]) -> bool:
    return COMES_WITH.get(name) in listed


def test_tests_and_tools_import_only_what_the_extras_bring() -> None:
    found = imported_distributions("tests", "tools")
    missing = {name: path for name, path in found.items() if name not in DIRECT and not comes_with(name, DIRECT)}
    assert missing == {}


def test_every_core_dependency_is_used() -> None:
    idle = set(CORE) - set(imported_distributions(*PACKAGES)) - set(NEEDED_BY_OTHERS)
    assert idle == set()


def test_every_extra_is_used() -> None:
    listed = {name for extra in EXTRAS.values() for name in extra}
    assert listed - set(imported_distributions("tests", "tools", *PACKAGES)) - set(NEEDED_BY_OTHERS) == set()


def test_every_file_beside_the_code_is_packaged() -> None:
    data = PROJECT["tool"]["setuptools"]["package-data"]
    tracked = subprocess.run(["git", "ls-files", *PACKAGES], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    left_out = []
    for name in (name for name in tracked if not name.endswith(".py")):
        package, _, inside = name.partition("/")
        if not any(fnmatch(Path(name).name, glob) for glob in data["*"]) and not any(fnmatch(inside, glob) for glob in data.get(package, [])):
            left_out.append(name)
    assert left_out == []


def clone(tmp_path: Path) -> Path:
    """A folder with our Makefile and .ci/run whose Python only prints which real data it was given."""
    root = tmp_path / "clone"
    (root / ".ci").mkdir(parents=True)
    (root / ".venv" / "bin").mkdir(parents=True)
    for name in (".ci/run", "Makefile", "constraints.txt", "pyproject.toml"):
        (root / name).write_bytes((ROOT / name).read_bytes())
    for name in ("python-ready", "torch-ready", "installed-lab", "installed-test"):
        (root / ".venv" / name).touch()
    (root / ".venv" / "bin" / "python").write_text('#!/bin/sh\ncase "$*" in *pytest*) echo "data: $WORKBENCH_REAL_DATA";; esac\n')
    (root / ".venv" / "bin" / "python").chmod(0o755)
    return root


def call(command: list[str], folder: Path, real_data: str | None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("WORKBENCH_REAL_DATA", "MAKEFLAGS", "MAKELEVEL")}
    if real_data is not None:
        environment["WORKBENCH_REAL_DATA"] = real_data
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("named", [None, "", "gone"])
def test_ci_refuses_to_run_without_the_real_data(tmp_path: Path, named: str | None) -> None:
    done = call(["bash", str(clone(tmp_path) / ".ci" / "run")], tmp_path, named)
    assert done.returncode == 1
    assert f"there is no folder {named or '../shared/data'}" in done.stderr


@pytest.mark.parametrize("target", ["test", "faults", "ci"])
@pytest.mark.parametrize("named", [None, "../elsewhere"])
def test_make_and_ci_take_the_real_data_beside_the_repository_or_where_it_is_said_to_be(tmp_path: Path, target: str, named: str | None) -> None:
    root = clone(tmp_path)
    for folder in ("shared/data", "elsewhere"):
        (tmp_path / folder).mkdir(parents=True)
    done = call(["bash", ".ci/run"] if target == "ci" else ["make", target], root, named)
    assert done.returncode == 0, done.stderr
    assert f"data: {named or tmp_path / 'shared' / 'data'}" in done.stdout.splitlines()


@pytest.mark.parametrize("named", [None, ""])
def test_make_goes_without_real_data_where_there_is_none_or_none_is_wanted(tmp_path: Path, named: str | None) -> None:
    if named is not None:
        (tmp_path / "shared" / "data").mkdir(parents=True)
    done = call(["make", "test"], clone(tmp_path), named)
    assert done.returncode == 0 and "data: " in done.stdout.splitlines(), done.stderr


@pytest.mark.parametrize(("together", "pages", "alone", "ends"), [
    (0, 0, 0, 0), (1, 0, 0, 2), (0, 1, 0, 2), (0, 0, 1, 2), (5, 0, 0, 0), (0, 5, 5, 0), (5, 5, 0, 0), (5, 5, 5, 2), (2, 5, 5, 2), (5, 4, 0, 2)])
def test_make_test_fails_where_a_part_does_or_none_finds_a_test(tmp_path: Path, together: int, pages: int, alone: int, ends: int) -> None:
    """pytest ends with 5 where it finds no test, as two parts do under `PYTEST_ARGS="-k journal"`."""
    root = clone(tmp_path)
    parts = f'*"--ignore=tests/browser"*) exit {together};; *"-n 2"*tests/browser*) exit {pages};; *pytest*) exit {alone};;'
    (root / ".venv" / "bin" / "python").write_text(f'#!/bin/sh\ncase "$*" in {parts} esac\n')
    assert call(["make", "test"], root, None).returncode == ends


def test_the_address_that_make_run_prints_opens_the_tour(tmp_path: Path) -> None:
    root = clone(tmp_path)
    lab = root / ".venv" / "bin" / "jupyter"
    lab.write_text('#!/bin/sh\necho "jupyter $*"\n')
    lab.chmod(0o755)
    done = call(["make", "run"], root, None)
    assert done.returncode == 0, done.stderr
    assert "--LabApp.default_url=/lab/tree/notebooks/00_tour.ipynb" in done.stdout.splitlines()[-1].split()
    assert (ROOT / "notebooks" / "00_tour.ipynb").exists()


def test_someone_who_is_not_root_gets_one_line_to_type() -> None:
    debian = ensure_chromium.installation(lambda name: f"/usr/bin/{name}" if name == "apt-get" else None)
    assert debian[0] == ["apt-get", "update"]
    sentence = ensure_chromium.remedy(debian)
    assert sentence.endswith("Type: sudo apt-get update && sudo apt-get install -y --no-install-recommends chromium")
    assert "\n" not in sentence
    assert "PATH" in ensure_chromium.remedy(ensure_chromium.installation(lambda name: None))


def test_a_browser_that_does_not_start_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = tmp_path / ensure_chromium.EXECUTABLE
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not ensure_chromium.answers()
    stand_in.write_text("#!/bin/sh\nexit 1\n")
    stand_in.chmod(0o755)
    assert not ensure_chromium.answers()
    stand_in.write_text("#!/bin/sh\nexit 0\n")
    assert ensure_chromium.answers()
