"""The covariance of a study: weights by hand, shrinkage by hand, and never indefinite."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk.ewma import ewma_covariance


def test_weights_and_shrinkage_by_hand() -> None:
    """Weights 1/7, 2/7, 4/7 of r r', then a tenth of the way to the mean variance."""
    returns = np.array([[0.07, 0.0], [0.0, 0.07], [0.07, 0.07]])
    plain = ewma_covariance(returns, 1.0, 0.0)
    assert plain == pytest.approx(np.array([[5.0, 4.0], [4.0, 6.0]]) / 7.0 * 0.0049)
    mean = plain.trace() / 2.0
    assert ewma_covariance(returns, 1.0, 0.1) == pytest.approx(0.9 * plain + 0.1 * mean * np.eye(2))


def test_a_long_half_life_is_the_plain_mean() -> None:
    """All days count alike in the limit."""
    returns = np.random.default_rng(1).normal(0.0, 0.01, (50, 3))
    assert ewma_covariance(returns, 1e9, 0.0) == pytest.approx(returns.T @ returns / 50.0)


@given(seed=st.integers(0, 10**6), n_days=st.integers(1, 12), half_life=st.floats(0.5, 100.0))
def test_never_indefinite(seed: int, n_days: int, half_life: float) -> None:
    """Fewer days than names make it singular; below zero, a portfolio would seem to be paid for risk."""
    matrix = ewma_covariance(np.random.default_rng(seed).normal(0.0, 0.02, (n_days, 6)), half_life, 0.0)
    values = np.linalg.eigvalsh(matrix)
    assert values[0] >= -1e-12 * values[-1]
