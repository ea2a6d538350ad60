"""Whether two prices move together at all: Engle-Granger tests, one or many (docs/maths/zscore.md)."""

from __future__ import annotations

from typing import Final

import numpy as np

from engine.events import BoolArray, FloatArray
from engine.ports import DailyHistory
from strategies.dickey_fuller import engle_granger_statistic
from strategies.pair_options import split_pair

#: Daily closes that a test on history needs.
DAYS_MIN: Final = 250
#: Observations below which nothing is tested at all.
OBSERVATIONS_MIN: Final = 30
#: Minutes between the closes that a test on the tape itself uses, where bars are that short.
_TEST_EVERY_MIN: Final = 5


def tested_every_bars(bar_min: int) -> int:
    """Return how many bars lie between the closes that a test on the tape uses: all of longer bars.

    Examples
    --------
    >>> tested_every_bars(1), tested_every_bars(2), tested_every_bars(60)
    (5, 2, 1)
    """
    return max(1, _TEST_EVERY_MIN // bar_min)


def engle_granger(y: FloatArray, x: FloatArray) -> float:
    """Test whether y and x are cointegrated.

    Parameters
    ----------
    y, x : FloatArray, shape (n,)
        Log prices without gaps.

    Returns
    -------
    float
        p-value of the null that they are not: the smaller of both orders, times 2 for having looked twice.
        Residuals of a regression with a constant, augmented Dickey-Fuller lags by BIC; 1 for series that
        do not move, or that are one and the same.

    References
    ----------
    Engle and Granger (1987), *Econometrica* 55(2); p-values of MacKinnon (2010), *Critical Values for
    Cointegration Tests*.
    """
    return best_order(y, x)[0]


def best_order(y: FloatArray, x: FloatArray) -> tuple[float, bool]:
    """Return the p-value of ``engle_granger``, and whether y on x (and not x on y) is the better order."""
    from statsmodels.tsa.adfvalues import mackinnonp

    if y.size < OBSERVATIONS_MIN:
        return 1.0, True
    statistics = engle_granger_statistic(y, x), engle_granger_statistic(x, y)
    if not np.isfinite(statistics).all():
        return 1.0, True
    p_value = 2.0 * float(mackinnonp(min(statistics), regression="c", N=2))
    return min(1.0, p_value), statistics[0] <= statistics[1]


def history_of(pair: str, history: DailyHistory | None) -> tuple[FloatArray, FloatArray] | None:
    """Return log daily closes of y and x on days that have both, or None under ``DAYS_MIN`` of them."""
    y, x = split_pair(pair)
    if history is None or y not in history.symbols or x not in history.symbols:
        return None
    log_close = np.log(history.close_usd[:, [history.symbols.index(y), history.symbols.index(x)]])
    both = log_close[~np.isnan(log_close).any(axis=1)]
    if len(both) < DAYS_MIN:
        return None
    return both[:, 0].copy(), both[:, 1].copy()


def benjamini_hochberg(p_values: FloatArray, q: float) -> BoolArray:
    """Return which hypotheses to reject so that at most ``q`` of the rejected are false, on average.

    Examples
    --------
    >>> benjamini_hochberg(np.array([0.01, 0.30, 0.04]), 0.10).tolist()
    [True, False, True]
    """
    order = np.argsort(p_values, kind="stable")
    n = p_values.size
    passed = np.flatnonzero(p_values[order] <= q * np.arange(1, n + 1) / n)
    rejected = np.zeros(n, dtype=np.bool_)
    if passed.size:
        rejected[order[: passed[-1] + 1]] = True
    return rejected
