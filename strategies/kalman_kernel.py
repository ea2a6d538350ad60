"""One step of many Kalman hedge ratios at once.

The model of one pair is y = beta x + alpha + v with theta = [beta, alpha] a random walk
(docs/maths/kalman.md). The 2x2 algebra is written out by hand and free of branches, so that the compiler
vectorises over pairs.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from engine.events import FloatArray
from engine.kernel import kernel

#: Rows of the prices that a step reads (rows Y, X and OPEN of ``strategies.pair_tape``).
Y: Final = 0
X: Final = 1
OPEN: Final = 2

#: Rows of a filter, one column a pair: the state after this minute ...
BETA: Final = 0
ALPHA: Final = 1
P00: Final = 2
P01: Final = 3
P11: Final = 4
#: ... the noise (a variance a minute; OVERNIGHT once, at the opening observation of a session) ...
VW_BETA: Final = 5
VW_ALPHA: Final = 6
OVERNIGHT: Final = 7
VE: Final = 8
#: ... and what this minute said: coefficients of t-1 that it was measured with, innovation, variance, z.
BETA_PRIOR: Final = 9
ALPHA_PRIOR: Final = 10
E: Final = 11
Q: Final = 12
Z: Final = 13
FILTER_ROWS: Final = 14


@kernel
def kalman_step(prices: FloatArray, filters: FloatArray) -> None:
    r"""Advance every pair by one minute.

    Predict :math:`P \leftarrow P + V_w` (the overnight variance is added to that of alpha at an opening
    observation); innovation :math:`e = y - H\theta_{t-1}` with :math:`H = [x, 1]`; :math:`Q = HPH' + V_e`;
    gain :math:`K = PH'/Q`; :math:`\theta \leftarrow \theta + Ke`; Joseph update
    :math:`P \leftarrow (I-KH)P(I-KH)' + V_e KK'`. Where y or x is NaN the pair only predicts, and its e, Q
    and z are NaN.

    Parameters
    ----------
    prices : FloatArray, shape (>= 3, n_pairs)
        Rows Y, X (model prices) and OPEN (1 at the opening observation of a session, else 0).
    filters : FloatArray, shape (FILTER_ROWS, n_pairs)
        Read and written in place.
    """
    for k in range(filters.shape[1]):
        y = prices[Y, k]
        x = prices[X, k]
        beta = filters[BETA, k]
        alpha = filters[ALPHA, k]
        ve = filters[VE, k]
        p00 = filters[P00, k] + filters[VW_BETA, k]
        p01 = filters[P01, k]
        p11 = filters[P11, k] + (filters[VW_ALPHA, k] + filters[OVERNIGHT, k] * prices[OPEN, k])
        e = y - beta * x - alpha
        h0 = p00 * x + p01
        h1 = p01 * x + p11
        q = h0 * x + h1 + ve
        r = 1.0 / q
        k0 = h0 * r
        k1 = h1 * r
        # Joseph's form, associated as T = P - K(HP) and T - (TH')K': where x hardly moves K is large, and
        # the product with I - KH would magnify rounding by its square.
        t00 = p00 - k0 * h0
        t01 = p01 - k0 * h1
        t10 = p01 - k1 * h0
        t11 = p11 - k1 * h1
        g0 = ve * k0 - (t00 * x + t01)
        g1 = ve * k1 - (t10 * x + t11)
        n00 = t00 + k0 * g0
        n01 = t01 + k1 * g0
        n11 = t11 + k1 * g1
        is_observed = e == e  # noqa: PLR0124 - NaN is the one value unequal to itself
        filters[BETA_PRIOR, k] = beta
        filters[ALPHA_PRIOR, k] = alpha
        filters[BETA, k] = beta + k0 * e if is_observed else beta
        filters[ALPHA, k] = alpha + k1 * e if is_observed else alpha
        filters[P00, k] = n00 if is_observed else p00
        filters[P01, k] = n01 if is_observed else p01
        filters[P11, k] = n11 if is_observed else p11
        filters[E, k] = e
        filters[Q, k] = q if is_observed else math.nan
        filters[Z, k] = e * math.sqrt(r)


def start_filters(n_pairs: int, initial_covariance: float) -> FloatArray:
    """Return filters before the first minute: theta = 0, P = ``initial_covariance`` I, noise unknown.

    Returns
    -------
    FloatArray, shape (FILTER_ROWS, n_pairs)
        The noise rows are NaN (0 for OVERNIGHT): until they are set, every step says NaN.
    """
    filters = np.full((FILTER_ROWS, n_pairs), np.nan)
    restart(filters, initial_covariance)
    filters[OVERNIGHT] = 0.0
    return filters


def restart(filters: FloatArray, initial_covariance: float) -> None:
    """Put filters back before their first minute, in place; the noise stays."""
    filters[[BETA, ALPHA, P01]] = 0.0
    filters[[P00, P11]] = initial_covariance
    filters[BETA_PRIOR:] = np.nan
