"""Factors of covariances: what is trusted, what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from risk.factor import cholesky, factor, is_psd, market_of, shrink


def _random_psd(n: int, rank: int, seed: int = 0) -> np.ndarray:
    root = np.random.default_rng(seed).standard_normal((n, rank))
    return root @ root.T


@pytest.mark.parametrize("n", [0, 1, 2, 7, 40])
def test_cholesky_equals_its_twin_and_lapack(n: int) -> None:
    """The kernel fixes the order of operations: the bits of its twin, and LAPACK's numbers (1e-10)."""
    matrix = _random_psd(n, n + 2)
    fast, twin = np.empty((n, n)), np.empty((n, n))
    assert cholesky(matrix, fast)
    assert cholesky.py_func(matrix, twin)
    assert fast.tobytes() == twin.tobytes()
    np.testing.assert_allclose(fast.T, np.linalg.cholesky(matrix), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_cholesky_refuses_a_bad_pivot(bad: float) -> None:
    """A pivot that is not positive has no root; it must not become NaN in silence."""
    assert not cholesky(np.array([[1.0, 0.0], [0.0, bad]]), np.empty((2, 2)))


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ([[1.0, 1.0], [1.0, 1.0]], True),
        ([[1.0, -1.0], [-1.0, 1.0]], True),
        ([[0.0, 0.0], [0.0, 0.0]], True),
        ([[1.0, 0.9, -0.9], [0.9, 1.0, 0.9], [-0.9, 0.9, 1.0]], False),
        ([[-1.0, 0.0], [0.0, -2.0]], False),
        ([[1.0, 0.0], [0.0, -1e-9]], False),
        ([[1.0, 0.0], [0.0, -1e-11]], True),
    ],
)
def test_psd_rule(matrix: list[list[float]], expected: bool) -> None:
    """Singular but valid passes, negative beyond 1e-10 of the largest eigenvalue does not."""
    assert is_psd(np.array(matrix)) is expected


@pytest.mark.parametrize("rank", [1, 3, 5])
def test_factor_reproduces_the_matrix(rank: int) -> None:
    """L L' is Σ for singular matrices too (1e-9 of the largest element)."""
    matrix = _random_psd(5, rank)
    root = factor(matrix)
    np.testing.assert_allclose(root @ root.T, matrix, atol=1e-9 * matrix.max())


def test_singular_root_moves_little_when_the_matrix_does() -> None:
    """Eigenvectors flip under a tiny change; the symmetric root must not, or common scenarios are undone."""
    matrix = _random_psd(6, 2)
    moved = matrix * (1.0 + 1e-9)
    np.testing.assert_allclose(factor(matrix), factor(moved), atol=1e-6)


def test_shrinkage_keeps_the_trace() -> None:
    """(1 - d) S + d tr/n I moves risk between names, not in or out: diag(1, 3) at 0.5 is diag(1.5, 2.5)."""
    np.testing.assert_allclose(shrink(np.diag([1.0, 3.0]), 0.5), np.diag([1.5, 2.5]))


def test_unknown_symbols_are_left_out() -> None:
    """NaN of a symbol that is warming up must not reach the rest, nor dilute its shrinkage."""
    daily = np.array([[4.0, np.nan, 0.0], [np.nan, np.nan, np.nan], [0.0, np.nan, 1.0]])
    used = market_of(daily, np.array([True, False, True]), 1e-6)
    assert used.market.reason == ""
    np.testing.assert_allclose(used.daily, np.diag([4.0, 0.0, 1.0]), rtol=1e-5)
    np.testing.assert_allclose(used.market.factor_daily, np.diag([2.0, 0.0, 1.0]), rtol=1e-5)


@pytest.mark.parametrize(
    ("matrix", "reason"),
    [
        ([[1.0, 2.0], [2.0, 1.0]], "COV_NOT_PSD"),
        ([[1.0, np.nan], [np.nan, 1.0]], "COV_NOT_FINITE"),
        ([[np.inf, 0.0], [0.0, 1.0]], "COV_NOT_FINITE"),
    ],
)
def test_untrusted_matrix_is_not_repaired(matrix: list[list[float]], reason: str) -> None:
    """Shrinking by 90% would make the first one PSD: the test comes before, and nothing is known then."""
    used = market_of(np.array(matrix), np.ones(2, dtype=bool), 0.9)
    assert used.market.reason == reason
    assert not used.market.known.any()
    assert not used.market.factor_daily.any()
