"""What two adapters share: how much of one's leading directions lies in the span of the other's (Hu et al. 2021, section 7.2 and appendix
G).

φ(A, B, i, j) = ‖U_A^iᵀ U_B^j‖_F² / min(i, j), equation 4, in [0, 1]: 1 where one span holds the other, 0 where they are orthogonal. Two
independent random spans of i and j directions in d dimensions have the mean max(i, j) / d. Needs no base model.
"""

from typing import TYPE_CHECKING, Any

from workbench.adapters.opening import open_adapter
from workbench.adapters.spectra import decompose
from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    import numpy as np
    import torch

DIRECTIONS = {"A": "right-singular vectors of A, the paper's choice", "B": "left-singular vectors of B",
              "input": "right-singular vectors of ΔW = B A", "output": "left-singular vectors of ΔW"}


def similarity(a: Any, b: Any, layer: int, module: str, most: int | None = None, of: str = "A") -> "np.ndarray":
    """φ [i × j], float64: entry [i - 1, j - 1] compares the first i directions of `a` with the first j of `b`, in one matrix of the model.

    `a` and `b` are whatever `open_adapter` takes, of any two ranks, over bases of one shape; at most `most` directions of each. `of` says
    whose directions (see `DIRECTIONS`); spans of all of an adapter's directions are the same for "A" and "input", their order is not.
    Raises `WorkbenchError` where one of the two has no update there, or they do not have as many dimensions.
    """
    import numpy as np

    if of not in DIRECTIONS:
        raise WorkbenchError(f"There are no directions of {of!r}.", f"Use one of {', '.join(DIRECTIONS)}.")
    if most is not None and most < 1:
        raise WorkbenchError(f"At most {most} directions are none.", "Use most=8, or leave it out.")
    first, second = (_directions(source, layer, module, of)[:, :most] for source in (a, b))
    if first.shape[0] != second.shape[0]:
        raise WorkbenchError(f"The two adapters are of different models: {module} has {first.shape[0]} dimensions in one and "
                             f"{second.shape[0]} in the other.",
                             "Compare adapters of one base model.")
    held = (first.mT @ second).square().cumsum(0).cumsum(1).numpy()
    least = np.minimum.outer(np.arange(1, held.shape[0] + 1), np.arange(1, held.shape[1] + 1))
    return np.clip(held / least, 0.0, 1.0)


def _directions(source: Any, layer: int, module: str, of: str) -> "torch.Tensor":
    """Orthonormal columns, the largest singular value's first, float64 [d × r]; those of singular value 0 are none."""
    import torch

    factor = open_adapter(source).factor(layer, module)
    if of in ("input", "output"):
        left, values, right = decompose(factor)
        vectors = right if of == "input" else left
    elif of == "A":
        _, values, vectors = torch.linalg.svd(factor.a.double(), full_matrices=False)
        vectors = vectors.mT
    else:
        vectors, values, _ = torch.linalg.svd(factor.b.double(), full_matrices=False)
    there = values > values[0] * vectors.shape[0] * torch.finfo(torch.float64).eps
    if not there.any():
        raise WorkbenchError(f"The update of {factor.name} is zero, so it has no directions.", "Compare adapters that were trained.")
    return vectors[:, there]
