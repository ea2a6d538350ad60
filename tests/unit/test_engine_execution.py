"""Fills: next open, costs beside the price, one fraction a basket, nothing without both opens."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import legs
from engine.events import MINUTE_NS, Filled, TargetRefused, TradingState
from engine.execution import Costs, fill, fillable, opening_prices, settle
from engine.ports import Instrument
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
    """With lots of 10, orders of 27 and 15 shares trade 20 and 10, and nothing was refused."""
    book = book_of(layout_of("A/B", lot=10.0))
    book.mark(slice_of([10.0, 20.0]))
    events = run_fill(book, [27.0, -15.0], slice_of([10.0, 20.0], minute=2), Costs(0, 0, 0, 1.0))
    assert book.leg_quantity.tolist() == [20.0, -10.0]
    assert reasons(events) == []


def test_lot_that_would_lose_a_leg_trades_neither() -> None:
    """A hedge of nine shares is none in lots of ten; the other leg alone would be a bet."""
    book = book_of(layout_of("A/B", lot=10.0))
    book.mark(slice_of([10.0, 20.0]))
    events = run_fill(book, [27.0, -9.0], slice_of([10.0, 20.0], minute=2), Costs(0, 0, 0, 1.0))
    assert book.is_flat
    assert reasons(events) == ["lot"]


def lots_of(layout, *lots):
    """Return the layout with a lot for each symbol."""
    named = zip(layout.symbols, lots, strict=True)
    return msgspec.structs.replace(
        layout, instruments=tuple(Instrument(name, lot=lot) for name, lot in named)
    )


def reasons(events):
    """Return why what lapsed did."""
    return [event.reason for event in events if isinstance(event, TargetRefused)]


FUND, FUTURE = 600.0, 300_000.0
#: A fund in single shares and in fractions of one, against contracts that hedge 500 of them.
ROUGH, SMOOTH = lots_of(layout_of("F/C"), 1.0, 1.0), lots_of(layout_of("F/C"), 0.0, 1.0)


@pytest.mark.parametrize("layout", [ROUGH, SMOOTH])
@pytest.mark.parametrize("by_sleeve", [True, False])
def test_the_finer_leg_follows_the_coarser(layout, by_sleeve) -> None:
    """760 shares are hedged by 1.52 contracts; with one contract 260 of them, 156,000 USD, would be a bet."""
    book = book_of(layout)
    book.mark(slice_of([FUND, FUTURE]))
    events = run_fill(book, [760.0, -1.52], slice_of([FUND, FUTURE], minute=2), by_sleeve=by_sleeve)
    assert book.leg_quantity.tolist() == pytest.approx([500.0, -1.0], rel=1e-12)
    assert reasons(events) == []


@pytest.mark.parametrize("target", [[400.0, -0.8], [-400.0, 0.8]])
@pytest.mark.parametrize("by_sleeve", [True, False])
def test_no_basis_without_its_contract(target, by_sleeve) -> None:
    """The fund alone would be the whole risk of the index; that it was not bought is said."""
    book = book_of(ROUGH)
    book.mark(slice_of([FUND, FUTURE]))
    events = run_fill(book, target, slice_of([FUND, FUTURE], minute=2), by_sleeve=by_sleeve)
    assert book.is_flat
    assert reasons(events) == ["lot"]


@pytest.mark.parametrize("by_sleeve", [True, False])
def test_participation_that_leaves_less_than_a_contract_trades_neither(by_sleeve) -> None:
    """Room for 9 of 20 contracts' tenth: 0.9 of two contracts is none, and both reasons are given."""
    book = book_of(ROUGH)
    book.mark(slice_of([FUND, FUTURE]))
    thin = slice_of([FUND, FUTURE], minute=2, volume=[1e6, 9.0])
    events = run_fill(book, [1_000.0, -2.0], thin, by_sleeve=by_sleeve)
    assert book.is_flat
    assert reasons(events) == ["participation", "lot"]
    wide = slice_of([FUND, FUTURE], minute=3, volume=[1e6, 15.0])
    events = run_fill(book, [1_000.0, -2.0], wide, by_sleeve=by_sleeve)
    assert book.leg_quantity.tolist() == [500.0, -1.0]
    assert reasons(events) == ["participation"]


def test_what_the_gate_cuts_below_a_contract_is_said() -> None:
    """Granted at the close, halved at the open: half a contract is none, and silence would hide it."""
    book = book_of(ROUGH)
    book.mark(slice_of([FUND, FUTURE]))
    events = run_fill(book, [500.0, -1.0], slice_of([FUND, FUTURE], minute=2), gate=OpenGate(scale=0.5))
    assert book.is_flat
    assert reasons(events) == ["lot"]


def test_a_hedge_that_moves_by_less_than_a_contract_waits() -> None:
    """100 shares more need 0.2 contracts more; what the hedge does not need may trade alone."""
    book = book_of(ROUGH, opening=[500.0, -1.0])
    book.mark(slice_of([FUND, FUTURE]))
    assert reasons(run_fill(book, [600.0, -1.2], slice_of([FUND, FUTURE], minute=2))) == ["lot"]
    assert book.leg_quantity.tolist() == [500.0, -1.0]
    run_fill(book, [480.0, -1.0], slice_of([FUND, FUTURE], minute=3))
    assert book.leg_quantity.tolist() == [480.0, -1.0]


@pytest.mark.parametrize("by_sleeve", [True, False])
@pytest.mark.parametrize("opening", [[760.5, -1.52], [0.4, 0.0], [760.5, -0.7]])
def test_what_is_no_whole_lot_can_be_left(opening, by_sleeve) -> None:
    """An opening book may hold odd lots; rounding the exit would keep half a contract for ever."""
    book = book_of(ROUGH, opening=opening)
    book.mark(slice_of([FUND, FUTURE]))
    events = run_fill(book, [0.0, 0.0], slice_of([FUND, FUTURE], minute=2), by_sleeve=by_sleeve)
    assert book.is_flat
    assert reasons(events) == []


def test_an_exit_that_volume_cuts_ends_when_there_is_volume() -> None:
    """Two contracts leave one by one, with the shares that they hedge, and no step is one-legged."""
    book = book_of(ROUGH, opening=[1_000.0, -2.0])
    book.mark(slice_of([FUND, FUTURE]))
    seen = []
    for minute, volume in enumerate([9.0, 15.0, 9.0, 10.0], start=2):
        slice_ = slice_of([FUND, FUTURE], minute=minute, volume=[1e6, volume])
        run_fill(book, [0.0, 0.0], slice_, by_sleeve=True)
        seen.append(book.leg_quantity.tolist())
    assert seen == [[1_000.0, -2.0], [500.0, -1.0], [500.0, -1.0], [0.0, 0.0]]


def test_what_a_lot_takes_away_was_not_counted_on_to_net() -> None:
    """B/A buys 60 B, C/B sells 50 for half a lot of C: without them 60 would exceed the room of 20."""
    book = book_of(lots_of(layout_of("B/A", "C/B"), 1.0, 1.0, 100.0))
    book.mark(slice_of([10.0, 10.0, 10.0]))
    slice_ = slice_of([10.0] * 3, minute=2, volume=[200.0, 1e6, 1e6])
    events = run_fill(book, [60.0, -60.0, 50.0, -50.0], slice_, Costs(0, 0, 0, 0.1))
    assert book.leg_quantity.tolist() == [20.0, -20.0, 0.0, 0.0]
    assert reasons(events) == ["participation", "lot"]


@given(
    steps=st.tuples(st.floats(0.01, 50.0), st.floats(0.01, 50.0)),
    lots=st.tuples(st.sampled_from([0.0, 0.1, 1.0, 7.0]), st.sampled_from([0.1, 1.0, 3.0])),
)
@settings(max_examples=200, deadline=None)
def test_the_residual_of_a_rounded_hedge(steps, lots) -> None:
    """Both legs or none, neither beyond what was wanted, and off by half a lot, or one of the finer leg."""
    book = book_of(lots_of(layout_of("Y/X"), *lots))
    book.mark(slice_of([10.0, 10.0]))
    run_fill(book, [steps[0], -steps[1]], slice_of([10.0, 10.0], minute=2, volume=1e9))
    done, wanted = np.abs(book.leg_quantity), np.array(steps)
    assert (done > 0.0).all() or not done.any()
    assert (done <= wanted * (1.0 + 1e-9)).all()
    hedged = wanted[1] / wanted[0]  # units of x for one of y
    finer, coarser = sorted((lots[0] * hedged, lots[1]))
    assert abs(done[1] - hedged * done[0]) <= min(finer, 0.5 * coarser) * (1.0 + 1e-9) + 1e-8


def test_one_minute_of_fills_is_the_same_uncompiled() -> None:
    """The kernels and their Python twins agree to the last bit, lots, netting and thin volume included."""
    layout = lots_of(layout_of("A/B", "C/B", "A/C"), 1.0, 0.0, 10.0)
    rng = np.random.default_rng(5)
    for _ in range(50):
        held, target = rng.normal(0, 50, (2, 6)).round(1)
        bars = np.stack([np.full(3, 10.0)] * 4 + [rng.uniform(1, 3_000, 3)])
        at = layout.leg_symbol, layout.leg_sleeve, layout.leg_basket, 3
        given_ = (held, target, *at, bars, 0.1, layout.lot, False)
        ours, twin = np.empty((2, 6))
        assert fillable(*given_, ours) == fillable.py_func(*given_, twin)
        assert ours.tolist() == twin.tolist()
        priced = (held, ours, layout.leg_symbol, bars, 1.2, 10.0)
        trades, twins = np.zeros((2, 3, 4))
        assert settle(*priced, trades) == settle.py_func(*priced, twins)
        assert trades.tolist() == twins.tolist()


def test_what_does_not_open_is_priced_as_it_was() -> None:
    """The second look of the gate needs a price for everything held, not only for what trades."""
    found = np.empty(3)
    for kernel in (opening_prices, opening_prices.py_func):
        kernel(np.array([10.5, NAN, NAN]), np.array([10.0, 20.0, NAN]), found)
        np.testing.assert_array_equal(found, [10.5, 20.0, NAN])


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
