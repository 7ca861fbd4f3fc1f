"""Singular values of an adapter's ΔW, from its factors alone, and the rank that holds a share of its energy.

ΔW = scale · B A is never formed: with B = Q_B R_B and Aᵀ = Q_A R_A, its singular values are those of the r × r matrix scale · R_B R_Aᵀ, and
its singular vectors are that one's, turned by Q_B and Q_A. In float64, so they are exact to the factors' own rounding. Energy is the
squared Frobenius norm, ‖ΔW‖² = Σ σ². Not here: tuned minus base, where there are no factors (`difference.py`).

Shapes: A is [r × d_in], B is [d_out × r].
"""

import math
from typing import TYPE_CHECKING, Any

from workbench.adapters.opening import Factor, open_adapter
from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    import pandas as pd
    import torch

FLOAT32 = 1.1920929e-07
"""Machine epsilon of the format factors are trained in (IEEE 754)."""


def spectrum(source: Any, names: dict[str, str] | None = None, **options: Any) -> "pd.DataFrame":
    """DataFrame(layer, module, index, singular_value) of ΔW = scale · B A: one line a direction, largest first, index from 1.

    `source` is an adapter folder or file, a run or its folder, or an `Adapter`; `names` and options as `open_adapter` takes them. `.attrs`:
    "shapes" and "names" by (layer, module): (d_out, d_in) and the matrix's full name; "norms" the Frobenius norms; "notes" sentences.
    Raises as `open_adapter` does.
    """
    adapter = open_adapter(source, names, **options)
    values = {(factor.layer, factor.module): singular_values(factor).tolist() for factor in adapter.factors}
    return frame(values, shapes={(f.layer, f.module): f.shape for f in adapter.factors},
                 names={(f.layer, f.module): f.name for f in adapter.factors},
                 norms={place: math.hypot(*found) for place, found in values.items()}, notes=adapter.notes)


def frame(values: dict[tuple[int, str], list[float]], **attributes: Any) -> "pd.DataFrame":
    """Singular values by place as the table that `spectrum` gives."""
    import pandas as pd

    lines = [(layer, module, index, value) for (layer, module), found in values.items() for index, value in enumerate(found, start=1)]
    table = pd.DataFrame(lines, columns=["layer", "module", "index", "singular_value"])
    table = table.astype({"layer": int, "module": str, "index": int, "singular_value": float})
    table.attrs.update(attributes)
    return table


def singular_values(factor: Factor) -> "torch.Tensor":
    """min(r, d_in, d_out) values, largest first, float64."""
    import torch

    _, _, core = _core(factor)
    return torch.linalg.svdvals(core)


def decompose(factor: Factor) -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
    """(U [d_out × k], σ [k], V [d_in × k]) of ΔW, float64, k = min(r, d_in, d_out): ΔW = U diag(σ) Vᵀ."""
    import torch

    left, right, core = _core(factor)
    u, values, v = torch.linalg.svd(core, full_matrices=False)
    return left @ u, values, right @ v.mT


def _core(factor: Factor) -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
    import torch

    a, b = factor.a.double(), factor.b.double()
    if not (torch.isfinite(a).all() and torch.isfinite(b).all()):
        raise WorkbenchError(f"The update of {factor.name} is not finite, so it has no singular values.",
                             "Take an earlier checkpoint of the run.")
    left, upper_left = torch.linalg.qr(b)
    right, upper_right = torch.linalg.qr(a.mT)
    return left, right, factor.scale * upper_left @ upper_right.mT


def energy_ranks(spectrum: "pd.DataFrame", shares: tuple[float, ...] = (0.9, 0.99)) -> "pd.DataFrame":
    """DataFrame(layer, module, rank, r90, r99, norm): how many directions of each matrix hold 90 % and 99 % of its energy ‖ΔW‖².

    `rank` is the numerical rank: singular values above σ₁ · max(d_out, d_in) · ε of float32 (`numpy.linalg.matrix_rank`'s rule). `norm` is
    ‖ΔW‖, Frobenius. A share that the singular values listed do not reach (a difference's are only its largest) is <NA>. A matrix that was
    not changed has ranks 0.
    """
    import numpy as np
    import pandas as pd

    for share in shares:
        if not 0 < share <= 1:
            raise WorkbenchError(f"A share of {share!r} of the energy is none.", "Use shares=(0.9, 0.99).")
    shapes, norms = spectrum.attrs.get("shapes", {}), spectrum.attrs.get("norms", {})
    columns = {share: f"r{share * 100:g}" for share in shares}
    lines = []
    for place, values in spectrum.groupby(["layer", "module"], sort=False)["singular_value"]:
        values = np.sort(values.to_numpy(float))[::-1]
        held = np.cumsum(values**2)
        norm = float(norms.get(place, np.sqrt(held[-1])))
        smallest = values[0] * max(shapes.get(place, (len(values),))) * FLOAT32
        line = {"layer": place[0], "module": place[1], "rank": int((values > smallest).sum()), "norm": norm}
        for share, column in columns.items():
            # float64 sums of squares agree to some ulps: without the slack a share of 1 would fall one short by rounding
            enough = np.flatnonzero(held >= share * norm**2 * (1 - 1e-12))
            line[column] = 0 if norm == 0 else int(enough[0]) + 1 if len(enough) else pd.NA
        lines.append(line)
    table = pd.DataFrame(lines, columns=["layer", "module", "rank", *columns.values(), "norm"])
    return table.astype({column: "Int64" for column in columns.values()})
