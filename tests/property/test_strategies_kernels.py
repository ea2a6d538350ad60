"""Invariants of the pair kernels under arbitrary input."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies.forecast import forecast
from strategies.kalman_kernel import P00, P01, P11, VE, VW_ALPHA, VW_BETA, Z, kalman_step, start_filters
from strategies.rolling import RollingZ
from strategies.transitions import BOOK_ROWS, ENABLED, SIDE, decide

z_values = st.one_of(st.floats(-6, 6), st.just(float("nan")))


@settings(max_examples=100, deadline=None)
@given(st.lists(z_values, max_size=60), st.sampled_from([3.0, np.inf]), st.sampled_from([2.0, 5.0, np.inf]))
def test_sides_move_one_step_and_only_on_observations(z: list[float], stop: float, hold: float) -> None:
    """Never from LONG to SHORT in one minute, never on NaN, and entries only beyond the threshold."""
    book = np.zeros((BOOK_ROWS, 1))
    book[ENABLED] = 1.0
    for value in z:
        before = book[SIDE, 0]
        n = decide(np.array([value]), np.zeros(1), book, np.array([2.0, 0.5, stop, hold, 0.0]))
        after = book[SIDE, 0]
        assert abs(after - before) == n <= 1
        if np.isnan(value):
            assert n == 0
        if before == 0.0 and after != 0.0:
            assert after * value < -2.0
        if before != 0.0 and after != 0.0 and not np.isnan(value):
            assert before * value < -0.5
            assert abs(value) <= stop


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.floats(-12, -5),
    st.floats(-10, -4),
    st.floats(0, 0.5),
)
def test_covariance_is_positive_within_the_boxes(
    seed: int, log_delta: float, log_ve: float, missing: float
) -> None:
    """Anything calibration may answer keeps P a covariance, gaps included."""
    rng = np.random.default_rng(seed)
    filters = start_filters(3, 1.0)
    filters[VW_BETA : VW_ALPHA + 1], filters[VE] = 10**log_delta, 10**log_ve
    prices = np.zeros((3, 3))
    x = np.log(100.0) + np.cumsum(rng.normal(0, 1e-3, (300, 3)), axis=0)
    for row in x:
        prices[0] = np.where(rng.random(3) < missing, np.nan, row + rng.normal(0, 1e-3, 3))
        prices[1] = row
        kalman_step(prices, filters)
        assert (filters[P00] > 0).all()
        assert (filters[P11] > 0).all()
        assert (filters[P00] * filters[P11] * (1 + 1e-9) >= filters[P01] ** 2).all()
        assert np.array_equal(np.isnan(filters[Z]), np.isnan(prices[0]))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=5, max_size=80), st.integers(3, 12))
def test_rolling_z_is_bounded(values: list[float], window: int) -> None:
    """|z| <= (W - 1)/sqrt(W), whatever was in the window before."""
    rolling = RollingZ(1, window)
    for value in values:
        rolling.push(np.array([value]), np.zeros(1))
        if np.isfinite(rolling.z[0]):
            assert abs(rolling.z[0]) <= (window - 1) / np.sqrt(window) * (1 + 1e-6)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 0.6), st.floats(1, 400))
def test_a_forecast_never_exceeds_the_way_home(seed: int, missing: float, horizon: float) -> None:
    """Expected is at most the whole distance to the mean, and more horizon never means less of it."""
    rng = np.random.default_rng(seed)
    s = np.zeros(120)
    for t in range(1, 120):
        s[t] = 0.8 * s[t - 1] + rng.normal(0, 1e-3)
    s[rng.random(120) < missing] = np.nan
    ring = np.stack((s, np.zeros(120), np.zeros(120)))
    near, _, _ = forecast(ring, 119, 0, 1.0, 0.0, horizon, True)
    far, _, _ = forecast(ring, 119, 0, 1.0, 0.0, 1e9, True)
    assert np.isfinite(near)
    assert abs(near) <= abs(far)
    assert near * far >= 0
