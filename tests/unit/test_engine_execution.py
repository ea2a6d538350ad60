"""Fills: next open, costs beside the price, one fraction a basket, nothing without both opens."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import legs
from engine.events import MINUTE_NS, Filled, TargetRefused, TradingState
from engine.execution import Costs, fill
from tests.support.core import OpenGate, approved, book_of, layout_of, market_of, slice_of

NAN = float("nan")
FREE = Costs(half_spread_bps=0, fee_bps=0, impact_bps=0)


def run_fill(book, target, slice_, costs=FREE, by_sleeve=False, gate=None):
    """Fill a target in an ACTIVE engine."""
    n = len(book.layout.symbols)
    gate = gate or OpenGate()
    return fill(approved(target), by_sleeve, slice_, book, gate, market_of(n), TradingState.ACTIVE, costs)


def test_fill_is_at_the_open_and_stamped_with_the_opening_instant() -> None:
    """Decided at the close of t, filled at the open of t+1: never at a close."""
    book = book_of(layout_of("A/B"))
    book.mark(slice_of([10.0, 20.0]))
    slice_ = slice_of([11.0, 21.0], minute=2, open_=[10.5, 20.5])
    events = run_fill(book, [100.0, -50.0], slice_)
    ts_open_ns = slice_.ts_close_ns - MINUTE_NS
    assert events == [Filled(ts_open_ns, "A", 100.0, 10.5, 0.0), Filled(ts_open_ns, "B", -50.0, 20.5, 0.0)]
    assert book.cash_usd == 1_000_000 - 100 * 10.5 + 50 * 20.5


def test_costs_by_hand() -> None:
    """1 bp half spread, 0.2 bp fee, 10 bp times sqrt(100/10,000): 2.2 bp of 5,000 USD is 1.10 USD."""
    book = book_of(layout_of("A/B"))
    book.mark(slice_of([50.0, 20.0]))
    (only,) = run_fill(book, [100.0, 0.0], slice_of([50.0, 20.0], volume=10_000), Costs())
    assert only.cost_usd == pytest.approx(1.10, rel=1e-12)
    assert book.costs_usd == only.cost_usd
    assert book.cash_usd == pytest.approx(1_000_000 - 5000 - 1.10, rel=1e-15)


def test_spread_lacking_one_open_fills_neither_leg() -> None:
    """Half a hedge is a directional bet."""
    book = book_of(layout_of("A/B", "C/D"))
    book.mark(slice_of([10.0] * 4))
    slice_ = slice_of([10.0, NAN, 10.0, 10.0], minute=2)
    events = run_fill(book, [100.0, -100.0, 7.0, -7.0], slice_)
    assert [e.symbol for e in events if isinstance(e, Filled)] == ["C", "D"]
    assert [e.reason for e in events if isinstance(e, TargetRefused)] == ["no_open"]
    assert book.leg_quantity.tolist() == [0.0, 0.0, 7.0, -7.0]


def test_shared_leg_nets_and_pays_once() -> None:
    """A/B long and B/C long trade B against each other; only the difference reaches the market."""
    book = book_of(layout_of("A/B", "B/C"))
    book.mark(slice_of([10.0, 10.0, 10.0]))
    events = run_fill(book, [100.0, -80.0, 50.0, -40.0], slice_of([10.0, 10.0, 10.0], minute=2))
    assert {e.symbol: e.quantity for e in events} == {"A": 100.0, "B": -30.0, "C": -40.0}


def test_rebalance_fills_at_one_fraction_that_of_the_tightest_leg() -> None:
    """A leg with room for a quarter of its order cuts every leg to a quarter; the hedge survives."""
    book = book_of(layout_of("A/B", "C/D"))
    book.mark(slice_of([10.0] * 4))
    slice_ = slice_of([10.0] * 4, minute=2, volume=[1e6, 250.0, 1e6, 1e6])
    events = run_fill(book, [100.0, -100.0, 40.0, -40.0], slice_)
    assert book.leg_quantity.tolist() == [25.0, -25.0, 10.0, -10.0]
    assert isinstance(events[-1], TargetRefused)
    assert events[-1].reason == "participation"


def test_sleeves_of_their_own_are_cut_alone() -> None:
    """A thin spread does not hold back another one when each is a basket."""
    book = book_of(layout_of("A/B", "C/D"))
    book.mark(slice_of([10.0] * 4))
    slice_ = slice_of([10.0] * 4, minute=2, volume=[1e6, 250.0, 1e6, 1e6])
    run_fill(book, [100.0, -100.0, 40.0, -40.0], slice_, by_sleeve=True)
    assert book.leg_quantity.tolist() == [25.0, -25.0, 40.0, -40.0]


def test_bar_without_volume_fills_nothing() -> None:
    """Participation of an empty bar is zero."""
    book = book_of(layout_of("A/B"))
    book.mark(slice_of([10.0, 10.0]))
    run_fill(book, [100.0, -100.0], slice_of([10.0, 10.0], minute=2, volume=0.0), Costs())
    assert not book.leg_quantity.any()


def test_gate_is_asked_again_at_the_prices_of_the_fill() -> None:
    """Prospective VaR is tested at the open, and what it grants is what trades."""
    book = book_of(layout_of("A/B"))
    book.mark(slice_of([10.0, 20.0]))
    gate = OpenGate(scale=0.5)
    run_fill(book, [100.0, -50.0], slice_of([9.0, 9.0], minute=2, open_=[12.0, 22.0]), gate=gate)
    assert gate.asked[0].tolist() == [12.0, 22.0]
    assert book.leg_quantity.tolist() == [50.0, -25.0]


def test_refusal_at_the_fill_trades_nothing() -> None:
    """A halt between decision and fill stops the fill."""
    book = book_of(layout_of("A/B"))
    book.mark(slice_of([10.0, 20.0]))
    slice_ = slice_of([10.0, 20.0], minute=2)
    events = run_fill(book, [100.0, -50.0], slice_, gate=OpenGate(reason="halted"))
    assert events == [TargetRefused(slice_.ts_close_ns - MINUTE_NS, "halted")]
    assert not book.leg_quantity.any()


def test_lot_rounds_towards_no_trade() -> None:
    """With lots of 10, orders of 27 and 19 shares trade 20 and 10."""
    book = book_of(layout_of("A/B", lot=10.0))
    book.mark(slice_of([10.0, 20.0]))
    run_fill(book, [27.0, -19.0], slice_of([10.0, 20.0], minute=2), Costs(0, 0, 0, 1.0))
    assert book.leg_quantity.tolist() == [20.0, -10.0]


def test_lot_that_would_lose_a_leg_trades_neither() -> None:
    """A hedge of nine shares is none in lots of ten; the other leg alone would be a bet."""
    book = book_of(layout_of("A/B", lot=10.0))
    book.mark(slice_of([10.0, 20.0]))
    run_fill(book, [27.0, -9.0], slice_of([10.0, 20.0], minute=2), Costs(0, 0, 0, 1.0))
    assert book.is_flat


def test_what_nets_today_may_not_be_counted_on() -> None:
    """A/B buys 60 B while C/B sells 50: the net 10 fits, but cutting C/B for want of C would leave 60."""
    book = book_of(layout_of("B/A", "C/B"))
    book.mark(slice_of([10.0, 10.0, 10.0]))
    slice_ = slice_of([10.0, 10.0, 10.0], minute=2, volume=[200.0, 1e6, 50.0])  # room: B 20, C 5
    run_fill(book, [60.0, -60.0, 50.0, -50.0], slice_, Costs(0, 0, 0, 0.1), by_sleeve=True)
    assert abs(book.quantity[0]) <= 20.0
    assert abs(book.quantity[2]) <= 5.0


@pytest.mark.parametrize("seed", range(200))
def test_participation_holds_by_symbol_whatever_the_baskets_are(seed) -> None:
    """No fill exceeds its share of the bar, and every sleeve keeps the proportion of its legs."""
    rng = np.random.default_rng(seed)
    book = book_of(layout_of("A/B", "C/B", "A/C", "D/B"), opening=rng.normal(0, 50, 8).round())
    book.mark(slice_of([10.0] * 4))
    before, target = book.leg_quantity.copy(), rng.normal(0, 50, 8).round()
    held = book.quantity.copy()
    volume = rng.uniform(1, 3_000, 4)
    run_fill(book, target, slice_of([10.0] * 4, minute=2, volume=volume), Costs(0, 0, 0, 0.1), by_sleeve=True)
    assert (np.abs(book.quantity - held) <= 0.1 * volume * (1 + 1e-12) + 1e-9).all()
    done, wanted = book.leg_quantity - before, target - before
    share = np.divide(done, wanted, out=np.ones(8), where=wanted != 0.0).reshape(4, 2)
    both = (wanted != 0.0).reshape(4, 2).all(axis=1)
    np.testing.assert_allclose(share[both, 0], share[both, 1], atol=1e-12)


def test_complete_fill_takes_the_target_to_the_last_bit() -> None:
    """Held + (target - held) may differ from target; a full exit must leave exactly nothing."""
    layout = layout_of("A/B")
    book = book_of(layout, opening=[0.1 + 0.2, -1 / 3])
    book.mark(slice_of([10.0, 20.0]))
    run_fill(book, [0.0, 0.0], slice_of([10.0, 20.0], minute=2))
    assert book.is_flat
    assert not np.signbit(book.leg_quantity[0])


def test_an_outright_trades_its_one_symbol() -> None:
    """Its empty leg must neither block the fill nor lose it to the lot."""
    book = book_of(layout_of("A", lot=10.0))
    book.mark(slice_of([10.0]))
    events = run_fill(book, [27.0, 0.0], slice_of([10.0], minute=2), Costs(0, 0, 0, 1.0))
    assert [event.quantity for event in events if isinstance(event, Filled)] == [20.0]
    assert book.leg_quantity.tolist() == [20.0, 0.0]
    assert legs.unwanted(book.leg_quantity, np.array([0.0]), np.zeros(1, np.int64)) == 1


@pytest.mark.parametrize("lot", [0.1, 0.01, 0.001, 1.0, 500.0])
@given(sizes=st.lists(st.integers(-100_000, 100_000), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_an_exit_of_whole_lots_leaves_exactly_nothing(lot, sizes) -> None:
    """0.3 / 0.1 is not 3: rounding down would hold a lot, or its last bits, for ever."""
    book = book_of(layout_of("A", lot=lot))
    book.mark(slice_of([10.0]))
    full = Costs(0, 0, 0, 1.0)
    for minute, size in enumerate([*sizes, 0], start=2):
        run_fill(book, [size * lot, 0.0], slice_of([10.0], minute=minute, volume=1e12), full)
        assert book.leg_quantity[0] == size * lot
    assert book.is_flat


@given(wanted=st.floats(-1e4, 1e4), lot=st.sampled_from([0.1, 0.01, 0.001, 7.0]))
@settings(max_examples=100, deadline=None)
def test_a_step_is_of_whole_lots_and_never_beyond_what_was_wanted(wanted, lot) -> None:
    """Towards none: an order may not grow by its rounding."""
    book = book_of(layout_of("A", lot=lot))
    book.mark(slice_of([10.0]))
    run_fill(book, [wanted, 0.0], slice_of([10.0], minute=2, volume=1e12), Costs(0, 0, 0, 1.0))
    (held, _) = book.leg_quantity
    assert abs(held) <= abs(wanted) + 1e-9 * lot
    assert abs(wanted - held) < lot
    assert held / lot == pytest.approx(round(held / lot), abs=1e-6)
