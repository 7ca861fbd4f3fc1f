"""Fewer points for the screen, never for storage: M4 keeps the first, last, lowest and highest point of every bin of x.

A drawn line through the result covers the same pixels as one through all points while there are more bins than pixel columns.
Gaps (NaN) stay gaps. Works on lines, where x does not decrease; clouds come back whole.
"""

import numpy as np

N_OUT = 2000
"""Points of one trace on the screen: 500 bins of four."""


def decimate(x: np.ndarray, y: np.ndarray, n_out: int = N_OUT) -> tuple[np.ndarray, np.ndarray]:
    """`x`, `y` of shape (n,) -> at most `n_out` points of them, in order, extremes kept, one NaN for each gap.

    Raises ValueError where x and y differ in length.
    """
    index = chosen(x, y, n_out)
    return (x, y) if index is None else (x[index], y[index])


def chosen(x: np.ndarray, y: np.ndarray, n_out: int = N_OUT) -> np.ndarray | None:
    """The indices `decimate` keeps, or None where all points stay."""
    x, y = np.asarray(x), np.asarray(y)
    if x.shape != y.shape:
        raise ValueError(f"x has shape {x.shape} and y {y.shape}; give them the same length.")
    if len(x) <= n_out or not np.isfinite(x).all() or (np.diff(x) < 0).any():
        return None
    from tsdownsample import M4Downsampler  # compiled, so only when something is long enough to need it

    missing = np.isnan(y)
    if not missing.any():
        return M4Downsampler().downsample(x, np.ascontiguousarray(y), n_out=n_out // 4 * 4)
    # The NaN-aware M4 of tsdownsample gives a bin up for its first NaN, peaks and all; so gaps are put back after M4.
    gaps = np.flatnonzero(missing & ~np.concatenate(([False], missing[:-1])))
    most = n_out // 4
    gaps = gaps[np.linspace(0, len(gaps) - 1, most).astype(int)] if len(gaps) > most else gaps
    there = np.flatnonzero(~missing)
    room = (n_out - len(gaps)) // 4 * 4
    if len(there) > room:
        there = there[M4Downsampler().downsample(x[there], np.ascontiguousarray(y[there]), n_out=room)]
    return np.union1d(there, gaps)


def in_window(x: np.ndarray, y: np.ndarray, window: tuple[float, float] | None, n_out: int = N_OUT) -> tuple[np.ndarray, np.ndarray]:
    """Full resolution inside `window` of x, coarse outside, so that a second view of the same figure still shows the whole."""
    if window is None or len(x) <= n_out or (np.diff(x) < 0).any():
        return decimate(x, y, n_out)
    low, high = np.searchsorted(x, sorted(window), side="left")
    low, high = max(int(low) - 1, 0), min(int(high) + 1, len(x))
    parts = [decimate(x[a:b], y[a:b], n) for a, b, n in ((0, low, n_out // 8), (low, high, n_out), (high, len(x), n_out // 8))]
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])
