"""How different rows are from each other: distinct n-grams, the Vendi score, mean similarity and compression.

All of them fall or rise with the number of rows, so sets are compared at one size: `diversity` measures equally many rows of each.
distinct-n: Li et al. 2016, "A Diversity-Promoting Objective Function for Neural Conversation Models", section 5. Vendi score: Friedman and
Dieng 2023, "The Vendi Score", equation 1. Compression ratio: Shaib et al. 2024, "Standardizing the Measurement of Text Diversity". Likeness
is counted on words alone: two rewordings look different. Not here: embeddings, duplicates (`duplicates.py`).
"""

import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from workbench.data import ngrams, texts
from workbench.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

SAMPLE_ROWS = 1_000
"""Rows that the Vendi score looks at: its eigenvalues cost the third power of them (about half a second)."""


def diversity(rows: Any, columns: str | Sequence[str] | None = None, *, by: str | None = None, n: int = 2, sample: int = SAMPLE_ROWS,
              seed: int = 0) -> "pd.DataFrame":
    """One line for all rows, or one for each value of the column `by`, measured on equally many rows drawn by `seed`.

    `group`, `rows`, `measured` (rows looked at), `distinct_1`, `distinct_2`, `distinct_3` (0 to 1), `vendi` (1 to `measured`: as many rows
    as would be this diverse if they shared nothing), `vendi_share` (of `measured`), `mean_similarity` (0 to 1, between two different rows)
    and `compression` (bytes by compressed bytes: higher is more alike). Raises `DataError` for no rows, or a sample below 2.
    """
    import numpy as np
    import pandas as pd

    if sample < 2:
        raise DataError(f"A sample of {sample} rows has no diversity.", "Use 2 or more.")
    rows = list(rows) if hasattr(rows, "__next__") else rows
    shown = texts.texts_of(rows, columns)
    if not shown:
        raise DataError("There are no rows whose diversity could be measured.", "Give at least one.")
    groups: dict[Any, list[int]] = {"all": list(range(len(shown)))}
    if by is not None:
        groups = {}
        for index, value in enumerate(texts.column_of(rows, by)):
            groups.setdefault(value, []).append(index)
    size = min(sample, *map(len, groups.values())) if len(groups) > 1 else min(sample, len(shown))
    lines = []
    for group, members in groups.items():
        drawn = sorted(np.random.default_rng(seed).choice(members, size, replace=False).tolist())
        chosen = [shown[i] for i in drawn]
        kernel = similarity(chosen, n=n)
        score = vendi_score(kernel)
        apart = (float(kernel.sum()) - size) / (size * (size - 1)) if size > 1 else float("nan")
        lines.append({"group": group, "rows": len(members), "measured": size, **{f"distinct_{k}": distinct(chosen, n=k) for k in (1, 2, 3)},
                      "vendi": score, "vendi_share": score / size, "mean_similarity": apart, "compression": compression(chosen)})
    return pd.DataFrame(lines)


def distinct(rows: Any, columns: str | Sequence[str] | None = None, *, n: int = 2) -> float:
    """distinct-n: different n-grams of words by all of them, over all rows together; NaN where no row has `n` words."""
    import numpy as np

    if n < 1:
        raise DataError(f"An n-gram of {n} words is none.", "Use n=1 or more.")
    found, _ = ngrams.runs(*ngrams.units(texts.texts_of(rows, columns), "words", {}), n)
    return len(np.unique(found)) / len(found) if len(found) else float("nan")


def similarity(rows: Any, columns: str | Sequence[str] | None = None, *, n: int = 2, unit: str = "words") -> "np.ndarray":
    """Cosine of each two rows' sets of n-grams, |A ∩ B| / √(|A||B|), float64 [N × N] with ones on the diagonal; empty rows are all alike.

    A matrix: 1,000 rows take 8 MB, 10,000 take 800.
    """
    import numpy as np
    from scipy.sparse import csr_array

    found = ngrams.grams(texts.texts_of(rows, columns), n, unit)
    known, column = np.unique(found.hashes, return_inverse=True)
    table = csr_array((np.ones(len(column)), column, found.starts), shape=(len(found.counts), len(known)))
    norm = np.sqrt(np.maximum(found.counts, 1))
    kernel = (table @ table.T).toarray() / norm[:, None] / norm[None, :]
    empty = found.counts == 0
    kernel[np.ix_(empty, empty)] = 1
    return kernel


def vendi_score(kernel: "np.ndarray") -> float:
    """exp(-Σ λ log λ) of the eigenvalues λ of K / N (equation 1): N rows that share nothing have N, N equal ones 1.

    `kernel` is positive semidefinite with ones on the diagonal, [N × N].
    """
    import numpy as np

    values = np.linalg.eigvalsh(kernel / len(kernel))
    values = values[values > 1e-12]
    return float(np.exp(-np.sum(values * np.log(values))))


def compression(rows: Any, columns: str | Sequence[str] | None = None) -> float:
    """Bytes of all rows together by their size under zlib; NaN for rows without text."""
    body = "\n".join(texts.texts_of(rows, columns)).encode("utf-8", "surrogatepass")
    return len(body) / len(zlib.compress(body, 9)) if body.strip() else float("nan")
