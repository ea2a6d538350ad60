"""The Kalman step against reference filters and against its own algebra."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.events import FloatArray
from strategies.kalman_kernel import (
    ALPHA,
    BETA,
    FILTER_ROWS,
    OVERNIGHT,
    P00,
    P01,
    P11,
    VE,
    VW_ALPHA,
    VW_BETA,
    E,
    Q,
    Z,
    kalman_step,
    start_filters,
)
from strategies.pair_tape import OPEN, X, Y

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parents[1] / "goldens" / "kalman.json").read_text())
ROWS = {"beta": BETA, "alpha": ALPHA, "e": E, "Q": Q, "z": Z, "P00": P00, "P01": P01, "P11": P11}


def filters(
    n: int, vw_beta: float, vw_alpha: float, ve: float, p0: float | tuple[float, float] = 1.0
) -> FloatArray:
    made = start_filters(n, 1.0)
    made[P00], made[P11] = p0 if isinstance(p0, tuple) else (p0, p0)
    made[VW_BETA], made[VW_ALPHA], made[VE] = vw_beta, vw_alpha, ve
    return made


def run(filters: FloatArray, y: FloatArray, x: FloatArray, step: Any = kalman_step) -> FloatArray:
    """Return the filters after every bar, shape (n_bars, FILTER_ROWS, n_pairs)."""
    prices = np.zeros((3, filters.shape[1]))
    path = np.empty((len(y), *filters.shape))
    for t in range(len(y)):
        prices[Y], prices[X] = y[t], x[t]
        step(prices, filters)
        path[t] = filters
    return path


@pytest.mark.parametrize("name", GOLDEN["cases"])
def test_golden(name: str) -> None:
    """Reference filters (rtol 1e-9, atol 1e-10; P at 1e-7), in any lane of a batch."""
    case = GOLDEN["cases"][name]
    y, x = np.array(GOLDEN["y"]), np.array(GOLDEN["x"])
    if name == "engine_missing":
        y[GOLDEN["missing_y"]] = np.nan
        x[GOLDEN["missing_x"]] = np.nan
    (p00, p01), (_, p11) = case["P0"]
    assert p01 == 0.0
    state = filters(5, *case["Vw"], case["Ve"], (p00, p11))
    state[BETA], state[ALPHA] = case["theta0"]
    if case["skip_first_predict"]:
        state[VW_BETA : VW_ALPHA + 1] = 0.0
        first = run(state, y[:1], x[:1])
        state[VW_BETA], state[VW_ALPHA] = case["Vw"]
        path = np.concatenate((first, run(state, y[1:], x[1:])))
    else:
        path = run(state, y, x)
    for field, row in ROWS.items():
        expected = np.array([np.nan if v is None else v for v in case["expected"][field]], dtype=np.float64)
        rtol = 1e-7 if field.startswith("P") else 1e-9
        for lane in range(5):
            np.testing.assert_allclose(
                path[case["bars"], row, lane], expected, rtol=rtol, atol=1e-10, err_msg=field
            )


def test_against_matrices() -> None:
    """The unrolled algebra is that of the formulas, with any diagonal noise and an overnight step."""
    rng = np.random.default_rng(5)
    x, y = rng.normal(4, 0.1, 60), rng.normal(5, 0.1, 60)
    state = filters(1, 1e-4, 3e-4, 2e-3, (0.5, 2.0))
    state[OVERNIGHT] = 0.7
    theta, p = np.zeros(2), np.diag([0.5, 2.0])
    prices = np.zeros((3, 1))
    for t in range(60):
        is_open = t % 20 == 0
        prices[:, 0] = y[t], x[t], float(is_open)
        kalman_step(prices, state)
        p = p + np.diag([1e-4, 3e-4 + 0.7 * is_open])
        h = np.array([x[t], 1.0])
        e = y[t] - h @ theta
        q = h @ p @ h + 2e-3
        k = p @ h / q
        theta = theta + k * e
        i_kh = np.eye(2) - np.outer(k, h)
        p = i_kh @ p @ i_kh.T + 2e-3 * np.outer(k, k)
        expected = [*theta, p[0, 0], p[0, 1], p[1, 1], e, q, e / np.sqrt(q)]
        np.testing.assert_allclose(
            state[[BETA, ALPHA, P00, P01, P11, E, Q, Z], 0], expected, rtol=1e-9, atol=1e-12
        )
    assert prices[OPEN, 0] == 0.0


def test_a_missing_leg_only_predicts() -> None:
    """Coefficients stay, uncertainty grows, and nothing is said."""
    state = filters(2, 1e-4, 2e-4, 1e-3)
    run(state, np.array([[5.0, 5.0]]), np.array([[4.0, 4.0]]))
    before = state.copy()
    run(state, np.array([[np.nan, 5.0]]), np.array([[4.0, np.nan]]))
    np.testing.assert_array_equal(state[[BETA, ALPHA, P01]], before[[BETA, ALPHA, P01]])
    np.testing.assert_array_equal(state[P00], before[P00] + 1e-4)
    np.testing.assert_array_equal(state[P11], before[P11] + 2e-4)
    assert np.isnan(state[[E, Q, Z]]).all()


def test_the_twin_agrees_bit_for_bit() -> None:
    """Vectorised or not, compiled or not: the same numbers, whatever the number of pairs."""
    rng = np.random.default_rng(6)
    y, x = 80 + rng.normal(0, 1, (50, 37)), 60 + rng.normal(0, 1, (50, 37))
    y[rng.random(y.shape) < 0.1] = np.nan
    compiled = run(filters(37, 1e-5, 1e-5, 1e-2), y, x)
    twin = run(filters(37, 1e-5, 1e-5, 1e-2), y, x, kalman_step.py_func)
    np.testing.assert_array_equal(compiled, twin)
    alone = run(filters(1, 1e-5, 1e-5, 1e-2), y[:, 20:21], x[:, 20:21])
    np.testing.assert_array_equal(compiled[:, :, 20], alone[:, :, 0])


@pytest.mark.parametrize(("q", "ve", "p0"), [(1e-4, 1e-3, 1.0), (1e-12, 0.09, 1e6)])
def test_covariance_stays_positive(q: float, ve: float, p0: float) -> None:
    """Joseph's form keeps P a covariance over a long run, for textbook and for slow noise."""
    rng = np.random.default_rng(7)
    x = 100 + np.cumsum(rng.normal(0, 0.05, 20_000))
    y = 2.0 * x + rng.normal(0, 0.3, x.size)
    path = run(filters(1, q, q, ve, p0), y, x)[:, :, 0]
    assert (path[:, P00] > 0).all()
    assert (path[:, P11] > 0).all()
    assert (path[:, P00] * path[:, P11] >= path[:, P01] ** 2).all()


def test_scale_moves_with_the_noise() -> None:
    """Both prices times 7 is the same filter only if Ve and alpha's variances go by 49."""
    rng = np.random.default_rng(8)
    x = 100 + np.cumsum(rng.normal(0, 0.1, 400))
    y = 1.5 * x + rng.normal(0, 0.3, 400)
    base = run(filters(1, 1e-6, 1e-6, 0.05), y, x)
    scaled = run(filters(1, 1e-6, 49e-6, 49 * 0.05, (1.0, 49.0)), 7 * y, 7 * x)
    np.testing.assert_allclose(scaled[:, BETA], base[:, BETA], atol=1e-10)
    np.testing.assert_allclose(scaled[:, ALPHA], 7 * base[:, ALPHA], atol=1e-8)
    np.testing.assert_allclose(scaled[:, Z], base[:, Z], atol=1e-8)
    unscaled = run(filters(1, 1e-6, 1e-6, 0.05), 7 * y, 7 * x)
    assert np.abs(unscaled[:, Z] - base[:, Z]).max() > 0.5


@pytest.mark.parametrize(("q", "within"), [(1e-4, 0), (1e-6, 5), (1e-8, 60)])
def test_recovers_from_a_step_in_beta(q: float, within: int) -> None:
    """The level follows a step of 0.2 in beta, the sooner the larger the noise it is told of."""
    rng = np.random.default_rng(9)
    x = 100 + np.cumsum(rng.normal(0, 0.05, 2_000))
    beta = np.where(np.arange(x.size) < 1_000, 1.0, 1.2)
    y = beta * x + rng.normal(0, 0.03, x.size)
    path = run(filters(1, q, q, 1e-3), y, x)[:, :, 0]
    error = np.abs(path[:, BETA] * x + path[:, ALPHA] - beta * x) / x
    assert (error[1_000 + within : 1_000 + within + 200] < 0.02).all()


def test_unset_noise_says_nothing() -> None:
    """Before calibration every answer is NaN rather than a guess."""
    state = start_filters(1, 1.0)
    run(state, np.array([5.0, 5.0]), np.array([4.0, 4.0]))
    assert np.isnan(state[Z, 0])
    assert state.shape == (FILTER_ROWS, 1)
