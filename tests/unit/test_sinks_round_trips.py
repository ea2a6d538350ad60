"""Round trips of spreads: entry to flat, after costs and funding, whatever lies between."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.book import Book
from engine.carry import Funding
from engine.events import Side, TradingState
from engine.execution import Costs, fill
from engine.sinks.round_trips import RoundTrips, Trade
from tests.support.core import OpenGate, approved, book_of, layout_of, market_of, slice_of

#: 2 bp of what is traded, nothing for size.
COSTS = Costs(half_spread_bps=2.0, fee_bps=0.0, impact_bps=0.0)
DAY = 17_581


def bar(
    book: Book, trips: RoundTrips, legs: list[float] | None, price: list[float], minute: int, day: int = DAY
) -> list[Trade]:
    """Fill at the price, mark at it, look."""
    slice_ = slice_of(price, minute=minute, session=day)
    if legs is not None:
        gate, market = OpenGate(), market_of(len(price))
        fill(approved(legs), True, slice_, book, gate, market, TradingState.ACTIVE, COSTS)
    book.mark(slice_)
    return trips.look(book)


def test_a_trip_has_earned_what_both_legs_did_less_costs() -> None:
    """Long 100 at 50, short 100 at 40; out at 53 and 41: 300 - 100 - 2 bp of 9,000 and 9,400 = 196.32."""
    layout = layout_of("A/B")
    book, trips = book_of(layout), RoundTrips(layout)
    assert bar(book, trips, None, [50.0, 40.0], 1) == []
    assert bar(book, trips, [100.0, -100.0], [50.0, 40.0], 2) == []
    assert bar(book, trips, None, [60.0, 40.0], 3) == []
    [trade] = bar(book, trips, [0.0, 0.0], [53.0, 41.0], 7)
    assert (trade.sleeve, trade.side, trade.gross_usd) == (0, Side.LONG, 9_000.0)
    assert trade.costs_usd == pytest.approx(1.80 + 1.88)
    assert trade.pnl_usd == pytest.approx(300.0 - 100.0 - 3.68)
    assert trade.ts_ns - trade.ts_entry_ns == 5 * 60_000_000_000


def test_a_second_trip_begins_where_the_first_ended() -> None:
    """Otherwise every trade would carry the profit of all before it."""
    layout = layout_of("A/B")
    book, trips = book_of(layout), RoundTrips(layout)
    bar(book, trips, [-10.0, 10.0], [50.0, 40.0], 1)
    [first] = bar(book, trips, [0.0, 0.0], [45.0, 40.0], 2)
    assert (first.side, first.pnl_usd) == (Side.SHORT, pytest.approx(50.0 - 0.0002 * (900.0 + 850.0)))
    bar(book, trips, [10.0, -10.0], [45.0, 40.0], 3)
    [second] = bar(book, trips, [0.0, 0.0], [44.0, 40.0], 4)
    assert second.pnl_usd == pytest.approx(-10.0 - 0.0002 * (850.0 + 840.0))


def test_growing_and_trimming_stay_one_trip_of_the_largest_gross() -> None:
    """A rebalance in between is no trade: its return is of the most that was at stake."""
    layout = layout_of("A/B")
    book, trips = book_of(layout), RoundTrips(layout)
    bar(book, trips, [10.0, -10.0], [50.0, 40.0], 1)
    assert bar(book, trips, [30.0, -30.0], [50.0, 40.0], 2) == []
    assert bar(book, trips, [5.0, -5.0], [50.0, 40.0], 3) == []
    assert bar(book, trips, [0.0, -5.0], [50.0, 40.0], 4) == []  # the other leg still stands
    [trade] = bar(book, trips, [0.0, 0.0], [50.0, 40.0], 5)
    assert (trade.gross_usd, trade.side) == (2_700.0, Side.LONG)


def test_a_turn_from_side_to_side_ends_one_trip_and_begins_another() -> None:
    """The first has the cost of the turn; the second what came after the close of that bar."""
    layout = layout_of("A/B")
    book, trips = book_of(layout), RoundTrips(layout)
    bar(book, trips, [10.0, -10.0], [50.0, 40.0], 1)
    [first] = bar(book, trips, [-10.0, 10.0], [52.0, 40.0], 2)
    assert first.pnl_usd == pytest.approx(20.0 - 0.0002 * (900.0 + 1_840.0))
    [second] = bar(book, trips, [0.0, 0.0], [51.0, 40.0], 3)
    assert (second.side, second.pnl_usd) == (Side.SHORT, pytest.approx(10.0 - 0.0002 * 910.0))


def test_the_night_before_the_exit_is_part_of_the_trip() -> None:
    """Funding of the last night is booked with the bar that trades the exit: -100 x 50 x 3.6%/360 = -0.50."""
    layout = layout_of("A")
    book, trips = book_of(layout, funding=Funding(0.036, 0, 0, 0)), RoundTrips(layout)
    bar(book, trips, [100.0, 0.0], [50.0], 1)
    [trade] = bar(book, trips, [0.0, 0.0], [50.0], 1, day=DAY + 1)
    assert trade.pnl_usd == pytest.approx(-0.50 - 0.0002 * 10_000.0)


def test_opening_positions_are_no_trips() -> None:
    """Nobody knows what was paid for them."""
    layout = layout_of("A/B", singles=("C",))
    book, trips = book_of(layout, opening=[0.0, 0.0, 7.0]), RoundTrips(layout)
    bar(book, trips, None, [50.0, 40.0, 10.0], 1)
    assert bar(book, trips, [0.0, 0.0, 0.0], [50.0, 40.0, 11.0], 2) == []


def test_mean_gross_counts_flat_bars() -> None:
    """900 of gross for two bars of a session of four is 450 on average; the next session starts anew."""
    layout = layout_of("A/B")
    book, trips = book_of(layout), RoundTrips(layout)
    bar(book, trips, None, [50.0, 40.0], 1)
    bar(book, trips, [10.0, -10.0], [50.0, 40.0], 2)
    bar(book, trips, None, [50.0, 40.0], 3)
    bar(book, trips, [0.0, 0.0], [50.0, 40.0], 4)
    assert trips.end_session(book.sleeves()).tolist() == [450.0]
    assert trips.end_session(book.sleeves()).tolist() == [0.0]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_trips_add_up_to_what_sleeves_earned(seed: int) -> None:
    """Once all is flat, every dollar of a sleeve belongs to exactly one of its trips."""
    rng = np.random.default_rng(seed)
    layout = layout_of("A/B", "B/C", "A")
    book, trips = book_of(layout, funding=Funding(0.036, 50, 25, 40)), RoundTrips(layout)
    price, day, trades = rng.uniform(20.0, 200.0, 3), DAY, []
    for minute in range(1, 14):
        price *= np.exp(0.01 * rng.standard_normal(3))
        size = rng.integers(-2, 3, 3).astype(float) if minute < 13 else np.zeros(3)
        legs = np.column_stack((size, -0.7 * size)).ravel()
        legs[5] = 0.0
        trades += bar(book, trips, (100.0 * legs).tolist(), price.tolist(), minute, day)
        day += int(rng.choice([0, 0, 1]))
    for sleeve, (pnl, costs) in enumerate(zip(book.sleeves().pnl_usd, book.sleeves().costs_usd, strict=True)):
        own = [trade for trade in trades if trade.sleeve == sleeve]
        assert sum(trade.pnl_usd for trade in own) == pytest.approx(pnl, abs=1e-6)
        assert sum(trade.costs_usd for trade in own) == pytest.approx(costs, abs=1e-9)
        assert all(trade.gross_usd > 0.0 for trade in own)
