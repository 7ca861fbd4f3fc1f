"""The objectives a run may have: each is one module here, of one shape, named once.

A module of an objective has
    load_job(recipe, rows) -> Job                          the model adapted, the rows as tokens
    build_trainer(recipe, job, folder, callbacks, fruitless) -> trainer
                                                           with `take_count()`, `take_drawn()` and `live`, as `supervised.CountingTrainer`
    sampler(recipe, job, probes) -> (model, step) -> [Sampled or Replied]
                                                           what an evaluation shows

What its rows must be is in `recipes.OBJECTIVES`, and what its model answers in `workbench.probes.of`.
"""

import importlib
from typing import Any

MODULES = {
    "sft": "workbench.training.supervised",
    "pretraining": "workbench.training.supervised",
    "classification": "workbench.training.classification",
    "reward": "workbench.training.reward",
    **dict.fromkeys(("dpo", "ipo", "kto", "orpo", "rrhf"), "workbench.training.preference"),
    "ppo": "workbench.training.policy",
    "grpo": "workbench.training.group_policy",
    "rloo": "workbench.training.group_policy",
}


def named(objective: str) -> Any:
    """The module of an objective; it imports torch."""
    return importlib.import_module(MODULES[objective])
