"""Maximum-likelihood noise: the likelihood itself, recovery of known noise, and its honesty."""

from __future__ import annotations

import math

import numpy as np
import pytest

from engine.events import FloatArray
from strategies.calibration import (
    BURN_IN,
    OBSERVATIONS_MIN,
    RUNGS,
    VE_HI,
    VE_LO,
    bracket_row,
    calibrate,
    log_likelihood,
    search_row,
)
from strategies.kalman_kernel import OVERNIGHT, VE, VW_ALPHA, VW_BETA, E, Q, kalman_step, start_filters


def sample(
    seed: int, delta: float, ve: float, night: float = 0.0, n: int = 1_170
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return y, x and opens of a pair that the filter models exactly."""
    rng = np.random.default_rng(seed)
    opens = (np.arange(n) % 390 == 0).astype(np.float64)
    x = 4.7 + np.cumsum(rng.normal(0, 5e-4, n))
    beta = 1.0 + np.cumsum(rng.normal(0, math.sqrt(delta), n))
    alpha = -0.2 + np.cumsum(rng.normal(0, math.sqrt(delta), n) + opens * rng.normal(0, math.sqrt(night), n))
    y = beta * x + alpha + rng.normal(0, math.sqrt(ve), n)
    return y, x, opens


def test_likelihood_is_that_of_the_filter() -> None:
    """Every rung is the sum over the filter's own innovations after the burn-in, at 1e-9."""
    y, x, opens = sample(1, 1e-9, 1e-8, 1e-6, 500)
    y[[70, 71, 200, 390]] = np.nan
    noise = np.stack(
        (np.geomspace(1e-10, 1e-8, RUNGS), np.geomspace(1e-9, 1e-7, RUNGS), np.full(RUNGS, 1e-6))
    )
    out = np.empty(RUNGS)
    log_likelihood(y, x, opens, noise, 1.0, out)
    filters = start_filters(RUNGS, 1.0)
    filters[[VW_BETA, VW_ALPHA]] = noise[0]
    filters[VE], filters[OVERNIGHT] = noise[1], noise[2]
    prices = np.zeros((3, RUNGS))
    expected, n = np.zeros(RUNGS), 0
    for t in range(y.size):
        prices[0], prices[1], prices[2] = y[t], x[t], opens[t]
        kalman_step(prices, filters)
        n += not np.isnan(y[t])
        if n > BURN_IN and not np.isnan(y[t]):
            expected -= 0.5 * (np.log(2 * np.pi * filters[Q]) + filters[E] ** 2 / filters[Q])
    np.testing.assert_allclose(out, expected, rtol=1e-9)


def test_the_twins_agree() -> None:
    """Compiled search and plain Python are the same function."""
    y, x, opens = sample(2, 1e-9, 1e-8, 0.0, 70)
    results = []
    for likelihood, bracket, search in (
        (log_likelihood, bracket_row, search_row),
        (log_likelihood.py_func, bracket_row.py_func, search_row.py_func),
    ):
        noise = np.stack((np.full(RUNGS, 1e-9), np.geomspace(1e-9, 1e-7, RUNGS), np.zeros(RUNGS)))
        out, best = np.empty(RUNGS), np.empty(RUNGS)
        likelihood(y, x, opens, noise, 1.0, out)
        lo, hi = np.full(RUNGS, -12.0), np.full(RUNGS, -5.0)
        bracket(y, x, opens, noise, 0, lo, hi, 1.0)
        search(y, x, opens, noise, 0, lo, hi, 3, 1.0, best)
        results.append(np.concatenate((out, noise[0], best, lo, hi)))
    np.testing.assert_allclose(results[0], results[1], rtol=1e-12)


@pytest.mark.parametrize(("delta", "ve"), [(5e-9, 3e-8), (1e-9, 1e-6), (1e-11, 1e-7)])
def test_known_noise_is_found(delta: float, ve: float) -> None:
    """Estimates within a factor of 2 of the truth, and z of unit variance, at three sessions."""
    y, x, opens = sample(3, delta, ve, 1e-5)
    found = calibrate(y, x, opens, 1.0, 390)
    assert found is not None
    assert not found.is_weak
    assert 0.5 < found.observation_variance / ve < 2.0
    assert 0.3 < found.delta / delta < 3.0


def test_it_is_the_maximum() -> None:
    """No other noise nearby is likelier (by more than a tenth of a log unit)."""
    y, x, opens = sample(4, 5e-9, 3e-8, 1e-5)
    found = calibrate(y, x, opens, 1.0, 390)
    assert found is not None
    at = np.array([found.delta, found.observation_variance, found.overnight_variance])
    factors = np.random.default_rng(0).uniform(0.7, 1.4, (3, RUNGS))
    out = np.empty(RUNGS)
    log_likelihood(y, x, opens, at[:, None] * factors, 1.0, out)
    assert out.max() < found.log_likelihood + 0.1


def test_a_flat_likelihood_is_weak_and_takes_the_largest() -> None:
    """Where the walk hides the observation noise, Ve is the largest within 2 log units, and it is said."""
    y, x, opens = sample(5, 1e-8, 1e-10)
    found = calibrate(y, x, opens, 1.0, 390)
    assert found is not None
    assert found.is_weak
    assert found.observation_variance > 1e-9
    best = np.empty(RUNGS)
    noise = np.stack(
        (
            np.full(RUNGS, found.delta),
            np.geomspace(10**VE_LO, 10**VE_HI, RUNGS),
            np.full(RUNGS, found.overnight_variance),
        )
    )
    log_likelihood(y, x, opens, noise, 1.0, best)
    assert found.log_likelihood > best.max() - 3.0


def test_without_a_night_it_is_a_session_of_the_walk() -> None:
    """A warm-up within one session cannot measure the night; it is not taken for nothing either."""
    y, x, _ = sample(6, 5e-9, 3e-8, 0.0, 300)
    found = calibrate(y, x, np.zeros(300), 1.0, 390)
    assert found is not None
    assert found.overnight_variance == 390 * found.delta


def test_too_short_a_sample_has_no_answer() -> None:
    """None rather than noise fitted to a handful of minutes."""
    y, x, opens = sample(7, 5e-9, 3e-8, 0.0, BURN_IN + OBSERVATIONS_MIN - 1)
    assert calibrate(y, x, opens, 1.0, 390) is None


def test_constant_prices_do_not_break_it() -> None:
    """A pegged or halted name is weak, not an error."""
    found = calibrate(np.full(400, 4.0), np.full(400, 5.0), np.zeros(400), 1.0, 390)
    assert found is not None
    assert found.is_weak
