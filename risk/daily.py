"""Daily log returns of a universe: those of the history, then one row for each session of the tape.

A missing day keeps the last close: its return is 0, and the next one catches up. A symbol has NaN until its
first close; no return is made up for it. History is adjusted and the tape is not, so no return joins the
two: the first session of a symbol counts from its own opening price.
"""

from __future__ import annotations

import numpy as np

from engine.events import CLOSE, OPEN, BarSlice, FloatArray
from engine.ports import DailyHistory, State


def filled(close_usd: FloatArray) -> FloatArray:
    """Carry the last close over missing days, shape (n_days, n); leading ones stay NaN."""
    usable = np.isfinite(close_usd) & (close_usd > 0.0)
    rows = np.arange(len(close_usd))[:, None]
    last = np.maximum.accumulate(np.where(usable, rows, -1), axis=0)
    carried = np.take_along_axis(close_usd, np.maximum(last, 0), axis=0)
    return np.where(last >= 0, carried, np.nan)


def log_returns(symbols: tuple[str, ...], history: DailyHistory | None) -> FloatArray:
    """Return close-to-close log returns of a history in the order of ``symbols``.

    Returns
    -------
    FloatArray, shape (n_days - 1, n_symbols)
        NaN before a symbol's first close, and throughout for one that the history lacks.
    """
    if history is None or len(history.close_usd) < 2:
        return np.empty((0, len(symbols)))
    column = {symbol: k for k, symbol in enumerate(history.symbols)}
    inside = [i for i, symbol in enumerate(symbols) if symbol in column]
    returns = np.full((len(history.close_usd) - 1, len(symbols)), np.nan)
    closes = filled(history.close_usd[:, [column[symbols[i]] for i in inside]])
    returns[:, inside] = np.diff(np.log(closes), axis=0)
    return returns


class DailyReturns:
    """The newest daily returns, kept up to date slice by slice.

    Parameters
    ----------
    symbols : tuple of str
    history : DailyHistory or None
    keep_days : int
        Rows that are kept.
    """

    def __init__(self, symbols: tuple[str, ...], history: DailyHistory | None, keep_days: int) -> None:
        n = len(symbols)
        self._keep_days = keep_days
        self.returns: FloatArray = log_returns(symbols, history)[-keep_days:]
        #: Price that this session's return counts from, and its newest close; NaN before the first bar.
        self._from_usd: FloatArray = np.full(n, np.nan)
        self._close_usd: FloatArray = np.full(n, np.nan)
        self._session = -1

    def observe(self, slice_: BarSlice) -> bool:
        """Take one slice; return whether it ended a session, that is whether there is a new row."""
        is_new_row = slice_.session != self._session and self._session >= 0
        if is_new_row:
            self._end_session()
        self._session = slice_.session
        close = slice_.bars[CLOSE]
        is_here = ~np.isnan(close)
        is_first = is_here & np.isnan(self._from_usd)
        self._from_usd = np.where(is_first, slice_.bars[OPEN], self._from_usd)
        self._close_usd = np.where(is_here, close, self._close_usd)
        return is_new_row

    def _end_session(self) -> None:
        row = np.log(self._close_usd / self._from_usd)
        if len(self.returns):  # known before, silent today: its price stands
            row = np.where(np.isnan(row) & ~np.isnan(self.returns[-1]), 0.0, row)
        self.returns = np.vstack([self.returns, row])[-self._keep_days :]
        self._from_usd = self._close_usd.copy()

    def state(self) -> State:
        """Return everything that the next slice depends on."""
        return {
            "returns": self.returns.copy(),
            "from_usd": self._from_usd.copy(),
            "close_usd": self._close_usd.copy(),
            "session": self._session,
        }

    def restore(self, state: State) -> None:
        """Continue from what ``state`` returned, bit for bit."""
        self.returns = np.array(state["returns"], dtype=np.float64).reshape(-1, len(self._from_usd))
        self._from_usd = np.array(state["from_usd"], dtype=np.float64)
        self._close_usd = np.array(state["close_usd"], dtype=np.float64)
        self._session = int(state["session"])
