"""A run's result for use elsewhere: a plain model, an adapter or a GGUF file, each with a card, and the way to the hub.

    wb.export(run, "filter")            a folder that transformers opens
    wb.push(run, "who/filter")          the same as a repository

The card tells the recipe and what the journal says was measured. Left out of it are paths of this machine (a file is called by its name)
and what a recipe keeps under the name of a token, a key, a secret or a password.
Not here: how weights are merged (`models/merging.py`), and a script that trains the run again (`script.py`).
"""

import json
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from workbench.errors import RunError, WorkbenchError
from workbench.models import folders, gguf, merging, pushing
from workbench.models.card import Card
from workbench.recipes import TOWN_MODELS, check_source, resolve_model
from workbench.runs.attach import attach
from workbench.runs.run import Run

FORMS = ("merged", "adapter", "gguf")
COPIED = (folders.ADDED_WEIGHTS, folders.PEFT_FILE, folders.METHOD_FILE, "config.json", "tokenizer*.json", "special_tokens_map.json",
          "added_tokens.json", "vocab*.json", "vocab*.txt", "merges.txt", "*.model", "chat_template*.json", "chat_template*.jinja")
"""The files of an adapter and its tokenizer; the state of a training, notes and pickles are not among them."""
MARK = "workbench_export.json"
"""Says of a folder that `export` wrote it, in which form, and which files are part of it. Stays on this machine."""
PLACES = ("_name_or_path", "name_or_path")
"""Keys of configurations that hold where a model lay on this machine."""
_SECRET = re.compile(r"(?<!bos_)(?<!eos_)(?<!pad_)(?<!unk_)token(?!s|i)|secret|passw|passphrase|credential|"
                     r"(?:\b|[^a-z]|api|access)key(?:\b|[^a-z])", re.IGNORECASE)
"""Keys that a recipe may keep a secret under. Names of special tokens, of numbers of tokens and of tokenizers are none."""


def export(source: Run | str | Path, folder: str | Path, form: str = "merged", *, dtype: str = "float32", base: str = "") -> Path:
    """Write the model of `source` (a run, its folder, or a model or adapter folder) into the new folder `folder`, with a README.md; returns
    it.

    `form` is "merged" (a whole model in `dtype`: float32, bfloat16 or float16), "adapter" (what was added, as small as it is; `base` is the
    hub id it shall name as its base model) or "gguf" (for llama.cpp, by its own converter, which refuses models and tokenizers that it does
    not know, most likely the town's). Raises `WorkbenchError` where that cannot be; nothing is left behind then.
    """
    if form not in FORMS:
        raise WorkbenchError(f"form is {form!r}, which is none of {', '.join(FORMS)}.", 'Use form="merged".')
    run, result = _opened(source)
    target = Path(folder).expanduser().resolve()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise WorkbenchError(f"{target} is there already.", "Give a new folder.")
    config = folders.config_of(result)
    labels = _labels(config)
    if form == "gguf":
        gguf.converter()
        if labels:
            raise WorkbenchError("llama.cpp runs language models, and this is a classifier.", 'Use form="merged".')
    if form == "adapter" and not folders.is_adapter(result):
        raise WorkbenchError("This result is a whole model, so it has no adapter.", 'Use form="merged".')
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as scratch:
            made = Path(scratch) / "export"
            if form == "adapter":
                _copy_adapter(result, made, base)
            else:
                merging.merge(result, Path(scratch) / "whole" if form == "gguf" else made, dtype=_dtype(dtype))
            if form == "gguf":
                made.mkdir()
                gguf.convert(Path(scratch) / "whole", made / "model.gguf", {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}[dtype])
            _forget_places(made)
            (made / "README.md").write_text(card(run, result, form, labels, base).text(), encoding="utf-8")
            told = {"form": form, "files": sorted(path.name for path in made.iterdir())}
            (made / MARK).write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
            if target.exists():
                target.rmdir()
            made.rename(target)
    except OSError as error:
        raise RunError(
            f"The export cannot be written to {target}: {error.strerror or error}.", "Free some space, or choose another folder."
        ) from error
    return target


def push(
    source: Run | str | Path, repository: str, form: str | None = None, *, private: bool = True, message: str = "Upload model",
    **options: Any,
) -> str:
    """Export `source` and upload it as `repository` ("who/name") of the hub; returns the commit's address.

    `form` ("merged" where not given) and `options` are `export`'s. A folder that `export` wrote is uploaded as it is, without them, and of
    it the files that `export` wrote (the card may have been edited), whatever else lies there by now. The token is taken from HF_TOKEN.
    Raises `WorkbenchError` as `export` does, where an exported folder is to change its form or misses a file, and where the hub refuses.
    """
    path = Path(source).expanduser() if isinstance(source, (str, Path)) else None
    if path is not None and (written := _exported(path)):
        given = [*(["form"] if form is not None else []), *options]
        if given:
            raise WorkbenchError(f"{path} is exported already, so {', '.join(given)} cannot be chosen any more.",
                                 "Leave it out, or push the run itself.")
        return _upload(path, written, repository, private, message)
    with tempfile.TemporaryDirectory() as scratch:
        made = export(source, Path(scratch) / "export", form or "merged", **options)
        return _upload(made, _exported(made), repository, private, message)


def _exported(folder: Path) -> list[str]:
    """The files that `export` wrote into the folder; none where it did not write it."""
    files = folders.said_by(folder, MARK).get("files") or []
    gone = [name for name in files if not (folder / name).is_file()]
    if gone:
        raise WorkbenchError(f"{gone[0]} is no longer in {folder}, so it is not the model that was exported.", "Export it again.")
    return files


def _upload(folder: Path, files: list[str], repository: str, private: bool, message: str) -> str:
    _others_have_its_base(folder)
    return pushing.push_folder(folder, repository, files=files, private=private, message=message)


def _opened(source: Any) -> tuple[Run | None, Path]:
    """The run, where there is one, and the folder of its result."""
    if isinstance(source, (str, Path)):
        path = Path(source).expanduser()
        if str(source) in TOWN_MODELS:
            return None, Path(resolve_model(str(source)))
        if not (path / "recipe.json").exists():
            check_source(str(path))
            return None, path
        source = attach(path)
    if not isinstance(source, Run):
        raise WorkbenchError(f"This {type(source).__name__} is no run and no folder.", "Give a run, its folder, or a model folder.")
    source.recipe  # says so where a script of its own trained it
    return source, merging.result_of(source.folder)


def _dtype(name: str) -> Any:
    import torch

    if name not in ("float32", "bfloat16", "float16"):
        raise WorkbenchError(f"dtype is {name!r}, which is none of float32, bfloat16, float16.", 'Use dtype="float32".')
    return getattr(torch, name)


def _labels(config: Any) -> list[str]:
    classifies = any(name.endswith("ForSequenceClassification") for name in config.architectures or ())
    return [str(config.id2label[number]) for number in range(config.num_labels)] if classifies else []


def _copy_adapter(result: Path, made: Path, base: str) -> None:
    made.mkdir()
    for path in sorted(result.iterdir()):
        if path.is_file() and any(path.match(pattern) for pattern in COPIED):
            shutil.copy2(path, made / path.name)
    if base:
        for name in (folders.PEFT_FILE, folders.METHOD_FILE):
            if body := folders.said_by(made, name):
                (made / name).write_text(json.dumps(body | {"base_model_name_or_path": base}, indent=2) + "\n", encoding="utf-8")


def _forget_places(made: Path) -> None:
    """Where files lay on this machine is nobody else's business."""
    for path in made.glob("*.json"):
        body = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(body, dict) and any(Path(str(body.get(key) or "")).is_absolute() for key in PLACES):
            path.write_text(
                json.dumps({key: value for key, value in body.items() if key not in PLACES}, indent=2, ensure_ascii=False) + "\n",
                encoding="utf-8",
            )


def _others_have_its_base(folder: Path) -> None:
    """Raises `WorkbenchError` for an adapter on a model that lies on this machine alone."""
    if folders.is_adapter(folder) and Path(folders.base_of(folder)).expanduser().is_absolute():
        raise WorkbenchError("This adapter stands on a model folder of this machine, which nobody else has.",
                             'Push form="merged", or name a hub id that holds the same model: base="who/model".')


# ---- the card

def card(run: Run | None, result: Path, form: str, labels: list[str], base: str = "") -> Card:
    """What the README.md of the export says."""
    task = "text-classification" if labels else "text-generation"
    if run is None:
        name = base or _public(folders.base_of(result)) if folders.is_adapter(result) else ""
        return Card(
            title=result.name,
            summary=f"A model exported from the folder {result.name}.",
            form=form,
            base=base or _hub_id(name),
            task=task,
            labels=labels,
        )
    recipe, history = run.recipe, run.history
    history.refresh()
    method = type(recipe.method).__name__ + (f" of rank {recipe.method.rank}" if hasattr(recipe.method, "rank") else "")
    body = _for_others(recipe.to_json())
    summary = f"{_public(recipe.model)}, tuned by {method} ({recipe.objective}) in the run {run.name}."
    return Card(
        title=f"{_public(recipe.model)}-{recipe.method.name}",
        summary=summary,
        form=form,
        base=base or _hub_id(recipe.model),
        task=task,
        labels=labels,
        numbers=_numbers(run),
        changes=[f"{c.field} {c.old} to {c.new} after step {c.step}" for c in history.changes],
        notes=[*(history.prepared.notes if history.prepared else []), *([run.note] if run.note else [])],
        recipe=body,
        packages=history.started.packages if history.started else {},
    )


def _numbers(run: Run) -> list[tuple[str, str]]:
    """What the journal measured, said as it was."""
    import math

    history = run.history
    out = [("steps", f"{history.step:,}" + (f" of {history.steps:,}" if history.steps else ""))]
    losses = [loss for loss in history.columns["loss"][-20:] if math.isfinite(loss)]
    if losses:
        out.append((f"training loss, mean of the last {len(losses)} steps", f"{sum(losses) / len(losses):.4f}"))
    if history.evaluations:
        last = history.evaluations[-1]
        out += [(f"held-out loss at step {last.step}", f"{last.loss:.4f}")] if last.loss is not None else []
        out += [(f"held-out {name.replace('_', ' ')} at step {last.step}", f"{value:.4f}") for name, value in last.extra.items()
                if value is not None and name in ("accuracy", "macro_f1")]
        if history.best is not None and history.best.step != last.step:
            out.append((f"lowest held-out loss, at step {history.best.step}", f"{history.best.loss:.4f}"))
    if history.prepared:
        told = history.prepared
        out += [("rows trained on", f"{told.rows:,}"), ("rows held out", f"{told.heldout_rows:,}"),
                ("parameters trained", f"{told.trainable_parameters:,} of {told.parameters:,}")]
    return out


def _for_others(value: Any) -> Any:
    """The same with every path of this machine cut to its last name, and without what may be a secret: words under a key that says so
    (numbers and switches are none: a `rank_pattern` may well name a module "key")."""
    if isinstance(value, dict):
        kept = {key: part for key, part in value.items() if not (_SECRET.search(key) and isinstance(part, (str, list, tuple, dict)))}
        return {_public(key): _for_others(part) for key, part in kept.items()}
    if isinstance(value, (list, tuple)):
        return [_for_others(part) for part in value]
    return _public(value) if isinstance(value, str) else value


def _public(text: str) -> str:
    """A path of this machine as its last name; anything else as it is."""
    return Path(text).name if text.startswith(("/", "~", ".")) and len(text) > 1 and "\n" not in text else text


def _hub_id(model: str) -> str:
    """The model's name on the hub; "" for a folder and for the models that ship with the workbench."""
    return (
        ""
        if model in TOWN_MODELS or Path(model).expanduser().exists() or model.count("/") != 1 or model.startswith((".", "/", "~"))
        else model
    )
