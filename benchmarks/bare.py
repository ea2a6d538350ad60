"""The limit that every figure stands beside: the same rule as one compiled loop over the arrays.

It knows no slices, no missing bars, no events, no book: what an engine costs is what comes on top.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray

from benchmarks.tape import DELTA, ENTRY_Z, EXIT_Z, INITIAL_COVARIANCE, OBSERVATION_VARIANCE, Tally

FloatArray = NDArray[np.float64]


# Not through engine.kernel: this is no part of the product, and runs where the product is not installed.
@numba.njit(cache=True, fastmath=False, error_model="numpy")
def run_bare(
    close: FloatArray, delta: float, ve: float, p0: float, entry_z: float, exit_z: float
) -> tuple[int, int, float]:
    """Filter and decide, minute by minute and pair by pair; return entries, exits and the sum of |z|.

    Parameters
    ----------
    close : FloatArray, shape (n_minutes, n_symbols)
        USD; y and x of each pair in turn.
    delta, ve, p0 : float
        Variance of the steps of beta and alpha, of an observation, and of both at the start.
    entry_z, exit_z : float
    """
    n_minutes, n_symbols = close.shape
    n_pairs = n_symbols // 2
    state = np.zeros((n_pairs, 6))  # beta, alpha, P00, P01, P11, side
    state[:, 2] = p0
    state[:, 4] = p0
    entries = 0
    exits = 0
    z_sum = 0.0
    for t in range(n_minutes):
        for k in range(n_pairs):
            y = close[t, 2 * k]
            x = close[t, 2 * k + 1]
            beta, alpha, p00, p01, p11, side = state[k]
            p00 += delta
            p11 += delta
            e = y - beta * x - alpha
            h0 = p00 * x + p01
            h1 = p01 * x + p11
            r = 1.0 / (h0 * x + h1 + ve)
            k0 = h0 * r
            k1 = h1 * r
            t00 = p00 - k0 * h0
            t01 = p01 - k0 * h1
            t10 = p01 - k1 * h0
            t11 = p11 - k1 * h1
            g0 = ve * k0 - (t00 * x + t01)
            g1 = ve * k1 - (t10 * x + t11)
            z = e * math.sqrt(r)
            z_sum += abs(z)
            if side == 0.0:
                if abs(z) > entry_z:
                    side = -1.0 if z > 0.0 else 1.0
                    entries += 1
            elif side * z >= -exit_z:
                side = 0.0
                exits += 1
            state[k, 0] = beta + k0 * e
            state[k, 1] = alpha + k1 * e
            state[k, 2] = t00 + k0 * g0
            state[k, 3] = t01 + k1 * g0
            state[k, 4] = t11 + k1 * g1
            state[k, 5] = side
    return entries, exits, z_sum


def tally(close: FloatArray) -> Tally:
    """Apply the rule of the tape to closes of shape (n_minutes, n_symbols)."""
    return Tally(*run_bare(close, DELTA, OBSERVATION_VARIANCE, INITIAL_COVARIANCE, ENTRY_Z, EXIT_Z))
