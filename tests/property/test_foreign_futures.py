"""What a book of futures in other currencies earns, over any path of quotes, rates and trades."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.book import Book
from engine.carry import Funding
from engine.events import CLOSE, OPEN, FloatArray, TradingState
from engine.execution import Costs, fill
from engine.layout import Instrument
from engine.quotes import Quotes
from tests.support.core import OpenGate, approved, layout_of, market_of, slice_of

#: A future and a fund in euros, a future in yen, one in dollars, a share; the rates, one of them inverse.
INSTRUMENTS = (
    Instrument("FESX", multiplier=10.0, currency="EUR", is_funded=False),
    Instrument("EXW1", currency="EUR"),
    Instrument("NK", multiplier=1_000.0, currency="JPY", is_funded=False),
    Instrument("ES", multiplier=50.0, is_funded=False),
    Instrument("KO"),
    Instrument("EURUSD", currency="USD"),
    Instrument("USDJPY", currency="USD"),
)
PLAIN = layout_of("EXW1/FESX", "NK", "KO/ES", "FESX", singles=("FESX", "NK", "EURUSD", "USDJPY"))
LAYOUT = type(PLAIN)(
    PLAIN.symbols,
    PLAIN.spreads,
    PLAIN.leg_symbol,
    PLAIN.leg_sleeve,
    PLAIN.n_sleeves,
    tuple(sorted(INSTRUMENTS, key=lambda what: PLAIN.symbols.index(what.symbol))),
)
N_LEGS, N_SYMBOLS = len(LAYOUT.leg_symbol), len(LAYOUT.symbols)
MULTIPLIER = np.array([what.multiplier for what in LAYOUT.instruments])
IS_FUTURE = [not what.is_funded for what in LAYOUT.instruments]
EUR, JPY = LAYOUT.symbols.index("EURUSD"), LAYOUT.symbols.index("USDJPY")


def rates_of(quotes: FloatArray) -> FloatArray:
    """USD for one unit of each symbol's currency, by hand."""
    known = {"USD": 1.0, "EUR": quotes[EUR], "JPY": 1.0 / quotes[JPY]}
    return np.array([known[what.currency] for what in LAYOUT.instruments])


class Oracle:
    """The P&L of a book as a person would add it up, symbol by symbol, with the last rate that was seen."""

    def __init__(self) -> None:
        self.quote = np.full(N_SYMBOLS, np.nan)  # of the last bar
        self.rate = np.full(N_SYMBOLS, np.nan)  # of the last rate
        self.quoted_at = np.full(N_SYMBOLS, np.nan)  # rate of the last bar
        self.pnl_usd = 0.0

    def take(self, bars: FloatArray, held: FloatArray, now: FloatArray) -> None:
        """Earn one bar: of ``held`` since the last one, of what was traded since the open."""
        at_open, at_close = rates_of(bars[OPEN]), rates_of(bars[CLOSE])
        at_open = np.where(np.isnan(at_open), self.rate, at_open)
        at_close = np.where(np.isnan(at_close), self.rate, at_close)
        for i in np.flatnonzero(~np.isnan(bars[CLOSE] * at_close)).tolist():
            opened, closed, m = bars[OPEN, i], bars[CLOSE, i], MULTIPLIER[i]
            step = now[i] - held[i]
            if IS_FUTURE[i]:  # quantity x multiplier x change of the quote x rate
                earned = step * (closed - opened) * at_close[i]
                if not np.isnan(self.quote[i]):
                    earned += held[i] * (closed - self.quote[i]) * at_close[i]
            else:  # what it is worth now less what it was worth
                earned = step * (closed * at_close[i] - opened * at_open[i])
                if not np.isnan(self.quote[i]):
                    earned += held[i] * (closed * at_close[i] - self.quote[i] * self.quoted_at[i])
            self.pnl_usd += m * earned
            self.quote[i], self.quoted_at[i] = closed, at_close[i]
        self.rate = at_close


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_equity_moves_by_quantity_multiplier_change_and_rate(seed: int) -> None:
    """Whatever is traded, missing or restarted: and the sleeves add up to it, attributed to the last cent."""
    rng = np.random.default_rng(seed)
    opening = np.zeros(N_LEGS)
    opening[8:] = rng.integers(-5, 5, 4)
    book = Book(LAYOUT, 1_000_000.0, opening, Funding(0, 0, 0, 0), 100.0)
    quotes, oracle = Quotes(LAYOUT, 100.0), Oracle()
    price = rng.uniform(20.0, 200.0, N_SYMBOLS)
    price[[EUR, JPY]] = 1.1, 110.0
    for minute in range(1, 16):
        open_ = price * np.exp(0.02 * rng.standard_normal(N_SYMBOLS))
        price = open_ * np.exp(0.02 * rng.standard_normal(N_SYMBOLS))
        is_absent = rng.random(N_SYMBOLS) < (0.3 if minute > 1 else 0.0)
        quoted = slice_of(
            np.where(is_absent, np.nan, price), minute, open_=np.where(is_absent, np.nan, open_)
        )
        usd = quotes.to_usd(quoted)
        held = LAYOUT.net(book.leg_quantity)
        if minute > 1 and rng.random() < 0.6:
            target = np.where(rng.random(N_LEGS) < 0.5, rng.integers(-9, 9, N_LEGS), book.leg_quantity)
            free = Costs(0.0, 0.0, 0.0, 1.0)
            gate, market = OpenGate(), market_of(N_SYMBOLS)
            fill(approved(target), True, usd, book, gate, market, TradingState.ACTIVE, free)
        oracle.take(quoted.bars, held, LAYOUT.net(book.leg_quantity))
        book.mark(usd, quotes.rate_move_frac)
        assert book.equity_usd - 1_000_000.0 == pytest.approx(oracle.pnl_usd, abs=1e-6)
        assert sum(book.sleeves().pnl_usd) == pytest.approx(oracle.pnl_usd, abs=1e-6)
        if rng.random() < 0.2:  # a restart goes on from the state alone, bit for bit
            again = Book(LAYOUT, 1_000_000.0, opening, Funding(0, 0, 0, 0), 100.0)
            again.restore(book.state())
            later = Quotes(LAYOUT, 100.0)
            later.restore(quotes.state())
            assert again.sleeves() == book.sleeves()
            book, quotes = again, later
