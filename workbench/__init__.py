"""A workbench for fine-tuning language models: `import workbench as wb`.

Everything public is here and is loaded on first use, so importing costs nothing: neither torch nor transformers is imported until something needs them.
"""

from typing import TYPE_CHECKING, Any

_PUBLIC = {
    "Recipe": "workbench.recipes", "difference": "workbench.recipes", "load": "workbench.recipes",
    **dict.fromkeys(("Full", "Freeze", "FrozenBackbone", "BitFit", "Adapters", "PromptTuning", "LoRA", "QLoRA", "Peft", "QAT"), "workbench.models.methods"),
    "Several": "workbench.models.several", "Launch": "workbench.launching", "launch_command": "workbench.runs.several_machines",
    **dict.fromkeys(("DPO", "IPO", "KTO", "ORPO", "RRHF"), "workbench.alignment.preference_objectives"),
    **dict.fromkeys(("PPO", "GRPO", "RLOO"), "workbench.alignment.policy_objectives"),
    **dict.fromkeys(("Sampling", "Beam", "DiverseBeam"), "workbench.models.samplers"),
    **dict.fromkeys(("best_of_n", "rejection_rounds"), "workbench.evaluation.best_of_n"), "collect_replies": "workbench.evaluation.replies",
    "start": "workbench.runs.start", "train": "workbench.runs.start", "attach": "workbench.runs.attach", "list_runs": "workbench.runs.listing",
    "queue": "workbench.runs.turns", "clean": "workbench.runs.cleaning",
    "sweep": "workbench.runs.sweep", "Sweep": "workbench.runs.sweep", "export": "workbench.runs.export", "push": "workbench.runs.export",
    "replay": "workbench.runs.fork", "standby": "workbench.runs.standby", "Run": "workbench.runs.run",
    "count_parameters": "workbench.sizing", "plan_memory": "workbench.sizing",
    "Stream": "workbench.training.stream", "Probes": "workbench.probes", "load_rows": "workbench.data.sources",
    "unfold": "workbench.data.unfold", "Mixture": "workbench.data.mixture", "Stages": "workbench.data.stages", "Endpoint": "workbench.data.endpoint",
    "Task": "workbench.templates.tasks", "Template": "workbench.templates.tasks", "invert": "workbench.templates.demonstrations",
    "TemplateError": "workbench.templates.sandbox",
    "WorkbenchError": "workbench.errors", "RecipeError": "workbench.errors", "DataError": "workbench.errors", "RunError": "workbench.errors",
}
__all__ = sorted(_PUBLIC)

if TYPE_CHECKING:
    from workbench.alignment.policy_objectives import GRPO, PPO, RLOO
    from workbench.alignment.preference_objectives import DPO, IPO, KTO, ORPO, RRHF
    from workbench.data.endpoint import Endpoint
    from workbench.data.mixture import Mixture
    from workbench.data.sources import load_rows
    from workbench.data.stages import Stages
    from workbench.data.unfold import unfold
    from workbench.errors import DataError, RecipeError, RunError, WorkbenchError
    from workbench.evaluation.best_of_n import best_of_n, rejection_rounds
    from workbench.evaluation.replies import collect_replies
    from workbench.models.methods import QAT, Adapters, BitFit, Freeze, FrozenBackbone, Full, LoRA, Peft, PromptTuning, QLoRA
    from workbench.models.samplers import Beam, DiverseBeam, Sampling
    from workbench.models.several import Several
    from workbench.probes import Probes
    from workbench.recipes import Recipe, difference, load
    from workbench.runs.attach import attach
    from workbench.runs.cleaning import clean
    from workbench.runs.export import export, push
    from workbench.runs.fork import replay
    from workbench.runs.listing import list_runs
    from workbench.runs.run import Run
    from workbench.runs.standby import standby
    from workbench.runs.start import start, train
    from workbench.runs.sweep import Sweep, sweep
    from workbench.runs.turns import queue
    from workbench.sizing import count_parameters, plan_memory
    from workbench.templates.demonstrations import invert
    from workbench.templates.sandbox import TemplateError
    from workbench.templates.tasks import Task, Template
    from workbench.training.stream import Stream


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"workbench has no {name!r}; it has {', '.join(__all__)}")
    import importlib

    value = getattr(importlib.import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
