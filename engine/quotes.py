"""From quotes to USD: contract multipliers and currencies, applied once, in front of the trading desk.

Strategies see quotes, as the exchange prints them. Book, execution and risk see USD for one unit held:
quote times multiplier times exchange rate. So a position of a future is a number of contracts, its price is
what one contract stands for, and nothing behind this file knows that there are futures.
"""

from __future__ import annotations

import msgspec
import numpy as np

from engine.errors import ConfigError
from engine.events import CLOSE, OPEN, VOLUME, BarSlice, FloatArray, IntArray
from engine.layout import ACCOUNT_CURRENCY, Instrument, Layout
from engine.ports import State
from engine.sessions import bar_length_min


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
        C070 if the universe lacks the rate of a currency, C071 for a future quoted in another than USD.
    """

    def __init__(self, layout: Layout, age_max_min: float, bar_min: int = 1) -> None:
        n = len(layout.symbols)
        self._multiplier: FloatArray = np.array([i.multiplier for i in layout.instruments] or [1.0] * n)
        self._rate_of: IntArray = np.full(n, -1)
        self._is_inverse = np.zeros(n, dtype=np.bool_)
        for k, instrument in enumerate(layout.instruments):
            if instrument.currency != ACCOUNT_CURRENCY:
                if not instrument.is_funded:
                    raise _foreign_future(instrument)
                self._rate_of[k], self._is_inverse[k] = _rate(instrument.currency, layout.symbols)
        self._foreign = np.flatnonzero(self._rate_of >= 0)
        self._last_rate: FloatArray = np.full(n, np.nan)
        self._rate_age_min: FloatArray = np.zeros(n)
        self._age_max_min = age_max_min
        self._bar_min = bar_min
        self._is_plain = not len(self._foreign) and bool((self._multiplier == 1.0).all())

    @property
    def stale(self) -> tuple[int, ...]:
        """Symbols whose rate was too old in the last slice."""
        return tuple(np.flatnonzero(self._rate_age_min > self._age_max_min).tolist())

    def to_usd(self, slice_: BarSlice) -> BarSlice:
        """Return the slice with prices in USD for one unit held; volumes stay in units.

        A symbol whose rate is suspect is so itself: its price in USD is no surer.
        """
        if self._is_plain:
            return slice_
        bars = slice_.bars.copy()
        bars[:VOLUME] *= self._multiplier
        if len(self._foreign):
            open_rate, close_rate = self._rates(slice_)
            bars[OPEN, self._foreign] *= open_rate
            bars[OPEN + 1 : VOLUME, self._foreign] *= close_rate
        suspect = slice_.suspect
        if suspect:
            quoted_in = np.flatnonzero(np.isin(self._rate_of, suspect)).tolist()
            suspect = tuple(sorted({*suspect, *quoted_in}))
        return msgspec.structs.replace(slice_, bars=bars, suspect=suspect)

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
        """Return the last rates and their ages."""
        return {"last_rate": self._last_rate.copy(), "rate_age_min": self._rate_age_min.copy()}

    def restore(self, state: State) -> None:
        """Continue from ``state``."""
        self._last_rate[:] = state["last_rate"]
        self._rate_age_min[:] = state["rate_age_min"]


def _foreign_future(instrument: Instrument) -> ConfigError:
    return ConfigError(
        "C071",
        f"the future {instrument.symbol} is quoted in {instrument.currency}",
        f"instruments.{instrument.symbol}",
        f"Only the gains of a future change currency, not what it stands for: as a holding it would show P&L "
        f"and risk of the exchange rate that nobody has. Trade a future quoted in {ACCOUNT_CURRENCY}.",
    )


def _rate(currency: str, symbols: tuple[str, ...]) -> tuple[int, bool]:
    """Return the symbol that quotes a currency, and whether it has to be inverted."""
    for name, is_inverse in ((currency + ACCOUNT_CURRENCY, False), (ACCOUNT_CURRENCY + currency, True)):
        if name in symbols:
            return symbols.index(name), is_inverse
    raise ConfigError(
        "C070",
        f"the universe has no exchange rate of {currency}",
        "instruments",
        f'Add "{currency}{ACCOUNT_CURRENCY}" (USD for one {currency}) or "{ACCOUNT_CURRENCY}{currency}" to '
        "[universe] symbols, with bars like any other.",
    )
