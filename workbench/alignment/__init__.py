"""Preferences and policies: ratings from votes, the KL to a reference and what keeps it in hand."""

from workbench.alignment.agreement import agreement as agreement
from workbench.alignment.agreement import cohen as cohen
from workbench.alignment.agreement import people as people
from workbench.alignment.kl import AdaptiveKL as AdaptiveKL
from workbench.alignment.kl import kl_estimates as kl_estimates
from workbench.alignment.preferences import PreferenceStore as PreferenceStore
from workbench.alignment.ratings import bradley_terry as bradley_terry
from workbench.alignment.ratings import elo as elo
from workbench.alignment.ratings import lead as lead
from workbench.alignment.ratings import position_bias as position_bias
