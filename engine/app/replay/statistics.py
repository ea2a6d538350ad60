"""Performance of an equity curve: return, drawdown, Sharpe ratio, win rate, turnover.

Formulas, conventions and a worked example stand in docs/maths/performance.md. Losses are positive.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from engine.events import DAY_NS, FloatArray, IntArray
from engine.vocabulary import counted
from feeds.calendars import AROUND_THE_CLOCK, minutes_per_session

#: Below this many sessions no Sharpe ratio is given: its standard error would exceed 3.5.
SESSIONS_MIN: Final = 20
#: Why there is no Sharpe ratio where nothing was marked: of signals alone, or before the first bar.
NO_CURVE: Final = "there is no equity curve"
#: Gross holdings below half a cent are a flat book.
_FLAT_USD: Final = 0.005


def periods_per_year(calendar: str, bar_min: int = 1) -> float:
    """Return the bars of one year: sessions a year times bars of a regular session.

    Parameters
    ----------
    calendar : str
        ``"24/7"``, or the name of an exchange that exchange-calendars knows.
    bar_min : int
        Minutes of a bar; no bar is longer than its session.

    Examples
    --------
    >>> periods_per_year("XNYS"), periods_per_year("24/7"), periods_per_year("XNYS", 1440)
    (98280.0, 525600.0, 252.0)
    """
    days = 365.0 if calendar == AROUND_THE_CLOCK else 252.0
    session_min = minutes_per_session(calendar)
    return days * math.ceil(session_min / min(bar_min, session_min))


class EquityStatistics:
    """Statistics of an equity curve that arrives in chunks; keeps one number per session, not the curve.

    The first value is the base: it is the equity before anything was traded. A session is a UTC date, that
    of ``ts - 1 ns`` since stamps are ends of bars. A bar of unknown equity (NaN, infinite) is counted in
    ``unknown`` and otherwise passed over; one is enough for the Sharpe ratio not to be given.

    Parameters
    ----------
    periods_per_year : float
        Bars of one year by the calendar: 252 x 390 for XNYS, 365 x 1440 around the clock.

    Examples
    --------
    >>> statistics = EquityStatistics(252.0 * 390.0)
    >>> statistics.update(np.arange(1, 4) * 60_000_000_000, np.array([100.0, 110.0, 99.0]))
    >>> round(statistics.total_return_frac, 4), round(statistics.max_drawdown_frac, 4)
    (-0.01, -0.1)
    >>> statistics.sharpe, statistics.sharpe_reason
    (None, '1 session (needs 20)')
    """

    def __init__(self, periods_per_year: float) -> None:
        self._periods_per_year = periods_per_year
        self._first = math.nan
        self._last = math.nan
        self._peak = math.nan
        self._lowest = math.inf
        self._drawdown = 0.0
        self._bars = 0
        self._total_usd = 0.0
        self._n = 0
        self._mean = 0.0
        self._m2 = 0.0
        self.unknown = 0
        #: UTC dates as days since 1970-01-01, and the last equity of each.
        self.session_days: list[int] = []
        self.session_closes_usd: list[float] = []

    def update(self, ts_ns: IntArray, equity_usd: FloatArray) -> None:
        """Take the next bars.

        Parameters
        ----------
        ts_ns : IntArray, shape (n,)
            Ends of the bars, ascending, later than those of the last chunk.
        equity_usd : FloatArray, shape (n,)
            Equity after each bar.
        """
        is_known = np.isfinite(equity_usd)
        self.unknown += int(len(equity_usd) - np.count_nonzero(is_known))
        equity = equity_usd[is_known]
        if not len(equity):
            return
        if math.isnan(self._first):
            self._first = self._peak = float(equity[0])
            chain = equity
        else:
            chain = np.concatenate(([self._last], equity))
        self._lowest = min(self._lowest, float(np.min(equity)))
        if self._lowest > 0.0:
            self._merge(np.diff(chain) / chain[:-1])
        if self._first > 0.0:
            peaks = np.maximum(np.maximum.accumulate(equity), self._peak)
            self._peak = float(peaks[-1])
            self._drawdown = max(self._drawdown, float(np.max(1.0 - equity / peaks)))
        self._last = float(equity[-1])
        self._bars += len(equity)
        self._total_usd += float(np.sum(equity))
        self._close_sessions((ts_ns[is_known] - 1) // DAY_NS, equity)

    def _merge(self, returns: FloatArray) -> None:
        """Merge mean and sum of squares of two samples (Chan, Golub and LeVeque, 1983)."""
        n = len(returns)
        if n == 0:
            return
        mean = float(np.mean(returns))
        total = self._n + n
        step = mean - self._mean
        self._m2 += float(np.sum((returns - mean) ** 2)) + step * step * self._n * n / total
        self._mean += step * n / total
        self._n = total

    def _close_sessions(self, days: IntArray, equity: FloatArray) -> None:
        ends = np.append(np.flatnonzero(np.diff(days)), len(days) - 1)
        if self.session_days and self.session_days[-1] == days[0]:
            self.session_days.pop()
            self.session_closes_usd.pop()
        self.session_days += days[ends].tolist()
        self.session_closes_usd += equity[ends].tolist()

    @property
    def sessions(self) -> int:
        """Sessions with a bar of known equity."""
        return len(self.session_days)

    @property
    def total_return_frac(self) -> float:
        """Last equity / first equity - 1; NaN without a bar."""
        return self._last / self._first - 1.0 if self._first > 0.0 else math.nan

    @property
    def max_drawdown_frac(self) -> float:
        """``min(E / cummax(E) - 1)``, zero or below; NaN without a bar."""
        return -self._drawdown if self._first > 0.0 else math.nan

    @property
    def mean_equity_usd(self) -> float:
        """Mean equity over the bars; NaN without a bar."""
        return self._total_usd / self._bars if self._bars else math.nan

    @property
    def sharpe(self) -> float | None:
        """``mean / sd (ddof 1) * sqrt(periods per year)`` of bar returns; None has a ``sharpe_reason``."""
        if self.sharpe_reason:
            return None
        return self._mean / math.sqrt(self._m2 / (self._n - 1)) * math.sqrt(self._periods_per_year)

    @property
    def sharpe_reason(self) -> str:
        """Why there is no Sharpe ratio; empty when there is one."""
        if not self._bars and not self.unknown:
            return NO_CURVE
        if self.sessions < SESSIONS_MIN:
            return f"{self.sessions} session{'' if self.sessions == 1 else 's'} (needs {SESSIONS_MIN})"
        if self.unknown:
            return f"equity was unknown on {counted(self.unknown, 'bar')}"
        if self._lowest <= 0.0:
            return "equity fell to zero or below"
        if self._m2 == 0.0:
            return "equity did not move"
        return ""

    @property
    def sharpe_se(self) -> float:
        """Standard error of the Sharpe ratio, ``sqrt(1 / years)``; infinite without a return."""
        return math.sqrt(self._periods_per_year / self._n) if self._n else math.inf


def turnover_frac(traded_usd: float, mean_equity_usd: float) -> float:
    """Return the sum of USD traded, buys and sells both, over mean equity.

    Examples
    --------
    >>> turnover_frac(2_500_000.0, 1_000_000.0)
    2.5
    """
    return traded_usd / mean_equity_usd if mean_equity_usd > 0.0 else math.nan


def win_rate_frac(pnl_usd: FloatArray) -> float | None:
    """Return the share of round trips that made money after costs; exactly zero is not a win.

    Parameters
    ----------
    pnl_usd : FloatArray, shape (n_trips,)

    Returns
    -------
    float or None
        None without a round trip.

    Examples
    --------
    >>> win_rate_frac(np.array([120.0, -40.0, 0.0, 75.5, -10.0]))
    0.4
    """
    return float(np.count_nonzero(pnl_usd > 0.0)) / len(pnl_usd) if len(pnl_usd) else None


def round_trips_usd(equity_usd: FloatArray, gross_usd: FloatArray) -> FloatArray:
    """Return the P&L of each span in which the whole book was held, from flat to flat.

    The book is the only thing whose P&L is unambiguous: spreads share legs, and legs net. A span that was
    open before the first bar, or is open after the last, is no round trip.

    Parameters
    ----------
    equity_usd, gross_usd : FloatArray, shape (n_bars,)
        After each bar. The bar of the first fill already carries its costs, so a trip counts from the last
        flat bar before it to the first flat bar after.

    Examples
    --------
    >>> round_trips_usd(np.array([100.0, 99.0, 103.0, 103.0]), np.array([0.0, 50.0, 0.0, 0.0])).tolist()
    [3.0]
    """
    flat = np.flatnonzero(gross_usd < _FLAT_USD)
    is_trip = np.diff(flat) > 1
    return equity_usd[flat[1:][is_trip]] - equity_usd[flat[:-1][is_trip]]
