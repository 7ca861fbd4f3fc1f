"""Rows that are there twice, or nearly: exact duplicates by hash, near ones by MinHash signatures, banding, and the Jaccard similarity
itself.

Candidates come from locality-sensitive hashing (Broder 1997; Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, ch. 3.4): rows that
agree in a whole band of their signatures. Each candidate pair is then *measured* on its n-grams, so no estimate decides and precision does
not hang on the signature. Signatures are rensa's. Not here: duplicates across two tables (`overlap.py`), rewordings that share no words.

A pair at Jaccard s is missed with probability (1 - s**values)**bands. How many values a band holds, and how many bands there are, follow
from the threshold (`banding`), so that of the pairs just at it at most `MISSED` are expected to be missed, and fewer of those above: at a
threshold of 0.7 it is 0.4 % at 0.7 and 3e-5 at 0.8.
"""

import hashlib
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from workbench.data import ngrams, texts
from workbench.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

BAND = 4
"""Signature values a band holds, from a threshold of 0.6 on: fewer find more pairs and measure more for nothing."""

MISSED, LEAST_BANDS = 0.02, 20
"""Share of the pairs at the threshold that may be missed, and how many bands there are at least."""

NEIGHBOURS = 20
"""How far a row looks ahead in a bucket: a boilerplate shared by ten thousand rows costs no fifty million pairs. In larger buckets not
every pair is listed; the group is joined through the chain of neighbours."""

PAIRS_AT_ONCE, SIGNED_AT_ONCE = 20_000, 5_000


def exact(rows: Any, columns: str | Sequence[str] | None = None, normalise: bool = False) -> "pd.DataFrame":
    """Groups of rows with the same text, as `near` returns them (similarity 1). With `normalise` case, punctuation and white space do not
    count."""
    import numpy as np

    shown = texts.texts_of(rows, columns)
    if normalise:
        shown = [" ".join(ngrams.words(text)) for text in shown]
    seen: dict[bytes, int] = {}
    first = np.array([seen.setdefault(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest(), row)
                      for row, text in enumerate(shown)], np.int64)
    row = np.flatnonzero(first != np.arange(len(shown)))
    return _groups(first[row], row, np.ones(len(row)), len(shown))


def near(rows: Any, columns: str | Sequence[str] | None = None, *, threshold: float = 0.7, n: int = 3, unit: str = "words",
         permutations: int | None = None, seed: int = 1, progress: ngrams.Progress | None = None) -> "pd.DataFrame":
    """Groups of rows joined by pairs of Jaccard similarity ≥ `threshold` on their n-grams (single linkage: A and C may meet through B).

    A DataFrame with a line for each row that is in a group: `row` (index from 0), `group` (from 0, by first row), `size`, `similarity` (to
    the most similar row of the group) and `keep` (true for the first row of each group). Raises `DataError` as `near_pairs` does.
    """
    shown = texts.texts_of(rows, columns)
    pairs = near_pairs(shown, threshold=threshold, n=n, unit=unit, permutations=permutations, seed=seed, progress=progress)
    return groups(pairs, len(shown))


def groups(pairs: "pd.DataFrame", count: int, threshold: float = 0.0) -> "pd.DataFrame":
    """The groups that `near` gives, from pairs found already: of those of `near_pairs` at a lower threshold the ones at `threshold` or
    above, among `count` rows. What a slider moves; nothing is looked for again."""
    import numpy as np

    close = pairs["similarity"].to_numpy() >= threshold
    first, second = (pairs[name].to_numpy(np.int64)[close] for name in ("first", "second"))
    return _groups(first, second, pairs["similarity"].to_numpy()[close], count)


def near_pairs(rows: Any, columns: str | Sequence[str] | None = None, *, threshold: float = 0.7, n: int = 3, unit: str = "words",
               permutations: int | None = None, seed: int = 1, progress: ngrams.Progress | None = None) -> "pd.DataFrame":
    """The pairs themselves: `first` < `second` (row indices) and `similarity`, sorted by row. Rows with the very same n-grams are paired
    with the first of them only. `permutations` are those that `banding` gives for the threshold; another number of them fills bands of
    `BAND`. Raises `DataError` for a threshold outside 0.2 to 1, or for permutations that are no multiple of `BAND`.
    """
    import numpy as np
    import pandas as pd

    if not 0.2 <= threshold <= 1:
        raise DataError(f"A threshold of {threshold:g} is not a similarity this search can find.",
                        "Use one from 0.2 to 1; 0.7 to 0.8 is usual.")
    if permutations is not None and (permutations < BAND or permutations % BAND):
        raise DataError(f"{permutations} permutations do not fill bands of {BAND}.", f"Use a multiple of {BAND}, such as 80.")
    band, bands = banding(threshold) if permutations is None else (BAND, permutations // BAND)
    found = ngrams.grams(texts.texts_of(rows, columns), n, unit, progress)
    original, copy = _same_sets(found)
    single = np.setdiff1d(np.flatnonzero(found.counts), copy, assume_unique=True)
    first, second = _candidates(_signatures(found, single, band * bands, seed), band)
    first, second = single[first], single[second]
    similarity = jaccard(found, first, second)
    close = similarity >= threshold
    table = pd.DataFrame({"first": np.concatenate([original, first[close]]), "second": np.concatenate([copy, second[close]]),
                          "similarity": np.concatenate([np.ones(len(copy)), similarity[close]])})
    return table.sort_values(["first", "second"], ignore_index=True)


def banding(threshold: float) -> tuple[int, int]:
    """`(values a band holds, bands)`: as many bands as find a pair at the threshold with probability 1 - `MISSED`. Below 0.6 bands hold
    fewer values, else there would be thousands of them."""
    band = BAND if threshold >= 0.6 else 3 if threshold >= 0.3 else 2
    found_by_one = min(threshold ** band, 1 - 1e-12)
    return band, max(LEAST_BANDS, math.ceil(math.log(MISSED) / math.log1p(-found_by_one)))


def likeness(pairs: "pd.DataFrame", count: int) -> "np.ndarray":
    """How alike each row is to the row most alike it among these pairs, float64 [count]; NaN where it is in none."""
    import numpy as np

    best = np.full(count, np.nan)
    for side in ("first", "second"):
        np.fmax.at(best, pairs[side].to_numpy(np.int64), pairs["similarity"].to_numpy())
    return best


def extra_rows(groups: "pd.DataFrame") -> "np.ndarray":
    """Indices of the rows to drop so that one of each group stays, sorted, int64."""
    import numpy as np

    return np.sort(groups["row"].to_numpy(np.int64)[~groups["keep"].to_numpy(bool)])


def jaccard(found: ngrams.Grams, first: "np.ndarray", second: "np.ndarray") -> "np.ndarray":
    """|A ∩ B| / |A ∪ B| of the n-grams of each pair of rows, float64 [pairs]; two empty rows have 1."""
    import numpy as np

    out = np.ones(len(first))
    for begin in range(0, len(first), PAIRS_AT_ONCE):
        a, b = first[begin:begin + PAIRS_AT_ONCE], second[begin:begin + PAIRS_AT_ONCE]
        rows = np.concatenate([a, b])
        counts = found.counts[rows]
        pair = np.repeat(np.concatenate([np.arange(len(a), dtype=np.uint64)] * 2), counts)
        at = np.arange(len(pair)) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(found.starts[rows], counts)
        key = np.sort(pair << np.uint64(48) | found.hashes[at] >> np.uint64(16))  # pair and hash in one word sort faster than two keys
        shared = np.bincount((key[1:][key[1:] == key[:-1]] >> np.uint64(48)).astype(np.int64), minlength=len(a))
        union = counts[:len(a)] + counts[len(a):] - shared
        out[begin:begin + len(a)] = np.where(union > 0, shared / np.maximum(union, 1), 1.0)
    return out


def _same_sets(found: ngrams.Grams) -> tuple["np.ndarray", "np.ndarray"]:
    """Rows with the same n-grams as an earlier one, and that earlier one: (original, copy)."""
    import numpy as np

    filled = np.flatnonzero(found.counts)
    key = np.zeros(len(found.counts), np.uint64)
    if len(filled):
        key[filled] = np.add.reduceat(ngrams.mix(found.hashes), found.starts[filled])
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    original = first[inverse]
    copy = np.flatnonzero(original != np.arange(len(key)))
    return original[copy], copy


def _signatures(found: ngrams.Grams, rows: "np.ndarray", permutations: int, seed: int) -> "np.ndarray":
    """MinHash values of these rows, uint64 [rows × permutations]."""
    import numpy as np
    import rensa

    if len(rows) == 0:
        return np.empty((0, permutations), np.uint64)
    parts = []
    for begin in range(0, len(rows), SIGNED_AT_ONCE):  # rensa hands over Python's numbers, which take five times the room of these
        those = rows[begin:begin + SIGNED_AT_ONCE]
        counts = found.counts[those]
        starts = np.concatenate([[0], np.cumsum(counts)])
        at = np.arange(starts[-1]) - np.repeat(starts[:-1], counts) + np.repeat(found.starts[those], counts)
        matrix = rensa.RMinHash.digest_matrix_from_flat_token_hashes(found.hashes[at], starts.astype(np.uint64), permutations, seed)
        parts.append(np.array(matrix.to_rows(), np.uint64))
    return np.concatenate(parts)


def _candidates(signatures: "np.ndarray", band: int) -> tuple["np.ndarray", "np.ndarray"]:
    """Pairs of rows (first < second, each once) that agree in a whole band of so many values and are within `NEIGHBOURS` of each other in
    its bucket."""
    import numpy as np

    count, permutations = signatures.shape
    values = np.ascontiguousarray(signatures.T)
    keys = [np.empty(0, np.int64)]
    for begin in range(0, permutations, band):
        key = ngrams.fold(values, np.array([begin]), band)[0]
        order = np.argsort(key, kind="stable")
        key = key[order]
        for distance in range(1, min(NEIGHBOURS, count - 1) + 1):
            same = np.flatnonzero(key[distance:] == key[:-distance])
            if len(same) == 0:
                break
            keys.append(order[same] * count + order[same + distance])
    pairs = np.unique(np.concatenate(keys))
    return pairs // max(count, 1), pairs % max(count, 1)


def _groups(first: "np.ndarray", second: "np.ndarray", similarity: "np.ndarray", count: int) -> "pd.DataFrame":
    """The connected components of the pairs, one line a row."""
    import numpy as np
    import pandas as pd
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    _, label = connected_components(coo_array((np.ones(len(first), bool), (first, second)), shape=(count, count)), directed=False)
    best = np.zeros(count)
    np.maximum.at(best, first, similarity)
    np.maximum.at(best, second, similarity)
    row = np.unique(np.concatenate([first, second])).astype(np.int64)
    _, at, group, size = np.unique(label[row], return_index=True, return_inverse=True, return_counts=True)
    place = np.argsort(np.argsort(at))  # groups are numbered by their first row, not by the label they were given
    keep = np.zeros(len(row), bool)
    keep[at] = True
    table = pd.DataFrame({"row": row, "group": place[group], "size": size[group], "similarity": best[row], "keep": keep})
    return table.sort_values(["group", "row"], ignore_index=True)
