"""What holding costs and brings, by symbol and calendar day: financing, the fee of a short, and income.

The book pays it, allocators weigh it, and ``astra book`` prints it, so all three take it from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

from engine.events import FloatArray
from engine.layout import Instrument

_MONEY_MARKET_DAYS: Final = 360.0
_INCOME_DAYS: Final = 365.0
_BP: Final = 1e4


class Carry(msgspec.Struct, frozen=True):
    """What a holding of every symbol pays and receives, a year of 360 days: a day is 1/360 of it.

    Parameters
    ----------
    long_frac : FloatArray, shape (n_symbols,)
        What a long pays, of its value; negative where its income is more than its financing.
    short_frac : FloatArray, shape (n_symbols,)
        What a short receives; negative where fee and income are more than the rate. Never above
        ``long_frac``: otherwise being long and short of one symbol would earn.
    """

    long_frac: FloatArray
    short_frac: FloatArray

    def daily(self, held: FloatArray) -> FloatArray:
        """Return what is received (paid, if negative) for one calendar day.

        Parameters
        ----------
        held : FloatArray, shape (n_symbols,)
            USD, or fractions of equity; the answer is in the same unit.
        """
        rate_frac = np.where(held > 0.0, self.long_frac, self.short_frac)
        return np.asarray(-held * rate_frac / _MONEY_MARKET_DAYS, dtype=np.float64)

    def over(self, days: float) -> tuple[FloatArray, FloatArray]:
        """Return what a long pays and a short receives in so many calendar days, of its value."""
        share = days / _MONEY_MARKET_DAYS
        return share * self.long_frac, share * self.short_frac


class Funding(msgspec.Struct, frozen=True):
    """The terms of an account, per year, actual/360: those of every instrument that has none of its own.

    Parameters
    ----------
    rate_frac : float
        Benchmark rate (3.6% is 0.036).
    long_spread_bps, short_spread_bps, borrow_bps : float
        Longs pay rate + long spread; shorts receive rate - short spread - borrow fee.

    Examples
    --------
    >>> round(Funding(0.03595, 50, 25, 40).daily_usd(415_522.0, Instrument("AAPL")), 2)
    -47.27
    """

    rate_frac: float
    long_spread_bps: float
    short_spread_bps: float
    borrow_bps: float

    def rates(self, instrument: Instrument) -> tuple[float, float]:
        """Return what a long of an instrument pays and a short receives, without income; 0 for a future.

        A future takes no cash, so nothing is financed: its carry, dividends included, is in its price.
        """
        if not instrument.is_funded:
            return 0.0, 0.0
        borrow_bps = self.borrow_bps if instrument.borrow_bps is None else instrument.borrow_bps
        long_frac = self.rate_frac + self.long_spread_bps / _BP
        return long_frac, self.rate_frac - (self.short_spread_bps + borrow_bps) / _BP

    def carry(self, instruments: Sequence[Instrument]) -> Carry:
        """Return the carry of every instrument, in their order: these rates, and income, actual/365."""
        rates = np.array([self.rates(one) for one in instruments], dtype=np.float64).reshape(-1, 2)
        income = np.array([one.income_frac if one.is_funded else 0.0 for one in instruments])
        income *= _MONEY_MARKET_DAYS / _INCOME_DAYS
        return Carry(rates[:, 0] - income, rates[:, 1] - income)

    def daily_usd(self, held_usd: float, instrument: Instrument) -> float:
        """Return what a holding of one instrument receives (pays, if negative) for a calendar day."""
        return self.carry([instrument]).daily(np.array([held_usd])).item()
