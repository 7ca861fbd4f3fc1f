"""What an update of weights looks like: spectra of ΔW, how many directions it uses, what two updates share, cut to a smaller rank.

Works on files alone: adapters of peft and of other layouts, run folders, and pairs of tuned and base models as safetensors. Knows no model
classes and no names of shipped models; scoring a cut adapter on rows is `workbench.evaluation.truncation`.
"""

from workbench.adapters.difference import difference
from workbench.adapters.opening import Adapter, Factor, open_adapter
from workbench.adapters.pattern import energy_kept, pattern_parameters, suggest_rank_pattern
from workbench.adapters.spectra import energy_ranks, spectrum
from workbench.adapters.subspace import similarity
from workbench.adapters.truncate import truncate

__all__ = ["Adapter", "Factor", "difference", "energy_kept", "energy_ranks", "open_adapter", "pattern_parameters", "similarity", "spectrum",
           "suggest_rank_pattern", "truncate"]
