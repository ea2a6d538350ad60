"""From quotes to USD: contract multipliers and currencies, applied once, in front of the trading desk.

Strategies see quotes, as the exchange prints them. Book, execution and risk see USD for one unit held:
quote times multiplier times exchange rate. So a position of a future is a number of contracts, its price is
what one contract stands for, and nothing behind this file knows that there are futures.

Of a future in another currency only the gains become USD, each at the rate of the bar that brings it: what it
stands for is owned by nobody. So the book is told, beside the prices, how far they moved with the rate alone,
and risk sees such a future at a rate that never moves.

After its expiry a future has no price, whatever the bars say: nothing can be bought, and what is still held
has a stale price, which halts.
"""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np

from engine.errors import ConfigError
from engine.events import CLOSE, OPEN, VOLUME, BarSlice, FloatArray, IntArray
from engine.layout import ACCOUNT_CURRENCY, Instrument, Layout
from engine.ports import State
from engine.sessions import bar_length_min

#: Later than any session.
_NEVER: Final = 2**62


class Quotes:
    """Turn slices of quotes into slices of USD.

    The rate of a currency is a symbol of the universe, USD for one unit of it (``EURUSD``) or its inverse
    (``USDJPY``). The rate of a bar's open is that of the open; where a rate has no bar, its last close
    stands, but not for ever: a rate too old is none, as before the first one. Without a rate prices are NaN:
    nothing can be bought then, and what is held has a stale price.

    Parameters
    ----------
    layout : Layout
    age_max_min : float
        Session minutes without a bar of the rate after which there is none.
    bar_min : int
        Length of a bar.

    Raises
    ------
    ConfigError
        C070 if the universe lacks the rate of a currency.
    """

    def __init__(self, layout: Layout, age_max_min: float, bar_min: int = 1) -> None:
        n = len(layout.symbols)
        self._multiplier: FloatArray = np.array([i.multiplier for i in layout.instruments] or [1.0] * n)
        self._rate_of: IntArray = np.full(n, -1)
        self._is_inverse = np.zeros(n, dtype=np.bool_)
        for k, instrument in enumerate(layout.instruments):
            if instrument.currency != ACCOUNT_CURRENCY:
                self._rate_of[k], self._is_inverse[k] = _rate(instrument, layout.symbols)
        self._foreign = np.flatnonzero(self._rate_of >= 0)
        funded = [instrument.is_funded for instrument in layout.listed]
        self._is_margined = ~np.array(funded, dtype=np.bool_)[self._foreign]
        self._margined: IntArray = self._foreign[self._is_margined]
        self._last_rate: FloatArray = np.full(n, np.nan)
        #: Rate of the last price in USD, which may be older than the last rate.
        self._priced_rate: FloatArray = np.full(n, np.nan)
        self._rate_age_min: FloatArray = np.zeros(n)
        self._age_max_min = age_max_min
        self._bar_min = bar_min
        expiry_day = [i.expiry_day if i.expiry_day >= 0 else _NEVER for i in layout.listed]
        self._expiry_day: IntArray = np.array(expiry_day, dtype=np.int64)
        has_units = bool((self._multiplier != 1.0).any())
        self._is_plain = not (len(self._foreign) or has_units or min(expiry_day, default=_NEVER) < _NEVER)
        #: What of the last slice's prices is a move of the rate alone, shape (2, n_symbols): as a fraction of
        #: the price before it, and of its open. 0 but for futures of other currencies; None without any.
        self.rate_move_frac: FloatArray | None = None

    @property
    def stale(self) -> tuple[int, ...]:
        """Symbols whose rate was too old in the last slice."""
        if self._is_plain:
            return ()
        return tuple(np.flatnonzero(self._rate_age_min > self._age_max_min).tolist())

    def to_usd(self, slice_: BarSlice) -> BarSlice:
        """Return the slice with prices in USD for one unit held; volumes stay in units.

        A symbol whose rate is suspect is so itself: its price in USD is no surer.
        """
        if self._is_plain:
            return slice_
        bars = slice_.bars.copy()
        bars[:VOLUME] *= self._multiplier
        bars[:, self._expiry_day < slice_.session] = np.nan
        if len(self._foreign):
            open_rate, close_rate = self._rates(slice_)
            bars[OPEN, self._foreign] *= open_rate
            bars[OPEN + 1 : VOLUME, self._foreign] *= close_rate
            if len(self._margined):
                self._move(bars, open_rate[self._is_margined], close_rate[self._is_margined])
        suspect = slice_.suspect
        if suspect:
            quoted_in = np.flatnonzero(np.isin(self._rate_of, suspect)).tolist()
            suspect = tuple(sorted({*suspect, *quoted_in}))
        return msgspec.structs.replace(slice_, bars=bars, suspect=suspect)

    def at_constant_rates(self, quoted: BarSlice, usd: BarSlice) -> BarSlice:
        """Return a slice as risk is to see it: with futures of other currencies at a rate of 1.

        Parameters
        ----------
        quoted, usd : BarSlice
            What ``to_usd`` took and returned.
        """
        if self.rate_move_frac is None:
            return usd
        bars = usd.bars.copy()
        alive = self._margined[self._expiry_day[self._margined] >= usd.session]
        bars[:VOLUME, alive] = quoted.bars[:VOLUME, alive]
        return msgspec.structs.replace(usd, bars=bars)

    def _move(self, bars: FloatArray, open_rate: FloatArray, close_rate: FloatArray) -> None:
        """Note how far prices moved with their rates alone, since those before and since the open."""
        mine = self._margined
        before = self._priced_rate[mine]
        is_priced = ~np.isnan(bars[CLOSE, mine])
        self.rate_move_frac = np.zeros((2, bars.shape[1]))
        self.rate_move_frac[0, mine] = np.where(is_priced & ~np.isnan(before), close_rate / before - 1.0, 0.0)
        self.rate_move_frac[1, mine] = np.where(is_priced, close_rate / open_rate - 1.0, 0.0)
        self._priced_rate[mine] = np.where(is_priced, close_rate, before)

    def _rates(self, slice_: BarSlice) -> tuple[FloatArray, FloatArray]:
        """Return USD for one unit of each foreign symbol's currency, at the open and the close of a bar."""
        mine = self._foreign
        quoted = slice_.bars[:, self._rate_of[mine]]
        at_open, at_close = self._power(quoted[OPEN]), self._power(quoted[CLOSE])
        before, is_absent = self._last_rate[mine], np.isnan(at_close)
        length_min = bar_length_min(slice_.minute, self._bar_min)
        age_min = np.where(is_absent, self._rate_age_min[mine] + length_min, 0.0)
        is_stale = age_min > self._age_max_min
        close_rate = np.where(is_absent, before, at_close)
        open_rate = np.where(np.isnan(at_open), np.where(np.isnan(before), close_rate, before), at_open)
        close_rate[is_stale] = open_rate[is_stale] = np.nan
        self._last_rate[mine], self._rate_age_min[mine] = close_rate, age_min
        return open_rate, close_rate

    def _power(self, rate: FloatArray) -> FloatArray:
        return np.where(self._is_inverse[self._foreign], 1.0 / rate, rate)

    def state(self) -> State:
        """Return the last rates, their ages, and the rates of the last prices."""
        return {
            "last_rate": self._last_rate.copy(),
            "rate_age_min": self._rate_age_min.copy(),
            "priced_rate": self._priced_rate.copy(),
        }

    def restore(self, state: State) -> None:
        """Continue from ``state``."""
        self._last_rate[:] = state["last_rate"]
        self._rate_age_min[:] = state["rate_age_min"]
        self._priced_rate[:] = state["priced_rate"]


def _rate(instrument: Instrument, symbols: tuple[str, ...]) -> tuple[int, bool]:
    """Return the symbol that quotes an instrument's currency, and whether it has to be inverted."""
    currency = instrument.currency
    for name, is_inverse in ((currency + ACCOUNT_CURRENCY, False), (ACCOUNT_CURRENCY + currency, True)):
        if name in symbols:
            return symbols.index(name), is_inverse
    raise ConfigError(
        "C070",
        f"the universe has no exchange rate of {currency}",
        f"instruments.{instrument.symbol}.currency",
        f'Add "{currency}{ACCOUNT_CURRENCY}" (USD for one {currency}) or "{ACCOUNT_CURRENCY}{currency}" to '
        "[universe] symbols, with bars like any other.",
    )
