"""The town: a small generated world whose truth is known, rows to fine-tune on, exact grading, and a shipped base model.

Light to import (standard library only). It does not load a model: give `base_folder()` to transformers. What it is made of is in its modules: `world` (the truth),
`tasks` (instruction data and graders), `conduct` and `preferences` (judging), `language` (Velish), `documents` (what the base models have read).
"""

from pathlib import Path

from workbench.town.datasets import NAMES, SETS, probe_questions, rows
from workbench.town.tasks import grade
from workbench.town.world import World, village, world

__all__ = ["NAMES", "SETS", "SIZES", "World", "base_folder", "grade", "probe_questions", "rows", "village", "world"]

SIZES = ("small", "medium", "large")
"""The shipped base models: about 0.4, 1.4 and 3 million parameters."""


def base_folder(size: str = "medium") -> Path:
    """A shipped base model, a transformers folder (Qwen2, bf16 safetensors, with its tokenizer). Raises ValueError for a size that is none."""
    if size not in SIZES:
        raise ValueError(f"There is no town model of size {size!r}; choose one of {', '.join(SIZES)}.")
    return Path(__file__).parent / "base" / size
