"""What a spread is expected to do: an AR(1) with the coefficients of the position (docs/maths/signals.md)."""

from __future__ import annotations

import math

from engine.events import FloatArray
from engine.kernel import kernel


@kernel
def last_prices(ring: FloatArray, slot: int, k: int) -> tuple[float, float]:
    """Return y and x of the last minute in which pair ``k`` had both, NaN if none; see `forecast`."""
    capacity = ring.shape[1]
    n_pairs = ring.shape[0] // 2
    j = slot
    for _ in range(capacity):
        if not (math.isnan(ring[k, j]) or math.isnan(ring[n_pairs + k, j])):
            break
        j = j - 1 if j > 0 else capacity - 1
    return ring[k, j], ring[n_pairs + k, j]


@kernel
def forecast(
    ring: FloatArray, slot: int, k: int, b: float, a: float, horizon_min: float, is_log: bool
) -> tuple[float, float, float]:
    r"""Forecast the return of LONG, per USD of gross, over the horizon.

    The spread :math:`s = y - bx - a` is taken with fixed coefficients over the ring. Least squares of
    :math:`s_i` on :math:`s_{i-1}` gives phi and the mean :math:`m = c / (1 - \phi)`; steps into the first
    minute of a session or beside a missing one are left out. With :math:`\kappa = -\ln\phi` the return
    is :math:`-(1 - e^{-\kappa h})(s - m)/(1 + |b|)`, for raw prices divided by :math:`P_y + |b| P_x`. It
    is 0 when phi is outside (0, 1), when the half-life exceeds half the ring, or when fewer than half the
    ring's steps can be used.

    Parameters
    ----------
    ring : FloatArray, shape (2 n_pairs + 1, capacity)
        Rows y of every pair, x of every pair, and 1 where the step into the minute is over night and nights
        are special (``PairTape``); NaN where missing.
    slot : int
        Column of the last minute; the one after it is the oldest.
    k : int
        The pair.
    b, a : float
        Coefficients.
    horizon_min : float
    is_log : bool

    Returns
    -------
    expected_return_frac : float
    last_y, last_x : float
        Last observed prices, NaN if there are none.
    """
    capacity = ring.shape[1]
    n_pairs = ring.shape[0] // 2
    last_y, last_x = last_prices(ring, slot, k)
    last = last_y - b * last_x - a
    if math.isnan(last):
        return 0.0, last_y, last_x
    # Sums are taken of s - last: the spread is small against prices, and its moves against its level.
    n = 0
    sum_0 = sum_1 = sum_00 = sum_01 = 0.0
    previous = math.nan
    j = slot
    for _ in range(capacity):
        j += 1
        if j == capacity:
            j = 0
        if ring[2 * n_pairs, j] != 0.0:
            previous = math.nan
        s = ring[k, j] - b * ring[n_pairs + k, j] - a - last
        if not (math.isnan(previous) or math.isnan(s)):
            n += 1
            sum_0 += previous
            sum_1 += s
            sum_00 += previous * previous
            sum_01 += previous * s
        previous = s
    if 2 * n < capacity:
        return 0.0, last_y, last_x
    variance = sum_00 - sum_0 * sum_0 / n
    covariance = sum_01 - sum_0 * sum_1 / n
    if not 0.0 < covariance < variance:
        return 0.0, last_y, last_x
    phi = covariance / variance
    kappa = -math.log(phi)
    if 2.0 * math.log(2.0) > kappa * capacity:
        return 0.0, last_y, last_x
    mean = (sum_1 - phi * sum_0) / n / (1.0 - phi)
    gross = 1.0 + abs(b) if is_log else last_y + abs(b) * last_x
    # s - m with s = 0 here: the last observation is the origin.
    return (1.0 - math.exp(-kappa * horizon_min)) * mean / gross, last_y, last_x


@kernel
def announce(
    ring: FloatArray,
    slot: int,
    beta: FloatArray,
    alpha: FloatArray,
    changed: FloatArray,
    frozen: FloatArray,
    horizon_min: float,
    is_log: bool,
    found: FloatArray,
) -> None:
    """Freeze the coefficients of pairs that changed side, and forecast them with these.

    Parameters
    ----------
    ring, slot, horizon_min, is_log
        See `forecast`.
    beta, alpha : FloatArray, shape (n_pairs,)
        Coefficients that this minute's innovation was measured with.
    changed : FloatArray, shape (n_pairs,)
        Not 0 where the side changed.
    frozen : FloatArray, shape (3, n_pairs)
        Written where changed: beta, alpha, USD ratio.
    found : FloatArray, shape (n_pairs, 2)
        Written, in order: index and expected return of each pair that changed.
    """
    i = 0
    for k in range(beta.size):
        if changed[k] == 0.0:
            continue
        expected, last_y, last_x = forecast(ring, slot, k, beta[k], alpha[k], horizon_min, is_log)
        frozen[0, k] = beta[k]
        frozen[1, k] = alpha[k]
        frozen[2, k] = beta[k] if is_log else beta[k] * last_x / last_y
        found[i, 0] = k
        found[i, 1] = expected
        i += 1


@kernel
def look_ahead(
    ring: FloatArray,
    slot: int,
    beta: FloatArray,
    alpha: FloatArray,
    side: FloatArray,
    frozen: FloatArray,
    horizon_min: float,
    is_log: bool,
    is_weighed: bool,
    out: FloatArray,
) -> None:
    """Forecast every pair, with frozen coefficients where a side is held.

    Parameters
    ----------
    ring, slot, horizon_min, is_log
        See `forecast`.
    beta, alpha, side : FloatArray, shape (n_pairs,)
    frozen : FloatArray, shape (3, n_pairs)
        Beta, alpha and USD ratio of the last change of side.
    is_weighed : bool
        Whether anybody weighs expected returns; they take nearly all of the time.
    out : FloatArray, shape (3, n_pairs)
        Written: expected return (NaN unless weighed), USD ratio of now, and that frozen while a side is held.
    """
    for k in range(beta.size):
        is_held = side[k] != 0.0
        b = frozen[0, k] if is_held else beta[k]
        a = frozen[1, k] if is_held else alpha[k]
        last_y, last_x = last_prices(ring, slot, k)
        out[0, k] = forecast(ring, slot, k, b, a, horizon_min, is_log)[0] if is_weighed else math.nan
        out[1, k] = beta[k] if is_log else beta[k] * last_x / last_y
        out[2, k] = frozen[2, k] if is_held else out[1, k]
