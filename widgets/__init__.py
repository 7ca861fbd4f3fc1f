"""Panels for a notebook: each a question with a picture for an answer.

Public names load on first use, so that importing this package costs nothing. It never loads torch, transformers, trl or datasets.
"""

from importlib import import_module

_PUBLIC = {"DataExplorer": "widgets.data_explorer", "DatasetBalancer": "widgets.dataset_balancer",
           "KLMonitor": "widgets.kl_monitor", "MethodChooser": "widgets.method_chooser", "PreferenceArena": "widgets.preference_arena", "QuantizationViewer": "widgets.quantization_viewer",
           "RankExplorer": "widgets.rank_explorer", "RewardGap": "widgets.reward_gap", "RunMonitor": "widgets.run_monitor",
           "TemplateBuilder": "widgets.template_builder"}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str):
    if name not in _PUBLIC:
        raise AttributeError(f"widgets has no {name!r}; it has {', '.join(__all__)}.")
    value = getattr(import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *_PUBLIC})
