"""Everything the panel shows, as numbers: gaps mixed by weights, their bins, categories, and which pairs are read.

Arithmetic on arrays that are there, well under a frame. Reads nothing and draws nothing; what a table of gaps says beyond that is
`workbench.alignment.gaps`.
"""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from widgets.reward_gap.reading import Curves, Pairs, shares
from widgets.reward_gap.state import State
from workbench.alignment import gaps

BINS = 36
"""At most so many in the histogram."""
MOST_CATEGORIES = 8
LENGTHS = "longer reply"
"""The category that every pair has: which of its replies is longer."""
LONGER, SHORTER, ALIKE = "the chosen", "the rejected", "as long"
NICE = (1, 2, 2.5, 5, 10)
Z = 1.959964


@dataclass(slots=True)
class Category:
    """Of P pairs of one value: the share whose better reply has the higher reward, with Wilson's 95 % interval."""

    name: str
    right: float
    low: float
    high: float
    pairs: int


@dataclass(slots=True)
class Look:
    """What is seen now; P pairs pass the category, in the part and at the step that are set."""

    name: str = ""
    step: int | None = None
    total: int | None = None
    part: str = "heldout"
    living: bool = False
    told: str = ""
    """How a run that has no gaps yet stands, in words."""
    has_steps: bool = False
    frame: pd.DataFrame = field(default_factory=pd.DataFrame)
    """P lines with chosen, rejected and gap; of an ensemble also spread."""
    ids: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    edges: np.ndarray = field(default_factory=lambda: np.zeros(0))
    counts: np.ndarray = field(default_factory=lambda: np.zeros(0))
    first: np.ndarray | None = None
    """Counts at the first step, on the same edges, scaled to as many pairs; None at that step itself."""
    first_step: int = 0
    right: float = 0.0
    """Share of pairs with a gap above 0, a gap of 0 a half."""
    curves: Curves = field(default_factory=Curves)
    heldout: tuple[np.ndarray, np.ndarray] = field(default_factory=lambda: (np.zeros(0), np.zeros(0)))
    """Steps and the share right of the held-out pairs."""
    members: list[np.ndarray] = field(default_factory=list)
    """The same of each run of an ensemble."""
    calibration: pd.DataFrame | None = None
    bias: gaps.LengthBias | None = None
    slope: float = 0.0
    """Reward for ten words more, by least squares through the origin."""
    columns: list[str] = field(default_factory=list)
    """That part the pairs into categories; `column` is the one that is shown."""
    column: str = ""
    categories: list[Category] = field(default_factory=list)
    picked: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    """Places of the pairs that are read, in their order."""
    bin: tuple[float, float] | None = None
    flagged: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))

    @property
    def implicit(self) -> bool:
        return bool(self.curves.implicit)

    @property
    def pairs(self) -> int:
        return len(self.frame)


def mixed(pairs: Pairs, heads: tuple[str, ...], state: State) -> pd.DataFrame:
    """The lines with chosen, rejected and gap by the weights that are set; of an ensemble `spread` between its members (n - 1)."""
    of_heads = shares(heads, state.weights)
    out = pairs.frame.copy(deep=False)
    out["chosen"], out["rejected"] = pairs.chosen @ of_heads, pairs.rejected @ of_heads
    out["gap"] = out["chosen"] - out["rejected"]
    if pairs.each is not None:
        out["spread"] = (pairs.each @ of_heads).std(0, ddof=1)
    return out


def gaps_of(pairs: Pairs, heads: tuple[str, ...], state: State) -> np.ndarray:
    """The gap of each pair by the weights that are set, P."""
    of_heads = shares(heads, state.weights)
    return pairs.chosen @ of_heads - pairs.rejected @ of_heads


def columns_of(frame: pd.DataFrame) -> list[str]:
    """Columns that part the pairs into a few categories: words first, then yes or no, then small whole numbers; and which is longer."""
    kinds: dict[str, list[str]] = {"words": [], "bool": [], "whole": []}
    for name in frame:
        if name in ("row", "prompt", "chosen_text", "rejected_text", "chosen_length", "rejected_length"):
            continue
        values = frame[name]
        types = pd.api.types
        kind = "bool" if types.is_bool_dtype(values) else "whole" if types.is_integer_dtype(values) else \
            "words" if types.is_string_dtype(values) else ""
        if kind and 2 <= values.nunique() <= MOST_CATEGORIES:
            kinds[kind].append(name)
    return [*kinds["words"], *kinds["bool"], *kinds["whole"], LENGTHS]


def values_of(frame: pd.DataFrame, column: str) -> np.ndarray:
    """The category of each pair as words, P."""
    if column == LENGTHS or column not in frame:
        apart = frame["chosen_length"].to_numpy() - frame["rejected_length"].to_numpy()
        return np.where(apart > 0, LONGER, np.where(apart < 0, SHORTER, ALIKE))
    if frame[column].dtype == bool:
        return np.where(frame[column].to_numpy(), column, f"not {column}")
    return frame[column].fillna("–").astype(str).to_numpy()


def right_of(gap: np.ndarray) -> np.ndarray:
    return (gap > 0) + 0.5 * (gap == 0)


def categories_of(gap: np.ndarray, values: np.ndarray) -> list[Category]:
    """Of gaps P and each pair's category; the best first."""
    right, found = right_of(gap), []
    for name in dict.fromkeys(values.tolist()):
        inside = right[values == name]
        low, high = wilson(inside.sum(), len(inside))
        found.append(Category(name, float(inside.mean()), low, high, len(inside)))
    return sorted(found, key=lambda each: -each.right)


def wilson(right: float, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share (1927)."""
    share, more = right / count, Z * Z / count
    middle, half = (share + more / 2) / (1 + more), Z * (share * (1 - share) / count + more / (4 * count)) ** 0.5 / (1 + more)
    return middle - half, middle + half


def edges_for(spans: list[np.ndarray]) -> np.ndarray:
    """Edges of equal, round width with one at 0, over the gaps of every step: the bars move, the axis stays."""
    known = np.concatenate([span[np.isfinite(span)] for span in spans] or [np.zeros(0)])
    if not len(known):
        return np.array([-1.0, 0.0, 1.0])
    low, high = min(0.0, float(known.min())), max(0.0, float(known.max()))
    least = max((high - low) / BINS, 1e-6)
    power = 10.0 ** np.floor(np.log10(least))
    width = next(power * nice for nice in NICE if power * nice >= least * (1 - 1e-9))
    # one more at the top, so that the highest gap is inside
    return width * np.arange(np.floor(low / width), max(np.floor(high / width) + 1, 1) + 1)


def counts_in(edges: np.ndarray, gap: np.ndarray) -> np.ndarray:
    """Of each bin, its lower edge inside."""
    return np.bincount(bins_of(edges, gap), minlength=len(edges) - 1)


def bins_of(edges: np.ndarray, gap: np.ndarray) -> np.ndarray:
    """The bin of each gap."""
    return np.clip(np.searchsorted(edges, gap, side="right") - 1, 0, len(edges) - 2)


def calibration_bins(pairs: int) -> int:
    """Fewer bins of few pairs: a bin of two says nothing."""
    return 10 if pairs >= 300 else 5


def slope_of(frame: pd.DataFrame) -> float:
    """Reward for ten words more, by least squares through the origin."""
    apart = (frame["chosen_length"] - frame["rejected_length"]).to_numpy(float)
    return float(10 * (frame["gap"].to_numpy() * apart).sum() / max((apart * apart).sum(), 1e-12))


def shown(look: Look, state: State, picked: frozenset) -> np.ndarray:
    """Places of the pairs to read: of the bin or the flagged ones by gap, the suspicious ones lowest first, the picked ones as rows."""
    gap = look.frame["gap"].to_numpy() if look.pairs else np.zeros(0)
    order = np.argsort(gap, kind="stable")
    if state.show == "bin" and state.low is not None:
        inside = (gap >= state.low) & (gap < state.high)
    elif state.show == "flagged":
        inside = look.flagged
    elif state.show == "picked":
        inside = np.isin(look.ids, [one for one in picked if isinstance(one, int)])
    elif state.show == "suspicious" and look.pairs:
        return order[:max(1, round(state.share * look.pairs))]
    else:
        return order[:0]
    return order[inside[order]]
