"""Par yield curves: duration of a par bond, and the roll-down of a position."""

from __future__ import annotations

import numpy as np

from engine.events import FloatArray

#: Treasuries pay twice a year, and their yields are quoted so.
PERIODS = 2


def par_duration_years(yield_pct: FloatArray, maturity_years: FloatArray) -> FloatArray:
    """Return the modified duration of par bonds, ``(1 - (1 + y/2)^(-2T)) / y``; T at a yield of zero.

    Parameters
    ----------
    yield_pct, maturity_years : FloatArray, shape (n,)
        A par yield is also the coupon.

    Returns
    -------
    FloatArray, shape (n,)
    """
    y = np.asarray(yield_pct, dtype=np.float64) / 100.0
    n = PERIODS * np.asarray(maturity_years, dtype=np.float64)
    # (1 - v^n)/y loses its digits near zero; expm1 keeps them, and y = 0 has the limit n/2.
    slope = -np.expm1(-n * np.log1p(y / PERIODS))
    return np.asarray(np.divide(slope, y, out=n / PERIODS, where=y != 0.0), dtype=np.float64)


def roll_pct(yield_pct: FloatArray, maturity_years: FloatArray, horizon_days: float) -> FloatArray:
    """Return ``y(T - h) - y(T)`` on an unchanged curve, percent; negative where the curve rises.

    The curve is linear between its tenors, and goes on below the shortest as between the first two. A curve
    of one point is flat.

    Parameters
    ----------
    yield_pct, maturity_years : FloatArray, shape (n,)
        Maturities rise. NaN where a yield is unknown: such a tenor has no roll, and the others go past it.
    horizon_days : float
    """
    known = np.flatnonzero(np.isfinite(yield_pct))
    out = np.full(np.shape(yield_pct), np.nan)
    if known.size == 0:
        return out
    t, y = maturity_years[known], yield_pct[known]
    later = t - horizon_days / 365.0
    rolled = np.interp(later, t, y)
    if known.size > 1:
        slope = (y[1] - y[0]) / (t[1] - t[0])
        rolled = np.where(later < t[0], y[0] + slope * (later - t[0]), rolled)
    out[known] = rolled - y
    return out
