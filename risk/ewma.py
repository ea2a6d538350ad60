"""A covariance from a table of returns: exponentially weighted, then shrunk, as studies of daily data do."""

from __future__ import annotations

import numpy as np

from engine.events import FloatArray
from risk.factor import shrink


def ewma_covariance(return_frac: FloatArray, half_life: float, shrink_frac: float) -> FloatArray:
    """Return (1 - d) S + d (tr S / n) I with S the weighted mean of r r', uncentred.

    Parameters
    ----------
    return_frac : FloatArray, shape (n_periods, n)
        Oldest first; finite. The newest has the weight 1, one that is ``half_life`` periods older 1/2.
    half_life : float
        Positive, in periods.
    shrink_frac : float
        d, from 0 to 1.

    Returns
    -------
    FloatArray, shape (n, n)
        Of one period; positive semidefinite as a sum of squares.

    Examples
    --------
    >>> returns = np.array([[0.02, 0.0], [0.01, 0.01]])
    >>> ewma_covariance(returns, 1.0, 0.0).round(6).tolist()
    [[0.0002, 6.7e-05], [6.7e-05, 6.7e-05]]
    """
    age = np.arange(len(return_frac))[::-1]
    weights = 0.5 ** (age / half_life)
    scaled = return_frac * np.sqrt(weights / weights.sum())[:, None]
    matrix: FloatArray = np.einsum("ti,tj->ij", scaled, scaled)
    return shrink(matrix, shrink_frac)
