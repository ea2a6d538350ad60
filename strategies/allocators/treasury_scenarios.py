"""Scenarios of yields for the CVaR limit: a seeded normal sample, or the curve's own past."""

from __future__ import annotations

import numpy as np

from engine.events import FloatArray, IntArray


def normal_shocks(n_scenarios: int, seed: int, correlation: FloatArray | None, n_names: int) -> FloatArray:
    """Return standard normal shocks, the same for the same seed.

    Parameters
    ----------
    n_scenarios, seed : int
        Of PCG64.
    correlation : FloatArray, shape (n_names, n_names), or None
        Positive semidefinite; None for independent names.
    n_names : int

    Returns
    -------
    FloatArray, shape (n_scenarios, n_names)
    """
    shocks = np.random.Generator(np.random.PCG64(seed)).standard_normal((n_scenarios, n_names))
    return shocks if correlation is None else shocks @ root_of(correlation).T


def root_of(matrix: FloatArray) -> FloatArray:
    """Return R with ``R R' = matrix``: Cholesky's, or the symmetric root of a singular matrix."""
    try:
        return np.asarray(np.linalg.cholesky(matrix), dtype=np.float64)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(matrix)
        return np.asarray((vectors * np.sqrt(np.clip(values, 0.0, None))) @ vectors.T, dtype=np.float64)


def yield_changes(yield_pct: FloatArray, horizon_days: int) -> tuple[FloatArray, IntArray]:
    """Return the changes of a curve over so many of its rows, windows overlapping.

    Parameters
    ----------
    yield_pct : FloatArray, shape (n_days, n_names)
        Oldest first; NaN where there is no yield.
    horizon_days : int

    Returns
    -------
    change_pct : FloatArray, shape (n, n_names)
        Of the windows in which every name has a yield at both ends.
    rows : IntArray, shape (n,)
        Where those windows end in ``yield_pct``.
    """
    change = yield_pct[horizon_days:] - yield_pct[:-horizon_days]
    rows = np.flatnonzero(np.isfinite(change).all(axis=1))
    return change[rows], rows + horizon_days


def loss_of_long(shock: FloatArray, sensitivity: FloatArray) -> FloatArray:
    """Return the loss of a long unit in each scenario, shape (m, n).

    A positive shock is a rise of the yield. ``sensitivity`` (n,) is what one unit of shock costs: a price
    volatility, a yield volatility times a duration, or a duration per percent of yield.
    """
    return np.asarray(shock * sensitivity, dtype=np.float64)
