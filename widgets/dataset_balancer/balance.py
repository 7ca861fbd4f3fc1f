"""Every number that the balancer shows, reckoned on counts: shares, epochs, lengths, waste.

Pure: takes settings, the sources' counts and their profiles, and asks `workbench.data`. Reads no rows and draws nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from widgets.dataset_balancer.state import Mixed, State, mixed
from workbench.data.mixture import Mixture
from workbench.data.profiles import Lengths, Profile

if TYPE_CHECKING:
    import numpy as np

MANY_EPOCHS = 4
"""Beyond so many, repeated text teaches little (Muennighoff et al. 2023)."""
LINEAR = 320
"""Lengths up to so many tokens are shown on a linear axis, longer ones by powers of two."""
BINS_AN_OCTAVE = 6


@dataclass(slots=True)
class Balance:
    """What the settings come to. Shares are 0 to 1 and count what `by` says."""

    mixed: Mixed
    by: str
    """"tokens", or "examples" where tokens are not known of every source."""
    names: list[str]
    """Sources trained on, the largest natural share first, plain text last."""
    rows: dict[str, int]
    tokens: dict[str, int] | None
    natural: dict[str, float]
    shares: dict[str, float]
    stages: list[dict[str, float]]
    """Of each stage; empty where there is one only."""
    epochs: dict[str, float]
    plain: list[str]
    tokens_drawn: float | None = None
    waste: dict[str, float] | None = None
    """As `Lengths.waste` gives it; None where lengths are not known."""
    bins: "Bins | None" = None
    profiles: dict[str, Profile] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    """Sources trained on whose lengths nobody has measured."""

    @property
    def tests(self) -> tuple[str, ...]:
        return self.mixed.tests


@dataclass(slots=True)
class Bins:
    """A histogram of lengths: share of the examples in each bin."""

    edges: "np.ndarray"
    """In tokens, one more than bins."""
    linear: bool
    shares: "np.ndarray"
    picked: "np.ndarray | None" = None
    """Of the picked sources alone."""


class Binning:
    """Which bin each of a table's lengths falls into, worked out once."""

    def __init__(self, lengths: Lengths) -> None:
        import numpy as np

        self.table = lengths
        longest = int(lengths.lengths[-1])
        self.linear = longest <= LINEAR
        if self.linear:
            step = max(1, -(-longest // 48))
            self.edges = np.arange(0, longest + 2 * step, step, dtype=float)
        else:
            low = max(0.0, np.floor(np.log2(max(1, int(lengths.lengths[0])))))
            self.edges = 2 ** np.arange(low, np.ceil(np.log2(longest + 1)) + 1e-9, 1 / BINS_AN_OCTAVE)
        self._place = np.clip(np.searchsorted(self.edges, lengths.lengths, side="right") - 1, 0, len(self.edges) - 2)

    def shares(self, rates: dict[str, float]) -> "np.ndarray":
        """Share of the examples in each bin."""
        import numpy as np

        return np.bincount(self._place, self.table.shares(rates), minlength=len(self.edges) - 1)


def plain_sources(state: State, base: Mixture, profiles: dict[str, Profile]) -> list[str]:
    """Sources of plain text: those that were said to be; where none was, those whose rows show it."""
    if state.pretraining:
        return [name for name in base.sources if name in state.pretraining]
    return [name for name in base.sources if name in profiles and profiles[name].layout == "plain text"]


def balance(state: State, base: Mixture, profiles: dict[str, Profile], binning: Binning | None = None, picked: Iterable[str] = (),
            rough: bool = False) -> Balance:
    """The numbers behind the figure. `profiles` are of the sources measured so far, `binning` of just these; `rough` as in
    `Lengths.waste`. Raises `DataError` where the settings make no mixture.
    """
    tokens = {name: profile.tokens for name, profile in profiles.items()}
    plain = plain_sources(state, base, profiles)
    here = mixed(state, base, tokens, plain)
    rates = here.rates
    rows = {name: base.rows_of(name) for name in rates}
    unknown = [name for name in rates if name not in profiles]
    known = not unknown and all(tokens[name] for name in rates)
    by = "tokens" if state.by == "tokens" and known else "examples"
    weight = {name: tokens[name] / rows[name] if by == "tokens" else 1.0 for name in rates}
    natural = _normal({name: rows[name] * weight[name] for name in rates})
    names = sorted(rates, key=lambda name: (name in plain, -natural[name], name))
    staged = [_normal({name: rate * weight[name] for name, rate in of.items()}) for of, _ in here.stages]
    found = Balance(
        mixed=here, by=by, names=names, rows=rows, tokens={name: tokens[name] for name in rates} if known else None, natural=natural,
        shares=_normal({name: rate * weight[name] for name, rate in rates.items()}), stages=staged if len(staged) > 1 else [],
        epochs={name: rates[name] * here.rows / rows[name] for name in rates}, plain=[name for name in names if name in plain],
        profiles=profiles, unknown=unknown,
    )
    if known:
        found.tokens_drawn = here.rows * sum(rate * tokens[name] / rows[name] for name, rate in rates.items())
        binning = binning or Binning(Lengths(profiles))
        found.waste = binning.table.waste(rates, state.max_length, state.batch_size, here.rows, rough=rough)
        alone = {name: rates[name] for name in picked if rates.get(name)}
        found.bins = Bins(binning.edges, binning.linear, binning.shares(rates), binning.shares(alone) if alone else None)
    return found


def _normal(parts: dict[str, float]) -> dict[str, float]:
    total = sum(parts.values())
    return {name: part / total if total else 0.0 for name, part in parts.items()}
