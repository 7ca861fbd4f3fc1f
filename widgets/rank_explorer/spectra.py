"""The spectra the panel shows, as arrays: one `Matrix` a layer and module, all of them a `Spectra`, and what the map says of each.

Pure arithmetic on singular values that the engine computed. Energy is the share of ‖ΔW‖² (squared Frobenius norm, the sum of the squared
singular values) that the first r directions hold; by Eckart and Young (1936) no matrix of rank r keeps more.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

FLAT = 0.5
"""A spectrum is cut short where its last direction holds more than this part of an even share of the energy."""


@dataclass(slots=True)
class Matrix:
    """ΔW of one linear layer."""

    name: str
    """Of its module in the base model, for example model.layers.0.self_attn.q_proj."""
    layer: int
    module: str
    values: np.ndarray
    """Singular values, largest first, shape (directions,), float64."""
    shape: tuple[int, int] | None = None
    """(d_out, d_in), where known."""
    total: float = 0.0
    """‖ΔW‖², at least the sum of the squares: of a difference only the first directions are known."""
    bound: float | None = None
    """How far a singular value may be off; None where they are exact."""
    share: np.ndarray = field(init=False)
    """Energy of the first 1, 2, ... directions, from 0 to 1."""

    def __post_init__(self) -> None:
        squares = np.cumsum(self.values ** 2)
        self.total = max(self.total, float(squares[-1]) if len(squares) else 0.0)
        self.share = squares / self.total if self.total > 0 else np.zeros(len(squares))

    def needs(self, share: float) -> int | None:
        """The least rank that holds `share` of the energy, 0 of no update at all; None where the known directions do not hold it."""
        if self.total == 0:
            return 0
        reached = np.flatnonzero(self.share >= share - 1e-9)
        return int(reached[0]) + 1 if len(reached) else None

    @property
    def want(self) -> int:
        """Directions for 90 %; where those known do not hold it, one more than there are."""
        need = self.needs(.9)
        return len(self.values) + 1 if need is None else need

    def keeps(self, rank: int) -> float:
        """Energy, from 0 to 1, that rank `rank` keeps."""
        return float(self.share[min(rank, len(self.share)) - 1]) if len(self.share) and rank > 0 else 0.0

    @property
    def norm(self) -> float:
        """‖ΔW‖, Frobenius."""
        return float(np.sqrt(self.total))

    @property
    def flat(self) -> bool:
        """Whether the last direction still holds nearly as much as the others: then a higher rank might have held more."""
        used = len(self.values)
        return used > 1 and self.total > 0 and used * self.values[-1] ** 2 / self.total > FLAT

    @property
    def label(self) -> str:
        """`layer 18 down`."""
        return f"layer {self.layer} {short(self.module)}" if self.layer >= 0 else short(self.module)


@dataclass(slots=True)
class Spectra:
    """All matrices of an adapter or of a difference."""

    matrices: list[Matrix]
    kind: str = "adapter"
    """"adapter", or "difference" of a tuned model and its base."""
    rank: int = 0
    """The largest number of directions that are known of a matrix; of an adapter its rank."""
    base: str = ""
    variant: str = "lora"
    name: str = ""
    """What a person calls it: the run's or folder's name."""
    layers: list[int] = field(init=False)
    modules: list[str] = field(init=False)
    _at: dict[tuple[int, str], Matrix] = field(init=False)

    def __post_init__(self) -> None:
        self.layers = sorted({matrix.layer for matrix in self.matrices})
        self.modules = list(dict.fromkeys(matrix.module for matrix in self.matrices))
        self.rank = self.rank or max((len(matrix.values) for matrix in self.matrices), default=0)
        self._at = {(matrix.layer, matrix.module): matrix for matrix in self.matrices}

    def arrange(self, order: Sequence[str]) -> None:
        """Modules as the model has them one after the other, by the last part of their names; files have them by letter."""
        place = {module: k for k, module in enumerate(order)}
        self.modules.sort(key=lambda module: place.get(module.rsplit(".", 1)[-1], len(place)))
        rows = {module: k for k, module in enumerate(self.modules)}
        self.matrices.sort(key=lambda matrix: (matrix.layer, rows[matrix.module]))

    def at(self, layer: int, module: str) -> Matrix | None:
        return self._at.get((layer, module))

    def named(self, name: str) -> Matrix | None:
        """The matrix of a module or tensor name; another prefix or a `.weight` at the end does not matter."""
        wanted = plain_name(name)
        return next((matrix for matrix in self.matrices if plain_name(matrix.name) == wanted), None) if name else None

    def hungriest(self) -> Matrix | None:
        """The matrix that needs the most directions for 90 %; of those the one with the largest update."""
        return max(self.matrices, key=lambda m: (m.want, m.norm), default=None)

    def partner(self, matrix: Matrix) -> Matrix | None:
        """Of the same layer, the matrix whose need is furthest from this one's: what it is drawn beside."""
        others = [m for m in self.matrices if m.layer == matrix.layer and m.module != matrix.module]
        return max(others, key=lambda m: (abs(m.want - matrix.want), m.module), default=None)

    def keeps(self, rank: int) -> float:
        """Energy of all matrices together that rank `rank` in each of them keeps."""
        total = sum(matrix.total for matrix in self.matrices)
        return sum(matrix.keeps(rank) * matrix.total for matrix in self.matrices) / total if total else 0.0


def map_of(spectra: Spectra, what: str, rank: int) -> tuple[list[list[float | None]], list[list[str]]]:
    """(values, words) as rows by module and columns by layer; None and "" where a layer has no such matrix.

    `what` is one of `state.MAPS`; a matrix that does not reach its share with the known directions counts as one more than those.
    """
    values, words = [], []
    for module in spectra.modules:
        row = [_cell(spectra.at(layer, module), what, rank) for layer in spectra.layers]
        values.append([value for value, _ in row])
        words.append([word for _, word in row])
    return values, words


def _cell(matrix: Matrix | None, what: str, rank: int) -> tuple[float | None, str]:
    if matrix is None:
        return None, ""
    if matrix.total == 0:
        return 0.0, "0"
    if what == "norm":
        return matrix.norm, f"{matrix.norm:.2g}"
    if what == "kept":
        return 100 * matrix.keeps(rank), f"{100 * matrix.keeps(rank):.0f}"
    need = matrix.needs(.99 if what == "r99" else .9)
    return (float(need), str(need)) if need else (float(len(matrix.values) + 1), f">{len(matrix.values)}")


def short(module: str) -> str:
    """`q_proj` -> `q`, as papers call it."""
    return re.sub(r"_(proj|project|projection|layer)$", "", module)


def plain_name(name: str) -> str:
    """A module's name without what peft and checkpoints put around it."""
    return re.sub(r"\.(weight|base_layer)$", "", re.sub(r"^(base_model\.model\.|model\.|transformer\.)+", "", name))


def middle(numbers: Iterable[float]) -> float:
    found = list(numbers)
    return float(np.median(found)) if found else 0.0


def listed(words: Sequence[str], most: int = 3) -> str:
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")
