"""Whether two prices move together at all: Engle-Granger tests and a screen (docs/maths/zscore.md)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

from engine.events import BoolArray, FloatArray
from engine.ports import DailyHistory
from strategies.pair_options import split_pair

#: Daily closes that a test on history needs.
DAYS_MIN: Final = 250


class Admission(msgspec.Struct, frozen=True):
    """Outcome of the test of one pair; ``p_value`` is 1 where nothing could be tested."""

    pair: str
    p_value: float
    n_observations: int
    is_admitted: bool


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
    Engle and Granger (1987), *Econometrica* 55(2).
    """
    from statsmodels.tools.sm_exceptions import CollinearityWarning
    from statsmodels.tsa.stattools import coint

    if y.size < 30 or np.ptp(y) == 0.0 or np.ptp(x) == 0.0:
        return 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("error", CollinearityWarning)
        try:
            p_values = [float(coint(a, b, trend="c", autolag="bic")[1]) for a, b in ((y, x), (x, y))]
        except CollinearityWarning:
            return 1.0
    return min(1.0, 2.0 * min(p_values))


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


def screen(pairs: Sequence[str], history: DailyHistory, q: float = 0.10) -> list[Admission]:
    """Test many candidate pairs, controlling the false discovery rate (Benjamini-Hochberg).

    Parameters
    ----------
    pairs : sequence of str
        ``"Y/X"``.
    history : DailyHistory
        Closes before the tape; a pair with fewer than ``DAYS_MIN`` common days is not admitted.
    q : float
        False discoveries allowed among the admitted.

    Returns
    -------
    list of Admission
        In the order of ``pairs``.
    """
    samples = [history_of(pair, history) for pair in pairs]
    p_values = np.array([1.0 if s is None else engle_granger(*s) for s in samples])
    admitted = benjamini_hochberg(p_values, q)
    return [
        Admission(pair, float(p), 0 if s is None else s[0].size, bool(ok))
        for pair, p, s, ok in zip(pairs, p_values, samples, admitted, strict=True)
    ]
