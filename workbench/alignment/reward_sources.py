"""What may reward a reply, as text that a recipe keeps:

    "runs/2026-11-21_220000-judge"        a trained reward run: what it learned
    "models/judge", "models/judge#kind"   a model folder that gives rewards; one of its heads (alone, its heads' mean)
    "lengths.py:short"                    a function of (prompt, reply) or (prompt, reply, reference) in a file, that gives a number
    "https://judge.example/score"         an endpoint (what it is asked and answers: `training/scoring.py`)
    "town", "town:helpful"                the town's own graders

A function's prompt is the text that the reply answers, its `reference` the answer that the rows have ("" where none). Not here: scoring.
"""

import builtins
import importlib.util
import inspect
import json
import shutil
import symtable
import sys
import textwrap
import types
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.alignment import known_code
from workbench.alignment.preference_database import secret_fields
from workbench.errors import RecipeError

FOLDER = "rewards"
"""In a run folder: the files of its functions."""
TOWN = ("gold", "helpful", "honest", "harmless")
"""What the town grades, "town" alone being its gold."""
BY_FILE = 'Write it into a file and name it: "lengths.py:short".'


@dataclass(frozen=True, slots=True)
class Source:
    """A reward understood: its kind ("model", "function", "endpoint", "town"), where it is, and which head or function of it ("": none)."""

    kind: str
    place: str
    part: str = ""
    max_length: int = 512
    """Tokens that a model reads at most: its run's own."""


def found(name: str, source: str, folder: Path | None = None) -> Source:
    """What the reward `name` is; relative paths are those of `folder` (None: of this process). Raises `RecipeError` where there is none."""
    if source == "town" or source.startswith("town:"):
        part = source.partition(":")[2] or "gold"
        _need(part in TOWN, f"The reward {name!r} is {source!r}, and the town grades {', '.join(TOWN)}.", 'Use "town:helpful".')
        return Source("town", "town", part)
    if "://" in source:
        return Source("endpoint", _address(name, source))
    root = folder or Path()
    if ".py:" in source:
        file, _, function = source.rpartition(":")
        path = root / Path(file).expanduser()
        _need(path.is_file(), f"The reward {name!r} is {source!r}, and there is no file {file}.",
              "Give the path of a Python file and a function in it.")
        return Source("function", str(path.resolve()), function)
    path, head = root / Path(source).expanduser(), ""
    if not path.exists() and "#" in source:
        path, head = root / Path(source.rpartition("#")[0]).expanduser(), source.rpartition("#")[2]
    _need(path.is_dir(), f"The reward {name!r} is {source!r}, and there is no such folder.",
          'Give a trained reward run or its folder, a function, "file.py:function", the URL of an endpoint, or "town".')
    return _model(name, path.resolve(), head)


def _need(good: Any, what: str, remedy: str) -> None:
    if not good:
        raise RecipeError(what, remedy)


def _address(name: str, source: str) -> str:
    parts = urllib.parse.urlsplit(source)
    _need(parts.scheme in ("http", "https") and parts.hostname, f"The reward {name!r} is {source!r}, which is no address of a server.",
          'Give one like "https://judge.example/score".')
    secret = secret_fields(urllib.parse.parse_qs(parts.query, keep_blank_values=True))
    what = "a user name or password" if parts.username or parts.password else ", ".join(secret)
    _need(not what, f"The address of the reward {name!r} holds {what}.",
          "Put the key into the environment variable WORKBENCH_REWARD_KEY.")
    return source


def _model(name: str, path: Path, head: str) -> Source:
    length, model = 512, path
    if (path / "recipe.json").is_file():
        recipe = _json(path / "recipe.json")
        objective = recipe.get("objective")
        _need(objective == "reward", f"The reward {name!r} is the run {path.name}, whose objective is {objective!r}.",
              'Give a run with objective="reward".')
        length, model = recipe.get("max_length", length), path / "result"
        _need(model.is_dir(), f"The reward {name!r} is the run {path.name}, which has no result yet.",
              "Let it finish: run.wait(), or run.resume() where it was stopped.")
    heads = heads_of(model)
    _need(heads, f"The reward {name!r} is {path.name}, which gives no rewards: it is no model, or one for something else.",
          'Train one with objective="reward".')
    _need(not head or head in heads, f"The reward {name!r} is the head {head!r} of {path.name}, whose heads are {', '.join(heads)}.",
          "Name one of them.")
    return Source("model", str(path), head, length)


def _json(path: Path) -> dict[str, Any]:
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecipeError(f"{path.parent.name}/{path.name} cannot be read: {error}.", "Copy that folder anew, or give another reward.") from error
    _need(isinstance(body, dict), f"{path.parent.name}/{path.name} holds no settings.", "Copy that folder anew, or give another reward.")
    return body


def heads_of(folder: Path) -> list[str]:
    """The heads of the reward model in a folder, by its config.json alone; [] where it gives no rewards. Raises `RecipeError` where that file
    is damaged."""
    if not (folder / "config.json").is_file():
        return []
    config = _json(folder / "config.json")
    names = config.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}  # transformers' own where it says nothing
    classifies = any("SequenceClassification" in name for name in config.get("architectures") or ())
    if not classifies or not (len(names) == 1 or config.get("problem_type") == "regression"):
        return []
    return [names[number] for number in sorted(names, key=int)]


# --- functions ---------------------------------------------------------------------------------------------------------


def takes_reference(name: str, function: Callable[..., float]) -> bool:
    """Whether it takes `reference` beside (prompt, reply). Raises `RecipeError` where it takes neither."""
    try:
        named = inspect.signature(function).parameters
        inspect.signature(function).bind("", "", **({"reference": ""} if "reference" in named else {}))
    except (TypeError, ValueError):
        raise RecipeError(f"The reward {name!r} is a function that does not take (prompt, reply), with or without reference.",
                          "Write it as def reward(prompt, reply): ... and let it return a number.") from None
    return "reference" in named


def function_of(name: str, source: Source) -> Callable[..., float]:
    """The function in its file, run anew. Raises `RecipeError` where the file does not run, or has no such function of these arguments."""
    path = Path(source.place)
    if _of_a_run(path):
        known_code.check(name, path)
    spec = importlib.util.spec_from_file_location(f"reward_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))  # what lies beside it can be imported, as if it were run
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever a person's own file may raise; told whole
        raise RecipeError(f"The reward {name!r} cannot be had: {path.name} raises {told(error)}.", "Mend that file.") from error
    finally:
        sys.path.remove(str(path.parent))
    function = getattr(module, source.part, None)
    _need(callable(function), f"The reward {name!r} is {source.part!r} of {path.name}, which has no such function.",
          "Name a function of that file.")
    takes_reference(name, function)
    return function


def _of_a_run(path: Path) -> bool:
    """Whether a Python file was kept with a run."""
    return path.parent.name == FOLDER and (path.parent.parent / "recipe.json").exists()


def check_known(name: str, source: Any, folder: Path) -> None:
    """Raises `RecipeError` where a reward of the recipe in `folder` is code that this person never named."""
    if not isinstance(source, str):
        return
    seen = found(name, source, folder)
    if seen.kind == "function":
        known_code.check(name, Path(seen.place))
    elif seen.kind == "endpoint":
        known_code.check_address(name, seen.place)


def told(error: BaseException) -> str:
    """An exception in a few words: its kind, its first line, and the line of a person's file that it came from."""
    lines = str(error).strip().splitlines()
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    place = f" (line {frame.tb_lineno} of {Path(frame.tb_frame.f_code.co_filename).name})" if frame is not None else ""
    return f"{type(error).__name__}{': ' + lines[0] if lines else ''}{place}"


def source_of(name: str, function: Callable[..., float]) -> str:
    """A file that holds the function and the imports it needs. Raises `RecipeError` for a lambda, one without source, and one that needs
    what lives in memory alone."""
    _need(isinstance(function, types.FunctionType) and function.__name__ != "<lambda>",
          f"The reward {name!r} is a {'lambda' if isinstance(function, types.FunctionType) else type(function).__name__}, "
          "which cannot be kept with the run.", BY_FILE)
    try:
        text = textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError):
        raise RecipeError(f"The reward {name!r} is a function whose source is not to be had.", BY_FILE) from None
    lines = []
    for needed in _needed(text):
        line = None if needed in function.__code__.co_freevars else _import(needed, function.__globals__.get(needed))
        _need(line, f"The reward {name!r} is a function that needs {needed!r}, which lives in this process alone.", BY_FILE)
        lines.append(line)
    return "\n".join([*sorted(lines), *([""] * 2 if lines else []), text])


def _needed(text: str) -> list[str]:
    """Names that a source reads and neither makes nor finds among Python's own."""
    top = symtable.symtable(text, "reward", "exec")
    made = {symbol.get_name() for symbol in top.get_symbols() if symbol.is_assigned()}
    tables, names = [top], set()
    while tables:
        table = tables.pop()
        tables += table.get_children()
        names |= {symbol.get_name() for symbol in table.get_symbols() if symbol.is_referenced() and (symbol.is_global() or table is top)}
    return sorted(name for name in names - made if not hasattr(builtins, name))


def _import(name: str, value: Any) -> str | None:
    """The line that imports a value under this name; None for one that a module does not have."""
    if isinstance(value, types.ModuleType):
        return f"import {value.__name__}" + ("" if value.__name__ == name else f" as {name}")
    module, own = getattr(value, "__module__", None), getattr(value, "__name__", None)
    if module in (None, "__main__") or getattr(sys.modules.get(module), own or "", None) is not value:
        return None
    return f"from {module} import {own}" + ("" if own == name else f" as {name}")


# --- a recipe's rewards ------------------------------------------------------------------------------------------------


def check(name: str, source: Any) -> None:
    """Raises `RecipeError` where the reward `name` could not score: looks at files, loads no model."""
    if callable(source):
        takes_reference(name, source)
        source_of(name, source)
    elif (seen := found(name, source)).kind == "function":
        function_of(name, seen)
        known_code.note(Path(seen.place))
    elif seen.kind == "endpoint":
        known_code.note_address(seen.place)


def kept(name: str, source: Any, folder: Path) -> str:
    """The reward as a run in `folder` names it: a function in memory is written to rewards/NAME.py, and so is the file of another run's;
    other paths are whole. Raises `OSError`."""
    file = folder / FOLDER / ("".join(letter if letter.isalnum() else "_" for letter in name[:50]) + ".py")
    while file.exists():
        file = file.with_stem(file.stem + "_")
    if callable(source):
        file.parent.mkdir(exist_ok=True)
        file.write_text(source_of(name, source))
        known_code.note(file)
        return f"{FOLDER}/{file.name}:{source.__name__}"
    seen = found(name, source)
    if seen.kind in ("town", "endpoint"):
        return source
    path = Path(seen.place)
    if seen.kind == "function" and _of_a_run(path):
        file.parent.mkdir(exist_ok=True)
        shutil.copyfile(path, file)
        return f"{FOLDER}/{file.name}:{seen.part}"
    return seen.place + (":" if seen.kind == "function" else "#" if seen.part else "") + seen.part


def heads(name: str, source: str) -> dict[str, str]:
    """A reward model of several heads as one reward for each, "NAME/HEAD"; any other reward as it is."""
    seen = found(name, source) if not (source.startswith(FOLDER + "/") or "://" in source) else None
    if seen is None or seen.kind != "model" or seen.part:
        return {name: source}
    path = Path(seen.place)
    names = heads_of(path / "result" if (path / "recipe.json").exists() else path)
    return {name: source} if len(names) == 1 else {f"{name}/{head}": f"{source}#{head}" for head in names}


def at(source: str, folder: Path) -> str:
    """A reward that `kept` wrote into `folder`, by its whole path."""
    return str(Path(folder) / source) if isinstance(source, str) and source.startswith(FOLDER + "/") else source
