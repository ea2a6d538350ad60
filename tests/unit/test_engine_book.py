"""The book conserves value: equity moves by marks, costs and funding, and by nothing else."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from engine import book as book_module
from engine.book import Book, mark
from engine.carry import Funding
from engine.ports import Instrument
from tests.support.core import T0_NS, book_of, layout_of, slice_of

NAN = float("nan")


def test_mark_moves_equity_by_quantity_times_price_change() -> None:
    """100 long of A at +1 and 50 short of B at +2 change equity by 100 - 100 = 0, then by prices alone."""
    book = book_of(layout_of("A/B"), opening=[100.0, -50.0])
    first = book.mark(slice_of([10.0, 20.0], minute=1))
    assert first.equity_usd == 1_000_000.0
    assert first.cash_usd == 1_000_000.0 - 100 * 10 + 50 * 20
    assert (first.gross_usd, first.net_usd) == (2000.0, 0.0)
    second = book.mark(slice_of([11.0, 22.5], minute=2))
    assert second.equity_usd == 1_000_000.0 + 100 * 1.0 - 50 * 2.5


def test_missing_bar_keeps_price_and_ages_until_stale() -> None:
    """A held symbol that stops trading becomes stale after the allowed session minutes, not before."""
    book = book_of(layout_of("A/B"), opening=[100.0, -50.0], price_age_max_min=2)
    book.mark(slice_of([10.0, 20.0]))
    for minute in (2, 3):
        book.mark(slice_of([10.0, NAN], minute=minute))
        assert book.price_reason == ""
    book.mark(slice_of([10.0, NAN], minute=4))
    assert book.price_reason == "PRICE_STALE"
    assert book.holdings_usd[1] == -1000.0
    book.mark(slice_of([10.0, 20.0], minute=5))
    assert book.price_reason == ""


def test_prices_are_fresh_when_every_held_symbol_has_a_bar() -> None:
    """Calm measures count on fresh prices alone; what is not held need not trade."""
    book = book_of(layout_of("A/B"), opening=[100.0, 0.0])
    said = []
    for minute, closes in enumerate([[10.0, NAN], [NAN, 20.0], [NAN, NAN], [10.0, 20.0]], start=1):
        book.mark(slice_of(closes, minute=minute))
        said.append(book.is_fresh)
    assert said == [True, False, False, True]
    flat = book_of(layout_of("A/B"))
    flat.mark(slice_of([NAN, NAN]))
    assert flat.is_fresh


def test_price_of_unheld_symbol_cannot_poison_the_book() -> None:
    """0 * NaN is NaN: a symbol that is not held must not enter any sum."""
    book = book_of(layout_of("A/B"), opening=[100.0, 0.0])
    marked = book.mark(slice_of([10.0, NAN]))
    assert marked.gross_usd == 1000.0
    assert book.price_reason == ""


def test_held_symbol_without_any_price_is_not_finite() -> None:
    """An opening position that never traded cannot be measured."""
    book = book_of(layout_of("A/B"), opening=[0.0, 5.0])
    book.mark(slice_of([10.0, NAN]))
    assert book.price_reason == "PRICE_NOT_FINITE"
    book.mark(slice_of([10.0, 20.0], minute=2))
    assert book.price_reason == ""
    assert book.equity_usd == 1_000_000.0


@pytest.mark.parametrize(
    ("holding_usd", "daily_usd"),
    [
        (415_522.0, -47.2656),
        (416_000.0, -47.32),
        (-381_868.0, 31.2389),
        (-457_070.0, 37.3909),
        (-180_745.0, 14.7859),
    ],
)
def test_funding_of_a_day_matches_worked_examples(holding_usd: float, daily_usd: float) -> None:
    """Longs pay 3.595% + 50 bp, shorts receive 3.595% - 25 bp - 40 bp, actual/360."""
    assert Funding(0.03595, 50, 25, 40).daily_usd(holding_usd, Instrument("A")) == pytest.approx(
        daily_usd, abs=1e-4
    )


def test_funding_accrues_over_calendar_days_at_the_next_session() -> None:
    """Friday's close to Monday is three days of funding, on Friday's closing notional."""
    book = book_of(layout_of("A/B"), opening=[100.0, -50.0], funding=Funding(0.036, 0, 0, 0))
    book.mark(slice_of([10.0, 20.0], session=100))
    book.mark(slice_of([12.0, 20.0], session=100, minute=2))
    marked = book.mark(slice_of([13.0, 20.0], session=103))
    # 1200 long pays, 1000 short receives, 3.6%/360 = 1e-4 a day, 3 days.
    assert marked.funding_usd == pytest.approx(-(1200 - 1000) * 1e-4 * 3, rel=1e-12)
    assert marked.equity_usd == pytest.approx(1_000_000 + 100 * 3.0 + marked.funding_usd, rel=1e-15)


def test_a_future_is_not_financed() -> None:
    """Its carry is in its price; financing it as well would count it twice."""
    plain = layout_of("A/B")
    future = (Instrument("A", multiplier=50.0, is_funded=False), Instrument("B"))
    layout = msgspec.structs.replace(plain, instruments=future)
    book = book_of(layout, opening=[100.0, 0.0], funding=Funding(0.036, 0, 0, 0))
    book.mark(slice_of([10.0, 20.0], session=100))
    assert book.mark(slice_of([10.0, 20.0], session=101)).funding_usd == 0.0


def test_income_and_fees_are_those_of_each_name() -> None:
    """A borrow at 20% and a coupon of 7.3% must not be spread over names that have neither.

    A: 1,000 long pays 3.6%/360 = 10 c a day and receives 7.3%/365 = 20 c. B: 1,000 short receives
    (3.6% - 0.4%)/360 = 8.89 c. C: 1,000 short receives (3.6% - 20%)/360 = -45.56 c and pays 3.65%/365 = 10 c.
    D, a future, has neither, whatever it is said to have.
    """
    instruments = (
        Instrument("A", income_frac=0.073),
        Instrument("B"),
        Instrument("C", borrow_bps=2_000.0, income_frac=0.0365),
        Instrument("D", is_funded=False, borrow_bps=2_000.0, income_frac=0.05),
    )
    layout = msgspec.structs.replace(layout_of("A/B", "C/D"), instruments=instruments)
    book = book_of(layout, opening=[100.0, -50.0, -20.0, 10.0], funding=Funding(0.036, 0, 0, 40))
    book.mark(slice_of([10.0, 20.0, 50.0, 30.0], session=100))
    marked = book.mark(slice_of([10.0, 20.0, 50.0, 30.0], session=103))
    a_day = np.array([0.20 - 0.10, 32.0 / 360.0, -164.0 / 360.0 - 0.10, 0.0])
    assert marked.funding_usd == pytest.approx(3 * a_day.sum(), rel=1e-12)
    assert marked.equity_usd == pytest.approx(1_000_000.0 + marked.funding_usd, rel=1e-15)
    assert book.sleeves().pnl_usd == pytest.approx((3 * a_day[:2].sum(), 3 * a_day[2:].sum()))


def test_a_bar_ages_a_price_by_its_length() -> None:
    """One missing daily bar is a session without a price, not a minute."""
    book = Book(layout_of("A/B"), 1e6, np.array([1.0, 0.0]), Funding(0, 0, 0, 0), 390, bar_min=1_440)
    book.mark(slice_of([10.0, 20.0], minute=390))
    assert book.opening_ns(slice_of([10.0, 20.0], minute=390)) == T0_NS
    book.mark(slice_of([NAN, 20.0], minute=390, session=17_582))
    assert book.price_reason == ""
    book.mark(slice_of([NAN, 20.0], minute=210, session=17_583))
    assert book.price_reason == "PRICE_STALE"


def test_mark_kernel_equals_its_python_twin() -> None:
    """Compiled and interpreted code give the same bits."""
    rng = np.random.default_rng(5)
    for _ in range(50):
        bars = rng.uniform(1, 100, (5, 7))
        bars[:, rng.random(7) < 0.3] = np.nan
        marks = rng.uniform(1, 100, (5, 7))
        marks[book_module.QUANTITY] = rng.choice([0.0, 5.0, -3.0], 7)
        marks[book_module.PRICE, rng.random(7) < 0.3] = np.nan
        twin = marks.copy()
        assert mark(bars, marks, 1.0, 50.0) == mark.py_func(bars, twin, 1.0, 50.0)
        np.testing.assert_array_equal(marks, twin)


def test_state_round_trips_to_the_same_book() -> None:
    """A restored book marks the next slice to the same bits."""
    book = book_of(layout_of("A/B"), opening=[100.0, -50.0], funding=Funding(0.036, 0, 0, 0))
    book.mark(slice_of([10.0, 20.0], session=100))
    other = book_of(layout_of("A/B"))
    other.restore(book.state())
    nxt = slice_of([10.7, 19.9], session=101)
    assert book.mark(nxt) == other.mark(nxt)


def test_funding_of_the_reconciled_book_of_six() -> None:
    """Six names, the omitted one included, cost 41.45 USD a day; at 3.60% the sum is another."""
    holdings = np.array([415_522.0, 416_000.0, 266_161.0, -381_868.0, -457_070.0, -180_745.0])
    names = [Instrument(symbol) for symbol in "ABCDEF"]
    funding = Funding(0.03595, 50, 25, 40).carry(names)
    assert funding.daily(holdings).sum() == pytest.approx(-41.446, abs=1e-3)
    assert np.abs(holdings).sum() == pytest.approx(2_117_366)
    rounded = Funding(0.0360, 50, 25, 40).carry(names)
    assert rounded.daily(holdings).sum() != pytest.approx(-41.446, abs=5e-3)
