"""Engle-Granger statistic of two series: regression, then an augmented Dickey-Fuller test of its residuals.

The lags are chosen by BIC over nested regressions on one sample. Their sums of squares all come from a single
Cholesky factor of the cross products, which is why a universe of pairs takes a second and not minutes.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from engine.events import FloatArray
from engine.kernel import kernel

#: Series whose regression explains all but this share of the variance are one and the same.
_SAME: Final = 1.5e-6
#: A pivot this small against its own square sum is rounding.
_ROUNDING: Final = 1e-12


@kernel
def residuals(y: FloatArray, x: FloatArray, out: FloatArray) -> tuple[float, float]:
    """Regress y on x and a constant.

    Parameters
    ----------
    y, x, out : FloatArray, shape (n,)
        ``out`` is written: y - a - b x.

    Returns
    -------
    slope : float
        b; NaN if x does not move.
    unexplained_frac : float
        1 - R squared; NaN if y or x does not move.
    """
    n = y.size
    mean_y = 0.0
    mean_x = 0.0
    for t in range(n):
        mean_y += y[t]
        mean_x += x[t]
    mean_y /= n
    mean_x /= n
    sxx = 0.0
    sxy = 0.0
    syy = 0.0
    for t in range(n):
        dx = x[t] - mean_x
        dy = y[t] - mean_y
        sxx += dx * dx
        sxy += dx * dy
        syy += dy * dy
    slope = sxy / sxx if sxx > 0.0 else math.nan
    squares = 0.0
    for t in range(n):
        e = (y[t] - mean_y) - slope * (x[t] - mean_x)
        out[t] = e
        squares += e * e
    return slope, squares / syy if syy > 0.0 else math.nan


@kernel
def cross_products(u: FloatArray, lags: int, is_level_first: bool, out: FloatArray) -> None:
    """Sum the products of level, lagged differences and the difference to be explained.

    Parameters
    ----------
    u : FloatArray, shape (n,)
    lags : int
        Lagged differences; the sample is the n - 1 - lags differences that have as many before them.
    is_level_first : bool
        Whether the level comes before the lags or after them; the explained difference is last.
    out : FloatArray, shape (lags + 2, lags + 2)
        Lower triangle, written.
    """
    k = lags + 2
    row = np.empty(k)
    level = 0 if is_level_first else lags
    first = 1 if is_level_first else 0
    out[:, :] = 0.0
    for t in range(lags, u.size - 1):
        row[level] = u[t]
        for j in range(lags):
            row[first + j] = u[t - j] - u[t - j - 1]
        row[k - 1] = u[t + 1] - u[t]
        for i in range(k):
            for j in range(i + 1):
                out[i, j] += row[i] * row[j]


@kernel
def cholesky(matrix: FloatArray) -> bool:
    """Factor a symmetric matrix in place, lower triangle; return whether it was positive definite."""
    n = matrix.shape[0]
    for j in range(n):
        own = matrix[j, j]
        pivot = own
        for k in range(j):
            pivot -= matrix[j, k] * matrix[j, k]
        if not pivot > _ROUNDING * own:
            return False
        root = math.sqrt(pivot)
        matrix[j, j] = root
        for i in range(j + 1, n):
            value = matrix[i, j]
            for k in range(j):
                value -= matrix[i, k] * matrix[j, k]
            matrix[i, j] = value / root
    return True


@kernel
def dickey_fuller(u: FloatArray) -> tuple[float, int]:
    r"""Augmented Dickey-Fuller statistic without constant or trend.

    :math:`\Delta u_t = \rho u_{t-1} + \sum_{j=1}^{p} \gamma_j \Delta u_{t-j} + \varepsilon_t`, where p has
    the smallest BIC up to :math:`\lceil 12 (n/100)^{1/4} \rceil`, all on the sample that the longest leaves.

    Parameters
    ----------
    u : FloatArray, shape (n,)
        n of 30 or more.

    Returns
    -------
    statistic : float
        Of rho = 0 against rho < 0; NaN for a series whose differences are linearly dependent.
    lags : int
        p.
    """
    n = u.size
    most = math.ceil(12.0 * (n / 100.0) ** 0.25)
    most = min(most, n // 2 - 1)
    products = np.empty((most + 2, most + 2))
    cross_products(u, most, True, products)
    left = products[most + 1, most + 1]
    if not cholesky(products):
        return math.nan, 0
    rows = n - 1 - most
    best = math.inf
    lags = 0
    for p in range(most + 1):
        left -= products[most + 1, p] ** 2
        bic = rows * math.log(left / rows) + math.log(rows) * (p + 1)
        if bic < best:
            best = bic
            lags = p
    final = np.empty((lags + 2, lags + 2))
    cross_products(u, lags, False, final)
    if not cholesky(final):
        return math.nan, lags
    # With the level last, its row of the factor holds its coefficient over its standard error.
    scale = final[lags + 1, lags + 1] / math.sqrt(n - 2 - 2 * lags)
    return final[lags + 1, lags] / scale, lags


@kernel
def engle_granger_statistic(y: FloatArray, x: FloatArray) -> float:
    """Return the Dickey-Fuller statistic of the residuals of y on x; NaN where there is none.

    There is none for series that do not move or are one and the same.

    Parameters
    ----------
    y, x : FloatArray, shape (n,)
        n of 30 or more.
    """
    u = np.empty(y.size)
    _, unexplained_frac = residuals(y, x, u)
    if not unexplained_frac > _SAME:
        return math.nan
    return dickey_fuller(u)[0]
