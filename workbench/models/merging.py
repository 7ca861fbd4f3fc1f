"""A plain model folder out of what a method trained: safetensors and tokenizer, nothing of ours or peft's needed to open it.

A peft adapter that changes weights becomes part of them; a whole model is written as it is. What cannot be part of any weight (bottlenecks,
tuned prompts) is refused. Of QLoRA the base is taken as it was rounded; with an 8-bit base the inputs of each layer were rounded as well,
which a plain folder does not do.
"""

from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError
from workbench.models import folders, loading


def merge(source: str | Path, folder: str | Path, *, dtype: Any = None) -> Path:
    """Write the model of `source` (an adapter or model folder, or a run's) whole into `folder`; returns it. `dtype` None is float32.

    Raises `WorkbenchError` where it cannot be one, where `folder` holds something already, and where a tensor has not the shape that the
    base's files give it.
    """
    source, folder = result_of(source), Path(folder).expanduser()
    folders.check_mergeable(source)
    if folder.exists() and any(folder.iterdir()):
        raise WorkbenchError(f"The folder {folder} is not empty.", "Give a new one.")
    model, tokenizer = (loading.merged if folders.is_adapter(source) else loading.load)(source, dtype=dtype)
    shapes = folders.shapes_of(source) or {}
    for name, tensor in model.state_dict().items():
        if tuple(tensor.shape) != shapes.get(name, tuple(tensor.shape)):
            raise WorkbenchError(f"{name} became {tuple(tensor.shape)} in merging, and is {shapes[name]} in the base.",
                                 "Open the adapter as it is with wb.load(folder).")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def result_of(source: str | Path) -> Path:
    """The folder of a run's result where `source` is a run's folder; else `source`. Raises `WorkbenchError` where a run has none yet."""
    path = Path(source).expanduser()
    if not (path / "recipe.json").exists():
        return path
    if not (path / "result").exists():
        raise WorkbenchError(f"The run {path.name} has no result yet.", "Let it finish: run.wait(), or run.resume() where it was stopped.")
    return path / "result"
