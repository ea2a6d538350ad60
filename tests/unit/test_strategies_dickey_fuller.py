"""The Engle-Granger kernel against the reference implementation, and against its own Python."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from statsmodels.tools.sm_exceptions import CollinearityWarning
from statsmodels.tsa.stattools import adfuller, coint

from engine.events import FloatArray
from strategies.dickey_fuller import (
    cholesky,
    cross_products,
    dickey_fuller,
    engle_granger_statistic,
    residuals,
)


def pair(seed: int, n: int) -> tuple[FloatArray, FloatArray]:
    """Make a pair; that of an even seed is cointegrated."""
    rng = np.random.default_rng(seed)
    x = np.cumsum(rng.normal(size=n))
    noise = rng.normal(size=n)
    return 0.5 * x + (np.cumsum(noise) if seed % 2 else 3.0 * noise), x


@pytest.mark.parametrize("n", [30, 61, 250, 1_000])
@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_it_is_the_reference(seed: int, n: int) -> None:
    """A home-made test of cointegration is worth what its agreement with the known one is."""
    y, x = pair(seed, n)
    expected = coint(y, x, trend="c", autolag="bic")[0]
    assert engle_granger_statistic(y, x) == pytest.approx(expected, abs=1e-9)


def test_the_lags_are_those_of_the_reference() -> None:
    """A moving average of ten needs lags: the test without them would find cointegration everywhere."""
    shocks = np.random.default_rng(3).normal(size=400)
    u = np.convolve(shocks, np.ones(10), mode="valid")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        statistic, _, lags, *_ = adfuller(u, regression="n", autolag="bic")
    found, found_lags = dickey_fuller(u)
    assert found == pytest.approx(statistic, abs=1e-9)
    assert found_lags == lags > 3


def test_regression_by_hand() -> None:
    """For y = 1, 3, 2 on x = 0, 1, 2: slope 1/2, constant 3/2, residuals -1/2, 1, -1/2, R squared 1/4."""
    out = np.empty(3)
    slope, unexplained = residuals(np.array([1.0, 3.0, 2.0]), np.array([0.0, 1.0, 2.0]), out)
    assert (slope, unexplained) == (0.5, 0.75)
    assert out.tolist() == [-0.5, 1.0, -0.5]


def test_degenerate_series_have_no_statistic() -> None:
    """A series against itself or a constant would otherwise look like the best pair of all."""
    y, x = pair(2, 100)
    for bad in ((y, y), (y, np.ones(100)), (np.ones(100), x), (y, 2.0 * y + 1.0)):
        assert math.isnan(engle_granger_statistic(*bad))
    with pytest.warns(CollinearityWarning):
        coint(y, y, trend="c", autolag="bic")


def test_compiled_code_is_its_python() -> None:
    """A compiler must not change a verdict."""
    y, x = pair(3, 60)
    out, twin = np.empty(60), np.empty(60)
    assert residuals(y, x, out) == residuals.py_func(y, x, twin)
    assert out.tolist() == twin.tolist()
    assert dickey_fuller(out) == pytest.approx(dickey_fuller.py_func(out), rel=1e-12)
    assert engle_granger_statistic(y, x) == pytest.approx(engle_granger_statistic.py_func(y, x), rel=1e-12)
    made, again = np.empty((5, 5)), np.empty((5, 5))
    cross_products(out, 3, True, made)
    cross_products.py_func(out, 3, True, again)
    lower = np.tril(made)
    assert np.allclose(lower, np.tril(again), rtol=1e-13)
    level, steps = out[3:-1], np.diff(out)
    rows = np.column_stack([level, steps[2:-1], steps[1:-2], steps[:-3], steps[3:]])
    assert np.allclose(lower, np.tril(rows.T @ rows), rtol=1e-12)
    assert cholesky(made)
    assert cholesky.py_func(again)
    assert np.allclose(np.tril(made), np.linalg.cholesky(rows.T @ rows), rtol=1e-9)
    assert not cholesky(np.array([[1.0, 1.0], [1.0, 1.0]]))
