"""Positions, cash, marks and funding. Value is conserved: equity changes only by marks, costs and funding.

The book keeps shares per *leg* (``ports.Layout``), so that it always knows which spread holds what; net
positions, marks and everything in USD are per symbol.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from engine import legs
from engine.carry import Funding
from engine.events import (
    CLOSE,
    MINUTE_NS,
    OPEN,
    VOLUME,
    BarSlice,
    BookMarked,
    BoolArray,
    FloatArray,
    IntArray,
    Nanos,
    SleevesMarked,
)
from engine.kernel import kernel
from engine.ports import Layout, State
from engine.sessions import bar_length_min

# Rows of ``Book.marks``; columns are symbols.
QUANTITY: Final = 0
PRICE: Final = 1
AGE_MIN: Final = 2
HOLDING_USD: Final = 3
VOLUME_MEAN: Final = 4

PRICE_STALE: Final = "PRICE_STALE"
#: ``mark``'s code of the worst fault among held prices, by index.
PRICE_REASONS: Final = ("", PRICE_STALE, "PRICE_NOT_POSITIVE", "PRICE_NOT_FINITE")

_VOLUME_WEIGHT: Final = 1.0 - 0.5 ** (1.0 / 30.0)


@kernel
def mark(
    bars: FloatArray, marks: FloatArray, length_min: float, age_max_min: float
) -> tuple[float, float, float, int, bool]:
    """Mark every symbol to the close of a bar.

    Parameters
    ----------
    bars : FloatArray, shape (5, n)
        One slice; NaN columns keep their price and grow older.
    marks : FloatArray, shape (5, n)
        Rows QUANTITY (read), PRICE, AGE_MIN, HOLDING_USD and VOLUME_MEAN (written).
    length_min : float
        Length of the bar.
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
    is_fresh : bool
        Every held symbol has a bar in this slice; so it is of a book that holds none.
    """
    gross_usd = 0.0
    net_usd = 0.0
    opening_usd = 0.0
    fault = 0
    is_fresh = True
    for i in range(bars.shape[1]):
        close = bars[CLOSE, i]
        quantity = marks[QUANTITY, i]
        if np.isnan(close):
            marks[AGE_MIN, i] += length_min
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
            is_fresh &= not np.isnan(close)
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
    return gross_usd, net_usd, opening_usd, fault, is_fresh


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
        Terms of the account; instruments of the layout may have their own.
    price_age_max_min : float
        Session minutes after which a held price is stale.
    bar_min : int
        Length of a bar.
    """

    def __init__(
        self,
        layout: Layout,
        equity_usd: float,
        opening_quantity: FloatArray,
        funding: Funding,
        price_age_max_min: float,
        bar_min: int = 1,
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
        #: Whether the last slice had a bar of every held symbol: a measure without is one of old prices.
        self.is_fresh = True
        self.lot = layout.lot
        self.leg_basket = layout.leg_basket
        #: What it pays and receives for what it holds; an allocator is given the same.
        self.carry = funding.carry(layout.listed)
        self.price_age_max_min = float(price_age_max_min)
        self.bar_min = bar_min
        self._session = -1
        self._marked_ns: Nanos = 0
        # What each leg was paid for, and has cost and received since: P&L by sleeve is made of it when asked.
        self._leg_paid_usd = np.zeros_like(self.leg_quantity)
        self._leg_costs_usd = np.zeros_like(self.leg_quantity)
        self._leg_funding_usd = np.zeros_like(self.leg_quantity)
        self.is_flat = True
        self._net_legs()
        # Legs at the last mark, if a fill has changed them since: the night is financed by what was held.
        self._leg_at_close: FloatArray | None = None
        self._is_paid: BoolArray = self.quantity == 0.0
        self._awaits_price = not self._is_paid.all()

    @property
    def session(self) -> int:
        """Session of the last mark, -1 before the first."""
        return self._session

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

    def opening_ns(self, slice_: BarSlice) -> Nanos:
        """Return when the bars of a slice began: the instant of its fills."""
        return slice_.ts_close_ns - bar_length_min(slice_.minute, self.bar_min) * MINUTE_NS

    def mark(self, slice_: BarSlice, rate_move_frac: FloatArray | None = None) -> BookMarked:
        """Accrue funding at a new session, then mark to the slice's closes.

        ``rate_move_frac``, shape (2, n_symbols), is how far its prices moved with their exchange rates alone,
        since the last mark and since the open, where nobody gains by that (``Quotes``).
        """
        if slice_.session != self._session:
            if self._session >= 0:
                self._accrue(slice_.session - self._session)
            self._session = slice_.session
        self._marked_ns = slice_.ts_close_ns
        if rate_move_frac is not None:
            self._pay_for_rates(slice_.bars[OPEN], rate_move_frac)
        length_min = bar_length_min(slice_.minute, self.bar_min)
        gross_usd, net_usd, opening_usd, fault, self.is_fresh = mark(
            slice_.bars, self.marks, length_min, self.price_age_max_min
        )
        if self._awaits_price:
            self._pay_for_opening()
        self.cash_usd -= opening_usd
        self.equity_usd = equity_usd = self.cash_usd + net_usd
        self.price_reason = PRICE_REASONS[fault]
        self._leg_at_close = None
        return BookMarked(
            slice_.ts_close_ns,
            equity_usd,
            self.cash_usd,
            gross_usd,
            net_usd,
            self.funding_usd,
            self.costs_usd,
        )

    def trade(self, leg_quantity: FloatArray, trades: FloatArray, price_usd: FloatArray) -> None:
        """Apply fills. Called by ``engine/execution.py`` alone, with quantities from a ``TargetApproved``.

        Parameters
        ----------
        leg_quantity : FloatArray, shape (n_legs,)
            Shares by leg, as they are now.
        trades : FloatArray, shape (n_traded, 4)
            By symbol that trades: its index, net shares, price USD, cost USD.
        price_usd : FloatArray, shape (n_symbols,)
            Of the fills; legs of a symbol that net to nothing change hands at it too.
        """
        self._leg_at_close = self.leg_quantity.copy()
        paid_usd, cost_usd = legs.take_fills(
            leg_quantity,
            trades,
            price_usd,
            self.layout.leg_symbol,
            self.leg_quantity,
            self._leg_paid_usd,
            self._leg_costs_usd,
        )
        self.cash_usd -= paid_usd + cost_usd
        self.costs_usd += cost_usd
        self._net_legs()

    def sleeves(self) -> SleevesMarked:
        """Say what each sleeve has earned up to the last mark, after its costs and funding.

        What a leg has earned is its value less what was paid for it. Costs and funding of a symbol are shared
        among its legs in proportion to what they trade and hold.
        """
        layout = self.layout
        value_usd = legs.usd(self.leg_quantity, layout.leg_symbol, self.price_usd)
        earned_usd = value_usd - self._leg_paid_usd - self._leg_costs_usd + self._leg_funding_usd

        def by_sleeve(leg_values: FloatArray) -> tuple[float, ...]:
            sums = np.bincount(layout.leg_sleeve, leg_values, minlength=layout.n_sleeves)
            return tuple(sums.tolist())

        return SleevesMarked(
            self._marked_ns,
            by_sleeve(np.abs(value_usd)),
            by_sleeve(earned_usd),
            by_sleeve(self._leg_costs_usd),
        )

    def _net_legs(self) -> None:
        self.is_flat = net_into(self.leg_quantity, self.layout.leg_symbol, self.marks)

    def _accrue(self, days: int) -> None:
        """Financing and income over calendar days, on the notional of the last close before them."""
        daily_usd = self.carry.daily(self.holdings_usd)
        paid_usd = sum(daily_usd.tolist()) * days
        symbol_of = self.layout.leg_symbol
        held = self.leg_quantity if self._leg_at_close is None else self._leg_at_close
        net = legs.net(held, symbol_of, len(self.layout.symbols))[symbol_of]
        share = np.divide(held, net, out=np.zeros_like(net), where=net != 0.0)
        self._leg_funding_usd += share * daily_usd[symbol_of] * days
        self.funding_usd += paid_usd
        self.cash_usd += paid_usd

    def _pay_for_rates(self, open_usd: FloatArray, move_frac: FloatArray) -> None:
        """Count as paid what is worth more only because a rate moved: of a future, nobody receives it."""
        held = self.leg_quantity if self._leg_at_close is None else self._leg_at_close
        moved_usd = legs.moved_usd(
            held, self.leg_quantity, self.layout.leg_symbol, self.price_usd, open_usd, move_frac
        )
        self._leg_paid_usd += moved_usd
        self.cash_usd -= float(moved_usd.sum())

    def _pay_for_opening(self) -> None:
        """Count opening positions as bought at their first price."""
        symbol_of = self.layout.leg_symbol
        is_new = ~self._is_paid & np.isfinite(self.price_usd)
        self._is_paid |= is_new
        self._awaits_price = not self._is_paid.all()
        is_leg = is_new[symbol_of] & (self._leg_paid_usd == 0.0)
        self._leg_paid_usd += np.where(is_leg, legs.usd(self.leg_quantity, symbol_of, self.price_usd), 0.0)

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
            "marked_ns": self._marked_ns,
            "leg_paid_usd": self._leg_paid_usd.copy(),
            "leg_costs_usd": self._leg_costs_usd.copy(),
            "leg_funding_usd": self._leg_funding_usd.copy(),
            "is_paid": self._is_paid.copy(),
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
        self._marked_ns = state["marked_ns"]
        self._leg_paid_usd[:] = state["leg_paid_usd"]
        self._leg_costs_usd[:] = state["leg_costs_usd"]
        self._leg_funding_usd[:] = state["leg_funding_usd"]
        self._is_paid[:] = state["is_paid"]
        self._awaits_price = not self._is_paid.all()
        self.is_flat = not self.leg_quantity.any()
