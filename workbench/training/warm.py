"""What a standby worker does before it is needed: every import a run makes, and one tiny forward and backward pass.

The first pass through torch, peft and the Trainer costs most of a second in lazy imports and thread pools; here nobody waits for it.
"""

import tempfile
from pathlib import Path

from workbench import town
from workbench.data.run_rows import gather
from workbench.models.methods import LoRA
from workbench.recipes import Recipe


def up() -> None:
    """Train two steps on the town, in a folder that is thrown away. Takes no device: it runs on the CPU."""
    from workbench.probes import Probes
    from workbench.training import supervised
    from workbench.training.stream import Stream
    from workbench.training.writer import Journal

    recipe = Recipe(data=town.rows("instructions")[:16], method=LoRA(rank=2), steps=1, batch_size=4, training_arguments={"use_cpu": True})
    with tempfile.TemporaryDirectory() as folder:
        job = supervised.load_job(recipe, gather(recipe.data, 0, 0)[0])
        stream = Stream(folder, journal=Journal(Path(folder)), probes=Probes(job.model, job.tokenizer))
        supervised.build_trainer(recipe, job, Path(folder) / "checkpoints", [stream]).train()
        stream.probes.answer("generate", {"prompt": "Who?", "max_new_tokens": 2})
    town.rows("heldout")
