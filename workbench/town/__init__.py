"""The town: a small generated world whose truth is known, rows to fine-tune on, exact grading, and a shipped base model.

Light to import (standard library only). It does not load the model: give `base_folder()` to transformers.
"""

from pathlib import Path

from workbench.town.questions import NAMES, grade, probe_questions, rows

__all__ = ["NAMES", "base_folder", "grade", "probe_questions", "rows"]


def base_folder() -> Path:
    """The shipped base model, a transformers folder (Qwen2, about 1.3 M parameters, bf16 safetensors, with its tokenizer)."""
    return Path(__file__).parent / "base"
