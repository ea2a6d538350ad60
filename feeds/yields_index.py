"""What a par bond of constant maturity earns, from one curve to the next.

A bond is bought at par at yesterday's yield of tenor T, which is its coupon c, and sold today, Delta years
older, at the yield of its remaining life on today's curve, y = y(T - Delta):

    index_t / index_(t-1) = (1 + y/2)^(2 Delta) * P(c, y, T),
    P(c, y, T) = c/2 (1 - v^n) / (y/2) + v^n,    v = 1 / (1 + y/2),  n = 2T

which is the price with accrued interest of a bond that pays twice a year. Carry, roll-down and the change of
the curve are all in it, and nothing is expanded: to second order it is 1 + c Delta - D dy + C dy^2 / 2. A
financed index takes off repo Delta, actual/360, at the repo of yesterday: it is what a position on borrowed
money earns.
"""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np

from engine.events import BoolArray, FloatArray
from feeds.yields_file import CurveTable

#: Yields beyond this many percent are misprints, whatever stood before.
YIELD_MAX_PCT: Final = 50.0
_YEAR_DAYS: Final = 365.0
_MONEY_MARKET_DAYS: Final = 360.0
_INDEX_START: Final = 100.0


class CurveIndex(msgspec.Struct, frozen=True):
    """Index levels, shape (n_rows, n_tenors): NaN where a yield is missing or was not believed.

    ``is_refused`` marks yields that are there and were not believed.
    """

    level: FloatArray
    is_refused: BoolArray


class _Past(msgspec.Struct, frozen=True):
    """The last believed yield of each tenor, its day, index and repo; a jump that waits for confirmation."""

    yield_pct: FloatArray
    day: FloatArray
    level: FloatArray
    repo_pct: FloatArray
    waiting_pct: FloatArray


def full_price(coupon_frac: FloatArray, yield_frac: FloatArray, years: FloatArray) -> FloatArray:
    """Return the price per 1 of a bond with half-yearly coupons on a coupon date, ``P(c, y, T)``.

    Parameters
    ----------
    coupon_frac, yield_frac : FloatArray, shape (n,)
        Annual; the yield is compounded twice a year.
    years : FloatArray, shape (n,)
    """
    half = yield_frac / 2.0
    n = 2.0 * years
    lost = -np.expm1(-n * np.log1p(half))  # 1 - v^n, without losing digits near a yield of zero
    annuity = np.divide(lost, half, out=np.array(n, dtype=np.float64), where=half != 0.0)
    return np.asarray(coupon_frac / 2.0 * annuity + 1.0 - lost, dtype=np.float64)


def growth(
    coupon_pct: FloatArray, yield_pct: FloatArray, years: FloatArray, elapsed_days: FloatArray
) -> FloatArray:
    """Return what 1 in a par bond has become after so many days, at the yield of its remaining life."""
    y = yield_pct / 100.0
    accrued = np.exp(2.0 * elapsed_days / _YEAR_DAYS * np.log1p(y / 2.0))
    return np.asarray(accrued * full_price(coupon_pct / 100.0, y, years), dtype=np.float64)


def on_curve(at_years: FloatArray, maturity_years: FloatArray, yield_pct: FloatArray) -> FloatArray:
    """Return yields between the known points of a curve; below the shortest its first slope goes on."""
    known = np.flatnonzero(np.isfinite(yield_pct))
    t, y = maturity_years[known], yield_pct[known]
    found = np.interp(at_years, t, y)
    if known.size > 1:
        slope = (y[1] - y[0]) / (t[1] - t[0])
        found = np.where(at_years < t[0], y[0] + slope * (at_years - t[0]), found)
    return np.asarray(found, dtype=np.float64)


def curve_index(table: CurveTable, jump_max_pct: float, repo_pct: FloatArray | None = None) -> CurveIndex:
    """Chain the index of every tenor, 100 at its first yield.

    A yield further than ``jump_max_pct`` from the last believed one is refused, and believed once the next
    curve confirms it; nothing is ever believed in hindsight. Rows of one day start from the same yesterday.

    Parameters
    ----------
    table : CurveTable
    jump_max_pct : float
        Percentage points.
    repo_pct : FloatArray, shape (n_tenors,) or (n_rows, n_tenors), or None
        Rate that the index is financed at, from the row's day until the next; None for total return.
    """
    n = table.maturity_years.size
    nothing = np.full(n, np.nan)
    repo = np.broadcast_to(0.0 if repo_pct is None else repo_pct, table.yield_pct.shape)
    past = after = _Past(nothing, nothing, nothing, nothing, nothing)
    level = np.full(table.yield_pct.shape, np.nan)
    is_refused = np.zeros(table.yield_pct.shape, dtype=bool)
    for row, (day, quoted) in enumerate(zip(table.day.tolist(), table.yield_pct, strict=True)):
        is_first = row == 0 or day != table.day[row - 1]
        past = after if is_first else past
        here, is_refused[row], found = _step(
            past, table.maturity_years, float(day), quoted, jump_max_pct, repo[row]
        )
        level[row] = here
        after = found if is_first else after
    return CurveIndex(level, is_refused)


def _step(
    past: _Past,
    years: FloatArray,
    day: float,
    quoted_pct: FloatArray,
    jump_max_pct: float,
    repo_pct: FloatArray,
) -> tuple[FloatArray, BoolArray, _Past]:
    """Return today's levels, which yields were refused, and the past as tomorrow sees it."""
    is_there = np.isfinite(quoted_pct)
    is_near = ~(np.abs(quoted_pct - past.yield_pct) > jump_max_pct)  # true too without a past
    is_confirmed = np.abs(quoted_pct - past.waiting_pct) <= jump_max_pct
    is_good = is_there & (np.abs(quoted_pct) <= YIELD_MAX_PCT) & (is_near | is_confirmed)
    is_refused = is_there & ~is_good
    level = np.full(quoted_pct.size, np.nan)
    if is_good.any():
        curve = np.where(is_good, quoted_pct, np.nan)
        days = day - past.day
        sold_at = on_curve(np.maximum(years - days / _YEAR_DAYS, 0.0), years, curve)
        financing = past.repo_pct / 100.0 / _MONEY_MARKET_DAYS * days
        grown = past.level * (growth(past.yield_pct, sold_at, years, days) - financing)
        level = np.where(is_good, np.where(np.isnan(past.level), _INDEX_START, grown), np.nan)
    return (
        level,
        is_refused,
        _Past(
            np.where(is_good, quoted_pct, past.yield_pct),
            np.where(is_good, day, past.day),
            np.where(is_good, level, past.level),
            np.where(is_good, repo_pct, past.repo_pct),
            np.where(is_refused, quoted_pct, np.where(is_there, np.nan, past.waiting_pct)),
        ),
    )
