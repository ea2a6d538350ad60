"""Exits that lots and thin volume hold: they end, over several bars, and the gate judges every step."""

from __future__ import annotations

import math

import numpy as np
import pytest
from msgspec.structs import replace

from engine import sizing
from engine.events import TargetApproved, TargetRefused, TradingState
from engine.execution import Costs, fill
from engine.ports import Instrument
from risk.gate import RiskGate
from risk.var import EllipticalVar, GaussianVarOptions
from tests.support.books import covariance_of, market
from tests.support.core import T0_NS, book_of, layout_of, slice_of

ACTIVE, REDUCING, HALTED = TradingState.ACTIVE, TradingState.REDUCING, TradingState.HALTED
COSTS = Costs(0, 0, 0, participation_max_frac=0.1)
CORR = np.full((4, 4), 0.99) + 0.01 * np.eye(4)
NAN = math.nan


def lots_of(*pairs, lots):
    """Lay out pairs with a lot for each symbol."""
    layout = layout_of(*pairs)
    named = zip(layout.symbols, lots, strict=True)
    return replace(layout, instruments=tuple(Instrument(name, lot=lot) for name, lot in named))


def leave(layout, opening, prices, volume, state, *, known=True, budget_usd=1e9, flatten=None, bars=60):
    """Ask for nothing held on every bar; return the books on the way, and the reasons of the last."""
    n = len(layout.symbols)
    book = book_of(layout, opening=opening)
    book.mark(slice_of(prices))
    seen = market(covariance_of([0.02] * n, CORR[:n, :n]))
    seen = seen if known else replace(seen, reason="COV_NOT_PSD", known=np.zeros(n, dtype=bool))
    gate = RiskGate(EllipticalVar(GaussianVarOptions(scenarios=200), n), budget_usd)
    is_flatten = state is not ACTIVE if flatten is None else flatten
    books, reasons = [book.leg_quantity.tolist()], []
    for minute in range(2, bars + 2):
        if book.is_flat:
            break
        nothing = TargetApproved(T0_NS, (0.0,) * len(layout.leg_symbol), (), 1.0, 0.0, is_flatten)
        events = fill(nothing, True, slice_of(prices, minute, volume=volume), book, gate, seen, state, COSTS)
        reasons = [event.reason for event in events if isinstance(event, TargetRefused)]
        books.append(book.leg_quantity.tolist())
    return books, reasons


@pytest.mark.parametrize("known", [True, False])
def test_a_flatten_that_volume_cuts_needs_no_covariance(known) -> None:
    """70.3 of 703 shares is no whole lot: within one of the common fraction is as near as lots can be."""
    layout = lots_of("A/B", lots=[1.0, 1.0])
    books, _ = leave(layout, [1_000.0, -703.0], [100.0, 100.0], 1_000.0, HALTED, known=known)
    assert books[1] == [900.0, -633.0]
    assert books[-1] == [0.0, 0.0]
    assert len(books) <= 13


@pytest.mark.parametrize("known", [True, False])
def test_a_flatten_of_two_spreads_goes_at_one_pace_where_var_is_unknown(known) -> None:
    """A thin spread would leave the other one behind: then no common fraction, and no proof of less VaR."""
    layout = lots_of("A/B", "C/D", lots=[1.0, 1.0, 1.0, 10.0])
    volume = [1e6, 1e6, 300.0, 1e6]
    books, _ = leave(layout, [1_000.0, -703.0, 100.0, -70.0], [100.0] * 4, volume, HALTED, known=known)
    assert books[-1] == [0.0] * 4
    assert len(books) <= 8


@pytest.mark.parametrize("known", [True, False])
def test_the_larger_leg_of_a_flatten_goes_ahead(known) -> None:
    """5,000 shares, room for 2,000, and one contract worth a single share: two bars alone, then both."""
    layout = lots_of("F/C", lots=[1.0, 1.0])
    books, _ = leave(layout, [5_000.0, -1.0], [100.0, 100.0], [20_000.0, 1e6], HALTED, known=known)
    assert books == [[5_000.0, -1.0], [3_000.0, -1.0], [1_000.0, -1.0], [0.0, 0.0]]


def test_an_exit_keeps_within_half_a_contract_of_its_hedge() -> None:
    """Three contracts of 5,000 shares each: of the two ways on, what leaves less VaR is taken."""
    layout = lots_of("F/C", lots=[1.0, 1.0])
    opening, prices = [15_000.0, -3.0], [100.0, 500_000.0]
    books, _ = leave(layout, opening, prices, [20_000.0, 1e6], ACTIVE)
    shares = np.array(books)
    assert books[-1] == [0.0, 0.0]
    assert len(books) == 9  # 15,000 shares at 2,000 a bar
    assert (np.abs(shares[:, 0] + 5_000.0 * shares[:, 1]) <= 2_500.0).all()
    assert (np.diff(np.abs(shares), axis=0) <= 0.0).all()


def test_no_leg_goes_ahead_beyond_the_budget() -> None:
    """An exit that waits is hedged; one that is half done is a bet, and the gate says how large it may be."""
    layout = lots_of("F/C", lots=[1.0, 1.0])
    books, reasons = leave(
        layout, [5_000.0, -1.0], [100.0, 500_000.0], [20_000.0, 1e6], ACTIVE, budget_usd=12_000.0, bars=3
    )
    assert books[-1] == [5_000.0, -1.0]
    assert reasons == ["participation", "lot"]


@pytest.mark.parametrize("state", [REDUCING, HALTED])
def test_halted_or_reducing_a_hedge_is_never_broken(state) -> None:
    """Where VaR must fall, a leg of a good hedge cannot go ahead: it waits for a bar that takes both."""
    layout = lots_of("F/C", lots=[1.0, 1.0])
    books, _ = leave(layout, [5_000.0, -1.0], [100.0, 500_000.0], [20_000.0, 1e6], state, bars=3)
    assert books[-1] == [5_000.0, -1.0]
    books, _ = leave(layout, [5_000.0, -1.0], [100.0, 500_000.0], [50_000.0, 1e6], state, bars=3)
    assert books[-1] == [0.0, 0.0]


def test_what_waits_for_its_own_volume_sends_nothing_ahead() -> None:
    """The contract needs a bar of ten; shares that went before would not bring that bar any nearer."""
    layout = lots_of("F/C", lots=[1.0, 1.0])
    for known, state in ((True, ACTIVE), (True, HALTED), (False, HALTED)):
        books, _ = leave(layout, [5_000.0, -1.0], [100.0, 100.0], [20_000.0, 9.0], state, known=known, bars=3)
        assert books[-1] == [5_000.0, -1.0]


@pytest.mark.parametrize("lopsided", [[1_000.0, 0.0], [900.0, -703.0]])
def test_within_a_lot_is_no_licence_for_a_leg(lopsided) -> None:
    """Unknown VaR: what keeps one leg whole and cuts the other by more than a lot of it breaks the hedge."""
    layout = lots_of("A/B", lots=[1.0, 1.0])
    seen = replace(market(covariance_of([0.02] * 2, CORR[:2, :2])), reason="COV_NOT_PSD")
    book = book_of(layout, opening=[1_000.0, -703.0])
    book.mark(slice_of([100.0, 100.0]))
    gate = RiskGate(EllipticalVar(GaussianVarOptions(scenarios=200), 2), 1e9)
    asked = TargetApproved(T0_NS, tuple(lopsided), (), 1.0, 0.0, True)
    fill(asked, True, slice_of([100.0, 100.0], 2), book, gate, seen, HALTED, COSTS)
    assert book.leg_quantity.tolist() == [1_000.0, -703.0]


def test_steps_out_are_the_same_uncompiled() -> None:
    """The kernel and its Python twin agree to the last bit."""
    layout = lots_of("A/B", "C/B", "A/C", lots=[1.0, 0.0, 10.0])
    rng = np.random.default_rng(6)
    for _ in range(100):
        held = rng.normal(0, 50, 6).round(1)
        target = np.where(np.repeat(rng.random(3) < 0.7, 2), 0.0, held)
        bars = np.stack([np.full(3, 10.0)] * 4 + [rng.uniform(1, 3_000, 3)])
        at = layout.leg_symbol, layout.leg_sleeve, layout.leg_basket, 3
        given_ = (
            held,
            target,
            *at,
            bars,
            0.1,
            layout.lot,
            bool(rng.random() < 0.5),
            bool(rng.random() < 0.5),
        )
        ours, twin = np.empty((2, 6))
        sizing.step_out(*given_, ours)
        sizing.step_out.py_func(*given_, twin)
        assert ours.tolist() == twin.tolist()
        assert (np.abs(ours) <= np.abs(held)).all()
        assert not np.signbit(ours[ours == 0.0]).any()


def test_a_roll_is_one_trade() -> None:
    """Both contracts of a chain go, in step with the volume, or neither: never two held for one."""
    layout = layout_of("S/H", "S/M")
    layout = replace(layout, spreads=tuple(replace(spread, chain="S") for spread in layout.spreads))
    book = book_of(layout, opening=[500.0, -500.0, 0.0, 0.0])
    book.mark(slice_of([10.0] * 3))
    gate = RiskGate(EllipticalVar(GaussianVarOptions(scenarios=200), 3), 1e9)
    seen = market(covariance_of([0.02] * 3, CORR[:3, :3]))
    asked = TargetApproved(T0_NS, (0.0, 0.0, 500.0, -500.0), (), 1.0, 0.0)
    for minute, (h, volume, kept) in enumerate(
        [(NAN, 1e6, 500.0), (10.0, 1_000.0, 400.0), (10.0, 1e6, 0.0)], 2
    ):
        slice_ = slice_of([10.0, h, 10.0], minute, volume=[1e6, volume, 1e6])
        fill(asked, True, slice_, book, gate, seen, ACTIVE, COSTS)
        assert book.leg_quantity.tolist() == pytest.approx([kept, -kept, 500.0 - kept, kept - 500.0])
    idle = TargetApproved(T0_NS, (0.0, 0.0, 400.0, -400.0), (), 1.0, 0.0)
    fill(idle, True, slice_of([10.0, NAN, 10.0], 9, volume=1e6), book, gate, seen, ACTIVE, COSTS)
    assert book.leg_quantity.tolist() == [0.0, 0.0, 400.0, -400.0]  # what is gone may lack its open
