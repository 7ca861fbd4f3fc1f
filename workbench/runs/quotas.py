"""Whether a run's checkpoints fit what its runs folder may hold, said before it starts. The amount, and what counts, are in `quota.py`."""

import math
from pathlib import Path

from workbench import quota
from workbench.errors import RunError
from workbench.recipes import Recipe, resolve_model
from workbench.sizing import count_parameters

LARGEST = 3
"""So many runs are named."""
COPIED = ("tokenizer", "special_tokens", "chat_template", "vocab", "merges")
"""Beginnings of the files of a model that each checkpoint has too."""
BESIDE_BYTES = 100_000
"""What each has besides: the trainer's state, random states, headers (93 kB in one of transformers 5.23 after 12 steps)."""


def check(recipe: Recipe, runs: str | Path) -> None:
    """Raises `RunError` where `WORKBENCH_QUOTA_GB` is set and the run's checkpoints would pass it. Runs that go at the same time are not
    reckoned with: each looks again before it writes."""
    most = quota.limit()
    if most is None:
        return
    used, sizes = quota.used(Path(runs).expanduser())
    if used + _surely(recipe) <= most:
        return
    wanted = checkpoint_bytes(recipe)
    if used + wanted > most:
        largest = ", ".join(f"{name} ({quota.words(size)})" for name, size in list(sizes.items())[:LARGEST])
        raise RunError(f"{runs} holds {quota.words(used)} of the {quota.words(most)} that WORKBENCH_QUOTA_GB allows, "
                       "and this run's checkpoints may take "
                       f"{quota.words(wanted)}{f'; most is taken by {largest}' if largest else ''}.",
                       f"python -m workbench clean {runs} shows what can go; fewer keep_checkpoints take less.")


def checkpoint_bytes(recipe: Recipe) -> int:
    """What a run's checkpoints and its result take at most at one moment: those kept, the best one, and the one that is being written."""
    trained = count_parameters(recipe.model, recipe.method)[0]
    beside = sum(size for name, size in _files(recipe) if name.startswith(COPIED))
    return (_many(recipe) + 1) * beside + _many(recipe) * BESIDE_BYTES + trained * (_many(recipe) * quota.PARAMETER_BYTES + 4)


def _many(recipe: Recipe) -> int:
    """Checkpoints on the disk at once."""
    many = recipe.keep_checkpoints + 2
    return many if recipe.steps is None else min(many, math.ceil(recipe.steps / (recipe.checkpoint_every or max(1, recipe.steps // 10))))


def _surely(recipe: Recipe) -> float:
    """Bytes that it will not pass, by the model's files alone, which spares an import of torch where there is plenty of room: no file
    holds more than two parameters a byte."""
    files = _files(recipe)
    known = files and not any(name == "adapter_config.json" for name, _ in files)
    return 2 * sum(size for _, size in files) * (_many(recipe) + 1) * quota.PARAMETER_BYTES if known else math.inf


def _files(recipe: Recipe) -> list[tuple[str, int]]:
    """(name, bytes) of the files of the model's folder; [] of a model of a hub."""
    folder = Path(resolve_model(recipe.model))
    return [(path.name, path.stat().st_size) for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []
