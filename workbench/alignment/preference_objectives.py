"""Alignment without reinforcement learning: objectives that learn from pairs, verdicts or rankings of replies directly.

Each has a `beta` that may change while a run goes. Not here: the losses themselves (`preference_losses.py`), and the training
(`training/preference.py`).
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from workbench.alignment.objectives import Objective
from workbench.errors import RecipeError, named_fields

PAIR_LOSSES = ("sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot", "aot_unpaired", "apo_zero",
               "apo_down", "discopop", "sft", "sigmoid_norm")
"""Losses of a pair, by the names that trl's `DPOConfig.loss_type` gives them."""
SMOOTHED = ("sigmoid", "robust", "exo_pair", "aot", "aot_unpaired")
"""Those of them that know a label smoothing."""
INVERSE = ("ipo", "sppo_hard")
"""Those of them that divide by beta."""
SORTED = ("aot", "aot_unpaired")
"""Those of them that compare the pairs of a batch sorted, so that a row must be one pair."""
VERDICT_LOSSES = ("kto", "apo_zero_unpaired")
"""Losses of a reply judged alone, by the names that trl's `KTOConfig.loss_type` gives them."""


@named_fields
@dataclass(frozen=True, slots=True)
class DPO(Objective):
    """Direct preference optimization on pairs (Rafailov et al. 2023, arXiv 2305.18290, eq. 7), and trl's other losses of pairs by name. Of
    a ranking every two replies of different rank are a pair, and its pairs together weigh as much as one."""

    name: ClassVar[str] = "dpo"
    live: ClassVar[tuple[str, ...]] = ("beta",)
    referenced: ClassVar[bool] = True
    """Whether log-probabilities of the model it starts from are needed."""
    beta: float = 0.1
    """How strongly the policy is held to the reference."""
    loss: str = "sigmoid"
    """One of `PAIR_LOSSES`."""
    label_smoothing: float = 0.0
    """The share of pairs taken to be the wrong way round: conservative DPO with "sigmoid" (Mitchell 2023), robust DPO with "robust"
    (arXiv 2403.00409); of "exo_pair" its epsilon."""
    sft_weight: float = 0.0
    """Weight of the chosen reply's own loss, nats a token, beside the pair's (RPO, arXiv 2404.19733, eq. 1)."""
    discopop_tau: float = 0.05

    def __post_init__(self):
        self._one_of("loss", PAIR_LOSSES)
        self._number("beta", 1e-6 if self.loss in INVERSE else 0, 1e6, 0.1)
        self._number("label_smoothing", 0, 0.499, 0.1)
        self._number("sft_weight", 0, 1e6, 1.0)
        self._number("discopop_tau", 1e-6, 1e6, 0.05)
        if self.label_smoothing and self.loss not in SMOOTHED:
            raise RecipeError(f"The loss {self.loss!r} knows no label_smoothing.", f"Leave it out, or use one of {', '.join(SMOOTHED)}.")
        if self.loss == "exo_pair" and not self.label_smoothing:
            raise RecipeError('The loss "exo_pair" is infinite without label_smoothing.', "Use label_smoothing=0.001.")


@named_fields
@dataclass(frozen=True, slots=True)
class IPO(Objective):
    """Identity preference optimization on pairs (Azar et al. 2023, arXiv 2310.12036, eq. 17), as trl has it: of log-ratios
    per token, each divided by its reply's length; with `per_token=False` of their sums, as the paper writes it."""

    name: ClassVar[str] = "ipo"
    live: ClassVar[tuple[str, ...]] = ("beta",)
    referenced: ClassVar[bool] = True
    beta: float = 0.1
    """The paper's tau: the difference of log-ratios is drawn to 1 / (2 beta)."""
    per_token: bool = True
    """Whether each log-ratio is divided by its reply's length."""

    def __post_init__(self):
        self._one_of("per_token", (True, False))
        self._number("beta", 1e-6, 1e6, 0.1)


@named_fields
@dataclass(frozen=True, slots=True)
class KTO(Objective):
    """Kahneman-Tversky optimization on replies judged one by one (Ethayarajh et al. 2024, arXiv 2402.01306, eq. 7 and 8). A pair is two
    verdicts."""

    name: ClassVar[str] = "kto"
    live: ClassVar[tuple[str, ...]] = ("beta",)
    referenced: ClassVar[bool] = True
    beta: float = 0.1
    loss: str = "kto"
    """"kto", or "apo_zero_unpaired" (arXiv 2408.06266), which has no KL term."""
    desirable_weight: float = 1.0
    """Of replies judged good; the other counters unequal numbers of both."""
    undesirable_weight: float = 1.0

    def __post_init__(self):
        self._one_of("loss", VERDICT_LOSSES)
        self._number("beta", 0, 1e6, 0.1)
        self._number("desirable_weight", 0, 1e6, 1.0)
        self._number("undesirable_weight", 0, 1e6, 1.0)


@named_fields
@dataclass(frozen=True, slots=True)
class ORPO(Objective):
    """Odds ratio preference optimization on pairs, without a reference (Hong et al. 2024, arXiv 2403.07691, eq. 6): the chosen reply's own
    loss, and beta times -log sigmoid of the log odds ratio. With `completions_only=False` in the recipe the own loss takes in the prompt,
    as trl has it."""

    name: ClassVar[str] = "orpo"
    live: ClassVar[tuple[str, ...]] = ("beta",)
    referenced: ClassVar[bool] = False
    beta: float = 0.1
    """The paper's lambda."""

    def __post_init__(self):
        self._number("beta", 0, 1e6, 0.1)


@named_fields
@dataclass(frozen=True, slots=True)
class RRHF(Objective):
    """Rank responses to align human feedback, on whole rankings, without a reference (Yuan et al. 2023, arXiv 2304.05302, eq. 2 to 5): a
    hinge for each two replies whose mean log-probabilities a token are in the wrong order, and the best reply's own loss, nats a token."""

    name: ClassVar[str] = "rrhf"
    live: ClassVar[tuple[str, ...]] = ("beta",)
    referenced: ClassVar[bool] = False
    beta: float = 1.0
    """Weight of the hinges beside the best reply's loss; 1 in the paper's eq. 5."""

    def __post_init__(self):
        self._number("beta", 0, 1e6, 1.0)


KINDS: dict[str, type[Any]] = {kind.name: kind for kind in (DPO, IPO, KTO, ORPO, RRHF)}
"""These objectives by name."""
