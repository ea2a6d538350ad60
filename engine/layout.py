"""How a book is laid out: symbols and what they are, the spreads that strategies trade, and their legs."""

from __future__ import annotations

import msgspec
import numpy as np

from engine import legs
from engine.events import FloatArray, IntArray

#: The currency of the book; everything ``_usd`` is in it.
ACCOUNT_CURRENCY = "USD"


class Instrument(msgspec.Struct, frozen=True):
    """What a symbol is: how its quote becomes USD, and what holding it means.

    Parameters
    ----------
    symbol : str
    multiplier : float
        Units of the underlying in one contract: a quote moves a holding of one by this many of its currency.
    currency : str
        Of the quote, by its ISO code.
    is_funded : bool
        Whether holding it takes (and shorting it gives) cash to be financed; a future is not funded.
    lot : float
        Smallest step of a position; 0 for fractions.
    expiry_day : int
        Last day it trades, days since 1970-01-01; -1 for none.
    sector, role : str
        For people.
    borrow_bps : float or None
        Fee of a short, a year, actual/360; None for that of the account.
    income_frac : float
        Dividends or coupons of a year, as a share of the price, actual/365: a long receives them, a short
        pays them.
    """

    symbol: str
    multiplier: float = 1.0
    currency: str = ACCOUNT_CURRENCY
    is_funded: bool = True
    lot: float = 0.0
    expiry_day: int = -1
    sector: str = ""
    role: str = ""
    borrow_bps: float | None = None
    income_frac: float = 0.0


class Spread(msgspec.Struct, frozen=True):
    """What a strategy trades as one: LONG is long y and short x; ``name`` is unique in its strategy.

    An *outright* is long or short of y alone: it has no x, and its ``usd_ratio`` is 0. In the layout its x
    leg is one of y that stays empty, so that every spread has two legs and arrays stay rectangular.

    Spreads of one strategy with the same ``chain`` (the contracts of a future, by expiry) are wanted one at a
    time, so that they share one part of its capital; a spread without one is alone.
    """

    strategy: str
    name: str
    y: str
    x: str | None = None
    chain: str = ""


class Layout(msgspec.Struct, frozen=True):
    """Symbols, spreads and legs of a run, as index arrays.

    The unknowns of the book are *sleeves*: one per spread with two legs (y, then x), then one per symbol
    that the opening book holds outside any spread, with one leg. A leg belongs to one sleeve and one symbol;
    legs that share a symbol net.

    Parameters
    ----------
    symbols : tuple of str
        The universe; every ``(n_symbols,)`` array is in this order.
    spreads : tuple of Spread
        Sleeve ``k < len(spreads)`` is spread ``k``.
    leg_symbol, leg_sleeve : IntArray, shape (n_legs,)
        Symbol and sleeve of every leg.
    n_sleeves : int
    instruments : tuple of Instrument
        One for each symbol, in the same order; empty when all are plain shares quoted in USD.
    """

    symbols: tuple[str, ...]
    spreads: tuple[Spread, ...]
    leg_symbol: IntArray
    leg_sleeve: IntArray
    n_sleeves: int
    instruments: tuple[Instrument, ...] = ()

    @property
    def lot(self) -> FloatArray:
        """Smallest step of each symbol's position, shape (n_symbols,); 0 for fractions."""
        if not self.instruments:
            return np.zeros(len(self.symbols))
        return np.array([instrument.lot for instrument in self.instruments], dtype=np.float64)

    @property
    def listed(self) -> tuple[Instrument, ...]:
        """What every symbol is, plain shares too, in the order of the universe."""
        return self.instruments or tuple(Instrument(symbol) for symbol in self.symbols)

    @property
    def sleeve_names(self) -> list[tuple[str, str]]:
        """Strategy and spread of every sleeve; for a name of the opening book no strategy, and the symbol."""
        names = [(spread.strategy, spread.name) for spread in self.spreads]
        singles = self.leg_symbol[2 * len(self.spreads) :].tolist()
        return names + [("", self.symbols[symbol]) for symbol in singles]

    @property
    def leg_basket(self) -> IntArray:
        """Sleeve with which each leg trades, shape (n_legs,): of a chain its first one, or else its own.

        What leaves a chain and what enters it are one trade, or a roll would hold two contracts for one.
        """
        basket, first = np.arange(self.n_sleeves), dict[tuple[str, str], int]()
        for k, spread in enumerate(self.spreads):
            if spread.chain:
                basket[k] = first.setdefault((spread.strategy, spread.chain), k)
        return basket[self.leg_sleeve]

    def net(self, leg_values: FloatArray) -> FloatArray:
        """Sum legs by symbol: shape (n_legs,) to (n_symbols,)."""
        return legs.net(leg_values, self.leg_symbol, len(self.symbols))
