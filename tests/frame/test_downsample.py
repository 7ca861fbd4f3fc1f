"""Decimation against brute force: every bin keeps its first, last, lowest and highest point, gaps stay gaps."""

from __future__ import annotations

import numpy as np
import pytest

from widgets.frame.downsample import N_OUT, decimate, in_window


def noise(n: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=n)


def test_every_bin_keeps_its_extremes_and_its_ends() -> None:
    x, y = np.arange(100_000.0), noise(100_000)
    dx, dy = decimate(x, y)
    assert len(dx) <= N_OUT
    kept = set(zip(dx.tolist(), dy.tolist(), strict=True))
    wanted = set()
    for part in np.split(np.arange(len(x)), N_OUT // 4):
        for place in (part[0], part[-1], part[np.argmin(y[part])], part[np.argmax(y[part])]):
            wanted.add((x[place], y[place]))
    assert wanted <= kept


def test_points_are_real_points_in_order() -> None:
    x = np.sort(np.random.default_rng(2).uniform(0, 9, 30_000))
    y = noise(30_000)
    dx, dy = decimate(x, y, 400)
    assert len(dx) <= 400
    assert (np.diff(dx) >= 0).all()
    assert set(zip(dx.tolist(), dy.tolist(), strict=True)) <= set(zip(x.tolist(), y.tolist(), strict=True))


def test_gaps_stay_gaps_and_cost_no_peak() -> None:
    x, y = np.arange(50_000.0), noise(50_000)
    y[10_000:10_100] = np.nan
    y[30_000] = np.nan
    y[30_001], y[9_999] = 40.0, -40.0  # the extremes stand right beside the gaps
    dx, dy = decimate(x, y)
    assert len(dx) <= N_OUT
    assert {40.0, -40.0} <= set(dy.tolist())
    assert dx[np.isnan(dy)].tolist() == [10_000.0, 30_000.0]


def test_many_gaps_leave_room_for_points() -> None:
    y = noise(40_000)
    y[::3] = np.nan
    dx, dy = decimate(np.arange(40_000.0), y)
    assert len(dx) <= N_OUT
    assert np.isfinite(dy).sum() >= N_OUT // 2


@pytest.mark.parametrize("x", [np.array([0.0, 2.0, 1.0] * 2000), np.full(6000, np.nan)])
def test_what_is_no_line_over_x_comes_back_whole(x: np.ndarray) -> None:
    dx, _ = decimate(x, np.zeros(len(x)))
    assert len(dx) == len(x)


def test_short_lines_come_back_whole() -> None:
    dx, _ = decimate(np.arange(float(N_OUT)), noise(N_OUT))
    assert len(dx) == N_OUT


def test_a_window_is_shown_in_full_and_the_rest_coarsely() -> None:
    x, y = np.arange(100_000.0), noise(100_000)
    dx, dy = in_window(x, y, (5_000, 5_999))
    inside = (dx >= 5_000) & (dx <= 5_999)
    assert np.array_equal(dy[inside], y[5_000:6_000])
    assert dx[0] == 0 and dx[-1] == 99_999
    assert len(dx) < 2 * N_OUT


def test_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="same length"):
        decimate(np.arange(3.0), np.arange(2.0))
