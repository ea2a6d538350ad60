"""Trailing statistics against pandas-free NumPy oracles."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from engine.events import FloatArray
from strategies.rolling import RollingFit, RollingZ, rolling_fit, rolling_z

GOLDEN = json.loads((Path(__file__).parents[1] / "goldens" / "zscore.json").read_text())


def z_path(values: FloatArray, window: int) -> FloatArray:
    rolling = RollingZ(1, window)
    out = []
    for value in values:
        rolling.push(np.array([value]), np.zeros(1))
        out.append(rolling.z[0])
    return np.array(out)


def test_golden() -> None:
    """500 reference z-scores of window 60, ddof 1, current bar included, at 1e-9."""
    expected = np.array([np.nan if v is None else v for v in GOLDEN["z"]], dtype=np.float64)
    values = np.array(GOLDEN["values"], dtype=np.float64)
    np.testing.assert_allclose(z_path(values, GOLDEN["window"]), expected, rtol=0, atol=1e-9)


def test_by_hand() -> None:
    """Window 3 of 1, 2, 3: mean 2, sd 1; then 2, 3, 7: mean 4, variance 7."""
    z = z_path(np.array([1.0, 2.0, 3.0, 7.0]), 3)
    np.testing.assert_allclose(z, [np.nan, np.nan, 1.0, 3.0 / np.sqrt(7.0)])


def test_a_bad_print_leaves_the_window() -> None:
    """Running sums never forget a print of 1e6; the resync does, to 1e-9."""
    rng = np.random.default_rng(1)
    values = 1e3 + np.cumsum(rng.normal(0, 0.05, 3_000))
    values[500] = 1e6
    z = z_path(values, 60)
    for t in (700, 1_500, 2_999):
        part = values[t - 59 : t + 1]
        assert z[t] == pytest.approx((values[t] - part.mean()) / part.std(ddof=1), abs=1e-8)


def test_nan_and_skipped_values_leave_the_window_alone() -> None:
    """A missing minute neither enters the window nor moves it."""
    plain = z_path(np.array([1.0, 2.0, 4.0, 3.0]), 3)
    gaps = z_path(np.array([1.0, np.nan, 2.0, 4.0, np.nan, 3.0]), 3)
    np.testing.assert_array_equal(gaps[[0, 2, 3, 5]], plain)
    assert np.isnan(gaps[[1, 4]]).all()
    rolling = RollingZ(2, 3)
    for value, skip in ((1.0, 0.0), (99.0, 1.0), (2.0, 0.0), (4.0, 0.0)):
        rolling.push(np.array([value, value]), np.array([skip, 0.0]))
    assert rolling.z[0] == plain[2]
    assert rolling.z[1] != plain[2]


def test_a_constant_window_has_no_z() -> None:
    """0/0 is not a signal, and neither is rounding over rounding."""
    assert np.isnan(z_path(np.full(50, 0.1), 7)).all()
    late = z_path(np.concatenate((np.random.default_rng(2).normal(0, 1, 30), np.full(40, 0.1))), 7)
    assert np.isnan(late[45:]).all()


def test_z_is_bounded() -> None:
    """With the current bar in the window |z| <= (W - 1)/sqrt(W), 7.617 for W = 60."""
    z = z_path(np.concatenate((np.random.default_rng(3).normal(0, 1e-6, 200), [5.0])), 60)
    assert z[-1] == pytest.approx(7.616867247541253, abs=1e-6)


def test_fit_uses_only_what_came_before() -> None:
    """The coefficients of a minute are those of the window that ended a minute earlier."""
    rng = np.random.default_rng(4)
    x = 4 + np.cumsum(rng.normal(0, 1e-3, 400))
    y = 0.8 * x + 0.5 + rng.normal(0, 1e-3, 400)
    x[77], y[150] = np.nan, np.nan
    ok = ~np.isnan(x + y)
    fit = RollingFit(60, np.array([np.nan]))
    for t in range(400):
        fit.push(y[t : t + 1], x[t : t + 1])
        before = np.flatnonzero(ok[:t])[-60:]
        if before.size < 60:
            assert np.isnan(fit.beta[0])
            continue
        slope, intercept = np.polyfit(x[before], y[before], 1)
        assert fit.beta[0] == pytest.approx(slope, rel=1e-6)
        assert fit.alpha[0] == pytest.approx(intercept, rel=1e-5)
        if ok[t]:
            assert fit.residual[0] == pytest.approx(y[t] - slope * x[t] - intercept, abs=1e-9)
        else:
            assert np.isnan(fit.residual[0])


def test_a_given_ratio_needs_no_window() -> None:
    """With b given the spread is y - b x from the first minute on."""
    fit = RollingFit(60, np.array([0.5, np.nan]))
    fit.push(np.array([3.0, 3.0]), np.array([4.0, 4.0]))
    assert fit.residual[0] == 1.0
    assert fit.alpha[0] == 0.0
    assert np.isnan(fit.residual[1])


def test_x_that_does_not_move_has_no_ratio() -> None:
    """A regression on a constant is undefined, not huge."""
    fit = RollingFit(10, np.array([np.nan]))
    for value in np.random.default_rng(5).normal(0, 1, 30):
        fit.push(np.array([value]), np.array([0.1]))
    assert np.isnan(fit.beta[0])


def test_the_twins_agree() -> None:
    """Compiled kernels and plain Python give the same windows, bit for bit."""
    rng = np.random.default_rng(6)
    values = rng.normal(0, 1, (80, 3))
    results = []
    for z_kernel, fit_kernel in ((rolling_z, rolling_fit), (rolling_z.py_func, rolling_fit.py_func)):
        window, moments, out = np.full((3, 7), np.nan), np.zeros((4, 3)), np.zeros((2, 3))
        pair_window, fitted, found = np.full((2, 3, 9), np.nan), np.zeros((6, 3)), np.zeros((3, 3))
        for row in values:
            z_kernel(row, np.zeros(3), window, moments, out)
            fit_kernel(row, row[::-1].copy(), np.full(3, np.nan), pair_window, fitted, found)
        results.append((moments, out, fitted, found))
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)
