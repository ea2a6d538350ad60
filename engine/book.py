"""Positions, cash, marks and funding. Value is conserved: equity changes only by marks, costs and funding.

The book keeps shares per *leg* (``ports.Layout``), so that it always knows which spread holds what; net
positions, marks and everything in USD are per symbol.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from engine.events import CLOSE, VOLUME, BarSlice, BookMarked, FloatArray, IntArray
from engine.kernel import kernel
from engine.ports import Layout, State

# Rows of ``Book.marks``; columns are symbols.
QUANTITY: Final = 0
PRICE: Final = 1
AGE_MIN: Final = 2
HOLDING_USD: Final = 3
VOLUME_MEAN: Final = 4

#: ``mark``'s code of the worst fault among held prices, by index.
PRICE_REASONS: Final = ("", "PRICE_STALE", "PRICE_NOT_POSITIVE", "PRICE_NOT_FINITE")

_VOLUME_WEIGHT: Final = 1.0 - 0.5 ** (1.0 / 30.0)
_DAYS_PER_YEAR: Final = 360.0


@kernel
def mark(bars: FloatArray, marks: FloatArray, age_max_min: float) -> tuple[float, float, float, int]:
    """Mark every symbol to the close of a minute.

    Parameters
    ----------
    bars : FloatArray, shape (5, n)
        One slice; NaN columns keep their price and grow older.
    marks : FloatArray, shape (5, n)
        Rows QUANTITY (read), PRICE, AGE_MIN, HOLDING_USD and VOLUME_MEAN (written).
    age_max_min : float
        Age in session minutes beyond which the price of a held symbol is stale.

    Returns
    -------
    gross_usd, net_usd : float
        Of the marked book.
    opening_usd : float
        Value of opening positions that got their first price now: what they would have cost.
    fault : int
        Index into ``PRICE_REASONS`` of the worst fault among held symbols.
    """
    gross_usd = 0.0
    net_usd = 0.0
    opening_usd = 0.0
    fault = 0
    for i in range(bars.shape[1]):
        close = bars[CLOSE, i]
        quantity = marks[QUANTITY, i]
        if np.isnan(close):
            marks[AGE_MIN, i] += 1.0
        else:
            if quantity != 0.0 and np.isnan(marks[PRICE, i]):
                opening_usd += quantity * close
            marks[PRICE, i] = close
            marks[AGE_MIN, i] = 0.0
            volume = bars[VOLUME, i]
            mean = marks[VOLUME_MEAN, i]
            marks[VOLUME_MEAN, i] = volume if np.isnan(mean) else mean + _VOLUME_WEIGHT * (volume - mean)
        holding_usd = 0.0
        if quantity != 0.0:
            price = marks[PRICE, i]
            if not np.isfinite(price):
                fault = max(fault, 3)
            else:
                if price <= 0.0:
                    fault = max(fault, 2)
                elif marks[AGE_MIN, i] > age_max_min:
                    fault = max(fault, 1)
                holding_usd = quantity * price
        marks[HOLDING_USD, i] = holding_usd
        gross_usd += abs(holding_usd)
        net_usd += holding_usd
    return gross_usd, net_usd, opening_usd, fault


@kernel
def net_into(leg_quantity: FloatArray, leg_symbol: IntArray, marks: FloatArray) -> bool:
    """Write net shares to row QUANTITY of ``marks``; return whether no leg holds anything.

    A book can hold legs that net to nothing in every symbol: it is not flat.
    """
    is_flat = True
    marks[QUANTITY, :] = 0.0
    for leg in range(leg_quantity.size):
        marks[QUANTITY, leg_symbol[leg]] += leg_quantity[leg]
        is_flat &= leg_quantity[leg] == 0.0
    return is_flat


class Funding:
    """Annual funding rates: a long pays ``long_frac``, a short receives ``short_frac`` (actual/360).

    Parameters
    ----------
    rate_frac : float
        Benchmark rate a year (3.6% is 0.036).
    long_spread_bps, short_spread_bps, borrow_bps : float
        Longs pay rate + long spread; shorts receive rate − short spread − borrow fee.

    Examples
    --------
    >>> round(Funding(0.03595, 50, 25, 40).daily_usd(415_522.0), 2)
    -47.27
    """

    __slots__ = ("long_frac", "short_frac")

    def __init__(
        self, rate_frac: float, long_spread_bps: float, short_spread_bps: float, borrow_bps: float
    ) -> None:
        self.long_frac = rate_frac + long_spread_bps / 1e4
        self.short_frac = rate_frac - (short_spread_bps + borrow_bps) / 1e4

    def daily_usd(self, holding_usd: float) -> float:
        """Cash received (paid, if negative) for one calendar day of a holding."""
        rate_frac = self.long_frac if holding_usd > 0.0 else self.short_frac
        return -holding_usd * rate_frac / _DAYS_PER_YEAR


class Book:
    """The book of one run.

    Parameters
    ----------
    layout : Layout
    equity_usd : float
        Equity at the start, opening positions included.
    opening_quantity : FloatArray, shape (n_legs,)
        Shares held at the start; they enter at their first price, so equity does not jump.
    funding : Funding
    price_age_max_min : float
        Session minutes after which a held price is stale.
    """

    def __init__(
        self,
        layout: Layout,
        equity_usd: float,
        opening_quantity: FloatArray,
        funding: Funding,
        price_age_max_min: float,
    ) -> None:
        self.layout = layout
        self.leg_quantity: FloatArray = opening_quantity.astype(np.float64)
        self.marks: FloatArray = np.zeros((5, len(layout.symbols)))
        self.marks[PRICE] = np.nan
        self.marks[VOLUME_MEAN] = np.nan
        self.cash_usd = float(equity_usd)
        self.equity_usd = float(equity_usd)
        self.funding_usd = 0.0
        self.costs_usd = 0.0
        self.price_reason = ""
        self._funding = funding
        self._age_max_min = float(price_age_max_min)
        self._session = -1
        self.is_flat = True
        self._net_legs()

    @property
    def holdings_usd(self) -> FloatArray:
        """Marked value by symbol, shape (n_symbols,); a view."""
        row: FloatArray = self.marks[HOLDING_USD]
        return row

    @property
    def price_usd(self) -> FloatArray:
        """Last good closes by symbol, NaN before the first; a view."""
        row: FloatArray = self.marks[PRICE]
        return row

    @property
    def quantity(self) -> FloatArray:
        """Net shares by symbol, shape (n_symbols,); a view."""
        row: FloatArray = self.marks[QUANTITY]
        return row

    def mark(self, slice_: BarSlice) -> BookMarked:
        """Accrue funding at a new session, then mark to the slice's closes."""
        if slice_.session != self._session:
            if self._session >= 0:
                self._accrue(slice_.session - self._session)
            self._session = slice_.session
        gross_usd, net_usd, opening_usd, fault = mark(slice_.bars, self.marks, self._age_max_min)
        self.cash_usd -= opening_usd
        self.equity_usd = equity_usd = self.cash_usd + net_usd
        self.price_reason = PRICE_REASONS[fault]
        return BookMarked(
            slice_.ts_close_ns,
            equity_usd,
            self.cash_usd,
            gross_usd,
            net_usd,
            self.funding_usd,
            self.costs_usd,
        )

    def trade(self, leg_quantity: FloatArray, traded_usd: float, cost_usd: float) -> None:
        """Apply fills: new shares by leg, cash paid for them (signed), and what trading cost.

        Called by ``engine/execution.py`` alone, with quantities from a ``TargetApproved``.
        """
        self.leg_quantity[:] = leg_quantity
        self.cash_usd -= traded_usd + cost_usd
        self.costs_usd += cost_usd
        self._net_legs()

    def _net_legs(self) -> None:
        self.is_flat = net_into(self.leg_quantity, self.layout.leg_symbol, self.marks)

    def _accrue(self, days: int) -> None:
        """Funding over calendar days, on the notional of the last close of the session that ended."""
        paid_usd = sum(self._funding.daily_usd(holding) for holding in self.holdings_usd.tolist()) * days
        self.funding_usd += paid_usd
        self.cash_usd += paid_usd

    def state(self) -> State:
        """Return everything that the next slice depends on."""
        return {
            "leg_quantity": self.leg_quantity.copy(),
            "marks": self.marks.copy(),
            "cash_usd": self.cash_usd,
            "equity_usd": self.equity_usd,
            "funding_usd": self.funding_usd,
            "costs_usd": self.costs_usd,
            "price_reason": self.price_reason,
            "session": self._session,
        }

    def restore(self, state: State) -> None:
        """Continue from ``state``."""
        self.leg_quantity[:] = state["leg_quantity"]
        self.marks[:] = state["marks"]
        self.cash_usd = state["cash_usd"]
        self.equity_usd = state["equity_usd"]
        self.funding_usd = state["funding_usd"]
        self.costs_usd = state["costs_usd"]
        self.price_reason = state["price_reason"]
        self._session = state["session"]
        self.is_flat = not self.leg_quantity.any()
