"""Checkpoints of a run folder: whole or not there, the last few and the best kept.

transformers writes `checkpoints/checkpoint-40`; once it is complete it is renamed to `checkpoints/step-000040`. A folder of the first kind is therefore one that a
crash cut short, and is removed. Where the runs folder has a quota, one that would pass it is not written. Not here: what is in one (transformers' own files), and
forks (`runs/`).
"""

import re
import shutil
from pathlib import Path

from workbench import quota

MODEL_FILES = re.compile(r"(adapter_.*|model.*|config|generation_config)\.(safetensors|json)$")


class Checkpoints:
    def __init__(self, run_folder: Path, keep: int):
        self.folder, self.keep = Path(run_folder) / "checkpoints", keep
        self.best: int | None = None
        """Step of the lowest held-out loss; its checkpoint stays."""

    def clear_partial(self) -> None:
        for path in self.folder.glob("checkpoint-*"):
            shutil.rmtree(path)

    def adopt(self, step: int) -> str:
        """Rename transformers' finished folder, drop what is too old; returns the name relative to the run folder."""
        target = self.folder / f"step-{step:06d}"
        if target.exists():
            shutil.rmtree(target)
        (self.folder / f"checkpoint-{step}").rename(target)
        for old in self.steps()[:-self.keep]:
            if old != self.best:
                # renamed first: a kill in the middle leaves a name that `clear_partial` knows, never half a checkpoint
                gone = (self.folder / f"step-{old:06d}").rename(self.folder / f"checkpoint-{old}-old")
                shutil.rmtree(gone)
        return f"checkpoints/{target.name}"

    def full(self, trainable: int) -> str:
        """Why the next one would pass the runs folder's quota, in a sentence; "" where it would not, or there is none.

        It is taken to be as large as the last one, the first as `trainable` parameters with Adam's state are.
        """
        most = quota.limit()
        if most is None:
            return ""
        runs, steps = self.folder.parent.parent, self.steps()
        used, size = quota.used(runs)[0], sum(found.st_size for found in quota.files(self.path(steps[-1]))) if steps else trainable * quota.PARAMETER_BYTES
        if used + size <= most:
            return ""
        kept = f"That of step {steps[-1]} stays" if steps else "There is none yet"
        return (f"No checkpoint was written: the runs folder holds {quota.words(used)} of the {quota.words(most)} that WORKBENCH_QUOTA_GB allows, and one takes "
                f"{quota.words(size)}. {kept}, and the run goes on; `python -m workbench clean {runs}` shows what can go.")

    def steps(self) -> list[int]:
        return sorted(int(path.name.removeprefix("step-")) for path in self.folder.glob("step-*"))

    def path(self, step: int) -> Path:
        return self.folder / f"step-{step:06d}"


def publish(source: Path, target: Path) -> None:
    """Copy the model or adapter (no optimizer, no pickles) out of a checkpoint, whole or not at all."""
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for path in sorted(source.iterdir()):
        if MODEL_FILES.match(path.name) or path.name.startswith(("tokenizer", "special_tokens", "chat_template", "vocab", "merges")):
            shutil.copy2(path, partial / path.name)
    if target.exists():
        shutil.rmtree(target)
    partial.rename(target)
