"""`python -m workbench.training.export RUN FOLDER`: the rows of a run as tokens, its tokenizer and its training arguments, for `Run.script`."""

import json
import sys
from pathlib import Path

from workbench import recipes
from workbench.data import run_rows
from workbench.training import supervised


def export(run: Path, folder: Path) -> dict:
    """Writes train.parquet, heldout.parquet and tokenizer/; returns what the script is told."""
    recipe = recipes.read(run)
    job = supervised.load_job(recipe, run_rows.read(run))
    job.train.rows.to_parquet(str(folder / "train.parquet"))
    if job.heldout.examples:
        job.heldout.rows.to_parquet(str(folder / "heldout.parquet"))
    job.tokenizer.save_pretrained(folder / "tokenizer")
    steps = supervised.total_steps(recipe, job.train.epoch_rows)
    arguments = supervised.arguments(recipe, folder, steps, bool(job.heldout.examples))
    return {"arguments": arguments, "heldout": bool(job.heldout.examples)}


if __name__ == "__main__":
    print(json.dumps(export(Path(sys.argv[1]), Path(sys.argv[2]))))
