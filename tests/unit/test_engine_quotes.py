"""Quotes to USD: multipliers and exchange rates, hand-computed."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from engine.book import Book
from engine.carry import Funding
from engine.errors import ConfigError
from engine.events import CLOSE, HIGH, OPEN, VOLUME, BarSlice, BookMarked
from engine.layout import Instrument, Layout
from engine.quotes import Quotes

NAN = float("nan")
NONE = np.zeros(0, dtype=np.int64)


def layout_of(*instruments: Instrument) -> Layout:
    """Lay out symbols without legs: only what they are matters here."""
    return Layout(tuple(i.symbol for i in instruments), (), NONE, NONE, 0, instruments)


def quotes_of(*instruments: Instrument) -> Quotes:
    """Return quotes by the minute, whose rates may be ten minutes old."""
    return Quotes(layout_of(*instruments), 10.0)


def slice_of(*bars: tuple[float, float]) -> BarSlice:
    """One minute; each symbol has an open and a close, which is also its high, and a volume of 1,000."""
    columns = np.array([[o, c, o, c, 1_000.0] for o, c in bars]).T.copy()
    return BarSlice(60_000_000_000, 0, 1, columns)


def test_a_future_is_worth_multiplier_times_quote() -> None:
    """20 contracts of an index future at 2,420 are 2.42M; at the quote they would look like 48,400."""
    quotes = quotes_of(Instrument("ES", multiplier=50.0, is_funded=False), Instrument("SPY"))
    usd = quotes.to_usd(slice_of((2_420.0, 2_400.0), (240.0, 239.0))).bars
    assert usd[OPEN].tolist() == [121_000.0, 240.0]
    assert usd[CLOSE].tolist() == [120_000.0, 239.0]
    assert usd[VOLUME].tolist() == [1_000.0, 1_000.0]


def test_plain_slices_pass_untouched() -> None:
    """Shares quoted in USD cost nothing: the very slice comes back."""
    plain = slice_of((10.0, 11.0))
    assert quotes_of(Instrument("KO")).to_usd(plain) is plain


def test_the_slice_that_came_in_is_not_changed() -> None:
    """Strategies see the same slice as quotes."""
    given = slice_of((2_420.0, 2_400.0))
    before = given.bars.copy()
    quotes_of(Instrument("ES", multiplier=50.0)).to_usd(given)
    np.testing.assert_array_equal(given.bars, before)


def test_opens_are_converted_at_the_open_and_the_rest_at_the_close() -> None:
    """A fill at the open must not know the exchange rate of the close."""
    quotes = quotes_of(Instrument("SAP", currency="EUR"), Instrument("EURUSD"))
    usd = quotes.to_usd(slice_of((100.0, 110.0), (1.10, 1.20))).bars
    assert usd[:, 0].tolist() == pytest.approx([110.0, 132.0, 120.0, 132.0, 1_000.0])
    assert usd[CLOSE, 1] == 1.20


def test_an_inverse_rate_is_inverted() -> None:
    """JPY is quoted as yen for one dollar."""
    quotes = quotes_of(Instrument("TM", currency="JPY"), Instrument("USDJPY"))
    usd = quotes.to_usd(slice_of((2_000.0, 3_000.0), (100.0, 150.0))).bars
    assert usd[OPEN, 0] == pytest.approx(20.0)
    assert usd[HIGH, 0] == pytest.approx(20.0)


def test_without_a_bar_the_last_rate_stands_and_before_the_first_there_is_no_price() -> None:
    """Unknown must not become a number; a quiet minute of the rate must not make a price unknown."""
    quotes = quotes_of(Instrument("SAP", currency="EUR"), Instrument("EURUSD"))
    assert np.isnan(quotes.to_usd(slice_of((100.0, 100.0), (NAN, NAN))).bars[CLOSE, 0])
    quotes.to_usd(slice_of((100.0, 100.0), (1.1, 1.2)))
    later = quotes_of(Instrument("SAP", currency="EUR"), Instrument("EURUSD"))
    later.restore(quotes.state())
    assert later.to_usd(slice_of((50.0, 60.0), (NAN, NAN))).bars[:2, 0].tolist() == pytest.approx(
        [60.0, 72.0]
    )


def test_a_currency_without_a_rate_is_refused() -> None:
    """Otherwise its positions would be counted as if one unit were one dollar."""
    with pytest.raises(ConfigError, match="no exchange rate of CHF"):
        quotes_of(Instrument("NESN", currency="CHF"))


def test_a_rate_too_old_is_none_until_it_comes_again() -> None:
    """A price in USD is as old as its rate: 37 minutes without EURUSD must not look like today's price."""
    quotes = quotes_of(Instrument("SAP", currency="EUR"), Instrument("EURUSD"))
    silent = slice_of((100.0, 100.0), (NAN, NAN))
    quotes.to_usd(slice_of((100.0, 100.0), (1.1, 1.2)))
    for _ in range(10):
        assert quotes.to_usd(silent).bars[CLOSE, 0] == pytest.approx(120.0)
    assert quotes.stale == ()
    later = quotes_of(Instrument("SAP", currency="EUR"), Instrument("EURUSD"))
    later.restore(quotes.state())
    assert np.isnan(later.to_usd(silent).bars[:VOLUME, 0]).all()
    assert later.stale == (0,)
    assert later.to_usd(slice_of((100.0, 100.0), (1.3, 1.4))).bars[:2, 0].tolist() == pytest.approx(
        [130, 140]
    )
    assert later.stale == ()


def test_the_age_of_a_rate_is_in_session_minutes() -> None:
    """One missing daily rate of two allowed is no reason to halt; a third one is."""
    quotes = Quotes(layout_of(Instrument("SAP", currency="EUR"), Instrument("EURUSD")), 780.0, 1440)
    day = msgspec.structs.replace(slice_of((100.0, 100.0), (1.1, 1.2)), minute=390)
    silent = msgspec.structs.replace(slice_of((100.0, 100.0), (NAN, NAN)), minute=390)
    stale = []
    for slice_ in (day, silent, silent, silent):
        quotes.to_usd(slice_)
        stale.append(quotes.stale)
    assert stale == [(), (), (), (0,)]


def test_a_suspect_rate_makes_every_symbol_quoted_in_it_suspect() -> None:
    """A position in SAP is as doubtful as EURUSD, which the book itself does not hold."""
    sap, bmw = Instrument("SAP", currency="EUR"), Instrument("BMW", currency="EUR")
    quotes = quotes_of(sap, Instrument("KO"), Instrument("EURUSD"), bmw)
    plain = slice_of((100.0, 100.0), (50.0, 50.0), (1.1, 1.1), (80.0, 80.0))
    assert quotes.to_usd(msgspec.structs.replace(plain, suspect=(2,))).suspect == (0, 2, 3)
    assert quotes.to_usd(msgspec.structs.replace(plain, suspect=(1,))).suspect == (1,)
    assert quotes.to_usd(plain).suspect == ()


FESX = Instrument("FESX", multiplier=10.0, currency="EUR", is_funded=False)
EURUSD = Instrument("EURUSD")


def futures_book(contracts: float, fund_shares: float = 0.0) -> tuple[Quotes, Book]:
    """Return quotes and the book of an opening position in a future (and a fund), both in euros."""
    symbols = (FESX, Instrument("EXW1", currency="EUR"), EURUSD)
    legs = np.array([0, 1])
    layout = Layout(tuple(i.symbol for i in symbols), (), legs, legs, 2, symbols)
    opening = np.array([contracts, fund_shares])
    return Quotes(layout, 10.0), Book(layout, 1_000_000.0, opening, Funding(0, 0, 0, 0), 10.0)


def step(quotes: Quotes, book: Book, *bars: tuple[float, float]) -> BookMarked:
    """Mark the book to one bar of quotes."""
    return book.mark(quotes.to_usd(slice_of(*bars)), quotes.rate_move_frac)


def test_a_future_in_euros_gains_its_change_at_the_rate_of_the_bar() -> None:
    """2 x 10 x (4,040 - 4,000) x 1.20 = 960; as a holding it would be 2 x 10 x (4,848 - 4,400) = 8,960."""
    quotes, book = futures_book(2.0)
    step(quotes, book, (4_000.0, 4_000.0), (40.0, 40.0), (1.10, 1.10))
    marked = step(quotes, book, (4_000.0, 4_040.0), (40.0, 40.0), (1.10, 1.20))
    assert marked.equity_usd - 1_000_000.0 == pytest.approx(960.0, abs=1e-6)
    assert marked.gross_usd == pytest.approx(2 * 10 * 4_040 * 1.20)  # what it stands for, at the rate of now
    assert book.sleeves().pnl_usd == pytest.approx((960.0, 0.0), abs=1e-6)
    assert marked.cash_usd + marked.net_usd == marked.equity_usd


def test_a_rate_that_moves_alone_moves_the_fund_and_not_the_future() -> None:
    """1,000 shares of 40 euros gain 4,000 from 1.10 to 1.20; the short future against them gains nothing."""
    quotes, book = futures_book(-1.0, 1_000.0)
    step(quotes, book, (4_000.0, 4_000.0), (40.0, 40.0), (1.10, 1.10))
    for rate in (1.20, 0.90, 1.20):
        step(quotes, book, (4_000.0, 4_000.0), (40.0, 40.0), (rate, rate))
    assert book.equity_usd - 1_000_000.0 == pytest.approx(4_000.0, abs=1e-6)
    assert book.sleeves().pnl_usd == pytest.approx((0.0, 4_000.0), abs=1e-6)


def test_bars_missing_of_the_rate_or_of_the_future_lose_no_gain() -> None:
    """The last rate stands; a future that was silent gains all it moved, at the rate of its next bar."""
    quotes, book = futures_book(1.0)
    step(quotes, book, (4_000.0, 4_000.0), (40.0, 40.0), (1.10, 1.10))
    step(quotes, book, (4_000.0, 4_010.0), (40.0, 40.0), (NAN, NAN))
    assert book.equity_usd - 1_000_000.0 == pytest.approx(10 * 10 * 1.10, abs=1e-6)
    step(quotes, book, (NAN, NAN), (40.0, 40.0), (1.30, 1.30))
    assert book.equity_usd - 1_000_000.0 == pytest.approx(110.0, abs=1e-6)
    step(quotes, book, (4_020.0, 4_030.0), (40.0, 40.0), (1.30, 1.20))
    assert book.equity_usd - 1_000_000.0 == pytest.approx(110.0 + 10 * 20 * 1.20, abs=1e-6)


def test_what_trades_at_the_open_gains_from_there() -> None:
    """Bought at 4,020 and marked at 4,040 when the rate goes from 1.10 to 1.20: 3 x 10 x 20 x 1.20 = 720."""
    quotes, book = futures_book(0.0)
    step(quotes, book, (4_000.0, 4_000.0), (40.0, 40.0), (1.10, 1.10))
    usd = quotes.to_usd(slice_of((4_020.0, 4_040.0), (40.0, 40.0), (1.10, 1.20)))
    assert usd.bars[OPEN, 0] == pytest.approx(4_020 * 10 * 1.10)  # the price of the fill
    book.trade(np.array([3.0, 0.0]), np.array([[0, 3.0, usd.bars[OPEN, 0], 0.0]]), usd.bars[OPEN])
    book.mark(usd, quotes.rate_move_frac)
    assert book.equity_usd - 1_000_000.0 == pytest.approx(720.0, abs=1e-6)
    # Sold again at 4,050, while the rate falls to 0.90 by the close: 3 x 10 x 10 x 0.90 = 270 more.
    usd = quotes.to_usd(slice_of((4_050.0, 3_000.0), (40.0, 40.0), (1.00, 0.90)))
    book.trade(np.zeros(2), np.array([[0, -3.0, usd.bars[OPEN, 0], 0.0]]), usd.bars[OPEN])
    book.mark(usd, quotes.rate_move_frac)
    assert book.equity_usd - 1_000_000.0 == pytest.approx(990.0, abs=1e-6)
    assert book.sleeves().pnl_usd == pytest.approx((990.0, 0.0), abs=1e-6)


def test_risk_sees_the_quotes_of_a_future_and_the_dollars_of_a_fund() -> None:
    """Only what is owned has the risk of the rate; without such a future the very slice comes back."""
    quotes, _ = futures_book(1.0)
    quoted = slice_of((4_000.0, 4_040.0), (40.0, 40.0), (1.10, 1.20))
    usd = quotes.to_usd(quoted)
    seen = quotes.at_constant_rates(quoted, usd).bars
    assert seen[[OPEN, CLOSE], 0].tolist() == [4_000.0, 4_040.0]
    assert seen[[OPEN, CLOSE], 1].tolist() == pytest.approx([44.0, 48.0])
    assert usd.bars[CLOSE, 0] == pytest.approx(4_040 * 12.0)
    plain = quotes_of(Instrument("SAP", currency="EUR"), EURUSD)
    quoted = slice_of((100.0, 110.0), (1.10, 1.20))
    usd = plain.to_usd(quoted)
    assert plain.at_constant_rates(quoted, usd) is usd
    assert plain.rate_move_frac is None


def test_after_its_expiry_a_future_has_no_price() -> None:
    """Bars of a dead contract must not keep a position alive: after its last day it has no price."""
    symbols = (
        Instrument("ESH6", multiplier=50.0, expiry_day=10, is_funded=False),
        Instrument("FDAX", currency="EUR", expiry_day=10, is_funded=False),
        Instrument("EURUSD"),
        Instrument("SPY"),
    )
    quotes = quotes_of(*symbols)
    given = slice_of((2_400.0, 2_420.0), (100.0, 110.0), (1.2, 1.2), (240.0, 242.0))
    last = msgspec.structs.replace(given, session=10)
    assert quotes.to_usd(last).bars[CLOSE].tolist() == pytest.approx([121_000.0, 132.0, 1.2, 242.0])
    late = msgspec.structs.replace(given, session=11)
    usd = quotes.to_usd(late)
    assert np.isnan(usd.bars[:, :2]).all()
    assert usd.bars[CLOSE, 2:].tolist() == [1.2, 242.0]
    assert np.isnan(quotes.at_constant_rates(late, usd).bars[:VOLUME, :2]).all()
