"""Quotes to USD: multipliers and exchange rates, hand-computed."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from engine.errors import ConfigError
from engine.events import CLOSE, HIGH, OPEN, VOLUME, BarSlice
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


def test_a_future_in_another_currency_is_refused() -> None:
    """10 FESX at 5,000 with EURUSD from 1.10 to 1.05 gain nothing; as a holding they would lose $2,500."""
    future = Instrument("FESX", multiplier=10.0, currency="EUR", is_funded=False)
    with pytest.raises(ConfigError, match="FESX is quoted in EUR") as caught:
        quotes_of(future, Instrument("EURUSD"))
    assert caught.value.code == "C071"


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
